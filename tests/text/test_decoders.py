"""Text decoders: a step equals the whole sequence; packing changes nothing; nothing leaks back."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from oracles import dense, random_token_ids

from keras_vlm.fusion import FUSIONS
from keras_vlm.text import TEXT_DECODERS
from keras_vlm.text.places import POSITIONS
from keras_vlm.text.tokenizer import UNKNOWN_ID
from keras_vlm.text.transformer import NORMS

B, K, T, N, C, D, V = 3, 2, 7, 5, 11, 12, 13


def make(kind, fusion="attention", **options):
    keras.utils.set_random_seed(0)
    decoder = TEXT_DECODERS[kind](
        FUSIONS[fusion](), hidden_dim=D, vocabulary_size=V, **{"dropout": 0.3, **options}
    )
    decoder.build((None, N, C), (None, None, T))
    # Fresh biases are zero, and what is zero cannot be seen to be forgotten.
    for weight in decoder.trainable_variables:
        weight.assign_add(0.3 * keras.random.normal(weight.shape))
    features = tf.constant(np.random.default_rng(1).normal(size=(B, N, C)).astype(np.float32))
    return decoder, features


MADE = [
    *[(kind, fusion, {}) for kind in TEXT_DECODERS for fusion in FUSIONS],
    *[(kind, "additive", {"tie_words": False}) for kind in TEXT_DECODERS],
    *[
        ("transformer", "attention", {"norm": norm, "positions": positions})
        for norm in NORMS
        for positions in POSITIONS
    ],
]


@pytest.fixture(params=MADE, ids=str)
def made(request):
    kind, fusion, options = request.param
    return make(kind, fusion, **options)


@pytest.mark.parametrize("masked", [False, True])
def test_one_step_at_a_time_equals_the_teacher_forced_pass(made, masked):
    decoder, features = made
    ids = random_token_ids((B, K, T), V)
    mask = tf.constant(np.arange(N) < 3)[None] & tf.ones((B, 1), tf.bool) if masked else None
    whole = tf.nn.log_softmax(decoder(features, ids, mask), axis=-1).numpy()
    memory = decoder.read(features, mask)
    state = decoder.start(memory, K, T)
    for t in range(T):
        log_probs, state = decoder.step(tf.constant(ids[:, :, t].reshape(-1)), state, memory)
        np.testing.assert_allclose(log_probs.numpy().reshape(B, K, V), whole[:, :, t], atol=1e-5)


def test_masked_picture_tokens_do_not_matter(made):
    decoder, features = made
    ids = random_token_ids((B, K, T), V)
    mask = tf.constant(np.tile(np.arange(N) < 3, (B, 1)))
    other = tf.where(mask[..., None], features, 99.0)
    np.testing.assert_allclose(
        decoder(features, ids, mask), decoder(other, ids, mask), atol=1e-5
    )
    assert np.abs(decoder(features, ids) - decoder(other, ids)).max() > 1e-3


def test_packing_changes_neither_logits_nor_gradients(made):
    decoder, features = made
    lengths = np.random.default_rng(2).integers(1, T + 1, (B, K))
    real = np.arange(T) < lengths[..., None]
    ids = random_token_ids((B, K, T), V, lengths)
    results = []
    for run in (
        lambda: tf.boolean_mask(decoder(features, ids), real),
        lambda: decoder(features, ids, real_words=tf.constant(real)),
    ):
        with tf.GradientTape() as tape:
            logits = run()
            loss = tf.reduce_sum(tf.sin(logits))
        variables = [weight.value for weight in decoder.trainable_variables]
        results.append((logits.numpy(), [dense(g) for g in tape.gradient(loss, variables)]))
    _, weights = decoder.attend_real(features, ids, tf.constant(real))
    np.testing.assert_allclose(weights, decoder.attend(features, ids)[1][real], atol=1e-5)
    (plain, plain_gradients), (packed, packed_gradients) = results
    np.testing.assert_allclose(packed, plain, atol=1e-5)
    for ours, theirs in zip(packed_gradients, plain_gradients, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-5 * max(1, np.abs(theirs).max()))


def test_every_weight_has_a_finite_gradient_and_later_words_do_not_leak(made):
    decoder, features = made
    ids = random_token_ids((B, K, T), V)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(decoder(features, ids) ** 2)
    gradients = tape.gradient(loss, [weight.value for weight in decoder.trainable_variables])
    for weight, gradient in zip(decoder.trainable_variables, gradients, strict=True):
        assert gradient is not None, weight.path
        assert np.isfinite(dense(gradient)).all(), weight.path
    changed = ids.copy()
    changed[:, :, -1] = 5
    before, after = decoder(features, ids).numpy(), decoder(features, changed).numpy()
    np.testing.assert_array_equal(before[:, :, :-1], after[:, :, :-1])


@pytest.mark.parametrize("kind", TEXT_DECODERS)
def test_captions_of_a_picture_do_not_see_each_other(kind):
    decoder, features = make(kind)
    ids = random_token_ids((B, K, T), V)
    one_by_one = [decoder(features, ids[:, k : k + 1]).numpy() for k in range(K)]
    np.testing.assert_allclose(
        decoder(features, ids), np.concatenate(one_by_one, axis=1), atol=1e-5
    )


@pytest.mark.parametrize("kind", TEXT_DECODERS)
@pytest.mark.parametrize("layers", [1, 3])
def test_depth_and_saved_configuration(kind, layers):
    decoder, features = make(kind, num_layers=layers)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(decoder))
    if not again.built:
        again.build((None, N, C), (None, None, T))
    again.set_weights(decoder.get_weights())
    ids = random_token_ids((B, K, T), V)
    np.testing.assert_array_equal(again(features, ids), decoder(features, ids))


def test_saved_configuration_of_each_option(made):
    decoder, features = made
    config = decoder.get_config()
    again = type(decoder).from_config(config)
    again.build((None, N, C), (None, None, T))
    again.set_weights(decoder.get_weights())
    ids = random_token_ids((B, K, T), V)
    np.testing.assert_array_equal(again(features, ids), decoder(features, ids))


@pytest.mark.parametrize("kind", TEXT_DECODERS)
def test_old_configurations_are_what_they_were(kind):
    decoder, _ = make(kind)
    config = decoder.get_config()
    for name in ("word_dropout", "tie_words", "norm", "positions"):
        config.pop(name, None)
    assert type(decoder).from_config(config).get_config() == decoder.get_config()
    # No state, and no weights, beyond those that saved models have.
    assert decoder.word_dropout.variables == []
    names = [weight.name for weight in decoder._trainable_variables]
    assert names == ["logit_bias", "positions"][: 1 + (kind == "transformer")]


@pytest.mark.parametrize("kind", TEXT_DECODERS)
def test_words_are_written_by_a_matrix_of_their_own(kind):
    decoder, features = make(kind, tie_words=False)
    ids = random_token_ids((B, K, T), V)
    before = decoder(features, ids).numpy()
    decoder.output_words.assign_add(np.eye(V, D, dtype="float32"))
    after = decoder(features, ids).numpy()
    assert np.abs(after - before)[..., :D].max() > 1e-2
    # Nothing but the logits has changed, each by its own unit of the last hidden state.
    np.testing.assert_array_equal(after[..., D:], before[..., D:])
    decoder.output_words.assign(decoder.embedding.embeddings)
    decoder.tie_words = True
    tied = decoder(features, ids).numpy()
    decoder.tie_words = False
    np.testing.assert_array_equal(decoder(features, ids), tied)


@pytest.mark.parametrize("real", [False, True])
@pytest.mark.parametrize("kind", TEXT_DECODERS)
def test_word_dropout_feeds_unknown_words(kind, real):
    decoder, features = make(kind, word_dropout=0.5, memory_dropout=0.0, dropout=0.0)
    ids = random_token_ids((B, K, T), V)
    options = {"real_words": tf.ones(ids.shape, tf.bool)} if real else {}
    (state,) = decoder.word_dropout.variables
    kept = state.numpy()
    left = decoder.word_dropout(ids, training=True).numpy()
    assert 0 < (left == UNKNOWN_ID).mean() < 1
    state.assign(kept)
    found = decoder(features, ids, training=True, **options)
    np.testing.assert_allclose(found, decoder(features, left, **options), atol=1e-5)
    assert np.abs(found - decoder(features, ids, **options)).max() > 1e-3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"word_dropout": 1}, "word_dropout must be a number from 0 to 0.99, got 1"),
        ({"hidden_dim": 0}, "hidden_dim must be a whole number >= 1, got 0"),
        ({"dropout": 1.5}, "dropout must be a number from 0 to 0.99, got 1.5"),
        ({"num_layers": 2.5}, "num_layers must be a whole number >= 1, got 2.5"),
    ],
)
@pytest.mark.parametrize("kind", TEXT_DECODERS)
def test_errors(kind, options, message):
    with pytest.raises(ValueError, match=message):
        TEXT_DECODERS[kind](FUSIONS["concat"](), **options)


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="num_heads must divide the width 10, got 4"):
        TEXT_DECODERS["transformer"](FUSIONS["concat"](), hidden_dim=10, num_heads=4)
