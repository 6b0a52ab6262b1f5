"""Every recipe runs from data to a folder to publish, and belongs to a published model."""

import json
import pathlib
import re
import subprocess
import sys

import pytest

from keras_vlm import load

ROOT = pathlib.Path(__file__).parents[2]
RECIPES = sorted((ROOT / "recipes").glob("captioning_*.py"))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_smoke(recipe, tmp_path):
    done = subprocess.run(
        [sys.executable, recipe, "scenes:24", "--smoke", "--out", tmp_path / "run",
         "--publish", tmp_path / "published"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    scores = json.loads((tmp_path / "published" / "scores.json").read_text())
    assert scores["task"] == "captioning"
    assert set(scores["scores"]) >= {"BLEU-4", "CIDEr-D", "ROUGE-L"}
    assert f"CIDEr-D    {scores['scores']['CIDEr-D']:.4f}" in done.stdout
    # Each stage has run; the backbone is tuned by the second alone.
    stages = [load(tmp_path / "run" / f"stage_{n}" / "model.keras") for n in (1, 2, 3)]
    tuned = [stage.encoder.fingerprint() for stage in stages]
    learning = [len(stage.encoder.trainable_weights) > 0 for stage in stages]
    assert (learning, tuned[1] == tuned[2]) == ([False, True, False], True)
    again = subprocess.run(
        [sys.executable, recipe, "scenes:24", "--smoke", "--publish", tmp_path / "published"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "--smoke makes a toy" in again.stderr
    photo = ROOT / "tests" / "photos" / "photo.jpg"
    assert isinstance(load(tmp_path / "published").caption(photo)[0], str)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_made_a_published_model(recipe):
    source = recipe.read_text(encoding="utf-8")
    name = re.search(r'"""Remakes ([\w-]+)', source).group(1)
    assert source.count(f'"{name}"') == 1
    card = (ROOT / "saved_models" / name / "card.md").read_text(encoding="utf-8")
    assert f"python recipes/{recipe.name}" in card
