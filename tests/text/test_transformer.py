"""The Transformer decoder is the plain one, with each kind of normalisation and of positions."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from oracles import random_token_ids

from keras_vlm.decoding import GreedySearch
from keras_vlm.fusion import FUSIONS
from keras_vlm.tasks.generation import generate
from keras_vlm.text import Tokenizer, TransformerDecoder
from keras_vlm.text.places import POSITIONS, nearness, waves
from keras_vlm.text.transformer import NORMS

B, K, T, N, C, D, V, H = 2, 2, 7, 5, 11, 12, 13, 3


def plain_norm(x, layer):
    scale, offset = (np.asarray(weight) for weight in layer.weights)
    spread = x.var(axis=-1, keepdims=True) + layer.epsilon
    return scale * (x - x.mean(axis=-1, keepdims=True)) / np.sqrt(spread) + offset


def look_back(layer, x, biases):
    """Causal self-attention, one head and one word at a time."""
    queries, keys, values = np.split(np.asarray(layer.query_key_value(x)), 3, axis=-1)
    size, looked = D // H, np.zeros((T, D))
    for head in range(H):
        units = slice(head * size, (head + 1) * size)
        for t in range(T):
            scores = keys[: t + 1, units] @ queries[t, units] / size**0.5
            scores = scores + [biases[t - key, head] for key in range(t + 1)]
            weights = np.exp(scores) / np.exp(scores).sum()
            looked[t, units] = weights @ values[: t + 1, units]
    return np.asarray(layer.attention_dense(looked))


def plain_caption(decoder, tokens, ids):
    """Logits [T,V] of one caption, ids [T], on a picture's tokens [1,N,D]."""
    words = np.asarray(decoder.embedding.embeddings)[ids] * D**0.5
    biases = np.zeros((T, H))
    if decoder.positions_kind == "learned":
        words = words + np.asarray(decoder.positions)[:T]
    elif decoder.positions_kind == "sinusoidal":
        words = words + plain_waves(T, D)
    else:
        biases = np.asarray(decoder.positions)
    for layer in decoder.layers:
        parts = (
            (layer.self_norm, lambda x, layer=layer: look_back(layer, x, biases)),
            (layer.fusion_norm, lambda x, layer=layer: layer.fusion(x[None], tokens)[0][0]),
            (layer.think_norm, lambda x, layer=layer: layer.narrow(layer.widen(x))),
        )
        for norm, part in parts:
            if decoder.norm == "before":
                words = words + np.asarray(part(plain_norm(words, norm).astype("float32")))
            else:
                words = plain_norm(words + np.asarray(part(words.astype("float32"))), norm)
    if decoder.norm == "before":
        words = plain_norm(words, decoder.final_norm)
    matrix = decoder.embedding.embeddings if decoder.tie_words else decoder.output_words
    return words @ np.asarray(matrix).T + np.asarray(decoder.logit_bias)


def plain_waves(places, width):
    turn = [np.sin, np.cos]
    return np.array([
        [turn[unit % 2](place / 10000 ** (2 * (unit // 2) / width)) for unit in range(width)]
        for place in range(places)
    ])  # fmt: skip


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("norm", NORMS)
def test_a_transformer_is_the_plain_one(norm, positions):
    keras.utils.set_random_seed(0)
    decoder = TransformerDecoder(
        FUSIONS["attention"](),
        hidden_dim=D,
        num_heads=H,
        vocabulary_size=V,
        norm=norm,
        positions=positions,
        tie_words=norm == "after",
    )
    decoder.build((None, N, C), (None, None, T))
    for weight in decoder.trainable_variables:
        weight.assign_add(0.3 * keras.random.normal(weight.shape))
    features = np.random.default_rng(1).normal(size=(B, N, C)).astype("float32")
    ids = random_token_ids((B, K, T), V)
    _, tokens = decoder.project(features, None, False)
    expected = [
        [plain_caption(decoder, tokens[b : b + 1], ids[b, k]) for k in range(K)] for b in range(B)
    ]
    np.testing.assert_allclose(decoder(features, ids), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("width", [7, 12])
def test_waves_are_the_formula(width):
    np.testing.assert_allclose(waves(np.arange(31), width), plain_waves(31, width), atol=1e-5)


def test_nearness_is_by_distance():
    bias = np.random.default_rng(0).normal(size=(5, H)).astype("float32")
    found = nearness(tf.constant(bias), tf.range(T), tf.range(T)).numpy()
    for query in range(T):
        for key in range(query + 1):
            np.testing.assert_array_equal(found[query, key], bias[min(query - key, 4)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"norm": "pre"}, "TransformerDecoder: norm must be one of 'before', 'after', got 'pre'"),
        ({"positions": "rotary"}, "TransformerDecoder: positions must be one of .* got 'rotary'"),
    ],
)
def test_unknown_kinds(options, message):
    with pytest.raises(ValueError, match=message):
        TransformerDecoder(FUSIONS["concat"](), **options)


def test_one_caption_is_decoded_without_slow_products():
    """XLA on a CPU fuses a sum into a product of one row, which makes it slow."""
    decoder = TransformerDecoder(FUSIONS["attention"](), hidden_dim=D, vocabulary_size=V)
    decoder.build((None, N, C), (None, None, T))
    tokenizer = Tokenizer([f"w{i}" for i in range(V - 4)], max_length=T + 1)
    search = tf.function(
        lambda features: generate(decoder, tokenizer, features, GreedySearch()), jit_compile=True
    )
    compiled = search.experimental_get_compiler_ir(tf.ones((1, N, C)))(stage="optimized_hlo")
    assert "while(" in compiled
    assert "kind=kOutput" not in compiled
