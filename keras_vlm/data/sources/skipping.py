"""What a source leaves out, and how it says so. Refuses to know file formats."""

import logging
import os

from keras_vlm.core.checks import DataError

LOGGER = logging.getLogger("keras_vlm")


def usable_records(records):
    """Sorts out the records whose picture is missing, or has no text, or comes twice.

    Args:
        records: iterable of ``(image_id, path, captions)``, or of questions in place of captions.

    Returns:
        ``(kept, skipped)``: a dict from image id to ``(path, captions)``, with captions that are
        not blank, and a dict from a reason to a list of image ids.
    """
    kept, skipped = {}, {}
    for image_id, path, captions in records:
        stripped = (text.strip() if isinstance(text, str) else text for text in captions)
        texts = [text for text in stripped if text]
        if image_id in kept:
            skipped.setdefault("listed twice", []).append(image_id)
        elif not os.path.isfile(path):  # noqa: PTH113 - a Path a picture costs seconds
            skipped.setdefault("missing", []).append(image_id)
        elif not texts:
            skipped.setdefault("without captions", []).append(image_id)
        else:
            kept[image_id] = (path, texts)
    return kept, skipped


def report_skipped(where, kept, skipped):
    """Says in one line a reason what was left out.

    Args:
        where: name of the data set or of a split.
        kept: number of pictures that are left.
        skipped: dict from a reason to a list of image ids.

    Raises:
        DataError: something was left out and nothing is left.
    """
    total = kept + sum(len(ids) for ids in skipped.values())
    lines = [
        f"{len(ids)} of {total} pictures: {reason} (the first: {ids[0]})"
        for reason, ids in skipped.items()
    ]
    if lines and not kept:
        raise DataError(
            f"{where}: no picture is left: {'; '.join(lines)}. Check the names of the pictures."
        )
    for line in lines:
        LOGGER.warning("%s: skipped %s.", where, line)
