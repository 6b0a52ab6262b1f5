"""Remakes captioner-lite0-transformer-flickr8k: frozen EfficientNet-Lite0, Transformer.

    python recipes/captioning_flickr8k_lite0_transformer.py flickr8k:DIR
"""

from captioning import COMMON, FINE_TUNING, SELF_CRITICAL, main

from keras_vlm.training.captioning_run import CaptioningRun

STAGES = (
    CaptioningRun(
        **COMMON,
        text="transformer",
        fusion="attention",
        hidden_dim=384,
        dropout=0.2,
        memory_dropout=0.3,
        augment="flip",
        epochs=8,
        learning_rate=1e-3,
        average=0.99,
    ),
    FINE_TUNING,
    SELF_CRITICAL,
)

ABOUT = """\
An English image captioner: frozen EfficientNet-Lite0 (49 picture tokens), two Transformer layers of
width 384, six-head attention over the grid in each."""

FAILURES = """\
Looked at, in dev (file, what is there, what it said):

- `269650644_059a84ece5.jpg`: people skate on ice in a city: "a group of people are playing in the
  snow".
- `3582685410_05315a15b8.jpg`: two women climb rocks by the ocean: "a man in a blue shirt is
  standing on a rock". Man is its first guess.
- `2735792721_b8fe85e803.jpg`: a child with a water gun: "a young boy is playing with a ball in his
  mouth", which is what dogs do.
- `2391812384_7429b5e567.jpg`: a child runs in splashing water, two people walk nearby: "a young boy
  jumps into the water". It counts badly.
- `3652150541_8fb5a3a5d1.jpg`: a woman paints faces: "a woman in a white shirt and a woman in a
  white shirt". What it does not know, it says twice.

It is good at dogs: `1679557684_50a206e4a9.jpg`, "a dog jumps to catch a ball"."""

if __name__ == "__main__":
    main(
        STAGES, "captioner-lite0-transformer-flickr8k", about=ABOUT, failures=FAILURES, beam_size=3
    )
