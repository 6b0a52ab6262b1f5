"""Flickr8k-CN: Chinese captions of Flickr8k's photos, as their authors publish them.

The source is ``flickr8k_cn:DIR``. DIR holds ``flickr8kzhc.caption.txt`` (written by people: a line
is ``1.jpg#zhc#0``, a space and a caption; without ``.jpg`` too) beside Flickr8k's own photos and
lists of splits, as for ``flickr8k:DIR``. Where the files are ``annotations/captions_zh_SPLIT.json``
in the COCO form, ``flickr8k:DIR`` with the language ``zh`` reads them, and so does this source.

Source: Li et al. 2016, "Adding Chinese Captions to Images", ICMR,
https://doi.org/10.1145/2911996.2912049.
"""

import functools

from keras_vlm.core.checks import DataError
from keras_vlm.data.sources.base import FileExamples, Splits
from keras_vlm.data.sources.flickr8k import IMAGE_FOLDERS, SPLITS, open_flickr8k
from keras_vlm.data.sources.reading import check_folder, read_lines

CAPTIONS = "flickr8kzhc.caption.txt"


def open_flickr8k_cn(argument, language):
    """Opens Flickr8k-CN.

    Args:
        argument: ``"DIR"``.
        language: ``"zh"``.

    Returns:
        A ``Splits``.

    Raises:
        DataError: a line of the captions is wrong.
        FileNotFoundError: there is no such folder, or it has no captions.
        ValueError: another language is asked for.
    """
    if language != "zh":
        raise ValueError(
            f"load_data: language must be 'zh' for flickr8k_cn, got {language!r}. Pass "
            "language='zh' (--language zh), or read flickr8k:DIR for English."
        )
    folder = check_folder(argument, "flickr8k_cn: the data")
    path = folder / CAPTIONS
    if not path.is_file():
        return open_flickr8k(argument, language)
    images = next(folder / name for name in IMAGE_FOLDERS if (folder / name).is_dir())
    captions = _read_captions(path)
    lists = {split: folder / f"Flickr_8k.{split}Images.txt" for split in SPLITS}
    openers = {
        split: functools.partial(_open_split, split, names, captions, images)
        for split, names in lists.items()
        if names.is_file()
    }
    if not openers:
        raise FileNotFoundError(
            f"flickr8k_cn: {folder} has no list of a split: {lists['train'].name} is needed."
        )
    return Splits("flickr8k_cn", openers)


def _open_split(split, names, captions, images):
    named = [line.strip() for _, line in read_lines(names)]
    records = (
        (name, str(images / name), captions.get(name.removesuffix(".jpg"), [])) for name in named
    )
    return FileExamples.of_records("flickr8k_cn", split, "zh", records)


def _read_captions(path):
    """Returns a dict from a picture's name, without its suffix, to its captions.

    Raises:
        DataError: a line has no ``#`` or no caption.
    """
    captions = {}
    for where, line in read_lines(path):
        key, *rest = line.split(maxsplit=1)
        if "#" not in key or not rest:
            raise DataError(
                f"{where}: the line must be 'picture.jpg#zhc#0', a space and a caption, got "
                f"{line[:60]!r}."
            )
        name = key.partition("#")[0].removesuffix(".jpg")
        captions.setdefault(name, []).append(rest[0].strip())
    return captions
