"""One whole training run of a captioner: from the name of a data source to the best model.

The command line and the recipes call it; running it again with the same options resumes it.
Refuses to know the command line.
"""

import dataclasses
from typing import ClassVar

import keras

from keras_vlm.core.checks import check_number
from keras_vlm.fusion import FUSIONS
from keras_vlm.tasks.captioning import Captioner, build_captioner
from keras_vlm.text import TEXT_DECODERS
from keras_vlm.text.decoder import fresh_copy
from keras_vlm.text.units import UNIT_OF_LANGUAGE, UNITS
from keras_vlm.training.callbacks import CaptionScores
from keras_vlm.training.run import TrainingRun, train
from keras_vlm.training.run_encoder import make_backbone, thaw_start
from keras_vlm.training.run_text import make_text_writer, start_words
from keras_vlm.training.self_critical import SelfCritical

OBJECTIVES = ("cross_entropy", "self_critical")


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
        hidden_dim: model width.
        dropout: share of the words' units dropped.
        memory_dropout: share of the picture's units dropped.
        label_smoothing: share of the target spread over the vocabulary.

    Raises:
        ValueError: an option is unknown or out of range, or does not go with ``start``.
    """

    OF_THE_MODEL: ClassVar = (
        *TrainingRun.OF_THE_MODEL, "text", "fusion", "hidden_dim", "dropout", "memory_dropout",
    )  # fmt: skip
    TABLES: ClassVar = {
        **TrainingRun.TABLES,
        "text": TEXT_DECODERS,
        "fusion": FUSIONS,
        "objective": OBJECTIVES,
    }

    objective: str = "cross_entropy"
    num_samples: int = 5
    bleu_reward: float = 0.0
    cross_entropy_share: float = 0.0
    text: str = "transformer"
    fusion: str = "attention"
    hidden_dim: int = 384
    dropout: float = 0.5
    memory_dropout: float = 0.1
    label_smoothing: float = 0.1

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
        usual = UNIT_OF_LANGUAGE.get(self.language)
        spaced = usual is not None and UNITS[usual].separator
        if self.unit and spaced and not UNITS[self.unit].separator:
            raise ValueError(
                f"CaptioningRun: unit must be one that writes spaces between words, as 'word' and "
                f"'piece' do, where the language is {self.language!r}, got {self.unit!r}."
            )

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
        fit_options=objective_of(run),
        verbose=verbose,
        callbacks=callbacks,
    )


def objective_of(run):
    """Returns what ``train`` asks for the arguments of ``fit``: those of a run's objective.

    Args:
        run: a ``CaptioningRun``.

    Returns:
        A function of the training split and the captioner -> a dict.
    """

    def fit_options(training, captioner):
        if run.objective == "cross_entropy":
            return {}
        objective = SelfCritical(
            training,
            captioner.tokenizer,
            num_samples=run.num_samples,
            bleu_weight=run.bleu_reward,
            cross_entropy_share=run.cross_entropy_share,
            seed=run.seed,
        )
        return {"objective": objective}

    return fit_options


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
