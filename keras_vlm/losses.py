"""Losses over words.

Refuses to know how the logits were made. Dimension letters: B batch, K captions a picture,
T text positions, V vocabulary.
"""

import keras
from keras import ops

from keras_vlm.core.checks import check_number


@keras.saving.register_keras_serializable("keras_vlm")
class MaskedCrossEntropy(keras.losses.Loss):
    """Cross-entropy per real word, with label smoothing; padding (id 0) counts nothing.

    With p = softmax(logits) and smoothing e, a word y costs
    ``-(1 - e) log p[y] - (e / V) sum_v log p[v]``.

    Args:
        label_smoothing: e, from 0 to below 1.
        name: name of the loss.

    Raises:
        ValueError: ``label_smoothing`` is out of range.

    Source:
        Szegedy et al. 2016, "Rethinking the Inception Architecture", section 7,
        https://arxiv.org/abs/1512.00567. The mean is over the words of the batch, not over its
        sentences.
    """

    def __init__(self, label_smoothing=0.0, name="masked_cross_entropy"):
        check_number(
            "MaskedCrossEntropy", "label_smoothing", label_smoothing, minimum=0, maximum=0.999
        )
        # The mean over words is taken in `call`; there is nothing left to reduce.
        super().__init__(name=name, reduction="sum", dtype="float32")
        self.label_smoothing = label_smoothing

    def call(self, y_true, y_pred):
        """Returns the mean loss of the real words, a float32 scalar.

        Args:
            y_true: targets [..., T] integers, 0 where there is no word.
            y_pred: logits [..., T,V] float.
        """
        logits = ops.cast(y_pred, "float32")
        targets = ops.cast(y_true, "int32")
        real = ops.cast(ops.not_equal(targets, 0), "float32")
        losses = smoothed_cross_entropy(logits, targets, self.label_smoothing)
        return ops.sum(losses * real) / ops.maximum(ops.sum(real), 1.0)

    def get_config(self):
        """Returns the constructor's arguments, for Keras's saving."""
        return {"label_smoothing": self.label_smoothing, "name": self.name}


def smoothed_cross_entropy(logits, targets, label_smoothing):
    """Cross-entropy with label smoothing, its gradient in closed form.

    The gradient, softmax less the smoothed target, reuses the exponentials of the loss: the
    vocabulary is the widest tensor of a step, and automatic differentiation passes over it four
    times more.

    Args:
        logits: [...,V] float32.
        targets: [...] int32.
        label_smoothing: share of the target spread evenly over V.

    Returns:
        Losses [...] float32.
    """

    @ops.custom_gradient
    def cross_entropy(logits):
        vocabulary_size = logits.shape[-1]
        shifted = logits - ops.max(logits, axis=-1, keepdims=True)
        exponentials = ops.exp(shifted)
        total = ops.sum(exponentials, axis=-1, keepdims=True)
        chosen = ops.equal(ops.arange(vocabulary_size, dtype="int32"), targets[..., None])
        logit = ops.sum(ops.where(chosen, shifted, 0.0), axis=-1)
        losses = ops.log(total[..., 0]) - (1 - label_smoothing) * logit
        if label_smoothing:
            losses = losses - label_smoothing * ops.mean(shifted, axis=-1)

        def gradient(upstream):
            even = label_smoothing / vocabulary_size
            smoothed = ops.where(chosen, 1 - label_smoothing + even, even)
            return (exponentials / total - smoothed) * upstream[..., None]

        return losses, gradient

    return cross_entropy(logits)
