"""KerasHub's text models: their words, their vectors, and a model that has one."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_vlm import Tokenizer, build_retriever, load, load_data
from keras_vlm.export.saved_model import export_saved_model
from keras_vlm.text.foreign import build_keras_hub_text, keras_hub_tokenizer
from keras_vlm.training.retrieval_run import RetrievalRun, train_retriever

keras_hub = pytest.importorskip("keras_hub", reason="keras-hub is not installed (extra 'hub')")

PIECES = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "the", "dog", "run",
          "##ning", "##s", "red", "circle", "is", "a", "left", "of", "large", "small"]  # fmt: skip
SMALL = {"vocabulary_size": len(PIECES), "num_layers": 1, "num_heads": 2, "hidden_dim": 12,
         "intermediate_dim": 16, "max_sequence_length": 24}  # fmt: skip


@pytest.fixture(scope="module")
def presets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("presets")
    keras.utils.set_random_seed(2)
    found = {}
    for name in ("Bert", "DistilBert"):
        network = getattr(keras_hub.models, f"{name}Backbone")(**SMALL)
        network.save_to_preset(str(folder / name))
        tokenizer = getattr(keras_hub.models, f"{name}Tokenizer")(vocabulary=PIECES)
        tokenizer.save_to_preset(str(folder / name))
        found[name] = (str(folder / name), network, tokenizer)
    return found


@pytest.mark.parametrize("name", ["Bert", "DistilBert"])
def test_words_and_their_vectors_are_kerashubs(presets, name):
    """Their own tokenizer and model, put together by hand, are the oracle."""
    preset, network, theirs = presets[name]
    texts = ["the dog running", "a red circle", "dogs"]
    tokenizer = keras_hub_tokenizer(preset, max_length=9)
    ours = tokenizer(tf.constant(texts))
    pieces = [tokenizer.split(tf.constant([text])).numpy()[0].tolist() for text in texts]
    assert pieces[0] == [b"the", b"dog", b"run", b"##ning"]
    rows = [[3, *np.asarray(theirs.tokenize(text)).tolist(), 4] for text in texts]
    ids = np.array([row + [0] * (9 - len(row)) for row in rows], np.int32)
    inputs = {"token_ids": ids, "padding_mask": (ids != 0).astype(np.int32)}
    if name == "Bert":
        inputs["segment_ids"] = np.zeros_like(ids)
    expected = network(inputs, training=False)
    expected = expected["sequence_output"] if name == "Bert" else expected
    encoder = build_keras_hub_text(preset, tokenizer)
    found = encoder(ours)
    for row, length in enumerate(map(len, rows)):
        np.testing.assert_allclose(found[row, :length], expected[row, :length], atol=1e-5)


def test_frozen_or_tuned(presets):
    preset = presets["Bert"][0]
    tokenizer = keras_hub_tokenizer(preset, max_length=9)
    counts = []
    for trainable in (False, True):
        encoder = build_keras_hub_text(preset, tokenizer, trainable=trainable)
        encoder(tokenizer(tf.constant(["a dog"])))
        counts.append(len(encoder.trainable_weights))
        assert len(encoder.weights) > 10
    assert counts[0] == 0
    assert counts[1] > 10


def test_words_dropped_are_read_as_unknown(presets):
    preset = presets["Bert"][0]
    tokenizer = keras_hub_tokenizer(preset, max_length=9)
    encoder = build_keras_hub_text(preset, tokenizer, word_dropout=0.99)
    ids = tokenizer(tf.constant(["the dog running", "a red circle"])).numpy()
    encoder.build(ids.shape)
    (state,) = encoder.word_dropout.variables
    kept = state.numpy()
    left = encoder.word_dropout(ids, training=True).numpy()
    assert (left[:, 1] == 1).any()
    state.assign(kept)
    np.testing.assert_allclose(encoder(ids, training=True), encoder(left), atol=1e-5)
    assert type(encoder).from_config(encoder.get_config()).word_dropout_rate == 0.99


def test_a_retriever_learns_is_saved_and_exported(presets, tmp_path):
    preset = presets["Bert"][0]
    data = load_data("scenes:24")
    tokenizer = keras_hub_tokenizer(preset, max_length=14)
    model = build_retriever(
        "conv_small", tokenizer=tokenizer, text=f"keras_hub:{preset}", dim=8, image_size=32
    )
    loss = model.train_on_batch(*next(iter(model.batches(data["train"], 4))))
    assert np.isfinite(loss)
    texts = ["a red circle is left of a dog", "the small dog"]
    vectors = model.embed_texts(texts)
    model.save(tmp_path / "model.keras")
    again = load(tmp_path / "model.keras")
    np.testing.assert_allclose(again.embed_texts(texts), vectors, atol=1e-5)
    export_saved_model(model, tmp_path / "served")
    signature = tf.saved_model.load(str(tmp_path / "served")).signatures["embed_text"]
    [served] = signature(tf.constant(texts)).values()
    np.testing.assert_allclose(served, vectors, atol=1e-5)


@pytest.mark.slow
def test_by_command_it_brings_its_own_words(presets, tmp_path):
    preset = presets["DistilBert"][0]
    run = RetrievalRun(
        data="scenes:24", out=str(tmp_path / "run"), text=f"keras_hub:{preset}", epochs=1,
        backbone="conv_small", image_size=32, batch_size=4, dim=8, max_length=14,
    )  # fmt: skip
    model = train_retriever(run, verbose=0)
    assert "##ning" in model.tokenizer.vocabulary
    assert "[MASK]" not in model.tokenizer.vocabulary
    with pytest.raises(ValueError, match="text must be one of"):
        RetrievalRun(data="scenes:24", out=str(tmp_path / "other"), text="keras_hub")


def test_what_does_not_fit_is_refused(presets, tmp_path):
    preset = presets["Bert"][0]
    with pytest.raises(ValueError, match="the model's own, got one with the word 'cat'. Make it"):
        build_keras_hub_text(preset, Tokenizer(["dog", "cat"]))
    with pytest.raises(ValueError, match="the model's own"):
        build_retriever(
            "conv_small", tokenizer=Tokenizer(["cat"]), text=f"keras_hub:{preset}", image_size=32
        )
    other = tmp_path / "bytes"
    tokenizer = keras_hub.models.GPT2Tokenizer(
        vocabulary={"<|endoftext|>": 0, "a": 1, "aa": 2}, merges=["a a"]
    )
    keras_hub.models.GPT2Backbone(
        vocabulary_size=3, num_layers=1, num_heads=1, hidden_dim=4, intermediate_dim=4
    ).save_to_preset(str(other))
    tokenizer.save_to_preset(str(other))
    with pytest.raises(ValueError, match="must read WordPiece, .* got GPT2Tokenizer"):
        keras_hub_tokenizer(str(other))
