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
Looked at, of the test split: all 32 wrong answers are about thirteen pictures, and about a shape's
colour, never about its kind.

- `test-0` and `test-138`, red triangles, pass for brown ones; `test-46` and `test-223`, brown, for
  red; `test-321`, a black square, for a grey one.
- The other eight are small, 8 to 18 pixels a side of 64: `test-57`, a blue circle, is "not blue" by
  0.98.

It has seen one shape a picture, on a plain ground."""

if __name__ == "__main__":
    main(
        STAGES,
        "vqa-lite0-easy",
        about=ABOUT,
        terms=TERMS,
        failures=FAILURES,
        data=DATA,
    )
