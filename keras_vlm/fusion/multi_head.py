"""Multi-head attention over the picture's tokens, and what all fusions with heads share.

Dimension letters: see the package's docstring; S width of a head.
"""

import keras
from keras import ops

from keras_vlm.core.checks import check_number, resolve_heads
from keras_vlm.core.dense import Dense
from keras_vlm.fusion.base import Fusion


class HeadFusion(Fusion):
    """Abstract: scaled dot-product attention in several heads; what comes of it is the subclass's.

    ``keras.layers.MultiHeadAttention`` projects the picture anew at each call. Here ``read`` does
    it once, for all words of all captions of a picture, in training and in decoding alike.

    A subclass implements ``build_output`` and ``attend``, the latter by ``score``, ``gather`` and
    ``join_heads``.

    Args:
        num_heads: number of heads H, or None for heads of about 64 units.
        dropout: share of the weights dropped in training.
        **kwargs: ``name``, ``dtype`` of the layer.

    Raises:
        ValueError: an option is out of range, or the query's width is no multiple of ``num_heads``.
    """

    def __init__(self, num_heads=None, dropout=0.0, **kwargs):
        super().__init__(**kwargs)
        where = type(self).__name__
        if num_heads is not None:
            check_number(where, "num_heads", num_heads, minimum=1, integer=True)
        self.num_heads = num_heads
        self.dropout_rate = check_number(where, "dropout", dropout, minimum=0, maximum=0.99)

    def build(self, query_shape, memory_shape):
        """Builds the projections of query, keys and values, and the subclass's own layers."""
        width = query_shape[-1]
        self.heads = resolve_heads(type(self).__name__, self.num_heads, width)
        self.head_width = width // self.heads
        self.query_dense = self.make_dense(width, "query", query_shape)
        # Keys and values by one product: the picture's tokens are read from memory once.
        self.key_value_dense = self.make_dense(2 * width, "key_value", memory_shape)
        self.build_output(query_shape, memory_shape)
        self.dropout = keras.layers.Dropout(self.dropout_rate, dtype=self.dtype_policy)

    def make_dense(self, units, name, shape, **options):
        """Returns a built dense layer."""
        layer = Dense(units, name=name, dtype=self.dtype_policy, **options)
        layer.build(shape)
        return layer

    def read(self, memory):
        """Returns keys [B,H,S,N] and values [B,H,N,S]."""
        keys, values = self.project(memory)
        return {
            "keys": ops.transpose(keys, (0, 2, 3, 1)),
            "values": ops.transpose(values, (0, 2, 1, 3)),
        }

    def project(self, tokens):
        """Returns keys and values [B,N,H,S] of tokens [B,N,C]."""
        return [
            self.split_heads(part)
            for part in ops.split(self.key_value_dense(tokens), 2, axis=-1)
        ]

    def score(self, query, read_memory, memory_mask=None):
        """Returns what each head asks [B,H,T,S], and its scores of picture tokens [B,H,T,N]."""
        asked = self.split_heads(self.query_dense(query) * self.head_width**-0.5)
        asked = ops.transpose(asked, (0, 2, 1, 3))
        scores = ops.matmul(asked, read_memory["keys"])
        if memory_mask is not None:
            # Half of float16's range: far below any score, and still finite when added.
            scores = ops.where(memory_mask[:, None, None, :], scores, -3e4)
        return asked, scores

    def gather(self, scores, read_memory, training=None):
        """Returns what each head saw [B,H,T,S], and the mean of the heads' weights [B,T,N]."""
        weights = ops.softmax(scores, axis=-1)
        seen = ops.matmul(self.dropout(weights, training=training), read_memory["values"])
        return seen, ops.mean(weights, axis=1)

    def split_heads(self, vectors):
        """Returns vectors [B,T,D] as [B,T,H,S]."""
        positions = vectors.shape[1] if vectors.shape[1] is not None else ops.shape(vectors)[1]
        return ops.reshape(vectors, (-1, positions, self.heads, self.head_width))

    def join_heads(self, seen):
        """Returns what each head saw, [B,H,T,S], side by side: [B,T,D]."""
        positions = seen.shape[2] if seen.shape[2] is not None else ops.shape(seen)[2]
        width = self.heads * self.head_width
        return ops.reshape(ops.transpose(seen, (0, 2, 1, 3)), (-1, positions, width))

    def get_config(self):
        """Returns the constructor's arguments, for Keras's saving."""
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "dropout": self.dropout_rate,
        }


@keras.saving.register_keras_serializable("keras_vlm")
class MultiHeadFusion(HeadFusion):
    """What the heads saw, side by side, through a dense layer.

    Args:
        **kwargs: as for ``HeadFusion``.

    Source:
        Vaswani et al. 2017, https://arxiv.org/abs/1706.03762. The weights returned are the mean
        over heads.
    """

    def build_output(self, query_shape, memory_shape):
        """Builds the projection of what was seen."""
        self.output_dense = self.make_dense(memory_shape[-1], "output", query_shape)

    def attend(self, query, read_memory, memory_mask=None, training=None):
        """Returns context [B,T,C] and weights [B,T,N]."""
        _, scores = self.score(query, read_memory, memory_mask)
        seen, weights = self.gather(scores, read_memory, training)
        return self.output_dense(self.join_heads(seen)), weights
