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

FAILURES = ""

if __name__ == "__main__":
    main(
        STAGES,
        "vqa-scenes",
        about=ABOUT,
        terms=TERMS,
        failures=FAILURES,
        data=DATA,
    )
