"""The SavedModel that answers: 500 answers equal Python's; a bad row spoils itself alone."""

import base64
import json
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import tensorflow as tf
from contracts import few
from oracles import scenes_vqa

from keras_vlm import ServedVQAModel, evaluate, export_saved_model, load_data
from keras_vlm.export.served import open_saved_model

# What tensorflow_model_server does: XLA is off, the graph runs in a session, and nothing of ours.
SERVER = """
    import base64, ctypes, json, pathlib, sys
    sys.modules["keras_vlm"] = None
    import tensorflow as tf
    library = pathlib.Path(tf.__file__).parent / "libtensorflow_cc.so.2"
    ctypes.CDLL(str(library))._ZN10tensorflow21DisableXlaCompilationEv()
    sent = json.load(sys.stdin)
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        meta = tf.compat.v1.saved_model.loader.load(session, ["serve"], sys.argv[1])
        signature = meta.signature_def["serving_default"]
        found = session.run(
            {name: info.name for name, info in signature.outputs.items()},
            {
                signature.inputs["image_bytes"].name: [base64.b64decode(b) for b in sent["images"]],
                signature.inputs["question"].name: sent["questions"],
            })
    found["answer"] = [text.decode() for text in found["answer"]]
    found["score"] = found["score"].tolist()
    print(json.dumps({key: found[key] for key in ("answer", "score")}))
"""


@pytest.fixture(scope="module")
def examples():
    return load_data("scenes:70")["train"]


@pytest.fixture(scope="module", params=few(["choose", "write"], "write"))
def made(request, tmp_path_factory):
    """A model, and what it is exported to."""
    model = scenes_vqa("hadamard", request.param)
    folder = tmp_path_factory.mktemp("served") / "vqa" / "1"
    return model, export_saved_model(model, folder, top_k=3)


@pytest.fixture(scope="module")
def rows(examples):
    """More than 500 pairs of a picture and a question, over all pictures."""
    pictures = [e["image_bytes"] for e in examples.dataset().as_numpy_iterator()]
    pairs = [
        (picture, question.text)
        for picture, asked in zip(pictures, examples.questions, strict=True)
        for question in asked
    ]
    return pairs[:500]


def test_500_served_answers_are_those_of_python(made, rows):
    model, folder = made
    assert len(rows) == 500
    signature = tf.saved_model.load(folder).signatures["serving_default"]
    images, questions = zip(*rows, strict=True)
    found = signature(image_bytes=tf.constant(images), question=tf.constant(questions))
    expected = model.answer(list(images), list(questions))
    texts = [text.decode() for text in found["answer"].numpy()]
    assert texts == [answer.text for answer in expected]
    np.testing.assert_allclose(found["score"], [a.probability for a in expected], atol=1e-5)
    assert len(set(texts)) > 1


def test_a_bad_row_spoils_itself_alone(made, rows):
    _, folder = made
    signatures = tf.saved_model.load(folder).signatures
    images, questions = (list(column) for column in zip(*rows[:7], strict=True))
    clean = signatures["serving_default"](
        image_bytes=tf.constant(images), question=tf.constant(questions)
    )
    images[2], questions[4], questions[5] = images[2][:50], "", "图中有什么？"
    found = signatures["serving_default"](
        image_bytes=tf.constant(images), question=tf.constant(questions)
    )
    for i in (0, 1, 3, 6):
        assert found["answer"][i] == clean["answer"][i]
        np.testing.assert_allclose(found["score"][i], clean["score"][i], atol=1e-6)
    for i in (2, 4):
        assert found["answer"][i].numpy() == b""
        assert found["score"][i].numpy() == 0
    assert found["known"].numpy().tolist() == [1, 1, 1, 1, 0, 0, 1]
    candidates = signatures["top_k"](
        image_bytes=tf.constant(images), question=tf.constant(questions)
    )
    assert candidates["answers"].shape == candidates["scores"].shape == (7, 3)
    assert candidates["readable"].numpy().tolist() == [True, True, False, True, True, True, True]
    assert candidates["unknown_words"][5].numpy().decode() == "图中有什么"
    assert (candidates["answers"].numpy()[:, 0] == found["answer"].numpy()).all()


def test_many_questions_of_one_picture(made, rows):
    _, folder = made
    signatures = tf.saved_model.load(folder).signatures
    picture, questions = rows[0][0], [text for _, text in rows[:20]]
    together = signatures["ask_many"](
        image_bytes=tf.constant([picture]), questions=tf.constant([questions])
    )
    alone = signatures["top_k"](
        image_bytes=tf.constant([picture] * 20), question=tf.constant(questions)
    )
    np.testing.assert_array_equal(together["answers"][0], alone["answers"])
    np.testing.assert_allclose(together["scores"][0], alone["scores"], atol=1e-5)


def test_an_empty_batch(made):
    signature = tf.saved_model.load(made[1]).signatures["serving_default"]
    found = signature(image_bytes=tf.constant([], tf.string), question=tf.constant([], tf.string))
    assert found["answer"].shape == (0,)


@pytest.mark.slow
def test_a_server_with_xla_off_gives_the_answers_of_python(made, rows):
    model, folder = made
    images, questions = zip(*rows[:5], strict=True)
    sent = {
        "images": [base64.b64encode(image).decode() for image in images],
        "questions": questions,
    }
    done = subprocess.run(
        [sys.executable, "-X", "utf8", "-W", "ignore", "-c", textwrap.dedent(SERVER), str(folder)],
        input=json.dumps(sent), capture_output=True, encoding="utf-8", check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    expected = model.answer(list(images), list(questions))
    assert found["answer"] == [answer.text for answer in expected]
    np.testing.assert_allclose(found["score"], [a.probability for a in expected], atol=1e-5)


def test_the_served_model_answers_as_the_model(made, examples):
    model, folder = made
    served = open_saved_model(folder.parent)
    assert isinstance(served, ServedVQAModel)
    assert served.about["task"] == "vqa"
    picture = next(iter(examples.dataset()))["image_bytes"].numpy()
    asked = [[examples.questions[0][0].text, "", "is there a zebra ?"], "is there a star ?"]
    ours, theirs = (m.answer([picture, b"no picture"], asked, top_k=2) for m in (model, served))
    for one, other in zip([*ours[0], ours[1]], [*theirs[0], theirs[1]], strict=True):
        assert (one.text, one.problem, one.unknown_words) == (
            other.text, other.problem, other.unknown_words,
        )  # fmt: skip
        assert [text for text, _ in one.candidates] == [text for text, _ in other.candidates]
    with pytest.raises(ValueError, match="top_k must be at most 3, got 4"):
        served.answer(picture, "is there a star ?", top_k=4)
    split = load_data("scenes:70")["val"]
    scores = [evaluate(m, split, verbose=0).scores for m in (model, served)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-4)


def test_wrong_top_k(made, tmp_path):
    with pytest.raises(ValueError, match="top_k must be a whole number >= 1, got 0"):
        export_saved_model(made[0], tmp_path / "1", top_k=0)
