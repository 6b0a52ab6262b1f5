"""Answers: their official normalisation, and the vocabulary that a classifier chooses from.

Refuses to know pictures, questions and models. Dimension letter: A answers of the vocabulary.
"""

import collections
import re

import keras
import numpy as np

from keras_vlm.core.checks import check_choice, check_number

ACTIVATIONS = ("softmax", "sigmoid")
MARKS = (
    ";", "/", "[", "]", '"', "{", "}", "(", ")", "=", "+", "\\", "_", "-", ">", "<", "@", "`", ",",
    "?", "!",
)  # fmt: skip
NUMBER_WORDS = {
    word: str(number)
    for number, word in enumerate(
        "zero one two three four five six seven eight nine ten".split()
    )
} | {"none": "0"}
ARTICLES = {"a", "an", "the"}
COMMA_IN_NUMBER = re.compile(r"\d,\d")
LOOSE_POINT = re.compile(r"\.(?!\d)")
# The reference gives `re.sub` a flag in the place of the count: no more points than this go.
MOST_POINTS = int(re.UNICODE)
# Contractions without their apostrophe, and with one of two; what follows from the spelling is
# `word: whole`. The odd ones are the reference's, kept for equality: "somebody'd", and those with
# capitals, which lower-cased text never meets.
_WHOLE = (
    "ain't aren't can't could've couldn't didn't doesn't don't hadn't hasn't haven't he'd he's "
    "how'd how'll how's I'm I've isn't it'd it'll ma'am mightn't might've mustn't must've needn't "
    "not've o'clock oughtn't shan't should've shouldn't somebody'll somebody's someone'd "
    "someone'll someone's something'd something'll that's there'd there're there's they'd "
    "they'll they're they've 'twas wasn't we've weren't what'll what're what's what've when's "
    "where'd where's where've who'd who'll who's who've why'll why're why's won't would've "
    "wouldn't y'all you'd you'll you're you've"
).split()
_DOUBLE = (
    "couldn't've hadn't've he'd've I'd've it'd've mightn't've she'd've shouldn't've somebody'd've "
    "someone'd've something'd've there'd've they'd've we'd've who'd've wouldn't've you'd've"
).split()
CONTRACTIONS = {word.replace("'", ""): word for word in _WHOLE}
for _word in _DOUBLE:
    _first, _second, _third = _word.split("'")
    CONTRACTIONS[f"{_first}{_second}'{_third}"] = _word
    CONTRACTIONS[f"{_first}'{_second}{_third}"] = _word
CONTRACTIONS |= {
    "let's": "let's",
    "she's": "she's",
    "ow's'at": "'ow's'at",
    "'ows'at": "'ow's'at",
    "'ow'sat": "'ow's'at",
    "somebody'd": "somebodyd",
    "yall'll": "y'all'll",
    "y'allll": "y'all'll",
    "yall'd've": "y'all'd've",
    "y'alld've": "y'all'd've",
    "y'all'dve": "y'all'd've",
}


def strip_punctuation(answer):
    """Takes the marks out of an answer, as the reference evaluation does.

    A mark that has a space at its side goes; between two words it becomes a space, unless a number
    with a comma stands anywhere in the answer. A point goes if no digit follows.

    Args:
        answer: a string.

    Returns:
        A string.

    Example:
        >>> strip_punctuation("black/white, I think."), strip_punctuation("1,000 people")
        ('black white I think', '1000 people')
    """
    stripped = answer
    joined = COMMA_IN_NUMBER.search(answer) is not None
    for mark in MARKS:
        loose = f"{mark} " in answer or f" {mark}" in answer
        stripped = stripped.replace(mark, "" if loose or joined else " ")
    return LOOSE_POINT.sub("", stripped, count=MOST_POINTS)


def normalize_answer(answer):
    """Brings an answer to the form in which the official VQA evaluation compares.

    Lower case; no articles, loose punctuation or surplus spaces; number words up to ten as digits;
    contractions with their apostrophes.

    Args:
        answer: a string.

    Returns:
        A string.

    Source:
        Antol et al. 2015, https://arxiv.org/abs/1505.00468; the rules of vqaEval.py in
        https://github.com/GT-Vision-Lab/VQA.

    Example:
        >>> normalize_answer(" The TWO dogs dont bark. ")
        "2 dogs don't bark"
    """
    answer = strip_punctuation(re.sub("[\n\t]", " ", answer).strip())
    words = [NUMBER_WORDS.get(word, word) for word in answer.lower().split()]
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in ARTICLES)


def comparable(answer):
    """Normalises an answer; one of articles or marks alone, such as the choice "A", stays.

    Args:
        answer: a string.

    Returns:
        A string, ``""`` for an empty answer only.

    Example:
        >>> comparable("A"), comparable("a dog"), comparable("?")
        ('a', 'dog', '?')
    """
    return normalize_answer(answer) or " ".join(answer.lower().split())


def most_frequent(answers):
    """Returns the answer that most annotators gave; of several, the one given first."""
    counts = collections.Counter(answers)
    most = max(counts.values())
    return next(answer for answer in answers if counts[answer] == most)


@keras.saving.register_keras_serializable("keras_vlm")
class AnswerVocabulary:
    """The answers that a classifier chooses from, and how it does.

    Args:
        answers: list of distinct answers, normalised.
        activation: ``"softmax"``, for one answer is right, or ``"sigmoid"``, where each may be.
        counts: how often each answer was seen, or None.
        coverage: share of the questions it was made of whose most frequent answer it has, or None.
        balanced: whether a question counts in the loss the more, the rarer its answer is; it takes
            counts.

    Raises:
        ValueError: there are fewer than two answers, or one comes twice; the activation is unknown;
            counts are missing.

    Source:
        Sigmoids over soft targets: Teney et al. 2018, https://arxiv.org/abs/1708.02711.
    """

    def __init__(
        self, answers, *, activation="softmax", counts=None, coverage=None, balanced=False
    ):
        check_choice("AnswerVocabulary", "activation", activation, ACTIVATIONS)
        repeated = [answer for answer, n in collections.Counter(answers).items() if n > 1]
        if len(answers) < 2 or repeated:
            raise ValueError(
                "AnswerVocabulary: answers must be two or more, all different, got "
                f"{f'{repeated[0]!r} twice' if repeated else list(answers)}."
            )
        if balanced and counts is None:
            raise ValueError(
                "AnswerVocabulary: counts must be given where balanced, got None. Make it with "
                "AnswerVocabulary.fit."
            )
        self.answers = list(answers)
        self.balanced = balanced
        self.activation = activation
        self.counts = None if counts is None else list(counts)
        self.coverage = coverage
        self.ids = {answer: i for i, answer in enumerate(self.answers)}

    @classmethod
    def fit(
        cls, questions, *, size=3000, minimum_count=1, activation="softmax", balanced=False
    ):
        """Takes the most frequent answers.

        Args:
            questions: a data split with questions, or a list of objects with ``answers`` and
                ``answer``.
            size: at most so many answers.
            minimum_count: an answer that fewer questions have is left out.
            activation: as for the class.
            balanced: as for the class.

        Returns:
            An ``AnswerVocabulary``, by falling frequency, ties in alphabetical order.

        Raises:
            ValueError: an option is out of range, or fewer than two answers are left.
        """
        check_number("AnswerVocabulary.fit", "size", size, minimum=2, integer=True)
        check_number(
            "AnswerVocabulary.fit", "minimum_count", minimum_count, minimum=1, integer=True
        )
        if hasattr(questions, "questions"):
            questions = [one for of_picture in questions.questions for one in of_picture]
        best = [comparable(question.answer) for question in questions]
        counts = collections.Counter(best)
        frequent = sorted((-n, a) for a, n in counts.items() if n >= minimum_count and a)[:size]
        answers = [answer for _, answer in frequent]
        covered = sum(counts[answer] for answer in answers) / max(1, len(best))
        return cls(
            answers,
            activation=activation,
            counts=[counts[answer] for answer in answers],
            coverage=covered,
            balanced=balanced,
        )

    def __len__(self):
        return len(self.answers)

    def soft_targets(self, references):
        """Gives the answers of annotators as scores of the vocabulary's answers.

        Args:
            references: list of answers to one question, raw, one an annotator.

        Returns:
            Dict from answer id to score, in (0, 1]: ``min(n / 3, 1)`` where n annotators agree, of
            one or two annotators the share who say it. Answers that are not there are absent.
        """
        counts = collections.Counter(comparable(answer) for answer in references)
        needed = min(3, len(references))
        return {
            self.ids[answer]: min(1.0, n / needed)
            for answer, n in counts.items()
            if answer in self.ids
        }

    def encode(self, references):
        """Turns answers into arrays of ids and scores.

        Args:
            references: list of M tuples of answers.

        Returns:
            dict: ``answer_ids`` [M,S] int32, -1 where there is none, and ``answer_scores`` [M,S]
            float32; S is the most answers that count for one question.
        """
        found = [self.soft_targets(answers) for answers in references]
        most = max([1, *(len(scores) for scores in found)])
        ids = np.full((len(found), most), -1, np.int32)
        scores = np.zeros((len(found), most), np.float32)
        for row, targets in enumerate(found):
            ids[row, : len(targets)] = list(targets)
            scores[row, : len(targets)] = list(targets.values())
        return {"answer_ids": ids, "answer_scores": scores}

    def class_weights(self):
        """Returns weights [A] in inverse proportion to frequency, of mean 1 a question, or None."""
        if not self.balanced:
            return None
        counts = np.maximum(np.array(self.counts, np.float32), 1)
        return counts.sum() / (len(counts) * counts)

    def get_config(self):
        """Returns the constructor's arguments, for Keras's saving."""
        return {
            "answers": self.answers,
            "activation": self.activation,
            "counts": self.counts,
            "coverage": self.coverage,
            "balanced": self.balanced,
        }

    @classmethod
    def from_config(cls, config):
        """Makes the vocabulary that ``get_config`` described."""
        return cls(**config)
