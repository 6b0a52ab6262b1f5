"""Sources: a name such as ``flickr8k:DIR`` becomes splits of raw examples. One file a format.

The contract: a source is a function ``open_x(argument, language) -> Splits``. ``argument`` is what
follows the first colon of the name. Each split is an ``Examples``: sized, with ``image_ids`` and
``captions`` or ``questions`` at hand, and a ``dataset()`` whose elements have the keys of
``data.schema``. What
cannot be used is skipped, counted and reported once; a field that the data lack is absent. Text is
raw: it is cleaned and tokenized later. A new source is a file and a row of ``SOURCES``.
"""

from keras_vlm.core.checks import check_choice
from keras_vlm.data.sources.base import BytesExamples as BytesExamples
from keras_vlm.data.sources.base import Examples as Examples
from keras_vlm.data.sources.base import FileExamples as FileExamples
from keras_vlm.data.sources.base import Splits as Splits
from keras_vlm.data.sources.clips import ClipExamples as ClipExamples
from keras_vlm.data.sources.coco import open_coco
from keras_vlm.data.sources.easy_vqa import open_easy_vqa
from keras_vlm.data.sources.flickr8k import open_flickr8k
from keras_vlm.data.sources.flickr8k_cn import open_flickr8k_cn
from keras_vlm.data.sources.flickr30k import open_flickr30k
from keras_vlm.data.sources.folder import TEXTS, open_folder, open_video_folder
from keras_vlm.data.sources.karpathy import open_karpathy
from keras_vlm.data.sources.moving_scenes import open_moving_scenes
from keras_vlm.data.sources.msr_vtt import open_msr_vtt
from keras_vlm.data.sources.msvd import open_msvd
from keras_vlm.data.sources.scenes import open_scenes
from keras_vlm.data.sources.shuffling import shuffle_pictures as shuffle_pictures
from keras_vlm.data.sources.tfds import open_tfds
from keras_vlm.data.sources.vqa_v2 import open_vqa_v2
from keras_vlm.data.sources.webdataset import open_webdataset

SOURCES = {
    "scenes": open_scenes,
    "moving_scenes": open_moving_scenes,
    "flickr8k": open_flickr8k,
    "flickr8k_cn": open_flickr8k_cn,
    "flickr30k": open_flickr30k,
    "karpathy": open_karpathy,
    "coco": open_coco,
    "folder": open_folder,
    "webdataset": open_webdataset,
    "tfds": open_tfds,
    "vqa_v2": open_vqa_v2,
    "easy_vqa": open_easy_vqa,
    "video": open_video_folder,
    "msvd": open_msvd,
    "msr_vtt": open_msr_vtt,
}
FOLDERS = ("folder", "video")
# Those that can read data with other key names.
MAPPED = (*FOLDERS, "tfds")


def load_data(name, *, language="en", keys=None, texts=None):
    """Opens a data set by name.

    Args:
        name: ``scenes``, ``flickr8k:DIR``, ``flickr8k_cn:DIR``, ``flickr30k:DIR``,
            ``coco:ANNOTATIONS.json:IMAGES_DIR``, ``karpathy:FILE.json:IMAGES_DIR``,
            ``folder:DIR``, ``webdataset:SHARDS``, ``tfds:NAME``,
            ``vqa_v2:QUESTIONS.json:ANNOTATIONS.json:IMAGES_DIR`` or ``easy_vqa``; of clips
            ``moving_scenes``, ``video:DIR``, ``msvd:CAPTIONS.txt:CLIPS_DIR`` or
            ``msr_vtt:ANNOTATIONS.json:CLIPS_DIR``.
        language: language code of the captions and questions, such as ``"en"`` or ``"zh"``.
        keys: for questions in a folder whose records have other keys, and for features of
            TensorFlow Datasets that are not found by their name: ours to theirs, such as
            ``"image=img_name,question=q"`` or a dict; None for our own.

        texts: ``"captions"`` or ``"questions"``: what to read of a folder that has both; None reads
            the questions, and says so in the log. Where data have one of them, it is read.

    Returns:
        A ``Splits``: ``load_data(name)["train"]`` is the ``Examples`` of a split, opened then.

    Raises:
        DataError: the data are there and wrong; the message names the file and the line.
        FileNotFoundError: a file or folder is not there.
        ValueError: no source has this name, ``keys`` are given for one that takes none, or
            ``texts`` are unknown.

    Example:
        >>> examples = load_data("scenes:20")["val"]
        >>> len(examples), examples.captions[0][0]
        (2, 'a large red triangle on the right')
    """
    if not isinstance(name, str):
        raise ValueError(f"load_data: name must be a text such as 'folder:DIR', got {name!r}.")
    prefix, _, argument = name.partition(":")
    check_choice("load_data", "name", prefix, SOURCES)
    if texts is not None:
        check_choice("load_data", "texts", texts, TEXTS)
    if keys and prefix not in MAPPED:
        raise ValueError(
            f"load_data: keys must be None for {prefix}, got {keys!r}. They go with "
            f"{', '.join(MAPPED)}."
        )
    opened = _open(prefix, argument, language, keys, texts)
    opened.source = name
    return opened


def _open(prefix, argument, language, keys, texts):
    """Opens a source.

    Raises:
        ValueError: ``keys`` do not go with captions.
    """
    if prefix in FOLDERS:
        if keys and texts == "captions":
            raise ValueError(
                f"load_data: keys must be None for the captions of a folder, got {keys!r}. They "
                "name the keys of questions."
            )
        return SOURCES[prefix](argument, language, keys, texts=texts)
    return SOURCES[prefix](argument, language, *([keys] if keys else []))
