"""A run of a retriever: its files, resuming, going on from another, taking over a backbone."""

import dataclasses
import json
import pathlib

import keras
import numpy as np
import pytest
from oracles import scenes_captioner

from keras_vlm import (
    Backbone,
    RegionEncoder,
    RetrievalScores,
    Tokenizer,
    build_captioner,
    evaluate,
    load,
    load_data,
)
from keras_vlm.training import retrieval_run
from keras_vlm.training import run as training_run
from keras_vlm.training.retrieval_run import RetrievalRun, train_retriever
from keras_vlm.training.run_encoder import make_backbone, thaw_start

TINY = {
    "data": "scenes:20",
    "backbone": "conv_small",
    "text": "bag+gru",
    "dim": 8,
    "hidden_dim": 12,
    "image_size": 32,
    "minimum_count": 1,
    "max_length": 11,
    "epochs": 3,
    "batch_size": 7,
    "captions_per_image": 2,
    "learning_rate": 0.01,
    "average": 0.5,
    "word_dropout": 0.2,
}


def make_run(out, **options):
    return RetrievalRun(**{**TINY, "out": str(out), **options})


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    run = make_run(tmp_path_factory.mktemp("runs") / "finished")
    return run, train_retriever(run, verbose=0)


def assert_equal(ours, theirs):
    for one, two in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_the_best_epoch_is_kept_and_scored_as_it_is(finished):
    run, model = finished
    out = pathlib.Path(run.out)
    assert_equal(load(out / "model.keras"), model)
    assert [each.word_dropout_rate for each in model.text_encoder.encoders] == [0.2, 0.2]
    summary = json.loads((out / "scores.json").read_text())
    assert summary["monitor"] == "mean_recall"
    found = evaluate(model, load_data(run.data)["val"], verbose=0)
    assert found.scores == pytest.approx(summary["best"]["scores"])
    best = max(entry["scores"]["mean_recall"] for entry in summary["history"])
    assert found.scores["mean_recall"] == pytest.approx(best)
    assert (out / "curves.png").stat().st_size > 1000
    assert set(found.predictions[0]) == {"image_id", "caption", "score", "rank"}
    ranks = [row["rank"] for row in found.predictions]
    assert found.scores["image_to_text_R@5"] == pytest.approx(100 * np.mean(np.array(ranks) <= 5))


@pytest.mark.slow
def test_an_interrupted_run_ends_with_the_same_weights(finished, tmp_path, monkeypatch):
    run, model = finished
    again = make_run(tmp_path / "again")
    score, scored = RetrievalScores.evaluate, []

    def stop(self):
        scored.append(None)
        if len(scored) == 2:
            raise KeyboardInterrupt
        return score(self)

    with monkeypatch.context() as patches:
        patches.setattr(RetrievalScores, "evaluate", stop)
        with pytest.raises(KeyboardInterrupt):
            train_retriever(again, verbose=0)
    assert_equal(train_retriever(again, verbose=0), model)


def test_it_goes_on_from_the_weights_of_another(finished):
    run, model = finished
    further = RetrievalRun(
        data=run.data, out="nowhere", start="start.keras", loss="sigmoid", trainable_from="conv3"
    )
    found = retrieval_run._build(further, [], model, training_run.build_optimizer(further, 10))
    for part in ("image_head", "text_head", "encoder"):
        assert_equal(getattr(found, part), getattr(model, part))
    # The sigmoid's scale and bias are its own.
    assert [weight.name for weight in found.pair_scores.weights] == ["log_scale", "bias"]
    again = retrieval_run._build(
        dataclasses.replace(further, loss="contrastive"),
        [], model, training_run.build_optimizer(further, 10),
    )  # fmt: skip
    assert_equal(again.pair_scores, model.pair_scores)


@pytest.mark.slow
def test_what_a_run_begins_with_is_kept_for_its_resumption(finished, tmp_path, monkeypatch):
    """Whatever becomes of the file of the backbone, and though a resumed run loads less."""
    scenes_captioner().save(tmp_path / "captioner.keras")
    options = {"backbone": str(tmp_path / "captioner.keras"), "epochs": 2}
    whole = train_retriever(make_run(tmp_path / "whole", **options), verbose=0)

    def stop(self, *args, **kwargs):
        raise KeyboardInterrupt

    again = make_run(tmp_path / "again", **options)
    with monkeypatch.context() as patches:
        patches.setattr(RetrievalScores, "on_train_begin", stop)
        with pytest.raises(KeyboardInterrupt):
            train_retriever(again, verbose=0)
    (tmp_path / "captioner.keras").unlink()
    assert_equal(train_retriever(again, verbose=0), whole)
    assert not (tmp_path / "again" / "backbone.keras").exists()


def test_a_backbone_of_another_model(tmp_path):
    captioner = scenes_captioner()
    captioner.save(tmp_path / "captioner.keras")
    name = str(tmp_path / "captioner.keras")
    own = make_backbone(
        RetrievalRun(data="scenes", out="nowhere", backbone=name), "float32"
    )
    assert (own.input_shape[1:3], own.resize) == ((32, 32), "stretch")
    run = make_run("nowhere", backbone=name, image_size=48, resize="pad")
    encoder = make_backbone(run, "mixed_bfloat16")
    for ours, theirs in zip(encoder.get_weights(), captioner.encoder.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert encoder.input_shape[1:3] == (48, 48)
    assert encoder.resize == "pad"
    assert encoder.network.layers[-1].compute_dtype == "bfloat16"
    with pytest.raises(TypeError, match="start must be a Retriever, got .*, a Captioner. To take"):
        train_retriever(
            RetrievalRun(data="scenes:20", out=str(tmp_path / "run"), start=name), verbose=0
        )
    with pytest.raises(ValueError, match="backbone must be one of .* got 'vgg_16'.*'vgg16'"):
        make_backbone(make_run("nowhere", backbone="vgg_16"), "float32")


def test_regions_of_a_backbone_are_its_own(tmp_path):
    """An option that would be passed over is refused, and so is a network that cannot thaw."""
    images = keras.Input((32, 32, 3))
    plain = keras.Model(images, keras.layers.Conv2D(5, 8, strides=8)(images))
    words = Tokenizer(["a", "dog"], max_length=5)
    own = build_captioner(RegionEncoder(plain, "boxes", max_regions=3), tokenizer=words)
    run = RetrievalRun(data="scenes", out="nowhere", start="own.keras")
    with pytest.raises(TypeError, match="start must have a Backbone, of which layers can be"):
        thaw_start(run, own, type(own))
    backbone = Backbone("conv_small", image_size=32, weights=None)
    model = build_captioner(RegionEncoder(backbone, "boxes", max_regions=3), tokenizer=words)
    model.save(tmp_path / "model.keras")
    options = {"backbone": str(tmp_path / "model.keras")}
    for more in ({}, {"regions": "boxes", "max_regions": 3}):
        found = make_backbone(make_run("nowhere", **options, **more), "float32")
        assert found.region_shapes == {"boxes": (3, 4)}
    with pytest.raises(ValueError, match="regions must be 'boxes' with max_regions 3, .* 'masks'"):
        make_backbone(make_run("nowhere", **options, regions="masks"), "float32")


@pytest.mark.parametrize(("option", "value"), [("trainable_from", "all"), ("resize", "pad")])
def test_a_foreign_backbone_refuses_what_it_would_pass_over(option, value):
    run = make_run("nowhere", backbone="hub:nowhere", **{option: value})
    with pytest.raises(ValueError, match=f"{option} must be .* hub:nowhere, got '{value}'"):
        make_backbone(run, "float32")


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("text", "gur", "text must be one of .* Did you mean 'gru'"),
        ("loss", "clip", "loss must be one of"),
        ("image_pooling", "sum", "image_pooling must be one of"),
        ("text", "bag+gur", "text must be one of .* Did you mean 'gru'"),
        ("dim", 7, "dim must be a multiple of the 2 heads of text='bag.gru', got 7"),
        ("epochs", 0, "epochs must be a whole number >= 1, got 0"),
        ("gradient_cache", 0, "gradient_cache must be a whole number >= 1, got 0"),
    ],
)
def test_options_are_checked_before_any_work(tmp_path, option, value, message):
    with pytest.raises(ValueError, match=f"RetrievalRun: {message}"):
        make_run(tmp_path / "run", **{option: value})
    with pytest.raises(ValueError, match="dim is the model's own where start is given, got 3"):
        RetrievalRun(data="scenes", out=str(tmp_path), start="x", dim=3)


def test_a_plus_in_the_name_of_a_preset_joins_nothing(tmp_path):
    run = make_run(tmp_path, text="keras_hub:/models/a+b", dim=7, word_dropout=0.0)
    assert run.heads == ["keras_hub:/models/a+b"]


def test_wrong_monitor():
    with pytest.raises(ValueError, match="RetrievalScores: monitor must be one of .* got 'CIDEr-D"):
        RetrievalScores(load_data("scenes:20")["val"], monitor="CIDEr-D")
