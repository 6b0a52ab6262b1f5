"""tf.data pipelines of clips: the frames of a split, decoded or cached, with captions or questions.

``DecodedClips`` and ``CachedClips`` stand where ``question_batches`` takes pictures;
``caption_batches`` does the same for captions. As in ``pipeline.py``, order, choice and
augmentation are functions of a seed and a counter. Refuses to know models.

Dimension letters: B batch, F frames, H height, W width, N tokens of a frame, C their width, K
captions a clip, T text positions.
"""

import numpy as np
import tensorflow as tf

from keras_vlm.data.picture_decoder import ReadableStream, read_picture
from keras_vlm.data.pipeline import (
    AUTOTUNE,
    CaptionRows,
    batch_epochs,
    readable_places,
    shift_targets,
)
from keras_vlm.data.question_batches import Pictures
from keras_vlm.data.sources.clips import AllFrames, ClipExamples


class DecodedClips(Pictures):
    """Clips whose frames are read, decoded and augmented anew each time.

    Args:
        examples: a data split of ``ClipExamples``.
        num_frames: F.
        image_size: ``(H, W)`` in pixels.
        resize: how frames are brought to that size, as in ``vision.image``.
        augmentation: an ``Augmentation``, drawn once a clip, or None.
    """

    def __init__(self, examples, num_frames, image_size, resize, augmentation=None):
        self.examples = check_clips(examples)
        self.places = np.arange(len(examples))
        self._num_frames = num_frames
        self._size, self._resize, self._augmentation = image_size, resize, augmentation

    def read(self, place, pair):
        """Returns (frames [F,H,W,3] uint8, mirrored [] bool); it may fail."""
        frames, mirrored = tf.map_fn(
            lambda frame: read_picture(frame, self._size, self._resize, self._augmentation, pair),
            self.examples.read_frames(place, self._num_frames),
            fn_output_signature=(tf.uint8, tf.bool),
        )
        frames = tf.ensure_shape(frames, (self._num_frames, *self._size, 3))
        return frames, mirrored[0]

    def gather(self, frames):
        """Returns {"frames": [B,F,H,W,3] uint8} of a batch."""
        return {"frames": frames}


class CachedClips(Pictures):
    """Features of frames and perhaps of their mirror images, of which a clip draws one an epoch.

    Args:
        examples: a data split of ``ClipExamples``.
        num_frames: F.
        caches: one ``FeatureCache`` of frames, or two, the second of mirrored ones.
    """

    def __init__(self, examples, num_frames, caches):
        self._caches = caches
        self.examples = examples
        frames = AllFrames(check_clips(examples), num_frames)
        rows = np.stack([cache.fill(frames) for cache in caches], axis=1)
        self._rows = rows.reshape(len(examples), num_frames, len(caches))
        self.places = readable_places(examples, self._rows[:, :, 0].min(axis=1))

    def read(self, place, pair):
        """Returns ((place, view) [2] int64, mirrored [] bool)."""
        view = tf.random.stateless_uniform([], pair, 0, len(self._caches), tf.int64)
        return tf.stack([place, view]), view > 0

    def gather(self, keys):
        """Returns {"frame_features": [B,F,N,C] float16} of keys [B,2]."""

        def gather(keys):
            return np.stack(
                [self._caches[view].gather(self._rows[place, :, view]) for place, view in keys]
            )

        features = tf.numpy_function(gather, [keys], tf.float16, stateful=False)
        shape = (None, self._rows.shape[1], *self._caches[0].shape)
        return {"frame_features": tf.ensure_shape(features, shape)}


def caption_batches(
    clips, examples, tokenizer, batch_size, *, captions_per_image=5, epoch_seed=None
):
    """Makes training batches of clips and captions.

    Args:
        clips: ``DecodedClips`` or ``CachedClips`` of the split.
        examples: the data split, with captions.
        tokenizer: a ``Tokenizer``.
        batch_size: B, clips a batch.
        captions_per_image: K; more captions are drawn from, fewer leave rows of padding.
        epoch_seed: an ``EpochSeed`` to shuffle by, or None for the split's own order.

    Returns:
        A ``tf.data.Dataset`` of ``({"frames" or "frame_features", "token_ids": [B,K,T] int32},
        targets [B,K,T] int32)``. A clip that cannot be read is named on standard error; the next
        one takes its place, and at the end of an epoch there are rows whose captions are padding.
    """
    captions = CaptionRows(examples, tokenizer, (False, True), captions_per_image)
    stream = ReadableStream(tf.constant(examples.image_ids))
    places = tf.constant(clips.places, tf.int64)

    def read(place, seed):
        pair = tf.stack([seed, place])
        clip, mirrored = clips.read(place, pair)
        return clip, (place, tf.cast(mirrored, tf.int32), pair, tf.constant(True))

    def complete(clip, said):
        return shift_targets(clips.gather(clip), captions(*said))

    def epoch(seed):
        order = places
        if epoch_seed is not None:
            order = tf.random.experimental.stateless_shuffle(order, tf.stack([seed, 0]))
        return stream.read(
            tf.data.Dataset.from_tensor_slices(order),
            lambda place: place,
            lambda _, place: read(place, seed),
            len(clips.places),
        )

    dataset = batch_epochs(epoch, len(clips.places), batch_size, epoch_seed)
    return dataset.map(stream.report).map(complete, num_parallel_calls=AUTOTUNE).prefetch(AUTOTUNE)


def check_clips(examples):
    """Returns a data split that must be of clips.

    Args:
        examples: a data split.

    Returns:
        ``examples``, unchanged.

    Raises:
        TypeError: it is of pictures.
    """
    if not isinstance(examples, ClipExamples):
        raise TypeError(
            f"batches: examples must be a split of clips, got {examples!r}. Sources of clips: "
            "moving_scenes, video, msvd, msr_vtt."
        )
    return examples
