"""tf.data pipelines of questions: a split becomes batches of pictures with several questions each.

As in ``pipeline.py``, order, choice and augmentation are functions of a seed and a counter. Refuses
to know models: what an answer becomes is handed in, as arrays.

Dimension letters: B batch, H height, W width, N picture tokens, C their width, M questions of a
split, Q questions a picture, T text positions.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from keras_vlm.data.picture_decoder import ReadableStream, read_picture
from keras_vlm.data.pipeline import (
    AUTOTUNE,
    batch_epochs,
    check_regions,
    fit_regions,
    readable_places,
)
from keras_vlm.data.questions import flatten
from keras_vlm.data.sources.base import PictureExamples
from keras_vlm.text.cleaning import swap_left_right
from keras_vlm.text.tokenizer import PAD_ID
from keras_vlm.vision.augmentation import augment_regions


@dataclasses.dataclass(frozen=True)
class QuestionTexts:
    """A split's questions and answers as arrays, ready to be gathered in the graph.

    Attributes:
        first: [n] int32, place of each picture's first question.
        counts: [n] int32, questions a picture.
        tokens: [M,2,T+1] int32: as it is, and as the mirrored picture's question reads.
        answers: dict of arrays [M,2,...], as ``encode`` gave them.
        weights: [M] float32, how often a question is drawn; None for all alike.
    """

    first: np.ndarray
    counts: np.ndarray
    tokens: np.ndarray
    answers: dict
    weights: np.ndarray | None = None

    @classmethod
    def of(cls, examples, tokenizer, encode, weigh=None):
        """Reads the questions of a split.

        Args:
            examples: a data split with questions.
            tokenizer: a ``Tokenizer`` of questions.
            encode: function of a list of m tuples of answers -> dict of arrays [m,...].
            weigh: function of a list of M ``Question`` -> [M] float, or None.

        Returns:
            A ``QuestionTexts``.

        Raises:
            ValueError: the split has no questions, or not those that ``weigh`` asks for.
        """
        if getattr(examples, "questions", None) is None:
            raise ValueError(
                f"{examples.name}:{examples.split}: the split must have questions, got none. "
                "Sources with questions: vqa_v2, easy_vqa, scenes, folder with questions.csv."
            )
        questions = flatten(examples.questions)
        counts = np.array([len(each) for each in examples.questions], np.int32)
        language = tokenizer.language
        lowered = tf.strings.lower([question.text for question in questions], encoding="utf-8")
        answers = [question.answers for question in questions]
        views = [lowered, swap_left_right(lowered, language)]
        swapped = _mirror(answers, language)
        both = encode([*answers, *swapped])
        encoded = [{k: v[: len(answers)] for k, v in both.items()}]
        encoded.append({k: v[len(answers) :] for k, v in both.items()})
        return cls(
            np.cumsum(counts, dtype=np.int32) - counts,
            counts,
            np.stack([tokenizer(view).numpy() for view in views], axis=1),
            {key: np.stack([each[key] for each in encoded], axis=1) for key in encoded[0]},
            None if weigh is None else np.asarray(weigh(questions), np.float32),
        )

    def picture_weights(self):
        """Returns [n] float32: how often a picture is drawn, so that its questions are."""
        return np.add.reduceat(self.weights, self.first).astype(np.float32)


class Pictures:
    """Abstract: pictures, or clips, of a split by their places, as ``question_batches`` takes them.

    A subclass has ``examples`` and ``places`` [n] int64, and implements ``read`` and ``gather``.

    Attributes:
        is_stream: whether they come in an order of their own.
    """

    is_stream = False

    def elements(self, order, shuffle_seed):
        """Returns a dataset of what ``read`` takes: places in an order [m] int64."""
        return tf.data.Dataset.from_tensor_slices(order)

    def place_of(self, element):
        """Returns the place [] int64 of an element."""
        return element

    def read(self, element, pair):
        """Returns (a nest of tensors of static shapes, mirrored [] bool) of one; it may fail."""
        raise NotImplementedError

    def gather(self, batch):
        """Returns what a model takes, a dict, of a batch of what ``read`` returned first."""
        raise NotImplementedError


class DecodedPictures(Pictures):
    """Pictures decoded and augmented anew each time.

    Args:
        examples: a data split.
        image_size: ``(H, W)`` in pixels.
        resize: how pictures are brought to that size, as in ``vision.image``.
        augmentation: an ``Augmentation``, or None.
        region_shapes: None or {}, or the shapes of the regions, as for ``image_batches``.

    Raises:
        ValueError: the split has no such regions.
    """

    def __init__(self, examples, image_size, resize, augmentation=None, region_shapes=None):
        check_regions(examples, region_shapes)
        self._region_shapes = region_shapes or {}
        self.examples = examples
        self.places = np.arange(len(examples))
        self.is_stream = not isinstance(examples, PictureExamples)
        _, self.place_of, self._open = examples.stream(None, tuple(self._region_shapes))
        self._size, self._resize, self._augmentation = image_size, resize, augmentation

    def elements(self, order, shuffle_seed):
        """Returns a dataset of places in an order, or of a stream's examples in its own."""
        if not self.is_stream:
            return super().elements(order, shuffle_seed)
        return self.examples.stream(shuffle_seed, tuple(self._region_shapes))[0]

    def read(self, element, pair):
        """Returns ({"images": [H,W,3] uint8, and regions}, mirrored [] bool); it may fail."""
        picture = self._open(element)
        regions = {key: picture[key] for key in self._region_shapes}
        if self._augmentation is not None:
            regions = augment_regions(regions, pair, self._augmentation, self._size)
        image, mirrored = read_picture(
            picture["image_bytes"], self._size, self._resize, self._augmentation, pair
        )
        return {"images": image, **fit_regions(regions, self._region_shapes)}, mirrored

    def gather(self, pictures):
        """Returns {"images": [B,H,W,3] uint8, and regions} of a batch."""
        return pictures


class CachedPictures(Pictures):
    """Features of pictures and perhaps of their mirror images, of which each draws one an epoch.

    Args:
        examples: a data split.
        caches: one ``FeatureCache``, or two, the second of mirrored pictures.
    """

    def __init__(self, examples, caches):
        self._caches = caches
        self.examples = examples
        self._rows = np.stack([cache.fill(examples) for cache in caches], axis=1)
        self.places = readable_places(examples, self._rows[:, 0])

    def read(self, place, pair):
        """Returns ((place, view) [2] int64, mirrored [] bool)."""
        views = len(self._caches)
        view = tf.random.stateless_uniform([], pair, 0, views, tf.int64)
        return tf.stack([place, view]), view > 0

    def gather(self, keys):
        """Returns {"image_features": [B,N,C] float16} of keys [B,2]."""

        def gather(keys):
            return np.stack(
                [self._caches[view].gather([self._rows[place, view]])[0] for place, view in keys]
            )

        features = tf.numpy_function(gather, [keys], tf.float16, stateful=False)
        shape = (None, *self._caches[0].shape)
        return {"image_features": tf.ensure_shape(features, shape)}


def question_batches(
    pictures, texts, batch_size, *, finish, questions_per_image=10, epoch_seed=None
):
    """Makes training batches of pictures, each with several questions.

    Args:
        pictures: ``DecodedPictures``, ``CachedPictures`` or other ``Pictures``.
        texts: a ``QuestionTexts`` of the same split; where it has weights and there is an epoch
            seed, pictures and their questions are drawn by them, with replacement.
        batch_size: B, pictures a batch.
        finish: function of a dict of answers [B,Q,...] and real [B,Q] bool -> (more inputs, a dict;
            targets).
        questions_per_image: Q; of more a picture draws some, fewer leave rows of padding.
        epoch_seed: an ``EpochSeed`` to shuffle by, or None for the split's own order.

    Returns:
        A ``tf.data.Dataset`` of ``({"images" or "image_features", "token_ids": [B,Q,T], ...},
        targets)``. A picture that cannot be read is named on standard error; the next one takes its
        place, and at the end of an epoch there are rows whose questions are padding.

    Raises:
        ValueError: pictures are to be drawn, and come in an order of their own.
    """
    stream = ReadableStream(tf.constant(pictures.examples.image_ids))
    weighted = texts.weights is not None and epoch_seed is not None
    if weighted:
        _check_order(pictures)
    places = tf.constant(pictures.places, tf.int64)
    first, counts = tf.constant(texts.first), tf.constant(texts.counts)
    tensors = tf.nest.map_structure(tf.constant, {"token_ids": texts.tokens, **texts.answers})
    logs = picture_logs = None
    if weighted:
        logs = tf.math.log(tf.constant(texts.weights))
        picture_logs = tf.math.log(texts.picture_weights()[pictures.places])

    def read(number, element, seed):
        place = pictures.place_of(element)
        pair = tf.stack([seed, place])
        picture, mirrored = pictures.read(element, pair)
        rows = tf.range(counts[place]) + first[place]
        if weighted:
            # A picture that is drawn twice an epoch has other questions each time.
            drawn = tf.stack([seed, number])
            rows = tf.gather(rows, _draw(tf.gather(logs, rows), questions_per_image, drawn))
        elif epoch_seed is not None:
            rows = tf.random.experimental.stateless_shuffle(rows, pair)
        rows = rows[:questions_per_image]
        missing = questions_per_image - tf.shape(rows)[0]
        rows = tf.pad(rows, [[0, missing]], constant_values=-1)
        rows = tf.ensure_shape(rows, (questions_per_image,))
        chosen = {
            key: tf.gather(tensor[:, tf.cast(mirrored, tf.int32)], tf.maximum(rows, 0))
            for key, tensor in tensors.items()
        }
        return picture, rows >= 0, chosen

    def epoch(seed):
        order = places
        if weighted:
            pair = tf.stack([seed, tf.constant(1, tf.int64)])
            order = tf.gather(places, _draw(picture_logs, len(pictures.places), pair))
        elif epoch_seed is not None:
            order = tf.random.experimental.stateless_shuffle(order, tf.stack([seed, 0]))
        return stream.read(
            pictures.elements(order, None if epoch_seed is None else seed),
            pictures.place_of,
            lambda number, element: read(number, element, seed),
            len(pictures.places),
        )

    def complete(picture, real, chosen):
        tokens = tf.where(real[..., None], chosen.pop("token_ids"), PAD_ID)
        more, targets = finish(chosen, real)
        inputs = {**pictures.gather(picture), "token_ids": tokens[..., :-1], **more}
        return inputs, targets

    dataset = batch_epochs(epoch, len(pictures.places), batch_size, epoch_seed)
    return dataset.map(stream.report).map(complete, num_parallel_calls=AUTOTUNE).prefetch(AUTOTUNE)


def _check_order(pictures):
    """Raises unless pictures can be read in any order.

    Raises:
        ValueError: they come in their own.
    """
    if pictures.is_stream:
        raise ValueError(
            f"batches: balance must be 'none' or 'loss' for {pictures.examples.name}, whose "
            "pictures come in an order of their own; or let a frozen backbone's features be cached."
        )


def _draw(logs, count, pair):
    """Draws ``count`` places, with replacement, by the logarithms [c] of their weights."""
    return tf.random.stateless_categorical(logs[None], count, pair)[0]


def _mirror(answers, language):
    """Returns the answers that hold for a mirrored picture."""
    flat = [answer.lower() for each in answers for answer in each]
    swapped = iter(swap_left_right(tf.constant(flat), language).numpy())
    return [tuple(next(swapped).decode("utf-8") for _ in each) for each in answers]
