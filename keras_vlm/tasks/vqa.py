"""Visual question answering: ``build_vqa``, and the choice between choosing and writing.

Refuses to know files, scores and servers. Dimension letters: B batch, H height, W width, N picture
tokens, C their width, Q questions a picture, T text positions, A answers.
"""

import sys

import keras

from keras_vlm.core.checks import check_choice, check_number, resolve
from keras_vlm.data.questions import flatten
from keras_vlm.fusion import QUESTION_FUSIONS, QuestionFusion
from keras_vlm.fusion.multi_head import MultiHeadFusion
from keras_vlm.losses import ANSWER_LOSSES, MaskedCrossEntropy
from keras_vlm.tasks.base import PRECISIONS, check_reads, makers_of, resolve_optimizer
from keras_vlm.tasks.question_reader import AnswerWriter, QuestionReader
from keras_vlm.tasks.vqa_models import ChoosingVQAModel, WritingVQAModel
from keras_vlm.text import LSTMDecoder, Tokenizer
from keras_vlm.text.answers import AnswerVocabulary, comparable
from keras_vlm.text.foreign import resolve_text_encoder
from keras_vlm.vision.backbones import resolve_backbone

ANSWERS = ("auto", "choose", "write")
MODELS = (ChoosingVQAModel, WritingVQAModel)
# Where a vocabulary of answers that were seen twice covers less than this, answers are written.
LEAST_COVERAGE = 0.8
MOST_ANSWER_LENGTH = 22


def build_vqa(  # noqa: PLR0913 - what a model is made of
    backbone="efficientnet_lite0",
    *,
    tokenizer,
    answers,
    text="gru",
    fusion="co_attention",
    image_size=224,
    position_scale=0.0,
    optimizer="adamw",
    precision="float32",
):
    """Builds and compiles a model that answers questions about pictures.

    Args:
        backbone: a name in ``vision.backbones.BACKBONES`` (frozen, ImageNet weights), a
            ``Backbone`` such as a captioner's ``encoder``, or any Keras model from images [B,H,W,3]
            in 0..255 to [B,h,w,C] or [B,N,C].
        tokenizer: a ``Tokenizer`` of questions, or a data split to make one of.
        answers: an ``AnswerVocabulary``, from which the model then chooses; a ``Tokenizer`` of
            answers, in whose words it writes; a data split, for ``choose_answers`` to decide; or,
            where ``tokenizer`` is a data split, how: ``"auto"``, ``"choose"`` or ``"write"``.
        text: ``"lstm"``, ``"gru"``, ``"transformer"``, ``"cnn"``, ``"bag"``,
            ``"keras_hub:PRESET"`` (with the tokenizer that ``keras_hub_tokenizer`` makes), or an
            encoder of your own measures, such as ``GRUEncoder(hidden_dim=512)``.
        fusion: ``"concat"`` (the classical model: picture vector beside question vector),
            ``"attention"``, ``"additive"``, ``"dot_product"``, ``"stacked_attention"``,
            ``"hadamard"``, ``"co_attention"``, ``"cross_attention"``, or a ``QuestionFusion``.
        image_size: side in pixels, or ``(H, W)``; for a backbone given by name.
        position_scale: as for ``QuestionReader``: above 0, how loudly a grid's tokens say from the
            beginning where they lie, for questions of left and right.
        optimizer: a Keras optimizer or its name; ``"adamw"`` means a learning rate of 1e-3.
        precision: ``"float32"``, ``"mixed_bfloat16"`` or ``"mixed_float16"``.

    Returns:
        A compiled ``VQAModel``: ``ChoosingVQAModel`` or ``WritingVQAModel``.

    Raises:
        ValueError: an option is unknown or out of range.
        TypeError: an option is neither a name nor the object it names.

    Example:
        >>> tokenizer = Tokenizer(["is", "it", "red"], max_length=6)
        >>> model = build_vqa(
        ...     "conv_small", tokenizer=tokenizer, answers=AnswerVocabulary(["yes", "no"]),
        ...     text="bag", fusion="concat", image_size=32)
        >>> sorted(model.input), model.output.shape[-1]
        (['images', 'token_ids'], 2)
    """
    where = "build_vqa"
    check_choice(where, "precision", precision, PRECISIONS)
    tokenizer, answers = resolve_words(where, tokenizer, answers)

    policy = keras.DTypePolicy(precision)
    encoder = resolve_backbone(backbone, image_size, dtype=policy)
    text_encoder = resolve_text_encoder(where, text, tokenizer, policy)
    fusion = resolve(where, "fusion", fusion, makers_of(QUESTION_FUSIONS, policy), QuestionFusion)

    reader = QuestionReader(
        text_encoder, fusion, position_scale=position_scale, dtype=policy, name="reader"
    )
    model = assemble(encoder, reader, tokenizer, answers)
    model.compile(
        optimizer=resolve_optimizer(optimizer, text_encoder.compute_dtype),
        loss=choose_loss(answers),
        jit_compile="auto",
    )
    return model


def resolve_words(where, tokenizer, answers):
    """Turns data splits into a tokenizer of questions and into answers.

    Args:
        where: name of the builder.
        tokenizer: a ``Tokenizer``, or a data split with questions.
        answers: an ``AnswerVocabulary``, a ``Tokenizer``, a data split with questions, or a name
            in ``ANSWERS`` where ``tokenizer`` is such a split.

    Returns:
        ``(tokenizer, answers)``.

    Raises:
        TypeError: one is none of these.
    """
    if answers in ANSWERS and getattr(tokenizer, "questions", None):
        answers = choose_answers(tokenizer, answers)
    if getattr(tokenizer, "questions", None):
        tokenizer = fit_question_tokenizer(tokenizer)
    if getattr(answers, "questions", None):
        answers = choose_answers(answers)
    if not isinstance(tokenizer, Tokenizer):
        raise TypeError(
            f"{where}: tokenizer must be a Tokenizer or a data split with questions, got "
            f"{tokenizer!r}."
        )
    check_reads(where, tokenizer)
    if not isinstance(answers, (AnswerVocabulary, Tokenizer)):
        raise TypeError(
            f"{where}: answers must be an AnswerVocabulary, a Tokenizer or a data split with "
            f"questions (or, where tokenizer is a split, one of {ANSWERS}), got {answers!r}."
        )
    return tokenizer, answers


def assemble(encoder, reader, tokenizer, answers, *, kinds=MODELS, **options):
    """Puts a model together by what its answers are.

    Args:
        encoder: the encoder.
        reader: a ``QuestionReader``.
        tokenizer: a ``Tokenizer`` of questions.
        answers: an ``AnswerVocabulary`` or a ``Tokenizer``.
        kinds: the class that chooses and the class that writes.
        **options: more arguments of the class.

    Returns:
        A model of one of ``kinds``, not compiled.
    """
    chooses, writes = kinds
    if isinstance(answers, AnswerVocabulary):
        return chooses(encoder, reader, tokenizer, answers, **options)
    policy = reader.dtype_policy
    decoder = LSTMDecoder(
        MultiHeadFusion(dtype=policy),
        hidden_dim=reader.text_encoder.hidden_dim,
        dropout=0.1,
        dtype=policy,
    )
    writer = AnswerWriter(decoder, name="writer", dtype=policy)
    return writes(encoder, reader, tokenizer, answers, writer, **options)


def choose_loss(answers):
    """Returns the loss for an ``AnswerVocabulary``, or for a ``Tokenizer`` of answers."""
    if isinstance(answers, AnswerVocabulary):
        return ANSWER_LOSSES[answers.activation](answers.class_weights())
    return MaskedCrossEntropy()


def fit_question_tokenizer(examples, *, max_length=22, minimum_count=1, unit=None):
    """Makes a tokenizer of the words of a split's questions; says on stderr if some are cut.

    Args:
        examples: a data split with questions.
        max_length: positions of a question, start and end included.
        minimum_count: words seen fewer times are unknown.
        unit: as for ``Tokenizer.fit``.

    Returns:
        A ``Tokenizer``.
    """
    texts = [question.text for question in flatten(examples.questions)]
    tokenizer = Tokenizer.fit(
        texts,
        unit=unit,
        max_length=max_length,
        minimum_count=minimum_count,
        language=examples.language,
    )
    _report_cut("questions", tokenizer.split(texts).row_lengths().numpy(), max_length)
    return tokenizer


def choose_answers(
    examples, how="auto", *, size=3000, activation="softmax", balanced=False, minimum_count=1
):
    """Decides how answers are given, by what the answers of a split are; says so on stderr.

    Args:
        examples: a data split with questions.
        how: ``"choose"`` from the most frequent answers; ``"write"`` them freely; ``"auto"`` writes
            where answers that were given twice or more, ``size`` of them at most, cover fewer than
            80 % of the questions.
        size: most answers to choose from.
        activation: ``"softmax"`` or ``"sigmoid"``, as for ``AnswerVocabulary``.
        balanced: whether rare answers count more in the loss, where answers are chosen.
        minimum_count: an answer, or a written answer's word, seen fewer times is left out.

    Returns:
        An ``AnswerVocabulary`` or a ``Tokenizer`` of answers.

    Raises:
        ValueError: an option is unknown or out of range.
    """
    check_choice("choose_answers", "how", how, ANSWERS)
    check_number("choose_answers", "size", size, minimum=2, integer=True)
    questions = flatten(examples.questions)
    why = ""
    if how == "auto":
        coverage = _repeated_coverage(questions, size)
        how = "choose" if coverage >= LEAST_COVERAGE else "write"
        why = f": answers that are given again cover {coverage:.1%} of the questions"
    if how == "choose":
        vocabulary = AnswerVocabulary.fit(
            questions,
            size=size,
            minimum_count=minimum_count,
            activation=activation,
            balanced=balanced,
        )
        told = f"{len(vocabulary)} answers to choose from, covering {vocabulary.coverage:.1%}"
        print(f"answers: {told}{why}.", file=sys.stderr)
        return vocabulary
    texts = [comparable(question.answer) for question in questions]
    chinese = examples.language == "zh"
    lengths = [len(text if chinese else text.split()) for text in texts]
    tokenizer = Tokenizer.fit(
        texts,
        unit="sign" if chinese else "spaced",
        max_length=min(MOST_ANSWER_LENGTH, max(3, max(lengths) + 2)),
        minimum_count=minimum_count,
        language=examples.language,
    )
    told = f"written, in {len(tokenizer.vocabulary)} words"
    print(f"answers: {told}{why}.", file=sys.stderr)
    _report_cut("answers", lengths, tokenizer.max_length)
    return tokenizer


def _report_cut(what, lengths, max_length):
    """Says on stderr how many texts do not fit between start and end."""
    cut = sum(length > max_length - 2 for length in lengths)
    if cut:
        print(
            f"{what}: {cut} of {len(lengths)} have more than {max_length - 2} words and are cut "
            f"there (the longest has {max(lengths)}).",
            file=sys.stderr,
        )


def _repeated_coverage(questions, size):
    """Returns the share of questions whose answer is among ``size`` that were given twice."""
    try:
        return AnswerVocabulary.fit(questions, size=size, minimum_count=2).coverage
    except ValueError:
        return 0.0
