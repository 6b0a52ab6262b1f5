"""The pieces that every search is made of."""

import numpy as np
import tensorflow as tf

from keras_vlm.decoding.step import IMPOSSIBLE, divisors, rank, write_token


def test_divisors_are_powers_of_the_length():
    table = divisors(7, 0.7).numpy()
    np.testing.assert_allclose(table[1:], np.arange(1, 8) ** 0.7, rtol=1e-6)
    assert divisors(7, 0).numpy().tolist() == [1] * 8
    assert table[0] > 0, "a hypothesis without tokens must not divide by zero"


def test_a_token_is_written_at_its_position_only():
    before = tf.constant([[5, 0, 0], [6, 0, 0]])
    after = write_token(before, tf.constant(1), tf.constant([7, 8]))
    assert after.numpy().tolist() == [[5, 7, 0], [6, 8, 0]]


def ranked(sums, classes=None):
    rows = len(sums)
    token_ids = tf.constant([[row + 4, 3] for row in range(rows)])
    found = rank(
        token_ids,
        tf.fill([rows], 2),
        tf.constant([sums], tf.float32),
        num_return=rows,
        length_penalty=1.0,
        classes=classes,
    )
    return [int(ids[0]) - 4 for ids in found.token_ids[0]], found


def test_rank_sorts_by_the_mean():
    order, found = ranked([-4.0, -2.0, -3.0])
    assert order == [1, 2, 0]
    assert found.scores[0].numpy().tolist() == [-1.0, -1.5, -2.0]


def test_rank_puts_the_impossible_last_and_empties_it():
    order, found = ranked([IMPOSSIBLE - 3, -2.0, 2 * IMPOSSIBLE])
    assert order[0] == 1
    assert found.lengths[0].numpy().tolist() == [2, 0, 0]
    assert found.scores[0].numpy().tolist() == [-1.0, -np.inf, -np.inf]
    assert not found.token_ids[0, 1:].numpy().any()


def test_rank_keeps_the_order_within_those_that_come_first():
    sums = [-1.0, -9.0, -2.0, -7.0, IMPOSSIBLE]
    order, found = ranked(sums, classes=[0, 2, 0, 2, 2])
    assert order[:4] == [3, 1, 0, 2]
    assert found.lengths[0, 4] == 0
