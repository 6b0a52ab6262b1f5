"""Pictures that look the same, by 64 bits a picture. Refuses to know files and splits.

Dimension letters: n pictures.
"""

import itertools

import numpy as np
import tensorflow as tf

# Pictures of so few different bits look the same; four bands find all of them.
MOST_BITS = 3
BANDS = 4


def hash_picture(image):
    """Returns 64 bits of a picture, that other sizes and qualities of it share but for a few.

    Args:
        image: [h,w,3], 0..255.

    Returns:
        [] int64: whether each pixel of a grey 8 x 9 copy is darker than its right neighbour.

    Source:
        Krawetz 2013, "Kind of Like That", https://www.hackerfactor.com/blog/index.php?/archives/529
    """
    small = tf.image.resize(tf.cast(image, tf.float32), (8, 9), antialias=True)
    grey = tf.reduce_mean(small, axis=-1)
    bits = tf.reshape(tf.cast(grey[:, :-1] < grey[:, 1:], tf.int64), [64])
    return tf.reduce_sum(tf.bitwise.left_shift(bits, tf.range(64, dtype=tf.int64)))


def count_bits(one, other):
    """Returns in how many bits two hashes, int64 arrays, differ."""
    return np.bitwise_count((one ^ other).view(np.uint64))


def look_alikes(hashes, groups):
    """Finds the pictures that look like one of an earlier group, such as a split.

    Args:
        hashes: [n] int64.
        groups: [n] int.

    Returns:
        A list of ``(one, other, bits)``, sorted: for every picture ``other`` and every earlier
        group with pictures like it, the most similar of them, or the first of several. However
        many copies there are of a picture, that is one a picture and group.
    """
    unique, which = np.unique(np.asarray(hashes, np.int64), return_inverse=True)
    firsts, members = [{} for _ in unique], [[] for _ in unique]
    for place, (number, group) in enumerate(zip(which.tolist(), groups, strict=True)):
        firsts[number].setdefault(group, place)
        members[number].append(place)
    usable = np.flatnonzero(_is_usable(unique)).tolist()
    pairs = [(number, number, 0) for number in usable if len(firsts[number]) > 1]
    for one, other, bits in similar_pairs(unique):
        pairs += [(one, other, bits), (other, one, bits)]
    best = {}
    for one, other, bits in pairs:
        for place in members[other]:
            for group, first in firsts[one].items():
                if group < groups[place]:
                    before = best.get((place, group), (bits, first))
                    best[place, group] = min(before, (bits, first))
    return sorted((first, place, bits) for (place, _), (bits, first) in best.items())


def similar_pairs(hashes):
    """Finds the pairs of pictures whose hashes differ in ``MOST_BITS`` at most.

    Two that differ in so few bits agree in one of ``BANDS`` equal parts, so only those are
    compared. A flat picture, whose hash is all zeros or nearly, looks like nothing.

    Args:
        hashes: [n] int64.

    Yields:
        ``(one, other, bits)``: places with ``one < other``, each pair once.
    """
    hashes = np.asarray(hashes, np.int64)
    usable = np.flatnonzero(_is_usable(hashes))
    seen = set()
    for band in range(BANDS):
        keys = (hashes[usable] >> (band * 16)) & 0xFFFF
        order = usable[np.argsort(keys, kind="stable")]
        keys = np.sort(keys, kind="stable")
        for _, group in itertools.groupby(range(len(order)), key=keys.__getitem__):
            members = np.sort(order[list(group)])
            for place, one in enumerate(members[:-1]):
                others = members[place + 1 :]
                bits = count_bits(hashes[one], hashes[others])
                for other, differing in zip(
                    others[bits <= MOST_BITS], bits[bits <= MOST_BITS], strict=True
                ):
                    if (one, other) not in seen:
                        seen.add((one, other))
                        yield int(one), int(other), int(differing)


def _is_usable(hashes):
    shades = np.bitwise_count(hashes.view(np.uint64))
    return (shades > MOST_BITS) & (shades < 64 - MOST_BITS)
