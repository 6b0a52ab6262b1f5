"""Text encoders: what each word of a sentence means, seen from the whole of it.

Contract: ``encoder(token_ids [R,T]) -> words [R,T,D]``. Padding (id 0) changes no real word; what a
padded position holds means nothing, and ``real_words`` says which they are. Refuses to know
pictures, and how the words become one vector.

Dimension letters: R sentences, T text positions, D model width, V vocabulary, H heads.
"""

import keras
from keras import ops

from keras_vlm.core.checks import check_number, resolve_heads
from keras_vlm.core.serialization import serialize_unbuilt
from keras_vlm.text.tokenizer import PAD_ID
from keras_vlm.text.word_dropout import WordDropout


def real_words(token_ids):
    """Returns [R,T] bool: True for a real word of token_ids [R,T], False for padding."""
    return ops.not_equal(token_ids, PAD_ID)


class TextEncoder(keras.layers.Layer):
    """Abstract: token_ids [R,T] int32 -> words [R,T,D] float.

    A subclass implements ``build_layers()`` and ``run(words, mask, training)``.

    Args:
        hidden_dim: model width D.
        dropout: share of the words' units dropped in training.
        word_dropout: share of the words that are read as unknown in training.
        vocabulary_size: V; a builder that has the tokenizer sets it.
        tune_words: whether the embedding learns; not for word vectors that shall stay as read.
        **kwargs: ``name``, ``dtype`` of the layer.

    Raises:
        ValueError: an option is out of range.
    """

    def __init__(
        self,
        *,
        hidden_dim=384,
        dropout=0.2,
        word_dropout=0.0,
        vocabulary_size=None,
        tune_words=True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        where = type(self).__name__
        self.hidden_dim = check_number(where, "hidden_dim", hidden_dim, minimum=1, integer=True)
        self.dropout_rate = check_number(where, "dropout", dropout, minimum=0, maximum=0.99)
        self.word_dropout_rate = check_number(
            where, "word_dropout", word_dropout, minimum=0, maximum=0.99
        )
        self.vocabulary_size = vocabulary_size
        self.tune_words = tune_words

    def build(self, token_ids_shape):
        """Builds the embedding and the subclass's layers."""
        self.embedding = keras.layers.Embedding(
            self.vocabulary_size,
            self.hidden_dim,
            trainable=self.tune_words,
            name="embedding",
            dtype=self.dtype_policy,
        )
        self.embedding.build()
        self.dropout = keras.layers.Dropout(self.dropout_rate, dtype=self.dtype_policy)
        self.word_dropout = WordDropout(self.word_dropout_rate)
        self.build_layers(token_ids_shape[-1])

    def call(self, token_ids, training=None):
        """Returns words [R,T,D]."""
        token_ids = self.word_dropout(token_ids, training=training)
        words = self.dropout(self.embedding(token_ids), training=training)
        return self.run(words, real_words(token_ids), training)

    def build_layers(self, length):
        """Builds what comes after the embedding, for T = ``length``."""

    def run(self, words, mask, training):
        """Turns embedded words [R,T,D] with their mask [R,T] into words [R,T,D]."""
        raise NotImplementedError

    def compute_output_shape(self, token_ids_shape):
        """Returns [R,T,D]."""
        return (*token_ids_shape, self.hidden_dim)

    def get_config(self):
        """Returns the constructor's arguments, for Keras's saving."""
        return {
            **super().get_config(),
            "hidden_dim": self.hidden_dim,
            "dropout": self.dropout_rate,
            "word_dropout": self.word_dropout_rate,
            "vocabulary_size": self.vocabulary_size,
            "tune_words": self.tune_words,
        }


@keras.saving.register_keras_serializable("keras_vlm")
class BagOfWords(TextEncoder):
    """Embedded words alone, without their order: the baseline."""

    def run(self, words, mask, training):
        """Returns the words as they are."""
        return words


@keras.saving.register_keras_serializable("keras_vlm")
class ConvolutionEncoder(TextEncoder):
    """Each word with its nearest neighbours: what short runs of words mean, wherever they stand.

    Args:
        kernel_sizes: a list, how many words each convolution sees: 2 the word and the next one, 3
            those on both sides; what they find is added to the word.
        **kwargs: as for ``TextEncoder``.

    Raises:
        ValueError: an option is out of range.

    Source:
        Kim 2014, "Convolutional Neural Networks for Sentence Classification",
        https://arxiv.org/abs/1408.5882, which keeps the greatest of each filter over the sentence,
        where here each word keeps its own.
    """

    def __init__(self, *, kernel_sizes=(2, 3), **kwargs):
        super().__init__(**kwargs)
        where = "ConvolutionEncoder"
        if not isinstance(kernel_sizes, (list, tuple)) or not kernel_sizes:
            raise ValueError(
                f"{where}: kernel_sizes must be a list of whole numbers, got {kernel_sizes!r}."
            )
        self.kernel_sizes = tuple(
            check_number(where, "kernel_sizes", size, minimum=2, integer=True)
            for size in kernel_sizes
        )

    def build_layers(self, length):
        """Builds a convolution a size."""
        self.convolutions = [
            keras.layers.Conv1D(
                self.hidden_dim,
                size,
                padding="same",
                activation="relu",
                name=f"convolution_{size}",
                dtype=self.dtype_policy,
            )
            for size in self.kernel_sizes
        ]
        for layer in self.convolutions:
            layer.build((None, length, self.hidden_dim))

    def run(self, words, mask, training):
        """Returns the words with what their surroundings add."""
        words = words * ops.cast(mask, words.dtype)[..., None]
        return sum((layer(words) for layer in self.convolutions), words)

    def get_config(self):
        """Returns the constructor's arguments, for Keras's saving."""
        return {**super().get_config(), "kernel_sizes": list(self.kernel_sizes)}


class RecurrentEncoder(TextEncoder):
    """Abstract: a recurrent layer reads the sentence forwards and, by default, backwards.

    Args:
        bidirectional: whether a second layer reads backwards; the two are added, so that the
            width stays D.
        **kwargs: as for ``TextEncoder``.
    """

    layer_class = None

    def __init__(self, *, bidirectional=True, **kwargs):
        super().__init__(**kwargs)
        self.bidirectional = bidirectional

    def build_layers(self, length):
        """Builds one layer a direction."""
        directions = {"forwards": False, "backwards": True}
        self.readers = [
            # Unrolled: the sequence is short, and a loop costs more than it does.
            self.layer_class(
                self.hidden_dim,
                return_sequences=True,
                go_backwards=backwards,
                unroll=True,
                name=name,
                dtype=self.dtype_policy,
            )
            for name, backwards in directions.items()
            if self.bidirectional or not backwards
        ]
        for reader in self.readers:
            reader.build((None, length, self.hidden_dim))

    def run(self, words, mask, training):
        """Returns the sum of the directions."""
        read = [reader(words, mask=mask, training=training) for reader in self.readers]
        if self.bidirectional:
            read[1] = ops.flip(read[1], axis=1)
            return read[0] + read[1]
        # A tensor of its own: Keras has tied the mask to the layer's, and would warn of its loss.
        return ops.copy(read[0])

    def get_config(self):
        """Returns the constructor's arguments, for Keras's saving."""
        return {**super().get_config(), "bidirectional": self.bidirectional}


@keras.saving.register_keras_serializable("keras_vlm")
class GRUEncoder(RecurrentEncoder):
    """A GRU in both directions.

    Source:
        Cho et al. 2014, https://arxiv.org/abs/1406.1078; both directions as in Faghri et al. 2018,
        https://arxiv.org/abs/1707.05612, whose own reads forwards.
    """

    layer_class = keras.layers.GRU


@keras.saving.register_keras_serializable("keras_vlm")
class LSTMEncoder(RecurrentEncoder):
    """An LSTM in both directions.

    Source:
        Hochreiter and Schmidhuber 1997; Graves and Schmidhuber 2005 for both directions.
    """

    layer_class = keras.layers.LSTM


@keras.saving.register_keras_serializable("keras_vlm")
class TransformerEncoder(TextEncoder):
    """Pre-norm Transformer layers with learned positions.

    Args:
        num_layers: number of layers.
        num_heads: heads, or None for heads of about 64 units.
        **kwargs: as for ``TextEncoder``.

    Raises:
        ValueError: an option is out of range, or ``num_heads`` does not divide ``hidden_dim``.

    Source:
        Vaswani et al. 2017, https://arxiv.org/abs/1706.03762; normalisation first as in Xiong et
        al. 2020, https://arxiv.org/abs/2002.04745.
    """

    def __init__(self, *, num_layers=2, num_heads=None, **kwargs):
        super().__init__(**kwargs)
        where = "TransformerEncoder"
        self.num_layers = check_number(where, "num_layers", num_layers, minimum=1, integer=True)
        if num_heads is not None:
            check_number(where, "num_heads", num_heads, minimum=1, integer=True)
        self.num_heads = num_heads
        self.heads = resolve_heads(where, num_heads, self.hidden_dim)

    def build_layers(self, length):
        """Builds the positions and the layers."""
        width, policy = self.hidden_dim, self.dtype_policy
        self.positions = self.add_weight(
            shape=(length, width),
            initializer=keras.initializers.RandomNormal(stddev=0.02),
            name="positions",
        )
        self.layers = []
        for i in range(self.num_layers):
            parts = {
                "norm": keras.layers.LayerNormalization(name=f"norm_{i}", dtype=policy),
                "attention": keras.layers.MultiHeadAttention(
                    self.heads,
                    width // self.heads,
                    dropout=self.dropout_rate,
                    name=f"attention_{i}",
                    dtype=policy,
                ),
                "think_norm": keras.layers.LayerNormalization(
                    name=f"think_norm_{i}", dtype=policy
                ),
                "widen": keras.layers.Dense(
                    4 * width, activation="relu", name=f"widen_{i}", dtype=policy
                ),
                "narrow": keras.layers.Dense(width, name=f"narrow_{i}", dtype=policy),
            }
            shape = (None, length, width)
            parts["attention"].build(shape, shape)
            for name in ("norm", "think_norm", "widen"):
                parts[name].build(shape)
            parts["narrow"].build((None, length, 4 * width))
            self.layers.append(parts)
        self.final_norm = keras.layers.LayerNormalization(name="final_norm", dtype=policy)
        self.final_norm.build((None, length, width))

    def run(self, words, mask, training):
        """Returns the last layer's words."""
        words = words + ops.cast(self.positions, words.dtype)
        for parts in self.layers:
            asked = parts["norm"](words)
            looked = parts["attention"](
                asked, asked, attention_mask=mask[:, None, :], training=training
            )
            words = words + self.dropout(looked, training=training)
            thought = parts["narrow"](parts["widen"](parts["think_norm"](words)))
            words = words + self.dropout(thought, training=training)
        return self.final_norm(words)

    def get_config(self):
        """Returns the constructor's arguments, for Keras's saving."""
        return {
            **super().get_config(),
            "num_layers": self.num_layers,
            "num_heads": self.num_heads,
        }


@keras.saving.register_keras_serializable("keras_vlm")
class ParallelEncoders(TextEncoder):
    """Several encoders that read the same sentence, each for a head of its own.

    Their words stand side by side: D is the sum of their widths.

    Args:
        encoders: ``TextEncoder`` of one width.
        vocabulary_size: V, for all of them; a builder that has the tokenizer sets it.
        **kwargs: ``name``, ``dtype`` of the layer.

    Raises:
        ValueError: there are none, or their widths differ.
    """

    def __init__(self, encoders, *, vocabulary_size=None, **kwargs):
        widths = sorted({encoder.hidden_dim for encoder in encoders})
        if len(widths) != 1:
            raise ValueError(f"ParallelEncoders: encoders must have one width, got {widths}.")
        super().__init__(
            hidden_dim=len(encoders) * widths[0],
            dropout=0.0,
            vocabulary_size=vocabulary_size,
            **kwargs,
        )
        self.encoders = list(encoders)

    def build(self, token_ids_shape):
        """Builds each encoder."""
        for encoder in self.encoders:
            encoder.vocabulary_size = self.vocabulary_size
            encoder.build(token_ids_shape)

    def call(self, token_ids, training=None):
        """Returns words [R,T,D]."""
        words = [encoder(token_ids, training=training) for encoder in self.encoders]
        return ops.concatenate(words, axis=-1)

    def get_config(self):
        """Returns the constructor's arguments, for Keras's saving."""
        config = super().get_config()
        for key in ("hidden_dim", "dropout", "word_dropout", "tune_words"):
            del config[key]
        return {**config, "encoders": [serialize_unbuilt(each) for each in self.encoders]}

    @classmethod
    def from_config(cls, config):
        """Makes the encoders that ``get_config`` described."""
        encoders = config.pop("encoders")
        return cls([keras.saving.deserialize_keras_object(each) for each in encoders], **config)


TEXT_ENCODERS = {
    "bag": BagOfWords,
    "cnn": ConvolutionEncoder,
    "gru": GRUEncoder,
    "lstm": LSTMEncoder,
    "transformer": TransformerEncoder,
}
