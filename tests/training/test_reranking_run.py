"""A run of a re-ranker: its files, resuming, going on from another, bad options."""

import json
import pathlib
import shutil

import numpy as np
import pytest
from oracles import scenes_captioner, scenes_reranker, scenes_retriever

from keras_vlm import TwoStageRetriever, TwoStageScores, evaluate, load, load_data
from keras_vlm.training import reranking_run
from keras_vlm.training import run as training_run
from keras_vlm.training.reranking_run import RerankingRun, train_reranker

TINY = {
    "data": "scenes:20",
    "hidden_dim": 12,
    "epochs": 3,
    "batch_size": 7,
    "captions_per_image": 2,
    "learning_rate": 0.01,
    "average": 0.5,
}


@pytest.fixture(scope="module")
def retriever_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("retriever") / "model.keras"
    scenes_retriever("bag").save(path)
    return str(path)


def make_run(out, **options):
    return RerankingRun(**{**TINY, "out": str(out), **options})


@pytest.fixture(scope="module")
def finished(retriever_path, tmp_path_factory):
    run = make_run(tmp_path_factory.mktemp("runs") / "finished", retriever=retriever_path)
    return run, train_reranker(run, verbose=0)


def assert_equal(ours, theirs):
    for one, two in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.slow
def test_the_best_epoch_is_kept_and_scored_with_its_retriever(finished):
    run, model = finished
    out = pathlib.Path(run.out)
    assert_equal(load(out / "model.keras"), model)
    summary = json.loads((out / "scores.json").read_text())
    assert summary["monitor"] == "mean_recall"
    assert "|reranked:20|" in summary["signature"]
    retriever = load(run.retriever)
    found = evaluate(TwoStageRetriever(retriever, model), load_data(run.data)["val"], verbose=0)
    assert found.scores == pytest.approx(summary["best"]["scores"])
    assert_equal(model.encoder, retriever.encoder)
    # A frozen backbone's features are kept, and what the retriever decides is not noted.
    assert list((out / "features").iterdir())
    noted = json.loads((out / "run.json").read_text())
    assert noted["retriever"] == run.retriever
    assert not {"backbone", "image_size", "max_length", "trainable_from"} & set(noted)


@pytest.mark.slow
def test_an_interrupted_run_ends_with_the_same_weights(finished, tmp_path, monkeypatch):
    run, model = finished
    again = make_run(tmp_path / "again", retriever=run.retriever)
    score, scored = TwoStageScores.evaluate, []

    def stop(self):
        scored.append(None)
        if len(scored) == 2:
            raise KeyboardInterrupt
        return score(self)

    with monkeypatch.context() as patches:
        patches.setattr(TwoStageScores, "evaluate", stop)
        with pytest.raises(KeyboardInterrupt):
            train_reranker(again, verbose=0)
    assert_equal(train_reranker(again, verbose=0), model)


@pytest.mark.slow
def test_a_finished_run_needs_its_retriever_no_more(finished, tmp_path):
    run, model = finished
    moved = tmp_path / "moved"
    shutil.copytree(run.out, moved)
    note = moved / "run.json"
    note.write_text(json.dumps({**json.loads(note.read_text()), "retriever": "gone"}))
    assert_equal(train_reranker(make_run(moved, retriever="gone"), verbose=0), model)


def test_it_goes_on_from_another(finished, retriever_path, tmp_path):
    _, model = finished
    further = RerankingRun(
        data="scenes:20",
        out="nowhere",
        retriever=retriever_path,
        start="start.keras",
        loss="triplet",
    )
    before = [weight.copy() for weight in model.get_weights()]
    optimizer = training_run.build_optimizer(further, 10)
    found = reranking_run._build(further, load(retriever_path), model, optimizer)
    for ours, theirs in zip(found.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert found.loss.name == "triplet"
    assert found.optimizer is optimizer
    with pytest.raises(TypeError, match="start must be a Reranker, got 'start.keras', a Retriever"):
        reranking_run._build(further, None, load(retriever_path), optimizer)


def test_wrong_models(retriever_path, tmp_path):
    scenes_captioner().save(tmp_path / "captioner.keras")
    run = make_run(tmp_path / "run", retriever=str(tmp_path / "captioner.keras"))
    with pytest.raises(TypeError, match="captioner.keras: must be a retriever, got a Captioner"):
        train_reranker(run, verbose=0)
    run = make_run(tmp_path / "zh", retriever=retriever_path, language="zh")
    with pytest.raises(ValueError, match="language must be 'en', that of .*, got 'zh'"):
        train_reranker(run, verbose=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"retriever": None}, "retriever must be a retriever's file or published name, got None"),
        ({"fusion": "atention"}, "fusion must be one of .* Did you mean 'attention'"),
        ({"loss": "clip"}, "loss must be one of"),
        ({"backbone": "vgg16"}, "backbone is the retriever's own, got 'vgg16'. Leave it out"),
        ({"trainable_from": "all"}, "trainable_from is the retriever's own, got 'all'"),
        ({"backbone_rate": 1e-4}, "backbone_rate is the retriever's own, got 0.0001"),
        ({"start": "x"}, "hidden_dim is the model's own where start is given, got 12"),
    ],
)
def test_options_are_checked_before_any_work(tmp_path, options, message):
    with pytest.raises(ValueError, match=f"RerankingRun: {message}"):
        make_run(tmp_path / "run", **{"retriever": "somewhere.keras", **options})


def test_bad_scores():
    examples, retriever = load_data("scenes:20")["val"], scenes_retriever("bag")
    with pytest.raises(ValueError, match="TwoStageScores: k must be a whole number >= 1, got 0"):
        TwoStageScores(examples, retriever=retriever, k=0)
    with pytest.raises(ValueError, match="monitor must be one of .* got 'CIDEr-D"):
        TwoStageScores(examples, retriever=retriever, monitor="CIDEr-D")
    with pytest.raises(TypeError, match="got a Reranker. A re-ranker is scored with a retriever"):
        evaluate(scenes_reranker(retriever=retriever), examples, verbose=0)
