"""SavedModels of TF-Hub's formats and KerasHub's presets: frozen, tuned, saved, served."""

import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_vlm import (
    LSTMDecoder,
    RegionEncoder,
    Tokenizer,
    build_captioner,
    load,
    load_data,
)
from keras_vlm.export.saved_model import export_saved_model
from keras_vlm.export.served import open_saved_model
from keras_vlm.fusion import ConcatFusion, MultiHeadFusion
from keras_vlm.vision.foreign import build_hub_backbone, build_keras_hub_backbone

SIZE = 32


class FeatureVector(tf.Module):
    """TF-Hub's reusable feature vector: called on images in 0..1 -> [B,C]."""

    def __init__(self):
        super().__init__()
        self.kernel = tf.Variable(tf.random.stateless_normal((8, 8, 3, 7), (1, 2)), name="kernel")
        self.offset = tf.Variable(tf.ones(7), trainable=False, name="moving/mean")

    @tf.function(input_signature=[tf.TensorSpec((None, SIZE, SIZE, 3))])
    def __call__(self, images):
        grid = tf.nn.conv2d(images, self.kernel, 8, "VALID") + self.offset
        return tf.reduce_mean(tf.nn.relu(grid), axis=(1, 2))


class ImageFeatures(FeatureVector):
    """The image-feature format: a signature with several outputs, grids among them."""

    @tf.function(input_signature=[tf.TensorSpec((None, SIZE, SIZE, 3), name="images")])
    def features(self, images):
        grid = tf.nn.relu(tf.nn.conv2d(images, self.kernel, 8, "VALID") + self.offset)
        return {"default": tf.reduce_mean(grid, axis=(1, 2)), "block/out": grid}


class OnlySignatures(tf.Module):
    """What an old module is when it is read: signatures, and not to be called."""

    def __init__(self):
        super().__init__()
        self.inner = ImageFeatures()


@pytest.fixture(scope="module")
def vector(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub") / "vector"
    module = FeatureVector()
    tf.saved_model.save(module, str(folder))
    return folder, module


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub") / "grid"
    module = OnlySignatures()
    signatures = {"image_feature_vector": module.inner.features}
    tf.saved_model.save(module, str(folder), signatures=signatures)
    return folder, module.inner


@pytest.fixture(scope="module")
def first_format(tmp_path_factory):
    """A module of TF-Hub's first format, with a second graph for training; and its kernel."""
    folder = tmp_path_factory.mktemp("hub") / "old"
    v1 = tf.compat.v1
    builder = v1.saved_model.Builder(str(folder))
    kernel = np.random.default_rng(0).normal(size=(8, 8, 3, 5)).astype(np.float32)
    for tags in ([], ["train"]):
        with tf.Graph().as_default(), v1.Session() as session:
            images = v1.placeholder(tf.float32, (None, SIZE, SIZE, 3))
            variable = v1.get_variable("kernel", initializer=kernel, use_resource=True)
            pooled = tf.reduce_mean(tf.nn.conv2d(images, variable, 8, "VALID"), axis=(1, 2))
            session.run(v1.global_variables_initializer())
            info = v1.saved_model.build_tensor_info
            signatures = {
                "image_feature_vector": v1.saved_model.build_signature_def(
                    {"images": info(images)}, {"default": info(pooled)}
                )
            }
            if tags:
                builder.add_meta_graph(tags, signatures)
            else:
                builder.add_meta_graph_and_variables(session, tags, signatures)
    builder.save()
    (folder / "tfhub_module.pb").write_bytes(b"\x08\x03")
    return folder, kernel


def test_a_module_of_the_first_format(first_format):
    folder, kernel = first_format
    model = build_hub_backbone(folder, SIZE)
    images = pictures()
    expected = tf.reduce_mean(tf.nn.conv2d(images / 255, kernel, 8, "VALID"), axis=(1, 2))
    np.testing.assert_allclose(model(images)[:, 0], expected, atol=1e-4)


def test_a_grid_takes_regions(grid):
    folder, _ = grid
    model = build_hub_backbone(folder, SIZE, output="block/out")
    encoder = RegionEncoder(model, "grid+boxes", max_regions=3)
    assert encoder.output_shape == (None, 4 * 4 + 3, 7 + 7)
    vector = build_hub_backbone(folder, SIZE)
    with pytest.raises(ValueError, match="backbone must keep a grid"):
        RegionEncoder(vector, "boxes")


def pictures(count=2):
    return np.random.default_rng(3).uniform(0, 255, (count, SIZE, SIZE, 3)).astype(np.float32)


def test_a_feature_vector_is_one_token(vector):
    folder, module = vector
    backbone = build_hub_backbone(folder, SIZE)
    expected = module(pictures() / 255)[:, None]
    np.testing.assert_allclose(backbone(pictures()), expected, atol=1e-5)
    assert backbone.trainable_weights == []
    tuned = build_hub_backbone(folder, SIZE, trainable=True)
    assert [tuple(weight.shape) for weight in tuned.trainable_weights] == [(8, 8, 3, 7)]


def test_image_features_by_name(grid):
    folder, module = grid
    outputs = module.features(tf.constant(pictures() / 127.5 - 1))
    backbone = build_hub_backbone(folder, SIZE, output="block/out", pixels="-1..1")
    expected = outputs["block/out"].numpy().reshape(2, 16, 7)
    np.testing.assert_allclose(backbone(pictures()), expected, atol=1e-5)
    usual = build_hub_backbone(folder, SIZE, pixels="-1..1")
    np.testing.assert_allclose(usual(pictures())[:, 0], outputs["default"], atol=1e-5)
    with pytest.raises(ValueError, match="output must be one of .*, got 'blok'"):
        build_hub_backbone(folder, SIZE, output="blok")
    with pytest.raises(FileNotFoundError, match="no saved_model.pb in this folder"):
        build_hub_backbone(folder / "nowhere", SIZE)


@pytest.fixture(scope="module")
def examples():
    return load_data("scenes:15")["train"]


def captioner_of(backbone, examples, fusion=MultiHeadFusion):
    keras.utils.set_random_seed(3)
    model = build_captioner(
        backbone,
        text=LSTMDecoder(fusion(), hidden_dim=24, dropout=0.0, memory_dropout=0.0),
        tokenizer=Tokenizer.fit(examples, minimum_count=1, max_length=9),
        image_size=SIZE,
    )
    for weight in model.text_decoder.trainable_variables:
        weight.assign_add(0.2 * keras.random.normal(weight.shape))
    return model


@pytest.mark.slow
@pytest.mark.parametrize("trainable", [False, True])
def test_it_learns_saves_and_is_served(grid, examples, trainable, tmp_path):
    backbone = build_hub_backbone(grid[0], SIZE, output="block/out", trainable=trainable)
    model = captioner_of(backbone, examples)
    batch = next(iter(model.batches(examples, 5, shuffle=False)))
    before = [weight.numpy() for weight in model.encoder.weights]
    losses = [model.train_on_batch(*batch) for _ in range(5)]
    assert losses[-1] < losses[0]
    changed = [(a != b.numpy()).any() for a, b in zip(before, model.encoder.weights, strict=True)]
    assert any(changed) == trainable
    model.save(tmp_path / "model.keras")
    again = load(tmp_path / "model.keras")
    images = pictures(3)
    np.testing.assert_allclose(again.encoder(images), model.encoder(images), atol=1e-6)
    assert again.caption(images) == model.caption(images)
    # It goes on learning as the first one does.
    one, other = (each.train_on_batch(*batch) for each in (model, again))
    np.testing.assert_allclose(one, other, rtol=1e-4)
    np.testing.assert_allclose(again.encoder(images), model.encoder(images), atol=1e-5)
    export_saved_model(model, tmp_path / "served", beam_size=2)
    whole = np.round(images)
    served = open_saved_model(tmp_path / "served").caption(list(whole))
    assert served == model.caption(list(whole), beam_size=2)


def test_a_file_is_whole_without_the_saved_model(examples, tmp_path):
    module = OnlySignatures()
    signatures = {"default": module.inner.features}
    tf.saved_model.save(module, str(tmp_path / "hub"), signatures=signatures)
    backbone = build_hub_backbone(tmp_path / "hub", SIZE, output="block/out")
    model = captioner_of(backbone, examples)
    model.save(tmp_path / "model.keras")
    shutil.rmtree(tmp_path / "hub")
    assert load(tmp_path / "model.keras").caption(pictures()) == model.caption(pictures())


def test_by_name(vector, examples):
    # One token leaves attention nothing to choose.
    model = captioner_of(f"hub:{vector[0]}", examples, ConcatFusion)
    assert model.encoder.output_shape == (None, 1, 7)
    batch = next(iter(model.batches(examples, 5, shuffle=False)))
    assert np.isfinite(model.train_on_batch(*batch))


# KerasHub


@pytest.fixture(scope="module")
def presets(tmp_path_factory):
    keras_hub = pytest.importorskip("keras_hub", reason="keras-hub is not installed (extra 'hub')")
    folder = tmp_path_factory.mktemp("presets")
    keras.utils.set_random_seed(2)
    vit = keras_hub.models.ViTBackbone(
        image_shape=(SIZE, SIZE, 3), patch_size=16, num_layers=1, num_heads=2, hidden_dim=12,
        mlp_dim=24, dropout_rate=0.0, attention_dropout=0.0,
    )  # fmt: skip
    resnet = keras_hub.models.ResNetBackbone(
        input_conv_filters=[64], input_conv_kernel_sizes=[7], stackwise_num_filters=[64],
        stackwise_num_blocks=[1], stackwise_num_strides=[1], block_type="basic_block",
        image_shape=(None, None, 3),
    )  # fmt: skip
    for name, backbone in (("vit", vit), ("resnet", resnet)):
        backbone.save_to_preset(str(folder / name))
    return folder, {"vit": vit, "resnet": resnet}


@pytest.mark.parametrize("name", ["vit", "resnet"])
def test_a_local_preset_is_a_backbone(presets, name, examples, tmp_path):
    folder, originals = presets
    backbone = build_keras_hub_backbone(str(folder / name), SIZE)
    expected = originals[name](pictures() / 255, training=False).numpy()
    expected = expected.reshape(2, -1, expected.shape[-1])
    np.testing.assert_allclose(backbone(pictures()), expected, atol=1e-4)
    model = captioner_of(f"keras_hub:{folder / name}", examples)
    batch = next(iter(model.batches(examples, 5, shuffle=False)))
    assert np.isfinite(model.train_on_batch(*batch))
    assert model.encoder.trainable_weights == []
    model.save(tmp_path / "model.keras")
    again = load(tmp_path / "model.keras")
    assert again.caption(pictures()) == model.caption(pictures())
