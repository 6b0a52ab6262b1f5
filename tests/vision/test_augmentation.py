import dataclasses
import math
import re

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_vlm.vision.augmentation import (
    AUGMENTATIONS,
    Augmentation,
    augment,
    augment_regions,
    rotate,
)
from keras_vlm.vision.regions import MASK_SIDE

H, W = 13, 17
STRONGEST = Augmentation(
    flip=1, rotation_degrees=180, smallest_crop=0.01, brightness=1, contrast=1
)


def noise(height=H, width=W, seed=0):
    random = np.random.default_rng(seed)
    return random.uniform(0, 255, (height, width, 3)).astype(np.float32)


def ramp(height=H, width=W):
    """Each pixel holds its row, its column and one constant: a crop shows where it was cut."""
    y, x = np.mgrid[:height, :width]
    return np.stack([y, x, np.full_like(x, 100)], axis=-1).astype(np.float32)


def changed(image, seed, augmentation):
    result, flipped = augment(tf.constant(image), seed, augmentation)
    assert result.shape == image.shape
    assert result.dtype == tf.float32
    assert flipped.dtype == tf.bool
    return result.numpy(), bool(flipped)


# All of them


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_the_seed_decides(name):
    image, augmentation = noise(), AUGMENTATIONS[name]
    first, first_flipped = changed(image, (3, 5), augmentation)
    again, again_flipped = changed(image, (3, 5), augmentation)
    np.testing.assert_array_equal(first, again)
    assert first_flipped == again_flipped
    results = [changed(image, (3, seed), augmentation)[0] for seed in range(16)]
    distinct = {result.tobytes() for result in results}
    assert len(distinct) == {"none": 1, "flip": 2}.get(name, 16)


@pytest.mark.parametrize("augmentation", [*AUGMENTATIONS.values(), STRONGEST])
def test_values_stay_in_range(augmentation):
    for seed in range(20):
        image = 255 * np.round(noise(seed=seed) / 255)
        result, _ = changed(image, (seed, 7), augmentation)
        assert np.isfinite(result).all()
        assert result.min() >= 0
        assert result.max() <= 255


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_in_a_pipeline_it_is_the_same(name):
    """The shape is known there too, and each element has its own seed."""
    augmentation, images = AUGMENTATIONS[name], np.stack([noise(seed=i) for i in range(3)])
    dataset = tf.data.Dataset.from_tensor_slices(images).enumerate()
    dataset = dataset.map(lambda i, image: augment(image, tf.stack([i, 11]), augmentation))
    assert dataset.element_spec[0].shape == (H, W, 3)
    for i, (result, flipped) in enumerate(dataset):
        seed = tf.constant((i, 11), tf.int64)
        expected, expected_flipped = changed(images[i], seed, augmentation)
        np.testing.assert_allclose(result, expected, atol=1e-3)
        assert bool(flipped) == expected_flipped


def test_none_changes_nothing():
    result, flipped = changed(noise(), (1, 2), AUGMENTATIONS["none"])
    np.testing.assert_array_equal(result, noise())
    assert not flipped


# Each alone


@pytest.mark.parametrize("flip", [0, 1, 0.5])
def test_flip_mirrors_and_says_so(flip):
    image, told = noise(), []
    for seed in range(200):
        result, flipped = changed(image, (seed, 1), Augmentation(flip=flip))
        np.testing.assert_array_equal(result, image[:, ::-1] if flipped else image)
        told.append(flipped)
    # Five standard deviations.
    assert abs(np.mean(told) - flip) < 5 * math.sqrt(flip * (1 - flip) / 200) + 1e-9


def test_flip_comes_on_top_of_the_rest():
    settings = {"rotation_degrees": 30, "smallest_crop": 0.5, "brightness": 0.1, "contrast": 0.1}
    for seed in range(5):
        plain, _ = changed(noise(), (seed, 2), Augmentation(**settings))
        mirrored, _ = changed(noise(), (seed, 2), Augmentation(flip=1, **settings))
        np.testing.assert_array_equal(mirrored, plain[:, ::-1])


@pytest.mark.parametrize("smallest_crop", [0.01, 0.3, 0.8])
def test_a_crop_is_a_part_of_the_picture(smallest_crop):
    shares, corners = [], []
    for seed in range(60):
        result, _ = changed(ramp(), (seed, 3), Augmentation(smallest_crop=smallest_crop))
        y, x, constant = np.moveaxis(result, -1, 0)
        np.testing.assert_allclose(constant, 100, atol=1e-3)
        # An even grid, as steep in both directions: the aspect is the picture's own.
        tall, wide = (y[-1, 0] - y[0, 0]) / (H - 1), (x[0, -1] - x[0, 0]) / (W - 1)
        assert tall == pytest.approx(wide, abs=1e-4)
        rows, columns = np.linspace(y[0, 0], y[-1, 0], H), np.linspace(x[0, 0], x[0, -1], W)
        np.testing.assert_allclose(y, np.repeat(rows[:, None], W, 1), atol=1e-3)
        np.testing.assert_allclose(x, np.repeat(columns[None], H, 0), atol=1e-3)
        assert -1e-3 <= y.min() < y.max() <= H - 1 + 1e-3
        assert -1e-3 <= x.min() < x.max() <= W - 1 + 1e-3
        shares.append(tall * wide)
        corners.append((y[0, 0] / ((H - 1) * (1 - tall)), x[0, 0] / ((W - 1) * (1 - wide))))
    assert smallest_crop - 1e-4 <= min(shares) < smallest_crop + 0.2 * (1 - smallest_crop)
    assert 1 - 0.2 * (1 - smallest_crop) < max(shares) <= 1
    # Anywhere, and down is not tied to right.
    down, right = np.transpose(corners)
    for places in (down, right):
        assert places.min() < 0.15
        assert places.max() > 0.85
    assert abs(np.corrcoef(down, right)[0, 1]) < 0.5


def test_brightness_adds_one_number():
    image, added = np.clip(noise(), 60, 190), []
    for seed in range(200):
        result, _ = changed(image, (seed, 4), Augmentation(brightness=0.2))
        difference = result - image
        assert np.ptp(difference) < 1e-3
        added.append(difference.mean())
    assert -51.001 <= min(added) < -49
    assert 49 < max(added) <= 51.001


def test_contrast_keeps_the_mean_of_each_channel():
    image, factors = np.clip(noise(), 90, 160), []
    mean = image.mean(axis=(0, 1))
    for seed in range(200):
        result, _ = changed(image, (seed, 5), Augmentation(contrast=0.4))
        np.testing.assert_allclose(result.mean(axis=(0, 1)), mean, atol=0.01)
        factor = ((result - mean) / (image - mean))[abs(image - mean) > 5]
        assert np.ptp(factor) < 1e-3
        factors.append(factor.mean())
    assert 0.599 <= min(factors) < 0.62
    assert 1.38 < max(factors) <= 1.401


def test_one_change_says_nothing_about_another():
    """Over many seeds, what each kind of change does is uncorrelated with the others."""
    image, rows = np.full((9, 9, 3), 100, np.float32), []
    image[4, 4:] = 110
    steep = ramp(9, 9)
    for i in range(200):
        seed = (i, 8)
        crop, _ = changed(steep, seed, Augmentation(smallest_crop=0.3))
        turned, _ = changed(image, seed, Augmentation(rotation_degrees=40))
        contrast, _ = changed(image, seed, Augmentation(contrast=0.5))
        bright, _ = changed(image, seed, Augmentation(brightness=0.2))
        _, flipped = changed(image, seed, Augmentation(flip=0.5))
        rows.append(
            [
                crop[-1, 0, 0] - crop[0, 0, 0],
                crop[0, 0, 0],
                crop[0, 0, 1],
                turned[:4].sum() - turned[5:].sum(),
                contrast[4, 8, 0],
                bright[0, 0, 0],
                flipped,
            ]
        )
    correlations = np.corrcoef(np.transpose(rows))
    # A small crop can lie further from the corner.
    correlations[0, 1:3] = correlations[1:3, 0] = 0
    correlations[1, 2] = correlations[2, 1] = 0
    assert np.abs(correlations - np.eye(7)).max() < 0.25


# Rotation


def test_a_random_turn_stays_within_its_bounds():
    """On a straight line through the middle, the angle can be read off."""
    image = np.zeros((101, 101, 3), np.float32)
    image[50, 50:] = 255
    angles = []
    for seed in range(200):
        result, _ = changed(image, (seed, 6), Augmentation(rotation_degrees=40))
        # Reflections come in from outside; the middle shows the turned line alone.
        y, x = np.nonzero(result[20:81, 20:81, 0] > 100)
        angles.append(math.degrees(math.atan2(30 - y.mean(), x.mean() - 30)))
    assert -40.5 <= min(angles) < -38
    assert 38 < max(angles) <= 40.5


def test_no_turn_is_the_identity():
    np.testing.assert_allclose(rotate(noise(), 0.0), noise(), atol=1e-3)


@pytest.mark.parametrize("size", [12, 13])
@pytest.mark.parametrize("quarters", [1, 2, 3, -1])
def test_quarter_turns_are_exact_on_a_square(quarters, size):
    image = noise(size, size)
    turned = tf.function(rotate)(tf.constant(image), tf.constant(quarters * math.pi / 2))
    # At the very edge a rounding error looks outside, where a reflection is the edge again.
    np.testing.assert_allclose(turned, np.rot90(image, quarters), atol=0.01)


def test_half_a_turn_is_exact_on_any_picture():
    turned = rotate(tf.constant(noise()), tf.constant(math.pi))
    np.testing.assert_allclose(turned, np.rot90(noise(), 2), atol=0.01)


@pytest.mark.parametrize("degrees", [7, -23, 61, 130])
@pytest.mark.parametrize("shape", [(31, 41), (40, 30)])
def test_other_turns_are_pillows_inside(degrees, shape):
    image = noise(*shape)

    def turn(channel):
        picture = Image.fromarray(channel)
        return np.asarray(picture.rotate(degrees, Image.Resampling.BILINEAR))

    turned = rotate(tf.constant(image), tf.constant(math.radians(degrees))).numpy()
    # Half a turn back and forth away from what comes from outside.
    inside = turn(np.pad(np.ones((shape[0] - 4, shape[1] - 4), np.float32), 2)) == 1
    assert inside.sum() > 300
    for c in range(3):
        np.testing.assert_allclose(turned[inside, c], turn(image[..., c])[inside], atol=0.05)


def test_what_comes_from_outside_is_a_reflection():
    """No black corners."""
    turned = rotate(tf.constant(np.full((H, W, 3), 200, np.float32)), tf.constant(0.7))
    np.testing.assert_allclose(turned, 200, atol=1e-3)


# Errors


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("flip", 1.5, "a number from 0 to 1, got 1.5."),
        ("flip", -0.1, "a number from 0 to 1, got -0.1."),
        ("flip", True, "a number from 0 to 1, got True."),
        ("rotation_degrees", 181, "a number from 0 to 180, got 181."),
        ("rotation_degrees", "10", "a number from 0 to 180, got '10'."),
        ("smallest_crop", 0, "a number from 0.01 to 1, got 0."),
        ("smallest_crop", 1.01, "a number from 0.01 to 1, got 1.01."),
        ("brightness", 51, "a number from 0 to 1, got 51."),
        ("contrast", -1, "a number from 0 to 1, got -1."),
        ("contrast", None, "a number from 0 to 1, got None."),
    ],
)
def test_settings_out_of_range(name, value, expected):
    message = f"Augmentation: {name} must be {expected}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Augmentation(**{name: value})


def test_settings_do_not_change_afterwards():
    with pytest.raises(dataclasses.FrozenInstanceError):
        AUGMENTATIONS["light"].flip = 0.3


# Regions


def _bounds_of(mask):
    rows, columns = np.nonzero(mask)
    height, width = mask.shape
    ends = [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
    return np.array(ends) / [height, width, height, width]


@pytest.mark.parametrize(
    "augmentation",
    [Augmentation(flip=1), Augmentation(smallest_crop=0.4), Augmentation(rotation_degrees=30),
     Augmentation(flip=0.5, smallest_crop=0.5, rotation_degrees=20)],
)  # fmt: skip
@pytest.mark.parametrize("size", [(56, 56), (84, 140)])
def test_boxes_and_masks_go_where_the_picture_goes(augmentation, size):
    """A white disc on black: where it is after the change, its mask and its box are."""
    shares = [(np.arange(side) + 0.5) / side for side in size]
    small = (np.arange(MASK_SIDE) + 0.5) / MASK_SIDE
    # Round in the picture, whose pixels are square.
    aspect = size[0] / size[1]

    def disc(y, x):
        return ((y[:, None] - 0.45) * aspect) ** 2 + (x[None] - 0.55) ** 2 < (0.16 * aspect) ** 2

    image = 255.0 * np.repeat(disc(*shares)[..., None], 3, axis=2)
    box = [0.45 - 0.16, 0.55 - 0.16 * aspect, 0.45 + 0.16, 0.55 + 0.16 * aspect]
    for seed in range(4):
        moved, _ = changed(image.astype(np.float32), (seed, 5), augmentation)
        found = augment_regions(
            {"boxes": tf.constant([box, [0.0] * 4]),
             "masks": tf.constant(disc(small, small)[None].astype(np.uint8))},
            (seed, 5), augmentation, size,
        )  # fmt: skip
        seen = moved[..., 0] > 127
        assert not found["boxes"][1].numpy().any()
        if not 0.01 < seen.mean() < 0.3:
            continue
        mask = found["masks"][0].numpy() > 0
        np.testing.assert_allclose(_bounds_of(mask), _bounds_of(seen), atol=0.05)
        assert mask.mean() == pytest.approx(seen.mean(), abs=0.02)
        # A turned box is that around its corners: it holds the disc, up to 1.37 times as wide.
        around, inner = found["boxes"][0].numpy(), _bounds_of(seen)
        assert (around[:2] <= inner[:2] + 0.04).all()
        assert (around[2:] >= inner[2:] - 0.04).all()
        assert ((around[2:] - around[:2]) <= 1.45 * (inner[2:] - inner[:2]) + 0.05).all()


def test_what_is_cut_off_becomes_padding():
    corner = {"boxes": tf.constant([[0.0, 0.0, 0.01, 0.01]])}
    augmentation = Augmentation(smallest_crop=0.05)
    moved = [augment_regions(corner, (seed, 1), augmentation, (32, 32)) for seed in range(8)]
    boxes = np.stack([each["boxes"].numpy()[0] for each in moved])
    assert (~boxes.any(axis=1)).sum() >= 5
