"""Rows of an experiment: watched, stopped, killed; and their tables."""

import json
import multiprocessing
import pathlib

import pytest

from keras_vlm.training.captioning_run import CaptioningRun
from keras_vlm.training.experiments import (
    best_score,
    describe_spread,
    folder_name,
    markdown_table,
    print_epoch,
    small_captioner,
    train_here,
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


class Killed(BaseException):
    """Nothing after it runs."""


@pytest.mark.slow
def test_a_row_is_stopped_between_epochs_and_goes_on(tmp_path, capsys):
    out = tmp_path / "row"
    run = CaptioningRun(**TINY, out=str(out), epochs=4)

    def kill(epoch):
        if epoch.number == 2:
            raise Killed

    with pytest.raises(Killed):
        train_here(run, kill)
    seen = []

    def stop(epoch):
        seen.append(epoch)
        print_epoch("my row", epoch)
        return epoch.number == 3

    # Told in this process, trained in another. The epoch of the kill was not done: it comes again.
    scores = train_row(run, stop)
    assert [epoch.number for epoch in seen] == [2, 3]
    assert [epoch.last for epoch in seen] == [False, False]
    assert [entry["epoch"] for entry in scores["history"]] == [0, 1, 2]
    assert scores == json.loads((out / "scores.json").read_text())
    lines = capsys.readouterr().out.splitlines()
    lines = [line for line in lines if line.startswith("my row")]
    for line, epoch, entry in zip(lines, seen, scores["history"][1:], strict=True):
        assert epoch.score == entry["scores"]["CIDEr-D"]
        assert line.startswith(f"my row: epoch {epoch.number} of 4, CIDEr-D {epoch.score:.4f}, ")
    assert best_score(scores) == max(e["scores"]["CIDEr-D"] for e in scores["history"])
    # Stopped is done: the model is there, and nothing is trained any more.
    assert (out / "model.keras").is_file()
    assert not (out / "backup").exists()
    assert train_row(run, seen.append) == scores
    assert len(seen) == 2
    with pytest.raises(FileExistsError, match="other options: epochs was 4, now 5"):
        train_row(CaptioningRun(**TINY, out=str(out), epochs=5), seen.append)


@pytest.mark.slow
def test_a_process_that_is_killed(tmp_path):
    run = CaptioningRun(**TINY, out=str(tmp_path / "row"), epochs=2)

    def kill(epoch):
        (child,) = multiprocessing.active_children()
        child.kill()
        child.join()

    with pytest.raises(ChildProcessError, match="row: its process ended with code -9"):
        train_row(run, kill)
    assert not multiprocessing.active_children()


@pytest.mark.slow
def test_what_fails_in_the_process_is_raised_here(tmp_path):
    run = CaptioningRun(**TINY, out=str(tmp_path / "row"), validation_split="train")
    with pytest.raises(RuntimeError, match="validation_split must be another split"):
        train_row(run, print)


@pytest.mark.slow
def test_rows_share_their_features_where_they_have_some(tmp_path):
    shared = tmp_path / "features"
    options = {**TINY, "backbone": "efficientnet_lite0", "image_size": 64, "epochs": 1}
    run = CaptioningRun(**options, out=str(tmp_path / "a"), cache=f"auto:{shared}")
    last = []
    train_here(run, lambda epoch: last.append(epoch.last))
    assert last == [True]
    assert list(shared.iterdir())
    assert not (tmp_path / "a" / "features").exists()
    # A backbone that learns has none, and that is no error.
    learning = CaptioningRun(
        **{**options, "backbone": "conv_small", "image_size": 32},
        out=str(tmp_path / "b"),
        cache=f"auto:{tmp_path / 'others'}",
    )
    train_here(learning, print)
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
