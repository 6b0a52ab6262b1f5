"""Calibration: a naive loop over answers and bins is the oracle."""

import numpy as np
import pytest

from keras_vlm.metrics.calibration import expected_calibration_error, reliability


def naive_error(confidences, right, bins):
    total = 0.0
    for k in range(bins):
        inside = [
            i
            for i, c in enumerate(confidences)
            if k / bins < c <= (k + 1) / bins or (k == 0 and c == 0)
        ]
        if inside:
            confidence = sum(confidences[i] for i in inside) / len(inside)
            accuracy = sum(right[i] for i in inside) / len(inside)
            total += len(inside) / len(right) * abs(confidence - accuracy)
    return total


@pytest.mark.parametrize("bins", [1, 2, 7, 13])
def test_error_is_the_naive_one(bins):
    random = np.random.default_rng(bins)
    confidences = random.random(211)
    right = random.random(211) < confidences**2
    found = expected_calibration_error(confidences, right, bins=bins)
    assert found == pytest.approx(naive_error(confidences, right, bins))


def test_extremes():
    assert expected_calibration_error([1.0, 0.0], [True, False]) == 0.0
    assert expected_calibration_error([1.0, 1.0], [False, False]) == 1.0
    found = reliability([0.0, 0.5, 1.0], [False, True, True], bins=2)
    assert found == {"confidence": [0.25, 1.0], "accuracy": [0.5, 1.0], "count": [2, 1]}


def test_an_empty_bin_says_nothing():
    assert reliability([0.9], [True], bins=3)["accuracy"] == [None, None, 1.0]


def test_bad_input():
    with pytest.raises(ValueError, match="confidences must be from 0 to 1, got 1.5"):
        reliability([0.2, 1.5], [True, True])
    with pytest.raises(ValueError, match="at least one, got 0 and 0"):
        reliability([], [])
    with pytest.raises(ValueError, match="bins must be a whole number >= 1, got 0"):
        reliability([0.5], [True], bins=0)
