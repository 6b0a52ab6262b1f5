"""The reward is the BLEU-4 of each sentence, as it is counted by hand and by pycocoevalcap."""

import collections
import math

import numpy as np
import pytest

from keras_vlm.metrics.bleu_reward import BleuReward

B, S, K, T, V = 7, 3, 5, 11, 9


def random_rows(random, *shape):
    """Token ids [*shape,T] with an end id and padding; some rows break off without an end."""
    lengths = random.integers(0, T + 1, shape)[..., None]
    ids = random.integers(4, V, (*shape, T))
    return np.where(np.arange(T) < lengths, ids, np.where(np.arange(T) == lengths, 3, 0))


def words_of(row):
    return [int(number) for number in row if number]


def plain_bleu(sample, references):
    """BLEU-4 of one sentence, from its definition."""
    product = 1.0
    for n in range(1, 5):
        counts, *others = (
            collections.Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))
            for words in (sample, *references)
        )
        matched = sum(min(counts[g], max(o[g] for o in others)) for g in counts)
        product *= (matched + 1e-15) / (sum(counts.values()) + 1e-9)
    closest = min((abs(len(r) - len(sample)), len(r)) for r in references)[1]
    ratio = (len(sample) + 1e-15) / (closest + 1e-9)
    return product**0.25 * (math.exp(1 - 1 / ratio) if ratio < 1 else 1.0)


@pytest.fixture(params=range(5))
def rows(request):
    random = np.random.default_rng(request.param)
    references, samples = random_rows(random, B, K), random_rows(random, B, S)
    for picture in range(B):
        references[picture, 1 + picture % K :] = 0
    samples[:, 0] = references[:, 0]
    samples[0, 1] = 0
    return samples, references


def test_equals_its_definition(rows):
    samples, references = rows
    found = BleuReward(V)(samples, references)
    assert found.shape == (B, S)
    assert found.dtype == np.float32
    expected = [
        [plain_bleu(words_of(row), [words_of(r) for r in texts if r.any()]) for row in drawn]
        for drawn, texts in zip(samples, references, strict=True)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-12)
    assert found[:, 0].max() > 0.9


def test_equals_pycocoevalcap(rows):
    bleu = pytest.importorskip("pycocoevalcap.bleu.bleu", reason="the oracle")
    samples, references = rows
    # An empty sentence makes it divide by a number so small that it overflows.
    samples = np.where(samples.any(axis=-1, keepdims=True), samples, [[[3, *[0] * (T - 1)]]])
    texts = [[" ".join(map(str, words_of(r))) for r in rows if r.any()] for rows in references]
    found = BleuReward(V)(samples, references)
    for place in range(S):
        drawn = {b: [" ".join(map(str, words_of(samples[b, place])))] for b in range(B)}
        _, scores = bleu.Bleu(4).compute_score(dict(enumerate(texts)), drawn, verbose=0)
        np.testing.assert_allclose(found[:, place], scores[3], rtol=1e-5)


def test_the_end_is_a_word():
    whole = np.array([[[4, 5, 6, 7, 3, 0]]])
    broken = np.array([[[4, 5, 6, 7, 0, 0]]])
    reward = BleuReward(V)
    assert reward(whole, whole)[0, 0] == pytest.approx(1, abs=1e-6)
    assert reward(broken, whole)[0, 0] == pytest.approx(math.exp(1 - 5 / 4), abs=1e-6)


def test_a_vocabulary_too_large_for_the_numbers():
    with pytest.raises(ValueError, match="BleuReward: vocabulary_size must be below 55108"):
        BleuReward(60_000)
