"""What each lever of training does to dev CIDEr-D, alone: a table with seeds and spread.

    python recipes/levers.py flickr8k:DIR --out runs/levers --seeds 3

Small captioners on the features of a frozen EfficientNet-Lite0, the same few epochs for all; the
best epoch by dev CIDEr-D of greedy captions. Each row differs from the base by one lever. Second
stages go on from the base's best model of the same seed, for as many epochs again; their own
comparison is the row that only goes on. OUT gets ``levers.md`` and ``levers.csv``, which grow with
each training. It goes on where it was interrupted; a row that failed is told, and tried again.
``--only fusion,dropout`` trains the rows whose names have these words.
"""

import argparse
import dataclasses
import functools
import os
import pathlib
import statistics

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from keras_vlm.core.files import take_lock
from keras_vlm.fusion import FUSIONS
from keras_vlm.training.experiments import (
    best_score,
    describe_spread,
    folder_name,
    markdown_table,
    print_epoch,
    small_captioner,
    train_row,
    write_table,
)

BASE = "base: LSTM, multi-head, words, mirror images, moving average 0.98, label smoothing 0.1"
# In place of a path: the base's best model of the same seed.
BASE_MODEL = "base"
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
    "learning rate: 5e-4": {"learning_rate": 5e-4},
    "learning rate: 2e-3": {"learning_rate": 2e-3},
    "weight decay: none": {"weight_decay": 0.0},
    "weight decay: 0.05": {"weight_decay": 0.05},
    "precision: mixed bfloat16": {"precision": "mixed_bfloat16"},
    "vocabulary: pieces": {"unit": "piece", "max_length": 30},
    "second stage: goes on": {
        "start": BASE_MODEL,
        "learning_rate": 5e-4,
        "average": 0.99,
    },
    "second stage: backbone tuned": {
        "start": BASE_MODEL,
        "trainable_from": "block9_expand",
        "augment": "light",
        "learning_rate": 5e-4,
        "average": 0.99,
    },
    "second stage: self-critical": {
        "start": BASE_MODEL,
        "objective": "self_critical",
        "learning_rate": 5e-5,
        "average": 0.95,
    },
}


def main(arguments=None):
    """Trains what is missing and prints the table.

    Args:
        arguments: list of strings, or None for the process's own.
    """
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", help="for example flickr8k:DIR")
    parser.add_argument("--out", default="runs/levers", help="output folder")
    parser.add_argument("--epochs", type=int, default=6, help="of every row (default: 6)")
    parser.add_argument("--seeds", type=int, default=1, help="of every row (default: 1)")
    parser.add_argument("--hidden-dim", type=int, default=256, help="default: 256")
    parser.add_argument("--image-size", type=int, default=224, help="default: 224")
    parser.add_argument("--language", default="en")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--word-vectors", help="a file of word vectors, for a row of its own")
    parser.add_argument("--only", help="words in the names of the rows to train, apart by commas")
    options = vars(parser.parse_args(arguments))
    seeds = options.pop("seeds")
    if seeds < 1:
        parser.error(f"--seeds must be 1 or more, got {seeds}.")
    out = pathlib.Path(options.pop("out"))
    rows = {BASE: {}, **find_rows(options.pop("word_vectors"), options.pop("only"))}
    if len(rows) == 1:
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
        header, table = measure(rows, base, out, range(seeds))
    finally:
        os.close(lock)
    print(f"\n{markdown_table(header, table)}\n\nWritten: {out / 'levers.md'}")


def find_rows(word_vectors, only):
    """Returns the rows beside the base.

    Args:
        word_vectors: a file of word vectors, or None for no such row.
        only: words in the names of the rows, apart by commas, or None for all.
    """
    rows = {
        f"fusion: {name.replace('_', ' ')}": {"fusion": name}
        # "attention" is the base's, and the other name of "multi_head".
        for name in FUSIONS
        if FUSIONS[name] is not FUSIONS["attention"]
    }
    rows |= LEVERS
    if word_vectors is not None:
        rows["word vectors"] = {"word_vectors": word_vectors}
    words = [""] if only is None else [word.strip() for word in only.split(",")]
    return {name: options for name, options in rows.items() if any(word in name for word in words)}


def measure(rows, base, out, seeds):
    """Trains all rows with one seed, then with the next; writes the table after each training.

    Args:
        rows: dict from a row's name to its options; the base comes first.
        base: the ``CaptioningRun`` of the base.
        out: output folder.
        seeds: what the rows are trained with.

    Returns:
        ``(header, table)``: lists of strings, and of lists of strings.
    """
    found = {name: [] for name in rows}
    problems = {}
    for seed in seeds:
        for name, options in rows.items():
            label = f"{name}, seed {seed}"
            try:
                run = change(base, options, out, name, seed)
                found[name].append(train_row(run, functools.partial(print_epoch, label)))
                print(f"{label}: {best_score(found[name][-1]):.4f}", flush=True)
            except Exception as error:  # noqa: BLE001 - told in the table; the others go on
                problems[name] = str(error) or type(error).__name__
                print(f"{label}: failed, {error}", flush=True)
            header, table = tabulate(found, problems)
            write_table(out / "levers", header, table)
    return header, table


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
    """Makes the table of what has been trained.

    Args:
        found: dict from a row's name to what ``train_row`` returned, one a seed; the base first.
        problems: dict from a row's name to why it failed.

    Returns:
        ``(header, table)``: lists of strings, and of lists of strings.
    """
    scores = {name: [best_score(one) for one in each] for name, each in found.items()}
    base = next(iter(scores.values()))
    table = []
    for name, each in scores.items():
        if name in problems:
            table.append([name, f"failed: {problems[name]}", "", "", str(len(each))])
        elif each:
            beside = f"{statistics.mean(each) - statistics.mean(base):+.3f}" if base else ""
            # Counted from 1; 0 is a second stage that was never better than its start.
            epochs = ", ".join(str(one["best"]["epoch"] + 1) for one in found[name])
            table.append([name, describe_spread(each), beside, epochs, str(len(each))])
    return ["lever", "CIDEr-D on dev", "beside the base", "best epochs", "seeds"], table


if __name__ == "__main__":
    main()
