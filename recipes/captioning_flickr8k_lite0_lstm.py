"""Remakes captioner-lite0-lstm-flickr8k: frozen EfficientNet-Lite0, LSTM.

    python recipes/captioning_flickr8k_lite0_lstm.py flickr8k:DIR
"""

from captioning import COMMON, FINE_TUNING, SELF_CRITICAL, main

from keras_vlm.training.captioning_run import CaptioningRun

STAGES = (
    CaptioningRun(
        **COMMON,
        text="lstm",
        fusion="attention",
        hidden_dim=384,
        dropout=0.5,
        memory_dropout=0.3,
        augment="flip",
        epochs=9,
        learning_rate=1e-3,
        average=0.99,
    ),
    FINE_TUNING,
    SELF_CRITICAL,
)

ABOUT = """\
An English image captioner: frozen EfficientNet-Lite0 (49 picture tokens), one LSTM of width 384,
six-head attention over the grid."""

FAILURES = """\
Looked at, in dev (file, what is there, what it said):

- `2090545563_a4e66ec76b.jpg`: a boy lies on a skateboard, another pushes: "two people sitting on a
  bench". Unusual poses become usual ones.
- `269650644_059a84ece5.jpg`: people skate on ice in a city: "a group of people are standing in
  front of a city street".
- `1579798212_d30844b4c5.jpg`: a child in a bubble bath with a brush: "a little boy in a blue shirt
  is sitting in the water". It invents clothes: 12 % of all captions have a blue shirt.
- `3652150541_8fb5a3a5d1.jpg`: a woman paints faces, a boy holds a mirror: "a woman in a blue shirt
  is holding a woman in a blue shirt". What it does not know, it says twice.
- `3583321426_f373c52161.jpg`: a woman about to smoke: "a woman wearing a red hat sitting on a
  bench". Small things in hands are missed: 49 picture tokens are coarse.

It is good at dogs: `1679557684_50a206e4a9.jpg`, "a dog jumps into the air to catch a ball"."""

if __name__ == "__main__":
    main(
        STAGES, "captioner-lite0-lstm-flickr8k", about=ABOUT, failures=FAILURES, beam_size=5
    )
