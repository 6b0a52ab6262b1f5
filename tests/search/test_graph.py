"""The file of a graph: what is saved is what is opened, and damage and full disks are noticed."""

import os
import resource

import numpy as np
import pytest

from keras_vlm.search import graph as graph_module
from keras_vlm.search.graph import Graph
from keras_vlm.search.store import Manifest


def draw(count, seed=0):
    vectors = np.random.default_rng(seed).standard_normal((count, 7)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def manifest(kind="hnsw", graph=None):
    return Manifest(kind, 7, "", {}, 16, 128, graph=graph)


def filled(kind="hnsw"):
    """A graph of 40 rows, of which the last three of the first 20 have no node."""
    graph = Graph(manifest(kind))
    graph.add(draw(20).astype(np.float16), np.arange(20) >= 17)
    graph.add(draw(20, 1), np.zeros(20, bool))
    return graph


@pytest.mark.parametrize("kind", ["hnsw", "hnsw_int8"])
@pytest.mark.parametrize("mapped", [True, False])
def test_what_is_saved_is_opened(kind, mapped, tmp_path):
    graph, queries = filled(kind), draw(5, 2)
    saved = graph.save(tmp_path / "graph-0-40")
    assert saved["rows"] == graph.saved_rows == 40
    again = Graph.open(tmp_path, manifest(kind, saved), mapped=mapped)
    assert (again.rows, again.saved_rows, again.mapped) == (40, 40, mapped)
    np.testing.assert_array_equal(again.search(queries, 5, 64), graph.search(queries, 5, 64))


def test_a_graph_that_is_gone_meanwhile_closes_no_file_of_others(tmp_path, monkeypatch):
    """USearch closes descriptor 0 where it cannot open a file."""
    path = tmp_path / "graph-0-40"
    graph = filled()
    saved = graph.save(path)
    digest = graph_module._digest

    def swept(file):
        found = digest(file)
        path.unlink()
        return found

    monkeypatch.setattr(graph_module, "_digest", swept)
    before = os.fstat(0)
    again = Graph.open(tmp_path, manifest(graph=saved), mapped=True)
    assert os.fstat(0) == before
    queries = draw(5, 2)
    np.testing.assert_array_equal(again.search(queries, 5, 64), graph.search(queries, 5, 64))
    with pytest.raises(FileNotFoundError):
        Graph.open(tmp_path, manifest(graph=saved), mapped=True)
    assert os.fstat(0) == before


def test_finds_rows():
    vectors = np.concatenate([draw(20), draw(20, 1)])
    vectors[17:20] = np.nan
    wanted = np.argsort(-np.nan_to_num(draw(5, 2) @ vectors.T, nan=-9), axis=1)[:, :5]
    found = filled().search(draw(5, 2), 5, 64)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(np.sort(found), np.sort(wanted))
    # One query by itself.
    np.testing.assert_array_equal(filled().search(draw(5, 2)[:1], 5, 64)[0], found[0])


def test_more_than_there_are():
    found = filled().search(draw(5, 2), 100, 64)
    rows = set(range(40)) - {17, 18, 19}
    for row in found:
        assert set(row.tolist()) - {-1} == rows
        assert np.count_nonzero(row >= 0) == 37
    assert set(filled().search(draw(1, 2), 100, 64)[0].tolist()) == rows


def test_damage_is_noticed(tmp_path):
    path = tmp_path / "graph-0-40"
    saved = filled().save(path)
    data = path.read_bytes()
    for damaged in (b"", data[:-1], data + b"x", b"x" + data[1:], data[:2000] + b"x" + data[2001:]):
        path.write_bytes(damaged)
        with pytest.raises(OSError, match="it is not the file that was saved"):
            Graph.open(tmp_path, manifest(graph=saved), mapped=True)


def test_a_full_disk_leaves_no_file(tmp_path):
    graph, limits = filled(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"USearch could not write|bytes were written"):
            graph.save(tmp_path / "graph-0-40")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []
    assert graph.saved_rows == 0
