"""Remakes retriever-lite0-flickr8k-zh: the same in Chinese, by characters.

    python recipes/retrieval_flickr8k_lite0_zh.py coco:captions_zh_{split}.json:IMAGES
"""

import dataclasses

from retrieval import FIRST, main

STAGES = (dataclasses.replace(FIRST, language="zh", max_length=32),)

ABOUT = """\
Chinese image-text retrieval, by characters: the encoder of captioner-lite0-lstm-flickr8k as it is
(EfficientNet-Lite0, tuned on English captions; 49 picture tokens) and a bidirectional GRU of width
384, each averaged into one vector of 512, trained by the contrastive loss in batches of 128
pictures with their five captions."""

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
