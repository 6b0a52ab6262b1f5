"""Serializing the layers that a layer or a model is made of. Refuses to know which."""

import keras


def serialize_unbuilt(layer):
    """Returns a layer's config without the shapes it was built for: its owner builds it.

    Keras would note the shapes, and build the layer a second time on loading. A copy that is not
    built would not do: in a saved file Keras knows objects by their address, and that of a copy
    which is gone is given to the next one, so that two parts would be loaded as one.

    Args:
        layer: a Keras layer.

    Returns:
        A dict for ``keras.saving.deserialize_keras_object``.
    """
    config = keras.saving.serialize_keras_object(layer)
    config.pop("build_config", None)
    return config
