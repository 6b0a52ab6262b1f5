"""MSVD, the Microsoft Video Description corpus: a file of sentences beside a folder of clips.

The source is ``msvd:CAPTIONS.txt:CLIPS_DIR``. A line of the file is a clip's name, a space and a
sentence (``-4wsuPCjDBc_5_15 a squirrel is eating a peanut``; lines that begin with # are skipped),
or it is the corpus's CSV with the columns VideoID, Start, End, Language and Description. A clip is
a video file of that name, VideoID_Start_End, with any suffix.

Splits are those that everybody uses: of the clips' names in order (by code point), the first 1,200
train, the next 100 val, the other 670 test; of fewer clips the same shares. Where the file
describes more than these 1,970, as the CSV does, those count whose video is there. In every
language a clip is in the same split.

Source:
    Chen and Dolan 2011, https://aclanthology.org/P11-1020; the splits of Venugopalan et al. 2015,
    https://arxiv.org/abs/1412.4729.
"""

import functools
import pathlib

from keras_vlm.core.checks import DataError
from keras_vlm.data.sources.base import Splits
from keras_vlm.data.sources.clips import VideoFileExamples, clip_finder
from keras_vlm.data.sources.reading import check_file, get_key, read_csv, read_lines

TRAIN, VALIDATION, ALL = 1200, 100, 1970
# The CSV names the languages in English.
LANGUAGES = {"English": "en", "Chinese": "zh", "German": "de", "French": "fr", "Spanish": "es"}


def open_msvd(argument, language):
    """Opens MSVD.

    Args:
        argument: ``"CAPTIONS.txt:CLIPS_DIR"``.
        language: language code of the captions.

    Returns:
        A ``Splits``.

    Raises:
        DataError: the file is wrong, or has no caption in the language.
        FileNotFoundError: the file or the folder is not there.
        ValueError: the argument has not two parts.
    """
    captions, _, clips = argument.rpartition(":")
    if not captions:
        raise ValueError(
            f"load_data: name must be msvd:CAPTIONS.txt:CLIPS_DIR, got 'msvd:{argument}'."
        )
    path = check_file(captions, "msvd: the captions")
    find = clip_finder(clips, "msvd: the clips")
    names, by_clip = set(), {}
    read = _read_table if path.suffix.lower() == ".csv" else _read_text
    for name, spoken, text in read(path):
        names.add(name)
        if spoken == language:
            by_clip.setdefault(name, []).append(text)
    if not by_clip:
        raise DataError(f"{path}: no caption is in the language {language!r}.")
    if len(names) > ALL:
        # The corpus describes more clips than those that are used: whose files are there.
        names = {name for name in names if pathlib.Path(find(name)).is_file()}
    names = sorted(names)
    first = round(len(names) * TRAIN / ALL)
    second = first + max(1, round(len(names) * VALIDATION / ALL))
    parts = {"train": names[:first], "val": names[first:second], "test": names[second:]}
    openers = {
        split: functools.partial(_open_split, split, language, told, by_clip, find)
        for split, part in parts.items()
        if (told := [name for name in part if name in by_clip])
    }
    return Splits("msvd", openers)


def _open_split(split, language, names, by_clip, find):
    records = ((name, find(name), by_clip[name]) for name in names)
    return VideoFileExamples.of_records("msvd", split, language, records)


def _read_text(path):
    """Yields (clip, language, sentence) of a text file, whose sentences are English.

    Raises:
        DataError: a line has no sentence.
    """
    for where, line in read_lines(path):
        if line.startswith("#"):
            continue
        name, _, text = line.strip().partition(" ")
        if not text:
            raise DataError(
                f"{where}: the line must be a clip's name, a space and a sentence, got {line!r}."
            )
        yield name, "en", text


def _read_table(path):
    """Yields (clip, language, sentence) of the corpus's CSV; other languages than ours by name."""
    for where, record in read_csv(path):
        name = "_".join(get_key(record, key, where) for key in ("VideoID", "Start", "End"))
        text, spoken = (get_key(record, key, where) for key in ("Description", "Language"))
        if text.strip():
            yield name, LANGUAGES.get(spoken, spoken), text
