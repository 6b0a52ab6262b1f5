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


def read_images(images, image_size, *, resize="stretch", batch_size=32, region_shapes=None):
    """Yields batches of decoded pictures, each as large as ``batch_size`` but the last.

    Args:
        images: a path or a list of paths; encoded ``bytes`` or a list of them; an array or tensor
            [H,W,3] or [B,H,W,3] with values 0..255, or a list of arrays [H,W,3]; a dict of an
            ``image`` (any of these) and its ``boxes`` or ``masks``, or a list of them; a data
            split; or a ``tf.data.Dataset`` of encoded pictures, of pictures, or of dicts that have
            ``image_bytes`` or ``images``.
        image_size: ``(H, W)`` in pixels.
        resize: how pictures are brought to that size, as in ``vision.image``.
        batch_size: B.
        region_shapes: None or {} for pictures alone; else a dict from ``"boxes"`` and ``"masks"``
            to their shapes, as ``RegionEncoder`` has it.

    Yields:
        ``(images [b,H,W,3] float32, valid [b] bool)``; a picture that cannot be read is black and
        not valid. With ``region_shapes`` the first is a dict, of ``images`` and of each region
        [b,R,...], padded with zeros.

    Raises:
        FileNotFoundError: a path does not exist.
        TypeError: a value is none of the above, or has not the regions that are wanted.
    """
    if not region_shapes:
        for items in _chunks(_items(images), batch_size):
            yield _decode(items, image_size, resize)
        return
    for rows in _chunks(_rows(images), batch_size):
        batch, valid = _decode([row["image"] for row in rows], image_size, resize)
        yield {"images": batch, **stack_regions(rows, region_shapes)}, valid


def read_encoded_with_regions(images, region_shapes, *, batch_size=32):
    """Yields batches of encoded pictures with their regions, for a SavedModel.

    Args:
        images: as for ``read_images``.
        region_shapes: as for ``read_images``.
        batch_size: B.

    Yields:
        A dict of ``image_bytes`` [b] string and of each region [b,R,...].

    Raises:
        FileNotFoundError: a path does not exist.
        TypeError: a value is no picture, or has not the regions that are wanted.
    """
    for rows in _chunks(_rows(images), batch_size):
        yield {
            "image_bytes": tf.constant([_to_bytes(row["image"]) for row in rows]),
            **stack_regions(rows, region_shapes),
        }


def stack_regions(rows, region_shapes):
    """Brings the regions of pictures to one number a picture: the first R, then zeros.

    Args:
        rows: list of dicts, a picture each, that have the keys of ``region_shapes``.
        region_shapes: dict from ``"boxes"`` and ``"masks"`` to ``(R, ...)``.

    Returns:
        A dict of tensors [b,R,...]: boxes float32, masks uint8.

    Raises:
        TypeError: a picture has not the regions that are wanted, or of another shape.
    """
    stacked = {}
    for key, shape in region_shapes.items():
        batch = np.zeros((len(rows), *shape), np.float32 if key == "boxes" else np.uint8)
        for place, row in enumerate(rows):
            if key not in row:
                raise TypeError(
                    f"images: a picture must come with its {key}, got {sorted(row)}. Pass dicts "
                    f"such as {{'image': 'a.jpg', {key!r}: [...]}}, a data split that has them, or "
                    "what detect_regions gives."
                )
            regions = np.asarray(row[key])
            if len(regions) and regions.shape[1:] != tuple(shape[1:]):
                raise TypeError(
                    f"images: {key} must be [R, {', '.join(map(str, shape[1:]))}], got the shape "
                    f"{regions.shape}."
                )
            if len(regions):
                batch[place, : len(regions)] = regions[: shape[0]]
        stacked[key] = tf.constant(batch)
    return stacked


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
        yield tf.constant([_to_bytes(item) for item in items])


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
        autograph=False,
    )


def is_single(images):
    """Returns whether ``images`` is one picture: a path, bytes, an array [H,W,3] or a dict."""
    if isinstance(images, (str, pathlib.Path, bytes, Mapping)):
        return True
    return isinstance(images, (np.ndarray, tf.Tensor)) and len(images.shape) == 3


def count_pictures(images):
    """Returns how many pictures ``images`` are, for a progress bar, or None if it cannot tell."""
    if is_single(images):
        return 1
    if isinstance(images, tf.data.Dataset) or not hasattr(images, "__len__"):
        return None
    return len(images)


def _rows(images):
    """Yields a dict a picture, with its regions: ``image`` is encoded bytes or an array [H,W,3]."""
    if hasattr(images, "dataset"):
        images = images.dataset().as_numpy_iterator()
    elif isinstance(images, tf.data.Dataset):
        images = images.as_numpy_iterator()
    elif is_single(images):
        images = [images]
    for image in images:
        row = dict(image) if isinstance(image, Mapping) else {"image": image}
        if "image_bytes" in row:
            row["image"] = row.pop("image_bytes")
        yield {**row, "image": _one(row)}


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
    if isinstance(image, Mapping) and "image" in image:
        return _one(image["image"])
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


def _to_bytes(item):
    return item if isinstance(item, bytes) else _encode(item).numpy()


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
