"""What all recipes share: train stage after stage, score on dev, write the model for publishing.

A recipe holds the options of its stages, each of which goes on from the best model of the one
before, or takes over its encoder where that was another task. The validation split chooses epochs;
nothing is trained on it.
"""

import argparse
import dataclasses
import pathlib
import sys

from keras_vlm.core.files import replace_folder, write_json
from keras_vlm.training.evaluate import evaluate
from keras_vlm.training.runs import RUNS
from keras_vlm.zoo import load, save_compact

# ``remake`` replaces these, but for the split.
COMMON = {"data": "", "out": "", "validation_split": "dev"}
LATER = {**COMMON, "start": "the stage before"}

TRAINERS = dict(RUNS.values())
SMOKE = {"epochs": 1, "batch_size": 8}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What a recipe says of the model it makes.

    Attributes:
        task: what ``keras-vlm train --task`` calls it.
        stages: a run each; ``data``, ``out`` and ``start`` are replaced: by what the user types,
            if anything, and by the stage before. After a stage of another task it is ``backbone``
            instead.
        smoke: options of a stage's new model when only trying whether it runs.
        name: name of the published model.
        card: a template of the card.
        told: what the card says, by the template's names.
        evaluation: options of ``evaluate`` for the published scores.
        data: what DATA is where the user types none, or None where they must.
        smoke_data: the same, when only trying whether it runs.
        scored_on: split of the published scores, or None for the one that chose the epoch.
        more_facts: function of the published folder, the model and the ``Evaluation`` -> more of
            what the card names, as a dict; may write files there. None for none.
    """

    task: str
    stages: tuple
    smoke: dict
    name: str
    card: str
    told: dict
    evaluation: dict = dataclasses.field(default_factory=dict)
    data: str | None = None
    smoke_data: str | None = None
    scored_on: str | None = None
    more_facts: object = None


def remake(recipe, arguments=None):
    """Runs a recipe from photos to a folder that can be published.

    Args:
        recipe: a ``Recipe``.
        arguments: list of strings, or None for the process's own.
    """
    name = recipe.name
    parser = argparse.ArgumentParser(description=f"Remakes {name}.")
    parser.add_argument(
        "data",
        nargs="?" if recipe.data else None,
        help=f"{recipe.data}, if left out" if recipe.data else "for example flickr8k:DIR",
    )
    parser.add_argument("--out", default=f"runs/{name}", help="output folder of the run")
    parser.add_argument("--cache", help="folder of the feature cache, to share it between runs")
    parser.add_argument("--publish", help="folder to write, such as saved_models/NAME")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes: does it run?")
    options = parser.parse_args(arguments)
    published = pathlib.Path(options.publish or pathlib.Path(options.out) / "published" / name)
    if options.smoke and published.exists():
        parser.error(f"--smoke makes a toy, and {published} exists: publish it elsewhere.")
    typed = options.data or (recipe.smoke_data if options.smoke else None)
    model, minutes = _train(recipe, options, typed)
    options.data = typed or recipe.data
    run = recipe.stages[-1]
    data = dataclasses.replace(run, data=options.data).open_data()
    split = recipe.scored_on or run.validation_split
    examples = data[split]
    with replace_folder(published, overwrite=True) as folder:
        save_compact(model, folder, overwrite=True)
        # What is scored is what is published: float16, read back.
        model = load(folder)
        found = evaluate(
            model, examples, training_examples=data[run.split], **recipe.evaluation
        )
        found.save(pathlib.Path(options.out) / f"{split}.json")
        facts = {
            "name": name,
            "split": split,
            "pictures": f"{len(examples):,}",
            "recipe": pathlib.Path(sys.argv[0]).name,
            "minutes": minutes,
            "parameters": model.count_params(),
            "backbone": model.encoder.count_params(),
            "words": len(model.tokenizer.vocabulary),
            **(recipe.more_facts(folder, model, found) if recipe.more_facts else {}),
        }
        _write_facts(folder, found, recipe, facts)
    for metric, score in found.scores.items():
        print(f"{metric:10s} {score:.4f}")
    print(f"{found.signature}\nWritten: {published}")


def _train(recipe, options, data):
    """Trains one stage after the other, on ``data`` or, where that is None, on each stage's own.

    Returns:
        The last stage's best model, and the minutes from each run's first file to its last scores.
    """
    best, before, minutes = None, None, 0.0
    for number, run in enumerate(recipe.stages, 1):
        out = pathlib.Path(options.out) / f"stage_{number}"
        run = dataclasses.replace(run, data=data or run.data or recipe.data, out=str(out))
        goes_on = type(run) is before
        if best:
            run = dataclasses.replace(run, **{"start" if goes_on else "backbone": best})
        if options.cache and run.trainable_from is None:
            run = dataclasses.replace(run, cache=options.cache)
        if options.smoke:
            run = dataclasses.replace(run, **SMOKE, **({} if goes_on else recipe.smoke))
        model = TRAINERS[type(run)](run)
        best, before = str(out / "model.keras"), type(run)
        began, ended = ((out / name).stat().st_mtime for name in ("run.json", "scores.json"))
        minutes += (ended - began) / 60
    return model, minutes


def _write_facts(folder, found, recipe, facts):
    """Writes ``scores.json`` and ``card.md``.

    Args:
        folder: the published model's folder.
        found: an ``Evaluation``.
        recipe: the ``Recipe``.
        facts: what its card names beyond what it tells itself.
    """
    write_json(
        folder / "scores.json",
        {
            "task": recipe.task,
            "scores": found.scores,
            **({"baselines": found.baselines} if found.baselines else {}),
            "diversity": found.diversity,
            "signature": found.signature,
            "training_minutes": round(facts["minutes"], 1),
        },
    )
    card = recipe.card.format(
        **{
            "rows": "\n".join(f"| {key} | {score:.3f} |" for key, score in found.scores.items()),
            "signature": found.signature,
            **recipe.told,
            **facts,
            **found.diversity,
        }
    )
    (folder / "card.md").write_text(card, encoding="utf-8")
