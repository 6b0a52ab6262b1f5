"""tf.data pipelines: a data split becomes batches of pictures (or their features) and token ids.

Order and augmentation are functions of a seed and a counter that is read when an epoch begins. With
the optimizer's step count as the counter, a run that was killed and restored sees the same batches
as one that was not. Refuses to know models.

Dimension letters: B batch, H height, W width, N picture tokens, C their width, K captions a
picture, T text positions (the tokenizer's length less one, for inputs and targets are shifted).
"""

import sys

import numpy as np
import tensorflow as tf

from keras_vlm.core.checks import check_number
from keras_vlm.data.picture_decoder import ReadableStream, read_picture
from keras_vlm.text.cleaning import swap_left_right
from keras_vlm.text.tokenizer import PAD_ID
from keras_vlm.vision.augmentation import augment_regions

AUTOTUNE = tf.data.AUTOTUNE


class EpochSeed:
    """A seed that differs from epoch to epoch, and is the same when a run is resumed.

    Args:
        seed: the run's seed.
        counter: a scalar integer variable that counts steps, such as ``optimizer.iterations``; None
            gives every epoch the same seed.
    """

    def __init__(self, seed, counter=None):
        self.seed = check_number("EpochSeed", "seed", seed, minimum=0, integer=True)
        self.counter = counter

    def __call__(self, steps=1):
        """Returns the seed of the epoch that begins now.

        Args:
            steps: number of steps of an epoch.

        Returns:
            A scalar int64 tensor.
        """
        epoch = 0
        if self.counter is not None:
            # To the nearest whole epoch: its first step runs beside the pipeline and may have been
            # counted already; steps that overflowed in float16 were not counted.
            counted = tf.cast(tf.convert_to_tensor(self.counter), tf.int64)
            epoch = (counted + max(0, steps - 1) // 2) // max(1, steps)
        return tf.constant(self.seed, tf.int64) * 1_000_003 + epoch


def image_batches(  # noqa: PLR0913 - what a batch is made of
    examples,
    tokenizer,
    batch_size,
    *,
    image_size,
    resize="stretch",
    augmentation=None,
    captions_per_image=5,
    epoch_seed=None,
    region_shapes=None,
):
    """Makes training batches of pictures and captions.

    Args:
        examples: a data split.
        tokenizer: a ``Tokenizer``.
        batch_size: B, pictures a batch.
        image_size: ``(H, W)`` in pixels.
        resize: how pictures are brought to that size, as in ``vision.image``.
        augmentation: an ``Augmentation``, or None; it needs an ``epoch_seed``.
        captions_per_image: K; more captions are drawn from, fewer leave rows of padding.
        epoch_seed: an ``EpochSeed`` to shuffle by, or None for the split's own order.
        region_shapes: None or {}, or a dict from ``"boxes"`` and ``"masks"`` to the shapes that
            they are brought to; they move with the picture.

    Returns:
        A ``tf.data.Dataset`` of ``({"images": [B,H,W,3] uint8, "token_ids": [B,K,T] int32},
        targets [B,K,T] int32)``, and of the regions beside the images. An unreadable picture is
        reported on standard error with the count so far; the next one takes its place, and at the
        end of the epoch a black one whose captions are padding, so that it teaches nothing.
    """
    check_regions(examples, region_shapes)
    stream = ReadableStream(tf.constant(examples.image_ids))
    mirrors = (False,) if augmentation is None else (False, True)
    captions = CaptionRows(examples, tokenizer, mirrors, captions_per_image)

    def read(picture, seed):
        pair = tf.stack([seed, picture["index"]])
        regions = {key: picture[key] for key in region_shapes or ()}
        if augmentation is not None:
            regions = augment_regions(regions, pair, augmentation, image_size)
        image, mirrored = read_picture(
            picture["image_bytes"], image_size, resize, augmentation, pair
        )
        shown = {"images": image, **fit_regions(regions, region_shapes)}
        return shown, (picture["index"], tf.cast(mirrored, tf.int32), pair, tf.constant(True))

    def epoch(seed):
        elements, place_of, load = examples.stream(
            None if epoch_seed is None else seed, tuple(region_shapes or ())
        )
        return stream.read(
            elements, place_of, lambda _, element: read(load(element), seed), len(examples)
        )

    def complete(shown, said):
        return shift_targets(shown, captions(*said))

    dataset = batch_epochs(epoch, len(examples), batch_size, epoch_seed)
    return dataset.map(stream.report).map(complete, num_parallel_calls=AUTOTUNE).prefetch(AUTOTUNE)


def feature_batches(
    examples, tokenizer, batch_size, *, caches, captions_per_image=5, epoch_seed=None
):
    """Makes training batches of cached features and captions.

    Args:
        examples: a data split.
        tokenizer: a ``Tokenizer``.
        batch_size: B, pictures a batch.
        caches: a list of one ``FeatureCache``, or of one of the pictures and one of their mirror
            images, of which each picture draws one an epoch.
        captions_per_image: K; more captions are drawn from, fewer leave rows of padding.
        epoch_seed: an ``EpochSeed`` to shuffle by, or None for the split's own order.

    Returns:
        A ``tf.data.Dataset`` of ``({"image_features": [B,N,C] float16, "token_ids": [B,K,T]
        int32}, targets [B,K,T] int32)``. Unreadable pictures are left out, and counted on standard
        error.
    """
    cached = [cache.fill(examples) for cache in caches]
    readable = readable_places(examples, cached[0])
    mirrors = [cache.mirror for cache in caches]
    captions = CaptionRows(examples, tokenizer, mirrors, captions_per_image)

    def gather(indices, chosen):
        places = zip(indices, chosen, strict=True)
        return np.stack([caches[v].gather([cached[v][i]])[0] for i, v in places])

    def read(indices, seed):
        pairs = tf.stack([tf.fill(tf.shape(indices), seed), indices], axis=1)
        chosen = tf.map_fn(
            lambda pair: tf.random.stateless_uniform([], pair, 0, len(caches), tf.int32),
            pairs,
            fn_output_signature=tf.int32,
        )
        features = tf.numpy_function(gather, [indices, chosen], tf.float16, stateful=False)
        features = tf.ensure_shape(features, (None, *caches[0].shape))
        rows = captions(indices, chosen, pairs, tf.ones_like(indices, tf.bool))
        return shift_targets({"image_features": features}, rows)

    def epoch(seed):
        order = tf.constant(readable, tf.int64)
        if epoch_seed is not None:
            order = tf.random.experimental.stateless_shuffle(order, tf.stack([seed, 0]))
        return tf.data.Dataset.from_tensor_slices(order).batch(batch_size).map(
            lambda indices: read(indices, seed), num_parallel_calls=AUTOTUNE
        )

    return batch_epochs(epoch, len(readable), batch_size, epoch_seed, batched=True)


def readable_places(examples, rows):
    """Returns the places of the pictures that can be read; counts the others on standard error.

    Args:
        examples: a data split.
        rows: [n] int, what ``FeatureCache.fill`` gave: -1 for a picture that cannot be read.

    Returns:
        int64 array.
    """
    readable = np.flatnonzero(rows >= 0)
    if len(readable) < len(examples):
        first = examples.image_ids[int(np.flatnonzero(rows < 0)[0])]
        print(
            f"{examples.name}: skipped {len(examples) - len(readable)} of {len(examples)} pictures "
            f"that cannot be read (the first: {first}).",
            file=sys.stderr,
        )
    return readable


class CaptionRows:
    """(places [B], views [B], pairs [B,2], readable [B] bool) -> token rows [B,K,T+1] int32.

    Of more than K captions some are drawn, by the seed of the batch's first picture; where there
    are fewer, or the picture cannot be read, rows are padding.

    Args:
        examples: a data split.
        tokenizer: a ``Tokenizer``, asked once for all captions.
        mirrors: list of bools, one a view: whether left and right change places.
        captions_per_image: K.

    Raises:
        ValueError: the split has no captions.
    """

    def __init__(self, examples, tokenizer, mirrors, captions_per_image):
        if examples.captions is None:
            raise ValueError(
                f"{examples.name}:{examples.split}: the split must have captions, got none."
            )
        texts = [caption for captions in examples.captions for caption in captions]
        lowered = tf.strings.lower(tf.constant(texts), encoding="utf-8")
        views = [
            tokenizer(swap_left_right(lowered, tokenizer.language) if mirror else lowered)
            for mirror in mirrors
        ]
        counts = np.array([len(captions) for captions in examples.captions], np.int32)
        self._tokens = tf.stack(views, axis=1)
        self._counts = tf.constant(counts)
        self._first = tf.constant(np.cumsum(counts, dtype=np.int32) - counts)
        self._most, self._wanted = max(counts), captions_per_image

    def __call__(self, places, views, pairs, readable):
        """Returns the rows."""
        counts = tf.where(readable, tf.gather(self._counts, places), 0)[:, None]
        keys = tf.random.stateless_uniform((tf.size(places), self._most), pairs[0])
        # What is missing comes last.
        keys = tf.where(tf.range(self._most) < counts, keys, 2.0)
        order = tf.argsort(keys, stable=True)[:, : self._wanted]
        kept = tf.range(tf.shape(order)[1]) < counts
        rows = tf.where(kept, tf.gather(self._first, places)[:, None] + order, 0)
        views = tf.broadcast_to(tf.cast(views, tf.int32)[:, None], tf.shape(rows))
        chosen = tf.gather_nd(self._tokens, tf.stack([rows, views], axis=-1))
        chosen = tf.where(kept[..., None], chosen, PAD_ID)
        missing = self._wanted - tf.shape(order)[1]
        chosen = tf.pad(chosen, [[0, 0], [0, missing], [0, 0]], constant_values=PAD_ID)
        return tf.ensure_shape(chosen, (*places.shape, self._wanted, self._tokens.shape[-1]))


def shift_targets(inputs, rows):
    """Splits token rows [...,T+1] into inputs and targets."""
    return {**inputs, "token_ids": rows[..., :-1]}, rows[..., 1:]


def check_regions(examples, region_shapes):
    """Raises unless a split has the regions that a model takes.

    Args:
        examples: a data split.
        region_shapes: dict from their names to shapes, or None.

    Raises:
        ValueError: it has not.
    """
    has = examples.dataset().element_spec if region_shapes else {}
    for key in region_shapes or ():
        if key not in has:
            raise ValueError(
                f"{examples.name}:{examples.split}: the split must have {key} for this model, got "
                f"none (it has {', '.join(has)}). Sources with regions: coco with an instances "
                "file, folder with boxes, tfds with objects; or detect_regions(examples, detector)."
            )


def fit_regions(regions, region_shapes):
    """Brings a picture's regions to the model's number: the first R, then zeros.

    Args:
        regions: dict from names to tensors [n,...].
        region_shapes: dict from names to shapes ``(R, ...)``, or None.

    Returns:
        A dict of tensors [R,...].
    """
    fitted = {}
    for key, (most, *shape) in (region_shapes or {}).items():
        kept = regions[key][:most]
        missing = most - tf.shape(kept)[0]
        kept = tf.pad(kept, [[0, missing]] + [[0, 0]] * len(shape))
        fitted[key] = tf.ensure_shape(kept, (most, *shape))
    return fitted


def batch_epochs(epoch, size, batch_size, epoch_seed, *, batched=False):
    """Reads the seed when an iteration begins, then batches what ``epoch(seed)`` gives.

    Args:
        epoch: function from a seed, [] int64, to a ``tf.data.Dataset``.
        size: number of elements of an epoch.
        batch_size: B.
        epoch_seed: an ``EpochSeed``, or None where nothing is random.
        batched: whether ``epoch`` gives batches already.

    Returns:
        A ``tf.data.Dataset`` of batches, of known length.
    """
    check_number("batches", "batch_size", batch_size, minimum=1, integer=True)
    seed = epoch_seed or EpochSeed(0)
    # Training drops the last, smaller batch: static shapes. Validation counts every picture.
    drop = epoch_seed is not None and size >= batch_size
    steps = size // batch_size if drop else -(-size // batch_size)
    # Nothing here is Python's control flow, and turning it into a graph's takes seconds.
    epoch = tf.autograph.experimental.do_not_convert(epoch)
    dataset = tf.data.Dataset.from_tensors(0).map(lambda _: seed(steps)).flat_map(epoch)
    if batched:
        dataset = dataset.take(steps)
    else:
        dataset = dataset.batch(batch_size, drop_remainder=drop, num_parallel_calls=AUTOTUNE)
    return dataset.apply(tf.data.experimental.assert_cardinality(steps)).prefetch(AUTOTUNE)
