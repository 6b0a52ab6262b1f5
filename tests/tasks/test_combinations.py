"""Every combination of a representative of each choice: built, fitted, saved, served, and alike."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_vlm import Backbone, RegionEncoder, Tokenizer, build_captioner, load, load_data
from keras_vlm.export.saved_model import export_saved_model
from keras_vlm.export.served import open_saved_model
from keras_vlm.fusion import FUSIONS
from keras_vlm.text import TEXT_DECODERS
from keras_vlm.text.units import ANSWER_UNITS, UNITS
from keras_vlm.vision.foreign import build_hub_backbone

# A backbone of our own, and another maker's.
VISION = ("conv_small", "hub")
REGIONS = ("grid", "grid+boxes", "masks")
FUSED = ("multi_head", "additive", "concat")
SPLIT = tuple(unit for unit in UNITS if unit not in ANSWER_UNITS)
CHOICES = (VISION, REGIONS, TEXT_DECODERS, FUSED, SPLIT)
COMBINATIONS = list(itertools.product(*CHOICES))
# Each value of each choice is among them; the others take minutes.
FEW = COMBINATIONS[::67]


class Grid(tf.Module):
    """A stand-in for a TensorFlow Hub module that keeps a grid."""

    def __init__(self):
        super().__init__()
        self.kernel = tf.Variable(tf.random.stateless_normal((8, 8, 3, 12), (1, 2)))

    @tf.function(input_signature=[tf.TensorSpec((None, 32, 32, 3), tf.float32)])
    def __call__(self, images):
        """Returns [B,4,4,12]."""
        return tf.nn.relu(tf.nn.conv2d(images, self.kernel, 8, "SAME"))


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub")
    tf.saved_model.save(Grid(), str(folder))
    return folder


def test_few_have_each_value_of_each_choice():
    for values, found in zip(CHOICES, zip(*FEW, strict=True), strict=True):
        assert set(found) == set(values)


@pytest.fixture(scope="module")
def splits():
    return {code: load_data("scenes:12", language=code)["train"] for code in ("en", "zh")}


def check(combination, splits, hub, folder):
    """Builds a captioner, fits a step, saves, loads and exports it, and compares its words."""
    vision, regions, text, fusion, unit = combination
    if unit == "jieba":
        pytest.importorskip("jieba", reason="jieba is not installed (extra 'zh')")
    examples = splits["zh" if unit in {"character", "jieba"} else "en"]
    keras.utils.set_random_seed(4)
    if vision == "hub":
        encoder = build_hub_backbone(hub, 32, trainable=True)
    else:
        encoder = Backbone("conv_small", image_size=32, weights=None, trainable_from="all")
    if regions != "grid":
        encoder = RegionEncoder(encoder, regions, max_regions=3)
    model = build_captioner(
        encoder,
        text=TEXT_DECODERS[text](FUSIONS[fusion](), hidden_dim=16, num_layers=1),
        tokenizer=Tokenizer.fit(examples, unit=unit, minimum_count=1, max_length=12),
    )
    for weight in model.text_decoder.trainable_variables:
        weight.assign_add(0.2 * keras.random.normal(weight.shape))
    batch = next(iter(model.batches(examples, 4, augment="light")))
    assert np.isfinite(model.train_on_batch(*batch))
    keys = ("boxes", "masks")
    pictures = [
        {"image": each["image_bytes"], **{key: each[key] for key in keys}}
        for each in examples.dataset().take(3).as_numpy_iterator()
    ]
    said = model.caption(pictures, beam_size=2)
    model.save(folder / "model.keras")
    assert load(folder / "model.keras").caption(pictures, beam_size=2) == said
    export_saved_model(model, folder / "served", beam_size=2)
    assert open_saved_model(folder / "served").caption(pictures) == said


@pytest.mark.parametrize("combination", FEW, ids="-".join)
def test_some_combinations(combination, splits, hub, tmp_path):
    check(combination, splits, hub, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "combination", [each for each in COMBINATIONS if each not in FEW], ids="-".join
)
def test_all_other_combinations(combination, splits, hub, tmp_path):
    check(combination, splits, hub, tmp_path)
