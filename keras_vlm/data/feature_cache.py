"""Features of a frozen backbone, computed once and kept on disk as memory-mapped float16.

A folder holds shards of a few hundred pictures, each an ``.npy`` of [M,N,C] beside a ``.json`` of
its M keys, each with whether the picture could be read. A key is the digest of the picture's bytes,
so a changed file is a new picture; the folder's name is the digest of the encoder. Shards are
written under a temporary name and renamed, and their names are unique: a kill loses one shard at
most, and two processes may fill one cache at once (at worst they do the same work twice). A shard
that is damaged (cut short, other numbers of keys and features) is removed and computed anew.
Refuses to know which backbone it serves.

Dimension letters: M pictures of a shard, N picture tokens, C their width.
"""

import contextlib
import hashlib
import itertools
import json
import logging
import pathlib
import shutil
import sys
import tokenize
import uuid

import keras
import numpy as np
import tensorflow as tf

from keras_vlm.core.files import replace_file
from keras_vlm.data.image_inputs import decode_pictures
from keras_vlm.vision.backbones import Backbone

LOGGER = logging.getLogger("keras_vlm")
# Pictures of a shard that is written. Rows of the n-th shard are numbered from n * SHARD_STRIDE.
SHARD_PICTURES = 256
SHARD_STRIDE = 2**20
# What reading a damaged shard may raise; NumPy parses the header as Python.
DAMAGES = (OSError, EOFError, ValueError, SyntaxError, tokenize.TokenError)


class FeatureCache:
    """Memory-mapped features of the pictures of one or more data splits.

    Args:
        folder: where caches live; each encoder gets a sub-folder of its own.
        encoder: a frozen ``Backbone``: images [B,H,W,3] -> features [B,N,C].
        resize: how pictures are brought to the encoder's size, as in ``vision.image``.
        mirror: whether the features are those of the mirrored pictures.

    Raises:
        TypeError: the encoder is no ``Backbone``.
        ValueError: the encoder is not frozen, so that its features would go stale.
    """

    def __init__(self, folder, encoder, *, resize="stretch", mirror=False):
        if not isinstance(encoder, Backbone):
            raise TypeError(
                f"FeatureCache: encoder must be a Backbone, got {type(encoder).__name__}. "
                "With a network of your own, train without a cache."
            )
        if not encoder.frozen:
            raise ValueError(
                "FeatureCache: encoder must be frozen, got one with trainable weights. "
                "Pass trainable_from=None to the backbone, or train without a cache."
            )
        self.encoder = encoder
        self.resize = resize
        self.mirror = mirror
        kind = f"{encoder.fingerprint()}-{resize}" + ("-mirror" if mirror else "")
        self.folder = pathlib.Path(folder) / kind
        self.shape = tuple(encoder.output_shape[1:])
        self._places = {}
        self._shards = []
        self._read = set()

    def fill(self, examples, *, batch_size=64, verbose=1):
        """Computes what is missing for the pictures of a split.

        Args:
            examples: a data split.
            batch_size: pictures a forward pass.
            verbose: 1 for a progress bar, 0 for none.

        Returns:
            int64 array [len(examples)]: each picture's row for ``gather``, or -1 where the picture
            cannot be read.

        Raises:
            OSError: the disk has too little room; what was computed before stays.
        """
        self.open()
        digests, waiting = [], {}
        progress = keras.utils.Progbar(len(examples), unit_name="picture") if verbose else None
        # The pictures alone: captions differ in number and do not batch.
        pictures = examples.dataset().map(lambda example: example["image_bytes"])
        for chunk in pictures.batch(batch_size).as_numpy_iterator():
            keys = [_digest(picture) for picture in chunk]
            # A dict, for a picture that comes twice must have one row.
            waiting.update(
                (key, picture)
                for key, picture in zip(keys, chunk, strict=True)
                if key not in self._places
            )
            digests.extend(keys)
            while len(waiting) >= SHARD_PICTURES:
                shard = list(itertools.islice(waiting.items(), SHARD_PICTURES))
                self._compute(shard, batch_size)
                for key, _ in shard:
                    del waiting[key]
            if progress:
                # Standard output is for results.
                with contextlib.redirect_stdout(sys.stderr):
                    progress.update(len(digests))
        if waiting:
            self._compute(list(waiting.items()), batch_size)
        return np.array([self._places[key] for key in digests], np.int64)

    def open(self):
        """Maps the shards that are on disk and not yet known; removes those that are damaged."""
        for keys_path in sorted(self.folder.glob("shard-*.json")):
            if keys_path.name in self._read:
                continue
            try:
                self._add(keys_path)
            except DAMAGES as error:
                LOGGER.warning(
                    "FeatureCache: %s is damaged (%s); its pictures are computed anew.",
                    keys_path.with_suffix(""),
                    error,
                )
                for path in (keys_path, keys_path.with_suffix(".npy")):
                    with contextlib.suppress(OSError):
                        path.unlink()

    def gather(self, rows):
        """Returns the features of rows [B] as float16 [B,N,C]; row -1 is not allowed."""
        places = [divmod(row, SHARD_STRIDE) for row in rows]
        return np.stack([self._shards[shard][place] for shard, place in places])

    def _add(self, keys_path):
        """Maps one shard.

        Raises:
            ValueError: its keys and features do not belong together; other ``DAMAGES`` by readers.
        """
        readable_by_key = json.loads(keys_path.read_text(encoding="utf-8"))
        if not isinstance(readable_by_key, dict):
            raise ValueError("its keys must be a JSON object")
        features = np.load(keys_path.with_suffix(".npy"), mmap_mode="r")
        wanted = (len(readable_by_key), *self.shape)
        if features.shape != wanted:
            raise ValueError(f"its features must be {wanted}, got {features.shape}")
        if features.dtype != np.float16:
            raise ValueError(f"its features must be float16, got {features.dtype}")
        first = len(self._shards) * SHARD_STRIDE
        for place, (key, readable) in enumerate(readable_by_key.items()):
            self._places.setdefault(key, first + place if readable else -1)
        self._shards.append(features)
        self._read.add(keys_path.name)

    def _compute(self, waiting, batch_size):
        """Encodes pictures and writes one shard.

        Raises:
            OSError: it cannot be written.
        """
        self._check_room(len(waiting))
        readable, features = {}, np.empty((len(waiting), *self.shape), np.float16)
        size = tuple(self.encoder.input_shape[1:3])
        for start in range(0, len(waiting), batch_size):
            part = waiting[start : start + batch_size]
            images, valid = decode_pictures([picture for _, picture in part], size, self.resize)
            if self.mirror:
                images = tf.image.flip_left_right(images)
            features[start : start + len(part)] = self.encoder.predict_on_batch(images)
            readable.update(zip([key for key, _ in part], valid.numpy().tolist(), strict=True))
        path = self.folder / f"shard-{uuid.uuid4().hex}.json"
        try:
            with replace_file(path.with_suffix(".npy")) as temporary, temporary.open("wb") as file:
                np.save(file, features)
            # Last, for a shard counts from the moment its keys are there.
            with replace_file(path) as temporary:
                temporary.write_text(json.dumps(readable), encoding="utf-8")
        except OSError as error:
            raise OSError(
                f"FeatureCache: {self.folder} cannot take the next {len(waiting)} pictures "
                f"({error}). Make room and run the same command: the pictures already there stay."
            ) from error
        self._add(path)

    def _check_room(self, pictures):
        needed = int(np.prod(self.shape)) * 2 * pictures + 2**20
        existing = next(p for p in [self.folder, *self.folder.parents] if p.exists())
        free = shutil.disk_usage(existing).free
        if free < needed:
            raise OSError(
                f"FeatureCache: {self.folder} needs {needed / 2**20:.0f} MB for the next "
                f"{pictures} pictures, {free / 2**20:.0f} MB are free. Make room and run the same "
                "command: the pictures already there stay."
            )


def _digest(picture):
    return hashlib.blake2b(picture, digest_size=16).hexdigest()
