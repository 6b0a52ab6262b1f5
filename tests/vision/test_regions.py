"""Region tokens against naive loops; padding is nothing; what regions let a model learn."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_vlm.vision.backbones import Backbone
from keras_vlm.vision.regions import (
    MASK_SIDE,
    SAMPLES,
    RegionEncoder,
    RegionTokens,
    masks_of_labels,
    parse_regions,
)

H, W, C = 3, 5, 2


def grid_of(seed=0, batch=2):
    return np.random.default_rng(seed).normal(size=(batch, H * W, C)).astype(np.float32)


def bilinear(grid, y, x):
    """The value of a grid [h,w,C] at a place in 0..1, the outermost cells going on outside."""
    y, x = np.clip(y * H - 0.5, 0, H - 1), np.clip(x * W - 0.5, 0, W - 1)
    y0, x0 = min(int(y), H - 2), min(int(x), W - 2)
    top = grid[y0, x0] * (1 - (x - x0)) + grid[y0, x0 + 1] * (x - x0)
    bottom = grid[y0 + 1, x0] * (1 - (x - x0)) + grid[y0 + 1, x0 + 1] * (x - x0)
    return top * (1 - (y - y0)) + bottom * (y - y0)


@given(st.lists(st.floats(0, 1, width=32), min_size=4, max_size=4), st.integers(0, 9))
@settings(max_examples=20, deadline=None)
def test_a_boxs_token_is_the_mean_of_bilinear_samples(numbers, seed):
    y0, y1 = sorted(numbers[:2])
    x0, x1 = sorted(numbers[2:])
    grid = grid_of(seed, 1)
    box = np.array([[[y0, x0, y1, x1]]], np.float32)
    found = RegionTokens(["boxes"], (H, W))(grid, boxes=box).numpy()[0, 0]
    if not (y1 > y0 and x1 > x0):
        np.testing.assert_array_equal(found, 0)
        return
    steps = (np.arange(SAMPLES) + 0.5) / SAMPLES
    plane = grid.reshape(H, W, C)
    samples = [
        bilinear(plane, y0 + (y1 - y0) * i, x0 + (x1 - x0) * j) for i in steps for j in steps
    ]
    expected = [*np.mean(samples, axis=0), y0, x0, y1, x1]
    expected += [y1 - y0, x1 - x0, (y1 - y0) * (x1 - x0)]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_masks_token_is_the_mean_of_what_it_covers():
    grid = grid_of(3, 1)
    mask = (np.random.default_rng(1).random((MASK_SIDE, MASK_SIDE)) < 0.3).astype(np.uint8)
    mask[:, 40:] = 0
    found = RegionTokens(["masks"], (H, W))(grid, masks=mask[None, None]).numpy()[0, 0]
    # Every pixel of the mask becomes H x W finer ones, which lie in one cell each.
    fine = np.kron(mask, np.ones((H, W)))
    cells = np.kron(np.arange(H * W).reshape(H, W), np.ones((MASK_SIDE, MASK_SIDE))).astype(int)
    expected = grid[0][cells[fine > 0]].mean(axis=0)
    np.testing.assert_allclose(found[:C], expected, atol=1e-4)
    rows, columns = np.nonzero(mask)
    bounds = [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
    np.testing.assert_allclose(found[C : C + 4], np.array(bounds) / MASK_SIDE, atol=1e-6)
    np.testing.assert_allclose(found[-1], mask.mean(), atol=1e-6)


def test_the_whole_picture_is_the_mean_of_the_grid():
    grid = grid_of()
    mask = np.ones((2, 1, MASK_SIDE, MASK_SIDE), np.uint8)
    found = RegionTokens(["masks"], (H, W))(grid, masks=mask)
    np.testing.assert_allclose(found[:, 0, :C], grid.mean(axis=1), atol=1e-5)
    np.testing.assert_allclose(found[:, 0, C:], [[0, 0, 1, 1, 1, 1, 1]] * 2, atol=1e-6)


def test_tokens_come_in_one_order_and_padding_is_zeros():
    grid = grid_of()
    boxes = np.zeros((2, 3, 4), np.float32)
    boxes[0, 0] = [0.1, 0.2, 0.5, 0.9]
    masks = np.zeros((2, 3, MASK_SIDE, MASK_SIDE), np.uint8)
    masks[1, 2, 5, 7] = 1
    layer = RegionTokens("masks+grid+boxes", (H, W))
    found = layer(grid, boxes=boxes, masks=masks).numpy()
    assert found.shape == (2, H * W + 6, C + 7)
    np.testing.assert_array_equal(found[:, : H * W, :C], grid)
    real = found.any(axis=-1)
    assert real[:, : H * W].all()
    expected = [[True, False, False] + [False] * 3, [False] * 5 + [True]]
    assert real[:, H * W :].tolist() == expected


def test_grid_geometry_is_that_of_the_cells():
    cells = RegionTokens(["grid"], (H, W))(grid_of())[0, :, C:].numpy()
    np.testing.assert_allclose(cells[W + 2, :4], [1 / H, 2 / W, 2 / H, 3 / W], atol=1e-6)
    np.testing.assert_allclose(cells[:, -1].sum(), 1, atol=1e-5)


def test_label_maps_become_masks():
    labels = np.zeros((112, 168), int)
    labels[:56, :84] = 4
    labels[100, 100] = 9
    masks, numbers = masks_of_labels(labels)
    assert numbers.tolist() == [4, 9]
    assert masks[0].mean() == 0.25
    assert np.argwhere(masks[1]).tolist() == [[50, 33]]


@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
def test_an_encoder_saves_and_runs_under_xla(tmp_path, precision):
    policy = keras.DTypePolicy(precision)
    backbone = Backbone("conv_small", image_size=32, weights=None, dtype=policy)
    encoder = RegionEncoder(backbone, "grid+boxes+masks", max_regions=3)
    random = np.random.default_rng(0)
    inputs = {
        "images": random.uniform(0, 255, (2, 32, 32, 3)).astype(np.float32),
        "boxes": np.sort(random.random((2, 3, 2, 2)), axis=2).reshape(2, 3, 4).astype(np.float32),
        "masks": random.integers(0, 2, (2, 3, MASK_SIDE, MASK_SIDE)).astype(np.uint8),
    }
    expected = encoder(inputs)
    encoder.save(tmp_path / "encoder.keras")
    again = keras.saving.load_model(tmp_path / "encoder.keras")
    np.testing.assert_array_equal(again(inputs), expected)
    compiled = tf.function(encoder, jit_compile=True)(inputs)
    np.testing.assert_allclose(compiled, expected, atol=2e-2 if precision != "float32" else 1e-4)
    assert again.grid_size == (4, 4)
    assert again.frozen


def test_options_that_cannot_be():
    backbone = Backbone("conv_small", image_size=32, weights=None)
    with pytest.raises(ValueError, match="regions must be one of 'grid', 'boxes', 'masks', got 'b"):
        RegionEncoder(backbone, "grid+bxes")
    with pytest.raises(ValueError, match="must name one of grid, boxes, masks, got none"):
        parse_regions("here", [])
    with pytest.raises(ValueError, match="must have resize='stretch', got 'crop'"):
        RegionEncoder(Backbone("conv_small", image_size=32, weights=None, resize="crop"))
    images = keras.Input((8, 8, 3))
    flat = keras.Model(images, keras.layers.Reshape((6, 32))(images))
    with pytest.raises(ValueError, match=r"must keep a grid, got the output \(None, 6, 32\)"):
        RegionEncoder(flat)
    assert RegionEncoder(flat, grid_size=(2, 3)).output_shape == (None, 22, 39)
