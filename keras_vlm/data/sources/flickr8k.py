"""Flickr8k: 8,000 photos with five captions each, in English, or in Chinese (Flickr8k-CN).

The source is ``flickr8k:DIR``. DIR holds ``Flickr8k.token.txt``, ``Flickr_8k.trainImages.txt`` and
the like (a split without its list is absent), and the photos in ``images/``, ``Flicker8k_Dataset/``
or DIR itself. Captions may also be ``annotations/captions_LANGUAGE_SPLIT.json`` in the COCO form;
languages other than English are read from there only. The validation split is named ``dev``.

Source: Hodosh, Young, Hockenmaier, "Framing Image Description as a Ranking Task" (2013), JAIR 47;
Li et al., "Adding Chinese Captions to Images" (2016), ICMR.
"""

import functools

from keras_vlm.core.checks import DataError
from keras_vlm.data.sources.base import FileExamples, Splits
from keras_vlm.data.sources.coco import read_coco
from keras_vlm.data.sources.reading import check_folder, read_lines

SPLITS = ("train", "dev", "test")
IMAGE_FOLDERS = ("images", "Flicker8k_Dataset", "Flickr8k_Dataset", ".")


def open_flickr8k(argument, language):
    """Opens Flickr8k.

    Args:
        argument: ``"DIR"``.
        language: language code of the captions: ``"en"``, ``"zh"`` or another that DIR has.

    Returns:
        A ``Splits``.

    Raises:
        FileNotFoundError: there is no such folder, or it has no captions in that language.
    """
    folder = check_folder(argument, "flickr8k: the data")
    images = next(folder / name for name in IMAGE_FOLDERS if (folder / name).is_dir())
    tokens = folder / "Flickr8k.token.txt"
    if language == "en" and tokens.is_file():
        lists = {split: folder / f"Flickr_8k.{split}Images.txt" for split in SPLITS}
        read = functools.partial(_read_tokens, tokens)
        wanted = f"{folder / 'Flickr_8k.trainImages.txt'} or the dev or test list"
    else:
        name = f"captions_{language}_{{split}}.json"
        lists = {s: folder / "annotations" / name.format(split=s) for s in SPLITS}
        read = _read_annotations
        wanted = f"{folder / 'annotations' / name}"
        if language == "en":
            wanted = f"{tokens} or {wanted}"
    openers = {
        split: functools.partial(_open_split, read, path, images, split, language)
        for split, path in lists.items()
        if path.is_file()
    }
    if not openers:
        raise FileNotFoundError(
            f"flickr8k: {folder} has no captions in the language {language!r}: {wanted} is needed."
        )
    return Splits("flickr8k", openers)


def _open_split(read, path, images, split, language):
    records = ((name, str(images / name), captions) for name, captions in read(path))
    return FileExamples.of_records("flickr8k", split, language, records)


def _read_tokens(tokens, split_list):
    """Yields ``(file name, captions)`` of the pictures that a split's list names."""
    captions = read_token_captions(tokens)
    for _, line in read_lines(split_list):
        yield line.strip(), captions.get(line.strip(), [])


def read_token_captions(path):
    """Reads a file whose lines are ``1.jpg#0``, a tab and a caption.

    Args:
        path: the file.

    Returns:
        A dict from a picture's name to its captions.

    Raises:
        DataError: a line has no tab or no number.
    """
    captions = {}
    for where, line in read_lines(path):
        key, tab, caption = line.partition("\t")
        if not tab or "#" not in key:
            raise DataError(
                f"{where}: the line must be 'picture.jpg#0', a tab and a caption, "
                f"got {line[:60]!r}."
            )
        captions.setdefault(key.rpartition("#")[0], []).append(caption)
    return captions


def _read_annotations(path):
    """Yields ``(file name, captions)`` of a split's pictures."""
    records, _ = read_coco(path, image_id_key="file_name")
    for image_id, _, captions in records:
        yield image_id, captions
