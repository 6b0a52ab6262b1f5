"""The picture-shuffle test: a split whose texts belong to other pictures.

A model that scores here as it does on the split itself does not look. Refuses to know models.
Dimension letter: n pictures.
"""

import copy

import numpy as np
import tensorflow as tf

from keras_vlm.core.checks import check_number
from keras_vlm.data.sources.base import constant_texts


def shuffle_pictures(examples, seed=0):
    """Returns the same split with its pictures permuted: each stands at another's texts.

    Pictures (with their names and regions) stay in their order and the texts change places, which
    is the same and leaves the files alone.

    Args:
        examples: a data split of two pictures or more.
        seed: the permutation is a function of it and of the number of pictures.

    Returns:
        An ``Examples`` whose ``split`` says what it is, so that signatures of scores do.

    Raises:
        ValueError: there is one picture alone, or the seed is negative.

    Example:
        >>> from keras_vlm.data import load_data
        >>> examples = load_data("scenes:20")["test"]
        >>> shuffled = shuffle_pictures(examples)
        >>> shuffled.split, sorted(shuffled.captions) == sorted(examples.captions)
        ('test:shuffled(seed=0)', True)
    """
    check_number("shuffle_pictures", "seed", seed, minimum=0, integer=True)
    if len(examples) < 2:
        raise ValueError(
            f"shuffle_pictures: examples must have two pictures or more, got {len(examples)} "
            f"({examples.name}:{examples.split}). A picture alone has nobody to change places with."
        )
    places = derangement(len(examples), seed)
    twin = copy.copy(examples)
    twin.split = f"{examples.split}:shuffled(seed={seed})"
    for key in ("captions", "questions"):
        texts = getattr(examples, key)
        setattr(twin, key, None if texts is None else [texts[place] for place in places])
    with tf.init_scope():
        twin._texts = {**examples._texts, **constant_texts(twin.captions, twin.questions)}
    return twin


def derangement(count, seed):
    """Draws a permutation in which nothing keeps its place; each of them is as likely.

    Args:
        count: n, two or more.
        seed: an integer.

    Returns:
        [n] int64.
    """
    random = np.random.default_rng(seed)
    # One permutation in e, about, is one.
    while True:
        places = random.permutation(count)
        if not np.any(places == np.arange(count)):
            return places
