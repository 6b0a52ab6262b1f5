"""The loop of every beam search, and the choice among candidates without forced words.

``beam_search.py`` says what the places of a picture mean and why the loop may stop. A *choice* is
what differs between the searches: it has ``places`` (K, for each picture), ``roots`` (the places
that start alive), ``first_complete`` (hypotheses at this place or later lack nothing), ``classes``
(for ``rank``), ``start`` and ``follow`` (what it keeps for each row besides), and ``choose``.

Refuses to know words and weights. Dimension letters: B batch, G groups, W beams a group, K = G*W
places a picture, R = B*K rows, m candidates a row, n returned, T text positions, V vocabulary.
"""

from typing import Any, NamedTuple

import tensorflow as tf

from keras_vlm.decoding.constraints import constrain
from keras_vlm.decoding.step import (
    END_ID,
    IMPOSSIBLE,
    PAD_ID,
    POSSIBLE,
    START_ID,
    check_search,
    divisors,
    keep_shapes,
    known_vocabulary,
    rank,
    write_token,
)

# Worth of a frozen hypothesis as a candidate: above every sum of log-probabilities.
FROZEN = 1.0


class Beams(NamedTuple):
    """The hypotheses: position scalar, token_ids [R,T], the rest [R]; ``extra`` is the choice's."""

    position: tf.Tensor
    token_ids: tf.Tensor
    token: tf.Tensor
    sums: tf.Tensor
    lengths: tf.Tensor
    finished: tf.Tensor
    extra: Any


class Chosen(NamedTuple):
    """The continuations that take the places, all [B,K]: ``parent`` is a place, ``kept`` frozen."""

    parent: tf.Tensor
    token: tf.Tensor
    sums: tf.Tensor
    kept: tf.Tensor


class GroupChoice:
    """The W best candidates of each group, later groups repelled by earlier ones.

    Args:
        size: beams W of a group.
        num_groups: groups G.
        diversity_penalty: taken from a token for each beam of an earlier group that chose it.
    """

    first_complete, classes = 0, None

    def __init__(self, size, num_groups=1, diversity_penalty=0.0):
        self.size, self.num_groups, self.penalty = size, num_groups, diversity_penalty
        self.places = size * num_groups
        self.roots = range(0, self.places, size)

    def start(self, rows):
        """Keeps nothing besides."""
        return ()

    def follow(self, extra, token):
        """Keeps nothing besides."""
        return ()

    def choose(self, allowed, end_log_prob, beams):
        """Chooses among allowed [R,V]; end_log_prob [R] is the model's own. Returns ``Chosen``."""
        size, vocabulary_size = self.size, allowed.shape[-1]
        allowed = tf.reshape(allowed, [-1, self.num_groups, size, vocabulary_size])
        end, sums, finished = (
            tf.reshape(each, [-1, self.num_groups, size])
            for each in (end_log_prob, beams.sums, beams.finished)
        )
        said, groups = None, []
        for group in range(self.num_groups):
            # top_k of each row, then among rows: faster than one over W*V, and exact.
            count = min(size, vocabulary_size)
            if said is None or not self.penalty:
                wanted, token = tf.math.top_k(allowed[:, group], count)
                truth = wanted
            else:
                repelled = allowed[:, group] - self.penalty * said[:, None, :]
                wanted, token = tf.math.top_k(repelled, count)
                truth = tf.gather(allowed[:, group], token, batch_dims=2)
            token, wanted, truth = end_if_stuck(token, wanted, truth, end[:, group])
            worth = rate(sums[:, group], wanted, finished[:, group])
            totals = sums[:, group, :, None] + truth
            chosen = take_best(worth, token, totals, size)
            groups.append(chosen._replace(parent=chosen.parent + group * size))
            if self.penalty and group + 1 < self.num_groups:
                tokens = tf.where(chosen.kept | (chosen.sums <= POSSIBLE), PAD_ID, chosen.token)
                counts = tf.reduce_sum(tf.one_hot(tokens, vocabulary_size), axis=1)
                said = counts if said is None else said + counts
        return join(groups)


def run_beams(step, state, choice, search, *, batch_size, max_length):
    """Searches.

    Args:
        step: the step protocol's function.
        state: its state for B*K rows.
        choice: how candidates are chosen.
        search: the strategy, for ``constraints``, ``length_penalty`` and ``num_return``.
        batch_size: B, an int or a scalar int32 tensor.
        max_length: T.

    Returns:
        ``Decoded``.

    Raises:
        ValueError: ``max_length`` is out of range or the state has other rows.
    """
    places = choice.places
    where = type(search).__name__
    check_search(where, state, batch_size, places, max_length)
    divisor = divisors(max_length, search.length_penalty)

    def searching(beams, state):
        more = may_improve(beams, choice, divisor, search.num_return)
        return (beams.position < max_length) & tf.reduce_any(more)

    def advance(beams, state):
        log_probs, next_state = step(beams.token, state)
        known_vocabulary(where, log_probs)
        allowed = constrain(search.constraints, log_probs, beams.token_ids, beams.position)
        chosen = choice.choose(allowed, log_probs[:, END_ID], beams)
        first_rows = tf.range(tf.shape(chosen.parent)[0])[:, None] * places
        parent = tf.reshape(chosen.parent + first_rows, [-1])
        after = extend(beams, chosen, parent, choice)
        next_state = tf.nest.map_structure(lambda leaf: tf.gather(leaf, parent), next_state)
        return keep_shapes((after, next_state), (beams, state))

    rows = batch_size * places
    is_root = tf.reduce_any(tf.range(places)[:, None] == list(choice.roots), axis=1)
    beams = Beams(
        position=tf.constant(0),
        token_ids=tf.zeros([rows, max_length], tf.int32),
        token=tf.fill([rows], START_ID),
        sums=tf.tile(tf.where(is_root, 0.0, IMPOSSIBLE), [batch_size]),
        lengths=tf.zeros([rows], tf.int32),
        finished=tf.zeros([rows], tf.bool),
        extra=choice.start(rows),
    )
    beams, _ = tf.while_loop(searching, advance, (beams, state))
    return rank(
        beams.token_ids,
        beams.lengths,
        tf.reshape(beams.sums, [-1, places]),
        num_return=search.num_return,
        length_penalty=search.length_penalty,
        classes=choice.classes,
    )


def may_improve(beams, choice, divisor, num_return):
    """Returns [B] bool: whether a living hypothesis may still come among the best n."""
    sums, finished, scores = (
        tf.reshape(each, [-1, choice.places])
        for each in (beams.sums, beams.finished, beams.sums / tf.gather(divisor, beams.lengths))
    )
    alive = ~finished & (sums > POSSIBLE)
    bound = tf.reduce_max(tf.where(alive, sums, IMPOSSIBLE), axis=1) / divisor[-1]
    complete = slice(choice.first_complete, None)
    beaten = finished[:, complete] & (scores[:, complete] > bound[:, None])
    enough = tf.reduce_sum(tf.cast(beaten, tf.int32), axis=1) >= num_return
    room = tf.reduce_any(~finished[:, complete], axis=1)
    return tf.reduce_any(alive, axis=1) & room & ~enough


def extend(beams, chosen, parent, choice):
    """Returns the hypotheses after a step; parent [R] are rows."""

    def inherit(leaf):
        return tf.gather(leaf, parent)

    kept, sums = tf.reshape(chosen.kept, [-1]), tf.reshape(chosen.sums, [-1])
    sums = tf.where(kept, inherit(beams.sums), tf.maximum(sums, IMPOSSIBLE))
    token = tf.where(kept, PAD_ID, tf.reshape(chosen.token, [-1]))
    return Beams(
        position=beams.position + 1,
        token_ids=write_token(inherit(beams.token_ids), beams.position, token),
        token=token,
        sums=sums,
        lengths=tf.where(kept, inherit(beams.lengths), beams.position + 1),
        # An impossible hypothesis must not hold its place for ever.
        finished=kept | ((token == END_ID) & (sums > POSSIBLE)),
        extra=choice.follow(tf.nest.map_structure(inherit, beams.extra), token),
    )


def end_if_stuck(token, wanted, truth, end_log_prob):
    """Makes the end the one candidate of a row that has none.

    Args:
        token: [B,W,m] int32.
        wanted: [B,W,m] float32, what candidates are chosen by.
        truth: [B,W,m] float32, their log-probabilities.
        end_log_prob: [B,W] float32, the model's own.

    Returns:
        The three, changed in the first candidate of stuck rows.
    """
    stuck = tf.reduce_max(truth, axis=-1, keepdims=True) <= POSSIBLE
    stuck &= tf.range(token.shape[-1]) == 0
    end = end_log_prob[..., None]
    return (
        tf.where(stuck, END_ID, token),
        tf.where(stuck, end, wanted),
        tf.where(stuck, end, truth),
    )


def rate(sums, wanted, finished):
    """Returns what candidates are worth, [B,W,m]; a finished row has one, worth FROZEN."""
    total = tf.maximum(sums[..., None] + wanted, IMPOSSIBLE)
    only = tf.where(tf.range(wanted.shape[-1]) == 0, FROZEN, 2 * IMPOSSIBLE)
    return tf.where(finished[..., None], only, total)


def take_best(worth, token, totals, size):
    """Returns as ``Chosen`` [B,size] the most worthy of candidates [B,rows,m]."""
    rows, count = worth.shape[1:]
    best, place = tf.math.top_k(tf.reshape(worth, [-1, rows * count]), size)
    return Chosen(
        parent=place // count,
        token=tf.gather(tf.reshape(token, [-1, rows * count]), place, batch_dims=1),
        sums=tf.gather(tf.reshape(totals, [-1, rows * count]), place, batch_dims=1),
        kept=best == FROZEN,
    )


def join(groups):
    """Joins the ``Chosen`` of groups along the places."""
    if len(groups) == 1:
        return groups[0]
    return Chosen(*(tf.concat(parts, axis=1) for parts in zip(*groups, strict=True)))
