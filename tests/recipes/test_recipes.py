"""Every recipe runs from data to a folder to publish, and belongs to a published model."""

import json
import pathlib
import re
import runpy
import subprocess
import sys

import pytest

from keras_vlm import load
from keras_vlm.data.moving_scenes import draw_moving_scenes, render_clip

ROOT = pathlib.Path(__file__).parents[2]
RECIPES = sorted(
    path
    for task in ("captioning", "retrieval", "vqa", "video")
    for path in (ROOT / "recipes").glob(f"{task}_*.py")
)
# What each task's scores have, and in which of its stages the backbone learns; None: that differs.
TASKS = {
    "captioning": ({"BLEU-4", "CIDEr-D", "ROUGE-L"}, [False, True, False]),
    "retrieval": ({"image_to_text_R@1", "text_to_image_R@10"}, [False, True]),
    "vqa": ({"accuracy", "ECE"}, None),
    "video-caption": ({"CIDEr-D", "exact_match"}, None),
    "video-qa": ({"accuracy", "ECE"}, None),
}


# Of each kind one runs always: three stages, a stage of another task, a backbone of another model.
ALWAYS = {
    "captioning_flickr8k_lite0_lstm", "retrieval_flickr8k_lite0", "vqa_scenes",
    "video_qa_moving_scenes",
}  # fmt: skip


def task_of(recipe):
    """The task of a recipe, by its file's name."""
    first, second = recipe.stem.split("_")[:2]
    return f"{first}-{second}" if first == "video" else first


@pytest.mark.parametrize(
    "recipe",
    [
        pytest.param(path, id=path.stem, marks=[] if path.stem in ALWAYS else pytest.mark.slow)
        for path in RECIPES
    ],
)
def test_smoke(recipe, tmp_path):
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
    names, tunes = TASKS[task]
    assert scores["task"] == task
    assert set(scores["scores"]) >= names
    for name in names:
        assert f"{name:10s} {scores['scores'][name]:.4f}" in done.stdout
    # Each stage has run; the backbone is tuned by the second alone.
    stages = [load(path) for path in sorted((tmp_path / "run").glob("stage_*/model.keras"))]
    tuned = [stage.encoder.fingerprint() for stage in stages]
    learning = [len(stage.encoder.trainable_weights) > 0 for stage in stages]
    if tunes is not None:
        assert (learning, tuned[1] == tuned[-1]) == (tunes, True)
    again = subprocess.run(
        [sys.executable, recipe, *data, "--smoke", "--publish", tmp_path / "published"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "--smoke makes a toy" in again.stderr
    photo = ROOT / "tests" / "photos" / "photo.jpg"
    published = load(tmp_path / "published")
    if task == "captioning":
        assert isinstance(published.caption(photo)[0], str)
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
