"""What all recipes share: one command from photos to a published model and its SavedModel.

A recipe holds the options of its stages, each of which goes on from the best model of the one
before, or takes over its encoder where that was another task. The validation split chooses epochs
and, of several seeds, the one that is published; nothing is trained on it. A command that was
killed goes on where it was when it is typed again.
"""

import argparse
import dataclasses
import json
import pathlib
import shutil
import sys

import keras
from cards import Trained, write_card

from keras_vlm.core.files import replace_folder
from keras_vlm.data.sources import shuffle_pictures
from keras_vlm.export.saved_model import export_saved_model
from keras_vlm.training.cost import read_cost
from keras_vlm.training.evaluate import evaluate
from keras_vlm.training.runs import RUNS
from keras_vlm.zoo import load, save_compact

# ``remake`` replaces these, but for the split.
COMMON = {"data": "", "out": "", "validation_split": "dev"}
LATER = {**COMMON, "start": "the stage before"}

TRAINERS = dict(RUNS.values())
SMOKE = {"epochs": 1, "batch_size": 8}
# A seed's model as it would be published.
COMPACT = "compact"


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
        evaluations: a dict from the rows of the card's tables to options of ``evaluate``.
        published_row: the one whose scores are the model's.
        shuffle_test: whether a last row has the same with the split's pictures permuted.
        columns: a tuple of names of scores for each table of the card; none for no table.
        data: what DATA is where the user types none, or None where they must.
        smoke_data: the same, when only trying whether it runs.
        image_size: side in pixels that a published captioner or retriever looks at, or None for
            the last stage's.
        word_vectors: which file of word vectors the user must give for the first stage, or None.
        scored_on: split of the published scores, or None for the one that chose the epoch.
        more_facts: function of the published folder, the model and the ``Evaluation`` -> more of
            what the card names, as a dict; may write files there. None for none.
        show: function of a file to write, the examples and the ``Evaluation``: what a person should
            look at before a card tells of failures. None for nothing.
    """

    task: str
    stages: tuple
    smoke: dict
    name: str
    card: str
    told: dict
    evaluations: dict = dataclasses.field(default_factory=lambda: {"": {}})
    published_row: str = ""
    shuffle_test: bool = False
    columns: tuple = ()
    data: str | None = None
    smoke_data: str | None = None
    image_size: int | None = None
    word_vectors: str | None = None
    scored_on: str | None = None
    more_facts: object = None
    show: object = None


def remake(recipe, arguments=None):
    """Runs a recipe from photos to a folder that can be published and to one that can be served.

    Args:
        recipe: a ``Recipe``.
        arguments: list of strings, or None for the process's own.
    """
    options = _read_arguments(recipe, arguments)
    if options.smoke:
        recipe = dataclasses.replace(recipe, image_size=recipe.image_size and 96)
    trained = [_train(recipe, options, seed) for seed in range(options.seeds)]
    chosen = max(trained, key=lambda each: each.scores[each.monitor])
    run = recipe.stages[-1]
    data = dataclasses.replace(run, data=options.data or recipe.data).open_data()
    split = recipe.scored_on or run.validation_split
    # The split that chose scores every seed; another one what is published alone, once.
    scored = {
        each.seed: _score(recipe, each, data, split)
        for each in trained
        if each is chosen or not recipe.scored_on
    }
    found = scored[chosen.seed][recipe.published_row]
    if recipe.show:
        recipe.show(options.out / "to_look_at.md", data[split], found)
    export_saved_model(
        load(chosen.out / COMPACT),
        options.export,
        beam_size=recipe.evaluations[recipe.published_row].get("beam_size", 3),
        overwrite=True,
    )
    # Last: once it is there, all is.
    with replace_folder(options.publish, overwrite=True) as folder:
        shutil.copytree(chosen.out / COMPACT, folder, dirs_exist_ok=True)
        model = load(folder)
        facts = {
            "name": recipe.name,
            "split": split,
            "validation_split": run.validation_split,
            "pictures": f"{len(data[split]):,}",
            "recipe": pathlib.Path(sys.argv[0]).name,
            "parameters": model.count_params(),
            "backbone": model.encoder.count_params(),
            "words": len(model.tokenizer.vocabulary),
            **(recipe.more_facts(folder, model, found) if recipe.more_facts else {}),
        }
        write_card(folder, recipe, facts, trained, chosen, scored)
    for metric, score in found.scores.items():
        print(f"{metric:10s} {score:.4f}")
    print(f"{found.signature}\nWritten: {options.publish}\nWritten: {options.export}")


def _read_arguments(recipe, arguments):
    """Reads the command line; stops at once where its end would fail.

    Returns:
        The options; ``out``, ``publish`` and ``export`` are paths, ``data`` is None where each
        stage has its own.
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
    if recipe.word_vectors:
        parser.add_argument("--word-vectors", metavar="FILE", help=recipe.word_vectors)
    parser.add_argument("--publish", help="folder to write, such as saved_models/NAME")
    parser.add_argument(
        "--export", help=f"SavedModel folder to write (default: OUT/served/{name}/1)"
    )
    parser.add_argument(
        "--seeds",
        type=int,
        default=1,
        help="trainings, of seeds 0, 1, ...: the best on the validation split is published, and "
        "the card has mean and spread; seed 0 is in OUT, the others in OUT/seed-1, ... (default: "
        "1); with --cache they share the features of the untrained backbone",
    )
    parser.add_argument("--smoke", action="store_true", help="tiny sizes: does it run?")
    options = parser.parse_args(arguments)
    options.out = pathlib.Path(options.out)
    options.publish = pathlib.Path(options.publish or options.out / "published" / name)
    options.export = pathlib.Path(options.export or options.out / "served" / name / "1")
    if options.seeds < 1:
        parser.error(f"--seeds must be 1 or more, got {options.seeds}.")
    if recipe.word_vectors:
        _check_vectors(parser, recipe, options)
    if options.smoke and options.publish.exists():
        parser.error(f"--smoke makes a toy, and {options.publish} exists: publish it elsewhere.")
    there = options.publish.exists() and any(options.publish.iterdir())
    if there and not (options.publish / "config.json").exists():
        parser.error(f"--publish would replace {options.publish}, which is no published model.")
    there = options.export.exists() and any(options.export.iterdir())
    if there and not (options.export / "saved_model.pb").exists():
        parser.error(f"--export would replace {options.export}, which is no SavedModel.")
    options.data = options.data or (recipe.smoke_data if options.smoke else None)
    return options


def _check_vectors(parser, recipe, options):
    """Stops where the word vectors are no file; a toy needs none."""
    path = options.word_vectors
    if path and not pathlib.Path(path).is_file():
        parser.error(f"--word-vectors must be a file: got {path!r}, which is none.")
    if not path and not options.smoke:
        parser.error(f"--word-vectors must be a file: {recipe.word_vectors}.")


def _train(recipe, options, seed):
    """Trains one stage after the other, on the data typed or, without, on each stage's own.

    Returns:
        A ``Trained``.
    """
    root = options.out / f"seed-{seed}" if seed else options.out
    # What the seed before has left behind is no use any more.
    keras.utils.clear_session()
    best, before, seconds, memory = None, None, 0.0, []
    for number, run in enumerate(recipe.stages, 1):
        out = root / f"stage_{number}"
        data = options.data or run.data or recipe.data
        run = dataclasses.replace(run, data=data, out=str(out), seed=run.seed + seed)
        goes_on = type(run) is before
        if best:
            run = dataclasses.replace(run, **{"start" if goes_on else "backbone": best})
        if options.cache and run.trainable_from is None:
            run = dataclasses.replace(run, cache=options.cache)
        if recipe.word_vectors and number == 1:
            run = dataclasses.replace(run, word_vectors=options.word_vectors)
        if options.smoke:
            size = {"image_size": run.image_size and 96}
            run = dataclasses.replace(run, **SMOKE, **(size if goes_on else recipe.smoke))
        TRAINERS[type(run)](run)
        best, before = str(out / "model.keras"), type(run)
        took, peak = read_cost(out) or _old_cost(out)
        seconds += took
        memory.append(peak)
    summary = json.loads((out / "scores.json").read_text(encoding="utf-8"))
    return Trained(
        seed=seed,
        out=root,
        path=best,
        monitor=summary["monitor"],
        scores=summary["best"]["scores"],
        minutes=seconds / 60,
        peak_memory_mb=None if None in memory else max(memory),
    )


def _old_cost(out):
    """Returns what a run of an older version is known to have cost: what its files' times tell."""
    began, ended = ((out / name).stat().st_mtime for name in ("run.json", "scores.json"))
    return ended - began, None


def _score(recipe, trained, data, split):
    """Scores what would be published: float16, read back.

    Returns:
        A dict from the rows to an ``Evaluation`` each.
    """
    model = load(trained.path)
    if recipe.image_size:
        model = model.at_image_size(recipe.image_size)
    save_compact(model, trained.out / COMPACT, overwrite=True)
    model, examples = load(trained.out / COMPACT), data[split]
    training = data[recipe.stages[-1].split]
    found = {
        row: evaluate(model, examples, training_examples=training, **options)
        for row, options in recipe.evaluations.items()
    }
    if recipe.shuffle_test:
        found[f"{recipe.published_row}, pictures shuffled"] = evaluate(
            model,
            shuffle_pictures(examples),
            training_examples=training,
            **recipe.evaluations[recipe.published_row],
        )
    found[recipe.published_row].save(trained.out / f"{split}.json")
    return found
