"""Flickr30k: 31,783 photos with five English captions each.

The source is ``flickr30k:DIR``. DIR holds the captions, ``results_20130124.token`` (a line is
``1.jpg#0``, a tab and a caption) or ``results.csv`` (``image_name| comment_number| comment``), and
the photos in ``flickr30k-images/``, ``flickr30k_images/`` or ``images/``. The data set has no
official splits; the usual ones are Karpathy's. Lists ``train.txt``, ``val.txt`` and ``test.txt`` of
names, with or without ``.jpg``, or his ``dataset_flickr30k.json`` (then no other captions are
needed) make them; without either there is the one split ``all``.

Source: Young et al. 2014, "From image descriptions to visual denotations", TACL 2,
https://aclanthology.org/Q14-1006.
"""

import functools

from keras_vlm.core.checks import DataError
from keras_vlm.data.sources.base import FileExamples, Splits
from keras_vlm.data.sources.flickr8k import read_token_captions
from keras_vlm.data.sources.karpathy import open_karpathy_file
from keras_vlm.data.sources.reading import check_folder, read_lines

IMAGE_FOLDERS = ("flickr30k-images", "flickr30k_images", "images", ".")
SPLITS = ("train", "val", "test")


def open_flickr30k(argument, language):
    """Opens Flickr30k.

    Args:
        argument: ``"DIR"``.
        language: language code of the captions.

    Returns:
        A ``Splits``.

    Raises:
        DataError: a file of captions is wrong; the message names the line.
        FileNotFoundError: there is no such folder, or it has no captions.
    """
    folder = check_folder(argument, "flickr30k: the data")
    images = next(folder / name for name in IMAGE_FOLDERS if (folder / name).is_dir())
    karpathy = folder / "dataset_flickr30k.json"
    if karpathy.is_file():
        return open_karpathy_file("flickr30k", karpathy, images, language)
    tokens, table = folder / "results_20130124.token", folder / "results.csv"
    if tokens.is_file():
        captions = read_token_captions(tokens)
    elif table.is_file():
        captions = _read_bars(table)
    else:
        raise FileNotFoundError(
            f"flickr30k: {folder} has no captions: {tokens.name}, {table.name} or {karpathy.name} "
            "is needed."
        )
    lists = {split: folder / f"{split}.txt" for split in SPLITS}
    names = {
        split: [_with_suffix(line.strip()) for _, line in read_lines(path)]
        for split, path in lists.items()
        if path.is_file()
    } or {"all": list(captions)}
    openers = {
        split: functools.partial(_open_split, split, language, of_split, captions, images)
        for split, of_split in names.items()
    }
    return Splits("flickr30k", openers)


def _open_split(split, language, names, captions, images):
    records = ((name, str(images / name), captions.get(name, [])) for name in names)
    return FileExamples.of_records("flickr30k", split, language, records)


def _with_suffix(name):
    return name if name.lower().endswith(".jpg") else f"{name}.jpg"


def _read_bars(path):
    """Returns a dict from a picture's name to its captions.

    Raises:
        DataError: a line has not three parts.
    """
    captions = {}
    for where, line in read_lines(path)[1:]:
        # One line of the published file lacks its second bar.
        name, bar, rest = line.partition("|")
        number, second, caption = rest.partition("|")
        if not bar or not (second or number.strip()[:1].isdigit()):
            raise DataError(
                f"{where}: the line must be 'picture.jpg| 0| caption', got {line[:60]!r}."
            )
        caption = caption if second else number.strip().lstrip("0123456789")
        captions.setdefault(name.strip(), []).append(caption.strip())
    return captions
