"""How varied a corpus of captions is. Refuses to know references."""


def diversity(captions, training_captions=None):
    """Counts how much of a corpus repeats itself, and the training data.

    Args:
        captions: list of n tokenized strings, one a picture.
        training_captions: list of tokenized strings that the model was trained on, or None.

    Returns:
        A dict: ``distinct`` (share of captions, from 0 to 1, left when repetitions are dropped),
        ``vocabulary`` (number of different words used), ``mean_length`` (words a caption) and,
        with ``training_captions``, ``novel`` (share that is not among them word for word).

    Raises:
        ValueError: there are no captions.

    Example:
        >>> diversity(["a dog", "a dog", "a red bike"], training_captions=["a dog"])
        {'distinct': 0.666..., 'vocabulary': 4, 'mean_length': 2.33..., 'novel': 0.33...}
    """
    if not captions:
        raise ValueError("diversity: captions must not be empty, got none.")
    words = [text.split() for text in captions]
    found = {
        "distinct": len(set(captions)) / len(captions),
        "vocabulary": len(set().union(*words)),
        "mean_length": sum(map(len, words)) / len(captions),
    }
    if training_captions is not None:
        known = set(training_captions)
        found["novel"] = sum(text not in known for text in captions) / len(captions)
    return found
