import json

import pytest
import tensorflow as tf

from keras_vlm.core.checks import DataError
from keras_vlm.data import load_data


def write_coco(path, numbers, *, folder=None, **changes):
    """A caption file in which picture i has captions, two of them for even numbers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    captions = [
        {"id": 10 * i + k, "image_id": i, "caption": f" picture {i} text {k}\n"}
        for i in numbers
        for k in range(2 - i % 2)
    ]
    images = [{"id": i, "file_name": f"COCO_{i:05d}.jpg", "width": 7} for i in numbers]
    content = {"info": {}, "images": images, "annotations": captions, **changes}
    path.write_text(json.dumps(content), encoding="utf-8")
    if folder:
        folder.mkdir(exist_ok=True)
        for i in numbers:
            picture = tf.io.encode_jpeg(tf.zeros([5, 7, 3], tf.uint8)).numpy()
            (folder / f"COCO_{i:05d}.jpg").write_bytes(picture)
    return path


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("captions_train2014.json", "train"),
        ("captions_val2017.json", "val"),
        ("Captions-Test.json", "test"),
        ("my_captions.json", "all"),
        ("training_values.json", "all"),
        ("captions_restval.json", "restval"),
    ],
)
def test_the_split_is_in_the_name(tmp_path, name, split):
    path = write_coco(tmp_path / name, [3, 2], folder=tmp_path / "pictures")
    splits = load_data(f"coco:{path}:{tmp_path / 'pictures'}")
    assert list(splits) == [split]
    examples = splits[split]
    assert examples.image_ids == ["3", "2"]
    assert examples.captions == [["picture 3 text 0"], ["picture 2 text 0", "picture 2 text 1"]]
    assert [path.name for path in examples.paths] == ["COCO_00003.jpg", "COCO_00002.jpg"]


def test_a_file_a_split(tmp_path):
    for split, numbers in (("train", [1, 2, 3]), ("val", [4])):
        path = tmp_path / "annotations" / f"captions_{split}2014.json"
        write_coco(path, numbers, folder=tmp_path / f"{split}2014")
    annotations = f"{tmp_path}/annotations/captions_{{split}}2014.json"
    splits = load_data(f"coco:{annotations}:{tmp_path}/{{split}}2014")
    assert {split: len(splits[split]) for split in splits} == {"train": 3, "val": 1}


def test_no_file_fits(tmp_path):
    (tmp_path / "a").touch()
    with pytest.raises(FileNotFoundError, match="no annotation file fits .*captions_{split}.json"):
        load_data(f"coco:{tmp_path}/captions_{{split}}.json:{tmp_path}")
    with pytest.raises(ValueError, match="{split} must stand in the name of the annotation file"):
        load_data(f"coco:{tmp_path}/{{split}}/captions.json:{tmp_path}")


def test_counts_what_it_skips(tmp_path, caplog):
    path = write_coco(tmp_path / "captions.json", [1, 2, 3], folder=tmp_path / "pictures")
    content = json.loads(path.read_text())
    content["images"].append({"id": 4, "file_name": "COCO_00001.jpg"})
    content["annotations"].append({"image_id": 77, "caption": "of no picture"})
    path.write_text(json.dumps(content))
    (tmp_path / "pictures" / "COCO_00002.jpg").unlink()
    with caplog.at_level("WARNING", "keras_vlm"):
        examples = load_data(f"coco:{path}:{tmp_path / 'pictures'}")["all"]
    assert examples.image_ids == ["1", "3"]
    assert examples.skipped == {
        "named by captions only": ["77"],
        "missing": ["2"],
        "without captions": ["4"],
    }
    assert len(caplog.messages) == 3


def test_drive_letters_stay_whole(monkeypatch):
    seen = []
    monkeypatch.setattr("keras_vlm.data.sources.coco.split_files", lambda a: seen.append(a) or {})
    load_data(r"coco:C:\data\captions.json:D:\pictures")
    assert seen == [r"C:\data\captions.json"]


@pytest.mark.parametrize("argument", ["", "captions.json", "captions.json:", "pictures:a.jsonl"])
def test_the_name_must_have_two_parts(argument):
    with pytest.raises(ValueError, match=r"coco:ANNOTATIONS\.json:IMAGES_DIR, got 'coco:"):
        load_data(f"coco:{argument}")


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"captions\.json is not there"):
        load_data(f"coco:{tmp_path}/captions.json:{tmp_path}")
    path = write_coco(tmp_path / "captions.json", [1])
    with pytest.raises(FileNotFoundError, match="nowhere is not a folder"):
        load_data(f"coco:{path}:{tmp_path}/nowhere")["all"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"images": [', r"captions\.json:1:13: broken JSON"),
        ("[]", r"captions\.json: must be an object with the key 'images', got \[\]"),
        ('{"image": []}', r"key 'images' is missing \(found 'image'\)"),
        ('{"images": {}, "annotations": []}', "images must be a list, got {}"),
        ('{"images": [], "annotations": []}', "images is empty"),
        (
            '{"images": [{"id": 1, "name": "a.jpg"}], "annotations": []}',
            r"images\[0\]: key 'file_name' is missing \(found 'id', 'name'\)",
        ),
        (
            '{"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [{"image_id": 1}]}',
            r"annotations\[0\]: key 'caption' is missing \(found 'image_id'\)",
        ),
        (
            '{"images": [], "annotations": [{"image_id": [1], "caption": "a"}]}',
            r"annotations\[0\]: image_id must be a number or a text, got \[1\]",
        ),
        (
            '{"images": [], "annotations": [{"image_id": 1, "caption": null}]}',
            r"annotations\[0\]: caption must be a text, got None",
        ),
    ],
)
def test_broken_files(tmp_path, text, message):
    path = tmp_path / "captions.json"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        load_data(f"coco:{path}:{tmp_path}")["all"]
