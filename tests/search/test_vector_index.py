"""The index against a dict and brute force; damage, locks, readers beside a writer."""

import json
import logging
import re
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_vlm.core.checks import DataError
from keras_vlm.search import VectorIndex, graph, live_graph, store, vector_index
from keras_vlm.search.store import MANIFEST, ROW

DIM = 7
KINDS = vector_index.KINDS


def draw(count, seed=0, dim=DIM):
    vectors = np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def names(count, first=0):
    return [f"p/{i}.jpg" for i in range(first, first + count)]


def nearest(model, queries, k):
    """The oracle: keys and scores by sorting all cosines; model is a dict of key to vector."""
    keys = list(model)
    if not keys:
        return [[] for _ in queries], np.empty((len(queries), 0))
    scores = queries @ np.stack(list(model.values())).astype(np.float16).astype(np.float32).T
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return [[keys[i] for i in row] for row in order], np.take_along_axis(scores, order, 1)


def check(index, model, seed=99, k=5):
    """The index answers as the model does; graphs as small as these are exact."""
    assert len(index) == len(model)
    assert sorted(index) == sorted(model)
    queries = draw(3, seed, index.dim)
    keys, scores = index.search(queries, k)
    wanted_keys, wanted_scores = nearest(model, queries, k)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, wanted_scores, atol=1e-5)
    assert [sorted(row) for row in keys] == [sorted(row) for row in wanted_keys]
    if model:
        np.testing.assert_allclose(
            index.vectors(list(model)), np.stack(list(model.values())), atol=1e-3
        )


@pytest.fixture
def small_graphs(monkeypatch):
    """Graphs from the third vector on, linked and saved in small parts."""
    monkeypatch.setattr(live_graph, "TAIL_ROWS", 3)
    monkeypatch.setattr(live_graph, "LINK_ROWS", 5)
    monkeypatch.setattr(live_graph, "SAVE_ROWS", 11)
    monkeypatch.setattr(live_graph, "ROWS_A_RESULT", 1)
    # With one thread a graph as small as these is exact.
    monkeypatch.setattr(graph, "THREADS", 1)


def make(path, count, kind="hnsw", **options):
    """An index of ``count`` vectors and its model."""
    model = dict(zip(names(count), draw(count), strict=True))
    with VectorIndex.create(path, DIM, kind=kind, **options) as index:
        if count:
            index.add(list(model), np.stack(list(model.values())))
    return model


def graph_files(path):
    return sorted(file.name for file in path.iterdir() if file.name.startswith("graph"))


KEYS = st.lists(st.sampled_from(names(29)), unique=True, max_size=13)
STEPS = st.lists(
    st.tuples(st.sampled_from(["add", "add", "remove", "reopen", "close", "compact"]), KEYS),
    max_size=9,
)


@pytest.mark.parametrize("kind", KINDS)
def test_any_sequence_of_changes(kind, small_graphs, tmp_path_factory):
    @settings(max_examples=15, deadline=None, database=None, derandomize=True)
    @given(STEPS)
    def run(steps):
        path, model = tmp_path_factory.mktemp("index"), {}
        index = VectorIndex.create(path, DIM, kind=kind)
        for seed, (step, keys) in enumerate(steps):
            if step == "add":
                vectors = draw(len(keys), seed)
                index.add(keys, vectors)
                model.update(zip(keys, vectors, strict=True))
            elif step == "remove":
                keys = [key for key in keys if key in model]
                index.remove(keys)
                for key in keys:
                    del model[key]
            elif step == "reopen":
                index.close()
                index = VectorIndex.open(path)
            else:
                getattr(index, step)()
            check(index, model, seed)
        index.close()
        check(VectorIndex.open(path), model)

    run()


@pytest.mark.parametrize("kind", ["hnsw", "hnsw_int8"])
def test_recall_of_a_real_graph(kind, tmp_path):
    vectors = draw(4000, 1, 32) @ np.diag(0.8 ** np.arange(32))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    model = dict(zip(names(4000), vectors, strict=True))
    with VectorIndex.create(tmp_path / "index", 32, kind=kind) as index:
        for start in range(0, 4000, 1000):
            index.add(names(1000, start), vectors[start : start + 1000])
        removed = names(1000, 500)
        index.remove(removed)
    for key in removed:
        del model[key]
    index = VectorIndex.open(tmp_path / "index")
    queries = draw(200, 2, 32) @ np.diag(0.8 ** np.arange(32))
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    found, scores = index.search(queries, 10)
    assert index._graph._current().mapped
    assert index._graph.rows == 4000
    wanted, _ = nearest(model, queries, 10)
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found, wanted, strict=True)])
    assert recall > 0.97
    # What is found has its exact score.
    assert (np.diff(scores) <= 0).all()
    exact = [[query @ model[key] for key in row] for query, row in zip(queries, found, strict=True)]
    np.testing.assert_allclose(scores, exact, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_k_larger_than_n_and_nothing(kind, tmp_path, small_graphs):
    path = tmp_path / "index"
    index = VectorIndex.create(path, DIM, kind=kind)
    keys, scores = index.search(draw(2), 3)
    assert keys == [[], []]
    assert scores.shape == (2, 0)
    model = dict(zip(names(11), draw(11), strict=True))
    index.add(list(model), np.stack(list(model.values())))
    check(index, model, k=100)
    assert index.search(np.empty((0, DIM)), 3)[0] == []
    index.add([], np.empty((0, DIM)))
    index.remove([])
    index.remove(list(model))
    check(index, {})
    index.compact()
    check(index, {})
    index.close()


def test_a_neighbourhood_of_removed_vectors(tmp_path, small_graphs):
    """All that is near is gone: the search goes on until it finds what is left."""
    near = np.ones((60, DIM)) + 0.01 * draw(60)
    far = dict(zip(names(11, 1000), draw(11, 5), strict=True))
    with VectorIndex.create(tmp_path / "index", DIM) as index:
        index.add(list(far), np.stack(list(far.values())))
        index.add(names(60), near)
        index.remove(names(60))
        keys, _ = index.search(np.ones((1, DIM)), 5)
        assert keys == nearest(far, np.ones((1, DIM)), 5)[0]


def test_vectors_are_brought_to_unit_norm(tmp_path):
    with VectorIndex.create(tmp_path / "index", 2, kind="flat") as index:
        index.add(["a", "b"], [[300, 400], [0, 1e-9]])
        np.testing.assert_allclose(index.vectors(["b", "a"]), [[0, 1], [0.6, 0.8]], atol=1e-3)
        assert index.search([[6e5, 8e5]], 1)[1][0, 0] == pytest.approx(1, abs=1e-3)


def test_keys_of_any_kind_come_back(tmp_path):
    keys = ["", "ü/日本.jpg", "a\nb", "\udcff.jpg", "x" * 5000]
    make(tmp_path / "index", 3)
    with VectorIndex.open(tmp_path / "index") as index:
        index.add(keys, draw(5, 3))
    index = VectorIndex.open(tmp_path / "index")
    assert list(index) == names(3) + keys
    assert all(key in index for key in keys)
    assert "nowhere" not in index
    assert 3 not in index


def test_what_is_kept_with_it(tmp_path):
    make(tmp_path / "index", 3, "hnsw_int8", fingerprint="abc", metadata={"model": "ü"})
    index = VectorIndex.open(tmp_path / "index", fingerprint="abc")
    assert (index.kind, index.dim, index.fingerprint) == ("hnsw_int8", DIM, "abc")
    assert index.metadata == {"model": "ü"}
    assert index.path == tmp_path / "index"


def test_wrong_arguments(tmp_path):
    with pytest.raises(ValueError, match=r"create: kind must be one of 'flat'.*got 'hsnw'. Did"):
        VectorIndex.create(tmp_path / "a", 3, kind="hsnw")
    with pytest.raises(ValueError, match="create: dim must be a whole number >= 1, got 0"):
        VectorIndex.create(tmp_path / "a", 0)
    assert not (tmp_path / "a").exists()
    make(tmp_path / "index", 3, fingerprint="abc")
    with pytest.raises(FileExistsError, match="path must be a new or empty folder, got .*index'"):
        VectorIndex.create(tmp_path / "index", 3)
    with pytest.raises(FileNotFoundError, match="must be the folder of an index, got one without"):
        VectorIndex.open(tmp_path / "nowhere")
    message = r"fingerprint must be 'abc', that of the index .*got 'xyz'\. Use the model"
    with pytest.raises(ValueError, match=message):
        VectorIndex.open(tmp_path / "index", fingerprint="xyz")


def test_wrong_additions_change_nothing(tmp_path):
    model = make(tmp_path / "index", 5)
    with VectorIndex.open(tmp_path / "index") as index:
        bad = draw(2)
        bad[1, 3] = np.nan
        for keys, vectors, message in (
            (["a"], np.ones((1, 3)), r"vectors must be an array \[1, 7\], got shape \[1, 3\]"),
            (["a"], np.ones((2, DIM)), r"must be an array \[1, 7\], got shape \[2, 7\]"),
            (["a", "b"], bad, "must be finite and not zero, got a number that is not finite in"),
            (["a", "a"], np.ones((2, DIM)), "must be different from each other, got 'a' twice"),
        ):
            with pytest.raises(ValueError, match=message):
                index.add(keys, vectors)
        with pytest.raises(KeyError, match=r"remove: keys must be in the index, got 'a' \(1 of 2"):
            index.remove([*names(1), "a"])
        with pytest.raises(KeyError, match="vectors: keys must be in the index, got 'a'"):
            index.vectors(["a"])
        with pytest.raises(ValueError, match="k must be a whole number >= 1, got 0"):
            index.search(draw(1), 0)
        check(index, model)


def test_damaged_graphs_are_built_anew(tmp_path, small_graphs, caplog):
    path = tmp_path / "index"
    model = make(path, 50)
    (file,) = graph_files(path)
    whole = (path / file).read_bytes()
    for damaged in (None, b"", whole[:-1], whole[: len(whole) // 2] + bytes(len(whole) // 2)):
        (path / file).unlink()
        if damaged is not None:
            (path / file).write_bytes(damaged)
        with caplog.at_level(logging.WARNING, "keras_vlm"):
            check(VectorIndex.open(path), model)
        assert "cannot be used" in caplog.text
        assert "it is built anew" in caplog.text
        caplog.clear()
        assert graph_files(path) == [file]
        index = VectorIndex.open(path)
        check(index, model)
        assert index._graph._current().mapped
        assert not caplog.records


def test_an_old_graph_catches_up(tmp_path, small_graphs, monkeypatch):
    path = tmp_path / "index"
    model = make(path, 20)
    index = VectorIndex.open(path)
    # As if killed before the graph was saved.
    with monkeypatch.context() as patches:
        patches.setattr(live_graph.LiveGraph, "save", lambda self, whole=False: None)
        new = dict(zip(names(9, 20), draw(9, 3), strict=True))
        index.add(list(new), np.stack(list(new.values())))
        index.close()
    assert graph_files(path) == ["graph-0-20"]
    added = []
    add = graph.Graph.add
    monkeypatch.setattr(
        graph.Graph, "add", lambda self, *rows: added.append(len(rows[0])) or add(self, *rows)
    )
    check(VectorIndex.open(path), {**model, **new})
    assert sum(added) == 9
    assert graph_files(path) == ["graph-0-29"]


def test_a_growing_graph_is_saved_now_and_then(tmp_path, small_graphs):
    with VectorIndex.create(tmp_path / "index", DIM) as index:
        index.add(names(29), draw(29))
        assert graph_files(tmp_path / "index")
        index.add(names(2, 29), draw(2))
    assert graph_files(tmp_path / "index") == ["graph-0-31"]


def test_an_interrupt_while_linking_does_no_harm(tmp_path, small_graphs, monkeypatch):
    def interrupted(self, vectors, dead):
        add(self, vectors, dead)
        self.rows -= len(vectors)
        raise KeyboardInterrupt

    model = make(tmp_path / "index", 20)
    index = VectorIndex.open(tmp_path / "index")
    new = dict(zip(names(9, 15), draw(9, 3), strict=True))
    with monkeypatch.context() as patches:
        add = graph.Graph.add
        patches.setattr(graph.Graph, "add", interrupted)
        with pytest.raises(KeyboardInterrupt):
            index.add(list(new), np.stack(list(new.values())))
    check(index, model | new)
    index.close()
    check(VectorIndex.open(tmp_path / "index"), model | new)


def test_a_graph_that_cannot_be_saved_loses_nothing(tmp_path, small_graphs, monkeypatch, caplog):
    def full(self, path):
        raise OSError("no space left")

    with monkeypatch.context() as patches:
        patches.setattr(graph.Graph, "save", full)
        with caplog.at_level(logging.WARNING, "keras_vlm"):
            model = make(tmp_path / "index", 20)
    assert re.search(r"graph of .* cannot be saved \(no space left\). No vector", caplog.text)
    check(VectorIndex.open(tmp_path / "index"), model)


def test_one_writer(tmp_path):
    path = tmp_path / "index"
    model = make(path, 5)
    one, other = VectorIndex.open(path), VectorIndex.open(path)
    one.add(["one"], draw(1, 2))
    message = "must be free to change, got one that another writer has open. Close that"
    with pytest.raises(BlockingIOError, match=f"VectorIndex.add: .*{message}"):
        other.add(["other"], draw(1, 3))
    check(other, model)
    one.close()
    # It first catches up with what the other one has committed.
    other.add(["other"], draw(1, 3))
    model |= {"one": draw(1, 2)[0], "other": draw(1, 3)[0]}
    check(other, model)
    other.close()
    check(VectorIndex.open(path), model)


def test_another_process_writes(tmp_path):
    path = tmp_path / "index"
    model = make(path, 5)
    code = (
        "import fcntl, sys; file = open(sys.argv[1], 'a'); fcntl.flock(file, fcntl.LOCK_EX); "
        "print('locked', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, path / "lock"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout.readline() == b"locked\n"
        index = VectorIndex.open(path)
        for change in (lambda: index.remove(names(1)), index.compact):
            with pytest.raises(BlockingIOError, match="another writer"):
                change()
        check(index, model)
        holder.kill()
    with index:
        index.remove(names(1))


@pytest.mark.parametrize("kind", KINDS)
def test_readers_keep_what_they_opened(kind, tmp_path, small_graphs):
    path = tmp_path / "index"
    model = make(path, 20, kind)
    reader, late = VectorIndex.open(path), VectorIndex.open(path)
    check(reader, model)
    with VectorIndex.open(path) as writer:
        now = dict(model)
        for first in (20, 15, 40):
            new = dict(zip(names(9, first), draw(9, first), strict=True))
            writer.add(list(new), np.stack(list(new.values())))
            writer.remove(names(2, first))
            now = {key: vector for key, vector in (now | new).items() if key not in names(2, first)}
            check(reader, model)
            check(VectorIndex.open(path), now)
        writer.compact()
        check(reader, model)
        check(VectorIndex.open(path), now)
    # This one looks for the first time, and the files are gone.
    check(late, model)


@pytest.mark.parametrize("change", ["add", "compact"])
def test_a_writer_is_faster_than_an_opening(change, tmp_path, small_graphs, monkeypatch, caplog):
    """Files go after the manifest was read, and before they are opened."""
    path = tmp_path / "index"
    model = make(path, 20)
    new = dict(zip(names(20, 20), draw(20, 3), strict=True))
    target, name = {"add": (graph.Graph, "open"), "compact": (store.Store, "_map_file")}[change]
    original, changed = getattr(target, name), []

    def late(*arguments, **options):
        if not changed:
            changed.append(True)
            with VectorIndex.open(path) as writer:
                writer.add(list(new), np.stack(list(new.values())))
                if change == "compact":
                    writer.remove(names(20))
                    writer.compact()
        return original(*arguments, **options)

    monkeypatch.setattr(target, name, late)
    index = VectorIndex.open(path)
    assert changed
    check(index, new if change == "compact" else model | new)
    assert not caplog.records


def test_many_processes_read_beside_a_writer(tmp_path, small_graphs):
    """A reader opens anew, again and again, while rows are added, removed and compacted."""
    path = tmp_path / "index"
    make(path, 10)
    with VectorIndex.open(path) as writer:
        for step in range(10):
            writer.add(names(10), draw(10, step))
            if step % 3 == 2:
                writer.compact()
            reader = VectorIndex.open(path)
            assert len(reader) == 10
            np.testing.assert_allclose(reader.vectors(names(10)), draw(10, step), atol=1e-3)


def test_compaction_gives_room_back(tmp_path, small_graphs):
    path = tmp_path / "index"
    model = make(path, 40)
    with VectorIndex.open(path) as index:
        index.remove(names(30))
        before = sum(file.stat().st_size for file in path.iterdir())
        index.compact()
        after = sum(file.stat().st_size for file in path.iterdir())
        check(index, dict(list(model.items())[30:]))
        assert list(index) == names(10, 30)
    assert after < before / 2
    assert graph_files(path) == ["graph-1-10"]


def test_damaged_files_are_named(tmp_path):
    path = tmp_path / "index"
    make(path, 20)
    whole = (path / "vectors-0").read_bytes()
    (path / "vectors-0").write_bytes(whole[:-1])
    with pytest.raises(DataError, match=r"vectors-0: it must hold at least 280 bytes, got 279"):
        VectorIndex.open(path)
    (path / "vectors-0").unlink()
    with pytest.raises(DataError, match="vectors-0: it is missing"):
        VectorIndex.open(path)
    manifest = json.loads((path / MANIFEST).read_text())
    (path / MANIFEST).write_text(json.dumps({**manifest, "format": 2}))
    with pytest.raises(DataError, match="format must be 1, got 2"):
        VectorIndex.open(path)
    for text in ("{", "[]", '{"kind": "flat"}'):
        (path / MANIFEST).write_text(text)
        with pytest.raises(DataError, match="it is no manifest"):
            VectorIndex.open(path)


def test_opening_reads_little(tmp_path):
    """Of an index of 100 million vectors (of holes, on this disk)."""
    path, rows = tmp_path / "index", 10**8
    make(path, 3, "flat")
    manifest = json.loads((path / MANIFEST).read_text()) | {"rows": rows}
    for name, size in (("vectors-0", rows * DIM * 2), ("rows-0", rows * ROW.itemsize)):
        with (path / name).open("r+b") as file:
            file.truncate(size)
    (path / MANIFEST).write_text(json.dumps(manifest))
    before, began = psutil.Process().memory_info().rss, time.perf_counter()
    index = VectorIndex.open(path)
    assert time.perf_counter() - began < 1
    # While it is open.
    assert psutil.Process().memory_info().rss - before < 50 * 2**20
    assert len(index) == rows


SEARCH_IN_LITTLE_MEMORY = """
import pathlib, resource, sys
import numpy as np
from keras_vlm.search import VectorIndex
path, limit = sys.argv[1], int(sys.argv[2])
queries = np.load(path + "/../queries.npy")
# Libraries' threads and buffers, before memory is counted.
queries @ queries.T
with VectorIndex.open(path + "/../small") as index:
    index.search(queries[:, :DIM], 3)
status = pathlib.Path("/proc/self/status").read_text()
used = 1024 * int(status.partition("VmData:")[2].split()[0])
resource.setrlimit(resource.RLIMIT_DATA, (used + limit, used + limit))
file = pathlib.Path(path) / "vectors-0"
try:
    file.read_bytes()
except MemoryError:
    print("too large")
with VectorIndex.open(path) as index:
    keys, scores = index.search(queries, 3)
np.savez(path + "/../found.npz", keys=keys, scores=scores)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA counts mappings on Linux alone")
@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_an_index_larger_than_memory_is_searched(tmp_path, kind):
    rows, dim, limit = 16000, 2048, 40 * 2**20
    vectors = draw(rows, dim=dim)
    make(tmp_path / "small", 20, kind)
    quick = {} if kind == "flat" else {"connectivity": 4, "expansion": 8}
    with VectorIndex.create(tmp_path / "index", dim, kind=kind, **quick) as index:
        index.add(names(rows), vectors)
    assert (tmp_path / "index" / "vectors-0").stat().st_size > 1.5 * limit
    np.save(tmp_path / "queries.npy", vectors[:5])
    done = subprocess.run(
        [sys.executable, "-c", SEARCH_IN_LITTLE_MEMORY.replace("DIM", str(DIM)),
         tmp_path / "index", str(limit)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "too large\n"), done.stderr
    with VectorIndex.open(tmp_path / "index") as index, np.load(tmp_path / "found.npz") as found:
        keys, scores = index.search(vectors[:5], 3)
        assert found["keys"].tolist() == keys
        np.testing.assert_allclose(found["scores"], scores, atol=1e-6)


def test_flat_needs_numpy_alone(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "usearch", None)
    monkeypatch.setitem(sys.modules, "usearch.index", None)
    model = make(tmp_path / "a", 5, "flat")
    check(VectorIndex.open(tmp_path / "a"), model)
    with pytest.raises(ImportError, match=r"pip install 'keras-vlm\[search\]'"):
        VectorIndex.create(tmp_path / "b", DIM)
