"""What the recipes of question answering share: the card and its reliability plot.

The test split is scored once, of the model that is published.
"""

from publishing import Recipe, remake

from keras_vlm.training.plots import plot_reliability

SMOKE_MODEL = {"hidden_dim": 16, "image_size": 64}

CARD = """# {name}

{about}

| score on {split} ({questions} questions) | |
|---|---|
{rows}

`{signature}`

Without the picture: the most frequent answer {majority:.3f}, the best guess by the question's words
{question_only:.3f}. Calibration: the mean distance between confidence and accuracy is {ECE:.4f};
`reliability.png` has it bin by bin.

Remade by `keras-vlm evaluate {name} {data} --split {split}`.
`val` chose the epoch; `{split}` was scored once, from the published float16 weights.

## How it was made

`python recipes/{recipe} --publish saved_models/{name}{seeds_flag}`, in
{minutes:.0f} minutes on two CPU cores that did other work too. {parameters:,} parameters, of which
{backbone:,} are the backbone's.{seeds}

## Data and terms

{terms}

## What it cannot do

It knows rendered shapes and the questions that were asked of them: {words} words and {answers}
answers. Of a photo it says something all the same; `keras-vlm ask` names the words that it does not
know.

{failures}
"""


def main(stages, name, *, about, terms, failures, data):
    """Runs a recipe of question answering.

    Args:
        stages: a ``VQARun`` each, as in ``Recipe``.
        name: name of the published model.
        about: what the model is, for its card.
        terms: where the data come from and what they may be used for.
        failures: mistakes of the published model that were looked at, for its card.
        data: the data it is made from.
    """
    remake(
        Recipe(
            task="vqa",
            stages=stages,
            smoke=SMOKE_MODEL,
            name=name,
            card=CARD,
            told={"about": about, "terms": terms, "failures": failures, "data": data},
            data=data,
            smoke_data="scenes:24",
            scored_on="test",
            more_facts=_describe,
        )
    )


def _describe(folder, model, found):
    """Draws the reliability plot; returns what the card tells of the answers."""
    plot_reliability(found.calibration, folder / "reliability.png")
    shown = [name for name in found.scores if ":" in name or name in {"accuracy", "macro_F1"}]
    return {
        "rows": "\n".join(f"| {name} | {found.scores[name]:.4f} |" for name in shown),
        "questions": f"{len(found.predictions):,}",
        "ECE": found.scores["ECE"],
        "answers": len(model.answers),
        **found.baselines,
    }
