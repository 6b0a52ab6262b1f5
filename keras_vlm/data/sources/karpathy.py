"""Karpathy's splits of COCO, Flickr8k and Flickr30k: one JSON file beside a folder of pictures.

The source is ``karpathy:FILE.json:IMAGES_DIR``; FILE is his ``dataset_coco.json`` or the like. The
splits are those that it names: ``train``, ``val``, ``test`` and, of COCO, ``restval``.

Source: Karpathy and Fei-Fei 2015, "Deep Visual-Semantic Alignments",
https://arxiv.org/abs/1412.2306.
"""

import functools
import re

from keras_vlm.core.checks import DataError
from keras_vlm.data.sources.base import FileExamples, Splits
from keras_vlm.data.sources.reading import check_file, check_folder, get_key, read_json


def open_karpathy(argument, language):
    """Opens a data set in Karpathy's form.

    Args:
        argument: ``"FILE.json:IMAGES_DIR"``.
        language: language code of the captions.

    Returns:
        A ``Splits``.

    Raises:
        DataError: the file is wrong; the message names the key.
        FileNotFoundError: there is no such file or folder.
        ValueError: the argument has not two parts.
    """
    match = re.fullmatch(r"(.+?\.json):(.+)", argument, flags=re.IGNORECASE)
    if not match:
        raise ValueError(
            f"load_data: name must be karpathy:FILE.json:IMAGES_DIR, got 'karpathy:{argument}'."
        )
    path = check_file(match[1], "karpathy: the captions")
    images = check_folder(match[2], "karpathy: the pictures")
    return open_karpathy_file("karpathy", path, images, language)


def open_karpathy_file(name, path, images, language):
    """Opens a file in Karpathy's form, under another name.

    Args:
        name: name of the data set.
        path: the JSON file.
        images: the folder of pictures; those of COCO may lie in its ``filepath``.
        language: language code of the captions.

    Returns:
        A ``Splits``.

    Raises:
        DataError: the file is wrong; the message names the key.
    """
    by_split = {}
    for place, record in enumerate(get_key(read_json(path), "images", path, list)):
        where = f"{path}: images[{place}]"
        file_name = get_key(record, "filename", where, str)
        inner = images / record.get("filepath", "") / file_name
        captions = [
            get_key(sentence, "raw", f"{where}: sentences[{number}]", str)
            for number, sentence in enumerate(get_key(record, "sentences", where, list))
        ]
        found = inner if inner.is_file() else images / file_name
        split = get_key(record, "split", where, str)
        by_split.setdefault(split, []).append((file_name, str(found), captions))
    if not by_split:
        raise DataError(f"{path}: images is empty.")
    openers = {
        split: functools.partial(FileExamples.of_records, name, split, language, records)
        for split, records in by_split.items()
    }
    return Splits(name, openers)
