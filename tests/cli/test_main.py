"""The command line: every subcommand does its job, teaches, and fails in one readable line."""

import argparse
import csv
import dataclasses
import json
import pathlib
import re
import shutil
import subprocess
import sys

import keras
import pytest
import tensorflow as tf
from oracles import scenes_captioner, scenes_reranker, scenes_retriever

from keras_vlm import (
    BeamSearch,
    TwoStageRetriever,
    evaluate,
    list_models,
    load,
    load_data,
    shuffle_pictures,
)
from keras_vlm.cli import train
from keras_vlm.cli.main import COMMANDS, main
from keras_vlm.training.captioning_run import CaptioningRun
from keras_vlm.training.retrieval_run import RetrievalRun
from keras_vlm.training.vqa_run import VQARun

PHOTO = pathlib.Path(__file__).parents[1] / "photos" / "photo.jpg"
TINY = [
    "--backbone", "conv_small", "--image-size", "16", "--text", "lstm", "--hidden-dim", "12",
    "--epochs", "1", "--batch-size", "4", "--minimum-count", "1", "--max-length", "8",
]  # fmt: skip


@pytest.fixture(scope="module")
def model_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.keras"
    model = scenes_captioner()
    model.fit(model.batches(load_data("scenes:5")["train"], 5), verbose=0)
    model.save(path)
    return str(path)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A user's folder: rendered pictures, a file of captions, and one that is not a picture."""
    folder = tmp_path_factory.mktemp("photos")
    examples = load_data("scenes:30")["train"]
    with (folder / "captions.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "caption", "split"])
        elements = examples.dataset().as_numpy_iterator()
        for i, (element, captions) in enumerate(zip(elements, examples.captions, strict=True)):
            (folder / f"{i}.png").write_bytes(element["image_bytes"])
            split = "train" if i < 20 else "val" if i < 25 else "test"
            rows.writerows([[f"{i}.png", caption, split] for caption in captions])
        (folder / "broken.jpg").write_bytes(b"\xff\xd8 not a photo")
        rows.writerow(["broken.jpg", "a red circle", "test"])
    return folder


def run(arguments, capsys):
    """Returns the exit code, and what was printed on each stream."""
    code = main([str(argument) for argument in arguments])
    return (code, *capsys.readouterr())


@pytest.mark.parametrize("command", COMMANDS)
def test_help_teaches(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    printed = capsys.readouterr().out
    assert stopped.value.code == 0
    assert f"usage: keras-vlm {command}" in printed
    assert command == "models" or f"example:\n  keras-vlm {command}" in printed


def test_the_list_of_commands_names_each(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    printed = capsys.readouterr().out
    for command, summary in COMMANDS.items():
        assert re.search(rf"^ +{command}\s", printed, re.MULTILINE)
        assert summary[:30] in " ".join(printed.split())
    folder = pathlib.Path(sys.modules["keras_vlm.cli.main"].__file__).parent
    files = {path.stem for path in folder.glob("*.py")} - {"__init__", "main", "arguments"}
    assert files == set(COMMANDS)


@pytest.mark.parametrize("arguments", [[], ["cation"], ["caption"], ["models", "--jsn"]])
def test_wrong_usage_exits_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "usage: keras-vlm" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["caption", "mine.keras", "a.jpg", "--beam-sise=3"], ": --beam-sise=3. Did you mean '--b"),
        (["video", "search", "a.mp4", "b", "--rtae", "5"], ": --rtae 5. Did you mean '--rate'?"),
        (["data", "a", "b", "--txets", "x"], ": b --txets x. Did you mean '--texts'?"),
        (["models", "--debgu"], ": --debgu. Did you mean '--debug'?"),
        (["caption", "mine.keras", "a.jpg", "--frobnicate"], ": --frobnicate.\n"),
        (["models", "beam-size"], ": beam-size.\n"),
    ],
)
def test_a_misspelled_option_is_told_the_nearest(arguments, hint, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    found = capsys.readouterr().err
    assert f"keras-vlm {arguments[0]}: error: unrecognized arguments{hint}" in found


def test_help_of_train_names_each_task_that_has_an_option(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert "(vqa, video-qa; default: auto)" in told
    assert "(retrieval; default: 512)" in told


def test_train_flags_are_the_fields_of_a_run(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    printed = capsys.readouterr().out
    for kind in (CaptioningRun, RetrievalRun, VQARun):
        for field in dataclasses.fields(kind):
            assert field.name == "data" or f"--{field.name.replace('_', '-')}" in printed


@pytest.mark.parametrize(
    ("flags", "expected"),
    [([], None), (["--tie-words"], True), (["--no-tie-words"], False)],
)
def test_train_flags_that_are_switches(flags, expected):
    parser = argparse.ArgumentParser()
    train.add_arguments(parser)
    found = parser.parse_args(["scenes", "--out", "runs/1", *flags])
    assert getattr(found, "tie_words", None) is expected


def test_caption(model_path, capsys):
    code, out, _ = run(["caption", model_path, PHOTO], capsys)
    [expected] = load(model_path).caption(PHOTO)
    assert (code, out) == (0, f"{expected}\n")


def test_caption_of_several_with_a_broken_one(model_path, photos, capsys):
    paths = [photos / "0.png", photos / "broken.jpg", photos / "1.png"]
    code, out, err = run(["caption", model_path, *paths, "--beam-size", 2], capsys)
    good = load(model_path).caption([paths[0], paths[2]], beam_size=2)
    assert code == 1
    assert out == f"{paths[0]}: {good[0]}\n{paths[2]}: {good[1]}\n"
    assert f"{paths[1]}: cannot be read as a picture" in err
    code, out, _ = run(["caption", model_path, *paths, "--beam-size", 2, "--json"], capsys)
    rows = json.loads(out)
    assert [row["caption"] for row in rows] == [good[0], "", good[1]]
    assert [row["image"] for row in rows] == [str(path) for path in paths]
    assert rows[1]["score"] is None


def test_caption_draws_attention(model_path, tmp_path, capsys):
    picture = tmp_path / "attention.png"
    code, _, err = run(["caption", model_path, PHOTO, "--attention", picture], capsys)
    assert code == 0
    assert str(picture) in err
    assert tf.io.decode_png(picture.read_bytes()).shape[0] > 100


def test_evaluate(model_path, photos, tmp_path, capsys):
    report = tmp_path / "scores.json"
    arguments = ["evaluate", model_path, f"folder:{photos}", "--split", "test", "--json", report]
    code, out, _ = run(arguments, capsys)
    expected = evaluate(load(model_path), load_data(f"folder:{photos}")["test"], verbose=0)
    found = json.loads(report.read_text())
    assert code == 0
    assert found["scores"] == pytest.approx(expected.scores)
    assert list(found["scores"]) == [
        "BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L", "CIDEr-D",
    ]  # fmt: skip
    assert found["signature"] == expected.signature
    assert found["predictions"] == expected.predictions
    assert {frozenset(row) for row in found["predictions"]} == {
        frozenset({"image_id", "caption", "score"})
    }
    assert f"{expected.scores['CIDEr-D']:.4f}" in out
    assert expected.signature in out


def test_evaluate_by_other_searches_and_scores(model_path, photos, tmp_path, capsys):
    report = tmp_path / "scores.json"
    flags = ["--length-penalty", 0.2, "--without-penalty", "--shuffle-pictures", 5]
    arguments = ["evaluate", model_path, f"folder:{photos}", "--split", "train", "--json", report]
    code, out, _ = run([*arguments, *flags, "--beam-size", 2], capsys)
    assert code == 0
    found = json.loads(report.read_text())
    expected = evaluate(
        load(model_path),
        shuffle_pictures(load_data(f"folder:{photos}")["train"], 5),
        strategy=BeamSearch(2, length_penalty=0.2),
        more_scores=("BLEU_without_penalty",),
        verbose=0,
    )
    assert found["scores"] == pytest.approx(expected.scores)
    assert found["predictions"] == expected.predictions
    assert found["signature"] == expected.signature
    for part in (
        "brevity_penalty:yes+no|", ":train:shuffled(seed=5)|",
        "BeamSearch(beam_size=2, length_penalty=0.2)",
    ):  # fmt: skip
        assert part in found["signature"]
    assert "BLEU-4_without_penalty" in out
    # What the help says is usual is: the signature leaves it out.
    run([*arguments, "--length-penalty", 0.7, "--shuffle-pictures"], capsys)
    signature = json.loads(report.read_text())["signature"]
    assert ":shuffled(seed=0)|" in signature
    assert "|decoding:BeamSearch(beam_size=3)|" in signature


def test_meteor_without_java_is_one_line(model_path, photos, monkeypatch, capsys):
    pytest.importorskip("pycocoevalcap", reason="METEOR comes with pycocoevalcap")
    monkeypatch.setattr("shutil.which", lambda program: None)
    asked = ["evaluate", model_path, f"folder:{photos}", "--split", "test", "--meteor"]
    code, _, err = run(asked, capsys)
    assert code == 1
    assert err.startswith("keras-vlm evaluate: evaluate: METEOR needs Java")


def test_export_then_caption_and_evaluate_the_saved_model(model_path, photos, tmp_path, capsys):
    folder = tmp_path / "served" / "1"
    code, out, _ = run(["export", model_path, folder, "--beam-size", 2], capsys)
    assert code == 0
    assert "serving_default" in out
    code, out, _ = run(["caption", folder, PHOTO, "--beam-size", 2], capsys)
    assert (code, out) == (0, load(model_path).caption(PHOTO, beam_size=2)[0] + "\n")
    scored = {}
    for name, model in (("served", folder), ("python", model_path)):
        report = tmp_path / f"{name}.json"
        run(
            ["evaluate", model, f"folder:{photos}", "--split", "test", "--beam-size", 2,
             "--json", report],
            capsys,
        )  # fmt: skip
        scored[name] = json.loads(report.read_text())
    assert scored["served"]["scores"] == scored["python"]["scores"]
    code, _, err = run(["export", model_path, folder], capsys)
    assert code == 1
    assert f"{folder} exists and is not empty" in err


def test_train_resume_and_refuse(photos, tmp_path, capsys):
    out_folder = tmp_path / "run"
    arguments = ["train", f"folder:{photos}", "--out", out_folder, *TINY]
    code, out, _ = run([*arguments, "--json"], capsys)
    summary = json.loads(out)
    assert code == 0
    assert summary["model"] == str(out_folder / "model.keras")
    assert summary["best"]["epoch"] == 0
    assert {path.name for path in out_folder.iterdir()} >= {
        "model.keras", "scores.json", "log.csv", "curves.png", "run.json",
    }  # fmt: skip
    before = (out_folder / "model.keras").read_bytes()
    code, out, _ = run(arguments, capsys)
    assert code == 0
    assert f"keras-vlm evaluate {out_folder / 'model.keras'}" in out
    assert (out_folder / "model.keras").read_bytes() == before
    code, _, err = run([*arguments, "--hidden-dim", 13], capsys)
    assert code == 1
    assert "holds a run with other options: hidden_dim was 12, now 13" in err


def test_models(capsys):
    code, out, _ = run(["models"], capsys)
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[1 : 1 + len(list_models())]] == [
        model["name"] for model in list_models()
    ]
    code, out, _ = run(["models", "--json"], capsys)
    assert json.loads(out) == list_models()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["caption", "captioner-lite0-lstm-flickr8", PHOTO], "Did you mean 'captioner-lite0-lstm"),
        (["caption", "MODEL", "no/such.jpg"], "such.jpg: no such picture. Check the path."),
        (["evaluate", "MODEL", "flickr8k:no/such"], "no/such"),
        (["evaluate", "MODEL", "scenes:7", "--split", "tset"], "Did you mean 'test'?"),
        (["evaluate", "MODEL", "scnes"], "Did you mean 'scenes'?"),
        (["train", "scenes:9", "--out", "OUT", "--text", "lstmm"], "Did you mean 'lstm'?"),
        (["train", "scenes:9", "--out", "OUT", "--augment", "flipp"], "Did you mean 'flip'?"),
        (["train", "scenes:9", "--out", "OUT", "--resize", "corp"], "Did you mean 'crop'?"),
        (["train", "scenes:9", "--out", "OUT", "--optimizer", "adm"], "Did you mean 'adam'?"),
        (["train", "scenes:9", "--out", "OUT", "--epochs", "0"], "epochs must be"),
        (["train", "scenes:9", "--out", "OUT", "--batch-size", "0"], "batch_size must be"),
        (["train", "folder:EMPTY", "--out", "OUT"], "the folder EMPTY is empty"),
        (["export", "OUT", "DIR"], "neither a file nor a published model"),
    ],
)
def test_bad_input_is_one_readable_line(arguments, message, model_path, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    places = {"MODEL": model_path, "OUT": tmp_path / "out", "DIR": tmp_path / "served"}
    empty = str(tmp_path / "empty")
    typed = [str(places.get(word, word)).replace("EMPTY", empty) for word in arguments]
    if typed[0] == "train":
        typed += ["--backbone", "conv_small", "--image-size", "16"]
    code, out, err = run(typed, capsys)
    assert code == 1
    lines = [line for line in err.splitlines() if line.startswith(f"keras-vlm {typed[0]}: ")]
    assert len(lines) == 1, err
    assert message.replace("EMPTY", empty) in lines[0]
    assert "Traceback" not in err
    assert not (tmp_path / "served").exists()


def test_debug_shows_the_traceback(tmp_path):
    with pytest.raises(FileNotFoundError, match="neither a file nor a published model"):
        main(["--debug", "caption", str(tmp_path / "none"), str(PHOTO)])


def test_ctrl_c_is_no_traceback(monkeypatch, model_path, capsys):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("keras_vlm.zoo.load", interrupt)
    code, _, err = run(["caption", model_path, PHOTO], capsys)
    assert (code, err) == (130, "keras-vlm: interrupted.\n")


def test_the_installed_command():
    command = shutil.which("keras-vlm", path=pathlib.Path(sys.executable).parent)
    done = subprocess.run([command, "models", "--json"], capture_output=True, check=True)
    assert json.loads(done.stdout) == list_models()


def test_a_damaged_model_file(tmp_path, model_path, capsys):
    damaged = tmp_path / "model.keras"
    data = pathlib.Path(model_path).read_bytes()
    for content in (b"", b"words", data[: len(data) // 2]):
        damaged.write_bytes(content)
        code, _, err = run(["caption", damaged, PHOTO], capsys)
        assert code == 1
        assert f"keras-vlm caption: {damaged}: cannot be read as a .keras file" in err


def test_a_keras_model_that_is_no_captioner(tmp_path, capsys):
    path = tmp_path / "other.keras"
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save(path)
    code, _, err = run(["caption", path, PHOTO], capsys)
    assert code == 1
    assert f"{path}: must hold a model of this package (Captioner, " in err
    assert "got Sequential" in err


# Retrieval


@pytest.fixture(scope="module")
def retriever_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("retriever") / "model.keras"
    scenes_retriever("bag").save(path)
    return str(path)


def test_a_retriever_writes_no_captions(retriever_path, capsys):
    code, _, err = run(["caption", retriever_path, PHOTO], capsys)
    assert (code, "must be a captioner, got a Retriever" in err) == (1, True)


def test_index_then_search(retriever_path, photos, tmp_path, capsys, monkeypatch):
    index = tmp_path / "index"
    arguments = ["index", photos, "--out", index, "--kind", "flat"]
    code, out, err = run([*arguments, "--model", retriever_path], capsys)
    assert code == 0
    assert "30 pictures added, 0 were there, 0 removed, 1 cannot be read" in out
    # The index knows its model, from whatever folder it is asked for.
    monkeypatch.chdir(tmp_path)
    page = tmp_path / "found.html"
    asked = ["search", "index", "a red zebra", "--k", 4, "--html", page]
    code, out, err = run(asked, capsys)
    assert code == 0
    assert "the model has never learned: zebra" in err
    rows = [line.split("  ") for line in out.splitlines()]
    assert len(rows) == 4
    model = load(retriever_path)
    paths = sorted(photos.glob("*.png"))
    scores = model.embed_images(paths) @ model.embed_texts("a red zebra")[0]
    assert [float(score) for score, _ in rows] == pytest.approx(
        sorted(scores, reverse=True)[:4], abs=2e-3
    )
    assert page.read_text().count("data:image/jpeg") == 4
    code, out, _ = run(["search", index, "--image", rows[0][1], "--json"], capsys)
    assert json.loads(out)[0]["picture"] == rows[0][1]
    assert json.loads(out)[0]["score"] == pytest.approx(1, abs=2e-3)
    code, _, err = run(["search", index], capsys)
    assert (code, "text or image must be given" in err) == (1, True)
    code, _, err = run(["index", tmp_path / "gone", "--out", tmp_path / "new"], capsys)
    assert (code, "gone: no such folder, and no data source" in err) == (1, True)


def test_classify(retriever_path, photos, tmp_path, capsys):
    paths = [photos / "0.png", photos / "broken.jpg"]
    labels = "red circle,blue square zebra"
    code, out, err = run(["classify", retriever_path, *paths, "--labels", labels], capsys)
    [expected] = load(retriever_path).classify([paths[0]], labels.split(","))
    assert code == 1
    best = labels.split(",")[expected.argmax()]
    assert out.startswith(f"{paths[0]}: {best} {expected.max():.2f}, ")
    assert f"{paths[1]}: cannot be read as a picture" in err
    assert "the model has never learned: zebra" in err
    for i, label in enumerate(["red_circle", "blue_square", "red_circle"]):
        (tmp_path / "set" / label).mkdir(parents=True, exist_ok=True)
        shutil.copy(photos / f"{i}.png", tmp_path / "set" / label / f"{i}.png")
    code, out, _ = run(["classify", retriever_path, tmp_path / "set", "--json"], capsys)
    found = json.loads(out)
    right = [row["label"] == row["predicted"] for row in found["predictions"]]
    assert len(right) == 3
    assert found["scores"]["accuracy"] == pytest.approx(sum(right) / 3)
    code, _, err = run(["classify", retriever_path, paths[0]], capsys)
    assert (code, "--labels must be given" in err) == (1, True)


def test_duplicates(retriever_path, photos, tmp_path, capsys):
    folder = tmp_path / "some"
    folder.mkdir()
    for name in ("a.png", "b.png"):
        shutil.copy(photos / "3.png", folder / name)
    arguments = ["duplicates", folder, "--model", retriever_path, "--threshold", 0.9999]
    code, out, _ = run([*arguments, "--html", tmp_path / "same.html"], capsys)
    assert code == 0
    assert out.split() == [str(folder / "a.png"), str(folder / "b.png")]
    assert (tmp_path / "same.html").read_text().count("data:image/jpeg") == 2
    (folder / "b.png").unlink()
    code, out, _ = run([*arguments, "--json"], capsys)
    assert json.loads(out) == []


def test_train_and_evaluate_a_retriever(photos, tmp_path, capsys):
    sizes = [
        "--backbone", "conv_small", "--image-size", "16", "--text", "bag", "--hidden-dim", "12",
        "--epochs", "1", "--batch-size", "4", "--minimum-count", "1", "--dim", "8",
    ]  # fmt: skip
    arguments = ["train", f"folder:{photos}", "--out", tmp_path / "run", "--task", "retrieval"]
    code, out, _ = run([*arguments, *sizes], capsys)
    assert code == 0
    assert "by mean_recall on val" in out
    assert f"keras-vlm index DIR --model {tmp_path / 'run' / 'model.keras'}" in out
    model = tmp_path / "run" / "model.keras"
    report = tmp_path / "scores.json"
    asked = ["evaluate", model, f"folder:{photos}", "--split", "test", "--json", report]
    code, out, _ = run(asked, capsys)
    found = json.loads(report.read_text())
    assert (code, "image_to_text_R@1" in out) == (0, True)
    assert {"image_to_text_R@1", "text_to_image_R@10", "text_to_image_median_rank"} <= set(
        found["scores"]
    )
    assert [row["score"] for row in found["predictions"] if row["image_id"] == "broken.jpg"] == [
        None
    ]
    code, _, err = run([*arguments, "--fusion", "additive"], capsys)
    assert (code, "--fusion does not go with --task retrieval" in err) == (1, True)


@pytest.mark.slow
def test_train_a_reranker_then_evaluate_and_search(retriever_path, photos, tmp_path, capsys):
    data, out = f"folder:{photos}", tmp_path / "run"
    arguments = ["train", data, "--out", out, "--task", "reranking", "--hidden-dim", "8"]
    arguments += ["--epochs", "1", "--batch-size", "4"]
    code, _, err = run(arguments, capsys)
    assert (code, "retriever must be a retriever's file" in err) == (1, True)
    code, printed, _ = run([*arguments, "--retriever", retriever_path], capsys)
    assert code == 0
    assert "by mean_recall on val" in printed
    model = out / "model.keras"
    asked = f"keras-vlm evaluate {retriever_path} {data} --split test --rerank {model}"
    assert asked in printed
    report = tmp_path / "scores.json"
    code, printed, _ = run([*asked.split()[1:], "--json", report], capsys)
    assert (code, "|reranked:20|" in printed) == (0, True)
    both = TwoStageRetriever(load(retriever_path), load(model))
    found = json.loads(report.read_text())
    expected = evaluate(both, load_data(data)["test"], verbose=0)
    assert found["scores"] == pytest.approx(expected.scores)
    # The picture that cannot be read comes last, as without a re-ranker.
    assert found["predictions"][-1]["score"] is None

    index = tmp_path / "index"
    run(["index", photos, "--out", index, "--kind", "flat", "--model", retriever_path], capsys)
    code, printed, _ = run(
        ["search", index, "a red circle", "--k", 3, "--rerank", model, "--json"], capsys
    )
    rows = json.loads(printed)
    assert (code, len(rows)) == (0, 3)
    paths = [row["picture"] for row in rows]
    scores = both.reranker.match(paths, "a red circle", [(0, 0), (1, 0), (2, 0)])
    assert [row["score"] for row in rows] == pytest.approx(scores, abs=1e-4)
    assert scores.tolist() == sorted(scores, reverse=True)
    wrong = ["search", index, "a red circle", "--rerank", retriever_path]
    code, _, err = run(wrong, capsys)
    assert (code, "must be a reranker, got a Retriever" in err) == (1, True)


def test_a_reranker_is_not_served(tmp_path, capsys):
    scenes_reranker().save(tmp_path / "model.keras")
    code, _, err = run(["export", tmp_path / "model.keras", tmp_path / "served"], capsys)
    assert (code, "must be a captioner or a retriever, got a Reranker" in err) == (1, True)
