"""What a data set is like, and whether one can train on it: numbers first, then plain words.

Each picture is decoded once and forgotten, so that memory does not grow with their sizes. Refuses
to know models.
"""

import collections
import concurrent.futures
import contextlib
import itertools
import sys

import keras
import numpy as np
import tensorflow as tf

from keras_vlm.data.perceptual_hash import hash_picture, look_alikes
from keras_vlm.data.questions import flatten
from keras_vlm.text.units import UNIT_OF_LANGUAGE, UNITS
from keras_vlm.vision.image import decode_image

# Decoded ahead; flat memory whatever their number.
AHEAD = 64
WORKERS = 4
# Shares of the captions at which the vocabulary is counted.
GROWTH = (0.1, 0.25, 0.5, 1.0)
FEW_PICTURES, MOST_UNREADABLE, SMALLEST_SIDE, DOMINANT = 200, 0.01, 64, 0.8


def describe_data(splits, *, verbose=1):
    """Looks at all pictures and texts of a data set.

    Args:
        splits: a ``Splits``, or a dict from names to data splits.
        verbose: 1 for a progress bar on standard error, 0 for none.

    Returns:
        A dict that JSON takes: ``splits`` (for each its counts, lengths, vocabulary, sizes,
        unreadable and skipped pictures, labels), ``duplicates`` (pairs across splits) and
        ``verdict``, a list of sentences.
    """
    report, hashes, places = {}, [], []
    for split in splits:
        examples = splits[split]
        sizes, found, unreadable = _look(examples, verbose)
        hashes.append(found)
        places += [(split, image_id) for image_id in examples.image_ids]
        report[split] = {
            "pictures": len(examples),
            "unreadable": unreadable,
            "skipped": {reason: len(ids) for reason, ids in examples.skipped.items()},
            "sides": _spread(sizes.min(axis=1)) if len(sizes) else {},
            "aspects": _spread(sizes[:, 1] / sizes[:, 0]) if len(sizes) else {},
            **_describe_texts(examples),
            **_describe_regions(examples),
        }
    groups = [number for number, each in enumerate(hashes) for _ in each]
    duplicates = [
        {"one": list(places[one]), "other": list(places[other]), "bits": bits}
        for one, other, bits in look_alikes(np.concatenate(hashes), groups)
    ]
    skipped = {reason: len(ids) for reason, ids in getattr(splits, "skipped", {}).items()}
    return {
        "splits": report,
        "skipped": skipped,
        "duplicates": duplicates,
        "verdict": judge(report, duplicates, skipped),
    }


def judge(report, duplicates, skipped):
    """Says in plain words what is good and what is wrong with a data set.

    Args:
        report: dict from a split to its numbers, as ``describe_data`` makes them.
        duplicates: list of pairs across splits.
        skipped: dict from a reason to the number of pictures that no split has.

    Returns:
        A list of sentences, the gravest first.
    """
    said = []
    total = sum(split["pictures"] for split in report.values())
    if duplicates:
        said.append(
            f"{len(duplicates)} pairs of pictures in different splits look the same: scores on the "
            "smaller split are too good. Move or remove one of each."
        )
    unreadable = sum(len(split["unreadable"]) for split in report.values())
    if unreadable:
        grave = unreadable > MOST_UNREADABLE * total
        said.append(
            f"{unreadable} of {total} pictures cannot be read and teach nothing."
            + (" That is much: was the download complete?" if grave else "")
        )
    for reason, count in skipped.items():
        said.append(f"{count} pictures are left out: {reason}.")
    for name, split in report.items():
        said.extend(_judge_split(name, split))
    train = report.get("train") or next(iter(report.values()))
    if train["pictures"] < FEW_PICTURES:
        said.append(
            f"{train['pictures']} pictures to train on are few: start from a published model "
            "(--start)."
        )
    if len(report) < 2:
        said.append("There is one split only: nothing is left to choose the best epoch by.")
    return said or [f"{total} pictures, and nothing that speaks against training on them."]


def _judge_split(name, split):
    """Yields what is wrong with one split."""
    left_out = sum(split["skipped"].values())
    if left_out:
        reasons = ", ".join(f"{count} {reason}" for reason, count in split["skipped"].items())
        yield f"{left_out} pictures of {name} are left out: {reasons}."
    answers = split.get("answers", {})
    if answers and max(answers.values()) > DOMINANT * split["questions"]:
        best = max(answers, key=answers.get)
        yield f"In {name}, {best!r} answers most questions: who does not look, wins."
    if split.get("repeated_captions", 0) > 0.5:
        yield f"More than half of the captions of {name} occur more than once."
    if split["sides"] and split["sides"]["median"] < SMALLEST_SIDE:
        yield (
            f"Half of the pictures of {name} have a side under {SMALLEST_SIDE} pixels: choose a "
            "small image_size."
        )


def _look(examples, verbose):
    """Decodes each picture; returns sizes [m,2] of the readable, hashes [n], unreadable ids."""
    progress = keras.utils.Progbar(len(examples), unit_name="picture") if verbose else None
    sizes, hashes, unreadable = [], [], []
    encoded = examples.dataset().map(lambda example: example["image_bytes"])
    with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
        # Not pool.map over all: it would read every picture before the first is done.
        stream = encoded.as_numpy_iterator()
        while chunk := list(itertools.islice(stream, AHEAD)):
            for size, bits in pool.map(_measure, chunk):
                if size is None:
                    unreadable.append(examples.image_ids[len(hashes)])
                else:
                    sizes.append(size)
                hashes.append(bits)
            if progress:
                with contextlib.redirect_stdout(sys.stderr):
                    progress.update(len(hashes))
    return np.array(sizes, np.int32).reshape(-1, 2), np.array(hashes, np.int64), unreadable


@tf.function(input_signature=[tf.TensorSpec([], tf.string)])
def _decode(encoded):
    image = decode_image(encoded)
    return tf.shape(image)[:2], hash_picture(image)


def _measure(encoded):
    """Returns the size and the hash of an encoded picture; None and 0 where it cannot be read."""
    try:
        size, bits = _decode(tf.constant(encoded))
    except tf.errors.OpError:
        return None, 0
    return size.numpy(), int(bits)


def _describe_texts(examples):
    """Returns counts of captions, of questions and their answers, whatever the split has."""
    found = {}
    if examples.captions is not None:
        texts = [text for of_picture in examples.captions for text in of_picture]
        rows = UNITS[UNIT_OF_LANGUAGE.get(examples.language, "word")].split(tf.constant(texts))
        lengths = rows.row_lengths().numpy()
        splits, words = rows.row_splits.numpy(), rows.flat_values.numpy()
        _, numbers = np.unique(words, return_inverse=True)
        grown = {
            f"{share:.0%}": len(np.unique(numbers[: splits[round(share * len(texts))]]))
            for share in GROWTH
        }
        repeated = sum(n for n in collections.Counter(texts).values() if n > 1) / len(texts)
        found |= {
            "captions": len(texts),
            "captions_a_picture": _spread([len(each) for each in examples.captions]),
            "caption_lengths": _spread(lengths),
            "vocabulary": int(grown["100%"]),
            "vocabulary_growth": grown,
            "words_seen_once": int((np.bincount(numbers) == 1).sum()) if len(numbers) else 0,
            "repeated_captions": round(repeated, 4),
        }
    if examples.questions is not None:
        questions = flatten(examples.questions)
        answers = collections.Counter(question.answer for question in questions)
        found |= {"questions": len(questions), "answers": dict(answers.most_common(20))}
    return found


def _describe_regions(examples):
    """Returns the number of regions a picture and how often each label occurs."""
    if examples.regions is None:
        return {}
    counts = [
        max(len(part) for part in (each.boxes, each.masks, ()) if part is not None)
        for each in examples.regions
    ]
    labels = collections.Counter(name for each in examples.regions for name in each.labels or ())
    return {"regions": _spread(counts), "labels": dict(labels.most_common(20))}


def _spread(values):
    """Returns the least, the middle and the greatest of some numbers."""
    least, low, middle, high, most = np.percentile(values, (0, 5, 50, 95, 100)).round(3).tolist()
    return {"least": least, "5%": low, "median": middle, "95%": high, "most": most}
