"""The match head: how well a sentence fits a picture, by what each of its words sees there.

Refuses to know backbones, tokenizers and losses. Dimension letters: B batch, N picture tokens, C
their width, K captions a picture, R sentences, P pairs, T text positions, D width of the text
encoder, U width of the head.
"""

import keras
from keras import ops

from keras_vlm.core.checks import check_number
from keras_vlm.core.serialization import serialize_unbuilt
from keras_vlm.text.decoder import axis_size
from keras_vlm.text.encoders import real_words


@keras.saving.register_keras_serializable("keras_vlm")
class MatchHead(keras.layers.Layer):
    """Scores pictures with sentences: image_features [B,N,C], token_ids [B,K,T] -> [B,B,K] float32.

    Each word looks at the picture through the fusion. The word, what it saw and the product of the
    two go through a dense layer, which gives the word a score; the match is the mean over the real
    words.

    The parts are apart, for callers that score few of all pairs: ``read`` does the work on the
    pictures alone, ``encode`` that on the sentences alone, ``score_pairs`` the rest.

    Args:
        text_encoder: a ``TextEncoder``.
        fusion: a ``Fusion`` layer: how words look at the picture.
        hidden_dim: width U.
        dropout: share of the units dropped in training, of the picture and before a word's score.
        bias: what is added to each score at first, then learned, or None for nothing: a loss that
            compares scores alone cannot learn it.
        **kwargs: ``name``, ``dtype`` of the layer.

    Raises:
        ValueError: an option is out of range.

    Source:
        Lee et al. 2018, "Stacked Cross Attention for Image-Text Matching" (SCAN),
        https://arxiv.org/abs/1803.08024: its text-to-image attention with the mean over words.
        There a word's score is the cosine of the two vectors; here a layer learns it.
    """

    def __init__(self, text_encoder, fusion, *, hidden_dim=256, dropout=0.2, bias=None, **kwargs):
        super().__init__(**kwargs)
        where = "MatchHead"
        self.hidden_dim = check_number(where, "hidden_dim", hidden_dim, minimum=1, integer=True)
        self.dropout_rate = check_number(where, "dropout", dropout, minimum=0, maximum=0.99)
        self.text_encoder = text_encoder
        self.fusion = fusion
        self.bias = bias

    def build(self, image_features_shape, token_ids_shape):
        """Builds the parts."""
        width, policy = self.hidden_dim, self.dtype_policy
        tokens_shape = (None, image_features_shape[1], width)
        words_shape = (None, token_ids_shape[-1], self.text_encoder.hidden_dim)
        joined_shape = (None, None, width)
        self.text_encoder.build((None, token_ids_shape[-1]))

        def dense(name, shape, units=width, **options):
            layer = keras.layers.Dense(units, name=name, dtype=policy, **options)
            layer.build(shape)
            return layer

        # Backbones and text encoders differ in scale.
        self.memory_norm = keras.layers.LayerNormalization(name="memory_norm", dtype=policy)
        self.memory_norm.build(image_features_shape)
        self.memory_dense = dense("memory", image_features_shape, activation="relu")
        self.word_norm = keras.layers.LayerNormalization(name="word_norm", dtype=policy)
        self.word_norm.build(words_shape)
        self.word_dense = dense("word", words_shape)
        self.fusion.build((None, None, width), tokens_shape)
        # One dense layer over the three joined, kept as three: a word's own part is the same for
        # all pictures.
        self.join_word = dense("join_word", joined_shape)
        self.join_seen = dense("join_seen", joined_shape, use_bias=False)
        self.join_product = dense("join_product", joined_shape, use_bias=False)
        self.score_dense = dense("score", joined_shape, 1, use_bias=False)
        self.dropout = keras.layers.Dropout(self.dropout_rate, dtype=policy)
        if self.bias is not None:
            first = keras.initializers.Constant(self.bias)
            self.bias_weight = self.add_weight(shape=(), initializer=first, name="bias")

    def call(self, image_features, token_ids, training=None):
        """Scores all pictures with all captions.

        Args:
            image_features: [B,N,C] float.
            token_ids: [B,K,T] int32, 0 where there is no word.
            training: whether dropout is on.

        Returns:
            [B,B,K] float32: picture i with caption k of picture j.
        """
        captions = axis_size(token_ids, 1)
        rows = ops.reshape(token_ids, (-1, token_ids.shape[-1]))
        words = self.encode(rows, training=training)
        memory = self.read(image_features, training=training)
        # The captions follow one another in one row, which every picture is asked.
        one_row = {
            name: ops.reshape(part, (1, -1, self.hidden_dim)) for name, part in words.items()
        }
        scores = self.score_words(one_row, memory, training=training)
        scores = ops.reshape(scores, (-1, ops.shape(rows)[0], token_ids.shape[-1]))
        matches = mean_of_words(scores, real_words(rows)[None])
        return self.add_bias(ops.reshape(matches, (-1, axis_size(token_ids, 0), captions)))

    def compute_output_spec(self, image_features, token_ids, training=None):
        """Returns the shape and the type of the scores."""
        shape = (image_features.shape[0], *token_ids.shape[:2])
        return keras.KerasTensor(shape, dtype="float32")

    def read(self, image_features, training=None):
        """Does the work on pictures alone.

        Args:
            image_features: [B,N,C] float.
            training: whether dropout is on.

        Returns:
            A nest of tensors, each led by B: the fusion's memory.
        """
        tokens = self.memory_dense(self.memory_norm(image_features))
        return self.fusion.read(self.dropout(tokens, training=training))

    def encode(self, token_ids, training=None):
        """Does the work on sentences alone.

        Args:
            token_ids: [R,T] int32.
            training: whether dropout is on.

        Returns:
            A dict of ``query`` and ``own``, [R,T,U] each.
        """
        words = self.text_encoder(token_ids, training=training)
        query = self.word_dense(self.word_norm(words))
        return {"query": query, "own": self.join_word(query)}

    def score_pairs(self, words, real, memory):
        """Scores the p-th sentence with the p-th picture.

        Args:
            words: what ``encode`` returned of P sentences.
            real: [P,T] bool, True for a real word.
            memory: what ``read`` returned of P pictures.

        Returns:
            [P] float32.
        """
        return self.add_bias(mean_of_words(self.score_words(words, memory), real))

    def score_words(self, words, memory, training=None):
        """Scores each word: words of [B,T,U], or of [1,T,U] for all pictures -> [B,T]."""
        seen, _ = self.fusion.attend(words["query"], memory, training=training)
        joined = words["own"] + self.join_seen(seen) + self.join_product(words["query"] * seen)
        joined = self.dropout(ops.relu(joined), training=training)
        return self.score_dense(joined)[..., 0]

    def add_bias(self, matches):
        """Adds the learned bias, if there is one."""
        return matches if self.bias is None else matches + ops.cast(self.bias_weight, "float32")

    def get_config(self):
        """Returns the constructor's arguments, for Keras's saving."""
        return {
            **super().get_config(),
            "text_encoder": serialize_unbuilt(self.text_encoder),
            "fusion": serialize_unbuilt(self.fusion),
            "hidden_dim": self.hidden_dim,
            "dropout": self.dropout_rate,
            "bias": self.bias,
        }

    @classmethod
    def from_config(cls, config):
        """Makes the head that ``get_config`` described."""
        parts = [
            keras.saving.deserialize_keras_object(config.pop(name))
            for name in ("text_encoder", "fusion")
        ]
        return cls(*parts, **config)


def mean_of_words(scores, real):
    """Returns the mean [...] of scores [...,T] over the real words; 0 where there is none.

    Args:
        scores: [...,T] float.
        real: [...,T] bool.
    """
    real = ops.cast(real, "float32")
    total = ops.sum(ops.cast(scores, "float32") * real, axis=-1)
    return total / ops.maximum(ops.sum(real, axis=-1), 1.0)
