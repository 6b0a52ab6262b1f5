"""Models of clips: the picture models, with a frame encoder and a temporal layer before the words.

Refuses to know files, scores and servers. Dimension letters: B batch, F frames, H height, W width,
N tokens of a frame, C their width, K captions a clip, Q questions a clip, T text positions.
"""

import keras

from keras_vlm.data.clip_batches import CachedClips, DecodedClips, caption_batches
from keras_vlm.data.clip_inputs import count_clips, is_single_clip, read_clips
from keras_vlm.tasks.captioning import Captioner, check_whole
from keras_vlm.tasks.vqa_models import ChoosingVQAModel, WritingVQAModel


class ClipModel:
    """Mixin: what is another matter with clips than with pictures.

    The inputs are ``frames`` [B,F,H,W,3], or ``frame_features`` [B,F,N,C] of a cache.

    Attributes:
        encoder: a ``FrameEncoder``: frames [B,F,H,W,3] float 0..255 -> frame_features [B,F,N,C].
        temporal: a ``Temporal``: frame_features -> memory [B,M,D], at which words look.
    """

    picture_key, features_key = "frames", "frame_features"

    @property
    def num_frames(self):
        """F, frames of a clip that the model looks at."""
        return self.encoder.num_frames

    @property
    def image_size(self):
        """Height and width in pixels of a frame."""
        return tuple(self.encoder.input_shape[2:4])

    @property
    def picture_encoder(self):
        """The backbone, whose features of a frame a cache keeps."""
        return self.encoder.backbone

    def readable_pictures(self, examples, augmentation, caches):
        """Returns what a pipeline reads clips from."""
        if caches:
            return CachedClips(examples, self.num_frames, caches)
        return DecodedClips(
            examples, self.num_frames, self.image_size, self.resize, augmentation
        )

    def _is_single(self, videos):
        return is_single_clip(videos)

    def _count(self, videos):
        return count_clips(videos)

    def _read_pictures(self, videos, batch_size):
        return read_clips(
            videos, self.num_frames, self.image_size, resize=self.resize, batch_size=batch_size
        )


@keras.saving.register_keras_serializable("keras_vlm")
class VideoCaptioner(ClipModel, Captioner):
    """A functional model ``{"frames": [B,F,H,W,3], "token_ids": [B,K,T]} -> logits [B,K,T,V]``.

    ``caption`` takes a path of a video or a list of them, an array [F,H,W,3] or a list of arrays,
    or a data split of clips. Make one with ``build_video_captioner``.
    """

    def batches(
        self,
        examples,
        batch_size=32,
        *,
        shuffle=None,
        augment=None,
        cache=None,
        captions_per_image=5,
        seed=0,
    ):
        """Makes batches of a data split of clips for ``fit``.

        Args:
            examples: a data split of clips.
            batch_size: clips a batch; each comes with its captions.
            shuffle: as for ``PictureTextModel.batches``.
            augment: as for ``PictureTextModel.batches``; drawn once a clip, for all its frames.
            cache: a folder in which a frozen backbone's features of frames are kept, or None.
            captions_per_image: K.
            seed: the run's seed.

        Returns:
            A ``tf.data.Dataset`` of ``(inputs, targets)``.

        Raises:
            TypeError: the split is of pictures.
            ValueError: as for ``Captioner.batches``.
        """
        check_whole(examples)
        epoch_seed, augmentation, caches = self.reading(
            examples, shuffle=shuffle, augment=augment, cache=cache, seed=seed
        )
        return caption_batches(
            self.readable_pictures(examples, augmentation, caches),
            examples,
            self.tokenizer,
            batch_size,
            captions_per_image=captions_per_image,
            epoch_seed=epoch_seed,
        )


class VideoQAModel(ClipModel):
    """Mixin of both models ``{"frames": [B,F,H,W,3], "token_ids": [B,Q,T], ...} -> logits``.

    ``answer`` takes videos where a ``VQAModel``'s takes pictures. No ``VQAModel`` itself: Keras
    cannot make a functional model of a class to which two ways lead from one base.
    """


@keras.saving.register_keras_serializable("keras_vlm")
class ChoosingVideoQAModel(VideoQAModel, ChoosingVQAModel):
    """Chooses from a vocabulary of answers: logits [B,Q,A]. Make one with ``build_video_qa``."""


@keras.saving.register_keras_serializable("keras_vlm")
class WritingVideoQAModel(VideoQAModel, WritingVQAModel):
    """Writes answers word by word: logits [B,Q,L,V]. Make one with ``build_video_qa``."""
