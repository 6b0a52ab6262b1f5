"""Pictures in folders, with no captions to them. Refuses to decode."""

import os
import pathlib

from keras_vlm.core.checks import DataError
from keras_vlm.data.sources.reading import check_folder

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp"}


def find_pictures(folder):
    """Lists the picture files below a folder, by their suffix.

    Args:
        folder: path of a folder.

    Returns:
        A list of absolute paths, sorted; hidden files and folders are left out.

    Raises:
        FileNotFoundError: there is no such folder.
        DataError: there is no picture.
    """
    folder = check_folder(folder, "the folder of pictures")
    found = []
    for parent, folders, files in os.walk(folder.resolve()):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found.extend(
            pathlib.Path(parent, name)
            for name in files
            if pathlib.Path(name).suffix.lower() in IMAGE_SUFFIXES and not name.startswith(".")
        )
    if not found:
        raise DataError(
            f"{folder}: no picture in this folder. Pictures end in "
            f"{', '.join(sorted(IMAGE_SUFFIXES))}."
        )
    return sorted(found)


def find_labelled_pictures(folder):
    """Lists pictures that lie in one sub-folder a label: ``DIR/cat/1.jpg``.

    Args:
        folder: path of a folder.

    Returns:
        ``(paths, labels)``: a list of paths and the label of each.

    Raises:
        FileNotFoundError: there is no such folder.
        DataError: there are no sub-folders, or no pictures in one of them.
    """
    folder = check_folder(folder, "the folder of labelled pictures")
    inner = [
        path for path in sorted(folder.iterdir()) if path.is_dir() and path.name[0] != "."
    ]
    if not inner:
        raise DataError(f"{folder}: no sub-folders. Put the pictures in one a label: cat/1.jpg.")
    found = [(path, label.name) for label in inner for path in find_pictures(label)]
    return [path for path, _ in found], [label for _, label in found]


def read_or_nothing(path):
    """Returns a file's bytes; none if it cannot be opened, which is no picture either.

    Args:
        path: a path.

    Returns:
        bytes.
    """
    try:
        return pathlib.Path(path).read_bytes()
    except OSError:
        return b""
