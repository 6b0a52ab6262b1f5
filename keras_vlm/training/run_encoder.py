"""The encoder that a training run begins with: by name, taken over from a model, with regions.

Refuses to know tasks, data and optimizers.
"""

import dataclasses
import pathlib

from keras_vlm.core.checks import check_choice
from keras_vlm.vision.backbones import BACKBONES, Backbone, resolve_backbone
from keras_vlm.vision.foreign import FOREIGN
from keras_vlm.vision.regions import RegionEncoder, parse_regions
from keras_vlm.zoo import list_models, load

# The copy of the model that a run takes its encoder from, there until it is done.
BACKBONE = "backbone.keras"
# Pixels a side where nothing says another size.
IMAGE_SIZE = 224


def make_backbone(run, dtype):
    """Makes the encoder that a run begins with.

    Args:
        run: a ``TrainingRun``.
        dtype: Keras dtype policy.

    Returns:
        A ``Backbone``, or a ``RegionEncoder`` of one.

    Raises:
        TypeError: the encoder of the model that ``backbone`` names is none.
        ValueError: an option does not go with the backbone.
    """
    where = type(run).__name__
    backbone = _make_grid(run, dtype)
    regions = parse_regions(where, run.regions)
    if regions == ("grid",):
        return backbone
    if not hasattr(backbone, "region_shapes"):
        return RegionEncoder(backbone, run.regions, max_regions=run.max_regions)
    if (backbone.regions, backbone.max_regions) != (regions, run.max_regions):
        raise ValueError(
            f"{where}: regions must be {'+'.join(backbone.regions)!r} with max_regions "
            f"{backbone.max_regions}, those of {run.backbone}, got {run.regions!r} with "
            f"{run.max_regions}. Leave them out."
        )
    return backbone


def _make_grid(run, dtype):
    """Makes the backbone alone.

    Raises:
        TypeError: the encoder of the model that ``backbone`` names is none.
        ValueError: an option does not go with the backbone.
    """
    if run.backbone in BACKBONES:
        return Backbone(
            run.backbone,
            image_size=run.image_size or IMAGE_SIZE,
            weights=None if run.backbone == "conv_small" else "imagenet",
            trainable_from=_trainable_from(run, run.backbone),
            resize=run.resize,
            dtype=dtype,
        )
    defaults = {field.name: field.default for field in dataclasses.fields(run)}
    if run.backbone.partition(":")[0] in FOREIGN:
        for name in ("trainable_from", "resize"):
            if getattr(run, name) != defaults[name]:
                raise ValueError(
                    f"{type(run).__name__}: {name} must be {defaults[name]!r} with the backbone "
                    f"{run.backbone}, got {getattr(run, name)!r}. Leave it out, or build and fit "
                    "the model in Python (keras_vlm.vision.foreign)."
                )
        return resolve_backbone(run.backbone, run.image_size or IMAGE_SIZE, dtype=dtype)
    copy = pathlib.Path(run.out) / BACKBONE
    # The error would list published models only, where the user may have meant a backbone.
    if not copy.exists() and not is_model(run.backbone):
        check_choice(type(run).__name__, "backbone", run.backbone, BACKBONES)
    found = load(copy if copy.exists() else run.backbone).picture_encoder
    _check_backbone(run, "backbone", found)
    # Its own size and way to resize, unless others are asked for.
    changes = {
        name: getattr(run, name)
        for name in ("image_size", "resize")
        if getattr(run, name) != defaults[name]
    }
    return found.thawed(_trainable_from(run, found.architecture), dtype=dtype, **changes)


def thaw_start(run, found, kind, *, clips=False):
    """Returns the encoder of the model that a run goes on from, with the layers that shall learn.

    Args:
        run: a ``TrainingRun`` with a ``start``.
        found: the model.
        kind: the class of the task's models.
        clips: whether the run is of clips, and may go on from a model of these.

    Returns:
        A ``Backbone``, or a ``FrameEncoder`` of a model of clips.

    Raises:
        TypeError: the model is of another task, or its encoder is no ``Backbone``.
        ValueError: the model reads another language, or cannot look at pictures of another size.
    """
    if not isinstance(found, kind) or (found.temporal is not None and not clips):
        raise TypeError(
            f"{type(run).__name__}: start must be a {kind.__name__}, got {run.start!r}, a "
            f"{type(found).__name__}. To take over its encoder alone, pass it as backbone."
        )
    _check_backbone(run, "start", found.encoder)
    check_language(run, "start", found)
    size = run.image_size
    if size is not None and found.image_size != (size, size):
        found = found.at_image_size(size)
    return found.encoder.thawed(_trainable_from(run, found.encoder.architecture))


def is_model(name):
    """Returns whether a name is that of a published model or of a file."""
    return pathlib.Path(name).exists() or name in {model["name"] for model in list_models()}


def check_language(run, option, found):
    """Raises unless a model reads the language of a run.

    Args:
        run: a ``TrainingRun``.
        option: the option that names the model.
        found: the model.

    Raises:
        ValueError: it reads another.
    """
    if found.tokenizer.language != run.language:
        raise ValueError(
            f"{type(run).__name__}: language must be {found.tokenizer.language!r}, that of "
            f"{getattr(run, option)}, got {run.language!r}."
        )


def _check_backbone(run, option, encoder):
    """Raises unless an encoder is a ``Backbone``.

    Raises:
        TypeError: it is none.
    """
    # Of one with regions, what gives the grid.
    if not hasattr(getattr(encoder, "backbone", encoder), "thawed"):
        raise TypeError(
            f"{type(run).__name__}: {option} must have a Backbone, of which layers can be chosen, "
            f"got {getattr(run, option)!r}, whose encoder is a {type(encoder).__name__}. Build and "
            "fit it in Python."
        )


def _trainable_from(run, architecture):
    """Returns the layer from which on a backbone learns: all of one without pretrained weights."""
    return "all" if architecture == "conv_small" else run.trainable_from
