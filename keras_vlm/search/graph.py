"""The graph of an approximate index: HNSW by USearch, derived from the vectors.

Why USearch and not FAISS, measured side by side on two cores (100,000 vectors of width 256, M 16,
construction 128): equal recall for equal work, and FAISS answers a quarter more queries a second
with float16. But int8 needs no training with USearch, so that an index may begin empty, builds
fastest of all, and with exact scores for its candidates loses no recall; and USearch neither brings
an OpenMP nor a BLAS into TensorFlow's process.

Nodes are numbered by rows. A row that is removed stays in the graph, for its links lead to others;
the caller leaves it out of the answers. Refuses to know keys and what is removed.

Source: Malkov and Yashunin 2018, Efficient and robust approximate nearest neighbor search using
Hierarchical Navigable Small World graphs, https://arxiv.org/abs/1603.09320. ``connectivity`` is
their M, ``expansion`` their efConstruction and ef.
"""

import hashlib
import pathlib

import numpy as np

from keras_vlm.core.extras import import_extra
from keras_vlm.core.files import replace_file

# What a node holds of its vector.
SCALARS = {"hnsw": "f16", "hnsw_int8": "i8"}
# Candidates a wanted result: rounding to 8 bits may move a neighbour a few ranks down.
OVERSAMPLING = {"hnsw": 1, "hnsw_int8": 2}
# Pages that stand for a whole file in its digest.
DIGEST_PAGES, PAGE_BYTES = 256, 4096
# Threads that link rows; 0 for all cores. Several may miss each other's in the smallest graphs.
THREADS = 0


class Graph:
    """HNSW over the first rows of an index, in memory or mapped from a file.

    Args:
        manifest: the ``Manifest`` of the index: kind, width, connectivity, expansion.

    Raises:
        ImportError: USearch is not installed.
    """

    def __init__(self, manifest):
        self.rows, self.saved_rows, self.mapped = 0, 0, False
        self._index = import_usearch().Index(
            ndim=manifest.dim,
            metric="cos",
            dtype=SCALARS[manifest.kind],
            connectivity=manifest.connectivity,
            expansion_add=manifest.expansion,
            # Rows that are removed are known elsewhere.
            enable_key_lookups=False,
        )
        self._oversampling = OVERSAMPLING[manifest.kind]

    @classmethod
    def open(cls, folder, manifest, *, mapped):
        """Opens the graph that ``manifest.graph`` describes.

        Args:
            folder: where its file is.
            manifest: the ``Manifest`` of the index.
            mapped: whether it stays on disk and is read page by page, or is read into memory, where
                it can grow.

        Raises:
            OSError: the file is missing or is not the one that was saved.
        """
        graph, saved = cls(manifest), manifest.graph
        with (pathlib.Path(folder) / saved["file"]).open("rb") as file:
            # First, for USearch trusts what it reads.
            if _digest(file) != saved["digest"]:
                raise OSError("it is not the file that was saved")
            # By its descriptor: a writer may have removed the name by now, and USearch, which then
            # fails to open it, closes descriptor 0, whosever that is.
            opened = pathlib.Path(f"/proc/self/fd/{file.fileno()}")
            source = opened if opened.exists() else file.name
            (graph._index.view if mapped else graph._index.load)(source)
        graph.rows = graph.saved_rows = saved["rows"]
        graph.mapped = mapped
        return graph

    def add(self, vectors, dead):
        """Links the rows that follow those already there.

        Args:
            vectors: float array [n,D], unit norm.
            dead: bool array [n], rows that are not worth a node.
        """
        live = np.flatnonzero(~dead)
        if len(live):
            self._index.add(
                self.rows + live, np.ascontiguousarray(vectors[live]), threads=THREADS
            )
        self.rows += len(vectors)

    def save(self, path):
        """Writes the graph to a file, atomically.

        Args:
            path: the file.

        Returns:
            A dict for the manifest: file, rows, digest.

        Raises:
            OSError: the disk is full or fails.
        """
        with replace_file(path) as temporary:
            try:
                self._index.save(temporary)
            except RuntimeError as error:
                raise OSError(f"USearch could not write {path}: {error}") from error
            size = temporary.stat().st_size
            if size != self._index.serialized_length:
                raise OSError(f"{size} of {self._index.serialized_length} bytes were written")
        self.saved_rows = self.rows
        with path.open("rb") as file:
            return {"file": path.name, "rows": self.rows, "digest": _digest(file)}

    def search(self, queries, count, expansion):
        """Returns candidates for each query.

        Args:
            queries: float32 array [q,D].
            count: how many are wanted.
            expansion: nodes that are kept in view on the way; more find more, and take longer.

        Returns:
            int64 [q,c] rows, -1 where there are none; c is ``count`` or a few more.
        """
        count = min(count * self._oversampling, self.rows)
        self._index.expansion_search = max(expansion, count)
        found = self._index.search(queries, count)
        # USearch answers a single query in another shape.
        rows = np.atleast_2d(found.keys).astype(np.int64)
        if len(queries) == 1:
            return rows
        rows[np.arange(rows.shape[1]) >= found.counts[:, None]] = -1
        return rows


def import_usearch():
    """Returns the module of USearch, or raises an ImportError that says how to install it."""
    return import_extra("usearch.index", "search", "VectorIndex with a graph (kind 'hnsw')")


def _digest(file):
    """Returns a digest of an open file's size and of pages spread over it, for it may be big."""
    size = file.seek(0, 2)
    digest = hashlib.blake2b(str(size).encode(), digest_size=16)
    for start in np.unique(np.linspace(0, max(0, size - PAGE_BYTES), DIGEST_PAGES, dtype=int)):
        file.seek(start)
        digest.update(file.read(PAGE_BYTES))
    return digest.hexdigest()
