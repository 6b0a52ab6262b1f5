"""Samples against the exact distribution, filters against sorting, seeds against themselves."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from keras_vlm.decoding import GreedySearch, NoRepeatNgram, Sampling, sample
from keras_vlm.decoding.sampling import draw, keep_top_k, keep_top_p
from keras_vlm.decoding.step import IMPOSSIBLE, POSSIBLE

# 99.9 % quantile of the chi-square distribution by degrees of freedom (scipy.stats.chi2.ppf).
CHI_SQUARE = {2: 13.816, 12: 32.909}


def draw_many(toy, table, max_length, count=20000, **options):
    """Returns a dict from sequence to how often it came."""
    strategy = Sampling(num_samples=count, constraints=(), **options)
    found = toy.search(strategy, table, max_length)
    ids, counts = np.unique(found.token_ids[0], axis=0, return_counts=True)
    return {
        tuple(row[row != 0].tolist()): int(often) for row, often in zip(ids, counts, strict=True)
    }


@pytest.mark.parametrize("temperature", [1.0, 1.7])
def test_frequencies_are_the_distribution(toy, temperature):
    """Length 2 with words 1, 4, 5 and the end: 13 sequences."""
    table = toy.table(1, 6, 0)
    counts = draw_many(toy, table, 2, temperature=temperature, seed=1)
    tempered = table[0].astype("float64") / temperature
    tempered[:, [0, 2]] = -np.inf
    tempered -= np.log(np.exp(tempered).sum(-1, keepdims=True))
    exact = {sequence: np.exp(total) for sequence, total in toy.all_sequences(tempered, 2)}
    assert len(exact) == 13
    assert sum(exact.values()) == pytest.approx(1)
    assert set(counts) <= set(exact)
    total = sum(counts.values())
    statistic = sum(
        (counts.get(sequence, 0) - total * share) ** 2 / (total * share)
        for sequence, share in exact.items()
    )
    assert statistic < CHI_SQUARE[12]


def test_frequencies_after_top_k(toy):
    table = toy.table(1, 11, 1)
    counts = draw_many(toy, table, 1, top_k=3, seed=2)
    row = table[0, toy.mix(0, 2)].copy()
    row[[0, 2]] = -np.inf
    kept = np.argsort(-row)[:3]
    assert set(counts) == {(int(token),) for token in kept}
    share = np.exp(row[kept]) / np.exp(row[kept]).sum()
    often = np.array([counts[(int(token),)] for token in kept])
    assert ((often - often.sum() * share) ** 2 / (often.sum() * share)).sum() < CHI_SQUARE[2]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 13, 101, 2539])
@pytest.mark.parametrize("jit", [False, True])
def test_a_token_is_where_the_cumulated_probability_passes(size, jit):
    random = np.random.default_rng(size)
    log_probs = random.normal(size=[211, size], scale=3).astype("float32")
    log_probs[:, random.permutation(size)[: size // 3]] = IMPOSSIBLE
    uniform = random.uniform(size=211).astype("float32")
    uniform[:2] = [2.0**-24, 1 - 2.0**-24]
    found = tf.function(draw, jit_compile=jit)(tf.constant(log_probs), tf.constant(uniform))
    sums = np.exp(log_probs.astype("float64")).cumsum(-1)
    sums /= sums[:, -1:]
    expected = (sums < uniform[:, None]).sum(-1)
    # Where a rounding decides, either neighbour will do; one that is impossible never does.
    apart = np.abs(sums - uniform[:, None]).min(-1) > 1e-6
    assert apart.mean() > 0.9
    np.testing.assert_array_equal(found.numpy()[apart], expected[apart])
    assert (np.take_along_axis(log_probs, found.numpy()[:, None], 1) > POSSIBLE).all()


@pytest.mark.parametrize("k", [1, 2, 5, 11, 20])
def test_top_k_support(k):
    log_probs = np.random.default_rng(k).normal(size=[13, 11]).astype("float32")
    kept = keep_top_k(tf.constant(log_probs), k).numpy()
    for before, after in zip(log_probs, kept, strict=True):
        support = set(np.argsort(-before)[:k])
        assert set(np.flatnonzero(after > POSSIBLE)) == support
        assert all(after[token] == before[token] for token in support)


@pytest.mark.parametrize("p", [0, 0.1, 0.5, 0.9, 0.999, 1])
@pytest.mark.parametrize("jit", [False, True])
def test_top_p_support(p, jit):
    log_probs = np.random.default_rng(7).normal(size=[13, 11]).astype("float32")
    keep = tf.function(keep_top_p, jit_compile=jit)
    kept = keep(tf.constant(log_probs), tf.constant(p, tf.float32)).numpy()
    for before, after in zip(log_probs.astype("float64"), kept, strict=True):
        share = np.exp(before) / np.exp(before).sum()
        order = np.argsort(-share)
        reached = itertools.accumulate(share[order])
        count = next((i for i, total in enumerate(reached, 1) if total >= p), len(order))
        # All of the probability is a matter of rounding: then all tokens, or all but crumbs.
        support = set(order[: max(count, 1)]) if p < 1 else set(order)
        assert set(np.flatnonzero(after > POSSIBLE)) == support


def test_ties_stay():
    log_probs = tf.math.log([[0.3, 0.2, 0.2, 0.3]])
    assert (keep_top_k(log_probs, 1) > POSSIBLE).numpy().tolist() == [[True, False, False, True]]
    assert (keep_top_p(log_probs, 0.7) > POSSIBLE).numpy().all()


@pytest.mark.parametrize(
    "options",
    [{"temperature": 0}, {"temperature": 1e-6}, {"top_k": 1}, {"top_p": 0}],
    ids=repr,
)
def test_the_limits_are_greedy(toy, options):
    table = toy.table(5, 11, 2, 1.0)
    greedy = toy.search(GreedySearch(constraints=()), table, 6)
    found = toy.search(Sampling(num_samples=2, constraints=(), **options), table, 6)
    for place in range(2):
        np.testing.assert_array_equal(found.token_ids[:, place], greedy.token_ids[:, 0])
        np.testing.assert_allclose(found.scores[:, place], greedy.scores[:, 0], rtol=1e-6)


def test_scores_are_the_models_own_and_sorted(toy):
    table = toy.table(3, 7, 3, 1.0)
    found = toy.search(Sampling(num_samples=11, temperature=2.0, top_k=3, constraints=()), table, 5)
    assert (np.diff(found.scores, axis=1) <= 0).all()
    for picture in range(3):
        sums = dict(toy.all_sequences(table[picture], 5))
        for place in range(11):
            length = found.lengths[picture, place]
            sequence = tuple(found.token_ids[picture, place, :length].tolist())
            assert found.scores[picture, place] * length == pytest.approx(sums[sequence], abs=1e-4)


def test_seeds_repeat_and_differ(toy):
    table = tf.constant(toy.table(5, 11, 4))

    def drawn(seed):
        found = sample(
            toy.step(table),
            toy.start(5, 4),
            batch_size=5,
            max_length=5,
            num_samples=4,
            seed=seed,
        )
        return found.token_ids.numpy()

    np.testing.assert_array_equal(drawn(1), drawn(1))
    np.testing.assert_array_equal(drawn(3), drawn(tf.constant([0, 3])))
    assert (drawn(1) != drawn(2)).any()
    assert (drawn(tf.constant([1, 0])) != drawn(tf.constant([0, 1]))).any()
    # Rows of a picture differ from one another, and pictures too.
    rows = drawn(1).reshape(20, 5)
    assert len(np.unique(rows, axis=0)) > 15


def test_xla_draws_the_same(toy):
    table = toy.table(5, 11, 5)
    strategy = Sampling(
        num_samples=3, temperature=1.3, top_k=6, top_p=0.9, constraints=[NoRepeatNgram(2)]
    )
    plain = toy.search(strategy, table, 6)
    compiled = toy.search(strategy, table, 6, jit=True)
    np.testing.assert_array_equal(plain.token_ids, compiled.token_ids)
    np.testing.assert_allclose(plain.scores, compiled.scores, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_samples": 0}, "num_samples must be a whole number >= 1, got 0"),
        ({"temperature": -1}, "temperature must be a number >= 0, got -1"),
        ({"top_k": 1.5}, "top_k must be a whole number >= 0, got 1.5"),
        ({"top_p": 1.1}, "top_p must be a number from 0 to 1, got 1.1"),
        ({"seed": -1}, "seed must be .* got -1"),
        ({"seed": tf.constant([1, 2, 3])}, r"seed must be .* got int32 of shape \(3,\)"),
    ],
    ids=lambda value: "" if isinstance(value, str) else "-".join(value),
)
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        Sampling(**options)
