"""What was written about the pictures of a folder, on disk after every edit.

``DIR/captions.jsonl`` holds captions and boxes, as ``folder:DIR`` reads them, a line a picture;
captions in another form, as ``captions.csv``, are taken over, and that file becomes
``captions.csv.bak`` when the first edit is written;
``DIR/questions/questions.jsonl`` holds questions, as ``folder:DIR/questions`` reads them. Refuses
to know browsers.
"""

import json
import pathlib
import threading

from keras_vlm.core.files import replace_file
from keras_vlm.data.image_files import find_pictures
from keras_vlm.data.sources.folder import PICTURES, find_caption_file
from keras_vlm.data.sources.folder_captions import read_captions
from keras_vlm.data.sources.reading import get_key, read_json_lines

# The keys of a record of captions that are written anew.
WRITTEN = ("image", "caption", "captions", "language", "boxes", "labels")


class AnnotationStore:
    """The captions, boxes and questions of a folder's pictures.

    Args:
        folder: the folder of pictures.
        language: language code of new captions and questions.

    Attributes:
        names: list of the pictures' names within the folder.

    Raises:
        DataError: there is no picture, or a file that is there already has another form.
        FileNotFoundError: there is no such folder.
    """

    def __init__(self, folder, *, language="en"):
        self.folder = pathlib.Path(folder).resolve()
        self.language = language
        self.names = [
            str(path.relative_to(self.folder)) for path in find_pictures(self.folder)
        ]
        self._lock = threading.Lock()
        self._captions_path = self.folder / "captions.jsonl"
        self._questions_path = self.folder / "questions" / "questions.jsonl"
        # Captions in another form, which the first edit replaces.
        self._other_path = None
        there = find_caption_file(self.folder)
        if there in (None, self._captions_path):
            self._records = self._read(self._captions_path)
        else:
            self._other_path, self._records = there, _read_other(there)
        self._written = _written_names(self.names, self._records)
        self._questions = self._read(self._questions_path, "question")
        # What the files said before: of what the page does not show nothing is lost.
        self._found, self._asked = list(self._records), list(self._questions)

    def captions(self, name):
        """Returns the list of a picture's captions in the store's language."""
        found = []
        for record in self._of(self._records, self._written[name]):
            texts = record.get("captions", record.get("caption", []))
            found += [texts] if isinstance(texts, str) else texts
        return found

    def boxes(self, name):
        """Returns the list of a picture's boxes ``(y0, x0, y1, x1, label)``."""
        found = []
        for record in self._records:
            if record["image"] == self._written[name]:
                boxes = record.get("boxes", [])
                labels = record.get("labels", [""] * len(boxes))
                found += [(*box, label) for box, label in zip(boxes, labels, strict=True)]
        return list(dict.fromkeys(found))

    def questions(self, name):
        """Returns the list of a picture's ``(question, answer)`` in the store's language."""
        return [_pair(record) for record in self._of(self._questions, f"../{name}")]

    def write(self, name, captions, boxes):
        """Replaces what a picture has; it is on disk when this returns.

        Args:
            name: name of the picture.
            captions: list of strings; blank ones are left out.
            boxes: list of ``(y0, x0, y1, x1, label)``, shares of height and width.

        Raises:
            OSError: the file cannot be written; the one that is there is whole.
        """
        name = self._written[name]
        captions = [text.strip() for text in captions if text.strip()]
        more = self._more(self._found, name)
        record = {**more, "image": name, "captions": captions, "language": self.language}
        with self._lock:
            kept = [each for each in self._records if not self._is(each, name)]
            for other in kept:
                # Boxes belong to the picture, whatever the language of its captions.
                if other["image"] == name:
                    other.pop("boxes", None), other.pop("labels", None)
            if boxes:
                record["boxes"] = [list(box[:4]) for box in boxes]
                record["labels"] = [str(box[4]) for box in boxes]
            self._records = kept + ([record] if captions or boxes else [])
            self._write(self._captions_path, self._records)
            if self._other_path is not None:
                self._other_path.replace(f"{self._other_path}.bak")
                self._other_path = None

    def write_questions(self, name, questions):
        """Replaces a picture's questions; they are on disk when this returns.

        Args:
            name: name of the picture.
            questions: list of ``(question, answer)``; where one of the two is blank it is left out.

        Raises:
            OSError: the file cannot be written; the one that is there is whole.
        """
        name = f"../{name}"
        split = self._more(self._asked, name).get("split")
        more = {} if split is None else {"split": split}
        with self._lock:
            kept = [each for each in self._questions if not self._is(each, name)]
            # One that was not changed keeps its number, its type and all of its answers.
            before = {_pair(record): record for record in self._of(self._asked, name)}
            for pair in questions:
                asked, answer = (text.strip() for text in pair)
                if asked and answer:
                    new = {**more, "image": name, "question": asked, "answer": answer,
                           "language": self.language}  # fmt: skip
                    kept.append(before.get((asked, answer), new))
            self._questions = kept
            if self._questions or self._questions_path.exists():
                self._write(self._questions_path, self._questions)

    def _more(self, records, name):
        """Returns what records say of a picture beside what is written here: its split, ..."""
        found = {}
        for record in records:
            if record["image"] == name and "split" in record:
                found["split"] = record["split"]
        for record in self._of(records, name):
            found |= {key: value for key, value in record.items() if key not in WRITTEN}
        return found

    def _is(self, record, name):
        return record["image"] == name and record.get("language") in (None, self.language)

    def _of(self, records, name):
        return [record for record in records if self._is(record, name)]

    @staticmethod
    def _read(path, *needed):
        """Returns the records of a file, or none where there is none.

        Raises:
            DataError: a record names no picture, or lacks what is needed beside.
        """
        records = read_json_lines(path) if path.exists() else []
        for where, record in records:
            for key in ("image", *needed):
                get_key(record, key, where, str)
            if needed and not (record.get("answers") or "answer" in record):
                get_key(record, "answer", where)
        return [record for _, record in records]

    @staticmethod
    def _write(path, records):
        lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        with replace_file(path) as temporary:
            temporary.write_text(lines, encoding="utf-8")


def _read_other(path):
    """Returns the records of a file of captions that is not ``captions.jsonl``."""
    records = []
    for _, image, captions, split, language, boxes in read_captions(path):
        said = {"image": image, "captions": captions, "split": split, "language": language}
        if boxes:
            said["boxes"], said["labels"] = map(list, zip(*boxes, strict=True))
        records.append({key: value for key, value in said.items() if value is not None})
    return records


def _written_names(names, records):
    """Returns a dict from pictures' names to what records call them: perhaps without ``images/``.

    A name decides a picture's split, so that it must stay what it is.
    """
    known, written = set(names), {name: name for name in names}
    called = {record["image"] for record in records}
    for inner in PICTURES.folders:
        short = {f"{inner}/{r['image']}": r["image"] for r in records if r["image"] not in known}
        if not short.keys() & known:
            continue
        # Those without a record yet will be called alike.
        for name in names:
            bare = name.removeprefix(f"{inner}/")
            if bare not in known and name not in called:
                written[name] = bare
    return written


def _pair(record):
    """Returns a record's question and its answer, the first of several, as they are shown."""
    answer = record["answers"][0] if record.get("answers") else record["answer"]
    answer = answer.get("answer") if isinstance(answer, dict) else answer
    return record["question"].strip(), str(answer).strip()
