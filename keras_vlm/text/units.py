"""What a text is split into: words, characters, Chinese words by jieba, trained pieces of words.

Contract of a unit: ``split(text [B] string) -> ragged string [B, tokens]``, after cleaning, but for
``"spaced"`` and ``"sign"``, which keep every mark: answers are normalised already. All but jieba's
words are split in TensorFlow ops; jieba is a Python package, so its unit serves where text is only
written by a graph and never read by it. Refuses to know ids. Dimension letters: B batch, M words, L
letters of a piece.
"""

import collections
import dataclasses
import heapq
import logging
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from keras_vlm.core.extras import import_extra
from keras_vlm.text.cleaning import clean_characters, clean_words

# Begins a piece that goes on with the word before it; no cleaned text holds it.
GOES_ON = "##"


@dataclasses.dataclass(frozen=True)
class Unit:
    """A row of the table.

    Attributes:
        split: function of cleaned or raw text [B] string -> ragged string [B, tokens].
        separator: what stands between tokens when they are written.
        in_graph: whether ``split`` is made of TensorFlow ops, and so can be exported.
    """

    split: Callable
    separator: str
    in_graph: bool = True


def split_words(text):
    """Splits a text [B] into lower-case words, ragged [B, words]."""
    return tf.strings.split(clean_words(text))


def split_characters(text):
    """Splits a text [B] into its letters and digits, ragged [B, characters]."""
    return tf.strings.unicode_split(clean_characters(text), "UTF-8", errors="replace")


def split_spaced(text):
    """Splits a text [B] at its spaces alone, ragged [B, words]: ``2.5 cm`` has two."""
    return tf.strings.split(tf.strings.lower(text, encoding="utf-8"))


def split_signs(text):
    """Splits a text [B] into all of its characters, ragged [B, characters]; a space is one."""
    text = tf.strings.regex_replace(tf.strings.lower(text, encoding="utf-8"), r"\s+", " ")
    return tf.strings.unicode_split(tf.strings.strip(text), "UTF-8", errors="replace")


def split_jieba(text):
    """Splits a text [B] into Chinese words, ragged [B, words], outside of the graph.

    Raises:
        ImportError: jieba is missing; the message gives the command that installs it.

    Source:
        jieba, https://github.com/fxsjy/jieba: a dictionary, and a hidden Markov model for the rest.
    """
    cut = load_jieba()

    def read(cleaned):
        rows = [[word for word in cut(each.decode("utf-8")) if word.strip()] for each in cleaned]
        words = [word.encode("utf-8") for row in rows for word in row]
        lengths = np.array([len(row) for row in rows], np.int64)
        return np.array(words, dtype=object), lengths

    cleaned = clean_words(text)
    words, lengths = tf.numpy_function(read, [cleaned], (tf.string, tf.int64), stateful=False)
    words, lengths = tf.ensure_shape(words, (None,)), tf.ensure_shape(lengths, (None,))
    return tf.RaggedTensor.from_row_lengths(words, lengths)


def load_jieba():
    """Returns jieba's function from a text to an iterable of words.

    Raises:
        ImportError: jieba is missing.
    """
    import warnings

    with warnings.catch_warnings():
        # jieba 0.42 imports pkg_resources, and has backslashes that Python complains of.
        warnings.simplefilter("ignore")
        jieba = import_extra("jieba", "zh", "Splitting Chinese into words")
    jieba.setLogLevel(logging.WARNING)
    return jieba.cut


def split_pieces(words, is_piece, longest):
    """Splits words into the longest pieces that there are, from left to right, in TensorFlow ops.

    Args:
        words: [M] string.
        is_piece: function of a string tensor of any shape -> bool of the same shape.
        longest: L, letters of the longest piece.

    Returns:
        Ragged string [M, pieces]; a letter that no piece begins with is a piece of its own.

    Source:
        Wu et al. 2016, "Google's Neural Machine Translation System",
        https://arxiv.org/abs/1609.08144, whose whole word is unknown where one letter is.
    """
    sizes = tf.strings.length(words, unit="UTF8_CHAR")
    lengths = tf.range(longest, 0, -1)

    def take(start, pieces):
        # The longest first: argmax gives the first that is there.
        left = (sizes - start)[:, None]
        texts = tf.strings.substr(
            tf.tile(words[:, None], [1, longest]),
            tf.tile(tf.minimum(start, sizes)[:, None], [1, longest]),
            tf.minimum(lengths[None], tf.maximum(left, 0)),
            unit="UTF8_CHAR",
        )
        prefix = tf.where(start > 0, GOES_ON, "")[:, None]
        there = is_piece(prefix + texts) & (lengths[None] <= left)
        best = tf.where(tf.reduce_any(there, 1), tf.argmax(there, 1, tf.int32), longest - 1)
        piece = tf.gather(prefix + texts, best, axis=1, batch_dims=1)
        piece = tf.where(start < sizes, piece, "")
        return start + tf.gather(lengths, best), tf.concat([pieces, piece[:, None]], axis=1)

    start, pieces = tf.zeros_like(sizes), tf.zeros([tf.size(words), 0], tf.string)
    _, pieces = tf.while_loop(
        lambda start, _: tf.reduce_any(start < sizes),
        take,
        (start, pieces),
        shape_invariants=(tf.TensorShape([None]), tf.TensorShape([None, None])),
    )
    return tf.ragged.boolean_mask(pieces, pieces != "")


def train_pieces(counts, size):
    """Chooses pieces of words: all letters, then again and again the most frequent pair, as one.

    Args:
        counts: dict from a word to how often it occurs.
        size: number of pieces; the letters, at the beginning of a word and within, are there
            whatever it is.

    Returns:
        A list of strings; those that do not begin a word begin with ``##``.

    Example:
        >>> train_pieces({"low": 5, "owl": 2}, 8)
        ['##l', '##o', '##w', 'l', 'o', 'w', '##ow', 'low']

    Source:
        Sennrich et al. 2016, "Neural Machine Translation of Rare Words with Subword Units",
        https://arxiv.org/abs/1508.07909.
    """
    words = [
        [letter if place == 0 else GOES_ON + letter for place, letter in enumerate(word)]
        for word in counts
    ]
    frequencies = list(counts.values())
    letters = {letter for word in counts for letter in word}
    pieces = sorted(letters | {GOES_ON + letter for letter in letters})
    known = set(pieces)
    pairs, owners = collections.Counter(), collections.defaultdict(set)
    for number, word in enumerate(words):
        for pair in zip(word, word[1:], strict=False):
            pairs[pair] += frequencies[number]
            owners[pair].add(number)
    waiting = sorted((-count, pair) for pair, count in pairs.items())
    while len(pieces) < size and waiting:
        count, pair = heapq.heappop(waiting)
        if pairs[pair] != -count or not count:
            # Counted anew since; it waits with its new count.
            continue
        merged = pair[0] + pair[1].removeprefix(GOES_ON)
        if merged not in known:
            known.add(merged)
            pieces.append(merged)
        changed = set()
        for number in owners.pop(pair):
            before, words[number] = words[number], _merge(words[number], pair, merged)
            for old in zip(before, before[1:], strict=False):
                pairs[old] -= frequencies[number]
                changed.add(old)
            for new in zip(words[number], words[number][1:], strict=False):
                pairs[new] += frequencies[number]
                owners[new].add(number)
                changed.add(new)
        for each in sorted(changed - {pair}):
            heapq.heappush(waiting, (-pairs[each], each))
    return pieces


def _merge(word, pair, merged):
    """Returns a word with each occurrence of a pair as one piece."""
    found, place = [], 0
    while place < len(word):
        if tuple(word[place : place + 2]) == pair:
            found.append(merged)
            place += 2
        else:
            found.append(word[place])
            place += 1
    return found


UNITS = {
    "word": Unit(split_words, " "),
    "character": Unit(split_characters, ""),
    "jieba": Unit(split_jieba, "", in_graph=False),
    "piece": Unit(split_words, " "),
    "spaced": Unit(split_spaced, " "),
    "sign": Unit(split_signs, ""),
}
# Those of answers that are written, which are normalised before; other texts are cleaned.
ANSWER_UNITS = ("spaced", "sign")
UNIT_OF_LANGUAGE = {"en": "word", "zh": "character"}
