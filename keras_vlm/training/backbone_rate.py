"""Optimizers that give the backbone a learning rate of its own.

Keras's own ``MultiOptimizer`` finds variables by the paths of their names. Some networks number
their layers by how many were made before, so that a saved file would not find them again: here
variables are known by their places. Refuses to know tasks and data.
"""

import keras


class BackboneRate:
    """Abstract, mixed into an optimizer: some variables learn at another rate than the others.

    Weight decay, which goes by the learning rate, is theirs too.

    Args:
        *args: as for the optimizer.
        backbone_ratio: their learning rate, divided by that of the others.
        backbone_places: which these are, by their places in the list of variables the optimizer is
            built with; until it is built they may be set as an attribute.
        **kwargs: as for the optimizer.
    """

    def __init__(self, *args, backbone_ratio=1.0, backbone_places=(), **kwargs):
        super().__init__(*args, **kwargs)
        self.backbone_ratio = backbone_ratio
        self.backbone_places = tuple(backbone_places)

    def build(self, variables):
        """Makes the optimizer's own variables."""
        if not self.built and self.weight_decay:
            # `update_step` does it, at their rate.
            theirs = [variables[place] for place in self.backbone_places]
            self.exclude_from_weight_decay(var_list=theirs)
        super().build(variables)

    def update_step(self, gradient, variable, learning_rate):
        """Moves one variable."""
        if self._get_variable_index(variable) in self.backbone_places:
            learning_rate = learning_rate * self.backbone_ratio
            if self.weight_decay:
                decay = keras.ops.cast(learning_rate * self.weight_decay, variable.dtype)
                self.assign_sub(variable, variable * decay)
        super().update_step(gradient, variable, learning_rate)

    def get_config(self):
        """Returns the constructor's arguments, for Keras's saving."""
        return {
            **super().get_config(),
            "backbone_ratio": self.backbone_ratio,
            "backbone_places": list(self.backbone_places),
        }


@keras.saving.register_keras_serializable("keras_vlm")
class BackboneRateAdamW(BackboneRate, keras.optimizers.AdamW):
    """AdamW; see ``BackboneRate``."""


@keras.saving.register_keras_serializable("keras_vlm")
class BackboneRateAdam(BackboneRate, keras.optimizers.Adam):
    """Adam; see ``BackboneRate``."""


@keras.saving.register_keras_serializable("keras_vlm")
class BackboneRateSGD(BackboneRate, keras.optimizers.SGD):
    """SGD; see ``BackboneRate``."""


BACKBONE_RATES = {
    "adamw": BackboneRateAdamW,
    "adam": BackboneRateAdam,
    "sgd": BackboneRateSGD,
}


def find_backbone(model):
    """Returns the places of the backbone's variables among all that a model learns.

    Args:
        model: a model with a ``picture_encoder``.

    Returns:
        A tuple of whole numbers.
    """
    encoder = model.picture_encoder
    # Of one with regions, what gives the grid.
    encoder = getattr(encoder, "backbone", encoder)
    theirs = {id(variable) for variable in encoder.trainable_variables}
    learned = enumerate(model.trainable_variables)
    return tuple(place for place, variable in learned if id(variable) in theirs)
