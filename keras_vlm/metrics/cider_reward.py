"""CIDEr-D of token ids, quick enough to be the reward of every training step.

Refuses to know words and models. Dimension letters: B batch, S samples a picture, K references a
picture, T text positions, U most different n-grams of a picture.
"""

import numpy as np

from keras_vlm.metrics.id_ngrams import (
    LONGEST,
    check_numbers_fit,
    count_in_pictures,
    number_ngrams,
)
from keras_vlm.metrics.ngrams import look_up


class CiderReward:
    """Scores samples against their references, with the document frequencies of a training set.

    The end id counts as a word, as is usual in training: else nothing is said against sentences
    that break off.

    Args:
        documents: [M,K,T] integers, the references of M pictures; 0 is padding, and a row of
            padding is no reference. No start id.
        vocabulary_size: every id is below it.
        sigma: width, in words, of the penalty on a difference in length.

    Raises:
        ValueError: the vocabulary is too large for the numbers that stand for n-grams.

    Source:
        Vedantam et al. 2015, https://arxiv.org/abs/1411.5726; as a reward, Rennie et al. 2017,
        https://arxiv.org/abs/1612.00563.
    """

    def __init__(self, documents, vocabulary_size, *, sigma=6.0):
        self._vocabulary_size = check_numbers_fit("CiderReward", vocabulary_size)
        self._sigma = sigma
        documents = np.asarray(documents)
        self._log_total = np.log(len(documents))
        owners = np.repeat(np.arange(len(documents)), documents.shape[1])
        self._frequencies = []
        for n in range(1, LONGEST + 1):
            rows, grams = number_ngrams(
                documents.reshape(-1, documents.shape[-1]), n, vocabulary_size
            )
            kinds, index = np.unique(grams, return_inverse=True)
            pairs = np.unique(owners[rows] * len(kinds) + index)
            frequencies = np.bincount(pairs % max(len(kinds), 1), minlength=len(kinds))
            self._frequencies.append((kinds, frequencies))

    def __call__(self, samples, references):
        """Scores samples.

        Args:
            samples: [B,S,T] integers, 0 after the end id.
            references: [B,K,T] integers, as for the constructor.

        Returns:
            [B,S] float32, from 0 to 10.
        """
        count = samples.shape[1]
        rows = np.concatenate([samples, references], axis=1)
        given = (references != 0).any(axis=-1)
        pairs = np.maximum((rows != 0).sum(axis=-1) - 1, 0)
        apart = pairs[:, :count, None] - pairs[:, None, count:]
        closeness = np.exp(-(apart**2) / (2 * self._sigma**2)) * given[:, None, :]
        similarity = sum(self._cosines(rows, count, n) for n in range(1, LONGEST + 1))
        totals = (similarity * closeness).sum(axis=-1) / np.maximum(given.sum(axis=-1), 1)[:, None]
        return (10 / LONGEST * totals).astype(np.float32)

    def _cosines(self, rows, count, n):
        """Returns [B,S,K]: each reference's clipped cosine to each sample, for one n."""
        counts, grams = count_in_pictures(rows, n, self._vocabulary_size)
        weights = counts * self._rarity(grams, n)[:, None]
        norms = np.linalg.norm(weights, axis=-1)
        samples, references = weights[:, :count, None], weights[:, None, count:]
        products = (np.minimum(samples, references) * references).sum(axis=-1)
        scale = norms[:, :count, None] * norms[:, None, count:]
        return products / np.where(scale > 0, scale, np.inf)

    def _rarity(self, grams, n):
        """Returns the inverse document frequency of n-grams [B,U]."""
        return self._log_total - np.log(np.maximum(look_up(*self._frequencies[n - 1], grams), 1))
