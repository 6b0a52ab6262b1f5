"""The re-ranker: every fusion keeps the contracts; matches against NumPy; padding; bad input."""

import contracts
import keras
import numpy as np
import pytest
import tensorflow as tf
from oracles import scenes_captioner, scenes_reranker, scenes_retriever, tiny_encoder

from keras_vlm import Tokenizer, build_reranker, build_retriever, load, load_data
from keras_vlm.fusion import FUSIONS
from keras_vlm.losses import PAIR_LOSSES
from keras_vlm.tasks.match_head import MatchHead
from keras_vlm.text import BagOfWords
from keras_vlm.zoo import save_compact

CAPTIONS = 3


@pytest.fixture(scope="module")
def examples():
    return load_data("scenes:31")["train"]


@pytest.fixture(scope="module")
def retriever():
    return scenes_retriever("bag")


def small_batch(model, examples):
    batch = next(iter(model.batches(examples, 5, shuffle=False, captions_per_image=CAPTIONS)))
    return batch, batch[0]["images"].numpy()


@pytest.fixture(
    scope="module", params=contracts.few(FUSIONS, "attention", "adaptive", "additive", "concat")
)
def made(request, retriever, examples):
    """A model with a batch and pictures; tests that train it get a copy."""
    model = scenes_reranker(request.param, retriever)
    return model, *small_batch(model, examples)


@pytest.fixture(scope="module")
def model(retriever, examples):
    """One whose scores differ from pair to pair; never trained."""
    model = scenes_reranker("attention", retriever)
    for weight in model.match_head.trainable_variables:
        weight.assign_add(0.2 * keras.random.normal(weight.shape))
    return model


def copy_of(model):
    twin = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(model))
    twin.set_weights(model.get_weights())
    twin.compile("adam", model.loss)
    return twin


# Contracts


def test_is_functional_and_takes_cached_features(made):
    model, (inputs, real), _ = made
    assert set(model.input) == {"images", "token_ids"}
    assert {layer.name for layer in model.layers} >= {"encoder", "match_head"}
    assert (real.shape, real.dtype) == ((5, CAPTIONS), tf.bool)
    scores = model(inputs)
    assert (scores.shape, scores.dtype) == ((5, 5, CAPTIONS), tf.float32)
    cached = {
        "image_features": model.encoder(inputs["images"]),
        "token_ids": inputs["token_ids"],
    }
    np.testing.assert_allclose(model(cached), scores, atol=1e-5)


def test_gradients_reach_every_weight_that_learns(made):
    model, batch, _ = made
    assert not model.encoder.trainable_weights
    contracts.check_gradients(model, batch)


def test_its_configuration_is_the_whole_of_it(made):
    model, (inputs, _), _ = made
    np.testing.assert_allclose(copy_of(model)(inputs), model(inputs), atol=1e-6)


def test_saves(model, examples, tmp_path):
    batch, images = small_batch(model, examples)
    contracts.check_saves(copy_of(model), batch, images, tmp_path)


def test_all_pairs_are_the_pairs_one_by_one(made):
    """Two ways to the same scores: all at once, as in training; each encoded once, as in use."""
    model, (inputs, _), images = made
    pairs = [(i, j * CAPTIONS + k) for i in range(5) for j in range(5) for k in range(CAPTIONS)]
    decoded = model.tokenizer.detokenize(inputs["token_ids"]).numpy().reshape(-1)
    texts = [text.decode() for text in decoded]
    found = model.match(images, texts, pairs, batch_size=2)
    assert (found.shape, found.dtype) == ((75,), np.float32)
    np.testing.assert_allclose(found.reshape(5, 5, CAPTIONS), model(inputs), atol=1e-5)
    # One pair alone, and pairs in another order.
    alone = model.match(images[3], texts[7], [[0, 0]])
    np.testing.assert_allclose(alone, found[[3 * 15 + 7]], atol=1e-5)
    order = np.random.default_rng(0).permutation(75)
    shuffled = model.match(images, texts, np.array(pairs)[order])
    np.testing.assert_allclose(shuffled, found[order], atol=1e-5)


def test_a_step_under_xla(model, examples):
    contracts.check_fits_under_xla(model, small_batch(model, examples)[0])


@pytest.mark.parametrize("loss", contracts.few(PAIR_LOSSES, "triplet"))
def test_every_loss_learns_to_match(loss, retriever, examples):
    model = scenes_reranker("attention", retriever, loss=loss)
    model.optimizer.learning_rate = 1e-2
    batch = next(iter(model.batches(examples, 7, captions_per_image=2)))
    before = model.evaluate(*batch, verbose=0)
    model.fit(tf.data.Dataset.from_tensors(batch).repeat(60), verbose=0)
    assert model.evaluate(*batch, verbose=0) < 0.6 * before
    assert hasattr(model.match_head, "bias_weight") == (loss == "sigmoid")


# The match head


def value(layer):
    return [weight.numpy().astype(np.float64) for weight in layer.weights]


def normalized(tokens, layer):
    gamma, beta = value(layer)
    mean, variance = tokens.mean(-1, keepdims=True), tokens.var(-1, keepdims=True)
    return (tokens - mean) / np.sqrt(variance + layer.epsilon) * gamma + beta


def dense_of(tokens, layer):
    kernel, *bias = value(layer)
    return tokens @ kernel + (bias[0] if bias else 0)


def slow_match(head, features, token_ids):
    """One picture [N,C] with one sentence [T]: word by word, head by head."""
    memory = np.maximum(dense_of(normalized(features, head.memory_norm), head.memory_dense), 0)
    keys, values = np.split(dense_of(memory, head.fusion.key_value_dense), 2, axis=-1)
    table = head.text_encoder.embedding.embeddings.numpy().astype(np.float64)
    scores = []
    for word in token_ids:
        if word == 0:
            continue
        query = dense_of(normalized(table[word], head.word_norm), head.word_dense)
        asked = dense_of(query, head.fusion.query_dense)
        seen = []
        for part in np.split(np.arange(len(asked)), head.fusion.heads):
            weights = np.exp(keys[:, part] @ asked[part] / np.sqrt(len(part)))
            seen.append(weights / weights.sum() @ values[:, part])
        seen = dense_of(np.concatenate(seen), head.fusion.output_dense)
        # One dense layer over the word, what it saw, and their product.
        joined = np.concatenate([query, seen, query * seen])
        parts = (head.join_word, head.join_seen, head.join_product)
        kernel = np.concatenate([value(part)[0] for part in parts])
        hidden = np.maximum(joined @ kernel + value(head.join_word)[1], 0)
        scores.append((hidden @ value(head.score_dense)[0])[0])
    return np.mean(scores)


def test_equal_to_a_loop_over_pairs_and_words():
    keras.utils.set_random_seed(3)
    head = MatchHead(
        BagOfWords(hidden_dim=5, vocabulary_size=13),
        FUSIONS["attention"](2),
        hidden_dim=6,
        bias=-0.7,
    )
    random = np.random.default_rng(0)
    features = random.normal(size=(3, 7, 11)).astype(np.float32)
    token_ids = random.integers(1, 13, (3, 2, 5)) * (
        np.arange(5) < [[[3], [5]], [[1], [2]], [[4], [4]]]
    )
    head.build(features.shape, token_ids.shape)
    for weight in head.weights:
        weight.assign_add(0.3 * keras.random.normal(weight.shape))
    bias = head.bias_weight.numpy()
    expected = [
        [[bias + slow_match(head, picture, row) for row in rows] for rows in token_ids]
        for picture in features
    ]
    np.testing.assert_allclose(head(features, token_ids), expected, atol=1e-5)
    assert np.ptp(expected) > 0.1


def test_padding_changes_nothing(model, examples):
    (inputs, real), _ = small_batch(model, examples)
    features, token_ids = model.encoder(inputs["images"]), inputs["token_ids"]
    scores = model.match_head(features, token_ids)
    longer = tf.pad(token_ids, [[0, 0], [0, 0], [0, 4]])
    np.testing.assert_allclose(model.match_head(features, longer), scores, atol=1e-5)
    more = tf.pad(token_ids, [[0, 0], [0, 2], [0, 0]])
    padded = model.match_head(features, more)
    np.testing.assert_allclose(padded[..., :CAPTIONS], scores, atol=1e-5)
    assert np.isfinite(padded).all()
    real_too = tf.pad(real, [[0, 0], [0, 2]])
    np.testing.assert_allclose(model.loss(real_too, padded), model.loss(real, scores), rtol=1e-5)
    # Nor does what the embedding holds for padding.
    table = model.match_head.text_encoder.embedding.embeddings
    before = table.numpy()
    table.assign(np.where(np.arange(len(before))[:, None] == 0, 9.0, before))
    np.testing.assert_allclose(model.match_head(features, token_ids), scores, atol=1e-5)
    table.assign(before)


# Parts


def test_it_begins_with_what_the_retriever_has_and_leaves_that_alone(examples):
    retriever = scenes_retriever("gru")
    # A backbone that learns there is copied, frozen.
    assert retriever.encoder.trainable_weights
    before = [weight.copy() for weight in retriever.get_weights()]
    model = scenes_reranker("attention", retriever)
    for ours, theirs in (
        (model.encoder, retriever.encoder),
        (model.match_head.text_encoder, retriever.text_encoder),
    ):
        for one, two in zip(ours.get_weights(), theirs.get_weights(), strict=True):
            np.testing.assert_array_equal(one, two)
    model.fit(model.batches(examples, 9, captions_per_image=1), verbose=0)
    for old, new in zip(before, retriever.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    moved = zip(
        model.match_head.text_encoder.get_weights(),
        retriever.text_encoder.get_weights(),
        strict=True,
    )
    assert all((one != two).any() for one, two in moved)
    assert retriever.encoder.trainable_weights


def test_a_network_of_ones_own_is_frozen_too():
    tokenizer = Tokenizer(["a", "dog"], max_length=5)
    retriever = build_retriever(tiny_encoder(), tokenizer=tokenizer, text="bag", dim=4)
    model = build_reranker(retriever, hidden_dim=4)
    assert not model.encoder.trainable_weights
    assert retriever.encoder.trainable_weights
    images = np.random.default_rng(0).uniform(0, 255, (2, 16, 16, 3)).astype(np.float32)
    np.testing.assert_allclose(model.encoder(images), retriever.encoder(images), atol=1e-5)


def test_mixed_precision_ends_in_float32():
    tokenizer = Tokenizer(["a", "dog"], max_length=5)
    for precision in ("mixed_bfloat16", "mixed_float16"):
        retriever = build_retriever(
            "conv_small", tokenizer=tokenizer, text="bag", dim=8, image_size=16, precision=precision
        )
        model = build_reranker(retriever, hidden_dim=8)
        scaled = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
        assert scaled == (precision == "mixed_float16")
        assert model.match_head.compute_dtype == precision.removeprefix("mixed_")
        ids = tf.constant([[[2, 4, 5, 3]], [[2, 4, 3, 0]]])
        images = tf.random.uniform((2, 16, 16, 3), maxval=255.0)
        scores = model({"images": images, "token_ids": ids})
        found = model.match(images.numpy(), ["a dog", "a"], [[0, 0], [1, 1]])
        np.testing.assert_allclose(found, np.diag(scores[..., 0]), atol=0.02)
        assert scores.dtype == tf.float32


def test_compact_form_keeps_the_model(model, tmp_path, examples):
    save_compact(model, tmp_path / "mine")
    again = load(tmp_path / "mine")
    (inputs, _), _ = small_batch(model, examples)
    np.testing.assert_allclose(again(inputs), model(inputs), atol=0.02)


# Use


def test_a_picture_that_cannot_be_read_matches_nothing(model, examples):
    data = next(iter(examples.dataset()))["image_bytes"].numpy()
    found = model.match([data, b"no picture", data], ["a red circle"], [[0, 0], [1, 0], [2, 0]])
    assert found[1] == -np.inf
    assert found[0] == found[2] > -np.inf
    assert model.match([], [], []).shape == (0,)
    assert model.match([data], ["a"], []).shape == (0,)


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([[0, 1]], r"pairs must be of 1 pictures and 1 texts, got \[0, 1\]"),
        ([[0, 0], [-1, 0]], r"pairs must be of 1 pictures and 1 texts, got \[-1, 0\]"),
        ([0, 1], r"pairs must be \[P,2\], got the shape \(2,\)"),
    ],
)
def test_bad_pairs(model, pairs, message):
    with pytest.raises(ValueError, match=message):
        model.match(np.zeros((1, 32, 32, 3), np.float32), "a red circle", pairs)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"fusion": "atention"}, ValueError, "fusion must be one of .* Did you mean 'attention'"),
        ({"loss": "clip"}, ValueError, "loss must be one of 'contrastive', 'sigmoid', 'triplet'"),
        ({"hidden_dim": 0}, ValueError, "hidden_dim must be a whole number >= 1, got 0"),
        ({"dropout": 1}, ValueError, "dropout must be a number from 0 to 0.99, got 1"),
        ({"fusion": 3}, TypeError, "fusion must be a name or a Fusion, got 3"),
    ],
)
def test_bad_options(retriever, options, error, message):
    with pytest.raises(error, match=message):
        build_reranker(retriever, **options)


def test_only_a_retriever_can_begin_it():
    with pytest.raises(TypeError, match="retriever must be a Retriever, got Captioner. Make one"):
        build_reranker(scenes_captioner())
