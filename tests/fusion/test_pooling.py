"""Pooling: each way against a loop over real tokens; padding; weights; saving."""

import keras
import numpy as np
import pytest

from keras_vlm.fusion.pooling import POOLINGS, AttentionPooling

B, N, C = 3, 5, 8
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [0, 1, 0, 0, 0]], bool)


def tokens(seed=0):
    return np.random.default_rng(seed).normal(size=(B, N, C)).astype(np.float32)


def make(name):
    keras.utils.set_random_seed(3)
    layer = POOLINGS[name]() if name != "attention" else AttentionPooling(4)
    layer.build((B, N, C))
    return layer


def slow(name, layer, row):
    """Pools the real tokens [n,C] of one row."""
    if name == "mean":
        return row.mean(axis=0)
    if name == "max":
        return row.max(axis=0)
    [kernel] = layer.get_weights()
    scores = np.exp(row @ kernel)
    weights = scores / scores.sum(axis=0)
    size = C // layer.heads
    return np.concatenate(
        [weights[:, h] @ row[:, h * size : (h + 1) * size] for h in range(layer.heads)]
    )


@pytest.mark.parametrize("name", POOLINGS)
def test_equal_to_a_loop_over_real_tokens(name):
    layer, values = make(name), tokens()
    pooled, weights = layer(values, token_mask=MASK)
    for i in range(B):
        np.testing.assert_allclose(pooled[i], slow(name, layer, values[i, MASK[i]]), atol=1e-5)
    np.testing.assert_allclose(np.sum(weights, axis=1), 1, atol=1e-5)
    assert (np.asarray(weights)[~MASK] == 0).all()
    whole, _ = layer(values)
    np.testing.assert_allclose(whole[0], pooled[0], atol=1e-6)


@pytest.mark.parametrize("name", POOLINGS)
def test_padding_changes_nothing(name):
    layer, values = make(name), tokens()
    changed = np.where(MASK[..., None], values, 77.0).astype(np.float32)
    np.testing.assert_allclose(
        layer(changed, token_mask=MASK)[0], layer(values, token_mask=MASK)[0], atol=1e-6
    )


@pytest.mark.parametrize("name", POOLINGS)
def test_shapes_are_told_and_the_options_are_kept(name):
    layer = make(name)
    pooled, weights = layer(keras.Input((N, C)))
    assert (pooled.shape, weights.shape) == ((None, C), (None, N))
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="num_heads must divide the width 8, got 3"):
        AttentionPooling(3).build((B, N, C))
    with pytest.raises(ValueError, match="num_heads must be a whole number >= 1, got 0"):
        AttentionPooling(0)
