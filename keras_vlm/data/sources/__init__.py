"""Sources: a name such as ``flickr8k:DIR`` becomes splits of raw examples. One file a format.

The contract: a source is a function ``open_x(argument, language) -> Splits``. ``argument`` is what
follows the first colon of the name. Each split is an ``Examples``: sized, with ``image_ids`` and
``captions`` at hand, and a ``dataset()`` whose elements have the keys of ``data.schema``. What
cannot be used is skipped, counted and reported once; a field that the data lack is absent. Text is
raw: it is cleaned and tokenized later. A new source is a file and a row of ``SOURCES``.
"""

from keras_vlm.core.checks import check_choice
from keras_vlm.data.sources.base import BytesExamples as BytesExamples
from keras_vlm.data.sources.base import Examples as Examples
from keras_vlm.data.sources.base import FileExamples as FileExamples
from keras_vlm.data.sources.base import Splits as Splits
from keras_vlm.data.sources.coco import open_coco
from keras_vlm.data.sources.flickr8k import open_flickr8k
from keras_vlm.data.sources.folder import open_folder
from keras_vlm.data.sources.scenes import open_scenes
from keras_vlm.data.sources.tfds import open_tfds

SOURCES = {
    "scenes": open_scenes,
    "flickr8k": open_flickr8k,
    "coco": open_coco,
    "folder": open_folder,
    "tfds": open_tfds,
}


def load_data(name, *, language="en"):
    """Opens a data set by name.

    Args:
        name: ``scenes``, ``flickr8k:DIR``, ``coco:ANNOTATIONS.json:IMAGES_DIR``, ``folder:DIR`` or
            ``tfds:coco_captions``.
        language: language code of the captions, such as ``"en"`` or ``"zh"``.

    Returns:
        A ``Splits``: ``load_data(name)["train"]`` is the ``Examples`` of a split, opened then.

    Raises:
        DataError: the data are there and wrong; the message names the file and the line.
        FileNotFoundError: a file or folder is not there.
        ValueError: no source has this name.

    Example:
        >>> examples = load_data("scenes:20")["val"]
        >>> len(examples), examples.captions[0][0]
        (2, 'a large red triangle on the right')
    """
    if not isinstance(name, str):
        raise ValueError(f"load_data: name must be a text such as 'folder:DIR', got {name!r}.")
    prefix, _, argument = name.partition(":")
    check_choice("load_data", "name", prefix, SOURCES)
    return SOURCES[prefix](argument, language)
