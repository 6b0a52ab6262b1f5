"""The tokenizer, the text layers and the word vectors that a training run begins with.

Refuses to know tasks, data and optimizers.
"""

import pathlib
import sys

from keras_vlm.fusion import FUSIONS
from keras_vlm.text import TEXT_DECODERS, TEXT_ENCODERS, ParallelEncoders, Tokenizer
from keras_vlm.text.foreign import PREFIX, build_keras_hub_text, keras_hub_tokenizer
from keras_vlm.text.word_vectors import read_word_vectors, start_from_vectors

# Between the names of text encoders that a model has side by side.
JOINED = "+"


def make_text_reader(run, dtype, fit):
    """Makes what reads the text of a run.

    Args:
        run: a ``TrainingRun`` with ``text``, ``hidden_dim``, ``dropout`` and ``word_dropout``.
        dtype: Keras dtype policy.
        fit: function without arguments that makes a tokenizer of the data's words.

    Returns:
        ``(tokenizer, text_encoder)``. A KerasHub model brings its own words and width; several
        names, joined by pluses, make ``ParallelEncoders``.

    Raises:
        ImportError: keras-hub is missing.
        ValueError: the preset does not read WordPiece.
    """
    options = {"dropout": run.dropout, "word_dropout": run.word_dropout, "dtype": dtype}
    if not run.text.startswith(PREFIX):
        kinds = [TEXT_ENCODERS[name] for name in run.text.split(JOINED)]
        encoders = [kind(hidden_dim=run.hidden_dim, **options) for kind in kinds]
        if len(encoders) == 1:
            return fit(), encoders[0]
        return fit(), ParallelEncoders(encoders, dtype=dtype)
    preset = run.text.removeprefix(PREFIX)
    tokenizer = keras_hub_tokenizer(
        preset, max_length=run.max_length, language=run.language
    )
    return tokenizer, build_keras_hub_text(preset, tokenizer, **options)


def make_text_writer(run, dtype, training):
    """Makes what writes the captions of a run.

    Args:
        run: a ``CaptioningRun``.
        dtype: Keras dtype policy.
        training: the data split of whose captions the words are.

    Returns:
        ``tokenizer`` and ``text``, for a builder, as a dict.
    """
    # Not every fusion drops weights; the run has checked that this one does.
    looking = {"dropout": run.attention_dropout} if run.attention_dropout else {}
    kind = {"norm": run.norm, "positions": run.positions} if run.text == "transformer" else {}
    return {
        "tokenizer": Tokenizer.fit(
            training,
            unit=run.unit,
            max_length=run.max_length,
            minimum_count=run.minimum_count,
            language=run.language,
        ),
        "text": TEXT_DECODERS[run.text](
            FUSIONS[run.fusion](**looking, dtype=dtype),
            hidden_dim=run.hidden_dim,
            dropout=run.dropout,
            memory_dropout=run.memory_dropout,
            word_dropout=run.word_dropout,
            tie_words=run.tie_words,
            **kind,
            dtype=dtype,
        ),
    }


def start_words(run, layer, tokenizer):
    """Lets a text layer's words begin with the vectors of a run, if any; says how many on stderr.

    Args:
        run: a ``TrainingRun``.
        layer: a built ``TextEncoder`` or ``TextDecoder``.
        tokenizer: its ``Tokenizer``.

    Raises:
        DataError: the file is damaged, or has none of the words.
        FileNotFoundError: there is no such file.
    """
    # A run that is resumed has its words in the backup, whatever has become of the file.
    if run.word_vectors is None or any(pathlib.Path(run.out).glob("backup/epoch-*")):
        return
    vectors = read_word_vectors(run.word_vectors, tokenizer)
    start_from_vectors(layer, vectors, seed=run.seed)
    print(f"{run.word_vectors}: {vectors}.", file=sys.stderr)
