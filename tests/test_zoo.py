"""The published models: they load, are small, and say again what their cards say they said."""

import json
import pathlib

import keras
import numpy as np
import pytest
from contracts import few
from oracles import scenes_captioner

from keras_vlm import (
    Backbone,
    ContrastiveLoss,
    DataError,
    Retriever,
    Tokenizer,
    VideoCaptioner,
    VideoQAModel,
    VQAModel,
    build_captioner,
    evaluate,
    list_models,
    load,
    load_data,
)
from keras_vlm.data.moving_scenes import draw_moving_scenes, render_clip
from keras_vlm.losses import MaskedCrossEntropy, SoftmaxAnswerLoss
from keras_vlm.vision.efficientnet_lite import WEIGHTS_PATH
from keras_vlm.zoo import save_compact

# What the rendered pictures and clips are of which models answer questions.
DATA_OF = {
    "vqa-scenes": "scenes:100", "vqa-scratch-easy": "easy_vqa", "vqa-lite0-easy": "easy_vqa",
    "video-qa-moving-scenes": "moving_scenes:200",
}  # fmt: skip
# These learn in every run of the tests, the others in the slow one.
TRAINED = ("captioner-lite0-lstm-flickr8k",)
PHOTO = pathlib.Path(__file__).parent / "photos" / "photo.jpg"
ROOT = pathlib.Path(__file__).parents[1]
FOLDERS = sorted(path.parent for path in (ROOT / "saved_models").glob("*/config.json"))
BUDGET_MB, BUDGET_OF_ALL_MB = 25, 120


def test_the_list_is_the_folders():
    assert [model["name"] for model in list_models()] == [folder.name for folder in FOLDERS]
    assert {"captioner-lite0-lstm-flickr8k", "captioner-lite0-transformer-flickr8k"} <= {
        folder.name for folder in FOLDERS
    }


@pytest.fixture(scope="module", params=FOLDERS, ids=lambda folder: folder.name)
def published(request):
    return request.param, load(request.param.name)


def test_is_small(published):
    folder, _ = published
    size = {path: sum(p.stat().st_size for p in path.iterdir()) / 1e6 for path in FOLDERS}
    assert size[folder] <= BUDGET_MB
    assert sum(size.values()) <= BUDGET_OF_ALL_MB
    with np.load(folder / "weights.npz") as stored:
        assert {array.dtype for array in stored.values() if array.dtype.kind == "f"} == {
            np.dtype("float16")
        }
    # What training has left alone of the backbone is in the package once.
    assert WEIGHTS_PATH.stat().st_size < 10e6


def test_card_and_scores_belong_together(published):
    folder, _ = published
    card = (folder / "card.md").read_text(encoding="utf-8")
    scores = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    assert folder.name in card
    assert scores["signature"] in card
    rendered = scores["task"] == "vqa" or scores["task"].startswith("video")
    shown, digits = scores["scores"], 4 if rendered else 3
    if scores["task"] == "vqa":
        shown = {name: shown[name] for name in shown if name.startswith("accuracy")}
    for name, score in shown.items():
        assert f"{score:.{digits}f}" in card, name
    terms = ["terms"] if rendered else ["research", "Flickr8k"]
    for part in ("python recipes/", "keras-vlm evaluate", *terms):
        assert part in card


def test_knows_what_is_on_a_photo(published):
    name, model = published[0].name, published[1]
    if isinstance(model, Retriever):
        english = model.tokenizer.language == "en"
        labels = ["dog", "man with a camera", "snow"] if english else ["狗", "男人", "雪地"]
        assert model.classify(PHOTO, labels)[0].argmax() == 1
        return
    if isinstance(model, VideoCaptioner):
        examples = load_data("moving_scenes:200")["test"]
        assert evaluate(model, examples, verbose=0).scores["exact_match"] >= 0.9
        return
    if isinstance(model, VQAModel):
        examples = load_data(DATA_OF[name])["test"]
        images = [each["image_bytes"] for each in examples.dataset().take(50).as_numpy_iterator()]
        if isinstance(model, VideoQAModel):
            scenes = draw_moving_scenes(len(examples), split="test")[:50]
            images = [render_clip(scene, model.num_frames) for scene in scenes]
        questions = examples.questions[: len(images)]
        found = model.answer(images, [[each.text for each in asked] for asked in questions])
        right = [
            answer.text == question.answer
            for pair in zip(found, questions, strict=True)
            for answer, question in zip(*pair, strict=True)
        ]
        assert np.mean(right) >= 0.9
        return
    [[(text, score)]] = model.caption(PHOTO, with_scores=True)
    assert -5 < score < 0
    if model.tokenizer.language == "zh":
        assert "男人" in text or "照相" in text, text
        return
    assert len(text.split()) >= 3
    # Cameras and men are all over Flickr8k; a model that does not see would rather say "dog".
    assert {"man", "person", "camera"} & set(text.split()), text


@pytest.mark.parametrize(
    "published",
    few(FOLDERS, *(ROOT / "saved_models" / name for name in TRAINED)),
    indirect=True,
    ids=lambda folder: folder.name,
)
def test_goes_on_learning_after_compile(published):
    _, model = published
    if isinstance(model, (VQAModel, VideoCaptioner)):
        asks, of_clips = isinstance(model, VQAModel), hasattr(model, "num_frames")
        model.compile("adam", SoftmaxAnswerLoss() if asks else MaskedCrossEntropy())
        data = load_data("moving_scenes:16" if of_clips else "scenes:16")
        batches = model.batches(data["train"], 8)
        assert np.isfinite(model.fit(batches, verbose=0).history["loss"]).all()
        return
    ids = model.tokenizer(["a man takes a picture"]).numpy()[:, None]
    loss, targets = keras.losses.SparseCategoricalCrossentropy(from_logits=True), ids[..., 1:]
    if isinstance(model, Retriever):
        loss, targets = ContrastiveLoss(), np.ones((1, 1), bool)
    model.compile("adam", loss)
    images = np.zeros((1, *model.image_size, 3), np.float32)
    loss = model.train_on_batch({"images": images, "token_ids": ids[..., :-1]}, targets)
    assert np.isfinite(loss)


def test_compact_form_keeps_the_model_to_float16(tmp_path):
    model = scenes_captioner()
    save_compact(model, tmp_path / "mine")
    again = load(tmp_path / "mine")
    for ours, theirs in zip(model.weights, again.weights, strict=True):
        np.testing.assert_array_equal(ours.numpy().astype(np.float16), theirs.numpy())
    assert again.tokenizer.get_config() == model.tokenizer.get_config()
    with pytest.raises(FileExistsError, match="exists and is not empty"):
        save_compact(model, tmp_path / "mine")
    save_compact(model, tmp_path / "mine", overwrite=True)


def test_a_fine_tuned_backbone_is_stored(tmp_path):
    encoder = Backbone("efficientnet_lite0", image_size=64, trainable_from="head")
    kernel = encoder.network.get_layer("head").kernel
    kernel.assign_add(0.5 * keras.random.normal(kernel.shape))
    model = build_captioner(encoder, tokenizer=Tokenizer(["a"], max_length=5), text="lstm")
    # Whether it still learns or not.
    frozen = build_captioner(encoder.thawed(None), tokenizer=model.tokenizer, text="lstm")
    for name, one in (("learning", model), ("frozen", frozen)):
        save_compact(one, tmp_path / name)
        network = load(tmp_path / name).encoder.network
        np.testing.assert_allclose(network.get_layer("head").kernel, kernel, atol=2e-3)
        for ours, theirs in zip(encoder.network.weights, network.weights, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=2e-3)
        # What training has left alone is in the package once.
        with np.load(tmp_path / name / "weights.npz") as stored:
            shapes = [array.shape for array in stored.values()]
        assert shapes.count((1, 1, 320, 1280)) == 1
        assert (3, 3, 3, 32) not in shapes


def test_input_statistics_are_used_after_loading(tmp_path):
    encoder = Backbone("efficientnet_b0", image_size=32, weights=None)
    [place] = [
        place
        for place, layer in enumerate(encoder.network.layers)
        if isinstance(layer, keras.layers.Normalization)
    ]
    normalization = encoder.network.layers[place]
    mean, variance, count = normalization.get_weights()
    normalization.set_weights([mean + 0.5, variance * 0.25, count])
    model = build_captioner(encoder, tokenizer=Tokenizer(["a"], max_length=5), text="lstm")
    save_compact(model, tmp_path / "mine")
    again = load(tmp_path / "mine").encoder.network.layers[place]
    np.testing.assert_allclose(again(np.ones((1, 2, 2, 3), np.float32)), 1.0, atol=1e-3)


def test_what_is_being_written_is_not_published(monkeypatch, tmp_path):
    for name in ("mine", ".writing-mine-1"):
        save_compact(scenes_captioner(), tmp_path / name)
    facts = {"task": "captioning", "scores": {}, "signature": ""}
    (tmp_path / "mine" / "scores.json").write_text(json.dumps(facts))
    monkeypatch.setattr("keras_vlm.zoo._root", lambda: tmp_path)
    assert [model["name"] for model in list_models()] == ["mine"]
    with pytest.raises(FileNotFoundError, match=r"Published: mine\.$"):
        load("nothing")


def test_unknown_name_and_damaged_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="Did you mean 'captioner-lite0-lstm-flickr8k'"):
        load("captioner-lite0-lstm-flickr9k")
    save_compact(scenes_captioner(), tmp_path / "mine")
    weights = tmp_path / "mine" / "weights.npz"
    data = weights.read_bytes()
    for content in (data[: len(data) // 2], b"", b"words"):
        weights.write_bytes(content)
        with pytest.raises(DataError, match=r"mine: cannot be read as a published model"):
            load(tmp_path / "mine")
    weights.write_bytes(data)
    (tmp_path / "mine" / "config.json").write_text("{")
    with pytest.raises(DataError, match=r"mine: cannot be read as a published model"):
        load(tmp_path / "mine")
