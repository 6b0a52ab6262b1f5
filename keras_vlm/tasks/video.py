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


def build_video_captioner(
    backbone="efficientnet_lite0",
    *,
    tokenizer=None,
    temporal="transformer",
    num_frames=8,
    text="transformer",
    fusion=None,
    optimizer="adamw",
    label_smoothing=0.1,
):
    """Builds and compiles a captioner of clips.

    Args:
        backbone: what looks at each frame: a name in ``vision.backbones.BACKBONES`` (at 224 pixels,
            frozen, ImageNet weights), a ``Backbone``, whose precision is the model's, or a
            ``Captioner`` of pictures: its backbone, words and text layers are taken over with their
            weights, and ``tokenizer``, ``text`` and ``fusion`` are left out.
        tokenizer: a ``Tokenizer``, usually ``Tokenizer.fit(data["train"])``.
        temporal: ``"mean"``, ``"lstm"``, ``"transformer"``, ``"concat"``, ``"attention"`` or a
            ``Temporal`` of your own measures, such as ``TransformerTemporal(hidden_dim=128)``.
        num_frames: F, frames of a clip, spread evenly over it.
        text: as for ``build_captioner``.
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
        _check_left_out(where, start, tokenizer=tokenizer, fusion=fusion)
        tokenizer, text = start.tokenizer, fresh_copy(start.text_decoder)
    check_writes(where, tokenizer, text, fusion)

    encoder, policy = _make_encoder(where, backbone, num_frames)
    temporal = _make_temporal(where, temporal, policy)
    decoder = resolve_decoder(where, text, fusion, policy)

    captioner = VideoCaptioner(
        encoder, decoder, tokenizer, temporal=temporal, name="video_captioner"
    )
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
    temporal="transformer",
    num_frames=8,
    text="gru",
    fusion="co_attention",
    optimizer="adamw",
):
    """Builds and compiles a model that answers questions about clips.

    Args:
        backbone: as for ``build_video_captioner``; of a ``VQAModel`` of pictures all is taken over
            with its weights, and ``tokenizer``, ``answers``, ``text`` and ``fusion`` are left out;
            of another picture model, its backbone.
        tokenizer: a ``Tokenizer`` of questions, or a data split to make one of.
        answers: as for ``build_vqa``.
        temporal: as for ``build_video_captioner``.
        num_frames: F, frames of a clip, spread evenly over it.
        text: as for ``build_vqa``.
        fusion: as for ``build_vqa``.
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
        _check_left_out(where, start, tokenizer=tokenizer, answers=answers)
        tokenizer, answers = start.tokenizer, start.answers
        text, fusion = fresh_copy(start.reader.text_encoder), fresh_copy(start.reader.fusion)
    tokenizer, answers = resolve_words(where, tokenizer, answers)

    encoder, policy = _make_encoder(where, backbone, num_frames)
    temporal = _make_temporal(where, temporal, policy)
    text = resolve_text_encoder(where, text, tokenizer, policy)
    makers = makers_of(QUESTION_FUSIONS, policy)
    fusion = resolve(where, "fusion", fusion, makers, QuestionFusion)

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


def _make_encoder(where, backbone, num_frames):
    """Returns a ``FrameEncoder``, and the precision that the other layers shall have."""
    check_number(where, "num_frames", num_frames, minimum=1, integer=True)
    if isinstance(backbone, PictureTextModel):
        found = backbone.picture_encoder
        backbone = found.thawed(found.trainable_from) if hasattr(found, "thawed") else found
    backbone = resolve_backbone(backbone, IMAGE_SIZE)
    encoder = FrameEncoder(backbone, num_frames)
    return encoder, backbone.network.layers[-1].dtype_policy


def _make_temporal(where, temporal, policy):
    """Returns a ``Temporal`` by its name, or as it is."""
    return resolve(where, "temporal", temporal, makers_of(TEMPORALS, policy), Temporal)


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
