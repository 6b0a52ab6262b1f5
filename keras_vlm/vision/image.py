"""Reading pictures in the graph: encoded bytes become images of one size, safely.

TensorFlow ops only, the same in tf.data and in a served model. Refuses to know backbones.
Dimension letters: B batch, H height, W width, h and w a picture's own.
"""

import tensorflow as tf

from keras_vlm.vision.exif import exif_orientation

RESIZE_MODES = ("stretch", "crop", "pad")
# 20,000 x 20,000 pixels are 1.2 GB decoded. What is larger counts as unreadable.
MAX_PIXELS = 200_000_000


def decode_image(image_bytes):
    """Decodes one picture.

    Args:
        image_bytes: [] string: JPEG (CMYK too), PNG (16 bits too), GIF (its first frame), BMP or
            WebP. The EXIF orientation of a JPEG is honoured; transparency is dropped.

    Returns:
        [h,w,3] uint8.

    Raises:
        tf.errors.InvalidArgumentError: the bytes are no whole picture, or one of more than
            ``MAX_PIXELS`` pixels, which is refused before it is decoded.
    """
    check = tf.debugging.assert_less_equal(
        _pixels(image_bytes), tf.constant(MAX_PIXELS, tf.int64), message="too many pixels"
    )
    with tf.control_dependencies([check]):
        image_bytes = tf.identity(image_bytes)
    is_jpeg = tf.strings.substr(image_bytes, 0, 2) == b"\xff\xd8"
    # Two branches, for decode_image alone cannot be told the accurate transform.
    image = tf.cond(
        is_jpeg,
        lambda: tf.io.decode_jpeg(image_bytes, 3, dct_method="INTEGER_ACCURATE"),
        lambda: tf.io.decode_image(image_bytes, 3, expand_animations=False),
    )
    image.set_shape((None, None, 3))
    image = _apply_bmp_palette(image, image_bytes)
    orientation = tf.cond(
        is_jpeg, lambda: exif_orientation(image_bytes), lambda: tf.constant(1, tf.int32)
    )
    return orient(image, orientation)


def orient(image, orientation):
    """Turns an image [h,w,3] as the EXIF orientation 1..8 says; 1 leaves it alone."""
    image = tf.cond(orientation >= 5, lambda: tf.transpose(image, (1, 0, 2)), lambda: image)
    mirrored = tf.reduce_any(orientation == [2, 3, 6, 7])
    flipped = tf.reduce_any(orientation == [3, 4, 7, 8])
    image = tf.cond(mirrored, lambda: image[:, ::-1], lambda: image)
    return tf.cond(flipped, lambda: image[::-1], lambda: image)


def resize_image(image, image_size, mode="stretch"):
    """Brings an image to a size.

    Args:
        image: [h,w,3], 0..255.
        image_size: ``(H, W)`` in pixels.
        mode: ``"stretch"`` ignores the aspect, ``"crop"`` keeps it and the middle, ``"pad"`` keeps
            it and all, on black.

    Returns:
        [H,W,3] float32, 0..255; an image that has the size already is unchanged.

    Raises:
        ValueError: ``mode`` is unknown.
    """
    if mode not in RESIZE_MODES:
        raise ValueError(f"resize_image: mode must be one of {RESIZE_MODES}, got {mode!r}.")
    image = tf.cast(image, tf.float32)

    def resized():
        height, width = image_size
        shape = tf.cast(tf.shape(image)[:2], tf.float32)
        if mode == "pad":
            # tf.image.resize_with_pad fails where the short side would round to no pixel at all.
            scale = tf.reduce_max(shape / [float(height), float(width)])
            wanted = tf.clip_by_value(tf.cast(tf.round(shape / scale), tf.int32), 1, image_size)
            small = tf.image.resize(image, wanted, antialias=True)
            return tf.image.resize_with_crop_or_pad(small, height, width)
        source = image
        if mode == "crop":
            scale = tf.reduce_min(shape / [float(height), float(width)])
            wanted = tf.cast(tf.round(scale * [float(height), float(width)]), tf.int32)
            wanted = tf.clip_by_value(wanted, 1, tf.shape(image)[:2])
            source = tf.image.resize_with_crop_or_pad(image, wanted[0], wanted[1])
        return tf.image.resize(source, image_size, antialias=True)

    same = tf.reduce_all(tf.shape(image)[:2] == tf.constant(image_size))
    image = tf.cond(same, lambda: image, resized)
    return tf.ensure_shape(image, (*image_size, 3))


def decode_batch(image_bytes, image_size, mode="stretch"):
    """Decodes and resizes a batch; a picture that cannot be read spoils its own row only.

    Graphs cannot catch errors, but a tf.data pipeline inside one can drop what fails.

    Args:
        image_bytes: [B] string.
        image_size: ``(H, W)`` in pixels.
        mode: as for ``resize_image``.

    Returns:
        ``(images [B,H,W,3] float32 0..255, valid [B] bool)``; rows that are not valid are black.
    """
    image_size = tuple(image_size)
    count = tf.size(image_bytes)
    indices = tf.data.Dataset.range(tf.cast(count, tf.int64))
    read = (
        tf.data.Dataset.zip(indices, tf.data.Dataset.from_tensor_slices(image_bytes))
        .map(
            lambda index, encoded: (
                index,
                resize_image(decode_image(encoded), image_size, mode),
            ),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        .ignore_errors()
    )
    # The zeros keep the batch whole when nothing at all can be read.
    nothing = tf.data.Dataset.from_tensors(
        (tf.constant(-1, tf.int64), tf.zeros((*image_size, 3)))
    )
    places, images = (
        read.concatenate(nothing).batch(tf.cast(count, tf.int64) + 1).get_single_element()
    )
    places, images = places[:-1], images[:-1]
    shape = tf.stack([tf.cast(count, tf.int64), *image_size, 3])
    batch = tf.scatter_nd(places[:, None], images, shape)
    valid = tf.scatter_nd(places[:, None], tf.ones_like(places, tf.int32), shape[:1]) > 0
    return tf.ensure_shape(batch, (None, *image_size, 3)), valid


def decode_safely(image_bytes, image_size, mode="stretch"):
    """Decodes one picture for a pipeline that must not stop.

    Args:
        image_bytes: [] string.
        image_size: ``(H, W)`` in pixels.
        mode: as for ``resize_image``.

    Returns:
        ``(image [H,W,3] float32 0..255, valid [] bool)``; an image that is not valid is black.
    """
    images, valid = decode_batch(image_bytes[None], image_size, mode)
    return images[0], valid[0]


def _apply_bmp_palette(image, image_bytes):
    """Looks up the colours of a BMP of 8 bits, of which TensorFlow returns the indices."""
    header = tf.strings.substr(image_bytes, 0, 30)
    has_palette = (tf.strings.substr(header, 0, 2) == b"BM") & (
        tf.strings.substr(header, 28, 2) == b"\x08\0"
    )

    def colours():
        size = tf.io.decode_raw(tf.strings.substr(header, 14, 4), tf.int32)[0]
        table = tf.strings.substr(image_bytes, 14 + size, 1024)
        table = tf.io.decode_raw(tf.strings.join([table, b"\0" * 1024]), tf.uint8)[:1024]
        # An entry is blue, green, red and nothing.
        return tf.gather(tf.reshape(table, (256, 4))[:, 2::-1], tf.cast(image[..., 0], tf.int32))

    return tf.cond(has_palette, colours, lambda: image)


def _pixels(image_bytes):
    """Returns the number of pixels that the header promises, an int64; 0 where it is unknown."""
    header = tf.strings.substr(image_bytes, 0, 32)
    numbers = tf.cast(
        tf.io.decode_raw(tf.strings.join([header, b"\0" * 32]), tf.uint8)[:32], tf.int64
    )

    def big(start, size):
        return tf.reduce_sum(numbers[start : start + size] * [256**i for i in range(size)][::-1])

    def little(start, size):
        return tf.reduce_sum(numbers[start : start + size] * [256**i for i in range(size)])

    def bmp_height():
        # A negative number, in two's complement, says that the top row comes first.
        height = little(22, 4)
        return tf.minimum(height, 2**32 - height)

    is_png = tf.strings.substr(header, 0, 4) == b"\x89PNG"
    is_gif = tf.strings.substr(header, 0, 3) == b"GIF"
    is_bmp = tf.strings.substr(header, 0, 2) == b"BM"
    return tf.case(
        [
            (
                tf.strings.substr(header, 0, 2) == b"\xff\xd8",
                lambda: tf.reduce_prod(
                    tf.io.extract_jpeg_shape(image_bytes, output_type=tf.int64)[:2]
                ),
            ),
            (is_png, lambda: big(16, 4) * big(20, 4)),
            (is_gif, lambda: little(6, 2) * little(8, 2)),
            (is_bmp, lambda: little(18, 4) * bmp_height()),
        ],
        default=lambda: tf.constant(0, tf.int64),
    )
