"""Fusion: the contract for each, and the arithmetic of each against a plain NumPy computation."""

import keras
import numpy as np
import pytest

from keras_vlm.fusion import (
    FUSIONS,
    AdaptiveFusion,
    AdditiveFusion,
    AttentionOnAttention,
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


@pytest.mark.parametrize("name", FUSIONS)
@pytest.mark.parametrize(("precision", "atol"), [("float16", 2e-2), ("bfloat16", 0.15)])
def test_half_precision(name, precision, atol):
    whole, half = build(FUSIONS[name]()), build(FUSIONS[name](dtype=f"mixed_{precision}"))
    half.set_weights(whole.get_weights())
    query, memory, mask = inputs()
    found = half(query, memory, mask)
    for ours, theirs in zip(found, whole(query, memory, mask), strict=True):
        assert ours.dtype == precision
        np.testing.assert_allclose(keras.ops.cast(ours, "float32"), theirs, atol=atol)


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


def heads_of(fusion, query, memory, heads):
    """What each head asks, and its keys and values of tokens, each [B,H,...,S]."""

    def split(vectors):
        return np.moveaxis(vectors.reshape(*vectors.shape[:-1], heads, D // heads), -2, 1)

    keys, values = np.split(apply(fusion.key_value_dense, memory), 2, axis=-1)
    asked = apply(fusion.query_dense, query) / np.sqrt(D // heads)
    return split(asked), split(keys), split(values)


def sigmoid(values):
    return 1 / (1 + np.exp(-values))


def test_adaptive_is_lu_in_every_head():
    """One (batch, query, head) at a time: a softmax over the real tokens and the sentinel."""
    fusion = build(AdaptiveFusion(num_heads=3))
    query, memory, mask = inputs()
    gate, known = np.split(apply(fusion.sentinel_dense, query), 2, axis=-1)
    sentinel = sigmoid(gate) * np.tanh(known)
    asked, keys, values = heads_of(fusion, query, memory, 3)
    _, own_keys, own_values = heads_of(fusion, query, sentinel, 3)
    context, weights = fusion(query, memory, mask)
    for b in range(B):
        real = mask[b]
        for t in range(T):
            seen, looks = [], []
            for h in range(3):
                candidates = np.concatenate([keys[b, h][real], own_keys[b, h, t : t + 1]])
                powers = np.exp(candidates @ asked[b, h, t])
                shares = powers / powers.sum()
                seen.append(shares[:-1] @ values[b, h][real] + shares[-1] * own_values[b, h, t])
                looks.append(shares[:-1] / (1 - shares[-1]))
            expected = apply(fusion.output_dense, np.concatenate(seen))
            np.testing.assert_allclose(context[b, t], expected, atol=1e-5)
            np.testing.assert_allclose(weights[b, t][real], np.mean(looks, axis=0), atol=1e-5)


def multi_head_of(fusion):
    """The multi-head attention with a fusion's own weights, as far as both have them."""
    twin = build(MultiHeadFusion(fusion.num_heads))
    for part in ("query_dense", "key_value_dense", "output_dense"):
        if hasattr(fusion, part):
            getattr(twin, part).set_weights(getattr(fusion, part).get_weights())
    return twin


def test_a_sentinel_is_one_more_token_of_the_picture():
    fusion = build(AdaptiveFusion(num_heads=2))
    query, memory, mask = inputs()
    context, weights = fusion(query, memory, mask)
    twin = multi_head_of(fusion)
    np.testing.assert_allclose(weights, twin(query, memory, mask)[1], atol=1e-5)
    sentinel = np.asarray(fusion.make_sentinel(keras.ops.convert_to_tensor(query)))
    for t in range(T):
        place = slice(t, t + 1)
        tokens = np.concatenate([memory, sentinel[:, place]], axis=1)
        real = np.pad(mask, [(0, 0), (0, 1)], constant_values=True)
        expected, _ = twin(query[:, place], tokens, real)
        np.testing.assert_allclose(context[:, place], expected, atol=1e-5)


@pytest.mark.parametrize("loud", [-40, 40])
def test_a_sentinel_that_no_head_or_every_head_chooses(loud):
    """Without it the word looks as in multi-head attention; with it alone, at no picture."""
    fusion = build(AdaptiveFusion(num_heads=3))
    query, memory, mask = inputs()
    # The last unit of a token is the sentinel's alone, and all that its keys are told apart by.
    memory[..., -1] = 0
    kernel, bias = fusion.sentinel_dense.get_weights()
    bias[[C - 1, 2 * C - 1]] = 90
    fusion.sentinel_dense.set_weights([kernel, bias])
    kernel, bias = fusion.query_dense.get_weights()
    fusion.query_dense.set_weights([kernel, bias + 10])
    kernel, bias = fusion.key_value_dense.get_weights()
    kernel[-1, :D] = loud
    fusion.key_value_dense.set_weights([kernel, bias])
    context, _ = fusion(query, memory, mask)
    looked, _ = multi_head_of(fusion)(query, memory, mask)
    other, _ = fusion(query, memory[::-1], mask)
    if loud < 0:
        np.testing.assert_allclose(context, looked, atol=1e-5)
        assert np.abs(np.subtract(context, other)).max() > 1e-2
    else:
        np.testing.assert_allclose(context, other, atol=1e-5)
        assert np.abs(np.subtract(context, looked)).max() > 1e-2


def test_attention_on_attention_is_huang():
    """Its dense layer over ``[query, seen]``, whole, and the heads one by one."""
    fusion = build(AttentionOnAttention(num_heads=3))
    query, memory, mask = inputs()
    asked, keys, values = heads_of(fusion, query, memory, 3)
    weights = [softmax(asked[:, h] @ keys[:, h].transpose(0, 2, 1), mask) for h in range(3)]
    seen = np.concatenate([weights[h] @ values[:, h] for h in range(3)], axis=-1)
    word, bias = fusion.word_dense.get_weights()
    kernel = np.concatenate([word, *fusion.seen_dense.get_weights()])
    both = np.concatenate([query, seen], axis=-1) @ kernel + bias
    context, found = fusion(query, memory, mask)
    np.testing.assert_allclose(found, np.mean(weights, axis=0), atol=1e-5)
    np.testing.assert_allclose(context, both[..., :C] * sigmoid(both[..., C:]), atol=1e-5)


@pytest.mark.parametrize(("gate", "passes"), [(200, 1), (-200, 0)])
def test_a_gate_that_is_open_or_shut(gate, passes):
    """Open, and with information of what was seen alone, it is multi-head attention."""
    fusion = build(AttentionOnAttention(num_heads=2))
    query, memory, mask = inputs()
    kernel, bias = fusion.word_dense.get_weights()
    kernel[:, :C] = 0
    bias[C:] = gate
    fusion.word_dense.set_weights([kernel, bias])
    twin = multi_head_of(fusion)
    twin.output_dense.set_weights([fusion.seen_dense.get_weights()[0][:, :C], bias[:C]])
    expected, looked = twin(query, memory, mask)
    context, weights = fusion(query, memory, mask)
    np.testing.assert_allclose(context, passes * expected, atol=1e-5)
    np.testing.assert_allclose(weights, looked, atol=1e-5)


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


@pytest.mark.parametrize("kind", [MultiHeadFusion, AdaptiveFusion, AttentionOnAttention])
def test_options_of_heads(kind):
    name = kind.__name__
    with pytest.raises(ValueError, match=f"{name}: num_heads must divide the width 12, got 5"):
        build(kind(num_heads=5))
    with pytest.raises(ValueError, match=f"{name}: num_heads must be a whole number >= 1, got 0"):
        kind(num_heads=0)
    with pytest.raises(ValueError, match=f"{name}: dropout must be a number from 0 to 0.99, got 1"):
        kind(dropout=1)
    again = kind.from_config(kind(num_heads=4, dropout=0.25).get_config())
    assert (again.num_heads, again.dropout_rate) == (4, 0.25)
    fusion = build(again)
    query, memory, mask = inputs()
    dropped, weights = fusion(query, memory, mask, training=True)
    expected, looked = fusion(query, memory, mask)
    assert np.abs(np.subtract(dropped, expected)).max() > 1e-2
    np.testing.assert_array_equal(weights, looked)
