"""Shots on stitched clips whose every boundary is known: photos and rendered scenes."""

import numpy as np
import pytest
import tensorflow as tf
from videos import score_boundaries, stitched, write_video

from keras_vlm import Backbone, find_shots, read_clip
from keras_vlm.vision.shots import ShotDetector, colour_histogram, shrink

FRAMES_A_SECOND = 25


def find(frames, rate, method="histogram", backbone=None):
    detector = ShotDetector(rate, method=method)
    times = (np.arange(int(len(frames) / FRAMES_A_SECOND * rate)) + 0.5) / rate
    sampled = [frames[int(time * FRAMES_A_SECOND)] for time in times]
    vectors = [None] * len(sampled)
    if backbone is not None:
        images = tf.image.resize(np.stack(sampled), backbone.input_shape[1:3])
        vectors = backbone.predict(images, verbose=0).mean(axis=1)
    found = []
    for time, pixels, vector in zip(times, sampled, vectors, strict=True):
        found += detector.add(time, pixels, vector)
    return found + detector.finish()


@pytest.mark.parametrize(
    ("method", "rate", "dissolve", "least"),
    [
        # Measured: 1, 1 and 0.926, by either method.
        ("histogram", 8, 0, 0.99),
        ("histogram", 25, 0, 0.95),
        ("histogram", 8, 12, 0.99),
        ("histogram", 8, 25, 0.92),
        ("features", 8, 0, 0.99),
        pytest.param("features", 8, 12, 0.99, marks=pytest.mark.slow),
        pytest.param("features", 8, 25, 0.92, marks=pytest.mark.slow),
    ],
)
def test_boundaries_are_found(method, rate, dissolve, least):
    backbone = Backbone("efficientnet_lite0", image_size=64) if method == "features" else None
    counts = np.zeros(3)
    seeds = (21, 22, 23)
    for seed in seeds:
        lengths = np.random.default_rng(seed).integers(55, 110, 8).tolist()
        frames, boundaries = stitched(lengths, dissolve=dissolve, seed=seed, size=(60, 80))
        found = find(frames, rate, method, backbone)
        wanted = [place / FRAMES_A_SECOND for place in boundaries]
        tolerance = max(1 / rate, dissolve / FRAMES_A_SECOND / 2)
        counts += score_boundaries([b.time_seconds for b in found], wanted, tolerance)
    precision, recall, f1 = counts / len(seeds)
    assert f1 >= least, (precision, recall, f1)


def test_a_shape_that_appears_is_no_cut():
    """Features see another thing, where a fifth of the picture has changed."""
    frames = [np.full((60, 80, 3), 180, np.uint8) for _ in range(100)]
    for frame in frames[50:]:
        frame[15:45, 20:50] = (200, 30, 30)
    backbone = Backbone("efficientnet_lite0", image_size=64)
    assert find(frames, 8, "features", backbone) == []
    for frame in frames[50:]:
        frame[frame == 180] = 90
    assert len(find(frames, 8, "features", backbone)) == 1


@pytest.mark.parametrize("dissolve", [0, 12])
def test_shots_of_a_file(tmp_path, dissolve):
    frames, [first, second] = stitched([75, 75, 75], dissolve=dissolve, size=(60, 80), seed=31)
    path = write_video(tmp_path / "a.mp4", frames)
    shots = find_shots(path)
    assert [kind for _, _, kind in shots] == ["start"] + 2 * ["dissolve" if dissolve else "cut"]
    ends = [first / FRAMES_A_SECOND, second / FRAMES_A_SECOND, len(frames) / FRAMES_A_SECOND]
    assert [end for _, end, _ in shots] == pytest.approx(ends, abs=0.13 if dissolve else 0.07)
    assert [start for start, _, _ in shots] == [0.0, *(end for _, end, _ in shots[:-1])]
    # A clip of each: its frames are the shot's own.
    for (start, end, _), place in zip(shots, (30, first + 30, second + 30), strict=True):
        [middle] = read_clip(path, 1, start, end)
        assert np.abs(middle.astype(float) - frames[place]).mean() < 12
    found = find_shots(path, method="features", vector_of=lambda pixels: pixels.mean(axis=(0, 1)))
    assert found[0][:1] == (0.0,)
    with pytest.raises(ValueError, match="vector must be given with the method features"):
        find_shots(path, method="features")


def test_the_same_frames_give_the_same_boundaries():
    frames, _ = stitched([40, 50, 45], size=(60, 80), seed=3)
    assert find(frames, 8) == find(frames, 8)


def test_cuts_and_dissolves_are_told_apart():
    frames, _ = stitched([75, 75], size=(60, 80), seed=31)
    assert [boundary.kind for boundary in find(frames, 8)] == ["cut"]
    frames, [place] = stitched([75, 75], dissolve=25, size=(60, 80), seed=31)
    [found] = find(frames, 8)
    assert found.kind == "dissolve"
    assert found.time_seconds == pytest.approx(place / FRAMES_A_SECOND, abs=0.3)


def test_what_moves_or_flashes_is_no_cut():
    frames, _ = stitched([200], size=(60, 80), seed=32)
    frames = [frame.copy() for frame in frames]
    for i in range(150):
        frames[i + 20][10:40, i // 3 : i // 3 + 20] = (250, 30, 30)
    for i in (60, 120):
        frames[i] = np.full_like(frames[i], 255)
    assert find(frames, 25) == []
    assert find(frames, 8) == []


def test_a_long_video_keeps_a_window_of_frames():
    detector = ShotDetector(8)
    frame = np.zeros((6, 8, 3), np.uint8)
    for i in range(1000):
        assert detector.add(i / 8, frame) == []
    assert len(detector._samples) <= 2 * detector.delay


def test_small_pictures_and_histograms():
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (33, 47, 3)).astype(np.uint8)
    assert colour_histogram(pixels).sum() == pytest.approx(1)
    rows = np.linspace(0, 33, 17).astype(int)
    columns = np.linspace(0, 47, 17).astype(int)
    block = pixels[rows[4] : rows[5], columns[9] : columns[10]].mean(axis=(0, 1)) / 255
    np.testing.assert_allclose(shrink(pixels).reshape(16, 16, 3)[4, 9], block, rtol=1e-5)
    assert shrink(pixels[:3, :5]).shape == (16 * 16 * 3,)


def test_wrong_arguments():
    with pytest.raises(ValueError, match="method must be one of 'histogram', 'features', got 'c"):
        ShotDetector(8, method="colour")
    with pytest.raises(ValueError, match="rate must be a number"):
        ShotDetector(0)
    with pytest.raises(ValueError, match="vector must be given with the method features"):
        ShotDetector(8, method="features").add(0.0, np.zeros((6, 8, 3), np.uint8))
