"""What a run costs: work counts, once, and the night between a kill and its resumption does not."""

import json
import os
import pathlib

import keras
import numpy as np
import pytest

from keras_vlm.training import cost
from keras_vlm.training.callbacks import TrainingBackup
from keras_vlm.training.cost import RunCost, read_cost

BEFORE, EPOCH = 7, 100


class Clock(keras.callbacks.Callback):
    """Time as the tests want it: an epoch takes ``EPOCH`` seconds; it can kill within one."""

    now = 0.0

    def __init__(self, dies_in=None):
        super().__init__()
        self.dies_in = dies_in

    def on_epoch_begin(self, epoch, logs=None):
        Clock.now += EPOCH / 2
        if epoch == self.dies_in:
            raise KeyboardInterrupt
        Clock.now += EPOCH / 2


@pytest.fixture(autouse=True)
def time_stands_still(monkeypatch):
    Clock.now = 1000.0
    monkeypatch.setattr(cost.time, "monotonic", lambda: Clock.now)
    monkeypatch.setattr(cost, "peak_memory_mb", lambda: 300.0)


def run(folder, epochs=3, dies_in=None):
    """A training as ``train`` does it: clock first, then reading, then learning."""
    noted = RunCost(folder)
    Clock.now += BEFORE
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    backup = TrainingBackup(folder / "backup", delete_checkpoint=False)
    called = [Clock(dies_in), noted, backup]
    model.fit(np.ones((2, 2)), np.ones((2, 1)), epochs=epochs, callbacks=called, verbose=0)


def test_a_run_that_nobody_kills(tmp_path):
    assert read_cost(tmp_path) is None
    run(tmp_path)
    assert json.loads((tmp_path / "cost.json").read_text()) == {
        "seconds": {"-1": BEFORE, "0": EPOCH, "1": EPOCH, "2": EPOCH},
        "peak_memory_mb": 300.0,
    }
    assert read_cost(tmp_path) == (BEFORE + 3 * EPOCH, 300.0)


@pytest.mark.parametrize("dies_in", [0, 1, 2])
def test_a_night_between_kill_and_resumption_is_not_work(tmp_path, dies_in):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, dies_in=dies_in)
    Clock.now += 8 * 3600
    run(tmp_path)
    # Opened twice; the half of an epoch that was thrown away is run again and counts once.
    assert read_cost(tmp_path) == (2 * BEFORE + 3 * EPOCH, 300.0)


def test_an_epoch_that_was_noted_and_not_backed_up_counts_once(tmp_path, monkeypatch):
    def stop(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patches:
        patches.setattr(TrainingBackup, "_save_model", stop)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path)
    assert read_cost(tmp_path)[0] == BEFORE + EPOCH
    run(tmp_path)
    assert read_cost(tmp_path)[0] == 2 * BEFORE + 3 * EPOCH


def test_a_finished_run_that_is_opened_again_counts_its_opening(tmp_path):
    run(tmp_path)
    run(tmp_path)
    assert read_cost(tmp_path)[0] == 2 * BEFORE + 3 * EPOCH


def test_the_peak_is_that_of_the_larger_process(tmp_path, monkeypatch):
    for peak in (300.0, 900.5, 200.0):
        monkeypatch.setattr(cost, "peak_memory_mb", lambda peak=peak: peak)
        run(tmp_path)
    assert read_cost(tmp_path)[1] == 900.5


def test_what_an_older_version_has_begun_is_not_known(tmp_path):
    run(tmp_path, epochs=1)
    (tmp_path / "cost.json").unlink()
    run(tmp_path)
    assert read_cost(tmp_path) is None


def test_where_memory_cannot_be_asked_for_it_is_none(tmp_path, monkeypatch):
    monkeypatch.undo()
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    # A peak is no less than what is in use, and of the same size: not kilobytes for megabytes.
    in_use = pages * os.sysconf("SC_PAGE_SIZE") / 1e6
    assert 0.9 * in_use < cost.peak_memory_mb() < 100 * in_use
    monkeypatch.setattr(cost, "resource", None)
    assert cost.peak_memory_mb() is None
    run(tmp_path, epochs=1)
    assert read_cost(tmp_path)[1] is None
