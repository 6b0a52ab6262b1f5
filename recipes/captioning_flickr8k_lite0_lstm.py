"""Remakes captioner-lite0-lstm-flickr8k: frozen EfficientNet-Lite0, LSTM.

    python recipes/captioning_flickr8k_lite0_lstm.py flickr8k:DIR
"""

from captioning import main

from keras_vlm.training.captioning_run import CaptioningRun

RUN = CaptioningRun(
    data="",
    out="",
    validation_split="dev",
    text="lstm",
    fusion="attention",
    hidden_dim=384,
    dropout=0.5,
    memory_dropout=0.3,
    augment="flip",
    epochs=9,
    learning_rate=1e-3,
    average=0.99,
)

if __name__ == "__main__":
    main(RUN, "captioner-lite0-lstm-flickr8k", beam_size=5)
