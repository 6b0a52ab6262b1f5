"""Video files: frames at the times that are asked for, one after another, never all at once.

PyAV reads them: its wheels hold FFmpeg with its codecs, it tells a frame's time and rotation, and
it seeks. The frame at a time is the one that a player shows then, whatever the frame rate does.
Sound is never decoded. A model that listens would open the file's audio stream beside this one and
ask it for the same times. Refuses to know what frames are for.

Dimension letters: F frames, H height, W width.
"""

import contextlib
import dataclasses
import logging
import pathlib
import re

import numpy as np

from keras_vlm.core.checks import DataError, check_number
from keras_vlm.core.extras import import_extra

LOGGER = logging.getLogger("keras_vlm")
VIDEO_SUFFIXES = {
    ".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi", ".gif", ".mpg", ".mpeg", ".ts", ".flv",
    ".wmv", ".ogv", ".3gp",
}  # fmt: skip
# FFmpeg's readers that may open a file. Others read playlists, which name files of their own.
FORMATS = "mov,mp4,matroska,webm,avi,gif,mpeg,mpegts,mpegvideo,flv,asf,ogg,h264,hevc,m4v,ivf"
# A jump costs as much as decoding a few frames. Where a file has no index, nobody knows whether
# there is a key frame to jump to, so it must be worth the more.
LEAST_JUMP_SECONDS, BLIND_JUMP_SECONDS = 0.5, 5.0
# Formats that say where their key frames are.
INDEXED = {"mov", "mp4", "matroska", "webm", "avi"}
# Where a jump lands after the time that is wanted, it is tried again so many seconds earlier.
STEPS_BACK = (0, 2, 8, 32)
# A video that ends so long before it says was cut short.
MISSING_SECONDS = 1.0
# Broken packets after which the rest is given up.
MOST_BROKEN = 1000


@dataclasses.dataclass(frozen=True)
class Frame:
    """One frame of a video.

    Attributes:
        time_seconds: the time it was asked for.
        pixels: uint8 [H,W,3], upright.
    """

    time_seconds: float
    pixels: np.ndarray


class Video:
    """A video file that is open for reading; use it in a ``with`` block.

    Args:
        path: the file: MP4, MOV, WebM, MKV, AVI, GIF and others.

    Attributes:
        path: the file.
        duration_seconds: how long it lasts: as it says itself or, if it does not, as its packets
            do.
        frame_rate: frames a second, on average; 0 where that is unknown.
        end_seconds: where reading met the end, or None so far: a video may be cut short.

    Raises:
        FileNotFoundError: there is no such file.
        DataError: it is empty, damaged, or holds no video.
        ImportError: PyAV is not installed.
    """

    def __init__(self, path):
        self._av = import_extra("av", "video", "Reading videos")
        self.path = pathlib.Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f"{path}: no such video. Check the path.")
        if not self.path.stat().st_size:
            raise DataError(f"{path}: the file is empty. Was it written or downloaded in full?")
        self._container = None
        self._broken = 0
        self.end_seconds = None
        self._open()
        self.frame_rate = float(self._stream.average_rate or 0)
        # Whether that is the pictures' own, not that of a sound which may go on.
        self._is_known = True
        self.duration_seconds = self._find_duration()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def close(self):
        """Closes the file."""
        self._container.close()

    def frames(self, times, *, longest_side=None):
        """Gives the frames that are shown at some times.

        Where there is a key frame between where the file is and where it has to be, it jumps there
        and decodes nothing in between. A video that was cut short, or is broken in places, gives
        what can be read, with a warning.

        Args:
            times: iterable of seconds from the beginning, rising; it may be endless.
            longest_side: pixels to which larger frames are brought down, or None to keep them.

        Yields:
            A ``Frame`` a time, until the video ends.

        Raises:
            DataError: nothing can be decoded.
            ValueError: the times do not rise.
        """
        decoded = self._from_the_beginning()
        shown, following = next(decoded, None), next(decoded, None)
        if shown is None:
            raise DataError(f"{self.path}: no frame can be decoded. Was it copied in full?")
        # MPEG program streams tell the time of some frames alone: after a jump others' are wrong.
        last, jumps = -np.inf, self._container.format.name != "mpeg"
        for time in times:
            if time < last:
                raise ValueError(f"Video.frames: times must rise, got {time} after {last}.")
            last = time
            if jumps and following is not None and self._is_worth_a_jump(following[0], time):
                here = following[0]
                decoded, shown = self._jump(here, time)
                following = next(decoded, None)
                # Nothing to jump to: so it will be the next time.
                jumps = shown[0] >= here
            while following is not None and following[0] <= time:
                shown, following = following, next(decoded, None)
            if following is None and time >= shown[0] + self._length(shown[1]):
                self.end_seconds = shown[0] + self._length(shown[1])
                break
            yield Frame(float(time), self._to_pixels(shown[1], longest_side))
        self._report(None if following else shown[0] + self._length(shown[1]))

    def _from_the_beginning(self):
        """Opens the file again; returns what ``_decode`` yields."""
        self._open()
        self._broken = 0
        return self._decode()

    def sampled(self, rate, *, longest_side=None):
        """Gives frames at a rate, from the middle of the first interval on.

        Args:
            rate: frames a second.
            longest_side: as for ``frames``.

        Returns:
            An iterator of ``Frame``.

        Raises:
            ValueError: the rate is out of range.
        """
        return self.frames(self.sample_times(rate), longest_side=longest_side)

    def sample_times(self, rate):
        """Returns the times of ``sampled``.

        Args:
            rate: frames a second.

        Returns:
            An iterator of seconds, as many as the video should have by its own duration.

        Raises:
            ValueError: the rate is out of range.
        """
        check_number("Video.sample_times", "rate", rate, minimum=1e-6)
        count = max(1, round(self.duration_seconds * rate))
        # Of a video shorter than an interval, its own middle.
        first = min(0.5 / rate, self.duration_seconds / 2)
        return (first + i / rate for i in range(count))

    def uniform_times(self, count, start=0.0, end=None):
        """Returns the middles of ``count`` equal parts of the video, or of a stretch of it.

        Args:
            count: F.
            start: seconds from the beginning.
            end: seconds from the beginning, or None for the end.

        Returns:
            float array [F].
        """
        end = self.duration_seconds if end is None else min(end, self.duration_seconds)
        return start + (np.arange(count) + 0.5) / count * max(0.0, end - start)

    def _open(self):
        """Opens the file, or opens it again at its beginning.

        Raises:
            DataError: it cannot be read.
        """
        if self._container is not None:
            self._container.close()
        try:
            # An absolute path, for FFmpeg takes what is before a colon for a protocol; titles may
            # be in any encoding.
            self._container = self._av.open(
                str(self.path.absolute()),
                options={"format_whitelist": FORMATS, "protocol_whitelist": "file"},
                metadata_errors="replace",
            )
        except (self._av.FFmpegError, ValueError) as error:
            raise DataError(
                f"{self.path}: cannot be read as a video ({_reason(error)}). Is it one, and was it "
                "written or downloaded in full?"
            ) from error
        # The picture on the cover of a song is a stream too.
        cover = self._av.stream.Disposition.attached_pic
        streams = [s for s in self._container.streams.video if not s.disposition & cover]
        if not streams or not getattr(streams[0].codec_context, "width", 0):
            self._container.close()
            raise DataError(f"{self.path}: there is no video in this file that can be decoded.")
        self._stream = streams[0]
        self._stream.thread_type = "AUTO"
        self._time_base = float(self._stream.time_base)
        self._first = self._stream.start_time or 0
        if "matroska" in self._container.format.name:
            # It reads where its key frames are when it is first told to go somewhere.
            with contextlib.suppress(self._av.FFmpegError):
                self._container.seek(self._first, stream=self._stream)

    def _decode(self, *, landing=False):
        """Yields (seconds, frame) of all frames from where the file is; leaves broken ones out.

        After a jump (``landing``) those before the first whole one that tells its time are nobody's
        fault: they were made from frames that were jumped over.
        """
        seconds = 0.0
        packets = self._container.demux(self._stream)
        while self._broken < MOST_BROKEN:
            try:
                packet = next(packets, None)
                frames = [] if packet is None else packet.decode()
            except self._av.error.EOFError:
                return
            # The second where damaged data pretend to be one more stream.
            except (self._av.FFmpegError, IndexError):
                self._broken += not landing
                continue
            if packet is None:
                return
            for frame in frames:
                if landing and (frame.is_corrupt or frame.pts is None):
                    continue
                landing = False
                stamp = frame.dts if frame.pts is None else frame.pts
                if stamp is not None:
                    seconds = (stamp - self._first) * self._time_base
                yield seconds, frame
                seconds += self._length(frame)

    def _is_worth_a_jump(self, here, there):
        """Returns whether there is a key frame to jump to well after ``here``, as far as known."""
        entries = self._stream.index_entries
        stamp = self._to_stamp(there)
        # Other formats list the key frames that were met so far, and a file may lack its index.
        listed = INDEXED & set(self._container.format.name.split(","))
        if listed and len(entries) > 1 and entries[len(entries) - 1].timestamp >= stamp:
            place = entries.search_timestamp(stamp, backward=True)
            key = (entries[place].timestamp - self._first) * self._time_base if place >= 0 else here
            return key - here >= LEAST_JUMP_SECONDS
        return there - here >= BLIND_JUMP_SECONDS

    def _jump(self, here, there):
        """Goes to a key frame from which the frame at a time can be reached.

        Files tell wrongly where key frames are, or tell when they are decoded and not when shown.

        Args:
            here: seconds of a frame that was decoded already.
            there: the time, in seconds.

        Returns:
            What ``_decode`` yields from there on, and the first that it has yielded; from the
            beginning of the file where nothing between ``here`` and ``there`` can be found.
        """
        for back in STEPS_BACK:
            if there - back <= here:
                break
            try:
                self._container.seek(self._to_stamp(there - back), stream=self._stream)
            except self._av.FFmpegError:
                break
            decoded = self._decode(landing=True)
            landed = next(decoded, None)
            if landed is not None and landed[0] <= there:
                return decoded, landed
        decoded = self._from_the_beginning()
        return decoded, next(decoded)

    def _to_stamp(self, seconds):
        return self._first + int(seconds / self._time_base)

    def _length(self, frame):
        """Returns for how many seconds a frame is shown, as well as that is known."""
        if frame.duration:
            return frame.duration * self._time_base
        return 1 / self.frame_rate if self.frame_rate else self._time_base

    def _to_pixels(self, frame, longest_side):
        """Returns upright pixels: square ones, turned as the file says."""
        ratio = float(self._stream.sample_aspect_ratio or 1) or 1.0
        width, height = frame.width * ratio, frame.height
        scale = min(1.0, longest_side / max(width, height)) if longest_side else 1.0
        size = {}
        if scale < 1 or ratio != 1:
            size = {"width": max(1, round(width * scale)), "height": max(1, round(height * scale))}
        pixels = frame.to_ndarray(format="rgb24", **size)
        return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90) % 4))

    def _find_duration(self):
        """Returns the seconds from the first frame to the end of the last."""
        if self._stream.duration:
            return self._stream.duration * self._time_base
        begins = self._first * self._time_base
        for key, value in self._stream.metadata.items():
            # Matroska and WebM tell it so; their container's is that of the longest sound.
            told = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", value)
            if told and key.upper().startswith("DURATION"):
                hours, minutes, seconds = map(float, told.groups())
                # The time at which it ends: a part of a longer recording begins later than at 0.
                return 3600 * hours + 60 * minutes + seconds - begins
        if self._container.duration:
            self._is_known = False
            begins = begins if "matroska" in self._container.format.name else 0.0
            return self._container.duration / self._av.time_base - begins
        end = 0.0
        try:
            for packet in self._container.demux(self._stream):
                if packet.pts is not None:
                    stamp = packet.pts + (packet.duration or 0) - self._first
                    end = max(end, stamp * self._time_base)
        except (self._av.FFmpegError, IndexError):
            LOGGER.warning("%s: only the first %.1f seconds can be read.", self.path, end)
        return end

    def _report(self, ended):
        """Says what could not be read; ``ended`` is the last frame's end, or None before it."""
        if self._broken:
            LOGGER.warning("%s: left out %d broken parts.", self.path, self._broken)
        missing = ended is not None and ended < self.duration_seconds - MISSING_SECONDS
        if missing and self._is_known:
            LOGGER.warning(
                "%s: ends after %.1f of %.1f seconds. Was it copied in full?",
                self.path,
                ended,
                self.duration_seconds,
            )


def _reason(error):
    """Returns what FFmpeg says of a file, without its name and numbers."""
    return getattr(error, "strerror", None) or type(error).__name__
