"""What is refused, and that what is taken has unit norm."""

import numpy as np
import pytest

from keras_vlm.search.arguments import check_keys, check_new_keys, unit_vectors


@pytest.mark.parametrize(
    ("dtype", "scale"), [("f2", 6e4), ("f4", 1e-30), ("f4", 1e30), ("f8", 1e300), ("i8", 7)]
)
def test_any_scale_becomes_unit_norm(dtype, scale):
    vectors = (np.array([[3, -4, 0], [1, 0, 0]]) * (scale / 4)).astype(dtype)
    found = unit_vectors("f", "vectors", vectors, (2, 3))
    assert found.dtype == np.float32
    wanted = vectors.astype(np.float64) / np.abs(vectors.astype(np.float64)).max()
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite_is_refused(value):
    vectors = np.ones((3, 2))
    vectors[1, 0] = value
    with pytest.raises(ValueError, match=r"f: vectors must be finite.*row 1 \(1 of 3"):
        unit_vectors("f", "vectors", vectors, (None, 2))


def test_zero_is_refused():
    with pytest.raises(ValueError, match="f: queries must be .*not zero, got zeros in row 0"):
        unit_vectors("f", "queries", np.zeros((1, 2)), (None, 2))


@pytest.mark.parametrize("shape", [(2,), (3, 5), (2, 4), (1, 2, 5)])
def test_wrong_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"vectors must be an array \[2, 5\], got shape \["):
        unit_vectors("f", "vectors", np.ones(shape), (2, 5))


def test_no_numbers_are_refused():
    with pytest.raises(ValueError, match="must be numbers, got dtype <U1"):
        unit_vectors("f", "vectors", [["a"]], (1, 1))


def test_keys():
    assert check_keys("f", iter(["a", "a"])) == ["a", "a"]
    with pytest.raises(TypeError, match="f: keys must be a list of strings, got 'abc'"):
        check_keys("f", "abc")
    with pytest.raises(TypeError, match=r"f: keys must be strings, got 3 \(int\)"):
        check_keys("f", ["a", 3])
    with pytest.raises(ValueError, match="different from each other, got 'a' twice"):
        check_new_keys("f", ["a", "b", "a"])
