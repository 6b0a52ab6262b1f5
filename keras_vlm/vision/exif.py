"""The EXIF orientation of a JPEG, in TensorFlow ops.

Refuses to know pixels. Malformed data means orientation 1: phones write it, and so do vandals.
"""

import tensorflow as tf

# EXIF comes first in a file; an embedded preview may follow it.
SEARCHED_BYTES = 65_536
MOST_ENTRIES = 64
ORIENTATION_TAG = 0x0112


def has_exif(image_bytes):
    """Whether JPEGs may have an EXIF segment: bools, at a fraction of the cost of reading it.

    Args:
        image_bytes: strings of any shape.

    Returns:
        bool, of the same shape.
    """
    # Most files begin with their tables, or have them after the JFIF segment of 16 bytes. EXIF
    # comes before tables, so those need no search.
    start = tf.strings.join([tf.strings.substr(image_bytes, 0, 22), b"\0" * 22])
    has_jfif = tf.strings.substr(start, 2, 4) == b"\xff\xe0\x00\x10"
    has_tables = tf.strings.substr(start, 2, 2) == b"\xff\xdb"
    has_tables |= has_jfif & (tf.strings.substr(start, 20, 2) == b"\xff\xdb")
    lengths = tf.where(has_tables, 0, SEARCHED_BYTES)
    searched = tf.strings.substr(image_bytes, tf.zeros_like(lengths), lengths)
    return tf.strings.regex_full_match(searched, r"\C*Exif\x00\x00\C*")


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
