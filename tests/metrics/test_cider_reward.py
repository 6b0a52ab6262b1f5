"""The reward is CIDEr-D, with the document frequencies of another collection."""

import numpy as np
import pytest

from keras_vlm.metrics.cider import cider_d_each
from keras_vlm.metrics.cider_reward import CiderReward

B, S, K, T, V = 7, 3, 5, 11, 9


def random_rows(random, *shape):
    """Token ids [*shape,T] with an end id and padding; some rows break off without an end."""
    lengths = random.integers(0, T + 1, shape)[..., None]
    ids = random.integers(4, V, (*shape, T))
    return np.where(np.arange(T) < lengths, ids, np.where(np.arange(T) == lengths, 3, 0))


def text_of(ids):
    return " ".join(str(number) for number in ids if number)


@pytest.mark.parametrize("seed", range(5))
def test_equals_cider_d_with_the_end_as_a_word(seed):
    random = np.random.default_rng(seed)
    references, samples = random_rows(random, B, K), random_rows(random, B, S)
    for picture in range(B):
        references[picture, 1 + picture % K :] = 0
    samples[:, 0] = references[:, 0]
    found = CiderReward(references, V)(samples, references)
    assert found.shape == (B, S)
    assert found.dtype == np.float32
    texts = [[text_of(row) for row in rows if row.any()] for rows in references]
    for place in range(S):
        expected = cider_d_each(texts, [text_of(row) for row in samples[:, place]])
        np.testing.assert_allclose(found[:, place], expected, atol=1e-5)


def test_frequencies_are_those_of_the_documents():
    """A batch of some pictures scores as those pictures do among all."""
    random = np.random.default_rng(9)
    references, samples = random_rows(random, B, K), random_rows(random, B, S)
    reward = CiderReward(references, V)
    whole = reward(samples, references)
    np.testing.assert_allclose(reward(samples[2:5], references[2:5]), whole[2:5], atol=1e-6)
    other = CiderReward(random_rows(random, 97, K), V)(samples, references)
    assert np.abs(other - whole).max() > 1e-3


def test_rows_shorter_than_the_longest_ngram():
    references = np.array([[[4, 5, 3], [4, 3, 0]], [[5, 3, 0], [6, 4, 3]]])
    samples = np.array([[[4, 5, 3]], [[6, 3, 0]]])
    found = CiderReward(references, V)(samples, references)
    texts = [[text_of(row) for row in rows] for rows in references]
    expected = cider_d_each(texts, [text_of(rows[0]) for rows in samples])
    np.testing.assert_allclose(found[:, 0], expected, atol=1e-5)
    assert found[0, 0] > 0


def test_breaking_off_costs():
    full = np.array([[[4, 5, 6, 7, 3, 0]]])
    broken = np.array([[[4, 5, 6, 7, 0, 0]]])
    documents = np.concatenate([full, np.array([[[8, 8, 3, 0, 0, 0]]])])
    reward = CiderReward(documents, V)
    assert reward(full, full)[0, 0] == pytest.approx(10, abs=1e-4)
    assert reward(broken, full)[0, 0] < 9
    assert reward(np.zeros_like(full), full)[0, 0] == 0


def test_a_vocabulary_too_large_for_the_numbers():
    with pytest.raises(ValueError, match="vocabulary_size must be below 55108, got 60000"):
        CiderReward(np.array([[[4, 3]]]), 60_000)
