"""Remakes video-qa-moving-scenes: the eyes of video-captioner-moving-scenes, and questions.

    python recipes/video_qa_moving_scenes.py

Beside it, with the same options (those of ``STAGES``), one frame alone:

    keras-vlm train moving_scenes:8000 --out runs/qa_frame --task vqa --backbone vqa-scenes ...
"""

from video import main

from keras_vlm.training.video_run import VideoQARun

DATA = "moving_scenes:8000"
STAGES = (
    VideoQARun(
        data=DATA,
        out="",
        backbone="video-captioner-moving-scenes",
        text="gru",
        hidden_dim=128,
        max_length=16,
        fusion="cross_attention",
        fusion_layers=3,
        answers="choose",
        balance="types",
        captions_per_image=5,
        epochs=4,
        average=0.99,
    ),
)

ABOUT = """\
Answers questions about what happens to which shape, and in which order: motion, change, order,
count. It sees as `video-captioner-moving-scenes` does, whose layer over time it goes on training:
eight frames of 64 pixels, each by the four convolutions of `vqa-scenes`, frozen; each of the 64
places joins its eight frames, and two Transformer layers of width 256 compare places. Three layers
of cross-attention lead there from the question, which a GRU of width 128 has read in both
directions."""

BESIDE = """\
The middle frame alone, with a model of the same size and data, comes to 0.408 on test (change
0.193, count 0.496, motion 0.430, order 0.500); its command is at the head of the recipe."""

FAILURES = """\
Looked at, in test: all 21 that are wrong. 20 ask how many shapes move somewhere: where two do, it
counts one (`test-52`, `test-117`; 11 of them), and where one moves it may take its way for another
(`test-107`, `test-642`; 9). It knows the order of all changes, and all colours."""

if __name__ == "__main__":
    main(
        "video-qa",
        STAGES,
        "video-qa-moving-scenes",
        about=ABOUT,
        beside=BESIDE,
        failures=FAILURES,
        data=DATA,
    )
