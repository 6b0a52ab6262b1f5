"""Pictures of a training run. Refuses to know models."""

from keras_vlm.core.files import replace_file

# Scores worth a curve, of whatever task.
DRAWN = (
    "CIDEr-D", "ROUGE-L", "BLEU-4",
    "accuracy", "macro_F1",
    "image_to_text_R@1", "image_to_text_R@10", "text_to_image_R@1", "text_to_image_R@10",
)  # fmt: skip


def plot_history(summary, path):
    """Draws losses and validation scores against epochs; a reward is drawn beside the scores.

    Args:
        summary: what a ``ScoresCallback`` writes to ``scores.json``: a dict with ``history``.
        path: the PNG to write, atomically.
    """
    from matplotlib.figure import Figure

    history = summary["history"]
    epochs = [entry["epoch"] + 1 for entry in history]
    figure = Figure(figsize=(10, 4), layout="constrained")
    loss_axes, score_axes = figure.subplots(1, 2)
    for name in sorted({name for entry in history for name in entry["losses"]}):
        values = [entry["losses"].get(name) for entry in history]
        axes, label = (
            (score_axes, "training reward") if name == "reward" else (loss_axes, name)
        )
        axes.plot(epochs, values, marker="o", markersize=3, label=label)
    loss_axes.set(xlabel="epoch", ylabel="nats", title="loss")
    loss_axes.legend()
    for name in [name for name in DRAWN if name in history[0]["scores"]]:
        values = [entry["scores"][name] for entry in history]
        score_axes.plot(epochs, values, marker="o", markersize=3, label=name)
    score_axes.set(xlabel="epoch", title="scores on the validation split")
    score_axes.legend()
    with replace_file(path) as temporary:
        figure.savefig(temporary, dpi=120)


def plot_confusion(found, path):
    """Draws how often each frequent answer was taken for which, as shares of its row.

    Args:
        found: what ``metrics.classification.frequent_confusions`` returns.
        path: the PNG to write, atomically.
    """
    from matplotlib.figure import Figure

    labels, counts = found["labels"], found["counts"]
    # What never comes, neither as truth nor as an answer, would be an empty line.
    kept = [
        i
        for i in range(len(labels))
        if any(counts[i]) or any(row[i] for row in counts)
    ]
    names = [labels[i] for i in kept]
    shares = [[counts[i][j] / max(1, sum(counts[i])) for j in kept] for i in kept]
    side = 2.5 + 0.4 * len(kept)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for y, row in enumerate(kept):
        for x, column in enumerate(kept):
            if counts[row][column]:
                colour = "white" if shares[y][x] > 0.5 else "black"
                axes.text(
                    x, y, counts[row][column], ha="center", va="center", color=colour, fontsize=7
                )
    axes.set_xticks(range(len(kept)), names, rotation=90)
    axes.set_yticks(range(len(kept)), names)
    axes.set(xlabel="the model's answer", ylabel="the annotators' answer")
    with replace_file(path) as temporary:
        figure.savefig(temporary, dpi=120)


def plot_reliability(found, path):
    """Draws accuracy against confidence, bin by bin, beside the line of perfect calibration.

    Args:
        found: what ``metrics.calibration.reliability`` returns.
        path: the PNG to write, atomically.
    """
    from matplotlib.figure import Figure

    bins = len(found["count"])
    filled = [i for i in range(bins) if found["count"][i]]
    figure = Figure(figsize=(5, 6), layout="constrained")
    axes, count_axes = figure.subplots(2, 1, height_ratios=(3, 1), sharex=True)
    axes.plot([0, 1], [0, 1], color="grey", linestyle="--", label="perfect")
    axes.plot(
        [found["confidence"][i] for i in filled],
        [found["accuracy"][i] for i in filled],
        marker="o",
        label="model",
    )
    axes.set(ylabel="accuracy", title="reliability", xlim=(0, 1), ylim=(0, 1))
    axes.legend()
    count_axes.bar([(i + 0.5) / bins for i in range(bins)], found["count"], width=0.9 / bins)
    count_axes.set(xlabel="confidence", ylabel="answers")
    with replace_file(path) as temporary:
        figure.savefig(temporary, dpi=120)
