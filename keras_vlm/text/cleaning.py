"""Text cleaning in TensorFlow ops, by language.

Refuses to know vocabularies. Dimension letter: B batch.
"""

import tensorflow as tf

# Letters, digits, the apostrophe of "man's" and the hyphen of "t-shirt" are words; the rest is not.
NOT_A_WORD = r"[^\p{L}\p{N}\p{M}'\-\s]"
LOOSE_MARK = r"(^|\s)['\-]+|['\-]+(\s|$)"
SIDES = {
    "en": [
        (r"\bleft(most|ward|wards)?\b", "\x01\\1"),
        (r"\bright(most|ward|wards)?\b", "left\\1"),
        ("\x01", "right"),
    ],
    "zh": [("左", "\x01"), ("右", "左"), ("\x01", "右")],
}


def clean_words(text):
    """Lower-cases and strips punctuation, leaving words apart by single spaces.

    The possessive becomes a word of its own (``man's`` -> ``man 's``), as in PTB tokenization, so
    that what a model learns to write is what the scorer counts.

    Args:
        text: string tensor of any shape, UTF-8.

    Returns:
        A string tensor of the same shape.

    Example:
        >>> clean_words(tf.constant("A man's T-shirt, left!")).numpy().decode()
        "a man 's t-shirt left"
    """
    text = tf.strings.lower(text, encoding="utf-8")
    text = tf.strings.regex_replace(text, "[’‘`]", "'")
    text = tf.strings.regex_replace(text, NOT_A_WORD, " ")
    # The possessive waits as one byte while quotation marks around words go.
    text = tf.strings.regex_replace(text, r"'s\b", " \x02 ")
    text = tf.strings.regex_replace(text, LOOSE_MARK, " ")
    text = tf.strings.regex_replace(text, "\x02", "'s")
    return tf.strings.strip(tf.strings.regex_replace(text, r"\s+", " "))


def clean_characters(text):
    """Drops white space and punctuation, leaving the characters of a text to be split.

    Args:
        text: string tensor of any shape, UTF-8.

    Returns:
        A string tensor of the same shape.

    Example:
        >>> clean_characters(tf.constant("一只 狗，在跑。")).numpy().decode()
        '一只狗在跑'
    """
    text = tf.strings.lower(text, encoding="utf-8")
    return tf.strings.regex_replace(text, r"[^\p{L}\p{N}\p{M}]", "")


def swap_left_right(text, language="en"):
    """Exchanges the words for left and right: what a mirrored picture's caption says.

    Args:
        text: string tensor of any shape. English is expected in lower case.
        language: a key of ``SIDES``; other languages are returned as they are.

    Returns:
        A string tensor of the same shape.

    Example:
        >>> swap_left_right(tf.constant("the leftmost dog turns right")).numpy().decode()
        'the rightmost dog turns left'
    """
    for pattern, replacement in SIDES.get(language, ()):
        text = tf.strings.regex_replace(text, pattern, replacement)
    return text
