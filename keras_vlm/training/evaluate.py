"""Scores of a model on a data split: of captions it writes, or of who finds whom.

Refuses to know how a model was trained. Captions are always written by the model alone, never
teacher forced.
"""

import dataclasses
import importlib.metadata
import importlib.util
import math

import numpy as np

from keras_vlm.core.checks import check_number
from keras_vlm.core.files import write_json
from keras_vlm.core.version import VERSION
from keras_vlm.data.questions import flatten
from keras_vlm.data.sources import ClipExamples
from keras_vlm.decoding import BeamSearch
from keras_vlm.metrics import score_captions, score_retrieval, score_vqa
from keras_vlm.metrics.calibration import reliability
from keras_vlm.metrics.captions import SCORE_TOKENIZERS, check_more_scores, exact_match
from keras_vlm.metrics.classification import frequent_confusions
from keras_vlm.metrics.diversity import diversity
from keras_vlm.metrics.retrieval import ranks_of_right, score_blocks
from keras_vlm.metrics.signature import describe_references
from keras_vlm.metrics.vqa_accuracy import choose_protocol
from keras_vlm.text.answers import comparable
from keras_vlm.training.blind import blind_scores

SCORE_TOKENIZER_OF_LANGUAGE = {"zh": "characters"}


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What ``evaluate`` returns.

    Attributes:
        scores: name -> float: BLEU-1..4, ROUGE-L, CIDEr-D and ``more_scores``, of clips also
            ``exact_match``, the share of captions that are one of the references; of a retriever,
            those of ``score_retrieval``.
        diversity: name -> float, of the captions as the scorer splits them into words: share of
            distinct captions, vocabulary used, mean length; with ``training_examples``, share of
            novel ones. Empty for a retriever.
        signature: how the scores were made, in one line; scores with different signatures do not
            compare.
        baselines: of answers: what ``blind_scores`` returns, the accuracies of who does not look.
            They need ``training_examples``; else empty.
        calibration: of answers: what ``metrics.calibration.reliability`` returns; else empty.
        confusion: of answers: what ``metrics.classification.frequent_confusions`` returns; else
            empty.
        predictions: list of dicts with ``image_id``, ``caption``, ``score`` (length-normalised
            log-probability; None where the picture could not be read). A retriever's ``caption`` is
            the nearest of the split's captions, its ``score`` their cosine (of two stages, the
            second's), and ``rank`` that of the nearest of the picture's own. Of a question:
            ``question_id``, ``image_id``, ``question``, ``answer``, ``confidence`` and ``problem``
            (None, or why not to trust it).
    """

    scores: dict
    diversity: dict
    signature: str
    predictions: list
    baselines: dict = dataclasses.field(default_factory=dict)
    calibration: dict = dataclasses.field(default_factory=dict)
    confusion: dict = dataclasses.field(default_factory=dict)

    def save(self, path):
        """Writes everything to a JSON file, atomically."""
        write_json(path, dataclasses.asdict(self))


def evaluate(  # noqa: PLR0913 - each task has options of its own
    model,
    examples,
    *,
    beam_size=3,
    strategy=None,
    batch_size=32,
    training_examples=None,
    folds=1,
    more_scores=(),
    verbose=1,
):
    """Scores a model on a data split.

    A captioner captions it, and its captions are scored against the references. A retriever
    searches it, in both directions; of a ``TwoStageRetriever``, the re-ranked answers are scored. A
    ``VQAModel`` answers its questions. ``shuffle_pictures(examples)`` in place of a split shows
    what is scored by who does not look.

    Args:
        model: a ``Captioner``, a ``Retriever``, a ``TwoStageRetriever``, a ``VQAModel``, or
            anything with the ``caption``, the ``answer``, or the ``embed_images`` and
            ``embed_texts`` methods of one.
        examples: a data split with captions or questions.
        beam_size: width of the beam search; 1 is greedy.
        strategy: another search of ``keras_vlm.decoding``, instead of ``beam_size``.
        batch_size: pictures decoded at once.
        training_examples: the data split that the model was trained on, to count the captions
            that are not copied from it word for word, or for the baselines of answers, or None.
        folds: for a retriever: equal parts that are scored apart and averaged, as in
            ``score_retrieval``.
        more_scores: of a captioner: ``"BLEU_without_penalty"``, ``"METEOR"``, as in
            ``score_captions``.
        verbose: 1 for a progress bar, 0 for none.

    Returns:
        An ``Evaluation``.

    Raises:
        ValueError: the split has no captions, or questions, to score against, or ``more_scores``
            are asked for that the model or the language does not have.
        TypeError: the model is none of the above.
        ImportError: METEOR is asked for and pycocoevalcap is missing.
        FileNotFoundError: METEOR is asked for and there is no Java.
    """
    wanted = "questions" if hasattr(model, "answer") else "captions"
    if getattr(examples, wanted) is None:
        raise ValueError(
            f"evaluate: examples must have {wanted}, {examples.name}:{examples.split} has none."
        )
    if more_scores and (hasattr(model, "answer") or hasattr(model, "embed_images")):
        raise ValueError(
            f"evaluate: more_scores must be empty for a {type(model).__name__}, got "
            f"{tuple(more_scores)}. They are scores of captions."
        )
    if hasattr(model, "answer"):
        return _evaluate_answers(model, examples, batch_size, training_examples, verbose)
    if hasattr(model, "embed_images"):
        return _evaluate_retrieval(model, examples, batch_size, folds, verbose)
    if not hasattr(model, "caption"):
        raise TypeError(
            f"evaluate: model must be a captioner or a retriever, got a {type(model).__name__}. "
            "A re-ranker is scored with a retriever: TwoStageRetriever(retriever, reranker)."
        )
    return _evaluate_captions(
        model,
        examples,
        strategy or BeamSearch(beam_size),
        batch_size,
        training_examples,
        tuple(more_scores),
        verbose,
    )


def _evaluate_captions(
    model, examples, strategy, batch_size, training_examples, more_scores, verbose
):
    """Scores the captions that a model writes for a data split."""
    tokenizer = SCORE_TOKENIZER_OF_LANGUAGE.get(examples.language, "ptb")
    check_more_scores("evaluate", more_scores, tokenizer)
    found = model.caption(
        examples, strategy=strategy, batch_size=batch_size, with_scores=True, verbose=verbose
    )
    best = [texts[0] for texts in found]
    report = score_captions(
        examples.captions,
        [text for text, _ in best],
        tokenizer=tokenizer,
        more_scores=more_scores,
        split=f"{examples.name}:{examples.split}",
        decoding=describe(strategy),
    )
    predictions = [
        {"image_id": image_id, "caption": text, "score": score if math.isfinite(score) else None}
        for image_id, (text, score) in zip(examples.image_ids, best, strict=True)
    ]
    trained_on = None
    if training_examples is not None:
        tokenize = SCORE_TOKENIZERS[tokenizer]
        trained_on = [tokenize(text) for texts in training_examples.captions for text in texts]
    varied = diversity(report.hypotheses, trained_on)
    scores, signature = dict(report.scores), str(report.signature)
    if examples.language == "zh" and importlib.util.find_spec("jieba"):
        words = score_captions(
            examples.captions,
            [text for text, _ in best],
            tokenizer="jieba",
            more_scores=more_scores,
        )
        # Both, for papers differ in which of them they report.
        scores |= {f"{name} (jieba)": one for name, one in words.scores.items()}
        version = importlib.metadata.version("jieba")
        both = f"tokenizer:characters+jieba-{version}"
        signature = signature.replace("tokenizer:characters", both)
    if isinstance(examples, ClipExamples):
        scores["exact_match"] = exact_match(report.references, report.hypotheses)
    return Evaluation(scores, varied, signature, predictions)


def _evaluate_retrieval(model, examples, batch_size, folds, verbose):
    """Scores the common space of a retriever on a data split."""
    check_number("evaluate", "folds", folds, minimum=1, maximum=len(examples), integer=True)
    images = model.embed_images(examples, batch_size=batch_size, verbose=verbose)
    captions = [text for texts in examples.captions for text in texts]
    owners = np.repeat(np.arange(len(examples)), [len(texts) for texts in examples.captions])
    texts = model.embed_texts(captions)
    second, to_captions = None, None
    if hasattr(model, "second_stage"):
        second = model.second_stage(examples, captions, batch_size=batch_size, verbose=verbose)

        def to_captions(scores, places):
            return second(scores, places[:, None], np.arange(len(captions))[None, :])

    predictions = []
    for places, scores in score_blocks(images, texts, to_captions):
        ranks = ranks_of_right(scores, owners[None, :] == places[:, None])
        for place, row, rank in zip(places.tolist(), scores, ranks, strict=True):
            nearest = int(np.argmax(row))
            readable = bool(images[place].any())
            predictions.append(
                {
                    "image_id": examples.image_ids[place],
                    "caption": captions[nearest] if readable else "",
                    "score": float(row[nearest]) if readable else None,
                    "rank": int(rank[0]),
                }
            )
    fields = {
        "captions": describe_references(examples.captions),
        "ties": "against",
        "split": f"{examples.name}:{examples.split}",
        "n": len(examples),
        "unreadable": int((~images.any(axis=1)).sum()),
        "folds": folds,
        **({} if second is None else {"reranked": second.k}),
        "keras_vlm": VERSION,
    }
    return Evaluation(
        score_retrieval(images, texts, owners, folds=folds, rescore=second),
        {},
        "|".join(f"{name}:{value}" for name, value in fields.items()),
        predictions,
    )


def _evaluate_answers(model, examples, batch_size, training_examples, verbose):
    """Scores the answers to the questions of a data split, beside who does not look."""
    questions = flatten(examples.questions)
    found = flatten(model.answer(examples, batch_size=batch_size, verbose=verbose))
    texts = [answer.text for answer in found]
    confidences = [answer.probability for answer in found]
    scores = score_vqa(texts, questions, confidences=confidences)
    owners = [
        image_id
        for image_id, each in zip(examples.image_ids, examples.questions, strict=True)
        for _ in each
    ]
    predictions = [
        {
            "question_id": question.question_id,
            "image_id": image_id,
            "question": question.text,
            "answer": answer.text,
            "confidence": answer.probability,
            "problem": answer.problem,
        }
        for question, image_id, answer in zip(questions, owners, found, strict=True)
    ]
    said = [comparable(text) for text in texts]
    truth = [comparable(question.answer) for question in questions]
    right = [one == other for one, other in zip(said, truth, strict=True)]
    fields = {
        "answers": choose_protocol(questions),
        "annotators": describe_references([question.answers for question in questions]),
        "split": f"{examples.name}:{examples.split}",
        "n": len(questions),
        "keras_vlm": VERSION,
    }
    return Evaluation(
        scores,
        {},
        "|".join(f"{name}:{value}" for name, value in fields.items()),
        predictions,
        {} if training_examples is None else blind_scores(training_examples, examples),
        reliability(confidences, right),
        frequent_confusions(truth, said),
    )


def describe(strategy):
    """Returns a search and those of its options that are not the usual ones, in a few words.

    Args:
        strategy: a search of ``keras_vlm.decoding``.

    Returns:
        A string, such as ``"BeamSearch(beam_size=3)"``.
    """
    told = [
        f"{field.name}={getattr(strategy, field.name)!r}"
        for field in dataclasses.fields(strategy)
        if getattr(strategy, field.name) != field.default
    ]
    return f"{type(strategy).__name__}({', '.join(told)})"
