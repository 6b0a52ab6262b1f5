"""Searches for good options: many trainings are begun, the weak stopped, the best repeated.

    python recipes/sweep.py flickr8k:DIR --out runs/sweep

What is tried stands in a sweep file, ``recipes/sweeps/captioner.toml`` or one of yours
(``--sweep FILE``), for any task of ``keras-vlm train``. Each trial is one such training, in a
folder of its own. Its score on the validation split is told to Optuna after each epoch, which draws
the options of the trials (TPE) and stops those that are not worth another epoch (asynchronous
successive halving). The best are trained with more seeds. OUT gets ``table.md`` and ``table.csv``,
which grow with each trial.

Kill it and type the same command again: it goes on, the trial that was interrupted too. With more
``--trials`` it goes on after its end. ``pip install 'keras-vlm[sweep]'``.
"""

import argparse
import dataclasses
import functools
import json
import os
import pathlib
import random
import statistics

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from sweep_file import read_sweep

from keras_vlm.core.extras import import_extra
from keras_vlm.core.files import take_lock, write_json
from keras_vlm.training.experiments import (
    best_score,
    describe_spread,
    print_epoch,
    train_row,
    write_table,
)

FILE = pathlib.Path(__file__).parent / "sweeps" / "captioner.toml"
# What a trial remembers: the epoch after which it was stopped; why it has no score.
STOPPED, PROBLEM, DIED = "stopped", "problem", "died"


class Search:
    """A sweep in a folder: Optuna's study of it, and what becomes of its trials.

    Args:
        optuna: the module.
        sweep: a ``Sweep``.
        out: the folder, which no other process uses.

    Raises:
        FileExistsError: the folder holds another sweep.
    """

    def __init__(self, optuna, sweep, out):
        self.optuna = optuna
        self.sweep = sweep
        self.out = out
        # A trial's number: its scores, one a seed.
        self.repeated = {}
        claim_folder(sweep, out)
        self.study = open_study(optuna, sweep, out)

    def run_trial(self, number):
        """Runs a trial, goes on with it, or leaves it as it is if it is finished.

        Args:
            number: the trial's number; those before are finished.
        """
        trials = self.study.get_trials()
        if number < len(trials) and trials[number].state.is_finished():
            return
        if number < len(trials):
            # Begun by a process that was killed: Optuna has no other way to go on with a trial.
            trial = self.optuna.trial.Trial(self.study, trials[number]._trial_id)
        else:
            trial = self.study.ask()
        chosen = self.draw_values(trial)
        label = f"trial {number + 1} of {self.sweep.trials}"
        print(f"{label}: {', '.join(f'{k} {show(v)}' for k, v in chosen.items())}", flush=True)
        twin = next((one.number for one in trials[:number] if one.params == chosen), None)
        if twin is not None:
            # What is known already teaches nobody anything, but costs a training.
            self._fail(trial, label, f"the same as trial {twin + 1}")
            return
        try:
            run = self.make_run(number, self.sweep.seeds[0], chosen)
            scores = train_row(run, lambda epoch: self.compare(trial, label, epoch))
        except ChildProcessError as error:
            # Who is killed once can go on later; twice, and it wants more memory than there is.
            if DIED not in trial.user_attrs:
                trial.set_user_attr(DIED, True)
                raise
            self._fail(trial, label, f"failed: {error}")
            return
        except (OSError, ImportError):
            # A full disk, or a missing package, is not the trial's fault: it can go on later.
            raise
        except Exception as error:  # noqa: BLE001 - options that do not go together end one trial
            self._fail(trial, label, f"failed: {str(error) or type(error).__name__}")
            return
        if STOPPED in trial.user_attrs:
            print(f"{label}: stopped after epoch {trial.user_attrs[STOPPED]}", flush=True)
            self.study.tell(trial, state=self.optuna.trial.TrialState.PRUNED)
        else:
            self.study.tell(trial, best_score(scores))
        self.write_results()

    def _fail(self, trial, label, problem):
        """Ends a trial that has no score, and says why."""
        print(f"{label}: {problem}", flush=True)
        trial.set_user_attr(PROBLEM, problem)
        self.study.tell(trial, state=self.optuna.trial.TrialState.FAIL)
        self.write_results()

    def compare(self, trial, label, epoch):
        """Tells a trial the score of an epoch.

        Args:
            trial: an Optuna trial.
            label: what its lines begin with.
            epoch: an ``Epoch``; after a kill one may come again, and the same is done again.

        Returns:
            Whether the trial is not worth another epoch.
        """
        print_epoch(label, epoch)
        if epoch.number not in self.study.get_trials()[trial.number].intermediate_values:
            trial.report(epoch.score, epoch.number)
        if epoch.last:
            return False
        if STOPPED not in trial.user_attrs and self._would_stop(trial):
            trial.set_user_attr(STOPPED, epoch.number)
        # Notes that the trial has been compared; asked again, it would say no. So what it says
        # is on disk already.
        trial.should_prune()
        return STOPPED in trial.user_attrs

    def _would_stop(self, trial):
        """Asks the pruner about a copy of the study, of which nothing is kept."""
        pruner = self.study.pruner
        copy = self.optuna.create_study(direction=self.study.direction, pruner=pruner)
        copy.add_trials(self.study.get_trials())
        return pruner.prune(copy, copy.get_trials()[trial.number])

    def make_run(self, number, seed, chosen):
        """Returns the run of a trial, whose features are kept for all where they can be."""
        run = self.sweep.make_run(self.folder(number, seed), seed, chosen)
        if run.cache == "auto":
            run = dataclasses.replace(run, cache=f"auto:{self.out / 'features'}")
        return run

    def folder(self, number, seed):
        """Returns the folder of a trial's run."""
        return self.out / f"trial-{number + 1:03d}" / f"seed-{seed}"

    def draw_values(self, trial):
        """Draws a trial's options, or those that it has not drawn yet; returns them as a dict."""
        for name, values in self.sweep.space.items():
            # A seed of its own for each value: a kill between two does not change what is drawn.
            seed = random.Random(f"{self.sweep.seeds[0]} {trial.number} {name}").getrandbits(32)
            self.study.sampler = self.optuna.samplers.TPESampler(seed=seed, multivariate=False)
            if isinstance(values, list):
                trial.suggest_categorical(name, values)
            elif isinstance(values.low, int):
                trial.suggest_int(
                    name, values.low, values.high, step=values.step or 1, log=values.log
                )
            else:
                trial.suggest_float(name, values.low, values.high, step=values.step, log=values.log)
        return trial.params

    def repeat_best(self):
        """Trains the best trials with the other seeds."""
        complete = self.study.get_trials(states=[self.optuna.trial.TrialState.COMPLETE])
        best = sorted(complete, key=lambda trial: -trial.value)[: self.sweep.best]
        self.repeated = {trial.number: [trial.value] for trial in best}
        for trial in best:
            for seed in self.sweep.seeds[1:]:
                run = self.make_run(trial.number, seed, trial.params)
                label = f"trial {trial.number + 1} with seed {seed}"
                found = train_row(run, functools.partial(print_epoch, label))
                self.repeated[trial.number].append(best_score(found))
                self.write_results()
        self.write_results()

    def ranked(self):
        """Returns the finished trials: first those of several seeds, by their mean, then by score.

        Returns:
            A list of ``(trial, score)``: the score of the first seed, or None if the trial failed.
        """
        states = self.optuna.trial.TrialState
        found = []
        for trial in self.study.get_trials(states=[states.COMPLETE, states.PRUNED, states.FAIL]):
            score = trial.value
            if trial.state == states.PRUNED:
                score = max(trial.intermediate_values.values())
            means = self.repeated.get(trial.number, [score])
            rank = -statistics.mean(means) if score is not None else 0.0
            order = (score is None, trial.number not in self.repeated, rank, trial.number)
            found.append((order, trial, score))
        return [(trial, score) for _, trial, score in sorted(found, key=lambda row: row[0])]

    def write_results(self):
        """Writes the table of the finished trials."""
        names = list(self.sweep.space)
        rows = []
        for trial, score in self.ranked():
            seeds = self.repeated.get(trial.number, [])
            state = "done"
            if STOPPED in trial.user_attrs:
                state = f"stopped after epoch {trial.user_attrs[STOPPED]}"
            if score is None:
                state = trial.user_attrs[PROBLEM]
            rows.append(
                [
                    str(trial.number + 1),
                    *(show(trial.params[name]) for name in names),
                    state,
                    "" if score is None else f"{score:.3f}",
                    describe_spread(seeds) if len(seeds) > 1 else "",
                    str(len(seeds) or int(score is not None)),
                ]
            )
        header = ["trial", *names, "state", "score", "mean and spread", "seeds"]
        write_table(self.out / "table", header, rows)


def main(arguments=None):
    """Runs a sweep, or goes on with one.

    Args:
        arguments: list of strings, or None for the process's own.
    """
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", help="for example flickr8k:DIR")
    parser.add_argument("--sweep", default=FILE, help=f"what is tried (default: {FILE.name})")
    parser.add_argument("--out", default="runs/sweep", help="output folder")
    parser.add_argument("--trials", type=int, help="in place of those of the sweep file")
    parser.add_argument("--epochs", type=int, help="of a trial that is not stopped, likewise")
    options = parser.parse_args(arguments)
    optuna = import_extra("optuna", "sweep", "recipes/sweep.py")
    sweep = read_sweep(options.sweep, options.data, trials=options.trials, epochs=options.epochs)
    out = pathlib.Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    lock = take_lock(
        out / "lock",
        f"{out} must be free, got one in which a sweep is running. Wait until it ends, or choose "
        "another output folder.",
    )
    try:
        # Data that cannot be read end the sweep, not each of its trials.
        sweep.make_run(out, sweep.seeds[0], sweep.first_values()).open_data()
        search = Search(optuna, sweep, out)
        for number in range(sweep.trials):
            search.run_trial(number)
        search.repeat_best()
    finally:
        os.close(lock)
    print(f"\n{(out / 'table.md').read_text(encoding='utf-8')}")
    print(f"Written: {out / 'table.md'}, {out / 'table.csv'}")
    best, score = search.ranked()[0]
    if score is not None:
        note = search.folder(best.number, sweep.seeds[0]) / "run.json"
        print(f"All options of the best: {note}")


def claim_folder(sweep, out):
    """Notes what is tried, or checks that it is what was noted.

    Raises:
        FileExistsError: it is something else.
    """
    told = dataclasses.asdict(sweep)
    # More trials, repetitions and seeds may be asked for at any time.
    told = {name: value for name, value in told.items() if name not in {"trials", "best"}}
    told["seeds"] = told["seeds"][:1]
    told = json.loads(json.dumps(told))
    note = out / "sweep.json"
    if not note.exists():
        write_json(note, told)
        return
    noted = json.loads(note.read_text(encoding="utf-8"))
    for name, value in told.items():
        if noted.get(name) != value:
            raise FileExistsError(
                f"{out} holds another sweep: {name} was {noted.get(name)!r}, now {value!r}. "
                "Choose another output folder."
            )


def open_study(optuna, sweep, out):
    """Opens Optuna's journal and puts right what a kill has left of it; returns a study."""
    journal = out / "study.log"
    if journal.exists():
        # No other process uses the folder: locks are those of killed ones, which would be waited
        # for. Half a line is a record that never was.
        for left in out.glob(f"{journal.name}.lock*"):
            left.unlink()
        os.truncate(journal, journal.read_bytes().rfind(b"\n") + 1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    backend = optuna.storages.journal.JournalFileBackend(str(journal))
    return optuna.create_study(
        study_name="sweep",
        storage=optuna.storages.JournalStorage(backend),
        load_if_exists=True,
        direction="maximize",
        pruner=optuna.pruners.SuccessiveHalvingPruner(
            min_resource=sweep.first_epochs, reduction_factor=sweep.one_in
        ),
    )


def show(value):
    """Returns an option's value as a line has it: short."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
