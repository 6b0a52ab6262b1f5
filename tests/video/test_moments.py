"""Moments found by a sentence: the frames are a retriever's, and neighbours are one moment."""

import pathlib

import numpy as np
import pytest
from oracles import scenes_retriever
from videos import PHOTOS, grey_ramp, photo_shot, write_video

from keras_vlm import DataError, VectorIndex, index_videos, load, search_moments
from keras_vlm.vision.video import Video


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Four seconds each of a cup, a camera man and a cat, five frames a second."""
    wanted = ["coffee", "camera", "chelsea"]
    frames = []
    for stem in wanted:
        [path] = [path for path in PHOTOS if path.stem == stem]
        frames += list(photo_shot(path, 20, (96, 128), 0))
    return write_video(tmp_path_factory.mktemp("film") / "film.mp4", frames, rate=5)


def test_the_published_retriever_finds_the_scene(film, tmp_path):
    model = load("retriever-lite0-flickr8k")
    done = index_videos(model, [film], tmp_path / "index", model_name="x", verbose=0)
    assert (done.added, done.known) == (12, 0)
    with VectorIndex.open(tmp_path / "index") as index:
        [moment, *others] = search_moments(index, model, "a man with a camera", k=2)
    assert moment.path == str(film.resolve())
    assert 3.9 <= moment.start_seconds <= moment.time_seconds <= moment.end_seconds <= 8.1
    assert all(moment.score >= other.score for other in others)
    # A second time nothing is new.
    again = index_videos(model, [film], tmp_path / "index", model_name="x", verbose=0)
    assert (again.added, again.known) == (0, 12)


def test_vectors_are_those_of_the_frames(film, tmp_path):
    model = scenes_retriever("bag")
    index_videos(model, [film], tmp_path / "index", rate=0.5, verbose=0)
    times = [1, 3, 5, 7, 9, 11]
    with Video(film) as video:
        pixels = [frame.pixels for frame in video.frames(times)]
    wanted = model.embed_images(pixels) @ model.embed_texts("a red circle")[0]
    with VectorIndex.open(tmp_path / "index") as index:
        keys, scores = index.search(model.embed_texts("a red circle"), 6)
    order = np.argsort(-wanted)
    np.testing.assert_allclose(scores[0], wanted[order], atol=1e-3)
    assert keys[0] == [f"{film.resolve()}#t={times[place]:.2f}" for place in order]


def test_neighbours_are_one_moment(tmp_path):
    model = scenes_retriever("bag")
    query = model.embed_texts("a red circle")[0]
    apart = np.linspace(0, 0.3, 7)[:, None] * np.roll(query, 1)
    keys = [f"a.mp4#t={time:.2f}" for time in (10.5, 11.5, 30.5, 12.5, 31.5, 9.5)]
    keys.append("b.mp4#t=11.50")
    with VectorIndex.create(tmp_path / "index", len(query), kind="flat") as index:
        index.add(keys, query + apart)
        found = search_moments(index, model, "a red circle", k=5)
        [first] = search_moments(index, model, "a red circle", k=1)
    spans = [(m.path, m.start_seconds, m.end_seconds, m.time_seconds) for m in found]
    assert spans == [("a.mp4", 9.0, 13.0, 10.5), ("a.mp4", 30.0, 32.0, 30.5),
                     ("b.mp4", 11.0, 12.0, 11.5)]  # fmt: skip
    assert first == found[0]


def test_a_long_moment_leaves_room_for_others(tmp_path):
    """A minute that fits is one moment, found whole; its slopes are none."""
    model = scenes_retriever("bag")
    query = model.embed_texts("a red circle")[0]
    away = np.full(200, 3.0)
    away[50:110] = np.linspace(0.1, 0.3, 60)
    away[110:115] = [0.9, 1.0, 1.2, 1.5, 2.0]
    away[160] = 0.8
    other = np.roll(query, 1) - (np.roll(query, 1) @ query) * query
    other /= np.linalg.norm(other)
    with VectorIndex.create(tmp_path / "index", len(query), kind="flat") as index:
        index.add([f"a.mp4#t={t + 0.5:.2f}" for t in range(200)], query + away[:, None] * other)
        index.add(["photo.jpg", "b.mp4#t=1.00"], query + np.zeros((2, 1)))
        a, b = (str(pathlib.Path.cwd() / name) for name in ("a.mp4", "b.mp4"))
        index.add([f"{a}#t=3.00", f"{b}#t=4.00"], query + np.zeros((2, 1)))
        found = search_moments(index, model, "a red circle", k=3)
        [there] = search_moments(index, model, "a red circle", paths=["b.mp4"])
    assert len(found) == 3
    assert (there.path, there.time_seconds) == (b, 4.0)
    with VectorIndex.open(tmp_path / "index") as index:
        index.remove(["b.mp4#t=1.00", f"{a}#t=3.00", f"{b}#t=4.00"])
        found = search_moments(index, model, "a red circle", k=2)
    spans = [(m.start_seconds, m.end_seconds) for m in found]
    assert spans == [(50.0, 110.0), (160.0, 161.0)]


def test_frames_that_are_alike_are_one_moment_however_little_they_fit(tmp_path):
    model = scenes_retriever("bag")
    query = model.embed_texts("a red circle")[0]
    vector = np.roll(query, 1) - 1.1 * query
    with VectorIndex.create(tmp_path / "index", len(query), kind="flat") as index:
        index.add([f"a.mp4#t={t + 0.5:.2f}" for t in range(20)], vector + np.zeros((20, 1)))
        [moment] = search_moments(index, model, "a red circle", k=5)
    assert (moment.start_seconds, moment.end_seconds) == (0.0, 20.0)
    assert moment.score < 0


def test_a_frame_between_joins_two_moments(tmp_path):
    """Frames are found by their score: the middle of a stretch may come last."""
    model = scenes_retriever("bag")
    query = model.embed_texts("a red circle")[0]
    apart = np.linspace(0, 0.1, 5)[:, None] * np.roll(query, 1)
    keys = [f"a.mp4#t={time:.2f}" for time in (10.5, 14.5, 12.5, 20.5, 17.5)]
    with VectorIndex.create(tmp_path / "index", len(query), kind="flat") as index:
        index.add(keys, query + apart)
        found = search_moments(index, model, "a red circle", k=5)
    spans = [(m.start_seconds, m.end_seconds, m.time_seconds) for m in found]
    assert spans == [(10.0, 15.0, 10.5), (20.0, 21.0, 20.5), (17.0, 18.0, 17.5)]


def test_a_video_shorter_than_an_interval_has_a_frame(tmp_path):
    path = write_video(tmp_path / "short.mp4", grey_ramp(5))
    done = index_videos(scenes_retriever("bag"), [path], tmp_path / "index", verbose=0)
    assert (done.added, done.unreadable) == (1, [])


def test_what_is_known_is_not_decoded_again(film, tmp_path, monkeypatch):
    model = scenes_retriever("bag")
    index_videos(model, [film], tmp_path / "index", rate=0.5, verbose=0)
    with monkeypatch.context() as patch:
        patch.setattr(Video, "frames", None)
        again = index_videos(model, [film], tmp_path / "index", rate=0.5, verbose=0)
    assert (again.added, again.known) == (0, 6)
    # Another rate: other frames, and the old ones are gone.
    again = index_videos(model, [film], tmp_path / "index", rate=1, verbose=0)
    assert (again.added, again.known) == (12, 0)
    with VectorIndex.open(tmp_path / "index") as index:
        assert len(index) == 12


def test_a_file_that_changes_is_put_in_anew(film, tmp_path):
    model = scenes_retriever("bag")
    path = tmp_path / "a.mp4"
    path.write_bytes(film.read_bytes())
    index_videos(model, [path, film], tmp_path / "index", verbose=0)
    write_video(path, grey_ramp(75))
    again = index_videos(model, [path, film], tmp_path / "index", verbose=0)
    assert (again.added, again.known) == (3, 12)
    with VectorIndex.open(tmp_path / "index") as index:
        assert len(index) == 15


def test_a_broken_video_is_told_and_left_out(film, tmp_path, caplog):
    """Also one that can be opened and has no frame, or that pretends to last for a century."""
    model = scenes_retriever("bag")
    (tmp_path / "noise.mp4").write_bytes(b"no video")
    whole = write_video(tmp_path / "whole.mkv", grey_ramp(100)).read_bytes()
    begin = whole.index(b"\x1f\x43\xb6\x75") + 40
    (tmp_path / "none.mkv").write_bytes(whole[:begin] + bytes(len(whole) - begin))
    (tmp_path / "cut.mkv").write_bytes(whole[: len(whole) * 2 // 3])
    century = whole.replace(b"00:00:04.000000000", b"99:59:59.000000000")
    assert century != whole
    (tmp_path / "century.mkv").write_bytes(century)
    names = ["noise.mp4", "none.mkv", "cut.mkv", "century.mkv"]
    paths = [film, *(tmp_path / name for name in names)]
    done = index_videos(model, paths, tmp_path / "index", verbose=0)
    assert [pathlib.Path(path).name for path in done.unreadable] == ["noise.mp4", "none.mkv"]
    assert done.added == 12 + 4 + 2
    assert "none.mkv: no frame can be decoded" in caplog.text
    again = index_videos(model, paths, tmp_path / "index", verbose=0)
    assert (again.added, again.known) == (0, done.added)


def test_wrong_arguments(film, tmp_path):
    model = scenes_retriever("bag")
    with pytest.raises(ValueError, match="rate must be a number from 0.001 to 50.0, got 0"):
        index_videos(model, [film], tmp_path / "index", rate=0)
    (tmp_path / "b.mp4").write_bytes(b"no video")
    with pytest.raises(DataError, match=r"b.mp4: cannot be read as a video"):
        index_videos(model, [tmp_path / "b.mp4"], tmp_path / "index")
    with pytest.raises(FileNotFoundError, match=r"none.mp4: no such video"):
        index_videos(model, [film, tmp_path / "none.mp4"], tmp_path / "index")
    with pytest.raises(ValueError, match="rate must be a number from 0.001 to 50.0, got 60"):
        index_videos(model, [film], tmp_path / "index", rate=60)
