"""Remakes retriever-lite0-flickr8k-zh: the same in Chinese, by characters.

    python recipes/retrieval_flickr8k_lite0_zh.py coco:captions_zh_{split}.json:IMAGES
"""

import dataclasses

from retrieval import FINE_TUNING, FIRST, main

CHINESE = {"language": "zh"}
STAGES = (
    dataclasses.replace(FIRST, **CHINESE, max_length=32),
    dataclasses.replace(FINE_TUNING, **CHINESE),
)

ABOUT = """\
Chinese image-text retrieval, by characters: EfficientNet-Lite0 (49 picture tokens, tuned from
`block9_expand` on) and a bidirectional GRU of width 384, each averaged into one vector of 512,
trained by the contrastive loss in batches of 128 pictures with their five captions."""

FAILURES = """\
"""

if __name__ == "__main__":
    main(
        STAGES,
        "retriever-lite0-flickr8k-zh",
        about=ABOUT,
        failures=FAILURES,
        data="coco:captions_zh_{split}.json:IMAGES",
        more_data=" (Flickr8k-CN, sentences written by Chinese speakers; Li et al. 2016)",
    )
