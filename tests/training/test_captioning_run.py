"""A whole run: its files, its options, and the same model however often it was killed."""

import csv
import dataclasses
import json
import math
import os
import pathlib
import random
import shutil
import signal
import struct
import subprocess
import sys
import time
import types

import keras
import kills
import numpy as np
import pytest
from oracles import scenes_captioner

from keras_vlm.data import load_data
from keras_vlm.data.sources import BytesExamples
from keras_vlm.tasks.captioning import Captioner, build_captioner
from keras_vlm.text import Tokenizer
from keras_vlm.training import captioning_run, run_encoder
from keras_vlm.training import run as training_run
from keras_vlm.training.captioning_run import CaptioningRun, train_captioner
from keras_vlm.training.evaluate import evaluate
from keras_vlm.training.run import OPTIMIZERS, build_optimizer, claim_folder
from keras_vlm.vision.backbones import Backbone
from keras_vlm.zoo import load

TINY = {
    "data": "scenes:20",
    "backbone": "conv_small",
    "text": "lstm",
    "hidden_dim": 12,
    "image_size": 32,
    "minimum_count": 1,
    "max_length": 11,
    "epochs": 3,
    "batch_size": 7,
    "captions_per_image": 2,
    "learning_rate": 0.01,
    "average": 0.5,
}
FILES = [
    "cost.json", "curves.png", "features", "log.csv", "model.keras", "run.json", "scores.json",
]  # fmt: skip


def make_run(out, **options):
    return CaptioningRun(**{**TINY, "out": str(out), **options})


def build(run, training):
    """Builds the captioner that a run begins with, as ``train`` does."""
    steps = run.epochs * max(1, len(training) // run.batch_size)
    found = load(run.start) if run.start else None
    return captioning_run._build(run, training, found, build_optimizer(run, steps))


@pytest.fixture(scope="module", autouse=True)
def frozen_backbone():
    """Freezes the small backbone, so that runs keep features as with one from ImageNet."""
    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(
            run_encoder,
            "Backbone",
            lambda name, **options: Backbone(name, **{**options, "trainable_from": None}),
        )
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run that nothing interrupted: ``(run, model)``."""
    run = make_run(tmp_path_factory.mktemp("runs") / "finished")
    return run, train_captioner(run, verbose=0)


@pytest.fixture(scope="module")
def built():
    """A captioner as a run builds it, and the values it begins with."""
    run = make_run("nowhere")
    keras.utils.set_random_seed(run.seed)
    captioner = build(run, load_data(run.data)["train"])
    captioner.optimizer.build(captioner.trainable_variables)
    return captioner, [variable.numpy() for variable in variables_of(captioner)]


def variables_of(captioner):
    return [*captioner.variables, *captioner.optimizer.variables]


@pytest.fixture
def fast_builds(built, monkeypatch):
    """Every run begins with the same captioner, put back to its first values: no new tracing."""
    captioner, first = built

    def build(run, training, found, optimizer):
        for variable, value in zip(variables_of(captioner), first, strict=True):
            variable.assign(value)
        captioner._initial_epoch = None
        return captioner

    monkeypatch.setattr(captioning_run, "_build", build)
    return captioner


def assert_equal(ours, theirs):
    for one, two in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, two)


def read_json(path):
    return json.loads(path.read_text(encoding="utf-8"))


def read_log(out):
    with (out / "log.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


# What a run leaves


def test_the_files_of_a_finished_run(finished):
    run, _ = finished
    out = pathlib.Path(run.out)
    assert sorted(path.name for path in out.iterdir()) == FILES
    options = read_json(out / "run.json")
    assert options.pop("run") == "CaptioningRun"
    assert {**options, "out": run.out} == dataclasses.asdict(run)
    summary = read_json(out / "scores.json")
    assert [entry["epoch"] for entry in summary["history"]] == [0, 1, 2]
    assert summary["best"] in summary["history"]
    assert "split:scenes:val" in summary["signature"]
    rows = read_log(out)
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    for row, entry in zip(rows, summary["history"], strict=True):
        assert float(row["loss"]) == entry["losses"]["loss"]
        assert float(row["val_loss"]) == entry["losses"]["val_loss"]
        assert float(row["val_CIDEr-D"]) == entry["scores"]["CIDEr-D"]
        assert all(math.isfinite(float(value)) for value in row.values())
    curves = (out / "curves.png").read_bytes()
    assert curves[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", curves[16:24]) == (1200, 480)


def test_the_best_model_is_returned_and_kept(finished):
    run, model = finished
    out = pathlib.Path(run.out)
    kept = keras.saving.load_model(out / "model.keras")
    assert_equal(kept.get_weights(), model.get_weights())
    validation = load_data(run.data)["val"]
    found = evaluate(model, validation, beam_size=1, verbose=0)
    assert found.scores == read_json(out / "scores.json")["best"]["scores"]


def test_a_finished_run_is_not_trained_again(finished, monkeypatch):
    run, model = finished

    def refuse(*args, **kwargs):
        raise AssertionError("trained again")

    monkeypatch.setattr(Captioner, "fit", refuse)
    backup = pathlib.Path(run.out) / "backup"
    # As a kill would leave it right after the model was there.
    (backup / "epoch-000003-000000000").mkdir(parents=True)
    assert_equal(train_captioner(run, verbose=0).get_weights(), model.get_weights())
    assert not backup.exists()


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights(finished, fast_builds, tmp_path):
    _, model = finished
    again = train_captioner(make_run(tmp_path / "again"), verbose=0)
    assert_equal(again.get_weights(), model.get_weights())
    other = train_captioner(make_run(tmp_path / "other", seed=1, epochs=1), verbose=0)
    assert any(
        (one != two).any()
        for one, two in zip(other.get_weights(), model.get_weights(), strict=True)
    )


def test_validation_is_never_trained_on(fast_builds, tmp_path, monkeypatch):
    data = load_data("scenes:20")
    whole = data["val"]
    test = data["test"]
    pictures = [example["image_bytes"] for example in test.dataset().as_numpy_iterator()]
    other = BytesExamples(
        "other", "val", "en", test.image_ids, [["nothing of the kind"]] * 3, pictures
    )
    trained = []
    for number, validation in enumerate((whole, other)):
        splits = {"train": data["train"], "val": validation}
        monkeypatch.setattr(
            training_run, "load_data", lambda name, *, language, texts, splits=splits: splits
        )
        train_captioner(make_run(tmp_path / str(number), epochs=1), verbose=0)
        trained.append([variable.numpy() for variable in variables_of(fast_builds)])
    assert_equal(*trained)
    scores = [read_json(tmp_path / str(number) / "scores.json") for number in (0, 1)]
    assert scores[0]["history"] != scores[1]["history"]


def test_words_of_validation_are_not_in_the_vocabulary():
    training = load_data("scenes:20")["train"]
    captioner = build(make_run("nowhere", minimum_count=2), training)
    words = [word for texts in training.captions for text in texts for word in text.split()]
    expected = {word for word in words if word.isalpha() and words.count(word) > 1}
    assert set(captioner.tokenizer.vocabulary) == expected


def test_patience_stops_the_run(fast_builds, tmp_path, monkeypatch):
    scores = iter([0.5, 0.4, 0.3, 0.9])

    def scripted(model, examples, **options):
        found = evaluate(model, examples, **options)
        return dataclasses.replace(found, scores={**found.scores, "CIDEr-D": next(scores)})

    monkeypatch.setattr("keras_vlm.training.callbacks.evaluate", scripted)
    train_captioner(make_run(tmp_path / "run", epochs=4, patience=2), verbose=0)
    assert len(read_log(tmp_path / "run")) == 3
    assert read_json(tmp_path / "run" / "scores.json")["best"]["epoch"] == 0


# Options


def test_a_run_with_other_options_is_refused(finished):
    run, model = finished
    for name, value in (("hidden_dim", 13), ("seed", 5), ("augment", "flip")):
        message = f"holds a run with other options: {name} was .*, now {value!r}. Choose another"
        with pytest.raises(FileExistsError, match=message):
            train_captioner(dataclasses.replace(run, **{name: value}), verbose=0)
    assert sorted(path.name for path in pathlib.Path(run.out).iterdir()) == FILES


def test_where_features_are_kept_is_no_other_option(finished, tmp_path):
    run, _ = finished
    again = dataclasses.replace(run, cache=str(tmp_path / "elsewhere"))
    claim_folder(again, pathlib.Path(run.out))
    with pytest.raises(FileExistsError, match="cache was '.*', now None"):
        claim_folder(dataclasses.replace(run, cache=None), pathlib.Path(run.out))


def test_what_a_kill_has_left_of_the_first_note_is_no_hindrance(tmp_path):
    (tmp_path / ".writing-1234-run.json").write_text('{"data": "sce')
    claim_folder(make_run(tmp_path), tmp_path)
    assert read_json(tmp_path / "run.json")["data"] == make_run(tmp_path).data


def test_an_interrupted_run_with_other_options_is_refused(finished, tmp_path):
    shutil.copy(pathlib.Path(finished[0].out) / "run.json", tmp_path)
    (tmp_path / "backup").mkdir()
    with pytest.raises(FileExistsError, match="batch_size was 7, now 5"):
        train_captioner(make_run(tmp_path, batch_size=5), verbose=0)
    assert read_json(tmp_path / "run.json")["batch_size"] == 7


def test_a_folder_with_something_else_is_refused(tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"photo")
    with pytest.raises(FileExistsError, match="exists and is not empty"):
        train_captioner(make_run(tmp_path), verbose=0)
    assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"]


def test_a_wrong_option_can_be_put_right(finished, fast_builds, tmp_path, monkeypatch):
    out = tmp_path / "run"
    with pytest.raises(ValueError, match="name must be one of .* Did you mean 'scenes'"):
        train_captioner(make_run(out, data="scene:20"), verbose=0)
    with pytest.raises(ValueError, match="split must be one of .*got 'trian'.* mean 'train'"):
        train_captioner(make_run(out, split="trian"), verbose=0)
    with pytest.raises(ValueError, match="validation_split must be another split .*got 'train'"):
        train_captioner(make_run(out, validation_split="train"), verbose=0)

    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patches:
        patches.setattr(Captioner, "fit", stop)
        with pytest.raises(KeyboardInterrupt):
            train_captioner(make_run(out, epochs=2), verbose=0)
    model = train_captioner(make_run(out), verbose=0)
    assert_equal(model.get_weights(), finished[1].get_weights())
    options = read_json(out / "run.json")
    assert options.pop("run") == "CaptioningRun"
    assert {**options, "out": str(out)} == dataclasses.asdict(make_run(out))


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("text", "lstmm", "text must be one of .*, got 'lstmm'. Did you mean 'lstm'"),
        ("fusion", "atention", "fusion must be one of .*, got 'atention'.* 'attention'"),
        ("optimizer", "adamW", "optimizer must be one of 'adamw', .*, got 'adamW'.* mean 'adam"),
        ("precision", "float16", "precision must be one of 'float32', .*, got 'float16'"),
        ("augment", "flipp", "augment must be one of .*, got 'flipp'. Did you mean 'flip'"),
        ("epochs", 0, "epochs must be a whole number >= 1, got 0"),
        ("batch_size", 2.5, "batch_size must be a whole number >= 1, got 2.5"),
        ("captions_per_image", -1, "captions_per_image must be a whole number >= 1, got -1"),
        ("patience", 0, "patience must be a whole number >= 1, got 0"),
        ("average", 1.0, "average must be a number from 0 to 0.9999, got 1.0"),
    ],
)
def test_options_are_checked_before_any_work(tmp_path, option, value, message):
    with pytest.raises(ValueError, match=f"CaptioningRun: {message}"):
        make_run(tmp_path / "run", **{option: value})


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("backbone", "vgg_16", "backbone must be one of .*, got 'vgg_16'.* mean 'vgg16'"),
        ("hidden_dim", 0, "hidden_dim must be a whole number >= 1, got 0"),
        ("max_length", 2, "max_length must be a whole number >= 3, got 2"),
        ("language", "fr", "language must be one of 'en', 'zh', got 'fr'"),
    ],
)
def test_other_options_are_checked_where_they_are_used(tmp_path, option, value, message):
    with pytest.raises(ValueError, match=message):
        train_captioner(make_run(tmp_path / "run", **{option: value}), verbose=0)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("average", [0.0, 0.9])
def test_every_optimizer_takes_a_step(name, average):
    run = make_run("nowhere", optimizer=name, average=average, weight_decay=0.07)
    optimizer = build_optimizer(run, 20)
    assert (
        type(optimizer)
        is {
            "adamw": keras.optimizers.AdamW,
            "adam": keras.optimizers.Adam,
            "sgd": keras.optimizers.SGD,
        }[name]
    )
    assert optimizer.clipnorm == 5.0
    assert optimizer.weight_decay == (0.07 if name == "adamw" else None)
    assert (optimizer.use_ema, optimizer.ema_momentum) == (
        (True, 0.9) if average else (False, None)
    ) or not average
    variable = keras.Variable(np.ones(3))
    for _ in range(2):
        optimizer.apply([keras.ops.ones(3)], [variable])
    assert (keras.ops.convert_to_numpy(variable) < 1).all()


@pytest.mark.parametrize("steps", [100, 1000, 20])
def test_the_learning_rate_warms_up_and_falls_as_a_cosine(steps):
    schedule = build_optimizer(make_run("nowhere", learning_rate=0.03), steps)._learning_rate
    warm = steps // 20
    for step in range(steps + 5):
        done = min(1.0, (step - warm) / (steps - warm))
        expected = (
            0.03 * step / warm
            if step < warm
            else 0.03 * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))
        )
        np.testing.assert_allclose(float(schedule(step)), expected, rtol=1e-4, atol=1e-8)
    assert float(schedule(0)) == 0.0
    np.testing.assert_allclose(float(schedule(warm)), 0.03, rtol=1e-6)
    np.testing.assert_allclose(float(schedule(steps)), 0.0003, rtol=1e-3)


def test_a_run_of_one_step_has_a_learning_rate():
    schedule = build_optimizer(make_run("nowhere"), 1)._learning_rate
    assert float(schedule(0)) == 0.0
    assert math.isfinite(float(schedule(1)))


@pytest.mark.parametrize(
    ("frozen", "augment", "cache", "expected"),
    [
        (True, None, "auto", pathlib.Path("out/features")),
        (True, "flip", "auto", pathlib.Path("out/features")),
        (True, "standard", "auto", None),
        (False, None, "auto", None),
        (True, None, None, None),
        (True, "flip", "elsewhere", "elsewhere"),
    ],
)
def test_features_are_cached_where_that_is_possible(frozen, augment, cache, expected):
    asked = []
    captioner = types.SimpleNamespace(
        encoder=types.SimpleNamespace(frozen=frozen),
        region_shapes={},
        batches=lambda *args, **options: asked.append((args, options)),
    )
    run = make_run("out", augment=augment, cache=cache, seed=5)
    training_run._batches(run, pathlib.Path("out"), captioner, "training", "validation")
    common = {"cache": expected, "captions_per_image": 2, "seed": 5}
    assert asked == [
        (("training", 7), {"shuffle": True, "augment": augment, **common}),
        (("validation", 7), {"shuffle": False, **common}),
    ]


# Going on from a model


def go_on(finished, out, **options):
    architecture = set(CaptioningRun.OF_THE_MODEL)
    kept = {key: value for key, value in TINY.items() if key not in architecture}
    start = str(pathlib.Path(finished[0].out) / "model.keras")
    return CaptioningRun(**{**kept, "out": str(out), "start": start, **options})


def test_a_run_goes_on_from_the_weights_of_another(finished):
    run, model = finished
    training = load_data(run.data)["train"]
    captioner = build(
        go_on(finished, "nowhere", label_smoothing=0.2, learning_rate=0.5), training
    )
    assert_equal(captioner.get_weights(), model.get_weights())
    assert captioner.tokenizer.get_config() == model.tokenizer.get_config()
    assert captioner.loss.label_smoothing == 0.2
    peak = max(float(captioner.optimizer._learning_rate(step)) for step in range(6))
    assert peak == pytest.approx(0.5)
    # This backbone never had weights from ImageNet: it learns as a whole, as in a run from scratch.
    assert len(captioner.encoder.trainable_weights) == 12


def test_a_run_goes_on_with_larger_pictures(finished):
    run, model = finished
    training = load_data(run.data)["train"]
    larger = build(go_on(finished, "nowhere", image_size=48), training)
    assert (model.image_size, larger.image_size) == ((32, 32), (48, 48))
    assert_equal(larger.get_weights(), model.get_weights())
    same = build(go_on(finished, "nowhere", image_size=None), training)
    assert same.image_size == (32, 32)
    with pytest.raises(ValueError, match="image_size must be"):
        go_on(finished, "nowhere", image_size=0)


@pytest.mark.slow
def test_a_pretrained_backbone_thaws_where_a_run_says(tmp_path):
    encoder = Backbone("efficientnet_lite0", image_size=64)
    tokenizer = Tokenizer(["a"], max_length=5)
    batch = {
        "images": 255 * np.random.default_rng(0).random((2, 64, 64, 3)).astype("float32"),
        "token_ids": np.array([[[2, 4, 4, 4]]] * 2, np.int32),
    }
    words = np.array([[[4, 4, 4, 3]]] * 2, np.int32)
    model = build_captioner(encoder, tokenizer=tokenizer, text="lstm")
    model.optimizer.build(model.trainable_variables)
    model.save(tmp_path / "start.keras")
    for trainable_from, count in ((None, 0), ("head", 1), ("block15_project", 2)):
        run = CaptioningRun(
            data="", out="nowhere", start=str(tmp_path / "start.keras"),
            trainable_from=trainable_from,
        )  # fmt: skip
        tuned = build(run, [])
        assert len(tuned.encoder.trainable_weights) == count
        assert tuned.encoder.fingerprint() == encoder.fingerprint()
        for _ in range(2):  # The first step's learning rate is 0.
            tuned.train_on_batch(batch, words)
        moved = {
            ours.path.split("/")[0]
            for ours, theirs in zip(tuned.encoder.weights, encoder.weights, strict=True)
            if not np.array_equal(ours, theirs)
        }
        assert moved == set(["block15_project", "head"][2 - count :])


@pytest.fixture(scope="module")
def critical(finished, tmp_path_factory):
    """A self-critical run after ``finished``, that nothing interrupted: ``(run, model)``."""
    out = tmp_path_factory.mktemp("critical") / "run"
    run = go_on(finished, out, objective="self_critical", learning_rate=1e-3)
    return run, train_captioner(run, verbose=0)


STAGE_FILES = [name for name in FILES if name != "features"]


def test_a_self_critical_stage(finished, critical):
    run, _ = critical
    out = pathlib.Path(run.out)
    assert sorted(path.name for path in out.iterdir()) == STAGE_FILES
    history = read_json(out / "scores.json")["history"]
    assert [entry["epoch"] for entry in history] == [-1, 0, 1, 2]
    # The start was scored as it came.
    best = read_json(pathlib.Path(finished[0].out) / "scores.json")["best"]
    assert history[0] == {"epoch": -1, "scores": best["scores"], "losses": {}}
    for entry in history[1:]:
        assert set(entry["losses"]) == {"reward", "val_loss"}
    assert [row["reward"] != "" for row in read_log(out)] == [False, True, True, True]
    # What the run does not choose it does not note either.
    assert not set(CaptioningRun.OF_THE_MODEL) & set(read_json(out / "run.json"))


@pytest.mark.slow
def test_it_is_not_run_again(critical):
    run, model = critical
    assert_equal(train_captioner(run, verbose=0).get_weights(), model.get_weights())


@pytest.mark.slow
def test_a_start_can_be_put_right(finished, critical, tmp_path, monkeypatch):
    """Nothing of a first attempt is left in a run that begins with another model."""
    out = tmp_path / "run"
    other = scenes_captioner()
    other.optimizer.build(other.trainable_variables)
    other.save(tmp_path / "other.keras")

    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    first = dataclasses.replace(critical[0], out=str(out), start=str(tmp_path / "other.keras"))
    with monkeypatch.context() as patches:
        # Once the start is copied and scored.
        patches.setattr(training_run.TrainingBackup, "on_train_begin", stop)
        with pytest.raises(KeyboardInterrupt):
            train_captioner(first, verbose=0)
    assert (out / "scores.json").exists()
    model = train_captioner(dataclasses.replace(critical[0], out=str(out)), verbose=0)
    assert_equal(model.get_weights(), critical[1].get_weights())
    assert read_log(out) == read_log(pathlib.Path(critical[0].out))


def test_where_nothing_is_better_the_start_is_kept(finished, tmp_path):
    harmful = go_on(finished, tmp_path / "run", learning_rate=50.0, epochs=1)
    model = train_captioner(harmful, verbose=0)
    assert read_json(tmp_path / "run" / "scores.json")["best"]["epoch"] == -1
    assert_equal(model.get_weights(), finished[1].get_weights())


@pytest.mark.slow
def test_a_killed_stage_resumes_without_its_start(finished, critical, tmp_path, monkeypatch):
    start = tmp_path / "start.keras"
    shutil.copy(pathlib.Path(finished[0].out) / "model.keras", start)
    run = dataclasses.replace(critical[0], out=str(tmp_path / "run"), start=str(start))
    with kills.watch(tmp_path / "run", monkeypatch) as states:
        train_captioner(run, verbose=0)
    start.unlink()
    moments = [
        # The start is copied and not scored; it is scored; the second epoch is not backed up.
        next(i for i, state in enumerate(states) if "start.keras" in state),
        next(i for i, state in enumerate(states) if "log.csv" in state),
        next(
            i for i, state in enumerate(states) if len(state.get("log.csv", b"").splitlines()) == 4
        ),
    ]
    for moment in moments:
        kills.restore(states[moment], tmp_path / "run")
        model = train_captioner(run, verbose=0)
        assert_equal(model.get_weights(), critical[1].get_weights())
        for name in ("log.csv", "scores.json"):
            expected = (pathlib.Path(critical[0].out) / name).read_bytes()
            assert (tmp_path / "run" / name).read_bytes() == expected


def test_a_run_of_an_older_version_can_go_on(finished, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(finished[0].out, out)
    options = read_json(out / "run.json")
    del options["objective"], options["start"]
    (out / "run.json").write_text(json.dumps(options))
    model = train_captioner(dataclasses.replace(finished[0], out=str(out)), verbose=0)
    assert_equal(model.get_weights(), finished[1].get_weights())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden_dim": 12}, "hidden_dim is the model's own where start is given, got 12. Leave"),
        ({"text": "lstm"}, "text is the model's own where start is given, got 'lstm'"),
        ({"objective": "cider"}, "objective must be one of 'cross_entropy', 'self_critical'"),
    ],
)
def test_what_the_model_has_cannot_be_chosen(finished, options, message):
    with pytest.raises(ValueError, match=f"CaptioningRun: {message}"):
        go_on(finished, "nowhere", **options)


@pytest.mark.parametrize("unit", ["character", "jieba"])
def test_english_has_spaces(tmp_path, unit):
    with pytest.raises(ValueError, match=f"unit must be one that writes spaces .* got '{unit}'"):
        make_run(tmp_path, unit=unit)
    assert make_run(tmp_path, unit=unit, language="zh").unit == unit


def test_self_critical_is_a_second_stage(tmp_path):
    with pytest.raises(ValueError, match="start must be a captioner with the objective"):
        make_run(tmp_path, objective="self_critical")


@pytest.mark.parametrize(
    ("option", "value", "wrong", "message"),
    [
        ("num_samples", 3, 1, "must be a whole number >= 2, got 1"),
        ("bleu_reward", 2.0, -1.0, "must be a number >= 0, got -1.0"),
        ("cross_entropy_share", 0.2, 1.1, "must be a number from 0 to 1, got 1.1"),
    ],
)
def test_options_of_the_self_critical_objective(finished, tmp_path, option, value, wrong, message):
    with pytest.raises(
        ValueError,
        match=f"CaptioningRun: {option} must be left out with the objective 'cross_entropy', got "
        f"{value}. It goes with 'self_critical'",
    ):
        make_run(tmp_path, **{option: value})
    with pytest.raises(ValueError, match=f"CaptioningRun: {option} {message}"):
        go_on(finished, tmp_path, objective="self_critical", **{option: wrong})
    chosen = go_on(finished, tmp_path, objective="self_critical", **{option: value})
    training = load_data(chosen.data)["train"]
    objective = captioning_run.choose_objective(chosen, training, finished[1])["objective"]
    assert getattr(objective, {"bleu_reward": "bleu_weight"}.get(option, option)) == value
    usual = go_on(finished, tmp_path, objective="self_critical")
    objective = captioning_run.choose_objective(usual, training, finished[1])["objective"]
    assert (objective.num_samples, objective.bleu_weight) == (5, 0)
    assert objective.cross_entropy_share == 0
    assert captioning_run.choose_objective(make_run(tmp_path), training, finished[1]) == {}


def test_what_a_run_cannot_go_on_from(finished, tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing.keras: neither a file nor a published"):
        train_captioner(go_on(finished, tmp_path / "a", start="nothing.keras"), verbose=0)
    with pytest.raises(ValueError, match="language must be 'en', that of .*, got 'zh'"):
        train_captioner(go_on(finished, tmp_path / "b", language="zh"), verbose=0)
    images = keras.Input((32, 32, 3))
    network = keras.Model(images, keras.layers.Conv2D(4, 16)(images))
    own = build_captioner(network, tokenizer=Tokenizer(["a"], max_length=5), text="lstm")
    own.optimizer.build(own.trainable_variables)
    own.save(tmp_path / "own.keras")
    with pytest.raises(TypeError, match="start must have a Backbone, .* got .*own.keras"):
        train_captioner(
            go_on(finished, tmp_path / "c", start=str(tmp_path / "own.keras")), verbose=0
        )


# Kills


def compare_after_kills(states, out, finished, captioner):
    """Resumes from each state of a killed run; all must end as the one that was left alone."""
    expected = pathlib.Path(finished[0].out)
    last = [variable.numpy() for variable in variables_of(captioner)]
    for state in states:
        kills.restore(state, out)
        model = train_captioner(make_run(out), verbose=0)
        assert_equal(model.get_weights(), finished[1].get_weights())
        if "model.keras" not in state:
            assert_equal([variable.numpy() for variable in variables_of(captioner)], last)
        assert sorted(path.name for path in out.iterdir()) == FILES
        for name in ("log.csv", "scores.json", "curves.png"):
            assert (out / name).read_bytes() == (expected / name).read_bytes(), name


def watch_run(out, monkeypatch):
    with kills.watch(out, monkeypatch) as states:
        train_captioner(make_run(out), verbose=0)
    # A temporary folder of a killed run may stay behind as it is.
    return [state for state in states if "run.json" in state]


def test_a_kill_at_some_moments_changes_nothing(finished, fast_builds, tmp_path, monkeypatch):
    states = watch_run(tmp_path / "run", monkeypatch)
    assert len(states) > 30
    backups = [sorted(name for name in state if "backup/epoch-" in name) for state in states]
    moments = [
        # Before the first backup.
        next(i for i, state in enumerate(states) if "scores.json" in state),
        # The second epoch is scored and not backed up; the log has its row already.
        next(
            i for i, state in enumerate(states) if len(state.get("log.csv", b"").splitlines()) == 3
        ),
        # Two backups at once.
        next(i for i, names in enumerate(backups) if len({n[:19] for n in names}) == 2),
        # All is trained and drawn; the model has not got its name.
        max(i for i, state in enumerate(states) if "model.keras" not in state),
    ]
    kept = [states[moment] for moment in moments]
    compare_after_kills(kept, tmp_path / "run", finished, fast_builds)
    # The last of them had no epoch to run again.
    assert fast_builds.history.epoch == []


@pytest.mark.slow
def test_a_kill_at_any_moment_changes_nothing(finished, fast_builds, tmp_path, monkeypatch):
    states = watch_run(tmp_path / "run", monkeypatch)
    compare_after_kills(states[::3], tmp_path / "run", finished, fast_builds)


TRAIN = """
import sys
from keras_vlm.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def start(out):
    flags = {**TINY, "data": None}
    arguments = ["train", "scenes:40", "--out", str(out), "--json"]
    for name, value in flags.items():
        if value is not None:
            arguments += [f"--{name.replace('_', '-')}", str(value)]
    # Not a pipe that nobody reads while the process is watched.
    with out.with_suffix(".errors").open("w") as errors:
        return subprocess.Popen(
            [sys.executable, "-c", TRAIN, *arguments],
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
            stdout=subprocess.PIPE,
            stderr=errors,
        )


def finish(out):
    process = start(out)
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, out.with_suffix(".errors").read_text()
    return json.loads(output)


@pytest.mark.slow
def test_a_process_that_is_killed_again_and_again_ends_alike(tmp_path):
    """Real processes and SIGKILL, at files that appear and at random moments."""
    quiet, killed = tmp_path / "quiet", tmp_path / "killed"
    expected = finish(quiet)
    chance = random.Random(5)
    begun = ("scores.json", "backup/*", "backup/epoch-000001*", "backup/.writing-epoch-000002*")
    kinds = [".writing-*-best.keras", *begun, "backup/epoch-000003*"]
    kill_count = 0
    for kind in kinds:
        process = start(killed)
        while process.poll() is None and not list(killed.glob(kind)):
            time.sleep(0.002)
        time.sleep(chance.choice([0.0, 0.01, 0.05, 0.3]))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kill_count += 1
        process.communicate()
    assert kill_count >= 3
    assert finish(killed)["best"] == expected["best"]
    models = [keras.saving.load_model(out / "model.keras") for out in (quiet, killed)]
    assert_equal(*(model.get_weights() for model in models))
    assert (killed / "log.csv").read_bytes() == (quiet / "log.csv").read_bytes()
    assert [row["epoch"] for row in read_log(killed)] == ["0", "1", "2"]
    left = [path.name for path in killed.iterdir() if not path.name.startswith(".")]
    # A backbone that learns has no features to keep.
    assert sorted(left) == [name for name in FILES if name != "features"]
