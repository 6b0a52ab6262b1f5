"""What the training runs of all tasks share: options, the output folder, resuming, the optimizer.

Refuses to know any one task and the command line.
"""

import dataclasses
import json
import pathlib
import shutil
from typing import ClassVar

import keras

from keras_vlm.core.checks import check_choice, check_number
from keras_vlm.core.files import check_output_folder, replace_file, write_json
from keras_vlm.data import load_data
from keras_vlm.tasks.base import PRECISIONS
from keras_vlm.text import TEXT_ENCODERS
from keras_vlm.text.foreign import PREFIX
from keras_vlm.text.units import ANSWER_UNITS, UNITS
from keras_vlm.training.backbone_rate import BACKBONE_RATES, find_backbone
from keras_vlm.training.callbacks import TrainingBackup
from keras_vlm.training.cost import COST, RunCost
from keras_vlm.training.plots import plot_history
from keras_vlm.training.run_encoder import BACKBONE, is_model
from keras_vlm.training.schedules import SCHEDULES, build_schedule
from keras_vlm.vision.augmentation import AUGMENTATIONS
from keras_vlm.vision.backbones import BACKBONES
from keras_vlm.vision.regions import parse_regions
from keras_vlm.zoo import load

OPTIMIZERS = {
    "adamw": keras.optimizers.AdamW,
    "adam": keras.optimizers.Adam,
    "sgd": keras.optimizers.SGD,
}

# Options that are None or a number within these limits.
OPTIONAL_NUMBERS = {
    "image_size": {"minimum": 1, "integer": True},
    "patience": {"minimum": 1, "integer": True},
    "backbone_rate": {"minimum": 0},
}

# The copy of the model that a run goes on from, there until it is done.
START = "start.keras"


@dataclasses.dataclass(frozen=True)
class TrainingRun:
    """Abstract: the options of every task's run; each field is a flag of ``keras-vlm train``.

    Attributes:
        data: name of a data source, such as ``flickr8k:DIR``.
        out: output folder: ``model.keras``, ``scores.json``, ``log.csv``, ``curves.png``,
            ``cost.json``, ``run.json``, and ``backup/`` while the run lasts.
        split: split to train on.
        validation_split: split that chooses the best epoch; never trained on.
        language: language of the captions or questions.
        start: a model of the same task to go on from, a file or a published name, or None to begin
            anew. Its words, layers and weights are taken over; options that describe these
            (``OF_THE_MODEL``) are not used and must be left alone. It is scored first: where
            nothing is better, it is the run's best model.
        backbone: name of a backbone, or a model of this package, a file or a published name, whose
            encoder is taken over, with its ``image_size`` and ``resize`` where these are left
            alone.
        trainable_from: None to freeze the backbone, ``"all"``, or the layer from which on it
            learns; ``conv_small``, which has no weights from ImageNet, learns as a whole.
        image_size: pixels a side; None for 224, or what ``start`` or a model as backbone looks at.
        resize: ``"stretch"``, ``"crop"`` or ``"pad"``: what becomes of a picture's aspect.
        regions: ``"grid"``, or what becomes picture tokens beside it or in its place: ``"boxes"``,
            ``"masks"``, ``"grid+boxes"``, ... of the data.
        max_regions: boxes, and masks, of a picture at most.
        augment: None, ``"flip"`` or another augmentation.
        cache: folder of the feature cache, ``"auto"`` for ``OUT/features`` where the backbone is
            frozen and the augmentation allows it, ``"auto:DIR"`` for a folder that runs share where
            they allow it, or None.
        unit: what text is split into: ``"word"``, ``"character"``, ``"jieba"`` or ``"piece"``; None
            chooses by the language.
        minimum_count: words seen fewer times are unknown.
        max_length: positions of a caption or question, start and end included.
        word_vectors: a word2vec, GloVe or fastText text file with which the words begin, or None.
        epochs: passes over the training split.
        batch_size: pictures a step.
        captions_per_image: captions, or questions, of each picture a step.
        optimizer: ``"adamw"``, ``"adam"`` or ``"sgd"``.
        learning_rate: its peak.
        schedule: how the learning rate goes on after its warm-up: ``"cosine"`` and ``"linear"``
            fall to a hundredth of the peak, ``"inverse_sqrt"`` as the steps' square root grows;
            ``"constant"`` stays.
        warmup: share of the steps over which the learning rate rises from 0 to its peak.
        backbone_rate: the same for those layers of the backbone that learn, which rises and falls
            alike; None for the same peak. Layers that were pretrained want less than new ones.
        weight_decay: of AdamW.
        average: momentum of the moving average of the weights that is scored and kept; 0 for none.
        patience: epochs without a better score before stopping, or None.
        precision: ``"float32"``, ``"mixed_bfloat16"``, ``"mixed_float16"``.
        seed: everything random flows from it.

    Raises:
        ValueError: an option is unknown or out of range, or does not go with ``start``.
    """

    # What a model to go on from has already: a run can no longer choose it, and does not note it.
    OF_THE_MODEL: ClassVar = (
        "backbone", "resize", "regions", "max_regions",
        "unit", "minimum_count", "max_length", "word_vectors", "precision",
    )  # fmt: skip
    # Options that are names, and the tables that have them.
    TABLES: ClassVar = {
        "optimizer": OPTIMIZERS, "precision": PRECISIONS, "schedule": SCHEDULES,
    }  # fmt: skip

    data: str
    out: str
    split: str = "train"
    validation_split: str = "val"
    language: str = "en"
    start: str | None = None
    backbone: str = "efficientnet_lite0"
    trainable_from: str | None = None
    image_size: int | None = None
    resize: str = "stretch"
    regions: str = "grid"
    max_regions: int = 16
    augment: str | None = None
    cache: str | None = "auto"
    unit: str | None = None
    minimum_count: int = 5
    max_length: int = 22
    word_vectors: str | None = None
    epochs: int = 12
    batch_size: int = 32
    captions_per_image: int = 5
    optimizer: str = "adamw"
    learning_rate: float = 1e-3
    schedule: str = "cosine"
    warmup: float = 0.05
    backbone_rate: float | None = None
    weight_decay: float = 0.01
    average: float = 0.0
    patience: int | None = None
    precision: str = "float32"
    seed: int = 0

    def __post_init__(self):
        """Checks what nobody else checks before the work begins.

        Raises:
            ValueError: an option is unknown or out of range, or does not go with ``start``.
        """
        where = type(self).__name__
        for name, table in self.TABLES.items():
            foreign = table is TEXT_ENCODERS and self.text.startswith(PREFIX)
            if not foreign:
                check_choice(where, name, getattr(self, name), table)
        if self.word_vectors is not None and getattr(self, "text", "").startswith(PREFIX):
            raise ValueError(
                f"{where}: word_vectors must be left out with text={self.text!r}, got "
                f"{self.word_vectors!r}. That model has words of its own."
            )
        if self.augment is not None:
            check_choice(where, "augment", self.augment, AUGMENTATIONS)
        for name in ("epochs", "batch_size", "captions_per_image"):
            check_number(where, name, getattr(self, name), minimum=1, integer=True)
        given = (name for name in OPTIONAL_NUMBERS if getattr(self, name) is not None)
        for name in given:
            check_number(where, name, getattr(self, name), **OPTIONAL_NUMBERS[name])
        if self.unit is not None:
            units = [unit for unit in UNITS if unit not in ANSWER_UNITS]
            check_choice(where, "unit", self.unit, units)
        parse_regions(where, self.regions)
        check_number(where, "average", self.average, minimum=0, maximum=0.9999)
        check_number(where, "warmup", self.warmup, minimum=0, maximum=1)
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        for name, owner in self.taken_over().items():
            if getattr(self, name) != defaults[name]:
                raise ValueError(
                    f"{where}: {name} is {owner}, got {getattr(self, name)!r}. Leave it out."
                )

    def taken_over(self):
        """Returns the options that another model decides: a dict from a name to whose they are."""
        if self.start is None:
            return {}
        return dict.fromkeys(self.OF_THE_MODEL, "the model's own where start is given")

    def open_data(self):
        """Opens the data; returns a ``Splits``."""
        return load_data(self.data, language=self.language, texts="captions")

    def batch_options(self, *, training):
        """Returns the options of ``model.batches`` that a task decides, in training or not."""
        return {"captions_per_image": self.captions_per_image}


def train(run, *, build, scores, fit_options=None, verbose=1, callbacks=()):
    """Trains a model, or goes on with a run that was interrupted.

    Args:
        run: a ``TrainingRun``.
        build: function of the run, the training split, the model to go on from (or None) and a
            Keras optimizer -> a compiled model.
        scores: function of the validation split and keyword arguments -> a ``ScoresCallback``.
        fit_options: function of the training split and the model -> more arguments for ``fit``, or
            None.
        verbose: 1 for progress bars, 0 for silence.
        callbacks: more Keras callbacks, such as one that sets ``model.stop_training``. They are
            called when ``scores.json`` has an epoch's scores and before the epoch counts as done,
            so that a kill never leaves one out; after a kill they may see an epoch again.

    Returns:
        The best model, which is also in ``OUT/model.keras``.

    Raises:
        ValueError: both splits are the same; and what else the parts raise.
    """
    out = pathlib.Path(run.out)
    claim_folder(run, out)
    if (out / "model.keras").exists():
        return _finish(out)
    cost = RunCost(out)
    data = run.open_data()
    training, validation = data[run.split], data[run.validation_split]
    if training is validation:
        raise ValueError(
            f"{type(run).__name__}: validation_split must be another split than the one trained "
            f"on, got {run.validation_split!r}. {run.data} has {', '.join(data)}."
        )
    found = _open_start(run, out)
    # Loading draws seeds, and a resumed run loads less.
    keras.utils.set_random_seed(run.seed)
    optimizer = build_optimizer(run, count_steps(run, training))
    model = build(run, training, found, optimizer)
    if run.backbone_rate is not None:
        optimizer.backbone_places = _backbone_places(run, model)
    batches, validation_batches = _batches(run, out, model, training, validation)
    model.fit(
        batches,
        validation_data=validation_batches,
        epochs=run.epochs,
        verbose=verbose,
        callbacks=[
            scores(
                validation,
                out,
                patience=run.patience,
                score_start=run.start is not None,
                training_examples=training,
            ),
            *callbacks,
            cost,
            # Last: what the scores wrote for an epoch is there before the epoch counts as done.
            # It stays until the model is there: whatever happens from here on is not trained again.
            TrainingBackup(out / "backup", delete_checkpoint=False),
        ],
        **(fit_options(training, model) if fit_options else {}),
    )
    plot_history(json.loads((out / "scores.json").read_text(encoding="utf-8")), out / "curves.png")
    (out / "best.keras").rename(out / "model.keras")
    return _finish(out)


def count_steps(run, training):
    """Returns the steps of a whole run.

    Args:
        run: a ``TrainingRun``.
        training: the data split that is trained on.
    """
    return run.epochs * max(1, len(training) // run.batch_size)


def build_optimizer(run, steps):
    """Makes a run's optimizer, with its schedule.

    Args:
        run: a ``TrainingRun``.
        steps: steps of the whole run.

    Returns:
        A Keras optimizer.

    Raises:
        ValueError: the learning rate is 0, and the backbone has one of its own.
    """
    schedule = build_schedule(run.schedule, run.learning_rate, steps, run.warmup)
    options = {"clipnorm": 5.0}
    if run.average:
        options |= {"use_ema": True, "ema_momentum": run.average}
    if run.optimizer == "adamw":
        options["weight_decay"] = run.weight_decay
    if run.backbone_rate is None:
        return OPTIMIZERS[run.optimizer](schedule, **options)
    if not run.learning_rate:
        raise ValueError(
            f"{type(run).__name__}: learning_rate must be above 0 with backbone_rate, got "
            f"{run.learning_rate!r}."
        )
    ratio = run.backbone_rate / run.learning_rate
    return BACKBONE_RATES[run.optimizer](schedule, backbone_ratio=ratio, **options)


def _backbone_places(run, model):
    """Returns which of a model's variables learn at the backbone's rate.

    Raises:
        ValueError: there are none.
    """
    places = find_backbone(model)
    if not places:
        raise ValueError(
            f"{type(run).__name__}: backbone_rate must be left out where no layer of the backbone "
            f"learns, got {run.backbone_rate:g}. Say from which layer on: trainable_from."
        )
    return places


def _open_start(run, out):
    """Returns the model that a run goes on from, or None; keeps copies of what it begins with."""
    # Copies: whatever becomes of the other files, this run can be resumed.
    if run.start is None and run.backbone not in BACKBONES and is_model(run.backbone):
        _keep(run.backbone, out / BACKBONE)
    if run.start is None:
        return None
    _keep(run.start, out / START)
    return load(out / START)


def _keep(name, path):
    """Writes a copy of a model, if it is not there."""
    if not path.exists():
        found = load(name)
        with replace_file(path) as temporary:
            found.save(temporary)


def claim_folder(run, out):
    """Notes the run's options in its folder, or checks that they are the ones noted there.

    Args:
        run: a ``TrainingRun``.
        out: its output folder, a ``pathlib.Path``.

    Raises:
        FileExistsError: they are others.
    """
    unused = {"out", *run.taken_over()}
    options = {k: v for k, v in dataclasses.asdict(run).items() if k not in unused}
    # Notes of before there were other tasks do not name theirs.
    options["run"] = type(run).__name__
    note = out / "run.json"
    if not note.exists():
        check_output_folder(out)
        write_json(note, options)
        return
    noted = json.loads(note.read_text(encoding="utf-8"))
    defaults = {field.name: field.default for field in dataclasses.fields(run)}
    defaults["run"] = "CaptioningRun"
    changed = [key for key in options if options[key] != noted.get(key, defaults[key])]
    # Where features are kept changes nothing; only whether they are.
    if "cache" in changed and None not in (noted.get("cache", "auto"), options["cache"]):
        changed.remove("cache")
    if not changed:
        return
    # Before its first backup a run has nothing to lose: a wrong option may be put right.
    if not any((out / name).exists() for name in ("backup", "model.keras")):
        for name in (START, BACKBONE, "best.keras", "scores.json", "log.csv", COST):
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
    for name in (START, BACKBONE):
        (out / name).unlink(missing_ok=True)
    shutil.rmtree(out / "backup", ignore_errors=True)
    return keras.saving.load_model(out / "model.keras")


def _batches(run, out, model, training, validation):
    cache = run.cache
    if cache is not None and cache.partition(":")[0] == "auto":
        plain = not model.region_shapes
        frozen = getattr(model.encoder, "frozen", False)
        cacheable = plain and frozen and run.augment in {None, "flip"}
        cache = (cache.partition(":")[2] or out / "features") if cacheable else None
    options = {"cache": cache, "seed": run.seed}
    learned = {"shuffle": True, "augment": run.augment, **run.batch_options(training=True)}
    scored = {"shuffle": False, **run.batch_options(training=False)}
    return (
        model.batches(training, run.batch_size, **learned, **options),
        model.batches(validation, run.batch_size, **scored, **options),
    )
