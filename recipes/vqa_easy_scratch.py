"""Remakes vqa-scratch-easy: a small network from scratch on easy-VQA's official train split.

    python recipes/vqa_easy_scratch.py
"""

from vqa import main

from keras_vlm.training.vqa_run import VQARun

DATA = "easy_vqa"
STAGES = (
    VQARun(
        data=DATA,
        out="",
        backbone="conv_small",
        image_size=64,
        text="gru",
        hidden_dim=128,
        max_length=12,
        fusion="co_attention",
        fusion_layers=1,
        answers="choose",
        captions_per_image=4,
        epochs=20,
        average=0.99,
    ),
)

ABOUT = """\
Answers easy-VQA's questions about one coloured shape: four convolutions from scratch (64 picture
tokens), a GRU of width 128 in both directions, one layer of co-attention, 13 answers."""

TERMS = """\
easy-VQA (Zhou 2019), by its PyPI package `easy-vqa` (MIT): 4,000 official training pictures, of
which 197 chose the epoch, and the 1,000 official test pictures, which nothing but the scores
above has seen."""

FAILURES = """\
Looked at, of the test split: all 17 wrong answers are about six pictures, and about a shape's kind,
never about its colour.

- `test-395`, a yellow square of 9 pixels a side, passes for a circle, and `test-144`, a square in
  the corner, once; `test-465`, a grey circle of 13 pixels at the upper edge, for a rectangle. Their
  probabilities are low, 0.56 to 0.79.
- `test-598`, `test-635` and `test-662` are circles at the edge of the picture or near it that pass
  for rectangles. Only of `test-598` is it sure, and wrong (0.98 and more).

It has seen one shape a picture, on a plain ground."""

if __name__ == "__main__":
    main(
        STAGES,
        "vqa-scratch-easy",
        about=ABOUT,
        terms=TERMS,
        failures=FAILURES,
        data=DATA,
    )
