"""Which files an index has seen: one of the same name may be another picture by now.

A file beside the index's own holds, for each key that is a path, the size and the time of change
that it had when it was last looked at, before it was read: of one that changes meanwhile the stamp
is older than what was read, and it is read once more. Refuses to know what a file holds.
"""

import pathlib

import numpy as np

from keras_vlm.core.files import replace_file
from keras_vlm.search.store import hash_keys

STAMP = np.dtype([("hash", "<u8"), ("size", "<i8"), ("time", "<i8")])


class FileStamps:
    """The stamps of an index, and of the files that are there now.

    Args:
        folder: the index's folder.
        paths: list of n paths.
    """

    def __init__(self, folder, paths):
        self._file = pathlib.Path(folder) / "files.npy"
        self._known = np.load(self._file) if self._file.exists() else np.zeros(0, STAMP)
        self._paths = list(dict.fromkeys(paths))
        self._now = _look(self._paths)

    def changed(self):
        """Returns the set of the paths whose files are there, and others than were seen."""
        if not len(self._known):
            return set()
        places = np.searchsorted(self._known["hash"], self._now["hash"])
        seen = self._known[np.minimum(places, len(self._known) - 1)]
        differs = (seen["hash"] == self._now["hash"]) & (seen != self._now)
        differs &= self._now["size"] >= 0
        return {path for path, other in zip(self._paths, differs, strict=True) if other}

    def save(self):
        """Notes the files that are there, beside those that were noted before."""
        found = np.concatenate([self._now[self._now["size"] >= 0], self._known])
        # Of each the first, which is the new one.
        _, places = np.unique(found["hash"], return_index=True)
        with replace_file(self._file) as temporary, temporary.open("wb") as file:
            np.save(file, found[places])


def _look(paths):
    """Returns the stamps of n paths; size -1 where there is no file."""
    stamps = np.zeros(len(paths), STAMP)
    stamps["hash"] = hash_keys(paths)
    for place, path in enumerate(paths):
        try:
            about = pathlib.Path(path).stat()
        except OSError:
            stamps["size"][place] = -1
            continue
        stamps["size"][place], stamps["time"][place] = about.st_size, about.st_mtime_ns
    return stamps
