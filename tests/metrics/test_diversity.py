"""Diversity by hand."""

import pytest

from keras_vlm.metrics.diversity import diversity


def test_counts_by_hand():
    found = diversity(["a dog", "a dog", "a red bike", "a cat"], training_captions=["a dog"])
    assert found == {
        "distinct": 3 / 4,
        "vocabulary": 5,
        "mean_length": 9 / 4,
        "novel": 2 / 4,
    }
    assert "novel" not in diversity(["a dog"])


def test_no_captions_is_an_error():
    with pytest.raises(ValueError, match="captions must not be empty"):
        diversity([])
