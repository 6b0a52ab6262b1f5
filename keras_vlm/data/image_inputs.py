"""Whatever a person may call a picture becomes batches of one size.

Refuses to know what the pictures are for. Dimension letters: B batch, H height, W width.
"""

import functools
import itertools
import pathlib
from collections.abc import Iterable, Mapping

import numpy as np
import tensorflow as tf

from keras_vlm.vision.image import decode_batch, resize_image


def read_images(images, image_size, *, resize="stretch", batch_size=32):
    """Yields batches of decoded pictures, each as large as ``batch_size`` but the last.

    Args:
        images: a path or a list of paths; encoded ``bytes`` or a list of them; an array or tensor
            [H,W,3] or [B,H,W,3] with values 0..255, or a list of arrays [H,W,3]; a data split; or
            a ``tf.data.Dataset`` of encoded pictures, of pictures, or of dicts that have
            ``image_bytes`` or ``images``.
        image_size: ``(H, W)`` in pixels.
        resize: how pictures are brought to that size, as in ``vision.image``.
        batch_size: B.

    Yields:
        ``(images [b,H,W,3] float32, valid [b] bool)``; a picture that cannot be read is black and
        not valid.

    Raises:
        FileNotFoundError: a path does not exist.
        TypeError: a value is none of the above.
    """
    for items in _chunks(_items(images), batch_size):
        yield _decode(items, image_size, resize)


def read_encoded(images, *, batch_size=32):
    """Yields batches of encoded pictures; those that come as arrays are encoded as PNG.

    Args:
        images: as for ``read_images``; arrays are rounded to whole values.
        batch_size: B.

    Yields:
        ``image_bytes`` [b] string tensors.

    Raises:
        FileNotFoundError: a path does not exist.
        TypeError: a value is none of the above.
    """
    for items in _chunks(_items(images), batch_size):
        yield tf.constant(
            [item if isinstance(item, bytes) else _encode(item).numpy() for item in items]
        )


def decode_pictures(pictures, image_size, resize="stretch"):
    """Decodes a batch outside of any graph: ``vision.image.decode_batch``, compiled once a size.

    Args:
        pictures: list of encoded pictures, bytes.
        image_size: ``(H, W)`` in pixels.
        resize: how pictures are brought to that size, as in ``vision.image``.

    Returns:
        ``(images [b,H,W,3] float32, valid [b] bool)``.
    """
    return _decoder(tuple(image_size), resize)(tf.constant(pictures, tf.string))


@functools.cache
def _decoder(image_size, resize):
    # Left to run op by op, each batch would build its tf.data pipeline anew: half a second.
    return tf.function(
        lambda pictures: decode_batch(pictures, image_size, resize),
        input_signature=[tf.TensorSpec([None], tf.string)],
    )


def is_single(images):
    """Returns whether ``images`` is one picture: a path, bytes, or an array [H,W,3]."""
    if isinstance(images, (str, pathlib.Path, bytes)):
        return True
    return isinstance(images, (np.ndarray, tf.Tensor)) and len(images.shape) == 3


def count_pictures(images):
    """Returns how many pictures ``images`` are, for a progress bar, or None if it cannot tell."""
    if is_single(images):
        return 1
    if isinstance(images, tf.data.Dataset) or not hasattr(images, "__len__"):
        return None
    return len(images)


def _items(images):
    """Yields encoded bytes or an array [H,W,3] a picture."""
    if is_single(images):
        yield _one(images)
    elif isinstance(images, tf.data.Dataset):
        for element in images:
            yield from _of_element(element)
    elif hasattr(images, "dataset"):
        yield from _items(images.dataset())
    elif isinstance(images, Iterable) and not isinstance(images, Mapping):
        for image in images:
            yield _one(image)
    else:
        yield _one(images)


def _of_element(element):
    """Yields the pictures of one element of a ``tf.data.Dataset``.

    Raises:
        TypeError: a dict has no pictures.
    """
    if isinstance(element, tuple):
        element = element[0]
    if isinstance(element, dict):
        keys = [key for key in ("image_bytes", "images", "image") if key in element]
        if not keys:
            raise TypeError(
                "images: a dataset's dict must have 'image_bytes' or 'images', got "
                f"{sorted(element)}."
            )
        element = element[keys[0]]
    element = element.numpy()
    if isinstance(element, bytes) or element.ndim in (0, 3):
        yield _one(element)
    else:
        yield from map(_one, element)


def _one(image):
    if isinstance(image, (str, pathlib.Path)):
        path = pathlib.Path(image)
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such picture. Check the path.")
        return path.read_bytes()
    if isinstance(image, bytes):
        return image
    shape = tuple(getattr(image, "shape", ()))
    if isinstance(image, (np.ndarray, tf.Tensor)) and len(shape) == 3 and shape[-1] == 3:
        return image
    raise TypeError(
        "images: a picture must be a path, bytes, or an array [H,W,3], got "
        f"{type(image).__name__}{f' of shape {shape}' if shape else ''}."
    )


def _chunks(items, size):
    items = iter(items)
    while chunk := list(itertools.islice(items, size)):
        yield chunk


def _encode(image):
    return tf.io.encode_png(tf.saturate_cast(tf.round(tf.cast(image, tf.float32)), tf.uint8))


def _decode(items, image_size, resize):
    encoded = [i for i, item in enumerate(items) if isinstance(item, bytes)]
    if len(encoded) == len(items):
        return decode_pictures(items, image_size, resize)
    images = np.zeros((len(items), *image_size, 3), np.float32)
    valid = np.ones(len(items), bool)
    if encoded:
        read, readable = decode_pictures([items[i] for i in encoded], image_size, resize)
        images[encoded], valid[encoded] = read, readable
    for i, item in enumerate(items):
        if not isinstance(item, bytes):
            images[i] = resize_image(tf.convert_to_tensor(item), image_size, resize)
    return tf.constant(images), tf.constant(valid)
