"""An index of vectors on disk: add, remove, and find the nearest by cosine.

What counts is in ``store.py``, and survives a kill at any moment. The graph of the ``hnsw`` kinds
(``live_graph.py``) is derived: rows that it lacks are searched exactly, and when these are many it
catches up. So an addition costs an append, and a graph that is missing, old or damaged
costs time, never an answer. Refuses to know models and pictures.

Dimension letters: n vectors, D their width, q queries, k results a query.
"""

import itertools
import pathlib

import numpy as np

from keras_vlm.core.checks import check_choice, check_number
from keras_vlm.search.arguments import check_keys, check_new_keys, unit_vectors
from keras_vlm.search.exact import best, exact_search
from keras_vlm.search.graph import import_usearch
from keras_vlm.search.key_table import KeyTable
from keras_vlm.search.live_graph import LiveGraph
from keras_vlm.search.store import Manifest, Store

KINDS = ("flat", "hnsw", "hnsw_int8")
# Keys that are read at a time.
BLOCK_KEYS = 16384


class VectorIndex:
    """Keys and unit-norm vectors in a folder, searched by cosine.

    Kinds: ``flat`` compares with every vector, exactly, with NumPy alone; ``hnsw`` walks a graph
    whose nodes hold float16; ``hnsw_int8`` one whose nodes hold int8, in half the memory. Scores
    are exact for what is found, whatever the kind. Vectors are kept as float16, which moves a
    cosine by less than 0.001.

    Many may read at once; one may write, from its first change until it is closed. A reader sees
    the index as it was when it opened it.

    Example:
        >>> import tempfile
        >>> with VectorIndex.create(tempfile.mkdtemp(), 2, kind="flat") as index:
        ...     index.add(["east", "north"], [[2, 0], [0, 1]])
        ...     keys, scores = index.search([[1, 0.1]], k=1)
        >>> keys, scores.round(3)
        ([['east']], array([[0.995]], dtype=float32))

    Source: Malkov and Yashunin 2018, https://arxiv.org/abs/1603.09320.
    """

    def __init__(self, store):
        self._store = store
        self._table = KeyTable(store)
        self._graph = None if store.manifest.kind == "flat" else LiveGraph(store)

    @classmethod
    def create(
        cls,
        path,
        dim,
        *,
        kind="hnsw",
        fingerprint="",
        metadata=None,
        connectivity=16,
        expansion=128,
    ):
        """Makes an empty index.

        Args:
            path: a folder that does not exist or is empty.
            dim: width of the vectors.
            kind: ``flat``, ``hnsw`` or ``hnsw_int8``.
            fingerprint: what makes the vectors, for example a digest of the model; ``open``
                compares it.
            metadata: a dict for JSON that is kept with the index.
            connectivity: links of a node of the graph; twice as many at the bottom.
            expansion: candidates that are weighed when a node is linked.

        Returns:
            A ``VectorIndex``.

        Raises:
            FileExistsError: the folder holds something.
            ImportError: the kind needs USearch, which is not installed.
            ValueError: an argument is out of range.
        """
        where = "VectorIndex.create"
        check_number(where, "dim", dim, minimum=1, integer=True)
        check_choice(where, "kind", kind, KINDS)
        check_number(where, "connectivity", connectivity, minimum=2, integer=True)
        check_number(where, "expansion", expansion, minimum=1, integer=True)
        if kind != "flat":
            import_usearch()
        path = pathlib.Path(path)
        if path.exists() and (path.is_file() or any(path.iterdir())):
            raise FileExistsError(
                f"{where}: path must be a new or empty folder, got {str(path)!r}. Open the index "
                "that is there with VectorIndex.open, or choose another folder."
            )
        manifest = Manifest(kind, dim, fingerprint, dict(metadata or {}), connectivity, expansion)
        return cls(Store.create(path, manifest))

    @classmethod
    def open(cls, path, *, fingerprint=None):
        """Opens an index; no more of it is read than a search needs.

        Args:
            path: its folder.
            fingerprint: what makes the queries' vectors, or None not to compare.

        Returns:
            A ``VectorIndex``.

        Raises:
            FileNotFoundError: there is no index.
            DataError: a file is damaged.
            ImportError: the kind needs USearch, which is not installed.
            ValueError: the index has another fingerprint.
        """
        store = Store(path)
        stored = store.manifest.fingerprint
        if fingerprint is not None and fingerprint != stored:
            raise ValueError(
                f"VectorIndex.open: fingerprint must be {stored!r}, that of the index "
                f"{str(path)!r}, got {fingerprint!r}. Use the model that made the index, or make "
                "the index anew with this one."
            )
        if store.manifest.kind != "flat":
            import_usearch()
        return cls(store)

    @property
    def path(self):
        """The folder, a ``pathlib.Path``."""
        return self._store.path

    @property
    def kind(self):
        """How the index is searched."""
        return self._store.manifest.kind

    @property
    def dim(self):
        """Width of the vectors."""
        return self._store.manifest.dim

    @property
    def fingerprint(self):
        """What made the vectors."""
        return self._store.manifest.fingerprint

    @property
    def metadata(self):
        """The dict that was kept with the index."""
        return dict(self._store.manifest.metadata)

    def add(self, keys, vectors):
        """Adds vectors in one commit; a key that is there already is replaced.

        Args:
            keys: n different strings.
            vectors: float array [n,D]; brought to unit norm.

        Raises:
            BlockingIOError: another writer has the index open.
            OSError: the disk is full or fails; the index is as it was.
            TypeError: the keys are not strings.
            ValueError: wrong shape, a key twice, a vector that is zero or not finite.
        """
        where = "VectorIndex.add"
        keys = check_new_keys(where, keys)
        vectors = unit_vectors(where, "vectors", vectors, (len(keys), self.dim))
        if not keys:
            return
        self._store.lock(where)
        old = self._table.find(keys)
        self._store.append(keys, vectors, old[old >= 0])
        self._table.add(keys)
        self._tend()

    def remove(self, keys):
        """Removes vectors in one commit. Their room is given back by ``compact``.

        Args:
            keys: strings that are in the index.

        Raises:
            BlockingIOError: another writer has the index open.
            KeyError: a key is not there; nothing is removed.
            OSError: the disk is full or fails; the index is as it was.
            TypeError: the keys are not strings.
        """
        where = "VectorIndex.remove"
        keys = check_keys(where, keys)
        self._store.lock(where)
        rows = np.unique(self._find(where, keys))
        if len(rows):
            self._store.append([], np.empty((0, self.dim)), rows)

    def search(self, queries, k=10, *, expansion=48):
        """Finds the nearest vectors by cosine.

        Args:
            queries: float array [q,D]; brought to unit norm.
            k: results a query.
            expansion: nodes of the graph that are kept in view; more find more, and take longer.

        Returns:
            keys, q lists of k strings, and scores, float32 [q,k], best first; fewer than k if the
            index has fewer.

        Raises:
            ValueError: wrong shape, or a query that is zero or not finite.
        """
        where = "VectorIndex.search"
        queries = unit_vectors(where, "queries", queries, (None, self.dim))
        check_number(where, "k", k, minimum=1, integer=True)
        check_number(where, "expansion", expansion, minimum=1, integer=True)
        self._tend()
        store, k = self._store, min(k, len(self))
        if k == 0:
            return [[] for _ in queries], np.empty((len(queries), 0), np.float32)
        covered = self._graph.rows if self._graph else 0
        rows, scores = exact_search(store.vectors, store.dead, queries, k, first=covered)
        if covered:
            near, near_scores = self._graph.search(queries, k, expansion)
            rows = np.concatenate([rows, near], axis=1)
            rows, scores = best(rows, np.concatenate([scores, near_scores], axis=1), k)
        keys = store.keys(rows.reshape(-1))
        return [keys[i * k : (i + 1) * k] for i in range(len(queries))], scores

    def vectors(self, keys):
        """Returns the vectors of n keys, float32 [n,D], unit norm but for float16's rounding.

        Args:
            keys: strings that are in the index.

        Raises:
            KeyError: a key is not there.
            TypeError: the keys are not strings.
        """
        where = "VectorIndex.vectors"
        rows = self._find(where, check_keys(where, keys))
        return self._store.vectors[rows].astype(np.float32)

    def compare(self, query, *, block=65536):
        """Gives the cosine of a query with every vector, in the order of the index.

        Args:
            query: float array [D]; brought to unit norm.
            block: vectors at a time.

        Yields:
            A list of n keys, and their scores, float32 [n].

        Raises:
            ValueError: wrong shape, or a query that is zero or not finite.
        """
        query = np.asarray(query)[None]
        [query] = unit_vectors("VectorIndex.compare", "query", query, (1, self.dim))
        store = self._store
        live = np.flatnonzero(~store.dead)
        for start in range(0, len(live), block):
            rows = live[start : start + block]
            yield store.keys(rows), store.vectors[rows].astype(np.float32) @ query

    def compact(self):
        """Gives back the room of removed vectors, and builds the graph without them.

        Raises:
            BlockingIOError: another writer has the index open.
            OSError: the disk is full or fails; the index is as it was.
        """
        self._store.lock("VectorIndex.compact")
        self._store.compact()
        self._tend()
        if self._graph:
            self._graph.save()

    def close(self):
        """Saves the graph if it has grown, and lets others write. The index can be used again."""
        self._close(whole=True)

    def _close(self, *, whole):
        if not self._store.locked:
            return
        try:
            if self._graph:
                self._graph.save(whole=whole)
        finally:
            self._store.unlock()

    def __enter__(self):
        return self

    def __exit__(self, kind, *error):
        # Who interrupts does not wait for the last rows to be linked.
        self._close(whole=kind is None)

    def __len__(self):
        return self._store.manifest.rows - self._store.manifest.removed

    def __contains__(self, key):
        return isinstance(key, str) and self._table.find([key])[0] >= 0

    def __iter__(self):
        rows = iter(np.flatnonzero(~self._store.dead).tolist())
        while part := list(itertools.islice(rows, BLOCK_KEYS)):
            yield from self._store.keys(part)

    def _find(self, where, keys):
        rows = self._table.find(keys)
        missing = np.flatnonzero(rows < 0)
        if len(missing):
            raise KeyError(
                f"{where}: keys must be in the index, got {keys[missing[0]]!r} "
                f"({len(missing)} of {len(keys)} are not)."
            )
        return rows

    def _tend(self):
        """Lets the graph catch up if it lacks many rows and nobody else writes."""
        if self._graph is None or not self._graph.is_behind():
            return
        if self._store.locked:
            self._graph.catch_up()
            return
        try:
            self._store.lock("VectorIndex.search")
        except OSError:
            # The writer will do it, or the folder is read-only. Exact search finds them meanwhile.
            return
        try:
            self._graph.forget()
            if self._graph.is_behind():
                self._graph.catch_up()
                self._graph.save()
        finally:
            self._store.unlock()
