"""Scores of freely generated text.

Refuses to know how a model was trained. Captions are always written by the model alone, never
teacher forced.
"""

import dataclasses
import math

from keras_vlm.core.files import write_json
from keras_vlm.decoding import BeamSearch
from keras_vlm.metrics import score_captions
from keras_vlm.metrics.captions import SCORE_TOKENIZERS
from keras_vlm.metrics.diversity import diversity

SCORE_TOKENIZER_OF_LANGUAGE = {"zh": "characters"}


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What ``evaluate`` returns.

    Attributes:
        scores: name -> float: BLEU-1..4, ROUGE-L, CIDEr-D.
        diversity: name -> float, of the captions as the scorer splits them into words: share of
            distinct captions, vocabulary used, mean length; with ``training_examples``, share of
            novel ones.
        signature: how the scores were made, in one line; scores with different signatures do not
            compare.
        predictions: list of dicts with ``image_id``, ``caption``, ``score`` (length-normalised
            log-probability; None where the picture could not be read).
    """

    scores: dict
    diversity: dict
    signature: str
    predictions: list

    def save(self, path):
        """Writes everything to a JSON file, atomically."""
        write_json(path, dataclasses.asdict(self))


def evaluate(
    model,
    examples,
    *,
    beam_size=3,
    strategy=None,
    batch_size=32,
    training_examples=None,
    verbose=1,
):
    """Captions a data split and scores the captions against its references.

    Args:
        model: a ``Captioner``, or anything with its ``caption`` method.
        examples: a data split with captions.
        beam_size: width of the beam search; 1 is greedy.
        strategy: another search of ``keras_vlm.decoding``, instead of ``beam_size``.
        batch_size: pictures decoded at once.
        training_examples: the data split that the model was trained on, to count the captions
            that are not copied from it word for word, or None.
        verbose: 1 for a progress bar, 0 for none.

    Returns:
        An ``Evaluation``.

    Raises:
        ValueError: the split has no captions to score against.
    """
    strategy = strategy or BeamSearch(beam_size)
    found = model.caption(
        examples, strategy=strategy, batch_size=batch_size, with_scores=True, verbose=verbose
    )
    best = [texts[0] for texts in found]
    tokenizer = SCORE_TOKENIZER_OF_LANGUAGE.get(examples.language, "ptb")
    report = score_captions(
        examples.captions,
        [text for text, _ in best],
        tokenizer=tokenizer,
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
    return Evaluation(report.scores, varied, str(report.signature), predictions)


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
