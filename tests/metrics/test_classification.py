"""Classification scores against scikit-learn's."""

import numpy as np
import pytest

from keras_vlm.metrics import score_classification
from keras_vlm.metrics.classification import confusion_matrix

LABELS = ["cat", "dog", "eel", "fox", "gnu"]


def example(seed=0, size=53):
    random = np.random.default_rng(seed)
    truth = random.choice(LABELS[:4], size)
    predicted = np.where(random.random(size) < 0.6, truth, random.choice(LABELS[:3], size))
    return truth.tolist(), predicted.tolist()


@pytest.mark.parametrize("seed", range(3))
def test_equal_to_scikit_learn(seed):
    oracle = pytest.importorskip("sklearn.metrics", reason="needs the extra 'oracles'")
    truth, predicted = example(seed)
    found = score_classification(truth, predicted, LABELS)
    assert found["accuracy"] == pytest.approx(oracle.accuracy_score(truth, predicted))
    for average in ("macro", "micro"):
        values = oracle.precision_recall_fscore_support(
            truth, predicted, average=average, zero_division=0
        )
        for name, value in zip(("precision", "recall", "F1"), values[:3], strict=True):
            assert found[f"{average}_{name}"] == pytest.approx(value), (average, name)
    counts = oracle.confusion_matrix(truth, predicted, labels=LABELS)
    np.testing.assert_array_equal(confusion_matrix(truth, predicted, LABELS)[:, :-1], counts)


def test_saying_nothing_is_wrong():
    found = score_classification(["cat", "dog"], ["cat", None], LABELS)
    assert found["accuracy"] == found["micro_recall"] == found["macro_recall"] == 0.5
    assert found["micro_precision"] == 1
    assert confusion_matrix(["cat", "dog"], ["cat", None], ["cat", "dog"])[1].tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("truth", "predicted", "message"),
    [
        (["cat"], [], "must be as many, got 1 and 0"),
        (["cat"], ["hen"], "'hen' is not among"),
        ([None], ["cat"], "None is not among"),
        ([], [], "at least one label, got none"),
    ],
)
def test_bad_input(truth, predicted, message):
    with pytest.raises(ValueError, match=message):
        score_classification(truth, predicted, LABELS)
