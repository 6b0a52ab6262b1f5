"""Multi-head attention over the picture's tokens.

Dimension letters: see the package's docstring; S width of a head.
"""

import keras
from keras import ops

from keras_vlm.core.checks import check_number, resolve_heads
from keras_vlm.fusion.base import Fusion


@keras.saving.register_keras_serializable("keras_vlm")
class MultiHeadFusion(Fusion):
    """Scaled dot-product attention in several heads at once.

    ``keras.layers.MultiHeadAttention`` projects the picture anew at each call. Here ``read`` does
    it once, for all words of all captions of a picture, in training and in decoding alike.

    Args:
        num_heads: number of heads H, or None for heads of about 64 units.
        dropout: share of the weights dropped in training.
        **kwargs: ``name``, ``dtype`` of the layer.

    Raises:
        ValueError: an option is out of range, or the query's width is no multiple of ``num_heads``.

    Source:
        Vaswani et al. 2017, https://arxiv.org/abs/1706.03762. The weights returned are the mean
        over heads.
    """

    def __init__(self, num_heads=None, dropout=0.0, **kwargs):
        super().__init__(**kwargs)
        where = "MultiHeadFusion"
        if num_heads is not None:
            check_number(where, "num_heads", num_heads, minimum=1, integer=True)
        self.num_heads = num_heads
        self.dropout_rate = check_number(where, "dropout", dropout, minimum=0, maximum=0.99)

    def build(self, query_shape, memory_shape):
        """Builds the projections of query, keys, values and output."""
        width = query_shape[-1]
        self.heads = resolve_heads("MultiHeadFusion", self.num_heads, width)
        self.head_width = width // self.heads
        self.query_dense = keras.layers.Dense(width, name="query", dtype=self.dtype_policy)
        # Keys and values by one product: the picture's tokens are read from memory once.
        self.key_value_dense = keras.layers.Dense(
            2 * width, name="key_value", dtype=self.dtype_policy
        )
        self.output_dense = keras.layers.Dense(
            memory_shape[-1], name="output", dtype=self.dtype_policy
        )
        self.dropout = keras.layers.Dropout(self.dropout_rate, dtype=self.dtype_policy)
        self.query_dense.build(query_shape)
        self.key_value_dense.build(memory_shape)
        self.output_dense.build(query_shape)

    def read(self, memory):
        """Returns keys [B,H,S,N] and values [B,H,N,S]."""
        keys, values = ops.split(self.key_value_dense(memory), 2, axis=-1)
        heads = (-1, memory.shape[1], self.heads, self.head_width)
        return {
            "keys": ops.transpose(ops.reshape(keys, heads), (0, 2, 3, 1)),
            "values": ops.transpose(ops.reshape(values, heads), (0, 2, 1, 3)),
        }

    def attend(self, query, read_memory, memory_mask=None, training=None):
        """Returns context [B,T,C] and weights [B,T,N]."""
        positions = query.shape[1] if query.shape[1] is not None else ops.shape(query)[1]
        scaled = self.query_dense(query) * self.head_width**-0.5
        scaled = ops.reshape(scaled, (-1, positions, self.heads, self.head_width))
        scores = ops.matmul(ops.transpose(scaled, (0, 2, 1, 3)), read_memory["keys"])
        if memory_mask is not None:
            # Half of float16's range: far below any score, and still finite when added.
            scores = ops.where(memory_mask[:, None, None, :], scores, -3e4)
        weights = ops.softmax(scores, axis=-1)
        context = ops.matmul(self.dropout(weights, training=training), read_memory["values"])
        context = ops.reshape(
            ops.transpose(context, (0, 2, 1, 3)), (-1, positions, query.shape[-1])
        )
        return self.output_dense(context), ops.mean(weights, axis=1)

    def get_config(self):
        """Returns the constructor's arguments, for Keras's saving."""
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "dropout": self.dropout_rate,
        }
