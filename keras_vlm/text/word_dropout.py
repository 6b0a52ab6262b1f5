"""Word dropout: in training some words are read as unknown ones.

Refuses to know what reads them. Dimension letters: T text positions.
"""

import keras
from keras import ops

from keras_vlm.core.checks import check_number
from keras_vlm.text.tokenizer import END_ID, UNKNOWN_ID


@keras.saving.register_keras_serializable("keras_vlm")
class WordDropout(keras.layers.Layer):
    """token_ids [...,T] int32 -> the same, in training with a share of the words made unknown.

    Padding, start and end are no words and stay. A model so learns to do without any one word, and
    the unknown word gets a vector that is trained, even where the data have no unknown word.

    Args:
        rate: share of the words that are made unknown.
        seed: what is drawn depends on it, and on what was drawn before; None for Keras's own.
        **kwargs: ``name``, ``dtype`` of the layer.

    Raises:
        ValueError: ``rate`` is out of range.

    Source:
        Bowman et al. 2016, "Generating Sentences from a Continuous Space",
        https://arxiv.org/abs/1511.06349, section 3.1, who drop the words that a decoder is fed.
    """

    def __init__(self, rate, *, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.rate = check_number("WordDropout", "rate", rate, minimum=0, maximum=0.99)
        self.seed = seed
        # As Keras's dropout: one that drops nothing has no state to save.
        if rate:
            self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, token_ids, training=False):
        """Returns token_ids [...,T]."""
        if not (training and self.rate):
            return token_ids
        drawn = keras.random.uniform(ops.shape(token_ids), seed=self.seed_generator)
        dropped = ops.logical_and(drawn < self.rate, token_ids > END_ID)
        return ops.where(dropped, ops.cast(UNKNOWN_ID, token_ids.dtype), token_ids)

    def compute_output_shape(self, token_ids_shape):
        """Returns the same shape."""
        return token_ids_shape

    def get_config(self):
        """Returns the constructor's arguments, for Keras's saving."""
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}
