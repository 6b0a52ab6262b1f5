"""What sampling and loss weights do where some answers are rare: a table in Markdown.

    python benchmarks/balance.py

Questions for the colour of a shape in rendered scenes, of which training sees each colour half as
often as the one before: 64 to 1. Three seeds of a small model on the frozen encoder of
`vqa-scenes`, the same few steps for all, scored on other scenes: as skewed as training, and with
all colours even.
"""

import argparse
import os
import statistics
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras

from keras_vlm import build_vqa, choose_answers, load, load_data
from keras_vlm.data.scenes import COLOURS
from keras_vlm.data.sources import BytesExamples
from keras_vlm.training.evaluate import evaluate

PICTURES, MOST, SEEDS = 6000, 640, (0, 1, 2)
SHOWN = ("accuracy", "macro_recall", "macro_F1")


def skew(examples, most, ratio):
    """Returns a split with one question a picture: of each colour a share of the one before."""
    left = {colour: max(1, round(most * ratio**place)) for place, colour in enumerate(COLOURS)}
    kept, images = [], []
    for example, asked in zip(examples.dataset(), examples.questions, strict=True):
        found = [q for q in asked if q.text.startswith("what colour") and left[q.answer] > 0]
        if found:
            kept.append(found[:1])
            images.append(example["image_bytes"].numpy())
            left[found[0].answer] -= 1
    ids = [questions[0].question_id for questions in kept]
    return BytesExamples("skewed", examples.split, "en", ids, None, images, questions=kept)


def train(balance, seed, training, cache, epochs):
    """Returns a model trained with a balance."""
    keras.utils.set_random_seed(seed)
    encoder = load("vqa-scenes").encoder
    encoder.trainable = False
    model = build_vqa(
        encoder,
        tokenizer=training,
        answers=choose_answers(training, "choose", balanced=balance == "loss"),
        text="gru",
        fusion="attention",
    )
    options = {"questions_per_image": 1, "balance": balance, "cache": cache, "seed": seed}
    model.fit(model.batches(training, 32, shuffle=True, **options), epochs=epochs, verbose=0)
    return model


def main():
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--epochs", type=int, default=12, help="of every row (default: 12)")
    options = parser.parse_args()
    data = load_data(f"scenes:{PICTURES}")
    training = skew(data["train"], MOST, 0.5)
    tests = {"as skewed": skew(data["val"], 64, 0.5), "even": skew(data["val"], 30, 1.0)}
    names = [f"{name}, {test}" for test in tests for name in SHOWN]
    print(f"{len(training)} questions, {options.epochs} epochs, {len(SEEDS)} seeds")
    print("| balance | " + " | ".join(names) + " |\n" + "|---" * (len(names) + 1) + "|")
    with tempfile.TemporaryDirectory() as cache:
        for balance in ("none", "sampling", "loss"):
            found = {name: [] for name in names}
            for seed in SEEDS:
                model = train(balance, seed, training, cache, options.epochs)
                for test, examples in tests.items():
                    scores = evaluate(model, examples, verbose=0).scores
                    for name in SHOWN:
                        found[f"{name}, {test}"].append(scores[name])
                keras.backend.clear_session()
            cells = [
                f"{statistics.mean(each):.3f} ± {statistics.stdev(each):.3f}"
                for each in found.values()
            ]
            print(f"| {balance} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
