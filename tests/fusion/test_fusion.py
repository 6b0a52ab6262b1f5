"""Fusion: the contract for each, and the arithmetic of each against a plain NumPy computation."""

import keras
import numpy as np
import pytest

from keras_vlm.fusion import (
    FUSIONS,
    AdditiveFusion,
    ConcatFusion,
    DotProductFusion,
    HadamardFusion,
    MultiHeadFusion,
    StackedAttention,
)

ALL = {**FUSIONS, "stacked_attention": StackedAttention, "hadamard": HadamardFusion}

B, T, N, C, D = 2, 3, 5, 7, 12


def inputs(seed=0):
    random = np.random.default_rng(seed)
    query = random.normal(size=(B, T, D)).astype(np.float32)
    memory = random.normal(size=(B, N, C)).astype(np.float32)
    mask = np.array([[True, True, True, False, False], [True] * 5])
    return query, memory, mask


def build(fusion):
    fusion.build((None, None, D), (None, N, C))
    for weight in fusion.trainable_variables:
        weight.assign(keras.random.normal(weight.shape, stddev=0.5, seed=len(weight.path)))
    return fusion


def softmax(scores, mask):
    scores = np.where(mask[:, None, :], scores, -np.inf)
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def apply(layer, value):
    kernel, *bias = layer.get_weights()
    return value @ kernel + (bias[0] if bias else 0)


@pytest.mark.parametrize("name", ALL)
def test_contract(name):
    fusion = build(ALL[name]())
    query, memory, mask = inputs()
    context, weights = fusion(query, memory, mask)
    assert context.shape == (B, T, C)
    assert weights.shape == (B, T, N)
    np.testing.assert_allclose(np.sum(weights, axis=-1), 1, atol=1e-5)
    np.testing.assert_allclose(np.asarray(weights)[0, :, 3:], 0, atol=1e-6)
    changed = np.where(mask[..., None], memory, 50.0).astype(np.float32)
    np.testing.assert_allclose(fusion(query, changed, mask)[0], context, atol=1e-4)
    split, _ = fusion.attend(query, fusion.read(keras.ops.convert_to_tensor(memory)), mask)
    np.testing.assert_allclose(split, context, atol=1e-6)
    again = type(fusion).from_config(fusion.get_config())
    build(again).set_weights(fusion.get_weights())
    np.testing.assert_array_equal(again(query, memory, mask)[0], context)


@pytest.mark.parametrize("name", FUSIONS)
def test_a_query_of_one_row_asks_all_pictures(name):
    fusion = build(FUSIONS[name]())
    query, memory, mask = inputs()
    read = fusion.read(keras.ops.convert_to_tensor(memory))
    one = fusion.attend(keras.ops.convert_to_tensor(query[:1]), read, mask)
    many = fusion.attend(keras.ops.convert_to_tensor(np.repeat(query[:1], B, axis=0)), read, mask)
    for ours, theirs in zip(one, many, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_additive_is_bahdanau():
    fusion = build(AdditiveFusion(units=11))
    query, memory, mask = inputs()
    asked, keys = apply(fusion.query_dense, query), apply(fusion.key_dense, memory)
    scores = np.tanh(asked[:, :, None] + keys[:, None]) @ fusion.attention.get_weights()[0]
    weights = softmax(scores, mask)
    context, found = fusion(query, memory, mask)
    np.testing.assert_allclose(found, weights, atol=1e-5)
    np.testing.assert_allclose(context, weights @ memory, atol=1e-5)


def test_dot_product_is_luong():
    fusion = build(DotProductFusion(units=11))
    query, memory, mask = inputs()
    asked, keys = apply(fusion.query_dense, query), apply(fusion.key_dense, memory)
    weights = softmax(asked @ keys.transpose(0, 2, 1) * fusion.attention.get_weights()[0], mask)
    context, found = fusion(query, memory, mask)
    np.testing.assert_allclose(found, weights, atol=1e-5)
    np.testing.assert_allclose(context, weights @ memory, atol=1e-5)


def test_multi_head_is_the_layer_of_keras():
    fusion = build(MultiHeadFusion(num_heads=3))
    query, memory, mask = inputs()
    reference = keras.layers.MultiHeadAttention(3, D // 3, output_shape=C)
    reference.build((B, T, D), (B, N, C))
    kernel, bias = fusion.key_value_dense.get_weights()
    head = (-1, 3, D // 3)
    asked, asked_bias = fusion.query_dense.get_weights()
    out, out_bias = fusion.output_dense.get_weights()
    reference.set_weights(
        [
            asked.reshape(head), asked_bias.reshape(3, -1),
            kernel[:, :D].reshape(head), bias[:D].reshape(3, -1),
            kernel[:, D:].reshape(head), bias[D:].reshape(3, -1),
            out.reshape(3, D // 3, C), out_bias,
        ]
    )  # fmt: skip
    expected, scores = reference(
        query, memory, attention_mask=mask[:, None, :], return_attention_scores=True
    )
    context, weights = fusion(query, memory, mask)
    np.testing.assert_allclose(context, expected, atol=1e-5)
    np.testing.assert_allclose(weights, np.mean(scores, axis=1), atol=1e-5)


def test_concat_is_a_dense_layer_over_word_and_mean_picture():
    fusion = build(ConcatFusion())
    query, memory, mask = inputs()
    mean = (memory * mask[..., None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
    joined = np.concatenate([query, np.repeat(mean[:, None], T, axis=1)], axis=-1)
    word, bias = fusion.word_dense.get_weights()
    kernel = np.concatenate([word, *fusion.picture_dense.get_weights()])
    np.testing.assert_allclose(
        fusion(query, memory, mask)[0], np.maximum(joined @ kernel + bias, 0), atol=1e-5
    )


def test_stacked_attention_is_yang():
    """Two looks, the second asked by the question and what the first one saw."""
    fusion = build(StackedAttention())
    query, memory, mask = inputs()
    asked = apply(fusion.query_dense, query)
    for i in range(2):
        keys = apply(fusion.key_denses[i], memory)
        hidden = np.tanh(apply(fusion.ask_denses[i], asked)[:, :, None] + keys[:, None])
        weights = softmax(apply(fusion.score_denses[i], hidden)[..., 0], mask)
        asked = asked + weights @ memory
    context, found = fusion(query, memory, mask)
    np.testing.assert_allclose(found, weights, atol=1e-5)
    np.testing.assert_allclose(context, asked, atol=1e-4)


def test_hadamard_is_kim():
    """One (batch, query, glimpse) at a time."""
    fusion = build(HadamardFusion(rank=11, num_glimpses=3))
    query, memory, mask = inputs()
    context, weights = fusion(query, memory, mask)
    for b in range(B):
        keys = np.tanh(apply(fusion.key_dense, memory[b]))
        for t in range(T):
            product = np.tanh(apply(fusion.ask_dense, query[b, t])) * keys
            scores = apply(fusion.score_dense, product)
            each = [softmax(scores[None, None, :, g], mask[b : b + 1])[0, 0] for g in range(3)]
            seen = np.concatenate([one @ memory[b] for one in each])
            asked = np.tanh(apply(fusion.query_dense, query[b, t]))
            expected = apply(fusion.output_dense, asked * np.tanh(apply(fusion.seen_dense, seen)))
            np.testing.assert_allclose(weights[b, t], np.mean(each, axis=0), atol=1e-5)
            np.testing.assert_allclose(context[b, t], expected, atol=1e-5)


def test_bad_options_of_the_ways_for_questions():
    with pytest.raises(ValueError, match="num_looks must be a whole number >= 1, got 0"):
        StackedAttention(0)
    with pytest.raises(ValueError, match="num_glimpses must be a whole number >= 1, got 0"):
        HadamardFusion(num_glimpses=0)
    with pytest.raises(ValueError, match="rank must be a whole number >= 1, got 0"):
        HadamardFusion(rank=0)


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="num_heads must divide the width 12, got 5"):
        build(MultiHeadFusion(num_heads=5))
    with pytest.raises(ValueError, match="num_heads must be a whole number >= 1, got 0"):
        MultiHeadFusion(num_heads=0)
