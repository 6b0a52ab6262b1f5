"""Attention on attention: how much of what was seen answers what was asked.

Dimension letters: see the package's docstring.
"""

import keras
from keras import ops

from keras_vlm.fusion.multi_head import HeadFusion


@keras.saving.register_keras_serializable("keras_vlm")
class AttentionOnAttention(HeadFusion):
    """Multi-head attention whose outcome is compared with the query, and let through by a gate.

    Attention returns a mean of picture tokens even where none of them is related to the query. Here
    query and outcome together make an information vector and a gate, unit by unit; the context is
    ``sigmoid(gate) * information``.

    Args:
        **kwargs: as for ``HeadFusion``.

    Source:
        Huang et al. 2019, "Attention on Attention for Image Captioning",
        https://arxiv.org/abs/1908.06954. As in the authors' code, the heads have no output layer of
        their own. Here it is a fusion for any decoder; their model has it in its encoder as well.
    """

    def build_output(self, query_shape, memory_shape):
        """Builds the two halves of the dense layer over ``[query, seen]``."""
        units = 2 * memory_shape[-1]
        # Two layers, for the query may have one row where what was seen has many.
        self.word_dense = self.make_dense(units, "word", query_shape)
        self.seen_dense = self.make_dense(units, "seen", query_shape, use_bias=False)

    def attend(self, query, read_memory, memory_mask=None, training=None):
        """Returns context [B,T,C] and weights [B,T,N]."""
        _, scores = self.score(query, read_memory, memory_mask)
        seen, weights = self.gather(scores, read_memory, training)
        both = self.word_dense(query) + self.seen_dense(self.join_heads(seen))
        information, gate = ops.split(both, 2, axis=-1)
        return ops.sigmoid(gate) * information, weights
