"""Questions asked of pictures, as a person may put them, and the answers that come back.

Shared by models in memory and served ones. Refuses to know how an answer is found.
"""

import dataclasses

import keras
import tensorflow as tf

from keras_vlm.core.checks import check_number
from keras_vlm.data.image_inputs import count_pictures, is_single

UNREADABLE = "the picture cannot be read"
EMPTY = "the question is empty"
UNKNOWN = "fewer than half of the question's words are known to the model"
LEAST_KNOWN = 0.5


@dataclasses.dataclass(frozen=True)
class Answer:
    """One answer, and how sure the model is.

    Attributes:
        text: the most probable answer; ``""`` where the picture cannot be read or nothing is asked.
        probability: its probability, 0 to 1; of a written answer, the geometric mean of its words'.
        candidates: the ``top_k`` answers, a list of ``(text, probability)``, most probable first.
        unknown_words: the question's words that the model has never learned.
        problem: None, or why the answer is missing or not to be trusted: an unreadable picture, an
            empty question, or one mostly of unknown words, as in another language.
    """

    text: str
    probability: float
    candidates: list
    unknown_words: list
    problem: str | None = None

    def __str__(self):
        return self.text


class AnswerMixin:
    """``answer`` for whoever implements the methods below.

    - ``_read_pictures(images, batch_size)`` yields batches of pictures, tuples of tensors [b,...];
    - ``_is_single(images)`` and ``_count(images)`` say how many they are, where not pictures;
    - ``_answer_batch(batch, questions [b,Q], top_k)`` returns texts [b,Q,k], probabilities [b,Q,k],
      known [b,Q], unknown [b,Q] and readable [b], NumPy arrays.
    """

    def answer(self, images, questions=None, *, top_k=1, batch_size=32, verbose=0):
        """Answers questions about pictures; each picture is encoded once.

        Args:
            images: one picture or many: paths, encoded bytes, arrays [H,W,3] in 0..255, a data
                split or a ``tf.data.Dataset``.
            questions: of one picture, a string or a list of strings. Of many, a string that is
                asked of each, or a list with a string or a list of strings a picture; None takes
                those of the data split.
            top_k: candidates an answer.
            batch_size: pictures encoded at once.
            verbose: 1 for a progress bar, 0 for none.

        Returns:
            An ``Answer`` in place of each string of ``questions``; a string that is asked of many
            pictures gives a list.

        Raises:
            FileNotFoundError: a path does not exist.
            TypeError: ``images`` or ``questions`` are none of the above.
            ValueError: ``questions`` has not one entry a picture, or ``top_k`` is out of range.
        """
        check_number("answer", "top_k", top_k, minimum=1, integer=True)
        single, total = self._is_single(images), self._count(images)
        asked = _arrange(images, questions, single, total)
        progress = keras.utils.Progbar(total, unit_name="picture") if verbose else None
        found = []
        for batch in self._read_pictures(images, batch_size):
            count = len(batch[-1])
            rows = [asked(len(found) + i) for i in range(count)]
            most = max(1, *(len(row) for row in rows)) if count else 1
            padded = [[*row, *[""] * (most - len(row))] for row in rows]
            answers = self._answer_batch(batch, tf.constant(padded), top_k)
            found.extend(
                _picture_answers(len(row), *values)
                for row, *values in zip(rows, *answers, strict=True)
            )
            if progress:
                progress.update(len(found))
        return _restore(found, questions, single)

    def _is_single(self, images):
        return is_single(images)

    def _count(self, images):
        return count_pictures(images)


def _arrange(images, questions, single, known):
    """Returns a function from a picture's place to the list of its questions.

    Raises:
        TypeError: the questions are neither strings nor lists of them.
        ValueError: a picture has no list of questions.
    """
    if questions is None:
        if getattr(images, "questions", None) is None:
            raise TypeError(
                "answer: questions must be a string or a list, got None. Only a data split with "
                "questions has its own."
            )
        questions = [[question.text for question in each] for each in images.questions]
    if single:
        questions = [questions]
    if isinstance(questions, str):
        return lambda _: [questions]
    rows = [[each] if isinstance(each, str) else list(each) for each in questions]
    wrong = [text for row in rows for text in row if not isinstance(text, str)]
    if wrong:
        raise TypeError(f"answer: a question must be a string, got {wrong[0]!r}.")
    if known is not None and known != len(rows):
        raise ValueError(
            f"answer: questions must have one entry a picture, got {len(rows)} for {known} "
            "pictures. Ask all of them the same by passing a string."
        )

    def asked(place):
        if place >= len(rows):
            raise ValueError(
                f"answer: questions must have one entry a picture, got {len(rows)} for more "
                "pictures."
            )
        return rows[place]

    return asked


def _picture_answers(count, texts, probabilities, known, unknown, readable):
    """Returns the first ``count`` answers of a picture's row."""
    answers = []
    for i in range(count):
        words = unknown[i].decode("utf-8").split()
        problem = None
        if not readable:
            problem = UNREADABLE
        elif not known[i] and not words:
            problem = EMPTY
        elif known[i] < LEAST_KNOWN:
            problem = UNKNOWN
        candidates = [
            (text.decode("utf-8"), float(probability))
            for text, probability in zip(texts[i], probabilities[i], strict=True)
        ]
        if problem in {UNREADABLE, EMPTY}:
            candidates = []
        text, probability = candidates[0] if candidates else ("", 0.0)
        answers.append(Answer(text, probability, candidates, words, problem))
    return answers


def _restore(found, questions, single):
    """Brings the answers, a list a picture, into the form of the questions."""
    if single:
        return found[0][0] if isinstance(questions, str) else found[0]
    if isinstance(questions, str):
        return [answers[0] for answers in found]
    if questions is None:
        return found
    return [
        answers[0] if isinstance(each, str) else answers
        for each, answers in zip(questions, found, strict=True)
    ]
