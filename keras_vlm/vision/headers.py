"""What the first bytes of a PNG, GIF, BMP or WebP say, in TensorFlow ops, before it is decoded.

Refuses to know pixels, and JPEG, whose size may stand anywhere. Nothing fails on malformed bytes.
"""

import tensorflow as tf

HEADER_BYTES = 32


def read_header(image_bytes):
    """Returns the first ``HEADER_BYTES`` of a [] string; zeros follow one that is shorter."""
    prefix = tf.strings.substr(image_bytes, 0, HEADER_BYTES)
    return tf.strings.substr(tf.strings.join([prefix, b"\0" * HEADER_BYTES]), 0, HEADER_BYTES)


def count_pixels(header):
    """Reads how many pixels a picture promises to have.

    Args:
        header: [] string of ``read_header``.

    Returns:
        [] int64; 0 where the bytes are no PNG, GIF, BMP or WebP.

    Source:
        ISO 15948 (PNG), 11.2.2; GIF89a, section 18; RFC 9649 (WebP), sections 2.5 to 2.7.
    """
    numbers = tf.cast(tf.io.decode_raw(header, tf.uint8), tf.int64)

    def big(start, size):
        return tf.reduce_sum(numbers[start : start + size] * [256**i for i in range(size)][::-1])

    def little(start, size):
        return tf.reduce_sum(numbers[start : start + size] * [256**i for i in range(size)])

    def bmp():
        # A negative height, in two's complement, says that the top row comes first.
        height = little(22, 4)
        return little(18, 4) * tf.minimum(height, 2**32 - height)

    def webp():
        kind, bits = tf.strings.substr(header, 12, 4), little(21, 4)
        return tf.case(
            [
                (kind == b"VP8X", lambda: (little(24, 3) + 1) * (little(27, 3) + 1)),
                (kind == b"VP8L", lambda: (bits % 2**14 + 1) * (bits // 2**14 % 2**14 + 1)),
            ],
            default=lambda: little(26, 2) % 2**14 * (little(28, 2) % 2**14),
        )

    return tf.case(
        [
            (tf.strings.substr(header, 0, 4) == b"\x89PNG", lambda: big(16, 4) * big(20, 4)),
            (tf.strings.substr(header, 0, 3) == b"GIF", lambda: little(6, 2) * little(8, 2)),
            (tf.strings.substr(header, 0, 2) == b"BM", bmp),
            (tf.strings.substr(header, 8, 4) == b"WEBP", webp),
        ],
        default=lambda: tf.constant(0, tf.int64),
    )


def is_transparent_webp(header):
    """Whether a picture is a WebP that has an alpha channel and does not move.

    TensorFlow 2.21 must not be asked for the four channels of one that moves: it writes past the
    end of its buffer. Asked for three, it refuses.

    Args:
        header: [] string of ``read_header``.

    Returns:
        [] bool.
    """
    kind, numbers = tf.strings.substr(header, 12, 4), tf.io.decode_raw(header, tf.uint8)
    extended = (kind == b"VP8X") & (numbers[20] & 0x12 == 0x10)
    lossless = (kind == b"VP8L") & (numbers[24] & 0x10 == 0x10)
    return (tf.strings.substr(header, 8, 4) == b"WEBP") & (extended | lossless)
