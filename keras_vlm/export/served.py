"""Reading a SavedModel of ``export_saved_model`` back: the methods of the model it came from.

Refuses to know how the model was trained. Dimension letters: n pictures or texts, E width of a
retriever's space.
"""

import json
import pathlib

import keras
import numpy as np
import tensorflow as tf

from keras_vlm.data.clip_inputs import count_clips, is_single_clip, read_encoded_clips
from keras_vlm.data.image_inputs import read_encoded, read_encoded_with_regions
from keras_vlm.decoding import BeamSearch
from keras_vlm.export.saved_model import ABOUT
from keras_vlm.tasks.asking import AnswerMixin


def open_saved_model(path):
    """Opens a SavedModel that ``export_saved_model`` wrote.

    Args:
        path: its folder, or the folder of its versions, of which the last is taken.

    Returns:
        A ``ServedCaptioner``, a ``ServedRetriever``, a ``ServedVQAModel``, or one of these for
        clips.

    Raises:
        FileNotFoundError: the folder holds no SavedModel.
        ValueError: the SavedModel is not one of ours.
    """
    note = find_version(path) / "assets.extra" / ABOUT
    task = json.loads(note.read_text(encoding="utf-8"))["task"] if note.exists() else None
    kinds = {
        "retrieval": ServedRetriever,
        "vqa": ServedVQAModel,
        "video-caption": ServedVideoCaptioner,
        "video-qa": ServedVideoQAModel,
    }
    return kinds.get(task, ServedCaptioner)(path)


def find_version(path):
    """Returns the folder that holds saved_model.pb: this one, or the last of its versions.

    Args:
        path: a folder.

    Returns:
        A path.

    Raises:
        FileNotFoundError: there is none.
    """
    path = pathlib.Path(path)
    if (path / "saved_model.pb").exists():
        return path
    versions = sorted(
        path.glob("*/saved_model.pb"),
        key=lambda file: (file.parent.name.isdigit(), file.parent.name.zfill(20)),
    )
    if not versions:
        raise FileNotFoundError(f"{path}: no saved_model.pb in this folder.")
    return versions[-1].parent


class ServedPictures:
    """Mixin of served models: they are sent encoded pictures, and perhaps their regions."""

    def _read_inputs(self, images, batch_size):
        """Yields the SavedModel's inputs, a dict of a batch of pictures each."""
        region_shapes = self.about.get("region_shapes")
        if region_shapes:
            return read_encoded_with_regions(images, region_shapes, batch_size=batch_size)
        found = read_encoded(images, batch_size=batch_size)
        return ({"image_bytes": encoded} for encoded in found)


class ServedCaptioner(ServedPictures):
    """A SavedModel of ``export_saved_model``, with the ``caption`` method of a ``Captioner``.

    Args:
        path: the SavedModel's folder.

    Raises:
        FileNotFoundError: the folder holds no SavedModel.
        ValueError: the SavedModel is not one of ours.
    """

    def __init__(self, path):
        self._loaded, self.about = _load(path, {"beam", "greedy", "n_best"})

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
        for pictures in self._read_inputs(images, batch_size):
            found, count = call(**pictures), len(next(iter(pictures.values())))
            texts = found["caption" if wanted == 1 else "captions"].numpy().reshape(count, -1)
            scores = found["score" if wanted == 1 else "scores"].numpy().reshape(count, -1)
            results.extend(
                [(text.decode("utf-8"), float(score)) for text, score in zip(*row, strict=True)]
                for row in zip(texts, scores, strict=True)
            )
            if progress:
                progress.update(len(results))
        return results if with_scores else [found[0][0] for found in results]


class ServedRetriever(ServedPictures):
    """A SavedModel of ``export_saved_model``, with the ``embed_`` methods of a ``Retriever``.

    Args:
        path: the SavedModel's folder.

    Raises:
        FileNotFoundError: the folder holds no SavedModel.
        ValueError: the SavedModel is not one of ours.
    """

    def __init__(self, path):
        self._loaded, self.about = _load(path, {"embed_image", "embed_text"})

    def embed_images(self, images, *, batch_size=32, verbose=0):
        """Gives pictures their place in the common space, as ``Retriever.embed_images``.

        Args:
            images: as for ``Retriever.embed_images``; arrays are sent as PNG.
            batch_size: pictures a call.
            verbose: 1 for a progress bar, 0 for none.

        Returns:
            [n,E] float32.
        """
        call = self._loaded.signatures["embed_image"]
        progress = keras.utils.Progbar(None, unit_name="picture") if verbose else None
        found, done = [], 0
        for pictures in self._read_inputs(images, batch_size):
            found.append(call(**pictures)["embedding"].numpy())
            done += len(found[-1])
            if progress:
                progress.update(done)
        return np.concatenate(found) if found else np.zeros((0, self.about["dim"]), np.float32)

    def embed_texts(self, texts, *, batch_size=256):
        """Gives sentences their place in the common space, as ``Retriever.embed_texts``.

        Args:
            texts: one string or a list of strings.
            batch_size: sentences a call.

        Returns:
            [n,E] float32.
        """
        texts = [texts] if isinstance(texts, str) else list(texts)
        call = self._loaded.signatures["embed_text"]
        found = [
            call(text=tf.constant(texts[start : start + batch_size]))["embedding"].numpy()
            for start in range(0, len(texts), batch_size)
        ]
        return np.concatenate(found) if found else np.zeros((0, self.about["dim"]), np.float32)


class ServedVQAModel(AnswerMixin, ServedPictures):
    """A SavedModel of ``export_saved_model``, with the ``answer`` method of a ``VQAModel``.

    At most as many candidates are given as were exported (``top_k``).

    Args:
        path: the SavedModel's folder.

    Raises:
        FileNotFoundError: the folder holds no SavedModel.
        ValueError: the SavedModel is not one of ours.
    """

    def __init__(self, path):
        self._loaded, self.about = _load(path, {"top_k", "ask_many"})

    def _read_pictures(self, images, batch_size):
        read = self._read_inputs(images, batch_size)
        return ((pictures, next(iter(pictures.values()))) for pictures in read)

    def _answer_batch(self, batch, questions, top_k):
        if top_k > self.about["top_k"]:
            raise ValueError(
                f"a SavedModel gives the candidates it was exported with: top_k must be at most "
                f"{self.about['top_k']}, got {top_k}. Export it again with another top_k."
            )
        call = self._loaded.signatures["ask_many"]
        found = call(**batch[0], questions=questions)
        names = ("answers", "scores", "known", "unknown_words", "readable")
        texts, scores, *others = (found[name].numpy() for name in names)
        return texts[..., :top_k], scores[..., :top_k], *others


class ServedClips:
    """Mixin of served models of clips: they are sent encoded frames."""

    @property
    def num_frames(self):
        """F, frames of a clip that the model looks at."""
        return self.about["num_frames"]

    def _read_inputs(self, videos, batch_size):
        found = read_encoded_clips(videos, self.num_frames, batch_size=batch_size)
        return ({"frame_bytes": encoded} for encoded in found)

    def _is_single(self, videos):
        return is_single_clip(videos)

    def _count(self, videos):
        return count_clips(videos)


class ServedVideoCaptioner(ServedClips, ServedCaptioner):
    """A ``ServedCaptioner`` of clips: it takes videos as ``VideoCaptioner.caption`` does."""


class ServedVideoQAModel(ServedClips, ServedVQAModel):
    """A ``ServedVQAModel`` of clips: it takes videos as ``VideoQAModel.answer`` does."""


def _load(path, wanted):
    """Returns the SavedModel and what it says of itself.

    Raises:
        ValueError: it has not the signatures that are wanted.
    """
    path = find_version(path)
    loaded = tf.saved_model.load(path)
    missing = wanted - set(loaded.signatures)
    if missing:
        raise ValueError(
            f"{path}: a SavedModel must have the signatures of keras-vlm export, "
            f"{min(missing)!r} is missing (found {sorted(loaded.signatures)})."
        )
    return loaded, json.loads((path / "assets.extra" / ABOUT).read_text(encoding="utf-8"))
