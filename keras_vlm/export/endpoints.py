"""What a SavedModel answers: one function a signature, TensorFlow ops only.

A function takes pictures, encoded or, of clips, as pixels too, and is told how they become a
model's input. Refuses to know files. Dimension letters: B batch, F frames, H height, W width, n
texts a picture, T text positions, E width of a retriever's space, Q questions a picture, k
candidates.
"""

import tensorflow as tf

from keras_vlm.decoding import BeamSearch
from keras_vlm.tasks.generation import generate
from keras_vlm.vision.image import decode_batch, resize_image

QUESTION = tf.TensorSpec([None], tf.string, name="question")
QUESTIONS = tf.TensorSpec([None, None], tf.string, name="questions")
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
    of_clips = model.temporal is not None
    read = _decode_clips if of_clips else _decode
    functions = {
        "serving_default": _best(_caption_function(model, beam, read)),
        "beam": _best(_caption_function(model, beam, read)),
        "greedy": _best(_caption_function(model, greedy, read)),
        "n_best": _caption_function(model, beam, read),
    }
    if xla:
        functions["beam_xla"] = _best(_caption_function(model, beam, read, jit_compile=True))
    endpoints = {name: (function, picture_specs(model)) for name, function in functions.items()}
    if of_clips:
        function = _best(_caption_function(model, beam, _resize_clips))
        endpoints["frames"] = (function, (_frames_spec(model),))
    return endpoints


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
    of_clips = model.temporal is not None
    read, pictures = _decode_clips if of_clips else _decode, picture_specs(model)
    ask_many, candidates, answer = _answer_functions(model, top_k, read)
    endpoints = {
        "serving_default": (answer, (*pictures, QUESTION)),
        "top_k": (candidates, (*pictures, QUESTION)),
        "ask_many": (ask_many, (*pictures, QUESTIONS)),
    }
    if of_clips:
        answer = _answer_functions(model, top_k, _resize_clips)[2]
        endpoints["frames"] = (answer, (_frames_spec(model), QUESTION))
    return endpoints


def _answer_functions(model, top_k, read):
    """Returns the functions of many questions a picture, of one, and of one with one answer."""

    def ask(pictures, questions, top_k):
        images, valid, count = read(model, *pictures)
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

    def ask_many(*inputs):
        *pictures, questions = inputs
        return ask(pictures, questions, top_k)

    def candidates(*inputs, top_k=top_k):
        *pictures, question = inputs
        found = ask(pictures, question[:, None], top_k)
        readable = found.pop("readable")
        return {**{name: value[:, 0] for name, value in found.items()}, "readable": readable}

    def answer(*inputs):
        # As many candidates as Python's usual one: written answers are searched the wider, the more
        # there are.
        found = candidates(*inputs, top_k=1)
        return {
            "answer": found["answers"][:, 0],
            "score": found["scores"][:, 0],
            "known": found["known"],
        }

    return ask_many, candidates, answer


def picture_specs(model):
    """Returns the inputs by which a picture comes: its bytes, and the regions that a model takes.

    Args:
        model: a model of this package.

    Returns:
        A tuple of ``tf.TensorSpec``: ``image_bytes`` [B], perhaps ``boxes`` [B,R,4] float32 and
        ``masks`` [B,R,S,S] uint8, of any R; what is too much is cut off. Of a model of clips
        ``frame_bytes`` [B,f], of any f.
    """
    if model.temporal is not None:
        return (tf.TensorSpec([None, None], tf.string, name="frame_bytes"),)
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
    images, valid, count = _pad_empty(images, valid)
    if not model.region_shapes:
        return images, valid, count
    missing, taken = tf.cast(count == 0, tf.int32), {"images": images}
    for (key, (most, *shape)), given in zip(model.region_shapes.items(), regions, strict=True):
        kept = given[:, :most]
        lacking = most - tf.shape(kept)[1]
        kept = tf.pad(kept, [[0, missing], [0, lacking]] + [[0, 0]] * len(shape))
        taken[key] = tf.ensure_shape(kept, (None, most, *shape))
    return taken, valid, count


def _decode_clips(model, frame_bytes):
    """The same for clips: encoded frames [B,f], of which F are chosen evenly, as [B,F,H,W,3]."""
    # Clips without a frame have one that cannot be read.
    missing = tf.cast(tf.shape(frame_bytes)[1] == 0, tf.int32)
    frame_bytes = tf.pad(frame_bytes, [[0, 0], [0, missing]], constant_values="")
    given = tf.shape(frame_bytes)[1]
    # Integers all the way: whether a frame is the middle one must not depend on rounding.
    places = (2 * tf.range(model.num_frames) + 1) * given // (2 * model.num_frames)
    chosen = tf.gather(frame_bytes, places, axis=1)
    frames, valid = decode_batch(tf.reshape(chosen, [-1]), model.image_size, model.resize)
    frames = tf.reshape(frames, (-1, model.num_frames, *model.image_size, 3))
    valid = tf.reduce_all(tf.reshape(valid, (-1, model.num_frames)), axis=1)
    return _pad_empty(frames, valid)


def _resize_clips(model, frames):
    """The same for frames [B,F,h,w,3] as they are, values 0..255."""
    shape = tf.shape(frames)
    flat = tf.reshape(frames, tf.concat([[-1], shape[2:]], axis=0))
    resized = tf.map_fn(
        lambda frame: resize_image(frame, model.image_size, model.resize),
        flat,
        fn_output_signature=tf.TensorSpec((*model.image_size, 3), tf.float32),
    )
    resized = tf.reshape(resized, (-1, model.num_frames, *model.image_size, 3))
    return _pad_empty(resized, tf.fill(shape[:1], True))


def _frames_spec(model):
    """Returns the signature of frames as they are: as many as the model looks at, of any size."""
    return tf.TensorSpec([None, model.num_frames, None, None, 3], tf.float32, name="frames")


def _pad_empty(images, valid):
    """Returns images, at least one; what is valid; and the number of images."""
    # oneDNN's convolutions fail on an empty batch: it gets a row, which is cut off again.
    count = tf.shape(images)[0]
    missing = tf.cast(count == 0, tf.int32)
    images = tf.pad(images, [[0, missing], *[[0, 0]] * (images.shape.rank - 1)])
    return images, valid, count


def _caption_function(model, strategy, read, *, jit_compile=False):
    """Returns a function of pictures [B,...] -> dict of captions [B,n] and scores [B,n]."""

    def search(features):
        return generate(model.text_decoder, model.tokenizer, features, strategy)

    if jit_compile:
        search = tf.function(search, jit_compile=True, autograph=False)

    def caption(*pictures):
        images, valid, count = read(model, *pictures)
        found = search(model.remember(model.encoder(images, training=False)))
        texts = model.tokenizer.detokenize(found.token_ids)
        return {
            "captions": tf.where(valid[:, None], texts[:count], ""),
            "scores": tf.where(valid[:, None], found.scores[:count], float("-inf")),
        }

    return caption


def _best(function):
    """Returns a function of pictures [B,...] -> dict of caption [B] and score [B]."""

    def best(*pictures):
        found = function(*pictures)
        return {"caption": found["captions"][:, 0], "score": found["scores"][:, 0]}

    return best
