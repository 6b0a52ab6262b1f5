"""Classification scores. Refuses to know models: labels in, floats out.

Dimension letters: n examples, L labels.
"""

import collections

import numpy as np

OTHER = "(other)"


def confusion_matrix(truth, predicted, labels):
    """Counts which label was taken for which.

    Args:
        truth: list of n labels.
        predicted: list of n labels, or None where nothing was said.
        labels: list of the L labels.

    Returns:
        [L,L+1] int: rows the truth, columns what was predicted, the last one for nothing.

    Raises:
        ValueError: the lists do not match, or a label is not among ``labels``.

    Example:
        >>> confusion_matrix(["a", "a", "b"], ["a", "b", None], ["a", "b"]).tolist()
        [[1, 1, 0], [0, 0, 1]]
    """
    if len(truth) != len(predicted):
        raise ValueError(
            f"confusion_matrix: truth and predicted must be as many, got {len(truth)} and "
            f"{len(predicted)}."
        )
    places = {label: i for i, label in enumerate(labels)}
    counts = np.zeros((len(places), len(places) + 1), int)
    for right, said in zip(truth, predicted, strict=True):
        for label in (right, said):
            if label not in places and not (label is None and said is None):
                raise ValueError(
                    f"confusion_matrix: labels must have every label, {label!r} is not among "
                    f"{list(labels)}."
                )
        counts[places[right], len(places) if said is None else places[said]] += 1
    return counts


def frequent_confusions(truth, predicted, *, most=20):
    """Counts which of the most frequent labels was taken for which.

    Args:
        truth: list of n labels.
        predicted: list of n labels.
        most: L, labels at most; ``OTHER`` stands for all others.

    Returns:
        dict: ``labels``, a list of L labels by falling frequency in ``truth``, ties in alphabetical
        order, then ``OTHER``; ``counts`` [L+1,L+1], a list of lists: rows the truth, columns what
        was predicted.

    Example:
        >>> frequent_confusions(["a", "a", "b", "c"], ["a", "b", "b", "a"], most=2)
        {'labels': ['a', 'b', '(other)'], 'counts': [[1, 1, 0], [0, 1, 0], [1, 0, 0]]}
    """
    frequent = sorted(collections.Counter(truth).items(), key=lambda item: (-item[1], item[0]))
    labels = [label for label, _ in frequent[:most]]
    known = set(labels)

    def kept(found):
        return [label if label in known else OTHER for label in found]

    labels.append(OTHER)
    counts = confusion_matrix(kept(truth), kept(predicted), labels)
    return {"labels": labels, "counts": counts[:, :-1].tolist()}


def score_classification(truth, predicted, labels):
    """Scores predictions of one label each.

    Args:
        truth: list of n labels.
        predicted: list of n labels, or None where nothing was said, which is wrong.
        labels: list of the L labels.

    Returns:
        dict of name to float, 0 to 1: ``accuracy``; ``macro_`` (the mean over labels) and
        ``micro_`` ``precision``, ``recall`` and ``F1``. A label that nobody predicted has the
        precision 0; a label that does not occur, neither as truth nor as prediction, is left out of
        the means.

    Raises:
        ValueError: the lists are empty or do not match, or a label is unknown.

    Example:
        >>> score_classification(["a", "a", "b"], ["a", "b", "b"], ["a", "b"])["macro_recall"]
        0.75
    """
    counts = confusion_matrix(truth, predicted, labels)
    if not counts.sum():
        raise ValueError("score_classification: truth must have at least one label, got none.")
    right = np.diag(counts[:, :-1]).astype(float)
    said, true = counts[:, :-1].sum(axis=0), counts.sum(axis=1)
    present = (said > 0) | (true > 0)

    def share(part, whole):
        return np.divide(part, whole, out=np.zeros_like(right), where=whole > 0)

    per_label = {
        "precision": share(right, said),
        "recall": share(right, true),
        "F1": share(2 * right, said + true),
    }
    scores = {"accuracy": right.sum() / counts.sum()}
    scores |= {f"macro_{name}": each[present].mean() for name, each in per_label.items()}
    whole = {"precision": said.sum(), "recall": true.sum(), "F1": (said.sum() + true.sum()) / 2}
    scores |= {f"micro_{name}": right.sum() / max(1, count) for name, count in whole.items()}
    return {name: float(score) for name, score in scores.items()}
