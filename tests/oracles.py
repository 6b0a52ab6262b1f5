"""Slow truths that several tests share, and small models to test with."""

import keras
import numpy as np
import tensorflow as tf

from keras_vlm import (
    build_captioner,
    build_reranker,
    build_retriever,
    build_vqa,
    choose_answers,
    load_data,
)
from keras_vlm.fusion import FUSIONS, QUESTION_FUSIONS
from keras_vlm.tasks.towers import Tower
from keras_vlm.text import TEXT_DECODERS, TEXT_ENCODERS, Tokenizer
from keras_vlm.training import run as training_run

WORDS = ["a", "dog", "cat", "runs", "red", "circle", "left", "right", "of"]


def small_tokenizer(max_length=7):
    return Tokenizer(WORDS, max_length=max_length)


def random_token_ids(shape, vocabulary_size, lengths=None, seed=0):
    """Token ids [..., T] that start with 2; with lengths [...], 0 after them."""
    random = np.random.default_rng(seed)
    ids = random.integers(4, vocabulary_size, shape)
    ids[..., 0] = 2
    if lengths is not None:
        ids *= np.arange(shape[-1]) < np.asarray(lengths)[..., None]
    return ids.astype(np.int32)


def tiny_encoder(tokens=7, width=5):
    """A frozen image model: [B,16,16,3] -> [B,tokens,width]."""
    keras.utils.set_random_seed(1)
    images = keras.Input((16, 16, 3))
    hidden = keras.layers.Rescaling(1 / 255)(images)
    hidden = keras.layers.Flatten()(hidden)
    hidden = keras.layers.Dense(tokens * width, activation="tanh")(hidden)
    return keras.Model(images, keras.layers.Reshape((tokens, width))(hidden), name="encoder")


def dense(tensor):
    """A gradient as an array, whether it is sparse or not."""
    return tf.convert_to_tensor(tensor).numpy()


def scenes_captioner(text="lstm", fusion="multi_head", language="en", **options):
    """An untrained captioner of rendered scenes whose captions differ from picture to picture."""
    keras.utils.set_random_seed(7)
    examples = load_data("scenes:31", language=language)["train"]
    decoder = TEXT_DECODERS[text](FUSIONS[fusion](), hidden_dim=24, dropout=0.1)
    model = build_captioner(
        "conv_small",
        text=decoder,
        tokenizer=Tokenizer.fit(examples, minimum_count=1, max_length=9),
        image_size=32,
        **options,
    )
    for weight in model.text_decoder.trainable_variables:
        weight.assign_add(0.2 * keras.random.normal(weight.shape))
    return model


def scenes_retriever(text="gru", language="en", dim=None, **options):
    """An untrained retriever of rendered scenes; of names with pluses it has a head each."""
    keras.utils.set_random_seed(7)
    examples = load_data("scenes:31", language=language)["train"]
    encoders = [TEXT_ENCODERS[name](hidden_dim=24, dropout=0.1) for name in text.split("+")]
    shared = {"heads": len(encoders)}
    towers = [
        Tower(16, pooling="attention", **shared),
        Tower(16, pooling="max", split=len(encoders) > 1, **shared),
    ]
    return build_retriever(
        "conv_small",
        text=encoders,
        dim=dim or towers,
        tokenizer=Tokenizer.fit(examples, minimum_count=1, max_length=9),
        image_size=32,
        **options,
    )


def scenes_vqa(fusion="concat", answers="choose", text="bag", language="en", **options):
    """An untrained model for questions about rendered scenes, whose answers differ."""
    keras.utils.set_random_seed(7)
    examples = load_data("scenes:31", language=language)["train"]
    model = build_vqa(
        "conv_small",
        tokenizer=examples,
        answers=choose_answers(examples, answers),
        text=TEXT_ENCODERS[text](hidden_dim=16, dropout=0.1),
        fusion=QUESTION_FUSIONS[fusion](),
        image_size=32,
        **options,
    )
    for weight in model.decoder.trainable_variables:
        weight.assign_add(0.3 * keras.random.normal(weight.shape))
    return model


def scenes_reranker(fusion="attention", retriever=None, **options):
    """An untrained re-ranker of rendered scenes."""
    keras.utils.set_random_seed(7)
    retriever = retriever or scenes_retriever("bag")
    return build_reranker(retriever, fusion=fusion, hidden_dim=16, **options)


class BegunError(Exception):
    """Ends a run where its training would begin; has the model."""


def begun_model(train, run, monkeypatch):
    """The model with which a training run begins, without its training."""

    def begin(run, out, model, *splits):
        raise BegunError(model)

    with monkeypatch.context() as patch:
        patch.setattr(training_run, "_batches", begin)
        try:
            train(run, verbose=0)
        except BegunError as begun:
            return begun.args[0]
    raise AssertionError("the run was finished already")
