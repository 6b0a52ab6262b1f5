"""Remakes video-captioner-moving-scenes: a small network from scratch on rendered clips.

    python recipes/video_caption_moving_scenes.py

Beside it, of the same size and on the same clips, a single frame, and frames in any order:

    keras-vlm train moving_scenes:4000 --out runs/caption_frame OPTIONS
    keras-vlm train moving_scenes:4000:shuffled --out runs/caption_shuffled --task video-caption \
        OPTIONS

where OPTIONS are those of ``STAGES`` that the task has.
"""

from video import main

from keras_vlm.training.video_run import VideoCaptioningRun

DATA = "moving_scenes:4000"
STAGES = (
    VideoCaptioningRun(
        data=DATA,
        out="",
        backbone="conv_small",
        image_size=64,
        num_frames=4,
        temporal="transformer",
        text="transformer",
        hidden_dim=128,
        dropout=0.1,
        label_smoothing=0.0,
        max_length=18,
        captions_per_image=3,
        augment="flip",
        epochs=24,
        batch_size=16,
        learning_rate=1e-3,
        average=0.99,
    ),
)

ABOUT = """\
Says in a sentence what happens to which shape, and in which order: four frames of 64 pixels, four
convolutions from scratch on each, all their tokens in two Transformer layers over time, two
Transformer layers of width 128 that write."""

BESIDE = """\
"""

FAILURES = """\
"""

if __name__ == "__main__":
    main(
        "video-caption",
        STAGES,
        "video-captioner-moving-scenes",
        about=ABOUT,
        beside=BESIDE,
        failures=FAILURES,
        data=DATA,
    )
