"""Checks of what is added and looked for: strings, and vectors with a direction."""

import numpy as np


def check_keys(where, keys):
    """Returns keys as a list.

    Args:
        where: name of the public function, for messages.
        keys: an iterable of strings.

    Returns:
        A list of strings.

    Raises:
        TypeError: they are something else.
    """
    if isinstance(keys, (str, bytes)):
        raise TypeError(f"{where}: keys must be a list of strings, got {keys!r}. Put it in a list.")
    keys = list(keys)
    for key in keys:
        if not isinstance(key, str):
            raise TypeError(
                f"{where}: keys must be strings, got {key!r} ({type(key).__name__}). "
                "Convert them with str()."
            )
    return keys


def check_new_keys(where, keys):
    """Returns keys as a list of different strings, to be added in one call.

    Args:
        where: name of the public function, for messages.
        keys: an iterable of strings.

    Returns:
        A list of strings.

    Raises:
        TypeError: they are no strings.
        ValueError: one comes twice, so that its vector is unclear.
    """
    keys, seen = check_keys(where, keys), set()
    for key in keys:
        if key in seen:
            raise ValueError(
                f"{where}: keys must be different from each other, got {key!r} twice. "
                "Decide which of its vectors counts."
            )
        seen.add(key)
    return keys


def unit_vectors(where, argument, vectors, shape):
    """Returns vectors at unit norm.

    Args:
        where: name of the public function, for messages.
        argument: name of the argument.
        vectors: array of numbers [n,D].
        shape: the (n, D) that is wanted; n may be None for any.

    Returns:
        float32 array [n,D].

    Raises:
        ValueError: they have another shape or type, or one is zero or not finite.
    """
    count, dim = shape
    vectors = np.asarray(vectors)
    if vectors.dtype.kind not in "fiu":
        raise ValueError(f"{where}: {argument} must be numbers, got dtype {vectors.dtype}.")
    if vectors.ndim != 2 or vectors.shape[1] != dim or count not in {None, len(vectors)}:
        raise ValueError(
            f"{where}: {argument} must be an array [{'n' if count is None else count}, {dim}], "
            f"got shape {list(vectors.shape)}. Pass one vector of width {dim} a row."
        )
    # By the largest number first: squares of float16, or of very large numbers, would overflow.
    peaks = np.abs(vectors.astype(np.float64)).max(axis=1, keepdims=True, initial=0)
    wrong = np.flatnonzero(~np.isfinite(peaks) | (peaks == 0))
    if len(wrong):
        what = "zeros" if peaks[wrong[0]] == 0 else "a number that is not finite"
        raise ValueError(
            f"{where}: {argument} must be finite and not zero, got {what} in row {wrong[0]} "
            f"({len(wrong)} of {len(vectors)} rows are wrong). Leave these rows out."
        )
    scaled = (vectors / peaks).astype(np.float32)
    return scaled / np.linalg.norm(scaled, axis=1, keepdims=True)
