"""Several captioners that write one caption together.

Refuses to know how they were trained. Dimension letters: B batch, H height, W width, N picture
tokens, C their width, R rows, V vocabulary.
"""

import math

import keras
import tensorflow as tf

from keras_vlm.core.checks import check_alike
from keras_vlm.tasks.captioning import Captioner
from keras_vlm.tasks.generation import CaptionMixin, TextWriter


class CaptionerEnsemble(CaptionMixin, keras.Model):
    """Averages the word probabilities of its members at every step of one search.

    It captions, is scored and is exported as a ``Captioner`` is; it cannot be trained or saved as a
    ``.keras`` file, which its members are.

    Args:
        captioners: two or more ``Captioner`` with the same words, image size and ``resize``;
            backbones, text layers and fusions may differ.
        name: name of the model.

    Attributes:
        encoder: the ``EnsembleEncoder`` of the members' encoders.
        text_decoder: the ``EnsembleDecoder`` of the members' decoders.
        tokenizer: the tokenizer they share.

    Raises:
        TypeError: one of them is no ``Captioner``.
        ValueError: there are fewer than two, or they differ in what they must share.

    Example:
        ``CaptionerEnsemble([load("runs/1/model.keras"), load("runs/2/model.keras")])
        .caption("photo.jpg")``
    """

    temporal = None

    def __init__(self, captioners, *, name="ensemble"):
        super().__init__(name=name)
        captioners = list(captioners)
        _check_alike(captioners)
        first = captioners[0]
        self.encoder = EnsembleEncoder([one.encoder for one in captioners])
        self.tokenizer = first.tokenizer
        self.captioners = captioners
        self.text_decoder = EnsembleDecoder([one.text_decoder for one in captioners])
        self._writer = TextWriter(
            lambda images: self.encoder(images, training=False), self.text_decoder, self.tokenizer
        )
        self.built = True

    @property
    def image_size(self):
        """Height and width in pixels that the encoders take."""
        return self.captioners[0].image_size

    @property
    def resize(self):
        """How pictures of another size are brought to ``image_size``, as in ``vision.image``."""
        return self.captioners[0].resize

    @property
    def region_shapes(self):
        """The inputs that the encoders take beside images."""
        return self.captioners[0].region_shapes

    def remember(self, features, training=False):
        """Returns what the decoders look at: the features as they are."""
        return features

    def save(self, *args, **kwargs):
        """Refuses.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError(
            "CaptionerEnsemble: save its members, each as a .keras file, or export it with "
            "export_saved_model."
        )


class EnsembleEncoder:
    """images [B,H,W,3] float 0..255 -> a list of image_features [B,N,C], one a member.

    Args:
        encoders: the members' encoders.
    """

    def __init__(self, encoders):
        self.encoders = encoders
        self.input_shape = encoders[0].input_shape

    def __call__(self, images, training=None):
        """Runs each encoder."""
        return [encoder(images, training=training) for encoder in self.encoders]


class EnsembleDecoder:
    """The part of a ``TextDecoder`` that searches use, for several at once.

    Args:
        decoders: the members' text decoders.
    """

    def __init__(self, decoders):
        self.decoders = decoders

    def read(self, image_features):
        """Returns each member's memory of its own image_features, a list of [B,N,C]."""
        return [
            decoder.read(features)
            for decoder, features in zip(self.decoders, image_features, strict=True)
        ]

    def start(self, memory, rows_per_picture, max_length):
        """Returns the members' states, each with R rows."""
        return tuple(
            decoder.start(own, rows_per_picture, max_length)
            for decoder, own in zip(self.decoders, memory, strict=True)
        )

    def step(self, token_ids, state, memory):
        """Reads token_ids [R] -> log_probs [R,V] of the mean probabilities, and the states."""
        found = [
            decoder.step(token_ids, own_state, own_memory)
            for decoder, own_state, own_memory in zip(self.decoders, state, memory, strict=True)
        ]
        log_probs = tf.reduce_logsumexp(tf.stack([log_probs for log_probs, _ in found]), axis=0)
        return log_probs - math.log(len(found)), tuple(after for _, after in found)


def _check_alike(captioners):
    """Checks that captioners can write together.

    Raises:
        TypeError: one of them is no ``Captioner``.
        ValueError: they cannot.
    """
    for captioner in captioners:
        if not isinstance(captioner, Captioner) or captioner.temporal is not None:
            raise TypeError(
                f"CaptionerEnsemble: captioners must be Captioner objects, got {captioner!r}. "
                "Models of clips cannot write together. "
                "Open files and published models with keras_vlm.load."
            )
    traits = {
        "image size": lambda one: one.image_size,
        "resize": lambda one: one.resize,
        "regions": lambda one: one.region_shapes,
        "words (tokenizer)": lambda one: one.tokenizer.get_config(),
    }
    check_alike(
        "CaptionerEnsemble",
        "captioners",
        captioners,
        traits,
        "Train them on the same split with the same options for words and pictures.",
    )
