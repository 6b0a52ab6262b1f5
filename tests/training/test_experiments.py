"""Tables of experiments, and callbacks that see each epoch of a row."""

import json
import pathlib

import keras
import pytest

from keras_vlm.training.captioning_run import CaptioningRun
from keras_vlm.training.experiments import (
    EpochLines,
    best_score,
    describe_spread,
    folder_name,
    markdown_table,
    read_scores,
    small_captioner,
    train_row,
    write_table,
)

TINY = {
    "data": "scenes:20",
    "backbone": "conv_small",
    "text": "lstm",
    "hidden_dim": 12,
    "image_size": 32,
    "minimum_count": 1,
    "max_length": 11,
    "batch_size": 8,
    "captions_per_image": 2,
}


class StopAfter(keras.callbacks.Callback):
    """Stops after an epoch, whose scores it can read."""

    def __init__(self, epoch, out):
        super().__init__()
        self.epoch, self.out, self.seen = epoch, out, []

    def on_epoch_end(self, epoch, logs=None):
        self.seen.append((epoch, len(read_scores(self.out)["history"])))
        self.model.stop_training = epoch == self.epoch


class Killed(BaseException):
    """Nothing after it runs."""


class KillAt(keras.callbacks.Callback):
    """Ends the process, as it were, after an epoch."""

    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_end(self, epoch, logs=None):
        if epoch == self.epoch:
            raise Killed


def test_a_row_is_stopped_between_epochs_and_goes_on(tmp_path, capsys):
    out = tmp_path / "row"
    run = CaptioningRun(**TINY, out=str(out), epochs=4)
    with pytest.raises(Killed):
        train_row(run, callbacks=[KillAt(1)])
    # The epoch after which it was killed was not done: it is seen again, with its scores.
    stop = StopAfter(2, out)
    scores = train_row(run, callbacks=[EpochLines("my row", run.out), stop])
    assert stop.seen == [(1, 2), (2, 3)]
    assert [entry["epoch"] for entry in scores["history"]] == [0, 1, 2]
    assert scores == json.loads((out / "scores.json").read_text())
    lines = capsys.readouterr().out.splitlines()
    for line, entry in zip(lines, scores["history"][1:], strict=True):
        score = entry["scores"]["CIDEr-D"]
        told = f"my row: epoch {entry['epoch'] + 1} of 4, CIDEr-D {score:.4f}, "
        assert line.startswith(told)
    assert best_score(scores) == max(e["scores"]["CIDEr-D"] for e in scores["history"])
    # Stopped is done: the model is there, and nothing is trained any more.
    assert (out / "model.keras").is_file()
    again = StopAfter(0, out)
    assert train_row(run, callbacks=[again]) == scores
    assert again.seen == []


def test_rows_share_their_features_where_they_have_some(tmp_path):
    shared = tmp_path / "features"
    options = {**TINY, "backbone": "efficientnet_lite0", "image_size": 64, "epochs": 1}
    run = CaptioningRun(**options, out=str(tmp_path / "a"), cache=f"auto:{shared}")
    train_row(run)
    assert list(shared.iterdir())
    assert not (tmp_path / "a" / "features").exists()
    # A backbone that learns has none, and that is no error.
    learning = CaptioningRun(
        **{**options, "backbone": "conv_small", "image_size": 32},
        out=str(tmp_path / "b"),
        cache=f"auto:{tmp_path / 'others'}",
    )
    train_row(learning)
    assert not (tmp_path / "others").exists()


def test_small_captioner():
    run = small_captioner("scenes", pathlib.Path("out"), average=0.5, epochs=3)
    assert (run.text, run.average, run.epochs, run.out) == ("lstm", 0.5, 3, "out")


def test_folder_name():
    assert folder_name("text: GRU, 2") == "text--GRU--2"


def test_describe_spread():
    assert describe_spread([0.25]) == "0.250"
    # By hand: the variance of 1, 2, 6 is (4 + 1 + 9) / 2.
    assert describe_spread([1, 2, 6]) == "3.000 ± 2.646"


def test_tables(tmp_path):
    header, rows = ["a", "b"], [["1", "x | y\nz"], ["", "é"]]
    text = "| a | b |\n|---|---|\n| 1 | x \\| y z |\n|  | é |"
    assert markdown_table(header, rows) == text
    write_table(tmp_path / "deep" / "table", header, rows)
    assert (tmp_path / "deep" / "table.md").read_text(encoding="utf-8") == text + "\n"
    written = (tmp_path / "deep" / "table.csv").read_bytes().decode()
    assert written == 'a,b\r\n1,"x | y\nz"\r\n,é\r\n'
