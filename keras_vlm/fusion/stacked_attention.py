"""Stacked attention: look, take what was seen into the question, look again.

Dimension letters: see the package's docstring; G looks.
"""

import keras
from keras import ops

from keras_vlm.core.checks import check_number
from keras_vlm.fusion.base import Fusion
from keras_vlm.fusion.pooling import NEVER


@keras.saving.register_keras_serializable("keras_vlm")
class StackedAttention(Fusion):
    """Additive attention G times, each look asked by the question and all that was seen before.

    The weights returned are those of the last look.

    Args:
        num_looks: G.
        **kwargs: ``name``, ``dtype`` of the layer.

    Raises:
        ValueError: ``num_looks`` is out of range.

    Source:
        Yang et al. 2016, "Stacked Attention Networks for Image Question Answering",
        https://arxiv.org/abs/1511.02274, whose G is 2.
    """

    def __init__(self, num_looks=2, **kwargs):
        super().__init__(**kwargs)
        self.num_looks = check_number(
            "StackedAttention", "num_looks", num_looks, minimum=1, integer=True
        )

    def build(self, query_shape, memory_shape):
        """Builds the projections of each look."""
        width, policy = memory_shape[-1], self.dtype_policy
        asked_shape = (*query_shape[:-1], width)

        def dense(units, name, shape, **options):
            layer = keras.layers.Dense(units, name=name, dtype=policy, **options)
            layer.build(shape)
            return layer

        self.query_dense = dense(width, "query", query_shape)
        looks = range(self.num_looks)
        self.ask_denses = [dense(width, f"ask_{i}", asked_shape) for i in looks]
        self.key_denses = [
            dense(width, f"key_{i}", memory_shape, use_bias=False) for i in looks
        ]
        # Without a bias: the softmax would not see it.
        self.score_denses = [
            dense(1, f"score_{i}", asked_shape, use_bias=False) for i in looks
        ]

    def read(self, memory):
        """Returns the keys [B,N,C] of each look beside the memory."""
        return {"keys": [key(memory) for key in self.key_denses], "values": memory}

    def attend(self, query, read_memory, memory_mask=None, training=None):
        """Returns context [B,T,C], the question with all that was seen, and weights [B,T,N]."""
        asked, weights = self.query_dense(query), None
        for ask, score, keys in zip(
            self.ask_denses, self.score_denses, read_memory["keys"], strict=True
        ):
            hidden = ops.tanh(ask(asked)[:, :, None] + keys[:, None])
            scores = score(hidden)[..., 0]
            if memory_mask is not None:
                scores = ops.where(memory_mask[:, None], scores, NEVER)
            weights = ops.softmax(scores, axis=-1)
            asked = asked + ops.matmul(weights, read_memory["values"])
        return asked, weights

    def get_config(self):
        """Returns the constructor's arguments, for Keras's saving."""
        return {**super().get_config(), "num_looks": self.num_looks}
