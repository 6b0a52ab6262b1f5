"""Remakes captioner-lite0-transformer-flickr8k: EfficientNet-Lite0, tuned, and a Transformer.

    python recipes/captioning_flickr8k_lite0_transformer.py flickr8k:DIR
"""

import dataclasses

from captioning import FINE_TUNING, SELF_CRITICAL, main
from publishing import COMMON

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
    dataclasses.replace(SELF_CRITICAL, epochs=10, patience=3, image_size=256),
)

ABOUT = """\
An English image captioner: EfficientNet-Lite0 tuned from `block9_expand` on, 64 picture tokens of
256 pixels, two Transformer layers of width 384, six-head attention over the grid in each. Four
stages: cross-entropy on the frozen backbone's features, the backbone tuned, self-critical training
by CIDEr-D, each at 224 pixels, and self-critical training at 256 (trained on enlarged crops, a
model can see whole pictures better somewhat larger: Touvron et al. 2019)."""

FAILURES = """\
Looked at, in dev (file, what is there, what it said):

- `3652150541_8fb5a3a5d1.jpg`: a woman paints her face, a boy holds a mirror: "a woman and a woman
  are standing in front of a crowd". Whom it has named it names again.
- `2618538137_44fffe10c4.jpg`: a man squats on a skateboard beside a large dog: "two dogs are
  playing in the sand". Where there is one dog there are soon two, and nobody else.
- `3430779304_43a2146f4b.jpg`: two riders rope a calf in a dark arena: "a group of dogs are playing
  with a group of dogs". What it hardly knows becomes dogs.
- `2703155733_19ac6f97a8.jpg`: a model on a dark catwalk, a yellow cloth in her hand: "a woman in a
  red dress is standing in front of a yellow building". A large patch of colour is a building.
- `3319177177_130a72b8ae.jpg`: a skateboarder in the air, far away: "a group of people are riding
  bikes on a road". What is small is guessed from the place: 64 picture tokens are coarse.
- `1579798212_d30844b4c5.jpg`: a child in a bubble bath with a brush: "a little boy is sitting in a
  water fountain".

It is right where one thing stands out and does what is often seen:

- `251792066_b5233b3d86.jpg`: "a black dog is playing with a green toy in its mouth".
- `3496028495_431cfdc042.jpg`: "a brown dog is swimming with a tennis ball in its mouth". Dogs are
  in a quarter of all captions, and this ball is brighter than all else.
- `3690425778_3b390b3ea5.jpg`: "a man is jumping off a dock into a lake". A dark shape before the
  sky: the pose is enough.
- `3393035454_2d2370ffd4.jpg`: "a boy is jumping off a rock in the woods". The pose and the place.
- `2493974889_50ae29f1e1.jpg`: "two people are walking down a forest path". Small as they are, a
  path between trees leaves little else to say.

Its captions are short (9.7 words, people's are 10.8): CIDEr-D rewards what is safe."""

if __name__ == "__main__":
    main(
        STAGES, "captioner-lite0-transformer-flickr8k", about=ABOUT, failures=FAILURES, beam_size=3
    )
