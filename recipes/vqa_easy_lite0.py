"""Remakes vqa-lite0-easy: a frozen EfficientNet-Lite0 on easy-VQA's official train split.

    python recipes/vqa_easy_lite0.py
"""

from vqa import main
from vqa_easy_scratch import DATA, TERMS

from keras_vlm.training.vqa_run import VQARun

STAGES = (
    VQARun(
        data=DATA,
        out="",
        image_size=96,
        text="gru",
        hidden_dim=128,
        max_length=12,
        fusion="co_attention",
        fusion_layers=1,
        answers="choose",
        epochs=15,
        average=0.99,
    ),
)

ABOUT = """\
Answers easy-VQA's questions about one coloured shape by the features of a frozen
EfficientNet-Lite0 (9 picture tokens of a picture of 96 pixels), which has learned from photos: a
GRU of width 128 in both directions, one layer of co-attention, 13 answers."""

FAILURES = """\
"""

if __name__ == "__main__":
    main(
        STAGES,
        "vqa-lite0-easy",
        about=ABOUT,
        terms=TERMS,
        failures=FAILURES,
        data=DATA,
    )
