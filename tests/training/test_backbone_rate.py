"""The backbone learns at its own rate: in closed form, beside bare optimizers, after a kill."""

import dataclasses
import pathlib
import subprocess
import sys

import keras
import kills
import numpy as np
import pytest
import tensorflow as tf
from oracles import scenes_captioner

from keras_vlm.training.backbone_rate import BACKBONE_RATES, find_backbone
from keras_vlm.training.captioning_run import CaptioningRun, train_captioner
from keras_vlm.training.run import OPTIMIZERS, build_optimizer

TINY = {
    "data": "scenes:20",
    "backbone": "conv_small",
    "text": "lstm",
    "hidden_dim": 12,
    "image_size": 32,
    "minimum_count": 1,
    "max_length": 11,
    "epochs": 2,
    "batch_size": 7,
    "captions_per_image": 2,
    "learning_rate": 0.01,
    "average": 0.5,
}
FIRST = [np.array([1.0, -2.0, 3.0]), np.array([[0.5, 4.0]]), np.array([-1.5])]
GRADIENTS = [np.array([0.2, 0.5, -1.0]), np.array([[3.0, -0.1]]), np.array([0.7])]


def steps_of(optimizer, count, places=range(3)):
    """The values of variables with these gradients after steps of an optimizer."""
    variables = [keras.Variable(FIRST[place]) for place in places]
    gradients = [keras.ops.convert_to_tensor(GRADIENTS[place], "float32") for place in places]

    @tf.function
    def step():
        optimizer.apply(gradients, variables)

    optimizer.build(variables)
    for _ in range(count):
        step()
    return [variable.numpy() for variable in variables], optimizer


def test_sgd_in_closed_form():
    optimizer = BACKBONE_RATES["sgd"](0.5, backbone_ratio=0.1, backbone_places=(0, 2))
    found, _ = steps_of(optimizer, 3)
    for place, rate in enumerate((0.05, 0.5, 0.05)):
        expected = FIRST[place] - 3 * rate * GRADIENTS[place]
        np.testing.assert_allclose(found[place], expected, rtol=1e-6)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("average", [False, True])
def test_each_part_is_as_with_a_bare_optimizer_of_its_rate(name, average):
    """Weight decay, clipping, schedule and moving averages too."""
    options = {"clipnorm": 0.9, "weight_decay": 0.2, "use_ema": average}
    if average:
        options["ema_momentum"] = 0.6

    def schedule(peak):
        return keras.optimizers.schedules.CosineDecay(peak, 7, alpha=0.1)

    optimizer = BACKBONE_RATES[name](
        schedule(0.3), backbone_ratio=0.25, backbone_places=(0, 2), **options
    )
    found, optimizer = steps_of(optimizer, 5)
    for places, peak in (((0, 2), 0.075), ((1,), 0.3)):
        expected, bare = steps_of(OPTIMIZERS[name](schedule(peak), **options), 5, places)
        for place, value in zip(places, expected, strict=True):
            np.testing.assert_allclose(found[place], value, rtol=1e-5)
        if average:
            for place, value in zip(places, bare._model_variables_moving_average, strict=True):
                ours = optimizer._model_variables_moving_average[place].numpy()
                np.testing.assert_allclose(ours, value.numpy(), rtol=1e-5)


@pytest.mark.slow
def test_the_backbone_is_found_and_a_saved_model_goes_on_alike(tmp_path):
    model = scenes_captioner()
    places = find_backbone(model)
    learned = model.trainable_variables
    assert [learned[place].path for place in places] == [
        variable.path for variable in model.encoder.trainable_variables
    ]
    assert len(places) < len(learned)
    options = {"backbone_ratio": 0.0, "backbone_places": places}
    model.compile(BACKBONE_RATES["adamw"](0.01, **options), model.loss)
    random = np.random.default_rng(0)
    words = random.integers(4, 9, (2, 3, 8))
    batch = {
        "images": random.uniform(0, 255, (2, 32, 32, 3)).astype("float32"),
        "token_ids": np.pad(words[..., :-1], ((0, 0), (0, 0), (1, 0)), constant_values=2),
    }
    before = [variable.numpy() for variable in learned]
    model.train_on_batch(batch, words)
    model.save(tmp_path / "model.keras")
    # In a new process, where nothing but the package is imported.
    code = f"import keras_vlm; keras_vlm.load({str(tmp_path / 'model.keras')!r})"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.optimizer.backbone_places == places
    for each in (model, again):
        each.train_on_batch(batch, words)
    for place, (first, ours, theirs) in enumerate(
        zip(before, learned, again.trainable_variables, strict=True)
    ):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
        assert np.array_equal(first, ours) == (place in places)


def make_run(out, **options):
    return CaptioningRun(**{**TINY, "out": str(out), "backbone_rate": 1e-3, **options})


def test_a_run_has_both_rates():
    optimizer = build_optimizer(make_run("nowhere", weight_decay=0.07), 20)
    assert type(optimizer) is BACKBONE_RATES["adamw"]
    assert optimizer.backbone_ratio == pytest.approx(0.1)
    assert (optimizer.weight_decay, optimizer.clipnorm, optimizer.use_ema) == (0.07, 5.0, True)
    with pytest.raises(ValueError, match="backbone_rate must be a number >= 0, got -1"):
        make_run("nowhere", backbone_rate=-1)
    with pytest.raises(ValueError, match="learning_rate must be above 0 with backbone_rate, got 0"):
        build_optimizer(make_run("nowhere", learning_rate=0.0), 20)


def test_a_frozen_backbone_has_no_rate(tmp_path):
    run = make_run(tmp_path / "run", backbone="efficientnet_lite0", image_size=64)
    with pytest.raises(ValueError, match="backbone_rate must be left out where no layer .* 0.001"):
        train_captioner(run, verbose=0)


@pytest.mark.slow
def test_a_run_that_is_killed_resumes_at_the_backbones_rate(tmp_path, monkeypatch):
    run = make_run(tmp_path / "run")
    with kills.watch(tmp_path / "run", monkeypatch) as states:
        model = train_captioner(run, verbose=0)
    # The first epoch is backed up, the second is not.
    moment = next(
        i for i, state in enumerate(states)
        if len(state.get("log.csv", b"").splitlines()) == 3
    )  # fmt: skip
    kills.restore(states[moment], tmp_path / "run")
    resumed = train_captioner(run, verbose=0)
    for ours, theirs in zip(resumed.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    same = dataclasses.replace(run, out=str(tmp_path / "same"), backbone_rate=None)
    other = train_captioner(same, verbose=0)
    assert pathlib.Path(same.out, "model.keras").exists()
    assert any(
        (one != two).any()
        for one, two in zip(other.encoder.get_weights(), model.encoder.get_weights(), strict=True)
    )
