"""Remakes captioner-lite0-transformer-flickr8k: EfficientNet-Lite0, tuned, and a Transformer.

    python recipes/captioning_flickr8k_lite0_transformer.py flickr8k:DIR
"""

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
)

ABOUT = """\
An English image captioner: EfficientNet-Lite0 (49 picture tokens) tuned from `block9_expand` on,
two Transformer layers of width 384, six-head attention over the grid in each. Three stages:
cross-entropy on the frozen backbone's features, the backbone tuned, self-critical training by
CIDEr-D."""

FAILURES = """\
Looked at, in dev (file, what is there, what it said):

- `3652150541_8fb5a3a5d1.jpg`: a woman paints her face, a boy holds a mirror: "a woman and a woman
  are standing in front of a crowd". Whom it has named it names again.
- `2703155733_19ac6f97a8.jpg`: a model on a catwalk: "a woman in a white dress is standing in front
  of a bride". A white dress means a wedding.
- `3319177177_130a72b8ae.jpg`: a skateboarder in the air, far away: "two dogs are racing on a
  track". What is small is guessed from the place: 49 picture tokens are coarse.
- `2384550175_e421d3a871.jpg`: children on a climbing frame: "a skateboarder is jumping on a swing".
- `1579798212_d30844b4c5.jpg`: a child in a bubble bath with a brush: "a little boy is sitting in a
  water fountain".

It is good at dogs and at what is large: `251792066_b5233b3d86.jpg`, "a black dog is playing with a
green toy". Its captions are short (9.4 words, people's are 10.8): CIDEr-D rewards what is safe."""

if __name__ == "__main__":
    main(
        STAGES, "captioner-lite0-transformer-flickr8k", about=ABOUT, failures=FAILURES, beam_size=3
    )
