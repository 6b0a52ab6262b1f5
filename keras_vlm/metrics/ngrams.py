"""N-grams of many sentences as arrays of numbers, so that scores are counted at NumPy's speed.

Refuses to know what is scored. Dimension letters: S sentences, E entries (pairs of a sentence and
an n-gram that is in it).
"""

import dataclasses
import itertools

import numpy as np


@dataclasses.dataclass(frozen=True)
class NgramCounts:
    """How often which n-gram is in which sentence, for one n.

    Attributes:
        sentences: [E] int64, in ascending order.
        ngrams: [E] int64, from 0 to ``kinds`` - 1, the same n-gram in all sentences.
        counts: [E] int64.
        kinds: number of different n-grams.
    """

    sentences: np.ndarray
    ngrams: np.ndarray
    counts: np.ndarray
    kinds: int


def count_ngrams(sentences, longest=4):
    """Counts n-grams.

    Args:
        sentences: list of S lists of words.
        longest: greatest n.

    Returns:
        ``(lengths [S] int64, [NgramCounts for n = 1 .. longest])``.
    """
    lengths = np.array([len(words) for words in sentences], dtype=np.int64)
    numbers = {}
    words = np.fromiter(
        (numbers.setdefault(word, len(numbers)) for word in itertools.chain(*sentences)),
        dtype=np.int64,
        count=int(lengths.sum()),
    )
    owners = np.repeat(np.arange(len(sentences)), lengths)
    left = np.repeat(lengths.cumsum(), lengths) - np.arange(len(words))
    grams, kinds, found = words, len(numbers), []
    for n in range(1, longest + 1):
        if n > 1:
            # An n-gram is the (n-1)-gram before its last word, and that word.
            starts = np.flatnonzero(left >= n)
            pairs = grams[starts] * len(numbers) + words[starts + n - 1]
            different, numbered = np.unique(pairs, return_inverse=True)
            grams = np.zeros(len(words), dtype=np.int64)
            grams[starts], kinds = numbered, len(different)
        else:
            starts = np.arange(len(words))
        keys, counts = np.unique(owners[starts] * max(kinds, 1) + grams[starts], return_counts=True)
        owner, gram = np.divmod(keys, max(kinds, 1))
        found.append(NgramCounts(owner, gram, counts, kinds))
    return lengths, found


def look_up(keys, values, wanted):
    """Returns the values of the wanted keys, 0 for those that are not there.

    Args:
        keys: [E] int64, ascending.
        values: [E] numbers.
        wanted: [...] int64.

    Returns:
        [...] numbers.
    """
    if not len(keys):
        return np.zeros(np.shape(wanted), dtype=values.dtype)
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[places] == wanted, values[places], 0)


def split_pairs(references, hypotheses, where):
    """Splits tokenized texts into words and notes which picture each reference belongs to.

    Args:
        references: list of n lists of strings, words apart by spaces; any number a picture.
        hypotheses: list of n strings.
        where: name of the caller, for messages.

    Returns:
        ``(reference words, hypothesis words, picture of each reference [S] int64)``.

    Raises:
        ValueError: the lists do not match, are empty, or a picture has no reference.
        TypeError: the references of a picture are a string, not a list.
    """
    if len(references) != len(hypotheses):
        raise ValueError(
            f"{where}: references and hypotheses must be of one length, got {len(references)} "
            f"and {len(hypotheses)}."
        )
    if not len(hypotheses):
        raise ValueError(f"{where}: hypotheses must not be empty, got none.")
    for i, texts in enumerate(references):
        if isinstance(texts, str):
            raise TypeError(
                f"{where}: references[{i}] must be a list of strings, got {texts!r}. "
                "Wrap a single reference in a list."
            )
        if not len(texts):
            raise ValueError(f"{where}: references[{i}] must hold a reference, got none.")
    pictures = np.repeat(np.arange(len(references)), [len(texts) for texts in references])
    words = [text.split() for texts in references for text in texts]
    return words, [text.split() for text in hypotheses], pictures
