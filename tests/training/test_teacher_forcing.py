"""Scheduled sampling and regular attention: the formulas, what is drawn, runs that have them."""

import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from contracts import few
from oracles import random_token_ids, scenes_captioner

from keras_vlm import CaptionScores, load_data
from keras_vlm.fusion import FUSIONS
from keras_vlm.text import TEXT_DECODERS
from keras_vlm.text.tokenizer import END_ID, PAD_ID
from keras_vlm.training.captioning_run import CaptioningRun, choose_objective, train_captioner
from keras_vlm.training.teacher_forcing import TeacherForcing, uneven_attention
from keras_vlm.training.video_run import VideoCaptioningRun

B, K, T, N, C, V = 3, 2, 5, 7, 11, 9
TINY = {
    "data": "scenes:20",
    "backbone": "conv_small",
    "text": "lstm",
    "hidden_dim": 12,
    "image_size": 32,
    "minimum_count": 1,
    "max_length": 11,
    "epochs": 2,
    "batch_size": 7,
    "captions_per_image": 2,
    "learning_rate": 0.01,
}


@pytest.fixture(scope="module")
def examples():
    return load_data("scenes:31")["train"]


def make_decoder(kind):
    keras.utils.set_random_seed(0)
    decoder = TEXT_DECODERS[kind](
        FUSIONS["attention"](), hidden_dim=12, vocabulary_size=V, dropout=0.3
    )
    decoder.build((None, N, C), (None, None, T))
    for weight in decoder.trainable_variables:
        weight.assign_add(0.3 * keras.random.normal(weight.shape))
    return decoder


@pytest.mark.parametrize("masked", [False, True])
def test_uneven_attention_is_the_formula(masked):
    random = np.random.default_rng(0)
    # The last caption is not there, as where a picture has fewer than others.
    lengths = np.array([[4, 1], [5, 2], [3, 0]])
    real = np.arange(T) < lengths[..., None]
    tokens = random.random((B, N)) < 0.6 if masked else np.ones((B, N), bool)
    weights = random.random((B, K, T, N)) * tokens[:, None, None]
    weights /= weights.sum(axis=-1, keepdims=True)
    costs = []
    for b in range(B):
        for k in range(K):
            if lengths[b, k]:
                of_tokens = [
                    (1 - sum(weights[b, k, t, i] for t in range(lengths[b, k]))) ** 2
                    for i in range(N)
                    if tokens[b, i]
                ]
                costs.append(sum(of_tokens) / len(of_tokens))
    found = uneven_attention(
        tf.constant(weights[real]), tf.constant(real), tf.constant(tokens) if masked else None
    )
    assert float(found) == pytest.approx(sum(costs) / 5, rel=1e-5)


def test_looking_at_each_token_once_costs_nothing():
    weights = tf.eye(N)
    assert float(uneven_attention(weights, tf.ones((1, 1, N), tf.bool))) == pytest.approx(0)


def test_the_loss_is_cross_entropy_and_the_attention(examples):
    model = scenes_captioner(label_smoothing=0.1)
    model.text_decoder.dropout.rate = model.text_decoder.memory_dropout.rate = 0.0
    inputs, targets = next(iter(model.batches(examples, 5, shuffle=False)))
    features = model.encoder(inputs["images"])
    plain = model.evaluate(inputs, targets, verbose=0)
    _, weights = model.text_decoder.attend(features, inputs["token_ids"], training=False)
    real = targets.numpy() != PAD_ID
    looked = (weights.numpy() * real[..., None]).sum(axis=2)
    uneven = ((1 - looked) ** 2).mean(axis=-1)[real.any(axis=-1)].mean()
    assert uneven > 0.01
    for weight in (0.0, 3.0):
        followed, reported = TeacherForcing(attention_regularization=weight)(
            model, features, targets
        )
        assert float(followed) == float(reported)
        assert float(followed) == pytest.approx(plain + weight * uneven, rel=1e-4)


@pytest.mark.slow
def test_it_makes_attention_more_even(examples):
    found = []
    for weight in (0.0, 20.0):
        model = scenes_captioner("lstm", "additive")
        batches = model.batches(examples, 31, shuffle=False, captions_per_image=3)
        model.compile(keras.optimizers.Adam(1e-2), model.loss)
        objective = TeacherForcing(attention_regularization=weight)
        history = model.fit(batches, epochs=15, verbose=0, objective=objective).history
        assert history["loss"][-1] < history["loss"][0]
        [(inputs, targets)] = batches
        real = tf.not_equal(targets, PAD_ID)
        _, weights = model.text_decoder.attend_real(
            model.encoder(inputs["images"]), inputs["token_ids"], real
        )
        found.append(float(uneven_attention(weights, real)))
    assert found[1] < 0.9 * found[0]


@pytest.mark.parametrize("text", few(TEXT_DECODERS, "lstm"))
def test_a_step_without_either_is_the_plain_step(examples, text):
    trained = []
    for objective in (None, TeacherForcing()):
        model = scenes_captioner(text)
        batches = model.batches(examples, 31, shuffle=False, captions_per_image=3)
        model.compile(keras.optimizers.SGD(0.1), model.loss)
        model.fit(batches, epochs=2, verbose=0, objective=objective)
        trained.append(np.concatenate([w.ravel() for w in model.text_decoder.get_weights()]))
    np.testing.assert_allclose(trained[1], trained[0], atol=1e-6)


@pytest.mark.parametrize("kind", TEXT_DECODERS)
def test_words_are_drawn_from_what_the_model_would_say(kind):
    """Its one-step decoding, over a person's words, gives the probabilities."""
    decoder, captions, lengths = make_decoder(kind), 4000, [5, 3]
    features = tf.random.stateless_normal((1, N, C), (1, 2))
    ids = random_token_ids((2, T), V, lengths)
    ids[1, 3] = END_ID
    fed = tf.constant(np.tile(ids, (captions // 2, 1))[None])
    real = tf.constant(np.tile(np.arange(T) < np.array(lengths)[:, None], (captions // 2, 1))[None])
    mixed = TeacherForcing(scheduled_sampling=1.0).mix(decoder, features, fed, real, 0).numpy()[0]
    memory = decoder.read(features)
    state = decoder.start(memory, 2, T)
    for t in range(T - 1):
        log_probs, state = decoder.step(tf.constant(ids[:, t]), state, memory)
        expected = np.exp(log_probs.numpy())
        expected[:, :4] = 0
        expected /= expected.sum(axis=-1, keepdims=True)
        for row, length in enumerate(lengths):
            said = mixed[row::2, t + 1]
            if t + 1 >= length:
                assert (said == ids[row, t + 1]).all()
                continue
            shares = np.bincount(said, minlength=V) / len(said)
            spread = 5 * np.sqrt(expected[row] * (1 - expected[row]) / len(said))
            assert (np.abs(shares - expected[row]) <= spread + 1e-9).all()
    assert (mixed[:, 0] == ids[0, 0]).all()


def test_a_share_of_the_words_is_replaced_and_the_share_rises():
    decoder = make_decoder("lstm")
    # It would say word 8 and nothing else.
    decoder.logit_bias.assign(1e3 * (np.arange(V) == 8))
    fed = tf.constant(random_token_ids((1, 900, T), 8))
    objective = TeacherForcing(scheduled_sampling=0.6, rise_steps=200)
    features, real = tf.ones((1, N, C)), tf.ones((1, 900, T), tf.bool)
    for step, share in ((0, 0.0), (50, 0.15), (200, 0.6), (999, 0.6)):
        mixed = objective.mix(decoder, features, fed, real, step).numpy()
        own = mixed == 8
        np.testing.assert_array_equal(mixed[~own], fed.numpy()[~own])
        spread = 5 * np.sqrt(share * (1 - share) / own[..., 1:].size)
        assert own[..., 1:].mean() == pytest.approx(share, abs=spread)
        assert not own[..., 0].any()
        again = objective.mix(decoder, features, fed, real, step).numpy()
        np.testing.assert_array_equal(again, mixed)
    before = objective.mix(decoder, features, fed, real, 998).numpy()
    assert (before != mixed).any()
    at_once = TeacherForcing(scheduled_sampling=0.6)
    assert float(at_once.probability(0)) == pytest.approx(0.6)


@pytest.mark.slow
@pytest.mark.parametrize("text", ["lstm", "transformer"])
def test_it_learns_from_words_of_its_own(examples, text):
    model = scenes_captioner(text)
    batches = model.batches(examples, 31, shuffle=False, captions_per_image=3)
    model.compile(keras.optimizers.Adam(1e-2), model.loss)
    objective = TeacherForcing(scheduled_sampling=0.5, attention_regularization=0.5)
    losses = model.fit(batches, epochs=10, verbose=0, objective=objective).history["loss"]
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.slow
def test_an_interrupted_run_ends_with_the_same_weights(tmp_path, monkeypatch):
    options = {**TINY, "scheduled_sampling": 0.8, "attention_regularization": 0.5}
    whole = train_captioner(CaptioningRun(out=str(tmp_path / "whole"), **options), verbose=0)
    again = CaptioningRun(out=str(tmp_path / "again"), **options)
    score, scored = CaptionScores.evaluate, []

    def stop(self):
        scored.append(None)
        if len(scored) == 2:
            raise KeyboardInterrupt
        return score(self)

    with monkeypatch.context() as patches:
        patches.setattr(CaptionScores, "evaluate", stop)
        with pytest.raises(KeyboardInterrupt):
            train_captioner(again, verbose=0)
    ended = train_captioner(again, verbose=0)
    for one, two in zip(ended.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


def looking(fusion):
    """What ``choose_objective`` asks of a captioner: how it looks."""
    return types.SimpleNamespace(text_decoder=TEXT_DECODERS["lstm"](FUSIONS[fusion]()))


@pytest.mark.parametrize("kind", [CaptioningRun, VideoCaptioningRun])
def test_a_run_chooses_its_objective(kind, examples):
    def chosen(**options):
        run = kind("scenes:31", "nowhere", epochs=3, batch_size=5, seed=4, **options)
        return choose_objective(run, examples, looking("attention"))

    assert chosen() == {}
    [objective] = chosen(scheduled_sampling=0.25).values()
    assert objective.scheduled_sampling == 0.25
    assert objective.rise_steps == 3 * (len(examples) // 5)
    assert (objective.attention_regularization, objective.seed) == (0, 4)
    [objective] = chosen(attention_regularization=2.0, start="x.keras").values()
    assert (objective.attention_regularization, objective.scheduled_sampling) == (2.0, 0)
    run = kind("scenes:31", "nowhere", attention_regularization=2.0, start="x.keras")
    with pytest.raises(ValueError, match="regularization must be 0 with the fusion 'concat'"):
        choose_objective(run, examples, looking("concat"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scheduled_sampling": 1.5}, "scheduled_sampling must be a number from 0 to 1, got 1.5"),
        ({"attention_regularization": -1}, "attention_regularization must be a number >= 0, got"),
        ({"rise_steps": 2.5}, "rise_steps must be a whole number >= 0, got 2.5"),
        ({"seed": -1}, "seed must be a whole number >= 0, got -1"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=f"TeacherForcing: {message}"):
        TeacherForcing(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scheduled_sampling": 1.5}, "scheduled_sampling must be a number from 0 to 1, got 1.5"),
        ({"attention_regularization": -1}, "attention_regularization must be a number >= 0, got"),
        (
            {"attention_regularization": 1.0, "fusion": "concat"},
            "attention_regularization must be 0 with the fusion 'concat', got 1.0",
        ),
        (
            {"scheduled_sampling": 0.2, "objective": "self_critical", "start": "x.keras"},
            "scheduled_sampling must be 0 with the objective 'self_critical', got 0.2",
        ),
    ],
)
def test_bad_options_of_a_run(options, message):
    with pytest.raises(ValueError, match=f"CaptioningRun: {message}"):
        CaptioningRun("scenes:16", "nowhere", **options)
