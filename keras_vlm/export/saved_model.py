"""Writing the SavedModel: picture bytes, or frames, in; caption, answer or vector out.

Refuses to know how the model was trained. Dimension letters: B batch, F frames of a clip, n
texts a picture, E width of a retriever's space, Q questions a picture, k candidates.
"""

import json
import pathlib
import shutil

import keras

from keras_vlm.core.checks import check_number
from keras_vlm.core.files import check_output_folder, replace_folder
from keras_vlm.export.endpoints import captioner_endpoints, retriever_endpoints, vqa_endpoints
from keras_vlm.tasks.reranking import Reranker
from keras_vlm.tasks.retrieval import Retriever
from keras_vlm.tasks.video_models import ClipModel
from keras_vlm.tasks.vqa_models import VQAModel

ABOUT = "keras_vlm.json"
TASKS_OF_CLIPS = {"captioning": "video-caption", "vqa": "video-qa"}


def export_saved_model(model, path, *, beam_size=3, top_k=5, xla=False, overwrite=False):
    """Writes a SavedModel that does a model's whole job, from encoded pictures and raw text.

    ``image_bytes`` [B] string are JPEG, PNG, GIF, BMP or WebP, of any sizes, mixed. A model with
    regions takes ``boxes`` [B,R,4] float32 or ``masks`` [B,R,S,S] uint8 beside them, zeros where a
    picture has fewer. Signatures of a captioner:

    - ``serving_default`` and ``beam``: beam search; ``caption`` [B] string, ``score`` [B] float32;
    - ``greedy``: the same by greedy search, several times faster;
    - ``n_best``: ``captions`` [B,n] string and ``scores`` [B,n] float32, n the beam size;
    - ``beam_xla``, if asked for: ``beam`` with its search compiled by XLA. TensorFlow Serving runs
      with XLA off, and refuses it.

    and of a retriever, unit vectors ``embedding`` [B,E] float32:

    - ``serving_default`` and ``embed_image``, from ``image_bytes``;
    - ``embed_text``, from ``text`` [B] string.

    and of a ``VQAModel``, which take ``question`` [B] string beside ``image_bytes``:

    - ``serving_default``: ``answer`` [B] string, ``score`` [B] float32, its probability, and
      ``known`` [B] float32, the share of the question's words that the model has learned;
    - ``top_k``: ``answers`` [B,k], ``scores`` [B,k], ``known``, ``unknown_words`` [B] string and
      ``readable`` [B] bool;
    - ``ask_many``: the same for ``questions`` [B,Q], each picture encoded once; a row with fewer
      is filled up with ``""``.

    Models of clips take ``frame_bytes`` [B,f] string in place of ``image_bytes``: encoded frames,
    of any number, spread evenly over the clip. One signature more, ``frames``, does what
    ``serving_default`` does for frames as they are, [B,F,h,w,3] float32 in 0..255, F as many as
    the model looks at. (A video file itself cannot be sent: no TensorFlow op decodes one.)

    A picture that cannot be read has the caption ``""`` and the score -inf, a vector of zeros, or
    the answer ``""`` and the score 0, as an empty question has; the rest of its batch is answered.

    Args:
        model: a ``Captioner``, a ``CaptionerEnsemble``, a ``Retriever``, a ``VQAModel``, or a
            captioner or a VQA model of clips.
        path: the folder to write; TensorFlow Serving expects ``NAME/VERSION``, VERSION a number.
        beam_size: width of a captioner's beam search.
        top_k: candidates of a ``VQAModel``'s signatures; a vocabulary of fewer gives all.
        xla: whether to add a captioner's ``beam_xla``.
        overwrite: whether a folder that is there already is replaced.

    Returns:
        The path.

    Raises:
        FileExistsError: the folder exists, is not empty, and ``overwrite`` is False.
        TypeError: the model is a ``Reranker``, which judges what a retriever found and serves
            nothing alone.
        ValueError: ``beam_size`` or ``top_k`` is out of range.

    Example:
        ``export_saved_model(captioner, "served/captioner/1")``, and then, without this package,
        ``tf.saved_model.load(path).signatures["serving_default"](image_bytes=tf.constant([jpeg]))``.
    """
    check_number("export_saved_model", "beam_size", beam_size, minimum=1, integer=True)
    check_number("export_saved_model", "top_k", top_k, minimum=1, integer=True)
    if isinstance(model, Reranker):
        raise TypeError(
            "export_saved_model: model must be a captioner or a retriever, got a Reranker. Export "
            "the retriever, and re-rank in Python with TwoStageRetriever."
        )
    check_output_folder(path, overwrite=overwrite)
    about = {
        "image_size": list(model.image_size),
        "resize": model.resize,
        "vocabulary_size": model.tokenizer.vocabulary_size,
        "language": model.tokenizer.language,
        "region_shapes": {key: list(shape) for key, shape in model.region_shapes.items()},
    }
    if isinstance(model, Retriever):
        endpoints = retriever_endpoints(model)
        about |= {"task": "retrieval", "dim": model.image_tower.dim}
    elif isinstance(model, VQAModel):
        endpoints = vqa_endpoints(model, top_k)
        about |= {"task": "vqa", "top_k": top_k}
    else:
        endpoints = captioner_endpoints(model, beam_size, xla)
        about |= {"task": "captioning", "beam_size": beam_size}
    if isinstance(model, ClipModel):
        about |= {"task": TASKS_OF_CLIPS[about["task"]], "num_frames": model.num_frames}
    about["signatures"] = sorted(endpoints)
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.track(model.tokenizer.table)
    for name, (function, signature) in endpoints.items():
        archive.add_endpoint(name, function, input_signature=list(signature))
    with replace_folder(path, overwrite=overwrite) as folder:
        archive.write_out(str(folder / "model"), verbose=False)
        for item in (folder / "model").iterdir():
            shutil.move(item, folder / item.name)
        (folder / "model").rmdir()
        extra = folder / "assets.extra"
        extra.mkdir(exist_ok=True)
        (extra / ABOUT).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    return pathlib.Path(path)
