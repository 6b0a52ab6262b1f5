"""One whole training run of a retriever: from the name of a data source to the best model.

The command line and the recipes call it; running it again with the same options resumes it.
Refuses to know the command line.
"""

import dataclasses
from typing import ClassVar

import keras

from keras_vlm.core.checks import check_choice, check_number
from keras_vlm.fusion.pooling import POOLINGS
from keras_vlm.losses import PAIR_LOSSES, ContrastiveLoss
from keras_vlm.tasks.retrieval import Retriever, build_retriever
from keras_vlm.tasks.towers import Tower
from keras_vlm.text import TEXT_ENCODERS, Tokenizer
from keras_vlm.text.decoder import fresh_copy
from keras_vlm.text.foreign import PREFIX
from keras_vlm.training.callbacks import RetrievalScores
from keras_vlm.training.run import TrainingRun, train
from keras_vlm.training.run_encoder import make_backbone, thaw_start
from keras_vlm.training.run_text import JOINED, make_text_reader, start_words


@dataclasses.dataclass(frozen=True)
class RetrievalRun(TrainingRun):
    """The options of a run beside those of ``TrainingRun``.

    Attributes:
        text: ``"gru"``, ``"lstm"``, ``"transformer"``, ``"cnn"``, ``"bag"`` or
            ``"keras_hub:PRESET"``; or several of ours, ``"gru+gru+bag"``, each with a head of
            its own in both towers: an ensemble in one model.
        dim: width of the common space, which the heads share evenly.
        hidden_dim: width of each text encoder.
        loss: ``"contrastive"``, ``"sigmoid"`` or ``"triplet"``.
        label_smoothing: share of the target spread over the batch, with the contrastive loss.
        image_pooling: how a picture's tokens become one vector: ``"mean"``, ``"max"`` or
            ``"attention"``.
        text_pooling: how a sentence's words do.
        dropout: share of the words' units dropped.
        word_dropout: share of the words read as unknown.
        memory_dropout: share of the picture's units dropped.
        gradient_cache: pictures that go through the towers at once, for a large batch in little
            memory, or None.

    Raises:
        ValueError: an option is unknown or out of range, or does not go with ``start``.
    """

    OF_THE_MODEL: ClassVar = (
        *TrainingRun.OF_THE_MODEL, "text", "dim", "hidden_dim", "image_pooling", "text_pooling",
        "dropout", "word_dropout", "memory_dropout",
    )  # fmt: skip
    TABLES: ClassVar = {
        **TrainingRun.TABLES,
        "loss": PAIR_LOSSES,
        "image_pooling": POOLINGS,
        "text_pooling": POOLINGS,
    }

    batch_size: int = 128
    weight_decay: float = 0.05
    text: str = "gru"
    dim: int = 512
    hidden_dim: int = 384
    loss: str = "contrastive"
    label_smoothing: float = 0.0
    image_pooling: str = "mean"
    text_pooling: str = "mean"
    dropout: float = 0.3
    word_dropout: float = 0.0
    memory_dropout: float = 0.2
    gradient_cache: int | None = None

    def __post_init__(self):
        """Checks what nobody else checks before the work begins.

        Raises:
            ValueError: an option is unknown or out of range, or does not go with ``start``.
        """
        super().__post_init__()
        where = type(self).__name__
        check_number(where, "label_smoothing", self.label_smoothing, minimum=0, maximum=0.999)
        if self.label_smoothing and self.loss != "contrastive":
            raise ValueError(
                f"{where}: label_smoothing must be 0 with the loss {self.loss!r}, got "
                f"{self.label_smoothing!r}. Only the contrastive loss has a target to spread."
            )
        for name in self.heads:
            if not name.startswith(PREFIX):
                check_choice(where, "text", name, TEXT_ENCODERS)
        if self.dim % len(self.heads):
            raise ValueError(
                f"{where}: dim must be a multiple of the {len(self.heads)} heads of "
                f"text={self.text!r}, got {self.dim}. {256 * len(self.heads)} would do."
            )
        if self.gradient_cache is not None:
            check_number(where, "gradient_cache", self.gradient_cache, minimum=1, integer=True)

    @property
    def heads(self):
        """The names of the text encoders."""
        return [self.text] if self.text.startswith(PREFIX) else self.text.split(JOINED)


def train_retriever(run, *, verbose=1, callbacks=()):
    """Trains a retriever, or goes on with a run that was interrupted.

    Args:
        run: a ``RetrievalRun``.
        verbose: 1 for progress bars, 0 for silence.
        callbacks: more Keras callbacks, as for ``run.train``.

    Returns:
        The best ``Retriever``, which is also in ``OUT/model.keras``.

    Raises:
        FileExistsError: the output folder holds something else, or a run with other options.
        FileNotFoundError: there is no such ``start``.
        TypeError: ``start`` is no retriever, or has no ``Backbone``, of which layers can be chosen.
        DataError: ``start``, or a file of the data, is damaged.
        ValueError: an option is unknown or out of range, both splits are the same, or ``start``
            reads another language.
    """
    return train(
        run,
        build=_build,
        scores=RetrievalScores,
        fit_options=lambda training, model: {"gradient_cache": run.gradient_cache},
        verbose=verbose,
        callbacks=callbacks,
    )


def _build(run, training, found, optimizer):
    """Builds the retriever of a run, anew or from the one it goes on from."""
    loss = ContrastiveLoss(run.label_smoothing) if run.label_smoothing else run.loss
    options = {"optimizer": optimizer, "loss": loss}
    if found is not None:
        encoder = thaw_start(run, found, Retriever)
        text_encoder = fresh_copy(found.text_encoder)
        towers = (fresh_copy(found.image_tower), fresh_copy(found.text_tower))
        retriever = build_retriever(
            encoder, tokenizer=found.tokenizer, text=text_encoder, dim=towers, **options
        )
        for part in ("image_head", "text_head", "pair_scores"):
            weights = getattr(found, part).get_weights()
            # Another loss has other scores, with a scale of their own.
            if len(weights) == len(getattr(retriever, part).get_weights()):
                getattr(retriever, part).set_weights(weights)
        return retriever
    policy = keras.DTypePolicy(run.precision)
    tokenizer, text_encoder = make_text_reader(
        run,
        policy,
        lambda: Tokenizer.fit(
            training,
            unit=run.unit,
            max_length=run.max_length,
            minimum_count=run.minimum_count,
            language=run.language,
        ),
    )
    shared = {"heads": len(run.heads), "dtype": policy}
    towers = (
        Tower(run.dim, pooling=run.image_pooling, dropout=run.memory_dropout, **shared),
        Tower(
            run.dim,
            pooling=run.text_pooling,
            dropout=run.dropout,
            split=len(run.heads) > 1,
            **shared,
        ),
    )
    retriever = build_retriever(
        make_backbone(run, policy),
        tokenizer=tokenizer,
        text=text_encoder,
        dim=towers,
        precision=run.precision,
        **options,
    )
    start_words(run, text_encoder, tokenizer)
    return retriever
