"""Questions about pictures: what a source tells of each, and how they are counted.

Refuses to know models and scores.
"""

import dataclasses

from keras_vlm.text.answers import most_frequent


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
