"""Remakes captioner-lite0-transformer-flickr8k-zh: the English one's encoder, jieba's words.

    python recipes/captioning_flickr8k_lite0_transformer_zh.py flickr8k:DIR

DIR has Flickr8k-CN's captions too: annotations/captions_zh_train.json and the like.
"""

import dataclasses

from captioning import SELF_CRITICAL, main
from publishing import COMMON

from keras_vlm.training.captioning_run import CaptioningRun

STAGES = (
    CaptioningRun(
        **COMMON,
        language="zh",
        backbone="captioner-lite0-transformer-flickr8k",
        unit="jieba",
        text="transformer",
        fusion="attention",
        hidden_dim=384,
        dropout=0.2,
        memory_dropout=0.3,
        augment="flip",
        epochs=6,
        learning_rate=1e-3,
        average=0.99,
    ),
    dataclasses.replace(SELF_CRITICAL, language="zh", epochs=5),
)

ABOUT = """\
A Chinese image captioner: the encoder of `captioner-lite0-transformer-flickr8k` (EfficientNet-Lite0
tuned on English captions of the same pictures, 64 picture tokens of 256 pixels) as it is, two
Transformer layers of width 384 that write jieba's words, six-head attention over the grid in each.
Two stages: cross-entropy, and self-critical training by CIDEr-D. Scores with "(jieba)" count words,
those without count characters."""

FAILURES = """\
Looked at, 20 of dev drawn at random, greedy; ten are right. Ids are Flickr8k's.

- Dogs are two and play: 3383037991, a mastiff alone among shreds, 236144859, who nurses her
  puppies, and 3585123310, puppies that lie, are all "两只狗在玩耍".
- People with hair in their faces get sunglasses and are women: 911795495, a girl, and 483039719,
  young men in a street, are "戴着墨镜的女人". Who is a man is guessed: 141755292, a man and a woman
  at a buffet, are "两个女人在玩耍".
- What people do is guessed from little: 519228867, a girl in a tub of water, is "吃东西的小女孩";
  3198962089, a snowboarder on a table at night, "一个人在玩滑梯".
- What it hardly knows plays: 2346772831, a woman who bends down and a child who squats, are
  "两个人在玩耍".
- It counts by the place: 3530342993, one cyclist in the air above a crowd, is "一群人在骑自行车".
- Measure words may be wrong: 413231421 is "一个狗在雪地里玩耍".

It is right where one thing stands out and does what is often seen: 3496028495, "一只狗在水中游泳"
(of the ball in its mouth no word); 3563673070, "一个男人在划船"; 3064097919, "一个人在玩滑板";
525538142, "两个小孩在沙滩上玩耍"; 2381613738, "玩秋千的小孩"."""

if __name__ == "__main__":
    main(
        STAGES,
        "captioner-lite0-transformer-flickr8k-zh",
        about=ABOUT,
        failures=FAILURES,
        beam_size=1,
        captions="Chinese",
        flags=" --language zh",
    )
