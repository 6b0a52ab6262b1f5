"""The Transformer text decoder, over a whole sequence and one step at a time.

Dimension letters: B batch, N picture tokens, C their
width, T text positions, D model width, K captions a picture, V vocabulary, W beams, R = B*W rows,
H heads.
"""

import keras
from keras import ops

from keras_vlm.core.checks import check_choice, check_number, resolve_heads
from keras_vlm.core.dense import Dense
from keras_vlm.text.decoder import TextDecoder, fresh_copy
from keras_vlm.text.places import POSITIONS, nearness, positions_shape, waves

NORMS = ("before", "after")


@keras.saving.register_keras_serializable("keras_vlm")
class TransformerDecoder(TextDecoder):
    """Transformer layers: look back at the words, look at the picture, think.

    Args:
        fusion: a ``Fusion`` layer; each Transformer layer gets one like it.
        hidden_dim: model width D.
        num_layers: number of layers.
        num_heads: heads of the self-attention, or None for heads of about 64 units.
        max_length: longest sequence, which sets the learned positions.
        norm: ``"before"`` each part of a layer, so that words pass unchanged beside it, or
            ``"after"`` it, as in the first Transformers.
        positions: ``"learned"``, a vector for each place; ``"sinusoidal"``, waves that learn
            nothing; or ``"relative"``, by how far back a word lies.
        **kwargs: as for ``TextDecoder``.

    Raises:
        ValueError: an option is unknown or out of range, or ``num_heads`` does not divide
            ``hidden_dim``.

    Source:
        Vaswani et al. 2017, https://arxiv.org/abs/1706.03762; normalisation first as in Xiong et
        al. 2020, https://arxiv.org/abs/2002.04745; the tanh form of GELU, which every runtime has;
        positions: see ``text.places``.
    """

    def __init__(
        self,
        fusion,
        *,
        hidden_dim=384,
        num_layers=2,
        num_heads=None,
        max_length=None,
        norm="before",
        positions="learned",
        **kwargs,
    ):
        super().__init__(fusion, hidden_dim=hidden_dim, **kwargs)
        where = "TransformerDecoder"
        self.num_layers = check_number(where, "num_layers", num_layers, minimum=1, integer=True)
        if num_heads is not None:
            check_number(where, "num_heads", num_heads, minimum=1, integer=True)
        self.num_heads = num_heads
        self.heads = resolve_heads(where, num_heads, hidden_dim)
        self.max_length = max_length
        self.norm = check_choice(where, "norm", norm, NORMS)
        self.positions_kind = check_choice(where, "positions", positions, POSITIONS)

    def build(self, image_features_shape, token_ids_shape):
        """Builds the layers."""
        super().build(image_features_shape, token_ids_shape)
        width, policy = self.hidden_dim, self.dtype_policy
        self.max_length = self.max_length or token_ids_shape[2]
        shape = positions_shape(self.positions_kind, self.max_length, width, self.heads)
        if shape:
            self.positions = self.add_weight(
                shape=shape,
                initializer=keras.initializers.RandomNormal(stddev=0.3),
                name="positions",
            )
        tokens_shape = (None, image_features_shape[1], width)
        self.layers = []
        for i in range(self.num_layers):
            fusion = self.fusion if i == 0 else fresh_copy(self.fusion)
            layer = TransformerLayer(
                fusion,
                self.heads,
                self.dropout_rate,
                norm=self.norm,
                name=f"layer_{i}",
                dtype=policy,
            )
            layer.build((None, None, width), tokens_shape)
            self.layers.append(layer)
        self.final_norm = None
        if self.norm == "before":
            self.final_norm = keras.layers.LayerNormalization(name="final_norm", dtype=policy)
            self.final_norm.build((None, None, width))

    def read(self, image_features, memory_mask=None, training=None):
        """Returns what each layer's fusion reads of the picture."""
        memory, tokens = self.project(image_features, memory_mask, training)
        return {**memory, "layers": [layer.fusion.read(tokens) for layer in self.layers]}

    def run(self, memory, token_ids, packing, training=None):
        """Returns words [M,D] and the last layer's fusion weights [B,Q,N]."""
        places = ops.zeros_like(token_ids) + ops.arange(packing.length)
        places = packing.pack(ops.reshape(places, (-1, packing.length)))
        words = self.place(self.embed(token_ids, packing), places)
        words = self.dropout(words, training=training)
        every = ops.arange(packing.length)
        near = self.near(every, every)
        for layer, read_memory in zip(self.layers, memory["layers"], strict=True):
            words, weights = layer.run(
                words, read_memory, memory.get("mask"), packing, near, training=training
            )
        return self.finish(words), weights

    def start(self, memory, rows_per_picture, max_length):
        """Returns empty key and value caches [R,max_length,D] a layer, and the position."""
        rows = ops.shape(memory["mean"])[0] * rows_per_picture
        empty = ops.zeros((rows, max_length, self.hidden_dim), dtype=self.compute_dtype)
        return {
            "position": ops.zeros((rows,), dtype="int32"),
            "caches": tuple((empty, empty) for _ in self.layers),
        }

    def step(self, token_ids, state, memory):
        """Reads one word a row: token_ids [R] -> log_probs [R,V] and the state after it."""
        position = state["position"]
        hidden = self.place(self.embed_words(token_ids), position)
        near = self.near(position, ops.arange(state["caches"][0][0].shape[1]))
        caches = []
        for layer, read_memory, cache in zip(
            self.layers, memory["layers"], state["caches"], strict=True
        ):
            picture = (read_memory, memory.get("mask"), memory["mean"])
            hidden, cache = layer.step(hidden, picture, cache, position, near)
            caches.append(cache)
        log_probs = self.to_log_probs(self.finish(hidden))
        return log_probs, {"position": position + 1, "caches": tuple(caches)}

    def place(self, words, places):
        """Returns words [...,D] that know their places [...], where these are added to them."""
        if self.positions_kind == "relative":
            return words
        if self.positions_kind == "sinusoidal":
            return words + ops.cast(waves(places, self.hidden_dim), words.dtype)
        return words + ops.cast(ops.take(self.positions, places, axis=0), words.dtype)

    def near(self, query_places, key_places):
        """Returns what is added to self-attention's scores [...,T,H], or None for nothing."""
        if self.positions_kind != "relative":
            return None
        bias = ops.cast(self.positions, self.compute_dtype)
        return nearness(bias, query_places, key_places)

    def finish(self, words):
        """Returns words [...,D] normalised, which those of a layer that ends so are already."""
        return words if self.final_norm is None else self.final_norm(words)

    def get_config(self):
        """Returns the constructor's arguments, for Keras's saving."""
        return {
            **super().get_config(),
            "num_layers": self.num_layers,
            "num_heads": self.num_heads,
            "max_length": self.max_length,
            "norm": self.norm,
            "positions": self.positions_kind,
        }


class TransformerLayer(keras.layers.Layer):
    """One layer: self-attention, fusion, feed-forward, each with its own normalisation.

    Args:
        fusion: a ``Fusion`` layer.
        num_heads: heads of the self-attention.
        dropout: share of units dropped in training.
        norm: ``"before"`` or ``"after"`` each of the three.
        **kwargs: ``name``, ``dtype`` of the layer.
    """

    def __init__(self, fusion, num_heads, dropout, *, norm="before", **kwargs):
        super().__init__(**kwargs)
        self.fusion = fusion
        self.num_heads = num_heads
        self.dropout_rate = dropout
        self.norm_first = norm == "before"

    def build(self, hidden_shape, tokens_shape):
        """Builds the layers."""
        width, policy = hidden_shape[-1], self.dtype_policy
        self.width, self.head_width = width, width // self.num_heads

        def dense(units, name, inputs=width, activation=None):
            layer = Dense(units, activation=activation, name=name, dtype=policy)
            layer.build((None, None, inputs))
            return layer

        def norm(name):
            layer = keras.layers.LayerNormalization(name=name, dtype=policy)
            layer.build(hidden_shape)
            return layer

        self.query_key_value = dense(3 * width, "query_key_value")
        self.attention_dense = dense(width, "attention_output")
        self.widen = dense(4 * width, "widen", activation=gelu)
        self.narrow = dense(width, "narrow", inputs=4 * width)
        self.self_norm, self.fusion_norm, self.think_norm = (
            norm("self_norm"),
            norm("fusion_norm"),
            norm("think_norm"),
        )
        self.fusion.build(hidden_shape, tokens_shape)
        self.dropout = keras.layers.Dropout(self.dropout_rate, dtype=policy)

    def enter(self, norm, hidden):
        """Returns what a part of the layer gets of hidden [...,D]."""
        return norm(hidden) if self.norm_first else hidden

    def leave(self, norm, hidden, gained):
        """Returns hidden [...,D] with what the part has gained [...,D]."""
        return hidden + gained if self.norm_first else norm(hidden + gained)

    def run(self, words, read_memory, memory_mask, packing, near, training):
        """Runs words [M,D] whole; returns them and the fusion's weights [B,Q,N]."""
        length = packing.length
        query, key, value = ops.split(
            packing.unpack(self.query_key_value(self.enter(self.self_norm, words))), 3, axis=-1
        )
        heads = (-1, length, self.num_heads, self.head_width)
        query = ops.transpose(ops.reshape(query, heads), (0, 2, 1, 3)) * self.head_width**-0.5
        key = ops.transpose(ops.reshape(key, heads), (0, 2, 3, 1))
        value = ops.transpose(ops.reshape(value, heads), (0, 2, 1, 3))
        future = ops.triu(ops.ones((length, length), dtype="bool"), k=1)
        scores = ops.matmul(query, key)
        if near is not None:
            scores = scores + ops.transpose(near, (2, 0, 1))
        weights = ops.softmax(ops.where(future, -3e4, scores), axis=-1)
        looked = ops.transpose(ops.matmul(weights, value), (0, 2, 1, 3))
        looked = packing.pack(ops.reshape(looked, (-1, length, self.width)))
        gained = self.dropout(self.attention_dense(looked), training=training)
        words = self.leave(self.self_norm, words, gained)

        query = packing.to_pictures(self.enter(self.fusion_norm, words))
        context, weights = self.fusion.attend(query, read_memory, memory_mask, training=training)
        gained = self.dropout(packing.from_pictures(context), training=training)
        words = self.leave(self.fusion_norm, words, gained)
        thought = self.narrow(self.widen(self.enter(self.think_norm, words)))
        gained = self.dropout(thought, training=training)
        return self.leave(self.think_norm, words, gained), weights

    def step(self, hidden, picture, cache, position, near):
        """Runs hidden [R,D] of one position on caches [R,T,D]; returns it and the caches.

        ``picture`` is what the fusion reads of it, its mask, and anything [B,...] that it has.
        """
        read_memory, memory_mask, of_pictures = picture
        query, key, value = ops.split(
            self.query_key_value(self.enter(self.self_norm, hidden)), 3, axis=-1
        )
        keys, values = cache
        length = keys.shape[1]
        places = ops.arange(length)
        # A one-hot write: a slice update would become an XLA op that servers refuse.
        here = ops.equal(places[None, :], position[:, None])[..., None]
        keys = ops.where(here, key[:, None, :], keys)
        values = ops.where(here, value[:, None, :], values)
        heads = (-1, length, self.num_heads, self.head_width)
        query = ops.reshape(query, (-1, 1, self.num_heads, self.head_width))
        scores = ops.sum(query * ops.reshape(keys, heads), axis=-1) * self.head_width**-0.5
        scores = scores if near is None else scores + near
        future = ops.greater(places[None, :], position[:, None])[..., None]
        weights = ops.softmax(ops.where(future, -3e4, scores), axis=1)
        looked = ops.sum(weights[..., None] * ops.reshape(values, heads), axis=1)
        gained = self.attention_dense(ops.reshape(looked, (-1, self.width)))
        hidden = self.leave(self.self_norm, hidden, gained)

        rows = self.enter(self.fusion_norm, hidden)
        rows = ops.reshape(rows, (ops.shape(of_pictures)[0], -1, self.width))
        context, _ = self.fusion.attend(rows, read_memory, memory_mask, training=False)
        context = ops.reshape(context, (-1, self.width))
        hidden = self.leave(self.fusion_norm, hidden, context)
        thought = self.narrow(self.widen(self.enter(self.think_norm, hidden)))
        return self.leave(self.think_norm, hidden, thought), (keys, values)


def gelu(x):
    """The tanh form of GELU: the exact one fails in ONNX."""
    return keras.activations.gelu(x, approximate=True)
