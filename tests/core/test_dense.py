"""The dense layer of a single row: Keras's numbers, in a form that XLA does not fuse."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_vlm.core.dense import Dense


def pair(**options):
    layers = [kind(5, bias_initializer="normal", **options) for kind in (Dense, keras.layers.Dense)]
    for layer in layers:
        layer.build((None, 3))
        layer.set_weights(layers[0].get_weights())
    return layers


@pytest.mark.parametrize("shape", [(1, 3), (1, 1, 3), (2, 3), (1, 2, 3)])
@pytest.mark.parametrize(
    "options",
    [{}, {"activation": "tanh"}, {"use_bias": False}, {"dtype": "mixed_bfloat16"}],
    ids=str,
)
def test_numbers_are_those_of_keras(shape, options):
    ours, theirs = pair(**options)
    inputs = tf.constant(np.random.default_rng(0).normal(size=shape), ours.compute_dtype)
    found, expected = ours(inputs), theirs(inputs)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(
        *(keras.ops.convert_to_numpy(keras.ops.cast(x, "float32")) for x in (found, expected))
    )


def test_a_batch_of_unknown_size_is_no_row():
    ours, theirs = pair()
    run = tf.function(ours, input_signature=[tf.TensorSpec((None, 3))])
    np.testing.assert_array_equal(run(tf.ones((1, 3))), theirs(tf.ones((1, 3))))
    assert "Neg" not in {op.type for op in run.get_concrete_function().graph.get_operations()}


@pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="it is so on a CPU")
def test_xla_does_not_fuse_the_bias_into_the_product():
    """What XLA calls an output fusion is slow."""
    ours, theirs = (
        tf.function(layer, jit_compile=True).experimental_get_compiler_ir(tf.ones((1, 3)))(
            stage="optimized_hlo"
        )
        for layer in pair()
    )
    assert "kind=kOutput" not in ours
    assert "kind=kOutput" in theirs, "XLA does better now: Dense is needed no more"
