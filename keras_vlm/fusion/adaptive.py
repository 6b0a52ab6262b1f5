"""Adaptive attention: a word may look at what it knows already in place of the picture.

Dimension letters: see the package's docstring; S width of a head.
"""

import keras
from keras import ops

from keras_vlm.fusion.multi_head import HeadFusion


@keras.saving.register_keras_serializable("keras_vlm")
class AdaptiveFusion(HeadFusion):
    """Multi-head attention with one more token, the sentinel, which each word makes of its query.

    A word such as "of" need not look: what its heads give to the sentinel, they take from the
    picture. The sentinel is a gated projection of the query, ``sigmoid(U query) * tanh(V query)``,
    as wide as a picture token, and read by the same keys and values. The weights returned are those
    of the picture's tokens among themselves, without the sentinel's share, so that they sum to 1.

    Args:
        **kwargs: as for ``HeadFusion``; ``dropout`` never drops the sentinel.

    Source:
        Lu et al. 2017, "Knowing When to Look", https://arxiv.org/abs/1612.01887. Their sentinel is
        the LSTM's memory cell behind a gate of the last state and the new word; here both come from
        the query, all that a fusion knows, so that every decoder can have one. They look once, by
        an additive score with weights of the sentinel's own, and mix tokens and sentinel as they
        are; here each head has its own share for the sentinel, by a dot product.
    """

    def build_output(self, query_shape, memory_shape):
        """Builds the sentinel's projection and that of what was seen."""
        width = memory_shape[-1]
        self.sentinel_dense = self.make_dense(2 * width, "sentinel", query_shape)
        self.output_dense = self.make_dense(width, "output", query_shape)

    def make_sentinel(self, query):
        """Returns the sentinel [B,T,C] of each word."""
        gate, known = ops.split(self.sentinel_dense(query), 2, axis=-1)
        return ops.sigmoid(gate) * ops.tanh(known)

    def attend(self, query, read_memory, memory_mask=None, training=None):
        """Returns context [B,T,C] and weights [B,T,N], which the sentinel has no part in."""
        asked, scores = self.score(query, read_memory, memory_mask)
        seen, weights = self.gather(scores, read_memory, training)
        # [B,H,T,S]: a sentinel is its own word's alone, so that no score goes from word to word.
        key, value = (
            ops.transpose(part, (0, 2, 1, 3)) for part in self.project(self.make_sentinel(query))
        )
        # Its share in a softmax over N + 1 scores; the picture's tokens keep theirs of the rest.
        score = ops.sum(asked * key, axis=-1, keepdims=True)
        share = ops.sigmoid(score - ops.logsumexp(scores, axis=-1, keepdims=True))
        seen = seen + share * (value - seen)
        return self.output_dense(self.join_heads(seen)), weights
