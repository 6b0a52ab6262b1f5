"""Remakes vqa-scenes: a small network from scratch on questions about rendered scenes.

    python recipes/vqa_scenes.py
"""

from vqa import main

from keras_vlm.training.captioning_run import CaptioningRun
from keras_vlm.training.vqa_run import VQARun

DATA = "scenes:20000"
# Captions have many words a picture, and teach the eye shapes and colours in a few minutes.
SEEING = CaptioningRun(
    data=DATA,
    out="",
    backbone="conv_small",
    image_size=64,
    minimum_count=1,
    epochs=4,
    captions_per_image=3,
    average=0.99,
)
ANSWERING = VQARun(
    data=DATA,
    out="",
    text="gru",
    hidden_dim=128,
    max_length=14,
    fusion="cross_attention",
    answers="choose",
    balance="types",
    captions_per_image=8,
    epochs=12,
    average=0.99,
)
STAGES = (SEEING, ANSWERING)

ABOUT = """\
Answers questions about one to three coloured shapes: existence, count, colour, comparison,
relation. Four convolutions (64 picture tokens) that have learned by captioning the same scenes, a
GRU of width 128 in both directions, two layers of cross-attention."""

TERMS = """\
Rendered by this package (`scenes`), with questions whose words do not tell the answer: no files, no
terms. Test scenes are combinations that training has not seen."""

FAILURES = """\
"""

if __name__ == "__main__":
    main(
        STAGES,
        "vqa-scenes",
        about=ABOUT,
        terms=TERMS,
        failures=FAILURES,
        data=DATA,
    )
