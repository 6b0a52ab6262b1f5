"""Whole runs of models of clips: from a name to the best model, anew, from pictures, resumed."""

import dataclasses
import json

import numpy as np
import pytest
from clip_models import video_captioner
from oracles import begun_model, scenes_captioner, scenes_vqa

from keras_vlm import evaluate, load_data
from keras_vlm.data.moving_scenes import draw_moving_scenes, render_clip
from keras_vlm.data.moving_scenes_captions import describe_clip
from keras_vlm.metrics.captions import exact_match
from keras_vlm.training.captioning_run import CaptioningRun, train_captioner
from keras_vlm.training.video_run import (
    VideoCaptioningRun,
    VideoQARun,
    train_video_captioner,
    train_video_qa,
)

SMALL = {
    "backbone": "conv_small", "image_size": 32, "hidden_dim": 16, "minimum_count": 1,
    "batch_size": 8, "epochs": 1, "num_frames": 3,
}  # fmt: skip
DATA = "moving_scenes:16"


@pytest.mark.slow
def test_a_captioner_of_clips(tmp_path):
    run = VideoCaptioningRun(DATA, str(tmp_path / "run"), temporal="attention", **SMALL)
    model = train_video_captioner(run, verbose=0)
    assert model.num_frames == 3
    assert model.temporal.hidden_dim == 16
    scores = json.loads((tmp_path / "run" / "scores.json").read_text())["best"]["scores"]
    assert set(scores) >= {"CIDEr-D", "BLEU-4", "exact_match"}
    assert "val_exact_match" in (tmp_path / "run" / "log.csv").read_text()
    # The same command again: it is done, and nothing else fits into its folder.
    again = train_video_captioner(run, verbose=0)
    for ours, theirs in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(FileExistsError, match="temporal was 'attention', now 'mean'"):
        train_video_captioner(dataclasses.replace(run, temporal="mean"), verbose=0)
    # It goes on from a model of clips, whose frames and layers it has.
    model_path = str(tmp_path / "run" / "model.keras")
    tuned = VideoCaptioningRun(
        DATA, str(tmp_path / "tuned"), start=model_path, epochs=1, batch_size=8, learning_rate=0.0
    )
    found = train_video_captioner(tuned, verbose=0)
    arrays = [render_clip(scene, 3) for scene in draw_moving_scenes(4)]
    assert found.caption(arrays) == model.caption(arrays)
    wrong = dataclasses.replace(tuned, out=str(tmp_path / "wrong"), num_frames=5)
    with pytest.raises(ValueError, match="num_frames is the model's own where start is a model of"):
        train_video_captioner(wrong, verbose=0)
    # Its backbone serves pictures, but it cannot be gone on from as one of pictures.
    pictures = CaptioningRun("scenes:16", str(tmp_path / "p"), start=model_path)
    with pytest.raises(TypeError, match="start must be a Captioner"):
        train_captioner(pictures, verbose=0)
    pictures = CaptioningRun(
        "scenes:16", str(tmp_path / "q"), backbone=model_path, epochs=1, batch_size=8,
        hidden_dim=16, minimum_count=1,
    )  # fmt: skip
    assert train_captioner(pictures, verbose=0).image_size == (32, 32)


@pytest.mark.slow
def test_a_captioner_of_clips_begins_with_one_of_pictures(tmp_path):
    start = scenes_captioner("lstm")
    start.save(tmp_path / "start.keras")
    run = VideoCaptioningRun(
        DATA, str(tmp_path / "run"), start=str(tmp_path / "start.keras"), temporal="mean",
        num_frames=2, epochs=1, batch_size=8, learning_rate=0.0, cache=None,
    )  # fmt: skip
    model = train_video_captioner(run, verbose=0)
    pictures = [render_clip(scene, 1)[0] for scene in draw_moving_scenes(4)]
    still = [np.stack([picture, picture]) for picture in pictures]
    assert model.caption(still) == start.caption(pictures)


@pytest.mark.slow
def test_a_model_that_answers_questions_about_clips(tmp_path):
    run = VideoQARun(
        DATA, str(tmp_path / "run"), temporal="lstm", text="bag", fusion="hadamard",
        captions_per_image=3, **SMALL,
    )  # fmt: skip
    model = train_video_qa(run, verbose=0)
    assert model.num_frames == 3
    data = load_data(DATA)
    found = evaluate(model, data["test"], training_examples=data["train"], verbose=0)
    types = {q.question_type for each in data["test"].questions for q in each}
    assert {f"accuracy_question:{kind}" for kind in types} < set(found.scores)
    assert found.baselines["question_only"] <= 0.5
    start = scenes_vqa("hadamard")
    start.save(tmp_path / "start.keras")
    tuned = VideoQARun(
        DATA, str(tmp_path / "tuned"), start=str(tmp_path / "start.keras"), temporal="mean",
        num_frames=2, epochs=1, batch_size=8, learning_rate=0.0,
    )  # fmt: skip
    model = train_video_qa(tuned, verbose=0)
    picture = render_clip(draw_moving_scenes(1)[0], 1)[0]
    asked = "how many circles are there ?"
    ours, theirs = model.answer(np.stack([picture] * 2), asked), start.answer(picture, asked)
    assert str(ours) == str(theirs)
    assert ours.probability == pytest.approx(theirs.probability, abs=1e-4)


@pytest.mark.slow
def test_a_model_of_clips_lends_its_eyes(tmp_path, monkeypatch):
    """Backbone and temporal layer, with their weights; the rest is learned anew."""

    def begun(kind, train, **options):
        backbone = str(tmp_path / "lender.keras")
        out = str(tmp_path / f"run{len(list(tmp_path.iterdir()))}")
        run = kind(DATA, out, backbone=backbone, hidden_dim=8, **options)
        return begun_model(train, run, monkeypatch)

    lender = video_captioner("concat")
    lender.save(tmp_path / "lender.keras")
    for kind, train, text in (
        (VideoQARun, train_video_qa, "bag"),
        (VideoCaptioningRun, train_video_captioner, "lstm"),
    ):
        model = begun(kind, train, text=text, minimum_count=1)
        assert (model.num_frames, type(model.temporal)) == (4, type(lender.temporal))
        assert model.temporal.trainable_weights
        parts = ((model.temporal, lender.temporal), (model.encoder, lender.encoder))
        for part, theirs in parts:
            for new, old in zip(part.weights, theirs.weights, strict=True):
                np.testing.assert_array_equal(new, old)
    with pytest.raises(ValueError, match="num_frames must be 4, those of the temporal layer that"):
        begun(VideoQARun, train_video_qa, num_frames=3)
    # Another layer is learned anew, of as many frames as are asked for; and precision is the run's.
    model = begun(VideoQARun, train_video_qa, temporal="mean", num_frames=2, text="bag")
    assert (model.num_frames, type(model.temporal).__name__) == (2, "MeanTemporal")
    model = begun(VideoQARun, train_video_qa, text="bag", precision="mixed_bfloat16")
    assert model.temporal.compute_dtype == "bfloat16"
    assert model.temporal.layers[0]["attention"].compute_dtype == "bfloat16"


def test_exact_match_counts_any_reference():
    class Told:
        """Says the third caption of every other clip, and nothing of the others."""

        def caption(self, examples, **options):
            texts = [captions[2] if i % 2 else "" for i, captions in enumerate(examples.captions)]
            return [[(text, -1.0)] for text in texts]

    examples = load_data(DATA)["train"]
    found = evaluate(Told(), examples, verbose=0)
    assert found.scores["exact_match"] == 0.5
    assert "exact_match" not in evaluate(Told(), load_data("scenes:16")["train"], verbose=0).scores
    assert exact_match([["a b"], ["c"]], ["a b", "a b"]) == 0.5
    assert examples.captions[0] == describe_clip(draw_moving_scenes(1)[0])


@pytest.mark.slow
def test_a_single_frame_model_is_a_picture_model(tmp_path):
    """The baseline needs nothing of its own: a picture model trains on the middle frames."""
    options = {name: value for name, value in SMALL.items() if name != "num_frames"}
    run = CaptioningRun(DATA, str(tmp_path / "run"), **options)
    model = train_captioner(run, verbose=0)
    examples = load_data(DATA)["val"]
    assert "exact_match" in evaluate(model, examples, verbose=0).scores
    first, second = model.caption(examples)
    # The two of a pair have the same middle frame.
    assert first == second


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (VideoCaptioningRun, {"temporal": "men"}, "temporal must be one of .*got 'men'.*'mean'"),
        (VideoQARun, {"num_frames": 0}, "num_frames must be a whole number >= 1, got 0"),
        (VideoQARun, {"text": "lst"}, "text must be one of .*got 'lst'"),
        (VideoQARun, {"regions": "grid+boxes"}, "regions must be 'grid' for clips"),
        (VideoQARun, {"position_scale": 4}, "position_scale must be 0, got 4. Tokens of several"),
        (VideoCaptioningRun, {"objective": "self_critical"}, "start must be a captioner"),
    ],
)
def test_wrong_options(tmp_path, kind, options, message):
    with pytest.raises(ValueError, match=message):
        kind(DATA, str(tmp_path), **options)


def test_pictures_are_no_clips(tmp_path):
    with pytest.raises(ValueError, match="data must be clips, got 'scenes:16'"):
        train_video_captioner(
            VideoCaptioningRun("scenes:16", str(tmp_path / "a"), **SMALL), verbose=0
        )
    with pytest.raises(ValueError, match="data must be clips, got 'scenes:16'"):
        train_video_qa(VideoQARun("scenes:16", str(tmp_path / "b"), **SMALL), verbose=0)
