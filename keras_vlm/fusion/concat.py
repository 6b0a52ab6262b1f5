"""No attention: every word gets the same picture vector.

Dimension letters: see the package's docstring.
"""

import keras
from keras import ops

from keras_vlm.fusion.base import Fusion


@keras.saving.register_keras_serializable("keras_vlm")
class ConcatFusion(Fusion):
    """Gives each word the mean of the picture's tokens, through a dense layer.

    Whoever owns the fusion joins the context to the words; this one only makes it the same for
    all of them, so it is what attention must beat.

    Source:
        Vinyals et al. 2015, "Show and Tell", https://arxiv.org/abs/1411.4555, and the "merge" model
        of Tanti et al. 2018, https://arxiv.org/abs/1703.09137.
    """

    def build(self, query_shape, memory_shape):
        """Builds the picture's dense layer."""
        self.picture_dense = keras.layers.Dense(
            memory_shape[-1], activation="relu", name="picture", dtype=self.dtype_policy
        )
        self.picture_dense.build(memory_shape)

    def read(self, memory):
        """Returns the memory as it is: the mean needs the mask."""
        return {"values": memory}

    def attend(self, query, read_memory, memory_mask=None, training=None):
        """Returns context [B,T,C], equal for all T, and even weights [B,T,N]."""
        memory = read_memory["values"]
        real = ops.ones_like(memory[..., 0])
        if memory_mask is not None:
            real = ops.cast(memory_mask, memory.dtype)
        weights = real / ops.maximum(ops.sum(real, axis=1, keepdims=True), 1)
        picture = self.picture_dense(ops.sum(memory * weights[..., None], axis=1, keepdims=True))
        same_for_all = ops.ones_like(query[..., :1])
        return picture * same_for_all, weights[:, None, :] * same_for_all
