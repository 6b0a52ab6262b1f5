"""N-grams of ids are counted as a dictionary would."""

import collections

import numpy as np
import pytest

from keras_vlm.metrics.id_ngrams import LONGEST, check_numbers_fit, count_in_pictures

B, R, T, V = 5, 3, 11, 7


def plain_counts(row, n):
    words = [int(word) for word in row if word]
    return collections.Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def spelled(number, n):
    """The words of a numbered n-gram."""
    return tuple(int(number) // V**place % V for place in reversed(range(n)))


@pytest.mark.parametrize("n", range(1, LONGEST + 1))
@pytest.mark.parametrize("length", [T, 2])
def test_counts(n, length):
    random = np.random.default_rng(n)
    ids = random.integers(1, V, (B, R, length))
    rows = ids * (np.arange(length) < random.integers(0, length + 1, (B, R, 1)))
    rows[2] = 0
    counts, numbers = count_in_pictures(rows.astype(np.int32), n, V)
    for picture in range(B):
        used = numbers[picture] >= 0
        assert not counts[picture][:, ~used].any()
        assert len(set(numbers[picture][used])) == used.sum()
        for row, found in zip(rows[picture], counts[picture], strict=True):
            ours = zip(numbers[picture][used], found[used], strict=True)
            assert {spelled(a, n): b for a, b in ours if b} == plain_counts(row, n)


def test_columns_are_a_pictures_own():
    """As many as the picture with the most different n-grams has, not as the batch has."""
    rows = np.arange(1, 1 + 32 * 4).reshape(32, 1, 4)
    counts, _ = count_in_pictures(rows, 1, 200)
    assert counts.shape == (32, 1, 4)
    assert (counts == 1).all()


def test_a_vocabulary_too_large():
    assert check_numbers_fit("here", 55_107) == 55_107
    with pytest.raises(ValueError, match="here: vocabulary_size must be below 55108, got 55109"):
        check_numbers_fit("here", 55_109)
