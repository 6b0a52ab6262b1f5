"""Rows of an experiment: a training each, which goes on where it was interrupted, and their table.

Each is trained in a process of its own: TensorFlow gives back what a training held, its functions
and the features that these read, only when its process ends. Refuses to know the command line, and
what the rows vary.
"""

import contextlib
import csv
import json
import multiprocessing
import multiprocessing.connection
import os
import pathlib
import statistics
import threading
import time
import traceback
import typing

import keras

from keras_vlm.core.files import replace_file
from keras_vlm.training.captioning_run import CaptioningRun
from keras_vlm.training.run import claim_folder
from keras_vlm.training.runs import RUNS

# What rows are compared with that vary one thing at a time: small, quick, and near its best.
SMALL_CAPTIONER = {
    "text": "lstm",
    "memory_dropout": 0.3,
    "augment": "flip",
    "average": 0.98,
    "minimum_count": 2,
}


class Epoch(typing.NamedTuple):
    """What is known at the end of an epoch.

    Attributes:
        number: which, from 1.
        total: of how many.
        monitor: name of the score that chooses.
        score: its value.
        seconds: how long the epoch took.
        last: whether the training ends with it anyway.
    """

    number: int
    total: int
    monitor: str
    score: float
    seconds: float
    last: bool

    def __str__(self):
        return (
            f"epoch {self.number} of {self.total}, {self.monitor} {self.score:.4f}, "
            f"{self.seconds:.0f} s"
        )


class _Watch(keras.callbacks.Callback):
    """Tells each epoch to a function, and stops the training if that returns True."""

    def __init__(self, watch, out):
        super().__init__()
        self.watch = watch
        self.out = out

    def on_epoch_begin(self, epoch, logs=None):
        self._began = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        scores = read_scores(self.out)
        told = Epoch(
            epoch + 1,
            self.params["epochs"],
            scores["monitor"],
            scores["history"][-1]["scores"][scores["monitor"]],
            time.monotonic() - self._began,
            self.model.stop_training or epoch + 1 == self.params["epochs"],
        )
        if self.watch(told):
            self.model.stop_training = True


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


def train_row(run, watch):
    """Trains a row, goes on with one that was interrupted, or reads one that is done.

    Args:
        run: a run of any task.
        watch: function of an ``Epoch`` -> whether to stop after it; called in this process. Where a
            kill came between the epoch and its backup, the epoch is trained and told again.

    Returns:
        What ``scores.json`` holds: a dict with ``monitor``, ``best`` and ``history``.

    Raises:
        FileExistsError: the folder holds a run with other options.
        ImportError: a package is missing.
        OSError: a file cannot be read or written.
        ChildProcessError: its process was killed; called again, it goes on.
        RuntimeError: the training failed otherwise.
    """
    out = pathlib.Path(run.out)
    claim_folder(run, out)
    if (out / "model.keras").exists() and not (out / "backup").exists():
        return read_scores(out)
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    child = context.Process(target=_train_in_child, args=(run, theirs))
    child.start()
    theirs.close()
    try:
        while isinstance(told := _receive(ours, child, out), Epoch):
            stop = bool(watch(told))
            # That nobody is there any more is told when nothing comes.
            with contextlib.suppress(ConnectionError):
                ours.send(stop)
    finally:
        child.kill()
        child.join()
        ours.close()
    if told is not None:
        raise told
    return read_scores(out)


def _receive(pipe, child, out):
    """Returns what the training tells next.

    Raises:
        ChildProcessError: its process has ended without a word.
    """
    try:
        return pipe.recv()
    except (EOFError, ConnectionError) as error:
        child.join()
        raise ChildProcessError(
            f"{out}: its process ended with code {child.exitcode} (-9: killed, perhaps for want of "
            "memory)."
        ) from error


def train_here(run, watch):
    """Does what ``train_row`` does in this process.

    Args:
        run: as for ``train_row``.
        watch: as for ``train_row``.

    Returns:
        As ``train_row``.
    """
    train = dict(RUNS.values())[type(run)]
    try:
        train(run, verbose=0, callbacks=[_Watch(watch, run.out)])
    finally:
        keras.backend.clear_session()
    return read_scores(run.out)


def _train_in_child(run, pipe):
    """Trains in a process that ends with its parent, and tells it how far it is.

    Args:
        run: a run of any task.
        pipe: takes an ``Epoch`` each and answers it; at the end it takes None or an exception.
    """
    # Who is killed and started again must not find two trainings in one folder.
    threading.Thread(target=_end_with_parent, daemon=True).start()

    def watch(epoch):
        pipe.send(epoch)
        return pipe.recv()

    problem = None
    try:
        train_here(run, watch)
    except Exception as error:  # noqa: BLE001 - raised again by the parent
        traceback.print_exc()
        # Some exceptions cannot travel.
        kinds = (FileExistsError, FileNotFoundError, OSError, ImportError)
        kind = next((kind for kind in kinds if isinstance(error, kind)), RuntimeError)
        problem = kind(str(error) or type(error).__name__)
    pipe.send(problem)


def _end_with_parent():
    multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


def print_epoch(label, epoch):
    """Prints a line; to be called after each epoch.

    Args:
        label: what the line begins with.
        epoch: an ``Epoch``.

    Returns:
        False: nothing is stopped.
    """
    print(f"{label}: {epoch}", flush=True)
    return False


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
