"""What the recipes of question answering share: train, score, write the model for publishing.

A recipe holds the options of its run and calls ``main``. The validation split chooses the epoch;
the test split is scored once, of the model that is published.
"""

import argparse
import dataclasses
import pathlib
import sys

from keras_vlm.core.files import replace_folder, write_json
from keras_vlm.data import load_data
from keras_vlm.training.evaluate import evaluate
from keras_vlm.training.plots import plot_reliability
from keras_vlm.training.vqa_run import train_vqa
from keras_vlm.zoo import load, save_compact

SMOKE = {"epochs": 1, "batch_size": 8, "hidden_dim": 16, "image_size": 32}

CARD = """# {name}

{about}

| on {split} ({questions} questions) | |
|---|---|
{rows}

`{signature}`

{blind}

Remade by `keras-vlm evaluate {name} {data} --split {split_name}{language}`. The epoch was chosen on
`val`; `{split_name}` was scored once, from the published float16 weights. Calibration: the mean
distance between confidence and accuracy is {calibration:.3f}; `reliability.png` has it bin by bin.

## How it was made

`python recipes/{recipe} --publish saved_models/{name}`, in {minutes:.0f} minutes on two CPU cores
that did other work too. {parameters:,} parameters, from scratch.

## Data and terms

{terms}

## What it cannot do

It knows rendered shapes and the questions that were asked of them: {words} words and {answers}
answers. Of a photo it says something all the same; `keras-vlm ask` names the words that it does not
know.
"""


def main(run, name, *, about, terms, smoke_data=None, arguments=None):
    """Runs a recipe from data to a folder that can be published.

    Args:
        run: a ``VQARun``; ``out`` is replaced by what the user types.
        name: name of the published model.
        about: what the model is, for its card.
        terms: where the data come from and what they may be used for.
        smoke_data: the data of ``--smoke``, or None for the run's own.
        arguments: list of strings, or None for the process's own.
    """
    parser = argparse.ArgumentParser(description=f"Remakes {name}.")
    parser.add_argument("--out", default=f"runs/{name}", help="output folder of the run")
    parser.add_argument("--publish", help="folder to write, such as saved_models/NAME")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes: does it run?")
    options = parser.parse_args(arguments)
    published = pathlib.Path(options.publish or pathlib.Path(options.out) / "published" / name)
    if options.smoke and published.exists():
        parser.error(f"--smoke makes a toy, and {published} exists: publish it elsewhere.")
    run = dataclasses.replace(run, out=options.out)
    if options.smoke:
        run = dataclasses.replace(run, data=smoke_data or run.data, **SMOKE)
    model = train_vqa(run)
    out = pathlib.Path(options.out)
    began, ended = (out.joinpath(file).stat().st_mtime for file in ("run.json", "scores.json"))
    data = load_data(run.data, language=run.language)
    with replace_folder(published, overwrite=True) as folder:
        save_compact(model, folder, overwrite=True)
        # What is scored is what is published: float16, read back.
        model = load(folder)
        found = evaluate(model, data["test"], training_examples=data[run.split])
        found.save(out / "test.json")
        plot_reliability(found.calibration, folder / "reliability.png")
        facts = {
            "name": name,
            "about": about,
            "terms": terms,
            "data": run.data,
            "language": "" if run.language == "en" else f" --language {run.language}",
            "split_name": "test",
            "recipe": pathlib.Path(sys.argv[0]).name,
            "minutes": (ended - began) / 60,
            "parameters": model.count_params(),
            "words": len(model.tokenizer.vocabulary),
            "answers": len(model.answers),
        }
        _write_facts(folder, found, facts)
    for metric, score in {**found.scores, **found.baselines}.items():
        print(f"{metric:30s} {score:.4f}")
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
            "task": "vqa",
            "scores": found.scores,
            "baselines": found.baselines,
            "signature": found.signature,
            "training_minutes": round(facts["minutes"], 1),
        },
    )
    shown = [key for key in found.scores if key == "accuracy" or ":" in key or key == "macro_F1"]
    blind = found.baselines
    card = CARD.format(
        rows="\n".join(f"| {key} | {found.scores[key]:.4f} |" for key in shown),
        signature=found.signature,
        split=f"{facts['data']}:{facts['split_name']}",
        questions=f"{len(found.predictions):,}",
        calibration=found.scores["ECE"],
        blind=f"Without the picture: the most frequent answer {blind['majority']:.3f}, the best "
        f"guess by the\nquestion's words {blind['question_only']:.3f}.",
        **facts,
    )
    (folder / "card.md").write_text(card, encoding="utf-8")
