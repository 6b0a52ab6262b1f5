"""A run of questions: data no code has seen, in one command; scores, balance, going on, errors."""

import json
import random

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_vlm import BagOfWords, build_vqa, choose_answers, evaluate, load, load_data
from keras_vlm.cli.main import main
from keras_vlm.data.questions import Question
from keras_vlm.training.vqa_run import VQARun, train_vqa

TINY = {
    "backbone": "conv_small", "image_size": 32, "text": "bag", "hidden_dim": 24,
    "fusion": "hadamard", "batch_size": 10, "captions_per_image": 8, "learning_rate": 3e-3,
}  # fmt: skip
FLAGS = [piece for name, value in TINY.items() for piece in (f"--{name.replace('_', '-')}", value)]


# Free questions: one of each column, hundreds in all.
SICK = (
    ("Is there", "Do you see", "Can you make out", "Any sign of"), ("a", "any"),
    ("lesion", "nodule", "mass", "bright spot", "opacity"), ("?", "here?", "in this scan?"),
)  # fmt: skip
WELL = (
    ("Is", "Would you call"), ("the", "this"), ("scan", "chest", "study", "picture"),
    ("normal?", "clear?", "healthy?", "unremarkable?"),
)  # fmt: skip
OPEN = (
    ("Where is", "In which lung is", "On what side lies", "Where do you see"), ("the", "that"),
    ("lesion", "nodule", "mass", "bright spot", "opacity"), ("?", "of this patient?"),
)  # fmt: skip


def write(draw, columns):
    """Returns a sentence of one word of each column."""
    return " ".join(map(draw.choice, columns)).replace(" ?", "?")


def radiology(folder, pictures=300, questions=3000):
    """Scans of another world: one JSON file, other keys, open and closed answers, one annotator.

    A scan is dark with a bright spot on its left or right, or none.
    """
    (folder / "scans").mkdir(parents=True)
    draw = random.Random(0)
    records = []
    for number in range(pictures):
        spot = draw.choice(["left", "right", None])
        scan = np.full((32, 32, 3), 20, np.uint8) + np.uint8(draw.randrange(30))
        if spot:
            x = draw.randrange(2, 8) + (16 if spot == "right" else 0)
            y = draw.randrange(4, 20)
            scan[y : y + 8, x : x + 8] = 230
        (folder / "scans" / f"case{number}.png").write_bytes(tf.io.encode_png(scan).numpy())
        for each in range(questions // pictures):
            kind = ("CLOSED", "OPEN")[each % 2]
            if kind == "CLOSED":
                about = draw.choice([(SICK, True), (WELL, False)])
                asked = write(draw, about[0])
                answer = "Yes" if (spot is not None) == about[1] else "No"
            else:
                asked = write(draw, OPEN)
                answer = {"left": "The left lung", "right": "the right lung."}.get(spot, "none")
            records.append(
                {"img_name": f"case{number}.png", "q_text": asked, "reply": answer,
                 "kind": kind, "qid": 7000 + len(records)}
            )  # fmt: skip
    (folder / "all.json").write_text(json.dumps({"qa": records}), encoding="utf-8")
    return (
        "file=all.json,folder=scans,image=img_name,question=q_text,answer=reply,answer_type=kind,"
        "id=qid"
    )


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    folder = tmp_path_factory.mktemp("radiology")
    return folder, radiology(folder)


@pytest.fixture(scope="module")
def trained(scans, tmp_path_factory):
    """What one command makes of them."""
    folder, keys = scans
    out = tmp_path_factory.mktemp("run") / "first"
    arguments = [
        "train", f"folder:{folder}", "--out", out, "--task", "vqa", "--keys", keys, *FLAGS,
        "--epochs", 6, "--json",
    ]  # fmt: skip
    assert main([str(argument) for argument in arguments]) == 0
    return out


def test_data_no_code_has_seen_train_by_one_command(trained, scans, tmp_path, capsys):
    folder, keys = scans
    report, picture = tmp_path / "scores.json", tmp_path / "reliability.png"
    arguments = ["evaluate", trained / "model.keras", f"folder:{folder}", "--keys", keys,
                 "--json", report, "--reliability", picture,
                 "--confusion", tmp_path / "confusion.png"]  # fmt: skip
    assert main([str(argument) for argument in arguments]) == 0
    printed = capsys.readouterr().out
    found = json.loads(report.read_text())
    scores, baselines = found["scores"], found["baselines"]
    assert {"accuracy", "accuracy_answer:OPEN", "accuracy_answer:CLOSED", "ECE"} <= set(scores)
    assert scores["accuracy"] > 0.9
    assert scores["accuracy"] > baselines["question_only"] + 0.2
    assert baselines["question_only"] >= baselines["majority"]
    assert f"without the picture, question_only {baselines['question_only']:12.4f}".split() == next(
        line.split() for line in printed.splitlines() if "question_only" in line
    )
    data = load_data(f"folder:{folder}", keys=keys)["test"]
    assert len(found["predictions"]) == sum(len(each) for each in data.questions)
    first = found["predictions"][0]
    assert first["question_id"] == data.questions[0][0].question_id
    assert set(first) == {
        "question_id", "image_id", "question", "answer", "confidence", "problem",
    }  # fmt: skip
    said = {row["answer"] for row in found["predictions"]}
    assert said <= {"left lung", "right lung", "yes", "no", "0"}
    assert tf.io.decode_png(picture.read_bytes()).shape[0] > 100
    assert tf.io.decode_png((tmp_path / "confusion.png").read_bytes()).shape[0] > 100
    labels, counts = found["confusion"]["labels"], np.array(found["confusion"]["counts"])
    assert set(labels) == {"left lung", "right lung", "yes", "no", "0", "(other)"}
    assert counts.sum() == len(found["predictions"])
    assert np.trace(counts) == pytest.approx(scores["exact_match"] * counts.sum())


def test_files_of_a_run(trained, scans):
    for name in ("model.keras", "scores.json", "log.csv", "curves.png", "run.json"):
        assert (trained / name).is_file()
    noted = json.loads((trained / "run.json").read_text())
    assert noted["keys"] == scans[1]
    scores = json.loads((trained / "scores.json").read_text())
    assert scores["monitor"] == "accuracy"
    # Every score stands beside those of who does not look.
    assert scores["baselines"]["question_only"] < scores["best"]["scores"]["accuracy"]


def test_ask(trained, scans, capsys):
    model, picture = trained / "model.keras", scans[0] / "scans" / "case0.png"
    asked = ["Is there a lesion?", "In which lung is the mass?"]
    expected = load(model).answer(picture, asked, top_k=2)

    def run(*arguments):
        code = main(["ask", str(model), *map(str, arguments)])
        return (code, *capsys.readouterr())

    code, out, _ = run(picture, *asked)
    told = [f"{q}  {a.text} ({a.probability:.2f})" for q, a in zip(asked, expected, strict=True)]
    assert (code, out.splitlines()) == (0, told)
    code, out, err = run(picture, "Is there a zebra?")
    assert (code, len(out.splitlines())) == (0, 1)
    assert "'Is there a zebra?': unknown words: zebra." in err
    code, out, err = run(picture, "¿dónde está la lesión?")
    assert "fewer than half of the question's words are known" in err
    code, out, err = run(picture, " ")
    assert code == 1
    assert "the question is empty" in err
    code, out, _ = run(picture, *asked, "--top-k", 2, "--json")
    rows = json.loads(out)
    assert [row["answer"] for row in rows] == [answer.text for answer in expected]
    assert [len(row["candidates"]) for row in rows] == [2, 2]
    broken = scans[0] / "broken.png"
    broken.write_bytes(b"no picture")
    code, out, err = run(broken, *asked)
    assert (code, out) == (1, "")
    assert "broken.png: cannot be read as a picture" in err


def test_ask_wants_a_model_that_answers(capsys, scans):
    picture = scans[0] / "scans" / "case0.png"
    assert main(["ask", "captioner-lite0-lstm-flickr8k", str(picture), "what?"]) == 1
    assert "must be a model that answers questions, got a Captioner" in capsys.readouterr().err


def test_export_and_ask_the_saved_model(trained, scans, tmp_path, capsys):
    folder = tmp_path / "served" / "1"
    assert main(["export", str(trained / "model.keras"), str(folder)]) == 0
    assert 'question=tf.constant(["is it red?"])' in capsys.readouterr().out
    picture = scans[0] / "scans" / "case0.png"
    answers = []
    for model in (trained / "model.keras", folder):
        assert main(["ask", str(model), str(picture), "Is there a lesion?"]) == 0
        answers.append(capsys.readouterr().out)
    assert answers[0] == answers[1]


@pytest.mark.slow
def test_goes_on_from_a_model(trained, scans, tmp_path):
    """With no step worth the name, the second stage is the first."""
    folder, keys = scans
    run = VQARun(
        data=f"folder:{folder}", out=str(tmp_path / "second"), keys=keys, balance="loss",
        start=str(trained / "model.keras"), epochs=1, batch_size=90, learning_rate=1e-9,
    )  # fmt: skip
    model, before = train_vqa(run, verbose=0), load(trained / "model.keras")
    assert model.tokenizer.vocabulary == before.tokenizer.vocabulary
    data = load_data(f"folder:{folder}", keys=keys)["val"]
    ours, theirs = (evaluate(m, data, verbose=0).scores for m in (model, before))
    assert ours["accuracy"] == pytest.approx(theirs["accuracy"], abs=0.01)


@pytest.mark.slow
def test_balance_makes_a_rare_answer_heard():
    """Nothing to go by, 9 to 1: left alone, the rare answer has the chance that is its share."""
    examples = load_data("scenes:40")["train"]
    examples.questions = [
        [Question("is it ?", ("no" if (i + j) % 10 == 0 else "yes",), f"{i}-{j}") for j in range(5)]
        for i in range(40)
    ]
    chances = {}
    for balance in ("none", "loss", "sampling"):
        keras.utils.set_random_seed(1)
        model = build_vqa(
            "conv_small", tokenizer=examples, text=BagOfWords(hidden_dim=8, dropout=0.0),
            answers=choose_answers(examples, "choose", balanced=balance == "loss"),
            fusion="concat", image_size=32, optimizer=keras.optimizers.Adam(1e-2),
        )  # fmt: skip
        model.encoder.trainable = False
        model.fit(
            model.batches(examples, 20, questions_per_image=5, balance=balance),
            epochs=12, verbose=0,
        )  # fmt: skip
        answers = model.answer(_pictures(examples), "is it ?", top_k=2)
        chances[balance] = float(np.mean([dict(answer.candidates)["no"] for answer in answers]))
    assert chances["none"] < 0.25
    assert 0.35 < chances["loss"] < 0.65
    assert 0.35 < chances["sampling"] < 0.65


def _pictures(examples):
    return [e["image_bytes"] for e in examples.dataset().take(8).as_numpy_iterator()]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fusion": "concatt"}, "fusion must be one of .* Did you mean 'concat'"),
        ({"answers": "guess"}, "answers must be one of 'auto', 'choose', 'write', got 'guess'"),
        ({"balance": "even"}, "balance must be one of 'none', .*, got 'even'"),
        ({"position_scale": -1}, "position_scale must be a number >= 0, got -1"),
        ({"position_scale": 4, "regions": "grid+boxes"}, "position_scale must be 0 where tokens"),
        ({"answers": "write", "balance": "loss"}, "balance must be another one where"),
        ({"fusion": "concat", "fusion_layers": 1}, "fusion_layers must be None with another"),
        ({"most_answers": 1}, "most_answers must be a whole number >= 2, got 1"),
        ({"start": "a.keras", "hidden_dim": 7}, "hidden_dim is the model's own where start"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        VQARun(data="scenes:20", out="x", **options)


def test_data_without_questions(tmp_path, capsys):
    (tmp_path / "a.png").write_bytes(tf.io.encode_png(np.zeros((8, 8, 3), np.uint8)).numpy())
    (tmp_path / "b.png").write_bytes(tf.io.encode_png(np.ones((8, 8, 3), np.uint8)).numpy())
    (tmp_path / "captions.csv").write_text("image,caption,split\na.png,a,train\nb.png,b,val\n")
    with pytest.raises(ValueError, match="data must have questions, got 'folder:"):
        train_vqa(VQARun(data=f"folder:{tmp_path}", out=str(tmp_path / "run"), **TINY), verbose=0)
