"""Whatever a person may call a video becomes batches of frames of one number and one size.

Refuses to know what the frames are for. Dimension letters: B batch, F frames, H height, W width.
"""

import itertools
import logging
import pathlib
from collections.abc import Iterable, Mapping

import numpy as np
import tensorflow as tf

from keras_vlm.core.checks import DataError
from keras_vlm.data.image_inputs import decode_pictures
from keras_vlm.data.sources.clips import ClipExamples
from keras_vlm.vision.clip import CLIP_PIXELS, encode_frame, read_clip

LOGGER = logging.getLogger("keras_vlm")


def read_encoded_clips(videos, num_frames, *, batch_size=8):
    """Yields batches of encoded frames.

    Args:
        videos: a path of a video or a list of paths; an array [F,H,W,3] with values 0..255, an
            array [B,F,H,W,3] or a list of arrays [F,H,W,3], of which frames are chosen evenly; or a
            data split of clips.
        num_frames: F.
        batch_size: B.

    Yields:
        [b,F] string tensors; ``""`` where a video cannot be read, of which the log says why.

    Raises:
        FileNotFoundError: a path does not exist.
        TypeError: a value is none of the above.
    """
    items = _items(videos, num_frames)
    while chunk := list(itertools.islice(items, batch_size)):
        yield tf.constant(chunk)


def read_clips(videos, num_frames, image_size, *, resize="stretch", batch_size=8):
    """Yields batches of decoded frames.

    Args:
        videos: as for ``read_encoded_clips``.
        num_frames: F.
        image_size: ``(H, W)`` in pixels.
        resize: how frames are brought to that size, as in ``vision.image``.
        batch_size: B.

    Yields:
        ``(frames [b,F,H,W,3] float32, valid [b] bool)``; a video that cannot be read is black and
        not valid.

    Raises:
        FileNotFoundError: a path does not exist.
        TypeError: a value is none of the above.
    """
    # Clip by clip: a batch of whole frames of large videos would take gigabytes.
    clips = (decode_pictures(clip, image_size, resize) for clip in _items(videos, num_frames))
    while chunk := list(itertools.islice(clips, batch_size)):
        frames, valid = zip(*chunk, strict=True)
        yield tf.stack(frames), tf.reduce_all(tf.stack(valid), axis=1)


def is_single_clip(videos):
    """Returns whether ``videos`` is one video: a path, or an array [F,H,W,3]."""
    if isinstance(videos, (str, pathlib.Path)):
        return True
    return isinstance(videos, (np.ndarray, tf.Tensor)) and len(videos.shape) == 4


def count_clips(videos):
    """Returns how many clips ``videos`` are, or None if it cannot tell."""
    if is_single_clip(videos):
        return 1
    return len(videos) if hasattr(videos, "__len__") else None


def _items(videos, num_frames):
    """Yields a list of F encoded frames a video."""
    if is_single_clip(videos):
        yield _one(videos, num_frames)
    elif isinstance(videos, ClipExamples):
        clips = tf.data.Dataset.range(len(videos)).map(
            lambda index: videos.read_frames(index, num_frames),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        yield from (frames.tolist() for frames in clips.as_numpy_iterator())
    elif isinstance(videos, Iterable) and not isinstance(videos, (Mapping, bytes)):
        for video in videos:
            yield _one(video, num_frames)
    else:
        yield _one(videos, num_frames)


def _one(video, num_frames):
    """Returns F encoded frames of one video.

    Raises:
        TypeError: it is neither a path nor an array.
    """
    if isinstance(video, (str, pathlib.Path)):
        try:
            frames = read_clip(video, num_frames, longest_side=CLIP_PIXELS)
        except DataError as error:
            LOGGER.warning("%s", error)
            return [b""] * num_frames
        return [encode_frame(pixels) for pixels in frames]
    shape = tuple(getattr(video, "shape", ()))
    if isinstance(video, (np.ndarray, tf.Tensor)) and len(shape) == 4 and shape[-1] == 3:
        if not shape[0]:
            raise TypeError("videos: a video must have a frame, got an array of none.")
        places = (np.arange(num_frames) + 0.5) * shape[0] // num_frames
        chosen = np.clip(np.round(np.asarray(video)[places.astype(int)]), 0, 255)
        return [encode_frame(pixels) for pixels in chosen.astype(np.uint8)]
    raise TypeError(
        "videos: a video must be a path or an array [F,H,W,3], got "
        f"{type(video).__name__}{f' of shape {shape}' if shape else ''}."
    )
