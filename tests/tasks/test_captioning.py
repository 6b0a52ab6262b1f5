"""The captioner: every combination of text and fusion keeps the contracts; options; bad input."""

import itertools

import contracts
import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from oracles import scenes_captioner

from keras_vlm import (
    AdditiveFusion,
    Backbone,
    BeamSearch,
    GreedySearch,
    LSTMDecoder,
    Sampling,
    Tokenizer,
    build_captioner,
    load_data,
)
from keras_vlm.fusion import FUSIONS
from keras_vlm.text import TEXT_DECODERS

CAPTIONS = 3
# "attention" is another name for "multi_head".
FUSION_NAMES = [name for name in FUSIONS if name != "attention"]


@pytest.fixture(scope="module")
def examples():
    return load_data("scenes:31")["train"]


PAIRS = itertools.product(FUSION_NAMES, TEXT_DECODERS)
# tests/fusion and tests/text have all of them.
ALWAYS = (("multi_head", "lstm"), ("concat", "transformer"))


@pytest.fixture(scope="module", params=contracts.few(PAIRS, *ALWAYS), ids="-".join)
def made(request, examples):
    """A model with a batch and pictures; tests that train it get a copy."""
    fusion, text = request.param
    model = scenes_captioner(text, fusion)
    batch = next(iter(model.batches(examples, 5, shuffle=False, captions_per_image=CAPTIONS)))
    return model, batch, batch[0]["images"].numpy()


def copy_of(model):
    twin = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(model))
    twin.set_weights(model.get_weights())
    twin.compile("adam", model.loss)
    return twin


def has_moved(layer, before):
    return any((a != b).any() for a, b in zip(before, layer.get_weights(), strict=True))


def test_is_functional_with_named_parts(made):
    model, batch, _ = made
    assert isinstance(model, keras.Model)
    assert set(model.input) == {"images", "token_ids"}
    assert {layer.name for layer in model.layers} >= {"encoder", "decoder"}
    assert model(batch[0]).shape == (*batch[1].shape, model.tokenizer.vocabulary_size)
    features = model.encoder(batch[0]["images"])
    cached = {"image_features": features, "token_ids": batch[0]["token_ids"]}
    np.testing.assert_allclose(model(cached), model(batch[0]), atol=1e-5)


def test_gradients_reach_every_weight(made):
    contracts.check_gradients(made[0], made[1])


def test_learns(made):
    contracts.check_learns(copy_of(made[0]), made[1])


def test_saves(made, tmp_path):
    contracts.check_saves(copy_of(made[0]), made[1], made[2], tmp_path)


def test_padding_is_nothing(made):
    contracts.check_padding_is_nothing(copy_of(made[0]), made[1])


def test_rows_are_apart(made):
    contracts.check_rows_are_apart(made[0], made[1], made[2])


def test_packed_steps(made):
    contracts.check_packed_steps(made[0], made[1])


def test_xla(made):
    contracts.check_xla(made[0], made[1], made[2], BeamSearch(3, num_return=2))


def test_a_step_under_xla(made):
    contracts.check_fits_under_xla(made[0], made[1])


@pytest.mark.slow
def test_the_words_are_the_same_in_a_fresh_process(examples, tmp_path):
    model = scenes_captioner()
    paths = []
    for i, element in enumerate(examples.dataset().take(3).as_numpy_iterator()):
        paths.append(tmp_path / f"{i}.png")
        paths[-1].write_bytes(element["image_bytes"])
    contracts.check_saves_across_processes(model, paths, tmp_path)


def test_the_captions_of_a_picture_share_one_encoder_pass(examples):
    model = scenes_captioner()
    batch = next(iter(model.batches(examples, 5, shuffle=False, captions_per_image=CAPTIONS)))
    seen = []
    call = model.encoder.call
    model.encoder.call = lambda images, **options: seen.append(images.shape) or call(
        images, **options
    )
    model.run_eagerly = True
    model.train_on_batch(*batch)
    assert seen == [(5, 32, 32, 3)]


def test_the_loss_is_the_plain_formula(examples):
    model = scenes_captioner(label_smoothing=0.1)
    inputs, targets = next(iter(model.batches(examples, 5, shuffle=False)))
    logits, targets = model(inputs).numpy().astype(float), targets.numpy()
    log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    losses = []
    for place in zip(*np.nonzero(targets), strict=True):
        of_word = log_probs[place][targets[place]]
        losses.append(-0.9 * of_word - 0.1 * log_probs[place].mean())
    assert model.evaluate(inputs, targets, verbose=0) == pytest.approx(np.mean(losses), rel=1e-4)


@pytest.mark.parametrize("name", FUSIONS)
@pytest.mark.parametrize("text", TEXT_DECODERS)
def test_names_choose_the_parts(examples, text, name):
    tokenizer = Tokenizer.fit(examples, minimum_count=1)
    model = build_captioner(
        "conv_small", text=text, fusion=name, tokenizer=tokenizer, image_size=32
    )
    assert type(model.text_decoder) is TEXT_DECODERS[text]
    assert type(model.text_decoder.fusion) is FUSIONS[name]


def test_caption_takes_every_kind_of_picture_and_search(examples, tmp_path):
    model = scenes_captioner()
    encoded = [e["image_bytes"] for e in examples.dataset().take(3).as_numpy_iterator()]
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for path, data in zip(paths, encoded, strict=True):
        path.write_bytes(data)
    expected = model.caption(encoded)
    assert len(expected) == 3
    assert all(isinstance(text, str) for text in expected)
    assert model.caption(paths) == expected
    assert model.caption(str(paths[0])) == expected[:1]
    assert model.caption([tf.io.decode_png(data).numpy() for data in encoded]) == expected
    assert model.caption(tf.data.Dataset.from_tensor_slices(encoded).batch(2)) == expected
    assert model.caption(examples)[:3] == expected
    assert model.caption(encoded, beam_size=1) == model.caption(encoded, strategy=GreedySearch())
    n_best = model.caption(encoded, strategy=BeamSearch(4, num_return=4), with_scores=True)
    for texts in n_best:
        scores = [score for _, score in texts]
        assert len(texts) == 4
        assert scores == sorted(scores, reverse=True)
    sampled = model.caption(encoded, strategy=Sampling(top_k=5, seed=1))
    assert sampled == model.caption(encoded, strategy=Sampling(top_k=5, seed=1))


def test_many_pictures_are_the_few_ones(examples):
    """Batches that are compiled by XLA, and the padded last one, say what single pictures say."""
    model = scenes_captioner()
    assert model.caption(examples, batch_size=7) == model.caption(examples, batch_size=1000)


def test_a_picture_that_cannot_be_read_is_one_row(examples):
    model = scenes_captioner()
    good = next(examples.dataset().as_numpy_iterator())["image_bytes"]
    found = model.caption([good, b"not a picture", good], with_scores=True)
    assert found[1] == [("", float("-inf"))]
    assert found[0] == found[2]
    assert found[0][0][1] > -100


def test_resize_mode_is_the_models_own(examples, tmp_path):
    """A wide picture: a model that crops sees its middle, in batches, captions and after saving."""
    tokenizer = Tokenizer.fit(examples, minimum_count=1)
    wide = np.zeros((32, 96, 3), np.uint8)
    wide[:, 32:64] = np.random.default_rng(0).integers(0, 255, (32, 32, 3))
    encoded = tf.io.encode_png(wide).numpy()
    keras.utils.set_random_seed(0)
    model = build_captioner(
        Backbone(
            "conv_small", image_size=32, weights=None, trainable_from="all", resize="crop"
        ),
        tokenizer=tokenizer,
    )
    assert model.resize == "crop"
    middle = model.caption(wide[:, 32:64], with_scores=True)
    assert model.caption(encoded, with_scores=True)[0][0] == pytest.approx(middle[0][0])
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    assert again.caption(encoded, with_scores=True)[0][0] == pytest.approx(middle[0][0])
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "wide.png").write_bytes(encoded)
    (folder / "captions.csv").write_text("image,caption,split\nwide.png,a red circle,train\n")
    [(inputs, _)] = model.batches(load_data(f"folder:{folder}")["train"], 1, shuffle=False)
    np.testing.assert_array_equal(inputs["images"][0], wide[:, 32:64])


LION = keras.optimizers.Lion(1e-4)


@pytest.mark.parametrize("optimizer", contracts.few(["sgd", "adam", "adamw", LION], "sgd", LION))
def test_optimizers(examples, optimizer):
    model = scenes_captioner(optimizer=optimizer)
    batch = next(iter(model.batches(examples, 5, shuffle=False)))
    before = model.text_decoder.get_weights()
    assert np.isfinite(model.train_on_batch(*batch))
    assert has_moved(model.text_decoder, before)


@pytest.mark.parametrize("text", contracts.few(TEXT_DECODERS, "transformer"))
@pytest.mark.parametrize(
    "precision", contracts.few(["mixed_bfloat16", "mixed_float16"], "mixed_bfloat16")
)
def test_mixed_precision_trains_in_half_and_keeps_whole_weights(examples, text, precision):
    keras.utils.set_random_seed(0)
    tokenizer = Tokenizer.fit(examples, minimum_count=1, max_length=9)
    policy = keras.DTypePolicy(precision)
    decoder = TEXT_DECODERS[text](FUSIONS["attention"](dtype=policy), hidden_dim=24, dtype=policy)
    model = build_captioner(
        "conv_small", text=decoder, tokenizer=tokenizer, image_size=32, precision=precision
    )
    batch = next(iter(model.batches(examples, 5, shuffle=False)))
    assert {weight.dtype for weight in model.trainable_variables} == {"float32"}
    # Small gradients vanish in float16, not in bfloat16.
    scaled = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert scaled == (precision == "mixed_float16")
    assert model(batch[0]).dtype == precision.removeprefix("mixed_")
    losses = [float(model.train_on_batch(*batch)) for _ in range(8)]
    assert losses[-1] < losses[0]
    scores = model.caption(batch[0]["images"], with_scores=True)
    assert all(np.isfinite(score) for texts in scores for _, score in texts)


def test_options_of_parts_reach_the_parts(examples):
    tokenizer = Tokenizer.fit(examples, minimum_count=1)
    decoder = LSTMDecoder(AdditiveFusion(units=11), hidden_dim=23, num_layers=2)
    model = build_captioner("conv_small", text=decoder, tokenizer=tokenizer, image_size=32)
    assert model.text_decoder.fusion.key_dense.units == 11
    assert len(model.text_decoder.lstms) == 2
    assert model.text_decoder.vocabulary_size == tokenizer.vocabulary_size


def test_an_lstm_lies_where_saved_models_have_it(examples, tmp_path):
    model = build_captioner(
        "conv_small",
        text="lstm",
        tokenizer=Tokenizer.fit(examples, minimum_count=1),
        image_size=32,
    )
    model.save_weights(tmp_path / "model.weights.h5")
    names = []
    with h5py.File(tmp_path / "model.weights.h5") as file:
        file.visit(names.append)
    assert any(name.endswith("/lstms/lstm/cell/vars/0") for name in names)


def test_a_frozen_backbone_stays_as_it_is(examples):
    tokenizer = Tokenizer.fit(examples, minimum_count=1)
    model = build_captioner(
        "efficientnet_lite0", text="lstm", tokenizer=tokenizer, image_size=64
    )
    before = model.encoder.get_weights()
    decoder = model.text_decoder.get_weights()
    model.fit(model.batches(examples, 5), epochs=1, verbose=0)
    for old, new in zip(before, model.encoder.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert has_moved(model.text_decoder, decoder)


@pytest.mark.slow
def test_cached_features_train_as_pictures_do(examples, tmp_path):
    """One epoch from a cache gives the weights of one epoch from the pictures, to float16."""
    tokenizer = Tokenizer.fit(examples, minimum_count=1)
    trained = []
    for cache in (None, tmp_path / "features"):
        keras.utils.set_random_seed(0)
        decoder = LSTMDecoder(FUSIONS["attention"](), hidden_dim=24, dropout=0.0)
        model = build_captioner(
            "efficientnet_lite0", text=decoder, tokenizer=tokenizer, image_size=64,
            optimizer=keras.optimizers.SGD(0.1),
        )  # fmt: skip
        model.fit(
            model.batches(examples, 31, shuffle=False, cache=cache, captions_per_image=1),
            verbose=0,
        )
        trained.append(model.evaluate(
            model.batches(examples, 31, shuffle=False, captions_per_image=1), verbose=0
        ))  # fmt: skip
    assert trained[0] == pytest.approx(trained[1], rel=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backbone": "vgg61"}, r"architecture must be one of .*got 'vgg61'.*mean 'vgg1"),
        ({"text": "lstn"}, "text must be one of 'lstm', 'gru', .*got 'lstn'.*mean 'lstm'"),
        ({"fusion": "atention"}, "fusion must be one of .*got 'atention'.*mean 'attention'"),
        ({"precision": "half"}, "precision must be one of .*got 'half'"),
        ({"label_smoothing": 1.5}, "label_smoothing must be a number from 0 to 0.999, got 1.5"),
        ({"image_size": 3}, "image_size must be at least 8 pixels a side for conv_small, got 3"),
        ({"optimizer": "adamm"}, "adamm"),
        (
            {"text": LSTMDecoder(FUSIONS["concat"]()), "fusion": "attention"},
            "fusion must be None with a decoder object, which has one, got 'attention'",
        ),
    ],
)
def test_wrong_values(examples, options, message):
    arguments = {"backbone": "conv_small", "image_size": 32, **options}
    tokenizer = Tokenizer.fit(examples, minimum_count=1)
    with pytest.raises(ValueError, match=f"(?s){message}"):
        build_captioner(arguments.pop("backbone"), tokenizer=tokenizer, **arguments)


def test_wrong_kinds(examples):
    tokenizer = Tokenizer.fit(examples, minimum_count=1)
    with pytest.raises(TypeError, match="tokenizer must be a Tokenizer, got 'words'"):
        build_captioner("conv_small", tokenizer="words")
    with pytest.raises(TypeError, match="fusion must be a name or a Fusion, got 7"):
        build_captioner("conv_small", tokenizer=tokenizer, fusion=7)
    with pytest.raises(TypeError, match="backbone must be a name, a Backbone or a keras.Model"):
        build_captioner(7, tokenizer=tokenizer)
    with pytest.raises(TypeError, match="unexpected keyword argument 'fussion'"):
        build_captioner("conv_small", tokenizer=tokenizer, fussion="attention")


def test_a_cache_cannot_give_every_augmentation(examples, tmp_path):
    model = scenes_captioner()
    with pytest.raises(ValueError, match="augment must be None or 'flip' with a cache, got 'light"):
        model.batches(examples, augment="light", cache=tmp_path)
    with pytest.raises(ValueError, match="encoder must be frozen, got one with trainable weights"):
        model.batches(examples, cache=tmp_path)
    with pytest.raises(ValueError, match="augment must be one of .*got 'heavy'"):
        model.batches(examples, augment="heavy")


def test_captions_without_their_endings_are_no_targets(examples):
    pytest.importorskip("snowballstemmer", reason="snowballstemmer is not installed")
    model = scenes_captioner()
    stemmed = examples.cleaned(["nfkc", "stem"])
    assert stemmed.captions != examples.captions
    with pytest.raises(ValueError, match="must have whole captions to learn to write, .* by stem"):
        model.batches(stemmed, 5)
    meant = examples.cleaned(["stem"], hurt_targets=True)
    next(iter(model.batches(meant, 5, shuffle=False)))
    next(iter(model.batches(examples.cleaned(["html"]), 5, shuffle=False)))
