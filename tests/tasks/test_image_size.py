"""A model at another size of picture has the same weights, and sees more of the picture."""

import numpy as np
import pytest
from contracts import answers
from oracles import scenes_captioner, scenes_retriever, scenes_vqa, tiny_encoder

from keras_vlm import Backbone, average_models, build_captioner, load

IMAGES = np.random.default_rng(0).uniform(0, 255, (2, 40, 48, 3)).astype(np.float32)


@pytest.mark.parametrize("make", [scenes_captioner, scenes_retriever])
def test_a_copy_has_the_weights_and_another_size(make, tmp_path):
    model = make()
    before = answers(model, IMAGES)
    copy = model.at_image_size((40, 48))
    assert (copy.image_size, model.image_size) == ((40, 48), (32, 32))
    assert copy.compiled
    for ours, theirs in zip(copy.weights, model.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    built = Backbone("conv_small", image_size=(40, 48), weights=None, trainable_from="all")
    built.set_weights(model.encoder.get_weights())
    np.testing.assert_allclose(copy.encoder(IMAGES), built(IMAGES), atol=1e-6)
    assert copy.encoder.trainable_from == model.encoder.trainable_from
    copy.save(tmp_path / "larger.keras")
    assert answers(load(tmp_path / "larger.keras"), IMAGES) == answers(copy, IMAGES)
    assert answers(model, IMAGES) == before


def test_statistics_of_the_input_go_along(tmp_path):
    """EfficientNet's first layer keeps what it computed of its weights."""
    encoder = Backbone("efficientnet_b0", image_size=32, weights=None)
    tokenizer = scenes_captioner().tokenizer
    model = build_captioner(encoder, tokenizer=tokenizer)
    ends = ("normalization/mean", "normalization/variance")
    statistics = [weight for weight in model.encoder.weights if weight.path.endswith(ends)]
    assert len(statistics) == 2
    for weight in statistics:
        weight.assign(weight + 0.5)
    copy = model.at_image_size(64)
    copy.save(tmp_path / "larger.keras")
    images = np.random.default_rng(0).uniform(0, 255, (1, 64, 64, 3)).astype(np.float32)
    again = load(tmp_path / "larger.keras")
    assert np.abs(copy.encoder(images)).max() > 0
    np.testing.assert_allclose(copy.encoder(images), again.encoder(images), atol=1e-5)
    soup = average_models([copy, model])
    np.testing.assert_allclose(soup.encoder(images), copy.encoder(images), atol=1e-5)


def test_what_cannot_change_its_size():
    with pytest.raises(ValueError, match="must not depend on the number of picture tokens"):
        scenes_vqa().at_image_size(40)
    model = scenes_captioner()
    with pytest.raises(ValueError, match="image_size must be at least 8 pixels"):
        model.at_image_size(2)
    fixed = build_captioner(tiny_encoder(), tokenizer=model.tokenizer)
    with pytest.raises(TypeError, match="must be a Backbone alone, got Functional"):
        fixed.at_image_size(40)
