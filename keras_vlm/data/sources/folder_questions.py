"""The files of questions that ``folder:DIR`` and ``video:DIR`` take, each as one stream of records.

``questions.csv``, ``.tsv``, ``.jsonl`` or ``.json``. A record has ``image`` (or ``video``),
``question`` and ``answer`` (or ``answers``: a list, one an annotator), and may have ``id``,
``question_type``, ``answer_type``, ``split`` and ``language``. In JSON it may have ``boxes`` and
``labels``, as records of captions do, of the picture: those of all of its records are taken (with
other key names only where these two are named as well, as in ``boxes=boxes``). In JSON a record may
instead hold a list of ``questions``, each with the rest, and the records may
stand within an object, under ``records``.

Data with other names are read with a key mapping, ours to theirs: ``"image=img_name,answer=a"``.
A dot goes into an object: ``answer=reply.text``. Two more names: ``file``, that of the file of
questions, and ``folder``, that of the pictures, both within DIR. Refuses to know pictures.
"""

import pathlib

from keras_vlm.core.checks import DataError, check_choice
from keras_vlm.data.questions import Question
from keras_vlm.data.sources.folder_captions import read_boxes
from keras_vlm.data.sources.reading import read_csv, read_json, read_json_lines

NAMES = (
    "image", "question", "answer", "answers", "id", "question_type", "answer_type", "split",
    "language", "boxes", "labels", "questions", "records", "file", "folder",
)  # fmt: skip
SUFFIXES = (".jsonl", ".csv", ".tsv", ".json")


def parse_keys(keys):
    """Reads a key mapping.

    Args:
        keys: ``"image=img_name,question=q"``, a dict, or None.

    Returns:
        A dict from each of our names to the data's.

    Raises:
        ValueError: a name is unknown, or there is no ``=``.

    Example:
        >>> parse_keys("image=img_name,answer=a")["image"]
        'img_name'
    """
    keys = parse_pairs(keys)
    for name in keys or {}:
        check_choice("load_data", "keys", name, NAMES)
    keys = keys or {}
    unused = {"file": None, "folder": None}
    if "answer" in keys:
        # What else is called "answers" is something else: choices, perhaps.
        unused["answers"] = None
    if set(keys) - {"file", "folder", "records"}:
        # Other data's boxes may be in pixels: they are taken when they are named.
        unused |= {"boxes": None, "labels": None}
    return {**{name: name for name in NAMES}, **unused, **keys}


def parse_pairs(keys):
    """Turns ``"image=img_name,question=q"`` into a dict; leaves a dict, or None, as it is.

    Raises:
        ValueError: there is no ``=``, or nothing behind it.
    """
    if not isinstance(keys, str):
        return keys
    pairs = [piece.partition("=") for piece in keys.split(",")]
    for name, equals, value in pairs:
        if not equals or not value.strip():
            raise ValueError(
                "load_data: keys must be pairs such as image=img_name,answer=a, got "
                f"{name + equals + value!r}."
            )
    return {name.strip(): value.strip() for name, _, value in pairs}


def read_questions(path, keys):
    """Reads a file of questions.

    Args:
        path: the file, with one of ``SUFFIXES``.
        keys: what ``parse_keys`` returns.

    Yields:
        ``(where, image, question, split, language, boxes)``: file and line; name of the picture; a
        ``Question``; the next two are None where the record does not say; list of ``(box, label)``.

    Raises:
        DataError: the file is wrong; the message names the line and the key.
    """
    path = pathlib.Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(
            f"{path}: a file of questions must end in {', '.join(SUFFIXES)}, got {path.suffix!r}."
        )
    count = 0
    for where, record in _records(path, keys):
        nested = _find(record, keys["questions"])
        if not isinstance(nested, list):
            yield _fields(record, where, keys, str(count))
            count += 1
            continue
        for place, inner in enumerate(nested):
            if not isinstance(inner, dict):
                raise DataError(f"{where}: {keys['questions']}[{place}] must be an object.")
            # What the outer record says holds for each of its questions.
            outer = {k: v for k, v in record.items() if k != keys["questions"]}
            yield _fields({**outer, **inner}, f"{where}[{place}]", keys, str(count))
            count += 1


def _records(path, keys):
    """Yields ``(where, dict)``.

    Raises:
        DataError: the file has no list of objects.
    """
    suffix = path.suffix.lower()
    if suffix == ".jsonl":
        found = read_json_lines(path)
    elif suffix in {".csv", ".tsv"}:
        # An empty cell says nothing, and boxes are lists, which no cell is.
        found = [
            (
                where,
                {
                    key: text.strip()
                    for key, text in record.items()
                    if text.strip() and key not in {"boxes", "labels"}
                },
            )
            for where, record in read_csv(path)
        ]
    else:
        content = read_json(path)
        if isinstance(content, dict):
            lists = [key for key, value in content.items() if isinstance(value, list)]
            key = keys["records"] if keys["records"] in content else lists[0] if lists else None
            if key is None or (len(lists) > 1 and keys["records"] not in content):
                raise DataError(
                    f"{path}: the records must be a list, or stand under one key, found "
                    f"{', '.join(map(repr, content))}. Pass keys='records=KEY'."
                )
            content = content[key]
        found = [(f"{path}: [{place}]", record) for place, record in enumerate(content)]
    for where, record in found:
        if not isinstance(record, dict):
            raise DataError(f"{where}: must be an object with the key {keys['image']!r}.")
        yield where, record


def _fields(record, where, keys, number):
    """Returns ``(where, image, question, split, language, boxes)`` of a record.

    Raises:
        DataError: a key is missing, a text is empty, or a box is none.
    """
    if keys["image"] == "image" and "video" in record and "image" not in record:
        keys = {**keys, "image": "video"}
    image = _text(_need(record, "image", where, keys), where, keys["image"])
    text = _text(_need(record, "question", where, keys), where, keys["question"])
    given = None if keys["answers"] is None else _find(record, keys["answers"])
    name = "answers" if given is not None else "answer"
    if given is None:
        given = _need(record, "answer", where, keys)
    given = given if isinstance(given, list) else [given]
    given = [item.get("answer") if isinstance(item, dict) else item for item in given]
    answers = tuple(_text(item, where, keys[name]) for item in given)
    answers = tuple(answer for answer in answers if answer)
    if not answers or not text:
        empty = keys["question"] if not text else keys[name]
        raise DataError(f"{where}: {empty} must be a text, got an empty one.")
    said = {}
    for key in ("id", "question_type", "answer_type", "split", "language"):
        value = _find(record, keys[key])
        said[key] = None if value is None else _text(value, where, keys[key])
    question = Question(
        text, answers, said["id"] or number, said["question_type"], said["answer_type"]
    )
    regions = {name: keys[name] and _find(record, keys[name]) for name in ("boxes", "labels")}
    boxes = []
    if regions["boxes"] is not None:
        boxes = read_boxes({k: v for k, v in regions.items() if v is not None}, where)
    return where, image, question, said["split"], said["language"], boxes


def _find(record, key):
    """Returns what a record holds under a key, or within it after a dot; None if nothing."""
    if key in record:
        return record[key]
    for piece in key.split("."):
        record = record.get(piece) if isinstance(record, dict) else None
    return record


def _need(record, name, where, keys):
    """Returns what a record must have.

    Raises:
        DataError: it has not.
    """
    value = _find(record, keys[name])
    if value is None:
        found = ", ".join(repr(key) for key in record) or "no key"
        raise DataError(
            f"{where}: key {keys[name]!r} is missing (found {found}). "
            f"Pass keys='{name}=KEY' (--keys {name}=KEY on the command line)."
        )
    return value


def _text(value, where, key):
    """Returns a text, a number or a truth value as text.

    Raises:
        DataError: it is none of these.
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)):
        return str(value)
    if not isinstance(value, str):
        raise DataError(f"{where}: {key} must be a text or a number, got {value!r}.")
    return value.strip()
