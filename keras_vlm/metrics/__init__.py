"""Scores: strings in, floats out.

The contract: references list[list[str]], hypotheses list[str] -> dict of name to float, with a
signature. Always on freely generated text. Refuses to know models.
"""

from keras_vlm.metrics.captions import CAPTION_SCORES as CAPTION_SCORES
from keras_vlm.metrics.captions import score_captions as score_captions
