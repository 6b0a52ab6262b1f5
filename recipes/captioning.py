"""What the captioning recipes share: train, score on dev, write the model for publishing.

A recipe holds the options of its run and calls ``main``. The dev split chooses the epoch and the
beam; nothing is trained on it.
"""

import argparse
import dataclasses
import pathlib
import time

from keras_vlm.core.files import write_json
from keras_vlm.data import load_data
from keras_vlm.training.captioning_run import train_captioner
from keras_vlm.training.evaluate import evaluate
from keras_vlm.zoo import load, save_compact

SMOKE = {
    "epochs": 1,
    "hidden_dim": 12,
    "batch_size": 8,
    "image_size": 32,
    "minimum_count": 1,
}


def main(run, name, *, beam_size, arguments=None):
    """Runs a recipe from photos to a folder that can be published.

    Args:
        run: a ``CaptioningRun``; its ``data`` and ``out`` are replaced by what the user types.
        name: name of the published model.
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
    run = dataclasses.replace(run, data=options.data, out=options.out)
    if options.cache:
        run = dataclasses.replace(run, cache=options.cache)
    if options.smoke:
        run = dataclasses.replace(run, **SMOKE)
    began = time.time()
    model = train_captioner(run)
    minutes = (time.time() - began) / 60
    published = pathlib.Path(options.publish or pathlib.Path(options.out) / "published" / name)
    save_compact(model, published, overwrite=True)
    # What is scored is what is published: float16, read back.
    examples = load_data(run.data, language=run.language)[run.validation_split]
    found = evaluate(load(published), examples, beam_size=beam_size)
    found.save(pathlib.Path(options.out) / "dev.json")
    write_json(
        published / "scores.json",
        {
            "task": "captioning",
            "scores": found.scores,
            "diversity": found.diversity,
            "signature": found.signature,
            "training_minutes": round(minutes, 1),
        },
    )
    for metric, score in found.scores.items():
        print(f"{metric:10s} {score:.4f}")
    print(f"{found.signature}\nWritten: {published}")
