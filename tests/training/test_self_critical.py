"""Self-critical training: the gradient is the policy gradient, and the reward rises."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from oracles import scenes_captioner

from keras_vlm import load_data
from keras_vlm.metrics.cider_reward import CiderReward
from keras_vlm.text.tokenizer import PAD_ID, START_ID, UNKNOWN_ID
from keras_vlm.training.self_critical import SelfCritical


@pytest.fixture(scope="module")
def examples():
    return load_data("scenes:31")["train"]


@pytest.mark.slow
def test_the_reward_rises(examples):
    model = scenes_captioner()
    batches = model.batches(examples, 31, shuffle=False, captions_per_image=3)
    model.compile(keras.optimizers.Adam(1e-2), model.loss)
    objective = SelfCritical(examples, model.tokenizer)
    history = model.fit(batches, epochs=30, verbose=0, objective=objective)
    rewards = history.history["reward"]
    assert np.mean(rewards[-5:]) > np.mean(rewards[:5]) + 0.1
    assert all(0 <= reward <= 10 for reward in rewards)


@pytest.mark.slow
def test_same_seed_same_weights(examples):
    trained = []
    for seed in (0, 0, 1):
        model = scenes_captioner()
        batches = model.batches(examples, 31, shuffle=False)
        model.compile(keras.optimizers.SGD(0.1), model.loss)
        keras.utils.set_random_seed(5)
        objective = SelfCritical(examples, model.tokenizer, seed=seed)
        model.fit(batches, epochs=2, verbose=0, objective=objective)
        trained.append(np.concatenate([w.ravel() for w in model.text_decoder.get_weights()]))
    np.testing.assert_array_equal(trained[0], trained[1])
    assert (trained[0] != trained[2]).any()


@pytest.mark.slow
def test_afterwards_fit_is_as_before(examples):
    model = scenes_captioner()
    batches = model.batches(examples, 31, shuffle=False)
    model.fit(batches, verbose=0, objective=SelfCritical(examples, model.tokenizer))
    assert model.objective is None
    weighed = batches.map(lambda inputs, targets: (inputs, targets, tf.ones(tf.shape(targets)[:1])))
    with pytest.raises(ValueError, match="sample weights must be left out with an objective"):
        model.fit(weighed, verbose=0, objective=SelfCritical(examples, model.tokenizer))
    assert model.fit(batches, verbose=0).history["loss"][0] > 0


def test_the_gradient_reaches_what_was_read_of_the_picture(examples):
    model = scenes_captioner()
    inputs, targets = next(iter(model.batches(examples, 31, shuffle=False)))
    objective = SelfCritical(examples, model.tokenizer)
    decoder = model.text_decoder
    with tf.GradientTape() as tape:
        features = model.encoder(inputs["images"])
        surrogate, _ = objective(model, features, targets)
    weights = [decoder.memory_dense.kernel.value, model.encoder.trainable_weights[0].value]
    for gradient in tape.gradient(surrogate, weights):
        assert np.isfinite(gradient).all()
        assert np.abs(gradient).max() > 0


class Bandit(keras.layers.Layer):
    """A text decoder that knows one distribution for each position, whatever the picture."""

    def __init__(self, logits):
        super().__init__()
        self.logits = self.add_weight(
            shape=logits.shape, initializer=lambda *_, **__: tf.constant(logits)
        )

    def read(self, image_features, memory_mask=None, training=None):
        return {}

    def start(self, memory, rows_per_picture, max_length):
        return tf.zeros([rows_per_picture], tf.int32)

    def step(self, token_ids, state, memory):
        return tf.nn.log_softmax(tf.gather(self.logits, state)), state + 1

    def attend_read(self, memory, token_ids, real_words, training=None):
        every = tf.broadcast_to(self.logits, (*token_ids.shape, self.logits.shape[-1]))
        return tf.boolean_mask(every, real_words), None


def test_the_expected_gradient_is_that_of_the_expected_reward(examples):
    """On a model of two positions the expectation over all sentences can be written down."""
    tokenizer = scenes_captioner().tokenizer
    words = tokenizer.vocabulary_size
    length, allowed = tokenizer.max_length - 1, [3, 4, 5]
    logits = np.full((length, words), -30.0, np.float32)
    logits[0, allowed] = [0.3, -0.2, 0.5]
    logits[1, allowed] = [0.1, 0.4, -0.6]
    # Likely, and never drawn.
    never = [PAD_ID, UNKNOWN_ID, START_ID]
    logits[:2, never] = [0.7, 1.5, 0.9]
    # From the third position on every sentence ends.
    logits[2:, 3] = 30
    targets = np.zeros((1, 2, length), np.int32)
    targets[0, :, :3] = [[4, 5, 3], [5, 3, 0]]
    decoder = Bandit(logits)
    objective = SelfCritical(examples, tokenizer, num_samples=2000)
    # Frequencies of a collection in which no word is in all documents.
    objective._cider = CiderReward(np.concatenate([targets, targets[:, ::-1] + 4]), words + 4)

    class Model:
        text_decoder, run_eagerly = decoder, False

        class optimizer:  # noqa: N801
            iterations = tf.constant(7)

    with tf.GradientTape() as tape:
        surrogate, reward = objective(Model, tf.zeros((1, 1, 1)), tf.constant(targets))
    found = tf.convert_to_tensor(tape.gradient(surrogate, decoder.logits.value)).numpy()

    with tf.GradientTape() as tape:
        drawn = tf.where(np.isin(np.arange(words), never), -1e9, decoder.logits.value)
        log_probs = tf.nn.log_softmax(drawn)
        expected = mean_length = 0.0
        for first, second in itertools.product(allowed, allowed):
            sentence = np.zeros((1, 1, length), np.int32)
            sentence[0, 0, :3] = [first, 3 if first == 3 else second, 3]
            sentence[0, 0, 1 if first == 3 else 2 if second == 3 else 3 :] = 0
            probability = tf.exp(log_probs[0, first] + log_probs[1, second])
            earned = float(objective.judge(sentence, targets)[0, 0])
            expected += probability * earned
            mean_length += float(probability) * np.count_nonzero(sentence)
    # The surrogate is a mean over words, the expectation one over sentences.
    gradient = -tape.gradient(expected, decoder.logits.value).numpy() / mean_length
    assert float(reward) == pytest.approx(float(expected), rel=0.1)
    np.testing.assert_allclose(found[:2, allowed], gradient[:2, allowed], atol=0.02)
    np.testing.assert_array_equal(found[:2, never], 0)
    assert np.abs(gradient[:2, allowed]).max() > 0.1


def test_the_reward_is_the_weighted_sum_of_both_scores(examples):
    tokenizer = scenes_captioner().tokenizer
    captions = [tokenizer(texts).numpy()[:, 1:] for texts in examples.captions]
    references = np.stack([texts[:2] for texts in captions[:11]])
    samples = np.roll(references, 1, axis=0)
    samples[:5, 0] = references[:5, 1]
    cider, bleu, both = (
        SelfCritical(examples, tokenizer, **weights).judge(samples, references)
        for weights in (
            {},
            {"cider_weight": 0.0, "bleu_weight": 1.0},
            {"cider_weight": 0.5, "bleu_weight": 3.0},
        )
    )
    np.testing.assert_allclose(both, 0.5 * cider + 3 * bleu, rtol=1e-5)
    assert bleu[:5, 0] == pytest.approx(1, abs=1e-5)
    assert cider[:5, 0].min() > 1
    assert 0 <= bleu.min() < 0.5


def step_of(options, dropout, examples):
    """How one step of SGD moves the decoder: by cross-entropy (None), or by ``SelfCritical``."""
    model = scenes_captioner()
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.Dropout) and layer.rate:
            layer.rate = dropout
    model.compile(keras.optimizers.SGD(1.0), model.loss)
    batches = model.batches(examples, 31, shuffle=False, captions_per_image=3)
    objective = None if options is None else SelfCritical(examples, model.tokenizer, **options)
    before = [weight.numpy() for weight in model.trainable_variables]
    keras.utils.set_random_seed(5)
    model.fit(batches, verbose=0, objective=objective)
    after = [weight.numpy() for weight in model.trainable_variables]
    return [new - old for new, old in zip(after, before, strict=True)]


def test_the_cross_entropy_of_a_mixed_loss_is_that_of_fit(examples):
    """Dropout, label smoothing and all: with the whole share, fit and the mix are one."""
    plain = step_of(None, 0.4, examples)
    mixed = step_of({"cross_entropy_share": 1}, 0.4, examples)
    for ours, theirs in zip(mixed, plain, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    without = step_of(None, 0.0, examples)
    assert max(np.abs(a - b).max() for a, b in zip(plain, without, strict=True)) > 1e-3


@pytest.mark.slow
def test_a_mixed_loss_is_the_mean_of_both(examples):
    plain, critical, mixed = (
        step_of(options, 0.0, examples)
        for options in (None, {}, {"cross_entropy_share": 0.3})
    )
    for ours, first, second in zip(mixed, plain, critical, strict=True):
        np.testing.assert_allclose(ours, 0.3 * first + 0.7 * second, atol=1e-5)
    assert max(np.abs(step).max() for step in critical) > 1e-3


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("num_samples", 1),
        ("seed", -1),
        ("cider_weight", -0.5),
        ("cider_weight", 0.0),
        ("bleu_weight", -1.0),
        ("cross_entropy_share", 1.5),
    ],
)
def test_wrong_options(examples, option, value):
    with pytest.raises(ValueError, match=f"SelfCritical: {option} must be .*got {value}"):
        SelfCritical(examples, scenes_captioner().tokenizer, **{option: value})
