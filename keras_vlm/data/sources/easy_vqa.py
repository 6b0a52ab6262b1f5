"""easy-VQA: 5,000 pictures of one coloured shape and 48,248 questions, from its PyPI package.

The source is ``easy_vqa``. The package's own train split gives ``train`` and ``val``: 5 % of its
pictures, by the digest of their names, are for choosing the epoch. ``test`` is the package's own.

Source:
    Zhou 2019, https://github.com/vzhou842/easy-VQA.
"""

import functools

from keras_vlm.core.extras import import_extra
from keras_vlm.data.questions import Question
from keras_vlm.data.sources.base import FileExamples, Splits
from keras_vlm.data.sources.folder import digest

VALIDATION_FROM = 0.95
SHAPES = ("circle", "rectangle", "triangle")


def open_easy_vqa(argument, language):
    """Opens easy-VQA.

    Args:
        argument: nothing.
        language: ``"en"``, the only one it has.

    Returns:
        A ``Splits`` with ``train``, ``val`` and ``test``.

    Raises:
        ImportError: the package is not installed; the message names the extra.
        ValueError: an argument is given, or another language is asked for.
    """
    if argument:
        raise ValueError(f"load_data: name must be easy_vqa alone, got 'easy_vqa:{argument}'.")
    if language != "en":
        raise ValueError(f"load_data: language must be 'en' for easy_vqa, got {language!r}.")
    package = import_extra("easy_vqa", "vqa", "The data set easy_vqa")
    splits = ("train", "val", "test")
    return Splits("easy_vqa", {s: functools.partial(_open_split, package, s) for s in splits})


def question_type(answer):
    """Returns what kind of question has an answer: ``"yes/no"``, ``"shape"`` or ``"colour"``."""
    if answer in {"yes", "no"}:
        return "yes/no"
    return "shape" if answer in SHAPES else "colour"


def _open_split(package, split):
    official = "test" if split == "test" else "train"
    paths = getattr(package, f"get_{official}_image_paths")()
    found = {}
    records = zip(*getattr(package, f"get_{official}_questions")(), strict=True)
    for place, (text, answer, image) in enumerate(records):
        name = f"{official}-{image}"
        held_out = digest(name) >= VALIDATION_FROM
        if official == "test" or held_out == (split == "val"):
            kind = question_type(answer)
            question = Question(text, (answer,), f"{official}-{place}", kind, kind)
            found.setdefault(name, []).append(question)
    files = [paths[int(name.partition("-")[2])] for name in found]
    return FileExamples(
        "easy_vqa", split, "en", found, None, files, questions=list(found.values())
    )
