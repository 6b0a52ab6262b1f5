"""BLEU, ROUGE-L and CIDEr-D against pycocoevalcap, on the same tokens and from raw text."""

import contextlib
import io
import os
import random
import shutil

import numpy as np
import pytest

from keras_vlm.core.checks import DataError
from keras_vlm.data import load_data
from keras_vlm.metrics import CAPTION_SCORES, score_captions
from keras_vlm.metrics.bleu import bleu
from keras_vlm.metrics.cider import cider_d, cider_d_each
from keras_vlm.metrics.java_metrics import java_score
from keras_vlm.metrics.rouge import longest_common_subsequence, rouge_l

WORDS = "a the dog cat man two red on in grass runs jumps with big small ball , .".split()


def oracle(references, hypotheses):
    """Scores by pycocoevalcap on tokenized texts."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    gts, res = dict(enumerate(references)), {i: [text] for i, text in enumerate(hypotheses)}
    with contextlib.redirect_stdout(io.StringIO()):
        found, _ = Bleu(4).compute_score(gts, res)
    scores = {f"BLEU-{n}": score for n, score in enumerate(found, start=1)}
    scores["ROUGE-L"] = Rouge().compute_score(gts, res)[0]
    scores["CIDEr-D"] = Cider().compute_score(gts, res)[0]
    return scores


def oracle_tokenize(texts):
    """Tokenizes by pycocoevalcap's Java."""
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    found = PTBTokenizer().tokenize({i: [{"caption": text}] for i, text in enumerate(texts)})
    return [found[i][0] for i in range(len(texts))]


def random_corpus(seed, pictures, most_references=5, most_words=12):
    draw = random.Random(seed)

    def sentence(least):
        return " ".join(draw.choices(WORDS, k=draw.randint(least, most_words)))

    references = [
        [sentence(1) for _ in range(draw.randint(1, most_references))] for _ in range(pictures)
    ]
    # Some hypotheses borrow from a reference, so that long n-grams match; some are empty.
    hypotheses = [
        (draw.choice(texts) + " " + sentence(0))[: draw.randint(0, 60)].strip()
        for texts in references
    ]
    return references, hypotheses


def real_corpus():
    """1,000 pictures with 5 captions of people; each one's hypothesis is a caption of another."""
    source = os.environ.get("KERAS_VLM_CAPTIONS")
    if not source:
        pytest.skip("needs real captions: set KERAS_VLM_CAPTIONS to a source, as flickr8k:DIR")
    try:
        examples = load_data(source)["dev"]
    except (DataError, FileNotFoundError, KeyError) as error:
        pytest.fail(f"KERAS_VLM_CAPTIONS={source}: {error}")
    references = examples.captions[:1000]
    draw = random.Random(0)
    hypotheses = [
        draw.choice(texts if draw.random() < 0.3 else draw.choice(references))
        for texts in references
    ]
    return references, hypotheses


@pytest.mark.parametrize("seed", range(7))
def test_equal_to_pycocoevalcap_on_random_tokens(seed):
    references, hypotheses = random_corpus(seed, pictures=(1, 2, 3, 13, 31, 53, 101)[seed])
    expected = oracle(references, hypotheses)
    scores = score_captions(references, hypotheses, tokenizer="whitespace").scores
    assert list(scores) == list(CAPTION_SCORES)
    for name, score in scores.items():
        assert score == pytest.approx(expected[name], abs=1e-6), name


def test_equal_to_pycocoevalcap_on_a_thousand_real_pictures_with_the_same_tokens():
    references, hypotheses = real_corpus()
    report = score_captions(references, hypotheses)
    expected = oracle(report.references, report.hypotheses)
    for name, score in report.scores.items():
        assert score == pytest.approx(expected[name], abs=1e-6), name


@pytest.mark.skipif(shutil.which("java") is None, reason="the reference tokenizer needs Java")
def test_equal_to_pycocoevalcap_end_to_end_from_raw_text():
    references, hypotheses = real_corpus()
    flat = oracle_tokenize([text for texts in references for text in texts])
    tokenized = [flat[5 * i : 5 * i + 5] for i in range(len(references))]
    expected = oracle(tokenized, oracle_tokenize(hypotheses))
    for name, score in score_captions(references, hypotheses).scores.items():
        assert score == pytest.approx(expected[name], abs=1e-3), name


def test_perfect_captions_have_the_closed_form_scores():
    references = [["a dog runs on grass"], ["two men ride red bikes"], ["the cat sleeps in a box"]]
    scores = score_captions(references, [texts[0] for texts in references]).scores
    for name in CAPTION_SCORES[:5]:
        assert scores[name] == pytest.approx(1, abs=1e-6)
    assert scores["CIDEr-D"] == pytest.approx(10)


def test_brevity_penalty_is_the_closed_form():
    references, hypotheses = [["a b c d e f"]], ["a b c d"]
    kept = bleu(references, hypotheses)
    left_out = bleu(references, hypotheses, brevity_penalty=False)
    assert left_out["BLEU-4"] == pytest.approx(1, abs=1e-6)
    for name in kept:
        assert kept[name] == pytest.approx(left_out[name] * np.exp(1 - 6 / 4), abs=1e-6)


def test_closest_reference_length_prefers_the_shorter_of_two_as_close():
    # 3 words against 2 and 4: with the shorter one there is no penalty.
    assert bleu([["a b", "a b c d"]], ["a b c"])["BLEU-1"] == pytest.approx(1, abs=1e-6)


def test_longest_common_subsequence_against_the_table():
    def table(first, second):
        rows = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
        for i, x in enumerate(first):
            for j, y in enumerate(second):
                rows[i + 1][j + 1] = (
                    rows[i][j] + 1 if x == y else max(rows[i][j + 1], rows[i + 1][j])
                )
        return rows[-1][-1]

    draw = random.Random(0)
    for _ in range(300):
        first = draw.choices("abcd", k=draw.randint(0, 90))
        second = draw.choices("abcd", k=draw.randint(0, 90))
        assert longest_common_subsequence(first, second) == table(first, second)


def test_cider_of_each_picture_averages_to_that_of_the_corpus():
    references, hypotheses = random_corpus(3, pictures=17)
    each = cider_d_each(references, hypotheses)
    assert each.shape == (17,)
    assert each.mean() == pytest.approx(cider_d(references, hypotheses))


def test_chinese_is_scored_by_characters():
    report = score_captions([["一只 狗，在跑。"]], ["一只狗在跑"], tokenizer="characters")
    assert report.references == [["一 只 狗 在 跑"]]
    assert report.scores["BLEU-4"] == pytest.approx(1, abs=1e-6)


def test_signature_says_how_a_score_was_made():
    report = score_captions(
        [["a b"], ["c", "d"]], ["a", "d"], split="flickr8k:dev", decoding="BeamSearch(3)"
    )
    text = str(report.signature)
    for part in ("ptb", "flickr8k:dev", "references:1-2", "n:2", "BeamSearch(3)", "yes"):
        assert part in text
    without = score_captions([["a"]], ["a"], brevity_penalty=False)
    assert "brevity_penalty:no" in str(without.signature)


@pytest.mark.parametrize("score", [bleu, rouge_l, cider_d])
def test_bad_corpora_are_named(score):
    with pytest.raises(ValueError, match="one length, got 2 and 1"):
        score([["a"], ["b"]], ["a"])
    with pytest.raises(ValueError, match="hypotheses must not be empty"):
        score([], [])
    with pytest.raises(ValueError, match=r"references\[1\] must hold a reference"):
        score([["a"], []], ["a", "b"])
    with pytest.raises(TypeError, match=r"references\[0\] must be a list of strings, got 'a dog'"):
        score(["a dog"], ["a"])


def test_unknown_tokenizer_is_named():
    with pytest.raises(ValueError, match="tokenizer.*'ptbb'.*ptb"):
        score_captions([["a"]], ["a"], tokenizer="ptbb")


def test_java_scores_say_what_is_missing(monkeypatch):
    with pytest.raises(ValueError, match="METEORR"):
        java_score("METEORR", [["a"]], ["a"])
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(FileNotFoundError, match="needs Java"):
        java_score("METEOR", [["a"]], ["a"])


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("java") is None, reason="METEOR needs Java")
# pycocoevalcap does not close its pipes to Java.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_meteor_of_perfect_captions_is_one():
    references = [["a dog runs on grass"], ["two men ride red bikes"]]
    texts = [found[0] for found in references]
    assert java_score("METEOR", references, texts) == pytest.approx(1, abs=1e-3)
