"""Pictures in an index: adding, going on, pruning, searching; damaged files; other models."""

import os
import pathlib

import numpy as np
import pytest
from oracles import scenes_captioner, scenes_reranker, scenes_retriever
from videos import grey_ramp, write_video

from keras_vlm import load_data
from keras_vlm.core.checks import DataError
from keras_vlm.search import VectorIndex
from keras_vlm.search.pictures import (
    find_duplicates,
    index_pictures,
    load_retriever,
    open_index,
    search_pictures,
)

QUIET = {"kind": "flat", "verbose": 0}


@pytest.fixture(scope="module")
def model():
    return scenes_retriever("bag")


@pytest.fixture(scope="module")
def examples():
    return load_data("scenes:31")["train"]


@pytest.fixture
def folder(examples, tmp_path):
    """Pictures at two levels, a copy, one that is none, and what is not looked at."""
    folder = tmp_path / "photos"
    (folder / "deep er" / ".hidden").mkdir(parents=True)
    data = [e["image_bytes"] for e in examples.dataset().take(7).as_numpy_iterator()]
    for i, picture in enumerate(data):
        (folder / ("deep er" if i % 2 else ".") / f"{i}.png").write_bytes(picture)
    (folder / "copy of 3.PNG").write_bytes(data[3])
    (folder / "broken.jpg").write_bytes(b"\xff\xd8 not a photo")
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "notes.txt").write_text("not a picture")
    (folder / "deep er" / ".hidden" / "9.png").write_bytes(data[0])
    return folder


def names(index):
    return sorted(pathlib.Path(key).name for key in index)


def test_a_folder_is_indexed_and_what_cannot_be_read_is_told(model, folder, tmp_path, caplog):
    found = index_pictures(model, folder, tmp_path / "index", batch_size=3, **QUIET)
    assert (found.added, found.known, found.removed) == (8, 0, 0)
    broken = [str(folder / "broken.jpg"), str(folder / "empty.jpg")]
    assert sorted(found.unreadable) == broken
    assert "2 of 10 pictures cannot be read (the first: " in caplog.text
    with VectorIndex.open(tmp_path / "index", fingerprint=model.fingerprint()) as index:
        assert names(index) == sorted([*(f"{i}.png" for i in range(7)), "copy of 3.PNG"])
        key = str(folder / "deep er" / "3.png")
        np.testing.assert_allclose(index.vectors([key]), model.embed_images(key), atol=2e-3)


def index_two_batches(model, folder, path, monkeypatch):
    """Begins an index of a folder, and is interrupted."""
    embed, seen = model.embed_images, []

    def stop(pictures, **options):
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(1)
        return embed(pictures, **options)

    with monkeypatch.context() as patch:
        patch.setattr(model, "embed_images", stop)
        with pytest.raises(KeyboardInterrupt):
            index_pictures(model, folder, path, batch_size=3, **QUIET)


def test_it_goes_on_where_it_stopped(model, folder, tmp_path, monkeypatch):
    index_two_batches(model, folder, tmp_path / "index", monkeypatch)
    again = index_pictures(model, folder, tmp_path / "index", **QUIET)
    assert again.known > 0
    assert again.known + again.added == 8
    (folder / "new.png").write_bytes((folder / "0.png").read_bytes())
    (folder / "2.png").unlink()
    third = index_pictures(model, folder, tmp_path / "index", prune=True, **QUIET)
    assert (third.added, third.known, third.removed) == (1, 7, 1)
    with VectorIndex.open(tmp_path / "index") as index:
        assert "new.png" in names(index)
        assert "2.png" not in names(index)


def test_pruning_leaves_alone_what_was_never_in_the_folder(model, folder, examples, tmp_path):
    index_pictures(model, examples, tmp_path / "index", **QUIET)
    other = tmp_path / "other"
    other.mkdir()
    (other / "a.png").write_bytes((folder / "0.png").read_bytes())
    index_pictures(model, other, tmp_path / "index", **QUIET)
    (other / "a.png").unlink()
    found = index_pictures(model, folder, tmp_path / "index", prune=True, **QUIET)
    assert found.removed == 0
    with pytest.raises(ValueError, match="prune must be False but for a folder"):
        index_pictures(model, examples, tmp_path / "index", prune=True, **QUIET)
    with VectorIndex.open(tmp_path / "index") as index:
        assert len(index) == len(examples) + 1 + 8


def test_a_data_split_without_files_goes_by_its_names(model, examples, tmp_path):
    found = index_pictures(model, examples, tmp_path / "index", **QUIET)
    assert found.added == len(examples)
    assert index_pictures(model, examples, tmp_path / "index", **QUIET).known == len(examples)
    with VectorIndex.open(tmp_path / "index") as index:
        assert set(index) == {f"scenes:31:train/{name}" for name in examples.image_ids}
    # Names of another split, or of another source of the kind, are other pictures.
    for other in (load_data("scenes:20")["train"], load_data("scenes:31")["test"]):
        other.image_ids[:] = examples.image_ids[: len(other)]
        assert index_pictures(model, other, tmp_path / "index", **QUIET).added == len(other)


def test_what_is_known_of_a_data_split_is_not_read_again(model, examples, tmp_path, monkeypatch):
    index_pictures(model, examples, tmp_path / "index", **QUIET)
    with VectorIndex.open(tmp_path / "index") as index:
        index.remove([f"scenes:31:train/{examples.image_ids[3]}"])
    read, seen = type(examples).read_picture, []

    def watched(self, place):
        seen.append(place)
        return read(self, place)

    monkeypatch.setattr(type(examples), "read_picture", watched)
    assert index_pictures(model, examples, tmp_path / "index", **QUIET).added == 1
    assert seen == [3]


def test_a_file_that_changes_is_another_picture(model, folder, tmp_path):
    index_pictures(model, folder, tmp_path / "index", **QUIET)
    path, key = folder / "0.png", str((folder / "0.png").resolve())
    path.write_bytes((folder / "2.png").read_bytes())
    os.utime(path, ns=(1, 1))
    again = index_pictures(model, folder, tmp_path / "index", **QUIET)
    assert (again.added, again.known) == (1, 7)
    with VectorIndex.open(tmp_path / "index") as index:
        np.testing.assert_allclose(index.vectors([key]), model.embed_images(path), atol=2e-3)
        assert len(index) == 8
    assert index_pictures(model, folder, tmp_path / "index", **QUIET).known == 8
    # One that can no longer be read is not found by what it was.
    path.write_bytes(b"no picture")
    broken = index_pictures(model, folder, tmp_path / "index", **QUIET)
    assert key in broken.unreadable
    with VectorIndex.open(tmp_path / "index") as index:
        assert key not in index


def test_a_file_that_changes_after_a_kill_is_read_again(model, folder, tmp_path, monkeypatch):
    index_two_batches(model, folder, tmp_path / "index", monkeypatch)
    with VectorIndex.open(tmp_path / "index") as index:
        key = next(iter(index))
    other = next(path for path in sorted(folder.rglob("*.png")) if str(path) != key)
    pathlib.Path(key).write_bytes(other.read_bytes())
    os.utime(key, ns=(1, 1))
    index_pictures(model, folder, tmp_path / "index", **QUIET)
    with VectorIndex.open(tmp_path / "index") as index:
        np.testing.assert_allclose(index.vectors([key]), model.embed_images(key), atol=2e-3)


def test_files_out_of_reach_stay(model, folder, tmp_path):
    """A disk that is not there is no order to forget."""
    paths = sorted(folder.rglob("*.png"))
    index_pictures(model, paths, tmp_path / "index", **QUIET)
    folder.rename(tmp_path / "away")
    again = index_pictures(model, paths, tmp_path / "index", **QUIET)
    assert (again.known, again.added) == (len(paths), 0)
    (tmp_path / "away").rename(folder)
    again = index_pictures(model, paths, tmp_path / "index", **QUIET)
    assert (again.known, again.added) == (len(paths), 0)


def test_clips_are_indexed_by_their_middle_frames(model, tmp_path):
    clips = load_data("moving_scenes:8")["train"]
    assert index_pictures(model, clips, tmp_path / "rendered", **QUIET).added == 8
    for number in range(2):
        write_video(tmp_path / f"v{number}.mp4", grey_ramp(20))
    (tmp_path / "captions.csv").write_text("video,caption\nv0.mp4,grey\nv1.mp4,grey\n")
    files = load_data(f"video:{tmp_path}")
    added = [index_pictures(model, files[s], tmp_path / "files", **QUIET).added for s in files]
    assert sum(added) == 2
    write_video(tmp_path / "v1.mp4", (255 - frame for frame in grey_ramp(30)))
    again = [index_pictures(model, files[s], tmp_path / "files", **QUIET).added for s in files]
    assert sum(again) == 1


def test_pictures_are_read_one_after_another(model, examples, tmp_path, monkeypatch):
    held, most = [], 0
    embed = model.embed_images

    def watched(pictures, **options):
        nonlocal most
        for picture in pictures:
            held.append(picture)
            most = max(most, len(held))
            yield picture
            held.clear()

    monkeypatch.setattr(model, "embed_images", lambda images, **o: embed(watched(images), **o))
    found = index_pictures(model, examples, tmp_path / "index", **QUIET)
    assert (found.added, most) == (len(examples), 1)


def test_the_nearest_by_cosine(model, folder, tmp_path):
    model.save(tmp_path / "model.keras")
    name = str(tmp_path / "model.keras")
    index_pictures(model, folder, tmp_path / "index", model_name=name, **QUIET)
    index, again = open_index(tmp_path / "index")
    keys = list(index)
    vectors = model.embed_images(keys)
    # The scale of neither side may matter when both are given.
    queries = {
        "text": model.embed_texts("a red circle")[0],
        "image": vectors[keys.index(str(folder / "copy of 3.PNG"))],
    }
    queries["both"] = queries["text"] + queries["image"]
    options = {"text": "a red circle", "image": folder / "copy of 3.PNG"}
    for asked, query in queries.items():
        given = options if asked == "both" else {asked: options[asked]}
        found = search_pictures(index, again, k=3, **given)
        expected = np.sort(vectors @ query / np.linalg.norm(query))[::-1][:3]
        np.testing.assert_allclose([score for _, score in found], expected, atol=2e-3)
    twins = search_pictures(index, again, image=folder / "copy of 3.PNG", k=2)
    assert {pathlib.Path(key).name for key, _ in twins} == {"3.png", "copy of 3.PNG"}


def test_a_reranker_orders_what_was_found(model, folder, tmp_path, monkeypatch):
    reranker = scenes_reranker(retriever=model)
    index_pictures(model, folder, tmp_path / "index", **QUIET)
    index, _ = open_index(tmp_path / "index", model)
    keys, text = list(index), "a red circle"
    matches = reranker.match(keys, text, [(i, 0) for i in range(len(keys))])
    # All pictures are candidates: the order is the match's alone.
    found = search_pictures(index, model, text=text, k=3, reranker=reranker)
    np.testing.assert_allclose([score for _, score in found], np.sort(matches)[::-1][:3], atol=1e-5)
    for key, score in found:
        assert score == pytest.approx(matches[keys.index(key)], abs=1e-5)
    # Of fewer candidates, those of the first stage.
    monkeypatch.setattr("keras_vlm.search.pictures.CANDIDATES", 4)
    first = [key for key, _ in search_pictures(index, model, text=text, k=4)]
    found = search_pictures(index, model, text=text, k=1, reranker=reranker)
    assert found[0][0] == max(first, key=lambda key: matches[keys.index(key)])
    # What is gone is left out.
    pathlib.Path(found[0][0]).unlink()
    again = search_pictures(index, model, text=text, k=4, reranker=reranker)
    assert {key for key, _ in again} == set(first) - {found[0][0]}
    for options in ({"image": folder / "1.png"}, {"text": text, "image": folder / "1.png"}):
        with pytest.raises(ValueError, match="text alone must be given with a reranker"):
            search_pictures(index, model, reranker=reranker, **options)


def test_a_reranker_reads_files(model, examples, tmp_path):
    index_pictures(model, examples, tmp_path / "index", **QUIET)
    index, _ = open_index(tmp_path / "index", model)
    with pytest.raises(ValueError, match="index must hold paths of pictures .* which cannot be"):
        search_pictures(
            index, model, text="a red circle", reranker=scenes_reranker(retriever=model)
        )


def test_near_duplicates(model, folder):
    with pytest.raises(ValueError, match="threshold must be a number from -1 to 1, got 95"):
        find_duplicates(model, folder / "nowhere", threshold=95)
    groups = find_duplicates(model, folder, threshold=0.9999, verbose=0)
    assert {"3.png", "copy of 3.PNG"} <= {pathlib.Path(key).name for key in groups[0]}


def test_errors_say_what_to_do(model, folder, tmp_path):
    index_pictures(model, folder, tmp_path / "index", **QUIET)
    other = scenes_retriever("bag")
    other.text_head.weights[0].assign_add(other.text_head.weights[0] * 0 + 1)
    with pytest.raises(ValueError, match="fingerprint must be .* Use the model that made the"):
        index_pictures(other, folder, tmp_path / "index", **QUIET)
    with pytest.raises(ValueError, match="does not say which model made it"):
        open_index(tmp_path / "index")
    index, _ = open_index(tmp_path / "index", model)
    for options, message in (
        ({}, "text or image must be given, got neither"),
        ({"text": "zebra xylophone"}, "must have a word that the model knows, got 'zebra xyl"),
        ({"text": "!!!"}, "must have a word that the model knows, got '!!!'"),
        ({"image": folder / "broken.jpg"}, "image must be a picture that can be read"),
    ):
        with pytest.raises(ValueError, match=message):
            search_pictures(index, model, **options)
    with pytest.raises(FileNotFoundError, match="nowhere is not a folder"):
        index_pictures(model, tmp_path / "nowhere", tmp_path / "second", **QUIET)
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "a.txt").write_text("")
    with pytest.raises(DataError, match="no picture in this folder. Pictures end in .bmp"):
        index_pictures(model, tmp_path / "none", tmp_path / "second", **QUIET)
    scenes_captioner().save(tmp_path / "captioner.keras")
    with pytest.raises(TypeError, match="must be a retriever, got a Captioner"):
        load_retriever(tmp_path / "captioner.keras")


def test_a_fingerprint_is_of_all_that_vectors_depend_on(model):
    first = model.fingerprint()
    assert first == model.fingerprint()
    for part in (model.encoder, model.image_head, model.text_head):
        weight = part.weights[-1]
        value = weight.numpy()
        weight.assign(value + 1)
        assert model.fingerprint() != first
        weight.assign(value)
    assert model.fingerprint() == first
