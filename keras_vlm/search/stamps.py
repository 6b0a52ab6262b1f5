"""Which files an index has seen: one of the same name may be another picture by now.

A file beside the index's own holds, for each key that is a path, the size and the time of change
that it had. It is written after the vectors, so that a kill makes work twice at worst. Refuses to
know what a file holds.
"""

import pathlib

import numpy as np

from keras_vlm.core.files import replace_file
from keras_vlm.search.store import hash_keys

STAMP = np.dtype([("hash", "<u8"), ("size", "<i8"), ("time", "<i8")])


class FileStamps:
    """The stamps of an index.

    Args:
        folder: the index's folder.
    """

    def __init__(self, folder):
        self._path = pathlib.Path(folder) / "files.npy"
        self._known = np.load(self._path) if self._path.exists() else np.zeros(0, STAMP)

    def changed(self, keys):
        """Returns those of n paths whose file is another one than was seen; a set."""
        found = _stamp(keys)
        places = np.searchsorted(self._known["hash"], found["hash"])
        there = places < len(self._known)
        seen = self._known[np.minimum(places, len(self._known) - 1)] if len(self._known) else found
        differs = (seen["hash"] == found["hash"]) & (seen != found) & there
        return {key for key, other in zip(keys, differs, strict=True) if other}

    def save(self, keys):
        """Notes the files of n paths as they are, beside those that were noted before."""
        found = np.concatenate([_stamp(keys), self._known])
        # Of each the first, which is the new one.
        _, places = np.unique(found["hash"], return_index=True)
        self._known = found[places]
        with replace_file(self._path) as temporary, temporary.open("wb") as file:
            np.save(file, self._known)


def _stamp(keys):
    """Returns the stamps of n paths; size -1 where there is no file."""
    stamps = np.zeros(len(keys), STAMP)
    stamps["hash"] = hash_keys(keys)
    for place, key in enumerate(keys):
        try:
            about = pathlib.Path(key).stat()
        except OSError:
            stamps["size"][place] = -1
            continue
        stamps["size"][place], stamps["time"][place] = about.st_size, about.st_mtime_ns
    return stamps
