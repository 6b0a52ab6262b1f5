"""Remakes vqa-scenes: a small network from scratch on questions about rendered scenes.

    python recipes/vqa_scenes.py
"""

from vqa import main

from keras_vlm.training.vqa_run import VQARun

DATA = "scenes:8000"
STAGES = (
    VQARun(
        data=DATA,
        out="",
        backbone="conv_small",
        image_size=64,
        text="gru",
        hidden_dim=128,
        max_length=18,
        fusion="co_attention",
        fusion_layers=2,
        answers="choose",
        captions_per_image=6,
        epochs=40,
        average=0.99,
    ),
)

ABOUT = """\
Answers questions about one to three coloured shapes: existence, count, colour, comparison,
relation. Four convolutions from scratch (64 picture tokens), a GRU of width 128 in both directions,
two layers of co-attention."""

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
