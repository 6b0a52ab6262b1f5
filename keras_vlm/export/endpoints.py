"""What a SavedModel answers: one function a signature, TensorFlow ops only.

Refuses to know files. Dimension letters: B batch, H height, W width, n texts a picture, T text
positions, E width of a retriever's space, Q questions a picture, k candidates.
"""

import tensorflow as tf

from keras_vlm.decoding import BeamSearch
from keras_vlm.tasks.generation import generate
from keras_vlm.vision.image import decode_batch

IMAGE_BYTES = (tf.TensorSpec([None], tf.string, name="image_bytes"),)
QUESTION = (*IMAGE_BYTES, tf.TensorSpec([None], tf.string, name="question"))
QUESTIONS = (*IMAGE_BYTES, tf.TensorSpec([None, None], tf.string, name="questions"))
TEXT = (tf.TensorSpec([None], tf.string, name="text"),)


def captioner_endpoints(model, beam_size, xla):
    """Returns the signatures of a captioner: name -> (function, input signature).

    Args:
        model: a ``Captioner`` or a ``CaptionerEnsemble``.
        beam_size: width of the beam search.
        xla: whether to add ``beam_xla``.

    Returns:
        A dict.
    """
    beam, greedy = BeamSearch(beam_size, num_return=beam_size), BeamSearch(1)
    functions = {
        "serving_default": _best(_caption_function(model, beam)),
        "beam": _best(_caption_function(model, beam)),
        "greedy": _best(_caption_function(model, greedy)),
        "n_best": _caption_function(model, beam),
    }
    if xla:
        functions["beam_xla"] = _best(_caption_function(model, beam, jit_compile=True))
    return {name: (function, IMAGE_BYTES) for name, function in functions.items()}


def retriever_endpoints(model):
    """Returns the signatures of a retriever: name -> (function, input signature).

    Args:
        model: a ``Retriever``.

    Returns:
        A dict.
    """

    def embed_image(image_bytes):
        images, valid, count = _decode(model, image_bytes)
        vectors = model.embed_image_batch(images)[:count]
        return {"embedding": tf.where(valid[:, None], vectors, 0.0)}

    def embed_text(text):
        return {"embedding": model.embed_text_batch(text)}

    return {
        "serving_default": (embed_image, IMAGE_BYTES),
        "embed_image": (embed_image, IMAGE_BYTES),
        "embed_text": (embed_text, TEXT),
    }


def vqa_endpoints(model, top_k):
    """Returns the signatures of a model that answers questions: name -> (function, signature).

    Args:
        model: a ``VQAModel``.
        top_k: candidates of the signatures ``top_k`` and ``ask_many``.

    Returns:
        A dict.
    """

    def ask_many(image_bytes, questions):
        images, valid, count = _decode(model, image_bytes)
        missing = tf.shape(images)[0] - count
        questions = tf.pad(questions, [[0, missing], [0, 0]], constant_values="")
        features = model.encoder(images, training=False)
        found = model.answer_features(features, questions, top_k)
        found = {name: value[:count] for name, value in found.items()}
        readable = valid[:, None, None]
        return {
            "answers": tf.where(readable, found["answers"], ""),
            "scores": tf.where(readable, found["scores"], 0.0),
            "known": found["known"],
            "unknown_words": found["unknown"],
            "readable": valid,
        }

    def candidates(image_bytes, question):
        found = ask_many(image_bytes, question[:, None])
        readable = found.pop("readable")
        return {**{name: value[:, 0] for name, value in found.items()}, "readable": readable}

    def answer(image_bytes, question):
        found = candidates(image_bytes, question)
        return {
            "answer": found["answers"][:, 0],
            "score": found["scores"][:, 0],
            "known": found["known"],
        }

    return {
        "serving_default": (answer, QUESTION),
        "top_k": (candidates, QUESTION),
        "ask_many": (ask_many, QUESTIONS),
    }


def _decode(model, image_bytes):
    """Returns pictures [B,H,W,3], at least one, which can be read [B], and their number B."""
    images, valid = decode_batch(image_bytes, model.image_size, model.resize)
    # oneDNN's convolutions fail on an empty batch: it gets a row, which is cut off again.
    count = tf.shape(images)[0]
    images = tf.pad(images, [[0, tf.cast(count == 0, tf.int32)], [0, 0], [0, 0], [0, 0]])
    return images, valid, count


def _caption_function(model, strategy, *, jit_compile=False):
    """Returns a function image_bytes [B] -> dict of captions [B,n] and scores [B,n]."""

    def search(features):
        return generate(model.text_decoder, model.tokenizer, features, strategy)

    if jit_compile:
        search = tf.function(search, jit_compile=True)

    def caption(image_bytes):
        images, valid, count = _decode(model, image_bytes)
        found = search(model.encoder(images, training=False))
        texts = model.tokenizer.detokenize(found.token_ids)
        return {
            "captions": tf.where(valid[:, None], texts[:count], ""),
            "scores": tf.where(valid[:, None], found.scores[:count], float("-inf")),
        }

    return caption


def _best(function):
    """Returns a function image_bytes [B] -> dict of caption [B] and score [B]."""

    def best(image_bytes):
        found = function(image_bytes)
        return {"caption": found["captions"][:, 0], "score": found["scores"][:, 0]}

    return best
