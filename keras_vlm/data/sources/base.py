"""What every source returns: splits by name, each a sized collection of raw examples.

Refuses to know file formats, decoding and words. Dimension letter: K captions a picture.
"""

import abc
import collections.abc
import copy
import logging
import pathlib

import tensorflow as tf

from keras_vlm.core.checks import DataError, check_choice
from keras_vlm.data.questions import flatten
from keras_vlm.data.regions import Regions, region_tensors, unpack_masks
from keras_vlm.data.schema import VALIDATION_SPLITS, check_example_spec
from keras_vlm.data.sources.skipping import report_skipped, usable_records
from keras_vlm.text.cleaning_steps import HURT_TARGETS, clean_text

LOGGER = logging.getLogger("keras_vlm")


class Splits(collections.abc.Mapping):
    """The splits of a data set by name, each opened when it is asked for.

    ``"val"``, ``"dev"`` and ``"validation"`` name the same split, whichever the data set has.

    Args:
        name: name of the data set.
        openers: dict from the name of a split to a function without arguments that returns its
            ``Examples``.
        skipped: dict from a reason to the list of pictures that no split has for it.
        total: number of pictures that the splits have together, for the report.
    """

    def __init__(self, name, openers, *, skipped=None, total=0):
        self.name = name
        # What ``load_data`` was asked for, which tells two data sets of one kind apart.
        self.source = None
        self.skipped = dict(skipped or {})
        self._openers = dict(openers)
        self._opened = {}
        report_skipped(name, total, self.skipped)

    def __getitem__(self, split):
        """Returns a split's ``Examples``; the second time, the same object.

        Args:
            split: name of a split.

        Returns:
            An ``Examples``.

        Raises:
            ValueError: the data set has no such split; the message lists those it has.
        """
        split = self._find(split)
        check_choice(self.name, "split", split, self._openers)
        if split not in self._opened:
            self._opened[split] = self._openers[split]()
            if self.source is not None:
                self._opened[split].source = self.source
        return self._opened[split]

    def __contains__(self, split):
        return self._find(split) in self._openers

    def __iter__(self):
        return iter(self._openers)

    def __len__(self):
        return len(self._openers)

    def __repr__(self):
        return f"Splits({self.name!r}: {', '.join(self._openers)})"

    def _find(self, split):
        if split in VALIDATION_SPLITS and split not in self._openers:
            return next((name for name in VALIDATION_SPLITS if name in self._openers), split)
        return split


class Examples(abc.ABC):
    """One split: raw examples of known number, with their captions and questions at hand.

    Args:
        name: name of the data set.
        split: name of the split.
        language: language code of the captions and questions.
        image_ids: list of names of the pictures.
        captions: list of K captions a picture, in the same order, or None where the data have none.
        questions: list of a list of ``Question`` a picture, or None where the data have none.
        skipped: dict from a reason to the list of pictures left out for it.
        regions: list of ``Regions`` a picture, or None where the data have none.

    Raises:
        DataError: no example is left.
    """

    def __init__(
        self,
        name,
        split,
        language,
        image_ids,
        captions,
        *,
        questions=None,
        skipped=None,
        regions=None,
    ):
        self.name = name
        self.source = None
        self.split = split
        self.language = language
        self.image_ids = list(image_ids)
        self.captions = None if captions is None else [list(texts) for texts in captions]
        self.questions = None if questions is None else [list(each) for each in questions]
        self.regions = None
        # Steps of cleaning that would spoil what a captioner writes.
        self.hurt = ()
        self.skipped = {reason: list(ids) for reason, ids in (skipped or {}).items() if ids}
        where = f"{name}:{split}"
        report_skipped(where, len(self), self.skipped)
        if not self.image_ids:
            raise DataError(f"{where}: the split has no picture.")
        # Made outside of any graph, so that a dataset built within one refers to it and does not
        # copy it. An empty split never gets here.
        with tf.init_scope():
            self._image_ids = tf.constant(self.image_ids)
            self._texts = constant_texts(self.captions, self.questions)
        if regions is not None:
            self._add_regions(regions)

    def __len__(self):
        return len(self.image_ids)

    def __repr__(self):
        return f"{type(self).__name__}({self.name}:{self.split}, {len(self)} pictures)"

    def dataset(self, shuffle_seed=None):
        """Gives the examples one by one.

        Args:
            shuffle_seed: None for the order of ``image_ids``; otherwise an integer, or a scalar
                integer tensor, of which the order is a function. It may be called while
                a graph is traced, such as within ``tf.data.Dataset.flat_map``.

        Returns:
            A ``tf.data.Dataset`` of dicts with ``image_bytes`` [] string, ``image_id`` [] string,
            ``index`` [] int64 (the place in ``image_ids``) and what the data have of ``captions``
            [K], ``questions`` [Q] and ``answers`` [Q,A] string, ``boxes`` [R,4], ``labels`` [R]
            and ``masks`` [R,S,S]. Pictures are read when they are asked for.
        """
        if shuffle_seed is not None:
            shuffle_seed = tf.cast(shuffle_seed, tf.int64)
        dataset = self._dataset(shuffle_seed)
        check_example_spec(self.name, dataset.element_spec)
        return dataset

    def stream(self, shuffle_seed=None, keys=()):
        """Gives the examples in two steps, of which a pipeline does the second as it likes.

        Args:
            shuffle_seed: as for ``dataset``.
            keys: the regions that are wanted.

        Returns:
            ``(elements, place_of, read)``: a ``tf.data.Dataset``, a function from an element to its
            place [] int64, and one from an element to a dict of ``index``, ``image_bytes`` and
            ``keys``, which fails where the picture's file does.
        """

        def read(example):
            return {key: example[key] for key in ("index", "image_bytes", *keys)}

        return self.dataset(shuffle_seed), lambda example: example["index"], read

    def with_regions(self, regions):
        """Returns the same split with other regions.

        Args:
            regions: list of ``Regions``, one a picture.

        Returns:
            An ``Examples``.

        Raises:
            ValueError: there are more or fewer than pictures.
        """
        twin = copy.copy(self)
        twin._add_regions(regions)
        return twin

    def cleaned(self, steps, *, hurt_targets=False):
        """Returns the same split with cleaned captions.

        Args:
            steps: names of ``text.cleaning_steps.STEPS``, or functions of your own.
            hurt_targets: whether a captioner may learn to write captions without their stop words
                or endings; by default its ``batches`` refuses them.

        Returns:
            An ``Examples``; where nothing would be left of a caption it stays as it was.

        Raises:
            ImportError: a step needs a package that is missing.
            ValueError: a step is unknown, or has not the language, or the split has no captions.
        """
        if self.captions is None:
            raise ValueError(f"{self.name}:{self.split}: the split must have captions, got none.")
        twin = copy.copy(self)
        twin.captions = [
            [clean_text(text, steps, self.language) or text for text in of_picture]
            for of_picture in self.captions
        ]
        twin.hurt = tuple(s for s in steps if s in HURT_TARGETS and not hurt_targets) or self.hurt
        with tf.init_scope():
            twin._texts = {**self._texts, **constant_texts(twin.captions, None)}
        return twin

    def _add_regions(self, regions):
        """Takes regions over.

        Raises:
            ValueError: there are more or fewer than pictures.
        """
        if len(regions) != len(self):
            raise ValueError(
                f"{self.name}:{self.split}: regions must be {len(self)}, one a picture, got "
                f"{len(regions)}."
            )
        self.regions = list(regions)
        with tf.init_scope():
            texts = constant_texts(self.captions, self.questions)
            self._texts = {**texts, **region_tensors(self.regions)}

    @abc.abstractmethod
    def _dataset(self, shuffle_seed):
        """Makes the dataset; ``shuffle_seed`` is None or a scalar int64 tensor."""

    def _indices(self, shuffle_seed):
        """Returns a dataset of all places [] int64, in order or shuffled."""
        indices = tf.range(len(self), dtype=tf.int64)
        if shuffle_seed is not None:
            shuffle_seed = tf.cast(shuffle_seed, tf.int64)
            seed = tf.stack([shuffle_seed, tf.zeros([], tf.int64)])
            indices = tf.random.experimental.stateless_shuffle(indices, seed, alg="philox")
        return tf.data.Dataset.from_tensor_slices(indices)

    def _fields(self, index, image_bytes):
        """Returns the example at a place."""
        return {
            "image_bytes": image_bytes,
            "image_id": self._image_ids[index],
            "index": index,
            **{key: _row(key, texts, index) for key, texts in self._texts.items()},
        }


class PictureExamples(Examples):
    """Abstract: examples of which any picture can be read at any time, by ``read_picture``."""

    def read_picture(self, index):
        """Returns an encoded picture [] string by its place [] int64, in TensorFlow ops."""
        raise NotImplementedError

    def read_regions(self, index, keys):
        """Returns a dict of those regions of a picture that ``keys`` name, in TensorFlow ops."""
        return {key: _row(key, self._texts[key], index) for key in keys}

    def stream(self, shuffle_seed=None, keys=()):
        """Gives places, and how to read one, as ``Examples.stream``."""

        def read(index):
            picture = {"index": index, "image_bytes": self.read_picture(index)}
            return picture | self.read_regions(index, keys)

        return self._indices(shuffle_seed), lambda index: index, read

    def _dataset(self, shuffle_seed):
        def read(index):
            return self._fields(index, self.read_picture(index))

        return self._indices(shuffle_seed).map(read, num_parallel_calls=tf.data.AUTOTUNE)


class FileExamples(PictureExamples):
    """Examples whose pictures are files.

    Args:
        name: name of the data set.
        split: name of the split.
        language: language code of the captions.
        image_ids: list of names of the pictures.
        captions: list of K captions a picture, or None.
        paths: list of the pictures' files.
        **options: ``questions``, ``skipped`` and ``regions``, as for ``Examples``.
    """

    def __init__(self, name, split, language, image_ids, captions, paths, **options):
        super().__init__(name, split, language, image_ids, captions, **options)
        self.paths = [pathlib.Path(path) for path in paths]
        with tf.init_scope():
            self._paths = tf.constant([str(path) for path in paths])

    @classmethod
    def of_records(cls, name, split, language, records, *, skipped=None, regions=None):
        """Keeps the records whose picture is there and has a caption; counts the others.

        Args:
            name: name of the data set.
            split: name of the split.
            language: language code of the captions.
            records: iterable of ``(image_id, path, captions)``.
            skipped: dict from a reason to pictures that were left out before.
            regions: dict from image id to ``Regions``, or None.

        Returns:
            A ``FileExamples``.

        Raises:
            DataError: no record is left.
        """
        kept, unusable = usable_records(records)
        skipped = {**(skipped or {}), **unusable}
        paths = [path for path, _ in kept.values()]
        captions = [texts for _, texts in kept.values()]
        if regions is not None:
            regions = [regions.get(image_id, Regions()) for image_id in kept]
        return cls(
            name, split, language, kept, captions, paths, skipped=skipped, regions=regions
        )

    def read_picture(self, index):
        """Returns the file's bytes."""
        return tf.io.read_file(self._paths[index])


class BytesExamples(PictureExamples):
    """Examples whose encoded pictures are in memory.

    Args:
        name: name of the data set.
        split: name of the split.
        language: language code of the captions.
        image_ids: list of names of the pictures.
        captions: list of K captions a picture, or None.
        images: list of encoded pictures, bytes.
        **options: ``questions``, ``skipped`` and ``regions``, as for ``Examples``.
    """

    def __init__(self, name, split, language, image_ids, captions, images, **options):
        super().__init__(name, split, language, image_ids, captions, **options)
        with tf.init_scope():
            self._images = tf.constant(images)

    def read_picture(self, index):
        """Returns the bytes in memory."""
        return self._images[index]


def constant_texts(captions, questions):
    """Returns the tensors of a split's texts, by the keys of an example."""
    texts = {}
    if captions is not None:
        texts["captions"] = tf.ragged.constant(captions, ragged_rank=1, dtype=tf.string)
    if questions is not None:
        flat = flatten(questions)
        most = max(len(question.answers) for question in flat)
        rows = [[*question.answers, *[""] * (most - len(question.answers))] for question in flat]
        lengths = [len(of_picture) for of_picture in questions]
        for key, values in (("questions", [question.text for question in flat]), ("answers", rows)):
            texts[key] = tf.RaggedTensor.from_row_lengths(tf.constant(values), lengths)
    return texts


def _row(key, texts, index):
    """Returns a row of a ragged tensor whose rows are dense."""
    row = texts[index]
    if key == "masks":
        return unpack_masks(row)
    return row.to_tensor() if isinstance(row, tf.RaggedTensor) else row
