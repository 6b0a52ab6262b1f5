"""Remakes captioner-lite0-lstm-flickr8k-zh: EfficientNet-Lite0, tuned, an LSTM, and jieba's words.

    python recipes/captioning_flickr8k_lite0_lstm_zh.py flickr8k:DIR

DIR has Flickr8k-CN's captions too: annotations/captions_zh_train.json and the like.
"""

import dataclasses

from captioning import FINE_TUNING, SELF_CRITICAL, main
from publishing import COMMON

from keras_vlm.training.captioning_run import CaptioningRun

STAGES = (
    CaptioningRun(
        **COMMON,
        language="zh",
        unit="jieba",
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
    dataclasses.replace(FINE_TUNING, language="zh", epochs=6),
    dataclasses.replace(SELF_CRITICAL, language="zh", epochs=4),
)

ABOUT = """\
A Chinese image captioner: EfficientNet-Lite0 (49 picture tokens) tuned from `block9_expand` on, one
LSTM of width 384 that writes jieba's words, six-head attention over the grid. Three stages:
cross-entropy on the frozen backbone's features, the backbone tuned, self-critical training by
CIDEr-D. Scores with "(jieba)" count words, those without count characters."""

FAILURES = """\
Looked at, 20 of dev drawn at random; eleven are right. Ids are Flickr8k's.

- It takes other animals for dogs: 3265527323, a hen and her chick, are "两只狗在玩耍".
- It counts to two: 2356664078, three dogs, are "两只狗在草地上玩耍".
- It guesses what people do from where they are: 3679502342, who stands, is "坐在椅子上的男人";
  1100214449, a boy who jumps before a fountain, is "一个男人在玩滑板"; so is 3508522093, who lies
  in leaves. In the dark, 1045521051, who watches television, is "一个人在吃东西". Several people
  are "一群人在街道上" even in a wood: 3398788809.
- What it has not seen becomes "一个小孩在玩耍", a child that plays: 2836360729, a woman covered
  with seaweed. Self-critical training has made it short and safe; the stage before says more
  (CIDEr-D of words 0.934), and less of it is right (BLEU-1 of words 0.621).

It is right where one thing stands out and does what is often seen: 3496028495, "一只狗在水中游泳"
(of the ball in its mouth no word); 3563673070, "一个人在划船"; 3064097919, "一个人在玩滑板";
2381613738, "一个小孩在荡秋千"; 1579206585, who plays on a stage, "一个人在弹吉他"."""

if __name__ == "__main__":
    main(
        STAGES,
        "captioner-lite0-lstm-flickr8k-zh",
        about=ABOUT,
        failures=FAILURES,
        beam_size=5,
        captions="Chinese",
        flags=" --language zh",
    )
