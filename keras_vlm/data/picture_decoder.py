"""Decoding and augmenting the pictures of a training batch, of which some may be broken.

A batch at a time: what skips a broken picture costs more than decoding one. Refuses to know words.
Dimension letters: B batch, H height, W width.
"""

import sys

import tensorflow as tf

from keras_vlm.vision.augmentation import augment, is_mirrored
from keras_vlm.vision.image import decode_batch


class PictureDecoder:
    """(encoded [B], names [B], pairs [B,2]) -> (images [B,H,W,3] float32, readable [B] bool).

    A picture that cannot be read is black, and named on standard error with the count so far.

    Args:
        image_size: ``(H, W)`` in pixels.
        resize: how pictures are brought to that size, as in ``vision.image``.
        augmentation: an ``Augmentation``, or None. ``pairs`` seed it.
    """

    def __init__(self, image_size, resize, augmentation=None):
        self._size, self._resize, self._augmentation = image_size, resize, augmentation
        self._unreadable = tf.Variable(0, dtype=tf.int64, trainable=False)

    def mirrors(self, pair):
        """Whether a picture will be mirrored: [] bool of its ``pair`` [2]."""
        if self._augmentation is None:
            return tf.constant(False)
        return is_mirrored(pair, self._augmentation)

    def __call__(self, encoded, names, pairs):
        """Returns images and which of them can be read."""
        images, readable = decode_batch(encoded, self._size, self._resize)
        report_unreadable(readable, names, self._unreadable)
        if self._augmentation is not None:
            images = tf.map_fn(
                lambda item: augment(*item, self._augmentation)[0],
                (images, pairs),
                fn_output_signature=tf.float32,
            )
            images = tf.where(readable[:, None, None, None], images, 0.0)
        # Static shapes where the batch has one.
        readable = tf.ensure_shape(readable, encoded.shape)
        return tf.ensure_shape(images, (*encoded.shape, *self._size, 3)), readable


def report_unreadable(readable, names, count):
    """Says on standard error which pictures cannot be read, and how many so far.

    Args:
        readable: [B] bool, whether they can.
        names: [B] string.
        count: an int64 variable that counts.
    """

    def report(name):
        so_far = count.assign_add(1)
        tf.print(
            "unreadable picture, skipped:", name, "| so far:", so_far, output_stream=sys.stderr
        )
        return so_far

    tf.map_fn(
        report, tf.boolean_mask(names, ~readable), fn_output_signature=tf.int64,
        parallel_iterations=1,
    )  # fmt: skip
