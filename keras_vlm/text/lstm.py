"""The recurrent text decoders, over a whole sequence and one step at a time.

Dimension letters: B batch, N picture tokens, C their
width, T text positions, D model width, K captions a picture, V vocabulary, W beams, R = B*W rows.
"""

import keras
import tensorflow as tf
from keras import ops

from keras_vlm.core.checks import check_number
from keras_vlm.core.dense import Dense
from keras_vlm.text.decoder import TextDecoder, axis_size
from keras_vlm.text.packing import move


class RecurrentDecoder(TextDecoder):
    """Abstract: recurrent layers read the words; the last one's output looks at the picture.

    The picture's mean sets the first state; the attended picture and the layer's output meet in a
    dense layer before the vocabulary. A subclass names the ``layer_class`` and how many vectors
    its state has.

    Args:
        fusion: a ``Fusion`` layer.
        hidden_dim: model width D.
        num_layers: number of recurrent layers.
        **kwargs: as for ``TextDecoder``.

    Raises:
        ValueError: an option is out of range.

    Source:
        Vinyals et al. 2015, https://arxiv.org/abs/1411.4555; the order "recurrence first, then
        look" from Lu et al. 2017, https://arxiv.org/abs/1612.01887, without its sentinel. All
        positions look at once, which Xu et al. 2015 cannot.
    """

    layer_class = None
    state_vectors = 1

    def __init__(self, fusion, *, hidden_dim=384, num_layers=1, **kwargs):
        super().__init__(fusion, hidden_dim=hidden_dim, **kwargs)
        self.num_layers = check_number(
            type(self).__name__, "num_layers", num_layers, minimum=1, integer=True
        )

    def build(self, image_features_shape, token_ids_shape):
        """Builds the layers."""
        super().build(image_features_shape, token_ids_shape)
        width, policy = self.hidden_dim, self.dtype_policy
        tokens_shape = (None, image_features_shape[1], width)
        self.state_dense = keras.layers.Dense(
            self.state_vectors * width * self.num_layers,
            activation="tanh",
            name="state",
            dtype=policy,
        )
        self.state_dense.build((None, width))
        self.recurrent_layers = [
            # Unrolled: the sequence is short, and a loop costs more than it does.
            self.layer_class(
                width,
                return_sequences=True,
                unroll=True,
                name=f"{self.layer_class.__name__.lower()}_{i}",
                dtype=policy,
            )
            for i in range(self.num_layers)
        ]
        for layer in self.recurrent_layers:
            layer.build((None, token_ids_shape[2], width))
        self.fusion.build((None, None, width), tokens_shape)
        self.output_dense = Dense(width, activation="tanh", name="output", dtype=policy)
        self.output_dense.build((None, None, 2 * width))

    def read(self, image_features, memory_mask=None, training=None):
        """Returns the picture's share of the work: the first state and what fusion reads."""
        memory, tokens = self.project(image_features, memory_mask, training)
        memory["state"] = self.state_dense(memory.pop("mean"))
        memory["fusion"] = self.fusion.read(tokens)
        return memory

    def run(self, memory, token_ids, packing, training=None):
        """Returns words [M,D] and the fusion's weights [B,Q,N]."""
        captions = axis_size(token_ids, 1)
        state = ops.repeat(memory["state"], captions, axis=0)
        words = self.embed(token_ids, packing)
        for layer, first in zip(self.recurrent_layers, self.split_state(state), strict=True):
            words = self.run_layer(
                layer, self.dropout(words, training=training), first, packing, training
            )
        query = packing.to_pictures(self.dropout(words, training=training))
        context, weights = self.fusion.attend(
            query, memory["fusion"], memory.get("mask"), training=training
        )
        return self.join(words, packing.from_pictures(context)), weights

    def start(self, memory, rows_per_picture, max_length):
        """Returns the state of R rows before the first word."""
        state = ops.repeat(memory["state"], rows_per_picture, axis=0)
        return {"layers": self.split_state(state)}

    def step(self, token_ids, state, memory):
        """Reads one word a row: token_ids [R] -> log_probs [R,V] and the state after it."""
        hidden, after = self.embed_words(token_ids), []
        for layer, before in zip(self.recurrent_layers, state["layers"], strict=True):
            hidden, now = layer.cell(hidden, before)
            after.append(tuple(now))
        rows = ops.reshape(hidden, (ops.shape(memory["state"])[0], -1, self.hidden_dim))
        context, _ = self.fusion.attend(
            rows, memory["fusion"], memory.get("mask"), training=False
        )
        joined = self.join(hidden, ops.reshape(context, (-1, self.hidden_dim)))
        return self.to_log_probs(joined), {"layers": tuple(after)}

    def split_state(self, state):
        """Splits [R, vectors*D*layers] into a tuple of vectors [R,D] a layer."""
        parts = ops.split(state, self.state_vectors * self.num_layers, axis=-1)
        return tuple(zip(*(iter(parts),) * self.state_vectors, strict=True))

    def run_layer(self, layer, words, first, packing, training):
        """Runs one layer over words [M,D] from its first state; returns words [M,D]."""
        hidden = layer(packing.unpack(words), initial_state=list(first), training=training)
        return packing.pack(hidden)

    def join(self, hidden, context):
        """Joins what was read [M,D] and what was seen [M,D] into [M,D]."""
        return self.output_dense(ops.concatenate([hidden, context], axis=-1))

    def get_config(self):
        """Returns the constructor's arguments, for Keras's saving."""
        return {**super().get_config(), "num_layers": self.num_layers}


@keras.saving.register_keras_serializable("keras_vlm")
class LSTMDecoder(RecurrentDecoder):
    """The decoder with ``keras.layers.LSTM``; see ``RecurrentDecoder``.

    Source:
        Hochreiter and Schmidhuber 1997, "Long Short-Term Memory",
        https://doi.org/10.1162/neco.1997.9.8.1735.
    """

    layer_class = keras.layers.LSTM
    # What it says, and its cell.
    state_vectors = 2

    @property
    def lstms(self):
        """The recurrent layers, by the name that saved models have for them."""
        return self.recurrent_layers

    def run_layer(self, layer, words, first, packing, training):
        """Runs one layer over words [M,D]; without XLA, over real words only."""
        if packing.row_lengths is None:
            return super().run_layer(layer, words, first, packing, training)
        return run_shrinking(layer.cell, words, first, packing)


@keras.saving.register_keras_serializable("keras_vlm")
class GRUDecoder(RecurrentDecoder):
    """The decoder with ``keras.layers.GRU``, a quarter smaller; see ``RecurrentDecoder``.

    Source:
        Cho et al. 2014, "Learning Phrase Representations using RNN Encoder-Decoder",
        https://arxiv.org/abs/1406.1078.
    """

    layer_class = keras.layers.GRU


def run_shrinking(cell, words, state, packing):
    """Runs an LSTM cell over captions of different lengths, each for its own length only.

    Rows are sorted by length, so that those still running are always the first: as cuDNN and
    PyTorch's packed sequences do it. The inputs of all steps are projected in one product.

    Args:
        cell: a built ``keras.layers.LSTMCell`` with the default activations.
        words: inputs [M,D], packed.
        state: ``(hidden [R,D], cell [R,D])`` before the first word.
        packing: the ``Packing`` of the words.

    Returns:
        Outputs [M,D], packed.
    """
    longest_first = ops.argsort(-packing.row_lengths)
    lengths = ops.take(packing.row_lengths, longest_first)
    hidden, memory = (ops.take(part, longest_first, axis=0) for part in state)
    # Step-major order of the words: step t of every row that is longer than t.
    starts = ops.take(ops.cumsum(packing.row_lengths) - packing.row_lengths, longest_first)
    steps = ops.arange(packing.length)
    running = steps[:, None] < lengths[None, :]
    by_step = ops.reshape(starts[None, :] + steps[:, None], (-1,))
    by_step = ops.take(by_step, ops.nonzero(ops.reshape(running, (-1,)))[0])
    back = ops.argsort(by_step)
    dtype = words.dtype
    projected = ops.matmul(move(words, by_step, back), ops.cast(cell.kernel, dtype))
    projected = projected + ops.cast(cell.bias, dtype)
    counts = ops.sum(ops.cast(running, "int32"), axis=1)
    outputs = recur(
        projected, hidden, memory, ops.cast(cell.recurrent_kernel, dtype), counts, packing.length
    )
    return move(outputs, back, by_step)


def recur(projected, hidden, memory, recurrent, counts, length):
    """Runs an LSTM over inputs that are projected already, its gradient in closed form.

    Automatic differentiation would multiply and add up the recurrent kernel's gradient step by
    step, which here is one product, and make a gradient as large as the whole of each step's slice.

    Args:
        projected: the inputs' share of the gates [M,4D], step after step.
        hidden: [R,D] before the first step.
        memory: the cell [R,D] before the first step.
        recurrent: [D,4D].
        counts: [T] int32, how many rows are still running at each step, never more than before.
        length: T.

    Returns:
        Outputs [M,D].
    """

    @tf.custom_gradient
    def run(projected, first_hidden, first_memory, recurrent):
        hidden, memory, outputs, kept = first_hidden, first_memory, [], []
        for gates in tf.split(projected, counts, num=length):
            rows = tf.shape(gates)[0]
            hidden, before = hidden[:rows], memory[:rows]
            parts = tf.split(gates + tf.matmul(hidden, recurrent), 4, axis=-1)
            enter, keep, leave = (tf.sigmoid(parts[i]) for i in (0, 1, 3))
            candidate = tf.tanh(parts[2])
            memory = keep * before + enter * candidate
            seen = tf.tanh(memory)
            kept.append((hidden, before, enter, keep, candidate, leave, seen))
            hidden = leave * seen
            outputs.append(hidden)

        def gradient(upstream):
            of_hidden = of_memory = tf.zeros_like(outputs[-1])
            of_gates = []
            pieces = tf.split(upstream, counts, num=length)
            for above, step in zip(reversed(pieces), reversed(kept), strict=True):
                _, before, enter, keep, candidate, leave, seen = step
                of_hidden = above + lengthen(of_hidden, above)
                of_memory = lengthen(of_memory, above) + of_hidden * leave * (1 - seen * seen)
                of_parts = (
                    of_memory * candidate * enter * (1 - enter),
                    of_memory * before * keep * (1 - keep),
                    of_memory * enter * (1 - candidate * candidate),
                    of_hidden * seen * leave * (1 - leave),
                )
                of_gates.append(tf.concat(of_parts, axis=-1))
                of_hidden = tf.matmul(of_gates[-1], recurrent, transpose_b=True)
                of_memory = of_memory * keep
            of_gates = tf.concat(of_gates[::-1], axis=0)
            read = tf.concat([step[0] for step in kept], axis=0)
            return (
                of_gates,
                lengthen(of_hidden, first_hidden),
                lengthen(of_memory, first_memory),
                tf.matmul(read, of_gates, transpose_a=True),
            )

        return tf.concat(outputs, axis=0), gradient

    return run(projected, hidden, memory, recurrent)


def lengthen(rows, like):
    """Appends rows of zeros until there are as many as ``like`` has."""
    return tf.pad(rows, [[0, tf.shape(like)[0] - tf.shape(rows)[0]], [0, 0]])
