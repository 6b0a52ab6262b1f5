"""Image captioning: ``build_captioner`` and the ``Captioner`` it returns.

Refuses to know files of captions, scores and servers. Dimension letters: B batch, H height, W
width, N picture tokens, C their width, K captions a picture, T text positions, V vocabulary.
"""

import keras
import tensorflow as tf

from keras_vlm.core.checks import check_choice, check_number, resolve
from keras_vlm.core.serialization import serialize_unbuilt
from keras_vlm.fusion import FUSIONS
from keras_vlm.fusion.base import Fusion
from keras_vlm.losses import MaskedCrossEntropy
from keras_vlm.tasks.base import (
    PRECISIONS,
    PictureTextModel,
    encode,
    makers_of,
    picture_inputs,
    resolve_optimizer,
)
from keras_vlm.tasks.generation import CaptionMixin, TextWriter
from keras_vlm.text import TEXT_DECODERS, Tokenizer
from keras_vlm.text.decoder import TextDecoder
from keras_vlm.text.tokenizer import PAD_ID
from keras_vlm.vision.backbones import resolve_backbone


def build_captioner(
    backbone="efficientnet_lite0",
    *,
    tokenizer,
    text="transformer",
    fusion=None,
    image_size=224,
    optimizer="adamw",
    label_smoothing=0.1,
    precision="float32",
):
    """Builds and compiles a captioner: a backbone looks, a text decoder writes.

    Args:
        backbone: a name in ``vision.backbones.BACKBONES`` (frozen, ImageNet weights), a
            ``Backbone``, a ``RegionEncoder``, or any Keras model from images [B,H,W,3] in 0..255
            to [B,h,w,C] or [B,N,C].
        tokenizer: a ``Tokenizer``, usually ``Tokenizer.fit(data["train"])``.
        text: ``"lstm"``, ``"gru"``, ``"transformer"`` or a decoder of your own measures, such as
            ``LSTMDecoder(AdditiveFusion(256), hidden_dim=512)``.
        fusion: ``"attention"`` (multi-head, the default), ``"adaptive"`` (with a sentinel, for
            words that need not look), ``"attention_on_attention"``, ``"additive"``,
            ``"dot_product"``, ``"concat"`` or a ``Fusion``; not with a decoder object, which has
            its own.
        image_size: side in pixels, or ``(H, W)``; for a backbone given by name.
        optimizer: a Keras optimizer or its name; ``"adamw"`` means a learning rate of 1e-3.
        label_smoothing: share of the target spread over the vocabulary.
        precision: ``"float32"``, ``"mixed_bfloat16"`` or ``"mixed_float16"``.

    Returns:
        A compiled ``Captioner``. XLA is on where there is a GPU; on a CPU it slows the conv net
        down and is used for decoding only.

    Raises:
        ValueError: an option is unknown or out of range.
        TypeError: an option is neither a name nor the object it names.

    Example:
        >>> tokenizer = Tokenizer(["a", "dog"], max_length=5)
        >>> model = build_captioner("conv_small", tokenizer=tokenizer, text="lstm", image_size=32)
        >>> sorted(model.input), model.output.shape[-1]
        (['images', 'token_ids'], 6)
    """
    where = "build_captioner"
    check_choice(where, "precision", precision, PRECISIONS)
    check_number(where, "label_smoothing", label_smoothing, minimum=0, maximum=0.999)
    check_writes(where, tokenizer, text, fusion)

    policy = keras.DTypePolicy(precision)
    encoder = resolve_backbone(backbone, image_size, dtype=policy)
    decoder = resolve_decoder(where, text, fusion, policy)

    captioner = Captioner(encoder, decoder, tokenizer)
    captioner.compile(
        optimizer=resolve_optimizer(optimizer, decoder.compute_dtype),
        loss=MaskedCrossEntropy(label_smoothing),
        jit_compile="auto",
    )
    return captioner


def check_writes(where, tokenizer, text, fusion):
    """Raises unless a builder has a tokenizer, and a fusion where the decoder has none.

    Args:
        where: name of the builder.
        tokenizer: a ``Tokenizer``.
        text: a decoder, or its name.
        fusion: a fusion, its name, or None.

    Raises:
        TypeError: ``tokenizer`` is none.
        ValueError: there are two fusions.
    """
    if not isinstance(tokenizer, Tokenizer):
        raise TypeError(
            f"{where}: tokenizer must be a Tokenizer, got {tokenizer!r}. "
            "Make one with Tokenizer.fit(data['train'])."
        )
    if isinstance(text, TextDecoder) and fusion is not None:
        raise ValueError(
            f"{where}: fusion must be None with a decoder object, which has one, got {fusion!r}."
        )


def resolve_decoder(where, text, fusion, policy):
    """Turns a name, or a decoder, into a ``TextDecoder``.

    Args:
        where: name of the builder.
        text: a decoder, or its name.
        fusion: for a name: a fusion, its name, or None for ``"attention"``.
        policy: Keras dtype policy, for names.

    Returns:
        A ``TextDecoder``.

    Raises:
        TypeError: ``fusion`` is neither a name nor a fusion.
        ValueError: a name is unknown.
    """
    if isinstance(text, TextDecoder):
        return text
    check_choice(where, "text", text, TEXT_DECODERS)
    makers = makers_of(FUSIONS, policy)
    fused = resolve(where, "fusion", fusion or "attention", makers, Fusion)
    return TEXT_DECODERS[text](fused, dtype=policy)


def check_whole(examples):
    """Raises unless a split has captions as they are written.

    Args:
        examples: a data split.

    Raises:
        ValueError: the captions lack their stop words or endings.
    """
    if getattr(examples, "hurt", ()):
        raise ValueError(
            f"batches: examples must have whole captions to learn to write, got some cleaned "
            f"by {', '.join(examples.hurt)}. If that is meant: examples.cleaned(steps, "
            "hurt_targets=True)."
        )


@keras.saving.register_keras_serializable("keras_vlm")
class Captioner(CaptionMixin, PictureTextModel):
    """A functional model ``{"images": [B,H,W,3], "token_ids": [B,K,T]} -> logits [B,K,T,V]``.

    It also takes ``image_features`` [B,N,C] in place of ``images``: what a feature cache gives.
    Make one with ``build_captioner``.

    Args:
        encoder: a backbone from images to features.
        text_decoder: a ``TextDecoder``; its vocabulary size becomes the tokenizer's.
        tokenizer: a ``Tokenizer``.
        temporal: of a model of clips, the ``Temporal`` layer; None for pictures.
        name: name of the model.

    Attributes:
        encoder: functional model, images [B,H,W,3] float 0..255 -> image_features [B,N,C].
        decoder: functional model, image_features and token_ids -> logits.
        tokenizer: the tokenizer.
    """

    def __init__(self, encoder, text_decoder, tokenizer, *, temporal=None, name="captioner"):
        text_decoder.vocabulary_size = tokenizer.vocabulary_size
        text_decoder.tokens_vary = bool(getattr(encoder, "region_shapes", ()))
        pictures = picture_inputs(encoder, self.picture_key)
        token_ids = keras.Input((None, tokenizer.max_length - 1), dtype="int32", name="token_ids")
        features = keras.Input(encoder.output_shape[1:], name=self.features_key)
        memory = features if temporal is None else temporal(features)
        decoder = keras.Model(
            {self.features_key: features, "token_ids": token_ids},
            text_decoder(memory, token_ids),
            name="decoder",
        )
        encoded = encode(encoder, pictures, key=self.picture_key)
        outputs = decoder({self.features_key: encoded, "token_ids": token_ids})
        super().__init__({**pictures, "token_ids": token_ids}, outputs, name=name)
        self.temporal = temporal
        self.encoder = encoder
        self.decoder = decoder
        self.text_decoder = text_decoder
        self.tokenizer = tokenizer
        self.objective = None
        self._writer = TextWriter(
            lambda images: self.remember(encoder(images, training=False)), text_decoder, tokenizer
        )

    def read_features(self, inputs, training=None):
        """Runs captions, teacher forced, on image_features."""
        return self.decoder(inputs, training=training)

    def batches(self, examples, batch_size=32, **options):
        """Makes batches of a data split for ``fit``; see ``PictureTextModel.batches``.

        Args:
            examples: a data split.
            batch_size: pictures a batch.
            **options: as for ``PictureTextModel.batches``.

        Returns:
            A ``tf.data.Dataset`` of ``(inputs, targets)``.

        Raises:
            ValueError: an option is unknown, or the captions lack their stop words or endings: the
                model would learn to write so.
        """
        check_whole(examples)
        return super().batches(examples, batch_size, **options)

    def fit(self, x=None, y=None, *, shuffle=False, objective=None, **kwargs):
        """As ``keras.Model.fit``, with an objective that may take the loss's place.

        Args:
            x: what to learn from, usually of ``batches``.
            y: targets, where ``x`` has none.
            shuffle: as for ``keras.Model.fit``; ``batches`` has shuffled already.
            objective: None, or a function ``(captioner, image_features, targets) -> (surrogate,
                reported)`` such as ``SelfCritical`` or ``TeacherForcing``: a step follows the
                gradient of the surrogate and reports the other under the name that the attribute
                ``reports`` has, else as the reward. Only what it compiles itself runs under XLA.
                Validation stays with the loss.
            **kwargs: as for ``keras.Model.fit``.

        Returns:
            A ``keras.callbacks.History``.
        """
        compiled = self.jit_compile
        if objective is not None:
            self.objective, self.jit_compile, self.train_function = objective, False, None
        try:
            return super().fit(x, y, shuffle=shuffle, **kwargs)
        finally:
            if objective is not None:
                self.objective, self.jit_compile, self.train_function = None, compiled, None

    def train_step(self, data):
        """Takes one step; without XLA, logits are computed for real words only.

        Raises:
            ValueError: examples are weighed, and there is an objective.
        """
        inputs, targets, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        if self.objective is not None and sample_weight is not None:
            raise ValueError(
                "fit: sample weights must be left out with an objective, which weighs all examples "
                "alike. Remove them, or the objective."
            )
        if self.jit_compile or sample_weight is not None:
            return super().train_step(data)
        with tf.GradientTape() as tape:
            features = self._features(inputs, training=True)
            if self.objective is None:
                words, logits = self._real_words(features, inputs, targets, training=True)
                loss = reported = self.compute_loss(inputs, words, logits, training=True)
            else:
                loss, reported = self.objective(self, features, targets)
            scaled = self.optimizer.scale_loss(loss)
        self._loss_tracker.update_state(reported, sample_weight=tf.shape(targets)[0])
        weights = self.trainable_weights
        self.optimizer.apply_gradients(zip(tape.gradient(scaled, weights), weights, strict=True))
        if self.objective is not None:
            name = getattr(self.objective, "reports", "reward")
            return {name: self._loss_tracker.result()}
        return self.compute_metrics(inputs, words, logits)

    def test_step(self, data):
        """Scores one batch; without XLA, logits are computed for real words only."""
        inputs, targets, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        if self.jit_compile or sample_weight is not None:
            return super().test_step(data)
        features = self._features(inputs, training=False)
        words, logits = self._real_words(features, inputs, targets, training=False)
        loss = self.compute_loss(inputs, words, logits, training=False)
        self._loss_tracker.update_state(loss, sample_weight=tf.shape(targets)[0])
        return self.compute_metrics(inputs, words, logits)

    def _features(self, inputs, training):
        if self.features_key in inputs:
            features = inputs[self.features_key]
        else:
            features = encode(self.encoder, inputs, training=training, key=self.picture_key)
        return self.remember(features, training=training)

    def _real_words(self, features, inputs, targets, training):
        """Returns the targets [M] that are words and their logits [M,V]."""
        real = tf.not_equal(targets, PAD_ID)
        logits = self.text_decoder(
            features, inputs["token_ids"], real_words=real, training=training
        )
        return tf.boolean_mask(targets, real), logits

    def get_config(self):
        """Returns the constructor's arguments, for Keras's saving."""
        serialize = keras.saving.serialize_keras_object
        return {
            "encoder": serialize(self.encoder),
            "text_decoder": serialize_unbuilt(self.text_decoder),
            "tokenizer": serialize(self.tokenizer),
            **({} if self.temporal is None else {"temporal": serialize_unbuilt(self.temporal)}),
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config):
        """Makes the model that ``get_config`` described."""
        parts = [part for part in config if part != "name"]
        made = {part: keras.saving.deserialize_keras_object(config[part]) for part in parts}
        return cls(**made, name=config["name"])
