"""Every recipe runs from data to a folder to publish, and belongs to a published model."""

import importlib.util
import json
import pathlib
import re
import runpy
import shutil
import subprocess
import sys

import numpy as np
import pytest

from keras_vlm import load
from keras_vlm.data.moving_scenes import draw_moving_scenes, render_clip
from keras_vlm.export.served import open_saved_model

ROOT = pathlib.Path(__file__).parents[2]
RECIPES = sorted(
    path
    for task in ("captioning", "retrieval", "vqa", "video")
    for path in (ROOT / "recipes").glob(f"{task}_*.py")
)
# What each task's scores have.
TASKS = {
    "captioning": {"BLEU-4", "CIDEr-D", "ROUGE-L"},
    "retrieval": {"image_to_text_R@1", "text_to_image_R@10"},
    "vqa": {"accuracy", "ECE"},
    "video-caption": {"CIDEr-D", "exact_match"},
    "video-qa": {"accuracy", "ECE"},
}


def task_of(recipe):
    """The task of a recipe, by its file's name."""
    first, second = recipe.stem.split("_")[:2]
    return f"{first}-{second}" if first == "video" else first


def check_captioning_card(folder, scores):
    """A captioner's card has every search, the shuffled pictures, and what it has cost."""
    card = (folder / "published" / "card.md").read_text(encoding="utf-8")
    searches = ["greedy", "beam 3", "beam 5"]
    assert list(scores["rows"])[:3] == searches
    [shuffled] = list(scores["rows"])[3:]
    assert shuffled in {f"{search}, pictures shuffled" for search in searches}
    for row in [*searches, shuffled]:
        assert f"| {row} | {scores['rows'][row]['scores']['BLEU-1']:.3f} |" in card
    for score in scores["scores"].values():
        assert f"{score:.3f}" in card
    for part in ("BLEU-4 without penalty", scores["signature"], "--shuffle-pictures"):
        assert part in card
    english = scores["signature"].startswith("tokenizer:ptb")
    java = shutil.which("java") and importlib.util.find_spec("pycocoevalcap")
    assert ("METEOR" in card) == english
    assert ("METEOR" in scores["scores"]) == bool(english and java)
    assert ("not measured (Java)" in card) == bool(english and not java)
    files = [folder / "published" / name for name in ("weights.npz", "config.json")]
    assert scores["size_mb"] == round(sum(path.stat().st_size for path in files) / 1e6, 1)
    assert scores["peak_memory_mb"] > 100
    assert 0 < scores["training_minutes"] < 60
    assert "# Worst by CIDEr-D" in (folder / "run" / "to_look_at.md").read_text(encoding="utf-8")


def check_backbones(stages, out):
    """The backbone learned in the stages that say so, and was handed on by the others."""
    tunes = [stage.trainable_from is not None for stage in stages]
    paths = [out / f"stage_{place}" / "model.keras" for place in range(1, len(stages) + 1)]
    encoders = [load(path).encoder for path in paths]
    assert [len(encoder.trainable_weights) > 0 for encoder in encoders] == tunes
    # A stage that learned may have kept what it began with, where nothing was better.
    for before, after, tuned in zip(encoders, encoders[1:], tunes[1:], strict=False):
        if not tuned:
            for one, two in zip(before.get_weights(), after.get_weights(), strict=True):
                np.testing.assert_array_equal(one, two)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_smoke(recipe, tmp_path, monkeypatch):
    # Recipes of question answering and of clips know their data.
    data = [] if recipe.name.startswith(("vqa", "video")) else ["scenes:24"]
    done = subprocess.run(
        [sys.executable, recipe, *data, "--smoke", "--out", tmp_path / "run",
         "--publish", tmp_path / "published"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    scores = json.loads((tmp_path / "published" / "scores.json").read_text())
    task = task_of(recipe)
    names = TASKS[task]
    assert scores["task"] == task
    assert set(scores["scores"]) >= names
    for name in names:
        assert f"{name:10s} {scores['scores'][name]:.4f}" in done.stdout
    if task in {"captioning", "retrieval"}:
        monkeypatch.syspath_prepend(recipe.parent)
        check_backbones(runpy.run_path(str(recipe))["STAGES"], tmp_path / "run")
    again = subprocess.run(
        [sys.executable, recipe, *data, "--smoke", "--publish", tmp_path / "published"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "--smoke makes a toy" in again.stderr
    photo = ROOT / "tests" / "photos" / "photo.jpg"
    published = load(tmp_path / "published")
    [served] = (tmp_path / "run" / "served").glob("*/1")
    assert (served / "saved_model.pb").stat().st_size
    if task == "captioning":
        check_captioning_card(tmp_path, scores)
        width = int(re.search(r"beam_size=(\d)", scores["signature"]).group(1))
        [caption] = published.caption(photo, beam_size=width)
        assert open_saved_model(served).caption(photo) == [caption]
    elif task.startswith("video"):
        clip = render_clip(draw_moving_scenes(1)[0], published.num_frames)
        if task == "video-qa":
            answer = published.answer(clip, "how many shapes move up ?")
            assert answer.text in published.answers.answers
        else:
            assert isinstance(published.caption(clip)[0], str)
    elif task == "vqa":
        assert published.answer(photo, "is there a circle ?").text in published.answers.ids
        assert (tmp_path / "published" / "reliability.png").stat().st_size
    else:
        assert published.embed_images(photo).any()


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_made_a_published_model(recipe, monkeypatch):
    source = recipe.read_text(encoding="utf-8")
    name = re.search(r'"""Remakes ([\w-]+)', source).group(1)
    assert source.count(f'"{name}"') == 1
    card = (ROOT / "saved_models" / name / "card.md").read_text(encoding="utf-8")
    assert f"python recipes/{recipe.name}" in card
    # The options of its stages are good ones, and the card says what the recipe does.
    monkeypatch.syspath_prepend(recipe.parent)
    told = runpy.run_path(str(recipe))
    assert told["STAGES"]
    for part in ("ABOUT", "BESIDE", "FAILURES"):
        assert told.get(part) != ""
        assert told.get(part, "") in card
