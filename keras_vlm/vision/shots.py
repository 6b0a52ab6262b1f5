"""Where one shot of a video ends and the next begins: hard cuts and dissolves, frame by frame.

Two ways to tell how far two frames differ: by their colour histograms, or by features, vectors of
any picture model. A hard cut is a step of that distance that stands out among its neighbours and
leads to something new, not to a flash. A dissolve leads to something new gradually, and is known by
what it is: its frames are mixtures of the ones before and after, so that small pictures of them lie
on the straight line between those two. A shape that moves, or a camera, leaves that line.
A window of frames is kept, however long the video. Refuses to know models.

Dimension letters: H height, W width, C width of a feature vector.
"""

import collections
import dataclasses

import numpy as np

from keras_vlm.core.checks import check_choice, check_number
from keras_vlm.vision.video import Video

# Distance from which two frames show something else; both kinds of distance are from 0 to 1.
METHODS = {"histogram": 0.30, "features": 0.25}
# And something else is another picture: so large a share of it must change by so much (of 1). What
# appears in a picture, or turns, is seen by features as if all were new.
CHANGED_SHARE, CHANGED = 0.5, 0.06
BINS = 6
THUMBNAIL = 16
# A step is a cut if it is so many times the mean of its neighbours.
STANDS_OUT = 2.5
# After a flash, things are as before: nearer than this share of the step.
FLASH = 0.6
# Windows in which a dissolve is looked for, in seconds; it may last as long.
WINDOWS_SECONDS = (0.8, 1.6, 3.2)
LEAST_WINDOW = 4
# A dissolve's frames are so near the line between its ends, as a share of its length, and run
# along it in so even steps.
LARGEST_RESIDUAL, LARGEST_STEP, LONGEST_WAY, LARGEST_EDGE = 0.30, 0.5, 1.4, 0.6
LEAST_SHOT_SECONDS = 0.4
# Frames of a file are made as small as a summary's.
LOOK_PIXELS = 320


@dataclasses.dataclass(frozen=True)
class Boundary:
    """Where a shot begins.

    Attributes:
        time_seconds: when.
        kind: ``"cut"`` or ``"dissolve"``, of which it is the middle.
    """

    time_seconds: float
    kind: str


@dataclasses.dataclass(frozen=True)
class _Sample:
    time: float
    signature: np.ndarray
    thumbnail: np.ndarray


class ShotDetector:
    """Finds boundaries in frames that are shown to it one by one.

    Args:
        rate: frames a second that it is shown.
        method: ``"histogram"`` or ``"features"``.

    Raises:
        ValueError: an argument is unknown or out of range.

    Source:
        Yeo and Liu 1995, "Rapid scene analysis on compressed video", for steps that stand out;
        dissolves as linear mixtures: Fernando et al. 1999, "Fade and dissolve detection in
        uncompressed and compressed video sequences". Thresholds are our own.
    """

    def __init__(self, rate, *, method="histogram"):
        where = "ShotDetector"
        check_number(where, "rate", rate, minimum=1e-6)
        self.method = check_choice(where, "method", method, METHODS)
        self._halves = sorted(
            {max(LEAST_WINDOW, round(seconds * rate)) // 2 for seconds in WINDOWS_SECONDS}
        )
        # A half more: neighbours of the first and last step count too.
        self._reach = self._halves[-1] + 1
        self._least = max(LEAST_SHOT_SECONDS, 1.5 / rate)
        self._samples = collections.deque(maxlen=2 * self._reach + 1)
        self._seen = 0
        self._last = None

    @property
    def delay(self):
        """Frames after a boundary that are needed to know of it."""
        return self._reach + 1

    def add(self, time, pixels, vector=None):
        """Shows the next frame.

        Args:
            time: its seconds.
            pixels: uint8 [H,W,3].
            vector: float [C], its features, where the method is ``"features"``.

        Returns:
            List of ``Boundary``, one or none, that is now known; it lies a little in the past.

        Raises:
            ValueError: the method needs a vector and there is none.
        """
        if self.method == "features":
            if vector is None:
                raise ValueError("ShotDetector.add: vector must be given with the method features.")
            signature = np.asarray(vector, np.float32)
            signature = signature / max(float(np.linalg.norm(signature)), 1e-12)
        else:
            signature = colour_histogram(pixels)
        self._samples.append(_Sample(time, signature, shrink(pixels)))
        self._seen += 1
        if self._last is None:
            self._last = time
        return self._decide(self._seen - 1 - self._reach)

    def finish(self):
        """Returns the list of the last ``Boundary``, where the video has ended."""
        found = []
        for place in range(max(0, self._seen - self._reach), self._seen):
            found += self._decide(place)
        return found

    def _decide(self, place):
        """Returns the boundary before the frame at a place, in a list; empty if there is none."""
        center = place - (self._seen - len(self._samples))
        if place < 1 or center < 1:
            return []
        samples = list(self._samples)
        time = (samples[center - 1].time + samples[center].time) / 2
        end = samples[-1].time
        if time - self._last < self._least or end - time < self._least / 2:
            return []
        steps = [self._distance(samples[i - 1], samples[i]) for i in range(1, len(samples))]
        if self._is_cut(samples, steps, center):
            kind = "cut"
        elif any(self._is_dissolve(samples, center, half) for half in self._halves):
            kind = "dissolve"
        else:
            return []
        self._last = time
        return [Boundary(time, kind)]

    def _is_cut(self, samples, steps, center):
        """Whether the step before ``center`` stands out and leads to something new."""
        step = steps[center - 1]
        if step < METHODS[self.method] or not _is_new(samples[center - 1], samples[center]):
            return False
        reach = max(2, self._halves[0])
        around = steps[max(0, center - 1 - reach) : center - 1] + steps[center : center + reach]
        if around and step < STANDS_OUT * float(np.mean(around)):
            return False
        after = samples[min(center + 1, len(samples) - 1)]
        before = samples[max(center - 2, 0)]
        new = min(
            self._distance(samples[center - 1], after), self._distance(before, samples[center])
        )
        return new >= FLASH * step

    def _is_dissolve(self, samples, center, half):
        """Whether the frames around ``center`` pass evenly from one thing to another."""
        first, last = center - half, center + half - 1
        if first < 0 or last >= len(samples):
            return False
        if self._distance(samples[first], samples[last]) < METHODS[self.method]:
            return False
        if not _is_new(samples[first], samples[last]):
            return False
        frames = np.stack([sample.thumbnail for sample in samples[first : last + 1]])
        line = frames[-1] - frames[0]
        length = float(line @ line)
        if length < 1e-6:
            return False
        shares = (frames - frames[0]) @ line / length
        off = frames - frames[0] - shares[:, None] * line
        # The frame farthest off the line counts: a mixture has none.
        residual = float(np.sqrt((off**2).sum(axis=1).max() / length))
        steps = np.diff(shares)
        crosses = shares[half - 1] < 0.5 <= shares[half]
        # The window holds all of it: at both ends it has not begun, or is over.
        whole = max(steps[0], steps[-1]) <= LARGEST_EDGE * steps.max()
        return bool(
            crosses
            and whole
            and residual <= LARGEST_RESIDUAL
            and steps.max() <= LARGEST_STEP
            and np.abs(steps).sum() <= LONGEST_WAY
        )

    def _distance(self, one, other):
        if self.method == "features":
            return float(1 - one.signature @ other.signature)
        return 0.5 * float(np.abs(one.signature - other.signature).sum())


def _is_new(one, other):
    """Whether most of a picture is another one."""
    change = np.abs(one.thumbnail - other.thumbnail).reshape(-1, 3).max(axis=1)
    return float((change > CHANGED).mean()) >= CHANGED_SHARE


def find_shots(path, *, rate=8.0, method="histogram", vector_of=None):
    """Finds the shots of a video, for example to read a clip of each with ``read_clip``.

    Args:
        path: the file.
        rate: frames a second to look at; cuts are found to the nearest of them.
        method: ``"histogram"`` or ``"features"``.
        vector_of: for ``"features"``, a function of uint8 [H,W,3] -> float [C].

    Returns:
        A list of ``(start, end, kind)``: seconds, and ``"start"``, ``"cut"`` or ``"dissolve"``, by
        which the shot begins. They follow each other without a gap.

    Raises:
        FileNotFoundError: there is no such file.
        DataError: it cannot be read as a video.
        ValueError: an option is unknown or out of range, or ``vector_of`` is missing.
    """
    detector = ShotDetector(rate, method=method)
    boundaries, end = [Boundary(0.0, "start")], 0.0
    with Video(path) as video:
        for frame in video.sampled(rate, longest_side=LOOK_PIXELS):
            vector = vector_of(frame.pixels) if vector_of else None
            boundaries += detector.add(frame.time_seconds, frame.pixels, vector)
            end = min(frame.time_seconds + 0.5 / rate, video.duration_seconds)
    boundaries += detector.finish()
    ends = [boundary.time_seconds for boundary in boundaries[1:]] + [end]
    return [(b.time_seconds, end, b.kind) for b, end in zip(boundaries, ends, strict=True)]


def colour_histogram(pixels):
    """Returns the shares of 216 colours among the pixels of a frame.

    Args:
        pixels: uint8 [H,W,3].

    Returns:
        float32 [216], of sum 1.
    """
    stride = max(1, min(pixels.shape[:2]) // 48)
    levels = (pixels[::stride, ::stride].reshape(-1, 3).astype(np.uint16) * BINS) >> 8
    colours = (levels[:, 0] * BINS + levels[:, 1]) * BINS + levels[:, 2]
    counts = np.bincount(colours, minlength=BINS**3)
    return (counts / len(colours)).astype(np.float32)


def shrink(pixels):
    """Returns a small picture of a frame as a vector, float32 [16*16*3] in 0..1."""
    height, width = pixels.shape[:2]
    rows = np.linspace(0, height, THUMBNAIL + 1).astype(int)[:-1]
    columns = np.linspace(0, width, THUMBNAIL + 1).astype(int)[:-1]
    # Sums of blocks; frames of fewer than 16 pixels repeat some.
    sums = np.add.reduceat(pixels.astype(np.float32), rows, axis=0)
    sums = np.add.reduceat(sums, columns, axis=1)
    sizes = np.diff(np.append(rows, height))[:, None] * np.diff(np.append(columns, width))
    return (sums / np.maximum(sizes, 1)[:, :, None] / 255.0).reshape(-1)
