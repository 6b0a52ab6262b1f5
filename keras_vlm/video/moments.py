"""Moments of a video found by a sentence: its frames in an index, neighbours joined to stretches.

A frame's key is a media fragment, ``clip.mp4#t=12.50``, which browsers and players open at that
time. Refuses to know how vectors are stored and compared.

Source:
    W3C, "Media Fragments URI 1.0", https://www.w3.org/TR/media-frags.
"""

import dataclasses
import pathlib

import tensorflow as tf

from keras_vlm.core.checks import check_number
from keras_vlm.search.pictures import index_pictures, search_pictures
from keras_vlm.vision.clip import encode_frame
from keras_vlm.vision.video import Video

RATE = 1.0
FRAME_PIXELS = 320
# Frames that are found for each moment that is wanted, for neighbours become one.
FRAMES_A_MOMENT = 10
# A neighbour belongs to a moment if it fits nearly as well, as a share of the best frame's cosine.
ALIKE = 0.8


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


class VideoFrames:
    """The frames of videos at a rate, as ``index_pictures`` takes pictures: read as they are used.

    Args:
        paths: the videos.
        rate: frames a second.
    """

    def __init__(self, paths, rate):
        self.image_ids, self._times, self._rate = [], [], rate
        for path in paths:
            path = pathlib.Path(path).resolve()
            with Video(path) as video:
                times = list(video.sample_times(rate))
            self._times.append((path, times))
            self.image_ids += [f"{path}#t={time:.2f}" for time in times]

    def __len__(self):
        return len(self.image_ids)

    def dataset(self):
        """Returns a ``tf.data.Dataset`` of dicts with ``image_id`` and ``image_bytes``."""
        signature = {name: tf.TensorSpec([], tf.string) for name in ("image_id", "image_bytes")}
        return tf.data.Dataset.from_generator(self._read, output_signature=signature)

    def _read(self):
        for path, times in self._times:
            with Video(path) as video:
                for frame in video.frames(times, longest_side=FRAME_PIXELS):
                    name = f"{path}#t={frame.time_seconds:.2f}"
                    yield {"image_id": name, "image_bytes": encode_frame(frame.pixels)}


def index_videos(model, paths, path, *, rate=RATE, model_name="", kind="flat", verbose=1):
    """Puts the frames of videos into an index, or those that a first attempt has not reached.

    Args:
        model: a ``Retriever``.
        paths: list of video files.
        path: folder of the index; one that is there is added to.
        rate: frames a second.
        model_name: as for ``index_pictures``.
        kind: as for ``index_pictures``.
        verbose: 1 for a progress bar, 0 for none.

    Returns:
        An ``Indexed``.

    Raises:
        FileNotFoundError: there is no such video.
        DataError: a file cannot be read as a video.
        ValueError: the index is another model's, or an option is out of range.
    """
    check_number("index_videos", "rate", rate, minimum=1e-3)
    frames = VideoFrames(paths, rate)
    return index_pictures(
        model, frames, path, model_name=model_name, kind=kind, verbose=verbose
    )


def search_moments(index, model, text, *, k=5, rate=RATE):
    """Finds moments by a sentence: frames that fit, with those neighbours that fit nearly as well.

    Args:
        index: a ``VectorIndex`` that ``index_videos`` made.
        model: the ``Retriever`` that made it.
        text: a sentence.
        k: moments to find.
        rate: the rate of the index: frames no farther apart than two of them are one moment.

    Returns:
        A list of ``Moment``, best first.

    Raises:
        ValueError: the sentence has no word that the model knows, or ``k`` is out of range.
    """
    check_number("search_moments", "k", k, minimum=1, integer=True)
    found = search_pictures(index, model, text=text, k=min(len(index), FRAMES_A_MOMENT * k))
    moments = []
    for key, score in found:
        path, _, time = key.rpartition("#t=")
        time = float(time)
        start, end = max(0.0, time - 0.5 / rate), time + 0.5 / rate
        moments = _with(moments, Moment(path, start, end, time, score), rate)
    return moments[:k]


def _with(moments, new, rate):
    """Returns the moments, best first, and one more, joined where they are one."""
    for place, moment in enumerate(moments):
        gap = max(new.start_seconds - moment.end_seconds, moment.start_seconds - new.end_seconds)
        if moment.path == new.path and gap <= 1.0 / rate and new.score >= ALIKE * moment.score:
            joined = dataclasses.replace(
                moment,
                start_seconds=min(moment.start_seconds, new.start_seconds),
                end_seconds=max(moment.end_seconds, new.end_seconds),
            )
            kept = [*moments[:place], joined]
            # Now it may reach those after it.
            for other in moments[place + 1 :]:
                kept = _with(kept, other, rate)
            return kept
    return [*moments, new]
