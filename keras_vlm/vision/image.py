"""Reading pictures in the graph: encoded bytes become images of one size, safely.

TensorFlow ops only, the same in tf.data and in a served model. Refuses to know backbones.
Dimension letters: B batch, H height, W width, h and w a picture's own.
"""

import tensorflow as tf

from keras_vlm.vision.exif import begins_with_tables, exif_orientation, has_exif
from keras_vlm.vision.headers import count_pixels, is_transparent_webp, read_header

RESIZE_MODES = ("stretch", "crop", "pad")
# 0.6 GB decoded. What is larger counts as unreadable.
MAX_PIXELS = 200_000_000


def decode_image(image_bytes, at_least=None):
    """Decodes one picture.

    Args:
        image_bytes: [] string: JPEG (CMYK too), PNG (16 bits too), GIF (its first frame), BMP of
            8, 24 or 32 bits, or WebP that does not move. The EXIF orientation of a JPEG is
            honoured; transparency is dropped.
        at_least: pixels that both sides must have, or None for the picture as it is. A JPEG is
            decoded at a half, a quarter or an eighth of its size where that is enough: its
            cosine transform holds the smaller picture.

    Returns:
        [h,w,3] uint8.

    Raises:
        tf.errors.InvalidArgumentError: the bytes are no whole picture, or one of more than
            ``MAX_PIXELS`` pixels, which is refused before it is decoded.
    """
    # One branch for what most pictures are: each costs time, taken or not.
    image = tf.cond(
        begins_with_tables(image_bytes),
        lambda: _decode_plain_jpeg(image_bytes, at_least),
        lambda: _decode_special(image_bytes, tf.constant(MAX_PIXELS, tf.int64), at_least),
    )
    return tf.ensure_shape(image, (None, None, 3))


def read_image(image_bytes, image_size, mode="stretch", dtype="float32"):
    """Decodes one picture and brings it to a size.

    Args:
        image_bytes: [] string, as for ``decode_image``.
        image_size: ``(H, W)`` in pixels.
        mode: as for ``resize_image``.
        dtype: as for ``resize_image``.

    Returns:
        [H,W,3] of ``dtype``, 0..255.

    Raises:
        tf.errors.InvalidArgumentError: as ``decode_image``.
        ValueError: ``mode`` is unknown.
    """
    return resize_image(decode_image(image_bytes, max(image_size)), image_size, mode, dtype)


def _apart(*signature):
    """Makes a function of tensors one op of the graphs that call it; outside of them it stays one.

    The ops of a branch that is not taken cost time as well, unless they are a function's.
    """

    def wrap(function):
        traced = tf.function(
            function,
            input_signature=signature,
            autograph=False,
            experimental_attributes={"_noinline": True},
        )
        return lambda *inputs: (function if tf.executing_eagerly() else traced)(*inputs)

    return wrap


def orient(image, orientation):
    """Turns an image [h,w,3] as the EXIF orientation 1..8 says; 1 leaves it alone."""

    def transposed():
        # Not tf.transpose: in a graph it complains, for uint8, of a processor without oneDNN.
        height, width = tf.shape(image)[0], tf.shape(image)[1]
        places = tf.range(width)[:, None] + width * tf.range(height)
        return tf.gather(tf.reshape(image, (-1, 3)), places)

    image = tf.cond(orientation >= 5, transposed, lambda: image)
    mirrored = tf.reduce_any(orientation == [2, 3, 6, 7])
    flipped = tf.reduce_any(orientation == [3, 4, 7, 8])
    image = tf.cond(mirrored, lambda: image[:, ::-1], lambda: image)
    return tf.cond(flipped, lambda: image[::-1], lambda: image)


def resize_image(image, image_size, mode="stretch", dtype="float32"):
    """Brings an image to a size.

    Args:
        image: [h,w,3], 0..255.
        image_size: ``(H, W)`` in pixels.
        mode: ``"stretch"`` ignores the aspect, ``"crop"`` keeps it and the middle, ``"pad"`` keeps
            it and all, on black.
        dtype: ``"float32"``, or ``"uint8"`` for rounded values in a quarter of the memory.

    Returns:
        [H,W,3] of ``dtype``, 0..255; an image that has the size already is unchanged. Where it
        shrinks a pixel is the mean of the area that it covers; where a side grows it is
        interpolated.

    Raises:
        ValueError: ``mode`` is unknown.
    """
    if mode not in RESIZE_MODES:
        raise ValueError(f"resize_image: mode must be one of {RESIZE_MODES}, got {mode!r}.")
    image_size = tuple(image_size)

    @_apart(tf.TensorSpec((None, None, 3), image.dtype))
    def resized(image):
        height, width = image_size
        shape = tf.cast(tf.shape(image)[:2], tf.float32)
        if mode == "pad":
            # tf.image.resize_with_pad fails where the short side would round to no pixel at all.
            scale = tf.reduce_max(shape / [float(height), float(width)])
            wanted = tf.clip_by_value(tf.cast(tf.round(shape / scale), tf.int32), 1, image_size)
            small = _scale(image, wanted)
            return tf.image.resize_with_crop_or_pad(small, height, width)
        source = image
        if mode == "crop":
            scale = tf.reduce_min(shape / [float(height), float(width)])
            wanted = tf.cast(tf.round(scale * [float(height), float(width)]), tf.int32)
            wanted = tf.clip_by_value(wanted, 1, tf.shape(image)[:2])
            source = tf.image.resize_with_crop_or_pad(image, wanted[0], wanted[1])
        return _scale(source, image_size)

    same = tf.reduce_all(tf.shape(image)[:2] == tf.constant(image_size))
    image = tf.cond(
        same, lambda: tf.cast(image, dtype), lambda: to_pixels(resized(image), dtype)
    )
    return tf.ensure_shape(image, (*image_size, 3))


def to_pixels(image, dtype="uint8"):
    """Brings an image, float32 0..255, to a type; whole numbers are rounded."""
    return image if dtype == "float32" else tf.cast(image + 0.5, dtype)


def _scale(image, wanted):
    """Returns an image [h,w,3] of the size ``wanted`` as float32."""
    shrinks = tf.reduce_all(tf.shape(image)[:2] >= wanted)
    # A quarter of the time, and it would be blocks where a side grows.
    return tf.cond(
        shrinks,
        lambda: tf.image.resize(image, wanted, "area"),
        lambda: tf.image.resize(image, wanted, antialias=True),
    )


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

    @tf.autograph.experimental.do_not_convert
    def read(index, encoded):
        return index, read_image(encoded, image_size, mode)

    pictures = (
        tf.data.Dataset.zip(indices, tf.data.Dataset.from_tensor_slices(image_bytes))
        .map(read, num_parallel_calls=tf.data.AUTOTUNE)
        .ignore_errors()
    )
    # The last row keeps the batch whole when nothing at all can be read, and stands for all that
    # cannot.
    nothing = tf.data.Dataset.from_tensors(
        (tf.constant(-1, tf.int64), tf.zeros((*image_size, 3)))
    )
    places, images = (
        pictures.concatenate(nothing).batch(tf.cast(count, tf.int64) + 1).get_single_element()
    )
    places = places[:-1]
    found = tf.size(places)
    rows = tf.tensor_scatter_nd_update(
        tf.fill([count], found), places[:, None], tf.range(found)
    )
    # Rows are copied only where one is missing.
    images = tf.cond(found == count, lambda: images[:-1], lambda: tf.gather(images, rows))
    return tf.ensure_shape(images, (None, *image_size, 3)), rows < found


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


def _decode_plain_jpeg(image_bytes, at_least):
    shape = tf.io.extract_jpeg_shape(image_bytes, tf.int64)[:2]

    def decode(image_bytes, ratio=1):
        # decode_image cannot be told the accurate transform.
        return tf.io.decode_jpeg(image_bytes, 3, ratio=ratio, dct_method="INTEGER_ACCURATE")

    with tf.control_dependencies([_check_pixels(tf.reduce_prod(shape), MAX_PIXELS)]):
        if at_least is None:
            return decode(image_bytes)
        times = tf.reduce_min(shape) // at_least

        @_apart(tf.TensorSpec((), tf.string), tf.TensorSpec((), tf.int64))
        def decode_smaller(image_bytes, times):
            return tf.cond(
                times < 4,
                lambda: decode(image_bytes, 2),
                lambda: tf.cond(
                    times < 8, lambda: decode(image_bytes, 4), lambda: decode(image_bytes, 8)
                ),
            )

        return tf.cond(
            times < 2, lambda: decode(image_bytes), lambda: decode_smaller(image_bytes, times)
        )


def _decode_special(image_bytes, most, at_least):
    """Decodes a JPEG that may be turned, or another format."""

    def decode_jpeg(image_bytes):
        image = _decode_plain_jpeg(image_bytes, at_least)
        return tf.cond(
            has_exif(image_bytes),
            lambda: orient(image, exif_orientation(image_bytes)),
            lambda: image,
        )

    @_apart(tf.TensorSpec((), tf.string), tf.TensorSpec((), tf.int64))
    def decode(image_bytes, most):
        return tf.cond(
            tf.strings.substr(image_bytes, 0, 2) == b"\xff\xd8",
            lambda: decode_jpeg(image_bytes),
            lambda: _decode_other(image_bytes, most),
        )

    return decode(image_bytes, most)


def _decode_other(image_bytes, most):
    header = read_header(image_bytes)
    pixels = count_pixels(header)
    known = tf.debugging.assert_positive(pixels, message="no JPEG, PNG, GIF, BMP or WebP")

    def decode(channels):
        return tf.io.decode_image(image_bytes, channels, expand_animations=False)

    with tf.control_dependencies([known, _check_pixels(pixels, most)]):
        # Of other formats decode_image drops the alpha channel itself.
        image = tf.cond(
            is_transparent_webp(header), lambda: decode(4)[..., :3], lambda: decode(3)
        )
    image.set_shape((None, None, 3))
    return _apply_bmp_palette(image, header, image_bytes)


def _check_pixels(pixels, most):
    # One op, where tf.debugging would make a branch.
    return tf.raw_ops.Assert(condition=pixels <= most, data=["too many pixels"])


def _apply_bmp_palette(image, header, image_bytes):
    """Looks up the colours of a BMP of 8 bits, of which TensorFlow returns the indices."""
    has_palette = (tf.strings.substr(header, 0, 2) == b"BM") & (
        tf.strings.substr(header, 28, 2) == b"\x08\0"
    )

    def colours():
        size = tf.io.decode_raw(tf.strings.substr(header, 14, 4), tf.int32)[0]
        table = tf.strings.substr(image_bytes, 14 + size, 1024)
        table = tf.io.decode_raw(tf.strings.join([table, b"\0" * 1024]), tf.uint8)[:1024]
        # An entry is blue, green, red and nothing.
        table = tf.gather(tf.reshape(table, (256, 4)), [2, 1, 0], axis=1)
        return tf.gather(table, tf.cast(image[..., 0], tf.int32))

    return tf.cond(has_palette, colours, lambda: image)
