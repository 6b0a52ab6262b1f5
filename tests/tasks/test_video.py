"""Models of clips: every temporal layer keeps the contracts; carried-over weights; bad input."""

import copy
import subprocess
import sys

import contracts
import keras
import numpy as np
import pytest
import tensorflow as tf
from clip_models import F, small_backbone, small_temporal, video_captioner, video_qa
from oracles import scenes_captioner, scenes_vqa, small_tokenizer, tiny_encoder
from videos import grey_ramp, write_video

from keras_vlm import (
    Backbone,
    CaptionerEnsemble,
    LSTMDecoder,
    Tokenizer,
    attend_words,
    build_video_captioner,
    build_video_qa,
    choose_answers,
    load,
    load_data,
)
from keras_vlm.data.moving_scenes import draw_moving_scenes, render_clip
from keras_vlm.data.questions import flatten
from keras_vlm.fusion import FUSIONS
from keras_vlm.tasks.asking import EMPTY, UNREADABLE
from keras_vlm.text import TEXT_DECODERS
from keras_vlm.vision.frame_encoder import FrameEncoder
from keras_vlm.vision.temporal import TEMPORALS

K, Q = 3, 3
# Each temporal layer with a text decoder, and with a head and a fusion of questions.
CAPTIONERS = list(zip(TEMPORALS, ["lstm", "transformer"] * 2 + ["lstm"], strict=True))
ANSWERERS = [("transformer", "choose", "hadamard"), ("attention", "write", "attention")]


@pytest.fixture(scope="module")
def examples():
    return load_data("moving_scenes:24")["train"]


@pytest.fixture(
    scope="module",
    params=contracts.few(CAPTIONERS, CAPTIONERS[2]),
    ids="-".join,
)
def captioner(request, examples):
    model = video_captioner(*request.param)
    batch = next(iter(model.batches(examples, 5, shuffle=False, captions_per_image=K)))
    return model, batch


@pytest.fixture(scope="module", params=contracts.few(ANSWERERS, ANSWERERS[-1]), ids="-".join)
def answerer(request, examples):
    model = video_qa(*request.param)
    batch = next(iter(model.batches(examples, 5, shuffle=False, questions_per_image=Q)))
    return model, batch


def copy_of(model):
    twin = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(model))
    twin.set_weights(model.get_weights())
    twin.compile("adam", model.loss)
    return twin


def test_a_captioner_is_functional_with_named_parts(captioner):
    model, (inputs, targets) = captioner
    assert set(model.input) == {"frames", "token_ids"}
    assert {layer.name for layer in model.layers} >= {"encoder", "decoder"}
    assert model(inputs).shape == (*targets.shape, model.tokenizer.vocabulary_size)
    features = model.encoder(inputs["frames"])
    assert features.shape[:2] == (5, F)
    cached = {"frame_features": features, "token_ids": inputs["token_ids"]}
    np.testing.assert_allclose(model(cached), model(inputs), atol=1e-5)


def test_captioners_keep_the_contracts(captioner):
    model, batch = captioner
    contracts.check_gradients(model, batch)
    contracts.check_padding_is_nothing(copy_of(model), batch)
    contracts.check_packed_steps(model, batch)


@pytest.mark.slow
def test_captioners_learn(captioner):
    contracts.check_learns(copy_of(captioner[0]), captioner[1])


def test_captioners_save(captioner, tmp_path):
    model, batch = captioner
    contracts.check_saves(copy_of(model), batch, batch[0]["frames"].numpy()[:2], tmp_path)


def test_a_clip_alone_is_its_row(captioner):
    model, batch = captioner
    contracts.check_rows_are_apart(model, batch, batch[0]["frames"].numpy()[:2])


def test_answerers_keep_the_contracts(answerer):
    contracts.check_gradients(*answerer)


@pytest.mark.slow
def test_answerers_learn(answerer):
    contracts.check_learns(copy_of(answerer[0]), answerer[1])


def test_answerers_save(answerer, tmp_path):
    model, batch = answerer
    contracts.check_saves(copy_of(model), batch, batch[0]["frames"].numpy()[:2], tmp_path)


@pytest.mark.slow
def test_a_step_under_xla_is_a_plain_step(examples):
    """With the backbone frozen: rounding in its gradients is no matter of this."""
    model = build_video_captioner(
        Backbone("conv_small", image_size=32, weights=None), num_frames=F, temporal="lstm",
        tokenizer=Tokenizer.fit(examples, minimum_count=1), text="lstm",
    )  # fmt: skip
    batch = next(iter(model.batches(examples, 5, shuffle=False, captions_per_image=K)))
    contracts.check_fits_under_xla(model, batch)


@pytest.mark.parametrize("name", TEMPORALS)
def test_who_knows_the_order_of_frames(name):
    """The mean does not, by a frame's exchange with another; the others do."""
    features = np.random.default_rng(0).normal(size=(2, 5, 7, 12)).astype(np.float32)
    keras.utils.set_random_seed(1)
    layer = small_temporal(name)
    memory = layer(features)
    exchanged = layer(features[:, [0, 3, 2, 1, 4]])
    assert memory.shape == layer.compute_output_shape(features.shape)
    assert (np.abs(memory - exchanged).max() < 1e-5) == (name == "mean")


def test_frames_are_seen_one_by_one():
    backbone = small_backbone()
    encoder = FrameEncoder(backbone, 3)
    frames = np.random.default_rng(0).uniform(0, 255, (2, 3, 32, 32, 3)).astype(np.float32)
    found = encoder(frames)
    for place in range(3):
        np.testing.assert_allclose(found[:, place], backbone(frames[:, place]), atol=1e-5)
    assert encoder.fingerprint() == backbone.fingerprint()
    frozen = encoder.thawed(None)
    assert (frozen.frozen, encoder.frozen) == (True, False)
    np.testing.assert_allclose(frozen(frames), found, atol=1e-5)
    with pytest.raises(TypeError, match="backbone must be a Backbone, got Functional"):
        FrameEncoder(tiny_encoder(), 3)
    with pytest.raises(ValueError, match="num_frames must be a whole number >= 1, got 0"):
        FrameEncoder(backbone, 0)


def test_caption_takes_every_kind_of_video(examples, tmp_path):
    model = video_captioner()
    arrays = [render_clip(scene, F) for scene in draw_moving_scenes(3)]
    expected = model.caption(arrays)
    assert len(set(expected)) > 1
    assert model.caption(examples)[:3] == expected
    assert model.caption(arrays[0]) == expected[:1]
    assert model.caption(np.stack(arrays)) == expected
    assert model.caption(arrays, batch_size=2) == expected
    path = write_video(tmp_path / "a.mp4", grey_ramp(8))
    (tmp_path / "b.mp4").write_bytes(b"no video")
    found = model.caption([path, tmp_path / "b.mp4", arrays[1]], with_scores=True)
    assert found[0][0][1] > -100
    assert found[1] == [("", float("-inf"))]
    assert found[2][0][0] == expected[1]


def test_answer_takes_every_kind_of_video(examples, tmp_path):
    model = video_qa()
    arrays = [render_clip(scene, F) for scene in draw_moving_scenes(3)]
    [asked] = {q.text for q in examples.questions[0][:1]}
    expected = [str(answer) for answer in model.answer(arrays, asked)]
    assert str(model.answer(arrays[0], asked)) == expected[0]
    assert [str(a) for a in model.answer(arrays[0], [asked, ""])] == [expected[0], ""]
    assert model.answer(arrays[0], "").problem == EMPTY
    own = flatten(model.answer(examples))
    assert len(own) == len(flatten(examples.questions))
    assert str(own[0]) == expected[0]
    (tmp_path / "b.mp4").write_bytes(b"no video")
    assert model.answer(tmp_path / "b.mp4", asked).problem == UNREADABLE
    with pytest.raises(ValueError, match="questions must have one entry a picture, got 2 for 3"):
        model.answer(arrays, [asked, asked])


@pytest.mark.slow
def test_cached_features_train_as_frames_do(examples, tmp_path):
    """One epoch from a cache gives the loss of one epoch from the frames, to float16."""
    losses = []
    for cache in (None, tmp_path / "features"):
        keras.utils.set_random_seed(0)
        decoder = LSTMDecoder(FUSIONS["attention"](), hidden_dim=24, dropout=0, memory_dropout=0)
        model = build_video_captioner(
            Backbone("efficientnet_lite0", image_size=64),
            tokenizer=Tokenizer.fit(examples, minimum_count=1), num_frames=F,
            temporal=TEMPORALS["attention"](hidden_dim=24, dropout=0), text=decoder,
            optimizer=keras.optimizers.SGD(0.1),
        )  # fmt: skip
        options = {"shuffle": False, "captions_per_image": 1}
        model.fit(model.batches(examples, 24, cache=cache, **options), verbose=0)
        losses.append(model.evaluate(model.batches(examples, 24, **options), verbose=0))
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


@pytest.mark.parametrize("text", TEXT_DECODERS)
def test_a_picture_captioner_is_carried_over_whole(text):
    """With the mean over time, a clip that stands still has the caption of its picture."""
    start = scenes_captioner(text)
    model = build_video_captioner(start, temporal="mean", num_frames=3)
    pictures = [render_clip(scene, 1)[0] for scene in draw_moving_scenes(6)]
    still = [np.stack([picture] * 3) for picture in pictures]
    ours, theirs = model.caption(still, with_scores=True), start.caption(pictures, with_scores=True)
    assert [texts[0][0] for texts in ours] == [texts[0][0] for texts in theirs]
    np.testing.assert_allclose(
        [texts[0][1] for texts in ours], [texts[0][1] for texts in theirs], atol=1e-4
    )
    # Another temporal layer is new; all else is carried over.
    model = build_video_captioner(start, temporal="attention", num_frames=3)
    for old, new in zip(
        [*start.encoder.weights, *start.text_decoder.weights],
        [*model.encoder.weights, *model.text_decoder.weights], strict=True,
    ):  # fmt: skip
        np.testing.assert_array_equal(old, new)
    with pytest.raises(ValueError, match="tokenizer must be None where the backbone is a Cap"):
        build_video_captioner(start, tokenizer=small_tokenizer())
    with pytest.raises(ValueError, match="text must be None where the backbone is a Captioner"):
        build_video_captioner(start, text="lstm")
    with pytest.raises(ValueError, match="temporal must keep the width of the picture model's"):
        build_video_captioner(start, temporal=small_temporal("lstm"))


@pytest.mark.parametrize("head", ["choose", "write"])
def test_a_picture_answerer_is_carried_over_whole(head):
    start = scenes_vqa("attention", head)
    model = build_video_qa(start, temporal="mean", num_frames=2)
    pictures = [render_clip(scene, 1)[0] for scene in draw_moving_scenes(4)]
    asked = ["how many circles are there ?", "is there a red shape ?"]
    for picture in pictures:
        ours = model.answer(np.stack([picture, picture]), asked)
        theirs = start.answer(picture, asked)
        for one, other in zip(ours, theirs, strict=True):
            assert str(one) == str(other)
            assert one.probability == pytest.approx(other.probability, abs=1e-4)
    with pytest.raises(ValueError, match="fusion must be None where the backbone is a Choos|Writ"):
        build_video_qa(start, fusion="attention")
    # Positions are of a picture's tokens, and new in a memory of another length.
    model = build_video_qa(start, temporal="transformer", num_frames=2)
    assert model.reader.positions.shape != start.reader.positions.shape
    np.testing.assert_array_equal(
        model.reader.text_encoder.embedding.embeddings,
        start.reader.text_encoder.embedding.embeddings,
    )


def test_a_model_of_clips_is_carried_over_with_its_temporal_layer(examples):
    start = video_captioner("concat")
    clips = [render_clip(scene, F) for scene in draw_moving_scenes(4)]
    assert build_video_captioner(start).caption(clips) == start.caption(clips)
    model = build_video_qa(
        start, tokenizer=examples, answers=choose_answers(examples, "choose"), text="bag"
    )
    assert model.num_frames == F
    for old, new in zip(start.temporal.weights, model.temporal.weights, strict=True):
        np.testing.assert_array_equal(old, new)
    # Asked for by name it is new.
    model = build_video_captioner(start, temporal=small_temporal("attention"), num_frames=2)
    assert (model.num_frames, type(model.temporal)) == (2, TEMPORALS["attention"])
    with pytest.raises(ValueError, match="num_frames must be 4, those of the temporal layer that"):
        build_video_captioner(start, num_frames=2)


def test_a_saved_model_of_clips_is_loaded_by_its_path(tmp_path):
    for model in (video_captioner(), video_qa()):
        model.save(tmp_path / "model.keras")
        again = load(tmp_path / "model.keras")
        assert type(again) is type(model)
        assert again.num_frames == F
        assert again.image_size == (32, 32)


@pytest.mark.slow
def test_it_may_be_the_first_model_of_a_process():
    """Keras changes the bases of a class when it makes the first functional model of it."""
    code = (
        "from keras_vlm import *;"
        "model = build_video_qa(Backbone('conv_small', image_size=32, weights=None),"
        "tokenizer=Tokenizer(['a'], max_length=4), answers=Tokenizer(['b'], max_length=4));"
        "print(model.num_frames)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "8", done.stderr[-2000:]


@pytest.mark.slow
def test_mixed_precision_follows_the_backbone(examples):
    model = build_video_captioner(
        small_backbone(dtype="mixed_bfloat16"), num_frames=F, text="lstm",
        tokenizer=Tokenizer.fit(examples, minimum_count=1), temporal="lstm",
    )  # fmt: skip
    assert model.temporal.compute_dtype == "bfloat16"
    batch = next(iter(model.batches(examples, 5, shuffle=False)))
    losses = [float(model.train_on_batch(*batch)) for _ in range(8)]
    assert losses[-1] < losses[0]
    assert {weight.dtype for weight in model.trainable_variables} == {"float32"}


def test_clips_are_no_pictures(examples):
    model = video_captioner()
    with pytest.raises(TypeError, match="Models of clips cannot write together"):
        CaptionerEnsemble([model, model])
    with pytest.raises(TypeError, match="captioner must be a Captioner, got VideoCaptioner"):
        attend_words(model, render_clip(draw_moving_scenes(1)[0], F))
    with pytest.raises(TypeError, match="examples must be a split of clips"):
        model.batches(load_data("scenes:5")["train"])
    with pytest.raises(TypeError, match="examples must be a split of clips"):
        video_qa().batches(load_data("scenes:5")["train"])
    stemmed = copy.copy(examples)
    stemmed.hurt = ("stem",)
    with pytest.raises(ValueError, match="must have whole captions to learn to write, .* by stem"):
        model.batches(stemmed)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temporal": "lstn"}, "temporal must be one of 'mean', .*got 'lstn'.*mean 'lstm'"),
        ({"num_frames": 0}, "num_frames must be a whole number >= 1, got 0"),
        ({"text": "bag"}, "text must be one of 'lstm', 'gru', 'transformer', got 'bag'"),
        ({"fusion": "atention"}, "fusion must be one of .*got 'atention'"),
        ({"label_smoothing": 2}, "label_smoothing must be a number from 0 to 0.999, got 2"),
        (
            {"text": LSTMDecoder(FUSIONS["concat"]()), "fusion": "attention"},
            "fusion must be None with a decoder object",
        ),
    ],
)
def test_wrong_values(options, message):
    with pytest.raises(ValueError, match=f"(?s)build_video_captioner: {message}"):
        build_video_captioner(small_backbone(), tokenizer=small_tokenizer(), **options)


def test_wrong_kinds():
    with pytest.raises(TypeError, match="build_video_captioner: tokenizer must be a Tokenizer"):
        build_video_captioner(small_backbone())
    with pytest.raises(TypeError, match="build_video_qa: answers must be an AnswerVocabulary"):
        build_video_qa(small_backbone(), tokenizer=small_tokenizer())
    with pytest.raises(TypeError, match="temporal must be a name or a Temporal, got 7"):
        build_video_captioner(small_backbone(), tokenizer=small_tokenizer(), temporal=7)
    mixed = TEMPORALS["transformer"](hidden_dim=24, num_tokens=2)
    assert mixed(tf.zeros((1, 5, 7, 12))).shape == (1, 10, 24)
    for temporal, option in (("lstm", "num_tokens"), ("transformer", "num_layers"),
                             ("attention", "num_tokens")):  # fmt: skip
        with pytest.raises(ValueError, match=f"{option} must be a whole number >= 1, got 0"):
            TEMPORALS[temporal](**{option: 0})
    with pytest.raises(ValueError, match="num_tokens must be left out, got 3"):
        TEMPORALS["concat"](num_tokens=3)
    with pytest.raises(ValueError, match="dropout must be a number from 0 to 0.99, got 1"):
        TEMPORALS["lstm"](dropout=1)
    assert tf.is_tensor(small_temporal("mean")(tf.zeros((1, 2, 3, 4))))
