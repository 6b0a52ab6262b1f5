"""Evaluation: the scores are those of the captions that the model writes by itself."""

import collections
import json
import math
import shutil

import keras
import numpy as np
import pytest
from oracles import scenes_reranker, scenes_retriever

from keras_vlm import TwoStageRetriever
from keras_vlm.data import load_data
from keras_vlm.data.sources import BytesExamples
from keras_vlm.decoding import (
    BeamSearch,
    DiverseBeamSearch,
    GreedySearch,
    NoRepeatNgram,
    Sampling,
)
from keras_vlm.fusion import FUSIONS
from keras_vlm.metrics import captions as captions_module
from keras_vlm.metrics import score_captions
from keras_vlm.tasks.captioning import build_captioner
from keras_vlm.text import LSTMDecoder, Tokenizer
from keras_vlm.training.evaluate import describe, evaluate


class Parrot:
    """Says what it was told, for each picture a list of ``(text, score)``."""

    def __init__(self, captions):
        self.captions = captions
        self.options = None

    def caption(self, examples, **options):
        self.options = options
        return self.captions


def make_examples(references, language="en"):
    count = len(references)
    names = [f"picture-{i}" for i in range(count)]
    return BytesExamples("mine", "val", language, names, references, [b""] * count)


REFERENCES = [
    ["A dog runs on the grass.", "the dog, running"],
    ["Two men!", "two old men", "men at a table"],
    ["a red bike"],
]
CAPTIONS = ["a dog runs", "two men", "a dog runs"]


@pytest.fixture(scope="module")
def captioner():
    keras.utils.set_random_seed(0)
    tokenizer = Tokenizer.fit(load_data("scenes:20")["train"], minimum_count=1, max_length=11)
    return build_captioner(
        "conv_small",
        image_size=16,
        tokenizer=tokenizer,
        text=LSTMDecoder(FUSIONS["attention"](), hidden_dim=12),
    )


@pytest.mark.parametrize("strategy", [None, Sampling(2, seed=5)])
def test_the_scores_are_those_of_the_captions_the_model_writes(captioner, strategy):
    examples = load_data("scenes:20")["test"]
    found = evaluate(captioner, examples, beam_size=2, strategy=strategy, batch_size=2, verbose=0)
    chosen = strategy or BeamSearch(2)
    written = [
        texts[0]
        for texts in captioner.caption(examples, strategy=chosen, batch_size=2, with_scores=True)
    ]
    assert [entry["caption"] for entry in found.predictions] == [text for text, _ in written]
    assert [entry["score"] for entry in found.predictions] == [score for _, score in written]
    assert [entry["image_id"] for entry in found.predictions] == examples.image_ids
    assert found.scores == score_captions(examples.captions, [text for text, _ in written]).scores


def test_options_reach_the_search_and_the_best_text_is_scored():
    parrot = Parrot([[(text, -0.5), ("something else", -0.7)] for text in CAPTIONS])
    found = evaluate(parrot, make_examples(REFERENCES), beam_size=5, batch_size=7, verbose=0)
    assert parrot.options == {
        "strategy": BeamSearch(5),
        "batch_size": 7,
        "with_scores": True,
        "verbose": 0,
    }
    expected = score_captions(REFERENCES, CAPTIONS)
    assert found.scores == expected.scores
    assert set(found.scores) == {"BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L", "CIDEr-D"}
    assert found.diversity == {"distinct": 2 / 3, "vocabulary": 5, "mean_length": 8 / 3}


def test_the_signature_says_how_the_scores_were_made():
    parrot = Parrot([[(text, -0.5)] for text in CAPTIONS])
    found = evaluate(parrot, make_examples(REFERENCES), beam_size=5, verbose=0)
    fields = dict(field.split(":", 1) for field in found.signature.split("|"))
    version = fields.pop("keras_vlm")
    assert version[0].isdigit()
    assert fields == {
        "tokenizer": "ptb",
        "brevity_penalty": "yes",
        "references": "1-3",
        "split": "mine:val",
        "n": "3",
        "decoding": "BeamSearch(beam_size=5)",
    }


def plain_bleu(references, hypotheses, most):
    """BLEU without brevity penalty, counted one n-gram after the other."""
    logarithms = 0.0
    for n in range(1, most + 1):
        right = total = 0
        for texts, hypothesis in zip(references, hypotheses, strict=True):
            counts = [
                collections.Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))
                for words in (text.split() for text in [hypothesis, *texts])
            ]
            total += counts[0].total()
            for ngram, times in counts[0].items():
                right += min(times, max(each[ngram] for each in counts[1:]))
        logarithms += math.log(right / total)
    return math.exp(logarithms / most)


def test_bleu_without_its_brevity_penalty_stands_beside():
    references = [["a dog runs on the green grass", "the dog is in here"], ["two men sit down"]]
    captions = ["a dog runs on sand", "two men"]
    parrot = Parrot([[(text, -0.5)] for text in captions])
    asked = {"more_scores": ("BLEU_without_penalty",), "verbose": 0}
    found = evaluate(parrot, make_examples(references), **asked)
    usual = evaluate(parrot, make_examples(references), verbose=0)
    plain = {name: found.scores[name] for name in found.scores if name not in usual.scores}
    assert list(plain) == [f"BLEU-{n}_without_penalty" for n in range(1, 5)]
    for n in (1, 2, 3):
        expected = plain_bleu(references, captions, n)
        assert plain[f"BLEU-{n}_without_penalty"] == pytest.approx(expected, rel=1e-6)
        # Seven words where people need nine at least.
        assert usual.scores[f"BLEU-{n}"] < 0.95 * expected
    assert {name: found.scores[name] for name in usual.scores} == usual.scores
    assert found.signature == usual.signature.replace("penalty:yes|", "penalty:yes+no|")
    # Of Chinese, by characters and by words.
    pytest.importorskip("jieba", reason="jieba is not installed (extra 'zh')")
    parrot = Parrot([[("一只狗", -0.5)]])
    found = evaluate(parrot, make_examples([["一只狗在跑。"]], "zh"), **asked)
    assert found.scores["BLEU-1_without_penalty"] == pytest.approx(1)
    assert found.scores["BLEU-1_without_penalty (jieba)"] == pytest.approx(1)
    assert found.scores["BLEU-1 (jieba)"] < 0.7


def test_meteor_is_given_what_the_other_scores_are_given(monkeypatch):
    given = []

    def score(name, references, hypotheses):
        given.append((name, references, hypotheses))
        return 0.25

    monkeypatch.setattr(captions_module, "check_java_score", lambda *_: None)
    monkeypatch.setattr(captions_module, "java_score", score)
    parrot = Parrot([[(text, -0.5)] for text in ("A dog, runs!", "two men", "")])
    found = evaluate(parrot, make_examples(REFERENCES), more_scores=("METEOR",), verbose=0)
    assert found.scores["METEOR"] == 0.25
    assert "|meteor:1.5|" in found.signature
    [(name, references, hypotheses)] = given
    assert name == "METEOR"
    assert references[0] == ["a dog runs on the grass", "the dog running"]
    assert hypotheses == ["a dog runs", "two men", ""]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("java") is None, reason="METEOR is a Java program; no java here")
# pycocoevalcap leaves the pipes to its Java process to the garbage collector.
@pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
def test_meteor_is_that_of_pycocoevalcap():
    meteor = pytest.importorskip("pycocoevalcap.meteor.meteor", reason="no pycocoevalcap")
    captions = ["A dog runs!", "two men sit at the table", ""]
    parrot = Parrot([[(text, -0.5)] for text in captions])
    found = evaluate(parrot, make_examples(REFERENCES), more_scores=("METEOR",), verbose=0)
    references = {
        0: ["a dog runs on the grass", "the dog running"],
        1: ["two men", "two old men", "men at a table"],
        2: ["a red bike"],
    }
    hypotheses = {0: ["a dog runs"], 1: ["two men sit at the table"], 2: [""]}
    expected, _ = meteor.Meteor().compute_score(references, hypotheses)
    assert found.scores["METEOR"] == pytest.approx(expected)
    assert 0.1 < expected < 0.6


def test_what_cannot_be_scored_is_said_before_the_captions_are_written(monkeypatch):
    parrot = Parrot([[("a dog", -0.5)]] * 3)
    monkeypatch.setattr(parrot, "caption", None)
    monkeypatch.setattr(shutil, "which", lambda program: None)
    cases = [
        (FileNotFoundError, "evaluate: METEOR needs Java", "en", ("METEOR",)),
        (ValueError, "more_scores must not have METEOR where the tok.*'characters'", "zh",
         ("METEOR",)),
        (ValueError, "more_scores must be one of .*got 'METEO'.*mean 'METEOR'", "en", ("METEO",)),
    ]  # fmt: skip
    for kind, message, language, asked in cases:
        with pytest.raises(kind, match=message):
            evaluate(parrot, make_examples(REFERENCES, language), more_scores=asked)
    with pytest.raises(ValueError, match=r"more_scores must be empty for a Retriever, got \('MET"):
        evaluate(scenes_retriever("bag"), make_examples(REFERENCES), more_scores=("METEOR",))


def test_chinese_is_scored_by_characters_and_by_words():
    jieba = pytest.importorskip("jieba", reason="jieba is not installed (extra 'zh')")
    references = [["一只狗在跑。", "狗跑"], ["红色的车"]]
    captions = ["一只 狗", "红车"]
    parrot = Parrot([[(text, -0.5)] for text in captions])
    found = evaluate(
        parrot,
        make_examples(references, "zh"),
        training_examples=make_examples([["红 车。"], ["狗"]], "zh"),
        verbose=0,
    )
    spaced = [[" ".join("一只狗在跑"), "狗 跑"], [" ".join("红色的车")]]
    by_hand = score_captions(spaced, ["一 只 狗", "红 车"], tokenizer="whitespace")
    words = score_captions(
        [["一只 狗 在 跑", "狗 跑"], ["红色 的 车"]],
        [" ".join(jieba.cut(text.replace(" ", ""))) for text in captions],
        tokenizer="whitespace",
    )
    assert found.scores == {
        **by_hand.scores,
        **{f"{name} (jieba)": score for name, score in words.scores.items()},
    }
    assert f"tokenizer:characters+jieba-{jieba.__version__}|" in found.signature
    assert found.diversity == {
        "distinct": 1.0,
        "vocabulary": 5,
        "mean_length": 2.5,
        "novel": 0.5,
    }


def test_novel_captions_are_those_that_the_training_split_has_not():
    parrot = Parrot([[(text, -0.5)] for text in CAPTIONS])
    training = make_examples([["A dog, runs!", "two men on a bike"], ["Two women."]])
    found = evaluate(parrot, make_examples(REFERENCES), training_examples=training, verbose=0)
    # Word for word, but for capitals and punctuation, "a dog runs" is there, "two men" is not.
    assert found.diversity["novel"] == 1 / 3
    found = evaluate(parrot, make_examples(REFERENCES), verbose=0)
    assert "novel" not in found.diversity


def test_an_unreadable_picture_has_no_score_and_counts(captioner, tmp_path):
    whole = load_data("scenes:20")["test"]
    pictures = [example["image_bytes"] for example in whole.dataset().as_numpy_iterator()]
    pictures[1] = b"no picture"
    damaged = BytesExamples("scenes", "test", "en", whole.image_ids, whole.captions, pictures)
    found = evaluate(captioner, damaged, beam_size=1, verbose=0)
    assert found.predictions[1] == {"image_id": "test-1", "caption": "", "score": None}
    written = captioner.caption(whole, beam_size=1)
    written[1] = ""
    assert [entry["caption"] for entry in found.predictions] == written
    assert found.scores == score_captions(whole.captions, written).scores
    # JSON knows no infinity.
    found.save(tmp_path / "scores.json")

    def refuse(name):
        raise AssertionError(name)

    text = (tmp_path / "scores.json").read_text(encoding="utf-8")
    saved = json.loads(text, parse_constant=refuse)
    assert saved == {
        "scores": found.scores,
        "diversity": found.diversity,
        "signature": found.signature,
        "predictions": found.predictions,
        "baselines": {},
        "calibration": {},
        "confusion": {},
    }
    assert all(math.isfinite(entry["score"]) for entry in saved["predictions"] if entry["caption"])


@pytest.mark.parametrize("references", [[[], []], [["a dog"], []]])
def test_a_split_without_captions_cannot_be_scored(references):
    parrot = Parrot([[("a dog", -0.5)]] * 2)
    with pytest.raises(ValueError, match="references"):
        evaluate(parrot, make_examples(references), verbose=0)


@pytest.mark.parametrize(
    ("strategy", "text"),
    [
        (BeamSearch(3), "BeamSearch(beam_size=3)"),
        (BeamSearch(1, length_penalty=BeamSearch(1).length_penalty), "BeamSearch(beam_size=1)"),
        (
            BeamSearch(5, length_penalty=0.3, num_return=2),
            "BeamSearch(beam_size=5, length_penalty=0.3, num_return=2)",
        ),
        (BeamSearch(2, constraints=()), "BeamSearch(beam_size=2, constraints=())"),
        (
            BeamSearch(2, constraints=(NoRepeatNgram(3),)),
            "BeamSearch(beam_size=2, constraints=(NoRepeatNgram(size=3),))",
        ),
        (GreedySearch(), "GreedySearch()"),
        (Sampling(2, top_p=0.9, seed=7), "Sampling(num_samples=2, top_p=0.9, seed=7)"),
        (
            DiverseBeamSearch(6, num_groups=3),
            "DiverseBeamSearch(beam_size=6, num_groups=3)",
        ),
    ],
)
def test_a_search_is_described_by_what_is_unusual(strategy, text):
    assert describe(strategy) == text


def test_words_are_counted_as_the_scorer_splits_them():
    parrot = Parrot([[("A man 's dog.", -0.5)], [("a man's dog", -0.5)], [("", -0.5)]])
    found = evaluate(parrot, make_examples(REFERENCES), verbose=0)
    assert found.diversity == {"distinct": 2 / 3, "vocabulary": 4, "mean_length": 8 / 3}


@pytest.fixture(scope="module")
def two_stages():
    """A retriever, a re-ranker, and pictures whose captions differ even as bags of words."""
    retriever = scenes_retriever("bag")
    examples = load_data("scenes:31")["train"]
    seen, captions, pictures = set(), [], []
    elements = examples.dataset().as_numpy_iterator()
    for example, texts in zip(elements, examples.captions, strict=True):
        bags = [tuple(sorted(row)) for row in retriever.tokenizer(texts).numpy()[:, :-1]]
        new = {bag: text for bag, text in zip(bags, texts, strict=True) if bag not in seen}
        if new:
            seen |= set(new)
            captions.append(list(new.values()))
            pictures.append(example["image_bytes"])
    names = [f"picture-{i}" for i in range(len(pictures))]
    examples = BytesExamples("mine", "val", "en", names, captions, pictures)
    return retriever, scenes_reranker(retriever=retriever), examples


@pytest.mark.parametrize(("k", "folds"), [(3, 1), (1000, 1), (3, 2)])
def test_two_stages_are_scored_as_sorting_twice_would(two_stages, k, folds):
    retriever, reranker, examples = two_stages
    count = len(examples)
    both = TwoStageRetriever(retriever, reranker, k=k)
    found = evaluate(both, examples, folds=folds, verbose=0)
    texts = [text for captions in examples.captions for text in captions]
    owners = np.repeat(np.arange(count), [len(captions) for captions in examples.captions])
    cosines = retriever.embed_images(examples) @ retriever.embed_texts(texts).T
    pairs = np.stack(np.meshgrid(np.arange(count), np.arange(len(texts)), indexing="ij"), axis=-1)
    matches = both.reranker.match(examples, texts, pairs.reshape(-1, 2)).reshape(cosines.shape)

    def best_rank(first, second, right):
        order = np.argsort(-first, kind="stable")
        order = sorted(order[:k], key=lambda i: -second[i]) + order[k:].tolist()
        return 1 + min(order.index(i) for i in np.flatnonzero(right))

    recalls = {"image_to_text_R@1": [], "text_to_image_R@1": []}
    size = count // folds
    for start in range(0, size * folds, size):
        rows = np.arange(start, start + size)
        columns = np.flatnonzero(np.isin(owners, rows))
        inside = np.ix_(rows, columns)
        right = owners[columns][None, :] == rows[:, None]
        for name, tables in (
            ("image_to_text_R@1", (cosines[inside], matches[inside], right)),
            ("text_to_image_R@1", (cosines[inside].T, matches[inside].T, right.T)),
        ):
            ranks = [best_rank(*rows) for rows in zip(*tables, strict=True)]
            recalls[name].append(100 * np.mean(np.array(ranks) <= 1))
    for name, values in recalls.items():
        assert found.scores[name] == pytest.approx(np.mean(values))
    assert f"|reranked:{k}|" in found.signature
    for row, (prediction, first) in enumerate(zip(found.predictions, cosines, strict=True)):
        candidates = np.argsort(-first, kind="stable")[:k]
        best = candidates[np.argmax(matches[row, candidates])]
        assert prediction["caption"] == texts[best]
        assert prediction["score"] == pytest.approx(matches[row, best], abs=1e-4)
        if folds == 1:
            expected = best_rank(first, matches[row], owners == row)
            assert prediction["rank"] == expected
