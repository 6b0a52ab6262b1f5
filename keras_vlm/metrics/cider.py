"""CIDEr-D of a corpus. Refuses to know tokenization: words are apart by spaces."""

import numpy as np

from keras_vlm.metrics.ngrams import count_ngrams, look_up, split_pairs


def cider_d(references, hypotheses, *, sigma=6.0):
    """CIDEr-D of a corpus, from 0 to 10: the mean over its pictures.

    The weight of an n-gram comes from these references, so that scores of different sets of
    pictures do not compare.

    Args:
        references: list of n lists of tokenized strings.
        hypotheses: list of n tokenized strings.
        sigma: width, in words, of the penalty on a difference in length.

    Returns:
        A float.

    Raises:
        ValueError: the lists do not match or are empty.
        TypeError: the references of a picture are not a list.

    Example:
        >>> references = [["a dog runs on grass"], ["two men ride red bikes"]]
        >>> round(cider_d(references, ["a dog runs on grass", "two men ride big bikes"]), 2)
        7.04

    Source:
        Vedantam et al. 2015, https://arxiv.org/abs/1411.5726; equal to pycocoevalcap's.
    """
    return float(cider_d_each(references, hypotheses, sigma=sigma).mean())


def cider_d_each(references, hypotheses, *, sigma=6.0):
    """Like ``cider_d``, for each picture alone: [n] float64."""
    reference_words, hypothesis_words, pictures = split_pairs(references, hypotheses, "cider_d")
    total = len(hypothesis_words)
    _, counts = count_ngrams(hypothesis_words + reference_words)
    # pycocoevalcap counts a sentence's length in word pairs.
    pairs = np.bincount(
        counts[1].sentences, weights=counts[1].counts, minlength=total + len(pictures)
    )
    shorter = np.exp(-((pairs[:total][pictures] - pairs[total:]) ** 2) / (2 * sigma**2))
    similarity = np.mean([cosine(found, total, pictures) for found in counts], axis=0) * shorter
    summed = np.bincount(pictures, weights=similarity, minlength=total)
    return 10 * summed / np.bincount(pictures, minlength=total)


def cosine(found, total, pictures):
    """Returns [S] float64: each reference's clipped cosine to its picture's hypothesis, for one n.

    Args:
        found: ``NgramCounts`` of hypotheses, then references.
        total: number of hypotheses.
        pictures: [S] int64, picture of each reference.
    """
    split, kinds = np.searchsorted(found.sentences, total), max(found.kinds, 1)
    owners = found.sentences[split:] - total
    keys = pictures[owners] * kinds + found.ngrams[split:]
    # In how many pictures' references an n-gram is.
    frequency = np.bincount(np.unique(keys) % kinds, minlength=kinds)
    rarity = np.log(total) - np.log(np.maximum(frequency, 1))
    weights = found.counts * rarity[found.ngrams]
    norms = np.sqrt(
        np.bincount(found.sentences, weights=weights**2, minlength=total + len(pictures))
    )
    wanted = found.sentences[:split] * kinds + found.ngrams[:split]
    same = look_up(wanted, weights[:split], keys)
    products = np.bincount(
        owners, weights=np.minimum(same, weights[split:]) * weights[split:], minlength=len(pictures)
    )
    scale = norms[:total][pictures] * norms[total:]
    return np.divide(products, scale, out=np.zeros(len(pictures)), where=scale > 0)
