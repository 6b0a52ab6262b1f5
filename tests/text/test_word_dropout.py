"""Word dropout: what is replaced, by what, how often, and that it can be drawn again."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_vlm.text import TEXT_ENCODERS
from keras_vlm.text.tokenizer import END_ID, PAD_ID, START_ID, UNKNOWN_ID
from keras_vlm.text.word_dropout import WordDropout

R, T, D, V = 211, 13, 8, 17


def ids():
    """Rows of words between start and end, then padding."""
    words = np.random.default_rng(3).integers(4, V, (R, T))
    lengths = np.random.default_rng(4).integers(2, T, R)
    words[np.arange(T) > lengths[:, None]] = PAD_ID
    words[np.arange(R), lengths] = END_ID
    words[:, 0] = START_ID
    return words.astype("int32")


@pytest.mark.parametrize("rate", [0.3, 0.8])
def test_a_share_of_the_words_becomes_unknown_and_nothing_else_changes(rate):
    before = ids()
    after = np.asarray(WordDropout(rate, seed=5)(before, training=True))
    changed = after != before
    assert after.dtype == before.dtype
    assert (after[changed] == UNKNOWN_ID).all()
    words = before > END_ID
    assert not changed[~words].any()
    # Five standard deviations of a binomial share.
    spread = 5 * np.sqrt(rate * (1 - rate) / words.sum())
    assert changed[words].mean() == pytest.approx(rate, abs=spread)


def test_outside_training_and_at_zero_nothing_is_drawn():
    before = ids()
    np.testing.assert_array_equal(WordDropout(0.5)(before), before)
    none = WordDropout(0.0)
    np.testing.assert_array_equal(none(before, training=True), before)
    assert none.variables == []


def test_the_state_brings_the_same_words_back():
    layer, before = WordDropout(0.5, seed=5), ids()
    (state,) = layer.variables
    kept = state.numpy()
    first, second = (np.asarray(layer(before, training=True)) for _ in range(2))
    assert (first != second).any()
    state.assign(kept)
    np.testing.assert_array_equal(layer(before, training=True), first)
    again = WordDropout.from_config(layer.get_config())
    np.testing.assert_array_equal(again(before, training=True), first)


@pytest.mark.parametrize("name", TEXT_ENCODERS)
def test_an_encoder_reads_what_is_left(name):
    keras.utils.set_random_seed(5)
    encoder = TEXT_ENCODERS[name](
        hidden_dim=D, vocabulary_size=V, dropout=0.0, word_dropout=0.4
    )
    before = tf.constant(ids()[:5])
    encoder.build(before.shape)
    (state,) = encoder.word_dropout.variables
    # A model finds the state among its layers' variables, and a backup keeps it.
    assert any(state is variable for variable in encoder.variables)
    kept = state.numpy()
    left = encoder.word_dropout(before, training=True)
    state.assign(kept)
    found = encoder(before, training=True)
    np.testing.assert_allclose(found, encoder(left, training=False), atol=1e-6)
    assert np.abs(found - encoder(before, training=False)).max() > 1e-3
    again = type(encoder).from_config(encoder.get_config())
    assert again.word_dropout_rate == 0.4


def test_old_configurations_have_none():
    config = TEXT_ENCODERS["bag"](vocabulary_size=V).get_config()
    assert config.pop("word_dropout") == 0.0
    assert TEXT_ENCODERS["bag"].from_config(config).word_dropout_rate == 0.0


def test_a_rate_out_of_range():
    with pytest.raises(ValueError, match="WordDropout: rate must be a number from 0 to 0.99, got"):
        WordDropout(1.0)
    with pytest.raises(ValueError, match="GRUEncoder: word_dropout must be .* 0 to 0.99, got -0.1"):
        TEXT_ENCODERS["gru"](word_dropout=-0.1)
