"""Sources of questions: what each reads is what was written; errors name file, line and key."""

import csv
import json

import numpy as np
import pytest
import tensorflow as tf

from keras_vlm import DataError, load_data
from keras_vlm.data.questions import flatten
from keras_vlm.data.sources.easy_vqa import question_type

PNG = tf.io.encode_png(tf.zeros([8, 8, 3], tf.uint8)).numpy()


def write_pictures(folder, names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(PNG)


def write_json(path, value):
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def test_choices_are_no_answers_and_suffixes_may_be_upper_case(tmp_path):
    write_pictures(tmp_path, ["a.png", "b.png"])
    rows = [{"image": name, "question": "Q?", "a": "left", "answers": ["left", "right"],
             "boxes": "none", "labels": 3} for name in ("a.png", "b.png")]  # fmt: skip
    (tmp_path / "QA.JSONL").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    data = load_data(f"folder:{tmp_path}", keys="file=QA.JSONL,answer=a")
    found = [q for split in data.values() for q in flatten(split.questions)]
    assert [q.answers for q in found] == [("left",), ("left",)]
    (tmp_path / "QA.CSV").write_text("image,question,answer\na.png,Q?,x\nb.png,Q?,y\n", "utf-8")
    data = load_data(f"folder:{tmp_path}", keys="file=QA.CSV")
    assert {q.answer for split in data.values() for q in flatten(split.questions)} == {"x", "y"}


def test_boxes_of_questions_are_their_pictures(tmp_path):
    write_pictures(tmp_path, ["a.png", "b.png"])
    box, other = [0.1, 0.2, 0.5, 0.6], [0, 0, 1, 0.5]
    rows = [
        {"image": "a.png", "question": "Q?", "answer": "x", "boxes": [box], "labels": ["dog"]},
        {"image": "a.png", "question": "R?", "answer": "y", "boxes": [box, other],
         "labels": ["dog", "cat"]},
        {"image": "b.png", "question": "Q?", "answer": "y"},
    ]  # fmt: skip
    path = tmp_path / "questions.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    elements = {
        each["image_id"]: each
        for split in load_data(f"folder:{tmp_path}").values()
        for each in split.dataset().as_numpy_iterator()
    }
    np.testing.assert_allclose(elements[b"a.png"]["boxes"], [box, other])
    assert elements[b"a.png"]["labels"].tolist() == [b"dog", b"cat"]
    path.write_text(json.dumps({**rows[0], "boxes": [[3, 4, 50, 60]]}), encoding="utf-8")
    with pytest.raises(DataError, match=r"questions.jsonl:1: boxes must be .* in 0..1"):
        load_data(f"folder:{tmp_path}")


# VQA v2


def official(folder, split="train", *, answers=10):
    """Three questions about two pictures, in the official form, and one picture nobody asks of."""
    questions = [(7, 100, "Is it?"), (7, 101, "How many?"), (12, 102, "What is it?")]
    ids = {"train": 0, "val": 1000}[split]
    write_pictures(
        folder / f"{split}2014",
        [f"COCO_{split}2014_{image + ids:012d}.jpg" for image in (7, 12, 13)],
    )
    write_json(
        folder / f"v2_OpenEnded_mscoco_{split}2014_questions.json",
        {
            "data_subtype": f"{split}2014",
            "questions": [
                {"image_id": image + ids, "question_id": number + ids, "question": text}
                for image, number, text in questions
            ],
        },
    )
    write_json(
        folder / f"v2_mscoco_{split}2014_annotations.json",
        {
            "annotations": [
                {
                    "question_id": number + ids,
                    "image_id": image + ids,
                    "question_type": text.split()[0].lower(),
                    "answer_type": "other",
                    "multiple_choice_answer": "a",
                    "answers": [
                        {"answer": "ab"[i == 9], "answer_confidence": "yes", "answer_id": i + 1}
                        for i in range(answers)
                    ],
                }
                for image, number, text in reversed(questions)
            ],
        },
    )


def test_vqa_v2(tmp_path):
    official(tmp_path)
    official(tmp_path, "val")
    data = load_data(
        f"vqa_v2:{tmp_path}/v2_OpenEnded_mscoco_{{split}}2014_questions.json:"
        f"{tmp_path}/v2_mscoco_{{split}}2014_annotations.json:{tmp_path}/{{split}}2014"
    )
    assert sorted(data) == ["train", "val"]
    train = data["train"]
    assert train.image_ids == ["7", "12"]
    assert [q.text for q in train.questions[0]] == ["Is it?", "How many?"]
    [third] = train.questions[1]
    assert third.answers == ("a",) * 9 + ("b",)
    assert (third.answer, third.question_id, third.question_type) == ("a", "102", "what")
    assert data["val"].questions[0][0].question_id == "1100"
    element = next(iter(train.dataset()))
    assert set(element) == {"image_bytes", "image_id", "index", "questions", "answers"}
    assert element["image_bytes"].numpy() == PNG
    assert element["answers"].shape == (2, 10)


def test_vqa_v2_without_a_pattern_and_with_a_missing_picture(tmp_path):
    official(tmp_path)
    (tmp_path / "train2014" / "COCO_train2014_000000000012.jpg").unlink()
    data = load_data(
        f"vqa_v2:{tmp_path}/v2_OpenEnded_mscoco_train2014_questions.json:"
        f"{tmp_path}/v2_mscoco_train2014_annotations.json:{tmp_path}/train2014"
    )
    assert data["train"].skipped == {"missing": ["12"]}


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("questions", lambda d: d["questions"][1].pop("question"),
         r"questions.json: questions\[1\]: key 'question' is missing"),
        ("questions", lambda d: d["questions"][0].update(question_id=5),
         r"question_id 5 has no annotation in .*annotations.json. Are both files of one split"),
        ("questions", lambda d: d["questions"].clear(), "questions is empty"),
        ("annotations", lambda d: d["annotations"][2]["answers"].clear(),
         r"annotations\[2\]: answers must have at least one answer"),
        ("annotations", lambda d: d["annotations"][0].update(question_id="x"),
         r"annotations\[0\]: question_id must be a whole number, got 'x'"),
    ],
)  # fmt: skip
def test_wrong_vqa_v2(tmp_path, file, change, message):
    official(tmp_path)
    [path] = tmp_path.glob(f"*_{file}.json")
    content = json.loads(path.read_text())
    change(content)
    write_json(path, content)
    questions, annotations = (next(tmp_path.glob(f"*{e}.json")) for e in ("questions", "ations"))
    with pytest.raises(DataError, match=message):
        load_data(f"vqa_v2:{questions}:{annotations}:{tmp_path}/train2014")["train"]


def test_wrong_name_of_vqa_v2():
    with pytest.raises(ValueError, match="name must be vqa_v2:QUESTIONS.json:ANNOTATIONS.json"):
        load_data("vqa_v2:a.json:b")


# easy-VQA


def test_easy_vqa():
    package = pytest.importorskip("easy_vqa", reason="the data come with the package")
    data = load_data("easy_vqa")
    train, val = data["train"], data["val"]
    assert len(train) + len(val) == 4000
    assert not set(train.image_ids) & set(val.image_ids)
    asked = {(q.question_id, q.text, q.answer) for q in flatten(train.questions + val.questions)}
    texts, answers, _ = package.get_train_questions()
    assert asked == {
        (f"train-{i}", text, answer)
        for i, (text, answer) in enumerate(zip(texts, answers, strict=True))
    }
    assert {question_type(a) for a in package.get_answers()} == {"yes/no", "shape", "colour"}
    assert (question_type("no"), question_type("teal")) == ("yes/no", "colour")
    with pytest.raises(ValueError, match="language must be 'en' for easy_vqa, got 'zh'"):
        load_data("easy_vqa", language="zh")
    with pytest.raises(ValueError, match="must be easy_vqa alone"):
        load_data("easy_vqa:here")


# A folder of one's own


def test_folder_of_csv(tmp_path):
    write_pictures(tmp_path / "images", ["a.png", "b.png", "c.png"])
    with (tmp_path / "questions.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "question", "answer", "answer_type", "split"])
        rows.writerow(["a.png", "Is it big, or small?", "small", "closed", "train"])
        rows.writerow(["b.png", "What?", "a dog", "", "test"])
        rows.writerow(["a.png", "Who?", "nobody", "open", "train"])
        rows.writerow(["c.png", "Where?", "here", "open", "val"])
        rows.writerow(["gone.png", "Where?", "here", "open", "val"])
    data = load_data(f"folder:{tmp_path}")
    assert sorted(data) == ["test", "train", "val"]
    [asked] = data["train"].questions
    assert [(q.text, q.answers, q.answer_type) for q in asked] == [
        ("Is it big, or small?", ("small",), "closed"),
        ("Who?", ("nobody",), "open"),
    ]
    assert data["test"].questions[0][0].answer_type is None
    assert data["val"].skipped == {"missing": ["gone.png"]}
    assert data["train"].captions is None


FLAT = [
    {"img": "x/1.png", "q": "Is it?", "a": True, "n": 4},
    {"img": "x/1.png", "q": "How many?", "a": 2, "n": 5},
    {"img": "x/2.png", "q": "Which?", "a": ["left", "left lobe"], "n": 6},
]
NESTED = {
    "version": 1,
    "items": [
        {
            "img": "x/1.png",
            "qas": [{"q": "Is it?", "a": True, "n": 4}, {"q": "How many?", "a": 2, "n": 5}],
        },
        {
            "img": "x/2.png",
            "qas": [{"q": "Which?", "a": [{"answer": "left"}, {"answer": "left lobe"}], "n": 6}],
        },
    ],
}  # fmt: skip
DEEP = [{"meta": {"img": r["img"]}, "q": r["q"], "reply": {"a": r["a"]}, "n": r["n"]} for r in FLAT]


@pytest.mark.parametrize(
    ("content", "keys"),
    [
        (FLAT, "image=img,question=q,answer=a,id=n"),
        (NESTED, "image=img,question=q,answer=a,id=n,questions=qas,records=items"),
        (NESTED, {"image": "img", "question": "q", "answer": "a", "id": "n", "questions": "qas"}),
        (DEEP, "image=meta.img,question=q,answer=reply.a,id=n"),
    ],
)
def test_folder_with_other_keys(tmp_path, content, keys):
    write_pictures(tmp_path / "pics", ["x/1.png", "x/2.png"])
    write_json(tmp_path / "all.json", content)
    more = {"file": "all.json", "folder": "pics"}
    keys = keys + ",file=all.json,folder=pics" if isinstance(keys, str) else {**keys, **more}
    data = load_data(f"folder:{tmp_path}", keys=keys)
    found = {q.question_id: q for split in data.values() for q in flatten(split.questions)}
    assert {number: (q.text, q.answers) for number, q in found.items()} == {
        "4": ("Is it?", ("yes",)),
        "5": ("How many?", ("2",)),
        "6": ("Which?", ("left", "left lobe")),
    }


def test_folder_of_lines_in_two_languages_and_names_without_suffix(tmp_path):
    write_pictures(tmp_path, ["a.png", "b.png"])
    lines = [
        {"image": "a", "question": "What?", "answer": "x", "language": "en"},
        {"image": "b", "question": "什么？", "answer": "甲", "language": "zh"},
    ]
    text = "\n".join(json.dumps(line) for line in lines)
    (tmp_path / "questions.jsonl").write_text(text, encoding="utf-8")
    chinese = load_data(f"folder:{tmp_path}", language="zh")
    assert [q.text for split in chinese.values() for q in flatten(split.questions)] == ["什么？"]
    with pytest.raises(DataError, match="no question is in the language 'fr'"):
        load_data(f"folder:{tmp_path}", language="fr")


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"image": "a.png", "question": "Q?"},
         r"questions.jsonl:2: key 'answer' is missing \(found 'image', 'question'\). "
         r"Pass keys='answer=KEY'"),
        ({"image": "a.png", "question": " ", "answer": "x"}, "jsonl:2: question must be a text"),
        ({"image": "a.png", "question": "Q?", "answers": []}, "jsonl:2: answers must be a text"),
        ({"image": ["a"], "question": "Q?", "answer": "x"},
         r"jsonl:2: image must be a text or a number, got \['a'\]"),
        ([1], "jsonl:2: must be an object with the key 'image'"),
        ({"image": "a.png", "questions": ["Q?"]}, r"jsonl:2: questions\[0\] must be an object"),
    ],
)  # fmt: skip
def test_wrong_records(tmp_path, record, message):
    write_pictures(tmp_path, ["a.png"])
    good = {"image": "a.png", "question": "Q?", "answer": "x"}
    text = "\n".join(json.dumps(line) for line in (good, record))
    (tmp_path / "questions.jsonl").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        load_data(f"folder:{tmp_path}")


def test_wrong_keys(tmp_path):
    write_pictures(tmp_path, ["a.png"])
    with pytest.raises(ValueError, match="keys must be one of 'image', .* Did you mean 'image'"):
        load_data(f"folder:{tmp_path}", keys="imag=x")
    with pytest.raises(ValueError, match="keys must be pairs such as image=img_name.*got 'image'"):
        load_data(f"folder:{tmp_path}", keys="image")
    with pytest.raises(DataError, match="all.json is not there. Pass keys='file=NAME'"):
        load_data(f"folder:{tmp_path}", keys="file=all.json")
    with pytest.raises(ValueError, match="keys must be None for scenes, got 'image=x'"):
        load_data("scenes:20", keys="image=x")
    write_json(tmp_path / "all.json", {"a": [], "b": []})
    with pytest.raises(DataError, match="found 'a', 'b'. Pass keys='records=KEY'"):
        load_data(f"folder:{tmp_path}", keys="file=all.json")
    write_json(tmp_path / "all.json", FLAT)
    keys = "file=all.json,image=img,question=q,answer=a,folder=pics"
    with pytest.raises(DataError, match="must have the folder of pictures 'pics'"):
        load_data(f"folder:{tmp_path}", keys=keys)


def test_splits_must_be_given_for_all_or_none(tmp_path):
    write_pictures(tmp_path, ["a.png", "b.png"])
    records = [
        {"image": "a.png", "question": "Q?", "answer": "x", "split": "train"},
        {"image": "b.png", "question": "Q?", "answer": "x"},
    ]
    write_json(tmp_path / "questions.json", records)
    with pytest.raises(DataError, match="split of 'b.png' is missing, and other questions have"):
        load_data(f"folder:{tmp_path}")
