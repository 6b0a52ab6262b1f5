"""The tasks that can be trained: for each the options of its run, and the function that trains.

Refuses to know the command line.
"""

from keras_vlm.training.captioning_run import CaptioningRun, train_captioner
from keras_vlm.training.reranking_run import RerankingRun, train_reranker
from keras_vlm.training.retrieval_run import RetrievalRun, train_retriever
from keras_vlm.training.video_run import (
    VideoCaptioningRun,
    VideoQARun,
    train_video_captioner,
    train_video_qa,
)
from keras_vlm.training.vqa_run import VQARun, train_vqa

RUNS = {
    "captioning": (CaptioningRun, train_captioner),
    "retrieval": (RetrievalRun, train_retriever),
    "vqa": (VQARun, train_vqa),
    "reranking": (RerankingRun, train_reranker),
    "video-caption": (VideoCaptioningRun, train_video_captioner),
    "video-qa": (VideoQARun, train_video_qa),
}
