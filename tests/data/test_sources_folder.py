import json

import pytest
import tensorflow as tf

from keras_vlm.core.checks import DataError
from keras_vlm.data import load_data


def write_images(folder, names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(tf.io.encode_png(tf.zeros([5, 7, 3], tf.uint8)).numpy())


def write_lines(path, records):
    path.write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")


def everything(splits):
    """Captions by picture, over all splits."""
    return {
        image_id: captions
        for examples in splits.values()
        for image_id, captions in zip(examples.image_ids, examples.captions, strict=True)
    }


WANTED = {"a.png": ["a dog", "a brown dog, running"], "b.png": ["a cat"], "c.png": ["一只鸟"]}
FORMS = {
    "captions.jsonl": [
        '{"image": "a.png", "caption": "a dog"}\n{"image": "a.png", '
        '"caption": "a brown dog, running"}\n\n'
        '{"image": "b.png", "caption": ["a cat"]}\n{"image": "c.png", "captions": ["一只鸟"]}',
    ],
    "captions.csv": [
        'image,caption\na.png,a dog\r\na.png,"a brown dog, running"\nb.png, a cat\nc.png,一只鸟\n',
        'id,caption,image,split\n1,a dog,a.png,\n2,"a brown dog, running",a.png,\n'
        "\n3,a cat,b.png,\n4,一只鸟,c.png,\n",
        "image\tcaption\na.png\ta dog\na.png\ta brown dog, running\nb.png\ta cat\nc.png\t一只鸟\n",
    ],
    "captions.tsv": [
        "image\tcaption\na.png\ta dog\na.png\ta brown dog, running\nb.png\ta cat\nc.png\t一只鸟\n",
    ],
    "captions.json": [
        json.dumps(WANTED),
        json.dumps([{"image": name, "captions": texts} for name, texts in WANTED.items()]),
        json.dumps({**WANTED, "b.png": "a cat"}),
        json.dumps(
            {
                "images": [{"id": i, "file_name": name} for i, name in enumerate(WANTED)],
                "annotations": [
                    {"image_id": i, "caption": text}
                    for i, texts in enumerate(WANTED.values())
                    for text in texts
                ],
            }
        ),
    ],
    "captions.txt": [
        "a.png\ta dog\na.png\ta brown dog, running\nb.png\ta cat\nc.png\t一只鸟\n",
        "a.png#0\ta dog\na.png#1\ta brown dog, running\nb.png#0\ta cat\nc.png#0\t一只鸟\n",
        'image,caption\na.png,a dog\na.png,"a brown dog, running"\nb.png,a cat\nc.png,一只鸟\n',
    ],
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize(("name", "text"), [(n, t) for n, texts in FORMS.items() for t in texts])
def test_every_form_of_captions(tmp_path, name, text, encoding):
    write_images(tmp_path, WANTED)
    (tmp_path / name).write_text(text, encoding=encoding)
    splits = load_data(f"folder:{tmp_path}")
    assert everything(splits) == WANTED
    assert splits.skipped == {}


@pytest.mark.parametrize("named", ["", "images/"])
def test_pictures_in_a_folder_of_their_own(tmp_path, named):
    write_images(tmp_path / "images", ["a.png", "deep/b.png"])
    captions = {f"{named}a.png": ["a dog"], f"{named}deep/b.png": ["a cat"]}
    (tmp_path / "captions.json").write_text(json.dumps(captions))
    splits = load_data(f"folder:{tmp_path}")
    assert everything(splits) == captions
    for examples in splits.values():
        assert all(e["image_bytes"][1:4] == b"PNG" for e in examples.dataset().as_numpy_iterator())


# Splits


def test_splits_by_digest_are_stable_and_near_their_shares(tmp_path):
    names = [f"{i}.png" for i in range(400)]
    write_images(tmp_path, names)
    write_lines(tmp_path / "captions.jsonl", [{"image": n, "caption": n} for n in names])
    splits = load_data(f"folder:{tmp_path}")
    sizes = {split: len(splits[split]) for split in splits}
    assert list(sizes) == ["train", "val", "test"]
    assert sum(sizes.values()) == 400
    assert 340 <= sizes["train"] <= 375
    assert min(sizes.values()) >= 10
    # The same in every process, on every machine.
    assert sorted(splits["test"].image_ids)[:4] == ["18.png", "197.png", "227.png", "228.png"]
    before = {split: set(splits[split].image_ids) for split in splits}
    # With half of the pictures, in another order, each stays where it was.
    half = [{"image": n, "caption": n} for n in reversed(names[::2])]
    write_lines(tmp_path / "captions.jsonl", half)
    for split, examples in load_data(f"folder:{tmp_path}").items():
        assert set(examples.image_ids) <= before[split]


@pytest.mark.parametrize(
    ("count", "sizes"), [(1, [1]), (2, [1, 1]), (3, [1, 1, 1]), (5, [3, 1, 1])]
)
def test_few_pictures_still_fill_the_splits(tmp_path, count, sizes):
    # The digests of these five names are all below 0.9.
    names = ["0.png", "1.png", "2.png", "4.png", "5.png"][:count]
    write_images(tmp_path, names)
    write_lines(tmp_path / "captions.jsonl", [{"image": n, "caption": n} for n in names])
    splits = load_data(f"folder:{tmp_path}")
    assert [len(splits[split]) for split in splits] == sizes
    assert sorted(everything(splits)) == names


def test_splits_that_the_records_name(tmp_path):
    write_images(tmp_path, ["a.png", "b.png", "c.png"])
    records = [
        {"image": "c.png", "caption": "c", "split": "dev"},
        {"image": "a.png", "caption": "a", "split": "train"},
        {"image": "b.png", "caption": "b", "split": "train"},
        {"image": "a.png", "caption": "aa", "split": "train"},
    ]
    write_lines(tmp_path / "captions.jsonl", records)
    splits = load_data(f"folder:{tmp_path}")
    assert sorted(splits) == ["dev", "train"]
    assert splits["train"].image_ids == ["a.png", "b.png"]
    assert splits["train"].captions == [["a", "aa"], ["b"]]
    assert splits["val"].image_ids == ["c.png"]
    write_lines(tmp_path / "captions.jsonl", [*records, {"image": "a.png", "caption": "a"}])
    with pytest.raises(DataError, match=r":5: split of 'a\.png' must be 'train' as before, got N"):
        load_data(f"folder:{tmp_path}")
    del records[0]["split"]
    write_lines(tmp_path / "captions.jsonl", records)
    with pytest.raises(DataError, match=r"split of 'c\.png' is missing, and other pictures have"):
        load_data(f"folder:{tmp_path}")


def test_a_folder_a_split(tmp_path):
    for split, names in (("train", ["a.png", "b.png"]), ("val", ["a.png"])):
        write_images(tmp_path / split, names)
        (tmp_path / split / "captions.csv").write_text(
            "image,caption\n" + "".join(f"{n},{split} {n}\n" for n in names)
        )
    (tmp_path / "notes").mkdir()
    splits = load_data(f"folder:{tmp_path}")
    assert list(splits) == ["train", "val"]
    assert splits["val"].captions == [["val a.png"]]
    assert splits["train"].image_ids == ["a.png", "b.png"]


def test_records_of_other_languages_are_left_out(tmp_path):
    write_images(tmp_path, ["a.png"])
    records = [
        {"image": "a.png", "caption": "a dog", "language": "en"},
        {"image": "a.png", "caption": "一只狗", "language": "zh"},
    ]
    write_lines(tmp_path / "captions.jsonl", records)
    for language, caption in (("en", "a dog"), ("zh", "一只狗")):
        assert load_data(f"folder:{tmp_path}", language=language)["train"].captions == [[caption]]
    with pytest.raises(DataError, match=r"no caption is in the language 'fr' \(found 'en', 'zh'\)"):
        load_data(f"folder:{tmp_path}", language="fr")


# Bad input


def test_counts_what_it_skips(tmp_path, caplog):
    write_images(tmp_path, ["a.png", "b.png", "alone.PNG", "blank.png"])
    write_lines(
        tmp_path / "captions.jsonl",
        [{"image": n, "caption": n} for n in ("a.png", "gone.png", "b.png")]
        + [{"image": "blank.png", "caption": "  "}],
    )
    with caplog.at_level("WARNING", "keras_vlm"):
        splits = load_data(f"folder:{tmp_path}")
    assert sorted(everything(splits)) == ["a.png", "b.png"]
    assert splits.skipped == {
        "missing": ["gone.png"],
        "without captions": ["blank.png", "alone.PNG"],
    }
    assert caplog.messages == [
        "folder: skipped 1 of 5 pictures: missing (the first: gone.png).",
        "folder: skipped 2 of 5 pictures: without captions (the first: blank.png).",
    ]


def test_no_picture_is_left(tmp_path):
    write_lines(tmp_path / "captions.jsonl", [{"image": "gone.png", "caption": "a"}])
    with pytest.raises(DataError, match=r"no picture is left: 1 of 1 pictures: missing"):
        load_data(f"folder:{tmp_path}")


def test_empty_folder_no_captions_and_two_files_of_them(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere is not a folder"):
        load_data(f"folder:{tmp_path}/nowhere")
    with pytest.raises(DataError, match=r"the folder .* is empty"):
        load_data(f"folder:{tmp_path}")
    write_images(tmp_path, ["a.png", "b.png"])
    with pytest.raises(DataError, match=r"has 2 pictures and no captions\. Write captions\.jsonl"):
        load_data(f"folder:{tmp_path}")
    (tmp_path / "captions.csv").touch()
    with pytest.raises(DataError, match=r"captions\.csv: the file has no caption"):
        load_data(f"folder:{tmp_path}")
    (tmp_path / "captions.jsonl").touch()
    with pytest.raises(DataError, match=r"one file of captions, got captions\.jsonl and captions"):
        load_data(f"folder:{tmp_path}")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "captions.jsonl",
            '{"image": "a.png", "caption": "a"}\n\n{"img": "a.png", "caption": "a"}',
            r"captions\.jsonl:3: key 'image' is missing \(found 'img', 'caption'\)",
        ),
        (
            "captions.jsonl",
            '{"image": "a.png", "text": "a"}',
            r"captions\.jsonl:1: key 'caption' is missing \(found 'image', 'text'\)",
        ),
        ("captions.jsonl", '\n{"image": "a.png",', r"captions\.jsonl:2:19: broken JSON"),
        ("captions.jsonl", '["a.png", "a"]', r":1: must be an object with the key 'image', got \["),
        ("captions.jsonl", '{"image": 3, "caption": "a"}', r":1: image must be a text, got 3"),
        (
            "captions.jsonl",
            '{"image": "a.png", "caption": [1]}',
            r":1: caption must be a text or a list of texts, got \[1\]",
        ),
        (
            "captions.jsonl",
            '{"image": "a.png", "caption": "a", "split": 1}',
            r":1: split must be a text, got 1",
        ),
        (
            "captions.csv",
            "image,caption\na.png,a dog, brown\n",
            r"captions\.csv:2: the line must have 2 fields, got 3.*quotation marks",
        ),
        ("captions.csv", 'image,caption\na.png,"a dog', r"captions\.csv:2: broken CSV"),
        (
            "captions.csv",
            "file,caption\na.png,a\n",
            r"captions\.csv:2: key 'image' is missing \(found 'file', 'caption'",
        ),
        ("captions.json", '{\n"a.png": ["a"]', r"captions\.json:2:15: broken JSON"),
        ("captions.json", '"a.png"', r"captions\.json: must be an object or a list, got str"),
        ("captions.json", '[{"image": "a.png"}]', r"\[0\]: key 'caption' is missing"),
        ("captions.json", '{"a.png": 1}', r"'a\.png': caption must be a text or a list"),
        (
            "captions.txt",
            "a.png a dog\n",
            r"captions\.txt:1: .* a tab and a caption, got 'a\.png a",
        ),
    ],
)
def test_broken_captions(tmp_path, name, text, message):
    write_images(tmp_path, ["a.png"])
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        load_data(f"folder:{tmp_path}")
