"""Two stages: the order is what sorting by hand gives; what cannot be read; bad input."""

import numpy as np
import pytest
from oracles import scenes_captioner, scenes_reranker, scenes_retriever

from keras_vlm import TwoStageRetriever, load_data
from keras_vlm.tasks.two_stage import SecondStage


class Table:
    """Scores pairs by a table [n,m], as a ``Matcher`` does; notes what it was asked."""

    def __init__(self, table, readable=None):
        self.table = table
        self.readable = np.ones(len(table), bool) if readable is None else readable
        self.asked = []

    def __call__(self, pairs):
        assert self.readable[pairs[:, 0]].all()
        self.asked += map(tuple, pairs.tolist())
        return self.table[tuple(pairs.T)].astype(np.float32)


def random_scores(seed, pictures=11, texts=23):
    random = np.random.default_rng(seed)
    # Many of the first stage's scores are equal.
    return random.integers(-5, 5, (pictures, texts)) / 5, random.normal(size=(pictures, texts))


def slow_order(first, second, k, readable):
    """The answers of one query, best first, by sorting twice."""
    places = sorted(range(len(first)), key=lambda i: (not readable[i], -first[i], i))
    candidates = [i for i in places[:k] if readable[i]]
    rest = [i for i in range(len(first)) if i not in candidates]
    return sorted(candidates, key=lambda i: -second[i]) + sorted(rest, key=lambda i: -first[i])


@pytest.mark.parametrize("k", [1, 3, 7, 1000])
@pytest.mark.parametrize("seed", range(3))
def test_equal_to_sorting_twice(seed, k):
    first, second = random_scores(seed)
    pictures, texts = np.arange(11), np.arange(23)
    readable = np.random.default_rng(seed).random(11) < 0.8
    table = Table(second, readable)
    stage = SecondStage(table, k)
    to_texts = stage(first, pictures[:, None], texts[None, :])
    for i in pictures:
        # Of a picture that cannot be read nothing is asked.
        expected = slow_order(first[i], second[i], k, np.full(23, readable[i]))
        assert np.argsort(-to_texts[i], kind="stable").tolist() == expected
    to_pictures = stage(first.T, pictures[None, :], texts[:, None])
    for j in texts:
        expected = slow_order(first[:, j], second[:, j], k, readable)
        assert np.argsort(-to_pictures[j], kind="stable").tolist() == expected
    assert len(table.asked) == readable.sum() * min(k, 23) + 23 * min(k, readable.sum())


def test_re_ranking_all_is_ranking_by_the_second_stage_alone():
    first, second = random_scores(0)
    found = SecondStage(Table(second), 23)(first, np.arange(11)[:, None], np.arange(23)[None])
    np.testing.assert_array_equal(found, second.astype(np.float32))


def test_equal_scores_stay_equal_outside_the_first_k():
    first, second = random_scores(1)
    found = SecondStage(Table(second), 3)(first, np.arange(11)[:, None], np.arange(23)[None])
    for before, after in zip(first, found, strict=True):
        rest = np.argsort(-before, kind="stable")[3:]
        np.testing.assert_array_equal(
            np.subtract.outer(before[rest], before[rest]) == 0,
            np.subtract.outer(after[rest], after[rest]) == 0,
        )


def test_none_can_be_read():
    first, second = random_scores(2)
    table = Table(second, np.zeros(11, bool))
    found = SecondStage(table, 3)(first, np.arange(11)[:, None], np.arange(23)[None])
    np.testing.assert_array_equal(found, first)
    assert table.asked == []


def test_a_reranker_is_the_second_stage():
    retriever = scenes_retriever("bag")
    both = TwoStageRetriever(retriever, scenes_reranker(retriever=retriever), k=2)
    examples = load_data("scenes:31")["val"]
    texts = [captions[0] for captions in examples.captions]
    data = [e["image_bytes"] for e in examples.dataset().as_numpy_iterator()] + [b"no picture"]
    images, vectors = both.embed_images(data), both.embed_texts(texts)
    np.testing.assert_array_equal(images, retriever.embed_images(data))
    stage = both.second_stage(data, texts)
    places = np.arange(len(texts))
    found = stage(vectors @ images.T, np.arange(len(data))[None], places[:, None])
    for j, cosines in enumerate(vectors @ images.T):
        nearest = np.argsort(-cosines[:-1], kind="stable")[:2]
        matches = both.reranker.match(data, texts, [(i, j) for i in nearest])
        np.testing.assert_allclose(found[j, nearest], matches, atol=1e-5)
        assert np.delete(found[j], nearest).max() < matches.min()


def test_bad_options():
    retriever = scenes_retriever("bag")
    reranker = scenes_reranker(retriever=retriever)
    with pytest.raises(ValueError, match="TwoStageRetriever: k must be a whole number >= 1, got 0"):
        TwoStageRetriever(retriever, reranker, k=0)
    with pytest.raises(TypeError, match="reranker must be a Reranker, got Retriever. Make one"):
        TwoStageRetriever(retriever, retriever)
    with pytest.raises(TypeError, match="retriever must be a Retriever, got Captioner. Only what"):
        TwoStageRetriever(scenes_captioner(), reranker)
