"""The files of captions that ``folder:DIR`` and ``video:DIR`` take, each as one stream of records.

Of a video a record may say ``video`` for ``image``. Refuses to know pictures: none is looked for
here. The forms are described in ``folder.py``.
"""

import re

from keras_vlm.core.checks import DataError
from keras_vlm.data.sources.coco import read_coco
from keras_vlm.data.sources.reading import (
    get_key,
    read_csv,
    read_json,
    read_json_lines,
    read_lines,
)

REQUIRED = ("image", "caption")
NUMBERED = re.compile(r"(.+\.\w+)#\d+")


def read_captions(path):
    """Reads a file of captions.

    Args:
        path: a file named ``captions`` with one of the suffixes of ``READERS``.

    Yields:
        ``(where, image, captions, split, language, boxes)``: file and line; name of the picture;
        list of texts; the next two are None where the record does not say; list of ``(box,
        label)``, a box four numbers.

    Raises:
        DataError: the file is wrong; the message names the line and the key.
    """
    yield from READERS[path.suffix](path)


def _read_json_lines(path):
    for where, record in read_json_lines(path):
        yield read_record(record, where)


def _read_csv(path):
    for where, record in read_csv(path):
        # An empty cell of an optional column says nothing.
        needed = (*REQUIRED, "video")
        said = {k: text.strip() for k, text in record.items() if k in needed or text.strip()}
        yield read_record(said, where)


def _read_json(path):
    content = read_json(path)
    if isinstance(content, dict) and "annotations" in content:
        for _, name, captions in read_coco(path)[0]:
            yield str(path), name, captions, None, None, []
    elif isinstance(content, dict):
        for name, captions in content.items():
            yield read_record({"image": name, "captions": captions}, f"{path}: {name!r}")
    elif isinstance(content, list):
        for place, record in enumerate(content):
            yield read_record(record, f"{path}: [{place}]")
    else:
        raise DataError(f"{path}: must be an object or a list, got {type(content).__name__}.")


def _read_tabs(path):
    lines = read_lines(path)
    columns = set(lines[0][1].strip().split(",")) if lines else set()
    if "caption" in columns and columns & {"image", "video"}:
        yield from _read_csv(path)
        return
    for where, line in lines:
        name, tab, caption = line.partition("\t")
        if not tab:
            raise DataError(
                f"{where}: the line must be a picture's name, a tab and a caption, "
                f"got {line[:60]!r}."
            )
        numbered = NUMBERED.fullmatch(name.strip())
        yield where, numbered[1] if numbered else name.strip(), [caption], None, None, []


def read_record(record, where):
    """Reads one record of captions.

    Args:
        record: a dict.
        where: file and line, for the message.

    Returns:
        ``(where, image, captions, split, language, boxes)``, as ``read_captions`` yields them.

    Raises:
        DataError: a key is missing, or its value is of the wrong kind.
    """
    is_video = isinstance(record, dict) and "video" in record and "image" not in record
    image = get_key(record, "video" if is_video else "image", where, str)
    captions = get_key(record, "captions" if "captions" in record else "caption", where)
    captions = [captions] if isinstance(captions, str) else captions
    if not isinstance(captions, list) or not all(isinstance(text, str) for text in captions):
        raise DataError(f"{where}: caption must be a text or a list of texts, got {captions!r}.")
    split = get_key(record, "split", where, str) if "split" in record else None
    spoken = get_key(record, "language", where, str) if "language" in record else None
    return where, image, captions, split, spoken, read_boxes(record, where)


def read_boxes(record, where):
    """Reads the boxes of a record.

    Args:
        record: a dict; ``boxes`` and ``labels`` are looked at.
        where: file and line, for the message.

    Returns:
        A list of ``(box, label)``, a box four numbers.

    Raises:
        DataError: a box is not four numbers in 0..1, or there are not as many labels.
    """
    boxes = get_key(record, "boxes", where, list) if "boxes" in record else []
    for box in boxes:
        numbers = isinstance(box, list) and all(isinstance(x, (int, float)) for x in box)
        if not numbers or len(box) != 4 or not all(0 <= x <= 1 for x in box):
            raise DataError(
                f"{where}: boxes must be [y0, x0, y1, x1] in 0..1, as shares of height and width, "
                f"got {box!r}."
            )
        if box[0] >= box[2] or box[1] >= box[3]:
            raise DataError(f"{where}: boxes must have y0 < y1 and x0 < x1, got {box!r}.")
    labels = get_key(record, "labels", where, list) if "labels" in record else [""] * len(boxes)
    if len(labels) != len(boxes):
        raise DataError(f"{where}: labels must be {len(boxes)}, one a box, got {len(labels)}.")
    return list(zip(map(tuple, boxes), map(str, labels), strict=True))


READERS = {
    ".jsonl": _read_json_lines,
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".json": _read_json,
    ".txt": _read_tabs,
}
