"""Fewer tokens of many: those of a frame, or those of a place over time, become S.

Contract: ``layer(tokens [B,F,N,D]) -> [B,F,S,D]``. Refuses to know what F and N count. Dimension
letters: B batch, F groups, N tokens of a group, D their width, S tokens that are kept.
"""

import keras
from keras import ops

# Units a place, where the places of a frame are mixed.
NARROW = 32


@keras.saving.register_keras_serializable("keras_vlm")
class TokenMixing(keras.layers.Layer):
    """tokens [B,F,N,D] -> [B,F,S,D]: each of the S sees every place, and knows which.

    Args:
        num_tokens: S.
        **kwargs: ``name``, ``dtype`` of the layer.
    """

    def __init__(self, num_tokens, **kwargs):
        super().__init__(**kwargs)
        self.num_tokens = num_tokens

    def build(self, tokens_shape):
        """Builds a narrow layer for each place, and a wide one over all places."""
        _, frames, tokens, width = tokens_shape
        policy = self.dtype_policy
        self.narrow_dense = keras.layers.Dense(
            NARROW, activation="relu", name="narrow", dtype=policy
        )
        self.narrow_dense.build(tokens_shape)
        self.wide_dense = keras.layers.Dense(self.num_tokens * width, name="wide", dtype=policy)
        self.wide_dense.build((None, frames, tokens * NARROW))

    def call(self, tokens):
        """Returns tokens [B,F,S,D]."""
        _, frames, count, width = tokens.shape
        places = ops.reshape(self.narrow_dense(tokens), (-1, frames, count * NARROW))
        return ops.reshape(self.wide_dense(places), (-1, frames, self.num_tokens, width))

    def compute_output_shape(self, tokens_shape):
        """Returns [B,F,S,D]."""
        return (*tokens_shape[:2], self.num_tokens, tokens_shape[-1])

    def get_config(self):
        """Returns the constructor's arguments, for Keras's saving."""
        return {**super().get_config(), "num_tokens": self.num_tokens}


@keras.saving.register_keras_serializable("keras_vlm")
class TokenPooling(keras.layers.Layer):
    """tokens [B,F,N,D] -> [B,F,S,D]: S learned scores, each a softmax over the N tokens.

    Args:
        num_tokens: S.
        **kwargs: ``name``, ``dtype`` of the layer.
    """

    def __init__(self, num_tokens, **kwargs):
        super().__init__(**kwargs)
        self.num_tokens = num_tokens

    def build(self, tokens_shape):
        """Builds the scores and the values."""
        # Without a bias, which would move all scores alike and change no weight.
        self.score_dense = keras.layers.Dense(
            self.num_tokens, use_bias=False, name="score", dtype=self.dtype_policy
        )
        self.score_dense.build(tokens_shape)
        self.value_dense = keras.layers.Dense(
            tokens_shape[-1], name="value", dtype=self.dtype_policy
        )
        self.value_dense.build(tokens_shape)

    def call(self, tokens):
        """Returns the weighted means [B,F,S,D]."""
        weights = ops.softmax(self.score_dense(tokens), axis=2)
        return ops.einsum("bfns,bfnd->bfsd", weights, self.value_dense(tokens))

    def compute_output_shape(self, tokens_shape):
        """Returns [B,F,S,D]."""
        return (*tokens_shape[:2], self.num_tokens, tokens_shape[-1])

    def get_config(self):
        """Returns the constructor's arguments, for Keras's saving."""
        return {**super().get_config(), "num_tokens": self.num_tokens}
