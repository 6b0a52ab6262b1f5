"""Video: ``build_video_captioner`` and ``build_video_qa``, anew or from a model of pictures.

Refuses to know files, scores and servers. Dimension letters: B batch, F frames, H height, W width,
N tokens of a frame, C their width, M tokens of a clip's memory, D width.
"""

from keras_vlm.core.checks import check_number, resolve
from keras_vlm.fusion import QUESTION_FUSIONS, QuestionFusion
from keras_vlm.losses import MaskedCrossEntropy
from keras_vlm.tasks.base import PictureTextModel, makers_of, resolve_optimizer
from keras_vlm.tasks.captioning import Captioner, check_writes, resolve_decoder
from keras_vlm.tasks.question_reader import QuestionReader
from keras_vlm.tasks.video_models import (
    ChoosingVideoQAModel,
    VideoCaptioner,
    WritingVideoQAModel,
)
from keras_vlm.tasks.vqa import assemble, choose_loss, resolve_words
from keras_vlm.tasks.vqa_models import VQAModel
from keras_vlm.text.answers import AnswerVocabulary
from keras_vlm.text.decoder import fresh_copy
from keras_vlm.text.foreign import resolve_text_encoder
from keras_vlm.vision.backbones import resolve_backbone
from keras_vlm.vision.frame_encoder import FrameEncoder
from keras_vlm.vision.temporal import TEMPORALS, Temporal

IMAGE_SIZE = 224
# Where nothing is given.
TEMPORAL, NUM_FRAMES = "transformer", 8


def build_video_captioner(
    backbone="efficientnet_lite0",
    *,
    tokenizer=None,
    temporal=None,
    num_frames=None,
    text=None,
    fusion=None,
    optimizer="adamw",
    label_smoothing=0.1,
):
    """Builds and compiles a captioner of clips.

    Args:
        backbone: what looks at each frame: a name in ``vision.backbones.BACKBONES`` (at 224 pixels,
            frozen, ImageNet weights), a ``Backbone``, whose precision is the model's, or a
            ``Captioner`` of pictures or clips: its backbone, words and text layers are taken over
            with their weights, and ``tokenizer``, ``text`` and ``fusion`` are left out.
        tokenizer: a ``Tokenizer``, usually ``Tokenizer.fit(data["train"])``.
        temporal: ``"mean"``, ``"lstm"``, ``"transformer"``, ``"concat"``, ``"attention"`` or a
            ``Temporal`` of your own measures, such as ``TransformerTemporal(hidden_dim=128)``. None
            takes over that of a backbone that is a model of clips, with its weights; of others it
            is ``"transformer"``.
        num_frames: F, frames of a clip, spread evenly over it; None for those of a backbone that is
            a model of clips, or 8.
        text: as for ``build_captioner``; None for ``"transformer"``.
        fusion: as for ``build_captioner``.
        optimizer: a Keras optimizer or its name; ``"adamw"`` means a learning rate of 1e-3.
        label_smoothing: share of the target spread over the vocabulary.

    Returns:
        A compiled ``VideoCaptioner``.

    Raises:
        ValueError: an option is unknown or out of range.
        TypeError: an option is neither a name nor the object it names.

    Example:
        >>> from keras_vlm.text import Tokenizer
        >>> from keras_vlm.vision.backbones import Backbone
        >>> model = build_video_captioner(
        ...     Backbone("conv_small", image_size=32, weights=None, trainable_from="all"),
        ...     tokenizer=Tokenizer(["a", "dog"], max_length=5), num_frames=4, text="lstm")
        >>> sorted(model.input), model.output.shape[-1]
        (['frames', 'token_ids'], 6)
    """
    where = "build_video_captioner"
    check_number(where, "label_smoothing", label_smoothing, minimum=0, maximum=0.999)
    start = backbone if isinstance(backbone, Captioner) else None
    if start is not None:
        _check_left_out(where, start, tokenizer=tokenizer, text=text, fusion=fusion)
        tokenizer, text = start.tokenizer, fresh_copy(start.text_decoder)
    text = text or "transformer"
    check_writes(where, tokenizer, text, fusion)

    own, num_frames = own_temporal(where, backbone, temporal, num_frames)
    encoder, policy = _make_encoder(where, backbone, num_frames)
    temporal = _make_temporal(where, own, temporal, policy)
    decoder = resolve_decoder(where, text, fusion, policy)

    captioner = VideoCaptioner(
        encoder, decoder, tokenizer, temporal=temporal, name="video_captioner"
    )
    if own is not None:
        carry_over(where, own, captioner.temporal)
    if start is not None:
        carry_over(where, start.text_decoder, decoder)
    captioner.compile(
        optimizer=resolve_optimizer(optimizer, decoder.compute_dtype),
        loss=MaskedCrossEntropy(label_smoothing),
        jit_compile="auto",
    )
    return captioner


def build_video_qa(
    backbone="efficientnet_lite0",
    *,
    tokenizer=None,
    answers=None,
    temporal=None,
    num_frames=None,
    text=None,
    fusion=None,
    optimizer="adamw",
):
    """Builds and compiles a model that answers questions about clips.

    Args:
        backbone: as for ``build_video_captioner``; of a ``VQAModel`` all is taken over with its
            weights, and ``tokenizer``, ``answers``, ``text`` and ``fusion`` are left out;
            of another model, its backbone, and its temporal layer where it is of clips.
        tokenizer: a ``Tokenizer`` of questions, or a data split to make one of.
        answers: as for ``build_vqa``.
        temporal: as for ``build_video_captioner``.
        num_frames: as for ``build_video_captioner``.
        text: as for ``build_vqa``; None for ``"gru"``.
        fusion: as for ``build_vqa``; None for ``"co_attention"``.
        optimizer: a Keras optimizer or its name; ``"adamw"`` means a learning rate of 1e-3.

    Returns:
        A compiled ``VideoQAModel``.

    Raises:
        ValueError: an option is unknown or out of range.
        TypeError: an option is neither a name nor the object it names.

    Example:
        >>> from keras_vlm.text import Tokenizer
        >>> from keras_vlm.vision.backbones import Backbone
        >>> model = build_video_qa(
        ...     Backbone("conv_small", image_size=32, weights=None, trainable_from="all"),
        ...     tokenizer=Tokenizer(["is", "it"], max_length=5), num_frames=4,
        ...     answers=AnswerVocabulary(["yes", "no"]), text="bag", fusion="concat")
        >>> sorted(model.input), model.output.shape[-1]
        (['frames', 'token_ids'], 2)
    """
    where = "build_video_qa"
    start = backbone if isinstance(backbone, VQAModel) else None
    if start is not None:
        _check_left_out(
            where, start, tokenizer=tokenizer, answers=answers, text=text, fusion=fusion
        )
        tokenizer, answers = start.tokenizer, start.answers
        text, fusion = fresh_copy(start.reader.text_encoder), fresh_copy(start.reader.fusion)
    tokenizer, answers = resolve_words(where, tokenizer, answers)

    own, num_frames = own_temporal(where, backbone, temporal, num_frames)
    encoder, policy = _make_encoder(where, backbone, num_frames)
    temporal = _make_temporal(where, own, temporal, policy)
    text = resolve_text_encoder(where, text or "gru", tokenizer, policy)
    makers = makers_of(QUESTION_FUSIONS, policy)
    fusion = resolve(where, "fusion", fusion or "co_attention", makers, QuestionFusion)

    reader = QuestionReader(text, fusion, dtype=policy, name="reader")
    model = assemble(
        encoder,
        reader,
        tokenizer,
        answers,
        kinds=(ChoosingVideoQAModel, WritingVideoQAModel),
        temporal=temporal,
        name="video_qa",
    )
    if own is not None:
        carry_over(where, own, model.temporal)
    if start is not None:
        last = "chooser" if isinstance(answers, AnswerVocabulary) else "writer"
        for part in ("reader", last):
            carry_over(where, getattr(start, part), getattr(model, part))
    model.compile(
        optimizer=resolve_optimizer(optimizer, text.compute_dtype),
        loss=choose_loss(answers),
        jit_compile="auto",
    )
    return model


def _check_left_out(where, start, **options):
    """Raises unless options are None that a picture model decides.

    Raises:
        ValueError: one is not.
    """
    for name, value in options.items():
        if value is not None:
            raise ValueError(
                f"{where}: {name} must be None where the backbone is a {type(start).__name__}, "
                f"whose own is taken, got {value!r}. Pass its encoder to take that alone."
            )


def own_temporal(where, model, temporal, num_frames):
    """Returns what a new model of clips takes over from another of how these are seen.

    Args:
        where: name of the caller, for the message.
        model: what the new model begins with: a model of clips, or anything else.
        temporal: the temporal layer that is asked for, or None.
        num_frames: the frames that are asked for, or None.

    Returns:
        ``(temporal, F)``: the model's own layer, or None where it has none or another is asked for;
        and the frames of a clip.

    Raises:
        ValueError: its layer is of another number of frames than is asked for.
    """
    own = getattr(model, "temporal", None) if temporal is None else None
    frames = getattr(model, "num_frames", NUM_FRAMES)
    if own is not None and num_frames not in {None, frames}:
        raise ValueError(
            f"{where}: num_frames must be {frames}, those of the temporal layer that is taken "
            f"over, got {num_frames}. Leave it out, or choose a temporal layer, to learn it anew."
        )
    return own, frames if num_frames is None else num_frames


def _make_encoder(where, backbone, num_frames):
    """Returns a ``FrameEncoder``, and the precision that the other layers shall have."""
    check_number(where, "num_frames", num_frames, minimum=1, integer=True)
    if isinstance(backbone, PictureTextModel):
        found = backbone.picture_encoder
        backbone = found.thawed(found.trainable_from) if hasattr(found, "thawed") else found
    backbone = resolve_backbone(backbone, IMAGE_SIZE)
    encoder = FrameEncoder(backbone, num_frames)
    return encoder, backbone.network.layers[-1].dtype_policy


def _make_temporal(where, own, temporal, policy):
    """Returns a ``Temporal``: a copy of the one that is taken over, by its name, or as it is."""
    if own is not None:
        return fresh_copy(own)
    return resolve(where, "temporal", temporal or TEMPORAL, makers_of(TEMPORALS, policy), Temporal)


def carry_over(where, source, target):
    """Copies the weights of a picture model's layer into the same layer of a model of clips.

    Args:
        where: name of the caller, for the message.
        source: a built layer.
        target: a built layer of the same class and options.

    Raises:
        ValueError: the memory of a clip has another width than a picture.
    """
    for ours, theirs in zip(target.weights, source.weights, strict=True):
        if ours.shape == theirs.shape:
            ours.assign(theirs)
        # Where something is in a clip's memory must be learned anew.
        elif ours.name != "positions":
            raise ValueError(
                f"{where}: temporal must keep the width of the picture model's features, "
                f"{theirs.shape[0]}, got {ours.shape[0]}. Leave its hidden_dim out."
            )
