"""Losses: over words, over answers, and over pairs of pictures and captions.

Refuses to know how the logits were made. Dimension letters: B batch, K captions a picture,
Q questions a picture, A answers, T text positions, V vocabulary.
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


class AnswerLoss(keras.losses.Loss):
    """Abstract: how well the answers to questions fit what annotators said.

    ``y_pred`` [B,Q,A] holds logits; ``y_true`` [B,Q,A] the annotators' scores from 0 to 1, or -1 in
    the rows where there is no question. A subclass implements ``cost(logits, scores)`` [B,Q].

    Args:
        class_weights: A weights, by which a question counts as much as its answers weigh, on the
            mean of their scores; None for all alike.
        name: name of the loss.
    """

    def __init__(self, class_weights=None, name=None):
        # The mean over questions is taken in `call`; there is nothing left to reduce.
        super().__init__(name=name, reduction="sum", dtype="float32")
        self.class_weights = None if class_weights is None else [float(w) for w in class_weights]

    def call(self, y_true, y_pred):
        """Returns the mean cost of a real question, a float32 scalar."""
        targets = ops.cast(y_true, "float32")
        real = targets[..., 0] >= 0
        scores = ops.maximum(targets, 0.0)
        costs = self.cost(ops.cast(y_pred, "float32"), scores)
        if self.class_weights is not None:
            total = ops.sum(scores, axis=-1)
            weights = ops.matmul(scores, ops.convert_to_tensor(self.class_weights)[:, None])[..., 0]
            costs = costs * ops.where(total > 0, weights / ops.maximum(total, 1e-6), 1.0)
        return mean_of_real(costs, real)

    def cost(self, logits, scores):
        """Returns costs [B,Q] of logits [B,Q,A] under scores [B,Q,A]."""
        raise NotImplementedError

    def get_config(self):
        """Returns the constructor's arguments, for Keras's saving."""
        return {"class_weights": self.class_weights, "name": self.name}


@keras.saving.register_keras_serializable("keras_vlm")
class SoftmaxAnswerLoss(AnswerLoss):
    """Cross-entropy with the annotators' scores, brought to the sum 1.

    A question none of whose answers is in the vocabulary costs nothing.

    Args:
        class_weights: as for ``AnswerLoss``.
        name: name of the loss.
    """

    def __init__(self, class_weights=None, name="softmax_answer"):
        super().__init__(class_weights, name)

    def cost(self, logits, scores):
        """Returns the cross-entropy."""
        targets = scores / ops.maximum(ops.sum(scores, axis=-1, keepdims=True), 1e-6)
        return -ops.sum(targets * ops.log_softmax(logits, axis=-1), axis=-1)


@keras.saving.register_keras_serializable("keras_vlm")
class SigmoidAnswerLoss(AnswerLoss):
    """Each answer is a question of its own: binary cross-entropy with its score, summed.

    Args:
        class_weights: as for ``AnswerLoss``.
        name: name of the loss.

    Source:
        Teney et al. 2018, "Tips and Tricks for Visual Question Answering",
        https://arxiv.org/abs/1708.02711.
    """

    def __init__(self, class_weights=None, name="sigmoid_answer"):
        super().__init__(class_weights, name)

    def cost(self, logits, scores):
        """Returns the binary cross-entropies' sum."""
        return ops.sum(ops.softplus(logits) - scores * logits, axis=-1)


ANSWER_LOSSES = {"softmax": SoftmaxAnswerLoss, "sigmoid": SigmoidAnswerLoss}


class PairLoss(keras.losses.Loss):
    """Abstract: how well pictures and captions find each other in a batch.

    ``y_pred`` [B,B,K] holds the scores of picture i (first axis) with caption k of picture j, or
    [B,B,K,H] those of H heads, each of which has a cost of its own, and the loss is their mean;
    ``y_true`` [B,K] is True where there is a caption. All captions of a picture are right answers,
    and never each other's wrong ones. A picture that has none teaches nothing. A subclass
    implements ``cost(scores, real)``.

    Attributes:
        scale: what a cosine is multiplied by at first to be a score, or None where scores are
            cosines; a scale is learned.
        bias: what is added to it at first, or None for no bias.
    """

    scale = bias = None

    def __init__(self, name):
        # The mean over captions is taken in `cost`; there is nothing left to reduce.
        super().__init__(name=name, reduction="sum", dtype="float32")

    def call(self, y_true, y_pred):
        """Returns the mean cost of a real caption, a float32 scalar."""
        scores, real = ops.cast(y_pred, "float32"), ops.cast(y_true, "bool")
        if len(scores.shape) == 3:
            return self.cost(scores, real)
        heads = scores.shape[-1]
        return sum(self.cost(scores[..., head], real) for head in range(heads)) / heads

    def cost(self, scores, real):
        """Returns the loss of scores [B,B,K] float32 under real [B,K] bool."""
        raise NotImplementedError

    def get_config(self):
        """Returns the constructor's arguments, for Keras's saving."""
        return {"name": self.name}


@keras.saving.register_keras_serializable("keras_vlm")
class ContrastiveLoss(PairLoss):
    """Cross-entropy of the right picture among pictures, and of each right caption among captions.

    With label smoothing e, an answer's cost is that of the right one, (1 - e) times, and the mean
    cost of all that it stands among, e times: in a few thousand pictures many a caption fits
    another picture as well.

    Args:
        label_smoothing: e, from 0 to below 1.
        name: name of the loss.

    Raises:
        ValueError: ``label_smoothing`` is out of range.

    Source:
        Radford et al. 2021, "Learning Transferable Visual Models From Natural Language
        Supervision" (CLIP), https://arxiv.org/abs/2103.00020, whose pictures have one caption. Of
        several, each is told from the captions of other pictures, without the others of its own.
        Label smoothing is that of Szegedy et al. 2016, https://arxiv.org/abs/1512.00567.
    """

    scale = 1 / 0.07

    def __init__(self, label_smoothing=0.0, name="contrastive"):
        check_number(
            "ContrastiveLoss", "label_smoothing", label_smoothing, minimum=0, maximum=0.999
        )
        super().__init__(name)
        self.label_smoothing = label_smoothing

    def cost(self, scores, real):
        """Returns the mean of both directions."""
        right, smoothing = own_scores(scores), self.label_smoothing
        pictures, wrong = seen(real), wrong_pairs(scores, real)
        among_pictures = ops.logsumexp(ops.where(pictures, scores, NEVER), axis=0)
        wrong_captions = ops.logsumexp(ops.where(wrong, scores, NEVER), axis=(1, 2))[:, None]
        costs = among_pictures - right + ops.softplus(wrong_captions - right)
        if smoothing:
            means = mean_where(scores, pictures, axis=0)
            # Of a caption's own picture's captions it stands among itself alone.
            counts = ops.sum(ops.cast(wrong, "float32"), axis=(1, 2))[:, None]
            sums = ops.sum(ops.where(wrong, scores, 0.0), axis=(1, 2))[:, None]
            means += (sums + right) / (counts + 1)
            costs += smoothing * (2 * right - means)
        return mean_of_real(0.5 * costs, real)

    def get_config(self):
        """Returns the constructor's arguments, for Keras's saving."""
        return {**super().get_config(), "label_smoothing": self.label_smoothing}


@keras.saving.register_keras_serializable("keras_vlm")
class SigmoidLoss(PairLoss):
    """Each pair of a picture and a caption is a question of its own: do they belong together?

    Args:
        name: name of the loss.

    Source:
        Zhai et al. 2023, "Sigmoid Loss for Language Image Pre-Training" (SigLIP),
        https://arxiv.org/abs/2303.15343; the sum over pairs is divided by the number of captions.
    """

    scale, bias = 10.0, -10.0

    def __init__(self, name="sigmoid"):
        super().__init__(name)

    def cost(self, scores, real):
        """Returns the sum over pictures, and the mean over captions."""
        signs = ops.where(own_pairs(scores), 1.0, -1.0)
        costs = ops.where(seen(real), ops.softplus(-signs * scores), 0.0)
        return mean_of_real(ops.sum(costs, axis=0), real)


@keras.saving.register_keras_serializable("keras_vlm")
class TripletLoss(PairLoss):
    """A right pair must beat the best wrong caption and the best wrong picture by a margin.

    Args:
        margin: by how much, in cosine.
        hardest: whether only the best wrong one counts; otherwise all wrong ones do, on the mean,
            which is the gentler start.
        name: name of the loss.

    Raises:
        ValueError: ``margin`` is out of range.

    Source:
        Faghri et al. 2018, "VSE++: Improving Visual-Semantic Embeddings with Hard Negatives",
        https://arxiv.org/abs/1707.05612.
    """

    def __init__(self, margin=0.2, *, hardest=True, name="triplet"):
        super().__init__(name)
        self.margin = check_number("TripletLoss", "margin", margin, minimum=0, maximum=2)
        self.hardest = hardest

    def cost(self, scores, real):
        """Returns the mean of both directions' costs."""
        right, wrong = own_scores(scores), wrong_pairs(scores, real)
        if self.hardest:
            # The greatest first: margins of all against all would be B*B*K*K numbers.
            hard = ops.where(wrong, scores, NEVER)
            of_pictures = ops.relu(self.margin + ops.max(hard, axis=0) - right)
            of_captions = ops.relu(self.margin + ops.max(hard, axis=(1, 2))[:, None] - right)
            return mean_of_real(of_pictures + of_captions, real)
        # Of caption (j, k): against all other pictures; against all captions of other pictures.
        of_pictures = ops.where(wrong, ops.relu(self.margin + scores - right[None]), 0.0)
        of_captions = ops.relu(self.margin + scores[:, None] - right[:, :, None, None])
        of_captions = ops.where(wrong[:, None], of_captions, 0.0)
        wrong = ops.cast(wrong, "float32")
        pictures, captions = ops.sum(wrong, axis=0), ops.sum(wrong, axis=(1, 2))[:, None]
        costs = ops.sum(of_pictures, axis=0) / ops.maximum(pictures, 1.0)
        costs += ops.sum(of_captions, axis=(2, 3)) / ops.maximum(captions, 1.0)
        return mean_of_real(costs, real)

    def get_config(self):
        """Returns the constructor's arguments, for Keras's saving."""
        return {**super().get_config(), "margin": self.margin, "hardest": self.hardest}


# Below any score, and its exponential is 0.
NEVER = -1e9

PAIR_LOSSES = {"contrastive": ContrastiveLoss, "sigmoid": SigmoidLoss, "triplet": TripletLoss}


def own_pairs(scores):
    """Returns [B,B,1] bool: True where scores [B,B,K] are those of a picture's own captions."""
    return ops.eye(ops.shape(scores)[0], dtype="bool")[..., None]


def seen(real):
    """Returns [B,1,1] bool: False for a picture without captions, which is no wrong answer."""
    return ops.any(real, axis=1)[:, None, None]


def wrong_pairs(scores, real):
    """Returns [B,B,K] bool: True where a caption that is there meets another picture than its."""
    return real[None] & seen(real) & ~own_pairs(scores)


def own_scores(scores):
    """Returns [B,K]: the scores, of [B,B,K], of each picture with its own captions."""
    return ops.sum(ops.where(own_pairs(scores), scores, 0.0), axis=0)


def mean_of_real(costs, real):
    """Returns the mean of costs [B,K] where real [B,K] is True; 0 where it is nowhere."""
    real = ops.cast(real, "float32")
    return ops.sum(costs * real) / ops.maximum(ops.sum(real), 1.0)


def mean_where(values, counted, axis):
    """Returns the mean of values over an axis, where counted (of any shape that fits) is True."""
    counted = ops.broadcast_to(counted, ops.shape(values))
    total = ops.sum(ops.where(counted, values, 0.0), axis=axis)
    return total / ops.maximum(ops.sum(ops.cast(counted, "float32"), axis=axis), 1.0)
