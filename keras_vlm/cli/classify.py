"""Tell which label fits a picture best, without having been trained for the labels.

Give --labels; or one folder that has a sub-folder a label, as in cat/1.jpg: then these are the
labels, and the answers are scored.

example:
  keras-vlm classify retriever-lite0-flickr8k photo.jpg --labels dog,child,bicycle
"""

import pathlib
import sys

import numpy as np

from keras_vlm.cli.arguments import print_json, print_text


def add_arguments(parser):
    """Adds the flags."""
    parser.add_argument("model", metavar="MODEL", help="a retriever, by name or file")
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="pictures, or one folder")
    parser.add_argument("--labels", help="words or phrases, with commas between them")
    parser.add_argument(
        "--template",
        action="append",
        help="sentence with {} where the label goes; may be given several times, and the vectors "
        "are averaged (default: three plain ones)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options):
    """Classifies; returns 1 if a picture could not be read."""
    from keras_vlm.search.pictures import load_retriever

    if options.labels:
        labels = _read_labels(options)
        return _classify(load_retriever(options.model), labels, options)
    if len(options.images) != 1 or not pathlib.Path(options.images[0]).is_dir():
        raise ValueError("--labels must be given, unless IMAGE is one folder of labels.")
    return _score(load_retriever(options.model), options)


def _read_labels(options):
    """Returns the labels that were typed."""
    labels = [label.strip() for label in options.labels.split(",") if label.strip()]
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise ValueError(f"--labels must be distinct, got {twice[0]!r} twice.")
    if any(pathlib.Path(path).is_dir() for path in options.images):
        raise ValueError("IMAGE must be a picture where --labels are given, got a folder.")
    return labels


def _score(model, options):
    """Prints how often the name of a picture's folder was told."""
    from keras_vlm.training.zero_shot import evaluate_zero_shot

    found = evaluate_zero_shot(model, options.images[0], templates=options.template)
    if options.json:
        print_json({"scores": found.scores, "predictions": found.predictions})
    else:
        for name, score in found.scores.items():
            print(f"{name:16s} {score:.4f}")
    return 1 if any(row["predicted"] is None for row in found.predictions) else 0


def _classify(model, labels, options):
    """Prints the best labels of each picture."""
    found = model.classify(options.images, labels, templates=options.template)
    unknown = dict.fromkeys(word for label in labels for word in model.unknown_words(label))
    if unknown:
        print(
            f"keras-vlm classify: the model has never learned: {', '.join(unknown)}",
            file=sys.stderr,
        )
    rows = list(zip(options.images, found, strict=True))
    bad = [path for path, row in rows if np.isnan(row).any()]
    if options.json:
        print_json(
            [
                {
                    "image": path,
                    "probabilities": None
                    if path in bad
                    else dict(zip(labels, row.tolist(), strict=True)),
                }
                for path, row in rows
            ]
        )
    else:
        for path, row in rows:
            if path not in bad:
                told = ", ".join(f"{labels[i]} {row[i]:.2f}" for i in np.argsort(-row)[:5])
                print_text(f"{path}: {told}" if len(rows) > 1 else told)
    for path in bad:
        print(f"keras-vlm classify: {path}: cannot be read as a picture.", file=sys.stderr)
    return 1 if bad else 0
