"""Splits of clips: each gives as many frames as a model asks for, encoded as pictures.

A clip is a picture too, its middle frame: so a picture model trains and is scored on clips as it
is, which is what a single frame tells. Refuses to know where clips come from. Dimension letter: F
frames.
"""

import os

import numpy as np
import tensorflow as tf

from keras_vlm.core.checks import DataError
from keras_vlm.core.extras import import_extra
from keras_vlm.data.sources.base import FileExamples, PictureExamples
from keras_vlm.data.sources.reading import check_folder
from keras_vlm.vision.clip import CLIP_PIXELS, encode_frame, read_clip
from keras_vlm.vision.video import VIDEO_SUFFIXES


class ClipExamples(PictureExamples):
    """Abstract: a subclass implements ``read_frames``; ``image_ids`` are the clips' names."""

    def read_frames(self, index, num_frames):
        """Returns frames of a clip.

        Args:
            index: [] int64, the clip's place.
            num_frames: F.

        Returns:
            [F] string, encoded pictures, spread evenly over the clip, in TensorFlow ops; ``""``
            where it cannot be read.
        """
        raise NotImplementedError

    def read_picture(self, index):
        """Returns the middle frame."""
        return self.read_frames(index, 1)[0]


class VideoFileExamples(ClipExamples, FileExamples):
    """Clips that are video files; the arguments are those of ``FileExamples``.

    Raises:
        ImportError: PyAV is not installed.
    """

    def __init__(self, *arguments, **options):
        # Now, not out of the midst of a pipeline.
        import_extra("av", "video", "Reading videos")
        super().__init__(*arguments, **options)

    def read_frames(self, index, num_frames):
        """Reads the frames out of the file."""

        def read(path):
            try:
                # Bytes in a graph; outside of one an array of them.
                name = os.fsdecode(np.asarray(path).item())
                frames = read_clip(name, num_frames, longest_side=CLIP_PIXELS)
            except (OSError, DataError):
                return np.array([b""] * num_frames, object)
            return np.array([encode_frame(pixels) for pixels in frames], object)

        found = tf.numpy_function(read, [self._paths[index]], tf.string, stateful=False)
        return tf.ensure_shape(found, (num_frames,))


class RenderedClips(ClipExamples):
    """Clips that are rendered when they are first asked for, and kept.

    Args:
        name: name of the data set.
        split: name of the split.
        language: language code of the texts.
        image_ids: list of names of the clips.
        captions: list of K captions a clip.
        render: function of a place and F -> uint8 [F,H,W,3].
        **options: ``questions``, as for ``Examples``.
    """

    def __init__(self, name, split, language, image_ids, captions, render, **options):
        super().__init__(name, split, language, image_ids, captions, **options)
        self._render = render
        self._rendered = {}

    def read_frames(self, index, num_frames):
        """Returns frames in memory."""
        if num_frames not in self._rendered:
            encoded = [
                [encode_frame(pixels) for pixels in self._render(place, num_frames)]
                for place in range(len(self))
            ]
            with tf.init_scope():
                self._rendered[num_frames] = tf.constant(encoded)
        return self._rendered[num_frames][index]


class AllFrames:
    """The frames of a split of clips as if they were pictures of their own: what a cache reads.

    Args:
        examples: a ``ClipExamples``.
        num_frames: F; the pictures are the F of the first clip, then those of the second.
    """

    def __init__(self, examples, num_frames):
        self.name = examples.name
        self._examples = examples
        self._num_frames = num_frames

    def __len__(self):
        return len(self._examples) * self._num_frames

    def dataset(self):
        """Returns a ``tf.data.Dataset`` of dicts with ``image_bytes``."""
        read = self._examples.read_frames
        frames = tf.data.Dataset.range(len(self._examples)).map(
            lambda index: {"image_bytes": read(index, self._num_frames)},
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        return frames.unbatch()


def clip_finder(folder, purpose):
    """Returns a function from a clip's name without suffix to its path in a folder.

    Args:
        folder: the folder of video files.
        purpose: what it is for, such as ``"msvd: the clips"``.

    Returns:
        A function; of a clip that is not there it returns a path where nothing is.

    Raises:
        FileNotFoundError: there is no such folder.
        DataError: it is empty.
    """
    folder = check_folder(folder, purpose)
    by_name = {
        path.stem: path for path in folder.iterdir() if path.suffix.lower() in VIDEO_SUFFIXES
    }
    return lambda name: str(by_name.get(name, folder / name))
