"""CIDEr-D of token ids, quick enough to be the reward of every training step.

Refuses to know words and models. Dimension letters: B batch, S samples a picture, K references a
picture, T text positions, R rows, U different n-grams.
"""

import numpy as np

LONGEST = 4


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
        if vocabulary_size**LONGEST >= 2**63:
            raise ValueError(
                f"CiderReward: vocabulary_size must be below {int(2 ** (63 / LONGEST))}, got "
                f"{vocabulary_size}."
            )
        self._base = vocabulary_size
        self._sigma = sigma
        documents = np.asarray(documents)
        self._log_total = np.log(len(documents))
        owners = np.repeat(np.arange(len(documents)), documents.shape[1])
        self._frequencies = []
        for n in range(1, LONGEST + 1):
            rows, grams = self._ngrams(documents.reshape(-1, documents.shape[-1]), n)
            kinds, index = np.unique(grams, return_inverse=True)
            pairs = np.unique(owners[rows] * len(kinds) + index)
            self._frequencies.append((kinds, np.bincount(pairs % len(kinds))))

    def __call__(self, samples, references):
        """Scores samples.

        Args:
            samples: [B,S,T] integers, 0 after the end id.
            references: [B,K,T] integers, as for the constructor.

        Returns:
            [B,S] float32, from 0 to 10.
        """
        batch, count = samples.shape[:2]
        rows = np.concatenate([samples, references], axis=1)
        given = (references != 0).any(axis=-1)
        pairs = np.maximum((rows != 0).sum(axis=-1) - 1, 0).astype(np.float32)
        apart = pairs[:, :count, None] - pairs[:, None, count:]
        closeness = np.exp(-(apart**2) / (2 * self._sigma**2)) * given[:, None, :]
        similarity = np.zeros((batch, count, references.shape[1]), np.float32)
        for n in range(1, LONGEST + 1):
            similarity += self._cosines(rows, count, n)
        totals = (similarity * closeness).sum(axis=-1) / np.maximum(given.sum(axis=-1), 1)[:, None]
        return (10 / LONGEST * totals).astype(np.float32)

    def _ngrams(self, rows, n):
        """Returns the row and the number of each n-gram of rows [R,T]."""
        windows = np.lib.stride_tricks.sliding_window_view(rows.astype(np.int64), n, axis=1)
        numbers = windows @ (self._base ** np.arange(n, dtype=np.int64)[::-1])
        real = windows[..., -1] != 0
        return np.nonzero(real)[0], numbers[real]

    def _cosines(self, rows, count, n):
        """Returns [B,S,K]: each reference's clipped cosine to each sample, for one n."""
        batch, per_picture, length = rows.shape
        owners, grams = self._ngrams(rows.reshape(-1, length), n)
        kinds, index = np.unique(grams, return_inverse=True)
        if not len(kinds):
            return np.zeros((batch, count, per_picture - count), np.float32)
        counts = np.bincount(owners * len(kinds) + index, minlength=rows[..., 0].size * len(kinds))
        weights = counts.reshape(batch, per_picture, len(kinds)) * self._rarity(kinds, n)
        norms = np.linalg.norm(weights, axis=-1)
        products = np.empty((batch, count, per_picture - count), np.float32)
        for picture, (mine, size) in enumerate(zip(weights, norms, strict=True)):
            # Only n-grams of the references count.
            mine = mine[:, mine[count:].any(axis=0)]
            found = np.minimum(mine[:count, None], mine[None, count:]) * mine[None, count:]
            scale = size[:count, None] * size[None, count:]
            products[picture] = found.sum(axis=-1) / np.where(scale > 0, scale, np.inf)
        return products

    def _rarity(self, kinds, n):
        """Returns the inverse document frequency of n-grams [U]."""
        known, frequencies = self._frequencies[n - 1]
        places = np.minimum(np.searchsorted(known, kinds), len(known) - 1)
        frequency = np.where(known[places] == kinds, frequencies[places], 1)
        return self._log_total - np.log(frequency)
