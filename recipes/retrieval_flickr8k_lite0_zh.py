"""Remakes retriever-lite0-flickr8k-zh: EfficientNet-Lite0, tuned, and three heads of characters.

    python recipes/retrieval_flickr8k_lite0_zh.py flickr8k:DIR

DIR has Flickr8k-CN's captions too: annotations/captions_zh_train.json and the like.
"""

import dataclasses

from retrieval import FINE_TUNING, FIRST, main

STAGES = (
    dataclasses.replace(FIRST, language="zh", unit="character", max_length=32),
    dataclasses.replace(FINE_TUNING, language="zh"),
)

ABOUT = """\
Chinese image-text retrieval: EfficientNet-Lite0, tuned from `block9_expand` on at 288 pixels and
published at 320 (100 picture tokens; captions find 50.1 of their pictures among ten in place of
49.9, pictures their captions 57.2 in place of 57.3; Touvron et al. 2019 say why larger may be
better), and three heads in one model: two read characters by a bidirectional GRU, one as a bag,
each of width 320. Each head averages picture and characters into one vector of 256, of which the
model's 768 are made, and learns by a contrastive loss of its own with label smoothing of 0.2, in
batches of 128 pictures with their five captions. The pictures were there at 224 pixels only."""

FAILURES = """\
Looked at, in dev: sentences of which more than 50 pictures stand before the right one, and what
stood first. Many of Flickr8k-CN's sentences are short and fit other pictures as well:
"两只狗在飞奔的跑。" (96th; a running dog first), "路边聊天的人。" (92nd), "正在奔跑的男子。"
(173rd; a running man first, while the right picture shows a woman).

- "玩游戏。": 763rd, a child with a game console; a child on a playground first. The console is
  small, and a game is what children play outdoors.
- "在草坪上面跳跃的女孩。": 255th, two women in a sack race; a man in a somersault first.
- "两个穿比基尼的女人。": 163rd, two small figures on a wide beach; four women in the foreground
  first. What fills the picture counts.
- "蹲着的三个孩子。": 162nd, three children far away at the water; four school children first.
- "一个乞丐走在街道上。": 107th; people who sit at a street first. It has never learned the
  character 丐.
- "男人为女人戴项链。": 91st; two women in a street first. Necklaces are rare.
- "一个骑自行车的人。": 77th, at night; a racing cyclist by day first.

"一个人站在山顶上。", "一群人举着牌子在拍照。" and "十七号球员被六号球员拦截。" find their
pictures at once."""

if __name__ == "__main__":
    main(
        STAGES,
        "retriever-lite0-flickr8k-zh",
        about=ABOUT,
        failures=FAILURES,
        data="flickr8k:DIR",
        more_data=", Flickr8k-CN's in Chinese (Li, Lan, Dong and Liu 2016)",
        image_size=320,
    )
