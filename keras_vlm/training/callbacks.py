"""Callbacks: scores while training, and a backup that survives a kill at any moment.

Refuses to know how batches are made.
"""

import contextlib
import csv
import dataclasses
import json
import pathlib
import shutil

import keras

from keras_vlm.core.checks import check_choice, check_number
from keras_vlm.core.files import replace_file, replace_folder, write_json
from keras_vlm.metrics import CAPTION_SCORES, RETRIEVAL_SCORES, VQA_SCORES
from keras_vlm.tasks.two_stage import CANDIDATES, TwoStageRetriever
from keras_vlm.training.evaluate import evaluate

# Files of a backup.
WEIGHTS, METADATA = "latest.weights.h5", "training_metadata.json"


class ScoresCallback(keras.callbacks.Callback):
    """Abstract: scores the model after each epoch; keeps the best one; stops when stuck.

    Where the optimizer averages weights (``use_ema=True``), the averages are what is scored and
    saved. A subclass has ``names``, the scores that may be monitored, and implements
    ``evaluate()``.

    Args:
        examples: a data split with captions.
        folder: where ``best.keras``, ``scores.json`` and ``log.csv`` (a row an epoch) go, or None
            to keep nothing on disk. A resumed run reads ``scores.json`` and goes on from it.
        monitor: the score that chooses; the greatest is the best.
        patience: epochs without a better score after which training stops; None never stops.
        start_epoch: first epoch (from 0) that is scored, for early ones are not worth the time.
        score_start: whether the model is scored before it learns, as epoch -1: for one that goes on
            from another, which may have been better.
        training_examples: the data split that is trained on: scores of answers then stand beside
            those of who does not look. None for no baselines.

    Raises:
        ValueError: an option is unknown or out of range.
    """

    names = ()

    def __init__(  # noqa: PLR0913 - one for each thing a user may want
        self,
        examples,
        folder=None,
        *,
        monitor,
        patience=None,
        start_epoch=0,
        score_start=False,
        training_examples=None,
    ):
        super().__init__()
        where = type(self).__name__
        check_choice(where, "monitor", monitor, self.names)
        if patience is not None:
            check_number(where, "patience", patience, minimum=1, integer=True)
        check_number(where, "start_epoch", start_epoch, minimum=0, integer=True)
        self.examples = examples
        self.folder = None if folder is None else pathlib.Path(folder)
        self.monitor = monitor
        self.patience = patience
        self.start_epoch = start_epoch
        self.score_start = score_start
        self.training_examples = training_examples
        self.history = []

    def evaluate(self):
        """Scores ``self.model`` on ``self.examples``; returns an ``Evaluation``."""
        raise NotImplementedError

    @property
    def best(self):
        """The history's best entry, a dict with ``epoch`` and ``scores``, or None."""
        return max(self.history, key=lambda entry: entry["scores"][self.monitor], default=None)

    def on_train_begin(self, logs=None):
        """Reads what an earlier part of this run has scored; where nothing is, scores the start."""
        self.history = []
        if self.folder is not None and (self.folder / "scores.json").exists():
            text = (self.folder / "scores.json").read_text(encoding="utf-8")
            self.history = json.loads(text)["history"]
        if self.score_start and not self.history:
            self._score(-1, {})

    def on_epoch_end(self, epoch, logs=None):
        """Scores, logs, saves and perhaps stops."""
        if epoch < self.start_epoch:
            return
        # An epoch that was scored but not backed up before a kill is run and scored again.
        self.history = [entry for entry in self.history if entry["epoch"] < epoch]
        with averaged_weights(self.model):
            scores = self._score(epoch, logs or {})
        if logs is not None:
            logs.update({f"val_{name}": score for name, score in scores.items()})
        best = max(self.best["epoch"], self.start_epoch - 1)
        if self.patience is not None and epoch - best >= self.patience:
            self.model.stop_training = True

    def _score(self, epoch, logs):
        """Scores the model as it is, notes it, and keeps it if it is the best."""
        before = self.best
        found = self.evaluate()
        losses = {
            name: float(value)
            for name, value in logs.items()
            if name.endswith("loss") or name == "reward"
        }
        self.history.append({"epoch": epoch, "scores": found.scores, "losses": losses})
        if self.folder is not None:
            if self.best is not before:
                with replace_file(self.folder / "best.keras") as temporary:
                    self.model.save(temporary)
            summary = {
                "signature": found.signature,
                "monitor": self.monitor,
                "best": self.best,
                **({"baselines": found.baselines} if found.baselines else {}),
            }
            write_json(self.folder / "scores.json", {**summary, "history": self.history})
            _write_log(self.history, self.folder / "log.csv")
        return found.scores


class CaptionScores(ScoresCallback):
    """Scores freely written captions after each epoch; see ``ScoresCallback``.

    Args:
        examples: a data split with captions.
        folder: as for ``ScoresCallback``.
        monitor: the score that chooses.
        beam_size: width of the beam search; 1 is greedy.
        **options: as for ``ScoresCallback``.

    Raises:
        ValueError: an option is unknown or out of range.

    Example:
        ``captioner.fit(batches, epochs=20, callbacks=[CaptionScores(data["val"], "runs/1")])``
    """

    names = CAPTION_SCORES

    def __init__(self, examples, folder=None, *, monitor="CIDEr-D", beam_size=1, **options):
        super().__init__(examples, folder, monitor=monitor, **options)
        self.beam_size = check_number(
            "CaptionScores", "beam_size", beam_size, minimum=1, integer=True
        )

    def evaluate(self):
        """Returns the ``Evaluation`` of captions."""
        return evaluate(self.model, self.examples, beam_size=self.beam_size, verbose=0)


class RetrievalScores(ScoresCallback):
    """Scores who finds whom after each epoch; see ``ScoresCallback``.

    Args:
        examples: a data split with captions.
        folder: as for ``ScoresCallback``.
        monitor: the score that chooses; by default the mean of the six R@K.
        **options: as for ``ScoresCallback``.

    Raises:
        ValueError: an option is unknown or out of range.

    Example:
        ``retriever.fit(batches, epochs=20, callbacks=[RetrievalScores(data["val"], "runs/1")])``
    """

    # A median rank is the better the smaller it is.
    names = tuple(name for name in RETRIEVAL_SCORES if not name.endswith("median_rank"))

    def __init__(self, examples, folder=None, *, monitor="mean_recall", **options):
        super().__init__(examples, folder, monitor=monitor, **options)

    def evaluate(self):
        """Returns the ``Evaluation`` of retrieval in both directions."""
        return evaluate(self.model, self.examples, verbose=0)


class TwoStageScores(ScoresCallback):
    """Scores who finds whom with the model as second stage, each epoch; see ``ScoresCallback``.

    Args:
        examples: a data split with captions.
        folder: as for ``ScoresCallback``.
        retriever: the first stage, which stays as it is.
        k: answers of the first stage that are re-ranked.
        monitor: the score that chooses; by default the mean of the six R@K.
        **options: as for ``ScoresCallback``.

    Raises:
        ValueError: an option is unknown or out of range.

    Example:
        ``reranker.fit(batches, callbacks=[TwoStageScores(data["val"], retriever=retriever)])``
    """

    names = RetrievalScores.names

    def __init__(
        self,
        examples,
        folder=None,
        *,
        retriever,
        k=CANDIDATES,
        monitor="mean_recall",
        **options,
    ):
        super().__init__(examples, folder, monitor=monitor, **options)
        self.k = check_number("TwoStageScores", "k", k, minimum=1, integer=True)
        self.retriever = retriever

    def evaluate(self):
        """Returns the ``Evaluation`` of both stages together, in both directions."""
        both = TwoStageRetriever(self.retriever, self.model, self.k)
        return evaluate(both, self.examples, verbose=0)


class VQAScores(ScoresCallback):
    """Scores answers after each epoch; see ``ScoresCallback``.

    Args:
        examples: a data split with questions.
        folder: as for ``ScoresCallback``.
        monitor: the score that chooses.
        **options: as for ``ScoresCallback``.

    Raises:
        ValueError: an option is unknown or out of range.

    Example:
        ``model.fit(batches, epochs=20, callbacks=[VQAScores(data["val"], "runs/1")])``
    """

    names = VQA_SCORES

    def __init__(self, examples, folder=None, *, monitor="accuracy", **options):
        super().__init__(examples, folder, monitor=monitor, **options)
        self._baselines = None

    def evaluate(self):
        """Returns the ``Evaluation`` of answers."""
        # Who does not look scores the same in each epoch.
        training = self.training_examples if self._baselines is None else None
        found = evaluate(self.model, self.examples, training_examples=training, verbose=0)
        self._baselines = found.baselines or self._baselines or {}
        return dataclasses.replace(found, baselines=self._baselines)


class TrainingBackup(keras.callbacks.BackupAndRestore):
    """Keras's ``BackupAndRestore``, whole at any moment: weights and epoch change places at once.

    Keras writes the weights in place and the epoch after them; a kill between the two resumes with
    the weights of one epoch and the number of another. Here both are in a folder that is renamed.
    Put it last among the callbacks, so that what they wrote for an epoch is there before it; where
    one of them has stopped the training, a resumed run has no epoch left to do.

    Args:
        backup_dir: a folder of its own.
        **kwargs: as for ``keras.callbacks.BackupAndRestore``.
    """

    def on_train_begin(self, logs=None):
        """Restores the newest whole backup, if there is one."""
        root = pathlib.Path(self.backup_dir)
        # A folder may be half removed: by a kill while an older one, or all, were deleted.
        found = sorted(
            folder
            for folder in root.glob("epoch-*")
            if (folder / WEIGHTS).is_file() and (folder / METADATA).is_file()
        )
        if found:
            self._use(found[-1])
            super().on_train_begin(logs)

    def on_epoch_end(self, epoch, logs=None):
        """Saves; where training was stopped, as if every epoch were done."""
        super().on_epoch_end(self.params["epochs"] - 1 if self.model.stop_training else epoch, logs)

    def _save_model(self):
        root = pathlib.Path(self.backup_dir)
        old = [path for path in root.glob("*") if path.is_dir()]
        final = root / f"epoch-{self._current_epoch:06d}-{self._last_batch_seen:09d}"
        with replace_folder(final, overwrite=True) as folder:
            self._use(folder)
            self.backup_dir = str(folder)
            super()._save_model()
            self.backup_dir = str(root)
        for path in old:
            if path != final:
                shutil.rmtree(path, ignore_errors=True)

    def _use(self, folder):
        self._weights_path = str(folder / WEIGHTS)
        self._training_metadata_path = str(folder / METADATA)
        self._prev_weights_path = f"{self._weights_path}.bkp"
        self._prev_training_metadata_path = f"{self._training_metadata_path}.bkp"


@contextlib.contextmanager
def averaged_weights(model):
    """Puts the optimizer's moving averages into the model for a while.

    Args:
        model: a compiled model; one whose optimizer keeps no averages is left alone.

    Yields:
        None; the trained weights are back afterwards.
    """
    # Mixed float16 wraps the optimizer to scale the loss.
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    if not getattr(optimizer, "use_ema", False):
        yield
        return
    trained = [variable.numpy() for variable in model.trainable_variables]
    averages = optimizer._model_variables_moving_average
    for variable, average in zip(model.trainable_variables, averages, strict=True):
        variable.assign(average)
    try:
        yield
    finally:
        for variable, value in zip(model.trainable_variables, trained, strict=True):
            variable.assign(value)


def _write_log(history, path):
    """Writes what ``CaptionScores`` found as CSV, atomically."""
    rows = [
        {
            "epoch": entry["epoch"],
            **entry["losses"],
            **{f"val_{name}": score for name, score in entry["scores"].items()},
        }
        for entry in history
    ]
    names = sorted({name for row in rows for name in row} - {"epoch"})
    with (
        replace_file(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.DictWriter(file, ["epoch", *names])
        writer.writeheader()
        writer.writerows(rows)
