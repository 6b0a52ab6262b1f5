"""Rows of an experiment: a training each, which goes on where it was interrupted, and their table.

Refuses to know the command line, and what the rows vary.
"""

import csv
import json
import pathlib
import statistics
import time

import keras

from keras_vlm.core.files import replace_file
from keras_vlm.training.captioning_run import CaptioningRun
from keras_vlm.training.runs import RUNS

# What rows are compared with that vary one thing at a time: small, quick, and near its best.
SMALL_CAPTIONER = {
    "text": "lstm",
    "memory_dropout": 0.3,
    "augment": "flip",
    "average": 0.98,
    "minimum_count": 2,
}


class EpochLines(keras.callbacks.Callback):
    """Prints a line an epoch: which one, its score, and how long it took.

    Args:
        label: what the line begins with.
        out: the run's output folder.
    """

    def __init__(self, label, out):
        super().__init__()
        self.label = label
        self.out = out

    def on_epoch_begin(self, epoch, logs=None):
        """Notes the time."""
        self._began = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        """Prints the line."""
        monitor, score = newest_score(read_scores(self.out))
        seconds = time.monotonic() - self._began
        print(
            f"{self.label}: epoch {epoch + 1} of {self.params['epochs']}, "
            f"{monitor} {score:.4f}, {seconds:.0f} s",
            flush=True,
        )


def small_captioner(data, out, **options):
    """Makes the captioner that rows are compared with.

    Args:
        data: name of a data source.
        out: folder of the experiment.
        **options: more options of a ``CaptioningRun``, or others than those of ``SMALL_CAPTIONER``.

    Returns:
        A ``CaptioningRun``.
    """
    return CaptioningRun(data=data, out=str(out), **{**SMALL_CAPTIONER, **options})


def train_row(run, *, callbacks=()):
    """Trains a row, goes on with one that was interrupted, or reads one that is done.

    Args:
        run: a run of any task.
        callbacks: as for ``train``.

    Returns:
        What ``scores.json`` holds: a dict with ``monitor``, ``best`` and ``history``.
    """
    train = dict(RUNS.values())[type(run)]
    try:
        train(run, verbose=0, callbacks=callbacks)
    finally:
        # Else the graphs of all rows stay in memory.
        keras.backend.clear_session()
    return read_scores(run.out)


def read_scores(out):
    """Returns what a run's ``scores.json`` holds.

    Args:
        out: the run's output folder.
    """
    return json.loads((pathlib.Path(out) / "scores.json").read_text(encoding="utf-8"))


def best_score(scores):
    """Returns the score of the best epoch.

    Args:
        scores: what ``read_scores`` returns.
    """
    return scores["best"]["scores"][scores["monitor"]]


def newest_score(scores):
    """Returns the name and the value of the score that chooses, at the newest epoch.

    Args:
        scores: what ``read_scores`` returns.
    """
    return scores["monitor"], scores["history"][-1]["scores"][scores["monitor"]]


def folder_name(row):
    """Returns the folder of a row.

    Args:
        row: the row's name.
    """
    return "".join(letter if letter.isalnum() else "-" for letter in row)


def describe_spread(scores):
    """Returns ``mean ± standard deviation``, or the score alone where there is one seed.

    Args:
        scores: a list of a score a seed.
    """
    if len(scores) == 1:
        return f"{scores[0]:.3f}"
    return f"{statistics.mean(scores):.3f} ± {statistics.stdev(scores):.3f}"


def markdown_table(header, rows):
    """Returns a table in Markdown.

    Args:
        header: list of strings.
        rows: lists of strings.
    """
    # A cell stays one, whatever an error message holds.
    cells = [[" ".join(cell.replace("|", "\\|").split()) for cell in row] for row in rows]
    lines = ["| " + " | ".join(row) + " |" for row in [header, *cells]]
    return "\n".join([lines[0], "|---" * len(header) + "|", *lines[1:]])


def write_table(path, header, rows):
    """Writes a table as Markdown and as CSV.

    Args:
        path: the file without its suffix.
        header: list of strings.
        rows: lists of strings.
    """
    path = pathlib.Path(path)
    with replace_file(path.with_suffix(".md")) as temporary:
        temporary.write_text(markdown_table(header, rows) + "\n", encoding="utf-8")
    with (
        replace_file(path.with_suffix(".csv")) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        csv.writer(file).writerows([header, *rows])
