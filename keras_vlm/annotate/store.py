"""What was written about the pictures of a folder, on disk after every edit.

``DIR/captions.jsonl`` holds captions and boxes, as ``folder:DIR`` reads them, a line a picture;
``DIR/questions/questions.jsonl`` holds questions, as ``folder:DIR/questions`` reads them. Refuses
to know browsers.
"""

import json
import pathlib
import threading

from keras_vlm.core.checks import DataError
from keras_vlm.core.files import replace_file
from keras_vlm.data.image_files import find_pictures
from keras_vlm.data.sources.reading import read_json_lines


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
        self._records = self._read(self._captions_path)
        self._questions = self._read(self._questions_path)

    def captions(self, name):
        """Returns the list of a picture's captions in the store's language."""
        return [
            text
            for record in self._of(self._records, name)
            for text in record.get("captions", [record["caption"]] if "caption" in record else [])
        ]

    def boxes(self, name):
        """Returns the list of a picture's boxes ``(y0, x0, y1, x1, label)``."""
        found = []
        for record in self._records:
            if record["image"] == name:
                boxes = record.get("boxes", [])
                labels = record.get("labels", [""] * len(boxes))
                found += [(*box, label) for box, label in zip(boxes, labels, strict=True)]
        return list(dict.fromkeys(found))

    def questions(self, name):
        """Returns the list of a picture's ``(question, answer)`` in the store's language."""
        return [
            (record["question"], record["answer"])
            for record in self._of(self._questions, f"../{name}")
        ]

    def write(self, name, captions, boxes):
        """Replaces what a picture has; it is on disk when this returns.

        Args:
            name: name of the picture.
            captions: list of strings; blank ones are left out.
            boxes: list of ``(y0, x0, y1, x1, label)``, shares of height and width.

        Raises:
            OSError: the file cannot be written; the one that is there is whole.
        """
        captions = [text.strip() for text in captions if text.strip()]
        record = {"image": name, "captions": captions, "language": self.language}
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

    def write_questions(self, name, questions):
        """Replaces a picture's questions; they are on disk when this returns.

        Args:
            name: name of the picture.
            questions: list of ``(question, answer)``; where one of the two is blank it is left out.

        Raises:
            OSError: the file cannot be written; the one that is there is whole.
        """
        with self._lock:
            kept = [each for each in self._questions if not self._is(each, f"../{name}")]
            self._questions = kept + [
                {"image": f"../{name}", "question": asked.strip(), "answer": answer.strip(),
                 "language": self.language}
                for asked, answer in questions
                if asked.strip() and answer.strip()
            ]  # fmt: skip
            if self._questions or self._questions_path.exists():
                self._write(self._questions_path, self._questions)

    def _is(self, record, name):
        return record["image"] == name and record.get("language") in (None, self.language)

    def _of(self, records, name):
        return [record for record in records if self._is(record, name)]

    @staticmethod
    def _read(path):
        """Returns the records of a file, or none where there is none.

        Raises:
            DataError: a record names no picture.
        """
        records = read_json_lines(path) if path.exists() else []
        for where, record in records:
            if not isinstance(record, dict) or "image" not in record:
                raise DataError(f"{where}: key 'image' is missing.")
        return [record for _, record in records]

    @staticmethod
    def _write(path, records):
        lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        with replace_file(path) as temporary:
            temporary.write_text(lines, encoding="utf-8")
