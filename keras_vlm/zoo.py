"""The published models: kept small, loaded by name.

A published model is a folder of ``saved_models/``: ``config.json`` (the architecture),
``weights.npz`` (float16, without the weights of EfficientNet-Lite0 that training has left as they
are, which the package has once), ``card.md`` and ``scores.json``. Refuses to know how a model was
trained.
"""

import json
import pathlib
import zipfile

import keras
import numpy as np

from keras_vlm.core.checks import DataError, suggest
from keras_vlm.core.files import replace_folder
from keras_vlm.tasks.captioning import Captioner
from keras_vlm.tasks.reranking import Reranker
from keras_vlm.tasks.retrieval import Retriever
from keras_vlm.tasks.video_models import VideoCaptioner, VideoQAModel
from keras_vlm.tasks.vqa_models import VQAModel
from keras_vlm.vision.efficientnet_lite import WEIGHTS_PATH, packaged_key
from keras_vlm.vision.input_statistics import finalize_normalization

MODEL_CLASSES = (Captioner, Retriever, Reranker, VQAModel, VideoCaptioner, VideoQAModel)
INSTALLED = pathlib.Path(__file__).parent / "saved_models"
CHECKOUT = pathlib.Path(__file__).parent.parent / "saved_models"


def list_models():
    """Lists the published models.

    Returns:
        A list of dicts with ``name``, ``task``, ``size_mb`` and ``scores``.

    Example:
        >>> [model["task"] for model in list_models()][0]
        'captioning'
    """
    found = []
    for folder in _published():
        scores = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
        # What is loaded; scores and card are read by people.
        size = sum((folder / name).stat().st_size for name in ("config.json", "weights.npz")) / 1e6
        found.append(
            {
                "name": folder.name,
                "task": scores["task"],
                "size_mb": round(size, 1),
                "scores": scores["scores"],
                "signature": scores["signature"],
            }
        )
    return found


def load(name_or_path):
    """Loads a model: a published one by name, or one that ``model.save`` wrote.

    Args:
        name_or_path: a name such as ``"captioner-lite0-lstm-flickr8k"``, a ``.keras`` file, or a
            folder written by ``save_compact``.

    Returns:
        The compiled model where a ``.keras`` file has a compiled one, else one ready to use.

    Raises:
        FileNotFoundError: there is no such name and no such file.
        DataError: the file or folder is damaged, or holds another kind of model.
    """
    path = pathlib.Path(name_or_path)
    if path.is_file():
        try:
            model = keras.saving.load_model(path)
        except (ValueError, TypeError, KeyError, OSError) as error:
            raise DataError(f"{path}: cannot be read as a .keras file ({error}).") from error
        if not isinstance(model, MODEL_CLASSES):
            kinds = ", ".join(kind.__name__ for kind in MODEL_CLASSES)
            raise DataError(
                f"{path}: must hold a model of this package ({kinds}), got "
                f"{type(model).__name__}. Load others with keras.saving.load_model."
            )
        return model
    for folder in (path, _root() / path):
        if (folder / "config.json").is_file():
            return _load_compact(folder)
    names = [folder.name for folder in _published()]
    raise FileNotFoundError(
        f"{name_or_path}: neither a file nor a published model.{suggest(name_or_path, names)} "
        f"Published: {', '.join(sorted(names))}."
    )


def load_task(name_or_path, kind):
    """Loads a model that must be of one task.

    Args:
        name_or_path: as for ``load``.
        kind: the class of the task's models.

    Returns:
        A model of that class.

    Raises:
        FileNotFoundError: there is no such name and no such file.
        DataError: the file or folder is damaged.
        TypeError: it is a model of another task.
    """
    model = load(name_or_path)
    if not isinstance(model, kind):
        raise TypeError(
            f"{name_or_path}: must be a {kind.__name__.lower()}, got a {type(model).__name__}. "
            "`keras-vlm models` lists the published ones."
        )
    return model


def save_compact(model, folder, *, overwrite=False):
    """Writes a model for publishing: float16, without weights that the package already has.

    Args:
        model: a model of this package.
        folder: the folder to write: ``config.json`` and ``weights.npz``.
        overwrite: whether a folder that is there already is replaced.

    Raises:
        FileExistsError: the folder exists, is not empty, and ``overwrite`` is False.
    """
    config = keras.saving.serialize_keras_object(model)
    config.pop("compile_config", None)
    packaged = _packaged_values(model)
    arrays = {
        f"{i:04d}": weight.numpy().astype(np.float16)
        if weight.dtype == "float32"
        else weight.numpy()
        for i, weight in enumerate(model.weights)
        if not np.array_equal(weight.numpy(), packaged.get(id(weight)))
    }
    with replace_folder(folder, overwrite=overwrite) as temporary:
        text = json.dumps(config, ensure_ascii=False, indent=1)
        (temporary / "config.json").write_text(text + "\n", encoding="utf-8")
        np.savez_compressed(temporary / "weights.npz", **arrays)


def _load_compact(folder):
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        model = keras.saving.deserialize_keras_object(config)
        packaged = _packaged_values(model)
        # Opened here, for NumPy leaves a file that it cannot read open.
        with (folder / "weights.npz").open("rb") as file, np.load(file) as stored:
            for i, weight in enumerate(model.weights):
                key = f"{i:04d}"
                if key in stored or id(weight) not in packaged:
                    weight.assign(stored[key])
                else:
                    weight.assign(packaged[id(weight)])
        finalize_normalization(model)
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{folder}: cannot be read as a published model ({error}).") from error
    return model


def _packaged_values(model):
    """Returns the values that the package has for a model's variables, by the variables' ids."""
    encoder = getattr(model, "encoder", None)
    if getattr(encoder, "architecture", None) != "efficientnet_lite0":
        return {}
    with np.load(WEIGHTS_PATH) as stored:
        return {id(weight): stored[packaged_key(weight)] for weight in encoder.network.weights}


def _published():
    """Returns the folders of the published models, not those that are being written."""
    found = sorted(path.parent for path in _root().glob("*/config.json"))
    return [folder for folder in found if not folder.name.startswith(".")]


def _root():
    return INSTALLED if INSTALLED.is_dir() else CHECKOUT
