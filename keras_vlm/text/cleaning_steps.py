"""Cleaning by name: steps from text to text, one after the other, before anything is tokenized.

They run in Python over the texts of a data set; what a model reads in the graph is cleaned by its
tokenizer (``cleaning.py``). Refuses to know vocabularies and data sets.

- ``nfkc``: one form of each letter, full-width forms too. Helps always.
- ``html``: tags and entities such as ``&amp;`` go. Helps wherever text comes from web pages.
- ``url``: addresses go. Helps likewise.
- ``emoji``: pictographs go. Helps captions; hurts where they are what is asked about.
- ``lower``: lower case. What the tokenizer does anyway; hurts names.
- ``punctuation``: all but letters, digits, apostrophes and hyphens go. As ``lower``.
- ``numbers``: digits become ``0``. Helps small data sets; hurts answers that are numbers.
- ``stop_words``: words such as "the" and "的" go. Helps bag-of-words retrieval; hurts caption
  targets, for a model learns to leave them out, and questions ("is it", "how many").
- ``stem``: word endings go, as Snowball has it. Helps bag-of-words retrieval, whose sentences to
  search by must be cleaned alike (``clean_text``), and answers of free text before they are
  compared; hurts caption targets, for "runs" is then written "run".
- ``lemma``: words in their dictionary form, by simplemma's lists: "mice were" becomes "mouse be".
  Helps and hurts as ``stem``, and leaves words that can be read.

Source: Porter 2001, "Snowball: A language for stemming algorithms", http://snowball.tartarus.org;
the lists of stop words are those of Stopwords ISO, https://github.com/stopwords-iso.
"""

import functools
import html
import re
import unicodedata

from keras_vlm.core.checks import check_choice
from keras_vlm.core.extras import import_extra
from keras_vlm.text.units import load_jieba

TAG = re.compile(r"<(?:/?[A-Za-z][^<>]*|!--.*?--)>", re.DOTALL)
URL = re.compile(r"(?:https?://|www\.)[^\s<>\"，。]+", re.IGNORECASE)
EMOJI = re.compile(
    "[\U0001f000-\U0001faff\U00002600-\U000027bf\U00002b00-\U00002bff\U0000fe0f\U0000200d\U000020e3]+"
)
NOT_A_WORD = re.compile(r"[^\w\s'\-]|_")
LEMMATIZED = ("en", "de", "fr", "es", "it")
SNOWBALL = {"en": "english", "de": "german", "fr": "french", "es": "spanish", "it": "italian"}


def remove_html(text, language):
    """Removes tags, and turns entities into what they stand for."""
    return html.unescape(TAG.sub(" ", text))


def remove_stop_words(text, language):
    """Removes the stop words of a language."""
    words = _words(text, language)
    kept = [word for word in words if word.lower() not in stop_words(language)]
    return ("" if language == "zh" else " ").join(kept)


def stem_words(text, language):
    """Takes the endings off words.

    Raises:
        ValueError: there is no stemmer for the language.
    """
    check_choice("stem", "language", language, SNOWBALL)
    return " ".join(_stemmer(language).stemWords(text.lower().split()))


def lemmatize_words(text, language):
    """Brings words to their dictionary form.

    Raises:
        ImportError: simplemma is missing.
        ValueError: there are no lists for the language.
    """
    check_choice("lemma", "language", language, LEMMATIZED)
    lemmatize = import_extra("simplemma", "text", "Lemmatization").lemmatize
    return " ".join(lemmatize(word, lang=language) for word in text.lower().split())


STEPS = {
    "nfkc": lambda text, language: unicodedata.normalize("NFKC", text),
    "html": remove_html,
    "url": lambda text, language: URL.sub(" ", text),
    "emoji": lambda text, language: EMOJI.sub(" ", text),
    "lower": lambda text, language: text.lower(),
    "punctuation": lambda text, language: NOT_A_WORD.sub(" ", text),
    "numbers": lambda text, language: re.sub(r"\d", "0", text),
    "stop_words": remove_stop_words,
    "stem": stem_words,
    "lemma": lemmatize_words,
}
# A model that writes would learn to write so.
HURT_TARGETS = ("stop_words", "stem", "lemma")


def clean_text(text, steps, language="en"):
    """Cleans a text, one step after the other.

    Args:
        text: a string.
        steps: names in ``STEPS``, or functions ``(text, language) -> text`` of your own.
        language: language code.

    Returns:
        A string, with single spaces.

    Raises:
        ImportError: a step needs a package that is missing.
        ValueError: a step is unknown, or has not the language.

    Example:
        >>> steps = ("html", "nfkc", "url", "emoji")
        >>> clean_text("<b>Two</b> ＤＯＧＳ &amp; cats 🐶 www.dogs.org", steps)
        'Two DOGS & cats'
    """
    for step in steps:
        if not callable(step):
            step = STEPS[check_choice("clean_text", "steps", step, STEPS)]
        text = step(text, language)
    return " ".join(text.split())


@functools.cache
def stop_words(language):
    """Returns the stop words of a language, a set that may be edited.

    Args:
        language: language code, such as ``"en"`` or ``"zh"``.

    Returns:
        A set of strings, the same at each call.

    Raises:
        ImportError: the package stopwordsiso is missing.
        ValueError: it has not the language.
    """
    package = import_extra("stopwordsiso", "text", "Removing stop words")
    if not package.has_lang(language):
        raise ValueError(
            f"stop_words: language must be one of {', '.join(sorted(package.langs()))}, got "
            f"{language!r}."
        )
    return set(package.stopwords(language))


def _words(text, language):
    return list(load_jieba()(text)) if language == "zh" else text.split()


@functools.cache
def _stemmer(language):
    return import_extra("snowballstemmer", "text", "Stemming").stemmer(SNOWBALL[language])
