"""What a kill leaves on disk: pictures of a folder before and after each change to it."""

import builtins
import contextlib
import functools
import io
import os
import re
import shutil

import h5py

CHANGES = ("replace", "rename", "unlink", "remove", "rmdir", "mkdir")
TEMPORARY = re.compile(r"(^|/)\.writing-[^/]*")


@contextlib.contextmanager
def watch(folder, monkeypatch):
    """Collects what kills at different moments of the block would leave in a folder.

    Args:
        folder: the folder, which need not exist yet.
        monkeypatch: pytest's.

    Yields:
        A list of states, each different from those before it: dicts from a path within the folder
        to its bytes, or to None for a folder. Where a file is being written there is a second
        state, with half of it.
    """
    states, seen, looking = [], set(), []

    def look():
        if looking:
            return
        looking.append(True)
        state = {
            str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
            for path in sorted(folder.rglob("*"))
        }
        halves = {
            name: data[: len(data) // 2] if data and TEMPORARY.search(name) else data
            for name, data in state.items()
        }
        for found in (halves, state):
            key = tuple((TEMPORARY.sub(r"\1.writing", name), data) for name, data in found.items())
            if key not in seen:
                seen.add(key)
                states.append(found)
        looking.clear()

    def watched(change):
        @functools.wraps(change)
        def call(*args, **kwargs):
            look()
            try:
                return change(*args, **kwargs)
            finally:
                look()

        return call

    with monkeypatch.context() as patches:
        for name in CHANGES:
            patches.setattr(os, name, watched(getattr(os, name)))
        # Files that are there and still empty, and weights that are not yet flushed.
        patches.setattr(builtins, "open", watched(open))
        patches.setattr(io, "open", builtins.open)
        patches.setattr(h5py.File, "close", watched(h5py.File.close))
        yield states
        look()


def restore(state, folder):
    """Puts a state that ``watch`` saw back into the folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, data in state.items():
        path = folder / name
        if data is None:
            path.mkdir(exist_ok=True)
        else:
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
