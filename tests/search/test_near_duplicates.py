"""Groups against connected components of all pairs."""

import numpy as np
import pytest

from keras_vlm.search import VectorIndex, near_duplicates


def components(vectors, threshold):
    """The oracle: reachability by repeated products of the matrix of pairs."""
    reach = vectors @ vectors.T >= threshold
    for _ in range(len(vectors).bit_length()):
        reach = (reach.astype(int) @ reach) > 0
    groups = {tuple(np.flatnonzero(row)) for row in reach}
    return {group for group in groups if len(group) > 1}


@pytest.fixture(params=["flat", "hnsw"])
def filled(request, tmp_path):
    random = np.random.default_rng(0)
    vectors = np.concatenate([
        random.standard_normal((40, 11)),
        # Thirty of the same: more than the neighbours that are looked at first.
        np.tile(random.standard_normal((1, 11)), (30, 1)),
        # A chain, whose ends are far apart.
        [[np.cos(a), np.sin(a), *[0] * 9] for a in np.linspace(0, 3, 23)],
    ])  # fmt: skip
    vectors = vectors[random.permutation(len(vectors))]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    with VectorIndex.create(tmp_path / "index", 11, kind=request.param) as index:
        index.add([str(i) for i in range(len(vectors))], vectors)
        yield index, vectors


@pytest.mark.parametrize("threshold", [0.7, 0.95, 0.9993])
@pytest.mark.parametrize("k", [1, 10])
def test_equals_the_components(filled, threshold, k):
    index, vectors = filled
    found = near_duplicates(index, threshold, k=k)
    assert {tuple(int(key) for key in group) for group in found} == components(vectors, threshold)
    assert [len(group) for group in found] == sorted(map(len, found), reverse=True)


def test_copies_reach_a_threshold_of_one(tmp_path):
    """Though float16 leaves their cosine below it."""
    vectors = np.random.default_rng(0).standard_normal((40, 512))
    with VectorIndex.create(tmp_path / "index", 512, kind="flat") as index:
        index.add([f"{i}{side}" for side in "ab" for i in range(40)], np.tile(vectors, (2, 1)))
        groups = near_duplicates(index, 1.0)
        # Any other threshold is what it says.
        index.add(["x", "y"], [[1, 0] + [0] * 510, [0.9495, (1 - 0.9495**2) ** 0.5] + [0] * 510])
        assert not any("x" in group for group in near_duplicates(index, 0.95))
        assert ["x", "y"] in near_duplicates(index, 0.949)
    assert sorted(groups) == sorted([f"{i}a", f"{i}b"] for i in range(40))


def test_nothing_to_find(tmp_path):
    with VectorIndex.create(tmp_path / "index", 3, kind="flat") as index:
        assert near_duplicates(index) == []
        index.add(["a"], [[1, 0, 0]])
        assert near_duplicates(index) == []
        index.add(["b"], [[0, 1, 0]])
        assert near_duplicates(index) == []
        index.add(["c"], [[0, 1, 0.01]])
        index.add(["d"], [[0, 1, 0.01]])
        index.remove(["c"])
        assert near_duplicates(index) == [["b", "d"]]


def test_wrong_arguments(filled):
    with pytest.raises(ValueError, match="threshold must be a number from -1 to 1, got 95"):
        near_duplicates(filled[0], 95)
    with pytest.raises(ValueError, match="k must be a whole number >= 1, got 0"):
        near_duplicates(filled[0], k=0)
