"""One model of the mean weights of several that began alike.

Refuses to know any one task and how the models were trained.
"""

import numpy as np

from keras_vlm.core.checks import check_alike
from keras_vlm.tasks.base import PictureTextModel

# The least cosine of two models' matrices. Where it was measured it was 0.79 between trainings that
# began with the same random numbers, 0.94 between two tunings of one model, near 0 otherwise.
LEAST_COSINE = 0.3
# Smaller matrices point alike by chance.
LEAST_SIZE = 256


def average_models(models):
    """Averages the weights of models that began from one model: a model soup.

    What one training has learned by heart another has not; the mean of their weights keeps what
    they share. It costs as much as one model to run, unlike a ``CaptionerEnsemble``. A batch
    normalisation that learned has the mean of their statistics, which are not those of the new
    model: tune from a named layer on, which leaves it alone.

    Args:
        models: two or more models of one class, words and sizes, such as trainings with
            ``--start`` from the same model and other seeds or augmentations. Their image sizes may
            differ.

    Returns:
        A copy of the first, compiled if it is, with the mean of the weights; its optimizer begins
        anew.

    Raises:
        TypeError: one of them is no model of this package.
        ValueError: there are fewer than two, they differ in class, words or a weight's shape, or
            they did not begin from one model: then their mean is noise.

    Source:
        Wortsman et al. 2022, "Model soups: averaging weights of multiple fine-tuned models improves
        accuracy without increasing inference time", https://arxiv.org/abs/2203.05482.

    Example:
        ``average_models([load("runs/tuned-0/model.keras"), load("runs/tuned-1/model.keras")])``
    """
    models = list(models)
    _check_alike(models)
    first = models[0]
    columns = list(zip(*(model.get_weights() for model in models), strict=True))
    _check_siblings(models, columns)
    means = [np.mean(column, axis=0, dtype=np.float64) for column in columns]
    return first.fill_copy(type(first).from_config(first.get_config()), means)


def _check_alike(models):
    """Raises unless the models have the same parts, words and answers.

    Raises:
        TypeError: one of them is no model of this package.
        ValueError: they have not, or there are fewer than two.
    """
    for model in models:
        if not isinstance(model, PictureTextModel):
            raise TypeError(
                f"average_models: models must be models of this package, got {model!r}. Open files "
                "and published models with keras_vlm.load."
            )
    traits = {
        "class": type,
        "words (tokenizer)": lambda one: one.tokenizer.get_config(),
        "answers": lambda one: getattr(one, "answers", None) and one.answers.answers,
        "shapes of weights": lambda one: [tuple(weight.shape) for weight in one.weights],
    }
    check_alike("average_models", "models", models, traits, "Train them from one model: start.")


def _check_siblings(models, columns):
    """Raises unless the weights of each model point where those of the first do.

    Args:
        models: the models.
        columns: a tuple of NumPy arrays, one a model, for each weight.

    Raises:
        ValueError: those of one do not: it began elsewhere.
    """
    for weight, column in zip(models[0].weights, columns, strict=True):
        if column[0].ndim < 2 or column[0].size < LEAST_SIZE:
            continue
        ours = column[0].ravel()
        for number, other in enumerate(column[1:], 1):
            theirs = other.ravel()
            agreement, scale = ours @ theirs, np.linalg.norm(ours) * np.linalg.norm(theirs)
            # A matrix of zeros points nowhere: it has not learned yet. Nor is NaN any agreement.
            if not agreement >= LEAST_COSINE * scale:
                raise ValueError(
                    "average_models: models must have begun from one model, but the weight "
                    f"{weight.path} of number {number} points elsewhere than that of number 0 "
                    f"(cosine {agreement / scale:.2f}): their mean would be noise. Train them from "
                    "one model (start), or let them write together: CaptionerEnsemble."
                )
