"""One whole training run of a captioner: from the name of a data source to the best model.

The command line and the recipes call it; running it again with the same options resumes it.
Refuses to know the command line.
"""

import dataclasses
from typing import ClassVar

import keras

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
            CIDEr-D of captions the model draws itself (``SelfCritical``) and wants ``start``.
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
        usual = UNIT_OF_LANGUAGE.get(self.language)
        spaced = usual is not None and UNITS[usual].separator
        if self.unit and spaced and not UNITS[self.unit].separator:
            raise ValueError(
                f"CaptioningRun: unit must be one that writes spaces between words, as 'word' and "
                f"'piece' do, where the language is {self.language!r}, got {self.unit!r}."
            )


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

    def fit_options(training, captioner):
        if run.objective == "cross_entropy":
            return {}
        return {"objective": SelfCritical(training, captioner.tokenizer, seed=run.seed)}

    return train(
        run,
        build=_build,
        scores=CaptionScores,
        fit_options=fit_options,
        verbose=verbose,
        callbacks=callbacks,
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
