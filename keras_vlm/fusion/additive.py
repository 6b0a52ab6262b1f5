"""Additive attention: a small network scores each pair of word and picture token.

Dimension letters: see the package's docstring.
"""

import keras

from keras_vlm.fusion.base import KeyFusion


@keras.saving.register_keras_serializable("keras_vlm")
class AdditiveFusion(KeyFusion):
    """Scores ``v . tanh(W query + U memory)`` over the grid, by ``keras.layers.AdditiveAttention``.

    Source:
        Bahdanau et al. 2015, https://arxiv.org/abs/1409.0473; on picture grids Xu et al. 2015,
        "Show, Attend and Tell", https://arxiv.org/abs/1502.03044 (its soft attention).
    """

    def make_attention(self, shapes):
        """Returns the scoring layer, built for ``[query, values, keys]`` shapes."""
        attention = keras.layers.AdditiveAttention(name="attention", dtype=self.dtype_policy)
        attention.build(shapes)
        return attention
