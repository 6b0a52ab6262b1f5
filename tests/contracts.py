"""What every model of the package must pass, whatever its parts. Each check takes a compiled model.

A batch is ``(inputs, targets)`` as ``model.batches`` makes them.
"""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from oracles import dense

from keras_vlm import load
from keras_vlm.tasks.generation import generate


def few(values, *fast):
    """Values of a parameter; a test of any but the ``fast`` ones is slow."""
    values = list(values)
    missing = [each for each in fast if each not in values]
    if missing:
        raise ValueError(f"few: {missing} are not among {values}.")
    return [each if each in fast else pytest.param(each, marks=pytest.mark.slow) for each in values]


def answers(model, images):
    """What a model says of pictures: words, answers, or vectors or matches to a few places."""
    if hasattr(model, "answer"):
        asked = ["is there a red shape ?", "how many circles are there ?"]
        found = [model.answer(image, asked, top_k=2) for image in images]
        return [[(str(answer), round(answer.probability, 4)) for answer in row] for row in found]
    if hasattr(model, "embed_images"):
        return np.round(model.embed_images(images), 5).tolist()
    if hasattr(model, "match"):
        pairs = [(place, 0) for place in range(len(images))]
        return np.round(model.match(images, "a red circle", pairs), 4).tolist()
    return model.caption(images)


def check_gradients(model, batch):
    """Every trainable weight gets a finite gradient, and it is not all zero."""
    inputs, targets = batch
    with tf.GradientTape() as tape:
        loss = model.compute_loss(inputs, targets, model(inputs, training=True))
    gradients = tape.gradient(loss, [weight.value for weight in model.trainable_variables])
    for weight, gradient in zip(model.trainable_variables, gradients, strict=True):
        assert gradient is not None, weight.path
        assert np.isfinite(dense(gradient)).all(), weight.path
        assert np.abs(dense(gradient)).max() > 0, weight.path


def check_learns(model, batch, *, steps=30):
    """The loss falls on a handful of examples."""
    model.optimizer.learning_rate = 1e-2
    before = model.evaluate(*batch, verbose=0)
    dataset = tf.data.Dataset.from_tensors(batch).repeat(steps)
    model.fit(dataset, verbose=0)
    after = model.evaluate(*batch, verbose=0)
    assert after < 0.7 * before, (before, after)


def check_saves(model, batch, images, folder):
    """A saved model gives the same outputs and the same answers, and goes on learning alike."""
    path = folder / "model.keras"
    model.train_on_batch(*batch)
    model.save(path)
    again = load(path)
    np.testing.assert_allclose(again(batch[0]), model(batch[0]), atol=1e-5)
    np.testing.assert_array_equal(answers(again, images), answers(model, images))
    assert again.optimizer.iterations.numpy() == model.optimizer.iterations.numpy()
    losses = [one.train_on_batch(*batch) for one in (model, again)]
    np.testing.assert_allclose(*losses, rtol=1e-5)


def check_saves_across_processes(model, image_paths, folder):
    """A fresh process that imports the package alone reads the file and says the same."""
    model.save(folder / "model.keras")
    code = (
        "import json, sys, keras_vlm;"
        "model = keras_vlm.load(sys.argv[1]);"
        "print(json.dumps(model.caption(sys.argv[2:])))"
    )
    paths = [str(path) for path in image_paths]
    found = subprocess.run(
        [sys.executable, "-c", code, str(folder / "model.keras"), *paths],
        check=True,
        capture_output=True,
        text=True,
    )
    assert json.loads(found.stdout.splitlines()[-1]) == model.caption(paths)


def check_padding_is_nothing(model, batch):
    """Rows of padding change neither the loss nor the logits of the other rows."""
    inputs, targets = batch
    model.optimizer.learning_rate = 0.0
    longer = {
        **inputs,
        "token_ids": tf.pad(inputs["token_ids"], [[0, 0], [0, 1], [0, 0]]),
    }
    padded = tf.pad(targets, [[0, 0], [0, 1], [0, 0]])
    captions = targets.shape[1]
    np.testing.assert_allclose(model(longer)[:, :captions], model(inputs), atol=1e-5)
    np.testing.assert_allclose(
        model.evaluate(longer, padded, verbose=0),
        model.evaluate(inputs, targets, verbose=0),
        rtol=1e-5,
    )


def check_rows_are_apart(model, batch, images):
    """A batch of one equals the row of a larger batch: logits, and words and scores."""
    whole = model(batch[0])
    for i in range(len(whole)):
        row = {name: value[i : i + 1] for name, value in batch[0].items()}
        np.testing.assert_allclose(model(row)[0], whole[i], atol=1e-5)
    together = model.caption(images, with_scores=True)
    for image, texts in zip(images, together, strict=True):
        [alone] = model.caption([image], with_scores=True)
        assert [text for text, _ in alone] == [text for text, _ in texts]
        np.testing.assert_allclose([s for _, s in alone], [s for _, s in texts], atol=1e-4)


def check_packed_steps(model, batch):
    """The training and test steps, which skip padding, give Keras's own loss."""
    inputs, targets = batch
    expected = model.compute_loss(inputs, targets, model(inputs))
    np.testing.assert_allclose(model.evaluate(inputs, targets, verbose=0), expected, rtol=1e-5)


def check_xla(model, batch, images, strategy):
    """Logits and searches are the same with XLA and without."""
    compiled = tf.function(model, jit_compile=True)
    np.testing.assert_allclose(compiled(batch[0]), model(batch[0]), atol=1e-4)
    features = model.encoder(images, training=False)

    def search(features):
        return generate(model.text_decoder, model.tokenizer, features, strategy)

    plain = tf.function(search)(features)
    jitted = tf.function(search, jit_compile=True)(features)
    np.testing.assert_array_equal(plain.token_ids, jitted.token_ids)
    np.testing.assert_allclose(plain.scores, jitted.scores, atol=1e-4)


def check_fits_under_xla(model, batch):
    """A step compiled by XLA, as on a GPU, gives the loss and the weights of a plain step."""
    twins = []
    for jit in (False, True):
        twin = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(model))
        twin.compile(keras.optimizers.SGD(0.1), model.loss, jit_compile=jit)
        twin.set_weights(model.get_weights())
        for layer in twin._flatten_layers():
            if isinstance(layer, keras.layers.Dropout):
                layer.rate = 0.0
        twins.append((twin.train_on_batch(*batch), twin.get_weights()))
    (loss, weights), (jitted_loss, jitted_weights) = twins
    np.testing.assert_allclose(jitted_loss, loss, rtol=1e-4)
    for ours, theirs in zip(weights, jitted_weights, strict=True):
        np.testing.assert_allclose(theirs, ours, atol=1e-4)
