"""What who does not look at the picture could score: by the question's words, or by nothing.

Refuses to know models. Dimension letters: A answers, W words.
"""

import collections

import numpy as np

from keras_vlm.data.questions import flatten
from keras_vlm.metrics.vqa_accuracy import choose_protocol, vqa_accuracy
from keras_vlm.text.answers import comparable
from keras_vlm.text.cleaning import clean_characters, clean_words

# A question that was asked at least so often in training is answered as it was then.
OFTEN = 3
SMOOTHING = 0.1


class QuestionOnly:
    """Answers by the question alone: as the same question was answered, else by naive Bayes.

    The same question, word for word, has the most frequent answer it had in training, if it was
    asked often enough. Others are judged by their words and pairs of words.

    Args:
        examples: a data split with questions, to learn from.
    """

    def __init__(self, examples):
        questions = flatten(examples.questions)
        self._language = examples.language
        answers = [comparable(question.answer) for question in questions]
        self._priors = collections.Counter(answers)
        self._by_type = collections.defaultdict(collections.Counter)
        for question, answer in zip(questions, answers, strict=True):
            self._by_type[question.question_type][answer] += 1
        self._asked = collections.defaultdict(collections.Counter)
        features = collections.defaultdict(collections.Counter)
        for words, answer in zip(self._split(questions), answers, strict=True):
            self._asked[words][answer] += 1
            for feature in _features(words):
                features[feature][answer] += 1
        # In alphabetical order: of equals the first wins. Counts are few a feature: ids and values.
        self._answers = sorted(self._priors)
        ids = {answer: i for i, answer in enumerate(self._answers)}
        totals = np.full(len(ids), SMOOTHING * len(features))
        self._features = {}
        for feature, counts in features.items():
            places = np.array([ids[answer] for answer in counts])
            values = np.array(list(counts.values()), float)
            totals[places] += values
            self._features[feature] = places, np.log(values + SMOOTHING) - np.log(SMOOTHING)
        self._log_priors = np.log([self._priors[answer] for answer in self._answers])
        # What each known feature adds to an answer that never came with it.
        self._log_absent = np.log(SMOOTHING) - np.log(totals)

    def answer(self, questions):
        """Answers a list of ``Question``; returns a list of strings."""
        return [self._answer(words) for words in self._split(questions)]

    @property
    def majority(self):
        """The most frequent answer of all."""
        return self._priors.most_common(1)[0][0]

    def majority_of(self, question_type):
        """Returns the most frequent answer to a type of question; to a new type, that of all."""
        counts = self._by_type.get(question_type, self._priors)
        return counts.most_common(1)[0][0]

    def _answer(self, words):
        seen = self._asked.get(words)
        if seen and sum(seen.values()) >= OFTEN:
            return seen.most_common(1)[0][0]
        known = [self._features[f] for f in _features(words) if f in self._features]
        scores = self._log_priors + len(known) * self._log_absent
        # Answers that none of the words had cannot win over those that some had.
        seen = np.full(len(scores), not known)
        for places, gains in known:
            scores[places] += gains
            seen[places] = True
        return self._answers[int(np.argmax(np.where(seen, scores, -np.inf)))]

    def _split(self, questions):
        """Returns the words of each question, as a tuple."""
        texts = [question.text for question in questions]
        if self._language == "zh":
            cleaned = clean_characters(texts).numpy()
            return [tuple(text.decode("utf-8")) for text in cleaned]
        return [tuple(text.decode("utf-8").split()) for text in clean_words(texts).numpy()]


def _features(words):
    """Returns words and pairs of neighbours."""
    return [*words, *zip(words, words[1:], strict=False)]


def blind_scores(training, examples):
    """Scores two baselines that do not look.

    Args:
        training: a data split with questions, to learn from.
        examples: the data split to score on.

    Returns:
        dict of accuracies: ``majority``, of the one answer that training had most often;
        ``question_only``; and for each type of question ``majority:TYPE``, of the answer that
        training had most often to that type, and ``question_only:TYPE``.

    Raises:
        ValueError: the training split has no questions.
    """
    if getattr(training, "questions", None) is None:
        raise ValueError("blind_scores: training must have questions, got none.")
    blind = QuestionOnly(training)
    questions = flatten(examples.questions)
    protocol = choose_protocol(questions)

    def score(answers, asked):
        each = [
            vqa_accuracy(answer, question.answers, protocol=protocol)
            for answer, question in zip(answers, asked, strict=True)
        ]
        return sum(each) / len(each)

    answers = blind.answer(questions)
    scores = {
        "majority": score([blind.majority] * len(questions), questions),
        "question_only": score(answers, questions),
    }
    for kind in sorted({question.question_type for question in questions} - {None}):
        pairs = [
            (answer, question)
            for answer, question in zip(answers, questions, strict=True)
            if question.question_type == kind
        ]
        asked = [question for _, question in pairs]
        scores[f"majority:{kind}"] = score([blind.majority_of(kind)] * len(asked), asked)
        scores[f"question_only:{kind}"] = score([answer for answer, _ in pairs], asked)
    return scores
