"""BLEU of a corpus. Refuses to know tokenization: words are apart by spaces."""

import numpy as np

from keras_vlm.metrics.ngrams import count_ngrams, look_up, split_pairs

# What pycocoevalcap adds so that nothing is divided by zero.
TINY, SMALL = 1e-15, 1e-9


def bleu(references, hypotheses, *, brevity_penalty=True):
    """BLEU-1 to BLEU-4 over a corpus, from 0 to 1.

    Args:
        references: list of n lists of tokenized strings.
        hypotheses: list of n tokenized strings.
        brevity_penalty: whether a corpus shorter than its references is penalised; papers before
            2016 often leave it out.

    Returns:
        ``{"BLEU-1": ..., "BLEU-2": ..., "BLEU-3": ..., "BLEU-4": ...}``.

    Raises:
        ValueError: the lists do not match or are empty.
        TypeError: the references of a picture are not a list.

    Example:
        >>> scores = bleu([["a dog runs on grass"]], ["a dog runs on sand"])
        >>> {name: round(score, 3) for name, score in scores.items()}
        {'BLEU-1': 0.8, 'BLEU-2': 0.775, 'BLEU-3': 0.737, 'BLEU-4': 0.669}

    Source:
        Papineni et al. 2002, https://aclanthology.org/P02-1040. The reference length is the one
        closest to the hypothesis, the shorter of two as close; equal to pycocoevalcap's.
    """
    reference_words, hypothesis_words, pictures = split_pairs(references, hypotheses, "bleu")
    total = len(hypothesis_words)
    lengths, counts = count_ngrams(hypothesis_words + reference_words)
    length, closest = lengths[:total].sum(), closest_lengths(lengths, total, pictures).sum()
    ratio = (length + TINY) / (closest + SMALL)
    penalty = np.exp(1 - 1 / ratio) if brevity_penalty and ratio < 1 else 1.0
    product, scores = 1.0, {}
    for n, found in enumerate(counts, start=1):
        matched = clipped_matches(found, total, pictures)
        product *= (matched + TINY) / (np.maximum(lengths[:total] - n + 1, 0).sum() + SMALL)
        scores[f"BLEU-{n}"] = float(product ** (1 / n) * penalty)
    return scores


def closest_lengths(lengths, total, pictures):
    """Returns [n] int64, for each picture the reference length closest to the hypothesis's."""
    candidates = lengths[total:]
    # One number that orders by distance, then by length.
    order = np.abs(candidates - lengths[:total][pictures]) * (candidates.max() + 1) + candidates
    best = np.full(total, np.iinfo(np.int64).max)
    np.minimum.at(best, pictures, order)
    return best % (candidates.max() + 1)


def clipped_matches(found, total, pictures):
    """Returns how many n-grams of the hypotheses are in a reference, each as often at most."""
    split = np.searchsorted(found.sentences, total)
    kinds = max(found.kinds, 1)
    keys = pictures[found.sentences[split:] - total] * kinds + found.ngrams[split:]
    if not len(keys):
        return 0
    order = np.argsort(keys, kind="stable")
    different, first = np.unique(keys[order], return_index=True)
    most = np.maximum.reduceat(found.counts[split:][order], first)
    wanted = found.sentences[:split] * kinds + found.ngrams[:split]
    return np.minimum(found.counts[:split], look_up(different, most, wanted)).sum()
