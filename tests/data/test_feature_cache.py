"""The feature cache: right features, no work twice, and nothing wrong after kills and damage."""

import collections
import concurrent.futures
import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_vlm.data import feature_cache
from keras_vlm.data.feature_cache import FeatureCache
from keras_vlm.data.sources import BytesExamples
from keras_vlm.vision.backbones import Backbone
from keras_vlm.vision.image import resize_image

SIZE = (17, 19)
COUNT = 13
SHARD = 5


def make_encoder(seed=0, **options):
    keras.utils.set_random_seed(seed)
    options = {"trainable_from": None, **options}
    return Backbone("conv_small", image_size=SIZE, weights=None, **options)


def make_pictures(count=COUNT, seed=0):
    """Noise, uint8 [count,17,19,3]; more of them begin with the same ones."""
    random = np.random.default_rng(seed)
    return np.stack([random.integers(0, 256, (*SIZE, 3), np.uint8) for _ in range(count)])


def make_examples(pictures):
    """A split of pictures: arrays are encoded, bytes are taken as they are."""
    encoded = [
        picture if isinstance(picture, bytes) else tf.io.encode_png(picture).numpy()
        for picture in pictures
    ]
    names = [f"picture-{i}" for i in range(len(encoded))]
    # Captions differ in number, as they do in many data sets.
    captions = [["text"] * (1 + i % 3) for i in range(len(encoded))]
    return BytesExamples("memory", "train", "en", names, captions, encoded)


@pytest.fixture(scope="module")
def encoder():
    return make_encoder()


@pytest.fixture(scope="module")
def expected(encoder):
    """The features of ``make_pictures(29)``."""
    return encoder.predict(make_pictures(29).astype(np.float32), verbose=0).astype(np.float16)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(feature_cache, "SHARD_PICTURES", SHARD)


@pytest.fixture
def encoded_pictures(encoder, monkeypatch):
    """Counts the pictures that go through the encoder."""
    counts = collections.Counter()
    predict = type(encoder).predict_on_batch

    def counting(self, images):
        counts["pictures"] += len(images)
        return predict(self, images)

    monkeypatch.setattr(type(encoder), "predict_on_batch", counting)
    return counts


def fill(folder, encoder, pictures, **options):
    """Fills a cache; returns it and each picture's features."""
    cache = FeatureCache(folder, encoder, **options)
    rows = cache.fill(make_examples(pictures), batch_size=3, verbose=0)
    return cache, cache.gather(rows)


def assert_same(features, expected):
    assert features.dtype == np.float16
    assert features.shape == expected.shape
    # One unit in the last place: other batch sizes round otherwise.
    np.testing.assert_allclose(features, expected, rtol=2e-3, atol=1e-3)


def test_features_are_the_encoders(tmp_path, encoder, expected):
    cache, features = fill(tmp_path, encoder, make_pictures())
    assert cache.shape == tuple(encoder.output_shape[1:]) == expected.shape[1:]
    assert_same(features, expected[:COUNT])
    assert len(list(cache.folder.glob("shard-*.npy"))) == -(-COUNT // SHARD)
    assert all(isinstance(shard, np.memmap) for shard in cache._shards)


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
def test_pictures_are_brought_to_the_encoders_size(tmp_path, encoder, resize):
    wide = np.random.default_rng(0).integers(0, 256, (23, 41, 3), np.uint8)
    _, features = fill(tmp_path, encoder, [wide], resize=resize)
    image = resize_image(tf.constant(wide), SIZE, resize)
    expected = encoder.predict(image[None], verbose=0).astype(np.float16)
    assert_same(features, expected)


def test_a_mirrored_cache_has_the_mirror_images_features(tmp_path, encoder):
    pictures = make_pictures()
    mirrored = pictures[:, :, ::-1].astype(np.float32)
    expected = encoder.predict(mirrored, verbose=0).astype(np.float16)
    cache, features = fill(tmp_path, encoder, pictures, mirror=True)
    assert_same(features, expected)
    assert cache.folder != FeatureCache(tmp_path, encoder).folder


def test_the_second_time_no_picture_is_encoded(tmp_path, encoder, encoded_pictures):
    cache, first = fill(tmp_path, encoder, make_pictures())
    assert encoded_pictures["pictures"] == COUNT
    again = cache.gather(cache.fill(make_examples(make_pictures()), verbose=0))
    # In the other order, as another run's split has it, by a process that starts anew.
    _, anew = fill(tmp_path, encoder, make_pictures()[::-1])
    assert encoded_pictures["pictures"] == COUNT
    np.testing.assert_array_equal(again, first)
    np.testing.assert_array_equal(anew[::-1], first)


def test_only_new_and_changed_pictures_are_encoded(tmp_path, encoder, expected, encoded_pictures):
    fill(tmp_path, encoder, make_pictures(7))
    pictures = make_pictures(11)
    # A picture under the name of another one, as when a file is replaced.
    pictures[2] = make_pictures(29)[28]
    _, features = fill(tmp_path, encoder, pictures)
    assert encoded_pictures["pictures"] == 7 + 4 + 1
    assert_same(features, np.concatenate([expected[:2], expected[28:], expected[3:11]]))


def test_several_splits_share_a_cache(tmp_path, encoder, expected):
    cache, first = fill(tmp_path, encoder, make_pictures(7))
    later = cache.fill(make_examples(make_pictures(COUNT)[3:]), verbose=0)
    assert_same(first, expected[:7])
    assert_same(cache.gather(later), expected[3:COUNT])


def test_shards_of_another_size_are_read(tmp_path, encoder, expected, monkeypatch):
    fill(tmp_path, encoder, make_pictures())
    monkeypatch.setattr(feature_cache, "SHARD_PICTURES", 3)
    _, features = fill(tmp_path, encoder, make_pictures(17))
    assert_same(features, expected[:17])


def test_a_picture_that_comes_twice_is_encoded_once(tmp_path, encoder, expected, encoded_pictures):
    places = [0, 1, 0, 2, 2, 3, 4, 5, 0, 6, 5, 1, 0]
    _, features = fill(tmp_path, encoder, make_pictures()[places])
    assert encoded_pictures["pictures"] == 7
    assert_same(features, expected[places])


def test_an_unreadable_picture_has_no_row_and_is_not_tried_again(
    tmp_path, encoder, expected, encoded_pictures
):
    pictures = [*make_pictures(3), b"no picture", b"", *make_pictures(6)[3:]]
    for _ in range(2):
        cache = FeatureCache(tmp_path, encoder)
        rows = cache.fill(make_examples(pictures), verbose=0)
        assert np.flatnonzero(rows < 0).tolist() == [3, 4]
        assert_same(cache.gather(rows[rows >= 0]), expected[:6])
        assert encoded_pictures["pictures"] == len(pictures)


@pytest.mark.parametrize(
    "other",
    [
        lambda encoder: (make_encoder(seed=1), {}),
        lambda encoder: (make_encoder(seed=0), {"resize": "pad"}),
        lambda encoder: (make_encoder(seed=0), {"mirror": True}),
    ],
    ids=["weights", "resize", "mirror"],
)
def test_what_changes_the_features_changes_the_folder(tmp_path, encoder, other):
    changed, options = other(encoder)
    assert (
        FeatureCache(tmp_path, changed, **options).folder != FeatureCache(tmp_path, encoder).folder
    )


def test_one_weight_changes_the_folder_and_the_same_weights_do_not(tmp_path, encoder):
    again = make_encoder()
    assert FeatureCache(tmp_path, again).folder == FeatureCache(tmp_path, encoder).folder
    weights = again.get_weights()
    weights[-1] = weights[-1] + np.eye(1, len(weights[-1]))[0]
    again.set_weights(weights)
    assert FeatureCache(tmp_path, again).folder != FeatureCache(tmp_path, encoder).folder


@pytest.mark.parametrize("keep", ["npy", "temporary npy", "temporary json"])
def test_a_killed_process_resumes(tmp_path, encoder, expected, encoded_pictures, caplog, keep):
    """Leaves of the last shard what a kill at some moment leaves."""
    cache, _ = fill(tmp_path, encoder, make_pictures())
    keys_path = max(cache.folder.glob("shard-*.json"), key=os.path.getmtime)
    features_path = keys_path.with_suffix(".npy")
    lost = np.load(features_path).shape[0]
    keys = keys_path.read_text()
    keys_path.unlink()
    if keep == "temporary npy":
        half = features_path.read_bytes()[:1000]
        features_path.unlink()
        features_path.with_name(f".writing-77-{features_path.name}").write_bytes(half)
    if keep == "temporary json":
        keys_path.with_name(f".writing-77-{keys_path.name}").write_text(keys[:40])
    encoded_pictures.clear()
    _, features = fill(tmp_path, encoder, make_pictures())
    assert encoded_pictures["pictures"] == lost
    assert_same(features, expected[:COUNT])
    assert not caplog.messages


def damage_cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def damage_empty(path):
    path.write_bytes(b"")


def damage_zero(path):
    path.write_bytes(bytes(path.stat().st_size))


def damage_other_text(path):
    path.write_bytes(b"[1, 2, 3, 4, 5]")


def damage_header(path):
    data = bytearray(path.read_bytes())
    data[11] = ord("(")  # NumPy parses the header as Python.
    path.write_bytes(data)


def damage_by_removing(path):
    path.unlink()


def damage_one_row_less(path):
    np.save(path, np.load(path)[:-1])


def damage_other_type(path):
    np.save(path, np.load(path).astype(np.float32))


def damage_one_key_less(path):
    text = path.read_text()
    path.write_text("{" + text[text.index(",") + 1 :])


@pytest.mark.parametrize(
    ("suffix", "damage"),
    [
        *((".npy", damage) for damage in (damage_cut, damage_empty, damage_zero, damage_header)),
        (".npy", damage_other_text),
        (".npy", damage_one_row_less),
        (".npy", damage_other_type),
        (".npy", damage_by_removing),
        *((".json", damage) for damage in (damage_cut, damage_empty, damage_zero)),
        (".json", damage_other_text),
        (".json", damage_one_key_less),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_damaged_shard_is_named_and_computed_anew(
    tmp_path, encoder, expected, encoded_pictures, caplog, suffix, damage
):
    cache, _ = fill(tmp_path, encoder, make_pictures())
    damaged = sorted(cache.folder.glob("shard-*.json"))[1]
    lost = len(np.load(damaged.with_suffix(".npy")))
    damage(damaged.with_suffix(suffix))
    encoded_pictures.clear()
    with caplog.at_level("WARNING", "keras_vlm"):
        _, features = fill(tmp_path, encoder, make_pictures())
    assert_same(features, expected[:COUNT])
    assert encoded_pictures["pictures"] == lost
    (message,) = caplog.messages
    assert f"{damaged.with_suffix('')} is damaged" in message
    caplog.clear()
    # It is gone: the next run is quiet and encodes nothing.
    _, features = fill(tmp_path, encoder, make_pictures())
    assert_same(features, expected[:COUNT])
    assert encoded_pictures["pictures"] == lost
    assert not caplog.messages


FILLER = """
import pathlib, sys, time
import keras
import numpy as np
import tensorflow as tf
from keras_vlm.data import feature_cache
from keras_vlm.data.sources import BytesExamples
from keras_vlm.vision.backbones import Backbone

folder, count, own = pathlib.Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
feature_cache.SHARD_PICTURES = 3
keras.utils.set_random_seed(0)
encoder = Backbone("conv_small", image_size=(17, 19), weights=None, trainable_from=None)
random = np.random.default_rng(0)
pictures = [random.integers(0, 256, (17, 19, 3), np.uint8) for _ in range(count)]
encoded = [tf.io.encode_png(picture).numpy() for picture in pictures]
names = [str(i) for i in range(count)]
examples = BytesExamples("memory", "train", "en", names, [["text"]] * count, encoded)
cache = feature_cache.FeatureCache(folder, encoder)
# Both begin together.
(folder / own).touch()
while len(list(folder.glob("ready-*"))) < 2:
    time.sleep(0.01)
np.save(folder / f"{own}.npy", cache.gather(cache.fill(examples, batch_size=2, verbose=0)))
"""


def test_two_threads_fill_one_cache_at_once(tmp_path, encoder, expected, encoded_pictures):
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(fill, tmp_path, encoder, make_pictures(29)) for _ in range(2)]
        for run in runs:
            assert_same(run.result()[1], expected)
    encoded_pictures.clear()
    _, features = fill(tmp_path, encoder, make_pictures(29))
    assert_same(features, expected)
    assert encoded_pictures["pictures"] == 0


@pytest.mark.slow
def test_two_processes_fill_one_cache_at_once(tmp_path, encoder, expected, encoded_pictures):
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", FILLER, str(tmp_path), "29", f"ready-{i}"],
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        for i in range(2)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors.decode()
    for i in range(2):
        assert_same(np.load(tmp_path / f"ready-{i}.npy"), expected)
    _, features = fill(tmp_path, encoder, make_pictures(29))
    assert_same(features, expected)
    assert encoded_pictures["pictures"] == 0


def test_a_full_disk_stops_before_work_and_keeps_what_is_there(
    tmp_path, encoder, expected, encoded_pictures, monkeypatch
):
    fill(tmp_path, encoder, make_pictures(7))
    usage = collections.namedtuple("usage", "total used free")  # noqa: PYI024
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(2**30, 2**30, 1000))
    encoded_pictures.clear()
    message = r"needs 1 MB for the next 5 pictures, 0 MB are free\. Make room and run the same"
    with pytest.raises(OSError, match=message):
        fill(tmp_path, encoder, make_pictures(17))
    assert encoded_pictures["pictures"] == 0
    monkeypatch.undo()
    monkeypatch.setattr(feature_cache, "SHARD_PICTURES", SHARD)
    _, features = fill(tmp_path, encoder, make_pictures(17))
    assert_same(features, expected[:17])


@pytest.mark.parametrize("failing", ["npy", "json"])
def test_a_write_that_fails_keeps_what_is_there(
    tmp_path, encoder, expected, encoded_pictures, monkeypatch, failing
):
    written = collections.Counter()

    def count_and_fail(kind):
        written[kind] += 1
        if kind == failing and written[kind] == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    save, write_text = np.save, Path.write_text
    monkeypatch.setattr(np, "save", lambda file, array: [count_and_fail("npy"), save(file, array)])
    monkeypatch.setattr(
        Path,
        "write_text",
        lambda path, *args, **kwargs: [
            count_and_fail("json"),
            write_text(path, *args, **kwargs),
        ],
    )
    message = "cannot take the next 5 pictures .*No space left on device.* Make room and run the"
    with pytest.raises(OSError, match=message):
        fill(tmp_path, encoder, make_pictures(17))
    monkeypatch.setattr(np, "save", save)
    monkeypatch.setattr(Path, "write_text", write_text)
    assert not list(tmp_path.glob("*/.writing-*"))
    encoded_pictures.clear()
    _, features = fill(tmp_path, encoder, make_pictures(17))
    assert_same(features, expected[:17])
    assert encoded_pictures["pictures"] == 17 - SHARD


def test_progress_leaves_standard_output_to_results(tmp_path, encoder, capsys):
    FeatureCache(tmp_path, encoder).fill(make_examples(make_pictures()))
    output, errors = capsys.readouterr()
    assert output == ""
    assert f"{COUNT}/{COUNT}" in errors
    FeatureCache(tmp_path, encoder).fill(make_examples(make_pictures()), verbose=0)
    assert capsys.readouterr() == ("", "")


def test_an_encoder_that_learns_or_is_none_is_refused(tmp_path):
    learning = make_encoder(trainable_from="conv3")
    with pytest.raises(ValueError, match=r"encoder must be frozen, got one with trainable weights"):
        FeatureCache(tmp_path, learning)
    model = keras.Sequential([keras.Input((17, 19, 3)), keras.layers.Flatten()])
    with pytest.raises(TypeError, match="encoder must be a Backbone, got Sequential"):
        FeatureCache(tmp_path, model)
