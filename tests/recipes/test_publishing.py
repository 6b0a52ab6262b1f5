"""What recipes share: seeds, the best of them, cards, the SavedModel; and kills in every stage."""

import dataclasses
import json
import os
import pathlib
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time

import numpy as np
import pytest
from oracles import scenes_captioner

from keras_vlm import evaluate, load, load_data, shuffle_pictures
from keras_vlm.export.served import open_saved_model
from keras_vlm.training.captioning_run import CaptioningRun

RECIPES = pathlib.Path(__file__).parents[2] / "recipes"
SCENES = "scenes:60"
CARD = """{name} {signature} {minutes:.3f} {memory} {size:.1f}

{tables}{seeds}
{seeds_flag}"""
ROWS = {"greedy": {"beam_size": 1}, "beam 2": {"beam_size": 2}}


@pytest.fixture(scope="module")
def publishing():
    """The module that recipes import, which is not part of the package."""
    with pytest.MonkeyPatch.context() as patches:
        patches.syspath_prepend(RECIPES)
        import publishing

        yield publishing


def make_recipe(publishing, **options):
    """A recipe of one short stage that is its own small model."""
    stage = CaptioningRun(
        **{**publishing.COMMON, "validation_split": "val"},
        backbone="conv_small", text="lstm", image_size=16, hidden_dim=12, minimum_count=1,
        max_length=9, epochs=2, batch_size=8, learning_rate=0.01,
    )  # fmt: skip
    return publishing.Recipe(
        **{
            "task": "captioning",
            "stages": (stage,),
            "smoke": {},
            "name": "mine",
            "card": CARD,
            "told": {},
            "evaluations": ROWS,
            "published_row": "beam 2",
            "shuffle_test": True,
            "columns": (("BLEU-1", "METEOR", "CIDEr-D"),),
            **options,
        }
    )


def read_json(path):
    return json.loads(path.read_text(encoding="utf-8"))


def weights_of(folder):
    with np.load(folder / "weights.npz") as stored:
        return {name: stored[name] for name in stored}


def assert_same_weights(one, other):
    ours, theirs = weights_of(one), weights_of(other)
    assert list(ours) == list(theirs)
    for name, array in ours.items():
        np.testing.assert_array_equal(array, theirs[name])


@pytest.fixture(scope="module")
def two(publishing, tmp_path_factory):
    """Two seeds, after one alone: ``(folder, what the one has published)``."""
    out = tmp_path_factory.mktemp("two") / "run"
    recipe = make_recipe(publishing)
    publishing.remake(recipe, [SCENES, "--out", str(out)])
    alone = out.parent / "alone"
    shutil.copytree(out / "published" / "mine", alone)
    before = (out / "stage_1" / "model.keras").read_bytes()
    publishing.remake(recipe, [SCENES, "--out", str(out), "--seeds", "2"])
    assert (out / "stage_1" / "model.keras").read_bytes() == before
    return out, alone


def test_seeds_differ_and_the_first_is_the_one_alone(two):
    out, alone = two
    assert_same_weights(out / "compact", alone)
    folders = [out, out / "seed-1"]
    for place, folder in enumerate(folders):
        assert read_json(folder / "stage_1" / "run.json")["seed"] == place
    first, second = (weights_of(folder / "compact") for folder in folders[:2])
    assert any(not np.array_equal(first[name], second[name]) for name in first)


def test_the_best_on_the_validation_split_is_published(two):
    out, _ = two
    folders = [out, out / "seed-1"]
    best = [
        read_json(folder / "stage_1" / "scores.json")["best"]["scores"]["CIDEr-D"]
        for folder in folders
    ]
    chosen = int(np.argmax(best))
    assert len(set(best)) == 2
    published = out / "published" / "mine"
    scores = read_json(published / "scores.json")
    assert scores["seeds"]["published"] == chosen
    assert_same_weights(published, folders[chosen] / "compact")
    card = (published / "card.md").read_text(encoding="utf-8")
    assert f"Published is seed {chosen}, the best by CIDEr-D on `val`" in card
    assert f"{statistics.mean(best):.3f} ± {statistics.stdev(best):.3f}" in card
    assert card.endswith("--seeds 2")


def test_the_tables_are_what_evaluate_finds(two):
    out, _ = two
    published = out / "published" / "mine"
    scores, card = read_json(published / "scores.json"), (published / "card.md").read_text()
    data = load_data(SCENES)
    folders = {"0": out, "1": out / "seed-1"}
    found = {}
    for seed, folder in folders.items():
        model = load(folder / "compact")
        found[seed] = {row: evaluate(model, data["val"], **ROWS[row], verbose=0) for row in ROWS}
        found[seed]["beam 2, pictures shuffled"] = evaluate(
            model, shuffle_pictures(data["val"]), beam_size=2, verbose=0
        )
    chosen = found[str(scores["seeds"]["published"])]
    assert scores["scores"] == pytest.approx(chosen["beam 2"].scores)
    assert scores["signature"] == chosen["beam 2"].signature
    assert list(scores["rows"]) == list(chosen)
    lines = card.splitlines()
    for row, expected in chosen.items():
        assert scores["rows"][row]["scores"] == pytest.approx(expected.scores)
        assert scores["rows"][row]["signature"] == expected.signature
        one, other = expected.scores["BLEU-1"], expected.scores["CIDEr-D"]
        assert f"| {row} | {one:.3f} | not measured (Java) | {other:.3f} |" in lines
        for name in expected.scores:
            values = [found[seed][row].scores[name] for seed in folders]
            assert scores["seeds"]["mean"][row][name] == pytest.approx(np.mean(values))
            spread = scores["seeds"]["standard_deviation"][row][name]
            assert spread == pytest.approx(np.std(values, ddof=1))
        values = [found[seed][row].scores["BLEU-1"] for seed in folders]
        cell = f"| {row} | {np.mean(values):.3f} ± {np.std(values, ddof=1):.3f} |"
        assert any(line.startswith(cell) for line in lines)
    assert "shuffled(seed=0)" in chosen["beam 2, pictures shuffled"].signature


def test_one_seed_has_no_spread(two):
    _, alone = two
    assert "seeds" not in read_json(alone / "scores.json")
    assert "±" not in (alone / "card.md").read_text(encoding="utf-8")


def test_cost_and_size_are_told(two):
    out, alone = two
    scores = read_json(alone / "scores.json")
    cost = read_json(out / "stage_1" / "cost.json")
    minutes = sum(cost["seconds"].values()) / 60
    assert scores["training_minutes"] == round(minutes, 1)
    assert scores["peak_memory_mb"] == cost["peak_memory_mb"]
    size = sum((alone / name).stat().st_size for name in ("weights.npz", "config.json")) / 1e6
    assert scores["size_mb"] == round(size, 1)
    seconds = [
        sum(read_json(folder / "stage_1" / "cost.json")["seconds"].values())
        for folder in (out, out / "seed-1")
    ]
    # The command of the card trains them all.
    card = (out / "published" / "mine" / "card.md").read_text(encoding="utf-8")
    assert f" {sum(seconds) / 60:.3f} " in card
    told = f"{minutes:.3f} {cost['peak_memory_mb'] / 1000:.1f} GB {size:.1f}\n"
    assert told in (alone / "card.md").read_text(encoding="utf-8")


def test_the_saved_model_says_what_is_published(two):
    out, _ = two
    served = open_saved_model(out / "served" / "mine" / "1")
    examples = load_data(SCENES)["test"]
    published = load(out / "published" / "mine")
    assert served.caption(examples) == published.caption(examples, beam_size=2)


@pytest.mark.slow
def test_a_test_split_is_scored_once(publishing, two, tmp_path, monkeypatch):
    out, _ = two
    seen = []

    def watched(model, examples, **options):
        seen.append(examples.split)
        return evaluate(model, examples, **options)

    monkeypatch.setattr(publishing, "evaluate", watched)
    recipe = make_recipe(
        publishing, scored_on="test", image_size=24, evaluations={"": {}}, published_row="",
        shuffle_test=False, columns=(),
    )  # fmt: skip
    flags = ["--publish", str(tmp_path / "published"), "--export", str(tmp_path / "served")]
    publishing.remake(recipe, [SCENES, "--out", str(out), "--seeds", "2", *flags])
    assert seen == ["test"]
    assert load(tmp_path / "published").image_size == (24, 24)
    assert (tmp_path / "served" / "saved_model.pb").exists()
    scores = read_json(tmp_path / "published" / "scores.json")
    assert list(scores["seeds"]["mean"]) == ["validation, while training"]
    assert "rows" not in scores
    assert "split:scenes:test" in scores["signature"]


@pytest.mark.slow
def test_minutes_of_an_older_run_are_those_of_its_files(publishing, two, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(two[0] / "stage_1", out / "stage_1")
    (out / "stage_1" / "cost.json").unlink()
    for name, when in (("run.json", 1000), ("scores.json", 1000 + 90 * 60)):
        os.utime(out / "stage_1" / name, (when, when))
    publishing.remake(make_recipe(publishing), [SCENES, "--out", str(out)])
    scores = read_json(out / "published" / "mine" / "scores.json")
    assert (scores["training_minutes"], scores["peak_memory_mb"]) == (90.0, None)
    assert "an unknown amount" in (out / "published" / "mine" / "card.md").read_text()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--seeds", "0"], "--seeds must be 1 or more, got 0"),
        (["--export", "OUT"], "--export would replace .*, which is no SavedModel"),
        (["--publish", "OUT"], "--publish would replace .*, which is no published model"),
    ],
)
def test_what_would_fail_in_the_end_fails_at_once(publishing, tmp_path, capsys, flags, message):
    (tmp_path / "notes.txt").write_text("mine")
    flags = [str(tmp_path) if flag == "OUT" else flag for flag in flags]
    with pytest.raises(SystemExit):
        publishing.remake(make_recipe(publishing), [SCENES, "--out", str(tmp_path / "a"), *flags])
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "a").exists()


@pytest.mark.slow
def test_word_vectors_are_asked_for_and_begin_the_first_stage(publishing, tmp_path, capsys):
    stage = make_recipe(publishing).stages[0]
    stage = dataclasses.replace(stage, epochs=1, learning_rate=0.0)
    recipe = make_recipe(
        publishing, stages=(stage,), evaluations={"": {}}, published_row="", columns=(),
        shuffle_test=False, word_vectors="GloVe",
    )  # fmt: skip
    out = tmp_path / "run"
    with pytest.raises(SystemExit):
        publishing.remake(recipe, [SCENES, "--out", str(out)])
    assert "--word-vectors must be a file: GloVe" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        publishing.remake(recipe, [SCENES, "--out", str(out), "--word-vectors", "gone.txt"])
    assert "--word-vectors must be a file: got 'gone.txt', which is none" in capsys.readouterr().err
    assert not out.exists()
    path = tmp_path / "vectors.txt"
    path.write_text("red 1 0\nblue -1 0\ncircle 0 2\n")
    publishing.remake(recipe, [SCENES, "--out", str(out), "--word-vectors", str(path)])
    model = load(out / "compact")
    embedding = model.text_decoder.get_weights()
    matrix = next(w for w in embedding if w.shape == (model.tokenizer.vocabulary_size, 12))
    red, blue, circle = (matrix[model.tokenizer.vocabulary.index(w) + 4] for w in
                         ("red", "blue", "circle"))  # fmt: skip
    # Turned and scaled, but of the file's distances: red and blue lie 2 apart, circle sqrt(5).
    ratio = np.linalg.norm(red - circle) / np.linalg.norm(red - blue)
    np.testing.assert_allclose(ratio, np.sqrt(5) / 2, rtol=1e-2)


def test_extremes_are_the_best_and_the_worst(publishing, tmp_path):
    import captioning

    examples = load_data("scenes:40")["train"]
    found = evaluate(scenes_captioner(), examples, beam_size=1, verbose=0)
    # One caption of people's own words, which nothing can beat.
    found.predictions[3]["caption"] = examples.captions[3][0]
    captioning.show_extremes(tmp_path / "look.md", examples, found, count=2)
    text = (tmp_path / "look.md").read_text(encoding="utf-8")
    best, worst = text.split("# Worst by CIDEr-D")
    listed = [line for line in best.splitlines() if line.startswith("- ")]
    assert len(listed) == 2
    assert listed[0].startswith(f"- `{examples.image_ids[3]}` (")
    assert f"`{examples.image_ids[3]}`" not in worst
    assert f"  - {examples.captions[3][1]}" in best


# Kills


RECIPE = RECIPES / "captioning_flickr8k_lite0_lstm.py"
# A file or folder that appears within each stage, and within what follows them.
MOMENTS = (
    "stage_1/.writing-*best.keras", "stage_1/backup/epoch-*", "stage_2/start.keras",
    "stage_2/scores.json", "stage_3/scores.json", "stage_3/backup/epoch-*",
    "seed-1/stage_2/backup/epoch-*", "compact", "served/*/.writing-*", "published/.writing-*",
)  # fmt: skip


def start(out):
    # Not a pipe that nobody reads while the process is watched.
    with out.with_suffix(".errors").open("w") as errors:
        return subprocess.Popen(
            [sys.executable, RECIPE, "scenes:24", "--smoke", "--out", out, "--seeds", "2"],
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )


def finish(out):
    assert start(out).wait(timeout=1200) == 0, out.with_suffix(".errors").read_text()[-2000:]


@pytest.mark.slow
def test_a_recipe_that_is_killed_in_every_stage_ends_alike(tmp_path):
    """Real processes and SIGKILL."""
    quiet, killed = tmp_path / "quiet", tmp_path / "killed"
    finish(quiet)
    name = "captioner-lite0-lstm-flickr8k"
    for moment in MOMENTS:
        process = start(killed)
        while process.poll() is None and not list(killed.glob(moment)):
            time.sleep(0.002)
        assert process.poll() is None, f"{moment} never was"
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (killed / "published" / name).exists()
    finish(killed)
    assert_same_weights(quiet / "published" / name, killed / "published" / name)
    ours, theirs = (
        read_json(out / "published" / name / "scores.json") for out in (quiet, killed)
    )
    for key in ("scores", "rows", "diversity", "signature"):
        assert ours[key] == theirs[key]
    assert ours["seeds"]["scores"] == theirs["seeds"]["scores"]
    photo = load_data("scenes:24")["train"]
    served = [
        open_saved_model(out / "served" / name / "1").caption(photo) for out in (quiet, killed)
    ]
    assert served[0] == served[1]
