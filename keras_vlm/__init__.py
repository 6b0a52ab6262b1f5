"""keras_vlm: small vision-language models to train, judge, explain and serve, in Keras 3.

The whole public API. The folders are floors: a floor imports only floors below it.
"""

import keras_vlm.core.quiet  # noqa: I001 - before TensorFlow
from keras_vlm.core.checks import DataError as DataError
from keras_vlm.core.version import VERSION as __version__
from keras_vlm.data import load_data as load_data
from keras_vlm.decoding import BannedTokens as BannedTokens
from keras_vlm.decoding import BeamSearch as BeamSearch
from keras_vlm.decoding import DiverseBeamSearch as DiverseBeamSearch
from keras_vlm.decoding import GreedySearch as GreedySearch
from keras_vlm.decoding import MinimumLength as MinimumLength
from keras_vlm.decoding import NoRepeatNgram as NoRepeatNgram
from keras_vlm.decoding import Sampling as Sampling
from keras_vlm.explain.attention import attend_words as attend_words
from keras_vlm.explain.attention import plot_attention as plot_attention
from keras_vlm.export.saved_model import export_saved_model as export_saved_model
from keras_vlm.export.served import ServedCaptioner as ServedCaptioner
from keras_vlm.export.served import ServedRetriever as ServedRetriever
from keras_vlm.fusion import AdditiveFusion as AdditiveFusion
from keras_vlm.fusion import ConcatFusion as ConcatFusion
from keras_vlm.fusion import DotProductFusion as DotProductFusion
from keras_vlm.fusion import MultiHeadFusion as MultiHeadFusion
from keras_vlm.losses import ContrastiveLoss as ContrastiveLoss
from keras_vlm.losses import MaskedCrossEntropy as MaskedCrossEntropy
from keras_vlm.losses import SigmoidLoss as SigmoidLoss
from keras_vlm.losses import TripletLoss as TripletLoss
from keras_vlm.metrics import score_captions as score_captions
from keras_vlm.metrics import score_classification as score_classification
from keras_vlm.metrics import score_retrieval as score_retrieval
from keras_vlm.search.pictures import find_duplicates as find_duplicates
from keras_vlm.search.pictures import index_pictures as index_pictures
from keras_vlm.search.pictures import open_index as open_index
from keras_vlm.search.pictures import search_pictures as search_pictures
from keras_vlm.search.qdrant import QdrantIndex as QdrantIndex
from keras_vlm.search.vector_index import VectorIndex as VectorIndex
from keras_vlm.tasks.captioning import Captioner as Captioner
from keras_vlm.tasks.captioning import build_captioner as build_captioner
from keras_vlm.tasks.ensemble import CaptionerEnsemble as CaptionerEnsemble
from keras_vlm.tasks.reranking import Reranker as Reranker
from keras_vlm.tasks.reranking import build_reranker as build_reranker
from keras_vlm.tasks.retrieval import Retriever as Retriever
from keras_vlm.tasks.retrieval import build_retriever as build_retriever
from keras_vlm.tasks.towers import Tower as Tower
from keras_vlm.tasks.two_stage import TwoStageRetriever as TwoStageRetriever
from keras_vlm.text import BagOfWords as BagOfWords
from keras_vlm.text import GRUEncoder as GRUEncoder
from keras_vlm.text import LSTMDecoder as LSTMDecoder
from keras_vlm.text import LSTMEncoder as LSTMEncoder
from keras_vlm.text import Tokenizer as Tokenizer
from keras_vlm.text import TransformerDecoder as TransformerDecoder
from keras_vlm.text import TransformerEncoder as TransformerEncoder
from keras_vlm.training.callbacks import CaptionScores as CaptionScores
from keras_vlm.training.callbacks import RetrievalScores as RetrievalScores
from keras_vlm.training.callbacks import TrainingBackup as TrainingBackup
from keras_vlm.training.callbacks import TwoStageScores as TwoStageScores
from keras_vlm.training.evaluate import evaluate as evaluate
from keras_vlm.training.self_critical import SelfCritical as SelfCritical
from keras_vlm.training.zero_shot import evaluate_zero_shot as evaluate_zero_shot
from keras_vlm.vision.augmentation import Augmentation as Augmentation
from keras_vlm.vision.backbones import Backbone as Backbone
from keras_vlm.zoo import list_models as list_models
from keras_vlm.zoo import load as load
