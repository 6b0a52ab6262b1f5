"""Retrieval scores against a slow truth that sorts and counts by hand; ties, folds, bad input."""

import numpy as np
import pytest

from keras_vlm.metrics import RETRIEVAL_SCORES, score_retrieval
from keras_vlm.metrics.retrieval import ranks_of_right, score_blocks

CUTOFFS = (1, 5, 10)


def example(pictures=23, width=7, seed=0, ties=False):
    random = np.random.default_rng(seed)
    owners = np.repeat(np.arange(pictures), random.integers(1, 6, pictures))
    images = random.normal(size=(pictures, width))
    texts = images[owners] + 1.5 * random.normal(size=(len(owners), width))
    if ties:
        # Few distinct scores: every query has answers that score alike.
        images, texts = np.sign(images), np.sign(texts)
    order = random.permutation(len(owners))
    return images, texts[order], owners[order]


def slow_scores(images, texts, owners):
    """Sorts the answers of each query by hand; of equals, wrong ones first."""
    sides = {
        "image_to_text": [
            [(-float(image @ text), owner == i) for text, owner in zip(texts, owners, strict=True)]
            for i, image in enumerate(images)
        ],
        "text_to_image": [
            [(-float(image @ text), owner == i) for i, image in enumerate(images)]
            for text, owner in zip(texts, owners, strict=True)
        ],
    }
    scores = {}
    for side, queries in sides.items():
        best, precisions = [], []
        for answers in queries:
            ranked = [right for _, right in sorted(answers)]
            places = [place for place, right in enumerate(ranked, 1) if right]
            best.append(places[0])
            precisions.append(np.mean([sum(ranked[:place]) / place for place in places]))
        for k in CUTOFFS:
            scores[f"{side}_R@{k}"] = 100 * sum(place <= k for place in best) / len(best)
        scores[f"{side}_median_rank"] = float(np.median(best))
        scores[f"{side}_mAP"] = float(np.mean(precisions))
    recalls = [score for name, score in scores.items() if "R@" in name]
    return {**scores, "mean_recall": sum(recalls) / 6}


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_equal_to_sorting_by_hand(seed, ties):
    images, texts, owners = example(seed=seed, ties=ties)
    found = score_retrieval(images, texts, owners)
    assert tuple(found) == RETRIEVAL_SCORES
    assert found == pytest.approx(slow_scores(images, texts, owners))


def test_more_queries_than_a_block():
    images, texts, owners = example(pictures=301)
    assert score_retrieval(images, texts, owners) == pytest.approx(
        slow_scores(images, texts, owners)
    )


def test_folds_are_scored_apart_and_what_is_left_over_is_left_out():
    images, texts, owners = example(pictures=23)
    parts = []
    for start in (0, 7, 14):
        inside = (owners >= start) & (owners < start + 7)
        parts.append(
            slow_scores(images[start : start + 7], texts[inside], owners[inside] - start)
        )
    expected = {name: np.mean([part[name] for part in parts]) for name in RETRIEVAL_SCORES}
    assert score_retrieval(images, texts, owners, folds=3) == pytest.approx(expected)


def test_a_model_that_says_the_same_of_everything_scores_nothing():
    owners = np.repeat(np.arange(11), 2)
    found = score_retrieval(np.ones((11, 3)), np.ones((22, 3)), owners)
    assert found["image_to_text_R@10"] == found["text_to_image_R@10"] == 0
    assert found["text_to_image_median_rank"] == 11


def test_a_picture_that_could_not_be_read_finds_nothing_and_is_found_by_nothing():
    """Even where everything else is far from everything."""
    images, texts = np.ones((11, 1)), -np.ones((11, 1))
    images[0] = 0
    [(_, scores)] = score_blocks(texts[:1], images)
    assert [ranks.tolist() for ranks in ranks_of_right(scores, np.eye(11)[:1])] == [[11]]
    found = score_retrieval(images, texts, np.arange(11))
    assert found["image_to_text_R@10"] == 0
    assert found["text_to_image_R@1"] == 0


@pytest.mark.parametrize("folds", [1, 3])
def test_a_second_stage_is_told_which_pictures_and_captions(folds):
    """It scores by a table of its own, whatever the first stage says."""
    images, texts, owners = example(pictures=23)
    first = np.random.default_rng(5).normal(size=images.shape)
    table = images @ texts.T
    rescored = score_retrieval(
        first, texts, owners, folds=folds, rescore=lambda scores, i, j: table[i, j] + 0 * scores
    )
    assert rescored == pytest.approx(score_retrieval(images, texts, owners, folds=folds))


def test_ranks_of_all_right_answers():
    ranks = ranks_of_right(np.array([[3.0, 1.0, 2.0, 2.0]]), np.array([[0, 1, 0, 1]]))
    assert [found.tolist() for found in ranks] == [[3, 4]]


@pytest.mark.parametrize(
    ("images", "texts", "owners", "options", "message"),
    [
        (np.ones((2, 3)), np.ones((2, 4)), [0, 1], {}, r"\[n,E\] and \[m,E\], got \(2, 3\) and"),
        (np.ones((2, 3)), np.ones((2, 3)), [0], {}, r"one picture a text \(2\), got shape \(1,\)"),
        (np.ones((2, 3)), np.ones((2, 3)), [0, 0], {}, r"must have a caption, got none for \{1\}"),
        (np.ones((2, 3)), np.ones((2, 3)), [0, 1], {"folds": 3}, "folds must be .* got 3"),
    ],
)
def test_bad_input(images, texts, owners, options, message):
    with pytest.raises(ValueError, match=message):
        score_retrieval(images, texts, owners, **options)
