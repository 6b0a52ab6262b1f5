"""Augmentation of one picture: seeded, stateless, in TensorFlow ops.

Refuses to know captions; it says whether it mirrored, and whoever has the words swaps left and
right. Dimension letters: H height, W width.
"""

import dataclasses
import math

import tensorflow as tf

from keras_vlm.core.checks import check_number


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """How strongly pictures are changed.

    Attributes:
        flip: probability of a mirror image.
        rotation_degrees: largest turn to either side; what comes in from outside is a reflection.
        smallest_crop: smallest share of the area that a random crop keeps; 1 for no crop.
        brightness: largest change, as a share of the range 0..255.
        contrast: largest change of the contrast factor from 1.

    Raises:
        ValueError: a number is out of range.
    """

    flip: float = 0.0
    rotation_degrees: float = 0.0
    smallest_crop: float = 1.0
    brightness: float = 0.0
    contrast: float = 0.0

    def __post_init__(self):
        """Checks the ranges."""
        for name, maximum in (("flip", 1), ("rotation_degrees", 180), ("brightness", 1)):
            check_number("Augmentation", name, getattr(self, name), minimum=0, maximum=maximum)
        check_number("Augmentation", "smallest_crop", self.smallest_crop, minimum=0.01, maximum=1)
        check_number("Augmentation", "contrast", self.contrast, minimum=0, maximum=1)


AUGMENTATIONS = {
    "none": Augmentation(),
    "flip": Augmentation(flip=0.5),
    "light": Augmentation(flip=0.5, smallest_crop=0.8, brightness=0.1, contrast=0.1),
    "standard": Augmentation(
        flip=0.5, rotation_degrees=10, smallest_crop=0.6, brightness=0.2, contrast=0.2
    ),
}


def augment(image, seed, augmentation):
    """Changes a picture at random.

    Args:
        image: [H,W,3] float32, 0..255.
        seed: [2] integers; the same seed makes the same change.
        augmentation: an ``Augmentation``.

    Returns:
        ``(image [H,W,3] float32 0..255, flipped [] bool)``.
    """
    seeds = tf.random.split(seed, num=6)

    def uniform(i, low, high, shape=()):
        return tf.random.stateless_uniform(shape, seeds[i], low, high)

    shape = image.shape
    if augmentation.smallest_crop < 1:
        image = _crop(image, uniform(0, augmentation.smallest_crop, 1.0), uniform(1, 0, 1, (2,)))
    if augmentation.rotation_degrees:
        largest = augmentation.rotation_degrees * math.pi / 180
        image = rotate(image, uniform(2, -largest, largest))
    if augmentation.contrast:
        mean = tf.reduce_mean(image, axis=(0, 1), keepdims=True)
        factor = uniform(3, 1 - augmentation.contrast, 1 + augmentation.contrast)
        image = mean + (image - mean) * factor
    if augmentation.brightness:
        largest = 255 * augmentation.brightness
        image = image + uniform(4, -largest, largest)
    flipped = uniform(5, 0.0, 1.0) < augmentation.flip
    image = tf.where(flipped, image[:, ::-1], image)
    return tf.ensure_shape(tf.clip_by_value(image, 0, 255), shape), flipped


def rotate(image, radians):
    """Turns an image [H,W,3] counter-clockwise about its middle, reflecting at the edges.

    Args:
        image: [H,W,3] float32.
        radians: [] float32.

    Returns:
        [H,W,3] float32.
    """
    size = tf.cast(tf.shape(image)[:2], tf.float32)
    y, x = (size[0] - 1) / 2, (size[1] - 1) / 2
    cosine, sine = tf.cos(radians), tf.sin(radians)
    transform = [cosine, -sine, x - x * cosine + y * sine, sine, cosine, y - x * sine - y * cosine]
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=image[None],
        transforms=tf.stack([*transform, 0.0, 0.0])[None],
        output_shape=tf.shape(image)[:2],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="REFLECT",
    )[0]


def _crop(image, area, place):
    """Cuts a rectangle of the picture's own aspect out and brings it back to the size."""
    side = tf.sqrt(area)
    corner = place * (1 - side)
    box = tf.concat([corner, corner + side], axis=0)
    return tf.image.crop_and_resize(image[None], box[None], [0], image.shape[:2])[0]
