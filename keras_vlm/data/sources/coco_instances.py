"""COCO's instances: a JSON file of boxes and segmentations becomes the regions of its pictures.

Polygons, and run lengths both as numbers and as COCO's packed text, become masks [S,S] over the
whole picture; no other package is needed. Refuses to know captions.

Source: Lin et al. 2014, "Microsoft COCO", https://arxiv.org/abs/1405.0312, and the mask format of
its evaluation code, https://github.com/cocodataset/cocoapi.
"""

import numpy as np

from keras_vlm.core.checks import DataError
from keras_vlm.data.regions import Regions
from keras_vlm.data.sources.reading import get_key, read_json
from keras_vlm.vision.regions import MASK_SIDE

# Points a pixel's side at which a polygon is looked up.
FINE = 4


def read_instances(path, *, image_id_key="id"):
    """Reads the boxes and masks of a file in the form of COCO's ``instances_val2014.json``.

    Args:
        path: the JSON file.
        image_id_key: ``"id"`` or ``"file_name"``: what of a picture is its ``image_id``.

    Returns:
        A dict from image id to ``Regions``, the largest region first, of every picture that the
        file lists; masks where the annotations have a segmentation. Crowds (``iscrowd``) are left
        out: they are no object.

    Raises:
        DataError: the JSON is broken, a key is missing, or a region is not in the picture.
    """
    content = read_json(path)
    images = get_key(content, "images", path, list)
    names = {
        get_key(category, "id", f"{path}: categories[{place}]", (int, str)): category.get("name")
        for place, category in enumerate(content.get("categories", []))
    }
    pictures = {}
    for place, image in enumerate(images):
        where = f"{path}: images[{place}]"
        size = get_key(image, "height", where, int), get_key(image, "width", where, int)
        if min(size) < 1:
            raise DataError(f"{where}: height and width must be 1 or more, got {size}.")
        key = get_key(image, "id", where, (int, str))
        pictures[key] = (str(get_key(image, image_id_key, where, (int, str))), size, [])
    for place, annotation in enumerate(get_key(content, "annotations", path, list)):
        where = f"{path}: annotations[{place}]"
        image_id = get_key(annotation, "image_id", where, (int, str))
        if image_id in pictures and not annotation.get("iscrowd"):
            _, size, found = pictures[image_id]
            found.append(_region(annotation, size, names, where))
    return {name: _regions(found) for name, _, found in pictures.values()}


def decode_run_lengths(counts, size, where="run lengths"):
    """Turns run lengths into a mask.

    Args:
        counts: list of lengths of runs of 0 and 1 in turn, down the columns, or COCO's text of it.
        size: ``(H, W)``.
        where: file and place, for the message.

    Returns:
        [H,W] uint8.

    Raises:
        DataError: the lengths do not add up to the picture.
    """
    if isinstance(counts, (str, bytes)):
        counts = _unpack_text(counts.encode("ascii") if isinstance(counts, str) else counts)
    if sum(counts) != size[0] * size[1] or min(counts, default=0) < 0:
        raise DataError(
            f"{where}: counts must add up to {size[0]} x {size[1]} pixels, got {sum(counts)}."
        )
    values = np.arange(len(counts)) % 2
    return np.repeat(values, counts).astype(np.uint8).reshape(size[1], size[0]).T


def fill_polygons(polygons, size):
    """Turns polygons into a small mask, by whether they hold the points of a fine grid.

    Args:
        polygons: list of lists ``[x0, y0, x1, y1, ...]`` in pixels; the mask is their union.
        size: ``(H, W)`` of the picture in pixels.

    Returns:
        [S,S] float, the share of each pixel that is inside.
    """
    side = MASK_SIDE * FINE
    centres = (np.arange(side) + 0.5) / side
    inside = np.zeros((side, side), bool)
    for polygon in polygons:
        x, y = np.asarray(polygon, float).reshape(-1, 2).T / np.array([[size[1]], [size[0]]])
        crossings = np.zeros((side, side), bool)
        for x0, y0, x1, y1 in zip(x, y, np.roll(x, -1), np.roll(y, -1), strict=True):
            # A point is inside if a ray to its left crosses the edges an odd number of times.
            rows = np.flatnonzero((centres >= min(y0, y1)) & (centres < max(y0, y1)))
            at = x0 + (centres[rows] - y0) * (x1 - x0) / (y1 - y0 or 1.0)
            crossings[rows] ^= centres[None, :] > at[:, None]
        inside |= crossings
    return inside.reshape(MASK_SIDE, FINE, MASK_SIDE, FINE).mean(axis=(1, 3))


def _region(annotation, size, names, where):
    """Returns the area, the box, the label and perhaps the mask of an annotation.

    Raises:
        DataError: a key is missing or of another form, or the region is not in the picture.
    """
    height, width = size
    bounds = get_key(annotation, "bbox", where, list)
    if len(bounds) != 4 or not all(isinstance(number, (int, float)) for number in bounds):
        raise DataError(f"{where}: bbox must be [x, y, width, height], got {bounds}.")
    x, y, wide, high = bounds
    box = np.array([y / height, x / width, (y + high) / height, (x + wide) / width], np.float32)
    if (box[2:] < 0).any() or (box[:2] > 1).any():
        raise DataError(f"{where}: bbox {bounds} is not in the picture of {width} x {height}.")
    category = annotation.get("category_id", "")
    label = str(names.get(category) or category)
    mask = _mask(annotation.get("segmentation"), size, where)
    return high * wide, np.clip(box, 0, 1), label, mask


def _mask(segmentation, size, where):
    """Returns a mask [S,S] uint8, or None where the annotation has none.

    Raises:
        DataError: the segmentation has another form.
    """
    if not segmentation:
        return None
    if isinstance(segmentation, dict):
        counts = get_key(segmentation, "counts", where)
        whole = tuple(get_key(segmentation, "size", where, list))
        covered = _shrink(decode_run_lengths(counts, whole, where))
    elif all(
        isinstance(part, list) and len(part) >= 6 and len(part) % 2 == 0 for part in segmentation
    ):
        covered = fill_polygons(segmentation, size)
    else:
        raise DataError(
            f"{where}: segmentation must be polygons [[x, y, ...]] or run lengths "
            f"{{'counts', 'size'}}, got {str(segmentation)[:60]}."
        )
    # Something thinner than half a pixel keeps what it covers most.
    return (covered >= min(0.5, covered.max() or 1)).astype(np.uint8)


def _shrink(mask):
    """Returns the share [S,S] of each pixel of a small mask that a mask [H,W] covers."""
    for _ in range(2):
        # Sums up to any place, those within a pixel by interpolation; then their differences.
        sums = np.concatenate([np.zeros_like(mask[:1], float), np.cumsum(mask, axis=0)])
        places = np.linspace(0, len(mask), MASK_SIDE + 1)
        low = np.minimum(places.astype(int), len(mask) - 1)
        share = (places - low)[:, None]
        at = sums[low] * (1 - share) + sums[low + 1] * share
        mask = (np.diff(at, axis=0) * MASK_SIDE / len(mask)).T
    return mask


def _regions(found):
    """Returns the ``Regions`` of what was found in a picture, the largest first."""
    found = sorted(found, key=lambda region: -region[0])
    masks = [mask for *_, mask in found]
    empty = np.zeros((MASK_SIDE, MASK_SIDE), np.uint8)
    return Regions(
        np.array([box for _, box, _, _ in found], np.float32).reshape(-1, 4),
        [label for _, _, label, _ in found],
        None
        if all(mask is None for mask in masks)
        else np.stack([empty if mask is None else mask for mask in masks]),
    )


def _unpack_text(text):
    """Reads COCO's packed run lengths: five bits a byte, each number less the last but one."""
    counts, place = [], 0
    while place < len(text):
        number = shift = 0
        more = True
        # A text that is cut short ends early; its lengths do not add up then.
        while more and place < len(text):
            byte = text[place] - 48
            number |= (byte & 0x1F) << shift
            more = bool(byte & 0x20)
            place += 1
            shift += 5
        if byte & 0x10:
            number |= -1 << shift
        counts.append(number + counts[-2] if len(counts) > 2 else number)
    return counts
