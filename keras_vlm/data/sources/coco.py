"""COCO captions: a JSON file of ``images`` and ``annotations``, beside a folder of pictures.

The source is ``coco:ANNOTATIONS.json:IMAGES_DIR``; with ``:INSTANCES.json`` behind it, boxes and
masks come from COCO's instances file. The split is read from the file's name
(``captions_val2014.json`` is ``val``); a name that says none gives the one split ``all``. Where
``{split}`` stands in ANNOTATIONS, and in IMAGES_DIR if its name differs too, each file that fits is
a split: ``coco:annotations/captions_{split}2014.json:{split}2014``.
"""

import functools
import pathlib
import re

from keras_vlm.core.checks import DataError
from keras_vlm.data.sources.base import FileExamples, Splits
from keras_vlm.data.sources.coco_instances import read_instances
from keras_vlm.data.sources.reading import check_file, check_folder, get_key, read_json

SPLIT_IN_NAME = re.compile(r"(?<![a-z])(restval|train|val|dev|test)(?![a-z])")


def open_coco(argument, language):
    """Opens COCO captions.

    Args:
        argument: ``"ANNOTATIONS.json:IMAGES_DIR"`` or ``"ANNOTATIONS.json:IMAGES_DIR:
            INSTANCES.json"``.
        language: language code of the captions.

    Returns:
        A ``Splits``.

    Raises:
        FileNotFoundError: no annotation file fits, or there is no such folder.
        ValueError: the argument has not two parts.
    """
    # At ".json:", so that neither path is cut at the colon of a drive letter.
    match = re.fullmatch(r"(.+?\.json):(.+?)(?::([^:]+\.json))?", argument, flags=re.IGNORECASE)
    if not match:
        raise ValueError(
            f"load_data: name must be coco:ANNOTATIONS.json:IMAGES_DIR, got 'coco:{argument}'. "
            "Boxes and masks are added by :INSTANCES.json behind it."
        )
    annotations, images, instances = match.groups()
    openers = {}
    for split, path in split_files(annotations).items():
        folder = images.replace("{split}", split)
        regions = instances and check_file(
            instances.replace("{split}", split), "coco: the instances"
        )
        openers[split] = functools.partial(_open_split, path, folder, split, language, regions)
    return Splits("coco", openers)


def read_coco(path, *, image_id_key="id"):
    """Reads a caption file in the COCO form.

    Args:
        path: the JSON file.
        image_id_key: ``"id"`` or ``"file_name"``: what of a picture is its ``image_id``.

    Returns:
        ``(records, orphans)``: a list of ``(image_id, file_name, captions)`` in the file's order,
        and a list of image ids that have a caption and are not among the images.

    Raises:
        DataError: the JSON is broken, or a key is missing.
    """
    content = read_json(path)
    records, orphans = {}, []
    for place, image in enumerate(get_key(content, "images", path, list)):
        where = f"{path}: images[{place}]"
        file_name = get_key(image, "file_name", where, str)
        image_id = str(get_key(image, image_id_key, where, (int, str)))
        records[get_key(image, "id", where, (int, str))] = (image_id, file_name, [])
    for place, annotation in enumerate(get_key(content, "annotations", path, list)):
        where = f"{path}: annotations[{place}]"
        image_id = get_key(annotation, "image_id", where, (int, str))
        caption = get_key(annotation, "caption", where, str)
        if image_id in records:
            records[image_id][2].append(caption)
        else:
            orphans.append(str(image_id))
    return list(records.values()), list(dict.fromkeys(orphans))


def split_files(annotations, purpose="coco: the annotations"):
    """Finds the annotation file of each split.

    Args:
        annotations: a path, with ``{split}`` in its name where there is one file a split.
        purpose: what the file is for, for the message.

    Returns:
        A dict from split to path; a single file's split is read from its name.

    Raises:
        FileNotFoundError: no file fits.
        ValueError: ``{split}`` stands in the folder alone.
    """
    if "{split}" not in annotations:
        path = check_file(annotations, purpose)
        named = SPLIT_IN_NAME.search(path.stem.lower())
        return {named[0] if named else "all": path}
    path = pathlib.Path(annotations)
    if "{split}" not in path.name:
        raise ValueError(
            "load_data: {split} must stand in the name of the annotation file, "
            f"got {annotations!r}."
        )
    before, _, after = path.name.partition("{split}")
    pattern = re.compile(f"{re.escape(before)}(?P<split>[A-Za-z]+){re.escape(after)}")
    folder = check_folder(path.parent, purpose)
    matches = [(pattern.fullmatch(file.name), file) for file in sorted(folder.iterdir())]
    files = {match["split"]: file for match, file in matches if match}
    if not files:
        raise FileNotFoundError(
            f"{purpose}: no annotation file fits {annotations}. Check the path."
        )
    return files


def _open_split(path, images, split, language, instances):
    folder = check_folder(images, "coco: the pictures")
    records, orphans = read_coco(path)
    if not records:
        raise DataError(f"{path}: images is empty.")
    return FileExamples.of_records(
        "coco",
        split,
        language,
        ((image_id, str(folder / name), captions) for image_id, name, captions in records),
        skipped={"named by captions only": orphans},
        regions=read_instances(instances) if instances else None,
    )
