"""The truth of an index on disk: append-only files, and a manifest that says how much counts.

A generation g of the folder is four files, one row a vector: ``vectors-g`` (float16, unit norm),
``keys-g`` (UTF-8, one after another), ``rows-g`` (where a row's key ends, and its hash) and
``removed-g`` (numbers of rows that are no more). A commit appends beyond what counts, flushes to
the disk, and replaces ``manifest.json``: a kill before that leaves bytes that do not count and
that the next commit overwrites, so no moment exists at which the index is broken. Nothing that
counts is ever changed, so readers need no lock; writers hold one. Compaction writes generation g+1
and removes g, which a reader that has mapped it keeps.

Refuses to know what a vector means and how it is searched.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import re

import numpy as np

from keras_vlm.core.checks import DataError
from keras_vlm.core.files import replace_file, replace_folder, take_lock, write_json

FORMAT = 1
MANIFEST = "manifest.json"
OURS = re.compile(r"(vectors|keys|rows|removed|graph)-\d|\.writing-")
ROW = np.dtype([("key_end", "<i8"), ("key_hash", "<u8")])
# Rows that a compaction copies at a time.
BLOCK_ROWS = 16384


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What an index is, and how much of its files counts.

    Args:
        kind: how it is searched.
        dim: width of the vectors.
        fingerprint: what made the vectors, for example the digest of a model.
        metadata: whatever the user keeps with the index; JSON.
        connectivity: links of a node of the graph.
        expansion: candidates that are weighed when a node is linked.
        generation: number in the names of the files.
        rows: vectors that were ever added in this generation.
        key_bytes: length of their keys.
        removed: how many of them are no more.
        graph: what ``Graph.save`` says of the saved graph, or None.
        format: of the folder.
    """

    kind: str
    dim: int
    fingerprint: str
    metadata: dict
    connectivity: int
    expansion: int
    generation: int = 0
    rows: int = 0
    key_bytes: int = 0
    removed: int = 0
    graph: dict | None = None
    format: int = FORMAT

    def sizes(self):
        """Returns how many bytes of each file count, by its name."""
        sizes = {
            "vectors": self.rows * self.dim * 2,
            "keys": self.key_bytes,
            "rows": self.rows * ROW.itemsize,
            "removed": self.removed * 8,
        }
        return {f"{name}-{self.generation}": size for name, size in sizes.items()}


class Store:
    """Keys and vectors in a folder, as they were when it was opened or last changed.

    Args:
        path: the folder.

    Raises:
        FileNotFoundError: there is no index.
        DataError: a file is damaged.
    """

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self._lock = None
        self._load()

    @classmethod
    def create(cls, path, manifest):
        """Makes an empty index; the folder appears whole or not at all."""
        with replace_folder(path) as folder:
            write_json(folder / MANIFEST, dataclasses.asdict(manifest))
        return cls(path)

    @property
    def locked(self):
        """Whether this process may change the index."""
        return self._lock is not None

    def lock(self, where):
        """Makes this the only writer, and catches up with what others have committed.

        Args:
            where: name of the public function, for the message.

        Raises:
            BlockingIOError: another process, or another object of this one, is the writer.
            OSError: the folder cannot be written.
        """
        if self.locked:
            return
        self._lock = take_lock(
            self.path / "lock",
            f"{where}: {self.path} must be free to change, got one that another writer has open. "
            "Close that one first, or wait until its process ends.",
        )
        try:
            self.refresh()
            self._sweep()
        except BaseException:
            self.unlock()
            raise

    def refresh(self):
        """Catches up with what others have committed; returns whether there was anything."""
        changed = self._read_manifest() != self.manifest
        if changed:
            self._load()
        return changed

    def unlock(self):
        """Lets others write."""
        if self.locked:
            os.close(self._lock)
            self._lock = None

    def append(self, keys, vectors, removed):
        """Commits additions and removals together; needs the lock.

        Args:
            keys: list of n strings.
            vectors: float array [n,D], unit norm.
            removed: int64 array, numbers of rows that are no more.

        Raises:
            OSError: the disk is full or fails; the index is as it was.
        """
        old = self.manifest
        try:
            self._append_files(old, keys, vectors, removed)
            self._commit(_grown(old, keys, removed))
            self._map(removed)
        except BaseException as error:
            # What counts is what the disk says, whatever failed, and when.
            with contextlib.suppress(OSError, DataError):
                self._load()
            if not isinstance(error, OSError):
                raise
            if self.manifest != old:
                return
            with contextlib.suppress(OSError):
                self._append_files(old, [], vectors[:0], ())
            raise OSError(
                f"VectorIndex: {self.path} cannot take {len(keys)} more vectors ({error}). "
                "Make room and add them again: the index is as it was."
            ) from error

    def replace_graph(self, graph):
        """Commits which graph file belongs to the rows; needs the lock."""
        self._commit(dataclasses.replace(self.manifest, graph=graph))
        self._sweep()

    def compact(self):
        """Writes the rows that are left as the next generation; needs the lock.

        Raises:
            OSError: the disk is full or fails; the index is as it was.
        """
        old = self.manifest
        new = dataclasses.replace(
            old, generation=old.generation + 1, rows=0, key_bytes=0, removed=0, graph=None
        )
        try:
            for start in range(0, old.rows, BLOCK_ROWS):
                rows = start + np.flatnonzero(~self.dead[start : start + BLOCK_ROWS])
                self._append_files(new, self.keys(rows), self.vectors[rows], ())
                new = _grown(new, self.keys(rows), ())
            self._commit(new)
        finally:
            # As the disk says: an interruption may have come after the rename.
            self._load()
            self._sweep()

    def keys(self, rows):
        """Returns the keys of rows [n], a list of strings."""
        ends = self._rows["key_end"]
        rows = np.asarray(rows, np.int64)
        starts = np.where(rows > 0, ends[np.maximum(rows - 1, 0)], 0) if len(rows) else rows
        view = memoryview(self._keys)
        return [
            str(view[start:end], "utf-8", "surrogatepass")
            for start, end in zip(starts.tolist(), ends[rows].tolist(), strict=True)
        ]

    def key_hashes(self):
        """Returns the hash of each row's key, uint64 [rows], memory-mapped."""
        return self._rows["key_hash"]

    def _append_files(self, manifest, keys, vectors, removed):
        encoded = [_encode(key) for key in keys]
        rows = np.empty(len(keys), ROW)
        rows["key_end"] = manifest.key_bytes + np.cumsum([len(key) for key in encoded], dtype=int)
        rows["key_hash"] = hash_keys(keys)
        parts = {
            "vectors": np.ascontiguousarray(vectors, "<f2").tobytes(),
            "keys": b"".join(encoded),
            "rows": rows.tobytes(),
            "removed": np.asarray(removed, "<i8").tobytes(),
        }
        for (name, size), data in zip(manifest.sizes().items(), parts.values(), strict=True):
            descriptor = os.open(self.path / name, os.O_RDWR | os.O_CREAT, 0o644)
            with os.fdopen(descriptor, "r+b") as file:
                # What a kill left beyond the end must not be taken for data.
                file.truncate(size)
                file.seek(size)
                if data:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())

    def _commit(self, manifest):
        with replace_file(self.path / MANIFEST) as temporary:
            temporary.write_text(
                json.dumps(dataclasses.asdict(manifest), ensure_ascii=False), encoding="utf-8"
            )
        # From here on it counts, whatever fails.
        self.manifest = manifest
        # The rename itself: what is removed next must not be gone before it. Some file systems
        # know no such thing for a folder.
        with contextlib.suppress(OSError):
            descriptor = os.open(self.path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def _read_manifest(self):
        try:
            found = json.loads((self.path / MANIFEST).read_text(encoding="utf-8"))
            manifest = Manifest(**found)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"VectorIndex.open: {self.path} must be the folder of an index, got one without "
                f"{MANIFEST}. Make an index with VectorIndex.create."
            ) from error
        except (ValueError, TypeError) as error:
            raise DataError(
                f"{self.path / MANIFEST}: it is no manifest of an index ({error}). Restore the "
                "folder from a copy, or make the index anew."
            ) from error
        if manifest.format != FORMAT:
            raise DataError(
                f"{self.path / MANIFEST}: format must be {FORMAT}, got {manifest.format}. Open it "
                "with the version of keras-vlm that wrote it, or make the index anew."
            )
        return manifest

    def _load(self):
        # A compaction may remove the files between the manifest and them: then there is a new one.
        for attempt in range(3):
            self.manifest = self._read_manifest()
            try:
                self.dead = np.zeros(0, bool)
                self._map(self._map_file("removed", "<i8", (self.manifest.removed,)))
                return
            except FileNotFoundError as error:
                if attempt == 2:
                    raise DataError(
                        f"{error.filename}: it is missing. Restore the folder from a copy, or make "
                        "the index anew."
                    ) from error

    def _map(self, removed):
        manifest = self.manifest
        self.vectors = self._map_file("vectors", "<f2", (manifest.rows, manifest.dim))
        self._rows = self._map_file("rows", ROW, (manifest.rows,))
        self._keys = self._map_file("keys", np.uint8, (manifest.key_bytes,))
        dead = np.zeros(manifest.rows, bool)
        dead[: len(self.dead)] = self.dead
        dead[np.asarray(removed, np.int64)] = True
        self.dead = dead

    def _map_file(self, name, dtype, shape):
        path = self.path / f"{name}-{self.manifest.generation}"
        wanted = int(np.prod(shape)) * np.dtype(dtype).itemsize
        if not wanted:
            return np.zeros(shape, dtype)
        size = path.stat().st_size
        if size < wanted:
            raise DataError(
                f"{path}: it must hold at least {wanted} bytes, got {size}: it was cut short. "
                "Restore the folder from a copy, or make the index anew."
            )
        return np.asarray(np.memmap(path, dtype, "r", shape=shape))

    def _sweep(self):
        """Removes what no manifest names: left by kills, or of an earlier generation."""
        # As it is on disk: an interruption may have come between the rename and ours.
        manifest = self._read_manifest()
        wanted = {(manifest.graph or {}).get("file"), *manifest.sizes()}
        for path in self.path.iterdir():
            if OURS.match(path.name) and path.name not in wanted:
                with contextlib.suppress(OSError):
                    path.unlink()


def hash_keys(keys):
    """Returns a 64-bit hash of each of n keys, the same in every process: uint64 [n]."""
    digests = [hashlib.blake2b(_encode(key), digest_size=8).digest() for key in keys]
    return np.frombuffer(b"".join(digests), "<u8")


def _encode(key):
    # File names that are not UTF-8 come as lone surrogates.
    return key.encode("utf-8", "surrogatepass")


def _grown(manifest, keys, removed):
    return dataclasses.replace(
        manifest,
        rows=manifest.rows + len(keys),
        key_bytes=manifest.key_bytes + sum(len(_encode(key)) for key in keys),
        removed=manifest.removed + len(removed),
    )
