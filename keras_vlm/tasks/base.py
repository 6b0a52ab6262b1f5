"""What the models of all tasks over pictures and words share.

Refuses to know any one task. Dimension letters: B batch, H height, W width, N picture tokens, C
their width, K captions a picture, T text positions.
"""

import keras

from keras_vlm.core.checks import resolve
from keras_vlm.data.feature_cache import FeatureCache
from keras_vlm.data.pipeline import EpochSeed, feature_batches, image_batches
from keras_vlm.text.tokenizer import PAD_ID
from keras_vlm.vision.augmentation import AUGMENTATIONS, Augmentation
from keras_vlm.vision.backbones import Backbone
from keras_vlm.vision.input_statistics import finalize_normalization

PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")


class PictureTextModel(keras.Model):
    """Abstract: a functional model of pictures and words with an ``encoder`` and a ``tokenizer``.

    It takes ``image_features`` [B,N,C] in place of ``images`` [B,H,W,3]: what a feature cache
    gives. A subclass sets ``encoder`` and ``tokenizer`` and implements ``read_features``. Models of
    clips have other names for these inputs, and a ``temporal`` layer between features and words.
    """

    picture_key, features_key = "images", "image_features"
    temporal = None

    @property
    def image_size(self):
        """Height and width in pixels that the encoder takes."""
        taken = self.encoder.input
        return tuple((taken["images"] if isinstance(taken, dict) else taken).shape[1:3])

    @property
    def region_shapes(self):
        """The inputs that the encoder takes beside images: a dict from name to shape."""
        return getattr(self.encoder, "region_shapes", {})

    @property
    def resize(self):
        """How pictures of another size are brought to ``image_size``, as in ``vision.image``."""
        return getattr(self.encoder, "resize", "stretch")

    def at_image_size(self, image_size):
        """Returns a copy that looks at pictures of another size, with the same weights.

        Somewhat larger than in training can be better, where training saw enlarged crops: try it
        on a validation split. For captioners, retrievers and re-rankers; the optimizer of a
        compiled copy begins anew.

        Args:
            image_size: side in pixels, or ``(H, W)``.

        Returns:
            A model of the same class, compiled if this one is.

        Raises:
            TypeError: the encoder is no plain ``Backbone``: regions and clips stay at their size.
            ValueError: the backbone takes no such size, or the model has a weight for each place
                of the picture, as those that answer questions have.

        Source:
            Touvron et al. 2019, "Fixing the train-test resolution discrepancy",
            https://arxiv.org/abs/1906.06423.
        """
        if not isinstance(self.encoder, Backbone):
            raise TypeError(
                "at_image_size: the model's encoder must be a Backbone alone, got "
                f"{type(self.encoder).__name__}. Build it at the size that you want."
            )
        config = self.get_config()
        config["encoder"]["config"]["image_size"] = image_size
        copy = type(self).from_config(config)
        for ours, theirs in zip(self.weights, copy.weights, strict=True):
            if ours.shape != theirs.shape:
                raise ValueError(
                    f"at_image_size: {ours.path} must not depend on the number of picture tokens, "
                    f"got {tuple(ours.shape)}, {tuple(theirs.shape)} at {image_size!r}. Train the "
                    "model at that size."
                )
        return self.fill_copy(copy, self.get_weights())

    def fill_copy(self, copy, weights):
        """Gives a copy that was just made its weights; compiles and returns it as this one is."""
        copy.set_weights(weights)
        finalize_normalization(copy)
        if self.compiled:
            copy.compile_from_config(self.get_compile_config())
        return copy

    @property
    def input_spec(self):
        """None: the model takes images or image_features, and ``call`` tells them apart."""
        return None

    def call(self, inputs, training=None, mask=None):
        """Runs the model on images or on image_features."""
        if self.features_key in inputs:
            return self.read_features(inputs, training=training)
        return super().call(inputs, training=training, mask=mask)

    def read_features(self, inputs, training=None):
        """Runs what comes after the encoder, on ``image_features`` and the other inputs."""
        raise NotImplementedError

    @property
    def picture_encoder(self):
        """The backbone, whose features of a picture a cache keeps."""
        return self.encoder

    def remember(self, features, training=False):
        """Returns what words look at, given the encoder's features: these, or a clip's memory."""
        return features if self.temporal is None else self.temporal(features, training=training)

    def save(self, filepath, overwrite=True, **kwargs):
        """Saves the model, as ``keras.Model.save``; also one that has not taken a step yet."""
        # A model that is saved with half an optimizer could not be loaded.
        optimizer = getattr(self, "optimizer", None)
        if optimizer is not None and not optimizer.built:
            optimizer.build(self.trainable_variables)
        super().save(filepath, overwrite=overwrite, **kwargs)

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
        epoch_seed, augmentation, caches = self.reading(
            examples, shuffle=shuffle, augment=augment, cache=cache, seed=seed
        )
        options = {"captions_per_image": captions_per_image, "epoch_seed": epoch_seed}
        if caches:
            return feature_batches(examples, self.tokenizer, batch_size, caches=caches, **options)
        return image_batches(
            examples,
            self.tokenizer,
            batch_size,
            image_size=self.image_size,
            resize=self.resize,
            augmentation=augmentation,
            region_shapes=self.region_shapes,
            **options,
        )

    def reading(self, examples, *, shuffle=None, augment=None, cache=None, seed=0):
        """Turns the options of ``batches`` into what a pipeline reads pictures by.

        Args:
            examples: as for ``batches``.
            shuffle: as for ``batches``.
            augment: as for ``batches``.
            cache: as for ``batches``.
            seed: as for ``batches``.

        Returns:
            ``(epoch_seed, augmentation, caches)``: an ``EpochSeed`` or None; an ``Augmentation`` or
            None; a list of a ``FeatureCache`` a view of the pictures, empty without a cache.

        Raises:
            ValueError: as for ``batches``.
        """
        if shuffle is None:
            shuffle = examples.split == "train"
        # The variable itself: with gradient accumulation, `iterations` is a number made of it.
        optimizer = getattr(self.optimizer, "inner_optimizer", self.optimizer)
        epoch_seed = EpochSeed(seed, optimizer._iterations) if shuffle else None
        augment = {True: "standard", False: None}.get(augment, augment)
        if cache is None:
            if augment is not None:
                makers = {name: (lambda row=row: row) for name, row in AUGMENTATIONS.items()}
                augment = resolve("batches", "augment", augment, makers, Augmentation)
            return epoch_seed, augment, []
        if augment not in (None, "flip"):
            raise ValueError(
                f"batches: augment must be None or 'flip' with a cache, got {augment!r}. "
                "Other augmentations differ each time: leave the cache out."
            )
        mirrors = (False, True) if augment else (False,)
        caches = [
            FeatureCache(cache, self.picture_encoder, resize=self.resize, mirror=mirror)
            for mirror in mirrors
        ]
        return epoch_seed, None, caches


def picture_inputs(encoder, key="images"):
    """Returns the symbolic inputs of an encoder, a dict by name: ``images`` and perhaps regions.

    Args:
        encoder: a model from images, or from a dict of images and regions, to image_features.
        key: the name where there is one input: that of a model of clips is ``"frames"``.
    """
    taken = encoder.input if isinstance(encoder.input, dict) else {key: encoder.input}
    return {
        name: keras.Input(tensor.shape[1:], dtype=tensor.dtype, name=name)
        for name, tensor in taken.items()
    }


def encode(encoder, inputs, training=None, key="images"):
    """Runs an encoder on those of a model's inputs that it takes.

    Args:
        encoder: as for ``picture_inputs``.
        inputs: dict of a model's inputs.
        training: whether dropout is on.
        key: as for ``picture_inputs``.

    Returns:
        image_features [B,N,C].
    """
    if isinstance(encoder.input, dict):
        return encoder({name: inputs[name] for name in encoder.input}, training=training)
    return encoder(inputs[key], training=training)


class PairModel(PictureTextModel):
    """Abstract: a model whose outputs are scores [B,B,K] of all pictures with all captions.

    Picture i is on the first axis, caption k of picture j on the others, as ``losses.PairLoss``
    takes them.
    """

    def batches(self, examples, batch_size=128, **options):
        """Makes batches of a data split for ``fit``; see ``PictureTextModel.batches``.

        Args:
            examples: a data split.
            batch_size: pictures a batch; the more, the harder the question.
            **options: as for ``PictureTextModel.batches``.

        Returns:
            A ``tf.data.Dataset`` of ``(inputs, real [B,K] bool)``, True where there is a caption.
        """
        batches = super().batches(examples, batch_size, **options)
        return batches.map(lambda inputs, targets: (inputs, targets[..., 0] != PAD_ID))

    def fit(self, x=None, y=None, *, shuffle=False, **kwargs):
        """As ``keras.Model.fit``; ``batches`` has shuffled already."""
        return super().fit(x, y, shuffle=shuffle, **kwargs)


def check_reads(where, tokenizer):
    """Raises unless a tokenizer reads text in the graph, as a model that is asked things must.

    Args:
        where: name of the builder.
        tokenizer: a ``Tokenizer``.

    Raises:
        ValueError: it does not.
    """
    if not tokenizer.in_graph:
        raise ValueError(
            f"{where}: tokenizer must read text in the graph, got the unit {tokenizer.unit!r}. Use "
            "'character' or 'piece'."
        )


def makers_of(table, policy):
    """Returns the table that ``core.checks.resolve`` takes, of layers of one precision.

    Args:
        table: dict from a name to a class of layers.
        policy: Keras dtype policy.

    Returns:
        A dict from a name to a function without arguments that makes the layer.
    """
    return {name: (lambda kind=kind: kind(dtype=policy)) for name, kind in table.items()}


def resolve_optimizer(optimizer, compute_dtype):
    """Turns ``"adamw"``, another Keras name or an optimizer into one that fits the precision.

    Args:
        optimizer: a Keras optimizer or its name; ``"adamw"`` means a learning rate of 1e-3.
        compute_dtype: what the model's layers compute in.

    Returns:
        A Keras optimizer, which scales the loss where that is needed.
    """
    if optimizer == "adamw":
        optimizer = keras.optimizers.AdamW(1e-3, weight_decay=0.01, clipnorm=5.0)
    optimizer = keras.optimizers.get(optimizer)
    scaled = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    if compute_dtype == "float16" and not scaled:
        # Keras would look at the policy of the whole model, which casts nothing itself.
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    return optimizer
