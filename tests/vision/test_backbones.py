"""Every backbone against its own module of keras.applications, and the promises about freezing."""

import json
import re
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from contracts import few
from keras import applications
from keras.src.utils import file_utils

from keras_vlm.vision.backbones import (
    BACKBONES,
    OWN,
    SCALINGS,
    Backbone,
    InputScaling,
    resolve_backbone,
)

# One of each kind of input scaling and more; the others take minutes and gigabytes together.
FAST = {
    "conv_small", "efficientnet_lite0", "vgg16", "efficientnet_b0", "resnet50", "densenet121",
    "mobilenet_v2", "convnext_tiny",
}  # fmt: skip
ROWS = few(BACKBONES, *FAST)
NEXT_PRIMES = {8: 11, 32: 37, 71: 73, 75: 79}


def some_images(count, height, width, seed=0):
    random = np.random.default_rng(seed)
    return random.uniform(0, 255, (count, height, width, 3)).astype(np.float32)


def keras_preprocess(name, images):
    """What a family's own module does; for our two networks, the formula."""
    if name == "conv_small":
        return (images - 127.5) / 127.5
    if name == "efficientnet_lite0":
        return (images - 127) / 128
    module = sys.modules[BACKBONES[name].make.__module__]
    return module.preprocess_input(images.copy())


def small(**options):
    return Backbone("conv_small", **{"image_size": 16, "weights": None, **options})


def randomize(model, seed=0):
    """Makes random, besides the filters, what scales; shifts would drown the pictures."""
    random = np.random.default_rng(seed)
    for weight in model.weights:
        if weight.name in {"moving_variance", "variance", "gamma"}:
            weight.assign(random.uniform(0.5, 1.5, weight.shape))
        elif weight.name == "mean":
            weight.assign(random.normal(0, 0.1, weight.shape))
    for layer in (model.network if isinstance(model, Backbone) else model).layers:
        if isinstance(layer, keras.layers.Normalization) and layer.weights:
            layer.finalize_state()
    return model


def check_that_features_differ(features):
    """Two pictures' features differ, by far more than rounding; or tests would say nothing."""
    assert np.abs(features[0] - features[1]).max() > 0.01 * np.abs(features).max()


# The table


def test_every_image_model_of_keras_has_a_row():
    theirs = {
        value for name, value in vars(applications).items() if name[0].isupper() and callable(value)
    }
    ours = {row.make for name, row in BACKBONES.items() if name not in OWN}
    assert len(theirs) > 35
    assert {make.__name__ for make in theirs} == {make.__name__ for make in ours}


@pytest.mark.parametrize("name", BACKBONES)
def test_scaling_is_the_familys_own(name):
    images = some_images(2, 5, 7)
    scaling = BACKBONES[name].scaling
    scaled = images if scaling == "built_in" else InputScaling(scaling)(images)
    np.testing.assert_allclose(scaled, keras_preprocess(name, images), atol=1e-4)


@pytest.mark.parametrize(
    ("scaling", "expected"),
    [
        ("caffe", [30 - 103.939, 20 - 116.779, 10 - 123.68]),
        ("tf", [10 / 127.5 - 1, 20 / 127.5 - 1, 30 / 127.5 - 1]),
        (
            "torch",
            [(10 / 255 - 0.485) / 0.229, (20 / 255 - 0.456) / 0.224, (30 / 255 - 0.406) / 0.225],
        ),
        ("lite", [-117 / 128, -107 / 128, -97 / 128]),
    ],
)
def test_scaling_of_one_pixel(scaling, expected):
    layer = InputScaling.from_config(InputScaling(scaling).get_config())
    scaled = layer(np.float32([[[[10, 20, 30]]]]))
    np.testing.assert_allclose(np.ravel(scaled), expected, rtol=1e-5)
    assert set(SCALINGS) == {"built_in", "caffe", "tf", "torch", "lite"}


@pytest.mark.parametrize("name", BACKBONES)
def test_too_small_pictures_are_refused_before_building(name):
    minimum = BACKBONES[name].minimum_size
    message = f"image_size must be at least {minimum} pixels a side for {name}, got "
    for size in (minimum - 1, (minimum, minimum - 1), (64.5, 64), (224,), (99, 99, 3), None, "224"):
        with pytest.raises(ValueError, match=re.escape(f"{message}{size!r}.")):
            Backbone(name, image_size=size, weights=None)


# Each backbone: one build serves several tests.


@pytest.fixture(scope="module", params=ROWS)
def backbone(request):
    keras.utils.set_random_seed(0)
    minimum = BACKBONES[request.param].minimum_size
    # The smallest picture that is promised to do, and a side that no stride divides.
    made = Backbone(request.param, image_size=(minimum, NEXT_PRIMES[minimum]), weights=None)
    yield made
    del made
    keras.backend.clear_session()


def test_features_are_the_networks(backbone):
    images = some_images(2, *backbone.input_shape[1:3])
    features = backbone(images)
    (height, width), channels = backbone.grid_size, backbone.network.output_shape[-1]
    assert backbone.output_shape == (None, height * width, channels)
    assert features.shape == (2, height * width, channels)
    assert features.dtype == tf.float32
    assert np.isfinite(features).all()
    check_that_features_differ(features)
    # Row after row of the grid, from what the family's own scaling gives.
    scaled = keras_preprocess(backbone.architecture, images)
    grid = backbone.network(scaled, training=False).numpy().reshape(features.shape)
    tolerance = 1e-4 * np.abs(grid).max()
    np.testing.assert_allclose(features, grid, atol=tolerance)
    # A picture does not care for its neighbours. The batch keeps its size: some of the deep ones,
    # with random weights, make the whole picture of a rounding error.
    images[0] = 255 - images[0]
    np.testing.assert_allclose(backbone(images)[1], features[1], atol=tolerance)


def test_frozen_is_inference_mode(backbone):
    assert backbone.frozen
    assert backbone.trainable_weights == []
    images = some_images(2, *backbone.input_shape[1:3], seed=1)
    before = [np.copy(weight) for weight in backbone.get_weights()]
    features = backbone(images, training=False)
    np.testing.assert_array_equal(backbone(images, training=True), features)
    for old, new in zip(before, backbone.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)


def test_a_network_that_scales_for_itself(backbone):
    """Rows without a scaling of ours: what the network's first layers give is about -3 to 3."""
    kinds = (keras.layers.Rescaling, keras.layers.Normalization)
    scalers = [layer for layer in backbone.network.layers if isinstance(layer, kinds)]
    assert bool(scalers) == (BACKBONES[backbone.architecture].scaling == "built_in")
    if scalers:
        shape = (1, *backbone.input_shape[1:])
        scale = keras.Model(backbone.network.input, scalers[-1].output)
        dark, bright = scale(np.zeros(shape)), scale(np.full(shape, 255.0))
        assert -3 <= np.min(dark) <= 0
        assert 1 <= np.max(bright) - np.max(dark) <= 5


@pytest.mark.slow
def test_every_backbone_is_saved_and_loaded(backbone, tmp_path):
    check_saving(backbone, tmp_path)


def test_tokens_run_along_the_rows_of_the_grid():
    backbone = small(image_size=(23, 37))
    assert backbone.grid_size == (3, 5)
    assert backbone.output_shape == (None, 15, 128)
    images = some_images(2, 23, 37)
    features = backbone(images).numpy()
    grid = backbone.network(keras_preprocess("conv_small", images)).numpy()
    for token in range(15):
        np.testing.assert_allclose(features[:, token], grid[:, token // 5, token % 5], rtol=1e-4)


# Saving


def check_saving(backbone, folder):
    randomize(backbone)
    backbone.save(folder / "backbone.keras")
    again = keras.saving.load_model(folder / "backbone.keras")
    assert type(again) is Backbone
    assert again.get_config() == backbone.get_config()
    assert again.fingerprint() == backbone.fingerprint()
    names = [weight.path for weight in backbone.trainable_weights]
    assert [weight.path for weight in again.trainable_weights] == names
    images = some_images(2, *backbone.input_shape[1:3])
    features = keras.ops.convert_to_numpy(backbone(images)).astype(np.float32)
    check_that_features_differ(features)
    np.testing.assert_array_equal(again(images), features)


@pytest.mark.parametrize(
    ("architecture", "options"),
    [
        ("conv_small", {"image_size": (11, 13), "trainable_from": "all", "resize": "pad"}),
        ("conv_small", {"image_size": 16, "dtype": "mixed_bfloat16", "name": "eye"}),
        ("efficientnet_lite0", {"image_size": 37, "trainable_from": "block14_expand"}),
        ("mobilenet_v2", {"image_size": 37, "trainable_from": "block_15_expand"}),
        ("convnext_tiny", {"image_size": 37}),
    ],
)
def test_saved_and_loaded(architecture, options, tmp_path):
    check_saving(Backbone(architecture, weights=None, **options), tmp_path)


def test_the_config_is_json_and_makes_the_same():
    backbone = small(
        image_size=(11, 13), trainable_from="conv2", resize="crop", dtype="mixed_bfloat16", name="a"
    )
    config = json.loads(json.dumps(backbone.get_config()))
    again = Backbone.from_config(dict(config))
    assert again.get_config() == config
    assert again.input_shape == (None, 11, 13, 3)
    assert (again.trainable_from, again.resize, again.name) == ("conv2", "crop", "a")
    assert again.network.get_layer("conv0").compute_dtype == "bfloat16"
    assert again.fingerprint() != backbone.fingerprint()
    again.set_weights(backbone.get_weights())
    assert again.fingerprint() == backbone.fingerprint()


@pytest.mark.parametrize("architecture", ["conv_small", "efficientnet_lite0", "mobilenet"])
def test_the_dtype_reaches_every_layer(architecture):
    backbone = Backbone(architecture, image_size=32, weights=None, dtype="mixed_bfloat16")
    assert backbone(some_images(1, 32, 32)).dtype == tf.bfloat16
    layers = [*backbone.layers, *backbone.network.layers]
    layers.remove(backbone.network)
    policies = {layer.dtype_policy.name for layer in layers if layer.weights}
    assert policies == {"mixed_bfloat16"}
    assert all(weight.dtype == "float32" for weight in backbone.weights)
    assert keras.config.dtype_policy().name == "float32"


def test_the_fingerprint_follows_what_changes_features():
    backbone = small()
    first = backbone.fingerprint()
    assert re.fullmatch(r"conv_small-[0-9a-f]{16}", first)
    assert backbone.fingerprint() == first
    seen = {first, small().fingerprint()}
    for size in ((16, 8), (8, 16), (17, 16)):
        other = small(image_size=size)
        other.set_weights(backbone.get_weights())
        seen.add(other.fingerprint())
    for weight in backbone.weights:
        value = weight.numpy()
        value.flat[-1] += 1e-3
        weight.assign(value)
        seen.add(backbone.fingerprint())
    assert len(seen) == 5 + len(backbone.weights)


# Freezing


@pytest.mark.parametrize("trainable_from", ["conv2", "norm1"])
def test_what_comes_before_the_layer_does_not_learn(trainable_from):
    backbone = randomize(small(trainable_from=trainable_from))
    images = some_images(5, 16, 16)
    names = [layer.name for layer in backbone.network.layers]
    later = set(names[names.index(trainable_from) :])
    assert {weight.path.split("/")[0] for weight in backbone.trainable_weights} == {
        name for name in later if name.startswith("conv")
    }
    assert not backbone.frozen
    before = {weight.path: weight.numpy() for weight in backbone.weights}
    with tf.GradientTape() as tape:
        loss = keras.ops.mean(backbone(images, training=True) ** 2)
    variables = [weight.value for weight in backbone.trainable_weights]
    for weight, gradient in zip(variables, tape.gradient(loss, variables), strict=True):
        assert np.abs(gradient).max() > 0, weight.path
    # The statistics of the pretraining data stay, after the layer too: they are what is used.
    for weight in backbone.weights:
        assert np.array_equal(weight, before[weight.path]), weight.path
    np.testing.assert_array_equal(
        backbone(images, training=True), backbone(images, training=False)
    )


def test_the_frozen_part_of_a_network_with_dropout():
    """EfficientNet drops whole blocks in training: not those that are frozen."""
    first = "block5b_expand_conv"
    backbone = Backbone("efficientnet_b0", image_size=37, weights=None, trainable_from=first)
    network = randomize(backbone.network)
    names = [layer.name for layer in network.layers]
    rates = {
        layer.name: layer.rate
        for layer in network.layers
        if isinstance(layer, keras.layers.Dropout)
    }
    early = {name for name in rates if names.index(name) < names.index(first)}
    assert 4 <= len(early) < len(rates)
    assert all((rate == 0) == (name in early) for name, rate in rates.items())
    before = network.get_weights()
    frozen = keras.Model(network.input, network.layers[names.index(first) - 1].output)
    images = some_images(3, 37, 37)
    expected = frozen(images, training=False)
    assert np.ptp(expected) > 0
    np.testing.assert_array_equal(frozen(images, training=True), expected)
    for old, new in zip(before, network.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)
    outputs = [backbone(images, training=True).numpy() for _ in range(3)]
    assert np.ptp(outputs, axis=0).max() > 0


def test_all_learns():
    backbone = small(trainable_from="all")
    assert len(backbone.trainable_weights) == 12
    assert not backbone.frozen
    before = backbone.network.get_layer("norm0").get_weights()
    backbone(some_images(3, 16, 16), training=True)
    after = backbone.network.get_layer("norm0").get_weights()
    assert not np.array_equal(before[2], after[2])


def test_training_moves_what_learns_and_nothing_else():
    backbone = small(trainable_from="conv3")
    outputs = keras.layers.Dense(2)(keras.layers.GlobalAveragePooling1D()(backbone.output))
    model = keras.Model(backbone.input, outputs)
    before = {weight.path: weight.numpy() for weight in backbone.weights}
    model.compile("sgd", "mse")
    model.fit(some_images(7, 16, 16), np.ones((7, 2)), epochs=2, verbose=0)
    for weight in backbone.weights:
        moved = not np.array_equal(weight, before[weight.path])
        assert moved == weight.path.startswith("conv3"), weight.path


def test_a_thawed_copy_has_the_weights_and_learns_elsewhere():
    backbone = randomize(small(trainable_from=None, resize="crop"))
    images = some_images(3, 16, 16)
    for trainable_from, learning in ((None, 0), ("conv3", 1), ("conv2", 2), ("all", 12)):
        copy = backbone.thawed(trainable_from)
        assert copy.trainable_from == trainable_from
        assert len(copy.trainable_weights) == learning
        assert (copy.resize, copy.name) == ("crop", backbone.name)
        np.testing.assert_array_equal(copy(images), backbone(images))
        # There and back, and neither knows the other's weights.
        assert copy.thawed(None).fingerprint() == backbone.fingerprint()
        copy.weights[0].assign_add(copy.weights[0] + 1)
        assert copy.fingerprint() != backbone.fingerprint()
    assert backbone.frozen
    with pytest.raises(ValueError, match="trainable_from must be .*got 'conv9'"):
        backbone.thawed("conv9")
    with pytest.raises(ValueError, match="conv_small has none from 'norm3' on .*earlier layer"):
        backbone.thawed("norm3")


def test_a_thawed_copy_normalises_its_input_alike():
    """EfficientNet's first layer reads its statistics from its weights once only."""
    backbone = Backbone("efficientnet_b0", image_size=37, weights=None)

    def input_layer(backbone):
        return next(
            layer
            for layer in backbone.network.layers
            if isinstance(layer, keras.layers.Normalization)
        )

    normalization = input_layer(backbone)
    mean, variance, count = normalization.get_weights()
    normalization.set_weights([mean + [0.4, 0.5, 0.6], variance * 0.09, count])
    normalization.finalize_state()
    copy = input_layer(backbone.thawed("top_conv"))
    images = some_images(2, 37, 37) / 255
    expected = (images - [0.4, 0.5, 0.6]) / 0.3
    np.testing.assert_allclose(copy(images), expected, atol=1e-5)


# Weights


def test_weights_from_a_file(tmp_path):
    trained = randomize(small())
    trained.network.save_weights(tmp_path / "a.weights.h5")
    again = small(weights=tmp_path / "a.weights.h5", image_size=11)
    for old, new in zip(trained.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)


@pytest.fixture
def imagenet(monkeypatch, tmp_path):
    """Stands in for the download: random weights in place of ImageNet's."""
    served = {}

    def get_file(name, *_, **__):
        architecture = next(key for key in served if name.startswith(key))
        return served[architecture]

    def serve(start, network):
        served[start] = tmp_path / f"{start}.weights.h5"
        network.save_weights(served[start])

    monkeypatch.setattr(file_utils, "get_file", get_file)
    return serve


@pytest.mark.parametrize(
    ("make", "start", "architecture", "size"),
    [
        (applications.EfficientNetB0, "efficientnetb0", "efficientnet_b0", (37, 41)),
        (applications.MobileNetV2, "mobilenet_v2", "mobilenet_v2", (96, 96)),
    ],
)
def test_imagenet_weights_give_what_keras_gives(
    make, start, architecture, size, imagenet, tmp_path
):
    """With ImageNet's weights Keras adds a layer to EfficientNet, which a saved model lacks."""
    network = randomize(make(include_top=False, weights=None, input_shape=(*size, 3)))
    imagenet(start, network)
    reference = make(include_top=False, weights="imagenet", input_shape=(*size, 3))
    extra = len(reference.layers) - len(network.layers)
    assert extra == (1 if architecture == "efficientnet_b0" else 0)
    backbone = Backbone(architecture, image_size=size)
    assert backbone.frozen
    images = some_images(2, *size)
    expected = reference(keras_preprocess(architecture, images)).numpy()
    features = backbone(images).numpy()
    check_that_features_differ(features)
    np.testing.assert_allclose(
        features, expected.reshape(features.shape), atol=1e-4 * np.abs(expected).max()
    )
    plain = network(keras_preprocess(architecture, images)).numpy().reshape(features.shape)
    assert np.allclose(features, plain, atol=1e-3 * np.abs(plain).max()) == (not extra)
    backbone.save(tmp_path / "saved.keras")
    again = keras.saving.load_model(tmp_path / "saved.keras")
    np.testing.assert_array_equal(again(images), features)


def test_weights_that_cannot_be_downloaded(monkeypatch):
    def get_file(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(file_utils, "get_file", get_file)
    message = (
        "Backbone: the ImageNet weights of vgg16 cannot be had (no route to host). Without a "
        "network pass weights=None, a file of weights, or the architecture 'efficientnet_lite0', "
        "whose weights come with this package."
    )
    with pytest.raises(OSError, match=f"^{re.escape(message)}$"):
        Backbone("vgg16", image_size=32, dtype="mixed_bfloat16")
    assert keras.config.dtype_policy().name == "float32"


# Errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"architecture": "vgg61"}, r"architecture must be one of 'conv_small', .* got 'vgg61'\."),
        ({"architecture": "efficientnetb0"}, r"Did you mean 'efficientnet_b0'\?"),
        ({"architecture": None}, "architecture must be one of .*, got None"),
        ({"resize": "zoom"}, "resize must be one of 'stretch', 'crop', 'pad', got 'zoom'"),
        (
            {"trainable_from": "conv9"},
            r"trainable_from must be None, 'all' or a layer of conv_small, got 'conv9'\. Did you "
            r"mean 'conv\d'\?",
        ),
        ({"trainable_from": True}, "trainable_from must be None, 'all' or .*, got True"),
        (
            {"weights": "imagenet"},
            r"weights must be None or a file for conv_small, got 'imagenet'\. Pass weights=None "
            r"and trainable_from='all'",
        ),
    ],
)
def test_errors_name_the_argument(options, message):
    settings = {"architecture": "conv_small", "image_size": 16, "weights": None, **options}
    with pytest.raises(ValueError, match=message):
        Backbone(**settings)


def test_a_file_of_weights_must_exist():
    message = "weights must be 'imagenet', None or a file, got 'image_net', which does not exist"
    with pytest.raises(FileNotFoundError, match=message):
        small(weights="image_net")


@pytest.mark.filterwarnings("ignore:Skipping nested container")
@pytest.mark.parametrize("kind", ["a text", "weights of the whole backbone"])
def test_a_file_of_weights_must_fit(kind, tmp_path):
    path = tmp_path / "a.weights.h5"
    if kind == "a text":
        path = path.with_suffix(".txt")
        path.write_text("a dog")
    else:
        small().save_weights(path)
    message = f"weights must be a file that network.save_weights of conv_small wrote, got '{path}'"
    with pytest.raises(ValueError, match=re.escape(message)):
        small(weights=path)


# resolve_backbone


def test_resolve_a_name():
    scratch = resolve_backbone("conv_small", 11, dtype="mixed_bfloat16")
    assert isinstance(scratch, Backbone)
    assert scratch.trainable_from == "all"
    assert scratch.input_shape == (None, 11, 11, 3)
    assert scratch.network.get_layer("conv0").compute_dtype == "bfloat16"
    pretrained = resolve_backbone("efficientnet_lite0", (37, 41))
    assert pretrained.frozen
    assert pretrained.input_shape == (None, 37, 41, 3)
    expected = Backbone("efficientnet_lite0", image_size=(37, 41), weights="imagenet")
    assert pretrained.fingerprint() == expected.fingerprint()
    with pytest.raises(ValueError, match=r"got 'conv_smal'\. Did you mean 'conv_small'\?"):
        resolve_backbone("conv_smal", 16)


def test_resolve_a_backbone():
    backbone = small()
    assert resolve_backbone(backbone, 224) is backbone


def test_resolve_any_image_model():
    images = keras.Input((11, 13, 3))
    grid = keras.layers.Conv2D(7, 3)(images)
    tokens = keras.layers.Reshape((-1, 7))(grid)
    picture = some_images(2, 11, 13)
    expected = keras.Model(images, grid)(picture).numpy().reshape(2, 9 * 11, 7)
    for inputs, outputs in ((images, grid), (images, tokens), ([images], grid)):
        encoder = resolve_backbone(keras.Model(inputs, outputs), 224)
        assert encoder.name == "encoder"
        assert encoder.output_shape == (None, 9 * 11, 7)
        assert len(encoder.trainable_weights) == 2
        np.testing.assert_allclose(encoder(picture), expected, rtol=1e-5)


def test_resolve_refuses_the_rest():
    images = keras.Input((11, 13, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(images)
    with pytest.raises(ValueError, match=r"must give \[B,h,w,C\] or \[B,N,C\], .* \(None, 3\)"):
        resolve_backbone(keras.Model(images, pooled), 224)
    for value, kind in ((None, "NoneType"), (keras.layers.Dense(3), "Dense")):
        message = f"must be a name, a Backbone or a keras.Model, got {kind}"
        with pytest.raises(TypeError, match=message):
            resolve_backbone(value, 224)
