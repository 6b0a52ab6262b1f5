"""Whole training runs of the models of clips: from the name of a data source to the best model.

The command line and the recipes call them; running one again with the same options resumes it.
Refuses to know the command line.
"""

import dataclasses
import pathlib

import keras

from keras_vlm.core.checks import check_choice, check_number
from keras_vlm.data.sources import ClipExamples
from keras_vlm.tasks.captioning import Captioner
from keras_vlm.tasks.video import (
    NUM_FRAMES,
    TEMPORAL,
    build_video_captioner,
    build_video_qa,
    carry_over,
    own_temporal,
)
from keras_vlm.tasks.video_models import VideoCaptioner, VideoQAModel
from keras_vlm.tasks.vqa_models import VQAModel
from keras_vlm.text.decoder import fresh_copy
from keras_vlm.training.callbacks import CaptionScores, VQAScores
from keras_vlm.training.captioning_run import CaptioningRun, choose_objective
from keras_vlm.training.run import train
from keras_vlm.training.run_encoder import BACKBONE, make_backbone, thaw_start
from keras_vlm.training.run_text import make_text_writer, start_words
from keras_vlm.training.vqa_run import VQARun, fresh_parts, rebalance
from keras_vlm.vision.temporal import TEMPORALS
from keras_vlm.zoo import load


@dataclasses.dataclass(frozen=True)
class ClipOptions:
    """Mixin of runs: what a model of clips has beside one of pictures.

    Attributes:
        temporal: ``"mean"``, ``"lstm"``, ``"transformer"``, ``"concat"`` or ``"attention"``; None
            for ``"transformer"``, or for that of ``start``, or of a ``backbone`` that is a model of
            clips, with its weights.
        num_frames: frames of a clip; None for 8, or for those of such a model.
    """

    temporal: str | None = None
    num_frames: int | None = None

    def check_clips(self):
        """Checks these options.

        Raises:
            ValueError: one is unknown or out of range, or asks for regions of frames.
        """
        where = type(self).__name__
        if self.regions != "grid":
            raise ValueError(
                f"{where}: regions must be 'grid' for clips, got {self.regions!r}. Boxes and masks "
                "belong to single pictures."
            )
        if self.temporal is not None:
            check_choice(where, "temporal", self.temporal, TEMPORALS)
        if self.num_frames is not None:
            check_number(where, "num_frames", self.num_frames, minimum=1, integer=True)


@dataclasses.dataclass(frozen=True)
class VideoCaptioningRun(ClipOptions, CaptioningRun):
    """The options of a run beside those of ``CaptioningRun``; see ``ClipOptions``.

    ``start`` may be a captioner of pictures: its backbone, words and text layers are taken over.

    Raises:
        ValueError: an option is unknown or out of range, or does not go with ``start``.
    """

    def __post_init__(self):
        """Checks what nobody else checks before the work begins.

        Raises:
            ValueError: an option is unknown or out of range, or does not go with ``start``.
        """
        super().__post_init__()
        self.check_clips()


@dataclasses.dataclass(frozen=True)
class VideoQARun(ClipOptions, VQARun):
    """The options of a run beside those of ``VQARun``; see ``ClipOptions``.

    ``start`` may be a model that answers questions about pictures: all of it is taken over.

    Raises:
        ValueError: an option is unknown or out of range, or does not go with ``start``.
    """

    def __post_init__(self):
        """Checks what nobody else checks before the work begins.

        Raises:
            ValueError: an option is unknown or out of range, or does not go with ``start``.
        """
        super().__post_init__()
        self.check_clips()
        if self.position_scale:
            raise ValueError(
                "VideoQARun: position_scale must be 0, got "
                f"{self.position_scale:g}. Tokens of several frames are no grid."
            )


def train_video_captioner(run, *, verbose=1, callbacks=()):
    """Trains a captioner of clips, or goes on with a run that was interrupted.

    Args:
        run: a ``VideoCaptioningRun``.
        verbose: 1 for progress bars, 0 for silence.
        callbacks: more Keras callbacks, as for ``run.train``.

    Returns:
        The best ``VideoCaptioner``, which is also in ``OUT/model.keras``.

    Raises:
        FileExistsError: the output folder holds something else, or a run with other options.
        FileNotFoundError: there is no such ``start``.
        TypeError: ``start`` is no captioner, or has no ``Backbone``.
        DataError: ``start``, or a file of the data, is damaged.
        ValueError: an option is unknown or out of range, the data are not clips, both splits are
            the same, or ``start`` writes another language.
    """
    return train(
        run,
        build=_build_captioner,
        scores=CaptionScores,
        fit_options=lambda training, model: choose_objective(run, training, model),
        verbose=verbose,
        callbacks=callbacks,
    )


def train_video_qa(run, *, verbose=1, callbacks=()):
    """Trains a model that answers questions about clips, or goes on with an interrupted run.

    Args:
        run: a ``VideoQARun``.
        verbose: 1 for progress bars, 0 for silence.
        callbacks: more Keras callbacks, as for ``run.train``.

    Returns:
        The best ``VideoQAModel``, which is also in ``OUT/model.keras``.

    Raises:
        FileExistsError: the output folder holds something else, or a run with other options.
        FileNotFoundError: there is no such ``start``.
        TypeError: ``start`` answers no questions, or has no ``Backbone``.
        DataError: ``start``, or a file of the data, is damaged.
        ValueError: an option is unknown or out of range, the data are not clips with questions,
            both splits are the same, or ``start`` reads another language.
    """
    return train(run, build=_build_qa, scores=VQAScores, verbose=verbose, callbacks=callbacks)


def _build_captioner(run, training, found, optimizer):
    """Builds the captioner of a run, anew or from the one it goes on from."""
    _check_data(run, training, "captions")
    options = {"optimizer": optimizer, "label_smoothing": run.label_smoothing}
    if found is None:
        policy = keras.DTypePolicy(run.precision)
        parts, own = _fresh_clip_parts(run, policy)
        model = build_video_captioner(
            make_backbone(run, policy),
            **make_text_writer(run, policy, training),
            **parts,
            **options,
        )
        if own is not None:
            carry_over(type(run).__name__, own, model.temporal)
        start_words(run, model.text_decoder, model.tokenizer)
        return model
    encoder = thaw_start(run, found, Captioner, clips=True)
    model = build_video_captioner(
        getattr(encoder, "backbone", encoder),
        tokenizer=found.tokenizer,
        text=fresh_copy(found.text_decoder),
        **_clip_parts(run, found, isinstance(found, VideoCaptioner)),
        **options,
    )
    _take_over(run, found, model, ("temporal", "text_decoder"))
    return model


def _build_qa(run, training, found, optimizer):
    """Builds the model of a run, anew or from the one it goes on from."""
    _check_data(run, training, "questions")
    if found is None:
        policy = keras.DTypePolicy(run.precision)
        parts, own = _fresh_clip_parts(run, policy)
        model = build_video_qa(
            make_backbone(run, policy),
            **fresh_parts(run, training, policy),
            **parts,
            optimizer=optimizer,
        )
        if own is not None:
            carry_over(type(run).__name__, own, model.temporal)
        start_words(run, model.reader.text_encoder, model.tokenizer)
        return model
    encoder = thaw_start(run, found, VQAModel, clips=True)
    model = build_video_qa(
        getattr(encoder, "backbone", encoder),
        tokenizer=found.tokenizer,
        answers=rebalance(run, found.answers),
        text=fresh_copy(found.reader.text_encoder),
        fusion=fresh_copy(found.reader.fusion),
        optimizer=optimizer,
        **_clip_parts(run, found, isinstance(found, VideoQAModel)),
    )
    last = "chooser" if hasattr(found, "chooser") else "writer"
    _take_over(run, found, model, ("temporal", "reader", last))
    return model


def _check_data(run, training, wanted):
    """Raises unless a split is of clips and has what is wanted.

    Raises:
        ValueError: it is of pictures, or has no captions, or no questions.
    """
    where = type(run).__name__
    if not isinstance(training, ClipExamples):
        raise ValueError(
            f"{where}: data must be clips, got {run.data!r}. Sources of clips: moving_scenes, "
            "video, msvd, msr_vtt."
        )
    if getattr(training, wanted) is None:
        raise ValueError(f"{where}: data must have {wanted}, got {run.data!r}.")


def _fresh_clip_parts(run, policy):
    """Returns the temporal layer and the frames of a run that begins anew, for its builder.

    Beside them is the layer whose weights that one takes over, or None: that of a ``backbone`` that
    is a model of clips, where the run names no other.
    """
    copy = pathlib.Path(run.out) / BACKBONE
    model = load(copy) if copy.exists() else None
    own, num_frames = own_temporal(type(run).__name__, model, run.temporal, run.num_frames)
    if own is not None:
        config = {**own.get_config(), "dtype": keras.dtype_policies.serialize(policy)}
        return {"temporal": type(own).from_config(config), "num_frames": num_frames}, own
    name = run.temporal or TEMPORAL
    width = {} if name == "mean" else {"hidden_dim": run.hidden_dim}
    return {"temporal": TEMPORALS[name](**width, dtype=policy), "num_frames": num_frames}, None


def _clip_parts(run, found, is_of_clips):
    """Returns the temporal layer and the number of frames where a run goes on from a model.

    Raises:
        ValueError: the model has its own, and the run asks for others.
    """
    if not is_of_clips:
        kind = TEMPORALS[run.temporal or TEMPORAL]
        policy = found.encoder.network.layers[-1].dtype_policy
        return {"temporal": kind(dtype=policy), "num_frames": run.num_frames or NUM_FRAMES}
    for name in ("temporal", "num_frames"):
        if getattr(run, name) is not None:
            raise ValueError(
                f"{type(run).__name__}: {name} is the model's own where start is a model of "
                f"clips, got {getattr(run, name)!r}. Leave it out."
            )
    return {"temporal": fresh_copy(found.temporal), "num_frames": found.num_frames}


def _take_over(run, found, model, parts):
    """Copies weights of the model to go on from; one of pictures has no temporal layer."""
    for part in parts:
        if getattr(found, part) is not None:
            carry_over(type(run).__name__, getattr(found, part), getattr(model, part))
