"""How a whole question meets a picture: its words become one vector that has looked.

Contract: ``fusion(words [B,Q,T,D], word_mask [B,Q,T], memory [B,N,D], memory_mask [B,N]) -> joint
[B,Q,D], weights [B,Q,N]``; each row of weights sums to 1 over real tokens. Refuses to know the
answers. Dimension letters: B batch, Q questions a picture, T text positions, N picture tokens, D
model width.
"""

import keras
from keras import ops

from keras_vlm.core.checks import check_number
from keras_vlm.core.serialization import serialize_unbuilt
from keras_vlm.fusion.base import Fusion
from keras_vlm.fusion.pooling import AttentionPooling


class QuestionFusion(keras.layers.Layer):
    """Abstract: a subclass implements ``build_layers(width)`` and ``meet``.

    Args:
        dropout: share of the units dropped in training.
        **kwargs: ``name``, ``dtype`` of the layer.

    Raises:
        ValueError: ``dropout`` is out of range.
    """

    def __init__(self, *, dropout=0.1, **kwargs):
        super().__init__(**kwargs)
        where = type(self).__name__
        self.dropout_rate = check_number(where, "dropout", dropout, minimum=0, maximum=0.99)

    def build(self, words_shape, word_mask_shape, memory_shape):
        """Builds the subclass's layers."""
        self.dropout = keras.layers.Dropout(self.dropout_rate, dtype=self.dtype_policy)
        self.build_layers(words_shape[-1], memory_shape)

    def call(self, words, word_mask, memory, memory_mask=None, training=None):
        """Returns joint [B,Q,D] and weights [B,Q,N].

        Args:
            words: [B,Q,T,D] float, of as many questions a picture.
            word_mask: [B,Q,T] bool, True for a real word.
            memory: [B,N,D] float, the picture's tokens.
            memory_mask: [B,N] bool, True for a real token, or None for all.
            training: whether dropout is on.
        """
        length, width = words.shape[-2:]
        questions = words.shape[1] if words.shape[1] is not None else ops.shape(words)[1]
        rows = ops.reshape(words, (-1, length, width))
        mask = ops.reshape(word_mask, (-1, length))
        joint, weights = self.meet(rows, mask, memory, memory_mask, questions, training)
        return (
            ops.reshape(joint, (-1, questions, width)),
            ops.reshape(weights, (-1, questions, weights.shape[-1])),
        )

    def compute_output_shape(self, words_shape, word_mask_shape, memory_shape):
        """Returns the shapes of joint and weights."""
        leading = tuple(words_shape[:2])
        return (*leading, words_shape[-1]), (*leading, memory_shape[1])

    def build_layers(self, width, memory_shape):
        """Builds what the subclass needs, for a width D and the memory's shape."""
        raise NotImplementedError

    def meet(self, words, mask, memory, memory_mask, questions, training):
        """Fuses words [B*Q,T,D] under mask [B*Q,T] with memory [B,N,D] under memory_mask."""
        raise NotImplementedError

    def get_config(self):
        """Returns the constructor's arguments, for Keras's saving."""
        return {**super().get_config(), "dropout": self.dropout_rate}


@keras.saving.register_keras_serializable("keras_vlm")
class PooledQuestion(QuestionFusion):
    """The question's words become one vector, which looks at the picture by any ``Fusion``.

    What was asked and what was seen are joined by a dense layer over both. With ``ConcatFusion`` it
    is the classical model, which joins the picture's mean to the question and does not look.

    Args:
        fusion: a ``Fusion``; the Q questions of a picture are its Q queries.
        **kwargs: as for ``QuestionFusion``.

    Raises:
        TypeError: ``fusion`` is no ``Fusion``.

    Source:
        Antol et al. 2015, https://arxiv.org/abs/1505.00468, for the classical model.
    """

    def __init__(self, fusion, **kwargs):
        super().__init__(**kwargs)
        if not isinstance(fusion, Fusion):
            raise TypeError(f"PooledQuestion: fusion must be a Fusion, got {fusion!r}.")
        self.fusion = fusion

    def build_layers(self, width, memory_shape):
        """Builds pooling, fusion and the dense layer."""
        self.pooling = AttentionPooling(1, name="pooling", dtype=self.dtype_policy)
        self.pooling.build((None, None, width))
        self.fusion.build((None, None, width), memory_shape)
        self.joint_dense = keras.layers.Dense(
            width, activation="relu", name="joint", dtype=self.dtype_policy
        )
        self.joint_dense.build((None, None, width + memory_shape[-1]))

    def meet(self, words, mask, memory, memory_mask, questions, training):
        """Returns joint [B,Q,D] and weights [B,Q,N]."""
        asked, _ = self.pooling(words, token_mask=mask)
        asked = ops.reshape(asked, (-1, questions, words.shape[-1]))
        seen, weights = self.fusion(asked, memory, memory_mask=memory_mask, training=training)
        joint = ops.concatenate([asked, seen], axis=-1)
        return self.joint_dense(self.dropout(joint, training=training)), weights

    def get_config(self):
        """Returns the constructor's arguments, for Keras's saving."""
        return {**super().get_config(), "fusion": serialize_unbuilt(self.fusion)}

    @classmethod
    def from_config(cls, config):
        """Makes the layer that ``get_config`` described."""
        return cls(keras.saving.deserialize_keras_object(config.pop("fusion")), **config)
