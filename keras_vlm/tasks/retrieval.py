"""Image-text retrieval: ``build_retriever`` and the ``Retriever`` it returns.

Two towers, one for pictures and one for sentences, end in one space of unit vectors, where what
belongs together is near. Refuses to know indexes, scores and servers. Dimension letters: B batch, H
height, W width, N picture tokens, C their width, K captions a picture, T text positions, E width of
the common space.
"""

import hashlib
import json

import keras
import numpy as np
import tensorflow as tf

from keras_vlm.core.checks import check_choice, check_number, resolve
from keras_vlm.core.serialization import serialize_unbuilt
from keras_vlm.data.image_inputs import count_pictures, read_images
from keras_vlm.losses import PAIR_LOSSES, PairLoss
from keras_vlm.tasks import base
from keras_vlm.tasks.base import PRECISIONS, PairModel, resolve_optimizer
from keras_vlm.tasks.gradient_cache import cached_gradients
from keras_vlm.tasks.towers import CaptionVectors, PairScores, RealTokens, Tower
from keras_vlm.text import ParallelEncoders, Tokenizer
from keras_vlm.text.foreign import resolve_text_encoder
from keras_vlm.vision.backbones import resolve_backbone

# Sentences that a label becomes, for classification; "{}" is the label.
TEMPLATES = {
    "en": ("a {}", "a picture of a {}", "there is a {}"),
    "zh": ("{}", "一张{}的照片", "有{}"),
}
# What cosines are multiplied by, to be told apart by a softmax, where no scale was learned.
UNSCALED = 1 / 0.07


def build_retriever(
    backbone="efficientnet_lite0",
    *,
    tokenizer,
    text="gru",
    dim=512,
    loss="contrastive",
    image_size=224,
    optimizer="adamw",
    precision="float32",
):
    """Builds and compiles a retriever: a picture tower and a text tower in one space.

    Args:
        backbone: a name in ``vision.backbones.BACKBONES`` (frozen, ImageNet weights), a
            ``Backbone`` such as a captioner's ``encoder``, or any Keras model from images [B,H,W,3]
            in 0..255 to [B,h,w,C] or [B,N,C].
        tokenizer: a ``Tokenizer``, usually ``Tokenizer.fit(data["train"])``.
        text: ``"gru"``, ``"lstm"``, ``"transformer"``, ``"cnn"``, ``"bag"``,
            ``"keras_hub:PRESET"`` (with the tokenizer that ``keras_hub_tokenizer`` makes), or an
            encoder of your own measures, such as ``GRUEncoder(hidden_dim=1024)``. A list, of one
            width: each has a head of its own in both towers, an ensemble in one model.
        dim: width E of the common space, which heads share evenly, or two ``Tower`` of your own
            measures, the picture's and the text's.
        loss: ``"contrastive"`` (CLIP), ``"sigmoid"`` (SigLIP), ``"triplet"`` (VSE++) or a
            ``PairLoss``.
        image_size: side in pixels, or ``(H, W)``; for a backbone given by name.
        optimizer: a Keras optimizer or its name; ``"adamw"`` means a learning rate of 1e-3.
        precision: ``"float32"``, ``"mixed_bfloat16"`` or ``"mixed_float16"``.

    Returns:
        A compiled ``Retriever``.

    Raises:
        ValueError: an option is unknown or out of range.
        TypeError: an option is neither a name nor the object it names.

    Example:
        >>> tokenizer = Tokenizer(["a", "dog"], max_length=5)
        >>> model = build_retriever("conv_small", tokenizer=tokenizer, dim=16, image_size=32)
        >>> sorted(model.input), model.embed_texts(["a dog"]).shape
        (['images', 'token_ids'], (1, 16))
    """
    where = "build_retriever"
    check_choice(where, "precision", precision, PRECISIONS)
    if not isinstance(tokenizer, Tokenizer):
        raise TypeError(
            f"{where}: tokenizer must be a Tokenizer, got {tokenizer!r}. "
            "Make one with Tokenizer.fit(data['train'])."
        )
    base.check_reads(where, tokenizer)

    policy = keras.DTypePolicy(precision)
    encoder = resolve_backbone(backbone, image_size, dtype=policy)
    text_encoder = resolve_text_encoder(where, text, tokenizer, policy)
    pair_loss = resolve(where, "loss", loss, PAIR_LOSSES, PairLoss)
    if isinstance(dim, (tuple, list)):
        image_tower, text_tower = dim
    else:
        heads = len(text_encoder.encoders) if isinstance(text_encoder, ParallelEncoders) else 1
        image_tower = Tower(dim, heads=heads, dtype=policy)
        text_tower = Tower(dim, heads=heads, split=heads > 1, dtype=policy)

    retriever = Retriever(
        encoder,
        text_encoder,
        image_tower,
        text_tower,
        tokenizer,
        PairScores(pair_loss.scale, pair_loss.bias, image_tower.heads, name="pair_scores"),
    )
    retriever.compile(
        optimizer=resolve_optimizer(optimizer, text_encoder.compute_dtype),
        loss=pair_loss,
        jit_compile="auto",
    )
    return retriever


@keras.saving.register_keras_serializable("keras_vlm")
class Retriever(PairModel):
    """A functional model ``{"images": [B,H,W,3], "token_ids": [B,K,T]} -> scores [B,B,K]``.

    Of towers with several heads the scores are [B,B,K,heads]. It also takes ``image_features``
    [B,N,C] in place of ``images``: what a feature cache gives. Make one with ``build_retriever``.

    Args:
        encoder: a backbone from images to features.
        text_encoder: a ``TextEncoder``; its vocabulary size becomes the tokenizer's.
        image_tower: a ``Tower`` for the encoder's features.
        text_tower: a ``Tower`` of the same width for the text encoder's words.
        tokenizer: a ``Tokenizer``.
        pair_scores: a ``PairScores`` with the heads of the towers.
        name: name of the model.

    Attributes:
        encoder: functional model, images [B,H,W,3] float 0..255 -> image_features [B,N,C].
        image_head: functional model, image_features -> unit vectors [B,E].
        text_head: functional model, token_ids [B,K,T] -> unit vectors [B,K,E].
        tokenizer: the tokenizer.

    Raises:
        ValueError: the towers have different widths, or different numbers of heads.
    """

    def __init__(
        self,
        encoder,
        text_encoder,
        image_tower,
        text_tower,
        tokenizer,
        pair_scores,
        *,
        name="retriever",
    ):
        for option in ("dim", "heads"):
            one, other = getattr(image_tower, option), getattr(text_tower, option)
            if one != other:
                raise ValueError(
                    f"Retriever: {option} must be the same in both towers, got {one} for pictures "
                    f"and {other} for text."
                )
        text_encoder.vocabulary_size = tokenizer.vocabulary_size
        pictures = base.picture_inputs(encoder)
        token_ids = keras.Input((None, tokenizer.max_length - 1), dtype="int32", name="token_ids")
        features = keras.Input(encoder.output_shape[1:], name="image_features")
        token_mask = None
        if getattr(encoder, "region_shapes", ()):
            token_mask = RealTokens(name="real_tokens")(features)
        pooled = image_tower(features, token_mask=token_mask)
        image_head = keras.Model(features, pooled, name="image_head")
        text_head = keras.Model(
            token_ids, CaptionVectors(text_encoder, text_tower)(token_ids), name="text_head"
        )
        outputs = pair_scores(image_head(base.encode(encoder, pictures)), text_head(token_ids))
        super().__init__({**pictures, "token_ids": token_ids}, outputs, name=name)
        self.encoder = encoder
        self.text_encoder = text_encoder
        self.image_tower = image_tower
        self.text_tower = text_tower
        self.image_head = image_head
        self.text_head = text_head
        self.pair_scores = pair_scores
        self.tokenizer = tokenizer
        self.gradient_cache = None
        self._embed = {
            "images": tf.function(self.embed_image_batch, autograph=False, reduce_retracing=True),
            "texts": tf.function(self.embed_text_batch, autograph=False, reduce_retracing=True),
        }

    def read_features(self, inputs, training=None):
        """Scores image_features with captions."""
        return self.pair_scores(*self.vectors(inputs, training=training))

    def fit(self, x=None, y=None, *, shuffle=False, gradient_cache=None, **kwargs):
        """As ``keras.Model.fit``, with large batches in little memory.

        Args:
            x: what to learn from, usually of ``batches``.
            y: targets, where ``x`` has none.
            shuffle: as for ``keras.Model.fit``; ``batches`` has shuffled already.
            gradient_cache: None, or the number of pictures that go through the towers at once. The
                step is that of the whole batch, to rounding, but that dropout draws for each chunk
                and that batch normalisation which learns sees a chunk. Its memory is that of so few
                pictures, and its time that of one forward pass more.
            **kwargs: as for ``keras.Model.fit``.

        Returns:
            A ``keras.callbacks.History``.

        Raises:
            ValueError: ``gradient_cache`` is out of range.

        Source:
            Gao et al. 2021, "Scaling Deep Contrastive Learning Batch Size under Memory Limited
            Setup", https://arxiv.org/abs/2101.06983.
        """
        if gradient_cache is None:
            return super().fit(x, y, shuffle=shuffle, **kwargs)
        check_number("fit", "gradient_cache", gradient_cache, minimum=1, integer=True)
        compiled = self.jit_compile
        # XLA wants chunks of one size, and the last one may be smaller.
        self.gradient_cache, self.jit_compile, self.train_function = gradient_cache, False, None
        try:
            return super().fit(x, y, shuffle=shuffle, **kwargs)
        finally:
            self.gradient_cache, self.jit_compile, self.train_function = None, compiled, None

    def train_step(self, data):
        """Takes one step, in chunks with a gradient cache."""
        if self.gradient_cache is None:
            return super().train_step(data)
        inputs, real, _ = keras.utils.unpack_x_y_sample_weight(data)
        loss, gradients = cached_gradients(self, inputs, real, self.gradient_cache)
        self._loss_tracker.update_state(loss, sample_weight=tf.shape(real)[0])
        self.optimizer.apply_gradients(zip(gradients, self.trainable_weights, strict=True))
        return self.get_metrics_result()

    def vectors(self, inputs, training=None):
        """Returns the unit vectors of a batch: images [B,E] and texts [B,K,E]."""
        features = inputs.get("image_features")
        if features is None:
            features = base.encode(self.encoder, inputs, training=training)
        return (
            self.image_head(features, training=training),
            self.text_head(inputs["token_ids"], training=training),
        )

    def embed_image_batch(self, images):
        """Turns what the encoder takes, such as images [B,H,W,3], into unit vectors [B,E]."""
        return self.image_head(self.encoder(images, training=False), training=False)

    def embed_text_batch(self, texts):
        """Turns texts [R] string into unit vectors [R,E], in TensorFlow ops."""
        token_ids = self.tokenizer(texts)[:, None, :-1]
        return self.text_head(token_ids, training=False)[:, 0]

    def embed_images(self, images, *, batch_size=32, verbose=0):
        """Gives pictures their place in the common space.

        Args:
            images: one picture or many: paths, encoded bytes, arrays [H,W,3] in 0..255, a data
                split or a ``tf.data.Dataset``.
            batch_size: pictures a forward pass.
            verbose: 1 for a progress bar, 0 for none.

        Returns:
            [n,E] float32, unit vectors; zeros for a picture that cannot be read.

        Raises:
            FileNotFoundError: a path does not exist.
            TypeError: ``images`` is none of the above.
        """
        total = count_pictures(images)
        progress = keras.utils.Progbar(total, unit_name="picture") if verbose else None
        found, done = [], 0
        for batch, valid in read_images(
            images,
            self.image_size,
            resize=self.resize,
            batch_size=batch_size,
            region_shapes=self.region_shapes,
        ):
            vectors = self._embed["images"](batch).numpy()
            found.append(np.where(valid.numpy()[:, None], vectors, np.float32(0)))
            done += len(vectors)
            if progress:
                progress.update(done)
        return np.concatenate(found) if found else np.zeros((0, self.image_tower.dim), np.float32)

    def embed_texts(self, texts, *, batch_size=256):
        """Gives sentences their place in the common space.

        Args:
            texts: one string or a list of strings.
            batch_size: sentences a forward pass.

        Returns:
            [n,E] float32, unit vectors.
        """
        texts = [texts] if isinstance(texts, str) else list(texts)
        parts = [
            self._embed["texts"](tf.constant(texts[start : start + batch_size])).numpy()
            for start in range(0, len(texts), batch_size)
        ]
        return np.concatenate(parts) if parts else np.zeros((0, self.text_tower.dim), np.float32)

    def classify(self, images, labels, *, templates=None, batch_size=32):
        """Tells which label fits a picture best, without having been trained for the labels.

        Args:
            images: as for ``embed_images``.
            labels: list of words or phrases.
            templates: sentences with ``{}`` where the label goes, whose vectors are averaged; None
                takes ``TEMPLATES`` of the tokenizer's language.
            batch_size: pictures a forward pass.

        Returns:
            [n,L] float32: probabilities of the L labels, by the scale that the loss has learned
            (the triplet loss learns none, and gets CLIP's first one); NaN for a picture that cannot
            be read.

        Raises:
            ValueError: there are no labels, the model knows no word of one, or a template has no
                ``{}``.

        Source:
            Radford et al. 2021, section 3.1.4, https://arxiv.org/abs/2103.00020, for the mean over
            templates.
        """
        labels = list(labels)
        if not labels:
            raise ValueError("classify: labels must have at least one label, got none.")
        templates = templates or TEMPLATES.get(self.tokenizer.language, ("{}",))
        for template in templates:
            if "{}" not in template:
                raise ValueError(
                    f"classify: templates must have {{}} where the label goes, got {template!r}."
                )
        for label in labels:
            self.tokenizer.check_known("classify: labels", label)
        prompts = [template.replace("{}", label) for label in labels for template in templates]
        classes = self.embed_texts(prompts).reshape(len(labels), len(templates), -1).mean(axis=1)
        classes /= np.linalg.norm(classes, axis=1, keepdims=True)
        vectors = self.embed_images(images, batch_size=batch_size)
        # A loss that compares cosines themselves has no scale.
        scale = UNSCALED if self.pair_scores.scale is None else self.pair_scores.current_scale()
        scores = tf.constant(vectors @ classes.T) * scale
        readable = vectors.any(axis=1, keepdims=True)
        return np.where(readable, tf.nn.softmax(scores).numpy(), np.float32("nan"))

    def fingerprint(self):
        """Returns a hex digest of all that the vectors depend on: vectors of two do not compare."""
        digest = hashlib.blake2b(digest_size=16)
        parts = (self.text_encoder, self.image_tower, self.text_tower)
        options = [self.image_size, self.resize, self.tokenizer.get_config()]
        options += [[type(part).__name__, _essence(part.get_config())] for part in parts]
        digest.update(json.dumps(options, sort_keys=True).encode())
        for part in (self.encoder, self.image_head, self.text_head):
            for weight in part.weights:
                digest.update(np.ascontiguousarray(weight.numpy()).view(np.uint8))
        return digest.hexdigest()

    def unknown_words(self, text):
        """Lists the words of a text that the model has never learned, which it cannot search for.

        Args:
            text: a string.

        Returns:
            A list of strings.
        """
        return self.tokenizer.unknown_words(text)

    def get_config(self):
        """Returns the constructor's arguments, for Keras's saving."""
        serialize = keras.saving.serialize_keras_object
        return {
            "encoder": serialize(self.encoder),
            "text_encoder": serialize_unbuilt(self.text_encoder),
            "image_tower": serialize_unbuilt(self.image_tower),
            "text_tower": serialize_unbuilt(self.text_tower),
            "tokenizer": serialize(self.tokenizer),
            "pair_scores": serialize_unbuilt(self.pair_scores),
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config):
        """Makes the model that ``get_config`` described."""
        made = keras.saving.deserialize_keras_object
        return cls(**{part: v if part == "name" else made(v) for part, v in config.items()})


def _essence(config):
    """Returns of a layer's options those that its output depends on; one head is as none."""
    if isinstance(config, (list, tuple)):
        return [_essence(each) for each in config]
    if isinstance(config, dict):
        left_out = {"name", "dtype", "dropout", "trainable", "build_config", "shared_object_id"}
        left_out |= {"heads", "split"} if config.get("heads") == 1 else set()
        return {k: _essence(value) for k, value in config.items() if k not in left_out}
    return config
