"""Questions about pictures: what a source tells of each, and how they are counted.

Refuses to know models and scores.
"""

import collections
import dataclasses

import numpy as np

from keras_vlm.text.answers import comparable, most_frequent


@dataclasses.dataclass(frozen=True)
class Question:
    """One question about a picture, with what people answered.

    Attributes:
        text: the question, raw.
        answers: tuple of answers, raw: one an annotator, most often one or ten.
        question_id: its name within the data set.
        question_type: such as ``"how many"`` or ``"count"``, or None where the data do not say.
        answer_type: such as ``"yes/no"``, ``"number"``, ``"open"`` or ``"closed"``, or None.
    """

    text: str
    answers: tuple
    question_id: str
    question_type: str | None = None
    answer_type: str | None = None

    @property
    def answer(self):
        """The answer that most annotators gave; of several, the one given first."""
        return most_frequent(self.answers)


def flatten(questions):
    """Returns the questions of a split as one list, in the order of the pictures.

    Args:
        questions: list of a list of ``Question`` a picture.

    Returns:
        List of ``Question``.
    """
    return [question for of_picture in questions for question in of_picture]


def even_answers(questions):
    """Weighs questions so that each answer counts as much as any other.

    Args:
        questions: list of M ``Question``.

    Returns:
        [M] float32, of mean 1.

    Example:
        >>> asked = [Question("?", (answer,), answer) for answer in ("yes", "Yes", "no")]
        >>> even_answers(asked).tolist()
        [0.75, 0.75, 1.5]
    """
    return _inverse_frequency(
        [comparable(most_frequent(question.answers)) for question in questions]
    )


def even_types(questions):
    """Weighs questions so that each type of question counts as much as any other.

    Args:
        questions: list of M ``Question``; those without a type count as one type.

    Returns:
        [M] float32, of mean 1.

    Raises:
        ValueError: no question has a type.
    """
    types = [question.question_type for question in questions]
    if not any(types):
        raise ValueError(
            "even_types: a question must have a question_type, got none that has. Name theirs, as "
            'in keys="question_type=kind", or balance another way.'
        )
    return _inverse_frequency(types)


def _inverse_frequency(labels):
    counts = collections.Counter(labels)
    weights = [len(labels) / (len(counts) * counts[label]) for label in labels]
    return np.array(weights, np.float32)
