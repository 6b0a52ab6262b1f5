"""What all text decoders share: the embedding, the picture's projection, the logits.

The fusion layer is handed in, as a cell is handed to ``keras.layers.RNN``; a decoder knows that it
has ``read`` and ``attend`` and no more. Refuses to know words, search and pictures beyond their
features. Dimension letters: B batch, N picture tokens, C their
width, T text positions, D model width, K captions a picture, V vocabulary, W beams, R = B*W rows.
"""

import keras
import tensorflow as tf
from keras import ops

from keras_vlm.core.checks import check_number
from keras_vlm.core.dense import add_bias
from keras_vlm.core.serialization import serialize_unbuilt
from keras_vlm.text.packing import NoPacking, Packing
from keras_vlm.text.tokenizer import START_ID
from keras_vlm.text.word_dropout import WordDropout


class TextDecoder(keras.layers.Layer):
    """Abstract: image_features [B,N,C] and token_ids [B,K,T] -> logits [B,K,T,V].

    The K captions of a picture are folded into the query's positions, so that a picture is
    projected once for all of them. A subclass has ``num_layers`` of its kind.

    Args:
        fusion: a ``Fusion`` layer: how words look at the picture.
        hidden_dim: model width D.
        dropout: share of the words' units dropped in training.
        memory_dropout: share of the picture's units dropped; much of it makes a model guess from
            its words.
        word_dropout: share of the words that are fed as unknown ones in training, which makes it
            look at the picture.
        vocabulary_size: V; a builder that has the tokenizer sets it.
        tune_words: whether the embedding learns; not for word vectors that shall stay as read.
        tie_words: whether input and output embeddings are one matrix; two are V*D weights more.
        **kwargs: ``name``, ``dtype`` of the layer.

    Source:
        Press and Wolf 2017, "Using the Output Embedding to Improve Language Models",
        https://arxiv.org/abs/1608.05859, for the shared embedding; Bowman et al. 2016,
        https://arxiv.org/abs/1511.06349, for word dropout.
    """

    def __init__(
        self,
        fusion,
        *,
        hidden_dim,
        dropout=0.5,
        memory_dropout=0.1,
        word_dropout=0.0,
        vocabulary_size=None,
        tune_words=True,
        tie_words=True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        where = type(self).__name__
        check_number(where, "hidden_dim", hidden_dim, minimum=1, integer=True)
        check_number(where, "dropout", dropout, minimum=0, maximum=0.99)
        check_number(where, "memory_dropout", memory_dropout, minimum=0, maximum=0.99)
        check_number(where, "word_dropout", word_dropout, minimum=0, maximum=0.99)
        self.fusion = fusion
        self.hidden_dim = hidden_dim
        self.dropout_rate = dropout
        self.memory_dropout_rate = memory_dropout
        self.word_dropout_rate = word_dropout
        self.vocabulary_size = vocabulary_size
        self.tune_words = tune_words
        self.tie_words = tie_words
        # A model whose encoder pads its tokens with zeros sets it.
        self.tokens_vary = False

    def build(self, image_features_shape, token_ids_shape):
        """Builds what every decoder has; a subclass calls it first."""
        policy = self.dtype_policy
        # Backbones differ in scale by orders of magnitude.
        self.memory_norm = keras.layers.LayerNormalization(name="memory_norm", dtype=policy)
        self.memory_norm.build(image_features_shape)
        self.memory_dense = keras.layers.Dense(
            self.hidden_dim, activation="relu", name="memory", dtype=policy
        )
        self.memory_dense.build(image_features_shape)
        self.embedding = keras.layers.Embedding(
            self.vocabulary_size,
            self.hidden_dim,
            embeddings_initializer=self.word_initializer(),
            trainable=self.tune_words,
            name="embedding",
            dtype=policy,
        )
        self.embedding.build()
        self.dropout = keras.layers.Dropout(self.dropout_rate, dtype=policy)
        self.memory_dropout = keras.layers.Dropout(self.memory_dropout_rate, dtype=policy)
        self.word_dropout = WordDropout(self.word_dropout_rate)
        self.logit_bias = self.add_weight(
            shape=(self.vocabulary_size,), initializer="zeros", name="logit_bias"
        )
        if not self.tie_words:
            self.output_words = self.add_weight(
                shape=(self.vocabulary_size, self.hidden_dim),
                initializer=self.word_initializer(),
                name="output_words",
            )

    def word_initializer(self):
        """Returns the first values of word vectors, of the scale that logits want.

        ``embed_words`` brings them to the scale that inputs want.
        """
        return keras.initializers.RandomNormal(stddev=self.hidden_dim**-0.5)

    def call(
        self, image_features, token_ids, memory_mask=None, real_words=None, training=None
    ):
        """Runs whole captions, teacher forced.

        Args:
            image_features: [B,N,C] float.
            token_ids: [B,K,T] int32, each row beginning with the start id.
            memory_mask: [B,N] bool, True for a real picture token, or None for all.
            real_words: [B,K,T] bool, the M positions whose logits are wanted, in each row the
                first ones, or None for all. What is left out costs nothing (``text.packing``);
                not for XLA, since M varies.
            training: whether dropout is on.

        Returns:
            Logits [B,K,T,V] of the *next* word at each position, or [M,V] with ``real_words``.
        """
        if real_words is None:
            return self.attend(image_features, token_ids, memory_mask, training=training)[0]
        return self.attend_real(
            image_features, token_ids, real_words, memory_mask, training=training
        )[0]

    def attend(self, image_features, token_ids, memory_mask=None, training=None):
        """Like ``call``, with the fusion's weights [B,K,T,N] beside the logits."""
        captions, length = axis_size(token_ids, 1), axis_size(token_ids, 2)
        memory = self.read(image_features, memory_mask, training=training)
        token_ids = self.word_dropout(token_ids, training=training)
        words, weights = self.run(
            memory, token_ids, NoPacking(captions, length), training=training
        )
        logits = self.to_logits(words, training=training)
        return (
            ops.reshape(logits, (-1, captions, length, self.vocabulary_size)),
            ops.reshape(weights, (-1, captions, length, weights.shape[-1])),
        )

    def attend_real(
        self, image_features, token_ids, real_words, memory_mask=None, training=None
    ):
        """Like ``call`` with ``real_words``, with the fusion's weights [M,N] beside the logits."""
        memory = self.read(image_features, memory_mask, training=training)
        return self.attend_read(memory, token_ids, real_words, training=training)

    def attend_read(self, memory, token_ids, real_words, training=None):
        """Like ``attend_real``, of what ``read`` has read already."""
        packing = Packing(real_words)
        token_ids = self.word_dropout(token_ids, training=training)
        words, weights = self.run(memory, token_ids, packing, training=training)
        return self.to_logits(words, training=training), packing.from_pictures(weights)

    def compute_output_shape(self, image_features_shape, token_ids_shape):
        """Returns [B,K,T,V]."""
        return (*token_ids_shape, self.vocabulary_size)

    def project(self, image_features, memory_mask, training):
        """Returns the memory every decoder shares: tokens [B,N,D], their mask and mean [B,D]."""
        if memory_mask is None and self.tokens_vary:
            memory_mask = real_tokens(image_features)
        tokens = self.memory_dense(self.memory_norm(image_features))
        tokens = self.memory_dropout(tokens, training=training)
        if memory_mask is None:
            return {"mean": ops.mean(tokens, axis=1)}, tokens
        real = ops.cast(memory_mask, tokens.dtype)[..., None]
        mean = ops.sum(tokens * real, axis=1) / ops.maximum(ops.sum(real, axis=1), 1)
        return {"mean": mean, "mask": memory_mask}, tokens

    def to_logits(self, hidden, training=None):
        """Turns hidden [..., D] into logits [..., V], by the embedding's own matrix if tied."""
        hidden = self.dropout(hidden, training=training)
        words = self.embedding.embeddings if self.tie_words else self.output_words
        matrix = ops.cast(words, hidden.dtype)
        # Not ops.matmul with a transposed copy: at batch 1 that copy is half of a step's time.
        logits = tf.linalg.matmul(hidden, matrix, transpose_b=True)
        return add_bias(logits, ops.cast(self.logit_bias, logits.dtype))

    def embed(self, token_ids, packing):
        """Returns the embedded words [M,D] of token_ids [B,K,T]."""
        rows = ops.reshape(token_ids, (-1, packing.length))
        return self.embed_words(packing.pack(rows))

    def embed_words(self, token_ids):
        """Returns embedded words [...,D] of unit scale."""
        return self.embedding(token_ids) * self.hidden_dim**0.5

    def to_log_probs(self, hidden):
        """Turns hidden [R,D] into log_probs [R,V] float32."""
        return ops.log_softmax(ops.cast(self.to_logits(hidden), "float32"), axis=-1)

    def get_config(self):
        """Returns the constructor's arguments, for Keras's saving."""
        return {
            **super().get_config(),
            "fusion": serialize_unbuilt(self.fusion),
            "hidden_dim": self.hidden_dim,
            "dropout": self.dropout_rate,
            "memory_dropout": self.memory_dropout_rate,
            "word_dropout": self.word_dropout_rate,
            "vocabulary_size": self.vocabulary_size,
            "tune_words": self.tune_words,
            "tie_words": self.tie_words,
        }

    @classmethod
    def from_config(cls, config):
        """Makes the decoder that ``get_config`` described."""
        return cls(keras.saving.deserialize_keras_object(config.pop("fusion")), **config)


def real_tokens(image_features):
    """Returns [B,N] bool of image_features [B,N,C]: False for a token of zeros, which is none."""
    return ops.any(ops.not_equal(image_features, 0), axis=-1)


def fresh_copy(layer):
    """Returns a layer like this one, not yet built."""
    return type(layer).from_config(layer.get_config())


def fed_words(targets):
    """Returns what a decoder reads to say targets [B,K,T]: the start id, and all but the last."""
    start = tf.fill(tf.shape(targets[..., :1]), START_ID)
    return tf.concat([start, targets[..., :-1]], axis=-1)


def axis_size(tensor, axis):
    """Returns the size of an axis: a number where it is known, else a scalar tensor."""
    size = tensor.shape[axis]
    return ops.shape(tensor)[axis] if size is None else size
