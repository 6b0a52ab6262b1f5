"""Rendered scenes as a source: no files, no network; captions and questions in two languages.

The source is ``scenes`` (2,000 pictures to train on, 200 to validate, 300 to test), or
``scenes:COUNT`` for COUNT to train on and the others in proportion. What the pictures show is in
``data.scenes``: ``draw_scenes(len(examples), split=examples.split)`` gives it in the same order.
"""

import functools

import tensorflow as tf

from keras_vlm.core.checks import check_choice
from keras_vlm.data.scenes import render_scenes
from keras_vlm.data.scenes_captions import PHRASES, describe_scene
from keras_vlm.data.scenes_questions import ask_scenes
from keras_vlm.data.sources.base import BytesExamples, Splits

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
    )
