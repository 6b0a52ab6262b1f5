"""The retriever's SavedModel: Python's vectors, in TensorFlow alone and in a server's loader."""

import shutil

import numpy as np
import pytest
import tensorflow as tf
from contracts import few
from oracles import scenes_retriever
from serving import LOADED_BY_A_SERVER, LOADED_BY_TENSORFLOW, call_apart

from keras_vlm import ServedRetriever, evaluate, export_saved_model, load_data
from keras_vlm.export.served import find_version, open_saved_model

TEXTS = ["a red circle", "zebras", "", "a small blue square is left of a large green triangle"]


@pytest.fixture(scope="module")
def retriever():
    return scenes_retriever("bag")


@pytest.fixture(scope="module")
def folder(retriever, tmp_path_factory):
    return export_saved_model(retriever, tmp_path_factory.mktemp("served") / "retriever" / "1")


@pytest.mark.parametrize(
    "loader", few([LOADED_BY_TENSORFLOW, LOADED_BY_A_SERVER], LOADED_BY_TENSORFLOW)
)
def test_a_process_without_this_package_gives_the_vectors_of_python(
    retriever, folder, pictures, loader
):
    found = call_apart(loader, folder, pictures, "embed_image")["embedding"]
    expected = retriever.embed_images(pictures)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert (np.array(found[5]) == 0).all()
    assert np.abs(found).sum(axis=1).astype(bool).sum() == 7
    texts = [text.encode() for text in TEXTS]
    found = call_apart(loader, folder, texts, "embed_text", "text")["embedding"]
    np.testing.assert_allclose(found, retriever.embed_texts(TEXTS), atol=1e-5)


@pytest.mark.parametrize(
    "text", few(["gru", "lstm", "transformer", "cnn+bag"], "transformer", "cnn+bag")
)
def test_every_model_is_served_as_it_sees(text, pictures, tmp_path):
    model = scenes_retriever(text, language="zh")
    export_saved_model(model, tmp_path / "1")
    signatures = tf.saved_model.load(tmp_path / "1").signatures
    found = signatures["serving_default"](image_bytes=tf.constant(pictures))["embedding"]
    np.testing.assert_allclose(found, model.embed_images(pictures), atol=1e-5)
    words = ["红色的圆", "左边"]
    found = signatures["embed_text"](text=tf.constant(words))["embedding"]
    np.testing.assert_allclose(found, model.embed_texts(words), atol=1e-5)
    assert np.abs(found[0] - found[1]).max() > 1e-3


@pytest.mark.parametrize("batch", [0, 1, 5])
def test_any_batch(folder, pictures, batch):
    signatures = tf.saved_model.load(folder).signatures
    images = tf.constant(pictures[:batch], tf.string)
    assert signatures["embed_image"](image_bytes=images)["embedding"].shape == (batch, 16)
    texts = tf.constant(["a"] * batch, tf.string)
    assert signatures["embed_text"](text=texts)["embedding"].shape == (batch, 16)


def test_served_retriever_is_a_retriever(retriever, folder, pictures, tmp_path):
    for path in (folder, folder.parent):
        served = open_saved_model(path)
        assert isinstance(served, ServedRetriever)
        found = served.embed_images(pictures, batch_size=3)
        np.testing.assert_allclose(found, retriever.embed_images(pictures), atol=1e-5)
    # TensorFlow Serving takes the greatest number, not the last name.
    for version in ("9", "10", "old"):
        shutil.copytree(folder, tmp_path / "versions" / version)
    assert find_version(tmp_path / "versions").name == "10"
    np.testing.assert_allclose(
        served.embed_texts(TEXTS, batch_size=3), retriever.embed_texts(TEXTS), atol=1e-5
    )
    assert served.embed_images([]).shape == served.embed_texts([]).shape == (0, 16)
    examples = load_data("scenes:31")["train"]
    ours = evaluate(served, examples, verbose=0)
    theirs = evaluate(retriever, examples, verbose=0)
    assert set(ours.scores) == set(theirs.scores)
    for name, score in theirs.scores.items():
        # R@K is in percent, of 31 pictures; medians are ranks.
        assert ours.scores[name] == pytest.approx(score, abs=0.02 if "mAP" in name else 3.3), name
    assert ours.signature == theirs.signature
