"""Augmentation of one picture: seeded, stateless, in TensorFlow ops.

Boxes and masks move with it. Refuses to know captions; it says whether it mirrored, and whoever
has the words swaps left and right. Dimension letters: H height, W width, C channels, R regions, S a
mask's side.
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
    uniform = _uniforms(seed)
    box, radians, flipped = _draw_move(uniform, augmentation)
    shape = image.shape
    if box is not None:
        image = _crop(image, box)
    if radians is not None:
        image = rotate(image, radians)
    # Both at once: what goes over all pixels is what costs time.
    factor, offset = 1.0, 0.0
    if augmentation.contrast:
        mean = tf.reduce_mean(image, axis=(0, 1), keepdims=True)
        factor = uniform(3, 1 - augmentation.contrast, 1 + augmentation.contrast)
        offset = mean * (1 - factor)
    if augmentation.brightness:
        largest = 255 * augmentation.brightness
        offset += uniform(4, -largest, largest)
    if augmentation.contrast or augmentation.brightness:
        image = image * factor + offset
    image = tf.cond(flipped, lambda: image[:, ::-1], lambda: image)
    return tf.ensure_shape(tf.clip_by_value(image, 0, 255), shape), flipped


def augment_regions(regions, seed, augmentation, image_size):
    """Moves boxes and masks as ``augment`` moves their picture.

    Args:
        regions: dict of ``boxes`` [R,4] float32, (y0, x0, y1, x1) as shares, and ``masks`` [R,S,S]
            uint8, or of one of them, or of none.
        seed: [2] integers, those of the picture.
        augmentation: an ``Augmentation``.
        image_size: ``(H, W)`` of the picture.

    Returns:
        A dict of the same shapes. A box is the one around where its corners went, cut off at the
        edges; what lies outside altogether has no area and no pixel any more, and is padding.
    """
    box, radians, flipped = _draw_move(_uniforms(seed), augmentation)
    aspect = image_size[0] / image_size[1]
    moved = dict(regions)
    if "boxes" in regions:
        moved["boxes"] = _move_boxes(regions["boxes"], box, radians, flipped, aspect)
    if "masks" in regions:
        # As channels of one picture, so that one code moves them all.
        masks = tf.cast(tf.transpose(regions["masks"], (1, 2, 0)), tf.float32)
        if box is not None:
            masks = _crop(masks, box)
        if radians is not None:
            masks = rotate(masks, radians, aspect=aspect, fill_mode="CONSTANT")
        masks = tf.where(flipped, masks[:, ::-1], masks)
        moved["masks"] = tf.cast(tf.transpose(masks, (2, 0, 1)) >= 0.5, tf.uint8)
    return moved


def rotate(image, radians, *, aspect=None, fill_mode="REFLECT"):
    """Turns an image [H,W,C] counter-clockwise about its middle.

    Args:
        image: [H,W,C] float32.
        radians: [] float32.
        aspect: H / W of what is shown, where the pixels are not square; None where they are.
        fill_mode: what comes in from outside: ``"REFLECT"`` or ``"CONSTANT"``, zeros.

    Returns:
        [H,W,C] float32.
    """
    size = tf.cast(tf.shape(image)[:2], tf.float32)
    y, x = (size[0] - 1) / 2, (size[1] - 1) / 2
    cosine, sine = tf.cos(radians), tf.sin(radians)
    stretch = 1.0 if aspect is None else aspect * size[1] / size[0]
    to_x, to_y = sine * stretch, sine / stretch
    transform = [cosine, -to_x, x - x * cosine + y * to_x, to_y, cosine, y - x * to_y - y * cosine]
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=image[None],
        transforms=tf.stack([*transform, 0.0, 0.0])[None],
        output_shape=tf.shape(image)[:2],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode=fill_mode,
    )[0]


def _uniforms(seed):
    """Returns a function that draws the i-th random number of a seed."""
    seeds = tf.random.split(seed, num=6)
    return lambda i, low, high, shape=(): tf.random.stateless_uniform(shape, seeds[i], low, high)


def _draw_move(uniform, augmentation):
    """Draws where a picture goes: the box [4] that is cut out, the turn, and whether it flips."""
    box = radians = None
    if augmentation.smallest_crop < 1:
        # Of the picture's own aspect.
        side = tf.sqrt(uniform(0, augmentation.smallest_crop, 1.0))
        corner = uniform(1, 0, 1, (2,)) * (1 - side)
        box = tf.concat([corner, corner + side], axis=0)
    if augmentation.rotation_degrees:
        largest = augmentation.rotation_degrees * math.pi / 180
        radians = uniform(2, -largest, largest)
    return box, radians, uniform(5, 0.0, 1.0) < augmentation.flip


def _move_boxes(boxes, crop, radians, flipped, aspect):
    """Returns boxes [R,4] after a crop, a turn and a flip; see ``augment_regions``."""
    if crop is not None:
        boxes = (boxes - tf.tile(crop[:2], [2])) / tf.tile(crop[2:] - crop[:2], [2])
    if radians is not None:
        # Padding has no corners to turn.
        real = tf.reduce_all(boxes[:, 2:] > boxes[:, :2], axis=1, keepdims=True)
        y = (tf.gather(boxes, [0, 0, 2, 2], axis=1) - 0.5) * aspect
        x = tf.gather(boxes, [1, 3, 1, 3], axis=1) - 0.5
        # The picture's own transform tells where a pixel came from; this is its inverse.
        turned_y = (tf.cos(radians) * y - tf.sin(radians) * x) / aspect + 0.5
        turned_x = tf.sin(radians) * y + tf.cos(radians) * x + 0.5
        ends = [tf.reduce_min(turned_y, 1), tf.reduce_min(turned_x, 1)]
        ends += [tf.reduce_max(turned_y, 1), tf.reduce_max(turned_x, 1)]
        boxes = tf.where(real, tf.stack(ends, axis=1), 0.0)
    y0, x0, y1, x1 = tf.unstack(boxes, axis=1)
    boxes = tf.where(flipped, tf.stack([y0, 1 - x1, y1, 1 - x0], axis=1), boxes)
    boxes = tf.clip_by_value(boxes, 0.0, 1.0)
    real = tf.reduce_all(boxes[:, 2:] > boxes[:, :2], axis=1, keepdims=True)
    return tf.where(real, boxes, 0.0)


def _crop(image, box):
    """Cuts a box [4] out and brings it back to the picture's size."""
    return tf.image.crop_and_resize(image[None], box[None], [0], image.shape[:2])[0]
