"""The graph beside the vectors of a store: opened, brought up to date, saved, searched.

Nothing is lost with it: it may lack the last rows, and a file that is missing or damaged is made
anew. Readers map the saved one; a writer reads it into memory as soon as it has to grow.
Refuses to know keys.

Dimension letters: q queries, D their width, k results a query.
"""

import contextlib
import logging
import sys

import keras
import numpy as np

from keras_vlm.search.exact import best, exact_scores, exact_search
from keras_vlm.search.graph import Graph

LOGGER = logging.getLogger("keras_vlm")
# So many rows are searched exactly rather than put into the graph, or a hundredth of the graph.
TAIL_ROWS = 2048
# Rows that are linked at a time, and after which a growing graph is saved, or a quarter of it.
LINK_ROWS = 16384
SAVE_ROWS = 100_000
# Wanting more than one in so many rows of a graph, exact search is no slower.
ROWS_A_RESULT = 4


class LiveGraph:
    """The graph of a store, opened with it.

    Args:
        store: the ``Store`` whose rows it links.
    """

    def __init__(self, store):
        self._store = store
        self.forget()
        # At once, for a writer may remove its file.
        self._current()

    @property
    def rows(self):
        """How many rows it covers, from the first."""
        graph = self._current()
        return graph.rows if graph else 0

    def forget(self):
        """Drops the graph, to be opened anew."""
        self._graph, self._generation = None, -1

    def is_behind(self):
        """Returns whether it lacks more rows than should be searched exactly."""
        lacking = self._store.manifest.rows - self.rows
        return lacking > max(TAIL_ROWS, self.rows // 100)

    def catch_up(self):
        """Links the rows that it lacks, and saves itself now and then; needs the store's lock."""
        store, graph = self._store, self._current()
        if graph is None or graph.mapped:
            graph = self._graph = self._open(mapped=False) or Graph(store.manifest)
        total = store.manifest.rows
        progress = None
        if total - graph.rows >= SAVE_ROWS:
            progress = keras.utils.Progbar(total - graph.rows, unit_name="vector")
        try:
            for start in range(graph.rows, total, LINK_ROWS):
                stop = min(start + LINK_ROWS, total)
                graph.add(store.vectors[start:stop], store.dead[start:stop])
                if graph.rows - graph.saved_rows >= max(SAVE_ROWS, graph.saved_rows // 4):
                    self.save()
                if progress:
                    # Standard output is for results.
                    with contextlib.redirect_stdout(sys.stderr):
                        progress.add(stop - start)
        except BaseException:
            # Some of the last rows may be linked, and would be a second time.
            self.forget()
            raise

    def save(self, *, whole=False):
        """Saves the graph if it has grown; needs the store's lock.

        Args:
            whole: whether a graph in memory takes in the last few rows first.
        """
        graph = self._current()
        if graph is None or graph.mapped:
            return
        if whole:
            self.catch_up()
        if graph.rows == graph.saved_rows:
            return
        path = self._store.path / f"graph-{self._generation}-{graph.rows}"
        try:
            self._store.replace_graph(graph.save(path))
        except OSError as error:
            LOGGER.warning(
                "VectorIndex: the graph of %s cannot be saved (%s). No vector is lost; the graph "
                "is brought up to date when the index is next opened.",
                self._store.path,
                error,
            )

    def search(self, queries, k, expansion):
        """Finds the nearest of the rows that it covers.

        Args:
            queries: float32 array [q,D], unit norm.
            k: results a query.
            expansion: nodes that are kept in view.

        Returns:
            rows, int64 [q,c], and scores, float32 [q,c], best first; c is the lesser of k and the
            rows there are.
        """
        store, graph = self._store, self._current()
        live = graph.rows - np.count_nonzero(store.dead[: graph.rows])
        k = min(k, live)
        rows = np.full((len(queries), k), -1, np.int64)
        scores = np.full((len(queries), k), -np.inf, np.float32)
        # Removed rows are found too: as many more are asked for, and more yet where it is in vain.
        count, short = int(np.ceil(k * graph.rows / max(live, 1))), np.arange(len(queries))
        while len(short) and count < graph.rows // ROWS_A_RESULT:
            found = graph.search(queries[short], count, expansion)
            found[store.dead[found]] = -1
            found = best(found, exact_scores(store.vectors, queries[short], found), k)
            width = found[0].shape[1]
            rows[short, :width], scores[short, :width] = found
            short = short[rows[short, -1] < 0]
            count *= 4
        if len(short):
            rows[short], scores[short] = exact_search(
                store.vectors[: graph.rows], store.dead[: graph.rows], queries[short], k
            )
        return rows, scores

    def _current(self):
        """Returns the graph of the store's generation, or None."""
        if self._generation != self._store.manifest.generation:
            self._graph = self._open(mapped=True)
            # Last, for the look may have led to another generation.
            self._generation = self._store.manifest.generation
        return self._graph

    def _open(self, *, mapped):
        """Returns the saved graph, or None if there is none that can be used."""
        store = self._store
        while saved := store.manifest.graph:
            try:
                return Graph.open(store.path, store.manifest, mapped=mapped)
            except (OSError, RuntimeError, ValueError) as error:
                # A writer may have replaced it since the manifest was read.
                if not store.locked and store.refresh():
                    continue
                LOGGER.warning(
                    "VectorIndex: %s cannot be used (%s); it is built anew.",
                    store.path / saved["file"],
                    error,
                )
                break
        return None
