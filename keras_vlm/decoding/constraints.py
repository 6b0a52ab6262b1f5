"""What a sequence may not hold: constraints that every search takes.

A constraint is called as ``constraint(log_probs [R,V], token_ids [R,T], position) -> log_probs``:
the tokens chosen so far are those before ``position``, a scalar int32; what it forbids it lowers by
at least IMPOSSIBLE, and the rest it leaves alone, so that scores stay the model's own. Constraints
are values: two with the same arguments are equal and hash alike.

Pad and start are always forbidden. A row for which constraints forbid *every* token does not vanish
in silence: it may end, at the model's own log-probability of the end id.

Words that a sequence *must* hold are the beam search's ``forced_ids``. Refuses to know words.
Dimension letters: R rows, T text positions, V vocabulary.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from keras_vlm.core.checks import check_number
from keras_vlm.decoding.step import (
    END_ID,
    IMPOSSIBLE,
    PAD_ID,
    POSSIBLE,
    START_ID,
    UNKNOWN_ID,
)


@dataclasses.dataclass(frozen=True)
class BannedTokens:
    """Forbids tokens everywhere.

    Args:
        token_ids: the ids, whole numbers below V.

    Raises:
        ValueError: an id is not a whole number, or when decoding, is not below V.

    Example:
        >>> import tensorflow as tf
        >>> ban = BannedTokens([1])
        >>> log_probs = ban(tf.zeros([1, 4]), tf.zeros([1, 3], tf.int32), 0)
        >>> (log_probs > POSSIBLE).numpy().tolist()
        [[True, False, True, True]]
    """

    token_ids: tuple

    def __post_init__(self):
        ids = check_ids("BannedTokens", "token_ids", self.token_ids)
        object.__setattr__(self, "token_ids", ids)

    def __call__(self, log_probs, token_ids, position):
        """Returns log_probs [R,V] with the banned ids impossible."""
        size = log_probs.shape[-1]
        return log_probs + lowered(size, check_below("BannedTokens", self.token_ids, size))


@dataclasses.dataclass(frozen=True)
class MinimumLength:
    """Forbids the end until there are enough words.

    Args:
        words: least number of tokens before the end id. A sequence that reaches the greatest length
            is cut there all the same.

    Raises:
        ValueError: ``words`` is not a whole number >= 0.
    """

    words: int

    def __post_init__(self):
        check_number("MinimumLength", "words", self.words, minimum=0, integer=True)

    def __call__(self, log_probs, token_ids, position):
        """Returns log_probs [R,V] with the end impossible at early positions."""
        bias = lowered(log_probs.shape[-1], (END_ID,))
        return log_probs + tf.where(position < self.words, bias, tf.zeros_like(bias))


@dataclasses.dataclass(frozen=True)
class NoRepeatNgram:
    """Forbids every token that would repeat a run of tokens of the same sequence.

    Args:
        size: length n of the run: 1 forbids repeated words, 2 repeated pairs.

    Raises:
        ValueError: ``size`` is not a whole number >= 1.
    """

    size: int

    def __post_init__(self):
        check_number("NoRepeatNgram", "size", self.size, minimum=1, integer=True)

    def __call__(self, log_probs, token_ids, position):
        """Returns log_probs [R,V] with repeated runs impossible."""
        context = self.size - 1
        starts = token_ids.shape[1] - context
        if starts < 1:
            return log_probs
        # repeats[r,i]: the run that starts at i begins as the row now ends, and lies in the past.
        repeats = (tf.range(starts) + context < position)[None, :]
        for offset in range(context):
            latest = tf.gather(token_ids, tf.maximum(position - context + offset, 0), axis=1)
            repeats &= token_ids[:, offset : offset + starts] == latest[:, None]
        # The pad id is forbidden anyway: writing there changes nothing.
        banned = tf.where(repeats, token_ids[:, context:], PAD_ID)
        rows = tf.range(tf.shape(token_ids)[0])[:, None] + tf.zeros_like(banned)
        places = tf.stack([rows, banned], axis=-1)
        values = tf.zeros_like(banned, log_probs.dtype) + IMPOSSIBLE
        return tf.tensor_scatter_nd_update(log_probs, places, values)


def constrain(constraints, log_probs, token_ids, position):
    """Applies what is always forbidden, then each constraint: log_probs [R,V] -> [R,V]."""
    log_probs += lowered(log_probs.shape[-1], (PAD_ID, START_ID))
    for constraint in constraints:
        log_probs = constraint(log_probs, token_ids, position)
    return log_probs


def or_end(token, log_prob, end_log_prob):
    """Turns a choice that is impossible into the end.

    Args:
        token: int32, the chosen ids, of any shape.
        log_prob: float32 of that shape, under the constraints.
        end_log_prob: float32 of that shape, the model's own for the end id.

    Returns:
        The pair of ids and log-probabilities.
    """
    stuck = log_prob <= POSSIBLE
    return tf.where(stuck, END_ID, token), tf.where(stuck, end_log_prob, log_prob)


def check_constraints(where, constraints):
    """Returns the constraints as a tuple.

    Args:
        where: name of the public function that the user called.
        constraints: what the user passed.

    Returns:
        A tuple of callables.

    Raises:
        TypeError: it is not a sequence of callables.
    """
    if callable(constraints) or not all(callable(each) for each in constraints):
        raise TypeError(
            f"{where}: constraints must be a sequence of constraints, got {constraints!r}. "
            "Write constraints=[NoRepeatNgram(2)]."
        )
    return tuple(constraints)


def check_ids(where, argument, ids, *, minimum=0):
    """Returns the ids as a tuple of ints.

    Args:
        where: name of the public function that the user called.
        argument: name of the argument.
        ids: an iterable of whole numbers.
        minimum: the least allowed id.

    Returns:
        A tuple of ints.

    Raises:
        ValueError: an id is not a whole number >= ``minimum``.
    """
    numbers = [each.item() if isinstance(each, np.generic) else each for each in ids]
    return tuple(
        check_number(where, argument, each, minimum=minimum, integer=True) for each in numbers
    )


def check_below(where, ids, vocabulary_size):
    """Returns ``ids`` if all are below V.

    Args:
        where: name of the public class that the user called.
        ids: a tuple of ints.
        vocabulary_size: V.

    Returns:
        ``ids``, unchanged.

    Raises:
        ValueError: an id is not below V.
    """
    over = [each for each in ids if each >= vocabulary_size]
    if over:
        raise ValueError(
            f"{where}: token_ids must be below the vocabulary's size {vocabulary_size}, got "
            f"{over}. Take ids from the model's own tokenizer."
        )
    return ids


def lowered(vocabulary_size, ids):
    """Returns a constant [V] that is IMPOSSIBLE at the ids and 0 elsewhere.

    Added, not selected: outside XLA a broadcast addition is the faster of the two.
    """
    bias = np.zeros(vocabulary_size, "float32")
    bias[list(ids)] = IMPOSSIBLE
    return tf.constant(bias)


# For the searches' defaults: a caption with a hole in it is of no use.
NO_UNKNOWN = BannedTokens((UNKNOWN_ID,))
