"""Moving scenes as a source: no files, no network; captions and questions in two languages.

The source is ``moving_scenes`` (2,000 clips to train on, 200 to validate, 300 to test), or
``moving_scenes:COUNT`` for COUNT to train on and the others in proportion. With
``moving_scenes:COUNT:shuffled`` the frames of each clip come in an order drawn by lot: what they
tell without it. What clips show is in ``data.moving_scenes``.
"""

import functools

import numpy as np

from keras_vlm.core.checks import check_choice
from keras_vlm.data.moving_scenes import draw_moving_scenes, render_clip
from keras_vlm.data.moving_scenes_captions import PHRASES, describe_clip
from keras_vlm.data.moving_scenes_questions import ask_clips
from keras_vlm.data.sources.base import Splits
from keras_vlm.data.sources.clips import RenderedClips
from keras_vlm.data.sources.scenes import DEFAULT_COUNT, SHARES

SHUFFLED = "shuffled"


def open_moving_scenes(argument, language):
    """Opens moving scenes.

    Args:
        argument: number of clips to train on, or nothing; ``:shuffled`` may follow.
        language: ``"en"`` or ``"zh"``.

    Returns:
        A ``Splits``; every split has an even number of clips, for they come in pairs.

    Raises:
        ValueError: the number is not a whole number above 0, or the language is unknown.
    """
    check_choice("load_data", "language", language, PHRASES)
    count, _, order = argument.partition(":")
    is_number = not count or (count.isdecimal() and int(count) > 0)
    if not is_number or order not in {"", SHUFFLED}:
        raise ValueError(
            "load_data: name must be moving_scenes, moving_scenes:COUNT or "
            f"moving_scenes:COUNT:shuffled, got 'moving_scenes:{argument}'."
        )
    total = int(count or DEFAULT_COUNT)
    openers = {
        split: functools.partial(
            _open_split, split, 2 * max(1, round(share * total / 2)), language, bool(order)
        )
        for split, share in SHARES.items()
    }
    return Splits("moving_scenes", openers)


def _open_split(split, count, language, shuffled):
    scenes = draw_moving_scenes(count, split=split)

    def render(place, num_frames):
        frames = render_clip(scenes[place], num_frames)
        if shuffled:
            # Another order for each of a pair.
            frames = frames[np.random.default_rng([place, count]).permutation(num_frames)]
        return frames

    return RenderedClips(
        "moving_scenes",
        split,
        language,
        [f"{split}-{number}" for number in range(count)],
        [describe_clip(scene, language) for scene in scenes],
        render,
        questions=ask_clips(scenes, language, name=split),
    )
