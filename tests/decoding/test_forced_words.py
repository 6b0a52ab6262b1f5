"""Forced words against exhaustive search restricted to the sequences that hold them."""

import numpy as np
import pytest
import tensorflow as tf

from keras_vlm.decoding import BannedTokens, BeamSearch, MinimumLength, NoRepeatNgram

FULL, LENGTH, VOCABULARY = 128, 4, 6


def holds(sequence, forced):
    return all(set(ids) & set(sequence) for ids in forced)


@pytest.mark.parametrize(
    ("forced", "length_penalty"),
    [
        ([[4]], 0),
        ([[4], [5]], 1.0),
        ([[4, 5]], 0.7),
        ([[4], [1, 5]], 0),
        # One token may serve for two words.
        ([[4, 5], [1, 5]], 1.0),
        ([[1], [4], [5]], 1.0),
    ],
)
def test_full_width_is_exhaustive_search_among_those_that_hold_the_words(
    toy, forced, length_penalty
):
    strategy = BeamSearch(FULL, length_penalty, num_return=6, constraints=(), forced_ids=forced)
    for seed, end_bonus in ((0, 0.0), (1, 3.0)):
        table = toy.table(2, VOCABULARY, seed, end_bonus)
        found = toy.search(strategy, table, LENGTH)
        for picture in range(2):
            every = toy.all_sequences(
                table[picture], LENGTH, lambda sequence: holds(sequence, forced)
            )
            truth = toy.best_of(every, length_penalty, 6)
            toy.check_same(found, picture, truth, f"seed {seed} picture {picture}")


def test_a_narrow_beam_finds_improbable_words(toy):
    table = toy.table(7, 11, 3, 1.0)
    # Words that the model itself would never say: below all else at every step.
    table[..., [9, 10]] -= 12
    plain = toy.search(BeamSearch(3), table, 7)
    assert not np.isin(plain.token_ids, [9, 10]).any()
    forced = [[9], [10]]
    found = toy.search(BeamSearch(3, num_return=3, forced_ids=forced), table, 7)
    for sequence in found.token_ids.reshape(-1, 7):
        assert holds(sequence, forced)
    # It ends once it may, and no sooner: forced words do not cost the end.
    assert (found.token_ids == 3).any()


def test_a_sequence_may_not_end_before_it_has_its_words():
    """The end is likeliest at once; word 5 can only come after word 4."""
    impossible, likely, rare = -50.0, -0.1, -3.0
    after_start = [impossible, impossible, impossible, likely, rare, impossible]
    after_word = [impossible, impossible, impossible, likely, impossible, rare]
    table = tf.constant([after_start] * 4 + [after_word] * 2)

    def step(token_ids, state):
        return tf.gather(table, token_ids), state

    strategy = BeamSearch(1, forced_ids=[5])
    found = strategy(step, tf.zeros([2]), batch_size=1, max_length=5)
    assert found.token_ids[0, 0].numpy().tolist() == [4, 5, 3, 0, 0]


def test_together_with_other_constraints(toy):
    constraints = (NoRepeatNgram(1), MinimumLength(2), BannedTokens([1]))
    strategy = BeamSearch(FULL, 1.0, num_return=2, constraints=constraints, forced_ids=[6])
    table = toy.table(3, 7, 4, 1.0)
    found = toy.search(strategy, table, LENGTH)

    def allowed(sequence):
        words = [token for token in sequence if token != 3]
        return (
            6 in words
            and 1 not in words
            and len(words) == len(set(words))
            and (sequence[-1] != 3 or len(words) >= 2)
        )

    for picture in range(3):
        every = toy.all_sequences(table[picture], LENGTH, allowed)
        # Three words and no room for a fourth: where all are used up, the end alone is left.
        truth = toy.best_of(every, 1.0, 2)
        toy.check_same(found, picture, truth, f"picture {picture}")


def test_too_many_words_for_the_length_come_as_far_as_they_can(toy):
    """Two words, one place: the best sequences with one of them, never nothing."""
    strategy = BeamSearch(4, num_return=2, constraints=(), forced_ids=[4, 5])
    table = toy.table(3, 6, 5)
    found = toy.search(strategy, table, 1)
    for picture in range(3):
        every = toy.all_sequences(table[picture], 1, lambda sequence: sequence[0] in (4, 5))
        toy.check_same(found, picture, toy.best_of(every, 1.0, 2))


def test_a_complete_sequence_comes_before_a_better_incomplete_one(toy):
    table = toy.table(3, 11, 6)
    table[..., 10] -= 40
    found = toy.search(BeamSearch(2, num_return=2, forced_ids=[10]), table, 3)
    assert (found.token_ids == 10).any(axis=2).all()
    assert (found.scores < -10).all()


def test_a_forced_word_that_is_banned_is_not_said(toy):
    """The ban wins; what comes is the best without the word."""
    table = toy.table(3, 7, 7)
    strategy = BeamSearch(4, constraints=[BannedTokens([6])], forced_ids=[6])
    found = toy.search(strategy, table, 3)
    assert not (found.token_ids == 6).any()
    assert (found.lengths == 3).all()
    assert np.isfinite(found.scores).all()


def test_an_id_above_the_vocabulary(toy):
    with pytest.raises(ValueError, match=r"must be below the vocabulary's size 6, got \[9\]"):
        toy.search(BeamSearch(2, forced_ids=[9]), toy.table(1, 6, 0), 3)


def test_state_rows_are_as_many_as_the_strategy_says(toy):
    strategy = BeamSearch(2, forced_ids=[4])
    step = toy.step(tf.constant(toy.table(3, 6, 0)))
    with pytest.raises(ValueError, match=r"state must have 12 rows \(3 pictures x 4\)"):
        strategy(step, toy.start(3, 2), batch_size=3, max_length=3)
