"""ROUGE-L of a corpus. Refuses to know tokenization: words are apart by spaces."""

import numpy as np

from keras_vlm.metrics.ngrams import split_pairs


def rouge_l(references, hypotheses, *, beta=1.2):
    """ROUGE-L of a corpus, from 0 to 1: the mean over its pictures.

    Args:
        references: list of n lists of tokenized strings.
        hypotheses: list of n tokenized strings.
        beta: weight of recall against precision.

    Returns:
        A float.

    Raises:
        ValueError: the lists do not match or are empty.
        TypeError: the references of a picture are not a list.

    Example:
        >>> round(rouge_l([["a dog runs on grass"]], ["a dog on the grass"]), 3)
        0.8

    Source:
        Lin 2004, https://aclanthology.org/W04-1013. Best precision and best recall may come from
        different references, as in pycocoevalcap, to which this is equal.
    """
    reference_words, hypothesis_words, pictures = split_pairs(references, hypotheses, "rouge_l")
    precision, recall = np.zeros(len(hypothesis_words)), np.zeros(len(hypothesis_words))
    for picture, words in zip(pictures, reference_words, strict=True):
        common = longest_common_subsequence(words, hypothesis_words[picture])
        if common:
            precision[picture] = max(precision[picture], common / len(hypothesis_words[picture]))
            recall[picture] = max(recall[picture], common / len(words))
    above = (1 + beta**2) * precision * recall
    below = recall + beta**2 * precision
    return float(np.divide(above, below, out=np.zeros_like(above), where=below > 0).mean())


def longest_common_subsequence(first, second):
    """Returns the length of the longest common subsequence of two lists of words.

    A bit of a Python integer stands for a word of ``second``, so that a row of the usual table is
    one addition.

    Source:
        Hyyrö 2004, "Bit-Parallel LCS-length Computation Revisited".
    """
    places = {}
    for i, word in enumerate(second):
        places[word] = places.get(word, 0) | (1 << i)
    everywhere = (1 << len(second)) - 1
    row = everywhere
    for word in first:
        matched = row & places.get(word, 0)
        row = ((row + matched) | (row - matched)) & everywhere
    return len(second) - row.bit_count()
