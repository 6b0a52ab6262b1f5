"""What each lever of training does to dev CIDEr-D, alone: a table with seeds and spread.

    python recipes/levers.py flickr8k:DIR --out runs/levers --seeds 3

Small captioners on the features of a frozen EfficientNet-Lite0, the same few epochs for all; the
best epoch by dev CIDEr-D of greedy captions. Each row differs from the row that it is compared with
by one lever. Second stages go on from the base's best model of the same seed, for as many epochs
again, and are compared with the one that only goes on. Ensembles are of rows' best models.
OUT gets ``levers.md`` and ``levers.csv``, which grow with each training. It goes on where it was
interrupted; a row that failed is told, and tried again. ``--only fusion,dropout`` trains the rows
whose names have these words.
"""

import argparse
import dataclasses
import functools
import json
import os
import pathlib
import statistics
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from keras_vlm.core.files import take_lock, write_json
from keras_vlm.fusion import FUSIONS
from keras_vlm.tasks.ensemble import CaptionerEnsemble
from keras_vlm.training.evaluate import evaluate
from keras_vlm.training.experiments import (
    best_score,
    describe_spread,
    folder_name,
    print_epoch,
    read_scores,
    small_captioner,
    train_row,
    write_table,
)
from keras_vlm.zoo import load

BASE = "base: LSTM, multi-head, mirror images, moving average 0.98, label smoothing 0.1"
HEADER = ["lever", "CIDEr-D on dev", "difference", "from", "best epochs", "seeds"]
# In place of a path: the base's best model of the same seed.
BASE_MODEL = "base"
GOES_ON = {"start": BASE_MODEL, "learning_rate": 5e-4, "average": 0.99}
TUNED = {**GOES_ON, "trainable_from": "block9_expand", "augment": "light"}
SELF_CRITICAL = {
    "start": BASE_MODEL,
    "objective": "self_critical",
    "learning_rate": 5e-5,
    "average": 0.95,
}
# Row: (the lever, its options where they differ from the base).
LEVERS = {
    "label smoothing: none": {"label_smoothing": 0.0},
    "label smoothing: 0.2": {"label_smoothing": 0.2},
    "moving average: none": {"average": 0.0},
    "moving average: 0.99": {"average": 0.99},
    "dropout of words: none": {"dropout": 0.0},
    "dropout of words: 0.3": {"dropout": 0.3},
    "dropout of the picture: none": {"memory_dropout": 0.0},
    "dropout of the picture: 0.5": {"memory_dropout": 0.5},
    "dropout of attention: 0.1": {"attention_dropout": 0.1},
    "dropout of whole words: 0.1": {"word_dropout": 0.1},
    "attention regularisation: 1": {"attention_regularization": 1.0},
    "scheduled sampling: 0.25": {"scheduled_sampling": 0.25},
    "learning rate: 5e-4": {"learning_rate": 5e-4},
    "learning rate: 2e-3": {"learning_rate": 2e-3},
    "schedule: linear": {"schedule": "linear"},
    "schedule: constant": {"schedule": "constant"},
    "warm-up: none": {"warmup": 0.0},
    "weight decay: none": {"weight_decay": 0.0},
    "weight decay: 0.05": {"weight_decay": 0.05},
    "precision: mixed bfloat16": {"precision": "mixed_bfloat16"},
    "words: two matrices": {"tie_words": False},
    "Transformer": {"text": "transformer"},
    "Transformer: norm after": {"text": "transformer", "norm": "after"},
    "Transformer: sinusoidal positions": {"text": "transformer", "positions": "sinusoidal"},
    "Transformer: relative positions": {"text": "transformer", "positions": "relative"},
    "vocabulary: pieces": {"unit": "piece", "max_length": 30},
    "second stage: goes on": GOES_ON,
    "second stage: backbone tuned": TUNED,
    "second stage: backbone tuned at a fifth of the rate": {**TUNED, "backbone_rate": 1e-4},
    "second stage: self-critical": SELF_CRITICAL,
    "second stage: self-critical, 10 samples": {**SELF_CRITICAL, "num_samples": 10},
    "second stage: self-critical, BLEU-4 in the reward": {**SELF_CRITICAL, "bleu_reward": 2.0},
    "second stage: self-critical, a tenth of cross-entropy": {
        **SELF_CRITICAL,
        "cross_entropy_share": 0.1,
    },
}


# Rows that train nothing: the rows whose models of one seed write together.
ENSEMBLES = {"ensemble: with the Transformer": (BASE, "Transformer")}

# What a row is compared with where that is not the base, by how its name begins.
COMPARED = {"Transformer: ": "Transformer", "second stage: ": "second stage: goes on"}


def main(arguments=None):
    """Trains what is missing and prints the table.

    Args:
        arguments: list of strings, or None for the process's own.

    Returns:
        The exit code: 1 where a row failed.
    """
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", help="for example flickr8k:DIR")
    parser.add_argument("--out", default="runs/levers", help="output folder")
    parser.add_argument("--epochs", type=int, default=6, help="of every row (default: 6)")
    parser.add_argument("--seeds", type=int, default=1, help="of every row (default: 1)")
    parser.add_argument("--hidden-dim", type=int, default=256, help="default: 256")
    parser.add_argument("--image-size", type=int, default=224, help="default: 224")
    parser.add_argument("--language", default="en")
    parser.add_argument("--unit", help="what captions are split into (default: by the language)")
    parser.add_argument("--max-length", type=int, default=22, help="default: 22")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--word-vectors", help="a file of word vectors, for a row of its own")
    parser.add_argument("--only", help="words in the names of the rows to train, apart by commas")
    options = vars(parser.parse_args(arguments))
    seeds = options.pop("seeds")
    if seeds < 1:
        parser.error(f"--seeds must be 1 or more, got {seeds}.")
    # Whole: second stages note where their start is, however OUT was typed.
    out = pathlib.Path(options.pop("out")).resolve()
    rows = find_rows(options.pop("word_vectors"))
    chosen = choose_rows([*rows, *ENSEMBLES], options.pop("only"))
    if len(chosen) == 1:
        parser.error("--only must be words in the names of rows, got some that none has.")
    base = small_captioner(**options, out=out, cache=f"auto:{out / 'features'}")
    # Data that cannot be read end it all, not row after row.
    base.open_data()
    out.mkdir(parents=True, exist_ok=True)
    lock = take_lock(
        out / "lock",
        f"{out} must be free, got one in which levers are measured. Wait until that ends, or "
        "choose another output folder.",
    )
    try:
        claim(base, out)
        problems = measure(chosen, rows, base, range(seeds))
    finally:
        os.close(lock)
    print(f"\n{(out / 'levers.md').read_text(encoding='utf-8')}\nWritten: {out / 'levers.md'}")
    return 1 if problems else 0


def find_rows(word_vectors):
    """Returns all rows: a dict from names to options, the base first.

    Args:
        word_vectors: a file of word vectors, or None for no such row.
    """
    rows = {
        f"fusion: {name.replace('_', ' ')}": {"fusion": name}
        # "attention" is the base's, and the other name of "multi_head".
        for name in FUSIONS
        if FUSIONS[name] is not FUSIONS["attention"]
    }
    vectors = {} if word_vectors is None else {"word vectors": {"word_vectors": word_vectors}}
    return {BASE: {}, **rows, **LEVERS, **vectors}


def choose_rows(names, only):
    """Returns the names of rows, of what they are compared with and of an ensemble's members.

    Args:
        names: names of all rows.
        only: words in the names, apart by commas, or None for all.
    """
    words = [""] if only is None else [word.strip() for word in only.split(",") if word.strip()]
    wanted = {name for name in names if any(word in name for word in words)}
    wanted |= {member for name in wanted for member in ENSEMBLES.get(name, ())}
    wanted |= {compared_with(name) for name in wanted} | {BASE}
    return [name for name in names if name in wanted]


def compared_with(name):
    """Returns the name of the row that a row is compared with."""
    others = (other for prefix, other in COMPARED.items() if name.startswith(prefix))
    other = next(others, BASE)
    return BASE if other == name else other


def claim(base, out):
    """Notes what all rows share, or checks that it is what was noted.

    Raises:
        FileExistsError: it is something else.
    """
    told = {k: v for k, v in dataclasses.asdict(base).items() if k not in {"out", "cache"}}
    note = out / "levers.json"
    noted = json.loads(note.read_text(encoding="utf-8")) if note.exists() else told
    for name, value in told.items():
        if noted.get(name) != value:
            raise FileExistsError(
                f"{out} holds levers of another base: {name} was {noted.get(name)!r}, now "
                f"{value!r}. Choose another output folder."
            )
    write_json(note, told)


def measure(chosen, rows, base, seeds):
    """Trains rows with one seed, then with the next; writes the table after each training.

    Args:
        chosen: names of the rows to measure; the base comes first, ensembles last.
        rows: what ``find_rows`` returns; those trained before stand in the table, too.
        base: the ``CaptioningRun`` of the base, whose ``out`` is the output folder.
        seeds: what the rows are trained with.

    Returns:
        A dict from the names of rows that failed to why.
    """
    out = pathlib.Path(base.out)
    problems = {}
    for seed in seeds:
        for name in chosen:
            label = f"{name}, seed {seed}"
            try:
                if name in ENSEMBLES:
                    found = score_ensemble(name, base, seed)
                else:
                    run = change(base, rows[name], out, name, seed)
                    found = train_row(run, functools.partial(print_epoch, label))
                print(f"{label}: {best_score(found):.4f}", flush=True)
            except Exception as error:  # noqa: BLE001 - told in the table; the others go on
                problems[name] = str(error) or type(error).__name__
                print(f"{label}: failed, {error}", flush=True)
            found = {name: read_row(out, name) for name in [*rows, *ENSEMBLES]}
            write_table(out / "levers", HEADER, tabulate(found, problems))
    return problems


def score_ensemble(name, base, seed):
    """Scores an ensemble as the epochs of its members were, unless it is done already.

    Returns:
        What its ``scores.json`` holds.
    """
    out = pathlib.Path(base.out)
    if seed not in (done := read_row(out, name)):
        models = [
            load(out / folder_name(member) / f"seed-{seed}" / "model.keras")
            for member in ENSEMBLES[name]
        ]
        examples = base.open_data()[base.validation_split]
        found = evaluate(CaptionerEnsemble(models), examples, beam_size=1, verbose=0)
        best = {"epoch": None, "scores": found.scores}
        scores = {"signature": found.signature, "monitor": "CIDEr-D", "best": best}
        folder = out / folder_name(name) / f"seed-{seed}"
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "scores.json", scores)
        done = {seed: scores}
    return done[seed]


def read_row(out, name):
    """Returns what a row's finished measurements hold: a dict from seeds to ``scores.json``'s."""
    last = "scores.json" if name in ENSEMBLES else "model.keras"
    folders = (out / folder_name(name)).glob("seed-*")
    # A backup is there until all of a training is.
    done = [at for at in folders if (at / last).exists() and not (at / "backup").exists()]
    found = {int(folder.name.removeprefix("seed-")): read_scores(folder) for folder in done}
    return dict(sorted(found.items()))


def change(base, options, out, name, seed):
    """Makes the run of a row.

    Args:
        base: the ``CaptioningRun`` of the base.
        options: where the row differs from it.
        out: output folder.
        name: the row's name.
        seed: its seed.

    Returns:
        A ``CaptioningRun``.
    """
    if options.get("start") == BASE_MODEL:
        # What the base's model has already must be left alone.
        fields = {field.name: field.default for field in dataclasses.fields(base)}
        own = {field: fields[field] for field in base.OF_THE_MODEL}
        model = out / folder_name(BASE) / f"seed-{seed}" / "model.keras"
        options = {**own, **options, "start": str(model)}
    folder = out / folder_name(name) / f"seed-{seed}"
    return dataclasses.replace(base, out=str(folder), seed=seed, **options)


def tabulate(found, problems):
    """Makes the rows of the table of what has been trained.

    Args:
        found: dict from a row's name to what ``read_row`` returns.
        problems: dict from a row's name to why it failed.

    Returns:
        A list of lists of strings.
    """
    table = []
    for name, each in found.items():
        other = "" if name == BASE else compared_with(name)
        if name in problems:
            table.append([name, f"failed: {problems[name]}", "", other, "", str(len(each))])
        elif each:
            # Seeds that both have.
            pairs = [(one, found[other].get(seed)) for seed, one in each.items() if other]
            apart = [best_score(one) - best_score(base) for one, base in pairs if base]
            # Counted from 1; 0 is a second stage that was never better than its start.
            best = [one["best"]["epoch"] for one in each.values()]
            epochs = ", ".join(str(epoch + 1) for epoch in best if epoch is not None)
            scores = describe_spread([best_score(one) for one in each.values()])
            difference = f"{statistics.mean(apart):+.3f}" if apart else ""
            table.append([name, scores, difference, other, epochs, str(len(each))])
    return table


if __name__ == "__main__":
    sys.exit(main())
