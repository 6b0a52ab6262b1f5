"""Text encoders of other makers: KerasHub's models that read WordPiece, such as BERT.

``keras_hub:PRESET`` names them. Their vocabulary is that of the model's tokenizer, which
``keras_hub_tokenizer`` makes: as ours it reads in TensorFlow ops, so that a model which is exported
needs no other package. Refuses to know pictures.

Dimension letters: R sentences, T text positions, D model width, V vocabulary.
"""

import keras
from keras import ops

from keras_vlm.core.checks import check_number, resolve
from keras_vlm.core.extras import import_extra
from keras_vlm.text.encoders import TEXT_ENCODERS, ParallelEncoders, TextEncoder, real_words
from keras_vlm.text.tokenizer import Tokenizer
from keras_vlm.text.units import GOES_ON
from keras_vlm.text.word_dropout import WordDropout

PREFIX = "keras_hub:"


def keras_hub_tokenizer(preset, *, max_length=22, language="en"):
    """Makes a tokenizer of the pieces that a KerasHub text model knows.

    Texts are cleaned as everywhere here: lower case, without punctuation.

    Args:
        preset: name of a preset, or the folder of a local one.
        max_length: T, start and end included.
        language: language code of the texts.

    Returns:
        A ``Tokenizer`` of the unit ``"piece"``.

    Raises:
        ImportError: keras-hub is missing.
        ValueError: the preset's tokenizer is not one of WordPiece.
    """
    theirs = _read_tokenizer(preset)
    # No cleaned text has brackets: those are marks such as [MASK] and [unused7].
    pieces = [piece for piece in theirs.get_vocabulary() if not piece.startswith("[")]
    pieces = [piece for piece in pieces if piece.removeprefix(GOES_ON)]
    return Tokenizer(pieces, unit="piece", max_length=max_length, language=language)


def build_keras_hub_text(
    preset, tokenizer, *, dropout=0.0, word_dropout=0.0, trainable=False, dtype=None
):
    """Builds a text encoder of a KerasHub model.

    Args:
        preset: name of a preset, or the folder of a local one.
        tokenizer: what ``keras_hub_tokenizer`` made of it.
        dropout: share of the units of its output dropped in training.
        word_dropout: share of the words that it reads as unknown in training.
        trainable: whether its weights learn; else it runs in inference mode.
        dtype: precision of the output; the model's own stays as it is.

    Returns:
        A ``KerasHubTextEncoder``.

    Raises:
        ImportError: keras-hub is missing.
        ValueError: the preset's tokenizer is not one of WordPiece, or ``tokenizer`` has words that
            it does not know.
    """
    keras_hub = import_extra("keras_hub", "hub", f"text={PREFIX}PRESET")
    theirs = _read_tokenizer(preset)
    places = {piece: place for place, piece in enumerate(theirs.get_vocabulary())}
    strange = [word for word in tokenizer.vocabulary if word not in places]
    if strange:
        raise ValueError(
            f"{PREFIX}{preset}: tokenizer must be the model's own, got one with the word "
            f"{strange[0]!r}. Make it with keras_hub_tokenizer({preset!r})."
        )
    ids = [places[piece] for piece in (*_special_tokens(theirs), *tokenizer.vocabulary)]
    network = keras_hub.models.Backbone.from_preset(preset)
    return KerasHubTextEncoder(
        network,
        ids,
        dropout=dropout,
        word_dropout=word_dropout,
        learns=trainable,
        dtype=dtype,
        name="text_encoder",
    )


def resolve_text_encoder(where, text, tokenizer, policy):
    """Turns a builder's option into a text encoder.

    Args:
        where: name of the builder, for messages.
        text: a key of ``TEXT_ENCODERS``, ``"keras_hub:PRESET"``, a ``TextEncoder``, or a list of
            such.
        tokenizer: the builder's ``Tokenizer``.
        policy: Keras dtype policy.

    Returns:
        A ``TextEncoder``; of several, ``ParallelEncoders``.

    Raises:
        ImportError: keras-hub is missing.
        TypeError: ``text`` is none of these.
        ValueError: ``text`` is an unknown name or an empty list, or the tokenizer is not that of
            the preset.
    """
    if isinstance(text, (tuple, list)):
        if not text:
            raise ValueError(f"{where}: text must have at least one encoder, got none.")
        encoders = [resolve_text_encoder(where, each, tokenizer, policy) for each in text]
        return encoders[0] if len(encoders) == 1 else ParallelEncoders(encoders, dtype=policy)
    if isinstance(text, str) and text.startswith(PREFIX):
        return build_keras_hub_text(text.removeprefix(PREFIX), tokenizer, dtype=policy)
    makers = {name: (lambda kind=kind: kind(dtype=policy)) for name, kind in TEXT_ENCODERS.items()}
    return resolve(where, "text", text, makers, TextEncoder)


@keras.saving.register_keras_serializable("keras_vlm")
class KerasHubTextEncoder(TextEncoder):
    """A KerasHub text model: token_ids [R,T] int32 of our tokenizer -> words [R,T,D].

    Make one with ``build_keras_hub_text``.

    Args:
        network: a KerasHub backbone that takes ``token_ids`` and ``padding_mask``.
        ids: the network's id of each of our ids, the special ones first.
        dropout: share of the units of its output dropped in training.
        learns: whether its weights learn; else it runs in inference mode.
        vocabulary_size: V, the length of ``ids``.
        **kwargs: ``word_dropout`` as for ``TextEncoder``; ``name``, ``dtype`` of the layer.

    Raises:
        ValueError: the network takes other inputs, or gives no vector a word.
    """

    def __init__(self, network, ids, *, dropout=0.0, learns=False, vocabulary_size=None, **kwargs):
        needed = {"token_ids", "padding_mask"}
        taken = set(network.input) if isinstance(network.input, dict) else set()
        if not needed <= taken <= needed | {"segment_ids"}:
            raise ValueError(
                f"KerasHubTextEncoder: network must take token_ids and padding_mask, got "
                f"{network.name} with {sorted(taken)}."
            )
        output = self._words(network.output)
        if len(output.shape) != 3:
            raise ValueError(
                f"KerasHubTextEncoder: network must give words [R,T,D], got {network.name} with "
                f"{output.shape}."
            )
        super().__init__(
            hidden_dim=output.shape[-1], dropout=dropout, vocabulary_size=len(ids), **kwargs
        )
        for layer in network._flatten_layers():
            layer.trainable = learns
        self.network = network
        self.ids = [int(each) for each in ids]
        self.learns = learns
        check_number("KerasHubTextEncoder", "ids", len(self.ids), minimum=5, integer=True)

    def build(self, token_ids_shape):
        """Builds nothing but dropout: the network is there."""
        self.dropout = keras.layers.Dropout(self.dropout_rate, dtype=self.dtype_policy)
        self.word_dropout = WordDropout(self.word_dropout_rate)

    def call(self, token_ids, training=None):
        """Returns words [R,T,D]."""
        token_ids = self.word_dropout(token_ids, training=training)
        real = real_words(token_ids)
        theirs = ops.take(ops.convert_to_tensor(self.ids, "int32"), token_ids)
        inputs = {"token_ids": theirs, "padding_mask": ops.cast(real, "int32")}
        if "segment_ids" in self.network.input:
            inputs["segment_ids"] = ops.zeros_like(theirs)
        words = self._words(self.network(inputs, training=training if self.learns else False))
        return self.dropout(ops.cast(words, self.compute_dtype), training=training)

    @staticmethod
    def _words(output):
        return output["sequence_output"] if isinstance(output, dict) else output

    def get_config(self):
        """Returns the constructor's arguments, for Keras's saving; weights are saved apart."""
        config = super().get_config()
        for key in ("hidden_dim", "tune_words"):
            del config[key]
        network = keras.saving.serialize_keras_object(self.network)
        return {**config, "network": network, "ids": self.ids, "learns": self.learns}

    @classmethod
    def from_config(cls, config):
        """Makes the encoder that ``get_config`` described."""
        import_extra("keras_hub", "hub", "A model with a KerasHub text encoder")
        return cls(keras.saving.deserialize_keras_object(config.pop("network")), **config)


def _read_tokenizer(preset):
    """Returns a preset's own tokenizer.

    Raises:
        ValueError: it is not one of WordPiece.
    """
    keras_hub = import_extra("keras_hub", "hub", f"text={PREFIX}PRESET")
    tokenizer = keras_hub.models.Tokenizer.from_preset(preset)
    if not isinstance(tokenizer, keras_hub.tokenizers.WordPieceTokenizer):
        raise ValueError(
            f"{PREFIX}{preset}: the model must read WordPiece, as BERT, DistilBERT and ELECTRA do, "
            f"got {type(tokenizer).__name__}."
        )
    return tokenizer


def _special_tokens(tokenizer):
    """Returns what stands for padding, the unknown word, start and end."""
    return (
        tokenizer.pad_token, tokenizer.oov_token, tokenizer.cls_token, tokenizer.sep_token
    )  # fmt: skip
