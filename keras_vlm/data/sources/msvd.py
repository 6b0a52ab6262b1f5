"""MSVD, the Microsoft Video Description corpus: a file of sentences beside a folder of clips.

The source is ``msvd:CAPTIONS.txt:CLIPS_DIR``. A line of the file is a clip's name, a space and a
sentence (``-4wsuPCjDBc_5_15 a squirrel is eating a peanut``; lines that begin with # are skipped),
or it is the corpus's CSV with the columns VideoID, Start, End, Language and Description. A clip is
a video file of that name, VideoID_Start_End, with any suffix.

Splits are those that everybody uses: by the file's order of clips, the first 1,200 train, the next
100 val, the other 670 test; of a file of fewer clips, the same shares.

Source:
    Chen and Dolan 2011, https://aclanthology.org/P11-1020; the splits of Venugopalan et al. 2015,
    https://arxiv.org/abs/1412.4729.
"""

import functools

from keras_vlm.core.checks import DataError
from keras_vlm.data.sources.base import Splits
from keras_vlm.data.sources.clips import VideoFileExamples, clip_finder
from keras_vlm.data.sources.reading import check_file, get_key, read_csv, read_lines

TRAIN, VALIDATION, ALL = 1200, 100, 1970
# The CSV names the languages in English.
LANGUAGES = {"en": "English", "zh": "Chinese", "de": "German", "fr": "French", "es": "Spanish"}


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
    by_clip = {}
    read = _read_table if path.suffix.lower() == ".csv" else _read_text
    for name, text in read(path, language):
        by_clip.setdefault(name, []).append(text)
    if not by_clip:
        raise DataError(f"{path}: no caption is in the language {language!r}.")
    names = list(by_clip)
    first = round(len(names) * TRAIN / ALL)
    second = first + max(1, round(len(names) * VALIDATION / ALL))
    parts = {"train": names[:first], "val": names[first:second], "test": names[second:]}
    openers = {
        split: functools.partial(_open_split, split, language, part, by_clip, find)
        for split, part in parts.items()
        if part
    }
    return Splits("msvd", openers)


def _open_split(split, language, names, by_clip, find):
    records = ((name, find(name), by_clip[name]) for name in names)
    return VideoFileExamples.of_records("msvd", split, language, records)


def _read_text(path, language):
    """Yields (clip, sentence) of a text file, whose sentences are English.

    Raises:
        DataError: a line has no sentence.
    """
    for where, line in read_lines(path) if language == "en" else ():
        if line.startswith("#"):
            continue
        name, _, text = line.strip().partition(" ")
        if not text:
            raise DataError(
                f"{where}: the line must be a clip's name, a space and a sentence, got {line!r}."
            )
        yield name, text


def _read_table(path, language):
    """Yields (clip, sentence) of the corpus's CSV in a language."""
    for where, record in read_csv(path):
        if get_key(record, "Language", where) == LANGUAGES.get(language):
            name = "_".join(get_key(record, key, where) for key in ("VideoID", "Start", "End"))
            text = get_key(record, "Description", where)
            if text.strip():
                yield name, text
