"""TensorFlow Datasets: COCO captions by their catalogue name.

The source is ``tfds:coco_captions``, which downloads and prepares the data where TensorFlow
Datasets keeps them (COCO is 25 GB), or ``tfds:coco_captions:DATA_DIR``, which reads what was
prepared there and never uses the network. Opening a split reads it once for the captions, without
decoding pictures. Order within a shuffled epoch mixes ``SHUFFLE_PICTURES`` pictures at a time.

Source: Wiewel et al., "TensorFlow Datasets", https://www.tensorflow.org/datasets/catalog/coco_captions
"""

import functools
import logging

import tensorflow as tf

from keras_vlm.core.checks import DataError
from keras_vlm.data.sources.base import Examples, Splits

LOGGER = logging.getLogger("keras_vlm")
# Of about 160 kB each.
SHUFFLE_PICTURES = 1024


def open_tfds(argument, language):
    """Opens a data set of TensorFlow Datasets that has pictures with captions.

    Args:
        argument: ``"NAME"`` or ``"NAME:DATA_DIR"``.
        language: language code of the captions; those of the catalogue are ``"en"``.

    Returns:
        A ``Splits``.

    Raises:
        DataError: the data set has no pictures with captions.
        FileNotFoundError: DATA_DIR does not hold the data set.
        ValueError: TensorFlow Datasets has no such data set, or the language is not English.
    """
    name, _, data_dir = argument.partition(":")
    if not name:
        raise ValueError("load_data: name must be tfds:NAME, such as tfds:coco_captions, got none.")
    if language != "en":
        raise ValueError(f"load_data: language must be 'en' for tfds:{name}, got {language!r}.")
    builder = _prepared_builder(name, data_dir or None)
    _check_features(builder)
    openers = {
        split: functools.partial(TfdsExamples, name, data_dir or None, builder.name, split)
        for split in builder.info.splits
    }
    return Splits(builder.name, openers)


class TfdsExamples(Examples):
    """Examples that TensorFlow Datasets streams from its own files.

    Args:
        catalogue_name: the name that ``tfds.load`` takes, perhaps with a configuration and version.
        data_dir: folder of the prepared data, or None for the usual one.
        name: name of the data set alone.
        split: name of the split.
    """

    def __init__(self, catalogue_name, data_dir, name, split):
        import tensorflow_datasets as tfds

        load = functools.partial(
            tfds.load,
            catalogue_name,
            split=split,
            data_dir=data_dir,
            download=False,
            shuffle_files=False,
        )
        wanted = tfds.decode.PartialDecoding({"image/id": True, "captions": {"text"}})
        image_ids, captions, skipped, places = [], [], [], []
        for example in load(decoders=wanted).as_numpy_iterator():
            image_id = str(example["image/id"])
            decoded = (text.decode("utf-8").strip() for text in example["captions"]["text"])
            texts = [text for text in decoded if text]
            places.append(len(image_ids) if texts else -1)
            if texts:
                image_ids.append(image_id)
                captions.append(texts)
            else:
                skipped.append(image_id)
        super().__init__(
            name,
            split,
            "en",
            image_ids,
            captions,
            skipped={"without captions": skipped},
        )
        with tf.init_scope():
            self._places = tf.constant(places, tf.int64)
            # Made here, not in _dataset(): that may run while a graph is traced.
            self._stream = load(decoders={"image": tfds.decode.SkipDecoding()}).enumerate()

    def _dataset(self, shuffle_seed):
        def read(place, example):
            return self._fields(self._places[place], example["image"])

        stream = self._stream.filter(lambda place, _: self._places[place] >= 0)
        stream = stream.map(read, num_parallel_calls=tf.data.AUTOTUNE)
        stream = stream.apply(tf.data.experimental.assert_cardinality(len(self)))
        if shuffle_seed is None:
            return stream
        buffer = min(len(self), SHUFFLE_PICTURES)
        return stream.shuffle(buffer, seed=shuffle_seed, reshuffle_each_iteration=False)


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


def _check_features(builder):
    features = builder.info.features
    captions = dict(features.items()).get("captions")
    # Captions are a Sequence, which holds a dict of features.
    fields = getattr(getattr(captions, "feature", None), "keys", tuple)()
    if "text" not in fields or "image" not in features or "image/id" not in features:
        raise DataError(
            f"tfds:{builder.name}: the data set must have the features 'image', 'image/id' and "
            f"'captions' with 'text' (found {', '.join(map(repr, features))})."
        )
