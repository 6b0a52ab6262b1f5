"""Pictures of a training run. Refuses to know models."""

from keras_vlm.core.files import replace_file

# Scores worth a curve, of whatever task.
DRAWN = (
    "CIDEr-D", "ROUGE-L", "BLEU-4",
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
