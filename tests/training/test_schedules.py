"""Learning rates: the formulas, warm-up, saving, and a run's own by name."""

import keras
import numpy as np
import pytest

from keras_vlm import WarmUp, load
from keras_vlm.tasks.captioning import build_captioner
from keras_vlm.text import Tokenizer
from keras_vlm.training.captioning_run import CaptioningRun
from keras_vlm.training.run import build_optimizer
from keras_vlm.training.schedules import SCHEDULES, build_schedule


def expected_rate(name, peak, steps, warmup, step):
    """Plain Python, by the text of the documentation."""
    warm = 0 if warmup == 0 else max(1, round(warmup * steps))
    fall = max(1, round((1 - warmup) * steps))
    if step < warm:
        return peak * step / warm
    done = min(1.0, (step - warm) / fall)
    if name == "cosine":
        return peak * (0.01 + 0.99 * (1 + np.cos(np.pi * done)) / 2)
    if name == "linear":
        return peak * (1 - 0.99 * done)
    if name == "inverse_sqrt":
        return peak * (max(warm, 1) / max(step, warm, 1)) ** 0.5
    return peak


@pytest.mark.parametrize("warmup", [0.0, 0.001, 0.05, 0.3, 1.0])
@pytest.mark.parametrize("name", SCHEDULES)
def test_the_rate_of_each_step(name, warmup):
    schedule = build_schedule(name, 0.03, 40, warmup)
    found = [float(schedule(step)) for step in range(47)]
    expected = [expected_rate(name, 0.03, 40, warmup, step) for step in range(47)]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-9)
    assert max(found) == pytest.approx(0.03)
    assert (found[0] == 0) == (warmup > 0)
    # The optimizer asks with its own step variable.
    assert float(schedule(keras.Variable(21, dtype="int64"))) == pytest.approx(found[21])


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_run_has_it_by_name(name):
    run = CaptioningRun(
        "scenes:16", "nowhere", schedule=name, warmup=0.3, learning_rate=0.02
    )
    schedule = build_optimizer(run, 40)._learning_rate
    for step in (0, 5, 12, 30, 40):
        assert float(schedule(step)) == pytest.approx(
            expected_rate(name, 0.02, 40, 0.3, step), abs=1e-8
        )


def test_a_run_that_says_nothing_has_what_it_always_had():
    config = build_optimizer(CaptioningRun("scenes:16", "nowhere"), 1037)._learning_rate
    assert config.get_config() == keras.optimizers.schedules.CosineDecay(
        0.0, decay_steps=round(0.95 * 1037), alpha=0.01, warmup_target=1e-3,
        warmup_steps=round(0.05 * 1037),
    ).get_config()  # fmt: skip


def test_a_model_is_saved_with_its_schedule(tmp_path):
    keras.utils.set_random_seed(0)
    model = build_captioner(
        "conv_small",
        tokenizer=Tokenizer(["a", "dog"], max_length=5),
        text="lstm",
        image_size=32,
        optimizer=keras.optimizers.Adam(WarmUp(0.02, 5, 20, shape="linear")),
    )
    model.save(tmp_path / "model.keras")
    again = load(tmp_path / "model.keras").optimizer._learning_rate
    assert type(again) is WarmUp
    assert [float(again(s)) for s in (3, 9)] == pytest.approx([0.012, 0.02 * (1 - 0.99 * 0.2)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"schedule": "cosin"}, "CaptioningRun: schedule must be one of .* mean 'cosine'"),
        ({"warmup": 1.5}, "CaptioningRun: warmup must be a number from 0 to 1, got 1.5"),
    ],
)
def test_bad_options_of_a_run(options, message):
    with pytest.raises(ValueError, match=message):
        CaptioningRun("scenes:16", "nowhere", **options)


@pytest.mark.parametrize(
    ("arguments", "shape", "message"),
    [
        ((-1.0, 5, 20), "linear", "WarmUp: peak must be a number >= 0, got -1.0"),
        ((0.1, 2.5, 20), "linear", "warmup_steps must be a whole number >= 0, got 2.5"),
        ((0.1, 5, 0), "linear", "decay_steps must be a whole number >= 1, got 0"),
        ((0.1, 5, 20), "step", "shape must be one of .* got 'step'"),
    ],
)
def test_bad_options(arguments, shape, message):
    with pytest.raises(ValueError, match=message):
        WarmUp(*arguments, shape=shape)
