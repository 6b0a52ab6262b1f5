"""What the recipes of clips share: the card. The test split scores what is published, once."""

from publishing import Recipe, remake

SMOKE_MODEL = {"hidden_dim": 16}

CARD = """# {name}

{about}

| score on {split} ({pictures} clips) | |
|---|---|
{rows}

`{signature}`

{beside}

Remade by `keras-vlm evaluate {name} {data} --split {split}`. `val` chose the epoch; `{split}` was
scored once, from the published float16 weights.

## How it was made

`python recipes/{recipe} --publish saved_models/{name}{seeds_flag}`, in
{minutes:.0f} minutes on two CPU cores that did other work too. {parameters:,} parameters, of which
{backbone:,} are the backbone's.{seeds}

## Data and terms

Rendered by this package (`{data}`, Apache-2.0), from a seed. Clips come in pairs, each the other
run backwards, so that who sees one frame, or all frames without their order, is right about one of
a pair at most. Test clips tell stories that training has not seen, forwards, backwards or mirrored.

## What it cannot do

It knows two rendered shapes to which something happens, one after the other, among three at most,
and {words} words for that. Of a film it says something all the same.

{failures}
"""


def main(task, stages, name, *, about, beside, failures, data):
    """Runs a recipe of clips.

    Args:
        task: ``"video-caption"`` or ``"video-qa"``.
        stages: a run each, as in ``Recipe``.
        name: name of the published model.
        about: what the model is, for its card.
        beside: what a single frame, and frames without their order, come to, for its card.
        failures: mistakes of the published model that were looked at, for its card.
        data: the data it is made from.
    """
    remake(
        Recipe(
            task=task,
            stages=stages,
            smoke=SMOKE_MODEL,
            name=name,
            card=CARD,
            told={"about": about, "beside": beside, "failures": failures, "data": data},
            data=data,
            smoke_data="moving_scenes:24",
            scored_on="test",
            more_facts=_describe,
        )
    )


def _describe(folder, model, found):
    """Returns the rows of scores, and below them those of who does not look at all."""
    rows = [f"| {name} | {score:.4f} |" for name, score in found.scores.items()]
    rows += [f"| without the clip, {name} | {s:.4f} |" for name, s in found.baselines.items()]
    return {"rows": "\n".join(rows)}
