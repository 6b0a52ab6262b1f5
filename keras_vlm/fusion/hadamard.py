"""The low-rank bilinear product: question and picture multiplied, unit by unit.

Dimension letters: see the package's docstring; G glimpses, R rank.
"""

import keras
from keras import ops

from keras_vlm.core.checks import check_number
from keras_vlm.fusion.base import Fusion
from keras_vlm.fusion.pooling import NEVER


@keras.saving.register_keras_serializable("keras_vlm")
class HadamardFusion(Fusion):
    """Products ``tanh(U query) * tanh(V picture)``: to choose where to look, then what to say.

    A bilinear form between two wide vectors has too many weights; a product of two projections of
    rank R is one of low rank. The weights returned are the mean over glimpses.

    Args:
        rank: R, or None for the query's width.
        num_glimpses: G, looks that are taken side by side.
        **kwargs: ``name``, ``dtype`` of the layer.

    Raises:
        ValueError: an option is out of range.

    Source:
        Kim et al. 2017, "Hadamard Product for Low-rank Bilinear Pooling",
        https://arxiv.org/abs/1610.04325.
    """

    def __init__(self, rank=None, num_glimpses=2, **kwargs):
        super().__init__(**kwargs)
        if rank is not None:
            check_number("HadamardFusion", "rank", rank, minimum=1, integer=True)
        self.rank = rank
        self.num_glimpses = check_number(
            "HadamardFusion", "num_glimpses", num_glimpses, minimum=1, integer=True
        )

    def build(self, query_shape, memory_shape):
        """Builds both products."""
        rank, policy = self.rank or query_shape[-1], self.dtype_policy
        glimpses, width = self.num_glimpses, memory_shape[-1]

        def dense(units, name, shape, **options):
            layer = keras.layers.Dense(units, name=name, dtype=policy, **options)
            layer.build(shape)
            return layer

        self.ask_dense = dense(rank, "ask", query_shape, activation="tanh")
        self.key_dense = dense(rank, "key", memory_shape, activation="tanh")
        # Without a bias: the softmax would not see it.
        self.score_dense = dense(glimpses, "score", (None, None, rank), use_bias=False)
        self.query_dense = dense(rank, "query", query_shape, activation="tanh")
        self.seen_dense = dense(rank, "seen", (None, None, glimpses * width), activation="tanh")
        self.output_dense = dense(width, "output", (None, None, rank))

    def read(self, memory):
        """Returns the keys [B,N,R] beside the memory."""
        return {"keys": self.key_dense(memory), "values": memory}

    def attend(self, query, read_memory, memory_mask=None, training=None):
        """Returns context [B,T,C] and weights [B,T,N]."""
        product = self.ask_dense(query)[:, :, None] * read_memory["keys"][:, None]
        scores = ops.transpose(self.score_dense(product), (0, 1, 3, 2))
        if memory_mask is not None:
            scores = ops.where(memory_mask[:, None, None], scores, NEVER)
        weights = ops.softmax(scores, axis=-1)
        seen = ops.einsum("btgn,bnc->btgc", weights, read_memory["values"])
        positions = query.shape[1] if query.shape[1] is not None else ops.shape(query)[1]
        seen = ops.reshape(seen, (-1, positions, self.num_glimpses * seen.shape[-1]))
        context = self.output_dense(self.query_dense(query) * self.seen_dense(seen))
        return context, ops.mean(weights, axis=2)

    def get_config(self):
        """Returns the constructor's arguments, for Keras's saving."""
        return {**super().get_config(), "rank": self.rank, "num_glimpses": self.num_glimpses}
