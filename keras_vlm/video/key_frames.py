"""Which frames stand for the others: greedy facility location.

A choice is worth what it covers: each item counts the cosine of the nearest that was chosen. So a
choice is good that represents many and repeats none. Greedy steps reach at least 1 - 1/e of the
best worth, for the worth is monotone and submodular. Refuses to know what the vectors are of.

Dimension letters: n items, E width of their vectors.
"""

import numpy as np

from keras_vlm.core.checks import check_number


def choose_representatives(vectors, most, *, weights=None, least_gain=0.0):
    """Chooses items that stand for all.

    Args:
        vectors: [n,E] float, of unit norm.
        most: how many to choose at most.
        weights: [n] float, how much each item counts, or None for all alike.
        least_gain: mean worth that each choice after the first must add.

    Returns:
        List of places, in the order in which they were chosen; of equals the first.

    Raises:
        ValueError: ``most`` is out of range.

    Source:
        Nemhauser, Wolsey and Fisher 1978, "An analysis of approximations for maximizing submodular
        set functions"; for summaries of videos Gygli et al. 2015, "Video Summarization by Learning
        Submodular Mixtures of Objectives", of whose objectives this is representativeness.

    Example:
        >>> choose_representatives(np.array([[1, 0], [0.8, 0.6], [0, 1.0]]), 2)
        [1, 2]
    """
    check_number("choose_representatives", "most", most, minimum=1, integer=True)
    likeness = np.maximum(np.asarray(vectors) @ np.asarray(vectors).T, 0.0)
    weights = np.ones(len(likeness)) if weights is None else np.asarray(weights, float)
    weights = weights / weights.sum()
    covered = np.zeros(len(likeness))
    chosen = []
    while len(chosen) < min(most, len(likeness)):
        gains = weights @ np.maximum(likeness - covered[:, None], 0.0)
        gains[chosen] = -1.0
        # Of gains that differ by rounding alone the first, on every machine.
        best = int(np.flatnonzero(gains >= gains.max() - 1e-7)[0])
        if chosen and gains[best] < least_gain:
            break
        chosen.append(best)
        covered = np.maximum(covered, likeness[:, best])
    return chosen
