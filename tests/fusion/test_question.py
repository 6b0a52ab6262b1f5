"""Whole questions beside pictures: every way keeps the contract; what makes each way what it is."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_vlm.fusion import (
    QUESTION_FUSIONS,
    CoAttention,
    ConcatFusion,
    CrossAttention,
    PooledQuestion,
    QuestionFusion,
)

B, Q, T, N, D = 2, 3, 5, 7, 12


def inputs(seed=0):
    random = np.random.default_rng(seed)
    words = random.normal(size=(B, Q, T, D)).astype(np.float32)
    mask = np.arange(T) < np.array([[5, 3, 1], [2, 4, 5]])[..., None]
    memory = random.normal(size=(B, N, D)).astype(np.float32)
    return words, mask, memory


def build(fusion):
    fusion.build((None, None, T, D), (None, None, T), (None, N, D))
    for i, weight in enumerate(fusion.trainable_variables):
        weight.assign_add(0.3 * keras.random.normal(weight.shape, seed=i))
    return fusion


@pytest.fixture(scope="module", params=QUESTION_FUSIONS)
def fusion(request):
    return build(QUESTION_FUSIONS[request.param]())


def test_contract(fusion):
    words, mask, memory = inputs()
    joint, weights = fusion(words, mask, memory)
    assert (joint.shape, weights.shape) == ((B, Q, D), (B, Q, N))
    assert fusion.compute_output_shape(words.shape, mask.shape, memory.shape) == (
        (B, Q, D),
        (B, Q, N),
    )
    np.testing.assert_allclose(np.sum(weights, axis=-1), 1, atol=1e-5)
    again = type(fusion).from_config(fusion.get_config())
    build(again).set_weights(fusion.get_weights())
    np.testing.assert_array_equal(again(words, mask, memory)[0], joint)


def test_padding_changes_nothing(fusion):
    words, mask, memory = inputs()
    joint, weights = fusion(words, mask, memory)
    noise = np.where(mask[..., None], words, 9.0).astype(np.float32)
    changed, changed_weights = fusion(noise, mask, memory)
    np.testing.assert_allclose(changed, joint, atol=1e-4)
    np.testing.assert_allclose(changed_weights, weights, atol=1e-5)


def test_a_picture_s_padding_changes_nothing(fusion):
    """Such as regions that are not there; each picture has its own number of tokens."""
    words, mask, memory = inputs()
    real = np.arange(N) < np.array([[N], [4]])
    joint, weights = fusion(words, mask, memory, real)
    noise = np.where(real[..., None], memory, 9.0).astype(np.float32)
    np.testing.assert_allclose(fusion(words, mask, noise, real)[0], joint, atol=1e-4)
    np.testing.assert_allclose(weights[1, :, 4:], 0, atol=1e-6)
    np.testing.assert_allclose(np.sum(weights, axis=-1), 1, atol=1e-5)
    alone, _ = fusion(words[1:], mask[1:], memory[1:, :4])
    np.testing.assert_allclose(alone[0], joint[1], atol=1e-4)


def test_questions_are_apart_and_their_picture_is_their_own(fusion):
    """Three questions of two pictures are six of six."""
    words, mask, memory = inputs()
    joint, _ = fusion(words, mask, memory)
    for b in range(B):
        for q in range(Q):
            place = (slice(b, b + 1), slice(q, q + 1))
            alone, _ = fusion(words[place], mask[place], memory[b : b + 1])
            np.testing.assert_allclose(alone[0, 0], joint[b, q], atol=1e-4)


def test_both_sides_matter(fusion):
    words, mask, memory = inputs()
    joint, _ = fusion(words, mask, memory)
    for other in (fusion(words[::-1], mask, memory), fusion(words, mask, memory[::-1])):
        assert np.abs(np.asarray(other[0]) - joint).max() > 1e-2


def test_learns(fusion):
    """A target that depends on both sides: twelve steps of Adam bring it nearer."""
    words, mask, memory = inputs()
    twin = type(fusion).from_config(fusion.get_config())
    build(twin).set_weights(fusion.get_weights())
    optimizer = keras.optimizers.Adam(1e-2)
    target = np.random.default_rng(1).normal(size=(B, Q, D)).astype(np.float32)
    losses = []
    for _ in range(12):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((twin(words, mask, memory)[0] - target) ** 2)
        losses.append(float(loss))
        weights = twin.trainable_variables
        gradients = tape.gradient(loss, [weight.value for weight in weights])
        optimizer.apply_gradients(zip(gradients, weights, strict=True))
    assert losses[-1] < 0.9 * losses[0]


def test_xla(fusion):
    words, mask, memory = inputs()
    compiled = tf.function(lambda *args: fusion(*args)[0], jit_compile=True)
    np.testing.assert_allclose(
        compiled(words, mask, memory), fusion(words, mask, memory)[0], atol=1e-4
    )


def test_an_empty_question_is_finite(fusion):
    words, mask, memory = inputs()
    joint, _ = fusion(words, np.zeros_like(mask), memory)
    assert np.isfinite(joint).all()


def test_concat_sees_the_mean_of_the_picture_only():
    fusion = build(PooledQuestion(ConcatFusion()))
    words, mask, memory = inputs()
    turned = memory[:, ::-1].copy()
    np.testing.assert_allclose(
        fusion(words, mask, turned)[0], fusion(words, mask, memory)[0], atol=1e-5
    )


def block(parts, tokens, own_mask=None, guide=None, guide_mask=None):
    """One layer, written out."""
    normed = parts["self_norm"](tokens)
    tokens = tokens + parts["self"](normed, normed, memory_mask=own_mask)[0]
    if guide is not None:
        normed = parts["guide_norm"](tokens)
        tokens = tokens + parts["guide"](normed, guide, memory_mask=guide_mask)[0]
    return tokens + parts["narrow"](parts["widen"](parts["think_norm"](tokens)))


def test_co_attention_is_its_blocks_one_by_one():
    """The same layers called for one question, in the order of the paper's encoder-decoder."""
    fusion = build(CoAttention(num_layers=2, num_heads=3))
    words, mask, memory = inputs()
    joint, weights = fusion(words, mask, memory)
    b, q = 1, 0
    asked, real = words[b : b + 1, q], mask[b : b + 1, q]
    for parts in fusion.word_layers:
        asked = block(parts, asked, real)
    asked = fusion.word_norm(asked)
    picture = keras.ops.convert_to_tensor(memory[b : b + 1])
    for parts in fusion.picture_layers:
        picture = block(parts, picture, None, asked, real)
    seen, expected_weights = fusion.picture_pooling(fusion.picture_norm(picture))
    expected = fusion.joint_norm(fusion.word_pooling(asked, token_mask=real)[0] + seen)
    np.testing.assert_allclose(joint[b, q], expected[0], atol=1e-4)
    np.testing.assert_allclose(weights[b, q], expected_weights[0], atol=1e-5)


def test_cross_attention_is_its_blocks_one_by_one():
    fusion = build(CrossAttention(num_layers=2, num_heads=3))
    words, mask, memory = inputs()
    joint, weights = fusion(words, mask, memory)
    b, q = 1, 1
    asked, real = words[b : b + 1, q], mask[b : b + 1, q]
    picture = keras.ops.convert_to_tensor(memory[b : b + 1])
    for parts in fusion.picture_layers:
        picture = block(parts, picture)
    picture = fusion.picture_norm(picture)
    for parts in fusion.word_layers:
        own = asked + parts["self"](*[parts["self_norm"](asked)] * 2, memory_mask=real)[0]
        _, looked = parts["guide"](parts["guide_norm"](own), picture)
        asked = block(parts, asked, real, picture)
    pooled, share = fusion.word_pooling(fusion.word_norm(asked), token_mask=real)
    np.testing.assert_allclose(joint[b, q], fusion.joint_norm(pooled)[0], atol=1e-4)
    np.testing.assert_allclose(weights[b, q], np.matmul(share, looked)[0, 0], atol=1e-5)
    np.testing.assert_allclose(np.sum(weights, axis=-1), 1, atol=1e-5)
    # Words of padding look as well, and count for nothing.
    turned = np.where(mask[..., None], words, 7 - words)
    for ours, theirs in zip(fusion(turned, mask, memory), (joint, weights), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_bad_options():
    with pytest.raises(ValueError, match="num_layers must be a whole number >= 1, got 0"):
        CoAttention(num_layers=0)
    with pytest.raises(ValueError, match="dropout must be a number from 0 to 0.99, got 1"):
        CoAttention(dropout=1)
    with pytest.raises(ValueError, match="num_heads must divide the width 12, got 5"):
        build(CoAttention(num_heads=5))
    with pytest.raises(TypeError, match="fusion must be a Fusion, got 'concat'"):
        PooledQuestion("concat")
    assert issubclass(CoAttention, QuestionFusion)
