"""Text encoders: padding, order, both directions, precision, saving."""

import keras
import numpy as np
import pytest
from oracles import dense, random_token_ids

import tensorflow as tf  # isort: skip

from keras_vlm.text import (
    TEXT_ENCODERS,
    ConvolutionEncoder,
    GRUEncoder,
    LSTMEncoder,
    TransformerEncoder,
)
from keras_vlm.text.encoders import real_words

R, T, D, V = 3, 7, 8, 13
LENGTHS = [7, 4, 1]


def make(name, **options):
    keras.utils.set_random_seed(5)
    return TEXT_ENCODERS[name](hidden_dim=D, vocabulary_size=V, **options)


def ids():
    return random_token_ids((R, T), V, LENGTHS)


@pytest.mark.parametrize("name", TEXT_ENCODERS)
def test_padding_changes_no_real_word(name):
    encoder, token_ids = make(name), ids()
    words = encoder(token_ids)
    assert words.shape == (R, T, D)
    for row, length in enumerate(LENGTHS):
        short = make(name)
        short.build((1, T))
        short.set_weights(encoder.get_weights())
        # Fewer paddings, or with learned positions as many.
        size = T if name == "transformer" else length
        alone = short(token_ids[row : row + 1, :size])
        np.testing.assert_allclose(alone[0, :length], words[row, :length], atol=1e-5)
    # What a longer row holds after its words must not matter: the same words in another batch.
    np.testing.assert_array_equal(real_words(token_ids).numpy().sum(axis=1), LENGTHS)


@pytest.mark.parametrize("name", ["gru", "lstm"])
def test_a_recurrent_encoder_is_two_plain_ones(name):
    """Each direction by Keras's own layer, over the real words of one row alone."""
    encoder, token_ids = make(name), ids()
    words = encoder(token_ids).numpy()
    kind = {"gru": keras.layers.GRU, "lstm": keras.layers.LSTM}[name]
    for row, length in enumerate(LENGTHS):
        embedded = encoder.embedding(token_ids[row : row + 1, :length])
        read = []
        for reader, sequence in zip(
            encoder.readers, (embedded, embedded[:, ::-1]), strict=True
        ):
            plain = kind(D, return_sequences=True)
            plain.build(sequence.shape)
            plain.set_weights(reader.get_weights())
            read.append(plain(sequence).numpy())
        expected = read[0] + read[1][:, ::-1]
        np.testing.assert_allclose(words[row, :length], expected[0], atol=1e-5)


def test_convolutions_are_the_plain_formula():
    encoder, token_ids = make("cnn", kernel_sizes=(2, 3)), ids()
    words = encoder(token_ids).numpy()
    embedded = encoder.embedding(token_ids).numpy() * real_words(token_ids).numpy()[..., None]
    expected = embedded.copy()
    for layer, before in zip(encoder.convolutions, (0, 1), strict=True):
        kernel, bias = layer.get_weights()
        for t in range(T):
            around = [t - before + i for i in range(len(kernel))]
            seen = sum(embedded[:, p] @ kernel[i] for i, p in enumerate(around) if 0 <= p < T)
            expected[:, t] += np.maximum(seen + bias, 0)
    np.testing.assert_allclose(words, expected, atol=1e-5)
    other = make("cnn", kernel_sizes=(4,))
    assert ConvolutionEncoder.from_config(other.get_config()).kernel_sizes == (4,)


@pytest.mark.parametrize("name", TEXT_ENCODERS)
def test_who_sees_the_rest_of_the_sentence(name):
    encoder = make(name)
    first = np.array([[2, 5, 6, 7, 3, 0, 0]])
    second = np.array([[2, 5, 6, 8, 3, 0, 0]])
    changed = np.abs(encoder(first) - encoder(second)).max(axis=-1)[0, :5] > 1e-6
    near = {"bag": [False, False, False, True, False], "cnn": [False, False, True, True, True]}
    assert changed.tolist() == near.get(name, [True] * 5)
    if name in {"gru", "lstm"}:
        encoder = make(name, bidirectional=False)
        changed = np.abs(encoder(first) - encoder(second)).max(axis=-1)[0, :5] > 1e-6
        assert changed.tolist() == [False, False, False, True, True]


@pytest.mark.parametrize("name", TEXT_ENCODERS)
def test_gradients_reach_every_weight(name):
    encoder, token_ids = make(name, dropout=0.0), ids()
    encoder.build((R, T))
    with tf.GradientTape() as tape:
        real = tf.cast(real_words(token_ids), tf.float32)[..., None]
        loss = tf.reduce_sum(encoder(token_ids, training=True) ** 3 * real)
    for weight, gradient in zip(
        encoder.trainable_variables,
        tape.gradient(loss, [v.value for v in encoder.trainable_variables]),
        strict=True,
    ):
        assert np.isfinite(dense(gradient)).all()
        assert np.abs(dense(gradient)).max() > 0, weight.path


@pytest.mark.parametrize("name", TEXT_ENCODERS)
def test_mixed_precision_and_config(name):
    encoder = make(name, dtype=keras.DTypePolicy("mixed_bfloat16"))
    assert encoder(ids()).dtype == tf.bfloat16
    assert all(weight.dtype == "float32" for weight in encoder.weights)
    again = type(encoder).from_config(encoder.get_config())
    assert again.get_config() == encoder.get_config()


@pytest.mark.parametrize(
    ("make_it", "message"),
    [
        (lambda: GRUEncoder(hidden_dim=0), "GRUEncoder: hidden_dim must be a whole number >= 1"),
        (lambda: LSTMEncoder(dropout=1), "LSTMEncoder: dropout must be a number from 0 to 0.99"),
        (lambda: ConvolutionEncoder(kernel_sizes=(1,)), "kernel_sizes must be a whole number >= 2"),
        (lambda: ConvolutionEncoder(kernel_sizes=3), "must be a list of whole numbers, got 3"),
        (lambda: ConvolutionEncoder(kernel_sizes=()), "must be a list of whole numbers, got "),
        (lambda: TransformerEncoder(num_layers=0), "num_layers must be a whole number >= 1, got 0"),
        (lambda: TransformerEncoder(hidden_dim=10, num_heads=3), "must divide the width 10, got 3"),
    ],
)
def test_bad_options(make_it, message):
    with pytest.raises(ValueError, match=message):
        make_it()
