"""The report of a data set, perceptual hashes, conversion to shards, and augmented views."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

from keras_vlm.data import load_data
from keras_vlm.data.convert import NOTE, convert_data
from keras_vlm.data.perceptual_hash import (
    MOST_BITS,
    count_bits,
    hash_picture,
    look_alikes,
    similar_pairs,
)
from keras_vlm.data.regions import Regions
from keras_vlm.data.report import describe_data, judge
from keras_vlm.data.sources.base import BytesExamples
from keras_vlm.data.views import augmented_views
from keras_vlm.vision.augmentation import AUGMENTATIONS


def noise(seed, size=(40, 60)):
    """A picture with shapes of its own."""
    random = np.random.default_rng(seed)
    small = random.uniform(0, 255, (5, 7, 3))
    return tf.image.resize(small, size, "bicubic").numpy().clip(0, 255).astype(np.uint8)


def jpeg(image, quality=95):
    return tf.io.encode_jpeg(image, quality=quality).numpy()


def split_of(name, pictures, captions=None, **options):
    ids = [f"{name}-{number}" for number in range(len(pictures))]
    captions = captions or [[f"a picture {number}"] for number in range(len(pictures))]
    return BytesExamples("mine", name, "en", ids, captions, pictures, **options)


def test_hashes_survive_sizes_and_qualities():
    for seed in range(8):
        image = noise(seed, (120, 160))
        half = tf.image.resize(image, (60, 80), antialias=True).numpy().astype(np.uint8)
        poor = tf.io.decode_jpeg(jpeg(image, 60)).numpy()
        hashes = [np.array([hash_picture(each).numpy()]) for each in (image, half, poor)]
        assert count_bits(hashes[0], hashes[1])[0] <= MOST_BITS
        assert count_bits(hashes[0], hashes[2])[0] <= MOST_BITS
        other = np.array([hash_picture(noise(100 + seed)).numpy()])
        assert count_bits(hashes[0], other)[0] > 3 * MOST_BITS


def test_similar_pairs_are_all_there_are():
    random = np.random.default_rng(0)
    hashes = random.integers(-(2**63), 2**63 - 1, 60)
    for place in range(0, 60, 3):
        changed = sum(1 << int(bit) for bit in random.choice(63, random.integers(0, 6), False))
        hashes[place] = hashes[place + 1] ^ np.int64(changed)
    expected = {
        (i, j, n)
        for i, j in itertools.combinations(range(60), 2)
        if (n := bin(int(hashes[i] ^ hashes[j]) & (2**64 - 1)).count("1")) <= MOST_BITS
    }
    found = list(similar_pairs(hashes))
    assert len(found) == len(set(found))
    assert set(found) == expected
    assert len(expected) > 5
    assert list(similar_pairs([0, 0, 1])) == []


def test_look_alikes_are_one_a_picture_and_earlier_group():
    random = np.random.default_rng(1)
    some = random.integers(-(2**63), 2**63 - 1, 9)
    hashes = some[random.integers(0, 9, 70)] ^ (1 << random.integers(0, 5, 70))
    hashes[::7] = 0
    groups = np.sort(random.integers(0, 3, 70)).tolist()
    expected = []
    for place in range(70):
        for group in range(groups[place]):
            near = [
                (int(np.bitwise_count(np.uint64(hashes[i] ^ hashes[place]))), i)
                for i in range(70)
                if groups[i] == group and hashes[i] and hashes[place]
            ]
            bits, one = min(near, default=(64, None))
            expected += [(one, place, bits)] if bits <= MOST_BITS else []
    found = look_alikes(hashes, groups)
    assert found == sorted(expected)
    assert len(found) > 20


def test_a_placeholder_of_which_there_are_many_copies_is_no_square_of_work():
    hashes = np.full(60_000, 0x1234_5678_9ABC_DEF0)
    found = look_alikes(hashes, [0] * 30_000 + [1] * 30_000)
    assert found == [(0, place, 0) for place in range(30_000, 60_000)]


def test_a_report():
    pictures = [jpeg(noise(seed)) for seed in range(5)]
    again = jpeg(noise(2), 70)
    boxes = Regions(np.array([[0, 0, 1, 1]], np.float32), ["dog"])
    train = split_of(
        "train", [*pictures, b"broken"], [["a dog runs", "a cat"]] * 3 + [["the dog"]] * 3,
        regions=[boxes] * 4 + [Regions()] * 2,
    )  # fmt: skip
    val = split_of("val", [jpeg(noise(9, (30, 200))), again])
    report = describe_data({"train": train, "val": val}, verbose=0)
    assert json.loads(json.dumps(report)) == report
    found = report["splits"]["train"]
    assert (found["pictures"], found["captions"], found["unreadable"]) == (6, 9, ["train-5"])
    assert found["caption_lengths"] == {
        "least": 2.0, "5%": 2.0, "median": 2.0, "95%": 3.0, "most": 3.0,
    }  # fmt: skip
    assert found["vocabulary"] == 5
    assert found["vocabulary_growth"] == {"10%": 3, "25%": 4, "50%": 4, "100%": 5}
    assert found["repeated_captions"] == 1.0
    assert found["labels"] == {"dog": 4}
    assert found["sides"]["median"] == 40
    [pair] = report["duplicates"]
    assert (pair["one"], pair["other"]) == (["train", "train-2"], ["val", "val-1"])
    said = " ".join(report["verdict"])
    assert said.startswith("1 pairs of pictures in different splits look the same")
    assert "1 of 8 pictures cannot be read and teach nothing. That is much" in said
    assert "6 pictures to train on are few" in said


def test_regions_are_counted_without_labels_and_where_there_are_none():
    boxes = np.array([[0, 0, 1, 1], [0, 0, 0.5, 1]], np.float32)
    masks = np.ones((3, 56, 56), np.uint8)
    regions = [Regions(boxes), Regions(boxes[:0], []), Regions(masks=masks)]
    train = split_of("train", [jpeg(noise(seed)) for seed in range(3)], regions=regions)
    found = describe_data({"train": train}, verbose=0)["splits"]["train"]
    assert found["regions"]["least"] == 0
    assert found["regions"]["median"] == 2
    assert found["regions"]["most"] == 3
    assert found["labels"] == {}


def test_a_good_data_set_gets_a_good_word():
    report = describe_data(load_data("scenes:220"), verbose=0)
    answers = report["splits"]["train"]["answers"]
    assert report["splits"]["train"]["questions"] >= sum(answers.values()) > 0
    # Scenes are of 64 pixels and different scenes never look the same by chance of one answer.
    assert not any("cannot be read" in sentence for sentence in report["verdict"])
    fine = {"pictures": 900, "unreadable": [], "skipped": {}, "sides": {"median": 200}}
    assert judge({"train": fine, "val": fine}, [], {}) == [
        "1800 pictures, and nothing that speaks against training on them."
    ]


def read_back(folder):
    data = load_data(f"tfds:mine:{folder}")
    return {
        split: {
            e["image_id"].decode(): (e["image_bytes"], e["captions"].tolist(),
                                     e["boxes"].tolist(), e["labels"].tolist())
            for e in data[split].dataset().as_numpy_iterator()
        }
        for split in data
    }  # fmt: skip


@pytest.fixture
def splits():
    boxes = Regions(np.array([[0, 0, 0.5, 1]], np.float32), ["dog"])
    pictures = [jpeg(noise(seed)) for seed in range(7)]
    regions = [boxes, Regions()] * 3 + [boxes]
    captions = [[f"text {k} of {i}" for k in range(1 + i % 3)] for i in range(7)]
    return {
        "train": split_of("train", pictures, captions, regions=regions),
        "val": split_of("val", pictures[:2]),
    }


def test_shards_read_back_as_they_were(splits, tmp_path):
    folder = convert_data(splits, tmp_path, "mine", shard_pictures=3, verbose=0)
    names = sorted(path.name for path in folder.glob("*.tfrecord*"))
    assert names[0] == "mine-train.tfrecord-00000-of-00003"
    assert len(names) == 4
    found = read_back(tmp_path)
    for split, examples in splits.items():
        assert list(found[split]) == examples.image_ids
        for e in examples.dataset().as_numpy_iterator():
            image, texts, boxes, labels = found[split][e["image_id"].decode()]
            assert image == e["image_bytes"]
            assert texts == e["captions"].tolist()
            assert boxes == e.get("boxes", np.zeros((0, 4))).tolist()
            assert labels == e.get("labels", np.zeros(0)).tolist()
    with pytest.raises(FileExistsError, match="holds a data set already"):
        convert_data(splits, tmp_path, "mine", verbose=0)
    with pytest.raises(ValueError, match="name must be small letters, .* got 'My data'"):
        convert_data(splits, tmp_path, "My data", verbose=0)


def test_a_conversion_that_failed_goes_on(splits, tmp_path, monkeypatch):
    read = BytesExamples.read_picture

    def break_at_5(self, index):
        if int(index) == 5:
            raise OSError("the disk is full")
        return read(self, index)

    monkeypatch.setattr(BytesExamples, "read_picture", break_at_5)
    with pytest.raises(OSError, match="the disk is full"):
        convert_data(splits, tmp_path, "mine", shard_pictures=2, workers=1, verbose=0)
    folder = tmp_path / "mine" / "1.0.0"
    made = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.tfrecord*")}
    # Of train's four shards the third is the broken one.
    assert "mine-train.tfrecord-00001-of-00004" in made
    assert "mine-train.tfrecord-00002-of-00004" not in made
    assert (folder / NOTE).exists()
    monkeypatch.setattr(BytesExamples, "read_picture", read)
    with pytest.raises(FileExistsError, match="a conversion with other options"):
        convert_data(splits, tmp_path, "mine", shard_pictures=3, verbose=0)
    texts = [[f"other {number}"] for number in range(7)]
    other = {"train": split_of("train", [jpeg(noise(seed)) for seed in range(7)], texts)}
    with pytest.raises(FileExistsError, match="a conversion with other options"):
        convert_data({**splits, **other}, tmp_path, "mine", shard_pictures=2, verbose=0)
    convert_data(splits, tmp_path, "mine", shard_pictures=2, verbose=0)
    assert {name: (folder / name).stat().st_mtime_ns for name in made} == made
    assert sorted(read_back(tmp_path)["train"]) == splits["train"].image_ids


def test_a_conversion_leaves_masks_out_and_says_so(tmp_path, caplog):
    masks = Regions(None, ["sky"], np.ones((1, 56, 56), np.uint8))
    data = {"train": split_of("train", [jpeg(noise(1))], regions=[masks])}
    convert_data(data, tmp_path, "mine", verbose=0)
    assert "mine: masks are left out" in caplog.text
    [(_, texts, boxes, labels)] = read_back(tmp_path)["train"].values()
    assert (texts, boxes, labels) == ([b"a picture 0"], [], [])


@pytest.mark.slow
def test_a_conversion_that_was_killed_goes_on(tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    lines = []
    for number in range(300):
        (pictures / f"{number}.jpg").write_bytes(jpeg(noise(number % 7)))
        lines.append(json.dumps({"image": f"{number}.jpg", "caption": f"n {number}", "split": "a"}))
    (pictures / "captions.jsonl").write_text("\n".join(lines), encoding="utf-8")
    command = [sys.executable, "-m", "keras_vlm.cli.main", "data", f"folder:{pictures}",
               "--convert", str(tmp_path), "--name", "mine", "--shard-pictures", "20"]  # fmt: skip
    folder = tmp_path / "mine" / "1.0.0"
    child = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while child.poll() is None and len(list(folder.glob("mine-*"))) < 3:
        time.sleep(0.01)
    if child.poll() is None:
        os.kill(child.pid, signal.SIGKILL)
    child.wait()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    # Unless all was there before the kill.
    assert done.returncode == 0 or "holds a data set already" in done.stderr, done.stderr[-900:]
    data = load_data(f"tfds:mine:{tmp_path}")["a"]
    assert sorted(data.image_ids, key=lambda name: int(name[:-4])) == [
        f"{number}.jpg" for number in range(300)
    ]


def test_views_are_what_training_sees():
    examples = load_data("scenes:5")["train"]
    found = list(augmented_views(examples, AUGMENTATIONS["flip"], views=9, pictures=3))
    assert [image_id for image_id, _ in found] == examples.image_ids[:3]
    for place, (_, rows) in enumerate(found):
        assert rows[0][1:] == (examples.captions[place][0], False)
        mirrored = {flag for _, _, flag in rows[1:]}
        assert mirrored == {True, False}
        images = {tf.io.decode_jpeg(data).numpy().tobytes() for data, _, _ in rows}
        assert len(images) == 2
    changed = {caption for _, rows in found for _, caption, flag in rows if flag}
    assert changed != {rows[0][1] for _, rows in found}
