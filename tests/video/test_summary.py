"""Summaries of stitched films whose scenes are known: cuts, key frames, budgets, memory."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from clip_models import video_captioner
from videos import grey_ramp, score_boundaries, stitched, write_video

from keras_vlm import DataError, summarize
from keras_vlm.video import summary as summaries
from keras_vlm.video.digest import write_digest
from keras_vlm.video.summary import Chapter, Shot
from keras_vlm.vision.video import Frame


class Talker:
    """Stands for a captioner where captions do not matter: it has no encoder."""

    def __init__(self):
        self.asked = []

    def caption(self, images, **options):
        self.asked.append(len(images))
        return [f"frame of mean {np.asarray(image).mean():.0f}" for image in images]


@pytest.mark.parametrize(
    ("dissolve", "least"), [pytest.param(0, 0.95, marks=pytest.mark.slow), (12, 0.85)]
)
@pytest.mark.parametrize("method", ["histogram", "features"])
def test_a_film_of_known_scenes(film, published, dissolve, least, method):
    path, boundaries, seconds = film(dissolve)
    found = summarize(path, published, method=method)
    starts = [shot.start_seconds for shot in found.shots[1:]]
    assert score_boundaries(starts, boundaries, max(0.13, dissolve / 50))[2] >= least
    assert found.duration_seconds == pytest.approx(seconds, abs=0.1)
    # Each true scene has a key frame, which lies well within it.
    moments = [frame.time_seconds for shot in found.shots for frame in shot.key_frames]
    for start, end in itertools.pairwise([0.0, *boundaries, seconds]):
        assert any(start + dissolve / 50 < moment < end - dissolve / 50 for moment in moments)
    assert all(shot.caption for shot in found.shots)
    # The first and the seventh show the same photo.
    assert found.shots[0].scene == found.shots[-1].scene
    assert len({shot.scene for shot in found.shots}) == len(found.shots) - 1
    # The outline is whole, and within the default budget: a chapter a scene.
    assert found.chapters[0].start_seconds == 0
    assert found.chapters[-1].end_seconds == found.duration_seconds
    for one, other in itertools.pairwise(found.chapters):
        assert one.end_seconds == other.start_seconds == other.shot.start_seconds
    assert len(found.chapters) == len(found.shots) - 1
    for chapter in found.chapters:
        start, end = chapter.excerpt
        assert chapter.shot.start_seconds <= start < end <= chapter.shot.end_seconds
        assert start <= chapter.shot.key_frames[0].time_seconds <= end


def test_the_same_film_has_the_same_summary(film, published):
    path = film(12)[0]
    assert summarize(path, published) == summarize(path, published)


def test_budgets(film):
    path = film(0)[0]
    talker = Talker()
    whole = summarize(path, talker)
    scenes = {shot.scene for shot in whole.shots}
    assert len(whole.chapters) == len(scenes) == 6
    few = summarize(path, talker, shots=3)
    assert len(few.chapters) == 3
    assert few.shots == whole.shots
    short = summarize(path, talker, seconds=7.0)
    lengths = [end - start for start, end in (chapter.excerpt for chapter in short.chapters)]
    assert 4.0 < sum(lengths) <= 7.0
    [chapter] = summarize(path, talker, seconds=0.5).chapters
    assert chapter.excerpt[1] - chapter.excerpt[0] == pytest.approx(0.5)
    assert len(summarize(path, talker, seconds=1000).chapters) == 6
    for options, message in (
        ({"shots": 0}, "shots must be a whole number >= 1, got 0"),
        ({"seconds": -1}, "seconds must be a number"),
        ({"rate": 0}, "rate must be a number"),
        ({"shots": 3, "seconds": 9}, "shots must be None where seconds are given, got 3 and 9"),
        ({"method": "guess"}, "method must be one of 'histogram', 'features', got 'guess'"),
    ):
        with pytest.raises(ValueError, match=message):
            summarize(path, talker, **options)


def test_a_captioner_of_clips_sees_several_frames_of_each_shot(film):
    model = video_captioner()
    seen = []
    caption = model.caption
    model.caption = lambda clips, **options: seen.extend(clips) or caption(clips, **options)
    found = summarize(film(0)[0], model)
    assert [clip.shape for clip in seen] == [(4, 96, 128, 3)] * len(found.shots)
    assert all(shot.caption for shot in found.shots)


def test_a_captioner_without_an_encoder_will_do(film):
    talker = Talker()
    found = summarize(film(0)[0], talker)
    assert talker.asked == [len(found.shots)]
    for shot in found.shots:
        mean = tf.io.decode_jpeg(shot.key_frames[0].jpeg).numpy().mean()
        assert abs(float(shot.caption.split()[-1]) - mean) < 3


def test_one_shot_and_one_frame(tmp_path):
    path = write_video(tmp_path / "a.mp4", grey_ramp(1))
    found = summarize(path, Talker())
    assert len(found.shots) == len(found.chapters) == 1
    assert found.shots[0].begins_with == "start"
    (tmp_path / "b.mp4").write_bytes(b"no video")
    with pytest.raises(DataError, match=r"b.mp4: cannot be read as a video"):
        summarize(tmp_path / "b.mp4", Talker())


def test_held_frames_do_not_grow_with_the_video(monkeypatch):
    """Ten hours at a frame a second: never more frames at once than a shot's and a window's."""
    frames, _ = stitched([30, 30], size=(24, 32), seed=2)
    most = 0

    class LongVideo:
        path, duration_seconds = "long.mp4", 36_000.0

        def sampled(self, rate, longest_side):
            for i in range(36_000):
                # A cut a minute for five hours, then a shot of five hours.
                pixels = frames[0 if i > 18_000 or i // 60 % 2 else 45]
                yield Frame(i + 0.5, pixels)

        def __init__(self, path):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

    teller = summaries._Teller
    add = teller.add

    def counted(self, start, end, kind, held):
        nonlocal most
        most = max(most, len(held), len(self._waiting))
        add(self, start, end, kind, held)

    monkeypatch.setattr(summaries, "Video", LongVideo)
    monkeypatch.setattr(teller, "add", counted)
    talker = Talker()
    found = summarize("long.mp4", talker, rate=1)
    assert len(found.shots) == 300
    assert {shot.scene for shot in found.shots} == {0, 1}
    assert most <= summaries.BATCH
    assert max(talker.asked) == summaries.BATCH


def test_the_digest():
    shots = [
        Shot(0.0, 5.0, "start", 0, (), "a dog runs."),
        Shot(5.0, 65.0, "cut", 1, (), "a dog runs"),
        Shot(65.0, 70.0, "cut", 2, (), "a man sits"),
        Shot(70.0, 71.0, "cut", 3, (), ""),
    ]
    chapters = [Chapter(shot.start_seconds, shot.end_seconds, shot, (0, 1)) for shot in shots]
    expected = "1:11 long, 4 shots. A dog runs (0:00). Then a man sits (1:05)."
    assert write_digest(chapters, 4, 71.0) == expected
    expected = "全长1:11，共4个镜头。a dog runs（0:00）；a man sits（1:05）。"
    assert write_digest(chapters, 4, 71.0, "zh") == expected
