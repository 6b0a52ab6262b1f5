"""Remakes video-qa-moving-scenes: a small network from scratch on questions about rendered clips.

    python recipes/video_qa_moving_scenes.py

Beside it, of the same size and on the same clips, a single frame, and frames in any order:

    keras-vlm train moving_scenes:4000 --out runs/qa_frame --task vqa OPTIONS
    keras-vlm train moving_scenes:4000:shuffled --out runs/qa_shuffled --task video-qa OPTIONS

where OPTIONS are those of ``STAGES`` that the task has.
"""

from video import main

from keras_vlm.training.video_run import VideoQARun

DATA = "moving_scenes:4000"
STAGES = (
    VideoQARun(
        data=DATA,
        out="",
        backbone="conv_small",
        image_size=64,
        num_frames=4,
        temporal="transformer",
        text="gru",
        hidden_dim=128,
        max_length=16,
        fusion="co_attention",
        answers="choose",
        captions_per_image=6,
        augment="flip",
        epochs=24,
        batch_size=16,
        learning_rate=1e-3,
        average=0.99,
    ),
)

ABOUT = """\
Answers questions about what happens to which shape, and in which order: motion, change, order,
count. Four frames of 64 pixels, four convolutions from scratch on each, all their tokens in two
Transformer layers over time, a GRU of width 128 in both directions, co-attention."""

BESIDE = """\
"""

FAILURES = """\
"""

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
