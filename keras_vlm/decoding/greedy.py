"""Greedy search, and the loop that it shares with sampling: every row goes its own way.

Refuses to know words and weights. Dimension letters: B batch, W rows a picture, R = B*W,
T text positions, V vocabulary.
"""

import dataclasses

import tensorflow as tf

from keras_vlm.core.checks import check_number
from keras_vlm.decoding.constraints import NO_UNKNOWN, check_constraints, constrain, or_end
from keras_vlm.decoding.step import (
    END_ID,
    IMPOSSIBLE,
    PAD_ID,
    START_ID,
    check_search,
    keep_shapes,
    known_vocabulary,
    rank,
    write_token,
)


@dataclasses.dataclass(frozen=True)
class GreedySearch:
    """Takes the most probable token at every position.

    Args:
        length_penalty: the score is the sum of log-probabilities over ``length`` to this power.
        constraints: what sequences may not hold; by default the unknown word.

    Raises:
        ValueError: ``length_penalty`` is negative.
        TypeError: ``constraints`` is not a sequence of constraints.
    """

    length_penalty: float = 1.0
    constraints: tuple = (NO_UNKNOWN,)

    def __post_init__(self):
        check_number("GreedySearch", "length_penalty", self.length_penalty, minimum=0)
        constraints = check_constraints("GreedySearch", self.constraints)
        object.__setattr__(self, "constraints", constraints)

    @property
    def rows_per_picture(self):
        """Rows W that the state must have for each picture."""
        return 1

    def __call__(self, step, state, *, batch_size, max_length):
        """Searches.

        Args:
            step: the step protocol's function.
            state: its state for B rows.
            batch_size: B, an int or a scalar int32 tensor.
            max_length: T, the greatest length, counting the end id.

        Returns:
            ``Decoded`` with n = 1.
        """
        check_search("GreedySearch", state, batch_size, 1, max_length)
        token_ids, lengths, sums = follow(
            step,
            state,
            lambda log_probs, position: tf.argmax(log_probs, -1, output_type=tf.int32),
            rows=batch_size,
            max_length=max_length,
            constraints=self.constraints,
        )
        sums = tf.reshape(sums, [-1, 1])
        return rank(token_ids, lengths, sums, num_return=1, length_penalty=self.length_penalty)


def greedy_search(step, state, *, batch_size, max_length, constraints=()):
    """Takes the most probable token at every position.

    Args:
        step: the step protocol's function.
        state: its state for B rows.
        batch_size: B, an int or a scalar int32 tensor.
        max_length: T, the greatest length, counting the end id.
        constraints: what sequences may not hold.

    Returns:
        ``Decoded`` with n = 1; a score is the mean log-probability.

    Raises:
        ValueError: ``max_length`` is out of range or the state has other rows.
        TypeError: ``constraints`` is not a sequence of constraints.

    Example:
        >>> import tensorflow as tf
        >>> from keras_vlm.decoding import greedy_search
        >>> table = tf.math.log([[0.1, 0.1, 0.1, 0.1, 0.6], [0.1, 0.1, 0.1, 0.6, 0.1]])
        >>> def step(token_ids, state):  # word 4, then the end
        ...     return tf.gather(table, state), state + 1
        >>> found = greedy_search(step, tf.zeros([1], tf.int32), batch_size=1, max_length=3)
        >>> found.token_ids.numpy().tolist(), found.lengths.numpy().tolist()
        ([[[4, 3, 0]]], [[2]])
    """
    search = GreedySearch(constraints=constraints)
    return search(step, state, batch_size=batch_size, max_length=max_length)


def follow(step, state, pick, *, rows, max_length, constraints):
    """Runs each row to its end, with one choice a step.

    Args:
        step: the step protocol's function.
        state: its state for R rows.
        pick: function of log_probs [R,V] under the constraints and the position -> token [R] int32.
        rows: R, an int or a scalar int32 tensor.
        max_length: T.
        constraints: a tuple of constraints.

    Returns:
        token_ids [R,T] int32, lengths [R] int32 and sums [R] float32 of the model's own
        log-probabilities.
    """

    def searching(position, token_ids, token, sums, lengths, finished, state):
        return (position < max_length) & ~tf.reduce_all(finished)

    def advance(position, token_ids, token, sums, lengths, finished, state):
        log_probs, next_state = step(token, state)
        known_vocabulary("step", log_probs)
        allowed = constrain(constraints, log_probs, token_ids, position)
        token = pick(allowed, position)
        end_log_prob = log_probs[:, END_ID]
        token, gain = or_end(token, tf.gather(allowed, token, batch_dims=1), end_log_prob)
        token = tf.where(finished, PAD_ID, token)
        after = (
            position + 1,
            write_token(token_ids, position, token),
            token,
            tf.where(finished, sums, tf.maximum(sums + gain, IMPOSSIBLE)),
            tf.where(finished, lengths, position + 1),
            finished | (token == END_ID),
            next_state,
        )
        return keep_shapes(after, (position, token_ids, token, sums, lengths, finished, state))

    loop = (
        tf.constant(0),
        tf.zeros([rows, max_length], tf.int32),
        tf.fill([rows], START_ID),
        tf.zeros([rows], tf.float32),
        tf.zeros([rows], tf.int32),
        tf.zeros([rows], tf.bool),
        state,
    )
    _, token_ids, _, sums, lengths, _, _ = tf.while_loop(searching, advance, loop)
    return token_ids, lengths, sums
