"""A picture backbone that looks at each frame of a clip by itself. Refuses to know time and words.

Dimension letters: B batch, F frames, H height, W width, N tokens of a frame, C their width.
"""

import keras
from keras import ops

from keras_vlm.core.checks import check_number
from keras_vlm.vision.backbones import Backbone


@keras.saving.register_keras_serializable("keras_vlm")
class FrameEncoder(keras.Model):
    """A functional model: frames [B,F,H,W,3] float 0..255 -> frame_features [B,F,N,C].

    Args:
        backbone: a ``Backbone``, which sees [B*F,H,W,3].
        num_frames: F.
        name: name of the model.

    Raises:
        TypeError: ``backbone`` is no ``Backbone``.
        ValueError: ``num_frames`` is out of range.

    Example:
        >>> backbone = Backbone("conv_small", image_size=32, weights=None, trainable_from="all")
        >>> FrameEncoder(backbone, 4).output_shape
        (None, 4, 16, 128)
    """

    def __init__(self, backbone, num_frames, *, name="encoder"):
        where = "FrameEncoder"
        if not isinstance(backbone, Backbone):
            raise TypeError(
                f"{where}: backbone must be a Backbone, got {type(backbone).__name__}. "
                "Pass one, or its name."
            )
        check_number(where, "num_frames", num_frames, minimum=1, integer=True)
        size = backbone.input_shape[1:]
        frames = keras.Input((num_frames, *size), name="frames")
        features = backbone(ops.reshape(frames, (-1, *size)))
        features = ops.reshape(features, (-1, num_frames, *backbone.output_shape[1:]))
        super().__init__(frames, features, name=name)
        self.backbone = backbone
        self.num_frames = num_frames

    @property
    def architecture(self):
        """Name of the backbone's architecture."""
        return self.backbone.architecture

    @property
    def network(self):
        """The backbone's network."""
        return self.backbone.network

    @property
    def resize(self):
        """How frames of another size are brought to the backbone's."""
        return self.backbone.resize

    @property
    def frozen(self):
        """Whether no weight learns."""
        return self.backbone.frozen

    def fingerprint(self):
        """Returns the backbone's hex digest."""
        return self.backbone.fingerprint()

    def thawed(self, trainable_from, **changes):
        """Returns a copy with the same weights, of which other layers learn; as ``Backbone``'s."""
        return FrameEncoder(self.backbone.thawed(trainable_from, **changes), self.num_frames)

    def get_config(self):
        """Returns the constructor's arguments, for Keras's saving."""
        return {
            "backbone": keras.saving.serialize_keras_object(self.backbone),
            "num_frames": self.num_frames,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config):
        """Makes the encoder that ``get_config`` described."""
        return cls(keras.saving.deserialize_keras_object(config.pop("backbone")), **config)
