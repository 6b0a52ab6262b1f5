"""Exact search against a sort of all products."""

import numpy as np
import pytest

from keras_vlm.search import exact
from keras_vlm.search.exact import best, exact_scores, exact_search


def unit(count, dim, seed):
    vectors = np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def by_sorting(vectors, dead, queries, k):
    scores = queries @ vectors.astype(np.float32).T
    scores[:, dead] = -np.inf
    rows = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return rows, np.take_along_axis(scores, rows, 1)


@pytest.mark.parametrize(("count", "k"), [(1, 1), (13, 13), (101, 7), (211, 30)])
def test_equals_a_sort(count, k, monkeypatch):
    monkeypatch.setattr(exact, "BLOCK_ROWS", 17)
    monkeypatch.setattr(exact, "BLOCK_QUERIES", 5)
    vectors, queries = unit(count, 7, 0).astype(np.float16), unit(11, 7, 1)
    dead = np.random.default_rng(2).random(count) < (0.3 if count > 2 * k else 0)
    rows, scores = exact_search(vectors, dead, queries, k)
    wanted_rows, wanted_scores = by_sorting(vectors, dead, queries, k)
    np.testing.assert_array_equal(rows, wanted_rows)
    np.testing.assert_allclose(scores, wanted_scores, rtol=1e-5)


def test_equal_scores_come_in_order_of_rows(monkeypatch):
    monkeypatch.setattr(exact, "BLOCK_ROWS", 3)
    vectors = np.tile(np.eye(2, dtype=np.float32), (5, 1))
    rows, _ = exact_search(vectors, np.zeros(10, bool), np.eye(2, dtype=np.float32), 5)
    assert rows.tolist() == [[0, 2, 4, 6, 8], [1, 3, 5, 7, 9]]


def test_begins_with_first():
    vectors, queries = unit(23, 5, 0), unit(3, 5, 1)
    rows, _ = exact_search(vectors, np.zeros(23, bool), queries, 4, first=19)
    assert (np.sort(rows) == [19, 20, 21, 22]).all()


def test_too_few_rows_are_padded():
    rows, scores = exact_search(unit(2, 3, 0), np.array([True, False]), unit(1, 3, 1), 3)
    assert rows[0].tolist() == [1, -1, -1]
    assert np.isneginf(scores[0, 1:]).all()


def test_scores_of_candidates():
    vectors, queries = unit(11, 5, 0), unit(2, 5, 1)
    rows = np.array([[3, -1, 0], [10, 2, -1]])
    scores = exact_scores(vectors, queries, rows)
    np.testing.assert_allclose(scores[0, [0, 2]], vectors[[3, 0]] @ queries[0], rtol=1e-5)
    np.testing.assert_allclose(scores[1, :2], vectors[[10, 2]] @ queries[1], rtol=1e-5)
    assert np.isneginf(scores[[0, 1], [1, 2]]).all()


def test_best_of_fewer_than_k():
    rows, scores = best(np.array([[4, 2]]), np.array([[0.5, 0.5]]), 3)
    assert rows.tolist() == [[2, 4]]
    assert scores.tolist() == [[0.5, 0.5]]
