import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_vlm.losses import MaskedCrossEntropy

B, K, T, V = 2, 3, 5, 7


def example():
    random = np.random.default_rng(0)
    logits = random.normal(size=(B, K, T, V)).astype(np.float32) * 3
    targets = random.integers(1, V, (B, K, T)) * (random.random((B, K, T)) < 0.6)
    return logits, targets.astype(np.int32)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.4])
def test_value_and_gradient_are_those_of_keras(smoothing):
    logits, targets = example()
    real = targets != 0
    soft = np.eye(V)[targets[real]] * (1 - smoothing) + smoothing / V
    variable = tf.Variable(logits)
    with tf.GradientTape() as tape:
        ours = MaskedCrossEntropy(smoothing)(targets, variable)
    gradient = tape.gradient(ours, variable)
    with tf.GradientTape() as tape:
        rows = tf.boolean_mask(variable, real)
        theirs = tf.reduce_mean(
            keras.ops.categorical_crossentropy(soft.astype(np.float32), rows, from_logits=True)
        )
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    expected = tf.convert_to_tensor(tape.gradient(theirs, variable))
    np.testing.assert_allclose(gradient, expected, atol=1e-6)


def test_padding_counts_nothing_and_all_padding_is_zero():
    logits, targets = example()
    loss = MaskedCrossEntropy(0.1)
    changed = np.where((targets == 0)[..., None], 9.0, logits)
    np.testing.assert_allclose(loss(targets, logits), loss(targets, changed), rtol=1e-6)
    assert float(loss(np.zeros_like(targets), logits)) == 0.0


def test_packed_rows_give_the_same_loss():
    logits, targets = example()
    real = targets != 0
    loss = MaskedCrossEntropy(0.1)
    np.testing.assert_allclose(loss(targets, logits), loss(targets[real], logits[real]), rtol=1e-6)


def test_huge_logits_stay_finite():
    logits = np.array([[1e4, -1e4, 0.0]], np.float32)
    assert np.isfinite(float(MaskedCrossEntropy(0.1)(np.array([1]), logits)))


def test_smoothing_out_of_range():
    with pytest.raises(ValueError, match="label_smoothing must be a number from 0 to 0.999, got 1"):
        MaskedCrossEntropy(1)
