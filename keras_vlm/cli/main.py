"""The ``keras-vlm`` command: finds the subcommand and turns errors into one readable line."""

import argparse
import importlib
import re
import sys

from keras_vlm.core.checks import suggest

# Names only: a subcommand's imports, TensorFlow among them, wait until it is called.
COMMANDS = {
    "quickstart": "train, score, export and look, on rendered data, in a few minutes",
    "data": "look at a data set, or write it as TFRecord shards",
    "annotate": "write captions, questions and boxes in the browser",
    "augment": "show augmented pictures, as training will see them",
    "train": "train a model on photos of your own, or resume a run",
    "average": "make one model of several that were trained from one",
    "caption": "write captions for pictures",
    "ask": "ask questions about a picture",
    "video": "caption, ask about, summarize or search a video",
    "index": "put pictures into an index, to be found by a sentence",
    "search": "find pictures by a sentence or by a picture",
    "classify": "tell which label fits a picture, without training",
    "duplicates": "find pictures of a folder that are nearly the same",
    "evaluate": "score a model on a data split",
    "export": "write one SavedModel: picture bytes in; caption, answer or vector out",
    "models": "list the published models",
}

EPILOG = """examples:
  keras-vlm quickstart
  keras-vlm caption captioner-lite0-lstm-flickr8k photo.jpg
  keras-vlm train folder:my_photos --out runs/first
  keras-vlm evaluate runs/first/model.keras folder:my_photos --split test
  keras-vlm export runs/first/model.keras served/captioner/1

`keras-vlm COMMAND --help` explains each."""


def main(arguments=None):
    """Runs the command line.

    Args:
        arguments: list of strings, or None for the process's own.

    Returns:
        The exit code: 0, or 1 after an error, which is printed on one line, or 130 after Ctrl-C.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    parser = argparse.ArgumentParser(
        prog="keras-vlm",
        description="Small vision-language models: train, judge, explain, serve.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--debug", action="store_true", help="show the whole traceback of an error")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    named = next((word for word in arguments if not word.startswith("-")), None)
    module = chosen = None
    for name, summary in COMMANDS.items():
        if name == named:
            module = importlib.import_module(f"keras_vlm.cli.{name}")
            chosen = commands.add_parser(
                name,
                help=summary,
                description=module.__doc__.strip(),
                formatter_class=argparse.RawDescriptionHelpFormatter,
            )
            module.add_arguments(chosen)
        else:
            commands.add_parser(name, help=summary)
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        typed = [word.split("=")[0] for word in unknown if word.startswith("-")]
        hint = suggest(typed[0], _list_flags(parser, chosen)) if typed else ""
        chosen.error(f"unrecognized arguments: {' '.join(unknown)}.{hint}")
    try:
        return module.run(options) or 0
    except KeyboardInterrupt:
        print("keras-vlm: interrupted.", file=sys.stderr)
        return 130
    except (ValueError, TypeError, OSError, ImportError) as error:
        if options.debug:
            raise
        print(f"keras-vlm {options.command}: {error}", file=sys.stderr)
        return 1


def _list_flags(*parsers):
    """Returns the flags of parsers and, of the last, of its actions' (as ``video caption``'s)."""
    actions = [action.choices for action in parsers[-1]._actions if action.nargs == argparse.PARSER]
    every = [*parsers, *(each for choices in actions for each in choices.values())]
    return re.findall(r"--[a-z-]+", "".join(each.format_usage() for each in every))


if __name__ == "__main__":
    sys.exit(main())
