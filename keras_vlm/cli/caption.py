"""Write captions for pictures.

MODEL is the name of a published model (`keras-vlm models` lists them), a .keras file, a SavedModel
folder, or several of the first two joined by `+`: an ensemble.

example:
  keras-vlm caption captioner-lite0-lstm-flickr8k holiday/*.jpg
"""

import math
import sys

from keras_vlm.cli.arguments import add_search_arguments, open_model, print_json, print_text


def add_arguments(parser):
    """Adds the flags."""
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="picture files")
    add_search_arguments(parser)
    parser.add_argument(
        "--attention", metavar="PNG", help="also draw where each word looked (one model only)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON: image, caption, score")


def run(options):
    """Writes captions; returns 1 if a picture could not be read."""
    model = open_model(options.model)
    if not hasattr(model, "caption"):
        raise TypeError(f"{options.model}: must be a captioner, got a {type(model).__name__}.")
    if options.attention:
        from keras_vlm.explain.attention import attend_words, check_attends, plot_attention

        check_attends(model)
    found = model.caption(
        options.images,
        beam_size=options.beam_size,
        batch_size=options.batch_size,
        with_scores=True,
    )
    best = [texts[0] for texts in found]
    unreadable = [
        path
        for path, (_, score) in zip(options.images, best, strict=True)
        if not math.isfinite(score)
    ]
    if options.json:
        print_json(
            [
                {"image": path, "caption": text, "score": score if math.isfinite(score) else None}
                for path, (text, score) in zip(options.images, best, strict=True)
            ]
        )
    else:
        for path, (text, score) in zip(options.images, best, strict=True):
            if math.isfinite(score):
                print_text(f"{path}: {text}" if len(options.images) > 1 else text)
    for path in unreadable:
        print(f"keras-vlm caption: {path}: cannot be read as a picture.", file=sys.stderr)
    if options.attention:
        good = [path for path in options.images if path not in unreadable]
        plot_attention(attend_words(model, good), options.attention)
        print(f"Where each word looked: {options.attention}", file=sys.stderr)
    return 1 if unreadable else 0
