"""What is written beside a published model: ``scores.json`` for machines, ``card.md`` for people.

Refuses to know how a model is trained and scored.
"""

import dataclasses
import pathlib
import statistics

from keras_vlm.core.files import write_json

# The scores by which training chose its epoch, and the recipe a seed.
TRAINING = "validation, while training"


@dataclasses.dataclass(frozen=True)
class Trained:
    """What came of one seed.

    Attributes:
        seed: the number.
        out: its folder.
        path: the last stage's best model.
        monitor: the score that chose the epoch.
        scores: those of the best epoch on the validation split, by name.
        minutes: of work, all stages together.
        peak_memory_mb: the most memory its process had in use; None where nobody knows.
    """

    seed: int
    out: pathlib.Path
    path: str
    monitor: str
    scores: dict
    minutes: float
    peak_memory_mb: float | None


def write_card(folder, recipe, facts, trained, chosen, scored):
    """Writes ``scores.json`` and ``card.md``.

    Args:
        folder: the published model's folder, with its weights.
        recipe: the ``Recipe``.
        facts: what its card names beyond what it tells itself.
        trained: a ``Trained`` a seed.
        chosen: the published one of them.
        scored: dict from seeds to a dict from the table's rows to an ``Evaluation``.
    """
    rows = scored[chosen.seed]
    found = rows[recipe.published_row]
    size = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
    seeds = _compare_seeds(trained, chosen, scored) if len(trained) > 1 else None
    write_json(
        folder / "scores.json",
        {
            "task": recipe.task,
            "scores": found.scores,
            **({"baselines": found.baselines} if found.baselines else {}),
            "diversity": found.diversity,
            "signature": found.signature,
            "training_minutes": round(chosen.minutes, 1),
            "peak_memory_mb": chosen.peak_memory_mb,
            "size_mb": round(size, 1),
            **({"rows": _summarize(rows)} if len(rows) > 1 else {}),
            **({"seeds": seeds} if seeds else {}),
        },
    )
    memory = chosen.peak_memory_mb
    told = {
        "rows": "\n".join(f"| {name} | {score:.3f} |" for name, score in found.scores.items()),
        "tables": _draw_tables(
            recipe.columns,
            {
                row: {name: f"{score:.3f}" for name, score in each.scores.items()}
                for row, each in rows.items()
            },
        ),
        "signature": found.signature,
        "minutes": sum(each.minutes for each in trained),
        "memory": "an unknown amount" if memory is None else f"{memory / 1000:.1f} GB",
        "size": size,
        "seeds": _tell_seeds(recipe, facts, seeds) if seeds else "",
        "seeds_flag": f" --seeds {len(trained)}" if seeds else "",
    }
    card = recipe.card.format(**{**told, **recipe.told, **facts, **found.diversity})
    (folder / "card.md").write_text(card, encoding="utf-8")


def _summarize(rows):
    """Returns what ``scores.json`` has of the table's rows."""
    return {
        row: {
            "scores": found.scores,
            "diversity": found.diversity,
            "signature": found.signature,
        }
        for row, found in rows.items()
    }


def _compare_seeds(trained, chosen, scored):
    """Returns the scores of all seeds, and mean and spread of the rows that all of them have."""
    rows = {
        each.seed: {
            TRAINING: each.scores,
            **{row: found.scores for row, found in scored.get(each.seed, {}).items()},
        }
        for each in trained
    }
    shared = [row for row in rows[chosen.seed] if all(row in each for each in rows.values())]
    columns = {
        row: {name: [each[row][name] for each in rows.values()] for name in rows[chosen.seed][row]}
        for row in shared
    }
    return {
        "published": chosen.seed,
        "chosen_by": chosen.monitor,
        "scores": {str(seed): each for seed, each in rows.items()},
        "minutes": {str(each.seed): round(each.minutes, 1) for each in trained},
        "mean": _map_scores(statistics.mean, columns),
        "standard_deviation": _map_scores(statistics.stdev, columns),
    }


def _map_scores(function, rows):
    return {
        row: {name: function(values) for name, values in each.items()} for row, each in rows.items()
    }


def _tell_seeds(recipe, facts, seeds):
    """Returns a paragraph of the card, with tables where the recipe has any."""
    mean, spread = seeds["mean"], seeds["standard_deviation"]
    count, monitor = len(seeds["scores"]), seeds["chosen_by"]
    told = (
        f"\n\nTrained {count} times, with the seeds 0 to {count - 1}. Published is seed "
        f"{seeds['published']}, the best by {monitor} on `{facts['validation_split']}` while "
        f"training, so its own figures are those of a winner; {monitor} there came to "
        f"{mean[TRAINING][monitor]:.3f} ± {spread[TRAINING][monitor]:.3f} (mean and standard "
        "deviation over the seeds)."
    )
    cells = {
        row: {name: f"{mean[row][name]:.3f} ± {spread[row][name]:.3f}" for name in mean[row]}
        for row in mean
        if row != TRAINING
    }
    if not recipe.columns or not cells:
        return told
    return f"{told} The same for the table above:\n\n{_draw_tables(recipe.columns, cells)}"


def _draw_tables(columns, rows):
    """Returns Markdown.

    Args:
        columns: a tuple of names of scores for each table.
        rows: dict from a row's name to a dict from names of scores to texts. METEOR, which is the
            one that may be missing, is so for want of Java.
    """
    tables = []
    for names in columns:
        head = ["", *(name.replace("_", " ") for name in names)]
        lines = [head, ["---"] * len(head)]
        lines += [
            [row, *(cells.get(name, "not measured (Java)") for name in names)]
            for row, cells in rows.items()
        ]
        tables.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
    return "\n\n".join(tables)
