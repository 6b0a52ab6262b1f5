"""Backbones of other makers: SavedModels of TensorFlow Hub, and the image models of KerasHub.

``hub:DIR_OR_URL`` and ``keras_hub:PRESET`` name them. Refuses to know words and tasks. Dimension
letters: B batch, H height, W width, h and w the grid's, N picture tokens, C their width.
"""

import pathlib
import shutil

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_vlm.core.checks import check_choice
from keras_vlm.core.extras import import_extra

# What a TF-Hub module's pixels go up to; old ones differ, and say so.
RANGES = {"0..1": (1 / 255, 0.0), "-1..1": (2 / 255, -1.0), "0..255": (1.0, 0.0)}
SIGNATURES = ("image_feature_vector", "default", "serving_default")


def build_hub_backbone(
    source, image_size=224, *, output=None, pixels="0..1", trainable=False, name="encoder"
):
    """Builds a backbone of a TensorFlow Hub SavedModel.

    Args:
        source: the SavedModel's folder, or a URL that ``tensorflow_hub`` downloads.
        image_size: side in pixels, or ``(H, W)``.
        output: which output of several, as the image-feature format has them; None takes
            ``"default"``, or the only one.
        pixels: the range that the module wants: a key of ``RANGES``.
        trainable: whether its weights learn.
        name: name of the model.

    Returns:
        A Keras model from images [B,H,W,3] in 0..255 to image_features [B,N,C]; N is 1 for a
        feature vector. A saved model has a copy of the SavedModel inside.

    Raises:
        FileNotFoundError: there is no such SavedModel.
        ValueError: an option is unknown, or the output is no picture's features.
    """
    check_choice("build_hub_backbone", "pixels", pixels, RANGES)
    folder = pathlib.Path(source)
    if "://" in str(source):
        folder = pathlib.Path(
            import_extra("tensorflow_hub", "hub", "hub:URL").resolve(str(source))
        )
    if not (folder / "saved_model.pb").is_file():
        raise FileNotFoundError(f"hub: {source}: no saved_model.pb in this folder. Check the path.")
    size = tuple(image_size) if isinstance(image_size, (tuple, list)) else (image_size,) * 2
    images = keras.Input((*size, 3), name="images")
    scaled = keras.layers.Rescaling(*RANGES[pixels], dtype="float32", name="scaling")(images)
    layer = SavedModelLayer(str(folder), size, output=output, trainable=trainable, name="hub")
    features = layer(scaled)
    model = keras.Model(images, _to_tokens(features, f"hub:{source}"), name=name)
    model.grid_size = _grid_size(features)
    return model


def build_keras_hub_backbone(preset, image_size=224, *, trainable=False, name="encoder"):
    """Builds a backbone of a KerasHub image model: ViT, ResNet, the towers of CLIP and SigLIP, ...

    Args:
        preset: name of a preset, or the folder of a local one.
        image_size: side in pixels, or ``(H, W)``; a Transformer wants its preset's.
        trainable: whether its weights learn.
        name: name of the model.

    Returns:
        A Keras model from images [B,H,W,3] in 0..255 to image_features [B,N,C].

    Raises:
        ImportError: keras-hub is missing.
        ValueError: the preset has no image tower, or the output is no picture's features.
    """
    keras_hub = import_extra("keras_hub", "hub", "keras_hub:PRESET")
    network = keras_hub.models.Backbone.from_preset(preset)
    # Of a model for pictures and words, the pictures' side.
    network = getattr(network, "vision_encoder", network)
    scaling = _pixel_scaling(keras_hub, preset)
    return KerasHubBackbone(network, image_size, scaling, learns=trainable, name=name)


FOREIGN = {"hub": build_hub_backbone, "keras_hub": build_keras_hub_backbone}


@keras.saving.register_keras_serializable("keras_vlm")
class KerasHubBackbone(keras.Model):
    """A functional model: images [B,H,W,3] float 0..255 -> image_features [B,N,C].

    Make one with ``build_keras_hub_backbone``.

    Args:
        network: a KerasHub image model.
        image_size: side in pixels, or ``(H, W)``.
        scaling: scale and offset of the pixels.
        learns: whether the weights learn; else it runs in inference mode.
        name: name of the model.

    Raises:
        ValueError: the network takes no images, or gives no picture's features.
    """

    def __init__(self, network, image_size, scaling, *, learns=False, name="encoder"):
        # Layer by layer: one that is read back says that it is frozen, and its layers are not.
        for layer in network._flatten_layers():
            layer.trainable = learns
        size = tuple(image_size) if isinstance(image_size, (tuple, list)) else (image_size,) * 2
        images = keras.Input((*size, 3), name="images")
        hidden = keras.layers.Rescaling(*scaling, name="scaling")(images)
        if isinstance(network.input, dict):
            keys = [key for key in network.input if "image" in key]
            if len(keys) != 1:
                raise ValueError(
                    f"{network.name} must take images alone, got {sorted(network.input)}."
                )
            hidden = {keys[0]: hidden}
        features = network(hidden) if learns else network(hidden, training=False)
        if isinstance(features, dict):
            # A pyramid's coarsest level.
            features = features[max(features)]
        super().__init__(images, _to_tokens(features, network.name), name=name)
        self.grid_size = _grid_size(features)
        self.network = network
        self.scaling = scaling
        self.learns = learns

    def get_config(self):
        """Returns the constructor's arguments, for Keras's saving; weights are saved apart."""
        return {
            "network": keras.saving.serialize_keras_object(self.network),
            "image_size": list(self.input_shape[1:3]),
            "scaling": self.scaling,
            "learns": self.learns,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config):
        """Makes the backbone that ``get_config`` described."""
        import_extra("keras_hub", "hub", "A model with a KerasHub backbone")
        return cls(keras.saving.deserialize_keras_object(config.pop("network")), **config)


@keras.saving.register_keras_serializable("keras_vlm")
class SavedModelLayer(keras.layers.Layer):
    """A SavedModel as a layer, whose variables are the layer's own: they freeze, learn and save.

    ``hub.KerasLayer`` is one of Keras 2, and ``keras.layers.TFSMLayer`` refuses to be loaded.
    Do not compile it with XLA unless its maker says so. A saved model holds a copy of the
    SavedModel, a program that runs when it is called: load files of those only whom you trust.

    Args:
        folder: the SavedModel, called as it is, or by its signature for image features.
        image_size: ``(H, W)``.
        output: name of an output, where there are several, or None.
        spec: variables and shape of a saved layer, for Keras's loading.
        **kwargs: ``name``, ``trainable`` of the layer.

    Raises:
        ValueError: there is no such output.
    """

    def __init__(self, folder, image_size, *, output=None, spec=None, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.folder, self.image_size, self.output_name = folder, tuple(image_size), output
        self._call_it = self._foreign = None
        # A saved layer is opened where it was, as long as that is there: an optimizer that is
        # loaded with it then goes on. Else ``load_assets`` opens the copy.
        if spec is None or (pathlib.Path(folder) / "saved_model.pb").is_file():
            self._open(folder)
        if spec is None:
            found = self._call_it(tf.zeros((1, *self.image_size, 3)))
            spec = {
                "shape": [None, *found.shape[1:]],
                "variables": [
                    [v.name.replace("/", "_").partition(":")[0], list(v.shape), v.dtype.name,
                     bool(v.trainable)]
                    for v in self._variables()
                ],
            }  # fmt: skip
        self.spec = spec
        for place, (name, shape, dtype, learns) in enumerate(spec["variables"]):
            self.add_weight(
                shape=shape, dtype=dtype, trainable=learns, initializer="zeros",
                name=f"{place}_{name}",
            )  # fmt: skip
        if self._foreign is not None:
            self._take_over(keep=False)
        self.built = True

    def call(self, images):
        """Returns what the SavedModel makes of images [B,H,W,3]."""
        return self._call_it(ops.cast(images, "float32"))

    def compute_output_spec(self, images):
        """Returns the shape that was found when the SavedModel was opened."""
        return keras.KerasTensor((images.shape[0], *self.spec["shape"][1:]), dtype="float32")

    def get_config(self):
        """Returns the constructor's arguments, for Keras's saving."""
        return {
            **super().get_config(),
            "folder": self.folder,
            "image_size": list(self.image_size),
            "output": self.output_name,
            "spec": self.spec,
        }

    def save_assets(self, dir_path):
        """Copies the SavedModel into the file that Keras writes."""
        shutil.copytree(self.folder, pathlib.Path(dir_path) / "saved_model", dirs_exist_ok=True)

    def load_assets(self, dir_path):
        """Opens the copy in a file of Keras where the folder is gone; compile the model anew."""
        if self._foreign is not None:
            return
        # The file's own folder goes when it is loaded.
        self._open(_keep(pathlib.Path(dir_path) / "saved_model"))
        self._take_over(keep=True)

    def _open(self, folder):
        """Opens the SavedModel.

        Raises:
            ValueError: there is no such output, or none can be chosen.
        """
        self.folder = str(folder)
        # A module of TF-Hub's first format may hold a second graph for training, under a tag.
        old = (pathlib.Path(folder) / "tfhub_module.pb").is_file()
        self._foreign = tf.saved_model.load(self.folder, tags=[] if old else None)
        call = self._foreign
        if not callable(call):
            signatures = self._foreign.signatures
            named = next((name for name in SIGNATURES if name in signatures), None)
            if named is None:
                raise ValueError(
                    f"hub: {folder} must have one of the signatures {', '.join(SIGNATURES)}, got "
                    f"{', '.join(signatures) or 'none'}."
                )
            signature = signatures[named]
            [argument] = signature.structured_input_signature[1]
            call = lambda images: signature(**{argument: images})  # noqa: E731
        self._call_it = lambda images: self._choose(call(images))

    def _choose(self, found):
        if not isinstance(found, dict):
            return found
        wanted = self.output_name or ("default" if "default" in found else None)
        if wanted is None and len(found) == 1:
            wanted = next(iter(found))
        return found[check_choice("hub", "output", wanted, found)]

    def _variables(self):
        return list(getattr(self._foreign, "variables", None) or self._signature_variables())

    def _signature_variables(self):
        signatures = self._foreign.signatures
        named = next(name for name in SIGNATURES if name in signatures)
        return signatures[named].variables

    def _take_over(self, *, keep):
        """Makes the SavedModel's variables the layer's; ``keep`` gives them the layer's values."""
        for weight, variable in zip(self._layer_weights(), self._variables(), strict=True):
            if keep:
                variable.assign(weight.value)
            weight._value = variable

    def _layer_weights(self):
        by_place = {int(w.name.partition("_")[0]): w for w in self.weights}
        return [by_place[place] for place in sorted(by_place)]


def _keep(folder):
    """Returns a copy of a folder that lasts as long as the process."""
    import atexit
    import tempfile

    kept = tempfile.mkdtemp(prefix="keras-vlm-hub-")
    atexit.register(shutil.rmtree, kept, ignore_errors=True)
    return shutil.copytree(folder, pathlib.Path(kept) / "saved_model")


def _to_tokens(features, where):
    """Returns features as tokens [B,N,C].

    Raises:
        ValueError: they have another rank.
    """
    rank = len(features.shape)
    if rank not in {2, 3, 4}:
        raise ValueError(
            f"{where} must give [B,C], [B,N,C] or [B,h,w,C], got the shape {tuple(features.shape)}."
        )
    if rank == 3:
        return features
    return keras.layers.Reshape((-1, features.shape[-1]), name="tokens")(features)


def _grid_size(features):
    """Returns ``(h, w)`` of features [B,h,w,C], for regions; None of others."""
    return tuple(features.shape[1:3]) if len(features.shape) == 4 else None


def _pixel_scaling(keras_hub, preset):
    """Returns the scale and the offset of a preset's pixels; 1/255 and 0 where it names none."""
    try:
        converter = keras_hub.layers.ImageConverter.from_preset(preset)
    except (ValueError, FileNotFoundError):
        return 1 / 255, 0.0
    scale = 1 / 255 if converter.scale is None else converter.scale
    offset = 0.0 if converter.offset is None else converter.offset
    return tuple(np.asarray(each).tolist() for each in (scale, offset))
