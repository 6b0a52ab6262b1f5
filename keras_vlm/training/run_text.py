"""The tokenizer and the text encoder that a training run begins with.

Refuses to know tasks, data and optimizers.
"""

from keras_vlm.text import TEXT_ENCODERS
from keras_vlm.text.foreign import PREFIX, build_keras_hub_text, keras_hub_tokenizer


def make_text_reader(run, dtype, fit):
    """Makes what reads the text of a run.

    Args:
        run: a ``TrainingRun`` with ``text``, ``hidden_dim`` and ``dropout``.
        dtype: Keras dtype policy.
        fit: function without arguments that makes a tokenizer of the data's words.

    Returns:
        ``(tokenizer, text_encoder)``. A KerasHub model brings its own words and width.

    Raises:
        ImportError: keras-hub is missing.
        ValueError: the preset does not read WordPiece.
    """
    if not run.text.startswith(PREFIX):
        encoder = TEXT_ENCODERS[run.text](
            hidden_dim=run.hidden_dim, dropout=run.dropout, dtype=dtype
        )
        return fit(), encoder
    preset = run.text.removeprefix(PREFIX)
    tokenizer = keras_hub_tokenizer(
        preset, max_length=run.max_length, language=run.language
    )
    return tokenizer, build_keras_hub_text(preset, tokenizer, dropout=run.dropout, dtype=dtype)
