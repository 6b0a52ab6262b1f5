"""Exact search over memory-mapped vectors, block by block, with NumPy alone.

Refuses to know keys and files. Dimension letters: q queries, D their width, k results a query.
"""

import numpy as np

BLOCK_ROWS = 2048
BLOCK_QUERIES = 1024
# Vectors that are gathered at once.
BLOCK_CANDIDATES = 2**17


def exact_search(vectors, dead, queries, k, first=0):
    """Finds the rows nearest to each query.

    Args:
        vectors: float array [rows,D], unit norm; may be memory-mapped and larger than memory.
        dead: bool array [rows], rows that do not count.
        queries: float32 array [q,D], unit norm.
        k: results a query.
        first: the row to begin with.

    Returns:
        rows, int64 [q,k], and scores, float32 [q,k], best first, of equal ones the earlier row
        first; row -1 and score -inf where there are fewer than k rows.
    """
    rows = np.full((len(queries), k), -1, np.int64)
    scores = np.full((len(queries), k), -np.inf, np.float32)
    for begin in range(0, len(queries), BLOCK_QUERIES):
        part = slice(begin, begin + BLOCK_QUERIES)
        for start in range(first, len(vectors), BLOCK_ROWS):
            # float32 before the product: NumPy multiplies float16 without BLAS.
            block = vectors[start : start + BLOCK_ROWS].astype(np.float32)
            # In this order: BLAS takes eight times as long for one query in the other.
            found = block @ queries[part].T
            found[dead[start : start + BLOCK_ROWS]] = -np.inf
            places, better = _above(found, scores[part, -1])
            places = np.where(places >= 0, places + start, -1)
            rows[part], scores[part] = best(
                np.concatenate([rows[part], places], axis=1),
                np.concatenate([scores[part], better], axis=1),
                k,
            )
    return rows, scores


def best(rows, scores, k):
    """Returns the k best of c candidates a query.

    Args:
        rows: int64 array [q,c].
        scores: float array [q,c].
        k: how many, at most c.

    Returns:
        rows [q,k] and scores [q,k], best first, of equal ones the lower row first.
    """
    order = np.lexsort((rows, -scores), axis=-1)[:, :k]
    return np.take_along_axis(rows, order, 1), np.take_along_axis(scores, order, 1)


def exact_scores(vectors, queries, rows):
    """Returns the cosine of each query with its candidates.

    Args:
        vectors: float array [rows,D], unit norm.
        queries: float32 array [q,D], unit norm.
        rows: int64 array [q,c]; -1 for none.

    Returns:
        float32 [q,c]; -inf where there is no row.
    """
    scores = np.empty(rows.shape, np.float32)
    block = max(1, BLOCK_CANDIDATES // max(1, rows.shape[1]))
    for begin in range(0, len(queries), block):
        part = slice(begin, begin + block)
        candidates = vectors[rows[part]].astype(np.float32)
        scores[part] = np.matmul(candidates, queries[part, :, None])[:, :, 0]
    scores[rows < 0] = -np.inf
    return scores


def _above(scores, floors):
    """Returns the places in scores [c,q] above each query's floor [q], and those scores.

    Both are padded, with -1 and -inf, to the query that has most: [q,most].
    """
    place, query = np.nonzero(scores > floors)
    order = np.argsort(query, kind="stable")
    place, query = place[order], query[order]
    counts = np.bincount(query, minlength=len(floors))
    slot = np.arange(len(query)) - np.repeat(np.cumsum(counts) - counts, counts)
    found = np.full((len(floors), counts.max(initial=0)), -1, np.int64)
    better = np.full(found.shape, -np.inf, np.float32)
    found[query, slot] = place
    better[query, slot] = scores[place, query]
    return found, better
