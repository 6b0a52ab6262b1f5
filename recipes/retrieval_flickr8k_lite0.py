"""Remakes retriever-lite0-flickr8k: EfficientNet-Lite0, tuned, and a bidirectional GRU.

    python recipes/retrieval_flickr8k_lite0.py flickr8k:DIR
"""

from retrieval import FINE_TUNING, FIRST, main

STAGES = (FIRST, FINE_TUNING)

ABOUT = """\
English image-text retrieval: EfficientNet-Lite0 (49 picture tokens, tuned from `block9_expand` on)
and a bidirectional GRU of width 384, each averaged into one vector of 512, trained by the
contrastive loss in batches of 128 pictures with their five captions."""

FAILURES = """\
Looked at, in dev: sentences of which more than 150 pictures stand before the right one, and what
stood first.

- "A child petting a dog.": the right picture is the 579th, a pack of dogs on a road the first. It
  finds things better than what is done with them.
- "The person blocks his face with newspaper to avoid being photographed.": 530th; a street painter
  first. Rare scenes become a person on a street.
- "Man bowling in a dimly lit bowling alley.": 313th; people in a shopping mall first.
- "Children are playing leapfrog in front of a fountain": 239th; children who play in water first.
  It has never learned the word leapfrog, and `keras-vlm search` says so.
- "The attack dog is biting the cloth the officer ... is holding on to": 200th; a man on a
  motorcycle first. In long sentences the last words may win.

"Three people on bikes racing through the orange cones." and "Two kids are walking on a path in the
woods." find their pictures at once."""

if __name__ == "__main__":
    main(
        STAGES,
        "retriever-lite0-flickr8k",
        about=ABOUT,
        failures=FAILURES,
        data="flickr8k:DIR",
    )
