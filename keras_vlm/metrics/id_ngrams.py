"""N-grams of token ids as whole numbers, counted for each picture by itself.

Quick enough for the reward of every training step: the work grows with the words of a batch, not
with their square. Refuses to know words and what is scored. Dimension letters: B batch, R rows (a
picture's, where B stands before it), T text positions, U most different n-grams of a picture.
"""

import numpy as np

LONGEST = 4


def check_numbers_fit(where, vocabulary_size):
    """Returns a vocabulary size whose longest n-grams fit into int64.

    Args:
        where: name of the caller, for messages.
        vocabulary_size: every id is below it.

    Returns:
        The size.

    Raises:
        ValueError: it is too large.
    """
    if vocabulary_size**LONGEST >= 2**63:
        raise ValueError(
            f"{where}: vocabulary_size must be below {int(2 ** (63 / LONGEST))}, got "
            f"{vocabulary_size}."
        )
    return vocabulary_size


def number_ngrams(rows, n, vocabulary_size):
    """Numbers the n-grams of rows.

    Args:
        rows: [R,T] integers, 0 after the last word.
        n: words of an n-gram.
        vocabulary_size: every id is below it.

    Returns:
        ``(rows, numbers)`` of the n-grams, int64, row by row.
    """
    if n > rows.shape[1]:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    windows = np.lib.stride_tricks.sliding_window_view(rows.astype(np.int64), n, axis=1)
    numbers = windows @ (vocabulary_size ** np.arange(n, dtype=np.int64)[::-1])
    real = windows[..., -1] != 0
    return np.nonzero(real)[0], numbers[real]


def count_in_pictures(rows, n, vocabulary_size):
    """Counts the n-grams of each picture's rows.

    Args:
        rows: [B,R,T] integers, 0 after the last word.
        n: words of an n-gram.
        vocabulary_size: every id is below it.

    Returns:
        ``(counts [B,R,U] int64, numbers [B,U] int64)``: column u of picture b counts its n-gram
        ``numbers[b, u]``, which is -1 in the columns that a picture does not need.
    """
    batch, per_picture, length = rows.shape
    owners, numbers = number_ngrams(rows.reshape(-1, length), n, vocabulary_size)
    # A picture and an n-gram in one number: the n-gram's own number is too large for that.
    kinds, index = np.unique(numbers, return_inverse=True)
    pairs, places = np.unique(owners // per_picture * len(kinds) + index, return_inverse=True)
    pictures, kind = np.divmod(pairs, max(len(kinds), 1))
    columns = np.arange(len(pairs)) - np.searchsorted(pictures, np.arange(batch))[pictures]
    width = columns.max(initial=-1) + 1
    found = np.full((batch, width), -1, np.int64)
    found[pictures, columns] = kinds[kind]
    counts = np.bincount(
        owners * width + columns[places], minlength=batch * per_picture * width
    )
    return counts.reshape(batch, per_picture, width), found
