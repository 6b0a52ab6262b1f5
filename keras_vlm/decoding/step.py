"""The step protocol: all that decoding knows of a model, and what every search returns.

``step(token_ids [R] int32, state) -> (log_probs [R,V] float32, state)``. R = B*W rows, picture by
picture: row b*W+w. The state is any nest of tensors whose leaves lead with R; their other axes are
static, and so are W, V and T, while B may be unknown when a graph is traced. What the rows of a
picture share (its memory) is closed over by ``step``, never copied. Before the first step every row
holds the same start; the search feeds the start id itself.

Refuses to know words, weights and pictures. Dimension letters: B batch, W rows a picture, R = B*W,
n sequences returned a picture, T text positions, V vocabulary.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from keras_vlm.core.checks import check_number

PAD_ID, UNKNOWN_ID, START_ID, END_ID = 0, 1, 2, 3

# Impossible is a large finite number: an infinity makes NaN as soon as two of them meet.
IMPOSSIBLE = -1e9
# Sums of real log-probabilities stay far above it, sums that hold an IMPOSSIBLE far below.
POSSIBLE = IMPOSSIBLE / 2


class Decoded(NamedTuple):
    """What a search returns, best first.

    Attributes:
        token_ids: [B,n,T] int32 without the start id, with the end id where it was produced, pad
            ids after it. A sequence without an end id was cut at T.
        lengths: [B,n] int32, the tokens before the padding, counting the end id.
        scores: [B,n] float32, the sum of the model's own log-probabilities divided by
            ``length ** length_penalty``. A sequence that does not exist (fewer than n are possible)
            has length 0 and score -inf.
    """

    token_ids: tf.Tensor
    lengths: tf.Tensor
    scores: tf.Tensor


def check_search(where, state, batch_size, rows_per_picture, max_length):
    """Checks what every search is given.

    Args:
        where: name of the public function that the user called.
        state: the nest of tensors handed to the first step.
        batch_size: B, an int or a scalar int32 tensor.
        rows_per_picture: W.
        max_length: T.

    Raises:
        ValueError: ``max_length`` is out of range, or a leaf of the state has another number of
            rows.
    """
    check_number(where, "max_length", max_length, minimum=1, integer=True)
    if not isinstance(batch_size, int):
        return
    rows = batch_size * rows_per_picture
    for leaf in tf.nest.flatten(state):
        if leaf.shape.rank == 0 or leaf.shape[0] not in (None, rows):
            raise ValueError(
                f"{where}: state must have {rows} rows ({batch_size} pictures x "
                f"{rows_per_picture}) in every leaf, got shape {tuple(leaf.shape)}. Start it for "
                "as many rows a picture as the search's rows_per_picture says."
            )


def known_vocabulary(where, log_probs):
    """Returns V as a number.

    Args:
        where: name of the public function that the user called.
        log_probs: [R,V], what ``step`` returned.

    Returns:
        V.

    Raises:
        ValueError: the shape of ``log_probs`` does not tell V.
    """
    if log_probs.shape.rank != 2 or log_probs.shape[-1] is None:
        raise ValueError(
            f"{where}: step must return log_probs [R,V] with a static V, got shape "
            f"{log_probs.shape}. Set the shape at the end of step."
        )
    return log_probs.shape[-1]


def keep_shapes(new, old):
    """Gives the nest ``new`` the static shapes of ``old``, which a loop in a graph insists on."""

    def keep(new_leaf, old_leaf):
        new_leaf = tf.convert_to_tensor(new_leaf)
        new_leaf.set_shape(old_leaf.shape)
        return new_leaf

    return tf.nest.map_structure(keep, new, old)


def write_token(token_ids, position, token):
    """Writes token [R] into token_ids [R,T] at a position, one-hot: servers refuse XLA's slices."""
    here = tf.range(token_ids.shape[1]) == position
    return tf.where(here[None, :], token[:, None], token_ids)


def divisors(max_length, length_penalty):
    """Returns ``length ** length_penalty`` for the lengths 0..T as a constant [T+1].

    A table, since XLA and the plain kernel do not round powers alike.
    """
    lengths = np.arange(max_length + 1, dtype="float64")
    return tf.constant(np.maximum(lengths, 1) ** length_penalty, tf.float32)


def rank(token_ids, lengths, sums, *, num_return, length_penalty, classes=None):
    """Sorts the rows of each picture and keeps the best.

    Args:
        token_ids: [R,T] int32.
        lengths: [R] int32.
        sums: [B,W] float32, the summed log-probabilities; impossible sequences below POSSIBLE.
        num_return: n, at most W.
        length_penalty: exponent of the length that a sum is divided by.
        classes: a whole number for each of the W rows, or None: sequences of a higher class come
            first whatever their score.

    Returns:
        ``Decoded``.
    """
    rows, max_length = sums.shape[1], token_ids.shape[1]
    token_ids = tf.reshape(token_ids, [-1, rows, max_length])
    lengths = tf.reshape(lengths, [-1, rows])
    exists = sums > POSSIBLE
    scores = sums / tf.gather(divisors(max_length, length_penalty), lengths)
    scores = tf.where(exists, scores, -np.inf)
    scores, order = tf.math.top_k(scores, num_return if classes is None else rows)
    if classes is not None:
        # Equal elements keep their order in top_k, so this moves whole classes only.
        wanted = tf.where(exists, tf.constant([classes], tf.float32), -1)
        _, again = tf.math.top_k(tf.gather(wanted, order, batch_dims=1), num_return)
        scores = tf.gather(scores, again, batch_dims=1)
        order = tf.gather(order, again, batch_dims=1)
    exists = tf.gather(exists, order, batch_dims=1)
    return Decoded(
        tf.where(exists[..., None], tf.gather(token_ids, order, batch_dims=1), PAD_ID),
        tf.where(exists, tf.gather(lengths, order, batch_dims=1), 0),
        scores,
    )
