"""Beam search: plain, with forced words, and in diverse groups. One loop serves all three.

What a beam of size W means here: a picture has W places. At each step the W best continuations of
its living hypotheses, by summed log-probability, take the places; one that ends keeps its place to
the last and is frozen: it is never extended, never gains a term and is never pushed out by a longer
one. So W = 1 is greedy search, and a beam wide enough to push nothing out is exhaustive search for
every length penalty, its n best included. The loop ends when every place is taken by a finished
hypothesis, when no living one can still come among the best n, or at the greatest length, where the
living ones are cut and compete with the rest. The bound is exact: no log-probability is above 0, so
a living sum divided by the greatest divisor is the best score it can reach.

Places are ordered in G groups of W. Plain search has one. In diverse search each group is a beam of
its own that is repelled by the tokens of the groups before it. With forced words, group g holds the
hypotheses in which g of the wanted words occur, and tokens move hypotheses up.

Refuses to know words and weights. Dimension letters: B batch, G groups, W beams a group, K = G*W
places a picture, R = B*K rows, m candidates a row, n returned, T text positions, V vocabulary,
F forced words, A their alternatives.
"""

import dataclasses

from keras_vlm.core.checks import check_number
from keras_vlm.decoding.beam_core import GroupChoice, run_beams
from keras_vlm.decoding.constraints import NO_UNKNOWN, check_constraints
from keras_vlm.decoding.forced_words import ForcedChoice, check_forced
from keras_vlm.decoding.greedy import GreedySearch

# Captions of about the length of people's (recipes/LOG.md).
LENGTH_PENALTY = 0.7


@dataclasses.dataclass(frozen=True)
class BeamSearch:
    """Keeps the best hypotheses at every position.

    Args:
        beam_size: beams W; 1 is greedy.
        length_penalty: the score is the sum of log-probabilities over ``length`` to this power,
            the end id counted; 0 compares sums, which favours short sequences, 1 means, which
            favours long ones.
        num_return: sequences n to return, at most ``beam_size``.
        constraints: what sequences may not hold; by default the unknown word.
        forced_ids: for each word that must occur, an id or a list of alternative ids (the word's
            inflections), at most 4 words. A sequence ends only when it has them all, in any order.
            Each number of words found has a beam of its own, so the state has
            ``beam_size * (words + 1)`` rows a picture. Sequences that were cut before they had all
            come last, those with more words first.

    Raises:
        ValueError: an option is out of range.
        TypeError: ``constraints`` is not a sequence of constraints.

    Source:
        Frozen hypotheses that keep their place: Xu et al. 2015, https://arxiv.org/abs/1502.03044
        (their code). Forced words: Hokamp and Liu 2017, "Lexically Constrained Decoding",
        https://arxiv.org/abs/1704.07138, whose grid has a row for each number of words, with the
        alternatives of Anderson et al. 2017, https://arxiv.org/abs/1612.00576, who keep a beam for
        each subset.
    """

    beam_size: int
    length_penalty: float = LENGTH_PENALTY
    num_return: int = 1
    constraints: tuple = (NO_UNKNOWN,)
    forced_ids: tuple = ()

    def __post_init__(self):
        check_beams("BeamSearch", self)
        object.__setattr__(self, "forced_ids", check_forced("BeamSearch", self.forced_ids))

    @property
    def rows_per_picture(self):
        """Rows that the state must have for each picture."""
        return self.beam_size * (len(self.forced_ids) + 1)

    def __call__(self, step, state, *, batch_size, max_length):
        """Searches.

        Args:
            step: the step protocol's function.
            state: its state for B*rows_per_picture rows.
            batch_size: B, an int or a scalar int32 tensor.
            max_length: T, the greatest length, counting the end id.

        Returns:
            ``Decoded`` with n = num_return.
        """
        if self.rows_per_picture == 1:
            search = GreedySearch(self.length_penalty, self.constraints)
            return search(step, state, batch_size=batch_size, max_length=max_length)
        choice = (
            ForcedChoice(self.beam_size, self.forced_ids)
            if self.forced_ids
            else GroupChoice(self.beam_size)
        )
        return run_beams(step, state, choice, self, batch_size=batch_size, max_length=max_length)


@dataclasses.dataclass(frozen=True)
class DiverseBeamSearch:
    """Splits the beam in groups, each repelled by what the groups before it say.

    Args:
        beam_size: beams in all, a multiple of ``num_groups``.
        num_groups: groups G; 1 is plain beam search.
        diversity_penalty: taken from the log-probability of a token, in the choice only, for each
            beam of an earlier group that takes it at the same position.
        length_penalty: as in ``BeamSearch``.
        num_return: sequences n to return, at most ``beam_size``. The groups compete, and two may
            hold the same sequence.
        constraints: what sequences may not hold; by default the unknown word.

    Raises:
        ValueError: an option is out of range.
        TypeError: ``constraints`` is not a sequence of constraints.

    Source:
        Vijayakumar et al. 2018, "Diverse Beam Search", https://arxiv.org/abs/1610.02424, with the
        Hamming diversity. As in the paper's equation the penalty does not add up over positions,
        and scores are the model's own.
    """

    beam_size: int
    num_groups: int
    diversity_penalty: float = 0.5
    length_penalty: float = LENGTH_PENALTY
    num_return: int = 1
    constraints: tuple = (NO_UNKNOWN,)

    def __post_init__(self):
        check_beams("DiverseBeamSearch", self)
        check_number("DiverseBeamSearch", "diversity_penalty", self.diversity_penalty, minimum=0)
        check_number("DiverseBeamSearch", "num_groups", self.num_groups, minimum=1, integer=True)
        if self.beam_size % self.num_groups:
            raise ValueError(
                f"DiverseBeamSearch: beam_size must be a multiple of num_groups {self.num_groups}, "
                f"got {self.beam_size}."
            )

    @property
    def rows_per_picture(self):
        """Rows that the state must have for each picture."""
        return self.beam_size

    def __call__(self, step, state, *, batch_size, max_length):
        """Searches; see ``BeamSearch``."""
        size = self.beam_size // self.num_groups
        choice = GroupChoice(size, self.num_groups, self.diversity_penalty)
        return run_beams(step, state, choice, self, batch_size=batch_size, max_length=max_length)


def beam_search(step, state, *, batch_size, beam_size, max_length, constraints=(), **options):
    """Keeps the best hypotheses at every position.

    Args:
        step: the step protocol's function.
        state: its state for B*beam_size rows, all rows of a picture alike; with forced words for
            B*beam_size*(words + 1).
        batch_size: B, an int or a scalar int32 tensor.
        beam_size: beams W.
        max_length: T, the greatest length, counting the end id.
        constraints: what sequences may not hold.
        **options: ``length_penalty``, ``num_return`` and ``forced_ids`` of ``BeamSearch``.

    Returns:
        ``Decoded`` with n = num_return.

    Raises:
        ValueError: an option is out of range or the state has other rows.
        TypeError: ``constraints`` is not a sequence of constraints, or an option is unknown.

    Example:
        >>> import tensorflow as tf
        >>> from keras_vlm.decoding import beam_search
        >>> table = tf.math.log([[0.1, 0.1, 0.1, 0.1, 0.6], [0.1, 0.1, 0.1, 0.6, 0.1]])
        >>> def step(token_ids, state):  # word 4, then the end
        ...     return tf.gather(table, state), tf.minimum(state + 1, 1)
        >>> found = beam_search(
        ...     step, tf.zeros([2], tf.int32), batch_size=1, beam_size=2, max_length=3)
        >>> found.token_ids.numpy().tolist(), found.lengths.numpy().tolist()
        ([[[4, 3, 0]]], [[2]])
    """
    search = BeamSearch(beam_size, constraints=constraints, **options)
    return search(step, state, batch_size=batch_size, max_length=max_length)


def diverse_beam_search(
    step, state, *, batch_size, beam_size, max_length, num_groups, constraints=(), **options
):
    """Splits the beam in groups, each repelled by what the groups before it say.

    Args:
        step: the step protocol's function.
        state: its state for B*beam_size rows, all rows of a picture alike.
        batch_size: B, an int or a scalar int32 tensor.
        beam_size: beams in all groups.
        max_length: T, the greatest length, counting the end id.
        num_groups: groups G.
        constraints: what sequences may not hold.
        **options: ``diversity_penalty``, ``length_penalty``, ``num_return`` of
            ``DiverseBeamSearch``.

    Returns:
        ``Decoded`` with n = num_return.

    Raises:
        ValueError: an option is out of range or the state has other rows.
        TypeError: ``constraints`` is not a sequence of constraints, or an option is unknown.
    """
    search = DiverseBeamSearch(beam_size, num_groups, constraints=constraints, **options)
    return search(step, state, batch_size=batch_size, max_length=max_length)


def check_beams(where, search):
    """Checks the options that both searches have, and makes the constraints a tuple.

    Args:
        where: name of the public class.
        search: the instance.

    Raises:
        ValueError: an option is out of range.
        TypeError: ``constraints`` is not a sequence of constraints.
    """
    check_number(where, "beam_size", search.beam_size, minimum=1, integer=True)
    check_number(where, "length_penalty", search.length_penalty, minimum=0)
    check_number(
        where, "num_return", search.num_return, minimum=1, maximum=search.beam_size, integer=True
    )
    object.__setattr__(search, "constraints", check_constraints(where, search.constraints))
