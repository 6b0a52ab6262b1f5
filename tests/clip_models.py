"""Small, untrained models of clips to test with."""

import keras

from keras_vlm import (
    Backbone,
    Tokenizer,
    build_video_captioner,
    build_video_qa,
    choose_answers,
    load_data,
)
from keras_vlm.fusion import FUSIONS, QUESTION_FUSIONS
from keras_vlm.text import TEXT_DECODERS, TEXT_ENCODERS
from keras_vlm.vision.temporal import TEMPORALS

# Frames of their clips.
F = 4


def small_temporal(name):
    return TEMPORALS[name](**({} if name == "mean" else {"hidden_dim": 24}))


def small_backbone(**options):
    return Backbone("conv_small", image_size=32, weights=None, trainable_from="all", **options)


def video_captioner(temporal="transformer", text="lstm"):
    """An untrained captioner of clips whose captions differ from clip to clip."""
    keras.utils.set_random_seed(7)
    examples = load_data("moving_scenes:24")["train"]
    model = build_video_captioner(
        small_backbone(),
        tokenizer=Tokenizer.fit(examples, minimum_count=1, max_length=9),
        temporal=small_temporal(temporal),
        num_frames=F,
        text=TEXT_DECODERS[text](FUSIONS["attention"](), hidden_dim=24, dropout=0.1),
    )
    for weight in [*model.temporal.trainable_variables, *model.text_decoder.trainable_variables]:
        weight.assign_add(0.4 * keras.random.normal(weight.shape))
    return model


def video_qa(temporal="transformer", answers="choose", fusion="hadamard"):
    """An untrained model for questions about clips, whose answers differ."""
    keras.utils.set_random_seed(7)
    examples = load_data("moving_scenes:24")["train"]
    model = build_video_qa(
        small_backbone(),
        tokenizer=examples,
        answers=choose_answers(examples, answers),
        temporal=small_temporal(temporal),
        num_frames=F,
        text=TEXT_ENCODERS["bag"](hidden_dim=16, dropout=0.1),
        fusion=QUESTION_FUSIONS[fusion](),
    )
    for weight in model.decoder.trainable_variables:
        weight.assign_add(0.2 * keras.random.normal(weight.shape))
    return model
