"""Your own photos or videos: a folder of them and one file of captions, or of questions.

The source is ``folder:DIR`` for pictures and ``video:DIR`` for videos, whose records may say
``video`` for ``image``. DIR holds one of

- ``captions.jsonl``: a line is ``{"image": "a.jpg", "caption": "..."}`` (or ``"captions": [...]``)
- ``captions.csv`` or ``captions.tsv``: the first line names the columns ``image`` and ``caption``
- ``captions.json``: ``{"a.jpg": ["...", "..."]}``, or a list of objects as above, or the COCO form
- ``captions.txt``: a line is ``a.jpg``, a tab and a caption (``a.jpg#0`` too), or as in the CSV

or of ``questions.jsonl``, ``.csv``, ``.tsv`` or ``.json`` (see ``folder_questions.py``, and there
for data with other key names), or one of either, of which a task reads its own; with the pictures
beside it or in ``images/`` (videos: in ``videos/`` or ``clips/``). A picture may have several
lines. Records may also have ``split`` (then all do), ``language`` (others are left out) and, in
JSON, ``boxes``, a list of ``[y0, x0, y1, x1]`` in 0..1, with ``labels``; a picture's boxes are
those of all of its lines, whatever their language.
Or DIR holds sub-folders such as ``train`` and ``val``, each with a file of captions: each is a
split.

Without any split, a picture's name decides: 90 % are ``train``, 5 % ``val`` and 5 % ``test`` by the
digest of the name, so that a picture stays where it is when others are added. Where that would
leave ``val`` or ``test`` empty (few pictures), the one with the largest digest goes there.
"""

import dataclasses
import functools
import hashlib
import logging

import numpy as np

from keras_vlm.core.checks import DataError
from keras_vlm.data.image_files import IMAGE_SUFFIXES
from keras_vlm.data.regions import Regions
from keras_vlm.data.sources.base import FileExamples, Splits
from keras_vlm.data.sources.clips import VideoFileExamples
from keras_vlm.data.sources.folder_captions import READERS, read_captions
from keras_vlm.data.sources.folder_questions import SUFFIXES, parse_keys, read_questions
from keras_vlm.data.sources.reading import check_folder
from keras_vlm.data.sources.skipping import usable_records
from keras_vlm.vision.video import VIDEO_SUFFIXES

LOGGER = logging.getLogger("keras_vlm")
# What may be wanted of a folder that has both.
TEXTS = ("captions", "questions")
CAPTION_FILES = tuple(f"captions{suffix}" for suffix in READERS)
QUESTION_FILES = tuple(f"questions{suffix}" for suffix in SUFFIXES)
NAMES_OF_TEXTS = (CAPTION_FILES, QUESTION_FILES)
VALIDATION_FROM, TEST_FROM = 0.90, 0.95


@dataclasses.dataclass(frozen=True)
class Kind:
    """What is in a folder: pictures or videos.

    Attributes:
        name: name of the source.
        noun: what one is called.
        folders: names of the folder that holds them, the first that is there.
        suffixes: of their files.
        examples: class of their splits.
    """

    name: str
    noun: str
    folders: tuple
    suffixes: frozenset
    examples: type


PICTURES = Kind(
    "folder", "picture", ("images", "Images", "."), frozenset(IMAGE_SUFFIXES), FileExamples
)
VIDEOS = Kind(
    "video", "video", ("videos", "clips", "."), frozenset(VIDEO_SUFFIXES), VideoFileExamples
)


@dataclasses.dataclass
class _Picture:
    """A picture's captions, and what its lines say of it; boxes are ``(box, label)``."""

    captions: list
    split: str | None
    boxes: list = dataclasses.field(default_factory=list)


def open_folder(argument, language, keys=None, kind=PICTURES, *, texts=None):
    """Opens a folder of pictures, or of videos, with captions or questions.

    Args:
        argument: ``"DIR"``.
        language: language code of the captions or questions.
        keys: for questions with other key names, as in ``folder_questions.parse_keys``.
        kind: ``PICTURES`` or ``VIDEOS``.
        texts: as for ``load_data``.

    Returns:
        A ``Splits``.

    Raises:
        DataError: the folder is empty, has no captions or more than one file of them, or the file
            is wrong.
        FileNotFoundError: there is no such folder.
    """
    folder = check_folder(argument, f"{kind.name}: the data")
    mapping = parse_keys(keys)
    if keys or _wants_questions(folder, texts, kind):
        return _open_questions(folder, language, mapping, kind)
    if find_caption_file(folder) is None:
        inner = [path for path in sorted(folder.iterdir()) if path.is_dir()]
        openers = {
            path.name: functools.partial(_open_subfolder, path, language, kind)
            for path in inner
            if find_caption_file(path)
        }
        if not openers:
            raise DataError(
                f"{kind.name}: {folder} has {len(_list_files(folder, kind))} {kind.noun}s and no "
                'captions. Write captions.jsonl with lines such as {"image": "a.jpg", "caption": '
                '"a dog"}.'
            )
        return Splits(kind.name, openers)
    pictures, paths, skipped = _read(folder, language, kind)
    openers = {
        split: functools.partial(_examples, split, language, names, pictures, paths, kind)
        for split, names in _split(pictures).items()
    }
    return Splits(kind.name, openers, skipped=skipped, total=len(pictures))


def _wants_questions(folder, texts, kind):
    """Returns whether it is the questions of a folder that are to be read."""
    there = [[name for name in names if (folder / name).is_file()] for names in NAMES_OF_TEXTS]
    captions, questions = there
    if captions and questions and texts is None:
        LOGGER.warning(
            "%s: %s has %s and %s. The questions are read; texts='captions' reads the captions.",
            kind.name,
            folder,
            captions[0],
            questions[0],
        )
    return bool(questions) and not (captions and texts == "captions")


def open_video_folder(argument, language, keys=None, *, texts=None):
    """Opens a folder of videos with captions or questions; as ``open_folder``."""
    return open_folder(argument, language, keys, VIDEOS, texts=texts)


def _open_questions(folder, language, keys, kind):
    """Opens a folder with one file of questions.

    Raises:
        DataError: no file of questions is there, or none of its questions is in the language.
    """
    path = folder / keys["file"] if keys["file"] else _text_file(folder, QUESTION_FILES)
    if path is None or not path.is_file():
        raise DataError(
            f"{kind.name}: {folder} must have a file of questions, {path or QUESTION_FILES[0]} is "
            "not there. Pass keys='file=NAME' if it has another name."
        )
    by_split, languages, boxes = {}, set(), {}
    for _, image, question, split, spoken, found in read_questions(path, keys):
        languages.add(spoken)
        boxes.setdefault(image, {}).update(dict.fromkeys(found))
        if spoken in (None, language):
            by_split.setdefault(split, {}).setdefault(image, []).append(question)
    if not by_split:
        found = ", ".join(sorted(map(repr, languages))) or "no question"
        raise DataError(f"{path}: no question is in the language {language!r} (found {found}).")
    if len(by_split) > 1 and None in by_split:
        image = next(iter(by_split[None]))
        raise DataError(f"{path}: split of {image!r} is missing, and other questions have one.")
    if None in by_split:
        undecided = by_split.pop(None)
        places = _split({name: _Picture([], None) for name in undecided})
        by_split = {
            split: {name: undecided[name] for name in names} for split, names in places.items()
        }
    find = _finder(folder, keys["folder"], kind)
    openers = {
        split: functools.partial(
            _question_examples, split, language, questions, boxes, find, kind
        )
        for split, questions in by_split.items()
    }
    return Splits(kind.name, openers)


def _question_examples(split, language, questions, boxes, find, kind):
    kept, skipped = usable_records(
        (name, find(name), of_picture) for name, of_picture in questions.items()
    )
    return kind.examples(
        kind.name,
        split,
        language,
        kept,
        None,
        [path for path, _ in kept.values()],
        questions=[of_picture for _, of_picture in kept.values()],
        skipped=skipped,
        regions=[_regions(boxes[name]) for name in kept] if any(boxes.values()) else None,
    )


def _finder(folder, inner, kind):
    """Returns a function from a picture's name, with or without suffix, to its path.

    Raises:
        DataError: there is no such folder of pictures.
    """
    names = (inner,) if inner else kind.folders
    images = next((folder / name for name in names if (folder / name).is_dir()), None)
    if images is None:
        raise DataError(
            f"{kind.name}: {folder} must have the folder of {kind.noun}s {inner!r}."
        )
    by_stem = {path.stem: path for path in _list_files(images, kind)}

    def find(name):
        path = _locate(folder, images, name)
        return str(path if path.is_file() else by_stem.get(name, path))

    return find


def _open_subfolder(folder, language, kind):
    pictures, paths, skipped = _read(folder, language, kind)
    return _examples(
        folder.name, language, list(pictures), pictures, paths, kind, skipped=skipped
    )


def _examples(split, language, names, pictures, paths, kind, *, skipped=None):
    any_boxes = any(picture.boxes for picture in pictures.values())
    return kind.examples(
        kind.name,
        split,
        language,
        names,
        [pictures[name].captions for name in names],
        [paths[name] for name in names],
        skipped=skipped,
        regions=[_regions(pictures[name].boxes) for name in names] if any_boxes else None,
    )


def _read(folder, language, kind):
    """Returns pictures by name, their paths by name, and what was skipped.

    Raises:
        DataError: no caption is there for the language, or splits contradict each other.
    """
    path = find_caption_file(folder)
    images = next(folder / name for name in kind.folders if (folder / name).is_dir())
    pictures, languages, boxes = {}, set(), {}
    for where, image, captions, split, spoken, found in read_captions(path):
        languages.add(spoken)
        # The lines of a picture may each repeat them.
        boxes.setdefault(image, {}).update(dict.fromkeys(found))
        if spoken not in (None, language):
            continue
        picture = pictures.setdefault(image, _Picture([], split))
        if picture.split != split:
            raise DataError(
                f"{where}: split of {image!r} must be {picture.split!r} as before, got {split!r}."
            )
        picture.captions.extend(captions)
    if not languages:
        raise DataError(f"{path}: the file has no caption.")
    if not pictures:
        found = ", ".join(sorted(map(repr, languages)))
        raise DataError(f"{path}: no caption is in the language {language!r} (found {found}).")
    if len({picture.split is None for picture in pictures.values()}) > 1:
        image = next(image for image, picture in pictures.items() if picture.split is None)
        raise DataError(f"{path}: split of {image!r} is missing, and other pictures have one.")
    records = [
        (name, str(_locate(folder, images, name)), p.captions) for name, p in pictures.items()
    ]
    usable, skipped = usable_records(records)
    listed = {str(_locate(folder, images, name)) for name in pictures}
    alone = [p.name for p in _list_files(images, kind) if str(p) not in listed]
    skipped["without captions"] = skipped.get("without captions", []) + alone
    paths = {name: path for name, (path, _) in usable.items()}
    kept = {
        name: _Picture(texts, pictures[name].split, list(boxes[name]))
        for name, (_, texts) in usable.items()
    }
    return kept, paths, {reason: ids for reason, ids in skipped.items() if ids}


def _regions(boxes):
    """Returns the ``Regions`` of an iterable of ``(box, label)``."""
    found = np.array([box for box, _ in boxes], np.float32).reshape(-1, 4)
    return Regions(found, [label for _, label in boxes])


def _locate(folder, images, name):
    """Returns a picture's path: ``images/a.jpg`` may be written so, or as ``a.jpg``."""
    beside = folder / name
    return beside if images == folder or beside.is_file() else images / name


def _split(pictures):
    """Returns a dict from split to picture names: as their records say, or by digest."""
    splits = {}
    for name, picture in pictures.items():
        if picture.split is None:
            share = digest(name)
            split = "train" if share < VALIDATION_FROM else "val" if share < TEST_FROM else "test"
        else:
            split = picture.split
        splits.setdefault(split, []).append(name)
    if any(picture.split is not None for picture in pictures.values()):
        return splits
    for split in ("val", "test"):
        if split not in splits and len(splits.get("train", ())) > 1:
            moved = max(splits["train"], key=digest)
            splits["train"].remove(moved)
            splits[split] = [moved]
    return {split: splits[split] for split in ("train", "val", "test") if split in splits}


def digest(name):
    """Returns a number in [0, 1) that depends on the name alone."""
    hashed = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(hashed, "big") / 2**64


def find_caption_file(folder):
    """Returns the file of captions in a folder, or None.

    Args:
        folder: a ``pathlib.Path``.

    Raises:
        DataError: there is more than one.
    """
    return _text_file(folder, CAPTION_FILES)


def _text_file(folder, allowed):
    """Returns the file of captions, or of questions, in a folder, or None.

    Raises:
        DataError: there is more than one.
    """
    found = [folder / name for name in allowed if (folder / name).is_file()]
    if len(found) > 1:
        names, kind = " and ".join(path.name for path in found), found[0].stem
        raise DataError(f"folder: {folder} must have one file of {kind}, got {names}.")
    return found[0] if found else None


def _list_files(folder, kind):
    return [path for path in sorted(folder.iterdir()) if path.suffix.lower() in kind.suffixes]
