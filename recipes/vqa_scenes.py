"""Remakes vqa-scenes: questions about rendered scenes, by an encoder that learned to caption them.

    python recipes/vqa_scenes.py
"""

from vqa import main

from keras_vlm.training.captioning_run import CaptioningRun
from keras_vlm.training.vqa_run import VQARun

DATA = "scenes:20000"
STAGES = (
    CaptioningRun(
        data="scenes:8000",
        out="",
        backbone="conv_small",
        image_size=64,
        minimum_count=1,
        max_length=24,
        text="lstm",
        hidden_dim=384,
        dropout=0.5,
        epochs=8,
        captions_per_image=3,
        average=0.99,
    ),
    VQARun(
        data=DATA,
        out="",
        text="gru",
        hidden_dim=128,
        max_length=14,
        fusion="cross_attention",
        fusion_layers=3,
        position_scale=4.0,
        answers="choose",
        balance="types",
        captions_per_image=8,
        epochs=16,
        average=0.99,
    ),
)

ABOUT = """\
Answers questions about scenes of one to three coloured shapes: which are there, how many, of what
colour, how large, which is larger, and where they lie. Four convolutions that learned to caption
such scenes first and are frozen since (64 picture tokens), a GRU of width 128 in both directions,
three layers of cross-attention from the question to the picture."""

TERMS = """\
Pictures and questions are rendered by `scenes:20000` of this package (Apache-2.0), from a seed."""

FAILURES = """\
Looked at, of the test split: of 797 wrong answers, 604 are to one form of question, where one shape
is, seen from another, in scenes of three shapes (19 % of those; of two shapes 1 in 1,944). Most of
these take the wrong axis, oftener the closer to the diagonal, and may be as sure as of `test-377`
(a triangle to the left of a star and lower, "below", 0.91). The two ends of an axis change places
37 times, as in `test-215`.

- Colour and shape of two neighbours are taken for one thing: `test-215` has a pink cross beside an
  orange star, and "is there a pink star" is a yes (1.00); `test-178` a green circle, and "is there
  a green triangle" is a yes.
- Two are counted where there is one, beside others: 40 of 1,901 counts in scenes of three.
- In `test-2261` a large square passes for no larger than a small circle of its colour beside it;
  there are four such mistakes of 3,305 comparisons.

It has seen flat shapes on a plain ground, one to three of them."""

if __name__ == "__main__":
    main(
        STAGES,
        "vqa-scenes",
        about=ABOUT,
        terms=TERMS,
        failures=FAILURES,
        data=DATA,
    )
