"""Shuffled pictures: every text keeps its own text's company and stands at another picture."""

import collections

import numpy as np
import pytest

from keras_vlm import evaluate, load_data, score_captions, shuffle_pictures
from keras_vlm.data.sources import BytesExamples
from keras_vlm.data.sources.shuffling import derangement


@pytest.mark.parametrize("count", [2, 3, 5, 11, 997])
def test_nothing_keeps_its_place(count):
    for seed in range(13):
        places = derangement(count, seed)
        assert sorted(places) == list(range(count))
        assert all(place != i for i, place in enumerate(places))
    np.testing.assert_array_equal(derangement(count, 5), derangement(count, 5))


def test_every_derangement_is_as_likely():
    found = collections.Counter(tuple(derangement(4, seed)) for seed in range(1800))
    # There are nine of four things, each drawn about 200 times.
    assert len(found) == 9
    assert all(140 < times < 260 for times in found.values())


@pytest.mark.parametrize(("name", "texts"), [("scenes:30", "captions"), ("scenes:30", "questions")])
def test_texts_move_together_and_pictures_stay(name, texts):
    examples = load_data(name, texts=texts)["train"]
    shuffled = shuffle_pictures(examples, 7)
    moved = getattr(shuffled, texts)
    original = getattr(examples, texts)
    places = derangement(len(examples), 7)
    assert moved == [original[place] for place in places]
    assert moved != original
    assert shuffled.image_ids == examples.image_ids
    assert shuffled.split == "train:shuffled(seed=7)"
    assert examples.split == "train"
    pairs = zip(
        examples.dataset().as_numpy_iterator(),
        shuffled.dataset().as_numpy_iterator(),
        strict=True,
    )
    before = list(examples.dataset().as_numpy_iterator())
    for place, (one, other) in zip(places, pairs, strict=True):
        assert one["image_bytes"] == other["image_bytes"]
        assert one["image_id"] == other["image_id"]
        for key in {"captions", "questions", "answers"} & set(one):
            np.testing.assert_array_equal(other[key], before[place][key])


def test_a_picture_alone_cannot_change_places():
    examples = BytesExamples("mine", "val", "en", ["one"], [["a dog"]], [b""])
    message = r"shuffle_pictures: examples must have two pictures or more, got 1 \(mine:val\)"
    with pytest.raises(ValueError, match=message):
        shuffle_pictures(examples)


class Sighted:
    """A captioner that knows each picture by its bytes, and says what people said of it."""

    def __init__(self, known):
        self.known = known

    def caption(self, examples, **options):
        pictures = (each["image_bytes"] for each in examples.dataset().as_numpy_iterator())
        return [[(self.known[picture], -0.5)] for picture in pictures]


def test_who_looks_loses_by_it_and_who_does_not_loses_nothing():
    words = ["red", "blue", "green", "old", "small", "wide", "cold"]
    captions = [[f"a {word} thing stands at {word} place", "a thing"] for word in words]
    pictures = [word.encode() for word in words]
    examples = BytesExamples("mine", "val", "en", words, captions, pictures)
    shuffled = shuffle_pictures(examples, 3)
    model = Sighted({word.encode(): texts[0] for word, texts in zip(words, captions, strict=True)})
    assert evaluate(model, examples, verbose=0).scores["BLEU-4"] == pytest.approx(1)
    found = evaluate(model, shuffled, verbose=0)
    places = derangement(7, 3)
    by_hand = score_captions([captions[i] for i in places], [texts[0] for texts in captions])
    assert found.scores == by_hand.scores
    assert found.scores["BLEU-4"] < 0.1
    assert "|split:mine:val:shuffled(seed=3)|" in found.signature
    assert [row["image_id"] for row in found.predictions] == words
    blind = Sighted(dict.fromkeys(pictures, "a thing"))
    same = evaluate(blind, shuffled, verbose=0).scores
    assert same == pytest.approx(evaluate(blind, examples, verbose=0).scores)
