"""Scores of classification by a retriever that has never been trained for the labels.

Refuses to know how a model was trained.
"""

import numpy as np

from keras_vlm.core.version import VERSION
from keras_vlm.data.image_files import find_labelled_pictures
from keras_vlm.metrics import score_classification
from keras_vlm.training.evaluate import Evaluation


def evaluate_zero_shot(model, folder, *, templates=None):
    """Classifies the pictures of a folder that has a sub-folder a label, and scores the answers.

    Args:
        model: a ``Retriever``.
        folder: such as ``DIR`` of ``DIR/cat/1.jpg``; a label is the name of its sub-folder, with
            spaces for underscores.
        templates: sentences with ``{}`` where the label goes, as in ``Retriever.classify``.

    Returns:
        An ``Evaluation``: the scores of ``score_classification``; its predictions are dicts with
        ``image``, ``label``, ``predicted`` and ``probability`` (None where the picture cannot be
        read, which counts as wrong).

    Raises:
        FileNotFoundError: there is no such folder.
        DataError: it has no sub-folders with pictures.
        ValueError: a template has no ``{}``, or the model knows no word of a label.
    """
    paths, names = find_labelled_pictures(folder)
    truth = [name.replace("_", " ") for name in names]
    labels = sorted(set(truth))
    rows = model.classify(paths, labels, templates=templates)
    predictions = []
    for path, label, row in zip(paths, truth, rows, strict=True):
        readable = not np.isnan(row).any()
        best = int(row.argmax()) if readable else None
        predictions.append(
            {
                "image": str(path),
                "label": label,
                "predicted": labels[best] if readable else None,
                "probability": float(row[best]) if readable else None,
            }
        )
    said = [prediction["predicted"] for prediction in predictions]
    signature = f"zero-shot|labels:{len(labels)}|n:{len(paths)}|keras_vlm:{VERSION}"
    return Evaluation(score_classification(truth, said, labels), {}, signature, predictions)
