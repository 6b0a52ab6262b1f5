"""The best constant caption equals what trying every one finds."""

import pytest

from keras_vlm.data import load_data
from keras_vlm.data.sources import BytesExamples
from keras_vlm.metrics import score_captions
from keras_vlm.training.baselines import best_constant_caption


def make_examples(captions, language="en"):
    names = [f"picture-{i}" for i in range(len(captions))]
    return BytesExamples("mine", "train", language, names, captions, [b""] * len(captions))


@pytest.mark.parametrize(("language", "tokenizer"), [("en", "ptb"), ("zh", "characters")])
@pytest.mark.parametrize("monitor", ["CIDEr-D", "BLEU-4"])
def test_it_equals_brute_force(language, tokenizer, monitor):
    data = load_data("scenes:20", language=language)
    training, examples = data["train"], data["test"]
    every = sorted({text for texts in training.captions for text in texts})
    tried = {
        text: score_captions(examples.captions, [text] * len(examples), tokenizer=tokenizer).scores
        for text in every
    }
    caption, scores = best_constant_caption(
        training, examples, candidates=len(every), monitor=monitor
    )
    assert scores == tried[caption]
    assert scores[monitor] == max(found[monitor] for found in tried.values())
    assert scores[monitor] > 0


def test_only_the_most_frequent_captions_are_tried():
    training = make_examples([["a cat", "a dog"], ["a dog", "a bike"], ["a dog", "a cat"]])
    examples = make_examples([["a bike"], ["a bike", "a cat"]])
    for candidates, best in ((3, "a bike"), (2, "a cat"), (1, "a dog")):
        caption, _ = best_constant_caption(
            training, examples, candidates=candidates, monitor="BLEU-2"
        )
        assert caption == best


def test_without_captions_there_is_none():
    examples = make_examples([["a dog"]])
    with pytest.raises(ValueError, match="training must have captions, got none"):
        best_constant_caption(make_examples([[]]), examples)
