"""Remakes captioner-lite0-transformer-flickr8k: frozen EfficientNet-Lite0, Transformer.

    python recipes/captioning_flickr8k_lite0_transformer.py flickr8k:DIR
"""

from captioning import main

from keras_vlm.training.captioning_run import CaptioningRun

RUN = CaptioningRun(
    data="",
    out="",
    validation_split="dev",
    text="transformer",
    fusion="attention",
    hidden_dim=384,
    dropout=0.2,
    memory_dropout=0.3,
    augment="flip",
    epochs=8,
    learning_rate=1e-3,
    average=0.99,
)

ABOUT = """\
An English image captioner: frozen EfficientNet-Lite0 (49 picture tokens), two Transformer layers of
width 384, six-head attention over the grid in each."""

FAILURES = """\
Looked at in the first pictures of dev: none yet."""

if __name__ == "__main__":
    main(
        RUN, "captioner-lite0-transformer-flickr8k", about=ABOUT, failures=FAILURES, beam_size=5
    )
