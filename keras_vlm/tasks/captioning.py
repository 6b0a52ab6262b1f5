"""Image captioning: ``build_captioner`` and the ``Captioner`` it returns.

Refuses to know files of captions, scores and servers. Dimension letters: B batch, H height, W
width, N picture tokens, C their width, K captions a picture, T text positions, V vocabulary.
"""

import keras
import tensorflow as tf

from keras_vlm.core.checks import check_choice, check_number, resolve
from keras_vlm.data.feature_cache import FeatureCache
from keras_vlm.data.pipeline import EpochSeed, feature_batches, image_batches
from keras_vlm.fusion import FUSIONS
from keras_vlm.fusion.base import Fusion
from keras_vlm.losses import MaskedCrossEntropy
from keras_vlm.tasks.generation import CaptionMixin, TextWriter
from keras_vlm.text import TEXT_DECODERS, Tokenizer
from keras_vlm.text.decoder import TextDecoder, fresh_copy
from keras_vlm.text.tokenizer import PAD_ID
from keras_vlm.vision.augmentation import AUGMENTATIONS, Augmentation
from keras_vlm.vision.backbones import resolve_backbone

PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")


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
            ``Backbone``, or any Keras model from images [B,H,W,3] in 0..255 to [B,h,w,C] or
            [B,N,C].
        tokenizer: a ``Tokenizer``, usually ``Tokenizer.fit(data["train"])``.
        text: ``"lstm"``, ``"transformer"`` or a decoder of your own measures, such as
            ``LSTMDecoder(AdditiveFusion(256), hidden_dim=512)``.
        fusion: ``"attention"`` (multi-head, the default), ``"additive"``, ``"dot_product"``,
            ``"concat"`` or a ``Fusion``; not with a decoder object, which has its own.
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
    if not isinstance(tokenizer, Tokenizer):
        raise TypeError(
            f"{where}: tokenizer must be a Tokenizer, got {tokenizer!r}. "
            "Make one with Tokenizer.fit(data['train'])."
        )
    if isinstance(text, TextDecoder) and fusion is not None:
        raise ValueError(
            f"{where}: fusion must be None with a decoder object, which has one, got {fusion!r}."
        )

    policy = keras.DTypePolicy(precision)
    encoder = resolve_backbone(backbone, image_size, dtype=policy)
    decoder = text
    if not isinstance(text, TextDecoder):
        check_choice(where, "text", text, TEXT_DECODERS)
        makers = {
            name: (lambda kind=kind: kind(dtype=policy)) for name, kind in FUSIONS.items()
        }
        fused = resolve(where, "fusion", fusion or "attention", makers, Fusion)
        decoder = TEXT_DECODERS[text](fused, dtype=policy)

    captioner = Captioner(encoder, decoder, tokenizer)
    if optimizer == "adamw":
        optimizer = keras.optimizers.AdamW(1e-3, weight_decay=0.01, clipnorm=5.0)
    optimizer = keras.optimizers.get(optimizer)
    scaled = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    if decoder.compute_dtype == "float16" and not scaled:
        # Keras would look at the policy of the whole model, which casts nothing itself.
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    captioner.compile(
        optimizer=optimizer,
        loss=MaskedCrossEntropy(label_smoothing),
        jit_compile="auto",
    )
    return captioner


@keras.saving.register_keras_serializable("keras_vlm")
class Captioner(CaptionMixin, keras.Model):
    """A functional model ``{"images": [B,H,W,3], "token_ids": [B,K,T]} -> logits [B,K,T,V]``.

    It also takes ``image_features`` [B,N,C] in place of ``images``: what a feature cache gives.
    Make one with ``build_captioner``.

    Args:
        encoder: a backbone from images to features.
        text_decoder: a ``TextDecoder``; its vocabulary size becomes the tokenizer's.
        tokenizer: a ``Tokenizer``.
        name: name of the model.

    Attributes:
        encoder: functional model, images [B,H,W,3] float 0..255 -> image_features [B,N,C].
        decoder: functional model, image_features and token_ids -> logits.
        tokenizer: the tokenizer.
    """

    def __init__(self, encoder, text_decoder, tokenizer, *, name="captioner"):
        text_decoder.vocabulary_size = tokenizer.vocabulary_size
        images = keras.Input(encoder.input_shape[1:], name="images")
        token_ids = keras.Input((None, tokenizer.max_length - 1), dtype="int32", name="token_ids")
        features = keras.Input(encoder.output_shape[1:], name="image_features")
        decoder = keras.Model(
            {"image_features": features, "token_ids": token_ids},
            text_decoder(features, token_ids),
            name="decoder",
        )
        outputs = decoder({"image_features": encoder(images), "token_ids": token_ids})
        super().__init__({"images": images, "token_ids": token_ids}, outputs, name=name)
        self.encoder = encoder
        self.decoder = decoder
        self.text_decoder = text_decoder
        self.tokenizer = tokenizer
        self.objective = None
        self._writer = TextWriter(encoder, text_decoder, tokenizer)

    @property
    def input_spec(self):
        """None: the model takes images or image_features, and ``call`` tells them apart."""
        return None

    def call(self, inputs, training=None, mask=None):
        """Runs captions, teacher forced, on images or on image_features."""
        if "image_features" in inputs:
            return self.decoder(inputs, training=training)
        return super().call(inputs, training=training, mask=mask)

    def fit(self, x=None, y=None, *, shuffle=False, objective=None, **kwargs):
        """As ``keras.Model.fit``, with an objective that may take the loss's place.

        Args:
            x: what to learn from, usually of ``batches``.
            y: targets, where ``x`` has none.
            shuffle: as for ``keras.Model.fit``; ``batches`` has shuffled already.
            objective: None, or a function ``(captioner, image_features, targets) -> (surrogate,
                reward)`` such as ``SelfCritical``: a step follows the gradient of the surrogate and
                reports the reward. It runs without XLA. Validation stays with the loss.
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
        """Takes one step; without XLA, logits are computed for real words only."""
        inputs, targets, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
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
            return {"reward": self._loss_tracker.result()}
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
        if "image_features" in inputs:
            return inputs["image_features"]
        return self.encoder(inputs["images"], training=training)

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
            "text_decoder": serialize(fresh_copy(self.text_decoder)),
            "tokenizer": serialize(self.tokenizer),
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config):
        """Makes the model that ``get_config`` described."""
        parts = ("encoder", "text_decoder", "tokenizer")
        made = {part: keras.saving.deserialize_keras_object(config[part]) for part in parts}
        return cls(**made, name=config["name"])

    def save_own_variables(self, store):
        """Saves the state of dropout too, so that a resumed run draws what the killed one would."""
        super().save_own_variables(store)
        for i, state in enumerate(self._random_states()):
            store[f"random_state_{i}"] = state.numpy()

    def load_own_variables(self, store):
        """Restores what ``save_own_variables`` saved."""
        for i, state in enumerate(self._random_states()):
            if f"random_state_{i}" in store:
                state.assign(store[f"random_state_{i}"])

    def _random_states(self):
        trained = {id(variable) for variable in self.weights}
        return [variable for variable in self.variables if id(variable) not in trained]

    def batches(
        self,
        examples,
        batch_size=32,
        *,
        shuffle=None,
        augment=None,
        cache=None,
        captions_per_image=5,
        seed=0,
    ):
        """Makes batches of a data split for ``fit``.

        Args:
            examples: a data split, such as ``load_data(...)["train"]``.
            batch_size: pictures a batch; each comes with its captions.
            shuffle: whether to shuffle; None shuffles the split named ``train``. The order depends
                on the seed and the optimizer's step count alone, so that a resumed run sees the
                same batches: call this after ``compile``.
            augment: None, True (``"standard"``), a name or an ``Augmentation``; ``"flip"`` is the
                one that a cache can give. A mirrored picture's captions swap left and right.
            cache: a folder in which a frozen backbone's features are kept, or None to run the
                backbone anew each epoch.
            captions_per_image: K.
            seed: the run's seed.

        Returns:
            A ``tf.data.Dataset`` of ``(inputs, targets)``.

        Raises:
            ValueError: an option is unknown, or a cache is asked for with an augmentation that
                it cannot give or a backbone that is not frozen.
        """
        if shuffle is None:
            shuffle = examples.split == "train"
        # The variable itself: with gradient accumulation, `iterations` is a number made of it.
        optimizer = getattr(self.optimizer, "inner_optimizer", self.optimizer)
        epoch_seed = EpochSeed(seed, optimizer._iterations) if shuffle else None
        options = {"captions_per_image": captions_per_image, "epoch_seed": epoch_seed}
        augment = {True: "standard", False: None}.get(augment, augment)
        if cache is None:
            if augment is not None:
                makers = {name: (lambda row=row: row) for name, row in AUGMENTATIONS.items()}
                augment = resolve("batches", "augment", augment, makers, Augmentation)
            return image_batches(
                examples,
                self.tokenizer,
                batch_size,
                image_size=self.image_size,
                resize=self.resize,
                augmentation=augment,
                **options,
            )
        if augment not in (None, "flip"):
            raise ValueError(
                f"batches: augment must be None or 'flip' with a cache, got {augment!r}. "
                "Other augmentations differ each time: leave the cache out."
            )
        mirrors = (False, True) if augment else (False,)
        caches = [
            FeatureCache(cache, self.encoder, resize=self.resize, mirror=mirror)
            for mirror in mirrors
        ]
        return feature_batches(examples, self.tokenizer, batch_size, caches=caches, **options)
