"""Groups of vectors that are nearly the same: the same picture, resized or taken twice."""

import itertools

from keras_vlm.core.checks import check_number

# At a time: queries, and results of all of them.
BLOCK_KEYS, BLOCK_RESULTS = 1024, 2**20
# What float16 may take from the cosine of a vector with itself.
ROUNDING = 1e-3


def near_duplicates(index, threshold=0.95, *, k=10):
    """Groups the keys of an index: two whose cosine reaches the threshold are in one group.

    So are two that a chain of such pairs joins. Exact on a ``flat`` index; on a graph as good as
    its recall, which is highest for the nearest.

    Args:
        index: a ``VectorIndex``.
        threshold: least cosine of two near duplicates, -1 to 1.
        k: neighbours that are looked at first; where all of them are duplicates, more are.

    Returns:
        Lists of two or more keys, the largest group first; keys in the order of the index.

    Raises:
        ValueError: an argument is out of range.

    Example:
        >>> import tempfile
        >>> from keras_vlm.search import VectorIndex
        >>> with VectorIndex.create(tempfile.mkdtemp(), 2, kind="flat") as index:
        ...     index.add(["a.jpg", "b.jpg", "c.jpg"], [[1, 0], [0, 1], [1, 0.1]])
        ...     near_duplicates(index)
        [['a.jpg', 'c.jpg']]
    """
    check_number("near_duplicates", "threshold", threshold, minimum=-1, maximum=1)
    check_number("near_duplicates", "k", k, minimum=1, integer=True)
    keys = list(index)
    numbers = {key: number for number, key in enumerate(keys)}
    roots = list(range(len(keys)))
    for key, others in _neighbours(index, keys, threshold, k):
        for other in others:
            _join(roots, numbers[key], numbers[other])
    order = sorted(range(len(keys)), key=lambda number: _root(roots, number))
    by_root = itertools.groupby(order, key=lambda number: _root(roots, number))
    groups = [[keys[number] for number in group] for _, group in by_root]
    return sorted((group for group in groups if len(group) > 1), key=len, reverse=True)


def _neighbours(index, keys, threshold, k):
    """Yields each key with those whose cosine to it reaches the threshold."""
    # One more, for the nearest is the vector itself.
    k, least = min(k + 1, len(index)), min(threshold, 1 - ROUNDING)
    size = min(BLOCK_KEYS, max(1, BLOCK_RESULTS // max(k, 1)))
    for start in range(0, len(keys), size):
        part = keys[start : start + size]
        found, scores = index.search(index.vectors(part), k)
        more = []
        for key, others, near in zip(part, found, scores >= least, strict=True):
            if near.all() and k < len(index):
                more.append(key)
            else:
                yield key, itertools.compress(others, near)
        yield from _neighbours(index, more, threshold, 4 * k)


def _root(roots, number):
    while roots[number] != number:
        # Halves the path, so that the next look is shorter.
        roots[number] = roots[roots[number]]
        number = roots[number]
    return number


def _join(roots, one, other):
    # The lower number is the root: groups come out in the order of the index.
    low, high = sorted((_root(roots, one), _root(roots, other)))
    roots[high] = low
