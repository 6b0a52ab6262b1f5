"""WebDataset: tar files whose members of one name, but for the suffix, are one example.

The source is ``webdataset:SHARDS``: a path, with ``*`` for several, or ``{0000..0012}``. A picture
(``0001.jpg``) has its captions in ``0001.txt`` (a line each) or ``0001.json`` (``"caption"`` or
``"captions"``, perhaps ``"boxes"`` and ``"labels"`` as in ``folder:``). The split is read from a
shard's name (``train-0001.tar``); where none says one, there is the one split ``all``. Tar files
are not compressed, so that a picture is read from its place in the file, when it is asked for.

Source: Aizman, Maltby and Breuel 2019, "High Performance I/O For Large Scale Deep Learning",
https://arxiv.org/abs/2001.01858.
"""

import functools
import glob
import json
import pathlib
import re
import tarfile

import numpy as np
import tensorflow as tf

from keras_vlm.core.checks import DataError
from keras_vlm.data.image_files import IMAGE_SUFFIXES
from keras_vlm.data.regions import Regions
from keras_vlm.data.sources.base import PictureExamples, Splits
from keras_vlm.data.sources.coco import SPLIT_IN_NAME
from keras_vlm.data.sources.folder_captions import read_record

BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")


def open_webdataset(argument, language):
    """Opens tar files.

    Args:
        argument: path of one tar file or a pattern of several.
        language: language code of the captions.

    Returns:
        A ``Splits``; a split's shards are indexed when it is opened.

    Raises:
        FileNotFoundError: no file fits.
    """
    paths = []
    for name in expand(argument):
        # glob, for a pattern may begin at the root, which Path.glob refuses.
        paths.extend(sorted(glob.glob(name)))  # noqa: PTH207
    if not paths:
        raise FileNotFoundError(
            f"webdataset: no file fits {argument!r}. Check the path; quote a pattern."
        )
    by_split = {}
    for path in paths:
        named = SPLIT_IN_NAME.search(pathlib.Path(path).stem.lower())
        by_split.setdefault(named[0] if named else "all", []).append(path)
    openers = {
        split: functools.partial(_open_split, split, language, shards)
        for split, shards in by_split.items()
    }
    return Splits("webdataset", openers)


def expand(pattern):
    """Returns the names that ``{0000..0012}`` in a pattern stands for.

    Example:
        >>> expand("train-{08..10}.tar")
        ['train-08.tar', 'train-09.tar', 'train-10.tar']
    """
    found = BRACES.search(pattern)
    if not found:
        return [pattern]
    first, last = found.groups()
    return [
        name
        for number in range(int(first), int(last) + 1)
        for name in expand(
            f"{pattern[: found.start()]}{number:0{len(first)}d}{pattern[found.end() :]}"
        )
    ]


class TarExamples(PictureExamples):
    """Examples whose pictures are places in tar files.

    Args:
        name: name of the data set.
        split: name of the split.
        language: language code of the captions.
        image_ids: list of names of the pictures.
        captions: list of K captions a picture.
        places: list of ``(path, first byte, bytes)`` a picture.
        **options: ``skipped`` and ``regions``, as for ``Examples``.
    """

    def __init__(self, name, split, language, image_ids, captions, places, **options):
        super().__init__(name, split, language, image_ids, captions, **options)
        self._places = list(places)

    def read_picture(self, index):
        """Returns the bytes at a picture's place."""

        def read(index):
            path, start, size = self._places[int(index)]
            with open(path, "rb") as file:  # noqa: PTH123 - a Path a picture costs time
                file.seek(start)
                # As an object: NumPy's own strings lose the zeros that a file ends with.
                return np.array(file.read(size), dtype=object)

        image_bytes = tf.numpy_function(read, [index], tf.string, stateful=False)
        return tf.ensure_shape(image_bytes, ())


def _open_split(split, language, shards):
    image_ids, captions, places, regions, without, again = [], [], [], [], [], []
    seen = set()
    for shard in shards:
        for key, members in _read_shard(shard):
            image = next((members[s] for s in members if s in IMAGE_SUFFIXES), None)
            if image is None:
                continue
            # Shards may number their pictures each from 0; within one a name is a picture's.
            key = key if key not in seen else f"{pathlib.Path(shard).stem}/{key}"
            if key in seen:
                again.append(key)
                continue
            seen.add(key)
            texts, boxes = _captions(members)
            if not texts:
                without.append(key)
                continue
            image_ids.append(key)
            captions.append(texts)
            places.append((shard, *image))
            regions.append(
                Regions(
                    np.array([box for box, _ in boxes], np.float32).reshape(-1, 4),
                    [label for _, label in boxes],
                )
            )
    any_boxes = any(len(each.boxes) for each in regions)
    return TarExamples(
        "webdataset",
        split,
        language,
        image_ids,
        captions,
        places,
        skipped={"without captions": without, "of a name that is there already": again},
        regions=regions if any_boxes else None,
    )


def _read_shard(path):
    """Yields ``(key, members)``: a dict from a suffix to a picture's place, or a text and its name.

    Raises:
        DataError: the file is no tar file, or is cut short.
    """
    members, current = {}, None
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                if not member.isfile():
                    continue
                folder, _, file_name = member.name.rpartition("/")
                stem, _, suffix = file_name.partition(".")
                key, suffix = f"{folder}/{stem}".lstrip("/"), f".{suffix.lower()}"
                if key != current and members:
                    yield current, members
                    members = {}
                current = key
                if suffix in IMAGE_SUFFIXES:
                    members[suffix] = (member.offset_data, member.size)
                elif suffix in {".txt", ".json"}:
                    text = tar.extractfile(member).read()
                    members[suffix] = text, f"{path}: {member.name}"
    except tarfile.TarError as error:
        raise DataError(
            f"{path}: cannot be read as a tar file ({error}). A compressed one has to be unpacked "
            "first: gunzip."
        ) from error
    if members:
        yield current, members


def _captions(members):
    """Returns a picture's captions and its boxes with their labels.

    Captions are those of its ``.txt``, where it has one; a ``.json`` beside it need have none.

    Raises:
        DataError: the text is not UTF-8 or not JSON, or a key is missing.
    """
    captions, boxes = [], []
    if ".txt" in members:
        text, where = members[".txt"]
        try:
            lines = text.decode("utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise DataError(f"{where}: must be UTF-8 text ({error}).") from error
        captions = [line.strip() for line in lines if line.strip()]
    if ".json" in members:
        text, where = members[".json"]
        try:
            record = json.loads(text.decode("utf-8"))
        except (UnicodeDecodeError, json.JSONDecodeError) as error:
            raise DataError(f"{where}: must be JSON in UTF-8 ({error}).") from error
        if isinstance(record, dict):
            record.setdefault("image", "")
            if captions:
                record = {**record, "captions": captions}
                record.pop("caption", None)
        _, _, told, _, _, boxes = read_record(record, where)
        captions = [text.strip() for text in told if text.strip()]
    return captions, boxes
