"""One whole training run of a captioner: from the name of a data source to the best model.

The command line and the recipes call it; running it again with the same options resumes it.
Refuses to know the command line.
"""

import dataclasses
from typing import ClassVar

import keras

from keras_vlm.core.checks import check_number
from keras_vlm.fusion import FUSIONS, ConcatFusion
from keras_vlm.tasks.captioning import Captioner, build_captioner
from keras_vlm.text import TEXT_DECODERS
from keras_vlm.text.decoder import fresh_copy
from keras_vlm.text.places import POSITIONS
from keras_vlm.text.transformer import NORMS
from keras_vlm.text.units import UNIT_OF_LANGUAGE, UNITS
from keras_vlm.training.callbacks import CaptionScores
from keras_vlm.training.run import TrainingRun, count_steps, train
from keras_vlm.training.run_encoder import make_backbone, thaw_start
from keras_vlm.training.run_text import make_text_writer, start_words
from keras_vlm.training.self_critical import SelfCritical
from keras_vlm.training.teacher_forcing import TeacherForcing

OBJECTIVES = ("cross_entropy", "self_critical")
# What cross-entropy may have beside, which ``TeacherForcing`` does.
FORCING = ("scheduled_sampling", "attention_regularization")


@dataclasses.dataclass(frozen=True)
class CaptioningRun(TrainingRun):
    """The options of a run beside those of ``TrainingRun``.

    Attributes:
        objective: ``"cross_entropy"``, or ``"self_critical"`` for a second stage that follows the
            CIDEr-D of captions the model draws itself (``SelfCritical``) and wants ``start``. The
            next three go with it alone.
        num_samples: captions that are drawn for each picture.
        bleu_reward: what a caption's BLEU-4 (0 to 1) counts in its reward beside its CIDEr-D (0 to
            10); 0 leaves it out.
        cross_entropy_share: share, from 0 to 1, of the cross-entropy of the references in the loss.
        text: ``"lstm"``, ``"gru"`` or ``"transformer"``.
        fusion: name of a fusion.
        norm: whether a Transformer's layers normalise ``"before"`` or ``"after"`` each part.
        positions: how a Transformer knows the order of words: ``"learned"``, ``"sinusoidal"`` or
            ``"relative"``.
        tie_words: whether words have one vector to be read and to be written by.
        hidden_dim: model width.
        dropout: share of the words' units dropped.
        memory_dropout: share of the picture's units dropped.
        attention_dropout: share of the fusion's weights dropped, where it has heads.
        word_dropout: share of the words that are fed as unknown ones.
        label_smoothing: share of the target spread over the vocabulary.
        scheduled_sampling: probability, at the end of the run, with which a word that is fed is the
            model's own; it rises from 0 in a straight line (``TeacherForcing``).
        attention_regularization: weight of the cost of picture tokens that a caption passes over,
            or looks at again and again (``TeacherForcing``).

    Raises:
        ValueError: an option is unknown or out of range, or does not go with ``start``.
    """

    OF_THE_MODEL: ClassVar = (
        *TrainingRun.OF_THE_MODEL, "text", "fusion", "hidden_dim", "dropout", "memory_dropout",
        "attention_dropout", "word_dropout", "norm", "positions", "tie_words",
    )  # fmt: skip
    TABLES: ClassVar = {
        **TrainingRun.TABLES,
        "text": TEXT_DECODERS,
        "fusion": FUSIONS,
        "norm": NORMS,
        "positions": POSITIONS,
        "objective": OBJECTIVES,
    }

    objective: str = "cross_entropy"
    num_samples: int = 5
    bleu_reward: float = 0.0
    cross_entropy_share: float = 0.0
    text: str = "transformer"
    fusion: str = "attention"
    norm: str = "before"
    positions: str = "learned"
    tie_words: bool = True
    hidden_dim: int = 384
    dropout: float = 0.5
    memory_dropout: float = 0.1
    attention_dropout: float = 0.0
    word_dropout: float = 0.0
    label_smoothing: float = 0.1
    scheduled_sampling: float = 0.0
    attention_regularization: float = 0.0

    def __post_init__(self):
        """Checks what nobody else checks before the work begins.

        Raises:
            ValueError: an option is unknown or out of range, or does not go with ``start``.
        """
        super().__post_init__()
        if self.start is None and self.objective != "cross_entropy":
            raise ValueError(
                f"CaptioningRun: start must be a captioner with the objective {self.objective!r}, "
                "got None. It is a second stage: train with cross_entropy first."
            )
        self._check_self_critical()
        self._check_parts()
        self._check_forcing()
        usual = UNIT_OF_LANGUAGE.get(self.language)
        spaced = usual is not None and UNITS[usual].separator
        if self.unit and spaced and not UNITS[self.unit].separator:
            raise ValueError(
                f"CaptioningRun: unit must be one that writes spaces between words, as 'word' and "
                f"'piece' do, where the language is {self.language!r}, got {self.unit!r}."
            )

    def _check_parts(self):
        """Raises unless the chosen parts have the options that are asked for.

        Raises:
            ValueError: one has not.
        """
        where = type(self).__name__
        for name, usual in (("norm", "before"), ("positions", "learned")):
            value = getattr(self, name)
            if self.text != "transformer" and value != usual:
                raise ValueError(
                    f"{where}: {name} must be {usual!r} with text={self.text!r}, got {value!r}. It "
                    "is a matter of 'transformer'."
                )
        if not self.attention_dropout:
            return
        droppers = [name for name, kind in FUSIONS.items() if "dropout" in kind().get_config()]
        if self.fusion not in droppers:
            raise ValueError(
                f"{where}: attention_dropout must be 0 with the fusion {self.fusion!r}, got "
                f"{self.attention_dropout!r}. It is a matter of {', '.join(map(repr, droppers))}."
            )

    def _check_forcing(self):
        """Raises unless the options of ``TeacherForcing`` are in range and are of use.

        Raises:
            ValueError: one is out of range, or would change nothing.
        """
        where = type(self).__name__
        check_number(where, "scheduled_sampling", self.scheduled_sampling, minimum=0, maximum=1)
        check_number(
            where, "attention_regularization", self.attention_regularization, minimum=0
        )
        for name in FORCING:
            value = getattr(self, name)
            if value and self.objective != "cross_entropy":
                raise ValueError(
                    f"{where}: {name} must be 0 with the objective {self.objective!r}, got "
                    f"{value!r}. It is a matter of cross_entropy."
                )
        if self.attention_regularization and self.start is None:
            _check_looks(self, FUSIONS[self.fusion])

    def _check_self_critical(self):
        """Checks the options of the self-critical objective.

        Raises:
            ValueError: one is out of range, or given with another objective.
        """
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        for name in ("num_samples", "bleu_reward", "cross_entropy_share"):
            value = getattr(self, name)
            if self.objective != "self_critical" and value != defaults[name]:
                raise ValueError(
                    f"CaptioningRun: {name} must be left out with the objective "
                    f"{self.objective!r}, got {value!r}. It goes with 'self_critical'."
                )
        where = "CaptioningRun"
        check_number(where, "num_samples", self.num_samples, minimum=2, integer=True)
        check_number(where, "bleu_reward", self.bleu_reward, minimum=0)
        share = self.cross_entropy_share
        check_number(where, "cross_entropy_share", share, minimum=0, maximum=1)


def train_captioner(run, *, verbose=1, callbacks=()):
    """Trains a captioner, or goes on with a run that was interrupted.

    Args:
        run: a ``CaptioningRun``.
        verbose: 1 for progress bars, 0 for silence.
        callbacks: more Keras callbacks, as for ``run.train``.

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
    return train(
        run,
        build=_build,
        scores=CaptionScores,
        fit_options=lambda training, model: choose_objective(run, training, model),
        verbose=verbose,
        callbacks=callbacks,
    )


def choose_objective(run, training, captioner):
    """Makes the objective of a run, an argument of ``Captioner.fit``.

    Args:
        run: a ``CaptioningRun``.
        training: the data split that is trained on.
        captioner: the ``Captioner`` that learns.

    Returns:
        A dict with ``objective``, empty where the loss alone is minimised.

    Raises:
        ValueError: attention is to be regular, and the captioner's looks everywhere alike.
    """
    if run.objective == "self_critical":
        objective = SelfCritical(
            training,
            captioner.tokenizer,
            num_samples=run.num_samples,
            bleu_weight=run.bleu_reward,
            cross_entropy_share=run.cross_entropy_share,
            seed=run.seed,
        )
        return {"objective": objective}
    options = {name: getattr(run, name) for name in FORCING}
    if not any(options.values()):
        return {}
    if run.attention_regularization:
        _check_looks(run, type(captioner.text_decoder.fusion))
    rise = count_steps(run, training)
    return {"objective": TeacherForcing(**options, rise_steps=rise, seed=run.seed)}


def _check_looks(run, fusion_class):
    """Raises where a fusion cannot learn to look at all of a picture.

    Raises:
        ValueError: it looks everywhere alike.
    """
    if issubclass(fusion_class, ConcatFusion):
        raise ValueError(
            f"{type(run).__name__}: attention_regularization must be 0 with the fusion 'concat', "
            f"got {run.attention_regularization!r}. That fusion looks everywhere alike."
        )


def _build(run, training, found, optimizer):
    """Builds the captioner of a run, anew or from the one it goes on from."""
    options = {"optimizer": optimizer, "label_smoothing": run.label_smoothing}
    if found is not None:
        decoder = fresh_copy(found.text_decoder)
        captioner = build_captioner(
            thaw_start(run, found, Captioner), tokenizer=found.tokenizer, text=decoder, **options
        )
        decoder.set_weights(found.text_decoder.get_weights())
        return captioner
    policy = keras.DTypePolicy(run.precision)
    captioner = build_captioner(
        make_backbone(run, policy),
        **make_text_writer(run, policy, training),
        precision=run.precision,
        **options,
    )
    start_words(run, captioner.text_decoder, captioner.tokenizer)
    return captioner
