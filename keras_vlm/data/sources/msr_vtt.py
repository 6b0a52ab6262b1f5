"""MSR-VTT: a JSON file of ``videos`` and ``sentences`` beside a folder of clips.

The source is ``msr_vtt:ANNOTATIONS.json:CLIPS_DIR``, such as ``videodatainfo_2017.json``. A video
has ``video_id`` and ``split`` (``train``, ``validate``, which is ``val`` here, or ``test``); a
sentence has ``video_id`` and ``caption``. A clip is a video file named by its ``video_id``, with
any suffix.

Source:
    Xu et al. 2016, "MSR-VTT: A Large Video Description Dataset for Bridging Video and Language".
"""

import functools
import re

from keras_vlm.core.checks import DataError
from keras_vlm.data.sources.base import Splits
from keras_vlm.data.sources.clips import VideoFileExamples, clip_finder
from keras_vlm.data.sources.reading import check_file, get_key, read_json

SPLITS = {"validate": "val"}


def open_msr_vtt(argument, language):
    """Opens MSR-VTT.

    Args:
        argument: ``"ANNOTATIONS.json:CLIPS_DIR"``.
        language: language code of the captions.

    Returns:
        A ``Splits``.

    Raises:
        DataError: the file is wrong.
        FileNotFoundError: the file or the folder is not there.
        ValueError: the argument has not two parts.
    """
    # At ".json:", so that neither path is cut at the colon of a drive letter.
    match = re.fullmatch(r"(.+?\.json):(.+)", argument, flags=re.IGNORECASE)
    if not match:
        raise ValueError(
            f"load_data: name must be msr_vtt:ANNOTATIONS.json:CLIPS_DIR, got 'msr_vtt:{argument}'."
        )
    path = check_file(match[1], "msr_vtt: the annotations")
    find = clip_finder(match[2], "msr_vtt: the clips")
    content = read_json(path)
    by_split, captions = {}, {}
    for place, video in enumerate(get_key(content, "videos", path, list)):
        where = f"{path}: videos[{place}]"
        name, split = (get_key(video, key, where, str) for key in ("video_id", "split"))
        by_split.setdefault(SPLITS.get(split, split), []).append(name)
        captions[name] = []
    for place, sentence in enumerate(get_key(content, "sentences", path, list)):
        where = f"{path}: sentences[{place}]"
        name = get_key(sentence, "video_id", where, str)
        if name not in captions:
            raise DataError(f"{where}: video_id must be among the videos, got {name!r}.")
        captions[name].append(get_key(sentence, "caption", where, str))
    if not captions:
        raise DataError(f"{path}: videos is empty.")
    openers = {
        split: functools.partial(_open_split, split, language, names, captions, find)
        for split, names in by_split.items()
    }
    return Splits("msr_vtt", openers)


def _open_split(split, language, names, captions, find):
    records = ((name, find(name), captions[name]) for name in names)
    return VideoFileExamples.of_records("msr_vtt", split, language, records)
