"""Scores: strings (for retrieval, unit vectors) in, floats out.

The contract for captions: references list[list[str]], hypotheses list[str] -> dict of name to
float, with a signature. Always on freely generated text. Refuses to know models.
"""

from keras_vlm.metrics.captions import CAPTION_SCORES as CAPTION_SCORES
from keras_vlm.metrics.captions import MORE_CAPTION_SCORES as MORE_CAPTION_SCORES
from keras_vlm.metrics.captions import score_captions as score_captions
from keras_vlm.metrics.classification import score_classification as score_classification
from keras_vlm.metrics.retrieval import RETRIEVAL_SCORES as RETRIEVAL_SCORES
from keras_vlm.metrics.retrieval import score_retrieval as score_retrieval
from keras_vlm.metrics.vqa_accuracy import VQA_SCORES as VQA_SCORES
from keras_vlm.metrics.vqa_accuracy import score_vqa as score_vqa
from keras_vlm.metrics.vqa_accuracy import vqa_accuracy as vqa_accuracy
