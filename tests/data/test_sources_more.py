"""Karpathy's files, Flickr30k, Flickr8k-CN, tar files, boxes of folders and COCO's instances."""

import io
import json
import tarfile

import numpy as np
import pytest
import tensorflow as tf

from keras_vlm.core.checks import DataError
from keras_vlm.data import load_data
from keras_vlm.data.sources.coco_instances import (
    decode_run_lengths,
    fill_polygons,
    read_instances,
)
from keras_vlm.vision.regions import MASK_SIDE


def jpeg(shade=0):
    return tf.io.encode_jpeg(tf.fill([5, 7, 3], tf.cast(shade, tf.uint8))).numpy()


def write_images(folder, names):
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        (folder / name).write_bytes(jpeg(10 * number))


def karpathy(*splits):
    return {
        "images": [
            {
                "filename": f"{number}.jpg",
                "split": split,
                "sentences": [{"raw": f"text {number}."}, {"raw": "More!"}],
            }
            for number, split in enumerate(splits)
        ]
    }


def test_karpathys_splits(tmp_path):
    write_images(tmp_path / "val2014", ["0.jpg", "1.jpg"])
    write_images(tmp_path, ["2.jpg"])
    content = karpathy("train", "restval", "test")
    content["images"][0]["filepath"] = "val2014"
    content["images"][1]["filepath"] = "val2014"
    path = tmp_path / "dataset_coco.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    splits = load_data(f"karpathy:{path}:{tmp_path}")
    assert list(splits) == ["train", "restval", "test"]
    assert splits["restval"].captions == [["text 1.", "More!"]]
    assert next(iter(splits["test"].dataset()))["image_bytes"].numpy() == jpeg(0)
    path.write_text('{"images": [{"filename": "0.jpg", "sentences": []}]}', encoding="utf-8")
    with pytest.raises(DataError, match=r"images\[0\]: key 'split' is missing"):
        load_data(f"karpathy:{path}:{tmp_path}")
    with pytest.raises(ValueError, match="must be karpathy:FILE.json:IMAGES_DIR, got 'karpathy:x'"):
        load_data("karpathy:x")


def test_flickr30k(tmp_path):
    write_images(tmp_path / "flickr30k-images", ["1.jpg", "2.jpg", "3.jpg"])
    table = "image_name| comment_number| comment\n" + "".join(
        f"{n}.jpg| {k}| text {n} {k} .\n" for n in (1, 2, 3) for k in range(2)
    )
    # As line 19,999 of the published file.
    (tmp_path / "results.csv").write_text(table + "3.jpg| 4   A dog runs .\n", encoding="utf-8")
    data = load_data(f"flickr30k:{tmp_path}")
    assert list(data) == ["all"]
    assert data["all"].captions[2] == ["text 3 0 .", "text 3 1 .", "A dog runs ."]
    (tmp_path / "train.txt").write_text("1\n3\n", encoding="utf-8")
    (tmp_path / "test.txt").write_text("2.jpg\n", encoding="utf-8")
    data = load_data(f"flickr30k:{tmp_path}")
    assert {split: data[split].image_ids for split in data} == {
        "train": ["1.jpg", "3.jpg"], "test": ["2.jpg"],
    }  # fmt: skip
    (tmp_path / "results_20130124.token").write_text("1.jpg#0\tother\n", encoding="utf-8")
    assert load_data(f"flickr30k:{tmp_path}")["train"].captions == [["other"]]
    content = karpathy("train", "train", "val", "test")["images"][1:]
    (tmp_path / "dataset_flickr30k.json").write_text(json.dumps({"images": content}))
    assert list(load_data(f"flickr30k:{tmp_path}")) == ["train", "val", "test"]


def test_flickr8k_cn(tmp_path):
    write_images(tmp_path / "images", ["1.jpg", "2.jpg"])
    (tmp_path / "Flickr_8k.trainImages.txt").write_text("1.jpg\n2.jpg\n")
    lines = "1.jpg#zhc#0 一只狗 在跑\n1.jpg#zhc#1 狗\n2#zhc#0\t两个人。\n"
    path = tmp_path / "flickr8kzhc.caption.txt"
    path.write_text(lines, encoding="utf-8")
    train = load_data(f"flickr8k_cn:{tmp_path}", language="zh")["train"]
    assert train.captions == [["一只狗 在跑", "狗"], ["两个人。"]]
    assert train.language == "zh"
    with pytest.raises(ValueError, match="language must be 'zh' for flickr8k_cn, got 'en'"):
        load_data(f"flickr8k_cn:{tmp_path}")
    path.write_text("1.jpg 一只狗\n", encoding="utf-8")
    with pytest.raises(DataError, match="caption.txt:1: the line must be 'picture.jpg#zhc#0'"):
        load_data(f"flickr8k_cn:{tmp_path}", language="zh")


def write_tar(path, members):
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


@pytest.fixture
def shards(tmp_path):
    record = {"caption": "一只狗", "boxes": [[0, 0.1, 0.5, 1]], "labels": ["dog"]}
    write_tar(
        tmp_path / "train-00.tar",
        {
            "a/0.jpg": jpeg(1),
            "a/0.txt": b"a dog\n\nit runs\n",
            "a/1.json": json.dumps(record).encode(),
            "a/1.jpg": jpeg(2),
            "a/2.jpg": jpeg(3),
            "note.md": b"no picture",
        },
    )
    write_tar(tmp_path / "train-01.tar", {"b.png": jpeg(4), "b.txt": b"a cat"})
    write_tar(tmp_path / "val-00.tar", {"c.jpg": jpeg(5), "c.txt": b"a bird"})
    return tmp_path


def test_tar_files(shards):
    data = load_data(f"webdataset:{shards}/*.tar")
    assert list(data) == ["train", "val"]
    train = data["train"]
    assert train.image_ids == ["a/0", "a/1", "b"]
    assert train.skipped == {"without captions": ["a/2"]}
    assert train.captions == [["a dog", "it runs"], ["一只狗"], ["a cat"]]
    elements = list(train.dataset(shuffle_seed=3).as_numpy_iterator())
    images = {e["image_id"].decode(): e["image_bytes"] for e in elements}
    assert images == {"a/0": jpeg(1), "a/1": jpeg(2), "b": jpeg(4)}
    boxes = {e["image_id"].decode(): e["boxes"].tolist() for e in elements}
    np.testing.assert_allclose(boxes["a/1"], [[0, 0.1, 0.5, 1]], atol=1e-6)
    assert boxes["b"] == []
    one = load_data(f"webdataset:{shards}/train-{{00..01}}.tar")["train"]
    assert one.image_ids == train.image_ids


def test_shards_that_number_their_pictures_alike(tmp_path):
    for shard in range(2):
        members = {"0.jpg": jpeg(shard), "0.txt": b"a dog", "1.md": b"", "1.txt": b"no picture"}
        write_tar(tmp_path / f"train-{shard}.tar", members)
    write_tar(
        tmp_path / "train-2.tar",
        {"train-2/0.jpg": jpeg(7), "train-2/0.txt": b"x", "0.jpg": b"", "0.txt": b"y"},
    )
    train = load_data(f"webdataset:{tmp_path}/*.tar")["train"]
    assert train.image_ids == ["0", "train-1/0", "train-2/0"]
    assert train.skipped == {"of a name that is there already": ["train-2/0"]}
    images = [e["image_bytes"] for e in train.dataset().as_numpy_iterator()]
    assert images == [jpeg(0), jpeg(1), jpeg(7)]


def test_tar_files_keep_the_zeros_at_a_pictures_end(tmp_path):
    picture = jpeg(6) + b"\x00\x00\x00"
    write_tar(tmp_path / "train.tar", {"a.jpg": picture, "a.txt": b"a dog"})
    split = load_data(f"webdataset:{tmp_path}/train.tar")["train"]
    [element] = split.dataset()
    assert element["image_bytes"].numpy() == picture
    # As the conversion to shards reads it, outside of any graph.
    assert split.read_picture(tf.constant(0, tf.int64)).numpy() == picture


@pytest.mark.parametrize("order", [(".txt", ".json"), (".json", ".txt")])
def test_a_json_beside_the_captions_need_have_none(order, tmp_path):
    record = {"url": "https://example.org", "boxes": [[0, 0, 1, 0.5]], "labels": ["dog"]}
    texts = {".txt": b"a dog", ".json": json.dumps(record).encode()}
    other = json.dumps({"caption": "DSC_0001"}).encode()
    write_tar(
        tmp_path / "train.tar",
        {
            "a.jpg": jpeg(1),
            **{f"a{suffix}": texts[suffix] for suffix in order},
            "b.jpg": jpeg(2),
            **{f"b{suffix}": {".txt": b"a cat", ".json": other}[suffix] for suffix in order},
        },
    )
    split = load_data(f"webdataset:{tmp_path}/train.tar")["train"]
    assert split.captions == [["a dog"], ["a cat"]]
    [first, second] = split.dataset()
    assert first["boxes"].numpy().tolist() == [[0, 0, 1, 0.5]]
    assert second["boxes"].shape == (0, 4)


def test_tar_files_that_are_wrong(shards):
    with pytest.raises(FileNotFoundError, match="no file fits 'nowhere"):
        load_data("webdataset:nowhere*.tar")
    path = shards / "train-00.tar"
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(DataError, match="train-00.tar: cannot be read as a tar file"):
        load_data(f"webdataset:{path}")["train"]
    write_tar(path, {"c.jpg": jpeg(5), "c.json": b'{"text": 1}'})
    with pytest.raises(DataError, match=r"c.json: key 'caption' is missing"):
        load_data(f"webdataset:{path}")["train"]


def test_a_folder_with_boxes_and_languages(tmp_path):
    write_images(tmp_path / "images", ["1.jpg", "2.jpg"])
    records = [
        {"image": "1.jpg", "caption": "a dog", "language": "en", "split": "train",
         "boxes": [[0.1, 0.2, 0.3, 0.4]], "labels": ["dog"]},
        {"image": "1.jpg", "caption": "一只狗", "language": "zh", "split": "train"},
        {"image": "2.jpg", "captions": ["一只猫"], "language": "zh", "split": "train"},
    ]  # fmt: skip
    path = tmp_path / "captions.jsonl"

    def write():
        lines = [json.dumps(record, ensure_ascii=False) for record in records]
        path.write_text("\n".join(lines), encoding="utf-8")

    write()
    chinese = load_data(f"folder:{tmp_path}", language="zh")["train"]
    assert chinese.captions == [["一只狗"], ["一只猫"]]
    elements = list(chinese.dataset().as_numpy_iterator())
    np.testing.assert_allclose(elements[0]["boxes"], [[0.1, 0.2, 0.3, 0.4]], atol=1e-6)
    assert elements[0]["labels"].tolist() == [b"dog"]
    assert elements[1]["boxes"].shape == (0, 4)
    for wrong, match in (
        ([[0, 0, 40, 40]], r"jsonl:1: boxes must be \[y0, x0, y1, x1\] in 0..1, as shares"),
        ([[0.5, 0, 0.1, 1]], "jsonl:1: boxes must have y0 < y1 and x0 < x1"),
        ([[0, 0, 1, 1]] * 2, "jsonl:1: labels must be 2, one a box, got 1"),
    ):
        records[0]["boxes"] = wrong
        write()
        with pytest.raises(DataError, match=match):
            load_data(f"folder:{tmp_path}", language="zh")


# COCO's instances, beside its own code


def test_run_lengths_are_cocos():
    coco_masks = pytest.importorskip("pycocotools.mask", reason="pycocotools is not installed")
    random = np.random.default_rng(0)
    for height, width in ((7, 11), (130, 13), (1, 1)):
        mask = (random.random((height, width)) < 0.4).astype(np.uint8)
        packed = coco_masks.encode(np.asfortranarray(mask))
        np.testing.assert_array_equal(decode_run_lengths(packed["counts"], mask.shape), mask)
        text = packed["counts"].decode()
        np.testing.assert_array_equal(decode_run_lengths(text, mask.shape), mask)
    flat = mask.T.ravel()
    assert decode_run_lengths([0, 1] if flat[0] else [1], (1, 1)).tolist() == mask.tolist()
    with pytest.raises(DataError, match=r"counts must add up to 2 x 3 pixels, got 5"):
        decode_run_lengths([2, 3], (2, 3))


def test_polygons_are_nearly_cocos():
    coco_masks = pytest.importorskip("pycocotools.mask", reason="pycocotools is not installed")
    size = (224, 336)
    random = np.random.default_rng(1)
    for _ in range(5):
        angles = np.sort(random.random(9)) * 2 * np.pi
        radii = random.uniform(40, 100, 9)
        polygon = np.stack([168 + radii * np.cos(angles), 112 + radii * np.sin(angles)], axis=1)
        whole = coco_masks.decode(coco_masks.frPyObjects([polygon.ravel().tolist()], *size))[..., 0]
        cells = whole.reshape(MASK_SIDE, 4, MASK_SIDE, 6).mean(axis=(1, 3))
        found = fill_polygons([polygon.ravel().tolist()], size)
        # Theirs rounds corners to pixels and has the edge on it: half a pixel around.
        assert np.abs(found - cells).mean() < 0.012
        assert abs(found.mean() - whole.mean()) < 0.01


def instances():
    rectangle = [[20, 10, 60, 10, 60, 50, 20, 50]]
    return {
        "images": [{"id": 7, "file_name": "7.jpg", "height": 100, "width": 200},
                   {"id": 8, "file_name": "8.jpg", "height": 10, "width": 10}],
        "categories": [{"id": 3, "name": "dog"}],
        "annotations": [
            {"image_id": 7, "category_id": 3, "bbox": [20, 10, 40, 40], "segmentation": rectangle},
            {"image_id": 7, "category_id": 9, "bbox": [0, 0, 200, 100],
             "segmentation": {"size": [100, 200], "counts": [0, 10000, 10000]}},
            {"image_id": 99, "bbox": [0, 0, 1, 1]},
            {"image_id": 7, "category_id": 3, "bbox": [0, 0, 200, 100], "iscrowd": 1},
        ],
    }  # fmt: skip


def test_instances_become_regions(tmp_path):
    path = tmp_path / "instances_val2014.json"
    path.write_text(json.dumps(instances()), encoding="utf-8")
    captions = {
        "images": [{"id": 8, "file_name": "8.jpg"}, {"id": 7, "file_name": "7.jpg"}],
        "annotations": [{"image_id": 7, "caption": "a dog"}, {"image_id": 8, "caption": "no"}],
    }
    (tmp_path / "captions_val2014.json").write_text(json.dumps(captions), encoding="utf-8")
    write_images(tmp_path / "val", ["7.jpg", "8.jpg"])
    split = load_data(
        f"coco:{tmp_path}/captions_{{split}}2014.json:{tmp_path}/{{split}}:"
        f"{tmp_path}/instances_{{split}}2014.json"
    )["val"]
    empty, element = split.dataset().as_numpy_iterator()
    assert element["labels"].tolist() == [b"9", b"dog"]
    np.testing.assert_allclose(element["boxes"], [[0, 0, 1, 1], [0.1, 0.1, 0.5, 0.3]], atol=1e-6)
    masks = element["masks"]
    # The first hundred columns; a rectangle of 40 x 40 pixels.
    assert masks[0][:, : MASK_SIDE // 2].all()
    assert not masks[0][:, MASK_SIDE // 2 :].any()
    assert masks[1].mean() == pytest.approx(0.08, abs=0.01)
    assert empty["boxes"].shape == (0, 4)
    assert empty["masks"].shape == (0, MASK_SIDE, MASK_SIDE)


def test_instances_that_are_wrong(tmp_path):
    path = tmp_path / "instances.json"
    for key, value, match in (
        ("bbox", [1, 2], r"annotations\[0\]: bbox must be \[x, y, width, height\], got"),
        ("bbox", [300, 0, 5, 5], "is not in the picture of 200 x 100"),
        ("segmentation", [[1, 2]], "segmentation must be polygons"),
        ("segmentation", {"size": [2, 2], "counts": [3]}, "must add up to 2 x 2 pixels, got 3"),
        ("segmentation", {"size": [2, 2], "counts": "Pb"}, "must add up to 2 x 2 pixels, got"),
        ("segmentation", [[1, 2, 3, 4, 5, 6, 7]], "segmentation must be polygons"),
    ):
        content = instances()
        content["annotations"][0][key] = value
        path.write_text(json.dumps(content), encoding="utf-8")
        with pytest.raises(DataError, match=match):
            read_instances(path)
    content = instances()
    content["images"][0]["height"] = 0
    for wrong, match in (
        (content, r"images\[0\]: height and width must be 1 or more, got \(0, 200\)"),
        ([], "must be an object with the key 'images'"),
    ):
        path.write_text(json.dumps(wrong), encoding="utf-8")
        with pytest.raises(DataError, match=match):
            read_instances(path)
