"""Caption scores while training, and a backup that a kill at any moment leaves whole."""

import csv
import json
import zipfile

import keras
import kills
import numpy as np
import pytest
from oracles import scenes_captioner

from keras_vlm.data import load_data
from keras_vlm.training import callbacks
from keras_vlm.training.callbacks import CaptionScores, TrainingBackup, averaged_weights
from keras_vlm.training.evaluate import Evaluation, evaluate

NAMES = ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L", "CIDEr-D")
STEPS = 3


def make_model(optimizer=None):
    """A model of four weights that learns from 6 examples, 2 a step."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3), keras.layers.Dense(1)])
    model.compile(optimizer or keras.optimizers.Adam(0.1), "mse")
    return model


def fit(model, epochs, *called, **options):
    random = np.random.default_rng(0)
    return model.fit(
        random.normal(size=(2 * STEPS, 5)),
        random.normal(size=(2 * STEPS, 1)),
        batch_size=2,
        shuffle=False,
        epochs=epochs,
        callbacks=list(called),
        verbose=0,
        **options,
    )


class Recorder(keras.callbacks.Callback):
    """Keeps the weights after each step and each epoch."""

    def __init__(self):
        super().__init__()
        self.steps, self.epochs = [], {}

    def on_train_batch_end(self, batch, logs=None):
        self.steps.append(self.model.get_weights())

    def on_epoch_end(self, epoch, logs=None):
        self.epochs[epoch] = self.model.get_weights()


class Script:
    """Stands in for ``evaluate``: gives the scores it is told and keeps the weights it saw."""

    def __init__(self, scores):
        self.scores = list(scores)
        self.seen = []

    def __call__(self, model, examples, *, beam_size, verbose):
        assert examples == "examples"
        score = self.scores[len(self.seen)]
        self.seen.append(model.get_weights())
        scores = dict.fromkeys(NAMES, 0.0) | {"CIDEr-D": score, "BLEU-4": -score}
        return Evaluation(scores, {}, f"beams:{beam_size}", [])


@pytest.fixture
def play(monkeypatch):
    """Makes ``evaluate`` follow a script: a function from scores to the ``Script``."""

    def start(*scores):
        script = Script(scores)
        monkeypatch.setattr(callbacks, "evaluate", script)
        return script

    return start


def assert_equal(ours, theirs):
    for one, two in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, two)


def read_scores(folder):
    return json.loads((folder / "scores.json").read_text(encoding="utf-8"))


def read_weights(path):
    """The weights in a model file, as bytes."""
    with zipfile.ZipFile(path) as file:
        return file.read("model.weights.h5")


def read_log(folder):
    with (folder / "log.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


# CaptionScores


def test_free_running_captions_are_scored_and_the_best_model_is_kept(tmp_path):
    captioner = scenes_captioner()
    data = load_data("scenes:31")
    recorder = Recorder()
    scores = CaptionScores(data["val"], tmp_path, monitor="ROUGE-L", beam_size=2)
    batches = captioner.batches(data["train"], 8)
    history = captioner.fit(batches, epochs=2, callbacks=[scores, recorder], verbose=0).history
    for entry in scores.history:
        captioner.set_weights(recorder.epochs[entry["epoch"]])
        expected = evaluate(captioner, data["val"], beam_size=2, verbose=0)
        assert entry["scores"] == expected.scores
        for name, score in expected.scores.items():
            assert history[f"val_{name}"][entry["epoch"]] == score
    found = read_scores(tmp_path)
    assert found["signature"] == expected.signature
    assert found["history"] == scores.history
    assert found["best"] == scores.best
    best = max(range(2), key=lambda epoch: history["val_ROUGE-L"][epoch])
    assert scores.best["epoch"] == best
    kept = keras.saving.load_model(tmp_path / "best.keras")
    assert_equal(kept.get_weights(), recorder.epochs[best])
    captioner.set_weights(recorder.epochs[best])
    assert kept.caption(data["val"]) == captioner.caption(data["val"])


@pytest.mark.parametrize(
    ("monitor", "best"), [("CIDEr-D", 1), ("BLEU-4", 3)], ids=lambda value: str(value)
)
def test_the_best_epoch_is_the_first_with_the_highest_score(tmp_path, play, monitor, best):
    play(0.2, 0.7, 0.7, 0.1, 0.4)
    recorder, model = Recorder(), make_model()
    scores = CaptionScores("examples", tmp_path, monitor=monitor)
    history = fit(model, 5, scores, recorder).history
    assert scores.best["epoch"] == best
    kept = keras.saving.load_model(tmp_path / "best.keras")
    assert_equal(kept.get_weights(), recorder.epochs[best])
    rows = read_log(tmp_path)
    assert [int(row["epoch"]) for row in rows] == list(range(5))
    assert [float(row["val_CIDEr-D"]) for row in rows] == [0.2, 0.7, 0.7, 0.1, 0.4]
    assert [float(row["loss"]) for row in rows] == history["loss"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "best.keras",
        "log.csv",
        "scores.json",
    ]


def test_the_losses_of_an_epoch_are_kept(tmp_path, play):
    play(0.2, 0.7)
    scores = CaptionScores("examples", tmp_path)
    history = fit(make_model(), 2, scores, validation_data=(np.ones((2, 5)), np.ones((2, 1))))
    for name in ("loss", "val_loss"):
        assert [entry["losses"][name] for entry in scores.history] == history.history[name]
    assert set(scores.history[0]["losses"]) == {"loss", "val_loss"}


@pytest.mark.parametrize(
    ("patience", "epochs"), [(None, 6), (1, 2), (2, 5), (3, 6)], ids=lambda value: str(value)
)
def test_training_stops_when_stuck(play, patience, epochs):
    play(0.5, 0.4, 0.6, 0.6, 0.5, 0.1)
    scores = CaptionScores("examples", patience=patience)
    assert len(fit(make_model(), 6, scores).epoch) == epochs


def test_early_epochs_need_not_be_scored(tmp_path, play):
    script = play(0.5, 0.4)
    scores = CaptionScores("examples", tmp_path, start_epoch=3, patience=1)
    recorder = Recorder()
    history = fit(make_model(), 9, scores, recorder)
    assert history.epoch == [0, 1, 2, 3, 4]
    assert [entry["epoch"] for entry in scores.history] == [3, 4]
    assert_equal(script.seen[0], recorder.epochs[3])
    assert [row["epoch"] for row in read_log(tmp_path)] == ["3", "4"]


def test_without_a_folder_nothing_is_written_and_a_new_fit_begins_anew(tmp_path, play, monkeypatch):
    monkeypatch.chdir(tmp_path)
    play(0.9, 0.5, 0.4, 0.3)
    scores = CaptionScores("examples")
    fit(make_model(), 2, scores)
    fit(make_model(), 2, scores)
    assert [entry["scores"]["CIDEr-D"] for entry in scores.history] == [0.4, 0.3]
    assert not list(tmp_path.iterdir())


def test_a_resumed_run_goes_on_from_the_scores_on_disk(tmp_path, play):
    model = make_model()
    play(0.5, 0.9, 0.6)
    fit(model, 3, CaptionScores("examples", tmp_path))
    best = (tmp_path / "best.keras").read_bytes()
    # Epoch 2 was scored, and killed before it was backed up: it is run and scored again.
    play(0.7, 0.8)
    scores = CaptionScores("examples", tmp_path, patience=2)
    fit(model, 9, scores, initial_epoch=2)
    told = [(entry["epoch"], entry["scores"]["CIDEr-D"]) for entry in scores.history]
    assert told == [(0, 0.5), (1, 0.9), (2, 0.7), (3, 0.8)]
    assert [row["epoch"] for row in read_log(tmp_path)] == ["0", "1", "2", "3"]
    assert read_scores(tmp_path)["best"]["epoch"] == 1
    assert (tmp_path / "best.keras").read_bytes() == best


@pytest.mark.parametrize("wrapped", [False, True], ids=["plain", "loss scaling"])
def test_averaged_weights_are_scored_and_saved_and_trained_ones_come_back(tmp_path, play, wrapped):
    momentum = 0.7
    optimizer = keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=momentum)
    if wrapped:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=1.0)
    script = play(0.5, 0.4, 0.9)
    recorder = Recorder()
    fit(make_model(optimizer), 3, CaptionScores("examples", tmp_path), recorder)
    averages = recorder.steps[0]
    for step, weights in enumerate(recorder.steps):
        if step:
            averages = [
                momentum * average + (1 - momentum) * weight
                for average, weight in zip(averages, weights, strict=True)
            ]
        if step % STEPS == STEPS - 1:
            for ours, theirs in zip(script.seen[step // STEPS], averages, strict=True):
                np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
            # What comes back is what the epoch's last step left.
            assert_equal(recorder.epochs[step // STEPS], weights)
            assert any((a != w).any() for a, w in zip(averages, weights, strict=True))
    kept = keras.saving.load_model(tmp_path / "best.keras")
    assert_equal(kept.get_weights(), script.seen[2])


def test_trained_weights_come_back_after_an_error():
    model = make_model(keras.optimizers.SGD(0.1, use_ema=True))
    fit(model, 2)
    for weight in model.trainable_variables:
        weight.assign_add(1.0 + 0.0 * weight)
    before = model.get_weights()

    def score():
        with averaged_weights(model):
            assert (model.get_weights()[0] != before[0]).all()
            raise RuntimeError("no room")

    with pytest.raises(RuntimeError, match="no room"):
        score()
    assert_equal(model.get_weights(), before)


def test_without_averages_the_weights_are_left_alone():
    model = make_model()
    before = model.get_weights()
    with averaged_weights(model):
        assert_equal(model.get_weights(), before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"monitor": "CIDEr"}, "monitor must be one of 'BLEU-1', .*, got 'CIDEr'.* 'CIDEr-D'"),
        ({"beam_size": 0}, "beam_size must be a whole number >= 1, got 0"),
        ({"patience": 0}, "patience must be a whole number >= 1, got 0"),
        ({"patience": 2.5}, "patience must be a whole number >= 1, got 2.5"),
        ({"start_epoch": -1}, "start_epoch must be a whole number >= 0, got -1"),
    ],
)
def test_errors(options, message):
    with pytest.raises(ValueError, match=message):
        CaptionScores("examples", **options)


# TrainingBackup


class Resumable:
    """One compiled model that plays many processes: ``run`` begins where a new one would."""

    def __init__(self, optimizer):
        self.model = make_model(optimizer)
        self.model.optimizer.build(self.model.trainable_variables)
        self.first = [variable.numpy() for variable in self.variables]

    @property
    def variables(self):
        return [*self.model.variables, *self.model.optimizer.variables]

    def run(self, folder, epochs, **options):
        """Trains in a folder; returns the weights with the optimizer's state, and the epochs."""
        for variable, value in zip(self.variables, self.first, strict=True):
            variable.assign(value)
        self.model._initial_epoch = None
        scores = CaptionScores("examples", folder, **options)
        history = fit(self.model, epochs, scores, TrainingBackup(folder / "backup"))
        return [variable.numpy() for variable in self.variables], history.epoch


@pytest.fixture
def score_by_weights(monkeypatch):
    """Scores go up and down with the weights, the same for the same weights."""

    def scored(model, examples, *, beam_size, verbose):
        found = float(np.sin(50 * sum(weight.sum() for weight in model.get_weights())))
        return Evaluation(dict.fromkeys(NAMES, found), {}, "by weights", [])

    monkeypatch.setattr(callbacks, "evaluate", scored)


@pytest.fixture
def score_by_steps(monkeypatch):
    """Scores fall from epoch to epoch."""

    def scored(model, examples, *, beam_size, verbose):
        found = -float(model.optimizer.iterations)
        return Evaluation(dict.fromkeys(NAMES, found), {}, "by steps", [])

    monkeypatch.setattr(callbacks, "evaluate", scored)


@pytest.mark.parametrize(
    ("scoring", "average", "epochs", "patience"),
    [
        pytest.param("score_by_weights", False, 2, None, marks=pytest.mark.slow),
        pytest.param("score_by_steps", True, 5, 1, marks=pytest.mark.slow),
    ],
    ids=["all epochs", "stops early"],
)
def test_a_kill_at_any_moment_changes_nothing(
    tmp_path, monkeypatch, request, scoring, average, epochs, patience
):
    request.getfixturevalue(scoring)
    optimizer = keras.optimizers.Adam(0.1, use_ema=average, ema_momentum=0.7)
    resumable = Resumable(optimizer)
    folder = tmp_path / "run"
    with kills.watch(folder, monkeypatch) as states:
        expected, _ = resumable.run(folder, epochs, patience=patience)
    expected_scores = read_scores(folder)
    expected_log = (folder / "log.csv").read_text()
    expected_best = read_weights(folder / "best.keras")
    assert len(expected_scores["history"]) == 2
    # Each epoch writes a model, the scores, the log and a backup, and removes the one before.
    assert len(states) > 16
    left = 2
    for state in states[:-1]:
        kills.restore(state, folder)
        found, again = resumable.run(folder, epochs, patience=patience)
        assert_equal(found, expected)
        # What is backed up is not run again, until the end removes the backup.
        if left:
            assert len(again) in {left, left - 1}
            left = len(again)
        assert read_scores(folder) == expected_scores
        assert (folder / "log.csv").read_text() == expected_log
        assert read_weights(folder / "best.keras") == expected_best
        assert not (folder / "backup").exists()
    assert left == 0


def test_a_run_that_was_killed_often_ends_alike(tmp_path, monkeypatch, score_by_weights):
    """Killed in its first part, resumed, killed in the resumed part, and so on."""
    resumable = Resumable(keras.optimizers.Adam(0.1))
    folder = tmp_path / "run"
    expected, _ = resumable.run(folder, 5)
    random = np.random.default_rng(3)
    state = {}
    for _ in range(7):
        kills.restore(state, folder)
        with kills.watch(folder, monkeypatch) as states:
            resumable.run(folder, 5)
        state = states[random.integers(len(states) // 2)]
    kills.restore(state, folder)
    assert_equal(resumable.run(folder, 5)[0], expected)


def test_done_epochs_are_not_run_again(tmp_path, score_by_weights):
    model = make_model()

    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 3:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(model, 5, Stop(), TrainingBackup(tmp_path / "backup"))
    names = [path.name for path in (tmp_path / "backup").iterdir()]
    assert names == ["epoch-000003-000000000"]
    history = fit(make_model(), 5, TrainingBackup(tmp_path / "backup"))
    assert history.epoch == [3, 4]


def test_a_backup_may_stay_and_leaves_nothing_to_do(tmp_path):
    backup = tmp_path / "backup"
    model = make_model()
    fit(model, 3, TrainingBackup(backup, delete_checkpoint=False))
    again = make_model()
    history = fit(again, 3, TrainingBackup(backup, delete_checkpoint=False))
    assert history.epoch == []
    assert_equal(again.get_weights(), model.get_weights())
