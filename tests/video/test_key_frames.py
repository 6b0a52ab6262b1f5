"""Facility location: greedy as a plain loop has it, near the best choice of all."""

import itertools

import numpy as np
import pytest

from keras_vlm.video.key_frames import choose_representatives


def unit(random, n, width=4):
    vectors = np.abs(random.normal(size=(n, width)))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def worth(vectors, chosen, weights):
    return sum(w * max(float(v @ vectors[c]) for c in chosen)
               for v, w in zip(vectors, weights, strict=True))  # fmt: skip


@pytest.mark.parametrize("seed", range(5))
def test_greedy_is_greedy_and_near_the_best(seed):
    random = np.random.default_rng(seed)
    vectors, weights = unit(random, 9), random.uniform(0.5, 2, 9)
    chosen = choose_representatives(vectors, 3, weights=weights)
    for step in range(1, 4):
        before = chosen[: step - 1]
        values = [worth(vectors, [*before, c], weights) for c in range(9)]
        assert values[chosen[step - 1]] == pytest.approx(max(values))
    best = max(worth(vectors, c, weights) for c in itertools.combinations(range(9), 3))
    assert worth(vectors, chosen, weights) >= (1 - 1 / np.e) * best


def test_it_represents_and_repeats_nothing():
    vectors = np.array([[1, 0, 0]] * 5 + [[0, 1, 0]] * 3 + [[0, 0, 1]], float)
    assert choose_representatives(vectors, 3) == [0, 5, 8]
    # A fourth would add nothing.
    assert choose_representatives(vectors, 9, least_gain=0.01) == [0, 5, 8]
    assert choose_representatives(vectors, 1, weights=[1] * 8 + [9]) == [8]
    with pytest.raises(ValueError, match="most must be a whole number >= 1, got 0"):
        choose_representatives(vectors, 0)
