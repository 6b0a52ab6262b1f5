"""Reading questions beside a picture, and the two ends: choosing an answer, or writing one.

Refuses to know tokenizers and vocabularies. Dimension letters: B batch, Q questions a picture, T
text positions, N picture tokens, C their width, D model width, A answers, L answer positions, V
answer words.
"""

import keras
from keras import ops

from keras_vlm.core.checks import check_number
from keras_vlm.core.serialization import serialize_unbuilt
from keras_vlm.tasks.generation import generate
from keras_vlm.text.decoder import axis_size, real_tokens
from keras_vlm.text.encoders import real_words
from keras_vlm.vision.positions import GridWaves


@keras.saving.register_keras_serializable("keras_vlm")
class QuestionReader(keras.layers.Layer):
    """image_features [B,N,C] and token_ids [B,Q,T] -> joint [B,Q,D], weights [B,Q,N], and more.

    The picture's tokens are normalised, brought to the questions' width D and given learned
    positions, for where something is often is the answer.

    Args:
        text_encoder: a ``TextEncoder``; its width is D.
        fusion: a ``QuestionFusion``.
        memory_dropout: share of the picture's units dropped in training.
        position_scale: size of the waves along both axes of a grid as which positions begin, beside
            units of about 1; 0 for small random numbers, as of tokens that are no grid.
        **kwargs: ``name``, ``dtype`` of the layer.

    Raises:
        ValueError: an option is out of range.
    """

    def __init__(
        self, text_encoder, fusion, *, memory_dropout=0.1, position_scale=0.0, **kwargs
    ):
        super().__init__(**kwargs)
        self.text_encoder = text_encoder
        self.fusion = fusion
        where = "QuestionReader"
        self.memory_dropout_rate = check_number(
            where, "memory_dropout", memory_dropout, minimum=0, maximum=0.99
        )
        self.position_scale = check_number(where, "position_scale", position_scale, minimum=0)
        # A model whose encoder pads its tokens with zeros sets it.
        self.tokens_vary = False

    def build(self, image_features_shape, token_ids_shape):
        """Builds the picture's projection, the text encoder and the fusion."""
        policy, width = self.dtype_policy, self.text_encoder.hidden_dim
        tokens, length = image_features_shape[1], token_ids_shape[-1]
        self.memory_norm = keras.layers.LayerNormalization(name="memory_norm", dtype=policy)
        self.memory_norm.build(image_features_shape)
        self.memory_dense = keras.layers.Dense(width, name="memory", dtype=policy)
        self.memory_dense.build(image_features_shape)
        # Regions lie anywhere.
        is_grid = self.position_scale > 0 and not self.tokens_vary
        self.positions = self.add_weight(
            shape=(tokens, width),
            initializer=(
                GridWaves(self.position_scale)
                if is_grid
                else keras.initializers.RandomNormal(stddev=0.02)
            ),
            name="positions",
        )
        self.memory_dropout = keras.layers.Dropout(self.memory_dropout_rate, dtype=policy)
        self.text_encoder.build((None, length))
        words_shape = (None, None, length, width)
        self.fusion.build(words_shape, words_shape[:-1], (None, tokens, width))

    def call(self, image_features, token_ids, training=None):
        """Returns joint [B,Q,D], weights [B,Q,N], words [B,Q,T,D] and memory [B,N,D]."""
        memory = self.memory_dense(self.memory_norm(image_features))
        memory = memory + ops.cast(self.positions, memory.dtype)
        memory = self.memory_dropout(memory, training=training)
        memory_mask = None
        if self.tokens_vary:
            memory_mask = real_tokens(image_features)
            memory = ops.where(memory_mask[..., None], memory, ops.zeros_like(memory))
        length, width = token_ids.shape[-1], self.text_encoder.hidden_dim
        rows = ops.reshape(token_ids, (-1, length))
        words = self.text_encoder(rows, training=training)
        questions = axis_size(token_ids, 1)
        words = ops.reshape(words, (-1, questions, length, width))
        joint, weights = self.fusion(
            words, real_words(token_ids), memory, memory_mask=memory_mask, training=training
        )
        return joint, weights, words, memory

    def compute_output_shape(self, image_features_shape, token_ids_shape):
        """Returns the shapes of joint, weights, words and memory."""
        leading, width = tuple(token_ids_shape[:2]), self.text_encoder.hidden_dim
        tokens = image_features_shape[1]
        return (
            (*leading, width),
            (*leading, tokens),
            (*token_ids_shape, width),
            (image_features_shape[0], tokens, width),
        )

    def get_config(self):
        """Returns the constructor's arguments, for Keras's saving."""
        return {
            **super().get_config(),
            "text_encoder": serialize_unbuilt(self.text_encoder),
            "fusion": serialize_unbuilt(self.fusion),
            "memory_dropout": self.memory_dropout_rate,
            "position_scale": self.position_scale,
        }

    @classmethod
    def from_config(cls, config):
        """Makes the layer that ``get_config`` described."""
        parts = [config.pop(part) for part in ("text_encoder", "fusion")]
        return cls(*map(keras.saving.deserialize_keras_object, parts), **config)


@keras.saving.register_keras_serializable("keras_vlm")
class AnswerChooser(keras.layers.Layer):
    """joint [B,Q,D] -> logits [B,Q,A] float32, by a hidden layer of twice the width.

    Args:
        num_answers: A.
        dropout: share of the units dropped in training.
        **kwargs: ``name``, ``dtype`` of the layer.

    Raises:
        ValueError: an option is out of range.
    """

    def __init__(self, num_answers, *, dropout=0.2, **kwargs):
        super().__init__(**kwargs)
        where = "AnswerChooser"
        self.num_answers = check_number(
            where, "num_answers", num_answers, minimum=2, integer=True
        )
        self.dropout_rate = check_number(where, "dropout", dropout, minimum=0, maximum=0.99)

    def build(self, joint_shape):
        """Builds both layers."""
        policy, width = self.dtype_policy, 2 * joint_shape[-1]
        self.dropout = keras.layers.Dropout(self.dropout_rate, dtype=policy)
        self.hidden = keras.layers.Dense(width, activation="relu", name="hidden", dtype=policy)
        self.hidden.build(joint_shape)
        self.logits = keras.layers.Dense(self.num_answers, name="logits", dtype=policy)
        self.logits.build((*joint_shape[:-1], width))

    def call(self, joint, training=None):
        """Returns logits [B,Q,A] float32."""
        hidden = self.dropout(self.hidden(joint), training=training)
        return ops.cast(self.logits(hidden), "float32")

    def compute_output_spec(self, joint, training=None):
        """Returns the shape and the type of the logits."""
        return keras.KerasTensor((*joint.shape[:-1], self.num_answers), dtype="float32")

    def get_config(self):
        """Returns the constructor's arguments, for Keras's saving."""
        return {
            **super().get_config(),
            "num_answers": self.num_answers,
            "dropout": self.dropout_rate,
        }


@keras.saving.register_keras_serializable("keras_vlm")
class AnswerWriter(keras.layers.Layer):
    """A text decoder that looks at the question and the picture and writes the answer.

    What it looks at, for each question, is the joint vector, the question's words (zeros where
    there is none) and the picture's tokens: 1 + T + N tokens of width D.

    Args:
        text_decoder: a ``TextDecoder``.
        **kwargs: ``name``, ``dtype`` of the layer.
    """

    def __init__(self, text_decoder, **kwargs):
        super().__init__(**kwargs)
        self.text_decoder = text_decoder

    def build(self, joint_shape, words_shape, memory_shape, token_ids_shape, answer_ids_shape):
        """Builds the decoder."""
        tokens = 1 + words_shape[2] + memory_shape[1]
        self.text_decoder.build(
            (None, tokens, joint_shape[-1]), (None, None, answer_ids_shape[-1])
        )

    def call(self, joint, words, memory, token_ids, answer_ids, training=None):
        """Returns logits [B,Q,L,V] of the next word at each position, teacher forced."""
        tokens = self.join(joint, words, memory, token_ids)
        length, questions = answer_ids.shape[-1], axis_size(answer_ids, 1)
        rows = ops.reshape(answer_ids, (-1, 1, length))
        logits = self.text_decoder(tokens, rows, training=training)
        return ops.reshape(logits, (-1, questions, length, logits.shape[-1]))

    def join(self, joint, words, memory, token_ids):
        """Returns what the decoder looks at: [B*Q, 1+T+N, D]."""
        width, questions = joint.shape[-1], axis_size(token_ids, 1)
        words = ops.where(real_words(token_ids)[..., None], words, ops.zeros_like(words))
        words = ops.reshape(words, (-1, words.shape[2], width))
        joint = ops.reshape(joint, (-1, 1, width))
        return ops.concatenate([joint, words, ops.repeat(memory, questions, axis=0)], axis=1)

    def write(self, tokens, tokenizer, strategy):
        """Writes answers for tokens [B*Q,1+T+N,D]; returns ``Decoded``, as ``generate``."""
        return generate(self.text_decoder, tokenizer, tokens, strategy)

    def compute_output_shape(
        self, joint_shape, words_shape, memory_shape, token_ids_shape, answer_ids_shape
    ):
        """Returns [B,Q,L,V]."""
        return (*answer_ids_shape, self.text_decoder.vocabulary_size)

    def get_config(self):
        """Returns the constructor's arguments, for Keras's saving."""
        return {**super().get_config(), "text_decoder": serialize_unbuilt(self.text_decoder)}

    @classmethod
    def from_config(cls, config):
        """Makes the layer that ``get_config`` described."""
        return cls(keras.saving.deserialize_keras_object(config.pop("text_decoder")), **config)
