"""Pictures found by a sentence or by another picture: a retriever meets an index.

A picture's key is its path, or ``SOURCE:SPLIT/NAME`` in a data set that has no files. Refuses to
know how vectors are stored and compared. Dimension letters: n pictures, E width of the retriever's
space.
"""

import contextlib
import dataclasses
import itertools
import logging
import pathlib
import sys
import tempfile

import keras
import numpy as np

from keras_vlm.core.checks import check_number
from keras_vlm.data.image_files import find_pictures, read_or_nothing
from keras_vlm.search.near_duplicates import near_duplicates
from keras_vlm.search.stamps import FileStamps
from keras_vlm.search.vector_index import VectorIndex
from keras_vlm.tasks.retrieval import Retriever
from keras_vlm.tasks.two_stage import CANDIDATES
from keras_vlm.zoo import load_task

LOGGER = logging.getLogger("keras_vlm")


@dataclasses.dataclass(frozen=True)
class Indexed:
    """What ``index_pictures`` did.

    Attributes:
        added: number of pictures added now.
        known: number of pictures that were in the index already.
        removed: number of pictures removed, whose files are gone.
        unreadable: keys of the pictures that cannot be read, which are tried again next time.
    """

    added: int
    known: int
    removed: int
    unreadable: list


def index_pictures(
    model,
    pictures,
    path,
    *,
    model_name="",
    kind="hnsw",
    prune=False,
    batch_size=256,
    verbose=1,
):
    """Puts pictures into an index, or those that a first attempt has not reached.

    Args:
        model: a ``Retriever``.
        pictures: a folder, which is searched for pictures, a list of paths, or a data split.
        path: folder of the index; one that is there is added to.
        model_name: what the model is loaded by, kept in the index for ``search_pictures``.
        kind: of a new index, as in ``VectorIndex.create``.
        prune: whether pictures of the index that were in this folder and are there no more are
            removed; for a folder only.
        batch_size: pictures a commit: a kill loses at most as many.
        verbose: 1 for a progress bar, 0 for none.

    Returns:
        An ``Indexed``.

    Raises:
        FileNotFoundError: there is no such folder.
        DataError: there is no picture.
        ImportError: the kind needs USearch, which is not installed.
        ValueError: the index is another model's, or an option is out of range.
        BlockingIOError: another process writes to the index.
    """
    check_number("index_pictures", "batch_size", batch_size, minimum=1, integer=True)
    if prune and not isinstance(pictures, (str, pathlib.Path)):
        raise ValueError(
            f"index_pictures: prune must be False but for a folder, got {type(pictures).__name__}. "
            "Remove keys with VectorIndex.remove."
        )
    keys, are_files = _find_keys(pictures)
    with open_or_create(model, path, model_name=model_name, kind=kind) as index:
        gone = _gone(index, pictures) if prune else []
        index.remove(gone)
        if are_files:
            stamps = FileStamps(index.path, keys)
            # First: what is not found any more by what it was is read again, kill or no kill.
            index.remove([key for key in stamps.changed() if key in index])
            stamps.save()
        known = {key for key in keys if key in index}
        unknown = {}
        for place, key in enumerate(keys):
            if key not in known:
                unknown.setdefault(key, place)
        total = len(unknown)
        progress = keras.utils.Progbar(total, unit_name="picture") if verbose and total else None
        waiting = _read(pictures, unknown, are_files)
        added, unreadable = add_pictures(
            model, index, waiting, batch_size=batch_size, progress=progress
        )
    if unreadable:
        LOGGER.warning(
            "index_pictures: %d of %d pictures cannot be read (the first: %s).",
            len(unreadable),
            total + len(known),
            unreadable[0],
        )
    return Indexed(added, len(known), len(gone), unreadable)


def add_pictures(model, index, pictures, *, batch_size=256, progress=None):
    """Adds pictures to an index that is open, batch by batch.

    Args:
        model: the ``Retriever`` of the index.
        index: a ``VectorIndex``.
        pictures: iterable of pairs of key and encoded picture.
        batch_size: pictures a commit.
        progress: a Keras ``Progbar``, or None.

    Returns:
        ``(added, unreadable)``: a number, and the keys of those that cannot be read.
    """
    unreadable, done, pictures = [], 0, iter(pictures)
    while True:
        keys = []

        def chunk(keys=keys):
            # One after another: a batch of large pictures at once would take gigabytes.
            for key, data in itertools.islice(pictures, batch_size):
                keys.append(key)
                yield data

        vectors = model.embed_images(chunk())
        if not keys:
            return done - len(unreadable), unreadable
        readable = vectors.any(axis=1)
        unreadable += [key for key, fine in zip(keys, readable, strict=True) if not fine]
        good = [key for key, fine in zip(keys, readable, strict=True) if fine]
        index.add(good, vectors[readable])
        done += len(keys)
        if progress:
            # Standard output is for results.
            with contextlib.redirect_stdout(sys.stderr):
                progress.update(done)


def open_or_create(model, path, *, model_name="", kind="hnsw"):
    """Opens a model's index to add to it, or makes a new one.

    Args:
        model: a ``Retriever``.
        path: folder of the index.
        model_name: as for ``index_pictures``.
        kind: as for ``index_pictures``.

    Returns:
        A ``VectorIndex``.

    Raises:
        ImportError: the kind needs USearch, which is not installed.
        ValueError: the index is another model's, or an option is out of range.
    """
    if pathlib.Path(path).is_dir() and any(pathlib.Path(path).iterdir()):
        return VectorIndex.open(path, fingerprint=model.fingerprint())
    return VectorIndex.create(
        path,
        model.image_tower.dim,
        kind=kind,
        fingerprint=model.fingerprint(),
        metadata={"model": model_name, "language": model.tokenizer.language},
    )


def open_index(path, model=None):
    """Opens an index of pictures and the model that made it.

    Args:
        path: folder of the index.
        model: a ``Retriever``, or None to load the one that the index names.

    Returns:
        ``(index, model)``.

    Raises:
        FileNotFoundError: there is no index, or its model is gone.
        ValueError: the model is not the one that made the index.
        TypeError: the index names a model of another kind.
    """
    if model is None:
        with VectorIndex.open(path) as index:
            name = index.metadata.get("model")
        if not name:
            raise ValueError(
                f"open_index: {path} does not say which model made it. Pass the model."
            )
        model = load_retriever(name)
    return VectorIndex.open(path, fingerprint=model.fingerprint()), model


def load_retriever(name):
    """Loads a model that must be a retriever.

    Args:
        name: a published name or a ``.keras`` file.

    Returns:
        A ``Retriever``.

    Raises:
        TypeError: it is another kind of model.
    """
    return load_task(name, Retriever)


def search_pictures(index, model, *, text=None, image=None, k=10, reranker=None):
    """Finds the pictures that a sentence says, or that look like a picture, or both at once.

    Args:
        index: a ``VectorIndex`` that ``index_pictures`` made.
        model: the ``Retriever`` that made it.
        text: a sentence, or None.
        image: a picture as ``Retriever.embed_images`` takes it, or None. With both, their vectors
            are added.
        k: pictures to find.
        reranker: a ``Reranker`` that reads the first ``k`` pictures, or ``CANDIDATES`` where these
            are more, and puts them in order by the sentence; or None.

    Returns:
        A list of ``(key, score)``, best first; a score is a cosine, or the re-ranker's. It leaves
        out pictures whose files can no longer be read.

    Raises:
        ValueError: neither a sentence nor a picture is given, the picture cannot be read, the
            sentence has no word that the model knows, a picture is given to a re-ranker, or it can
            read none of the files.
    """
    where = "search_pictures"
    if reranker is not None and (text is None or image is not None):
        raise ValueError(
            f"{where}: text alone must be given with a reranker, got text={text!r}, "
            f"image={image!r}. It tells how well pictures fit a sentence: leave it out."
        )
    if text is None and image is None:
        raise ValueError(f"{where}: text or image must be given, got neither.")
    query = np.zeros((1, index.dim), np.float32)
    if text is not None:
        query += embed_sentence(where, model, text)
    if image is not None:
        vector = model.embed_images(image)
        if not vector.any():
            raise ValueError(f"{where}: image must be a picture that can be read, got {image!r}.")
        query += vector
    if reranker is not None:
        check_number(where, "k", k, minimum=1, integer=True)
        return _rerank(reranker, text, index.search(query, max(k, CANDIDATES))[0][0])[:k]
    keys, scores = index.search(query, k)
    return list(zip(keys[0], scores[0].tolist(), strict=True))


def embed_sentence(where, model, text):
    """Returns the vector of a sentence to search by, float32 [1,E].

    Args:
        where: name of the caller, for the message.
        model: a ``Retriever``.
        text: the sentence.

    Raises:
        ValueError: it has no word that the model knows.
    """
    model.tokenizer.check_known(f"{where}: text", text)
    return model.embed_texts(text)


def find_duplicates(model, pictures, *, threshold=0.95, verbose=1):
    """Groups pictures that are nearly the same, exactly.

    Args:
        model: a ``Retriever``.
        pictures: as for ``index_pictures``.
        threshold: least cosine of two that are the same.
        verbose: 1 for a progress bar, 0 for none.

    Returns:
        Lists of two or more keys, the largest group first.

    Raises:
        FileNotFoundError: there is no such folder.
        DataError: there is no picture.
        ValueError: ``threshold`` is out of range.
    """
    check_number("find_duplicates", "threshold", threshold, minimum=-1, maximum=1)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "index"
        index_pictures(model, pictures, path, kind="flat", verbose=verbose)
        with VectorIndex.open(path) as index:
            return near_duplicates(index, threshold)


def _rerank(reranker, text, keys):
    """Returns pairs of key and score of the pictures that can be read, best first.

    Raises:
        ValueError: none can be read.
    """
    pairs = [(place, 0) for place in range(len(keys))]
    scores = reranker.match([read_or_nothing(key) for key in keys], text, pairs)
    order = np.argsort(-scores, kind="stable")
    found = [(keys[i], float(scores[i])) for i in order if np.isfinite(scores[i])]
    if keys and not found:
        raise ValueError(
            f"search_pictures: index must hold paths of pictures for a reranker, got {keys[0]!r}, "
            "which cannot be read. Search from the folder it was made in, or without a reranker."
        )
    return found


def _find_keys(pictures):
    """Returns the keys of pictures, in their order, and whether these are files."""
    paths = getattr(pictures, "paths", pictures)
    if isinstance(paths, (str, pathlib.Path)):
        paths = find_pictures(paths)
    if not hasattr(paths, "dataset"):
        # The same picture by one name, from whatever folder it is asked for.
        return [str(pathlib.Path(path).resolve()) for path in paths], True
    # Names alone may come again in another split or source.
    source = f"{pictures.source or pictures.name}:{pictures.split}"
    return [f"{source}/{name}" for name in pictures.image_ids], False


def _read(pictures, places, are_files):
    """Yields pairs of key and bytes of some pictures.

    Args:
        pictures: as for ``index_pictures``.
        places: dict from the keys that are wanted to their places.
        are_files: whether keys are files.
    """
    # A file of a clip is no picture, but its middle frame is.
    if are_files and not hasattr(pictures, "read_frames"):
        yield from ((key, read_or_nothing(key)) for key in places)
    elif hasattr(pictures, "read_picture"):
        yield from ((key, pictures.read_picture(i).numpy()) for key, i in places.items())
    elif places:
        wanted = {place: key for key, place in places.items()}
        for place, example in enumerate(pictures.dataset().as_numpy_iterator()):
            if place in wanted:
                yield wanted[place], example["image_bytes"]


def _gone(index, folder):
    """Returns the keys of an index that lay below a folder and are there no more."""
    folder = pathlib.Path(folder).resolve()
    paths = ((key, pathlib.Path(key)) for key in index)
    return [key for key, path in paths if folder in path.parents and not path.exists()]
