"""One whole training run of a re-ranker: from a retriever and a data source to the best model.

The command line calls it; running it again with the same options resumes it. Refuses to know the
command line.
"""

import dataclasses
import functools
from typing import ClassVar

from keras_vlm.core.checks import resolve
from keras_vlm.fusion import FUSIONS
from keras_vlm.losses import PAIR_LOSSES, PairLoss
from keras_vlm.tasks.base import resolve_optimizer
from keras_vlm.tasks.reranking import Reranker, build_reranker
from keras_vlm.tasks.retrieval import Retriever
from keras_vlm.training.callbacks import TwoStageScores
from keras_vlm.training.run import TrainingRun, train
from keras_vlm.training.run_encoder import check_language
from keras_vlm.zoo import load_task


@dataclasses.dataclass(frozen=True)
class RerankingRun(TrainingRun):
    """The options of a run beside those of ``TrainingRun``.

    The best epoch is the one whose re-ranking of the retriever's first answers is best.

    Attributes:
        retriever: the retriever whose answers are re-ranked, a file or a published name, which must
            be there until the run is done. Its words, its text layers and its backbone, frozen,
            are taken over; options that describe these (``OF_THE_RETRIEVER``) are not used and must
            be left alone.
        fusion: ``"attention"``, ``"adaptive"``, ``"attention_on_attention"``, ``"additive"``,
            ``"dot_product"`` or ``"concat"``.
        hidden_dim: width of the match head.
        dropout: share of the match head's units dropped.
        loss: ``"contrastive"``, ``"sigmoid"`` or ``"triplet"``.

    Raises:
        ValueError: an option is unknown or out of range, does not go with ``start`` or
            ``retriever``, or ``retriever`` is missing.
    """

    OF_THE_RETRIEVER: ClassVar = (
        *TrainingRun.OF_THE_MODEL, "image_size", "trainable_from", "backbone_rate",
    )  # fmt: skip
    OF_THE_MODEL: ClassVar = ("fusion", "hidden_dim", "dropout")
    TABLES: ClassVar = {**TrainingRun.TABLES, "fusion": FUSIONS, "loss": PAIR_LOSSES}

    retriever: str | None = None
    fusion: str = "attention"
    hidden_dim: int = 256
    dropout: float = 0.2
    loss: str = "contrastive"

    def __post_init__(self):
        """Checks what nobody else checks before the work begins.

        Raises:
            ValueError: an option is unknown or out of range, or does not go with the others.
        """
        if self.retriever is None:
            raise ValueError(
                "RerankingRun: retriever must be a retriever's file or published name, got None. "
                "Train one with --task retrieval, or see `keras-vlm models`."
            )
        super().__post_init__()

    def taken_over(self):
        """Returns the options that another model decides: a dict from a name to whose they are."""
        return {
            **super().taken_over(),
            **dict.fromkeys(self.OF_THE_RETRIEVER, "the retriever's own"),
        }


def train_reranker(run, *, verbose=1, callbacks=()):
    """Trains a re-ranker, or goes on with a run that was interrupted.

    Args:
        run: a ``RerankingRun``.
        verbose: 1 for progress bars, 0 for silence.
        callbacks: more Keras callbacks, as for ``run.train``.

    Returns:
        The best ``Reranker``, which is also in ``OUT/model.keras``.

    Raises:
        FileExistsError: the output folder holds something else, or a run with other options.
        FileNotFoundError: there is no such ``retriever`` or ``start``.
        TypeError: ``retriever`` is no retriever, or ``start`` no re-ranker.
        DataError: ``retriever``, ``start``, or a file of the data, is damaged.
        ValueError: an option is unknown or out of range, both splits are the same, or
            ``retriever`` or ``start`` reads another language.
    """

    @functools.cache
    def retriever():
        found = load_task(run.retriever, Retriever)
        check_language(run, "retriever", found)
        return found

    return train(
        run,
        build=lambda run, training, start, optimizer: _build(run, retriever(), start, optimizer),
        scores=lambda examples, folder, **options: TwoStageScores(
            examples, folder, retriever=retriever(), **options
        ),
        verbose=verbose,
        callbacks=callbacks,
    )


def _build(run, retriever, found, optimizer):
    """Builds the re-ranker of a run, anew or from the one it goes on from.

    Raises:
        TypeError: that is no re-ranker.
    """
    if found is None:
        return build_reranker(
            retriever,
            fusion=run.fusion,
            hidden_dim=run.hidden_dim,
            dropout=run.dropout,
            loss=run.loss,
            optimizer=optimizer,
        )
    if not isinstance(found, Reranker):
        raise TypeError(
            f"RerankingRun: start must be a Reranker, got {run.start!r}, a "
            f"{type(found).__name__}. A retriever is passed as retriever."
        )
    check_language(run, "start", found)
    found.compile(
        optimizer=resolve_optimizer(optimizer, found.match_head.compute_dtype),
        loss=resolve("RerankingRun", "loss", run.loss, PAIR_LOSSES, PairLoss),
        jit_compile="auto",
    )
    return found
