"""Calibration: whether a model is right as often as it says it is. Refuses to know models.

Dimension letters: n answers, K bins.
"""

import numpy as np

from keras_vlm.core.checks import check_number


def reliability(confidences, right, *, bins=10):
    """Sorts answers by confidence into bins of equal width.

    Args:
        confidences: n probabilities, 0 to 1.
        right: n truth values.
        bins: K.

    Returns:
        dict of lists [K]: ``confidence`` and ``accuracy``, the means of a bin (None where it is
        empty), and ``count``. A bin holds its upper edge; the first one holds 0 too.

    Raises:
        ValueError: the lists are empty or do not match, or a probability is out of range.

    Example:
        >>> reliability([0.2, 0.9, 0.7], [False, True, False], bins=2)["accuracy"]
        [0.0, 0.5]
    """
    check_number("reliability", "bins", bins, minimum=1, integer=True)
    confidences, right = np.asarray(confidences, float), np.asarray(right, float)
    if len(confidences) != len(right) or not len(right):
        raise ValueError(
            "reliability: confidences and right must be as many, and at least one, got "
            f"{len(confidences)} and {len(right)}."
        )
    if not ((confidences >= 0) & (confidences <= 1)).all():
        wrong = confidences[~((confidences >= 0) & (confidences <= 1))][0]
        raise ValueError(f"reliability: confidences must be from 0 to 1, got {wrong}.")
    places = np.clip(np.ceil(confidences * bins).astype(int) - 1, 0, bins - 1)
    counts = np.bincount(places, minlength=bins)

    def means(values):
        sums = np.bincount(places, values, minlength=bins)
        return [float(s / n) if n else None for s, n in zip(sums, counts, strict=True)]

    return {
        "confidence": means(confidences),
        "accuracy": means(right),
        "count": counts.tolist(),
    }


def expected_calibration_error(confidences, right, *, bins=10):
    """Returns the mean distance between confidence and accuracy, over answers.

    Args:
        confidences: n probabilities, 0 to 1.
        right: n truth values.
        bins: K.

    Returns:
        A float from 0 to 1.

    Source:
        Naeini et al. 2015; Guo et al. 2017, https://arxiv.org/abs/1706.04599.

    Example:
        >>> round(expected_calibration_error([0.8, 0.8], [True, False]), 3)
        0.3
    """
    found = reliability(confidences, right, bins=bins)
    total = sum(found["count"])
    return sum(
        n / total * abs(confidence - accuracy)
        for confidence, accuracy, n in zip(
            found["confidence"], found["accuracy"], found["count"], strict=True
        )
        if n
    )
