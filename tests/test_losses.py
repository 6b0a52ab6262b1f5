import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_vlm.losses import (
    PAIR_LOSSES,
    ContrastiveLoss,
    MaskedCrossEntropy,
    SigmoidLoss,
    TripletLoss,
)

B, K, T, V = 2, 3, 5, 7


def example():
    random = np.random.default_rng(0)
    logits = random.normal(size=(B, K, T, V)).astype(np.float32) * 3
    targets = random.integers(1, V, (B, K, T)) * (random.random((B, K, T)) < 0.6)
    return logits, targets.astype(np.int32)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.4])
def test_value_and_gradient_are_those_of_keras(smoothing):
    logits, targets = example()
    real = targets != 0
    soft = np.eye(V)[targets[real]] * (1 - smoothing) + smoothing / V
    variable = tf.Variable(logits)
    with tf.GradientTape() as tape:
        ours = MaskedCrossEntropy(smoothing)(targets, variable)
    gradient = tape.gradient(ours, variable)
    with tf.GradientTape() as tape:
        rows = tf.boolean_mask(variable, real)
        theirs = tf.reduce_mean(
            keras.ops.categorical_crossentropy(soft.astype(np.float32), rows, from_logits=True)
        )
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    expected = tf.convert_to_tensor(tape.gradient(theirs, variable))
    np.testing.assert_allclose(gradient, expected, atol=1e-6)


def test_padding_counts_nothing_and_all_padding_is_zero():
    logits, targets = example()
    loss = MaskedCrossEntropy(0.1)
    changed = np.where((targets == 0)[..., None], 9.0, logits)
    np.testing.assert_allclose(loss(targets, logits), loss(targets, changed), rtol=1e-6)
    assert float(loss(np.zeros_like(targets), logits)) == 0.0


def test_packed_rows_give_the_same_loss():
    logits, targets = example()
    real = targets != 0
    loss = MaskedCrossEntropy(0.1)
    np.testing.assert_allclose(loss(targets, logits), loss(targets[real], logits[real]), rtol=1e-6)


def test_huge_logits_stay_finite():
    logits = np.array([[1e4, -1e4, 0.0]], np.float32)
    assert np.isfinite(float(MaskedCrossEntropy(0.1)(np.array([1]), logits)))


def test_smoothing_out_of_range():
    with pytest.raises(ValueError, match="label_smoothing must be a number from 0 to 0.999, got 1"):
        MaskedCrossEntropy(1)


# Pairs of pictures and captions


def pairs(seed=0):
    random = np.random.default_rng(seed)
    scores = random.normal(size=(5, 5, 3)).astype(np.float32) * 2
    real = np.ones((5, 3), bool)
    real[1, 2] = real[4, 1] = real[4, 2] = False
    # A picture without captions, as one that cannot be read.
    real[2] = False
    return scores, real


def pictures(real):
    """The pictures that have captions: the others are no wrong answers either."""
    return [i for i in range(len(real)) if real[i].any()]


def others(real, picture):
    """The real captions (j, k) of pictures other than this one."""
    return [(j, k) for j, k in np.argwhere(real) if j != picture]


def slow_contrastive(scores, real, smoothing=0.0):
    costs = []
    for j, k in np.argwhere(real):
        # The right one first.
        images = [scores[i, j, k] for i in sorted(pictures(real), key=lambda i: i != j)]
        captions = [scores[j, j, k], *(scores[j, a, b] for a, b in others(real, j))]
        for answers in (images, captions):
            all_costs = np.log(np.exp(answers).sum()) - np.array(answers)
            costs.append((1 - smoothing) * all_costs[0] + smoothing * all_costs.mean())
    return np.mean(costs)


def slow_sigmoid(scores, real):
    costs = [
        np.log1p(np.exp(-(1 if i == j else -1) * scores[i, j, k]))
        for i in pictures(real)
        for j, k in np.argwhere(real)
    ]
    return np.sum(costs) / real.sum()


def slow_triplet(scores, real, margin=0.2, hardest=True):
    costs = []
    for j, k in np.argwhere(real):
        right = scores[j, j, k]
        images = [max(0, margin + scores[i, j, k] - right) for i in pictures(real) if i != j]
        captions = [max(0, margin + scores[j, a, b] - right) for a, b in others(real, j)]
        take = max if hardest else np.mean
        costs.append(take(images) + take(captions))
    return np.mean(costs)


PAIRS = [
    (ContrastiveLoss(), slow_contrastive),
    (ContrastiveLoss(0.2), lambda scores, real: slow_contrastive(scores, real, 0.2)),
    (SigmoidLoss(), slow_sigmoid),
    (TripletLoss(), slow_triplet),
    (TripletLoss(0.5), lambda scores, real: slow_triplet(scores, real, 0.5)),
    (TripletLoss(hardest=False), lambda scores, real: slow_triplet(scores, real, hardest=False)),
]


@pytest.mark.parametrize(("loss", "slow"), PAIRS)
@pytest.mark.parametrize("seed", range(2))
def test_a_pair_loss_is_its_formula(loss, slow, seed):
    scores, real = pairs(seed)
    np.testing.assert_allclose(loss(real, scores), slow(scores, real), rtol=1e-5)
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    np.testing.assert_allclose(again(real, scores), loss(real, scores))


@pytest.mark.parametrize("name", PAIR_LOSSES)
def test_captions_that_are_not_there_count_nothing(name):
    scores, real = pairs()
    changed = np.where(real[None], scores, 99.0).astype(np.float32)
    variable = tf.Variable(changed)
    with tf.GradientTape() as tape:
        loss = PAIR_LOSSES[name]()(real, variable)
    np.testing.assert_allclose(loss, PAIR_LOSSES[name]()(real, scores), rtol=1e-6)
    gradient = tape.gradient(loss, variable).numpy()
    assert np.isfinite(gradient).all()
    assert (gradient[:, ~real] == 0).all()
    assert (gradient[2] == 0).all()
    assert float(PAIR_LOSSES[name]()(np.zeros_like(real), changed)) == 0.0


@pytest.mark.parametrize("name", PAIR_LOSSES)
def test_own_captions_are_never_wrong_answers(name):
    """To raise a picture's score with one of its captions never costs another of them."""
    scores, real = pairs()
    gradients = []
    for k in range(3):
        variable = tf.Variable(scores)
        with tf.GradientTape() as tape:
            loss = PAIR_LOSSES[name]()(real, variable)
        gradients.append(tape.gradient(loss, variable).numpy()[0, 0, k])
    assert max(gradients) <= 0


def test_one_picture_has_nothing_to_be_told_from():
    for name in ("contrastive", "triplet"):
        np.testing.assert_allclose(PAIR_LOSSES[name]()([[True]], [[[3.0]]]), 0, atol=1e-6)


def test_smoothed_contrastive_loss_leaves_out_what_is_not_there():
    scores, real = pairs()
    changed = np.where(real[None], scores, 99.0).astype(np.float32)
    changed[2] = -99.0
    loss = ContrastiveLoss(0.3)
    np.testing.assert_allclose(loss(real, changed), loss(real, scores), rtol=1e-6)
    assert float(loss(np.zeros_like(real), changed)) == 0.0


def test_margin_out_of_range():
    with pytest.raises(ValueError, match="margin must be a number from 0 to 2, got 3"):
        TripletLoss(3)
