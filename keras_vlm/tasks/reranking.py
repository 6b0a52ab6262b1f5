"""Re-ranking: ``build_reranker`` and the ``Reranker`` it returns.

A retriever sees a picture and a sentence apart, so that millions can be compared; a re-ranker lets
each word look at the picture, and judges the few that the retriever found. Refuses to know who
found them. Dimension letters: B batch, H height, W width, N picture tokens, C their width, K
captions a picture, T text positions, n pictures, m texts, P pairs.
"""

import keras
import numpy as np
import tensorflow as tf

from keras_vlm.core.checks import resolve
from keras_vlm.core.serialization import serialize_unbuilt
from keras_vlm.data.image_inputs import count_pictures, read_images
from keras_vlm.fusion import FUSIONS, Fusion
from keras_vlm.losses import PAIR_LOSSES, PairLoss
from keras_vlm.tasks.base import PairModel, makers_of, resolve_optimizer
from keras_vlm.tasks.match_head import MatchHead
from keras_vlm.tasks.retrieval import Retriever
from keras_vlm.text.decoder import fresh_copy
from keras_vlm.text.encoders import real_words
from keras_vlm.vision.backbones import Backbone

# Pairs that are scored at once: each holds a copy of its picture's memory.
CHUNK = 256


def build_reranker(
    retriever,
    *,
    fusion="attention",
    hidden_dim=256,
    dropout=0.2,
    loss="contrastive",
    optimizer="adamw",
):
    """Builds and compiles a re-ranker that begins with what a retriever has learned.

    It has the retriever's backbone, frozen, its tokenizer and its precision, and a copy of its text
    encoder, which goes on learning. The retriever is left as it is.

    Args:
        retriever: a ``Retriever``.
        fusion: ``"attention"``, ``"adaptive"``, ``"attention_on_attention"``, ``"additive"``,
            ``"dot_product"``, ``"concat"`` or a fusion layer: how words look at the picture.
            ``"additive"`` takes N * hidden_dim numbers a word and picture, which is much for all
            pairs of a batch.
        hidden_dim: width of the match head.
        dropout: share of the match head's units dropped in training.
        loss: ``"contrastive"``, ``"sigmoid"``, ``"triplet"`` or a ``PairLoss``. Only the sigmoid's
            scores mean something alone: the logit that the two belong together.
        optimizer: a Keras optimizer or its name; ``"adamw"`` means a learning rate of 1e-3.

    Returns:
        A compiled ``Reranker``.

    Raises:
        ValueError: an option is unknown or out of range.
        TypeError: ``retriever`` is no ``Retriever``, or an option is neither a name nor the object
            it names.

    Example:
        >>> from keras_vlm import Tokenizer, build_retriever
        >>> tokenizer = Tokenizer(["a", "dog"], max_length=5)
        >>> retriever = build_retriever("conv_small", tokenizer=tokenizer, image_size=32, dim=16)
        >>> reranker = build_reranker(retriever, hidden_dim=8)
        >>> reranker.match([np.zeros((32, 32, 3))] * 2, ["a dog"], [[0, 0], [1, 0]]).shape
        (2,)

    Source:
        Lee et al. 2018 (SCAN), https://arxiv.org/abs/1803.08024, for words that look at picture
        regions; Li et al. 2021 (ALBEF), https://arxiv.org/abs/2107.07651, for two stages, of which
        the second re-ranks what the first found. Where ALBEF asks of each pair alone whether it
        matches, and picks hard negatives, here all pairs of a batch are compared by the retriever's
        losses (``"sigmoid"`` is the nearest to ALBEF's).
    """
    where = "build_reranker"
    if not isinstance(retriever, Retriever):
        raise TypeError(
            f"{where}: retriever must be a Retriever, got {type(retriever).__name__}. "
            "Make one with build_retriever, or load a published one."
        )
    policy = retriever.text_encoder.dtype_policy
    fusion = resolve(where, "fusion", fusion, makers_of(FUSIONS, policy), Fusion)
    pair_loss = resolve(where, "loss", loss, PAIR_LOSSES, PairLoss)
    head = MatchHead(
        fresh_copy(retriever.text_encoder),
        fusion,
        hidden_dim=hidden_dim,
        dropout=dropout,
        bias=pair_loss.bias,
        dtype=policy,
        name="match_head",
    )
    reranker = Reranker(_frozen(retriever.encoder), head, retriever.tokenizer)
    head.text_encoder.set_weights(retriever.text_encoder.get_weights())
    reranker.compile(
        optimizer=resolve_optimizer(optimizer, head.compute_dtype),
        loss=pair_loss,
        jit_compile="auto",
    )
    return reranker


@keras.saving.register_keras_serializable("keras_vlm")
class Reranker(PairModel):
    """A functional model ``{"images": [B,H,W,3], "token_ids": [B,K,T]} -> scores [B,B,K]``.

    It also takes ``image_features`` [B,N,C] in place of ``images``: what a feature cache gives.
    Make one with ``build_reranker``.

    Args:
        encoder: a backbone from images to features.
        match_head: a ``MatchHead``; its text encoder's vocabulary size becomes the tokenizer's.
        tokenizer: a ``Tokenizer``.
        name: name of the model.

    Attributes:
        encoder: functional model, images [B,H,W,3] float 0..255 -> image_features [B,N,C].
        match_head: layer, image_features and token_ids [B,K,T] -> scores [B,B,K] float32.
        tokenizer: the tokenizer.

    Raises:
        ValueError: the encoder takes regions.
    """

    def __init__(self, encoder, match_head, tokenizer, *, name="reranker"):
        if getattr(encoder, "region_shapes", ()):
            raise ValueError(
                "Reranker: encoder must look at the grid alone, got one with regions "
                f"({', '.join(encoder.region_shapes)}). Re-rank with the encoder of another model."
            )
        match_head.text_encoder.vocabulary_size = tokenizer.vocabulary_size
        images = keras.Input(encoder.input_shape[1:], name="images")
        token_ids = keras.Input((None, tokenizer.max_length - 1), dtype="int32", name="token_ids")
        outputs = match_head(encoder(images), token_ids)
        super().__init__({"images": images, "token_ids": token_ids}, outputs, name=name)
        self.encoder = encoder
        self.match_head = match_head
        self.tokenizer = tokenizer
        self._functions = {
            name: tf.function(function, reduce_retracing=True, autograph=False)
            for name, function in (
                ("read", self._read_batch),
                ("encode", self._encode_batch),
                ("score", match_head.score_pairs),
            )
        }

    def read_features(self, inputs, training=None):
        """Scores image_features with captions."""
        return self.match_head(inputs["image_features"], inputs["token_ids"], training=training)

    def batches(self, examples, batch_size=32, **options):
        """Makes batches of a data split for ``fit``; see ``PictureTextModel.batches``.

        Args:
            examples: a data split.
            batch_size: pictures a batch; the work grows with its square.
            **options: as for ``PictureTextModel.batches``.

        Returns:
            A ``tf.data.Dataset`` of ``(inputs, real [B,K] bool)``, True where there is a caption.
        """
        return super().batches(examples, batch_size, **options)

    def match(self, images, texts, pairs, *, batch_size=32, verbose=0):
        """Tells how well texts fit pictures; each is encoded once, however many pairs it is in.

        Args:
            images: one picture or many: paths, encoded bytes, arrays [H,W,3] in 0..255, a data
                split or a ``tf.data.Dataset``.
            texts: one string or a list of strings.
            pairs: [P,2] int: the places of a picture and of a text.
            batch_size: pictures a forward pass.
            verbose: 1 for a progress bar, 0 for none.

        Returns:
            [P] float32, the greater the better; -inf where the picture cannot be read.

        Raises:
            FileNotFoundError: a path does not exist.
            TypeError: ``images`` is none of the above.
            ValueError: ``pairs`` has another shape, or a place that is not there.
        """
        return self.matcher(images, texts, batch_size=batch_size, verbose=verbose)(pairs)

    def matcher(self, images, texts, *, batch_size=32, verbose=0):
        """Encodes pictures and texts, to ask for the scores of pairs of them again and again.

        Args:
            images: as for ``match``.
            texts: as for ``match``.
            batch_size: pictures a forward pass.
            verbose: 1 for a progress bar, 0 for none.

        Returns:
            A ``Matcher``.

        Raises:
            FileNotFoundError: a path does not exist.
            TypeError: ``images`` is none of the above.
        """
        total = count_pictures(images)
        progress = keras.utils.Progbar(total, unit_name="picture") if verbose else None
        memories, readable, done = [], [], 0
        for batch, valid in read_images(
            images, self.image_size, resize=self.resize, batch_size=batch_size
        ):
            memories.append(tf.nest.map_structure(_to_numpy, self._functions["read"](batch)))
            readable.append(valid.numpy())
            done += len(batch)
            if progress:
                progress.update(done)
        texts = [texts] if isinstance(texts, str) else list(texts)
        words = [
            tf.nest.map_structure(
                _to_numpy, self._functions["encode"](tf.constant(texts[start : start + CHUNK]))
            )
            for start in range(0, len(texts), CHUNK)
        ]
        return Matcher(
            self._functions["score"], _joined(memories), _joined(words), _joined(readable)
        )

    def get_config(self):
        """Returns the constructor's arguments, for Keras's saving."""
        serialize = keras.saving.serialize_keras_object
        return {
            "encoder": serialize(self.encoder),
            "match_head": serialize_unbuilt(self.match_head),
            "tokenizer": serialize(self.tokenizer),
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config):
        """Makes the model that ``get_config`` described."""
        made = {
            part: value if part == "name" else keras.saving.deserialize_keras_object(value)
            for part, value in config.items()
        }
        return cls(**made)

    def _read_batch(self, images):
        return self.match_head.read(self.encoder(images, training=False), training=False)

    def _encode_batch(self, texts):
        token_ids = self.tokenizer(texts)[:, :-1]
        words = self.match_head.encode(token_ids, training=False)
        return {"words": words, "real": real_words(token_ids)}


class Matcher:
    """Scores of pairs of encoded pictures and texts; ``Reranker.matcher`` makes one.

    Attributes:
        readable: [n] bool, True for a picture that can be read.
    """

    def __init__(self, score, memory, sentences, readable):
        self._score = score
        self._memory = memory
        self._sentences = sentences
        self.readable = np.zeros(0, bool) if readable is None else readable

    def __call__(self, pairs):
        """Scores pairs [P,2] of places of a picture and a text: [P] float32.

        Raises:
            ValueError: ``pairs`` has another shape, or a place that is not there.
        """
        pairs = np.asarray(pairs, np.int64).reshape((0, 2) if not len(pairs) else np.shape(pairs))
        texts = 0 if self._sentences is None else len(self._sentences["real"])
        sizes = (len(self.readable), texts)
        if pairs.ndim != 2 or pairs.shape[1] != 2:
            raise ValueError(f"match: pairs must be [P,2], got the shape {pairs.shape}.")
        if (pairs < 0).any() or (pairs >= sizes).any():
            raise ValueError(
                f"match: pairs must be of {sizes[0]} pictures and {sizes[1]} texts, got "
                f"{pairs[((pairs < 0) | (pairs >= sizes)).any(axis=1)][0].tolist()}."
            )
        scores = np.full(len(pairs), -np.inf, np.float32)
        places = np.flatnonzero(self.readable[pairs[:, 0]])
        for start in range(0, len(places), CHUNK):
            chunk = places[start : start + CHUNK]
            images, texts = pairs[chunk].T
            memory = tf.nest.map_structure(lambda each, i=images: each[i], self._memory)
            sentences = tf.nest.map_structure(lambda each, i=texts: each[i], self._sentences)
            scores[chunk] = self._score(sentences["words"], sentences["real"], memory)
        return scores


def _frozen(encoder):
    """Returns an encoder that does not learn: itself, or else a copy, so that the other may."""
    if not encoder.trainable_weights:
        return encoder
    if isinstance(encoder, Backbone):
        return encoder.thawed(None)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(encoder))
    copy.set_weights(encoder.get_weights())
    copy.trainable = False
    return copy


def _to_numpy(tensor):
    return tensor.numpy()


def _joined(parts):
    """Joins nests of arrays along their first axis; None for no nest."""
    if not parts:
        return None
    return tf.nest.map_structure(lambda *arrays: np.concatenate(arrays), *parts)
