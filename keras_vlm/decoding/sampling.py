"""Sampling, with the filters that sharpen a distribution, and the seed that makes it repeat.

Refuses to know words and weights. Dimension letters: B batch, W samples a picture, R = B*W rows,
T text positions, V vocabulary.
"""

import dataclasses
import math

import numpy as np
import tensorflow as tf

from keras_vlm.core.checks import check_number
from keras_vlm.decoding.constraints import NO_UNKNOWN, check_constraints
from keras_vlm.decoding.greedy import follow
from keras_vlm.decoding.step import IMPOSSIBLE, check_search, rank

BITS_OF_ONE = int(np.float32(1).view(np.int32))


@dataclasses.dataclass(frozen=True)
class Sampling:
    """Draws sequences at random, token by token.

    The distribution is the model's under the constraints, then tempered, then cut to the ``top_k``,
    then cut to the ``top_p``. The samples of a picture are independent, and come back sorted by
    score. Scores are of the model's own distribution, not of the one drawn from: they compare
    between temperatures and with other searches. ``scores * lengths`` are the sums.

    Args:
        num_samples: samples a picture.
        temperature: divides the log-probabilities; 0 takes the most probable token, as greedy does.
        top_k: keeps the k most probable tokens; 0 keeps all.
        top_p: keeps the fewest most probable tokens whose probabilities reach p; 1 keeps all.
        seed: a whole number or an int32 tensor [2]; the same seed draws the same. A tensor cannot
            be hashed, nor then the strategy that holds it.
        constraints: what sequences may not hold; by default the unknown word.

    Raises:
        ValueError: an option is out of range.
        TypeError: ``constraints`` is not a sequence of constraints.

    Source:
        Holtzman et al. 2020, "The Curious Case of Neural Text Degeneration",
        https://arxiv.org/abs/1904.09751, for top_p.
    """

    num_samples: int = 1
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0
    constraints: tuple = (NO_UNKNOWN,)

    def __post_init__(self):
        check_number("Sampling", "num_samples", self.num_samples, minimum=1, integer=True)
        check_number("Sampling", "temperature", self.temperature, minimum=0)
        check_number("Sampling", "top_k", self.top_k, minimum=0, integer=True)
        check_number("Sampling", "top_p", self.top_p, minimum=0, maximum=1)
        check_seed(self.seed)
        constraints = check_constraints("Sampling", self.constraints)
        object.__setattr__(self, "constraints", constraints)

    @property
    def rows_per_picture(self):
        """Rows W that the state must have for each picture."""
        return self.num_samples

    def __call__(self, step, state, *, batch_size, max_length):
        """Samples.

        Args:
            step: the step protocol's function.
            state: its state for B*num_samples rows.
            batch_size: B, an int or a scalar int32 tensor.
            max_length: T, the greatest length, counting the end id.

        Returns:
            ``Decoded`` with n = num_samples.
        """
        check_search("Sampling", state, batch_size, self.num_samples, max_length)
        seed = self.seed if tf.is_tensor(self.seed) else tf.constant([0, self.seed], tf.int32)

        rows = batch_size * self.num_samples
        uniforms = uniform_numbers([max_length, rows], seed)

        def pick(log_probs, position):
            return draw(self.filtered(log_probs), tf.gather(uniforms, position))

        def pick_best(log_probs, position):
            return tf.argmax(log_probs, -1, output_type=tf.int32)

        token_ids, lengths, sums = follow(
            step,
            state,
            pick if self.temperature else pick_best,
            rows=rows,
            max_length=max_length,
            constraints=self.constraints,
        )
        sums = tf.reshape(sums, [-1, self.num_samples])
        return rank(token_ids, lengths, sums, num_return=self.num_samples, length_penalty=1.0)

    def filtered(self, log_probs):
        """Returns log_probs [R,V] tempered and cut, not renormalised."""
        log_probs = temper(log_probs, self.temperature)
        if self.top_k:
            log_probs = keep_top_k(log_probs, self.top_k)
        if self.top_p < 1:
            log_probs = keep_top_p(log_probs, self.top_p)
        return log_probs


def sample(step, state, *, batch_size, max_length, seed, constraints=(), **options):
    """Draws sequences at random, token by token.

    Args:
        step: the step protocol's function.
        state: its state for B*num_samples rows.
        batch_size: B, an int or a scalar int32 tensor.
        max_length: T, the greatest length, counting the end id.
        seed: a whole number or an int32 tensor [2].
        constraints: what sequences may not hold.
        **options: ``num_samples``, ``temperature``, ``top_k`` and ``top_p`` of ``Sampling``.

    Returns:
        ``Decoded`` with n = num_samples. A score is the mean log-probability of the model itself.

    Raises:
        ValueError: an option is out of range or the state has other rows.
        TypeError: ``constraints`` is not a sequence of constraints, or an option is unknown.
    """
    search = Sampling(seed=seed, constraints=constraints, **options)
    return search(step, state, batch_size=batch_size, max_length=max_length)


def temper(log_probs, temperature):
    """Divides log_probs [R,V] by a temperature > 0, without renormalising."""
    if temperature == 1:
        return log_probs
    # The most probable becomes 0, which survives any temperature.
    return (log_probs - tf.reduce_max(log_probs, axis=-1, keepdims=True)) / temperature


def keep_top_k(log_probs, k):
    """Makes all but the k most probable tokens of log_probs [R,V] impossible; ties stay.

    Example:
        >>> import tensorflow as tf
        >>> kept = keep_top_k(tf.math.log([[0.5, 0.2, 0.3]]), 2)
        >>> (kept > IMPOSSIBLE).numpy().tolist()
        [[True, False, True]]
    """
    values, _ = tf.math.top_k(log_probs, min(k, log_probs.shape[-1]))
    # Their minimum, not the last of them: a slice makes XLA sort the whole vocabulary.
    least = tf.reduce_min(values, axis=-1, keepdims=True)
    return tf.where(log_probs >= least, log_probs, IMPOSSIBLE)


def keep_top_p(log_probs, p):
    """Makes all but the most probable tokens, which together reach p, impossible; ties stay.

    Args:
        log_probs: [R,V] float32; need not be normalised.
        p: share of the probability to keep, 0..1; the most probable token always stays.

    Returns:
        log_probs [R,V], not renormalised.

    Example:
        >>> import tensorflow as tf
        >>> kept = keep_top_p(tf.math.log([[0.5, 0.2, 0.3]]), 0.6)
        >>> (kept > IMPOSSIBLE).numpy().tolist()
        [[True, False, True]]
    """
    shares, total = unnormalised(log_probs)
    # The bits of positive floats are ordered as they are, so the least kept share is found by
    # halving the range of its bits, exactly. Sorting costs XLA ten times as much.
    bits = tf.bitcast(shares, tf.int32)
    low = tf.zeros_like(bits[:, :1])
    high = low + BITS_OF_ONE + 1

    def halve(count, low, high):
        middle = (low + high) // 2
        kept = tf.reduce_sum(tf.where(bits >= middle, shares, 0.0), axis=-1, keepdims=True)
        enough = kept >= p * total
        return count + 1, tf.where(enough, middle, low), tf.where(enough, high, middle)

    _, low, _ = tf.while_loop(lambda count, *_: count < 30, halve, (0, low, high))
    return tf.where(bits >= low, log_probs, IMPOSSIBLE)


def draw(log_probs, uniform):
    """Draws a token a row.

    Args:
        log_probs: [R,V] float32, not necessarily normalised.
        uniform: [R] float32, random numbers above 0 and below 1.

    Returns:
        token [R] int32: where the cumulated probability passes the number.
    """
    shares, _ = unnormalised(log_probs)
    # A block of the vocabulary first, then a token of the block: both are short, while a running
    # sum over the whole vocabulary, and what is compared with it, are as long as that.
    vocabulary_size = shares.shape[-1]
    width = math.isqrt(vocabulary_size - 1) + 1
    missing = -vocabulary_size % width
    blocks = tf.reshape(
        tf.pad(shares, [[0, 0], [0, missing]]), [-1, (vocabulary_size + missing) // width, width]
    )
    sums = tf.reduce_sum(blocks, axis=-1)
    block, rest = find_place(sums, uniform * tf.reduce_sum(sums, axis=-1))
    place, _ = find_place(tf.gather(blocks, block, batch_dims=1), rest)
    return block * width + place


def find_place(shares, wanted):
    """Finds where the running sum of shares passes a number.

    Args:
        shares: [R,n] float32, not all of them 0.
        wanted: [R] float32.

    Returns:
        ``(place [R] int32, rest [R] float32)``: a place whose share is not 0, and by how much the
        number is above the sum of all shares before it.
    """
    sums = tf.cumsum(shares, axis=-1)
    places = tf.range(shares.shape[-1])
    # Sums are rounded: ask besides that a place is possible, and if none is left take the last.
    possible = shares > 0
    passed = possible & (sums >= wanted[:, None])
    last = tf.reduce_max(tf.where(possible, places, 0), axis=-1)
    first = tf.reduce_min(tf.where(passed, places, shares.shape[-1]), axis=-1)
    place = tf.minimum(first, last)
    return place, wanted - tf.gather(sums - shares, place, batch_dims=1)


def uniform_numbers(shape, seed):
    """Returns float32 random numbers above 0 and below 1.

    Whole numbers are the same with and without XLA, the library's own uniform floats are not. 23
    bits and a half are exact in float32.
    """
    bits = tf.random.stateless_uniform(
        shape, seed, minval=None, maxval=None, dtype=tf.int32, alg="philox"
    )
    return (tf.cast(tf.bitwise.bitwise_and(bits, 2**23 - 1), tf.float32) + 0.5) * 2.0**-23


def unnormalised(log_probs):
    """Returns shares [R,V], the greatest of each row 1, and their sums [R,1]."""
    # An infinity in every place would make NaN.
    log_probs = tf.maximum(log_probs, IMPOSSIBLE)
    shares = tf.exp(log_probs - tf.reduce_max(log_probs, axis=-1, keepdims=True))
    return shares, tf.reduce_sum(shares, axis=-1, keepdims=True)


def check_seed(seed):
    """Checks a seed.

    Args:
        seed: what the user passed.

    Raises:
        ValueError: it is neither a whole number from 0 to 2**31 - 1 nor an int32 tensor [2].
    """
    if not tf.is_tensor(seed):
        check_number("Sampling", "seed", seed, minimum=0, maximum=2**31 - 1, integer=True)
    elif seed.dtype != tf.int32 or seed.shape.rank != 1 or seed.shape[0] not in (2, None):
        raise ValueError(
            "Sampling: seed must be a whole number or an int32 tensor of shape (2,), got "
            f"{seed.dtype.name} of shape {seed.shape}. Write tf.constant([1, 2])."
        )
