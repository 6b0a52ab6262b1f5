"""Regions of the pictures of a split: given by its data, or found by a detector or a segmenter.

Refuses to know file formats and models. Dimension letters: b pictures at once, H height, W width, R
regions, S a mask's side.
"""

import contextlib
import dataclasses
import sys

import keras
import numpy as np
import tensorflow as tf

from keras_vlm.core.checks import check_number
from keras_vlm.vision.image import decode_batch
from keras_vlm.vision.regions import MASK_SIDE, masks_of_labels

MASK_BYTES = MASK_SIDE * MASK_SIDE // 8


@dataclasses.dataclass(frozen=True)
class Regions:
    """What is known of one picture's objects or segments.

    Attributes:
        boxes: [R,4] float32, (y0, x0, y1, x1) as shares of height and width, or None.
        labels: list of R strings, the boxes' or, where there are none, the masks'; or None.
        masks: [R,S,S] of 0 and 1 over the whole picture, or None.
    """

    boxes: np.ndarray | None = None
    labels: list | None = None
    masks: np.ndarray | None = None


def region_tensors(regions):
    """Turns the regions of a split's pictures into tensors, a row a picture.

    Args:
        regions: list of ``Regions``.

    Returns:
        A dict from those of ``boxes``, ``labels`` and ``masks`` that at least one picture has to
        ragged tensors; masks are packed, eight pixels a byte.
    """
    tensors = {}
    for key, empty in (
        ("boxes", np.zeros((0, 4), np.float32)),
        ("labels", np.zeros(0, np.str_)),
        ("masks", np.zeros((0, MASK_SIDE, MASK_SIDE), np.uint8)),
    ):
        rows = [getattr(of_picture, key) for of_picture in regions]
        if all(row is None for row in rows):
            continue
        rows = [empty if row is None or not len(row) else np.asarray(row) for row in rows]
        lengths = [len(row) for row in rows]
        if key == "masks":
            rows = [np.packbits(row.reshape(-1, MASK_SIDE * MASK_SIDE), axis=1) for row in rows]
            flat = tf.constant([mask.tobytes() for row in rows for mask in row], tf.string)
        elif key == "labels":
            flat = tf.constant([str(label) for row in rows for label in row], tf.string)
        else:
            flat = tf.constant(np.concatenate(rows).astype(np.float32))
        tensors[key] = tf.RaggedTensor.from_row_lengths(flat, lengths)
    return tensors


def unpack_masks(packed):
    """Turns packed masks [R] string into [R,S,S] uint8, in TensorFlow ops."""
    packed = tf.io.decode_raw(packed, tf.uint8)
    packed = tf.reshape(packed, (-1, MASK_BYTES, 1))
    shifts = tf.range(7, -1, -1, dtype=tf.int32)
    bits = tf.bitwise.right_shift(tf.cast(packed, tf.int32), shifts) & 1
    return tf.cast(tf.reshape(bits, (-1, MASK_SIDE, MASK_SIDE)), tf.uint8)


def detect_regions(
    examples, detector, *, image_size=512, least_score=0.3, batch_size=8, verbose=1
):
    """Looks for objects in the pictures of a split.

    Args:
        examples: a data split.
        detector: function from images [b,H,W,3] float32 in 0..255 to ``(boxes, labels, scores)``,
            each with a row a picture: boxes [R,4] (y0, x0, y1, x1) in 0..1, R labels and R scores.
            ``vision.detectors`` makes one of a KerasHub detector or a SavedModel.
        image_size: side, or ``(H, W)``, of the pictures that the detector gets, stretched.
        least_score: boxes with a lower score are left out.
        batch_size: b.
        verbose: 1 for a progress bar on standard error, 0 for none.

    Returns:
        The split with ``boxes`` and ``labels``, those of the highest scores first; masks that it
        has stay.

    Raises:
        ValueError: an option is out of range, or the detector gives another number of rows.
    """
    check_number("detect_regions", "least_score", least_score, minimum=0)

    def regions_of(images, count):
        boxes, labels, scores = detector(images)
        for name, rows in (("boxes", boxes), ("labels", labels), ("scores", scores)):
            _check_rows("detect_regions", "detector", f"rows of {name}", rows, count)
        found = []
        for place in range(count):
            numbers = [len(np.ravel(part[place])) for part in (boxes, labels, scores)]
            if numbers[0] != 4 * numbers[2] or numbers[1] != numbers[2]:
                raise ValueError(
                    "detect_regions: detector must give as many boxes [R,4] and labels as scores, "
                    f"got {numbers[0]} numbers of boxes, {numbers[1]} labels and {numbers[2]} "
                    "scores for a picture."
                )
        for place in range(count):
            order = np.argsort(-np.asarray(scores[place]), kind="stable")
            order = order[np.asarray(scores[place])[order] >= least_score]
            kept = np.asarray(boxes[place], np.float32).reshape(-1, 4)[order]
            names = [str(np.asarray(labels[place])[i]) for i in order]
            found.append(Regions(np.clip(kept, 0, 1), names))
        return found

    found = _look(examples, regions_of, image_size, batch_size, verbose)
    if examples.regions is not None:
        found = [
            dataclasses.replace(each, masks=before.masks)
            for before, each in zip(examples.regions, found, strict=True)
        ]
    return examples.with_regions(found)


def segment_regions(
    examples, segmenter, *, names=None, image_size=512, batch_size=8, verbose=1
):
    """Divides the pictures of a split into segments.

    Args:
        examples: a data split.
        segmenter: function from images [b,H,W,3] float32 in 0..255 to a label map [b,h,w] int, in
            which 0 is no segment. ``vision.detectors`` makes one of a KerasHub segmenter.
        names: list of the labels' names, from 0 on; None for their numbers.
        image_size: side, or ``(H, W)``, of the pictures that the segmenter gets, stretched.
        batch_size: b.
        verbose: 1 for a progress bar on standard error, 0 for none.

    Returns:
        The split with ``masks``, the largest first, and their ``labels``; where it has boxes these
        and their labels stay.

    Raises:
        ValueError: an option is out of range, or the segmenter gives another number of label maps,
            or a label without a name.
    """

    def regions_of(images, count):
        found = []
        maps = np.asarray(segmenter(images))
        _check_rows("segment_regions", "segmenter", "label maps", maps, count)
        for labels in maps:
            masks, numbers = masks_of_labels(labels)
            if names is not None and max(numbers, default=0) >= len(names):
                raise ValueError(
                    "segment_regions: names must have a name for every label, got "
                    f"{len(names)} names and label {max(numbers)}."
                )
            order = np.argsort(-masks.sum(axis=(1, 2)), kind="stable")
            told = [str(number if names is None else names[number]) for number in numbers[order]]
            found.append(Regions(None, told, masks[order]))
        return found

    found = _look(examples, regions_of, image_size, batch_size, verbose)
    if examples.regions is not None:
        found = [
            each if before.boxes is None else dataclasses.replace(before, masks=each.masks)
            for before, each in zip(examples.regions, found, strict=True)
        ]
    return examples.with_regions(found)


def _check_rows(where, argument, noun, rows, count):
    """Raises unless there is a row a picture.

    Raises:
        ValueError: there are more or fewer.
    """
    if len(rows) != count:
        raise ValueError(
            f"{where}: {argument} must give {count} {noun}, one a picture, got {len(rows)}."
        )


def _look(examples, regions_of, image_size, batch_size, verbose):
    """Returns what a function finds in each picture of a split; nothing in an unreadable one."""
    check_number("regions", "batch_size", batch_size, minimum=1, integer=True)
    size = image_size if isinstance(image_size, (tuple, list)) else (image_size, image_size)
    pictures = examples.dataset().map(lambda example: example["image_bytes"]).batch(batch_size)
    progress = keras.utils.Progbar(len(examples), unit_name="picture") if verbose else None
    found = []
    for images, valid in pictures.map(lambda encoded: decode_batch(encoded, size)):
        regions = regions_of(images.numpy(), len(valid))
        found.extend(
            each if readable else Regions()
            for each, readable in zip(regions, valid.numpy(), strict=True)
        )
        if progress:
            with contextlib.redirect_stdout(sys.stderr):
                progress.update(len(found))
    return found
