"""One vector a frame, by the model that will speak of it, so that likeness is what the model sees.

Refuses to know what is done with them. Dimension letters: n frames, H height, W width, E width of a
vector.
"""

import numpy as np
import tensorflow as tf

from keras_vlm.data.image_inputs import read_images
from keras_vlm.vision.shots import colour_histogram, shrink

BATCH = 32


class FrameVectors:
    """A function from frames to vectors of unit norm.

    A model with an encoder gives the mean of its picture tokens; one without, such as a SavedModel
    of a captioner, leaves it to colours: histogram and small picture side by side.

    Args:
        model: a model of the package, or a served one.
    """

    def __init__(self, model):
        self._model = model
        encoder = getattr(model, "picture_encoder", None)
        self._encode = encoder and tf.function(
            lambda images: tf.reduce_mean(tf.cast(encoder(images, training=False), tf.float32), 1),
            input_signature=[tf.TensorSpec(encoder.input_shape, tf.float32)],
            autograph=False,
        )

    def __call__(self, frames):
        """Returns [n,E] float32 of a list of n uint8 [H,W,3]."""
        if self._encode is None:
            found = np.stack([np.append(colour_histogram(f), shrink(f) / 16) for f in frames])
        else:
            batches = read_images(
                frames, self._model.image_size, resize=self._model.resize, batch_size=BATCH
            )
            found = np.concatenate([self._encode(images).numpy() for images, _ in batches])
        return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)


class GrowingRows:
    """A float32 array that grows by rows, without being copied for each."""

    def __init__(self):
        self._held, self._count = None, 0

    def __len__(self):
        return self._count

    @property
    def array(self):
        """[n,...] float32: the rows so far."""
        return self._held[: self._count]

    def append(self, row):
        """Adds a row; returns its place."""
        if self._held is None:
            self._held = np.empty((64, *np.shape(row)), np.float32)
        elif self._count == len(self._held):
            self._held = np.concatenate([self._held, np.empty_like(self._held)])
        self._held[self._count] = row
        self._count += 1
        return self._count - 1
