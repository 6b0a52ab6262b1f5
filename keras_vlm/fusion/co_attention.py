"""Co-attention: words look at words, picture tokens at each other and at the words.

Dimension letters: see ``question.py``; R = B*Q questions.
"""

import keras
from keras import ops

from keras_vlm.core.checks import check_number
from keras_vlm.fusion.multi_head import MultiHeadFusion
from keras_vlm.fusion.pooling import AttentionPooling
from keras_vlm.fusion.question import QuestionFusion


@keras.saving.register_keras_serializable("keras_vlm")
class CoAttention(QuestionFusion):
    """Layers of self-attention over words, then of self- and guided attention over the picture.

    The last words guide every picture layer (the paper's encoder-decoder form). Both sides are then
    pooled by attention and added. The picture's first self-attention does not depend on the
    question, and is done once for all of its questions.

    Args:
        num_layers: layers a side.
        num_heads: heads of every attention, or None for heads of about 64 units.
        **kwargs: as for ``QuestionFusion``.

    Raises:
        ValueError: an option is out of range, or D is no multiple of ``num_heads``.

    Source:
        Yu et al. 2019, "Deep Modular Co-Attention Networks for Visual Question Answering",
        https://arxiv.org/abs/1906.10770. Here normalisation comes before each block, not after it,
        which trains without care, and 2 layers are the default where the paper has 6.
    """

    def __init__(self, *, num_layers=2, num_heads=None, **kwargs):
        super().__init__(**kwargs)
        self.num_layers = check_number(
            "CoAttention", "num_layers", num_layers, minimum=1, integer=True
        )
        if num_heads is not None:
            check_number("CoAttention", "num_heads", num_heads, minimum=1, integer=True)
        self.num_heads = num_heads

    def build_layers(self, width, memory_shape):
        """Builds the layers of both sides, their pooling and the last norm."""
        policy = self.dtype_policy
        options = {"num_heads": self.num_heads, "dropout": self.dropout_rate, "dtype": policy}
        shape = (None, memory_shape[1], width)

        def norm(name):
            layer = keras.layers.LayerNormalization(name=name, dtype=policy)
            layer.build(shape)
            return layer

        def attention(name):
            layer = MultiHeadFusion(name=name, **options)
            layer.build(shape, shape)
            return layer

        def dense(units, name, inputs, **more):
            layer = keras.layers.Dense(units, name=name, dtype=policy, **more)
            layer.build((None, None, inputs))
            return layer

        def one_layer(name, *looks):
            parts = {look: attention(f"{name}_{look}") for look in looks}
            parts |= {f"{look}_norm": norm(f"{name}_{look}_norm") for look in looks}
            parts["think_norm"] = norm(f"{name}_think_norm")
            parts["widen"] = dense(4 * width, f"{name}_widen", width, activation="relu")
            parts["narrow"] = dense(width, f"{name}_narrow", 4 * width)
            return parts

        layers = range(self.num_layers)
        self.word_layers = [one_layer(f"word_{i}", "self") for i in layers]
        self.picture_layers = [one_layer(f"picture_{i}", "self", "guide") for i in layers]
        self.word_norm, self.picture_norm = norm("word_norm"), norm("picture_norm")
        self.joint_norm = norm("joint_norm")
        self.word_pooling, self.picture_pooling = (
            AttentionPooling(1, name=f"{side}_pooling", dtype=policy)
            for side in ("word", "picture")
        )
        for pooling in (self.word_pooling, self.picture_pooling):
            pooling.build(shape)

    def meet(self, words, mask, memory, memory_mask, questions, training):
        """Returns joint [R,D] and the weights [R,N] by which the picture was pooled."""
        for parts in self.word_layers:
            words = self._look(parts, "self", words, None, mask, training)
            words = self._think(parts, words, training)
        words = self.word_norm(words)
        picture = memory
        for i, parts in enumerate(self.picture_layers):
            picture = self._look(parts, "self", picture, None, memory_mask, training)
            if i == 0:
                picture = ops.repeat(picture, questions, axis=0)
                if memory_mask is not None:
                    memory_mask = ops.repeat(memory_mask, questions, axis=0)
            picture = self._look(parts, "guide", picture, words, mask, training)
            picture = self._think(parts, picture, training)
        asked, _ = self.word_pooling(words, token_mask=mask)
        seen, weights = self.picture_pooling(self.picture_norm(picture), token_mask=memory_mask)
        return self.joint_norm(asked + seen), weights

    def _look(self, parts, look, tokens, memory, mask, training):
        """Adds what tokens see of a memory, or of themselves."""
        asked = parts[f"{look}_norm"](tokens)
        memory = asked if memory is None else memory
        seen, _ = parts[look](asked, memory, memory_mask=mask, training=training)
        return tokens + self.dropout(seen, training=training)

    def _think(self, parts, tokens, training):
        thought = parts["narrow"](parts["widen"](parts["think_norm"](tokens)))
        return tokens + self.dropout(thought, training=training)

    def get_config(self):
        """Returns the constructor's arguments, for Keras's saving."""
        return {
            **super().get_config(),
            "num_layers": self.num_layers,
            "num_heads": self.num_heads,
        }
