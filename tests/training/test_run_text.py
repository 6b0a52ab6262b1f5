"""Text layers of a run: their options, and word vectors of a file to begin with."""

import keras
import numpy as np
import pytest
from oracles import begun_model

from keras_vlm.training.captioning_run import CaptioningRun, train_captioner
from keras_vlm.training.reranking_run import RerankingRun
from keras_vlm.training.retrieval_run import RetrievalRun, train_retriever
from keras_vlm.training.video_run import (
    VideoCaptioningRun,
    VideoQARun,
    train_video_captioner,
    train_video_qa,
)
from keras_vlm.training.vqa_run import VQARun, train_vqa

TINY = {"backbone": "conv_small", "hidden_dim": 4, "image_size": 32, "minimum_count": 1}
CLIPS = {**TINY, "num_frames": 2, "temporal": "mean"}
RUNS = {
    "captioning": (CaptioningRun, train_captioner, "scenes:16", TINY),
    "retrieval": (RetrievalRun, train_retriever, "scenes:16", {**TINY, "text": "bag"}),
    "vqa": (VQARun, train_vqa, "scenes:16", {**TINY, "text": "bag"}),
    "video-caption": (VideoCaptioningRun, train_video_captioner, "moving_scenes:16", CLIPS),
    "video-qa": (VideoQARun, train_video_qa, "moving_scenes:16", {**CLIPS, "text": "bag"}),
}
VECTORS = {
    "red": (3, 0, 1), "circle": (1, 1, -2), "square": (0, -1, 2), "triangle": (2, 2, 1),
}  # fmt: skip


@pytest.mark.parametrize("task", RUNS)
def test_words_begin_with_vectors(task, tmp_path, capsys, monkeypatch):
    path = tmp_path / "vectors.txt"
    path.write_text(
        "".join(f"{word} {' '.join(map(str, numbers))}\n" for word, numbers in VECTORS.items())
    )
    kind, train, data, options = RUNS[task]
    run = kind(data, str(tmp_path / "run"), word_vectors=str(path), **options)
    model = begun_model(train, run, monkeypatch)
    # When it is resumed its words are in the backup, wherever the file has gone.
    path.rename(tmp_path / "gone.txt")
    with pytest.raises(FileNotFoundError, match="vectors.txt: no such file of word vectors"):
        begun_model(train, run, monkeypatch)
    (tmp_path / "run" / "backup" / "epoch-000000-000000000").mkdir(parents=True)
    begun_model(train, run, monkeypatch)
    assert "words have a vector; the first without: " in capsys.readouterr().err
    (embedding,) = {
        id(layer): layer
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.Embedding)
    }.values()
    # Nobody asks about a moving shape by its colour.
    known = [word for word in VECTORS if word in model.tokenizer.vocabulary]
    assert known[-3:] == ["circle", "square", "triangle"]
    places = [4 + model.tokenizer.vocabulary.index(word) for word in known]
    ours = np.asarray(embedding.embeddings)[places]
    given = np.array([VECTORS[word] for word in known], float)
    pairs = np.triu_indices(len(known), 1)
    distances = [np.linalg.norm(x[:, None] - x, axis=-1)[pairs] for x in (ours, given)]
    np.testing.assert_allclose(
        distances[0] / distances[1], distances[0][0] / distances[1][0], rtol=1e-4
    )


LEVERS = {
    "text": "transformer",
    "attention_dropout": 0.2,
    "word_dropout": 0.3,
    "norm": "after",
    "positions": "relative",
    "tie_words": False,
}


@pytest.mark.parametrize("task", ["captioning", "video-caption"])
def test_what_writes_has_the_options_of_its_run(task, tmp_path, monkeypatch):
    kind, train, data, options = RUNS[task]
    run = kind(data, str(tmp_path / "run"), **{**options, **LEVERS})
    decoder = begun_model(train, run, monkeypatch).text_decoder
    assert [layer.fusion.dropout_rate for layer in decoder.layers] == [0.2, 0.2]
    config = decoder.get_config()
    names = ("word_dropout", "norm", "positions", "tie_words")
    assert [config[name] for name in names] == [0.3, "after", "relative", False]
    plain = begun_model(
        train, kind(data, str(tmp_path / "plain"), **options), monkeypatch
    ).text_decoder
    assert [layer.fusion.dropout_rate for layer in plain.layers] == [0.0, 0.0]
    config = plain.get_config()
    assert [config[name] for name in names] == [0.0, "before", "learned", True]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"norm": "pre"}, "norm must be one of 'before', 'after', got 'pre'"),
        ({"positions": "waves"}, "positions must be one of .* got 'waves'"),
        ({"norm": "after", "text": "lstm"}, "norm must be 'before' with text='lstm', got 'after'"),
        (
            {"positions": "relative", "text": "gru"},
            "positions must be 'learned' with text='gru', got 'relative'",
        ),
        (
            {"attention_dropout": 0.2, "fusion": "additive"},
            "attention_dropout must be 0 with the fusion 'additive', got 0.2",
        ),
        ({"word_dropout": 0.2, "start": "x"}, "word_dropout is the model's own"),
        ({"tie_words": False, "start": "x"}, "tie_words is the model's own"),
    ],
)
def test_options_that_do_not_go_together(options, message):
    with pytest.raises(ValueError, match=f"CaptioningRun: {message}"):
        CaptioningRun("scenes:16", "nowhere", **options)


def test_those_that_have_words_already_refuse_vectors():
    with pytest.raises(ValueError, match="word_vectors is the model's own where start is given"):
        CaptioningRun("scenes:16", "out", start="model.keras", word_vectors="vectors.txt")
    with pytest.raises(ValueError, match="word_vectors is the retriever's own"):
        RerankingRun("scenes:16", "out", retriever="model.keras", word_vectors="vectors.txt")
    with pytest.raises(ValueError, match="word_vectors must be left out with text='keras_hub:x'"):
        RetrievalRun("scenes:16", "out", text="keras_hub:x", word_vectors="vectors.txt")
