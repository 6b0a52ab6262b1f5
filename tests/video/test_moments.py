"""Moments found by a sentence: the frames are a retriever's, and neighbours are one moment."""

import numpy as np
import pytest
from oracles import scenes_retriever
from videos import PHOTOS, grey_ramp, photo_shot, write_video

from keras_vlm import DataError, VectorIndex, index_videos, load, search_moments
from keras_vlm.video.moments import VideoFrames
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
    frames = VideoFrames([film], 0.5)
    assert len(frames) == 6
    assert frames.image_ids[1] == f"{film.resolve()}#t=3.00"
    with Video(film) as video:
        pixels = [frame.pixels for frame in video.frames([1, 3, 5, 7, 9, 11])]
    wanted = model.embed_images(pixels) @ model.embed_texts("a red circle")[0]
    with VectorIndex.open(tmp_path / "index") as index:
        keys, scores = index.search(model.embed_texts("a red circle"), 6)
    order = np.argsort(-wanted)
    np.testing.assert_allclose(scores[0], wanted[order], atol=1e-3)
    assert keys[0][0] == frames.image_ids[order[0]]


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
    monkeypatch.setattr(Video, "frames", None)
    again = index_videos(model, [film], tmp_path / "index", rate=0.5, verbose=0)
    assert (again.added, again.known) == (0, 6)


def test_wrong_arguments(film, tmp_path):
    model = scenes_retriever("bag")
    with pytest.raises(ValueError, match="rate must be a number >= 0.001, got 0"):
        index_videos(model, [film], tmp_path / "index", rate=0)
    (tmp_path / "b.mp4").write_bytes(b"no video")
    with pytest.raises(DataError, match=r"b.mp4: cannot be read as a video"):
        index_videos(model, [tmp_path / "b.mp4"], tmp_path / "index")
