"""Dot-product attention with one head.

Dimension letters: see the package's docstring.
"""

import keras

from keras_vlm.fusion.base import KeyFusion


@keras.saving.register_keras_serializable("keras_vlm")
class DotProductFusion(KeyFusion):
    """Scores ``W query . U memory`` over the grid, by ``keras.layers.Attention``.

    Source:
        Luong et al. 2015, https://arxiv.org/abs/1508.04025 (its "general" score). Where the paper
        has no scale we start at ``1 / sqrt(units)`` and learn it.
    """

    def make_attention(self, shapes):
        """Returns the scoring layer, built for ``[query, values, keys]`` shapes."""
        attention = keras.layers.Attention(
            use_scale=True, name="attention", dtype=self.dtype_policy
        )
        attention.build(shapes)
        attention.scale.assign(shapes[-1][-1] ** -0.5)
        return attention
