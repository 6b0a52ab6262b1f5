"""One whole training run of a model that answers questions: from a data source to the best model.

The command line and the recipes call it; running it again with the same options resumes it.
Refuses to know the command line.
"""

import dataclasses
from typing import ClassVar

import keras

from keras_vlm.core.checks import check_number
from keras_vlm.data import load_data
from keras_vlm.fusion import QUESTION_FUSIONS
from keras_vlm.tasks.vqa import ANSWERS, build_vqa, choose_answers, fit_question_tokenizer
from keras_vlm.tasks.vqa_models import BALANCES, VQAModel
from keras_vlm.text import TEXT_ENCODERS
from keras_vlm.text.answers import ACTIVATIONS, AnswerVocabulary
from keras_vlm.text.decoder import fresh_copy
from keras_vlm.training.callbacks import VQAScores
from keras_vlm.training.run import TrainingRun, train
from keras_vlm.training.run_encoder import make_backbone, thaw_start
from keras_vlm.training.run_text import make_text_reader, start_words

# The fusions that have layers to count.
LAYERED = ("co_attention", "cross_attention")
WRITTEN_LOSS = (
    "VQARun: balance must be another one where answers are written, got 'loss'. The loss is over "
    "words there, not over answers. Choose sampling, or answers 'choose'."
)


@dataclasses.dataclass(frozen=True)
class VQARun(TrainingRun):
    """The options of a run beside those of ``TrainingRun``.

    Attributes:
        keys: for questions in a folder with other key names: ours to theirs, such as
            ``"image=img_name,question=q"``; None for our own.
        text: ``"gru"``, ``"lstm"``, ``"transformer"``, ``"cnn"`` or ``"bag"``.
        fusion: ``"concat"``, ``"attention"``, ``"stacked_attention"``, ``"co_attention"``,
            ``"hadamard"``, ...
        fusion_layers: layers of ``"co_attention"`` or ``"cross_attention"``, or None for the usual
            ones.
        position_scale: as for ``build_vqa``.
        hidden_dim: width of text layers and fusion.
        answers: ``"choose"`` among the most frequent ones, ``"write"`` them word by word, or
            ``"auto"``, which looks at the data and says so.
        most_answers: answers to choose from, at most.
        activation: ``"softmax"``, for one answer is right, or ``"sigmoid"``, where each may be.
        balance: what is done where some answers are much rarer than others: ``"none"``,
            ``"sampling"`` or ``"loss"`` (weights; not for written answers); or ``"types"``, which
            draws each type of question as often as any other.
        dropout: share of the words' units dropped.
        word_dropout: share of the question's words read as unknown.

    Raises:
        ValueError: an option is unknown or out of range, or does not go with ``start``.
    """

    OF_THE_MODEL: ClassVar = (
        *TrainingRun.OF_THE_MODEL, "text", "fusion", "fusion_layers", "position_scale",
        "hidden_dim", "answers", "most_answers", "activation", "dropout",
        "word_dropout",
    )  # fmt: skip
    TABLES: ClassVar = {
        **TrainingRun.TABLES,
        "text": TEXT_ENCODERS,
        "fusion": QUESTION_FUSIONS,
        "answers": ANSWERS,
        "activation": ACTIVATIONS,
        "balance": BALANCES,
    }

    captions_per_image: int = 10
    minimum_count: int = 1
    keys: str | None = None
    text: str = "gru"
    fusion: str = "co_attention"
    fusion_layers: int | None = None
    position_scale: float = 0.0
    hidden_dim: int = 256
    answers: str = "auto"
    most_answers: int = 3000
    activation: str = "softmax"
    balance: str = "none"
    dropout: float = 0.2
    word_dropout: float = 0.0

    def __post_init__(self):
        """Checks what nobody else checks before the work begins.

        Raises:
            ValueError: an option is unknown or out of range, or does not go with ``start``.
        """
        super().__post_init__()
        check_number("VQARun", "most_answers", self.most_answers, minimum=2, integer=True)
        check_number("VQARun", "position_scale", self.position_scale, minimum=0)
        if self.position_scale and self.regions != "grid":
            raise ValueError(
                "VQARun: position_scale must be 0 where tokens are no grid, got "
                f"{self.position_scale:g} with regions {self.regions!r}."
            )
        if self.fusion_layers is not None and self.fusion not in LAYERED:
            raise ValueError(
                "VQARun: fusion_layers must be None with another fusion than "
                f"{' and '.join(map(repr, LAYERED))}, got {self.fusion_layers!r} with "
                f"{self.fusion!r}."
            )
        if self.answers == "write" and self.balance == "loss":
            raise ValueError(WRITTEN_LOSS)

    def open_data(self):
        """Opens the data, with the key mapping; returns a ``Splits``."""
        return load_data(
            self.data, language=self.language, keys=self.keys, texts="questions"
        )

    def batch_options(self, *, training):
        """Returns the number of questions a picture and, in training, the balance."""
        balance = {"balance": self.balance} if training else {}
        return {"questions_per_image": self.captions_per_image, **balance}


def train_vqa(run, *, verbose=1, callbacks=()):
    """Trains a model that answers questions, or goes on with a run that was interrupted.

    Args:
        run: a ``VQARun``.
        verbose: 1 for progress bars, 0 for silence.
        callbacks: more Keras callbacks, as for ``run.train``.

    Returns:
        The best ``VQAModel``, which is also in ``OUT/model.keras``.

    Raises:
        FileExistsError: the output folder holds something else, or a run with other options.
        FileNotFoundError: there is no such ``start``.
        TypeError: ``start`` is no ``VQAModel``, or has no ``Backbone``.
        DataError: ``start``, or a file of the data, is damaged.
        ValueError: an option is unknown or out of range, the data have no questions, both splits
            are the same, or ``start`` reads another language.
    """
    return train(run, build=_build, scores=VQAScores, verbose=verbose, callbacks=callbacks)


def _build(run, training, found, optimizer):
    """Builds the model of a run, anew or from the one it goes on from.

    Raises:
        ValueError: the data have no questions.
    """
    if getattr(training, "questions", None) is None:
        raise ValueError(
            f"VQARun: data must have questions, got {run.data!r}. Sources with questions: vqa_v2, "
            "easy_vqa, scenes, folder with questions.csv."
        )
    if found is not None:
        model = build_vqa(
            thaw_start(run, found, VQAModel),
            tokenizer=found.tokenizer,
            answers=rebalance(run, found.answers),
            text=fresh_copy(found.reader.text_encoder),
            fusion=fresh_copy(found.reader.fusion),
            optimizer=optimizer,
        )
        model.decoder.set_weights(found.decoder.get_weights())
        return model
    policy = keras.DTypePolicy(run.precision)
    model = build_vqa(
        make_backbone(run, policy),
        **fresh_parts(run, training, policy),
        position_scale=run.position_scale,
        optimizer=optimizer,
        precision=run.precision,
    )
    start_words(run, model.reader.text_encoder, model.tokenizer)
    return model


def fresh_parts(run, training, policy):
    """Returns the tokenizer, answers, text layers and fusion of a new model, for its builder.

    Args:
        run: a ``VQARun``.
        training: the data split to learn from.
        policy: Keras dtype policy.

    Raises:
        ValueError: answers turn out to be written, and their loss is to be balanced.
    """
    layers = {} if run.fusion_layers is None else {"num_layers": run.fusion_layers}
    tokenizer, text_encoder = make_text_reader(
        run,
        policy,
        lambda: fit_question_tokenizer(
            training,
            max_length=run.max_length,
            minimum_count=run.minimum_count,
            unit=run.unit,
        ),
    )
    answers = choose_answers(
        training,
        run.answers,
        size=run.most_answers,
        activation=run.activation,
        balanced=run.balance == "loss",
    )
    if run.balance == "loss" and not isinstance(answers, AnswerVocabulary):
        raise ValueError(WRITTEN_LOSS)
    return {
        "tokenizer": tokenizer,
        "answers": answers,
        "text": text_encoder,
        "fusion": QUESTION_FUSIONS[run.fusion](dtype=policy, **layers),
    }


def rebalance(run, answers):
    """Returns the answers of the model that a run goes on from, with the run's own balance.

    Args:
        run: a ``VQARun``.
        answers: an ``AnswerVocabulary`` or a ``Tokenizer``.

    Returns:
        An object of the same kind.
    """
    if not isinstance(answers, AnswerVocabulary):
        return answers
    return AnswerVocabulary(**{**answers.get_config(), "balanced": run.balance == "loss"})
