"""What a model sees in training: augmented pictures with their captions, to be looked at.

Refuses to know pages and models. Dimension letters: H height, W width.
"""

import tensorflow as tf

from keras_vlm.core.checks import check_number
from keras_vlm.text.cleaning import swap_left_right
from keras_vlm.vision.augmentation import augment, augment_regions
from keras_vlm.vision.image import decode_safely

RED = [[255.0, 0.0, 0.0]]


def augmented_views(examples, augmentation, *, image_size=224, views=6, pictures=4, seed=0):
    """Yields pictures of a split as training sees them, the boxes drawn.

    Args:
        examples: a data split.
        augmentation: an ``Augmentation``.
        image_size: side, or ``(H, W)``, in pixels.
        views: how often each picture is changed.
        pictures: how many pictures, from the first on.
        seed: of the changes.

    Yields:
        ``(image_id, rows)`` a picture that can be read: rows of ``(JPEG, caption, mirrored)``, the
        first as it is; a caption is ``""`` where there is none.

    Raises:
        ValueError: an option is out of range.
    """
    for name, value in (("views", views), ("pictures", pictures)):
        check_number("augmented_views", name, value, minimum=1, integer=True)
    size = image_size if isinstance(image_size, (tuple, list)) else (image_size, image_size)

    @tf.function
    def change(image, boxes, pair):
        image, flipped = augment(image, pair, augmentation)
        moved = augment_regions({"boxes": boxes}, pair, augmentation, size)
        return _draw(image, moved["boxes"]), flipped

    for example in examples.dataset().take(pictures):
        image, valid = decode_safely(example["image_bytes"], size)
        if not valid:
            continue
        boxes = example.get("boxes", tf.zeros((0, 4)))
        text = example.get("captions", example.get("questions", tf.constant([""])))[0]
        rows = [(_draw(image, boxes).numpy(), text.numpy().decode("utf-8"), False)]
        for view in range(views):
            pair = tf.stack([tf.constant(seed + view, tf.int64), example["index"]])
            jpeg, flipped = change(image, boxes, pair)
            lowered = tf.strings.lower(text, encoding="utf-8")
            said = swap_left_right(lowered, examples.language) if flipped else text
            rows.append((jpeg.numpy(), said.numpy().decode("utf-8"), bool(flipped)))
        yield example["image_id"].numpy().decode("utf-8", errors="replace"), rows


def _draw(image, boxes):
    """Returns a JPEG of an image [H,W,3] with its boxes [R,4]."""
    real = tf.boolean_mask(boxes, tf.reduce_all(boxes[:, 2:] > boxes[:, :2], axis=1))
    drawn = tf.image.draw_bounding_boxes(image[None], real[None], tf.constant(RED))[0]
    return tf.io.encode_jpeg(tf.saturate_cast(tf.round(drawn), tf.uint8), quality=85)
