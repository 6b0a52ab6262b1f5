"""A dense layer that is quick for a single row, which is what a step of decoding one caption has.

Refuses to know what the row is. Dimension letters: D width, U units.
"""

import math

import keras
from keras import ops


class Dense(keras.layers.Dense):
    """``keras.layers.Dense``, in a form that XLA on a CPU makes no slow product of.

    XLA fuses a sum into the product of one row and a matrix, which then takes up to twice as long.
    It fuses no difference. Rows that are not known to be one are added as Keras adds them.
    """

    def call(self, inputs, training=None):
        """Returns outputs [...,U] of inputs [...,D]."""
        if self.bias is None or not is_row(inputs):
            return super().call(inputs, training=training)
        outputs = add_bias(ops.matmul(inputs, self.kernel), self.bias)
        return outputs if self.activation is None else self.activation(outputs)


def add_bias(products, bias):
    """Adds bias [U] to what a matrix product gave [...,U], as ``Dense`` does it."""
    if not is_row(products):
        return ops.add(products, bias)
    return ops.subtract(products, ops.negative(bias))


def is_row(tensor):
    """Whether a tensor [...,D] is known to hold a single row."""
    rows = tensor.shape[:-1]
    return None not in rows and math.prod(rows) == 1
