"""The LSTM over rows of different lengths: its gradient in closed form is the automatic one."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_vlm.text.lstm import recur

R, D = 5, 3


def plain(projected, hidden, memory, recurrent, counts):
    """The same by ``keras.layers.LSTMCell``'s formula, row by row."""
    rows = [(hidden[row], memory[row]) for row in range(R)]
    outputs, place = [], 0
    for count in counts:
        for row in range(count):
            hidden, memory = rows[row]
            gates = projected[place] + tf.linalg.matvec(recurrent, hidden, transpose_a=True)
            enter, keep, candidate, leave = tf.split(gates, 4)
            memory = tf.sigmoid(keep) * memory + tf.sigmoid(enter) * tf.tanh(candidate)
            rows[row] = tf.sigmoid(leave) * tf.tanh(memory), memory
            outputs.append(rows[row][0])
            place += 1
    return tf.stack(outputs)


# All rows to the end; a row that never runs, and steps that none reaches; one row alone.
@pytest.mark.parametrize("counts", [[5, 5, 5], [4, 3, 3, 1, 0, 0], [1, 1]])
@pytest.mark.parametrize("compiled", [False, True])
def test_outputs_and_gradients(counts, compiled):
    draw = np.random.default_rng(0).normal
    inputs = [tf.constant(draw(size=size)) for size in
              ((sum(counts), 4 * D), (R, D), (R, D), (D, 4 * D))]  # fmt: skip
    upstream = tf.constant(draw(size=(sum(counts), D)))

    def gradients(run):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = run(*inputs)
        return outputs, tape.gradient(outputs, inputs, output_gradients=upstream)

    def ours(*parts):
        return recur(*parts, tf.constant(counts), len(counts))

    found, ours_gradients = gradients(tf.function(ours) if compiled else ours)
    expected, their_gradients = gradients(lambda *parts: plain(*parts, counts))
    np.testing.assert_allclose(found, expected, atol=1e-12)
    for one, other in zip(ours_gradients, their_gradients, strict=True):
        np.testing.assert_allclose(one, 0 if other is None else other, atol=1e-12)


def test_it_is_the_cell_of_keras():
    keras.utils.set_random_seed(0)
    layer = keras.layers.LSTM(D, return_sequences=True, bias_initializer="normal")
    words = keras.random.normal((R, 4, 2))
    expected = layer(words)
    cell = layer.cell
    projected = tf.matmul(words, cell.kernel) + cell.bias
    step_major = tf.reshape(tf.transpose(projected, [1, 0, 2]), [-1, 4 * D])
    zeros = tf.zeros((R, D))
    found = recur(
        step_major, zeros, zeros, tf.convert_to_tensor(cell.recurrent_kernel), tf.fill([4], R), 4
    )
    np.testing.assert_allclose(
        tf.transpose(tf.reshape(found, [4, R, D]), [1, 0, 2]), expected, atol=1e-6
    )
