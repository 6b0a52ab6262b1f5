"""The adapter answers as exact search does, in Qdrant's local mode."""

import sys

import numpy as np
import pytest

from keras_vlm.search import QdrantIndex, VectorIndex, near_duplicates


def draw(count, seed=0):
    return np.random.default_rng(seed).standard_normal((count, 7))


def names(count):
    return [f"p/{i}.jpg" for i in range(count)]


@pytest.fixture
def pair(tmp_path):
    flat = VectorIndex.create(tmp_path / "flat", 7, kind="flat")
    with QdrantIndex.create(7, location=":memory:", collection="photos") as index, flat:
        yield index, flat


def check(index, flat, k=5):
    assert len(index) == len(flat)
    assert sorted(index) == sorted(flat)
    keys, scores = index.search(draw(3, 9), k)
    wanted_keys, wanted_scores = flat.search(draw(3, 9), k)
    assert keys == wanted_keys
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, wanted_scores, atol=1e-3)


def test_answers_as_flat_does(pair, monkeypatch):
    monkeypatch.setattr("keras_vlm.search.qdrant.BATCH", 11)
    check(*pair)
    for index in pair:
        index.add(names(30), draw(30))
    check(*pair)
    for index in pair:
        index.add(names(3), draw(3, 5))
        index.remove(names(25)[20:])
    check(*pair)
    check(*pair, k=100)
    with pytest.warns(UserWarning, match="Local mode performs exact"):
        pair[0].search(draw(3, 9), expansion=32)
    for index in pair:
        assert index.search(np.empty((0, 7)), 2)[1].shape == (0, 2)
        index.add([], np.empty((0, 7)))
        index.remove([])


def test_wrong_arguments(pair):
    index, _ = pair
    index.add(names(2), draw(2))
    with pytest.raises(KeyError, match=r"got 'a' \(1 of 3 are not\)"):
        index.remove([*names(2), "a"])
    assert len(index) == 2
    with pytest.raises(ValueError, match=r"vectors must be an array \[1, 7\], got shape \[1, 3\]"):
        index.add(["a"], np.ones((1, 3)))
    with pytest.raises(ValueError, match="got 'a' twice"):
        index.add(["a", "a"], draw(2))
    with pytest.raises(ValueError, match="k must be a whole number >= 1, got 0"):
        index.search(draw(1), 0)


def test_stays_in_its_place(tmp_path):
    place = {"location": str(tmp_path / "qdrant"), "collection": "photos"}
    with QdrantIndex.create(7, **place, fingerprint="abc") as index:
        index.add(names(2), draw(2))
    with QdrantIndex.open(**place, fingerprint="abc") as index:
        assert (len(index), index.dim) == (2, 7)
    with pytest.raises(ValueError, match="fingerprint must be 'abc', .* got 'xyz'"):
        QdrantIndex.open(**place, fingerprint="xyz")
    with pytest.raises(FileExistsError, match="collection must be a new name, got 'photos'"):
        QdrantIndex.create(7, **place)
    with pytest.raises(FileNotFoundError, match="got 'paintings'"):
        QdrantIndex.open(location=place["location"], collection="paintings")


def test_options_reach_the_collection():
    from qdrant_client import models

    vectors = models.VectorParams(size=7, distance="Cosine", on_disk=True)
    place = {"location": ":memory:", "collection": "photos"}
    with QdrantIndex.create(7, **place, vectors_config=vectors, shard_number=2) as index:
        assert index._client.get_collection("photos").config.params.vectors.on_disk


def test_without_the_client(monkeypatch):
    monkeypatch.setitem(sys.modules, "qdrant_client", None)
    with pytest.raises(ImportError, match=r"pip install 'keras-vlm\[qdrant\]'"):
        QdrantIndex.create(7, location=":memory:", collection="photos")


def test_vectors_and_near_duplicates(pair):
    vectors = np.concatenate([draw(9), draw(3) + 0.01])
    for index in pair:
        index.add(names(12), vectors)
    index, flat = pair
    found = index.vectors(names(12)[::-1])
    np.testing.assert_allclose(found, flat.vectors(names(12)[::-1]), atol=1e-3)
    with pytest.raises(KeyError, match="vectors: keys must be in the collection, got 'a'"):
        index.vectors(["a"])
    groups = {frozenset(group) for group in near_duplicates(index, 0.99)}
    assert groups == {frozenset(group) for group in near_duplicates(flat, 0.99)}
    assert len(groups) == 3
