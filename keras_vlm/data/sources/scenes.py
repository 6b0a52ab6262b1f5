"""Rendered scenes as a source: no files, no network; captions and questions in two languages, and
the boxes and masks of their objects.

The source is ``scenes`` (2,000 pictures to train on, 200 to validate, 300 to test), or
``scenes:COUNT`` for COUNT to train on and the others in proportion. What the pictures show is in
``data.scenes``: ``draw_scenes(len(examples), split=examples.split)`` gives it in the same order.
"""

import functools

import numpy as np
import tensorflow as tf

from keras_vlm.core.checks import check_choice
from keras_vlm.data.regions import Regions
from keras_vlm.data.scenes import SHAPES, render_scenes
from keras_vlm.data.scenes_captions import PHRASES, describe_scene
from keras_vlm.data.scenes_questions import ask_scenes
from keras_vlm.data.sources.base import BytesExamples, Splits
from keras_vlm.vision.regions import MASK_SIDE

DEFAULT_COUNT = 2000
# Pictures of a split for each picture to train on.
SHARES = {"train": 1.0, "val": 0.1, "test": 0.15}


def open_scenes(argument, language):
    """Opens rendered scenes.

    Args:
        argument: number of pictures to train on, or nothing.
        language: ``"en"`` or ``"zh"``.

    Returns:
        A ``Splits``; a split is rendered when it is opened, in about a second.

    Raises:
        ValueError: the number is not a whole number above 0, or the language is unknown.
    """
    check_choice("load_data", "language", language, PHRASES)
    if argument and not (argument.isdecimal() and int(argument) > 0):
        raise ValueError(
            f"load_data: name must be scenes or scenes:COUNT, got 'scenes:{argument}'."
        )
    count = int(argument or DEFAULT_COUNT)
    openers = {
        split: functools.partial(_open_split, split, max(1, round(share * count)), language)
        for split, share in SHARES.items()
    }
    return Splits("scenes", openers)


def _open_split(split, count, language):
    scenes, images = render_scenes(count, split=split)
    return BytesExamples(
        "scenes",
        split,
        language,
        [f"{split}-{number}" for number in range(count)],
        [describe_scene(scene, language) for scene in scenes],
        [tf.io.encode_png(image).numpy() for image in images],
        questions=ask_scenes(scenes, language, name=split),
        regions=[find_objects(scene) for scene in scenes],
    )


def find_objects(scene):
    """Returns the boxes, labels and masks of a scene's objects.

    Args:
        scene: a ``Scene``.

    Returns:
        A ``Regions``; labels such as ``"red circle"``.
    """
    centres = (np.arange(MASK_SIDE) + 0.5) / MASK_SIDE
    x, y = centres[None, :], centres[:, None]
    boxes, labels, masks = [], [], []
    for one in scene.objects:
        sides = (one.y - one.radius, one.x - one.radius, one.y + one.radius, one.x + one.radius)
        boxes.append(np.clip(sides, 0, 1))
        labels.append(f"{one.colour} {one.shape}")
        distance = SHAPES[one.shape]((x - one.x) / one.radius, (y - one.y) / one.radius)
        masks.append(distance <= 0)
    return Regions(np.array(boxes, np.float32), labels, np.array(masks, np.uint8))
