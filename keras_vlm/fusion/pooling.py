"""Pooling: the tokens of a picture, or the words of a sentence, become one vector.

Contract: ``pooling(tokens [B,N,C], mask [B,N]) -> pooled [B,C], weights [B,N]``; each row of
weights sums to 1 over real tokens. Refuses to know what the tokens are. Dimension letters: B batch,
N tokens, C their width, H heads.
"""

import keras
from keras import ops

from keras_vlm.core.checks import check_number, resolve_heads

# Far below any score, and still finite in float16.
NEVER = -3e4


class Pooling(keras.layers.Layer):
    """Abstract: a subclass implements ``pool(tokens, mask)``."""

    def call(self, tokens, token_mask=None):
        """Pools tokens.

        Args:
            tokens: [B,N,C] float.
            token_mask: [B,N] bool, True for a real token, or None for all.

        Returns:
            ``(pooled [B,C], weights [B,N])``.
        """
        if token_mask is None:
            token_mask = ops.ones(ops.shape(tokens)[:2], dtype="bool")
        return self.pool(tokens, token_mask)

    def compute_output_shape(self, tokens_shape, token_mask_shape=None):
        """Returns the shapes of what was pooled and of the weights."""
        return (tokens_shape[0], tokens_shape[2]), tuple(tokens_shape[:2])

    def pool(self, tokens, mask):
        """Pools tokens [B,N,C] under mask [B,N]."""
        raise NotImplementedError

    def get_config(self):
        """Returns the constructor's arguments; without this Keras would refuse a dtype policy."""
        return super().get_config()


@keras.saving.register_keras_serializable("keras_vlm")
class MeanPooling(Pooling):
    """The mean of the real tokens."""

    def pool(self, tokens, mask):
        """Returns the mean and even weights."""
        real = ops.cast(mask, tokens.dtype)
        weights = real / ops.maximum(ops.sum(real, axis=1, keepdims=True), 1)
        return ops.einsum("bn,bnc->bc", weights, tokens), weights


@keras.saving.register_keras_serializable("keras_vlm")
class MaxPooling(Pooling):
    """The greatest value of each unit; a token's weight is the share of units it gave."""

    def pool(self, tokens, mask):
        """Returns the maximum and the shares."""
        tokens = ops.where(mask[..., None], tokens, ops.cast(NEVER, tokens.dtype))
        given = ops.one_hot(ops.argmax(tokens, axis=1), tokens.shape[1], dtype=tokens.dtype)
        return ops.max(tokens, axis=1), ops.mean(given, axis=1)


@keras.saving.register_keras_serializable("keras_vlm")
class AttentionPooling(Pooling):
    """Each head weighs the tokens by a learned score and takes the mean of its share of the units.

    Args:
        num_heads: heads H, each with C / H units, or None for heads of about 64 units.
        **kwargs: ``name``, ``dtype`` of the layer.

    Raises:
        ValueError: ``num_heads`` is out of range, or does not divide C.

    Source:
        Lin et al. 2017, "A Structured Self-attentive Sentence Embedding",
        https://arxiv.org/abs/1703.03130, whose heads each weigh all units.
    """

    def __init__(self, num_heads=None, **kwargs):
        super().__init__(**kwargs)
        if num_heads is not None:
            check_number("AttentionPooling", "num_heads", num_heads, minimum=1, integer=True)
        self.num_heads = num_heads

    def build(self, tokens_shape):
        """Builds the scores."""
        self.heads = resolve_heads("AttentionPooling", self.num_heads, tokens_shape[-1])
        # Without a bias, which would move all scores of a head alike and change no weight.
        self.score_dense = keras.layers.Dense(
            self.heads, use_bias=False, name="score", dtype=self.dtype_policy
        )
        self.score_dense.build(tokens_shape)

    def pool(self, tokens, mask):
        """Returns the heads' means side by side, and the mean of their weights."""
        scores = ops.where(mask[..., None], self.score_dense(tokens), NEVER)
        weights = ops.softmax(scores, axis=1)
        heads = (-1, tokens.shape[1], self.heads, tokens.shape[2] // self.heads)
        pooled = ops.einsum("bnh,bnhs->bhs", weights, ops.reshape(tokens, heads))
        return ops.reshape(pooled, (-1, tokens.shape[2])), ops.mean(weights, axis=-1)

    def get_config(self):
        """Returns the constructor's arguments, for Keras's saving."""
        return {**super().get_config(), "num_heads": self.num_heads}


POOLINGS = {"mean": MeanPooling, "max": MaxPooling, "attention": AttentionPooling}
