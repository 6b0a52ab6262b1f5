"""A dense layer that is quick for a single row, which is what a step of decoding one caption has.

Dimension letters: D width, U units.
"""

import math

import keras
from keras import ops


class Dense(keras.layers.Dense):
    """``keras.layers.Dense``, whose bias XLA on a CPU cannot fuse into the product of one row.

    Fused, such a product of a row and a matrix takes two to four times as long.
    """

    def call(self, inputs, training=None):
        """Returns outputs [...,U] of inputs [...,D]; the same numbers as Keras's layer."""
        if self.bias is None or not is_row(inputs):
            return super().call(inputs, training=training)
        outputs = add_bias(ops.matmul(inputs, self.kernel), self.bias)
        return outputs if self.activation is None else self.activation(outputs)


def add_bias(products, bias):
    """Adds bias [U] to what a matrix product gave [...,U], as ``Dense`` does it."""
    return products - (-bias) if is_row(products) else products + bias


def is_row(tensor):
    """Whether a tensor [...,D] is known to hold a single row."""
    rows = tensor.shape[:-1]
    return None not in rows and math.prod(rows) == 1
