"""Retrieval scores: how far up the right answer stands, in both directions.

Refuses to know models: unit vectors in, floats out. A wrong answer that scores as high as the right
one stands before it, so that a model that says the same of everything scores nothing.

Dimension letters: n pictures, m captions, E width of the space, Q queries.
"""

import numpy as np

from keras_vlm.core.checks import check_number

CUTOFFS = (1, 5, 10)
DIRECTIONS = ("image_to_text", "text_to_image")
RETRIEVAL_SCORES = (
    *(
        f"{direction}_{name}"
        for direction in DIRECTIONS
        for name in (*(f"R@{k}" for k in CUTOFFS), "median_rank", "mAP")
    ),
    "mean_recall",
)
# Queries compared at once: the scores of all answers for so many fit in memory.
BLOCK = 256


def score_retrieval(images, texts, owners, *, folds=1, rescore=None):
    """Scores a common space by who finds whom.

    Args:
        images: [n,E] float, unit vectors; zeros for a picture that could not be read, which
            finds nothing and is found by nothing.
        texts: [m,E] float, unit vectors.
        owners: [m] int, the picture (row of ``images``) that each caption describes.
        folds: number of equal parts, in order, that are scored apart and averaged: 5 for the "1k"
            figures of 5,000 pictures, 1 for their "5k" figures. Pictures left over are left out.
        rescore: None, or a second stage: a function of scores [q,A] of queries with answers, of
            pictures and of captions (rows of ``images`` and of ``texts``, int arrays that broadcast
            to [q,A]) -> the scores [q,A] that count. It is asked in both directions.

    Returns:
        dict of name to float. R@K is the share of queries, in percent, with a right answer among
        the first K; a picture has several right captions, of which the best counts. The median
        rank begins at 1. mAP (0 to 1) is the mean over queries of the mean precision at each right
        answer. ``mean_recall`` is the mean of the six R@K.

    Raises:
        ValueError: shapes do not match, a picture has no caption, or ``folds`` is out of range.

    Example:
        >>> scores = score_retrieval(np.eye(3), np.eye(3)[[0, 0, 1, 2]], [0, 0, 1, 2])
        >>> scores["image_to_text_R@1"], scores["text_to_image_median_rank"]
        (100.0, 1.0)

    Source:
        Hodosh, Young and Hockenmaier 2013, "Framing Image Description as a Ranking Task".
    """
    images, texts, owners = (np.asarray(each) for each in (images, texts, owners))
    where = "score_retrieval"
    if images.ndim != 2 or texts.ndim != 2 or images.shape[1] != texts.shape[1]:
        raise ValueError(
            f"{where}: images and texts must be [n,E] and [m,E], got {images.shape} and "
            f"{texts.shape}."
        )
    if owners.shape != (len(texts),):
        raise ValueError(
            f"{where}: owners must have one picture a text ({len(texts)}), got shape "
            f"{owners.shape}."
        )
    check_number(where, "folds", folds, minimum=1, maximum=max(1, len(images)), integer=True)
    lonely = set(range(len(images))) - set(owners.tolist())
    if lonely or not len(images):
        raise ValueError(f"{where}: every picture must have a caption, got none for {lonely}.")
    size = len(images) // folds
    found = []
    for start in range(0, size * folds, size):
        pictures = np.arange(start, start + size)
        captions = np.flatnonzero((owners >= start) & (owners < start + size))
        found.append(_score_fold(images, texts, owners, pictures, captions, rescore))
    return {name: float(np.mean([scores[name] for scores in found])) for name in found[0]}


def score_blocks(queries, answers, rescore=None):
    """Compares queries with all answers, a block of queries at a time.

    Args:
        queries: [Q,E] float.
        answers: [A,E] float.
        rescore: None, or a function of scores [q,A] and the places [q] of these queries -> the
            scores [q,A] that count.

    Yields:
        ``(places [q] int, scores [q,A] float)``.
    """
    for start in range(0, len(queries), BLOCK):
        places = np.arange(start, min(start + BLOCK, len(queries)))
        # What could not be read is zeros, and is found by nobody.
        scores = np.where(answers.any(axis=1), queries[places] @ answers.T, -np.inf)
        yield places, scores if rescore is None else rescore(scores, places)


def ranks_of_right(scores, right):
    """Finds where the right answers of each query stand among all answers.

    Args:
        scores: [q,A] float.
        right: [q,A] bool, True for a right answer.

    Returns:
        A list of q int arrays: the ranks of the right answers, from 1, best first.
    """
    # Best first; of equals the wrong ones first.
    order = np.lexsort((right, -scores), axis=1)
    return [np.flatnonzero(row) + 1 for row in np.take_along_axis(right, order, axis=1)]


def _score_fold(images, texts, owners, pictures, captions, rescore):
    """Scores the pictures and captions of one fold, given by their rows."""
    to_captions = to_pictures = None
    if rescore is not None:

        def to_captions(scores, places):
            return rescore(scores, pictures[places][:, None], captions[None, :])

        def to_pictures(scores, places):
            return rescore(scores, pictures[None, :], captions[places][:, None])

    images, texts, owners = images[pictures], texts[captions], owners[captions]
    both = (
        [
            rank
            for places, scores in score_blocks(images, texts, to_captions)
            for rank in ranks_of_right(scores, owners[None, :] == pictures[places][:, None])
        ],
        [
            rank
            for places, scores in score_blocks(texts, images, to_pictures)
            for rank in ranks_of_right(scores, owners[places][:, None] == pictures[None, :])
        ],
    )
    scores = {}
    for direction, ranks in zip(DIRECTIONS, both, strict=True):
        best = np.array([found[0] for found in ranks])
        for k in CUTOFFS:
            scores[f"{direction}_R@{k}"] = 100 * np.mean(best <= k)
        scores[f"{direction}_median_rank"] = np.median(best)
        scores[f"{direction}_mAP"] = np.mean(
            [np.mean(np.arange(1, len(found) + 1) / found) for found in ranks]
        )
    scores["mean_recall"] = np.mean([scores[f"{d}_R@{k}"] for d in DIRECTIONS for k in CUTOFFS])
    return scores
