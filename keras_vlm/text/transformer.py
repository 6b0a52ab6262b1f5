"""The Transformer text decoder, over a whole sequence and one step at a time.

Dimension letters: B batch, N picture tokens, C their
width, T text positions, D model width, K captions a picture, V vocabulary, W beams, R = B*W rows,
H heads.
"""

import keras
from keras import ops

from keras_vlm.core.checks import check_number, resolve_heads
from keras_vlm.text.decoder import TextDecoder, fresh_copy


@keras.saving.register_keras_serializable("keras_vlm")
class TransformerDecoder(TextDecoder):
    """Pre-norm Transformer layers: look back at the words, look at the picture, think.

    Args:
        fusion: a ``Fusion`` layer; each Transformer layer gets one like it.
        hidden_dim: model width D.
        num_layers: number of layers.
        num_heads: heads of the self-attention, or None for heads of about 64 units.
        max_length: longest sequence, which sets the learned positions.
        dropout: share of the words' units dropped in training.
        memory_dropout: share of the picture's units dropped in training.
        vocabulary_size: V; a builder that has the tokenizer sets it.
        **kwargs: ``name``, ``dtype`` of the layer.

    Raises:
        ValueError: an option is out of range, or ``num_heads`` does not divide ``hidden_dim``.

    Source:
        Vaswani et al. 2017, https://arxiv.org/abs/1706.03762; normalisation first as in Xiong et
        al. 2020, https://arxiv.org/abs/2002.04745; the tanh form of GELU, which every runtime has.
    """

    def __init__(
        self, fusion, *, hidden_dim=384, num_layers=2, num_heads=None, max_length=None, **kwargs
    ):
        super().__init__(fusion, hidden_dim=hidden_dim, num_layers=num_layers, **kwargs)
        if num_heads is not None:
            check_number("TransformerDecoder", "num_heads", num_heads, minimum=1, integer=True)
        self.num_heads = num_heads
        self.heads = resolve_heads("TransformerDecoder", num_heads, hidden_dim)
        self.max_length = max_length

    def build(self, image_features_shape, token_ids_shape):
        """Builds the layers."""
        super().build(image_features_shape, token_ids_shape)
        width, policy = self.hidden_dim, self.dtype_policy
        self.max_length = self.max_length or token_ids_shape[2]
        self.positions = self.add_weight(
            shape=(self.max_length, width),
            initializer=keras.initializers.RandomNormal(stddev=0.3),
            name="positions",
        )
        tokens_shape = (None, image_features_shape[1], width)
        self.layers = []
        for i in range(self.num_layers):
            fusion = self.fusion if i == 0 else fresh_copy(self.fusion)
            layer = TransformerLayer(
                fusion, self.heads, self.dropout_rate, name=f"layer_{i}", dtype=policy
            )
            layer.build((None, None, width), tokens_shape)
            self.layers.append(layer)
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
        words = self.embed(token_ids, packing)
        words = words + ops.cast(ops.take(self.positions, places, axis=0), words.dtype)
        words = self.dropout(words, training=training)
        for layer, read_memory in zip(self.layers, memory["layers"], strict=True):
            words, weights = layer.run(
                words, read_memory, memory.get("mask"), packing, training=training
            )
        return self.final_norm(words), weights

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
        hidden = self.embed_words(token_ids)
        hidden = hidden + ops.cast(ops.take(self.positions, position, axis=0), hidden.dtype)
        caches = []
        for layer, read_memory, cache in zip(
            self.layers, memory["layers"], state["caches"], strict=True
        ):
            hidden, cache = layer.step(
                hidden, read_memory, memory.get("mask"), cache, position, memory["mean"]
            )
            caches.append(cache)
        log_probs = self.to_log_probs(self.final_norm(hidden))
        return log_probs, {"position": position + 1, "caches": tuple(caches)}

    def get_config(self):
        """Returns the constructor's arguments, for Keras's saving."""
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "max_length": self.max_length,
        }


class TransformerLayer(keras.layers.Layer):
    """One layer: self-attention, fusion, feed-forward, each behind its own normalisation.

    Args:
        fusion: a ``Fusion`` layer.
        num_heads: heads of the self-attention.
        dropout: share of units dropped in training.
        **kwargs: ``name``, ``dtype`` of the layer.
    """

    def __init__(self, fusion, num_heads, dropout, **kwargs):
        super().__init__(**kwargs)
        self.fusion = fusion
        self.num_heads = num_heads
        self.dropout_rate = dropout

    def build(self, hidden_shape, tokens_shape):
        """Builds the layers."""
        width, policy = hidden_shape[-1], self.dtype_policy
        self.width, self.head_width = width, width // self.num_heads

        def dense(units, name, inputs=width, activation=None):
            layer = keras.layers.Dense(units, activation=activation, name=name, dtype=policy)
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

    def run(self, words, read_memory, memory_mask, packing, training):
        """Runs words [M,D] whole; returns them and the fusion's weights [B,Q,N]."""
        length = packing.length
        query, key, value = ops.split(
            packing.unpack(self.query_key_value(self.self_norm(words))), 3, axis=-1
        )
        heads = (-1, length, self.num_heads, self.head_width)
        query = ops.transpose(ops.reshape(query, heads), (0, 2, 1, 3)) * self.head_width**-0.5
        key = ops.transpose(ops.reshape(key, heads), (0, 2, 3, 1))
        value = ops.transpose(ops.reshape(value, heads), (0, 2, 1, 3))
        future = ops.triu(ops.ones((length, length), dtype="bool"), k=1)
        weights = ops.softmax(ops.where(future, -3e4, ops.matmul(query, key)), axis=-1)
        looked = ops.transpose(ops.matmul(weights, value), (0, 2, 1, 3))
        looked = packing.pack(ops.reshape(looked, (-1, length, self.width)))
        words = words + self.dropout(self.attention_dense(looked), training=training)

        query = packing.to_pictures(self.fusion_norm(words))
        context, weights = self.fusion.attend(query, read_memory, memory_mask, training=training)
        context = packing.from_pictures(context)
        words = words + self.dropout(context, training=training)
        thought = self.narrow(self.widen(self.think_norm(words)))
        return words + self.dropout(thought, training=training), weights

    def step(self, hidden, read_memory, memory_mask, cache, position, picture):
        """Runs hidden [R,D] of one position on caches [R,T,D]; returns it and the caches."""
        query, key, value = ops.split(self.query_key_value(self.self_norm(hidden)), 3, axis=-1)
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
        future = ops.greater(places[None, :], position[:, None])[..., None]
        weights = ops.softmax(ops.where(future, -3e4, scores), axis=1)
        looked = ops.sum(weights[..., None] * ops.reshape(values, heads), axis=1)
        hidden = hidden + self.attention_dense(ops.reshape(looked, (-1, self.width)))

        rows = ops.reshape(self.fusion_norm(hidden), (ops.shape(picture)[0], -1, self.width))
        context, _ = self.fusion.attend(rows, read_memory, memory_mask, training=False)
        hidden = hidden + ops.reshape(context, (-1, self.width))
        thought = self.narrow(self.widen(self.think_norm(hidden)))
        return hidden + thought, (keys, values)


def gelu(x):
    """The tanh form of GELU: the exact one fails in ONNX."""
    return keras.activations.gelu(x, approximate=True)
