"""What each choice does to dev CIDEr-D, with everything else fixed: a table in Markdown.

    python benchmarks/choices.py flickr8k:DIR --out runs/choices

Small captioners on the features of a frozen EfficientNet-Lite0 (but for the row whose augmentation
no feature cache can give), the same few epochs for all; the best epoch by dev CIDEr-D of greedy
captions. One choice differs from the base in each row. The two best rows are trained with two more
seeds, for the spread. It goes on where it was interrupted. ``--epochs 1`` on ``scenes:60`` shows in
a minute that it runs. Choices of how to train, not of what, are the rows of ``recipes/levers.py``.
"""

import argparse
import dataclasses
import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from keras_vlm.training.experiments import (
    best_score,
    describe_spread,
    folder_name,
    markdown_table,
    small_captioner,
    train_row,
)

# Row: (the choice, its options where they differ from the base).
ROWS = {
    "base: multi-head, LSTM, words, mirror images": {},
    "fusion: concat": {"fusion": "concat"},
    "fusion: additive": {"fusion": "additive"},
    "fusion: dot product": {"fusion": "dot_product"},
    "text: GRU": {"text": "gru"},
    "text: Transformer": {"text": "transformer"},
    "tokenizer: pieces": {"unit": "piece", "max_length": 30},
    "augmentation: none": {"augment": None},
    "augmentation: light": {"augment": "light"},
}
# In Chinese the base has characters, which English cannot be written in: they have no spaces.
CHINESE_ROWS = {"tokenizer: words by jieba": {"unit": "jieba"}}
SEEDS = (0, 1, 2)


def train(base, options, folder, seed):
    """Trains one row and returns its best dev CIDEr-D."""
    out = folder / f"seed-{seed}"
    cache = base.cache if options.get("augment", "flip") in {None, "flip"} else None
    run = dataclasses.replace(base, out=str(out), seed=seed, cache=cache, **options)
    return best_score(train_row(run, lambda epoch: False))


def main():
    """Trains what is missing and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", help="for example flickr8k:DIR")
    parser.add_argument("--out", default="runs/choices", help="output folder")
    parser.add_argument("--epochs", type=int, default=6, help="of every row (default: 6)")
    parser.add_argument("--hidden-dim", type=int, default=256, help="default: 256")
    parser.add_argument("--image-size", type=int, default=224, help="default: 224")
    parser.add_argument("--language", default="en")
    parser.add_argument("--batch-size", type=int, default=32)
    options = vars(parser.parse_args())
    out = pathlib.Path(options.pop("out"))
    base = small_captioner(**options, out=out, cache=str(out / "features"))
    scores = {}
    rows = ROWS | (CHINESE_ROWS if base.language == "zh" else {})
    for name, changed in rows.items():
        scores[name] = [train(base, changed, out / folder_name(name), SEEDS[0])]
        print(f"{name}: {scores[name][0]:.4f}", flush=True)
    for name in sorted(scores, key=lambda row: -scores[row][0])[:2]:
        folder = out / folder_name(name)
        scores[name] += [train(base, rows[name], folder, seed) for seed in SEEDS[1:]]
    first = next(iter(scores.values()))[0]
    header = ["choice", "CIDEr-D on dev", "beside the base", "mean and spread of 3 seeds"]
    table = [
        [
            name,
            f"{found[0]:.3f}",
            f"{found[0] - first:+.3f}",
            describe_spread(found) if len(found) > 1 else "",
        ]
        for name, found in scores.items()
    ]
    print(f"\n{markdown_table(header, table)}")


if __name__ == "__main__":
    main()
