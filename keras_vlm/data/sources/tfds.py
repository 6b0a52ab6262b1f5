"""TensorFlow Datasets: any data set of its catalogue whose features are pictures and words.

The source is ``tfds:coco_captions`` or another name, which downloads and prepares the data where
TensorFlow Datasets keeps them (COCO is 25 GB), or ``tfds:NAME:DATA_DIR``, which reads what was
prepared there and never uses the network. ``NAMES`` says by which names features are found; others
are given as ``keys="image=photo,captions=texts/en"``, with a slash between a feature and one within
it. Objects with a box give ``boxes`` and ``labels``. Opening a split reads it once for the words,
without decoding pictures. Order within a shuffled epoch mixes ``SHUFFLE_PICTURES`` pictures at a
time.

Source: Wiewel et al., "TensorFlow Datasets", https://www.tensorflow.org/datasets/catalog/coco_captions
"""

import functools
import logging

import numpy as np
import tensorflow as tf

from keras_vlm.core.checks import DataError, check_choice
from keras_vlm.data.questions import Question
from keras_vlm.data.regions import Regions
from keras_vlm.data.sources.base import Examples, Splits
from keras_vlm.data.sources.folder_questions import parse_pairs

LOGGER = logging.getLogger("keras_vlm")
# Our names, and the features that are taken for them; the first that is there.
NAMES = {
    "image": ("image", "picture", "photo", "jpg", "image/encoded"),
    "image_id": ("image/id", "image_id", "image/filename", "file_name", "filename", "id"),
    "captions": ("captions/text", "captions", "caption", "sentences", "text", "description"),
    "question": ("question", "question_answer/question", "questions/question", "questions"),
    "answer": ("answer", "answers", "question_answer/answer", "questions/answer"),
    "boxes": ("objects/bbox", "object/bbox", "bboxes", "boxes"),
    "labels": ("objects/label", "object/label", "labels"),
    "crowds": ("objects/is_crowd",),
}
# Of about 160 kB each.
SHUFFLE_PICTURES = 1024


def open_tfds(argument, language, keys=None):
    """Opens a data set of TensorFlow Datasets that has pictures with captions or questions.

    Args:
        argument: ``"NAME"`` or ``"NAME:DATA_DIR"``.
        language: language code of the captions or questions.
        keys: features that have other names: ``"image=photo,captions=texts/en"``, a dict, or None.

    Returns:
        A ``Splits``.

    Raises:
        DataError: the data set has no pictures with captions or questions.
        FileNotFoundError: DATA_DIR does not hold the data set.
        ValueError: TensorFlow Datasets has no such data set, or ``keys`` are wrong, or the language
            is not that of ``coco_captions``.
    """
    name, _, data_dir = argument.partition(":")
    if not name:
        raise ValueError("load_data: name must be tfds:NAME, such as tfds:coco_captions, got none.")
    if name.partition("/")[0] == "coco_captions" and language != "en":
        raise ValueError(f"load_data: language must be 'en' for tfds:{name}, got {language!r}.")
    builder = _prepared_builder(name, data_dir or None)
    features = find_features(builder.info.features, builder.name, keys)
    openers = {
        split: functools.partial(
            TfdsExamples, name, data_dir or None, builder.name, split, features, language
        )
        for split in builder.info.splits
    }
    return Splits(builder.name, openers)


def find_features(features, name, keys=None):
    """Finds the features that an example is made of.

    Args:
        features: a ``tfds.features.FeaturesDict``.
        name: name of the data set, for the message.
        keys: as for ``open_tfds``.

    Returns:
        A dict from our names to ``(path, feature)``; a path is ``("captions", "text")``.

    Raises:
        DataError: a feature that is named, or is needed, is not there.
        ValueError: ``keys`` have another form, or name something that is not ours.
    """
    keys = parse_pairs(keys)
    # Some data sets have slashes in their names: "image/id".
    there = {"/".join(path): (path, feature) for path, feature in _flat(features)}
    found = {}
    listed = ", ".join(map(repr, there))
    for ours, theirs in (keys or {}).items():
        check_choice("load_data", "keys", ours.strip(), NAMES)
        if theirs.strip() not in there:
            raise DataError(
                f"tfds:{name}: key {theirs!r} is missing from the features (found {listed})."
            )
        found[ours.strip()] = theirs.strip()
    for ours, names in NAMES.items():
        path = next((each for each in names if each in there), None)
        if ours not in found and path is not None:
            found[ours] = path
    if "image" not in found or not ("captions" in found or {"question", "answer"} <= set(found)):
        raise DataError(
            f"tfds:{name}: the data set must have an 'image', and 'captions' or a 'question' with "
            f"its 'answer' (found {listed}). Pass keys='image=FEATURE,captions=FEATURE'."
        )
    return {ours: there[name] for ours, name in found.items()}


class TfdsExamples(Examples):
    """Examples that TensorFlow Datasets streams from its own files.

    Args:
        catalogue_name: the name that ``tfds.load`` takes, perhaps with a configuration and version.
        data_dir: folder of the prepared data, or None for the usual one.
        name: name of the data set alone.
        split: name of the split.
        features: what ``find_features`` gave.
        language: language code of the captions or questions.
    """

    def __init__(self, catalogue_name, data_dir, name, split, features, language="en"):
        import tensorflow_datasets as tfds

        load = functools.partial(
            tfds.load,
            catalogue_name,
            split=split,
            data_dir=data_dir,
            download=False,
            shuffle_files=False,
        )
        paths = {ours: path for ours, (path, _) in features.items()}
        read_first = [path for ours, path in paths.items() if ours != "image"]
        wanted = tfds.decode.PartialDecoding(_nested(read_first))
        asks = "captions" not in paths
        image_ids, texts, regions, skipped, places = [], [], [], [], []
        for number, example in enumerate(load(decoders=wanted).as_numpy_iterator()):
            values = {o: _get(example, path) for o, path in paths.items() if o != "image"}
            image_id = _to_text(values.get("image_id", number))
            read = _read_questions(values, image_id) if asks else _read_texts(values)
            places.append(len(image_ids) if read else -1)
            if read:
                image_ids.append(image_id)
                texts.append(read)
                regions.append(_read_regions(values, features, image_id))
            else:
                skipped.append(image_id)
        super().__init__(
            name,
            split,
            language,
            image_ids,
            None if asks else texts,
            questions=texts if asks else None,
            skipped={"without captions": skipped},
            regions=regions if "boxes" in paths else None,
        )
        self._image = paths["image"]
        with tf.init_scope():
            self._places = tf.constant(places, tf.int64)
            # Made here, not in _dataset(): that may run while a graph is traced.
            decoders = _nested([self._image], tfds.decode.SkipDecoding())
            self._stream = load(decoders=decoders).enumerate()

    def _dataset(self, shuffle_seed):
        def read(place, example):
            return self._fields(self._places[place], _get(example, self._image))

        stream = self._stream.filter(lambda place, _: self._places[place] >= 0)
        stream = stream.map(read, num_parallel_calls=tf.data.AUTOTUNE)
        if shuffle_seed is not None:
            stream = _shuffle(stream, min(len(self), SHUFFLE_PICTURES), shuffle_seed)
        return stream.apply(tf.data.experimental.assert_cardinality(len(self)))


def _shuffle(stream, buffer, seed):
    """Shuffles by a seed [] int64 alone."""

    def shuffle(seed):
        # TensorFlow would mix in its global seed, and where that is 0 take no tensor beside it.
        tf.compat.v1.get_default_graph().seed = None
        return stream.shuffle(buffer, seed=seed, reshuffle_each_iteration=False)

    return tf.data.Dataset.from_tensors(seed).flat_map(shuffle)


def _prepared_builder(name, data_dir):
    """Returns the builder of a data set that is on disk.

    Raises:
        FileNotFoundError: the user's folder does not hold it.
        ValueError: there is no such data set.
    """
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(name, data_dir=data_dir)
    except tfds.core.registered.DatasetNotFoundError as error:
        raise ValueError(
            f"load_data: TensorFlow Datasets has no data set {name!r}, or {data_dir or 'the disk'} "
            "does not hold it. See https://www.tensorflow.org/datasets/catalog."
        ) from error
    if not builder.info.splits:
        if data_dir:
            raise FileNotFoundError(
                f"tfds: {builder.data_path} does not hold {name}. Check the path, or leave it out "
                f"(tfds:{name}) to download."
            )
        LOGGER.warning("tfds: downloading %s to %s.", name, builder.data_path)
        builder.download_and_prepare()
    return builder


def _flat(features, above=()):
    """Yields the path of keys and the feature of all features, those within others too."""
    inner = getattr(features, "feature", features)
    for key, feature in inner.items() if hasattr(inner, "items") else ():
        yield (*above, key), feature
        yield from _flat(feature, (*above, key))


def _nested(paths, value=True):
    """Returns the dict of dicts that TensorFlow Datasets takes for some paths of keys."""
    nested = {}
    for *above, key in paths:
        inner = nested
        for outer in above:
            inner = inner.setdefault(outer, {})
        inner[key] = value
    return nested


def _get(example, path):
    """Returns what lies at a path of keys."""
    for key in path:
        example = example[key]
    return example


def _to_text(value):
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def _read_texts(values):
    texts = [_to_text(text).strip() for text in np.ravel(values["captions"])]
    return [text for text in texts if text]


def _read_questions(values, image_id):
    asked, answers = (np.atleast_1d(values[key]) for key in ("question", "answer"))
    # One question with several answers, or as many answers as questions.
    rows = [answers] if len(asked) == 1 else [np.atleast_1d(answer) for answer in answers]
    if len(rows) != len(asked):
        raise DataError(
            f"tfds: {image_id} must have as many answers as questions, got {len(rows)} to "
            f"{len(asked)}."
        )
    return [
        Question(_to_text(text), tuple(map(_to_text, np.ravel(row))), f"{image_id}-{number}")
        for number, (text, row) in enumerate(zip(asked, rows, strict=True))
    ]


def _read_regions(values, features, image_id):
    if "boxes" not in values:
        return None
    boxes = np.reshape(values["boxes"], (-1, 4)).astype(np.float32)
    # Rounding may take a share a little beyond the edge.
    if boxes.size and not -0.01 <= boxes.min() <= boxes.max() <= 1.01:
        raise DataError(
            f"tfds: the boxes of {image_id} must be (y0, x0, y1, x1) as shares of the picture's "
            f"sides, got {boxes.min():g} to {boxes.max():g}. Name another feature, as in "
            'keys="boxes=objects/bbox".'
        )
    boxes = np.clip(boxes, 0, 1)
    kept = range(len(boxes))
    if "crowds" in values:
        # As from COCO's own files: no crowds, and the largest first, for a model takes those.
        areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
        crowds = np.ravel(values["crowds"])
        kept = [place for place in np.argsort(-areas, kind="stable") if not crowds[place]]
    labels = None
    if "labels" in values:
        name = getattr(features["labels"][1], "int2str", _to_text)
        labels = [name(label) for label in np.ravel(values["labels"])]
        if len(labels) != len(boxes):
            raise DataError(
                f"tfds: {image_id} must have as many labels as boxes, got {len(labels)} to "
                f"{len(boxes)}."
            )
        labels = [labels[place] for place in kept]
    return Regions(boxes[list(kept)], labels)
