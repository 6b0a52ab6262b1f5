"""Greedy search against a loop that takes the largest."""

import numpy as np
import pytest
import tensorflow as tf

from keras_vlm.decoding import GreedySearch, greedy_search


def slow_greedy(toy, table, max_length):
    sequence, history, total = [], toy.mix(0, 2), 0.0
    while len(sequence) < max_length and sequence[-1:] != [3]:
        row = table[history].copy()
        row[[0, 2]] = -np.inf
        token = int(row.argmax())
        sequence, total = [*sequence, token], total + float(row[token])
        history = toy.mix(history, token)
    return tuple(sequence), total


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("length_penalty", [0, 1.0])
def test_it_takes_the_largest(toy, jit, length_penalty):
    table = toy.table(13, 11, 0, 1.0)
    found = toy.search(GreedySearch(length_penalty, constraints=()), table, 7, jit=jit)
    for picture in range(13):
        sequence, total = slow_greedy(toy, table[picture], 7)
        truth = [(sequence, total / len(sequence) ** length_penalty)]
        toy.check_same(found, picture, truth)
    assert len(set(found.lengths[:, 0])) > 3


def test_it_stops_when_all_have_ended(toy):
    table = toy.table(3, 7, 1)
    table[..., 3] += 40
    steps = []
    inner = toy.step(tf.constant(table))

    def step(token_ids, state):
        steps.append(1)
        return inner(token_ids, state)

    found = greedy_search(step, toy.start(3, 1), batch_size=3, max_length=5)
    assert len(steps) == 1
    assert found.token_ids.shape == (3, 1, 5)
    assert found.token_ids.dtype == found.lengths.dtype == tf.int32
    assert found.scores.dtype == tf.float32


def test_a_step_without_a_static_vocabulary(toy):
    inner = toy.step(tf.constant(toy.table(2, 7, 1)))

    @tf.function
    def run(width):
        def step(token_ids, state):
            log_probs, state = inner(token_ids, state)
            return log_probs[:, :width], state

        return greedy_search(step, toy.start(2, 1), batch_size=2, max_length=5)

    with pytest.raises(ValueError, match="log_probs .* with a static V"):
        run(tf.constant(7))


def test_infinite_log_probabilities_are_no_trouble(toy):
    table = toy.table(2, 7, 1)
    table[..., 4:6] = -np.inf
    found = toy.search(GreedySearch(), table, 5)
    assert not np.isin(found.token_ids, [4, 5]).any()
    assert np.isfinite(found.scores).all()
