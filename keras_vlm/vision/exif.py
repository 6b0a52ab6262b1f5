"""The EXIF orientation of a JPEG, in TensorFlow ops.

Refuses to know pixels. Malformed data means orientation 1: phones write it, and so do vandals.
"""

import numpy as np
import tensorflow as tf

# EXIF comes first in a file; an embedded preview may follow it.
SEARCHED_BYTES = 65_536
MOST_ENTRIES = 64
ORIENTATION_TAG = 0x0112
# Bytes that JPEGs begin with; in these places, a length or a version, any byte may stand.
ANY = 0x01
STARTS = np.array(
    [
        [0xFF, 0xD8, 0xFF, 0xDB, *[ANY] * 18],
        [0xFF, 0xD8, 0xFF, 0xE0, 0x00, 0x10, *[ANY] * 14, 0xFF, 0xDB],
    ],
    np.uint8,
)


def has_exif(image_bytes):
    """Whether there may be an EXIF segment: [] bool of a [] string, at a fraction of the cost."""
    prefix = tf.strings.substr(image_bytes, 0, SEARCHED_BYTES)
    return tf.strings.regex_full_match(prefix, r"\C*Exif\x00\x00\C*")


def begins_with_tables(image_bytes):
    """Whether a [] string is a JPEG whose tables come first, perhaps after the JFIF segment.

    Most are, and have no EXIF, which comes before tables: this is quicker than to search for it.

    Returns:
        [] bool.
    """
    start = tf.io.decode_raw(image_bytes, tf.uint8, fixed_length=len(STARTS[0]))
    return tf.reduce_any(tf.reduce_all((start == STARTS) | (STARTS == ANY), axis=1))


def exif_orientation(image_bytes):
    """Reads the orientation tag of a JPEG's APP1 segment.

    Args:
        image_bytes: [] string.

    Returns:
        [] int32 from 1 to 8; 1 where there is none or it makes no sense.

    Source:
        CIPA DC-008 (Exif 2.32), section 4.6.4; TIFF 6.0, section 2.
    """
    # Zeros at the end: every place that is looked up exists.
    padding = b"\0" * (16 + 12 * MOST_ENTRIES)
    prefix = tf.strings.substr(image_bytes, 0, SEARCHED_BYTES)
    data = tf.cast(tf.io.decode_raw(tf.strings.join([prefix, padding]), tf.uint8), tf.int32)
    size = tf.strings.length(prefix)
    windows = [data[i : i + size] for i in range(6)]
    marks = tf.reduce_all(
        tf.stack([part == code for part, code in zip(windows, b"Exif\0\0", strict=True)]), axis=0
    )
    found = tf.where(marks)[:, 0]
    start = tf.cast(tf.concat([found, [0]], axis=0)[0], tf.int32) + 6
    return tf.cond(
        tf.size(found) > 0,
        lambda: _orientation_at(data, start, size),
        lambda: tf.constant(1, tf.int32),
    )


def _orientation_at(data, start, size):
    """Reads the first directory of the TIFF structure at ``start``."""
    is_little = data[start] == ord("I")

    def number(place, count):
        parts = tf.gather(data, tf.clip_by_value(place, 0, size)[..., None] + tf.range(count))
        scale = tf.constant([256**i for i in range(count)], tf.int32)
        return tf.reduce_sum(parts * tf.where(is_little, scale, scale[::-1]), axis=-1)

    offset = number(start + 4, 4)
    directory = start + tf.where((offset >= 8) & (offset < size), offset, size)
    entries = tf.minimum(number(directory, 2), MOST_ENTRIES)
    places = directory + 2 + 12 * tf.range(MOST_ENTRIES)
    is_orientation = (
        (number(places, 2) == ORIENTATION_TAG)
        & (tf.range(MOST_ENTRIES) < entries)
        & (number(places + 2, 2) == 3)
    )
    value = tf.reduce_max(tf.where(is_orientation, number(places + 8, 2), 0))
    return tf.where((value >= 1) & (value <= 8), value, 1)
