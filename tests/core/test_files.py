import errno
import json
import os
import pathlib
import re

import pytest

from keras_vlm.core.files import (
    check_output_folder,
    replace_file,
    replace_folder,
    take_lock,
    write_json,
)


def names(folder):
    """Everything below a folder, hidden files too."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def full_disk(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def write_half_a_file(path, error):
    with replace_file(path) as temporary:
        temporary.write_text("half")
        raise error


def write_to_a_full_disk(path):
    with replace_file(path) as temporary:
        temporary.symlink_to("/dev/full")
        temporary.write_bytes(b"x" * 100_000)


def write_half_a_folder(path, error):
    with replace_folder(path, overwrite=True) as temporary:
        (temporary / "half.txt").write_text("half")
        raise error


# Files


def test_replace_file_writes_beside_and_renames(tmp_path):
    path = tmp_path / "deep" / "er" / "weights.tar.gz"
    with replace_file(str(path)) as temporary:
        assert temporary.parent == path.parent
        assert temporary.suffixes[-2:] == [".tar", ".gz"]
        temporary.write_bytes(b"new")
        assert not path.exists()
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["deep", "deep/er", "deep/er/weights.tar.gz"]


def test_until_the_block_ends_readers_see_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with replace_file(path) as temporary:
        temporary.write_text("ne")
        assert path.read_text() == "old"
    assert path.read_text() == "ne"


@pytest.mark.parametrize("error", [RuntimeError("no"), KeyboardInterrupt()])
@pytest.mark.parametrize("old", [None, "old"])
def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path, error, old):
    path = tmp_path / "a.txt"
    if old:
        path.write_text(old)
    with pytest.raises(type(error)):
        write_half_a_file(path, error)
    assert names(tmp_path) == (["a.txt"] if old else [])
    if old:
        assert path.read_text() == old


def test_a_block_that_writes_nothing_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(FileNotFoundError), replace_file(path):
        pass
    assert names(tmp_path) == ["a.txt"]
    assert path.read_text() == "old"


def test_a_disk_that_is_full_when_the_data_are_flushed(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    path.write_text("old")
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left on device"):
        write_json(path, {"a": 1})
    assert names(tmp_path) == ["a.json"]
    assert path.read_text() == "old"


@pytest.mark.skipif(not pathlib.Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_disk_that_is_full_in_the_middle_of_writing(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(OSError, match="No space left on device"):
        write_to_a_full_disk(path)
    assert names(tmp_path) == ["a.txt"]
    assert path.read_text() == "old"


def test_data_reach_the_disk_before_the_new_name(tmp_path, monkeypatch):
    done = []
    fsync, rename = os.fsync, pathlib.Path.replace
    monkeypatch.setattr(os, "fsync", lambda number: (done.append("fsync"), fsync(number)))
    monkeypatch.setattr(
        pathlib.Path, "replace", lambda self, path: (done.append("rename"), rename(self, path))
    )
    write_json(tmp_path / "a.json", [])
    assert done == ["fsync", "rename"]


def test_write_json_is_readable_utf8(tmp_path):
    value = {"word": "狗", "scores": [0.5, None], "deep": {"ok": True}}
    write_json(tmp_path / "a.json", value)
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(text) == value
    assert '  "word": "狗"' in text
    assert text.endswith("}\n")


def test_write_json_of_what_json_cannot_say_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("old")
    with pytest.raises(TypeError, match="not JSON serializable"):
        write_json(path, {"a": object()})
    assert names(tmp_path) == ["a.json"]
    assert path.read_text() == "old"


# Folders


@pytest.mark.parametrize("existing", ["none", "empty", "full"])
def test_replace_folder(tmp_path, existing):
    path = tmp_path / "deep" / "model"
    if existing != "none":
        path.mkdir(parents=True)
    if existing == "full":
        (path / "old.txt").write_text("old")
    with replace_folder(str(path), overwrite=existing == "full") as temporary:
        assert temporary.parent == path.parent
        assert names(temporary) == []
        (temporary / "inner").mkdir()
        (temporary / "inner" / "new.txt").write_text("new")
        assert (path / "old.txt").exists() == (existing == "full")
    assert names(tmp_path) == ["deep", "deep/model", "deep/model/inner", "deep/model/inner/new.txt"]
    # Other users, a model server for one, may read it.
    assert path.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("old", [False, True])
def test_an_exception_leaves_the_old_folder_and_nothing_else(tmp_path, old):
    path = tmp_path / "model"
    if old:
        path.mkdir()
        (path / "old.txt").write_text("old")
    with pytest.raises(KeyboardInterrupt):
        write_half_a_folder(path, KeyboardInterrupt())
    assert names(tmp_path) == (["model", "model/old.txt"] if old else [])


def test_a_folder_that_is_not_empty_is_refused_before_any_work(tmp_path):
    path = tmp_path / "model"
    path.mkdir()
    (path / "old.txt").write_text("old")
    message = f"{path} exists and is not empty. Choose another folder, or pass overwrite=True"
    with pytest.raises(FileExistsError, match=re.escape(message)), replace_folder(path):
        pytest.fail("the block must not run")
    assert names(tmp_path) == ["model", "model/old.txt"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_is_never_replaced_by_a_folder(tmp_path, overwrite):
    path = tmp_path / "model"
    path.write_text("old")
    message = f"{path} is a file. Choose another output folder."
    with pytest.raises(FileExistsError, match=re.escape(message)):
        check_output_folder(str(path), overwrite=overwrite)
    with (
        pytest.raises(FileExistsError, match="is a file"),
        replace_folder(path, overwrite=overwrite),
    ):
        pytest.fail("the block must not run")
    assert path.read_text() == "old"


def test_check_output_folder_makes_nothing(tmp_path):
    (tmp_path / "empty").mkdir()
    for name in ("empty", "new", "new/deep"):
        check_output_folder(tmp_path / name)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").touch()
    check_output_folder(tmp_path / "full", overwrite=True)
    assert names(tmp_path) == ["empty", "full", "full/a"]


def test_a_lock_has_one_holder(tmp_path):
    lock = take_lock(tmp_path / "lock", "mine")
    with pytest.raises(BlockingIOError, match="^yours is taken$"):
        take_lock(tmp_path / "lock", "yours is taken")
    os.close(lock)
    os.close(take_lock(tmp_path / "lock", "free again"))
