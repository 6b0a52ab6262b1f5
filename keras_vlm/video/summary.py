"""Summaries: the shots of a video, what each shows, and which few tell the most of it.

The video is read once, from its beginning to its end. Of the shot that is running a few frames are
held, of those that are over a small JPEG, a vector and a sentence, so that memory hardly grows with
the video's length. Refuses to know files other than the video: ``storyboard.py`` writes them.

Dimension letters: H height, W width, E width of a frame's vector.
"""

import contextlib
import dataclasses
import sys

import keras
import numpy as np
import tensorflow as tf

from keras_vlm.core.checks import DataError, check_choice, check_number
from keras_vlm.video.digest import write_digest
from keras_vlm.video.frame_vectors import FrameVectors, GrowingRows
from keras_vlm.video.key_frames import choose_representatives
from keras_vlm.vision.shots import METHODS, ShotDetector, colour_histogram
from keras_vlm.vision.video import Video
from keras_vlm.zoo import load

PUBLISHED = "captioner-lite0-lstm-flickr8k"
# Frames a second at which a video is looked through; of a long one fewer, but one at least.
RATE, MOST_SAMPLES, LEAST_RATE = 8.0, 20_000, 1.0
FRAME_PIXELS = 320
# Frames of the running shot that are held; when there are more, every other one goes.
MOST_HELD = 16
MOST_KEY_FRAMES = 3
# What a further key frame must add to the mean cosine of a shot's frames with the nearest.
LEAST_GAIN = 0.05
# Shots show the same whose key frames are so near, both to the model and in their colours: to a
# model that knows little all frames are alike.
SAME, SAME_COLOURS = 0.95, METHODS["histogram"]
# Shots whose sentences are written at once.
BATCH = 32
# Scenes that are compared with each other when some are chosen; of more, the longest.
MOST_COMPARED = 2000
DEFAULT_SHOTS = 12
EXCERPT_SECONDS = 4.0


@dataclasses.dataclass(frozen=True)
class KeyFrame:
    """A frame that stands for a shot.

    Attributes:
        time_seconds: when it is shown.
        jpeg: the frame as bytes, small.
    """

    time_seconds: float
    jpeg: bytes


@dataclasses.dataclass(frozen=True)
class Shot:
    """A stretch of a video without a cut.

    Attributes:
        start_seconds: where it begins.
        end_seconds: where it ends.
        begins_with: ``"start"`` of the video, ``"cut"`` or ``"dissolve"``.
        scene: number, from 0, of what it shows: near-identical shots have the same.
        key_frames: tuple of ``KeyFrame``, the one that stands for most first.
        caption: a sentence.
    """

    start_seconds: float
    end_seconds: float
    begins_with: str
    scene: int
    key_frames: tuple
    caption: str

    @property
    def seconds(self):
        """How long it lasts."""
        return self.end_seconds - self.start_seconds


@dataclasses.dataclass(frozen=True)
class Chapter:
    """A part of the outline: from a chosen shot to the next one.

    Attributes:
        start_seconds: where it begins.
        end_seconds: where the next one begins.
        shot: the chosen ``Shot``.
        excerpt: ``(start, end)`` in seconds of what to show of it, around its key frame.
    """

    start_seconds: float
    end_seconds: float
    shot: Shot
    excerpt: tuple


@dataclasses.dataclass(frozen=True)
class Summary:
    """What ``summarize`` returns.

    Attributes:
        path: the video's.
        duration_seconds: how long it lasts.
        rate: frames a second at which it was looked through.
        shots: all of them, a list of ``Shot``.
        chapters: a list of ``Chapter``, within the budget, in the order of time.
        digest: a paragraph.
    """

    path: str
    duration_seconds: float
    rate: float
    shots: list
    chapters: list
    digest: str


def summarize(
    path,
    captioner=None,
    *,
    shots=None,
    seconds=None,
    rate=None,
    method="histogram",
    beam_size=3,
    verbose=1,
):
    """Summarises a video.

    Args:
        path: the file.
        captioner: a ``Captioner``, a ``VideoCaptioner``, which looks at several frames of each
            shot, a served one, or None for a published one of photos.
        shots: most chapters of the outline; 12 where no budget is given.
        seconds: most seconds of all excerpts together, in place of ``shots``.
        rate: frames a second to look at, or None for 8, of videos of more than 40 minutes fewer,
            down to 1. Cuts are found to the nearest of them.
        method: how shots are told apart, ``"histogram"`` or ``"features"``, which asks the
            captioner's encoder about every frame.
        beam_size: width of the beam search for captions.
        verbose: 1 for a progress bar, 0 for none.

    Returns:
        A ``Summary``; the same one each time.

    Raises:
        FileNotFoundError: there is no such file.
        DataError: it cannot be read as a video.
        ValueError: an option is unknown or out of range, two budgets are given, or the captioner
            looks at boxes or masks.
    """
    where = "summarize"
    check_choice(where, "method", method, METHODS)
    if shots is not None:
        check_number(where, "shots", shots, minimum=1, integer=True)
    for name, value in (("seconds", seconds), ("rate", rate)):
        if value is not None:
            check_number(where, name, value, minimum=1e-3)
    if shots is not None and seconds is not None:
        raise ValueError(
            f"{where}: shots must be None where seconds are given, got {shots!r} and {seconds!r}."
        )
    captioner = captioner or load(PUBLISHED)
    if getattr(captioner, "region_shapes", None):
        raise ValueError(
            f"{where}: captioner must look at whole pictures, got one that asks for "
            f"{', '.join(captioner.region_shapes)} of each."
        )
    with Video(path) as video:
        duration = video.duration_seconds
        rate = rate or max(LEAST_RATE, min(RATE, MOST_SAMPLES / max(duration, 1e-3)))
        found, end = _find_shots(video, rate, method, _Teller(captioner, beam_size), verbose)
    # A budget of less than one excerpt shortens it.
    excerpt = min(EXCERPT_SECONDS, seconds or EXCERPT_SECONDS)
    chosen = _choose(found.told, found.vectors, shots, seconds, excerpt)
    chapters = _make_chapters([found.told[place] for place in chosen], end, excerpt)
    language = getattr(getattr(captioner, "tokenizer", None), "language", None)
    language = language or getattr(captioner, "about", {}).get("language", "en")
    digest = write_digest(chapters, len(found.told), end, language)
    return Summary(str(path), end, rate, found.told, chapters, digest)


class _Teller:
    """Turns shots that are over into what is kept of them, many at once."""

    def __init__(self, captioner, beam_size):
        self.vectors_of = FrameVectors(captioner)
        self.told = []
        self._scenes, self._colours = GrowingRows(), GrowingRows()
        self._captioner = captioner
        self._beam_size = beam_size
        self._waiting = []

    @property
    def vectors(self):
        """[shots,E] float32: those of the shots' scenes."""
        return self._scenes.array[[shot.scene for shot in self.told]]

    def add(self, start, end, kind, frames):
        """Adds a shot by its frames, a list of ``Frame``; dissolving ones at its ends are left."""
        inner = frames[1:-1] if len(frames) > 3 else frames
        vectors = self.vectors_of([frame.pixels for frame in inner])
        places = choose_representatives(vectors, MOST_KEY_FRAMES, least_gain=LEAST_GAIN)
        key_frames = tuple(_keep(inner[place]) for place in places)
        scene = self._find_scene(vectors[places[0]], colour_histogram(inner[places[0]].pixels))
        shot = Shot(start, end, kind, scene, key_frames, "")
        if hasattr(self._captioner, "num_frames"):
            spread = np.linspace(0, len(inner) - 1, self._captioner.num_frames).round().astype(int)
            looked_at = np.stack([inner[place].pixels for place in spread])
        else:
            looked_at = inner[places[0]].pixels
        self._waiting.append((shot, looked_at))
        if len(self._waiting) == BATCH:
            self.flush()

    def flush(self):
        """Writes the sentences of the shots that wait for theirs."""
        if not self._waiting:
            return
        captions = self._captioner.caption(
            [looked_at for _, looked_at in self._waiting],
            beam_size=self._beam_size,
            batch_size=BATCH,
        )
        for (shot, _), caption in zip(self._waiting, captions, strict=True):
            self.told.append(dataclasses.replace(shot, caption=caption))
        self._waiting = []

    def _find_scene(self, vector, colours):
        """Returns the number of the scene that a shot shows: a known one, or a new one."""
        if len(self._scenes):
            likeness = self._scenes.array @ vector
            apart = 0.5 * np.abs(self._colours.array - colours).sum(axis=1)
            likeness[apart >= SAME_COLOURS] = -1.0
            nearest = int(np.argmax(likeness))
            if likeness[nearest] >= SAME:
                return nearest
        self._colours.append(colours)
        return self._scenes.append(vector)


def _find_shots(video, rate, method, teller, verbose):
    """Reads a video through; returns the teller, which knows all shots, and the end in seconds.

    Raises:
        DataError: no frame can be decoded.
    """
    detector = ShotDetector(rate, method=method)
    held = _Held(detector.delay)
    start, kind, end = 0.0, "start", None
    length = max(1, int(video.duration_seconds))
    progress = keras.utils.Progbar(length, unit_name="second") if verbose else None

    def show(seconds):
        if progress:
            # Standard output is for results.
            with contextlib.redirect_stdout(sys.stderr):
                progress.update(seconds)

    def close(boundaries):
        nonlocal start, kind
        for boundary in boundaries:
            teller.add(start, boundary.time_seconds, kind, held.take(boundary.time_seconds))
            start, kind = boundary.time_seconds, boundary.kind

    for frame in video.sampled(rate, longest_side=FRAME_PIXELS):
        vector = teller.vectors_of([frame.pixels])[0] if method == "features" else None
        held.add(frame)
        end = min(frame.time_seconds + 0.5 / rate, video.duration_seconds)
        close(detector.add(frame.time_seconds, frame.pixels, vector))
        show(min(length - 1, int(end)))
    if end is None:
        raise DataError(f"{video.path}: no frame can be decoded. Was it copied in full?")
    close(detector.finish())
    teller.add(start, end, kind, held.take(np.inf))
    teller.flush()
    show(length)
    return teller, end


class _Held:
    """Frames of the running shot: all of the newest, which may be the next shot's, fewer before."""

    def __init__(self, newest):
        self._newest = newest
        self._older, self._recent = [], []
        self._stride, self._count = 1, 0

    def add(self, frame):
        """Takes one more; drops every other older one when they are too many."""
        self._recent.append(frame)
        if len(self._recent) <= self._newest:
            return
        oldest = self._recent.pop(0)
        if self._count % self._stride == 0:
            self._older.append(oldest)
        self._count += 1
        if len(self._older) > MOST_HELD:
            self._older = self._older[::2]
            self._stride *= 2

    def take(self, time):
        """Gives up the frames before a time, which are the shot's."""
        frames = [*self._older, *self._recent]
        over = [frame for frame in frames if frame.time_seconds < time]
        self._older, self._recent = [], frames[len(over) :]
        self._stride, self._count = 1, 0
        return over


def _keep(frame):
    """Returns what is kept of a key frame."""
    jpeg = tf.io.encode_jpeg(frame.pixels, quality=85).numpy()
    return KeyFrame(round(frame.time_seconds, 3), jpeg)


def _choose(shots, vectors, most, seconds, excerpt):
    """Returns the places of the shots that tell the most, in the order of time.

    Their excerpts, of ``excerpt`` seconds at most each, last no longer than ``seconds`` together.
    """
    # Of near-identical ones the longest, which stands for all of their time.
    by_scene = {}
    for place, shot in enumerate(shots):
        by_scene.setdefault(shot.scene, []).append(place)
    longest = {
        scene: max(places, key=lambda place: shots[place].seconds)
        for scene, places in by_scene.items()
    }
    time = {
        scene: sum(shots[place].seconds for place in places) for scene, places in by_scene.items()
    }
    scenes = sorted(longest, key=lambda scene: -time[scene])[:MOST_COMPARED]
    places = [longest[scene] for scene in scenes]
    most = most or (len(places) if seconds is not None else DEFAULT_SHOTS)
    order = choose_representatives(vectors[places], most, weights=[time[s] for s in scenes])
    chosen, spent = [], 0.0
    for place in (places[i] for i in order):
        length = min(excerpt, shots[place].seconds)
        if seconds is None or spent + length <= seconds + 1e-9:
            chosen.append(place)
            spent += length
    return sorted(chosen)


def _make_chapters(chosen, end, excerpt):
    """Returns a chapter a chosen shot: they follow each other without a gap."""
    starts = [0.0, *(shot.start_seconds for shot in chosen[1:])]
    ends = [*starts[1:], end]
    chapters = []
    for shot, start, stop in zip(chosen, starts, ends, strict=True):
        length = min(excerpt, shot.seconds)
        middle = shot.key_frames[0].time_seconds
        first = min(max(shot.start_seconds, middle - length / 2), shot.end_seconds - length)
        chapters.append(Chapter(start, stop, shot, (first, first + length)))
    return chapters
