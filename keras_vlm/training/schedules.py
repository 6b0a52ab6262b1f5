"""How the learning rate goes up and down over a run. Refuses to know what learns."""

import keras
from keras import ops

from keras_vlm.core.checks import check_choice, check_number

# The share of its peak that is left in the end, where a rate falls to an end.
LEFT = 0.01


def _cosine(peak, warmup_steps, decay_steps):
    return keras.optimizers.schedules.CosineDecay(
        0.0 if warmup_steps else peak,
        decay_steps=decay_steps,
        alpha=LEFT,
        warmup_target=peak if warmup_steps else None,
        warmup_steps=warmup_steps,
    )


def _of(shape):
    return lambda peak, warmup_steps, decay_steps: WarmUp(
        peak, warmup_steps, decay_steps, shape=shape
    )


SHAPES = ("linear", "constant", "inverse_sqrt")
SCHEDULES = {"cosine": _cosine, **{shape: _of(shape) for shape in SHAPES}}


@keras.saving.register_keras_serializable("keras_vlm")
class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that rises from 0 in a straight line, and then stays or falls.

    With w steps of warm-up and d steps after them, at step s >= w it is the peak times

    - ``"linear"``: ``1 - 0.99 (s - w) / d``, and 0.01 from w + d on;
    - ``"constant"``: 1;
    - ``"inverse_sqrt"``: ``sqrt(max(w, 1) / max(s, w, 1))``, which knows no end and no d.

    A fall as a cosine is ``keras.optimizers.schedules.CosineDecay``.

    Args:
        peak: the greatest rate.
        warmup_steps: w; with 0 it begins at its peak.
        decay_steps: d.
        shape: one of the three.

    Raises:
        ValueError: an option is unknown or out of range.

    Example:
        ``keras.optimizers.AdamW(WarmUp(1e-3, 100, 1900, shape="linear"))``

    Source:
        Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, section 5.3, for the inverse square
        root, whose peak follows from the width there and is free here.
    """

    def __init__(self, peak, warmup_steps, decay_steps, *, shape="constant"):
        super().__init__()
        where = "WarmUp"
        self.peak = check_number(where, "peak", peak, minimum=0)
        self.warmup_steps = check_number(
            where, "warmup_steps", warmup_steps, minimum=0, integer=True
        )
        self.decay_steps = check_number(where, "decay_steps", decay_steps, minimum=1, integer=True)
        self.shape = check_choice(where, "shape", shape, SHAPES)

    def __call__(self, step):
        """Returns the rate of a step, a float32 scalar."""
        step = ops.cast(step, "float32")
        rising = step / max(self.warmup_steps, 1)
        first = max(self.warmup_steps, 1)
        done = ops.clip((step - self.warmup_steps) / self.decay_steps, 0.0, 1.0)
        after = {
            "linear": lambda: 1 - (1 - LEFT) * done,
            "constant": lambda: ops.ones_like(step),
            "inverse_sqrt": lambda: ops.sqrt(first / ops.maximum(step, first)),
        }[self.shape]()
        return self.peak * ops.where(step < self.warmup_steps, rising, after)

    def get_config(self):
        """Returns the constructor's arguments, for Keras's saving."""
        return {
            "peak": self.peak,
            "warmup_steps": self.warmup_steps,
            "decay_steps": self.decay_steps,
            "shape": self.shape,
        }


def build_schedule(name, peak, steps, warmup):
    """Makes the learning rate of a run.

    Args:
        name: a key of ``SCHEDULES``.
        peak: the greatest rate.
        steps: steps of the whole run.
        warmup: share of them over which the rate rises from 0; above 0 it takes one step at least.

    Returns:
        A Keras learning rate schedule.

    Raises:
        ValueError: an option is unknown or out of range.
    """
    where = "build_schedule"
    check_choice(where, "name", name, SCHEDULES)
    check_number(where, "warmup", warmup, minimum=0, maximum=1)
    warmup_steps = max(1, round(warmup * steps)) if warmup else 0
    return SCHEDULES[name](peak, warmup_steps, max(1, round((1 - warmup) * steps)))
