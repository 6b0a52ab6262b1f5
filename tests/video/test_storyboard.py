"""What a summary is written as: each file read back by other means."""

import base64
import dataclasses
import json
import re

import pytest
import tensorflow as tf

from keras_vlm.video.storyboard import (
    NAMES,
    describe_summary,
    plot_contact_sheet,
    write_chapters,
    write_summary,
)
from keras_vlm.video.summary import Chapter, KeyFrame, Shot, Summary


def picture(value):
    image = tf.fill((30, 40, 3), tf.constant(value, tf.uint8))
    return tf.io.encode_jpeg(image).numpy()


@pytest.fixture
def summary(tmp_path):
    captions = ["a <b>dog</b> & $x_1$ --> runs", "a man", ""]
    starts = [0.0, 61.5, 3723.25, 3730.0]
    shots = [
        Shot(starts[i], starts[i + 1], "cut", i, (KeyFrame(starts[i] + 1, picture(80 * i)),), text)
        for i, text in enumerate(captions)
    ]
    shots.insert(1, Shot(60.0, 61.5, "dissolve", 0, shots[0].key_frames, captions[0]))
    chosen = [shots[0], shots[2], shots[3]]
    chapters = [
        Chapter(shot.start_seconds, shot.end_seconds, shot, (shot.start_seconds, 4.0))
        for shot in chosen
    ]
    path = tmp_path / "a film & more.mp4"
    path.write_bytes(b"")
    return Summary(str(path), 3730.0, 1.0, shots, chapters, "1:02:10 long, <4> shots.")


def test_all_files_are_written(summary, tmp_path):
    paths = write_summary(summary, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(NAMES.values())
    told = json.loads(paths["json"].read_text(encoding="utf-8"))
    assert told == describe_summary(summary)
    assert told["digest"] == summary.digest
    assert [chapter["start_seconds"] for chapter in told["chapters"]] == [0.0, 61.5, 3723.25]
    assert told["shots"][1] == {
        "start_seconds": 60.0, "end_seconds": 61.5, "begins_with": "dissolve", "scene": 0,
        "caption": "a <b>dog</b> & $x_1$ --> runs", "key_frames_seconds": [1.0],
    }  # fmt: skip
    # Again, over what is there.
    before = paths["contact_sheet"].read_bytes()
    write_summary(summary, tmp_path / "out")
    assert paths["contact_sheet"].read_bytes() == before


def test_chapters_are_webvtt(summary, tmp_path):
    write_chapters(summary, tmp_path / "a.vtt")
    head, *cues = (tmp_path / "a.vtt").read_text(encoding="utf-8").strip().split("\n\n")
    assert head == "WEBVTT"
    times = [cue.split("\n")[1] for cue in cues]
    assert times == [
        "00:00:00.000 --> 00:01:01.500", "00:01:01.500 --> 01:02:03.250",
        "01:02:03.250 --> 01:02:10.000",
    ]  # fmt: skip
    texts = [cue.split("\n")[2] for cue in cues]
    assert texts == ["a &lt;b>dog&lt;/b> &amp; $x_1$ -> runs", "a man", "Chapter 3"]


def test_the_storyboard_needs_no_other_file(summary, tmp_path):
    page = write_summary(summary, tmp_path / "out")["storyboard"].read_text(encoding="utf-8")
    assert "<b>dog</b>" not in page
    assert "1:02:10 long, &lt;4&gt; shots." in page
    assert "<h2>3 chapters</h2>" in page
    assert "<h2>All 4 shots</h2>" in page
    pictures = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page)
    assert len(pictures) == 7
    assert base64.b64decode(pictures[1]) == summary.chapters[1].shot.key_frames[0].jpeg
    links = re.findall(r'href="([^"]+)"', page)
    assert links[1].startswith("file:///")
    assert links[1].endswith("a%20film%20%26%20more.mp4#t=61.50")
    assert not re.findall(r'(?:src|href)="https?:', page)


def test_the_contact_sheet_shows_the_key_frames(summary, tmp_path):
    sheet = write_summary(summary, tmp_path / "out")["contact_sheet"]
    image = tf.io.decode_png(sheet.read_bytes(), 3).numpy()
    height, width = image.shape[:2]
    assert (height, width) == (290, 960)
    # Each chapter's picture in its own column.
    for i in range(3):
        middle = image[height * 2 // 3, int((i + 0.5) * width / 3)]
        assert abs(int(middle[0]) - 80 * i) < 8


def test_the_contact_sheet_of_a_thousand_chapters_can_be_drawn(summary, tmp_path):
    many = dataclasses.replace(summary, chapters=[summary.chapters[0]] * 1000)
    plot_contact_sheet(many, tmp_path / "sheet.png")
    image = tf.io.decode_png((tmp_path / "sheet.png").read_bytes(), 3)
    assert image.shape == (15 * 290, 4 * 320, 3)
