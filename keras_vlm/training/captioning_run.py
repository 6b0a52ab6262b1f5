"""One whole training run of a captioner: from the name of a data source to the best model.

The command line and the recipes call it; running it again with the same options resumes it.
Refuses to know the command line.
"""

import dataclasses
import json
import pathlib
import shutil

import keras

from keras_vlm.core.checks import check_choice, check_number
from keras_vlm.core.files import check_output_folder, replace_file, write_json
from keras_vlm.data import load_data
from keras_vlm.fusion import FUSIONS
from keras_vlm.tasks.captioning import PRECISIONS, build_captioner
from keras_vlm.text import TEXT_DECODERS, Tokenizer
from keras_vlm.text.decoder import fresh_copy
from keras_vlm.training.callbacks import CaptionScores, TrainingBackup
from keras_vlm.training.plots import plot_history
from keras_vlm.training.self_critical import SelfCritical
from keras_vlm.vision.augmentation import AUGMENTATIONS
from keras_vlm.vision.backbones import Backbone
from keras_vlm.zoo import load

OPTIMIZERS = {
    "adamw": keras.optimizers.AdamW,
    "adam": keras.optimizers.Adam,
    "sgd": keras.optimizers.SGD,
}

# The copy of the model that a run goes on from, there until the run is done.
START = "start.keras"

OBJECTIVES = ("cross_entropy", "self_critical")

# What a model to go on from has already: a run can no longer choose it, and does not note it.
OF_THE_MODEL = (
    "backbone", "text", "fusion", "hidden_dim", "dropout", "memory_dropout", "image_size", "resize",
    "minimum_count", "max_length", "precision",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class CaptioningRun:
    """The options of a run; every field is a flag of ``keras-vlm train``.

    Attributes:
        data: name of a data source, such as ``flickr8k:DIR``.
        out: output folder: ``model.keras``, ``scores.json``, ``log.csv``, ``curves.png``,
            ``run.json``, and ``backup/`` while the run lasts.
        split: split to train on.
        validation_split: split that chooses the best epoch; never trained on.
        language: language of the captions.
        start: a captioner to go on from, a file or a published name, or None to begin anew. Its
            words, layers and weights are taken over; options that describe these (``OF_THE_MODEL``)
            are not used and must be left alone. It is scored first: where nothing is better, it is
            the run's best model.
        objective: ``"cross_entropy"``, or ``"self_critical"`` for a second stage that follows the
            CIDEr-D of captions the model draws itself (``SelfCritical``) and wants ``start``.
        backbone: name of a backbone.
        trainable_from: None to freeze the backbone, ``"all"``, or the layer from which on it
            learns; ``conv_small``, which has no weights from ImageNet, learns as a whole.
        text: ``"lstm"`` or ``"transformer"``.
        fusion: name of a fusion.
        hidden_dim: model width.
        dropout: share of the words' units dropped.
        memory_dropout: share of the picture's units dropped.
        image_size: pixels a side.
        resize: ``"stretch"``, ``"crop"`` or ``"pad"``: what becomes of a picture's aspect.
        augment: None, ``"flip"`` or another augmentation.
        cache: folder of the feature cache, ``"auto"`` for ``OUT/features`` where the backbone is
            frozen and the augmentation allows it, or None.
        minimum_count: words seen fewer times are unknown.
        max_length: positions of a caption, start and end included.
        epochs: passes over the training split.
        batch_size: pictures a step.
        captions_per_image: captions of each picture a step.
        optimizer: ``"adamw"``, ``"adam"`` or ``"sgd"``.
        learning_rate: its peak; it rises over the first 5 % of the steps and falls as a cosine.
        weight_decay: of AdamW.
        label_smoothing: share of the target spread over the vocabulary.
        average: momentum of the moving average of the weights that is scored and kept; 0 for none.
        patience: epochs without a better CIDEr-D before stopping, or None.
        precision: ``"float32"``, ``"mixed_bfloat16"``, ``"mixed_float16"``.
        seed: everything random flows from it.

    Raises:
        ValueError: an option is unknown or out of range, or does not go with ``start``.
    """

    data: str
    out: str
    split: str = "train"
    validation_split: str = "val"
    language: str = "en"
    start: str | None = None
    objective: str = "cross_entropy"
    backbone: str = "efficientnet_lite0"
    trainable_from: str | None = None
    text: str = "transformer"
    fusion: str = "attention"
    hidden_dim: int = 384
    dropout: float = 0.5
    memory_dropout: float = 0.1
    image_size: int = 224
    resize: str = "stretch"
    augment: str | None = None
    cache: str | None = "auto"
    minimum_count: int = 5
    max_length: int = 22
    epochs: int = 12
    batch_size: int = 32
    captions_per_image: int = 5
    optimizer: str = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    label_smoothing: float = 0.1
    average: float = 0.0
    patience: int | None = None
    precision: str = "float32"
    seed: int = 0

    def __post_init__(self):
        """Checks what nobody else checks before the work begins.

        Raises:
            ValueError: an option is unknown or out of range, or does not go with ``start``.
        """
        where = "CaptioningRun"
        tables = {
            "text": TEXT_DECODERS,
            "fusion": FUSIONS,
            "optimizer": OPTIMIZERS,
            "precision": PRECISIONS,
            "objective": OBJECTIVES,
        }
        for name, table in tables.items():
            check_choice(where, name, getattr(self, name), table)
        if self.augment is not None:
            check_choice(where, "augment", self.augment, AUGMENTATIONS)
        for name in ("epochs", "batch_size", "captions_per_image"):
            check_number(where, name, getattr(self, name), minimum=1, integer=True)
        if self.patience is not None:
            check_number(where, "patience", self.patience, minimum=1, integer=True)
        check_number(where, "average", self.average, minimum=0, maximum=0.9999)
        if self.start is None:
            if self.objective != "cross_entropy":
                raise ValueError(
                    f"{where}: start must be a captioner with the objective {self.objective!r}, "
                    "got None. It is a second stage: train with cross_entropy first."
                )
            return
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        for name in OF_THE_MODEL:
            if getattr(self, name) != defaults[name]:
                raise ValueError(
                    f"{where}: {name} is the model's own where start is given, got "
                    f"{getattr(self, name)!r}. Leave it out, or begin anew without start."
                )


def train_captioner(run, *, verbose=1):
    """Trains a captioner, or goes on with a run that was interrupted.

    Args:
        run: a ``CaptioningRun``.
        verbose: 1 for progress bars, 0 for silence.

    Returns:
        The best ``Captioner``, which is also in ``OUT/model.keras``.

    Raises:
        FileExistsError: the output folder holds something else, or a run with other options.
        FileNotFoundError: there is no such ``start``.
        TypeError: ``start`` has no ``Backbone``, of which layers can be chosen.
        DataError: ``start``, or a file of the data, is damaged.
        ValueError: an option is unknown or out of range, both splits are the same, or ``start``
            writes another language.
    """
    out = pathlib.Path(run.out)
    _claim_folder(run, out)
    if (out / "model.keras").exists():
        return _finish(out)
    keras.utils.set_random_seed(run.seed)
    data = load_data(run.data, language=run.language)
    training, validation = data[run.split], data[run.validation_split]
    if training is validation:
        raise ValueError(
            f"CaptioningRun: validation_split must be another split than the one trained on, got "
            f"{run.validation_split!r}. {run.data} has {', '.join(data)}."
        )
    if run.start is not None and not (out / START).exists():
        # A copy: whatever becomes of the other file, this run can be resumed.
        with replace_file(out / START) as temporary:
            load(run.start).save(temporary)
    captioner = _build(run, training)
    batches, validation_batches = _batches(run, out, captioner, training, validation)
    captioner.fit(
        batches,
        validation_data=validation_batches,
        epochs=run.epochs,
        verbose=verbose,
        objective=None
        if run.objective == "cross_entropy"
        else SelfCritical(training, captioner.tokenizer, seed=run.seed),
        callbacks=[
            CaptionScores(
                validation, out, patience=run.patience, score_start=run.start is not None
            ),
            # Last: what the scores wrote for an epoch is there before the epoch counts as done.
            # It stays until the model is there: whatever happens from here on is not trained again.
            TrainingBackup(out / "backup", delete_checkpoint=False),
        ],
    )
    plot_history(json.loads((out / "scores.json").read_text(encoding="utf-8")), out / "curves.png")
    (out / "best.keras").rename(out / "model.keras")
    return _finish(out)


def build_optimizer(run, steps):
    """Makes a run's optimizer: its schedule warms up over 5 % of the steps, then falls as a cosine.

    Args:
        run: a ``CaptioningRun``.
        steps: steps of the whole run.

    Returns:
        A Keras optimizer.
    """
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0,
        decay_steps=max(1, round(0.95 * steps)),
        alpha=0.01,
        warmup_target=run.learning_rate,
        warmup_steps=max(1, round(0.05 * steps)),
    )
    options = {"clipnorm": 5.0}
    if run.average:
        options |= {"use_ema": True, "ema_momentum": run.average}
    if run.optimizer == "adamw":
        options["weight_decay"] = run.weight_decay
    return OPTIMIZERS[run.optimizer](schedule, **options)


def _claim_folder(run, out):
    """Notes the run's options in its folder, or checks that they are the ones noted there.

    Raises:
        FileExistsError: they are others.
    """
    unused = {"out"} if run.start is None else {"out", *OF_THE_MODEL}
    options = {k: v for k, v in dataclasses.asdict(run).items() if k not in unused}
    note = out / "run.json"
    if not note.exists():
        check_output_folder(out)
        write_json(note, options)
        return
    noted = json.loads(note.read_text(encoding="utf-8"))
    defaults = {field.name: field.default for field in dataclasses.fields(run)}
    changed = [key for key in options if options[key] != noted.get(key, defaults[key])]
    if not changed:
        return
    # Before its first backup a run has nothing to lose: a wrong option may be put right.
    if not any((out / name).exists() for name in ("backup", "model.keras")):
        for name in (START, "best.keras", "scores.json", "log.csv"):
            (out / name).unlink(missing_ok=True)
        write_json(note, options)
        return
    key = changed[0]
    raise FileExistsError(
        f"{out} holds a run with other options: {key} was {noted.get(key, defaults[key])!r}, now "
        f"{options[key]!r}. Choose another output folder, or pass the options in run.json."
    )


def _finish(out):
    """Removes what only an interrupted run needs; returns the best model."""
    (out / START).unlink(missing_ok=True)
    shutil.rmtree(out / "backup", ignore_errors=True)
    return keras.saving.load_model(out / "model.keras")


def _build(run, training):
    steps = run.epochs * max(1, len(training) // run.batch_size)
    if run.start is not None:
        return _go_on(run, steps)
    tokenizer = Tokenizer.fit(
        training,
        max_length=run.max_length,
        minimum_count=run.minimum_count,
        language=run.language,
    )
    policy = keras.DTypePolicy(run.precision)
    decoder = TEXT_DECODERS[run.text](
        FUSIONS[run.fusion](dtype=policy),
        hidden_dim=run.hidden_dim,
        dropout=run.dropout,
        memory_dropout=run.memory_dropout,
        dtype=policy,
    )
    return build_captioner(
        Backbone(
            run.backbone,
            image_size=run.image_size,
            weights=None if run.backbone == "conv_small" else "imagenet",
            trainable_from=_trainable_from(run, run.backbone),
            resize=run.resize,
            dtype=policy,
        ),
        tokenizer=tokenizer,
        text=decoder,
        optimizer=build_optimizer(run, steps),
        label_smoothing=run.label_smoothing,
        precision=run.precision,
    )


def _go_on(run, steps):
    """Returns the model that a run starts with, ready to learn what the run asks for.

    Raises:
        TypeError: its encoder is not a ``Backbone``, of which layers can be chosen.
        ValueError: it writes another language.
    """
    copy = pathlib.Path(run.out) / START
    found = load(copy if copy.exists() else run.start)
    if not hasattr(found.encoder, "thawed"):
        raise TypeError(
            f"CaptioningRun: start must have a Backbone, got {run.start!r}, whose encoder is a "
            f"{type(found.encoder).__name__}. Go on with build_captioner and fit in Python."
        )
    if found.tokenizer.language != run.language:
        raise ValueError(
            f"CaptioningRun: language must be {found.tokenizer.language!r}, that of {run.start}, "
            f"got {run.language!r}."
        )
    decoder = fresh_copy(found.text_decoder)
    captioner = build_captioner(
        found.encoder.thawed(_trainable_from(run, found.encoder.architecture)),
        tokenizer=found.tokenizer,
        text=decoder,
        optimizer=build_optimizer(run, steps),
        label_smoothing=run.label_smoothing,
    )
    decoder.set_weights(found.text_decoder.get_weights())
    return captioner


def _trainable_from(run, architecture):
    """Returns the layer from which on a backbone learns: all of one without pretrained weights."""
    return "all" if architecture == "conv_small" else run.trainable_from


def _batches(run, out, captioner, training, validation):
    options = {"captions_per_image": run.captions_per_image, "seed": run.seed}
    cache = run.cache
    if cache == "auto":
        cacheable = captioner.encoder.frozen and run.augment in {None, "flip"}
        cache = out / "features" if cacheable else None
    return (
        captioner.batches(
            training, run.batch_size, shuffle=True, augment=run.augment, cache=cache, **options
        ),
        captioner.batches(validation, run.batch_size, shuffle=False, cache=cache, **options),
    )
