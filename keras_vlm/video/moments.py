"""Moments of a video found by a sentence: its frames in an index, neighbours joined to stretches.

A frame's key is a media fragment, ``clip.mp4#t=12.50``, which browsers and players open at that
time. Refuses to know how vectors are stored and compared.

Source:
    W3C, "Media Fragments URI 1.0", https://www.w3.org/TR/media-frags.
"""

import dataclasses
import itertools
import json
import logging
import math
import pathlib

import keras
import numpy as np

from keras_vlm.core.checks import DataError, check_number
from keras_vlm.core.files import replace_file
from keras_vlm.search.pictures import Indexed, add_pictures, embed_sentence, open_or_create
from keras_vlm.vision.clip import encode_frame
from keras_vlm.vision.video import Video

LOGGER = logging.getLogger("keras_vlm")
RATE = 1.0
# More frames a second would have one key.
MOST_RATE = 50.0
FRAME_PIXELS = 320
# A neighbour belongs to a moment if it fits nearly as well, as a share of the best frame's cosine.
ALIKE = 0.8
# Of which files an index holds the frames: a file of the same name may be another one by now.
STAMPS = "videos.json"


@dataclasses.dataclass(frozen=True)
class Moment:
    """A stretch of a video that fits a sentence.

    Attributes:
        path: the video's.
        start_seconds: where it begins.
        end_seconds: where it ends.
        time_seconds: the frame that fits best.
        score: its cosine with the sentence.
    """

    path: str
    start_seconds: float
    end_seconds: float
    time_seconds: float
    score: float


def index_videos(model, paths, path, *, rate=RATE, model_name="", kind="flat", verbose=1):
    """Puts the frames of videos into an index, or those that a first attempt has not reached.

    A video that cannot be read is told and left out. Of one whose file has changed, or that was
    looked at with another rate, the frames are put in anew.

    Args:
        model: a ``Retriever``.
        paths: list of video files.
        path: folder of the index; one that is there is added to.
        rate: frames a second.
        model_name: as for ``index_pictures``.
        kind: as for ``index_pictures``.
        verbose: 1 for a progress bar, 0 for none.

    Returns:
        An ``Indexed``, which counts frames; ``unreadable`` names videos.

    Raises:
        FileNotFoundError: there is no such video.
        DataError: no file can be read as a video.
        ValueError: the index is another model's, or an option is out of range.
    """
    check_number("index_videos", "rate", rate, minimum=1e-3, maximum=MOST_RATE)
    videos = list(dict.fromkeys(pathlib.Path(each).resolve() for each in paths))
    for video in videos:
        if not video.is_file():
            raise FileNotFoundError(f"{video}: no such video. Check the path.")
    added, unreadable, error = 0, {}, None
    with open_or_create(model, path, model_name=model_name, kind=kind) as index:
        stamps = _read_stamps(index)
        changed = [v for v in videos if stamps.get(str(v), _stamp(v, rate)) != _stamp(v, rate)]
        changed = set(map(str, changed))
        index.remove([key for key in index if key.rpartition("#t=")[0] in changed])
        with replace_file(index.path / STAMPS) as temporary:
            # In ASCII, for a file's name need not be UTF-8.
            noted = stamps | {str(v): _stamp(v, rate) for v in videos}
            temporary.write_text(json.dumps(noted), encoding="ascii")
        known, last, wanted = 0, {}, set(map(str, videos))
        for key in index:
            name, _, time = key.rpartition("#t=")
            if name in wanted:
                known += 1
                last[name] = max(last.get(name, 0.0), float(time))
        for video in videos:
            try:
                added += _add_frames(model, index, video, rate, last.get(str(video)), verbose)
            except DataError as failure:
                LOGGER.warning("%s", failure)
                unreadable[str(video)] = error = failure
    if len(unreadable) == len(videos) and error is not None:
        raise error
    return Indexed(added, known, 0, list(unreadable))


def search_moments(index, model, text, *, k=5, rate=RATE, paths=None):
    """Finds moments by a sentence: frames that fit, with those neighbours that fit nearly as well.

    Args:
        index: a ``VectorIndex`` that ``index_videos`` made; all of its frames are compared.
        model: the ``Retriever`` that made it.
        text: a sentence.
        k: moments to find.
        rate: the rate of the index: frames no farther apart than two of them are one moment.
        paths: the videos to look in, or None for all.

    Returns:
        A list of ``Moment``, best first; frames that fit no better than one beside them begin none.

    Raises:
        ValueError: the sentence has no word that the model knows, or ``k`` is out of range.
    """
    check_number("search_moments", "k", k, minimum=1, integer=True)
    query = embed_sentence("search_moments", model, text)[0]
    wanted = None if paths is None else {str(pathlib.Path(path).resolve()) for path in paths}
    frames = {}
    for keys, scores in index.compare(query):
        for key, score in zip(keys, scores.tolist(), strict=True):
            path, mark, time = key.rpartition("#t=")
            # An index may hold pictures too.
            if mark and (wanted is None or path in wanted):
                frames.setdefault(path, []).append((float(time), score))
    found = []
    for path, rows in frames.items():
        times, scores = np.array(sorted(rows)).T
        found += _find_moments(path, times, scores, k, rate)
    return sorted(found, key=lambda moment: -moment.score)[:k]


def _find_moments(path, times, scores, k, rate):
    """Returns the best moments of one video, at most ``k``.

    Args:
        path: the video's.
        times: float array of n rising seconds.
        scores: float array [n].
        k: moments to find.
        rate: frames a second.
    """
    # Whether a frame and the next one are neighbours.
    near = np.diff(times, prepend=-math.inf, append=math.inf) <= 2.0 / rate + 1e-6
    taken, moments = np.zeros(len(times), bool), []
    for place in np.argsort(-scores, kind="stable"):
        if len(moments) == k:
            break
        beside = [place + step for step in (-1, 1) if near[place + (step > 0)]]
        if taken[place] or any(scores[other] > scores[place] for other in beside):
            continue
        ends, least = [], scores[place] - (1 - ALIKE) * abs(scores[place])
        for step in (-1, 1):
            end = place
            while near[end + (step > 0)] and not taken[end + step]:
                if scores[end + step] < least:
                    break
                end += step
            ends.append(end)
        first, final = ends
        taken[first : final + 1] = True
        start, end = max(0.0, float(times[first]) - 0.5 / rate), float(times[final]) + 0.5 / rate
        moments.append(Moment(path, start, end, float(times[place]), float(scores[place])))
    return moments


def _add_frames(model, index, path, rate, last, verbose):
    """Adds a video's frames after a time, or all where that is None; returns how many.

    Raises:
        DataError: it cannot be read as a video.
    """
    with Video(path) as video:
        times = (
            time for time in video.sample_times(rate) if last is None or round(time, 2) > last
        )
        first = next(times, None)
        # Whose last frame is known is not decoded again: that may be a whole film.
        if first is None:
            return 0
        frames = video.frames(itertools.chain([first], times), longest_side=FRAME_PIXELS)
        pictures = (
            (f"{path}#t={frame.time_seconds:.2f}", encode_frame(frame.pixels)) for frame in frames
        )
        total = max(1, round((video.duration_seconds - first) * rate))
        progress = keras.utils.Progbar(total, unit_name="frame") if verbose else None
        return add_pictures(model, index, pictures, progress=progress)[0]


def _read_stamps(index):
    """Returns the stamps of the videos of an index by their paths."""
    path = index.path / STAMPS
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _stamp(path, rate):
    """Returns what tells a file from another one of its name, and how it was looked at."""
    about = path.stat()
    return [about.st_size, about.st_mtime_ns, rate]
