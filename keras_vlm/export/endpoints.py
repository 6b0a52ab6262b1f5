"""What a SavedModel answers: one function a signature, TensorFlow ops only.

Refuses to know files. Dimension letters: B batch, H height, W width, n texts a picture, T text
positions, E width of a retriever's space, Q questions a picture, k candidates.
"""

import tensorflow as tf

from keras_vlm.decoding import BeamSearch
from keras_vlm.tasks.generation import generate
from keras_vlm.vision.image import decode_batch

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
    return {name: (function, picture_specs(model)) for name, function in functions.items()}


def retriever_endpoints(model):
    """Returns the signatures of a retriever: name -> (function, input signature).

    Args:
        model: a ``Retriever``.

    Returns:
        A dict.
    """

    def embed_image(*pictures):
        images, valid, count = _decode(model, *pictures)
        vectors = model.embed_image_batch(images)[:count]
        return {"embedding": tf.where(valid[:, None], vectors, 0.0)}

    def embed_text(text):
        return {"embedding": model.embed_text_batch(text)}

    return {
        "serving_default": (embed_image, picture_specs(model)),
        "embed_image": (embed_image, picture_specs(model)),
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

    def ask_many(*inputs):
        *pictures, questions = inputs
        images, valid, count = _decode(model, *pictures)
        missing = tf.cast(count == 0, tf.int32)
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

    def candidates(*inputs):
        *pictures, question = inputs
        found = ask_many(*pictures, question[:, None])
        readable = found.pop("readable")
        return {**{name: value[:, 0] for name, value in found.items()}, "readable": readable}

    def answer(*inputs):
        found = candidates(*inputs)
        return {
            "answer": found["answers"][:, 0],
            "score": found["scores"][:, 0],
            "known": found["known"],
        }

    question = (*picture_specs(model), tf.TensorSpec([None], tf.string, name="question"))
    questions = (*picture_specs(model), tf.TensorSpec([None, None], tf.string, name="questions"))
    return {
        "serving_default": (answer, question),
        "top_k": (candidates, question),
        "ask_many": (ask_many, questions),
    }


def picture_specs(model):
    """Returns the inputs by which a picture comes: its bytes, and the regions that a model takes.

    Args:
        model: a model of this package.

    Returns:
        A tuple of ``tf.TensorSpec``: ``image_bytes`` [B], perhaps ``boxes`` [B,R,4] float32 and
        ``masks`` [B,R,S,S] uint8, of any R; what is too much is cut off.
    """
    return (
        tf.TensorSpec([None], tf.string, name="image_bytes"),
        *(
            tf.TensorSpec(
                [None, None, *shape[1:]], tf.float32 if key == "boxes" else tf.uint8, name=key
            )
            for key, shape in model.region_shapes.items()
        ),
    )


def _decode(model, image_bytes, *regions):
    """Returns what the encoder takes, at least a row, which can be read [B], and their number B."""
    images, valid = decode_batch(image_bytes, model.image_size, model.resize)
    # oneDNN's convolutions fail on an empty batch: it gets a row, which is cut off again.
    count = tf.shape(images)[0]
    missing = tf.cast(count == 0, tf.int32)
    images = tf.pad(images, [[0, missing], [0, 0], [0, 0], [0, 0]])
    if not model.region_shapes:
        return images, valid, count
    taken = {"images": images}
    for (key, (most, *shape)), given in zip(model.region_shapes.items(), regions, strict=True):
        kept = given[:, :most]
        lacking = most - tf.shape(kept)[1]
        kept = tf.pad(kept, [[0, missing], [0, lacking]] + [[0, 0]] * len(shape))
        taken[key] = tf.ensure_shape(kept, (None, most, *shape))
    return taken, valid, count


def _caption_function(model, strategy, *, jit_compile=False):
    """Returns a function of pictures [B] -> dict of captions [B,n] and scores [B,n]."""

    def search(features):
        return generate(model.text_decoder, model.tokenizer, features, strategy)

    if jit_compile:
        search = tf.function(search, jit_compile=True)

    def caption(*pictures):
        images, valid, count = _decode(model, *pictures)
        found = search(model.encoder(images, training=False))
        texts = model.tokenizer.detokenize(found.token_ids)
        return {
            "captions": tf.where(valid[:, None], texts[:count], ""),
            "scores": tf.where(valid[:, None], found.scores[:count], float("-inf")),
        }

    return caption


def _best(function):
    """Returns a function of pictures [B] -> dict of caption [B] and score [B]."""

    def best(*pictures):
        found = function(*pictures)
        return {"caption": found["captions"][:, 0], "score": found["scores"][:, 0]}

    return best
