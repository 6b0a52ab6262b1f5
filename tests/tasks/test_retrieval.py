"""The retriever: every text encoder keeps the contracts; gradient caching; embedding; bad input."""

import contracts
import keras
import numpy as np
import pytest
import tensorflow as tf
from oracles import scenes_retriever, tiny_encoder

from keras_vlm import Backbone, Tokenizer, build_retriever, load_data
from keras_vlm.fusion.pooling import POOLINGS
from keras_vlm.losses import PAIR_LOSSES, TripletLoss
from keras_vlm.tasks.gradient_cache import cached_gradients
from keras_vlm.tasks.retrieval import _essence
from keras_vlm.tasks.towers import PairScores, Tower
from keras_vlm.text import TEXT_ENCODERS, GRUEncoder

CAPTIONS = 3


@pytest.fixture(scope="module")
def examples():
    return load_data("scenes:31")["train"]


@pytest.fixture(
    scope="module",
    # Two heads of a kind run the code of one; how the others read is for tests/text.
    params=contracts.few([*TEXT_ENCODERS, "gru+gru"], "bag", "gru+gru"),
)
def made(request, examples):
    """A model with a batch and pictures; tests that train it get a copy."""
    model = scenes_retriever(request.param)
    batch = next(iter(model.batches(examples, 5, shuffle=False, captions_per_image=CAPTIONS)))
    return model, batch, batch[0]["images"].numpy()


@pytest.fixture(scope="module")
def gru(examples):
    model = scenes_retriever()
    batch = next(iter(model.batches(examples, 7, shuffle=False, captions_per_image=CAPTIONS)))
    return model, batch


def copy_of(model, optimizer="adam"):
    twin = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(model))
    twin.set_weights(model.get_weights())
    twin.compile(optimizer, model.loss)
    return twin


# Contracts


def test_is_functional_with_named_parts(made):
    model, (inputs, real), _ = made
    assert set(model.input) == {"images", "token_ids"}
    assert {layer.name for layer in model.layers} >= {"encoder", "image_head", "text_head"}
    assert (real.shape, real.dtype) == ((5, CAPTIONS), tf.bool)
    scores = model(inputs)
    heads = model.pair_scores.heads
    assert scores.shape == ((5, 5, CAPTIONS) if heads == 1 else (5, 5, CAPTIONS, heads))
    cached = {
        "image_features": model.encoder(inputs["images"]),
        "token_ids": inputs["token_ids"],
    }
    np.testing.assert_allclose(model(cached), scores, atol=1e-4)
    images, texts = model.vectors(inputs)
    for vectors in (images, texts):
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=-1), 1, atol=1e-5)
    expected = np.einsum("ie,jke->ijk", images, texts) / 0.07
    together = scores if heads == 1 else tf.reduce_mean(scores, axis=-1)
    np.testing.assert_allclose(together, expected, rtol=1e-4, atol=1e-4)


def test_gradients_reach_every_weight(made):
    contracts.check_gradients(made[0], made[1])


def test_learns(made):
    contracts.check_learns(copy_of(made[0]), made[1], steps=60)


def test_saves(made, tmp_path):
    contracts.check_saves(copy_of(made[0]), made[1], made[2], tmp_path)


def test_rows_are_apart(made, examples):
    model, _, images = made
    texts = [captions[0] for captions in examples.captions[:5]]
    together = model.embed_images(images), model.embed_texts(texts)
    for i in range(5):
        np.testing.assert_allclose(model.embed_images(images[i])[0], together[0][i], atol=1e-5)
        np.testing.assert_allclose(model.embed_texts(texts[i])[0], together[1][i], atol=1e-5)


def test_xla(made):
    model, (inputs, _), _ = made
    compiled = tf.function(model, jit_compile=True)
    np.testing.assert_allclose(compiled(inputs), model(inputs), atol=1e-3)


def test_a_step_under_xla(made):
    contracts.check_fits_under_xla(made[0], made[1])


@pytest.mark.parametrize("pooling", contracts.few(POOLINGS, "mean"))
def test_padded_captions_leave_weights_finite_under_xla(pooling, examples):
    """Padding pools to zeros, whose unit vector has no direction."""
    model = scenes_retriever("bag", dim=[Tower(16), Tower(16, pooling=pooling)])
    inputs, real = next(iter(model.batches(examples, 5, captions_per_image=7)))
    assert not real.numpy().all()
    model.compile("sgd", model.loss, jit_compile=True)
    model.train_on_batch(inputs, real)
    assert all(np.isfinite(weight).all() for weight in model.get_weights())


@pytest.mark.slow
@pytest.mark.parametrize("loss", PAIR_LOSSES)
def test_every_loss_learns_to_retrieve(loss, examples):
    model = scenes_retriever("bag", loss=loss, optimizer=keras.optimizers.Adam(1e-2))
    batches = model.batches(examples, 9, captions_per_image=CAPTIONS)
    history = model.fit(batches, epochs=15, verbose=0).history["loss"]
    assert history[-1] < 0.75 * history[0]
    has = {weight.name for weight in model.pair_scores.weights}
    assert has == {"contrastive": {"log_scale"}, "sigmoid": {"log_scale", "bias"}}.get(loss, set())


# Heads


@pytest.mark.parametrize("loss", PAIR_LOSSES)
def test_heads_are_models_of_their_own(loss, examples):
    """Each is trained by its own cost, and their vectors stand side by side."""
    alone = [
        scenes_retriever(text, loss=loss, dim=[Tower(8, pooling="mean") for _ in range(2)])
        for text in ("gru", "bag")
    ]
    both = scenes_retriever(
        "gru+bag",
        loss=loss,
        dim=[Tower(16, heads=2), Tower(16, heads=2, split=True)],
    )
    for place, (model, encoder) in enumerate(zip(alone, both.text_encoder.encoders, strict=True)):
        model.encoder.set_weights(both.encoder.get_weights())
        model.text_encoder.set_weights(encoder.get_weights())
        for tower in ("image_tower", "text_tower"):
            weights = [each[place] for each in getattr(both, tower).dense.get_weights()]
            getattr(model, tower).dense.set_weights(weights)
    inputs, real = next(iter(both.batches(examples, 9, captions_per_image=CAPTIONS)))
    for got, *wanted in zip(*(model.vectors(inputs) for model in (both, *alone)), strict=True):
        np.testing.assert_allclose(
            got, np.concatenate(wanted, axis=-1) / np.sqrt(2), rtol=1e-4, atol=1e-5
        )
    costs = [float(model.loss(real, model(inputs))) for model in (both, *alone)]
    assert abs(costs[1] - costs[2]) > 1e-3
    assert costs[0] == pytest.approx(np.mean(costs[1:]), rel=1e-4)


def test_heads_of_one_kind_begin_differently():
    model = scenes_retriever("gru+gru")
    first, second = (encoder.get_weights() for encoder in model.text_encoder.encoders)
    assert all((a != b).any() for a, b in zip(first, second, strict=True) if a.any())


# Gradient caching


@pytest.mark.parametrize("chunk", contracts.few([1, 2, 3, 7, 100], 3, 7))
def test_a_cached_step_is_the_step_of_the_whole_batch(gru, chunk):
    """Without dropout and batch statistics, which see the chunk alone."""
    model, (inputs, real) = gru
    twin = copy_of(model)
    for layer in twin._flatten_layers():
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
    weights = [weight.value for weight in twin.trainable_weights]
    with tf.GradientTape() as tape:
        expected_loss = twin.compute_loss(inputs, real, twin(inputs, training=True))
    expected = tape.gradient(expected_loss, weights)
    loss, gradients = tf.function(lambda: cached_gradients(twin, inputs, real, chunk))()
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-5)
    for weight, ours, theirs in zip(weights, gradients, expected, strict=True):
        np.testing.assert_allclose(
            ours, tf.convert_to_tensor(theirs), atol=2e-5, err_msg=weight.name
        )


def test_dropout_draws_the_same_in_both_passes(gru):
    """Else the gradient would belong to vectors that nobody computed."""
    model, (inputs, real) = gru
    twin = copy_of(model)
    states = twin._random_states()
    before = [state.numpy() for state in states]
    seen = []
    vectors = twin.vectors
    twin.vectors = lambda *args, **kwargs: seen.append(vectors(*args, **kwargs)) or seen[-1]
    # Eagerly, so that what each pass computed can be looked at.
    cached_gradients(twin, inputs, real, 3)
    assert len(seen) == 6
    for first, second in zip(seen[:3], seen[3:], strict=True):
        np.testing.assert_array_equal(first[1], second[1])
    assert np.abs(seen[0][1] - vectors({k: v[:3] for k, v in inputs.items()})[1]).max() > 0.01
    assert any((a != b.numpy()).any() for a, b in zip(before, states, strict=True))


@pytest.mark.slow
def test_fit_with_a_gradient_cache(examples):
    model = scenes_retriever("bag")
    batches = model.batches(examples, 9, captions_per_image=CAPTIONS)
    history = model.fit(batches, epochs=8, gradient_cache=4, verbose=0).history["loss"]
    assert history[-1] < 0.9 * history[0]
    assert model.gradient_cache is None
    with pytest.raises(ValueError, match="gradient_cache must be a whole number >= 1, got 0"):
        model.fit(batches, gradient_cache=0)


# Use


def test_a_picture_that_cannot_be_read_is_zeros(gru, examples):
    model = gru[0]
    data = next(iter(examples.dataset()))["image_bytes"].numpy()
    found = model.embed_images([data, b"no picture", data])
    assert (found[1] == 0).all()
    np.testing.assert_array_equal(found[0], found[2])
    assert model.embed_images([]).shape == (0, 16)
    assert model.embed_texts([]).shape == (0, 16)


def test_classify_is_a_softmax_over_templates(gru, examples):
    model = gru[0]
    data = [e["image_bytes"] for e in examples.dataset().take(2).as_numpy_iterator()]
    labels, templates = ["red circle", "blue square", "green zebra"], ["a {}", "there is a {}"]
    found = model.classify([*data, b"no picture"], labels, templates=templates)
    classes = np.stack(
        [
            np.mean([model.embed_texts(t.replace("{}", label))[0] for t in templates], axis=0)
            for label in labels
        ]
    )
    classes /= np.linalg.norm(classes, axis=1, keepdims=True)
    scores = np.exp(model.embed_images(data) @ classes.T / 0.07)
    np.testing.assert_allclose(found[:2], scores / scores.sum(axis=1, keepdims=True), rtol=1e-4)
    assert np.isnan(found[2]).all()
    assert model.unknown_words("a red zebra") == ["zebra"]
    with pytest.raises(ValueError, match="labels must have a word .* knows, got 'zebra'"):
        model.classify(data, ["red circle", "zebra"])
    with pytest.raises(ValueError, match="at least one label, got none"):
        model.classify(data, [])
    with pytest.raises(ValueError, match="templates must have {} .* got 'a picture'"):
        model.classify(data, ["circle"], templates=["a picture"])


def test_the_scale_stays_below_its_bound_and_can_come_down():
    scores = PairScores(200.0)
    scores.build((3, 4), (3, 2, 4))
    optimizer = keras.optimizers.SGD(0.01)
    optimizer.apply([tf.constant(-1.0)], scores.trainable_variables)
    assert float(scores.current_scale()) == pytest.approx(100)
    optimizer.apply([tf.constant(1.0)], scores.trainable_variables)
    assert float(scores.current_scale()) < 100


def test_a_fingerprint_tells_options_apart(gru):
    model = gru[0]
    config = keras.saving.serialize_keras_object(model)
    twin = keras.saving.deserialize_keras_object(config)
    twin.set_weights(model.get_weights())
    assert twin.fingerprint() == model.fingerprint()
    tokenizer, encoder = model.tokenizer, model.encoder
    others = [
        build_retriever(
            encoder, tokenizer=tokenizer, text=TEXT_ENCODERS["bag"](hidden_dim=6),
            dim=[Tower(4), Tower(4, pooling=pooling)],
        )
        for pooling in ("mean", "max")
    ]  # fmt: skip
    others[1].set_weights(others[0].get_weights())
    assert others[0].fingerprint() != others[1].fingerprint()


def test_names_of_heads_are_no_part_of_a_fingerprint():
    """Keras counts the layers of a process; and one head is as none was said, as of old."""
    model, twin = scenes_retriever("gru+gru"), scenes_retriever("gru+gru")
    twin.set_weights(model.get_weights())
    encoders = [*model.text_encoder.encoders, *twin.text_encoder.encoders]
    assert len({encoder.name for encoder in encoders}) == 4
    assert twin.fingerprint() == model.fingerprint()
    one, two = (_essence(Tower(4, heads=heads).get_config()) for heads in (1, 2))
    assert set(two) - set(one) == {"heads", "split"}


def test_heads_of_captions_of_unknown_number():
    images, texts = np.random.default_rng(0).normal(size=(2, 3, 8)).astype("float32")
    texts = np.stack([texts, 2 * texts], axis=1)
    layer = PairScores(heads=2)
    signature = [tf.TensorSpec([None, 8]), tf.TensorSpec([None, None, 8])]
    found = tf.function(layer, input_signature=signature)(images, texts)
    assert found.shape == (3, 3, 2, 2)
    np.testing.assert_allclose(
        np.mean(found, axis=-1), np.einsum("ie,jke->ijk", images, texts), rtol=1e-5, atol=1e-5
    )


def test_a_dataset_of_unknown_length(gru, examples):
    data = examples.dataset().filter(lambda example: example["index"] < 3)
    np.testing.assert_allclose(
        gru[0].embed_images(data), gru[0].embed_images(examples)[:3], atol=1e-5
    )


def test_batches_mark_captions_that_are_not_there(examples):
    model = scenes_retriever("bag")
    _, real = next(iter(model.batches(examples, 3, shuffle=False, captions_per_image=7)))
    assert real.numpy().sum(axis=1).tolist() == [5, 5, 5]


# Options


def test_parts_of_ones_own():
    tokenizer = Tokenizer(["a", "dog"], max_length=5)
    model = build_retriever(
        tiny_encoder(),
        tokenizer=tokenizer,
        text=GRUEncoder(hidden_dim=6, bidirectional=False),
        dim=[Tower(4, pooling="mean", hidden_dim=9), Tower(4, pooling="attention", dropout=0)],
        loss=TripletLoss(0.1, hardest=False),
        optimizer="sgd",
    )
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(model))
    assert again.get_config() == model.get_config()
    assert again.loss.margin == 0.1
    assert model.embed_texts("a dog").shape == (1, 4)


def test_mixed_precision_ends_in_float32():
    tokenizer = Tokenizer(["a", "dog"], max_length=5)
    encoder = Backbone("conv_small", image_size=16, weights=None, trainable_from="all")
    for precision in ("mixed_bfloat16", "mixed_float16"):
        model = build_retriever(
            encoder, tokenizer=tokenizer, text="bag", dim=8, precision=precision
        )
        scaled = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
        assert scaled == (precision == "mixed_float16")
        assert model.embed_texts(["a dog"]).dtype == np.float32
        assert model.text_tower.compute_dtype == precision.removeprefix("mixed_")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"text": "gur"}, ValueError, "text must be one of .* Did you mean 'gru'"),
        ({"loss": "clip"}, ValueError, "loss must be one of 'contrastive', 'sigmoid', 'triplet'"),
        ({"dim": 0}, ValueError, "dim must be a whole number >= 1, got 0"),
        ({"precision": "int8"}, ValueError, "precision must be one of"),
        ({"tokenizer": None}, TypeError, "tokenizer must be a Tokenizer, got None"),
        ({"text": 3}, TypeError, r"text must be a name or a TextEncoder, got 3"),
        ({"dim": [Tower(3), Tower(4)]}, ValueError, "dim must be the same in .*, got 3 .* and 4"),
        ({"text": []}, ValueError, "text must have at least one encoder, got none"),
        ({"text": ["bag"] * 3, "dim": 8}, ValueError, "heads must divide dim, got 3 and 8"),
        (
            {"dim": [Tower(4, heads=2), Tower(4)]},
            ValueError,
            "heads must be the same in both towers, got 2 for pictures and 1 for text",
        ),
    ],
)
def test_bad_options(options, error, message):
    options = {"tokenizer": Tokenizer(["a"], max_length=5), "image_size": 16, **options}
    with pytest.raises(error, match=message):
        build_retriever("conv_small", **options)


def test_bad_towers():
    with pytest.raises(ValueError, match="Tower: pooling must be one of .* got 'sum'"):
        Tower(3, pooling="sum")
    with pytest.raises(ValueError, match="Tower: hidden_dim must be None with split, got 3"):
        Tower(4, heads=2, hidden_dim=3, split=True)
    with pytest.raises(ValueError, match="heads must divide the tokens' width, got 2 and 5"):
        Tower(4, heads=2, split=True)(np.zeros((1, 3, 5), "float32"))
    with pytest.raises(ValueError, match="Tower: hidden_dim must be a whole number >= 1, got 0"):
        Tower(3, hidden_dim=0)
    assert PairScores(None).current_scale() == 1.0


def test_parts_of_one_kind_stay_apart_in_a_file(tmp_path):
    """Keras knows the objects of a file by their addresses, which a lost copy gives away."""
    for seed in range(8):
        model = scenes_retriever("bag", dim=[Tower(16, dropout=seed / 10), Tower(16)])
        model.save(tmp_path / "model.keras")
        again = keras.saving.load_model(tmp_path / "model.keras")
        parts = [again.image_tower, again.text_tower, again.image_tower.pooling]
        parts += [again.text_tower.pooling, again.text_encoder, again.pair_scores]
        assert len({id(part) for part in parts}) == len(parts)
        assert again.image_tower.dropout_rate == seed / 10
