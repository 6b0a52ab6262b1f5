import pytest
import tensorflow as tf

from keras_vlm.text.cleaning import clean_characters, clean_words, swap_left_right


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A man's T-shirt .", "a man 's t-shirt"),
        ("the dogs' ball", "the dogs ball"),
        ("'quoted' words", "quoted words"),
        ("don’t - stop -- now", "don't stop now"),
        ("  Ünïcode,Ärger  ", "ünïcode ärger"),
        ("50% of $3", "50 of 3"),
        ("", ""),
        ("...", ""),
    ],
)
def test_clean_words(text, expected):
    assert clean_words(tf.constant(text)).numpy().decode() == expected


def test_clean_characters_drops_space_and_marks():
    assert clean_characters(tf.constant("两只 狗，A1！")).numpy().decode() == "两只狗a1"


@pytest.mark.parametrize(
    ("text", "expected", "language"),
    [
        ("left of the right one", "right of the left one", "en"),
        ("the leftmost, rightward", "the rightmost, leftward", "en"),
        ("a bright leftover", "a bright leftover", "en"),
        ("圆形在左边，方形在右边", "圆形在右边，方形在左边", "zh"),
        ("links und left", "links und left", "de"),
    ],
)
def test_swap_left_right(text, expected, language):
    swapped = swap_left_right(tf.constant([text]), language)
    assert swapped.numpy()[0].decode() == expected
    assert swap_left_right(swapped, language).numpy()[0].decode() == text
