"""Remakes captioner-lite0-lstm-flickr8k-zh: EfficientNet-Lite0, tuned, an LSTM, and jieba's words.

    python recipes/captioning_flickr8k_lite0_lstm_zh.py flickr8k:DIR

DIR has Flickr8k-CN's captions too: annotations/captions_zh_train.json and the like.
"""

import dataclasses

from captioning import FINE_TUNING, SELF_CRITICAL, main
from publishing import COMMON

from keras_vlm.training.captioning_run import CaptioningRun

STAGES = (
    CaptioningRun(
        **COMMON,
        language="zh",
        unit="jieba",
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
    dataclasses.replace(FINE_TUNING, language="zh"),
    dataclasses.replace(SELF_CRITICAL, language="zh"),
)

ABOUT = """\
A Chinese image captioner: EfficientNet-Lite0 (49 picture tokens) tuned from `block9_expand` on, one
LSTM of width 384 that writes jieba's words, six-head attention over the grid. Three stages:
cross-entropy on the frozen backbone's features, the backbone tuned, self-critical training by
CIDEr-D. Scores with "(jieba)" count words, those without count characters."""

# Of the model that is published, once it has been looked at.
FAILURES = ""

if __name__ == "__main__":
    main(
        STAGES,
        "captioner-lite0-lstm-flickr8k-zh",
        about=ABOUT,
        failures=FAILURES,
        beam_size=5,
        captions="Chinese",
        flags=" --language zh",
    )
