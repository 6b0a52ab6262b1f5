"""What a model that does not look could score. Refuses to know models."""

import collections

from keras_vlm.metrics import score_captions
from keras_vlm.training.evaluate import SCORE_TOKENIZER_OF_LANGUAGE


def best_constant_caption(training, examples, *, candidates=50, monitor="CIDEr-D"):
    """Finds the one caption that scores best when it is given to every picture.

    Args:
        training: a data split, whose most frequent captions are tried.
        examples: the data split to score on.
        candidates: number of captions to try.
        monitor: the score that chooses.

    Returns:
        ``(caption, scores)``.

    Raises:
        ValueError: a split has no captions.
    """
    counted = collections.Counter(text for texts in training.captions for text in texts)
    tokenizer = SCORE_TOKENIZER_OF_LANGUAGE.get(examples.language, "ptb")
    found = {
        caption: score_captions(
            examples.captions, [caption] * len(examples), tokenizer=tokenizer
        ).scores
        for caption, _ in counted.most_common(candidates)
    }
    if not found:
        raise ValueError("best_constant_caption: training must have captions, got none.")
    best = max(found, key=lambda caption: found[caption][monitor])
    return best, found[best]
