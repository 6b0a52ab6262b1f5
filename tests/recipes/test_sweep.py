"""A sweep ends alike however often it was killed."""

import csv
import importlib
import json
import math
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
import types

import keras
import pytest

from keras_vlm.core.files import take_lock
from keras_vlm.training.captioning_run import CaptioningRun
from keras_vlm.training.experiments import train_here
from keras_vlm.training.runs import RUNS

RECIPES = pathlib.Path(__file__).parents[2] / "recipes"
FILE = """
task = "captioning"
trials = 7
best = 2
seeds = [0, 3]
one_in = 2

[base]
epochs = 4
augment = "none"

[space]
learning_rate = { low = 1e-4, high = 1, log = true }
hidden_dim = { low = 6, high = 18, step = 6 }
dropout = { low = 0.0, high = 0.5 }
fusion = ["attention", "additive"]
"""
TINY = """
task = "captioning"
trials = 3
best = 1
seeds = [0, 1]

[base]
backbone = "conv_small"
text = "lstm"
hidden_dim = 12
image_size = 32
minimum_count = 1
max_length = 11
batch_size = 8
captions_per_image = 2
epochs = 2

# Drawn are the third, the third again, and the second, with which the model falls apart.
[space]
learning_rate = [0.001, 0.05, 0.01]
"""


@pytest.fixture
def sweep(monkeypatch):
    pytest.importorskip("optuna", reason="it needs the extra [sweep]")
    monkeypatch.syspath_prepend(RECIPES)
    return importlib.import_module("sweep")


class Killed(BaseException):
    """Nothing after it runs, as after a kill."""


class Trainings:
    """Trains nothing; scores are a formula of the options. Remembers which epochs were trained."""

    def __init__(self):
        self.epochs = []

    def __call__(self, run, *, verbose, callbacks):
        out = pathlib.Path(run.out)
        out.mkdir(parents=True, exist_ok=True)
        note = out / "run.json"
        options = json.dumps([run.learning_rate, run.hidden_dim, run.dropout, run.fusion, run.seed])
        assert not note.exists() or note.read_text() == options
        note.write_text(options)
        if run.fusion == "additive" and run.hidden_dim == 18:
            raise ValueError("these do not go | together")
        model = types.SimpleNamespace(stop_training=False)
        for callback in callbacks:
            callback.set_model(model)
            callback.set_params({"epochs": run.epochs})
        done = out / "done"
        history = []
        for epoch in range(run.epochs):
            score = 1 - abs(math.log10(run.learning_rate) + 2) / 4 + 0.01 * epoch
            score += run.seed / 100 - run.dropout / 50
            history.append({"epoch": epoch, "scores": {"CIDEr-D": score}})
            if done.exists() and int(done.read_text()) > epoch:
                continue
            for callback in callbacks:
                callback.on_epoch_begin(epoch)
            scores = {"monitor": "CIDEr-D", "best": history[-1], "history": history}
            (out / "scores.json").write_text(json.dumps(scores))
            for callback in callbacks:
                callback.on_epoch_end(epoch, {})
            done.write_text(str(run.epochs if model.stop_training else epoch + 1))
            self.epochs.append((out.parent.name, out.name, epoch))


@pytest.fixture
def here(sweep, monkeypatch):
    """Trains in this process, which spares the start of others."""
    monkeypatch.setattr(sweep, "train_row", train_here)


@pytest.fixture
def trainings(here, monkeypatch):
    fake = Trainings()
    monkeypatch.setitem(RUNS, "captioning", (CaptioningRun, fake))
    # There is none to clear, and every row would look through the memory of all tests before.
    monkeypatch.setattr(keras.backend, "clear_session", lambda: None)
    return fake


def write(tmp_path, text=FILE):
    path = tmp_path / "sweep.toml"
    path.write_text(text, encoding="utf-8")
    return path


def run(sweep, path, out, *more):
    """Runs a sweep; returns its table."""
    sweep.main(["scenes:20", "--sweep", str(path), "--out", str(out), *more])
    return read_table(out)


def read_table(out):
    with (out / "table.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_sweep(sweep, trainings, tmp_path, capsys):
    table = run(sweep, write(tmp_path), tmp_path / "out")
    assert sorted(int(row["trial"]) for row in table) == [1, 2, 3, 4, 5, 6, 7]
    states = [row["state"] for row in table]
    assert {state.partition(" ")[0].rstrip(":") for state in states} == {
        "done", "stopped", "failed",
    }  # fmt: skip
    # The best have been trained with both seeds; then the others, by score; what failed comes last.
    assert [row["seeds"] for row in table][:3] == ["2", "2", "1"]
    assert states[:2] == ["done", "done"]
    assert [bool(row["mean and spread"]) for row in table] == [True] * 2 + [False] * 5
    scores = [row["score"] for row in table]
    others = [float(score) for score in scores[2:] if score]
    assert others == sorted(others, reverse=True)
    failed = [row for row in table if not row["score"]]
    assert table[-len(failed) :] == failed
    for row in failed:
        assert row["seeds"] == "0"
        assert row["state"] == "failed: these do not go | together"
    # A trial that was stopped after its second epoch has not been trained on.
    for row in table:
        name = f"trial-{int(row['trial']):03d}"
        trained = [epoch for folder, _, epoch in trainings.epochs if folder == name]
        stopped = re.match(r"stopped after epoch (\d)", row["state"])
        if stopped:
            assert trained == list(range(int(stopped.group(1))))
        elif row["state"] == "done":
            assert trained == [0, 1, 2, 3] * int(row["seeds"])
        assert 1e-4 <= float(row["learning_rate"]) <= 1
        assert row["hidden_dim"] in {"6", "12", "18"}
    printed = capsys.readouterr().out
    first = f"trial-{int(table[0]['trial']):03d}"
    assert f"{first}/seed-0/run.json" in printed
    assert "trial 1 of 7: epoch 4 of 4, CIDEr-D " in printed
    assert (tmp_path / "out" / "table.md").read_text() in printed
    assert r"failed: these do not go \| together" in printed
    # All is there: nothing is trained again.
    trainings.epochs.clear()
    assert run(sweep, write(tmp_path), tmp_path / "out") == table
    assert trainings.epochs == []


@pytest.mark.parametrize("how", ["before", "after", "half"])
@pytest.mark.parametrize("records", [4, 5, 11])
def test_killed_again_and_again_it_ends_alike(
    sweep, trainings, tmp_path, monkeypatch, how, records
):
    """A kill at each of so many records of the journal: before it, after it, in its middle."""
    import optuna

    backend = optuna.storages.journal.JournalFileBackend
    append, left = backend.append_logs, [math.inf]

    def dying(self, logs):
        left[0] -= 1
        if left[0] > 0:
            return append(self, logs)
        if how == "after":
            append(self, logs)
        if how == "half":
            with pathlib.Path(self._file_path).open("ab") as file:
                file.write(json.dumps(logs[0]).encode()[:-9])
        pathlib.Path(f"{self._file_path}.lock").symlink_to("gone")
        raise Killed

    monkeypatch.setattr(backend, "append_logs", dying)
    path = write(tmp_path)
    quiet = run(sweep, path, tmp_path / "quiet")
    expected, trainings.epochs = trainings.epochs, []
    kill_count = 0
    while True:
        left[0] = records
        try:
            table = run(sweep, path, tmp_path / "killed")
            break
        except Killed:
            kill_count += 1
        assert kill_count < 200
    assert kill_count > 3
    assert table == quiet
    # An epoch is trained again only if it was not done.
    assert trainings.epochs == expected


def test_the_same_options_are_not_trained_twice(sweep, trainings, tmp_path):
    text = FILE.partition("[space]")[0] + '[space]\nfusion = ["attention", "additive"]\n'
    table = run(sweep, write(tmp_path, text), tmp_path / "out")
    trained = [row for row in table if row["score"]]
    assert sorted(row["fusion"] for row in trained) == ["additive", "attention"]
    twins = table[len(trained) :]
    assert len(twins) == 5
    first = {row["fusion"]: row["trial"] for row in trained}
    for row in twins:
        assert row["state"] == f"the same as trial {first[row['fusion']]}"
    folders = {folder for folder, _, _ in trainings.epochs}
    assert folders == {f"trial-00{row['trial']}" for row in trained}


def test_more_trials_may_be_asked_for(sweep, trainings, tmp_path):
    path = write(tmp_path)
    whole = run(sweep, path, tmp_path / "whole")
    run(sweep, path, tmp_path / "parts", "--trials", "3")
    assert len(read_table(tmp_path / "parts")) == 3
    table = run(sweep, path, tmp_path / "parts")
    told = [{**row, "mean and spread": "", "seeds": ""} for row in (*whole, *table)]
    order = sorted(told, key=lambda row: row["trial"])
    assert order[::2] == order[1::2]


def test_another_sweep_is_refused(sweep, trainings, tmp_path):
    run(sweep, write(tmp_path), tmp_path / "out", "--trials", "1")
    with pytest.raises(FileExistsError, match=r"another sweep: base was .*: 4.*'epochs': 5"):
        run(sweep, write(tmp_path), tmp_path / "out", "--epochs", "5")


def test_two_at_once_are_refused(sweep, trainings, tmp_path):
    (tmp_path / "out").mkdir()
    lock = take_lock(tmp_path / "out" / "lock", "")
    try:
        with pytest.raises(BlockingIOError, match="out must be free, got one in which a sweep is"):
            run(sweep, write(tmp_path), tmp_path / "out")
    finally:
        os.close(lock)
    assert trainings.epochs == []


def test_a_full_disk_ends_the_sweep_and_not_the_trial(sweep, trainings, tmp_path, monkeypatch):
    path = write(tmp_path)
    quiet = run(sweep, path, tmp_path / "quiet")

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patches:
        patches.setitem(RUNS, "captioning", (CaptioningRun, full))
        with pytest.raises(OSError, match="No space left"):
            run(sweep, path, tmp_path / "out")
    assert run(sweep, path, tmp_path / "out") == quiet


def test_without_the_extra(sweep, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ImportError, match=r"'optuna'.*pip install 'keras-vlm\[sweep\]'"):
        run(sweep, write(tmp_path), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_data_that_are_not_there_end_it_at_once(sweep, trainings, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        sweep.main(
            ["folder:nowhere", "--sweep", str(write(tmp_path)), "--out", str(tmp_path / "out")]
        )
    assert trainings.epochs == []


def start(path, out):
    return subprocess.Popen(
        [sys.executable, RECIPES / "sweep.py", "scenes:24", "--sweep", path, "--out", out],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(path, out):
    process = start(path, out)
    printed, _ = process.communicate(timeout=600)
    assert process.returncode == 0, printed
    return read_table(out)


@pytest.mark.slow
def test_real_trainings(sweep, here, tmp_path):
    out = tmp_path / "out"
    table = run(sweep, write(tmp_path, TINY), out)
    assert [(row["trial"], row["learning_rate"], row["state"], row["seeds"]) for row in table] == [
        ("1", "0.01", "done", "2"),
        ("3", "0.05", "stopped after epoch 1", "1"),
        ("2", "0.01", "the same as trial 1", "0"),
    ]
    for row, epochs in zip(table, (2, 1), strict=False):
        folder = out / f"trial-00{row['trial']}" / "seed-0"
        scores = json.loads((folder / "scores.json").read_text())
        assert len(scores["history"]) == epochs
        assert f"{scores['best']['scores']['CIDEr-D']:.3f}" == row["score"]
        assert (folder / "model.keras").is_file()
        assert not (folder / "backup").exists()
    assert (out / "trial-001" / "seed-1" / "model.keras").is_file()
    assert not (out / "trial-002").exists()


@pytest.mark.slow
def test_real_processes_that_are_killed_end_alike(tmp_path):
    """SIGKILL, at files that appear."""
    path = write(tmp_path, TINY)
    quiet = finish(path, tmp_path / "quiet")
    out, kill_count = tmp_path / "killed", 0
    for file in (
        "study.log", "trial-001/seed-0/backup/epoch-000001*", "trial-001/seed-0/model.keras",
        "trial-003/seed-0/run.json", "trial-003/seed-0/scores.json", "trial-*/seed-1/scores.json",
    ):  # fmt: skip
        process = start(path, out)
        while process.poll() is None and not list(out.glob(file)):
            time.sleep(0.002)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kill_count += 1
        process.communicate()
    assert kill_count >= 4
    assert finish(path, out) == quiet
    assert sorted(folder.name for folder in out.glob("trial-*")) == ["trial-001", "trial-003"]
