"""Video files: the frames are those that a player shows, whatever the file; nothing hurts."""

import fractions
import itertools
import json
import random
import subprocess
import sys

import av
import numpy as np
import pytest
import tensorflow as tf
from videos import FORMATS, PHOTOS, grey_ramp, number_of, write_video

from keras_vlm import DataError
from keras_vlm.vision.clip import encode_frame, read_clip
from keras_vlm.vision.image import decode_image
from keras_vlm.vision.video import Video

# What encoding does to a grey value, in frame numbers of `grey_ramp`.
LOSS = 1.6
TAKES_TO_BREAK = 30


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A video of 100 frames at 25 a second in each format (GIF: 50 at 10)."""
    folder = tmp_path_factory.mktemp("videos")
    for suffix in FORMATS:
        count, rate = (50, 10) if suffix == "gif" else (100, 25)
        write_video(folder / f"a.{suffix}", grey_ramp(count), rate=rate)
    return folder


def shown_at(video, times, **options):
    return [number_of(frame.pixels) for frame in video.frames(times, **options)]


@pytest.mark.parametrize("suffix", FORMATS)
def test_the_frame_at_a_time_is_the_one_that_is_shown_then(folder, suffix):
    rate = 10 if suffix == "gif" else 25
    with Video(folder / f"a.{suffix}") as video:
        # MPEG tells the time of some frames alone.
        loss = 1 if suffix == "mpg" else 0.05
        assert video.duration_seconds == pytest.approx(5 if suffix == "gif" else 4, abs=loss)
        assert video.frame_rate == pytest.approx(rate)
        times = [0.0, 0.03, 0.13, 0.5, 0.51, 1.9, 3.3, 3.99]
        # GIF has 8 levels of grey.
        loss = 18 if suffix == "gif" else LOSS
        found = shown_at(video, times)
        assert found == pytest.approx([int(time * rate + 1e-9) for time in times], abs=loss)
        assert [f.time_seconds for f in video.frames(times)] == times
        # A second time, and from the beginning again.
        assert shown_at(video, times) == found
        assert len(list(video.frames([0.5, 100.0, 101.0]))) == 1


# Files that tell where their key frames are, and files that tell nothing, or the wrong thing.
OPEN = {"codec": "libx264", "x264-params": "open-gop=1:bframes=3:b-adapt=0:scenecut=0"}
HEVC = {"codec": "libx265", "x265-params": "open-gop=1:bframes=4:b-adapt=0:log-level=none"}
JUMPS = {
    "mp4": {}, "mov": {}, "webm": {}, "mkv": {}, "avi": {}, "ts": {}, "mpg": {}, "flv": {},
    "open.mov": OPEN, "open.mkv": OPEN, "open.ts": OPEN, "hevc.mp4": HEVC, "hevc.mkv": HEVC,
    "one.ts": {"key_every": 999}, "one.mpg": {"key_every": 600}, "one.flv": {"key_every": 600},
}  # fmt: skip


@pytest.mark.parametrize("name", JUMPS)
def test_jumps_find_what_decoding_all_finds(tmp_path, name):
    path = tmp_path / f"a.{name}"
    write_video(path, grey_ramp(125), **{"key_every": 10, "rate": 5, **JUMPS[name]})
    with Video(path) as video:
        every = {}
        # So many that it does not pay to jump.
        for frame in video.frames(i / 20 + 0.01 for i in range(500)):
            every[round(frame.time_seconds, 2)] = frame.pixels
        assert len(every) >= 490
        times = list(every)
        alone = [[time] for time in times[7::41]]
        for asked in ([times[15], times[390], times[470]], times[3::60], times[3::110], *alone):
            found = list(video.frames(asked))
            assert len(found) == len(asked)
            for frame in found:
                np.testing.assert_array_equal(
                    frame.pixels, every[round(frame.time_seconds, 2)], err_msg=str(asked)
                )
        assert video.end_seconds is None or video.end_seconds == pytest.approx(25, abs=0.5)


@pytest.fixture
def decoded(monkeypatch):
    """The seconds of all frames that are decoded."""
    seconds = []
    decode = Video._decode

    def counted(*arguments, **options):
        for item in decode(*arguments, **options):
            seconds.append(item[0])
            yield item

    monkeypatch.setattr(Video, "_decode", counted)
    return seconds


def test_a_recording_that_begins_later_lasts_as_long(tmp_path, caplog):
    for suffix in ("mkv", "webm", "mp4"):
        path = tmp_path / f"a.{suffix}"
        write_video(path, grey_ramp(8), times=60 + np.arange(8) / 5, rate=5)
        with Video(path) as video:
            assert video.duration_seconds == pytest.approx(1.6, abs=0.05), suffix
            assert len(list(video.sampled(5))) == 8
    assert not caplog.text


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "webm"])
def test_what_is_jumped_over_is_not_decoded(tmp_path, suffix, decoded):
    path = write_video(tmp_path / f"a.{suffix}", grey_ramp(125), key_every=10, rate=5)
    with Video(path) as video:
        for times in ([24.0], [0.5, 12.1, 20.1], [0.3 + 4 * i for i in range(6)]):
            decoded.clear()
            assert len(list(video.frames(times))) == len(times)
            # From the key frame before, and one more to know that it has not come.
            assert len(decoded) <= 2 + 12 * len(times)


def test_a_stream_without_an_index_is_jumped_over_too(tmp_path, decoded):
    path = write_video(tmp_path / "a.ts", grey_ramp(125, (24, 32)), key_every=4, rate=1)
    with Video(path) as video:
        for times in ([110.5], [5.5, 30.5, 60.5, 90.5, 120.5]):
            decoded.clear()
            found = [number_of(frame.pixels) for frame in video.frames(times)]
            assert found == pytest.approx([int(time) for time in times], abs=LOSS)
            assert len(decoded) <= 2 + 16 * len(times)


def test_a_varying_frame_rate(tmp_path):
    times = np.cumsum([0, 0.1, 0.5, 0.04, 0.04, 1.2, 0.2, 0.04])
    path = write_video(tmp_path / "a.mp4", grey_ramp(8), times=times, rate=25)
    asked = [0.05, 0.12, 0.55, 0.61, 0.66, 1.8, 1.89, 2.09]
    wanted = [np.searchsorted(times, time, side="right") - 1 for time in asked]
    with Video(path) as video:
        assert shown_at(video, asked) == pytest.approx(wanted, abs=LOSS / 2)


@pytest.mark.parametrize(
    ("rotation", "turns"), [(0, 0), (90, 1), (180, 2), (-90, 3), (270, 3)]
)
def test_rotation_is_applied(tmp_path, rotation, turns):
    """Degrees are counter-clockwise, as FFmpeg's; OpenCV turns such a file alike."""
    path = write_video(tmp_path / "a.mp4", grey_ramp(3), rotation=rotation)
    [pixels] = read_clip(path, 1)
    expected = np.rot90(next(grey_ramp(1)), turns)
    assert pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected).mean() < 8


def test_frames_are_brought_down_and_made_square(tmp_path):
    path = tmp_path / "wide.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.sample_aspect_ratio = 2
        frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with Video(path) as video:
        [whole] = video.frames([0.0])
        assert whole.pixels.shape == (48, 128, 3)
        [small] = video.frames([0.0], longest_side=32)
        assert small.pixels.shape == (12, 32, 3)


def test_a_stream_reads_no_further_than_it_is_asked(folder, decoded):
    with Video(folder / "a.mp4") as video:
        endless = video.frames(i / 25 for i in itertools.count())
        first = list(itertools.islice(endless, 10))
        # One more, to know that the tenth is still shown.
        assert len(decoded) == 11
        assert [number_of(f.pixels) for f in first] == pytest.approx(range(10), abs=LOSS)
        assert len(list(endless)) == 90
        assert len(list(video.sampled(3))) == 12
        assert [f.time_seconds for f in video.sampled(1)] == [0.5, 1.5, 2.5, 3.5]


def test_sound_is_no_matter(tmp_path):
    quiet = write_video(tmp_path / "a.mp4", grey_ramp(50))
    loud = write_video(tmp_path / "b.mp4", grey_ramp(50), sound=2)
    for ours, theirs in zip(read_clip(quiet, 5), read_clip(loud, 5), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_clip_is_even_parts_middles(folder):
    found = [number_of(pixels) for pixels in read_clip(folder / "a.mp4", 5)]
    assert found == pytest.approx([10, 30, 50, 70, 90], abs=LOSS)
    found = [number_of(pixels) for pixels in read_clip(folder / "a.mp4", 2, start=1, end=2)]
    assert found == pytest.approx([31, 43], abs=LOSS)
    # More frames than there are: some twice.
    path = write_video(folder / "short.mp4", grey_ramp(2))
    assert [round(number_of(p)) for p in read_clip(path, 4)] == [0, 0, 1, 1]


def test_one_frame_is_a_video(tmp_path):
    path = write_video(tmp_path / "a.mp4", grey_ramp(1))
    assert len(read_clip(path, 3)) == 3


def test_what_was_cut_short_gives_what_is_there(folder, tmp_path, caplog):
    data = (folder / "a.mkv").read_bytes()
    path = tmp_path / "short.mkv"
    path.write_bytes(data[: len(data) // 2])
    with Video(path) as video:
        there = len(list(video.sampled(25)))
        assert 10 < there < 70
        assert video.end_seconds == pytest.approx(there / 25)
    # Evenly over what is there.
    found = [number_of(pixels) for pixels in read_clip(path, 4)]
    assert found == pytest.approx([there * share for share in (1/8, 3/8, 5/8, 7/8)], abs=1 + LOSS)
    assert "ends after" in caplog.text
    assert "of 4.0 seconds. Was it copied in full?" in caplog.text


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "webm"])
def test_a_sound_that_goes_on_is_no_picture(tmp_path, suffix, caplog):
    path = write_video(tmp_path / f"a.{suffix}", grey_ramp(100), sound=7)
    with Video(path) as video:
        assert video.duration_seconds == pytest.approx(4, abs=0.05)
        assert len(list(video.sampled(1))) == 4
    assert number_of(read_clip(path, 1)[0]) == pytest.approx(50, abs=LOSS)
    assert not caplog.text


def test_slow_videos_are_whole(tmp_path, caplog):
    """The last frame is shown for five seconds: nothing is missing after it."""
    path = write_video(tmp_path / "a.mp4", grey_ramp(4), rate=fractions.Fraction(1, 5))
    with Video(path) as video:
        assert len(list(video.sampled(1))) == 20
    assert not caplog.text


@pytest.mark.parametrize("name", ["part1:2.mp4", "concat:a.mp4", "100%d [a]?.mp4"])
def test_any_name_of_a_file(folder, tmp_path, monkeypatch, name):
    (tmp_path / name).write_bytes((folder / "a.mp4").read_bytes())
    monkeypatch.chdir(tmp_path)
    assert len(read_clip(name, 3)) == 3


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_titles_in_any_encoding(folder, tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    with av.open(str(folder / "a.mp4")) as source, av.open(str(path), "w") as container:
        container.metadata["title"] = "a cafe~"
        stream = container.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                container.mux(packet)
    data = path.read_bytes()
    assert b"a cafe~" in data
    path.write_bytes(data.replace(b"a cafe~", "a café ".encode("latin-1")))
    assert len(read_clip(path, 3)) == 3


def test_encoded_frames_are_the_pixels():
    random = np.random.default_rng(0)
    for height, width in [(1, 1), (7, 5), (5, 7), (48, 64)]:
        pixels = random.integers(0, 256, (height, width, 3)).astype(np.uint8)
        np.testing.assert_array_equal(decode_image(tf.constant(encode_frame(pixels))), pixels)


def test_wrong_arguments(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none.mp4: no such video"):
        Video(tmp_path / "none.mp4")
    with pytest.raises(FileNotFoundError, match="no such video"):
        Video(tmp_path)
    with Video(folder / "a.mp4") as video:
        with pytest.raises(ValueError, match="times must rise, got 0.5 after 1.0"):
            list(video.frames([1.0, 0.5]))
        with pytest.raises(ValueError, match="rate must be a number >= 1e-06, got 0"):
            video.sampled(0)
    with pytest.raises(ValueError, match="num_frames must be a whole number >= 1, got 0"):
        read_clip(folder / "a.mp4", 0)
    with pytest.raises(DataError, match="there is no frame after 100 seconds"):
        read_clip(folder / "a.mp4", 2, start=100)


def broken_files(folder, out):
    """Writes broken files of many kinds; those that end in .part may be read in part."""
    whole = {suffix: (folder / f"a.{suffix}").read_bytes() for suffix in FORMATS}
    streamed = out / "streamed.mp4"
    with av.open(str(folder / "a.mp4")) as source:
        options = {"movflags": "faststart"}
        with av.open(str(streamed), "w", options=options) as container:
            stream = container.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(video=0):
                if packet.dts is not None:
                    packet.stream = stream
                    container.mux(packet)
    whole["mp4"] = streamed.read_bytes()
    streamed.unlink()
    noise = random.Random(0)

    def spoiled(data, share, begin=0.0):
        data = bytearray(data)
        for place in range(int(begin * len(data)), len(data)):
            if noise.random() < share:
                data[place] = noise.randrange(256)
        return bytes(data)

    files = {
        "empty.mp4": b"",
        "byte.mp4": b"\0",
        "zeros.mp4": bytes(50_000),
        "noise.avi": noise.randbytes(50_000),
        "text.mp4": b"this is not a video\n" * 100,
        "page.mp4": b"<!doctype html><html>404 not found</html>",
        "picture.mp4": PHOTOS[0].read_bytes(),
        "archive.mkv": b"PK\3\4" + noise.randbytes(5_000),
        "playlist.mp4": b"#EXTM3U\n#EXTINF:4,\n" + str(folder / "a.mp4").encode() + b"\n",
        "concat.mp4": b"ffconcat version 1.0\nfile '" + str(folder / "a.mp4").encode() + b"'\n",
        "late_index.mp4": (folder / "a.mp4").read_bytes()[:3000],
        "no_index.mp4": whole["mp4"].replace(b"moov", b"free"),
        "no_data.mp4": whole["mp4"][: whole["mp4"].index(b"mdat") + 4],
        "wrong_brand.mov": b"\0\0\0\x14ftypXXXX" + noise.randbytes(300),
        "half_header.webm": whole["webm"][:60],
        "half_header.gif": whole["gif"][:9],
        "header.gif": whole["gif"][:13],
        "half_header.avi": whole["avi"][:100],
        "bad_header.mkv": spoiled(whole["mkv"][:400], 0.3) + whole["mkv"][400:],
        "all_bad.mp4": spoiled(whole["mp4"], 0.2),
        "all_bad.gif": spoiled(whole["gif"], 0.3),
    }
    for suffix in FORMATS:
        data = whole[suffix]
        # Of an MP4, whose first half is its index here, more than the index.
        head = max(0, data.find(b"mdat"))
        files[f"cut.part.{suffix}"] = data[: head + int(0.6 * (len(data) - head))]
        files[f"spoiled.part.{suffix}"] = spoiled(data, 0.003, 0.4)
    for name, data in files.items():
        (out / name).write_bytes(data)
    sound = out / "sound.mp4"
    with av.open(str(sound), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), "fltp", "mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return [*files, sound.name]


READ = """
import json, sys
from keras_vlm import DataError
from keras_vlm.vision.clip import read_clip
from keras_vlm.vision.video import Video
for path in sys.argv[1:]:
    try:
        with Video(path) as video:
            frames = len(list(video.sampled(25)))
        assert len(read_clip(path, 3)) == 3
        print(json.dumps([path, frames, None]), flush=True)
    except DataError as error:
        print(json.dumps([path, 0, str(error)]), flush=True)
"""


def test_broken_files_hurt_nobody(folder, tmp_path):
    """Each gives a clear error or what can be read; none crashes the process or hangs it."""
    names = broken_files(folder, tmp_path)
    assert len(names) >= TAKES_TO_BREAK
    paths = [str(tmp_path / name) for name in names]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", READ, *paths],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    # What is missing is told, where a file says how long it should be.
    for suffix in ("mp4", "mkv", "webm", "avi", "flv"):
        assert f"cut.part.{suffix}: " in done.stderr, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    assert [path for path, _, _ in found] == paths
    for name, (path, frames, error) in zip(names, found, strict=True):
        if ".part." in name and not name.endswith(".mov"):
            assert frames > 5, (name, error)
        if error is not None:
            assert error.startswith(path), error
            assert len(error) < len(path) + 130
        elif ".part." not in name:
            # FFmpeg finds an index of another name.
            assert name == "no_index.mp4"
    told = {name: error for name, (_, _, error) in zip(names, found, strict=True)}
    assert "the file is empty" in told["empty.mp4"]
    for name in ("playlist.mp4", "concat.mp4", "picture.mp4", "text.mp4"):
        assert "cannot be read as a video" in told[name]
    assert "there is no video in this file" in told["sound.mp4"]
