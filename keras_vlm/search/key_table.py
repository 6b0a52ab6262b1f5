"""From a key to its row: a sorted table of hashes, and a dict of what came since.

The hashes are on disk (``Store.key_hashes``), so the table costs 16 bytes a row and no reading of
keys; it is sorted at the first look-up, never for an index that is only searched. A hash is only a
hint: the key itself decides.
"""

import numpy as np

from keras_vlm.search.store import hash_keys

# Recent keys before the table is sorted anew.
RECENT_KEYS = 65536


class KeyTable:
    """Finds rows by key.

    Args:
        store: the ``Store`` whose rows are looked up.
    """

    def __init__(self, store):
        self._store = store
        self._sort()

    def find(self, keys):
        """Returns the row of each of n keys, int64 [n]; -1 where there is none."""
        hashes = hash_keys(keys)
        places = np.searchsorted(self._hashes, hashes)
        rows = [self._find(*found) for found in zip(keys, hashes, places, strict=True)]
        return np.array(rows, np.int64)

    def add(self, keys, first):
        """Takes in rows that were appended: ``first`` and those after it."""
        self._recent.update(zip(keys, range(first, first + len(keys)), strict=True))
        if len(self._recent) > max(RECENT_KEYS, len(self._order) // 4):
            self._sort()

    def _find(self, key, key_hash, place):
        dead = self._store.dead
        row = self._recent.get(key)
        if row is not None:
            return -1 if dead[row] else row
        while place < len(self._hashes) and self._hashes[place] == key_hash:
            row = self._order[place]
            if not dead[row] and self._store.keys([row]) == [key]:
                return row
            place += 1
        return -1

    def _sort(self):
        hashes = self._store.key_hashes()
        self._order = np.argsort(hashes)
        self._hashes = hashes[self._order]
        self._recent = {}
