"""Temporal layers: what all frames of a clip show becomes one memory for words to look at.

Contract: ``temporal(frame_features [B,F,N,C]) -> memory [B,M,D]``, where D is C unless a
``hidden_dim`` is given. All but the mean know which frame came first. Refuses to know words.

Dimension letters: B batch, F frames, N tokens of a frame, C their width, S tokens of a frame that
are kept, M tokens of the memory, D model width.
"""

import keras
import numpy as np
from keras import ops

from keras_vlm.core.checks import check_number, resolve_heads
from keras_vlm.vision.frame_tokens import TokenMixing, TokenPooling
from keras_vlm.vision.positions import GridWaves, encode_times


class Temporal(keras.layers.Layer):
    """Abstract: frame_features [B,F,N,C] -> memory [B,M,D]."""

    def get_config(self):
        """Returns the constructor's arguments; without this Keras would refuse a dtype policy."""
        return super().get_config()


@keras.saving.register_keras_serializable("keras_vlm")
class MeanTemporal(Temporal):
    """The mean over time, token by token: the baseline, which knows no order.

    It has no weights, so that a picture model's text layers read it as they read a picture. With a
    clip of one picture they see that picture.
    """

    def call(self, frame_features, training=None):
        """Returns memory [B,N,C]."""
        return ops.mean(frame_features, axis=1)

    def compute_output_shape(self, frame_features_shape):
        """Returns [B,N,C]."""
        return (frame_features_shape[0], *frame_features_shape[2:])


class OrderedTemporal(Temporal):
    """Abstract: frames' tokens are normalised, projected, and told where and when they are.

    A subclass implements ``build_layers(frames, tokens, width)`` and ``mix(tokens, training)``,
    which turns [B,F,N,D] into [B,M,D].

    Args:
        hidden_dim: D, or None for C.
        dropout: share of the units dropped in training.
        position_scale: size of the waves along both axes of a frame as which positions begin,
            beside units of about 1.
        **kwargs: ``name``, ``dtype`` of the layer.

    Raises:
        ValueError: an option is out of range.
    """

    def __init__(self, *, hidden_dim=None, dropout=0.1, position_scale=1.0, **kwargs):
        super().__init__(**kwargs)
        where = type(self).__name__
        if hidden_dim is not None:
            check_number(where, "hidden_dim", hidden_dim, minimum=2, integer=True)
        self.hidden_dim = hidden_dim
        self.dropout_rate = check_number(where, "dropout", dropout, minimum=0, maximum=0.99)
        self.position_scale = check_number(where, "position_scale", position_scale, minimum=0)

    def build(self, frame_features_shape):
        """Builds the projection, the positions and the subclass's layers."""
        frames, tokens, channels = frame_features_shape[1:]
        width, policy = self.hidden_dim or channels, self.dtype_policy
        self.input_norm = keras.layers.LayerNormalization(name="input_norm", dtype=policy)
        self.input_norm.build(frame_features_shape)
        self.input_dense = keras.layers.Dense(width, name="input", dtype=policy)
        self.input_dense.build(frame_features_shape)
        self.positions = self.add_weight(
            shape=(tokens, width),
            initializer=GridWaves(self.position_scale),
            name="positions",
        )
        self.dropout = keras.layers.Dropout(self.dropout_rate, dtype=policy)
        self.times = encode_times(frames, width)
        self.build_layers(frames, tokens, width)

    def call(self, frame_features, training=None):
        """Returns memory [B,M,D]."""
        tokens = self.input_dense(self.input_norm(frame_features))
        tokens = tokens + ops.cast(self.positions, tokens.dtype)
        tokens = tokens + ops.cast(self.times[:, None], tokens.dtype)
        return self.mix(self.dropout(tokens, training=training), training)

    def build_layers(self, frames, tokens, width):
        """Builds what the subclass needs for F, N and D."""
        raise NotImplementedError

    def mix(self, tokens, training):
        """Turns tokens [B,F,N,D] into memory [B,M,D]."""
        raise NotImplementedError

    def get_config(self):
        """Returns the constructor's arguments, for Keras's saving."""
        return {
            **super().get_config(),
            "hidden_dim": self.hidden_dim,
            "dropout": self.dropout_rate,
            "position_scale": self.position_scale,
        }


@keras.saving.register_keras_serializable("keras_vlm")
class LSTMTemporal(OrderedTemporal):
    """Each frame becomes one vector, and an LSTM reads them forwards and backwards: M is F.

    Args:
        num_tokens: S, tokens of a frame before these become one vector.
        **kwargs: as for ``OrderedTemporal``.

    Raises:
        ValueError: an option is out of range.

    Source:
        Venugopalan et al. 2015, https://arxiv.org/abs/1505.00487, whose frames are averaged over
        the picture and read forwards.
    """

    def __init__(self, *, num_tokens=4, **kwargs):
        super().__init__(**kwargs)
        self.num_tokens = check_number(
            "LSTMTemporal", "num_tokens", num_tokens, minimum=1, integer=True
        )

    def build_layers(self, frames, tokens, width):
        """Builds the mixing and the two directions."""
        policy = self.dtype_policy
        self.mixing = TokenMixing(self.num_tokens, name="mixing", dtype=policy)
        self.mixing.build((None, frames, tokens, width))
        self.frame_dense = keras.layers.Dense(
            width, activation="relu", name="frame", dtype=policy
        )
        self.frame_dense.build((None, frames, self.num_tokens * width))
        self.readers = []
        for name, backwards in (("forwards", False), ("backwards", True)):
            # Unrolled: a clip is a few frames, and a loop costs more than they do.
            reader = keras.layers.LSTM(
                width,
                return_sequences=True,
                go_backwards=backwards,
                unroll=True,
                name=name,
                dtype=policy,
            )
            reader.build((None, frames, width))
            self.readers.append(reader)

    def mix(self, tokens, training):
        """Returns the sum of the directions, one token a frame."""
        kept = self.mixing(tokens)
        frames = self.frame_dense(ops.reshape(kept, (-1, kept.shape[1], np.prod(kept.shape[2:]))))
        forwards, backwards = (reader(frames, training=training) for reader in self.readers)
        return forwards + ops.flip(backwards, axis=1)

    def compute_output_shape(self, frame_features_shape):
        """Returns [B,F,D]."""
        batch, frames, _, channels = frame_features_shape
        return (batch, frames, self.hidden_dim or channels)

    def get_config(self):
        """Returns the constructor's arguments, for Keras's saving."""
        return {**super().get_config(), "num_tokens": self.num_tokens}


@keras.saving.register_keras_serializable("keras_vlm")
class TransformerTemporal(OrderedTemporal):
    """All tokens of all frames, or S mixed ones of each frame, meet in Transformer layers.

    Args:
        num_tokens: S, or None to keep each frame's N: what is at one place stays together, and the
            layers cost more.
        num_layers: number of layers.
        num_heads: heads, or None for heads of about 64 units.
        **kwargs: as for ``OrderedTemporal``.

    Raises:
        ValueError: an option is out of range.

    Source:
        Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, for the layers; Ryoo et al. 2021,
        https://arxiv.org/abs/2106.11297, for a few tokens a frame, which there are weighted means
        of the picture's; here, by Tolstikhin et al. 2021, https://arxiv.org/abs/2105.01601, mixed
        over all places, since means blur where things are.
    """

    def __init__(self, *, num_tokens=None, num_layers=2, num_heads=None, **kwargs):
        super().__init__(**kwargs)
        where = "TransformerTemporal"
        if num_tokens is not None:
            check_number(where, "num_tokens", num_tokens, minimum=1, integer=True)
        self.num_tokens = num_tokens
        self.num_layers = check_number(where, "num_layers", num_layers, minimum=1, integer=True)
        self.num_heads = num_heads

    def build_layers(self, frames, tokens, width):
        """Builds the mixing and the layers."""
        if self.num_tokens is not None:
            self.mixing = TokenMixing(self.num_tokens, name="mixing", dtype=self.dtype_policy)
            self.mixing.build((None, frames, tokens, width))
        self.build_transformer((None, frames * (self.num_tokens or tokens), width))

    def build_transformer(self, shape):
        """Builds the layers, for tokens of a shape."""
        width, policy = shape[-1], self.dtype_policy
        heads = resolve_heads(type(self).__name__, self.num_heads, width)
        self.layers = []
        for i in range(self.num_layers):
            parts = {
                "norm": keras.layers.LayerNormalization(name=f"norm_{i}", dtype=policy),
                "attention": keras.layers.MultiHeadAttention(
                    heads, width // heads, name=f"attention_{i}", dtype=policy
                ),
                "think_norm": keras.layers.LayerNormalization(
                    name=f"think_norm_{i}", dtype=policy
                ),
                "widen": keras.layers.Dense(
                    4 * width, activation="relu", name=f"widen_{i}", dtype=policy
                ),
                "narrow": keras.layers.Dense(width, name=f"narrow_{i}", dtype=policy),
            }
            parts["attention"].build(shape, shape)
            for name in ("norm", "think_norm", "widen"):
                parts[name].build(shape)
            parts["narrow"].build((*shape[:2], 4 * width))
            self.layers.append(parts)

    def mix(self, tokens, training):
        """Returns the last layer's tokens."""
        kept = tokens if self.num_tokens is None else self.mixing(tokens)
        _, frames, count, width = kept.shape
        return self.transform(ops.reshape(kept, (-1, frames * count, width)), training)

    def transform(self, memory, training):
        """Returns what the layers make of memory [B,M,D]."""
        for parts in self.layers:
            asked = parts["norm"](memory)
            looked = parts["attention"](asked, asked, training=training)
            memory = memory + self.dropout(looked, training=training)
            thought = parts["narrow"](parts["widen"](parts["think_norm"](memory)))
            memory = memory + self.dropout(thought, training=training)
        return memory

    def compute_output_shape(self, frame_features_shape):
        """Returns [B,F*S,D], or [B,F*N,D]."""
        batch, frames, tokens, channels = frame_features_shape
        return (batch, frames * (self.num_tokens or tokens), self.hidden_dim or channels)

    def get_config(self):
        """Returns the constructor's arguments, for Keras's saving."""
        return {
            **super().get_config(),
            "num_tokens": self.num_tokens,
            "num_layers": self.num_layers,
            "num_heads": self.num_heads,
        }


@keras.saving.register_keras_serializable("keras_vlm")
class ConcatTemporal(TransformerTemporal):
    """Each place's frames side by side become one token, and these meet in layers: M is N.

    A place sees its whole history at once, in its order, and the layers compare places.

    Args:
        **kwargs: as for ``TransformerTemporal``, but for ``num_tokens``.

    Raises:
        ValueError: an option is out of range.

    Source:
        Karpathy et al. 2014, https://doi.org/10.1109/CVPR.2014.223, whose "early fusion" joins
        frames by their first weights; here each has gone through the backbone before.
    """

    def __init__(self, **kwargs):
        if "num_tokens" in kwargs:
            raise ValueError(
                f"ConcatTemporal: num_tokens must be left out, got {kwargs['num_tokens']!r}: every "
                "place is a token."
            )
        super().__init__(**kwargs)

    def build_layers(self, frames, tokens, width):
        """Builds the layer over a place's frames, and those over all places."""
        self.join_dense = keras.layers.Dense(
            width, activation="relu", name="join", dtype=self.dtype_policy
        )
        self.join_dense.build((None, tokens, frames * width))
        self.build_transformer((None, tokens, width))

    def mix(self, tokens, training):
        """Returns one token a place."""
        _, frames, count, width = tokens.shape
        histories = ops.reshape(ops.transpose(tokens, (0, 2, 1, 3)), (-1, count, frames * width))
        return self.transform(self.join_dense(histories), training)

    def compute_output_shape(self, frame_features_shape):
        """Returns [B,N,D]."""
        batch, _, tokens, channels = frame_features_shape
        return (batch, tokens, self.hidden_dim or channels)

    def get_config(self):
        """Returns the constructor's arguments, for Keras's saving."""
        config = super().get_config()
        del config["num_tokens"]
        return config


@keras.saving.register_keras_serializable("keras_vlm")
class AttentionTemporal(OrderedTemporal):
    """Each place of the picture looks at its own past and future: M is N*S.

    At each place S scores weigh the frames, and their weighted means stand side by side.

    Args:
        num_tokens: S, tokens that are kept of each place.
        **kwargs: as for ``OrderedTemporal``.

    Raises:
        ValueError: an option is out of range.

    Source:
        Yao et al. 2015, https://arxiv.org/abs/1502.08029, for attention over frames; by place as
        the divided attention of Bertasius et al. 2021, https://arxiv.org/abs/2102.05095.
    """

    def __init__(self, *, num_tokens=2, **kwargs):
        super().__init__(**kwargs)
        self.num_tokens = check_number(
            "AttentionTemporal", "num_tokens", num_tokens, minimum=1, integer=True
        )

    def build_layers(self, frames, tokens, width):
        """Builds the pooling over time, and what thinks about it."""
        policy = self.dtype_policy
        self.pooling = TokenPooling(self.num_tokens, name="pooling", dtype=policy)
        self.pooling.build((None, tokens, frames, width))
        self.out_norm = keras.layers.LayerNormalization(name="out_norm", dtype=policy)
        self.out_norm.build((None, tokens * self.num_tokens, width))
        self.out_dense = keras.layers.Dense(width, activation="relu", name="out", dtype=policy)
        self.out_dense.build((None, tokens * self.num_tokens, width))

    def mix(self, tokens, training):
        """Returns S tokens a place."""
        kept = self.pooling(ops.transpose(tokens, (0, 2, 1, 3)))
        _, places, count, width = kept.shape
        memory = ops.reshape(kept, (-1, places * count, width))
        return memory + self.out_dense(self.out_norm(memory))

    def compute_output_shape(self, frame_features_shape):
        """Returns [B,N*S,D]."""
        batch, _, tokens, channels = frame_features_shape
        return (batch, tokens * self.num_tokens, self.hidden_dim or channels)

    def get_config(self):
        """Returns the constructor's arguments, for Keras's saving."""
        return {**super().get_config(), "num_tokens": self.num_tokens}


TEMPORALS = {
    "mean": MeanTemporal,
    "lstm": LSTMTemporal,
    "transformer": TransformerTemporal,
    "concat": ConcatTemporal,
    "attention": AttentionTemporal,
}
