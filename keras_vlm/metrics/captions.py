"""All caption scores at once, from raw text. Refuses to know models and pictures."""

import dataclasses

from keras_vlm.core.checks import check_choice
from keras_vlm.metrics.bleu import bleu
from keras_vlm.metrics.cider import cider_d
from keras_vlm.metrics.java_metrics import METEOR_VERSION, check_java_score, java_score
from keras_vlm.metrics.ptb import ptb_tokenize
from keras_vlm.metrics.rouge import rouge_l
from keras_vlm.metrics.signature import Signature, describe_references
from keras_vlm.text.units import load_jieba

CAPTION_SCORES = ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L", "CIDEr-D")
# Those that have to be asked for.
WITHOUT_PENALTY, METEOR = "BLEU_without_penalty", "METEOR"
MORE_CAPTION_SCORES = (WITHOUT_PENALTY, METEOR)


def split_characters(text):
    """Puts a space between characters: how Chinese captions are commonly scored."""
    return " ".join(character for character in text if character.isalnum())


def split_jieba_words(text):
    """Puts a space between Chinese words, by jieba, and drops punctuation.

    Raises:
        ImportError: jieba is missing; the message gives the command that installs it.
    """
    words = (word.strip() for word in load_jieba()(text))
    return " ".join(word for word in words if any(letter.isalnum() for letter in word))


SCORE_TOKENIZERS = {
    "ptb": ptb_tokenize,
    "characters": split_characters,
    "jieba": split_jieba_words,
    "whitespace": lambda text: text,
}


def exact_match(references, hypotheses):
    """Returns the share of captions that equal one of their references, word for word.

    Args:
        references: list of n lists of tokenized texts.
        hypotheses: list of n tokenized texts.

    Returns:
        A float, 0 to 1.

    Example:
        >>> exact_match([["a dog runs", "a dog"], ["a cat"]], ["a dog", "a dog"])
        0.5
    """
    right = [text in texts for texts, text in zip(references, hypotheses, strict=True)]
    return sum(right) / len(right)


@dataclasses.dataclass(frozen=True)
class ScoreReport:
    """What ``score_captions`` returns.

    Attributes:
        scores: name -> float: BLEU-1..4, ROUGE-L (0 to 1), CIDEr-D (0 to 10); where they were asked
            for, BLEU-1..4_without_penalty and METEOR (0 to 1).
        signature: a ``Signature``; ``str`` of it is one line.
        references: the references, tokenized.
        hypotheses: the captions, tokenized.
    """

    scores: dict
    signature: Signature
    references: list
    hypotheses: list


def check_more_scores(where, names, tokenizer):
    """Raises unless these scores can be computed, before anybody waits for captions.

    Args:
        where: name of the public function that the user called.
        names: names of ``MORE_CAPTION_SCORES``.
        tokenizer: name of the tokenizer that splits the captions.

    Raises:
        ImportError: pycocoevalcap is missing.
        FileNotFoundError: Java is missing.
        ValueError: a name is unknown, or METEOR is asked of Chinese.
    """
    for name in names:
        check_choice(where, "more_scores", name, MORE_CAPTION_SCORES)
    if METEOR in names:
        if tokenizer in {"characters", "jieba"}:
            raise ValueError(
                f"{where}: more_scores must not have METEOR where the tokenizer is {tokenizer!r}, "
                f"got {tuple(names)}. Its stems, synonyms and weights are English: leave it out."
            )
        check_java_score(METEOR, where)


def score_captions(
    references,
    hypotheses,
    *,
    tokenizer="ptb",
    brevity_penalty=True,
    more_scores=(),
    split=None,
    decoding=None,
):
    """Scores captions by BLEU, ROUGE-L and CIDEr-D, equal to pycocoevalcap without its Java.

    Args:
        references: list of n lists of raw strings; any number a picture.
        hypotheses: list of n raw strings.
        tokenizer: ``"ptb"`` (Penn Treebank words without punctuation, as COCO's evaluation),
            ``"characters"`` or ``"jieba"`` (Chinese characters, or words) or ``"whitespace"``
            (already tokenized).
        brevity_penalty: whether BLEU has it.
        more_scores: names of ``MORE_CAPTION_SCORES``: ``"BLEU_without_penalty"`` for BLEU without
            the brevity penalty beside that with it, as ``BLEU-4_without_penalty``; ``"METEOR"``,
            of English and through Java.
        split: data and split, for the signature.
        decoding: how captions were searched for, for the signature.

    Returns:
        A ``ScoreReport``.

    Raises:
        ValueError: the lists do not match, are empty, or an option is unknown.
        ImportError: METEOR is asked for and pycocoevalcap is missing.
        FileNotFoundError: METEOR is asked for and there is no Java.
        TypeError: the references of a picture are not a list.

    Example:
        >>> report = score_captions([["A dog runs."], ["Two men!"]], ["a dog", "two men"])
        >>> round(report.scores["ROUGE-L"], 3), report.signature.references
        (0.886, '1')
    """
    check_choice("score_captions", "tokenizer", tokenizer, SCORE_TOKENIZERS)
    check_more_scores("score_captions", more_scores, tokenizer)
    tokenize = SCORE_TOKENIZERS[tokenizer]
    hypotheses = [tokenize(text) for text in hypotheses]
    references = [
        texts if isinstance(texts, str) else [tokenize(text) for text in texts]
        for texts in references
    ]
    scores = {
        **bleu(references, hypotheses, brevity_penalty=brevity_penalty),
        "ROUGE-L": rouge_l(references, hypotheses),
        "CIDEr-D": cider_d(references, hypotheses),
    }
    if WITHOUT_PENALTY in more_scores:
        plain = bleu(references, hypotheses, brevity_penalty=False)
        scores |= {f"{name}_without_penalty": score for name, score in plain.items()}
    if METEOR in more_scores:
        scores[METEOR] = java_score(METEOR, references, hypotheses)
    signature = Signature(
        tokenizer=tokenizer,
        brevity_penalty=brevity_penalty,
        references=describe_references(references),
        split=split,
        n=len(hypotheses),
        decoding=decoding,
        without_penalty=WITHOUT_PENALTY in more_scores,
        meteor=METEOR_VERSION if METEOR in more_scores else None,
    )
    return ScoreReport(scores, signature, references, hypotheses)
