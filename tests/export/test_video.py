"""Served models of clips say what Python says, of encoded frames and of frames as they are."""

import base64
import json
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import tensorflow as tf
from clip_models import F, video_captioner, video_qa
from serving import LOADED_BY_A_SERVER

from keras_vlm import evaluate, export_saved_model, load_data
from keras_vlm.data.moving_scenes import draw_moving_scenes, render_clip
from keras_vlm.export.served import (
    ServedVideoCaptioner,
    ServedVideoQAModel,
    open_saved_model,
)
from keras_vlm.vision.clip import encode_frame


@pytest.fixture(scope="module")
def clips():
    return np.stack([render_clip(scene, F) for scene in draw_moving_scenes(6)])


@pytest.fixture(scope="module")
def encoded(clips):
    frames = [[encode_frame(pixels) for pixels in clip] for clip in clips]
    frames[1] = [tf.io.encode_png(pixels).numpy() for pixels in clips[1]]
    return frames


@pytest.fixture(scope="module")
def captioner(tmp_path_factory):
    model = video_captioner()
    folder = tmp_path_factory.mktemp("served") / "captioner" / "1"
    return model, export_saved_model(model, folder, beam_size=2)


@pytest.fixture(scope="module")
def answerer(tmp_path_factory):
    model = video_qa()
    folder = tmp_path_factory.mktemp("served") / "qa" / "1"
    return model, export_saved_model(model, folder, top_k=2)


def test_captions_are_those_of_python(captioner, clips, encoded):
    model, folder = captioner
    signatures = tf.saved_model.load(folder).signatures
    assert set(signatures) == {"serving_default", "beam", "greedy", "n_best", "frames"}
    expected = [texts[0] for texts in model.caption(clips, beam_size=2, with_scores=True)]
    assert len({text for text, _ in expected}) > 1
    for name, sent in (
        ("serving_default", {"frame_bytes": tf.constant(encoded)}),
        ("frames", {"frames": tf.constant(clips, tf.float32)}),
    ):
        found = signatures[name](**sent)
        texts = [text.decode() for text in found["caption"].numpy()]
        assert texts == [text for text, _ in expected]
        np.testing.assert_allclose(found["score"], [score for _, score in expected], atol=1e-4)
    n_best = signatures["n_best"](frame_bytes=tf.constant(encoded))
    assert n_best["captions"].shape == (6, 2)


def test_clips_without_a_frame_cannot_be_read(captioner):
    signatures = tf.saved_model.load(captioner[1]).signatures
    for clips in (0, 2):
        found = signatures["serving_default"](frame_bytes=tf.fill((clips, 0), ""))
        assert found["caption"].numpy().tolist() == [b""] * clips
        assert found["score"].numpy().tolist() == [float("-inf")] * clips


def test_more_frames_than_the_model_looks_at(captioner):
    """Of eight those are chosen that Python chooses; frames as they are may have any size."""
    model, folder = captioner
    signatures = tf.saved_model.load(folder).signatures
    clip = render_clip(draw_moving_scenes(3)[2], 8)
    sent = tf.constant([[encode_frame(pixels) for pixels in clip]])
    found = signatures["serving_default"](frame_bytes=sent)["caption"].numpy()[0].decode()
    assert found == model.caption(clip, beam_size=2)[0]
    # Python sends whole values; half of one changes a word of an untrained model.
    large = tf.round(tf.image.resize(clip[[1, 3, 5, 7]], (60, 90)))
    found = signatures["frames"](frames=large[None])["caption"].numpy()[0].decode()
    assert found == model.caption(large, beam_size=2)[0]


def test_a_broken_frame_spoils_its_own_clip(captioner, answerer, encoded):
    spoiled = [list(row) for row in encoded[:3]]
    spoiled[1][2] = b"no picture"
    signature = tf.saved_model.load(captioner[1]).signatures["serving_default"]
    clean, found = (signature(frame_bytes=tf.constant(rows)) for rows in (encoded[:3], spoiled))
    assert found["caption"].numpy()[1] == b""
    assert found["score"].numpy()[1] == -np.inf
    for place in (0, 2):
        assert found["caption"].numpy()[place] == clean["caption"].numpy()[place]
    empty = signature(frame_bytes=tf.zeros((0, F), tf.string))
    assert empty["caption"].shape == (0,)
    signature = tf.saved_model.load(answerer[1]).signatures["top_k"]
    asked = tf.constant(["how many shapes appear ?"] * 3)
    found = signature(frame_bytes=tf.constant(spoiled), question=asked)
    assert found["readable"].numpy().tolist() == [True, False, True]
    assert found["answers"].numpy()[1].tolist() == [b"", b""]


def test_answers_are_those_of_python(answerer, clips, encoded):
    model, folder = answerer
    signatures = tf.saved_model.load(folder).signatures
    asked = ["how many shapes appear ?", "what changes first , the circle or the square ?"] * 3
    expected = model.answer(list(clips), asked)
    for name, sent in (
        ("serving_default", {"frame_bytes": tf.constant(encoded)}),
        ("frames", {"frames": tf.constant(clips, tf.float32)}),
    ):
        found = signatures[name](question=tf.constant(asked), **sent)
        assert [text.decode() for text in found["answer"].numpy()] == [str(a) for a in expected]
        np.testing.assert_allclose(found["score"], [a.probability for a in expected], atol=1e-4)
    many = signatures["ask_many"](
        frame_bytes=tf.constant(encoded[:1]), questions=tf.constant([asked[:2]])
    )
    assert many["answers"].shape == (1, 2, 2)


def test_served_models_are_used_as_python_ones(captioner, answerer, clips):
    served = open_saved_model(captioner[1].parent)
    assert isinstance(served, ServedVideoCaptioner)
    assert (served.num_frames, served.about["task"]) == (F, "video-caption")
    expected = captioner[0].caption(list(clips), beam_size=2)
    assert served.caption(list(clips)) == expected
    assert served.caption(clips[0]) == expected[:1]
    answers = open_saved_model(answerer[1])
    assert isinstance(answers, ServedVideoQAModel)
    split = load_data("moving_scenes:24")["val"]
    scores = [evaluate(model, split, verbose=0).scores for model in (answerer[0], answers)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-4)
    assert str(answers.answer(clips[0], "how many shapes appear ?")) == str(
        answerer[0].answer(clips[0], "how many shapes appear ?")
    )


@pytest.mark.slow
def test_a_server_with_xla_off_says_the_same(captioner, clips, encoded):
    """As tensorflow_model_server loads it, without this package."""
    code = LOADED_BY_A_SERVER.replace(
        "signature.inputs[sys.argv[3]].name: data", "signature.inputs[sys.argv[3]].name: [data]"
    )
    code = textwrap.dedent(code) + 'print(json.dumps(found["caption"][0].decode()))'
    done = subprocess.run(
        [sys.executable, "-X", "utf8", "-W", "ignore", "-c", code, str(captioner[1]),
         "serving_default", "frame_bytes"],
        input=json.dumps([base64.b64encode(frame).decode() for frame in encoded[0]]),
        capture_output=True, encoding="utf-8", check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found == captioner[0].caption(clips[0], beam_size=2)[0]
