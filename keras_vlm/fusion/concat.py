"""No attention: every word is joined to the same picture vector.

Dimension letters: see the package's docstring.
"""

import keras
from keras import ops

from keras_vlm.core.dense import Dense
from keras_vlm.fusion.base import Fusion


@keras.saving.register_keras_serializable("keras_vlm")
class ConcatFusion(Fusion):
    """Concatenates each word with the mean of the picture's tokens, before a dense layer.

    The dense layer over ``[word, picture]`` is kept as two, for the picture's half is the same for
    all words. Its weights over the grid are even: this is what attention must beat.

    Source:
        Vinyals et al. 2015, "Show and Tell", https://arxiv.org/abs/1411.4555, and the "merge" model
        of Tanti et al. 2018, https://arxiv.org/abs/1703.09137.
    """

    def build(self, query_shape, memory_shape):
        """Builds the two halves of the dense layer."""
        width, policy = memory_shape[-1], self.dtype_policy
        self.word_dense = Dense(width, name="word", dtype=policy)
        self.picture_dense = keras.layers.Dense(
            width, use_bias=False, name="picture", dtype=policy
        )
        self.word_dense.build(query_shape)
        self.picture_dense.build(memory_shape)

    def read(self, memory):
        """Returns the memory as it is: the mean needs the mask."""
        return {"values": memory}

    def attend(self, query, read_memory, memory_mask=None, training=None):
        """Returns context [B,T,C] and even weights [B,T,N]."""
        memory = read_memory["values"]
        real = ops.ones_like(memory[..., 0])
        if memory_mask is not None:
            real = ops.cast(memory_mask, memory.dtype)
        weights = real / ops.maximum(ops.sum(real, axis=1, keepdims=True), 1)
        mean = ops.sum(memory * weights[..., None], axis=1, keepdims=True)
        context = ops.relu(self.word_dense(query) + self.picture_dense(mean))
        return context, weights[:, None, :] * ops.ones_like(query[..., :1])
