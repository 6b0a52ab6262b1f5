"""The statistics by which EfficientNet normalises its input. Refuses to know other backbones."""

import keras
import numpy as np


def finalize_normalization(network):
    """Lets normalisation layers use the statistics that were assigned to their weights.

    ``keras.layers.Normalization`` reads its weights once, when Keras itself loads them.

    Args:
        network: a Keras model.
    """
    for layer in network._flatten_layers():
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()


def fold_rescaling(network, make, shape):
    """Moves into the weights the layer that Keras adds to EfficientNet B0..B7 for ImageNet's alone.

    A saved model is rebuilt without ImageNet's weights, so the layer would be missing there.

    Args:
        network: a network of ``keras.applications`` with ImageNet's weights.
        make: the function that made it.
        shape: its input shape.

    Returns:
        The network that ``make`` gives without those weights, doing the same.
    """
    rescalings = [layer for layer in network.layers if isinstance(layer, keras.layers.Rescaling)]
    if len(rescalings) < 2:
        return network
    plain = make(include_top=False, weights=None, input_shape=shape)
    plain.set_weights(network.get_weights())
    for layer in plain.layers:
        if isinstance(layer, keras.layers.Normalization):
            mean, variance, *count = layer.get_weights()
            layer.set_weights([mean, variance / np.square(rescalings[1].scale), *count])
    finalize_normalization(plain)
    return plain
