"""How a Transformer knows the order of words: three ways under one contract.

A decoder adds ``places`` to its words, or ``nearness`` to the scores of its self-attention. Refuses
to know what is said at a place. Dimension letters: T text positions, D model width, H heads.
"""

import numpy as np
from keras import ops

POSITIONS = ("learned", "sinusoidal", "relative")
# The slowest wave takes 2 pi times this many words.
SLOWEST = 10000.0


def positions_shape(kind, max_length, width, heads):
    """Returns the shape of the weights that a kind of positions learns, or None.

    Args:
        kind: one of ``POSITIONS``.
        max_length: T.
        width: D.
        heads: H.
    """
    return {"learned": (max_length, width), "relative": (max_length, heads)}.get(kind)


def waves(places, width):
    """Returns sines and cosines [...,D] of places [...]: the same at each place of any length.

    Args:
        places: [...] int32, from 0.
        width: D.

    Source:
        Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, section 3.5: sines at even and
        cosines at odd units.
    """
    steps = np.arange(width) // 2 * 2 / width
    angles = ops.cast(places, "float32")[..., None] * (SLOWEST**-steps).astype("float32")
    return ops.where(np.arange(width) % 2 == 0, ops.sin(angles), ops.cos(angles))


def nearness(bias, query_places, key_places):
    """Returns what each head adds to the score of a word that lies so far back: [...,T,H].

    Args:
        bias: [L,H] float, for each distance; farther words count as the farthest.
        query_places: [...] int32, where the words are that ask.
        key_places: [T] int32, where the words are that are asked; later ones are masked elsewhere.

    Source:
        Raffel et al. 2020 (T5), https://arxiv.org/abs/1910.10683, section 2.1, one bias for all
        layers; captions are short, so that each distance has its own, not a bucket of several.
    """
    distances = query_places[..., None] - key_places
    return ops.take(bias, ops.clip(distances, 0, bias.shape[0] - 1), axis=0)
