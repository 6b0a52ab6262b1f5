"""The LSTM text decoder, over a whole sequence and one step at a time.

Dimension letters: B batch, N picture tokens, C their
width, T text positions, D model width, K captions a picture, V vocabulary, W beams, R = B*W rows.
"""

import keras
from keras import ops

from keras_vlm.text.decoder import TextDecoder, axis_size


@keras.saving.register_keras_serializable("keras_vlm")
class LSTMDecoder(TextDecoder):
    """LSTM layers read the words; the last one's output looks at the picture.

    The picture's mean sets the first state; the attended picture and the LSTM's output meet in a
    dense layer before the vocabulary.

    Args:
        fusion: a ``Fusion`` layer.
        hidden_dim: model width D.
        num_layers: number of LSTM layers.
        dropout: share of units dropped in training.
        vocabulary_size: V; a builder that has the tokenizer sets it.
        **kwargs: ``name``, ``dtype`` of the layer.

    Raises:
        ValueError: an option is out of range.

    Source:
        Vinyals et al. 2015, https://arxiv.org/abs/1411.4555; the order "recurrence first, then
        look" from Lu et al. 2017, https://arxiv.org/abs/1612.01887, without its sentinel. All
        positions look at once, which Xu et al. 2015 cannot.
    """

    def __init__(self, fusion, *, hidden_dim=384, num_layers=1, **kwargs):
        super().__init__(fusion, hidden_dim=hidden_dim, num_layers=num_layers, **kwargs)

    def build(self, image_features_shape, token_ids_shape):
        """Builds the layers."""
        super().build(image_features_shape, token_ids_shape)
        width, policy = self.hidden_dim, self.dtype_policy
        tokens_shape = (None, image_features_shape[1], width)
        self.state_dense = keras.layers.Dense(
            2 * width * self.num_layers, activation="tanh", name="state", dtype=policy
        )
        self.state_dense.build((None, width))
        self.lstms = [
            # Unrolled: the sequence is short, and a loop costs more than it does.
            keras.layers.LSTM(
                width, return_sequences=True, unroll=True, name=f"lstm_{i}", dtype=policy
            )
            for i in range(self.num_layers)
        ]
        for lstm in self.lstms:
            lstm.build((None, token_ids_shape[2], width))
        self.fusion.build((None, None, width), tokens_shape)
        self.output_dense = keras.layers.Dense(
            width, activation="tanh", name="output", dtype=policy
        )
        self.output_dense.build((None, None, 2 * width))

    def read(self, image_features, memory_mask=None, training=None):
        """Returns the picture's share of the work: the first state and what fusion reads."""
        memory, tokens = self.project(image_features, memory_mask, training)
        memory["state"] = self.state_dense(memory.pop("mean"))
        memory["fusion"] = self.fusion.read(tokens)
        return memory

    def run(self, memory, token_ids, training=None):
        """Returns hidden [B,K*T,D] and weights [B,K*T,N]."""
        captions, length = axis_size(token_ids, 1), axis_size(token_ids, 2)
        state = ops.repeat(memory["state"], captions, axis=0)
        hidden = self.embedding(ops.reshape(token_ids, (-1, length)))
        for lstm, first in zip(self.lstms, self.split_state(state), strict=True):
            hidden = lstm(
                self.dropout(hidden, training=training), initial_state=first, training=training
            )
        hidden = ops.reshape(hidden, (-1, captions * length, self.hidden_dim))
        return self.look(hidden, memory, training)

    def start(self, memory, rows_per_picture, max_length):
        """Returns the state of R rows before the first word."""
        state = ops.repeat(memory["state"], rows_per_picture, axis=0)
        return {"lstm": self.split_state(state)}

    def step(self, token_ids, state, memory):
        """Reads one word a row: token_ids [R] -> log_probs [R,V] and the state after it."""
        hidden, after = self.embedding(token_ids), []
        for lstm, before in zip(self.lstms, state["lstm"], strict=True):
            hidden, now = lstm.cell(hidden, before)
            after.append(tuple(now))
        rows = ops.reshape(hidden, (ops.shape(memory["state"])[0], -1, self.hidden_dim))
        looked, _ = self.look(rows, memory, training=False)
        looked = ops.reshape(looked, (-1, self.hidden_dim))
        return self.to_log_probs(looked), {"lstm": tuple(after)}

    def split_state(self, state):
        """Splits [R, 2*D*layers] into ``((hidden, cell), ...)`` a layer."""
        parts = ops.split(state, 2 * self.num_layers, axis=-1)
        return tuple(zip(parts[::2], parts[1::2], strict=True))

    def look(self, hidden, memory, training):
        """Lets hidden [B,Q,D] look at the picture; returns the joined [B,Q,D] and the weights."""
        context, weights = self.fusion.attend(
            self.dropout(hidden, training=training),
            memory["fusion"],
            memory.get("mask"),
            training=training,
        )
        joined = self.output_dense(ops.concatenate([hidden, context], axis=-1))
        return joined, weights
