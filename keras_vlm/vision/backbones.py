"""Backbones by name: each takes images 0..255, scales them its own way, and gives a feature grid.

Refuses to know words and tasks. Dimension letters: B batch, H height, W width, h and w the grid's,
N = h*w picture tokens, C their width.
"""

import dataclasses
import hashlib
import numbers
import pathlib
from collections.abc import Callable

import keras
import numpy as np
from keras import applications

from keras_vlm.core.checks import check_choice, suggest
from keras_vlm.vision.efficientnet_lite import build_efficientnet_lite0
from keras_vlm.vision.foreign import FOREIGN
from keras_vlm.vision.image import RESIZE_MODES
from keras_vlm.vision.input_statistics import finalize_normalization, fold_rescaling
from keras_vlm.vision.regions import RegionEncoder

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_DEVIATION = (58.395, 57.12, 57.375)
# Kind of input scaling: (channel order, subtracted mean, divisor).
SCALINGS = {
    "built_in": None,
    "caffe": ((2, 1, 0), (103.939, 116.779, 123.68), (1.0, 1.0, 1.0)),
    "tf": ((0, 1, 2), (127.5, 127.5, 127.5), (127.5, 127.5, 127.5)),
    "torch": ((0, 1, 2), IMAGENET_MEAN, IMAGENET_DEVIATION),
    # EfficientNet-Lite's own, so that an 8-bit input needs no more than a shift.
    "lite": ((0, 1, 2), (127.0, 127.0, 127.0), (128.0, 128.0, 128.0)),
}


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A row of the table: the function that makes the network, its scaling, its smallest input."""

    make: Callable
    scaling: str
    minimum_size: int = 32


def _small_network(input_shape, *, weights=None, dtype=None):
    """A network to train from scratch on small rendered pictures; 8 pixels a token."""
    images = hidden = keras.Input(input_shape)
    for i, (filters, stride) in enumerate([(32, 2), (64, 2), (128, 2), (128, 1)]):
        hidden = keras.layers.Conv2D(
            filters, 3, stride, padding="same", use_bias=False, name=f"conv{i}", dtype=dtype
        )(hidden)
        hidden = keras.layers.BatchNormalization(momentum=0.9, name=f"norm{i}", dtype=dtype)(
            hidden
        )
        hidden = keras.layers.ReLU(name=f"relu{i}", dtype=dtype)(hidden)
    return keras.Model(images, hidden, name="conv_small")


BACKBONES = {
    "conv_small": Architecture(_small_network, "tf", 8),
    "efficientnet_lite0": Architecture(build_efficientnet_lite0, "lite"),
    "vgg16": Architecture(applications.VGG16, "caffe"),
    "vgg19": Architecture(applications.VGG19, "caffe"),
    "efficientnet_b0": Architecture(applications.EfficientNetB0, "built_in"),
    "efficientnet_b1": Architecture(applications.EfficientNetB1, "built_in"),
    "efficientnet_b2": Architecture(applications.EfficientNetB2, "built_in"),
    "efficientnet_b3": Architecture(applications.EfficientNetB3, "built_in"),
    "efficientnet_b4": Architecture(applications.EfficientNetB4, "built_in"),
    "efficientnet_b5": Architecture(applications.EfficientNetB5, "built_in"),
    "efficientnet_b6": Architecture(applications.EfficientNetB6, "built_in"),
    "efficientnet_b7": Architecture(applications.EfficientNetB7, "built_in"),
    "efficientnet_v2_b0": Architecture(applications.EfficientNetV2B0, "built_in"),
    "efficientnet_v2_b1": Architecture(applications.EfficientNetV2B1, "built_in"),
    "efficientnet_v2_b2": Architecture(applications.EfficientNetV2B2, "built_in"),
    "efficientnet_v2_b3": Architecture(applications.EfficientNetV2B3, "built_in"),
    "efficientnet_v2_s": Architecture(applications.EfficientNetV2S, "built_in"),
    "efficientnet_v2_m": Architecture(applications.EfficientNetV2M, "built_in"),
    "efficientnet_v2_l": Architecture(applications.EfficientNetV2L, "built_in"),
    "resnet50": Architecture(applications.ResNet50, "caffe"),
    "resnet101": Architecture(applications.ResNet101, "caffe"),
    "resnet152": Architecture(applications.ResNet152, "caffe"),
    "resnet50_v2": Architecture(applications.ResNet50V2, "tf"),
    "resnet101_v2": Architecture(applications.ResNet101V2, "tf"),
    "resnet152_v2": Architecture(applications.ResNet152V2, "tf"),
    "densenet121": Architecture(applications.DenseNet121, "torch"),
    "densenet169": Architecture(applications.DenseNet169, "torch"),
    "densenet201": Architecture(applications.DenseNet201, "torch"),
    "mobilenet": Architecture(applications.MobileNet, "tf"),
    "mobilenet_v2": Architecture(applications.MobileNetV2, "tf"),
    "mobilenet_v3_small": Architecture(applications.MobileNetV3Small, "built_in"),
    "mobilenet_v3_large": Architecture(applications.MobileNetV3Large, "built_in"),
    "inception_v3": Architecture(applications.InceptionV3, "tf", 75),
    "inception_resnet_v2": Architecture(applications.InceptionResNetV2, "tf", 75),
    "xception": Architecture(applications.Xception, "tf", 71),
    "nasnet_mobile": Architecture(applications.NASNetMobile, "tf"),
    "nasnet_large": Architecture(applications.NASNetLarge, "tf"),
    "convnext_tiny": Architecture(applications.ConvNeXtTiny, "built_in"),
    "convnext_small": Architecture(applications.ConvNeXtSmall, "built_in"),
    "convnext_base": Architecture(applications.ConvNeXtBase, "built_in"),
    "convnext_large": Architecture(applications.ConvNeXtLarge, "built_in"),
    "convnext_xlarge": Architecture(applications.ConvNeXtXLarge, "built_in"),
}
# Ours take a dtype and have no classifier to leave out.
OWN = ("conv_small", "efficientnet_lite0")


@keras.saving.register_keras_serializable("keras_vlm")
class InputScaling(keras.layers.Layer):
    """Turns images [B,H,W,3] in 0..255 into what a network was trained on.

    Args:
        scaling: a key of ``SCALINGS`` other than ``"built_in"``.
        **kwargs: ``name``, ``dtype`` of the layer.
    """

    def __init__(self, scaling, **kwargs):
        super().__init__(**kwargs)
        self.scaling = scaling

    def call(self, images):
        """Returns the scaled images, same shape."""
        order, mean, divisor = SCALINGS[self.scaling]
        if order != (0, 1, 2):
            images = keras.ops.flip(images, axis=-1)
        mean = keras.ops.convert_to_tensor(mean, images.dtype)
        return (images - mean) / keras.ops.convert_to_tensor(divisor, images.dtype)

    def get_config(self):
        """Returns the constructor's arguments, for Keras's saving."""
        return {**super().get_config(), "scaling": self.scaling}


@keras.saving.register_keras_serializable("keras_vlm")
class Backbone(keras.Model):
    """A functional model: images [B,H,W,3] float 0..255 -> image_features [B,N,C].

    Frozen parts run in inference mode whatever ``training`` says, batch normalisation too. Where
    only the later layers learn, their batch normalisation stays frozen all the same: the statistics
    of the pretraining data are better than those of a few small batches.

    Args:
        architecture: a name in ``BACKBONES``.
        image_size: side in pixels, or ``(H, W)``.
        weights: ``"imagenet"``, None for random ones, or a file that ``network.save_weights``
            of such a backbone wrote.
        trainable_from: None to freeze everything; ``"all"``; or the name of the layer from which
            on the network learns.
        resize: how pictures of another size are brought to ``image_size``: ``"stretch"`` ignores
            the aspect, ``"crop"`` keeps it and the middle, ``"pad"`` keeps it and all. Whoever
            reads pictures for the model does it so, in training and in serving alike.
        dtype: Keras dtype policy.
        name: name of the model.

    Raises:
        ValueError: an option is unknown or out of range, or nothing from ``trainable_from`` on can
            learn.
        OSError: the weights cannot be downloaded or read.

    Example:
        >>> Backbone("conv_small", image_size=32, weights=None, trainable_from="all").output_shape
        (None, 16, 128)
    """

    def __init__(
        self,
        architecture,
        *,
        image_size=224,
        weights="imagenet",
        trainable_from=None,
        resize="stretch",
        dtype=None,
        name="encoder",
    ):
        where = "Backbone"
        check_choice(where, "resize", resize, RESIZE_MODES)
        check_choice(where, "architecture", architecture, BACKBONES)
        row = BACKBONES[architecture]
        size = image_size if isinstance(image_size, (tuple, list)) else (image_size, image_size)
        if len(size) != 2 or not all(_is_side(side, row.minimum_size) for side in size):
            raise ValueError(
                f"{where}: image_size must be at least {row.minimum_size} pixels a side for "
                f"{architecture}, got {image_size!r}."
            )
        network = _make_network(architecture, size, weights, dtype)
        _freeze(network, trainable_from)

        images = keras.Input((*size, 3), name="images")
        hidden = images
        if row.scaling != "built_in":
            hidden = InputScaling(row.scaling, name="scaling", dtype=dtype)(images)
        # A wholly frozen network keeps no dropout and no stochastic depth either.
        grid = network(hidden, training=False) if trainable_from is None else network(hidden)
        features = keras.layers.Reshape((-1, grid.shape[-1]), name="tokens", dtype=dtype)(grid)
        super().__init__(images, features, name=name)
        self.network = network
        self.architecture = architecture
        self.grid_size = tuple(grid.shape[1:3])
        self.trainable_from = trainable_from
        self.resize = resize

    @property
    def frozen(self):
        """Whether no weight learns."""
        return not self.trainable_weights

    def fingerprint(self):
        """Returns a hex digest of the architecture, the input size and the weights."""
        digest = hashlib.blake2b(digest_size=8)
        digest.update(repr((self.architecture, self.input_shape[1:3])).encode())
        for weight in self.weights:
            digest.update(np.ascontiguousarray(weight.numpy()).view(np.uint8))
        return f"{self.architecture}-{digest.hexdigest()}"

    def get_config(self):
        """Returns the constructor's arguments, for Keras's saving; weights are saved apart."""
        return {
            "architecture": self.architecture,
            "image_size": list(self.input_shape[1:3]),
            "trainable_from": self.trainable_from,
            "resize": self.resize,
            "dtype": keras.saving.serialize_keras_object(self.network.layers[-1].dtype_policy),
            "name": self.name,
        }

    def thawed(self, trainable_from, **changes):
        """Returns a copy with the same weights, of which other layers learn.

        Args:
            trainable_from: as for the constructor; None freezes the copy.
            **changes: ``image_size``, ``resize``, ``dtype`` of the copy, where they shall differ.

        Returns:
            A ``Backbone``.

        Raises:
            ValueError: there is no such layer, or an option is out of range.
        """
        if "dtype" in changes:
            policy = keras.dtype_policies.get(changes["dtype"])
            changes["dtype"] = keras.saving.serialize_keras_object(policy)
        config = {**self.get_config(), "trainable_from": trainable_from, **changes}
        copy = Backbone.from_config(config)
        copy.set_weights(self.get_weights())
        finalize_normalization(copy.network)
        return copy

    @classmethod
    def from_config(cls, config):
        """Makes the backbone that ``get_config`` described, with random weights."""
        dtype = keras.saving.deserialize_keras_object(config.pop("dtype"))
        return cls(**config, weights=None, dtype=dtype)


def resolve_backbone(backbone, image_size, dtype=None):
    """Turns a name, a ``Backbone``, a ``RegionEncoder`` or any image model into an encoder.

    Args:
        backbone: a name in ``BACKBONES`` (frozen with ImageNet weights; ``conv_small`` from
            scratch), ``hub:DIR_OR_URL`` or ``keras_hub:PRESET`` (frozen), a ``Backbone``, a
            ``RegionEncoder``, or a Keras model from images [B,H,W,3] in 0..255 to [B,h,w,C] or
            [B,N,C].
        image_size: side in pixels, or ``(H, W)``; for a name.
        dtype: Keras dtype policy; for a name.

    Returns:
        A model from images [B,H,W,3] to image_features [B,N,C].

    Raises:
        TypeError: ``backbone`` is none of these.
        ValueError: the name is unknown, or the model's output has another rank.
    """
    if isinstance(backbone, (Backbone, RegionEncoder)):
        return backbone
    if isinstance(backbone, str) and backbone.partition(":")[0] in FOREIGN and ":" in backbone:
        prefix, _, source = backbone.partition(":")
        return FOREIGN[prefix](source, image_size)
    if isinstance(backbone, str):
        scratch = backbone == "conv_small"
        return Backbone(
            backbone,
            image_size=image_size,
            weights=None if scratch else "imagenet",
            trainable_from="all" if scratch else None,
            dtype=dtype,
        )
    if not isinstance(backbone, keras.Model):
        raise TypeError(
            f"backbone must be a name, a Backbone or a keras.Model, got {type(backbone).__name__}."
        )
    output = backbone.output
    if len(output.shape) == 4:
        output = keras.layers.Reshape((-1, output.shape[-1]), name="tokens")(output)
    if len(output.shape) != 3:
        raise ValueError(
            f"backbone must give [B,h,w,C] or [B,N,C], got the shape {tuple(output.shape)}."
        )
    # Not the list of inputs: a model made of a list warns when it is called with images alone.
    return keras.Model(backbone.inputs[0], output, name="encoder")


def _is_side(side, minimum):
    """Whether a side of a picture is a whole number of pixels, and not too small."""
    return isinstance(side, numbers.Integral) and side >= minimum


def _make_network(architecture, size, weights, dtype):
    """Makes the network without its classifier, with its weights.

    Raises:
        OSError: the weights cannot be downloaded, or the file does not exist.
        ValueError: there are no such weights, or they do not fit.
    """
    make = BACKBONES[architecture].make
    shape = (*size, 3)
    if architecture == "conv_small" and weights == "imagenet":
        raise ValueError(
            "Backbone: weights must be None or a file for conv_small, got 'imagenet'. "
            "Pass weights=None and trainable_from='all' to train it from scratch."
        )
    if architecture in OWN:
        network = make(shape, weights=weights if weights == "imagenet" else None, dtype=dtype)
    else:
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(dtype or before)
        try:
            source = "imagenet" if weights == "imagenet" else None
            network = make(include_top=False, weights=source, input_shape=shape)
            network = fold_rescaling(network, make, shape)
        except Exception as error:
            if weights != "imagenet":
                raise
            raise OSError(
                f"Backbone: the ImageNet weights of {architecture} cannot be had ({error}). "
                "Without a network pass weights=None, a file of weights, or the architecture "
                "'efficientnet_lite0', whose weights come with this package."
            ) from error
        finally:
            keras.config.set_dtype_policy(before)
    if weights not in (None, "imagenet"):
        _load_file(network, weights)
    return network


def _load_file(network, path):
    """Loads the weights that a network of the same architecture saved.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is of another kind, or of another architecture.
    """
    if not pathlib.Path(path).exists():
        raise FileNotFoundError(
            f"Backbone: weights must be 'imagenet', None or a file, got {str(path)!r}, which does "
            "not exist."
        )
    try:
        network.load_weights(path)
    except ValueError as error:
        raise ValueError(
            f"Backbone: weights must be a file that network.save_weights of {network.name} wrote, "
            f"got {str(path)!r}: {error}"
        ) from error


def _freeze(network, trainable_from):
    """Freezes the layers before the one named; all of them for None.

    Raises:
        ValueError: there is no such layer, or nothing from it on can learn.
    """
    if trainable_from == "all":
        return
    names = [layer.name for layer in network.layers]
    if trainable_from is not None and trainable_from not in names:
        raise ValueError(
            f"Backbone: trainable_from must be None, 'all' or a layer of {network.name}, got "
            f"{trainable_from!r}.{suggest(trainable_from, names)}"
        )
    learns = False
    for layer in network.layers:
        learns = learns or layer.name == trainable_from
        layer.trainable = learns and not isinstance(layer, keras.layers.BatchNormalization)
        if not learns and isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0
    if learns and not network.trainable_weights:
        raise ValueError(
            f"Backbone: trainable_from must leave weights that learn, but {network.name} has none "
            f"from {trainable_from!r} on (batch normalisation stays frozen). Name an earlier layer."
        )
