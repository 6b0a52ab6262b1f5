"""From a key to its row: a sorted table of hashes, and a dict of what came since.

The hashes are on disk (``Store.key_hashes``), so the table costs 16 bytes a row and no reading of
keys; it is sorted at the first look-up, never for an index that is only searched, and again when
the store has changed in ways that the table was not told. A hash is only a
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
        self._state = None

    def find(self, keys):
        """Returns the row of each of n keys, int64 [n]; -1 where there is none."""
        if self._state != self._store_state():
            self._sort()
        hashes = hash_keys(keys)
        places = np.searchsorted(self._hashes, hashes)
        rows = [self._find(*found) for found in zip(keys, hashes, places, strict=True)]
        return np.array(rows, np.int64)

    def add(self, keys):
        """Takes in the keys of rows that were just appended; without it, all are sorted anew."""
        generation, rows = self._store_state()
        first = rows - len(keys)
        if self._state == (generation, first) and len(self._recent) < max(RECENT_KEYS, first // 4):
            self._recent.update(zip(keys, range(first, rows), strict=True))
            self._state = (generation, rows)

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

    def _store_state(self):
        # Rows of a generation never change; what is removed is looked up.
        return self._store.manifest.generation, self._store.manifest.rows

    def _sort(self):
        hashes = self._store.key_hashes()
        self._order = np.argsort(hashes)
        self._hashes = hashes[self._order]
        self._recent, self._state = {}, self._store_state()
