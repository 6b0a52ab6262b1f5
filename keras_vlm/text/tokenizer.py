"""The tokenizer: text to ids and back in TensorFlow ops, with one vocabulary.

Refuses to know pictures and models. Dimension letters: B batch, T text positions.
"""

import collections
import json
import logging
import pathlib

import keras
import tensorflow as tf

from keras_vlm.core.checks import DataError, check_choice, check_number
from keras_vlm.core.files import write_json
from keras_vlm.text.units import GOES_ON, UNIT_OF_LANGUAGE, UNITS, split_pieces, train_pieces

LOGGER = logging.getLogger("keras_vlm")

PAD_ID, UNKNOWN_ID, START_ID, END_ID = 0, 1, 2, 3
DEFAULT_PIECES = 4000
# Share of unknown words from which on that is worth a warning; Flickr8k has 0.03.
MANY_UNKNOWN = 0.1
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[START]", "[END]")


@keras.saving.register_keras_serializable("keras_vlm")
class Tokenizer:
    """Maps text [B] string to token_ids [B,T] int32 and back, inside a graph or outside.

    A row is ``[start] words [end]``, padded with 0 to ``max_length``; a text that is too long is
    cut and then has no end, so that a model never learns to stop in mid-sentence.

    Args:
        vocabulary: list of distinct words (characters, pieces), without the four special tokens.
        unit: ``"word"`` (spaces apart), ``"character"`` (Chinese), ``"jieba"`` (Chinese words, for
            models that write text and do not read it), ``"piece"`` (parts of words; those that
            do not begin one begin with ``##``), or, for answers, whose marks count, ``"spaced"``
            (whatever stands between spaces) or ``"sign"`` (every character).
        max_length: T, start and end included.
        language: language code of the texts, such as ``"en"`` or ``"zh"``.

    Attributes:
        table: the lookup table from words to ids, which an export has to track.

    Raises:
        ValueError: an option is out of range, or the vocabulary is empty or has a word twice.

    Example:
        >>> tokenizer = Tokenizer(["a", "dog", "runs"], max_length=6)
        >>> tokenizer(["A dog runs!", "a cat"]).numpy().tolist()
        [[2, 4, 5, 6, 3, 0], [2, 4, 1, 3, 0, 0]]
        >>> tokenizer.detokenize([[2, 4, 5, 6, 3, 0]]).numpy().tolist()
        [b'a dog runs']
    """

    def __init__(self, vocabulary, *, unit="word", max_length=22, language="en"):
        check_choice("Tokenizer", "unit", unit, UNITS)
        check_number("Tokenizer", "max_length", max_length, minimum=3, integer=True)
        if not vocabulary:
            raise ValueError("Tokenizer: vocabulary must have at least one word, got none.")
        repeated = [word for word, n in collections.Counter(vocabulary).items() if n > 1]
        if repeated:
            raise ValueError(f"Tokenizer: vocabulary must be distinct, got {repeated[0]!r} twice.")
        self.vocabulary = list(vocabulary)
        self.unit = unit
        self.max_length = max_length
        self.language = language
        self._separator = UNITS[unit].separator
        self._longest = max(len(word.removeprefix(GOES_ON)) for word in self.vocabulary)
        with tf.init_scope():
            self._words = tf.constant([*SPECIAL_TOKENS, *self.vocabulary])
            self.table = tf.lookup.StaticHashTable(
                tf.lookup.KeyValueTensorInitializer(
                    self._words, tf.range(len(self.vocabulary) + 4, dtype=tf.int32)
                ),
                default_value=UNKNOWN_ID,
            )

    @classmethod
    def fit(
        cls, texts, *, unit=None, max_length=22, minimum_count=5, language=None, size=None
    ):
        """Makes a tokenizer of the words that a collection of texts uses.

        Args:
            texts: a data split (its captions are read), or an iterable of strings.
            unit: as for the class; None chooses ``"word"`` or ``"character"`` by the language.
            max_length: T, start and end included.
            minimum_count: a word seen fewer times is unknown.
            language: language code; None takes the split's, or ``"en"``.
            size: the most frequent words are kept, so many at most; of pieces, how many are made
                (None for 4,000), of words that occur ``minimum_count`` times.

        Returns:
            A ``Tokenizer`` with words by falling frequency, ties in alphabetical order.

        Raises:
            ValueError: no word occurs ``minimum_count`` times.
        """
        language = language or getattr(texts, "language", "en")
        unit = unit or UNIT_OF_LANGUAGE.get(language, "word")
        check_choice("Tokenizer.fit", "unit", unit, UNITS)
        check_number("Tokenizer.fit", "minimum_count", minimum_count, minimum=1, integer=True)
        if hasattr(texts, "captions"):
            texts = [caption for captions in texts.captions for caption in captions]
        counts = collections.Counter()
        texts = list(texts)
        for start in range(0, len(texts), 10_000):
            found = UNITS[unit].split(tf.constant(texts[start : start + 10_000]))
            counts.update(found.flat_values.numpy().tolist())
        words = sorted(
            (-count, word.decode("utf-8"))
            for word, count in counts.items()
            if count >= minimum_count
        )
        if not words:
            raise ValueError(
                f"Tokenizer.fit: minimum_count must leave at least one word, got {minimum_count} "
                f"for {len(texts)} texts. Pass minimum_count=1."
            )
        vocabulary = [word for _, word in words if word not in SPECIAL_TOKENS][:size]
        unknown = 1 + sum(negative for negative, _ in words) / counts.total()
        if unit == "piece":
            vocabulary = train_pieces({word: -n for n, word in words}, size or DEFAULT_PIECES)
        elif unknown > MANY_UNKNOWN:
            LOGGER.warning(
                "Tokenizer.fit: %.0f %% of what %d texts say are words seen fewer than %d times, "
                "which stay unknown. Where texts are few, pass a smaller minimum_count.",
                100 * unknown, len(texts), minimum_count,
            )  # fmt: skip
        return cls(vocabulary, unit=unit, max_length=max_length, language=language)

    @property
    def in_graph(self):
        """Whether text is read in TensorFlow ops alone, so that a model which reads exports."""
        return UNITS[self.unit].in_graph

    @property
    def vocabulary_size(self):
        """Number of ids, the four special ones included."""
        return len(self.vocabulary) + len(SPECIAL_TOKENS)

    def __call__(self, text):
        """Turns text [B] string into token_ids [B,T] int32."""
        tokens = self.table.lookup(self.split(text))
        rows = tokens.nrows()
        tokens = tf.concat(
            [tf.fill([rows, 1], START_ID), tokens, tf.fill([rows, 1], END_ID)], axis=1
        )
        return tokens.to_tensor(PAD_ID, shape=[None, self.max_length])

    def detokenize(self, token_ids):
        """Turns token_ids [..., T] int32 into text [...] string, up to the first end."""
        token_ids = tf.convert_to_tensor(token_ids, tf.int32)
        ended = tf.cumsum(tf.cast(token_ids == END_ID, tf.int32), axis=-1) > 0
        silent = ended | (token_ids == PAD_ID) | (token_ids == START_ID)
        words = tf.where(silent, "", tf.gather(self._words, token_ids) + self._separator)
        joined = tf.strings.reduce_join(words, axis=-1)
        if self.unit == "piece":
            # The first word may begin with a piece that goes on with nothing.
            joined = tf.strings.regex_replace(joined, f"(^| ){GOES_ON}", "")
        return tf.strings.strip(joined)

    def split(self, text):
        """Splits text [B] string into the words, characters or pieces that have ids.

        Args:
            text: [B] string.

        Returns:
            Ragged string [B, tokens].
        """
        words = UNITS[self.unit].split(tf.convert_to_tensor(text, tf.string))
        if self.unit != "piece":
            return words
        pieces = split_pieces(
            words.flat_values,
            lambda texts: self.table.lookup(texts) > END_ID,
            self._longest,
        )
        # A row has the pieces of its words.
        nested = tf.RaggedTensor.from_row_splits(pieces, words.row_splits)
        return nested.merge_dims(1, 2)

    def ids_of(self, words):
        """Looks words up, for banned and forced words.

        Args:
            words: an iterable of strings, each one word of the vocabulary.

        Returns:
            A list of ids.

        Raises:
            ValueError: a word is not in the vocabulary.
        """
        ids = []
        for word in words:
            found = int(self.table.lookup(tf.constant(word)))
            if found == UNKNOWN_ID:
                raise ValueError(
                    f"Tokenizer: words must be in the vocabulary ({self.vocabulary_size} words), "
                    f"got {word!r}."
                )
            ids.append(found)
        return ids

    def words_of(self, text):
        """Splits a text into words, or characters, as the tokenizer does.

        Args:
            text: a string.

        Returns:
            A list of strings.
        """
        words = self.split([text]).flat_values.numpy()
        return [word.decode("utf-8") for word in words]

    def unknown_words(self, text):
        """Lists the words of a text that are not in the vocabulary.

        Args:
            text: a string.

        Returns:
            A list of strings, in the order of the text.

        Example:
            >>> Tokenizer(["a", "dog"], max_length=5).unknown_words("A zebra and a dog")
            ['zebra', 'and']
        """
        known = set(self.vocabulary)
        return [word for word in self.words_of(text) if word not in known]

    def check_known(self, where, text):
        """Raises unless a model with this tokenizer has learned a word of a text.

        Args:
            where: names of the caller and of what the text is, for the message.
            text: a string.

        Raises:
            ValueError: it has not.
        """
        if len(self.unknown_words(text)) == len(self.words_of(text)):
            raise ValueError(
                f"{where} must have a word that the model knows, got {text!r}. It knows "
                f"{len(self.vocabulary)} words of {self.language!r}."
            )

    def find_unknown(self, text):
        """Tells how much of each text is known, in TensorFlow ops.

        Args:
            text: [B] string.

        Returns:
            ``(known [B] float32, unknown [B] string)``: the share of a text's words that are in the
            vocabulary, 0 where it has none; and those that are not, apart by spaces.
        """
        words = self.split(text)
        known = tf.ragged.map_flat_values(
            lambda flat: self.table.lookup(flat) != UNKNOWN_ID, words
        )
        counts = tf.cast(words.row_lengths(), tf.float32)
        share = tf.reduce_sum(tf.cast(known, tf.float32), axis=1) / tf.maximum(counts, 1)
        unknown = tf.ragged.boolean_mask(words, tf.logical_not(known))
        return share, tf.strings.reduce_join(unknown, axis=1, separator=" ")

    def get_config(self):
        """Returns the constructor's arguments, for Keras's saving."""
        return {
            "vocabulary": self.vocabulary,
            "unit": self.unit,
            "max_length": self.max_length,
            "language": self.language,
        }

    @classmethod
    def from_config(cls, config):
        """Makes the tokenizer that ``get_config`` described."""
        return cls(**config)

    def save(self, path):
        """Writes the tokenizer to a JSON file, atomically."""
        write_json(path, self.get_config())

    @classmethod
    def load(cls, path):
        """Reads a tokenizer that ``save`` wrote.

        Args:
            path: the JSON file.

        Returns:
            A ``Tokenizer``.

        Raises:
            DataError: the file is not a tokenizer's.
        """
        try:
            return cls(**json.loads(pathlib.Path(path).read_text(encoding="utf-8")))
        except (json.JSONDecodeError, TypeError) as error:
            raise DataError(f"{path}: not a file written by Tokenizer.save ({error}).") from error
