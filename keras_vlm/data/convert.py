"""Large data sets as TFRecord shards, in the form of TensorFlow Datasets.

``OUT/NAME/1.0.0/`` is what ``tfds:NAME:OUT`` and ``tfds.builder_from_directory`` read. A shard is
written under a temporary name and renamed, so that a run which was killed goes on with the shards
that are not there. Refuses to know models.
"""

import concurrent.futures
import contextlib
import hashlib
import json
import logging
import pathlib
import sys

import keras
import tensorflow as tf

from keras_vlm.core.checks import check_number
from keras_vlm.core.files import replace_file, write_json
from keras_vlm.data.regions import Regions
from keras_vlm.data.sources.base import PictureExamples

LOGGER = logging.getLogger("keras_vlm")
VERSION = "1.0.0"
# Its run's options, there until the last shard is.
NOTE = "converting.json"


def convert_data(splits, out, name, *, shard_pictures=1000, workers=4, verbose=1):
    """Writes the splits of a data set with captions as TFRecord shards.

    Args:
        splits: a ``Splits``, or a dict from names to data splits.
        out: folder; ``NAME/1.0.0`` is made in it.
        name: name of the new data set: small letters, digits and underscores, and none that
            TensorFlow Datasets has itself.
        shard_pictures: pictures a shard.
        workers: shards that are written at once.
        verbose: 1 for a progress bar on standard error, 0 for none.

    Returns:
        The path of ``NAME/1.0.0``. Pictures are kept as they are encoded; those that cannot be read
        too. Masks are not kept.

    Raises:
        FileExistsError: the folder holds another data set, or a run with other options or data.
        ValueError: an option is out of range, or a split has no captions, or is itself a stream.
    """
    import tensorflow_datasets as tfds

    check_number("convert_data", "shard_pictures", shard_pictures, minimum=1, integer=True)
    check_number("convert_data", "workers", workers, minimum=1, integer=True)
    if not name.isidentifier() or name != name.lower():
        raise ValueError(
            f"convert_data: name must be small letters, digits and underscores, got {name!r}."
        )
    if is_in_catalogue(name):
        raise ValueError(
            f"convert_data: name must not be one of TensorFlow Datasets' own, got {name!r}: "
            f"tfds:{name} would open theirs. Choose my_{name}, say."
        )
    opened = {split: splits[split] for split in splits}
    for split, examples in opened.items():
        if examples.captions is None or not isinstance(examples, PictureExamples):
            raise ValueError(
                f"convert_data: {split} must have captions and pictures of its own, got "
                f"{examples!r}."
            )
    folder = pathlib.Path(out) / name / VERSION
    if (folder / "dataset_info.json").exists():
        raise FileExistsError(f"{folder} holds a data set already. Choose another name or folder.")
    counts = {split: len(examples) for split, examples in opened.items()}
    digests = {split: _digest(examples) for split, examples in opened.items()}
    _claim(folder, {"shard_pictures": shard_pictures, "pictures": counts, "data": digests})
    if any(each.masks is not None for one in opened.values() for each in one.regions or ()):
        LOGGER.warning("convert_data: %s: masks are left out, boxes are kept.", name)
    features = _features(tfds, any(each.regions is not None for each in opened.values()))
    shards = [
        (folder / _file_name(name, split, number, count), examples, number * shard_pictures)
        for split, examples in opened.items()
        for count in [-(-len(examples) // shard_pictures)]
        for number in range(count)
    ]
    _write_all(shards, features, shard_pictures, workers, verbose)
    tfds.folder_dataset.write_metadata(
        data_dir=folder,
        features=features,
        split_infos=[
            _split_info(tfds, name, folder, split, len(examples), shard_pictures)
            for split, examples in opened.items()
        ],
        description=f"{name}, written by keras-vlm data --convert.",
        check_data=False,
    )
    (folder / NOTE).unlink()
    return folder


def is_in_catalogue(name):
    """Returns whether TensorFlow Datasets has a data set of this name itself."""
    import tensorflow_datasets as tfds

    return name in tfds.list_builders(with_community_datasets=False)


def _write_all(shards, features, shard_pictures, workers, verbose):
    """Writes the shards that are not there."""
    waiting = [shard for shard in shards if not shard[0].exists()]
    progress = keras.utils.Progbar(len(shards), unit_name="shard") if verbose else None
    done = len(shards) - len(waiting)
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        tasks = [pool.submit(_write, *shard, features, shard_pictures) for shard in waiting]
        try:
            for task in concurrent.futures.as_completed(tasks):
                task.result()
                done += 1
                if progress:
                    with contextlib.redirect_stdout(sys.stderr):
                        progress.update(done)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _write(path, examples, start, features, shard_pictures):
    """Writes one shard."""
    with replace_file(path) as temporary, tf.io.TFRecordWriter(str(temporary)) as writer:
        for place in range(start, min(start + shard_pictures, len(examples))):
            example = {
                "image": examples.read_picture(tf.constant(place, tf.int64)).numpy(),
                "image/id": examples.image_ids[place],
                "captions": [{"text": text} for text in examples.captions[place]],
            }
            if "objects" in features:
                found = Regions() if examples.regions is None else examples.regions[place]
                example["objects"] = _objects(found)
            writer.write(features.serialize_example(features.encode_example(example)))


def _objects(regions):
    from tensorflow_datasets.core.features import BBox

    boxes = [] if regions.boxes is None else regions.boxes.tolist()
    # Without boxes they are those of masks.
    labels = (boxes and regions.labels) or [""] * len(boxes)
    return [
        {"bbox": BBox(ymin=box[0], xmin=box[1], ymax=box[2], xmax=box[3]), "label": label}
        for box, label in zip(boxes, labels, strict=True)
    ]


def _features(tfds, with_objects):
    features = {
        "image": tfds.features.Image(shape=(None, None, 3)),
        "image/id": tfds.features.Text(),
        "captions": tfds.features.Sequence({"text": tfds.features.Text()}),
    }
    if with_objects:
        objects = {"bbox": tfds.features.BBoxFeature(), "label": tfds.features.Text()}
        features["objects"] = tfds.features.Sequence(objects)
    return tfds.features.FeaturesDict(features)


def _split_info(tfds, name, folder, split, pictures, shard_pictures):
    full, rest = divmod(pictures, shard_pictures)
    lengths = [shard_pictures] * full + ([rest] if rest else [])
    paths = [folder / _file_name(name, split, i, len(lengths)) for i in range(len(lengths))]
    return tfds.core.SplitInfo(
        name=split,
        shard_lengths=lengths,
        num_bytes=sum(path.stat().st_size for path in paths),
        filename_template=tfds.core.ShardedFileTemplate(
            dataset_name=name, data_dir=folder, filetype_suffix="tfrecord", split=split
        ),
    )


def _file_name(name, split, number, count):
    return f"{name}-{split}.tfrecord-{number:05d}-of-{count:05d}"


def _digest(examples):
    """Returns a text that changes with the pictures' names, captions and boxes."""
    hashed = hashlib.blake2b(digest_size=16)
    hashed.update(json.dumps([examples.image_ids, examples.captions]).encode())
    for place, each in enumerate(examples.regions or ()):
        if each.boxes is not None:
            hashed.update(json.dumps([place, each.boxes.tolist(), each.labels]).encode())
    return hashed.hexdigest()


def _claim(folder, options):
    """Notes a run's options in its folder, or checks that they are the ones noted there.

    Raises:
        FileExistsError: they are others, or the folder holds something else.
    """
    note = folder / NOTE
    if note.exists():
        noted = json.loads(note.read_text(encoding="utf-8"))
        if noted != options:
            raise FileExistsError(
                f"{folder} holds a conversion with other options: {noted}, now {options}. Choose "
                "another name or folder."
            )
        # What a killed run was writing.
        for path in folder.glob(".writing-*"):
            path.unlink()
    elif folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty. Choose another name or folder.")
    else:
        write_json(note, options)
