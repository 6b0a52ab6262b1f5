"""Writing and reading the SavedModel: picture bytes in, caption out.

Refuses to know how the model was trained. Dimension letters: B batch, H height, W width, n texts a
picture, T text positions.
"""

import json
import pathlib
import shutil

import keras
import tensorflow as tf

from keras_vlm.core.checks import check_number
from keras_vlm.core.files import check_output_folder, replace_folder
from keras_vlm.data.image_inputs import read_encoded
from keras_vlm.decoding import BeamSearch
from keras_vlm.tasks.generation import generate
from keras_vlm.vision.image import decode_batch

ABOUT = "keras_vlm.json"


def export_saved_model(model, path, *, beam_size=3, xla=False, overwrite=False):
    """Writes a SavedModel that turns encoded pictures into captions.

    Signatures, all from ``image_bytes`` [B] string (JPEG, PNG, GIF, BMP or WebP, of any sizes,
    mixed):

    - ``serving_default`` and ``beam``: beam search; ``caption`` [B] string, ``score`` [B] float32;
    - ``greedy``: the same by greedy search, several times faster;
    - ``n_best``: ``captions`` [B,n] string and ``scores`` [B,n] float32, n the beam size;
    - ``beam_xla``, if asked for: ``beam`` with its search compiled by XLA. TensorFlow Serving runs
      with XLA off, and refuses it.

    A picture that cannot be read has the caption ``""`` and the score -inf; the rest of its batch
    is answered.

    Args:
        model: a ``Captioner`` or a ``CaptionerEnsemble``.
        path: the folder to write; TensorFlow Serving expects ``NAME/VERSION``, VERSION a number.
        beam_size: width of the beam search.
        xla: whether to add ``beam_xla``.
        overwrite: whether a folder that is there already is replaced.

    Returns:
        The path.

    Raises:
        FileExistsError: the folder exists, is not empty, and ``overwrite`` is False.
        ValueError: ``beam_size`` is out of range.

    Example:
        ``export_saved_model(captioner, "served/captioner/1")``, and then, without this package,
        ``tf.saved_model.load(path).signatures["serving_default"](image_bytes=tf.constant([jpeg]))``.
    """
    check_number("export_saved_model", "beam_size", beam_size, minimum=1, integer=True)
    check_output_folder(path, overwrite=overwrite)
    beam, greedy = BeamSearch(beam_size, num_return=beam_size), BeamSearch(1)
    endpoints = {
        "serving_default": _best(_caption_function(model, beam)),
        "beam": _best(_caption_function(model, beam)),
        "greedy": _best(_caption_function(model, greedy)),
        "n_best": _caption_function(model, beam),
    }
    if xla:
        endpoints["beam_xla"] = _best(_caption_function(model, beam, jit_compile=True))
    archive = keras.export.ExportArchive()
    archive.track(model)
    signature = [tf.TensorSpec([None], tf.string, name="image_bytes")]
    for name, function in endpoints.items():
        archive.add_endpoint(name, function, input_signature=signature)
    with replace_folder(path, overwrite=overwrite) as folder:
        archive.write_out(str(folder / "model"), verbose=False)
        for item in (folder / "model").iterdir():
            shutil.move(item, folder / item.name)
        (folder / "model").rmdir()
        about = {
            "task": "captioning",
            "beam_size": beam_size,
            "image_size": list(model.image_size),
            "resize": model.resize,
            "vocabulary_size": model.tokenizer.vocabulary_size,
            "language": model.tokenizer.language,
            "signatures": sorted(endpoints),
        }
        extra = folder / "assets.extra"
        extra.mkdir(exist_ok=True)
        (extra / ABOUT).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    return pathlib.Path(path)


class ServedCaptioner:
    """A SavedModel of ``export_saved_model``, with the ``caption`` method of a ``Captioner``.

    Args:
        path: the SavedModel's folder.

    Raises:
        FileNotFoundError: the folder holds no SavedModel.
        ValueError: the SavedModel is not one of ours.
    """

    def __init__(self, path):
        path = pathlib.Path(path)
        if not (path / "saved_model.pb").exists():
            versions = sorted(path.glob("*/saved_model.pb"))
            if not versions:
                raise FileNotFoundError(f"{path}: no saved_model.pb in this folder.")
            path = versions[-1].parent
        self._loaded = tf.saved_model.load(path)
        missing = {"beam", "greedy", "n_best"} - set(self._loaded.signatures)
        if missing:
            raise ValueError(
                f"{path}: a SavedModel must have the signatures of keras-vlm export, "
                f"'{missing.pop()}' is missing (found {sorted(self._loaded.signatures)})."
            )
        self.about = json.loads((path / "assets.extra" / ABOUT).read_text(encoding="utf-8"))

    def caption(
        self, images, *, beam_size=None, strategy=None, batch_size=32, with_scores=False, verbose=0
    ):
        """Writes captions, as ``Captioner.caption`` does, with the searches that were exported.

        Args:
            images: as for ``Captioner.caption``; arrays are sent as PNG.
            beam_size: 1, the exported width, or None for the exported width.
            strategy: as ``beam_size``, as an object.
            batch_size: pictures a call.
            with_scores: whether to return every text with its score.
            verbose: 1 for a progress bar, 0 for none.

        Returns:
            As ``Captioner.caption``.

        Raises:
            ValueError: a search is asked for that was not exported.
        """
        exported = self.about["beam_size"]
        wanted = exported if beam_size is None else beam_size
        if strategy is not None:
            wanted = strategy.beam_size if strategy == BeamSearch(strategy.beam_size) else None
        if wanted not in {1, exported}:
            raise ValueError(
                f"a SavedModel has the searches it was exported with: beam_size must be 1 or "
                f"{exported}, got {strategy or beam_size}. Export it again with another beam size."
            )
        call = self._loaded.signatures["greedy" if wanted == 1 else "n_best"]
        results = []
        progress = keras.utils.Progbar(None, unit_name="picture") if verbose else None
        for encoded in read_encoded(images, batch_size=batch_size):
            found = call(image_bytes=encoded)
            texts = found["caption" if wanted == 1 else "captions"].numpy().reshape(
                len(encoded), -1
            )
            scores = found["score" if wanted == 1 else "scores"].numpy().reshape(len(encoded), -1)
            results.extend(
                [(text.decode("utf-8"), float(score)) for text, score in zip(*row, strict=True)]
                for row in zip(texts, scores, strict=True)
            )
            if progress:
                progress.update(len(results))
        return results if with_scores else [found[0][0] for found in results]


def _caption_function(model, strategy, *, jit_compile=False):
    """Returns a function image_bytes [B] -> dict of captions [B,n] and scores [B,n]."""

    def search(features):
        return generate(model.text_decoder, model.tokenizer, features, strategy)

    if jit_compile:
        search = tf.function(search, jit_compile=True)

    def caption(image_bytes):
        images, valid = decode_batch(image_bytes, model.image_size, model.resize)
        # oneDNN's convolutions fail on an empty batch: it gets a row, which is cut off again.
        count = tf.shape(images)[0]
        images = tf.pad(images, [[0, tf.cast(count == 0, tf.int32)], [0, 0], [0, 0], [0, 0]])
        found = search(model.encoder(images, training=False))
        texts = model.tokenizer.detokenize(found.token_ids)
        return {
            "captions": tf.where(valid[:, None], texts[:count], ""),
            "scores": tf.where(valid[:, None], found.scores[:count], float("-inf")),
        }

    return caption


def _best(function):
    """Returns a function image_bytes [B] -> dict of caption [B] and score [B]."""

    def best(image_bytes):
        found = function(image_bytes)
        return {"caption": found["captions"][:, 0], "score": found["scores"][:, 0]}

    return best
