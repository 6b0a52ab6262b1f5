"""The parts of a two-tower model: what ends a tower, and what compares the ends.

Refuses to know backbones, tokenizers and losses. Dimension letters: B batch, N picture tokens or
words, C their width, K captions a picture, T text positions, E width of the common space, H heads.
"""

import keras
import numpy as np
from keras import ops

from keras_vlm.core.checks import check_number, resolve
from keras_vlm.core.serialization import serialize_unbuilt
from keras_vlm.fusion.pooling import POOLINGS, Pooling
from keras_vlm.text.decoder import real_tokens
from keras_vlm.text.encoders import real_words

# A learned scale grows without end where a batch is solved; CLIP's bound.
MOST_SCALE = 100.0


@keras.saving.register_keras_serializable("keras_vlm")
class Tower(keras.layers.Layer):
    """The end of a tower: tokens [B,N,C], mask [B,N] -> unit vectors [B,E] float32.

    Args:
        dim: width E.
        pooling: ``"mean"``, ``"max"``, ``"attention"`` or a ``Pooling``.
        hidden_dim: width of a layer before the last one, or None for none.
        dropout: share of the tokens' units dropped in training.
        heads: H models in one, which differ by chance and see better together than any of them:
            each gives E / H units, of one length, and a loss has a cost for each. Attention pooling
            weighs the tokens by all of them, the other poolings keep them apart.
        split: whether each head looks at its own share of the tokens' units (``ParallelEncoders``
            gives such tokens), or all look at all.
        **kwargs: ``name``, ``dtype`` of the layer.

    Raises:
        ValueError: an option is unknown or out of range, H does not divide E or, split, C, or there
            are both ``split`` and ``hidden_dim``.
        TypeError: ``pooling`` is neither a name nor a ``Pooling``.

    Source:
        Lee et al. 2015, "Why M Heads are Better than One", https://arxiv.org/abs/1511.06314, for
        the heads.
    """

    def __init__(
        self,
        dim,
        *,
        pooling="mean",
        hidden_dim=None,
        dropout=0.2,
        heads=1,
        split=False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.dim = check_number("Tower", "dim", dim, minimum=1, integer=True)
        self.heads = check_number("Tower", "heads", heads, minimum=1, integer=True)
        if dim % heads:
            raise ValueError(f"Tower: heads must divide dim, got {heads} and {dim}.")
        self.split = bool(split)
        if hidden_dim is not None:
            check_number("Tower", "hidden_dim", hidden_dim, minimum=1, integer=True)
            if split:
                raise ValueError(
                    f"Tower: hidden_dim must be None with split, got {hidden_dim}. A hidden layer "
                    "would mix the heads."
                )
        self.hidden_dim = hidden_dim
        self.dropout_rate = check_number("Tower", "dropout", dropout, minimum=0, maximum=0.99)
        policy = self.dtype_policy
        makers = {n: (lambda kind=kind: kind(dtype=policy)) for n, kind in POOLINGS.items()}
        self.pooling = resolve("Tower", "pooling", pooling, makers, Pooling)

    def build(self, tokens_shape, token_mask_shape=None):
        """Builds the layers.

        Raises:
            ValueError: heads do not divide the width that they split.
        """
        policy, (*leading, width) = self.dtype_policy, tokens_shape
        if self.split and width % self.heads:
            raise ValueError(
                f"Tower: heads must divide the tokens' width, got {self.heads} and {width}."
            )
        if self.split:
            leading, width = (*leading, self.heads), width // self.heads
        self.norm = keras.layers.LayerNormalization(name="norm", dtype=policy)
        self.norm.build((*leading, width))
        if self.heads > 1 and not self.split:
            leading = (*leading, self.heads)
        self.dropout = keras.layers.Dropout(self.dropout_rate, dtype=policy)
        if self.hidden_dim:
            self.hidden = keras.layers.Dense(
                self.hidden_dim, activation="relu", name="hidden", dtype=policy
            )
            self.hidden.build((*leading, width))
        if self.heads > 1:
            self.dense = keras.layers.EinsumDense(
                "bnhc,hce->bnhe",
                (None, self.heads, self.dim // self.heads),
                bias_axes="he",
                name="project",
                dtype=policy,
            )
        else:
            self.dense = keras.layers.Dense(self.dim, name="project", dtype=policy)
        self.dense.build((*leading, self.hidden_dim or width))
        self.pooling.build((*tokens_shape[:-1], self.dim))

    def call(self, tokens, token_mask=None, training=None):
        """Returns unit vectors [B,E]."""
        if self.split:
            tokens = split_heads(tokens, self.heads)
        tokens = self.norm(tokens)
        if self.heads > 1 and not self.split:
            # What all look at, each with a dropout of its own: it makes them differ.
            tokens = ops.repeat(tokens[:, :, None], self.heads, axis=2)
        tokens = self.dropout(tokens, training=training)
        if self.hidden_dim:
            tokens = self.dropout(self.hidden(tokens), training=training)
        tokens = self.dense(tokens)
        if self.heads > 1:
            tokens = ops.reshape(tokens, (-1, tokens.shape[1], self.dim))
        pooled, _ = self.pooling(tokens, token_mask=token_mask)
        heads = split_heads(ops.cast(pooled, "float32"), self.heads)
        return ops.reshape(to_unit(heads) * self.heads**-0.5, (-1, self.dim))

    def compute_output_spec(self, tokens, token_mask=None, training=None):
        """Returns the shape and the type of the vectors."""
        return keras.KerasTensor((tokens.shape[0], self.dim), dtype="float32")

    def get_config(self):
        """Returns the constructor's arguments, for Keras's saving."""
        return {
            **super().get_config(),
            "dim": self.dim,
            "pooling": serialize_unbuilt(self.pooling),
            "hidden_dim": self.hidden_dim,
            "dropout": self.dropout_rate,
            "heads": self.heads,
            "split": self.split,
        }

    @classmethod
    def from_config(cls, config):
        """Makes the tower that ``get_config`` described."""
        pooling = keras.saving.deserialize_keras_object(config.pop("pooling"))
        return cls(**config, pooling=pooling)


@keras.saving.register_keras_serializable("keras_vlm")
class RealTokens(keras.layers.Layer):
    """image_features [B,N,C] -> [B,N] bool: False for a token of zeros, which is none."""

    def call(self, image_features):
        """Returns which tokens are real."""
        return real_tokens(image_features)

    def compute_output_spec(self, image_features):
        """Returns the shape and the type of the mask."""
        return keras.KerasTensor(image_features.shape[:2], dtype="bool")


def to_unit(vectors):
    """Brings vectors [...,E] to unit norm; zeros stay zeros, and their gradient is finite.

    ``ops.normalize`` gives NaN as the gradient of zeros under XLA, and padding pools to zeros.
    """
    squares = ops.sum(ops.square(vectors), axis=-1, keepdims=True)
    return vectors * ops.rsqrt(ops.maximum(squares, 1e-12))


def split_heads(vectors, heads):
    """Turns vectors [...,E] into [...,H,E/H], the part of each of H heads."""
    width = vectors.shape[-1] // heads
    middle = [size or ops.shape(vectors)[i] for i, size in enumerate(vectors.shape[1:-1], 1)]
    return ops.reshape(vectors, (-1, *middle, heads, width))


class AtMost(keras.constraints.Constraint):
    """Keeps a weight below a bound after each step, so that it can always come down again.

    Args:
        bound: the bound.
    """

    def __init__(self, bound):
        self.bound = bound

    def __call__(self, weight):
        """Returns the weight, cut off at the bound."""
        return ops.minimum(weight, self.bound)


@keras.saving.register_keras_serializable("keras_vlm")
class CaptionVectors(keras.layers.Layer):
    """The text tower: token_ids [B,K,T] -> unit vectors [B,K,E].

    Args:
        text_encoder: a ``TextEncoder``.
        text_tower: a ``Tower``.
        **kwargs: ``name``, ``dtype`` of the layer.
    """

    def __init__(self, text_encoder, text_tower, **kwargs):
        super().__init__(**kwargs)
        self.text_encoder = text_encoder
        self.text_tower = text_tower

    def build(self, token_ids_shape):
        """Builds both parts."""
        row_shape = (None, token_ids_shape[-1])
        self.text_encoder.build(row_shape)
        self.text_tower.build((*row_shape, self.text_encoder.hidden_dim))

    def call(self, token_ids, training=None):
        """Returns unit vectors [B,K,E]."""
        rows = ops.reshape(token_ids, (-1, token_ids.shape[-1]))
        words = self.text_encoder(rows, training=training)
        vectors = self.text_tower(words, token_mask=real_words(rows), training=training)
        captions = token_ids.shape[1] or ops.shape(token_ids)[1]
        return ops.reshape(vectors, (-1, captions, self.text_tower.dim))

    def compute_output_spec(self, token_ids, training=None):
        """Returns the shape and the type of the vectors."""
        return keras.KerasTensor((*token_ids.shape[:2], self.text_tower.dim), dtype="float32")


@keras.saving.register_keras_serializable("keras_vlm")
class PairScores(keras.layers.Layer):
    """Scores of all pictures with all captions: ``scale * cosine + bias``, both learned.

    Args:
        scale: the scale at first, or None for cosines as they are.
        bias: the bias at first, or None for none.
        heads: heads H of the towers; with several, the scores are those of each.
        **kwargs: ``name``, ``dtype`` of the layer.
    """

    def __init__(self, scale=None, bias=None, heads=1, **kwargs):
        super().__init__(**{"dtype": "float32", **kwargs})
        self.scale, self.bias, self.heads = scale, bias, heads

    def build(self, images_shape, texts_shape):
        """Builds the two numbers."""
        if self.scale is not None:
            first = keras.initializers.Constant(float(np.log(self.scale)))
            self.log_scale = self.add_weight(
                shape=(),
                initializer=first,
                constraint=AtMost(float(np.log(MOST_SCALE))),
                name="log_scale",
            )
        if self.bias is not None:
            first = keras.initializers.Constant(self.bias)
            self.bias_weight = self.add_weight(shape=(), initializer=first, name="bias")

    def call(self, images, texts):
        """Returns [B,B,K], of several heads [B,B,K,H]: picture i with caption k of picture j.

        Args:
            images: unit vectors [B,E].
            texts: unit vectors [B,K,E].
        """
        if self.heads == 1:
            scores = ops.einsum("ie,jke->ijk", images, texts)
        else:
            images, texts = split_heads(images, self.heads), split_heads(texts, self.heads)
            # Of the squared length 1 each head has its share.
            scores = ops.einsum("ihe,jkhe->ijkh", images, texts) * self.heads
        scores = scores * self.current_scale()
        return scores if self.bias is None else scores + self.bias_weight

    def compute_output_shape(self, images_shape, texts_shape):
        """Returns [B,B,K] or [B,B,K,H]."""
        of_heads = () if self.heads == 1 else (self.heads,)
        return (images_shape[0], *texts_shape[:2], *of_heads)

    def get_config(self):
        """Returns the constructor's arguments, for Keras's saving."""
        own = {"scale": self.scale, "bias": self.bias, "heads": self.heads}
        return {**super().get_config(), **own}

    def current_scale(self):
        """Returns what a cosine is multiplied by now; without a learned scale, 1."""
        return 1.0 if self.scale is None else ops.exp(self.log_scale)
