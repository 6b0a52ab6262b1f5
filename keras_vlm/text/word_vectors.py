"""Word embeddings from a file: what word2vec, GloVe and fastText have learned from much more text.

Refuses to know models beyond their embedding. Dimension letters: V vocabulary, D width.
"""

import dataclasses
import pathlib

import numpy as np

from keras_vlm.core.checks import DataError, check_number
from keras_vlm.text.encoders import ParallelEncoders


@dataclasses.dataclass(frozen=True)
class WordVectors:
    """Vectors for the words of a tokenizer.

    Attributes:
        matrix: [V,D] float32, zeros where the file has no vector.
        found: [V] bool.
        coverage: share of the vocabulary's words that have one, the four special tokens apart.
        missing: list of the words that have none, most frequent first.
    """

    matrix: np.ndarray
    found: np.ndarray
    coverage: float
    missing: list

    def __str__(self):
        words = len(self.found) - 4
        return (
            f"{self.coverage:.1%} of {words} words have a vector"
            + (f"; the first without: {', '.join(self.missing[:5])}" if self.missing else "")
        )


def read_word_vectors(path, tokenizer):
    """Reads the vectors of a tokenizer's words from a text file; others are skipped unread.

    Args:
        path: a text file of word2vec, GloVe or fastText: a line is a word and D numbers, with
            spaces between; a first line of two numbers is word2vec's header.
        tokenizer: a ``Tokenizer``.

    Returns:
        A ``WordVectors``. A word that the file has in upper case only is not found.

    Raises:
        DataError: a line has another number of numbers, or none of the words is there.
        FileNotFoundError: there is no such file.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file of word vectors. Check the path.")
    places = {word: place for place, word in enumerate(tokenizer.vocabulary, 4)}
    vectors, width = {}, None
    with path.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, 1):
            word, _, numbers = line.rstrip().partition(" ")
            if number == 1 and word.isdecimal() and numbers.strip().isdecimal():
                width = int(numbers)
                continue
            if word not in places or word in vectors:
                continue
            try:
                vectors[word] = np.array(numbers.split(), np.float32)
            except ValueError as error:
                raise DataError(f"{path}:{number}: a vector must be numbers ({error}).") from error
            width = width or len(vectors[word])
            if len(vectors[word]) != width:
                raise DataError(
                    f"{path}:{number}: a vector must have {width} numbers, got "
                    f"{len(vectors[word])}."
                )
    if not vectors:
        raise DataError(
            f"{path}: none of the tokenizer's {len(places)} words is in the file. Is it a text "
            "file of vectors, in the language and with the words of the tokenizer?"
        )
    matrix = np.zeros((tokenizer.vocabulary_size, width), np.float32)
    for word, vector in vectors.items():
        matrix[places[word]] = vector
    found = np.zeros(len(matrix), bool)
    found[[places[word] for word in vectors]] = True
    missing = [word for word in tokenizer.vocabulary if word not in vectors]
    return WordVectors(matrix, found, len(vectors) / len(places), missing)


def start_from_vectors(layer, vectors, *, seed=0):
    """Lets a text layer's embedding begin with word vectors, brought to its scale.

    Args:
        layer: a built ``TextEncoder`` or ``TextDecoder``; ``tune_words=False`` keeps it there. Of
            ``ParallelEncoders`` each begins by a seed of its own, one after another.
        vectors: a ``WordVectors`` of the layer's tokenizer. Where D is larger than the layer's
            width they are brought to it by their principal components; where it is smaller, turned
            into the wider space by chance, which keeps all distances.
        seed: of that turn, and of the random vectors of words that have none.

    Raises:
        ValueError: the layer knows other words.
    """
    if isinstance(layer, ParallelEncoders):
        for place, encoder in enumerate(layer.encoders):
            start_from_vectors(encoder, vectors, seed=seed + place)
        return
    embedding = layer.embedding.embeddings
    size, width = embedding.shape
    check_number("start_from_vectors", "seed", seed, minimum=0, integer=True)
    if size != len(vectors.matrix):
        raise ValueError(
            f"start_from_vectors: vectors must be of the layer's {size} words, got "
            f"{len(vectors.matrix)}. Read them with the layer's own tokenizer."
        )
    generator = np.random.default_rng(seed)
    known = vectors.matrix[vectors.found]
    known = known - known.mean(axis=0)
    if width < known.shape[1]:
        axes = np.linalg.svd(known, full_matrices=len(known) < width)[2][:width]
        known = known @ axes.T
    elif width > known.shape[1]:
        turn = np.linalg.qr(generator.normal(size=(width, known.shape[1])))[0]
        known = known @ turn.T
    scale = float(np.std(np.asarray(embedding)))
    matrix = generator.normal(size=(size, width)).astype(np.float32) * scale
    matrix[vectors.found] = known * (scale / max(known.std(), 1e-9))
    embedding.assign(matrix)
