"""What subcommands share: opening a model, printing JSON."""

import json
import pathlib
import sys


def open_model(name):
    """Opens a published model, a .keras file or a SavedModel folder, or several as an ensemble.

    Args:
        name: what the user typed; a ``+`` joins the members of an ensemble.

    Returns:
        Something with the methods of a ``Captioner`` or a ``Retriever``.
    """
    path = pathlib.Path(name)
    if path.is_dir() and not (path / "config.json").exists():
        from keras_vlm.export.served import open_saved_model

        return open_saved_model(path)
    return load_members(name)


def print_baselines(baselines):
    """Prints what who does not look at the picture scores.

    Args:
        baselines: dict from names to accuracies.
    """
    for name, score in baselines.items():
        print(f"{'without the picture, ' + name:40s} {score:.4f}")


def open_reranker(name):
    """Loads a model that must be a re-ranker.

    Args:
        name: a published name or a ``.keras`` file.

    Returns:
        A ``Reranker``.
    """
    from keras_vlm.tasks.reranking import Reranker
    from keras_vlm.zoo import load_task

    return load_task(name, Reranker)


def load_members(name):
    """Loads a published model or a .keras file, or several as an ensemble.

    Args:
        name: what the user typed; a ``+`` joins the members of an ensemble.

    Returns:
        A ``Captioner``, a ``Retriever`` or a ``CaptionerEnsemble``.
    """
    from keras_vlm.zoo import load

    members = []
    for piece in name.split("+"):
        # A plus may also be part of a path.
        if members and not _is_there(members[-1]):
            members[-1] += f"+{piece}"
        else:
            members.append(piece)
    if len(members) == 1:
        return load(name)
    from keras_vlm.tasks.ensemble import CaptionerEnsemble

    return CaptionerEnsemble([load(member) for member in members])


def _is_there(name):
    """Whether a name is whole: that of a published model, or a path that exists."""
    from keras_vlm.zoo import list_models

    return pathlib.Path(name).exists() or name in {model["name"] for model in list_models()}


def add_search_arguments(parser, whose=""):
    """Adds ``--beam-size`` and ``--batch-size``; ``whose`` begins the help of the first."""
    parser.add_argument(
        "--beam-size",
        type=int,
        default=3,
        help=f"{whose}width of the beam search; 1 is greedy (default: 3)",
    )
    parser.add_argument(
        "--batch-size", type=int, default=32, help="pictures at once (default: 32)"
    )


def print_json(value):
    """Prints JSON with the characters as they are, whatever the terminal's encoding."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    # Half a character of a file's name becomes an escape, which is JSON too.
    sys.stdout.buffer.write(text.encode("utf-8", errors="backslashreplace") + b"\n")
    sys.stdout.flush()


def print_text(text):
    """Prints a line; what the terminal cannot show becomes a question mark, never an error."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, errors="replace").decode(encoding))
