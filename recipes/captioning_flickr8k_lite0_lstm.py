"""Remakes captioner-lite0-lstm-flickr8k: EfficientNet-Lite0, tuned, and an LSTM.

    python recipes/captioning_flickr8k_lite0_lstm.py flickr8k:DIR
"""

from captioning import FINE_TUNING, SELF_CRITICAL, main
from publishing import COMMON

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
An English image captioner: EfficientNet-Lite0 tuned from `block9_expand` on, one LSTM of width 384,
six-head attention over the grid. Three stages: cross-entropy on the frozen backbone's features, the
backbone tuned, self-critical training by CIDEr-D. Trained at 224 pixels, published at 256 (64
picture tokens; trained on enlarged crops, a model can see whole pictures better somewhat larger:
Touvron et al. 2019)."""

FAILURES = """\
Looked at, in dev (file, what is there, what it said):

- `2090545563_a4e66ec76b.jpg`: a boy lies on a skateboard, another pushes: "a boy in a red shirt is
  sitting on a skateboard". Two become one, and unusual poses usual ones.
- `269650644_059a84ece5.jpg`: people skate on ice in a city: "a group of people are standing in
  front of a building", which it says of twelve pictures.
- `1579798212_d30844b4c5.jpg`: a child in a bubble bath with a brush: "a little boy is playing in a
  pool". Water with a child in it is a pool.
- `3652150541_8fb5a3a5d1.jpg`: a woman paints faces, a boy holds a mirror: "a woman in a blue shirt
  is holding a woman in a blue shirt". What it does not know, it says twice.
- `634891010_9fa189effb.jpg`: two dogs on dry sand, one digging: "two dogs are playing in a
  field". Dogs play, in water, fields or snow.

It is right where one thing stands out and does what is often seen:

- `3504275465_604ce2ef34.jpg`: "a white dog is running through the water".
- `3496028495_431cfdc042.jpg`: "a brown dog is swimming in the water with a tennis ball in its
  mouth". Dogs are in a quarter of all captions.
- `537579448_a7f92cef58.jpg`: "a little girl is playing with a soccer ball". A child alone on a
  lawn; a ball of black and white is no other ball.
- `1579206585_5ca6a24db0.jpg`: "a woman is playing a guitar". A stage's light goes with guitars.
- `3064097919_e536ab9693.jpg`: "a skateboarder is doing a trick on a ramp". The ramp is enough.

Its captions are short (9.2 words, people's are 10.8) and plain: CIDEr-D rewards what is safe."""

if __name__ == "__main__":
    main(
        STAGES,
        "captioner-lite0-lstm-flickr8k",
        about=ABOUT,
        failures=FAILURES,
        beam_size=3,
        image_size=256,
    )
