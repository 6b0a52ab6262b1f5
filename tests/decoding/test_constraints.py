"""Constraints against plain predicates, one by one and in full-width search."""

import numpy as np
import pytest
import tensorflow as tf

from keras_vlm.decoding import (
    BannedTokens,
    BeamSearch,
    GreedySearch,
    MinimumLength,
    NoRepeatNgram,
    Sampling,
    greedy_search,
)
from keras_vlm.decoding.step import POSSIBLE

FULL, LENGTH, VOCABULARY = 128, 4, 6


def repeats(sequence, size):
    runs = [tuple(sequence[i : i + size]) for i in range(len(sequence) - size + 1)]
    return len(runs) != len(set(runs))


PREDICATES = {
    MinimumLength(2): lambda sequence: sequence[-1] != 3 or len(sequence) > 2,
    MinimumLength(9): lambda sequence: sequence[-1] != 3,
    BannedTokens([1]): lambda sequence: 1 not in sequence,
    BannedTokens([4, 5]): lambda sequence: not {4, 5} & set(sequence),
    NoRepeatNgram(1): lambda sequence: not repeats(sequence, 1),
    NoRepeatNgram(2): lambda sequence: not repeats(sequence, 2),
    NoRepeatNgram(3): lambda sequence: not repeats(sequence, 3),
}


@pytest.mark.parametrize("constraint", PREDICATES, ids=repr)
def test_full_width_is_exhaustive_search_under_the_constraint(toy, constraint):
    strategy = BeamSearch(FULL, 0.7, num_return=5, constraints=[constraint])
    table = toy.table(3, VOCABULARY, 1, 1.0)
    found = toy.search(strategy, table, LENGTH)
    for picture in range(3):
        every = toy.all_sequences(table[picture], LENGTH, PREDICATES[constraint])
        truth = toy.best_of(every, 0.7, 5)
        toy.check_same(found, picture, truth, f"picture {picture}")


@pytest.mark.parametrize(
    ("size", "jit"), [(1, False), (2, False), (3, False), (12, False), (2, True)]
)
def test_ngram_blocking_equals_a_naive_loop(size, jit):
    generator = np.random.default_rng(size)
    token_ids = generator.integers(4, 7, [13, 11]).astype("int32")
    constraint = NoRepeatNgram(size)
    call = tf.function(constraint.__call__, jit_compile=jit)
    for position in range(11):
        history = np.where(np.arange(11) < position, token_ids, 0)
        before = generator.normal(size=[13, 7]).astype("float32")
        before[:, 0] = -1e9  # as ``constrain`` does
        after = call(tf.constant(before), tf.constant(history), tf.constant(position)).numpy()
        for row in range(13):
            past = list(history[row, :position])
            for token in range(1, 7):
                # Compared with the past's own runs: the rows here are not free of repeats.
                runs = {tuple(past[i : i + size]) for i in range(len(past) - size + 1)}
                latest = (*past[len(past) - size + 1 :], token) if position >= size - 1 else ()
                if latest in runs:
                    assert after[row, token] <= POSSIBLE
                else:
                    assert after[row, token] == before[row, token]


def test_pad_and_start_never_come(toy):
    table = toy.table(3, 7, 2)
    table[..., [0, 2]] += 30
    for strategy in (
        GreedySearch(constraints=()),
        BeamSearch(3, num_return=3, constraints=()),
        Sampling(num_samples=3, constraints=()),
    ):
        found = toy.search(strategy, table, 5)
        for ids, length in zip(found.token_ids.reshape(-1, 5), found.lengths.ravel(), strict=True):
            assert not set(ids[:length]) & {0, 2}


def test_strategies_forbid_the_unknown_word_and_functions_do_not(toy):
    table = toy.table(3, 7, 3)
    table[..., 1] += 5
    for strategy in (GreedySearch(), BeamSearch(3), Sampling()):
        assert not (toy.search(strategy, table, 5).token_ids == 1).any()
    found = greedy_search(toy.step(tf.constant(table)), toy.start(3, 1), batch_size=3, max_length=5)
    assert (found.token_ids == 1).numpy().any()


@pytest.mark.parametrize(
    "make",
    [
        lambda constraints: GreedySearch(constraints=constraints),
        lambda constraints: BeamSearch(3, constraints=constraints),
        lambda constraints: Sampling(constraints=constraints),
    ],
    ids=["greedy", "beam", "sampling"],
)
def test_a_row_without_a_possible_token_ends(toy, make):
    """Everything is banned, the end too: the end comes, at the model's own price."""
    everything = BannedTokens(range(7))
    table = toy.table(3, 7, 4)
    found = toy.search(make([everything]), table, 5)
    assert found.lengths[:, 0].tolist() == [1, 1, 1]
    assert found.token_ids[:, 0].tolist() == [[3, 0, 0, 0, 0]] * 3
    first = table[:, toy.mix(0, 2), 3]
    np.testing.assert_allclose(found.scores[:, 0], first, rtol=1e-6)


def test_a_stuck_row_ends_once(toy):
    """One end is left, so the list of three best has one sequence, not the same three times."""
    strategy = BeamSearch(3, num_return=3, constraints=[BannedTokens(range(7))])
    found = toy.search(strategy, toy.table(2, 7, 4), 5)
    assert found.lengths.tolist() == [[1, 0, 0]] * 2


def test_words_used_up_before_the_minimum_length_end(toy):
    constraints = [NoRepeatNgram(1), MinimumLength(5), BannedTokens([1])]
    found = toy.search(GreedySearch(constraints=constraints), toy.table(3, 6, 5), 7)
    assert found.lengths[:, 0].tolist() == [3, 3, 3]
    assert (np.sort(found.token_ids[:, 0, :3], axis=1) == [3, 4, 5]).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NoRepeatNgram(0), "size must be a whole number >= 1, got 0"),
        (lambda: MinimumLength(-1), "words must be a whole number >= 0, got -1"),
        (lambda: BannedTokens([1.5]), "token_ids must be a whole number >= 0, got 1.5"),
    ],
)
def test_wrong_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_banned_id_above_the_vocabulary():
    with pytest.raises(ValueError, match=r"vocabulary's size 7, got \[7, 9\]"):
        BannedTokens([3, 7, 9])(tf.zeros([2, 7]), tf.zeros([2, 5], tf.int32), 0)


def test_constraints_are_values():
    assert BannedTokens(np.array([4, 5])) == BannedTokens((4, 5))
    assert hash(BannedTokens([4])) == hash(BannedTokens((4,)))
    assert NoRepeatNgram(2) != NoRepeatNgram(3)
