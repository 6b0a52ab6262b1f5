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
"""

if __name__ == "__main__":
    main(
        STAGES,
        "retriever-lite0-flickr8k",
        about=ABOUT,
        failures=FAILURES,
        data="flickr8k:DIR",
    )
