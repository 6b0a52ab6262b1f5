"""Where words looked: whole shares over the grid, the words of the caption, a drawing."""

import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from oracles import tiny_encoder

from keras_vlm.data import load_data
from keras_vlm.explain.attention import WordAttention, attend_words, grid_of, plot_attention
from keras_vlm.fusion import FUSIONS
from keras_vlm.tasks.captioning import build_captioner
from keras_vlm.text import TEXT_DECODERS, Tokenizer
from keras_vlm.vision.backbones import Backbone
from keras_vlm.vision.image import resize_image

CAPTIONS = ["a large red circle on the left", "two shapes", "a small blue star"]


def make_pictures(count=3):
    return np.random.default_rng(0).integers(0, 256, (count, 31, 37, 3), np.uint8)


def make_captioner(text="lstm", fusion="attention", *, language="en", backbone=None):
    """A captioner of pictures 24x40, on a grid of 3x5."""
    keras.utils.set_random_seed(0)
    examples = load_data("scenes:20", language=language)["train"]
    backbone = backbone or Backbone(
        "conv_small", image_size=(24, 40), weights=None, trainable_from="all"
    )
    captioner = build_captioner(
        backbone,
        tokenizer=Tokenizer.fit(examples, minimum_count=1, max_length=11),
        text=TEXT_DECODERS[text](FUSIONS[fusion](), hidden_dim=12),
    )
    # Fresh biases are zero, and fresh attention is nearly even.
    for weight in captioner.text_decoder.trainable_variables:
        weight.assign_add(0.5 * keras.random.normal(weight.shape, seed=1))
    return captioner


@pytest.fixture(scope="module", params=TEXT_DECODERS)
def captioner(request):
    return make_captioner(request.param)


def test_each_word_has_a_share_of_the_whole_grid(captioner):
    found = attend_words(captioner, make_pictures(), CAPTIONS)
    assert [item.words for item in found] == [text.split() for text in CAPTIONS]
    for item, picture in zip(found, make_pictures(), strict=True):
        assert item.weights.shape == (len(item.words), 3, 5)
        assert item.weights.dtype == np.float32
        assert item.weights.min() >= 0
        np.testing.assert_allclose(item.weights.sum(axis=(1, 2)), 1, atol=1e-5)
        np.testing.assert_allclose(item.image, resize_image(picture, (24, 40)), atol=1e-3)


def test_the_weights_are_the_decoders_own_word_by_word(captioner):
    """The oracle asks for one word's map at a time, with other words after it."""
    pictures = make_pictures()
    found = attend_words(captioner, pictures, CAPTIONS)
    for i, caption in enumerate(CAPTIONS):
        image = resize_image(pictures[i], (24, 40))[None]
        features = captioner.encoder(image, training=False)
        ids = captioner.tokenizer([caption])[:, :-1]
        for t in range(len(caption.split())):
            seen = np.where(np.arange(ids.shape[1]) <= t, ids, 5)
            _, weights = captioner.text_decoder.attend(features, seen[:, None], training=False)
            expected = weights.numpy()[0, 0, t].reshape(3, 5)
            np.testing.assert_allclose(found[i].weights[t], expected, atol=1e-5)
    assert np.abs(found[0].weights[0] - found[0].weights[1]).max() > 1e-3


@pytest.mark.parametrize("language", ["en", "zh"])
def test_without_captions_the_model_writes_them(language):
    captioner = make_captioner(language=language)
    found = attend_words(captioner, list(make_pictures()))
    separator = {"en": " ", "zh": ""}[language]
    written = captioner.caption(list(make_pictures()))
    assert [separator.join(item.words) for item in found] == written
    assert any(written)
    assert all(len(item.weights) == len(item.words) for item in found)


def test_a_caption_that_is_too_long_is_cut_and_an_unknown_word_is_marked(captioner):
    (item,) = attend_words(captioner, make_pictures(1), ["a zebra " + "circle " * 20])
    assert item.words == ["a", "[UNK]", *["circle"] * 8]
    assert item.weights.shape == (10, 3, 5)


def test_without_attention_maps_are_even():
    captioner = make_captioner(fusion="concat")
    for item in attend_words(captioner, make_pictures(), CAPTIONS):
        np.testing.assert_allclose(item.weights, 1 / 15, atol=1e-6)


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
def test_pictures_are_resized_as_the_model_resizes_them(resize):
    backbone = Backbone(
        "conv_small", image_size=(24, 40), weights=None, trainable_from="all", resize=resize
    )
    captioner = make_captioner(backbone=backbone)
    (item,) = attend_words(captioner, make_pictures(1), ["a circle"])
    expected = resize_image(make_pictures(1)[0], (24, 40), resize)
    np.testing.assert_allclose(item.image, expected, atol=1e-3)


def test_the_grid_of_a_network_of_ones_own():
    def holder(tokens):
        return types.SimpleNamespace(encoder=tiny_encoder(tokens=tokens))

    assert grid_of(holder(9)) == (3, 3)
    with pytest.raises(ValueError, match="need a grid, got 7 picture tokens in a row"):
        grid_of(holder(7))


@pytest.mark.parametrize("captions", [["a circle"], ["a circle"] * 4, []])
def test_there_are_as_many_captions_as_pictures(captioner, captions):
    message = f"captions must be as many as the 3 pictures, got {len(captions)}"
    with pytest.raises(ValueError, match=message):
        attend_words(captioner, make_pictures(), captions)


def make_item(words):
    random = np.random.default_rng(len(words))
    weights = random.random((len(words), 3, 5)).astype(np.float32)
    weights /= weights.sum(axis=(1, 2), keepdims=True)
    return WordAttention(make_pictures(1)[0].astype(np.float32), words, weights)


@pytest.mark.parametrize("words_shown", [2, 7])
def test_a_drawing_of_long_and_short_captions(tmp_path, words_shown):
    path = tmp_path / "new folder" / "attention.png"
    found = [make_item([]), make_item(["a"]), make_item("a b c d e f g h i".split())]
    plot_attention(found, path, words_shown=words_shown)
    image = tf.io.decode_png(path.read_bytes(), 3).numpy()
    assert image.shape == (630, round(170 * (words_shown + 1.6)), 3)
    # Every row shows its picture.
    for row in np.split(image, 3):
        assert len(np.unique(row.reshape(-1, 3), axis=0)) > 500
    assert [entry.name for entry in path.parent.iterdir()] == ["attention.png"]


def test_the_words_drawn_are_those_that_looked_most_sharply(tmp_path, monkeypatch):
    from matplotlib.axes import Axes

    titles = []
    monkeypatch.setattr(Axes, "set_title", lambda axis, text, **options: titles.append(text))
    item = make_item(["a", "red", "dog", "runs"])
    for word, sharpness in enumerate([0.3, 0.9, 0.2, 0.5]):
        item.weights[word] = (1 - sharpness) / 14
        item.weights[word, 1, 2] = sharpness
    plot_attention([item], tmp_path / "attention.png", words_shown=3)
    assert titles == ["a", "red", "runs"]


def test_a_failed_drawing_leaves_the_old_one(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    path = tmp_path / "attention.png"
    path.write_bytes(b"old")

    def fail(self, file, **options):
        file.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(OSError, match="No space left"):
        plot_attention([make_item(["a"])], path)
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["attention.png"]


def test_a_trained_text_decoder_needs_no_training_mode(captioner):
    # Dropout is off: the same maps twice.
    one, two = (attend_words(captioner, make_pictures(), CAPTIONS) for _ in range(2))
    for first, second in zip(one, two, strict=True):
        np.testing.assert_array_equal(first.weights, second.weights)
