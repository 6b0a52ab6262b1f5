"""VQA accuracy: equal to the reference evaluation, rule by rule; types; scikit-learn for the rest.

``vqa_reference.json`` holds answers, annotators, and what vqaEval.py of GT-Vision-Lab/VQA (commit
c4e6a0e) made of them: every mark, article, number word and contraction, and counts of agreement.
"""

import json
import pathlib

import numpy as np
import pytest

from keras_vlm.data.questions import Question
from keras_vlm.metrics import score_vqa, vqa_accuracy
from keras_vlm.text.answers import CONTRACTIONS, MARKS, NUMBER_WORDS, normalize_answer

ROWS = json.loads(
    (pathlib.Path(__file__).parent / "vqa_reference.json").read_text(encoding="utf-8")
)


def test_the_fixture_covers_every_rule():
    said = [row["answer"] for row in ROWS]
    for mark in MARKS:
        assert {f"one{mark} two", f"one {mark}two", f"one{mark}two"} <= set(said)
    assert set(CONTRACTIONS) <= set(said)
    assert {"two", "Zero", "none", "ten", "one two three"} <= set(said)
    assert {round(row["accuracy"], 2) for row in ROWS} >= {0.0, 0.3, 0.6, 0.9, 1.0}


def test_normalisation_is_the_references():
    for row in ROWS:
        assert normalize_answer(row["answer"]) == row["normalized"], row


def test_accuracy_is_the_references():
    for row in ROWS:
        found = vqa_accuracy(row["answer"], row["references"])
        assert found == pytest.approx(row["accuracy"], abs=1e-12), row


def test_every_number_word():
    words = "zero one two three four five six seven eight nine ten".split()
    assert [normalize_answer(word) for word in words] == [str(n) for n in range(11)]
    assert NUMBER_WORDS["none"] == "0"


@pytest.mark.parametrize(
    ("references", "agreeing", "expected"),
    [(1, 1, 1), (1, 0, 0), (2, 1, 1 / 2), (2, 2, 1), (3, 1, 1 / 3), (3, 2, 2 / 3), (5, 3, 4 / 5)],
)
def test_few_annotators(references, agreeing, expected):
    """By hand: of two, the other one must agree; of three, both others; then three."""
    given = ["Two dogs."] * agreeing + ["x"] * (references - agreeing)
    found = vqa_accuracy("2 dogs", given, protocol="normalized")
    assert found == pytest.approx(expected)


def question(answers, kind=None, answer_kind=None):
    return Question("?", tuple(answers), "0", kind, answer_kind)


def test_scores_by_type():
    questions = [
        question(["yes"], "is", "closed"),
        question(["no"], "is", "closed"),
        question(["a red ball"], "what", "open"),
        question(["two"], None, None),
    ]
    found = score_vqa(["Yes", "yes", "red ball", "3"], questions, confidences=[0.9, 0.6, 1.0, 0.6])
    assert found["accuracy"] == 0.5
    assert found["accuracy_question:is"] == 0.5
    assert found["accuracy_question:what"] == 1.0
    assert found["accuracy_answer:closed"] == 0.5
    assert not any(name.endswith(":None") for name in found)
    # Bins of 0.6 (twice, wrong), 0.9 (right) and 1.0 (right).
    assert found["ECE"] == pytest.approx((2 * 0.6 + 0.1 + 0) / 4)


def test_precision_recall_and_f1_are_those_of_scikit_learn():
    sklearn = pytest.importorskip("sklearn.metrics", reason="scikit-learn is an oracle")
    random = np.random.default_rng(0)
    names = ["cat", "dog", "fish", "bird", "cow"]
    truth = random.choice(names[:4], 97)
    said = np.where(random.random(97) < 0.6, truth, random.choice(names, 97))
    found = score_vqa(said.tolist(), [question([name]) for name in truth])
    assert found["exact_match"] == pytest.approx(sklearn.accuracy_score(truth, said))
    for average in ("macro", "micro"):
        expected = sklearn.precision_recall_fscore_support(
            truth, said, average=average, zero_division=0
        )[:3]
        ours = [found[f"{average}_{name}"] for name in ("precision", "recall", "F1")]
        assert ours == pytest.approx(expected)


def test_ten_annotators_are_official():
    """Capitals of an annotator count as they stand: the official files have none."""
    assert score_vqa(["dog"], [question(["Dog"] * 10)])["accuracy"] == 0.0
    assert score_vqa(["dog"], [question(["Dog"] * 9)])["accuracy"] == 1.0


def test_bad_input():
    with pytest.raises(ValueError, match="references must have at least one answer, got none"):
        vqa_accuracy("yes", [])
    with pytest.raises(ValueError, match="protocol must be one of .* got 'strict'"):
        vqa_accuracy("yes", ["no"], protocol="strict")
    with pytest.raises(ValueError, match="as many, and at least one, got 1 and 0"):
        score_vqa(["yes"], [])
