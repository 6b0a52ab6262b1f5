"""Losses over answers: a naive loop over questions and answers is the oracle."""

import keras
import numpy as np
import pytest

from keras_vlm.losses import ANSWER_LOSSES

B, Q, A = 3, 5, 7


def batch():
    random = np.random.default_rng(0)
    logits = random.normal(size=(B, Q, A)).astype(np.float32)
    scores = np.where(random.random((B, Q, A)) < 0.3, random.random((B, Q, A)), 0)
    scores[0, 1] = 0
    scores[1, 3:] = -1
    return scores.astype(np.float32), logits


def naive(name, scores, logits, weights):
    costs, count = 0.0, 0
    for b in range(B):
        for q in range(Q):
            if scores[b, q, 0] < 0:
                continue
            count += 1
            total = scores[b, q].sum()
            weight = 1.0 if total == 0 else (scores[b, q] * weights).sum() / total
            if name == "softmax":
                chances = np.exp(logits[b, q]) / np.exp(logits[b, q]).sum()
                cost = -(scores[b, q] / max(total, 1e-6) * np.log(chances)).sum()
            else:
                chances = 1 / (1 + np.exp(-logits[b, q]))
                truth = scores[b, q]
                cost = -(truth * np.log(chances) + (1 - truth) * np.log(1 - chances)).sum()
            costs += weight * cost
    return costs / count


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", ANSWER_LOSSES)
def test_is_the_naive_one(name, weighted):
    scores, logits = batch()
    weights = np.linspace(0.2, 2, A) if weighted else np.ones(A)
    loss = ANSWER_LOSSES[name](weights if weighted else None)
    expected = naive(name, scores, logits, weights)
    assert float(loss(scores, logits)) == pytest.approx(expected, rel=1e-5)
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert float(again(scores, logits)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", ANSWER_LOSSES)
def test_nothing_asked_costs_nothing(name):
    scores, logits = batch()
    assert float(ANSWER_LOSSES[name]()(np.full_like(scores, -1), logits)) == 0
