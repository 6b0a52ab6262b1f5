"""Reading the pictures of a training stream, of which some may be broken.

Graphs cannot catch errors, but a tf.data pipeline can drop what fails. What it dropped is found
afterwards, by what is missing in the order. Refuses to know words.

Dimension letters: B batch, H height, W width.
"""

import sys

import tensorflow as tf

from keras_vlm.vision.augmentation import augment
from keras_vlm.vision.image import read_image, to_pixels


def read_picture(encoded, image_size, resize, augmentation=None, pair=None):
    """Decodes, resizes and augments one picture.

    Args:
        encoded: [] string.
        image_size: ``(H, W)`` in pixels.
        resize: how pictures are brought to that size, as in ``vision.image``.
        augmentation: an ``Augmentation``, or None.
        pair: [2] int64, seed of the augmentation.

    Returns:
        ``(image [H,W,3] uint8, mirrored [] bool)``: a quarter of the memory of the floats that a
        model makes of them.

    Raises:
        tf.errors.InvalidArgumentError: it cannot be read.
    """
    if augmentation is None:
        return read_image(encoded, image_size, resize, "uint8"), tf.constant(False)
    image, mirrored = augment(read_image(encoded, image_size, resize), pair, augmentation)
    return to_pixels(image), mirrored


class ReadableStream:
    """A dataset without those elements that cannot be read, which are named on standard error.

    Args:
        names: [n] string tensor, the pictures' names by their place.
    """

    def __init__(self, names):
        self._names = names
        # Places that are being read, by their number in the epoch.
        self._begun = tf.lookup.experimental.MutableHashTable(tf.int64, tf.int64, -1)
        self._unreadable = tf.Variable(0, dtype=tf.int64, trainable=False)

    def read(self, elements, place_of, read, size):
        """Reads an epoch.

        Args:
            elements: a dataset.
            place_of: function of an element -> the picture's place [] int64.
            read: function of the element's number in the epoch, [] int64, and the element -> a nest
                of tensors of static shapes; it may fail.
            size: number of elements.

        Returns:
            A dataset of as many ``(number [] int64, nest)``. Those that can be read come first, in
            order; zeros, numbered -1, stand at the end for the others.
        """

        def attempt(number, element):
            with tf.control_dependencies([self._begun.insert(number, place_of(element))]):
                return number, read(number, tf.nest.map_structure(tf.identity, element))

        dataset = elements.enumerate().map(attempt, num_parallel_calls=tf.data.AUTOTUNE)
        nothing = tf.nest.map_structure(
            lambda spec: tf.zeros(spec.shape, spec.dtype), dataset.element_spec[1]
        )
        missing = tf.data.Dataset.from_tensors((tf.constant(-1, tf.int64), nothing))
        return dataset.ignore_errors().concatenate(missing.repeat(size)).take(size)

    def report(self, numbers, batch):
        """Names what is missing before the end of a batch; batches must come one by one, in order.

        Args:
            numbers: [B] int64, those of a batch of ``read``.
            batch: what else the batch has.

        Returns:
            ``batch``.

        Raises:
            tf.errors.InvalidArgumentError: no picture of the epoch could be read.
        """
        begun = tf.reshape(self._begun.export()[0], [-1])
        # After the last readable one, nothing is on its way any more.
        last = tf.where(tf.reduce_all(numbers >= 0), tf.reduce_max(numbers), tf.int64.max)
        over = tf.boolean_mask(begun, begun <= last)
        failed = tf.sort(tf.sets.difference(over[None], numbers[None]).values)
        names = tf.gather(self._names, self._begun.lookup(failed))
        named = tf.map_fn(
            self._name, names, fn_output_signature=tf.int64, parallel_iterations=1
        )
        some = tf.raw_ops.Assert(
            condition=tf.size(failed) < tf.size(self._names), data=["no picture can be read"]
        )
        with tf.control_dependencies([named, some]):
            self._begun.remove(over)
        return batch

    def _name(self, name):
        so_far = self._unreadable.assign_add(1)
        tf.print(
            "unreadable picture, skipped:", name, "| so far:", so_far, output_stream=sys.stderr
        )
        return so_far
