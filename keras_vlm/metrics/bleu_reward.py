"""BLEU-4 of token ids, sentence by sentence, quick enough to be a reward of training.

Refuses to know words and models. Dimension letters: B batch, S samples a picture, K references a
picture, T text positions.
"""

import numpy as np

from keras_vlm.metrics.bleu import SMALL, TINY
from keras_vlm.metrics.id_ngrams import LONGEST, check_numbers_fit, count_in_pictures


class BleuReward:
    """Scores samples against their references by the BLEU-4 of each sentence alone.

    The end id counts as a word, as in ``CiderReward``. What has no n-gram of four words in common
    scores almost nothing, not exactly nothing: shorter n-grams still tell such sentences apart.

    Args:
        vocabulary_size: every id is below it.

    Raises:
        ValueError: the vocabulary is too large for the numbers that stand for n-grams.

    Source:
        Papineni et al. 2002, https://aclanthology.org/P02-1040. Equal to the sentence scores of
        pycocoevalcap, with its small numbers in place of zeros, which self-critical training
        commonly adds to CIDEr-D.
    """

    def __init__(self, vocabulary_size):
        self._vocabulary_size = check_numbers_fit("BleuReward", vocabulary_size)

    def __call__(self, samples, references):
        """Scores samples.

        Args:
            samples: [B,S,T] integers, 0 after the end id.
            references: [B,K,T] integers, 0 after the end id; a row of 0 is no reference.

        Returns:
            [B,S] float32, from 0 to 1.
        """
        count = samples.shape[1]
        rows = np.concatenate([samples, references], axis=1)
        lengths = (samples != 0).sum(axis=-1)
        product = 1.0
        for n in range(1, LONGEST + 1):
            counts, _ = count_in_pictures(rows, n, self._vocabulary_size)
            most = counts[:, count:].max(axis=1, keepdims=True)
            matched = np.minimum(counts[:, :count], most).sum(axis=-1)
            product = product * (matched + TINY) / (np.maximum(lengths - n + 1, 0) + SMALL)
        ratio = (lengths + TINY) / (closest_lengths(lengths, references) + SMALL)
        penalty = np.exp(np.minimum(1 - 1 / ratio, 0))
        return (product ** (1 / LONGEST) * penalty).astype(np.float32)


def closest_lengths(lengths, references):
    """Returns [B,S]: the reference length closest to each sample's, the shorter of two as close.

    Args:
        lengths: [B,S] integers, those of the samples.
        references: [B,K,T] integers; a row of 0 is no reference.
    """
    beyond = references.shape[-1] + 1
    candidates = (references != 0).sum(axis=-1)[:, None, :]
    # One number that orders by distance, then by length.
    order = np.abs(candidates - lengths[..., None]) * beyond + candidates
    return np.where(candidates > 0, order, beyond**2).min(axis=-1) % beyond
