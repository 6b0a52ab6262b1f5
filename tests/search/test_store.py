"""Kills at any moment, and full disks: what was committed stays, and no more than the rest goes."""

import contextlib
import os
import resource
import stat
import subprocess
import sys

import kills
import numpy as np
import pytest

from keras_vlm.search import VectorIndex, graph, live_graph
from keras_vlm.search.store import MANIFEST

DIM = 7

# Forks, for importing takes longer than a kill. A child adds batches of 10 until it is killed.
KILLED = """
import os, random, signal, sys, time
import numpy as np
from keras_vlm.search import VectorIndex, live_graph

live_graph.TAIL_ROWS, live_graph.LINK_ROWS, live_graph.SAVE_ROWS = 5, 7, 20
live_graph.ROWS_A_RESULT = 1

def vector(i):
    return np.random.default_rng(i).standard_normal((1, 7))

def write(path, pipe):
    index = VectorIndex.open(path)
    step = len(index) // 10
    os.write(pipe, b"x")
    while True:
        numbers = range(10 * step, 10 * step + 10)
        index.add([str(i) for i in numbers], np.concatenate([vector(i) for i in numbers]))
        # Replaced in a commit of its own, and now and then compacted.
        index.add([str(10 * step)], vector(10 * step))
        step += 1
        os.write(pipe, bytes(1))
        if step % 5 == 0:
            index.compact()

path, kind, times = sys.argv[1], sys.argv[2], int(sys.argv[3])
VectorIndex.create(path, 7, kind=kind)
draw, before = random.Random(0), 0
for attempt in range(times):
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        write(path, writing)
    os.close(writing)
    try:
        os.read(reading, 1)
        time.sleep(draw.random() * 0.06)
        # A reader beside the writer.
        beside = len(VectorIndex.open(path))
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    told = 0
    while part := os.read(reading, 4096):
        told += len(part)
    os.close(reading)
    index = VectorIndex.open(path)
    rows = len(index)
    # No batch in part, none lost that was done, none beyond the one under way.
    assert rows % 10 == 0, rows
    assert before // 10 + told <= rows // 10 <= before // 10 + told + 1, (before, told, rows)
    assert beside <= rows
    keys = [str(i) for i in range(rows)]
    assert sorted(index) == sorted(keys)
    if rows:
        wanted = np.concatenate([vector(i) for i in range(rows)])
        wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
        assert np.abs(index.vectors(keys) - wanted).max() < 1e-3
        found, scores = index.search(wanted, 1)
        # Linked by several threads, a graph as small as this may miss a few.
        assert np.mean([a == [b] for a, b in zip(found, keys)]) >= 0.9
    before = rows
    index.close()
print("rows", before)
"""


@pytest.mark.parametrize(("kind", "times"), [("hnsw", 15)])
def test_kills(kind, times, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", KILLED, tmp_path / "index", kind, str(times)],
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    # How many came through depends on the machine; none would prove nothing.
    assert int(done.stdout.split()[-1]) >= 10


@pytest.mark.parametrize("failure", [OSError, KeyboardInterrupt])
@pytest.mark.parametrize("call", ["open", "fsync"])
@pytest.mark.parametrize("kind", ["flat", "hnsw"])
@pytest.mark.parametrize("change", ["add", "remove", "compact"])
def test_a_failure_after_the_commit_loses_nothing(
    tmp_path, monkeypatch, small_graphs, change, kind, call, failure
):
    """The rename has happened when the folder itself cannot be flushed, or someone interrupts."""
    path = tmp_path / "index"
    with VectorIndex.create(path, DIM, kind=kind) as index:
        index.add(names(7), draw(7))
        index.remove(["6"])
    whole = getattr(os, call)
    before = content(path)

    def fail(what, *arguments):
        is_folder = what == path if call == "open" else stat.S_ISDIR(os.fstat(what).st_mode)
        if is_folder:
            raise failure
        return whole(what, *arguments)

    wanted = {
        "add": before | {"7": None}, "remove": {k: v for k, v in before.items() if k != "0"},
        "compact": before,
    }[change]  # fmt: skip
    index = VectorIndex.open(path)
    monkeypatch.setattr(os, call, fail)
    with contextlib.suppress(KeyboardInterrupt):
        {
            "add": lambda: index.add(["7"], draw(1, 5)),
            "remove": lambda: index.remove(["0"]),
            "compact": index.compact,
        }[change]()
    monkeypatch.setattr(os, call, whole)
    # The same object goes on, and knows what has happened.
    assert set(index) == set(wanted)
    index.add(["7"], draw(1, 5))
    index.remove(["7"])
    if "7" in wanted:
        index.add(["7"], draw(1, 5))
    index.compact()
    index.close()
    found = content(path)
    assert set(found) == set(wanted)
    assert all(found[key] == value for key, value in wanted.items() if value is not None)


def test_a_close_that_fails_lets_others_write(tmp_path, monkeypatch, small_graphs):
    path = tmp_path / "index"
    index = VectorIndex.create(path, DIM)
    index.add(names(9), draw(9))

    def stop(self, *, whole=False):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(live_graph.LiveGraph, "save", stop)
        with pytest.raises(KeyboardInterrupt):
            index.close()
    with VectorIndex.open(path) as other:
        other.add(["x"], draw(1, 3))
    assert len(content(path)) == 10


@pytest.fixture
def small_graphs(monkeypatch):
    monkeypatch.setattr(live_graph, "TAIL_ROWS", 3)
    monkeypatch.setattr(live_graph, "ROWS_A_RESULT", 1)
    # With one thread a graph as small as these is exact.
    monkeypatch.setattr(graph, "THREADS", 1)


def draw(count, seed=0):
    return np.random.default_rng(seed).standard_normal((count, DIM))


def names(count, first=0):
    return [str(i) for i in range(first, first + count)]


def content(path):
    """The index as a dict, by way of everything that reads it."""
    with VectorIndex.open(path) as index:
        keys = list(index)
        vectors = index.vectors(keys)
        if keys:
            found, _ = index.search(vectors, 1)
            assert found == [[key] for key in keys]
        return {key: vector.tobytes() for key, vector in zip(keys, vectors, strict=True)}


CHANGES = {
    "add": lambda index: index.add(names(9, 7), draw(9, 1)),
    "remove": lambda index: index.remove(names(5)),
    "compact": lambda index: index.compact(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_kill_between_any_two_changes_of_files(change, tmp_path, small_graphs, monkeypatch):
    path = tmp_path / "index"
    with VectorIndex.create(path, DIM) as index:
        index.add(names(11), draw(11))
        index.remove(names(2, 9))
    before = content(path)
    with kills.watch(path, monkeypatch) as states, VectorIndex.open(path) as index:
        CHANGES[change](index)
    after = content(path)
    assert len(states) > 5
    seen = []
    for state in states:
        kills.restore(state, path)
        seen.append(content(path))
        # And it can be changed, whatever was left behind.
        with VectorIndex.open(path) as index:
            index.add(["new"], draw(1, 5))
        assert set(content(path)) == {*seen[-1], "new"}
        assert not list(path.glob(".writing-*"))
    done = [found == after for found in seen]
    assert all(found in (before, after) for found in seen)
    # Once it is done it stays done.
    assert done == sorted(done)
    assert done[-1]


def test_a_kill_while_it_is_made(tmp_path, monkeypatch):
    path = tmp_path / "index"
    with kills.watch(tmp_path, monkeypatch) as states:
        VectorIndex.create(path, DIM)
    for state in states:
        kills.restore(state, tmp_path)
        if path.exists() and any(path.iterdir()):
            assert len(VectorIndex.open(path)) == 0
        else:
            VectorIndex.create(path, DIM)


def test_what_a_kill_left_beyond_the_end_does_not_count(tmp_path):
    path = tmp_path / "index"
    with VectorIndex.create(path, DIM, kind="flat") as index:
        index.add(names(5), draw(5))
        index.remove(names(1))
    before = content(path)
    for name in ("vectors-0", "keys-0", "rows-0", "removed-0"):
        with (path / name).open("ab") as file:
            file.write(b"\xff" * 1000)
    assert content(path) == before
    with VectorIndex.open(path) as index:
        index.add(["new"], draw(1, 5))
        index.remove(["3"])
        np.testing.assert_allclose(
            index.vectors(["new"])[0], draw(1, 5)[0] / np.linalg.norm(draw(1, 5)), atol=1e-3
        )
    assert content(path).keys() == {"1", "2", "4", "new"}


@contextlib.contextmanager
def files_no_larger_than(size):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_full_disk_leaves_the_index_as_it_was(tmp_path):
    path = tmp_path / "index"
    with VectorIndex.create(path, DIM, kind="flat") as index:
        index.add(names(50), draw(50))
        before = content(path)
        sizes = {file.name: file.stat().st_size for file in path.iterdir() if file.name != MANIFEST}
        message = r"index cannot take 5000 more vectors \(.*too large.*\)\. Make room and add them"
        with files_no_larger_than(5000), pytest.raises(OSError, match=message):
            index.add(names(5000, 40), draw(5000, 2))
        assert len(index) == 50
        assert content(path) == before
        assert all((path / name).stat().st_size == size for name, size in sizes.items())
        index.add(names(1, 50), draw(1, 3))
    assert content(path).keys() == set(names(51))


def test_no_room_to_compact(tmp_path):
    path = tmp_path / "index"
    with VectorIndex.create(path, DIM, kind="flat") as index:
        index.add(names(500), draw(500))
        index.remove(names(10))
        before, files = content(path), sorted(path.iterdir())
        with files_no_larger_than(3000), pytest.raises(OSError, match="too large"):
            index.compact()
        assert content(path) == before
        assert sorted(path.iterdir()) == files


def test_files_of_others_are_left_alone(tmp_path):
    path = tmp_path / "index"
    with VectorIndex.create(path, DIM, kind="flat") as index:
        (path / "notes.txt").write_text("mine")
        (path / "vectors-9").write_text("left by a compaction")
        index.add(names(3), draw(3))
    assert (path / "notes.txt").exists()
    assert not (path / "vectors-9").exists()
