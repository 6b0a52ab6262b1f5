"""VQA v2: a JSON file of questions, one of annotations, and a folder of COCO's pictures.

The source is ``vqa_v2:QUESTIONS.json:ANNOTATIONS.json:IMAGES_DIR``, the official files, such as
``v2_OpenEnded_mscoco_train2014_questions.json`` and ``v2_mscoco_train2014_annotations.json``. Where
``{split}`` stands in QUESTIONS (and in the others), each file that fits is a split. A picture is
found by the number that ends its name: ``COCO_train2014_000000000009.jpg`` is 9.
"""

import functools
import re

from keras_vlm.core.checks import DataError
from keras_vlm.data.questions import Question
from keras_vlm.data.sources.base import FileExamples, Splits
from keras_vlm.data.sources.coco import split_files
from keras_vlm.data.sources.reading import check_file, check_folder, get_key, read_json
from keras_vlm.data.sources.skipping import usable_records

NUMBER = re.compile(r"(?:.*\D)?0*(\d+)\.\w+")


def open_vqa_v2(argument, language):
    """Opens the official files of VQA v2.

    Args:
        argument: ``"QUESTIONS.json:ANNOTATIONS.json:IMAGES_DIR"``.
        language: language code of the questions.

    Returns:
        A ``Splits``.

    Raises:
        FileNotFoundError: a file or the folder is not there.
        ValueError: the argument has not three parts.
    """
    match = re.fullmatch(r"(.+?\.json):(.+?\.json):(.+)", argument, flags=re.IGNORECASE)
    if not match:
        raise ValueError(
            "load_data: name must be vqa_v2:QUESTIONS.json:ANNOTATIONS.json:IMAGES_DIR, got "
            f"'vqa_v2:{argument}'."
        )
    questions, annotations, images = match.groups()
    openers = {}
    for split, path in split_files(questions, "vqa_v2: the questions").items():
        answers, folder = (text.replace("{split}", split) for text in (annotations, images))
        openers[split] = functools.partial(_open_split, path, answers, folder, split, language)
    return Splits("vqa_v2", openers)


def read_vqa_v2(questions_path, annotations_path):
    """Reads the two files.

    Args:
        questions_path: the JSON file with ``questions``.
        annotations_path: the JSON file with ``annotations``.

    Returns:
        A dict from image id, a number, to a list of ``Question``.

    Raises:
        DataError: the JSON is broken, a key is missing, or a question has no annotation.
    """
    annotations = {}
    content = read_json(annotations_path)
    for place, record in enumerate(get_key(content, "annotations", annotations_path, list)):
        where = f"{annotations_path}: annotations[{place}]"
        answers = [
            get_key(answer, "answer", f"{where}.answers[{i}]", str)
            for i, answer in enumerate(get_key(record, "answers", where, list))
        ]
        if not answers:
            raise DataError(f"{where}: answers must have at least one answer, got none.")
        types = [get_key(record, f"{kind}_type", where, str) for kind in ("question", "answer")]
        annotations[get_key(record, "question_id", where, int)] = (tuple(answers), *types)
    found = {}
    for place, record in enumerate(
        get_key(read_json(questions_path), "questions", questions_path, list)
    ):
        where = f"{questions_path}: questions[{place}]"
        question_id = get_key(record, "question_id", where, int)
        if question_id not in annotations:
            raise DataError(
                f"{where}: question_id {question_id} has no annotation in {annotations_path}. "
                "Are both files of one split?"
            )
        answers, *types = annotations[question_id]
        text = get_key(record, "question", where, str)
        question = Question(text, answers, str(question_id), *types)
        found.setdefault(get_key(record, "image_id", where, int), []).append(question)
    return found


def _open_split(questions_path, annotations_path, images, split, language):
    annotations_path = check_file(annotations_path, "vqa_v2: the annotations")
    folder = check_folder(images, "vqa_v2: the pictures")
    by_image = read_vqa_v2(questions_path, annotations_path)
    if not by_image:
        raise DataError(f"{questions_path}: questions is empty.")
    numbered = ((NUMBER.fullmatch(path.name), path) for path in sorted(folder.iterdir()))
    paths = {int(match[1]): str(path) for match, path in numbered if match}
    kept, skipped = usable_records(
        (str(image), paths.get(image, ""), questions) for image, questions in by_image.items()
    )
    return FileExamples(
        "vqa_v2",
        split,
        language,
        kept,
        None,
        [path for path, _ in kept.values()],
        questions=[questions for _, questions in kept.values()],
        skipped=skipped,
    )
