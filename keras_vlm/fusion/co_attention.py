"""Layers of attention between all words and all picture tokens, in one direction or the other.

Dimension letters: see ``question.py``; R = B*Q questions.
"""

import keras
from keras import ops

from keras_vlm.core.checks import check_number
from keras_vlm.fusion.multi_head import MultiHeadFusion
from keras_vlm.fusion.pooling import AttentionPooling
from keras_vlm.fusion.question import QuestionFusion


class AttentionStack(QuestionFusion):
    """Abstract: layers of attention on both sides; who looks at whom is the subclass's.

    A subclass sets ``word_looks`` and ``picture_looks`` and implements ``meet``.

    Args:
        num_layers: layers a side.
        num_heads: heads of every attention, or None for heads of about 64 units.
        **kwargs: as for ``QuestionFusion``.

    Attributes:
        word_looks: the attentions of a layer of words: ``"self"`` and perhaps ``"guide"``, at the
            other side.
        picture_looks: those of a layer of picture tokens.

    Raises:
        ValueError: an option is out of range, or D is no multiple of ``num_heads``.
    """

    word_looks = picture_looks = ("self",)

    def __init__(self, *, num_layers=2, num_heads=None, **kwargs):
        super().__init__(**kwargs)
        where = type(self).__name__
        self.num_layers = check_number(where, "num_layers", num_layers, minimum=1, integer=True)
        if num_heads is not None:
            check_number(where, "num_heads", num_heads, minimum=1, integer=True)
        self.num_heads = num_heads

    def build_layers(self, width, memory_shape):
        """Builds the layers of both sides, the pooling of words and the norms."""
        policy = self.dtype_policy
        options = {"num_heads": self.num_heads, "dropout": self.dropout_rate, "dtype": policy}
        self.token_shape = shape = (None, memory_shape[1], width)

        def attention(name):
            layer = MultiHeadFusion(name=name, **options)
            layer.build(shape, shape)
            return layer

        def dense(units, name, inputs, **more):
            layer = keras.layers.Dense(units, name=name, dtype=policy, **more)
            layer.build((None, None, inputs))
            return layer

        def one_layer(name, looks):
            parts = {look: attention(f"{name}_{look}") for look in looks}
            parts |= {f"{look}_norm": self.norm(f"{name}_{look}_norm") for look in looks}
            parts["think_norm"] = self.norm(f"{name}_think_norm")
            parts["widen"] = dense(4 * width, f"{name}_widen", width, activation="relu")
            parts["narrow"] = dense(width, f"{name}_narrow", 4 * width)
            return parts

        layers = range(self.num_layers)
        self.word_layers = [one_layer(f"word_{i}", self.word_looks) for i in layers]
        self.picture_layers = [one_layer(f"picture_{i}", self.picture_looks) for i in layers]
        self.word_norm, self.picture_norm = self.norm("word_norm"), self.norm("picture_norm")
        self.joint_norm = self.norm("joint_norm")
        self.word_pooling = self.pooling("word_pooling")

    def norm(self, name):
        """Makes a built normalisation of tokens."""
        layer = keras.layers.LayerNormalization(name=name, dtype=self.dtype_policy)
        layer.build(self.token_shape)
        return layer

    def pooling(self, name):
        """Makes a built pooling of tokens."""
        layer = AttentionPooling(1, name=name, dtype=self.dtype_policy)
        layer.build(self.token_shape)
        return layer

    def look(self, parts, look, tokens, memory=None, mask=None, training=None):
        """Adds what tokens see of a memory, or of themselves; returns the weights as well."""
        asked = parts[f"{look}_norm"](tokens)
        memory = asked if memory is None else memory
        seen, weights = parts[look](asked, memory, memory_mask=mask, training=training)
        return tokens + self.dropout(seen, training=training), weights

    def think(self, parts, tokens, training):
        """Adds what the layer's two dense layers make of each token."""
        thought = parts["narrow"](parts["widen"](parts["think_norm"](tokens)))
        return tokens + self.dropout(thought, training=training)

    def get_config(self):
        """Returns the constructor's arguments, for Keras's saving."""
        return {
            **super().get_config(),
            "num_layers": self.num_layers,
            "num_heads": self.num_heads,
        }


@keras.saving.register_keras_serializable("keras_vlm")
class CoAttention(AttentionStack):
    """Layers of self-attention over words, then of self- and guided attention over the picture.

    The last words guide every picture layer (the paper's encoder-decoder form). Both sides are then
    pooled by attention and added. The picture's first self-attention does not depend on the
    question, and is done once for all of its questions.

    Args:
        **kwargs: as for ``AttentionStack``.

    Source:
        Yu et al. 2019, "Deep Modular Co-Attention Networks for Visual Question Answering",
        https://arxiv.org/abs/1906.10770. Here normalisation comes before each block, not after it,
        which trains without care, and 2 layers are the default where the paper has 6.
    """

    picture_looks = ("self", "guide")

    def build_layers(self, width, memory_shape):
        """Builds the layers, and the pooling of the picture."""
        super().build_layers(width, memory_shape)
        self.picture_pooling = self.pooling("picture_pooling")

    def meet(self, words, mask, memory, memory_mask, questions, training):
        """Returns joint [R,D] and the weights [R,N] by which the picture was pooled."""
        for parts in self.word_layers:
            words, _ = self.look(parts, "self", words, mask=mask, training=training)
            words = self.think(parts, words, training)
        words = self.word_norm(words)
        picture = memory
        for i, parts in enumerate(self.picture_layers):
            picture, _ = self.look(parts, "self", picture, mask=memory_mask, training=training)
            if i == 0:
                picture = ops.repeat(picture, questions, axis=0)
                if memory_mask is not None:
                    memory_mask = ops.repeat(memory_mask, questions, axis=0)
            picture, _ = self.look(parts, "guide", picture, words, mask, training)
            picture = self.think(parts, picture, training)
        asked, _ = self.word_pooling(words, token_mask=mask)
        seen, weights = self.picture_pooling(self.picture_norm(picture), token_mask=memory_mask)
        return self.joint_norm(asked + seen), weights


@keras.saving.register_keras_serializable("keras_vlm")
class CrossAttention(AttentionStack):
    """Layers of self-attention over the picture, then of words that look at words and the picture.

    What the picture's tokens make of each other does not depend on the question, and is done once
    for all of its questions; each word then finds its own part of the picture.

    Args:
        **kwargs: as for ``AttentionStack``.

    Source:
        The image-grounded text layers of Li et al. 2022, "BLIP", https://arxiv.org/abs/2201.12086;
        the words are pooled by attention, where theirs write the answer.
    """

    word_looks = ("self", "guide")

    def meet(self, words, mask, memory, memory_mask, questions, training):
        """Returns joint [R,D] and weights [R,N]: where the pooled words looked last."""
        picture = memory
        for parts in self.picture_layers:
            picture, _ = self.look(parts, "self", picture, mask=memory_mask, training=training)
            picture = self.think(parts, picture, training)
        picture = self.picture_norm(picture)
        length, width = words.shape[1:]
        for parts in self.word_layers:
            words, _ = self.look(parts, "self", words, mask=mask, training=training)
            # The questions of a picture read its keys and values together.
            words = ops.reshape(words, (-1, questions * length, width))
            words, weights = self.look(parts, "guide", words, picture, memory_mask, training)
            words = ops.reshape(words, (-1, length, width))
            words = self.think(parts, words, training)
        asked, share = self.word_pooling(self.word_norm(words), token_mask=mask)
        weights = ops.reshape(weights, (-1, length, weights.shape[-1]))
        return self.joint_norm(asked), ops.einsum("rt,rtn->rn", share, weights)
