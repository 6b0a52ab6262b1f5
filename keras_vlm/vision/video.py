"""Video files: frames at the times that are asked for, one after another, never all at once.

PyAV reads them: its wheels hold FFmpeg with its codecs, it tells a frame's time and rotation, and
it seeks. The frame at a time is the one that a player shows then, whatever the frame rate does.
Sound is never decoded. A model that listens would open the file's audio stream beside this one and
ask it for the same times. Refuses to know what frames are for.

Dimension letters: F frames, H height, W width.
"""

import dataclasses
import logging
import pathlib
import struct

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
        self.end_seconds = None
        self._open()
        self.frame_rate = float(self._stream.average_rate or 0)
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
        self._open()
        decoded = self._decode()
        shown, following = next(decoded, None), next(decoded, None)
        if shown is None:
            raise DataError(f"{self.path}: no frame can be decoded. Was it copied in full?")
        last = -np.inf
        for time in times:
            if time < last:
                raise ValueError(f"Video.frames: times must rise, got {time} after {last}.")
            last, jumped = time, False
            while following is not None and following[0] <= time:
                if not jumped and self._jump(following[0], time):
                    # Once a time: what the file's index says may be wrong.
                    jumped = True
                    landed = next(decoded, None)
                    shown, following = landed or following, landed and next(decoded, None)
                else:
                    shown, following = following, next(decoded, None)
            if following is None and time >= shown[0] + self._length(shown[1]):
                self.end_seconds = shown[0] + self._length(shown[1])
                break
            yield Frame(float(time), self._to_pixels(shown[1], longest_side))
        self._report(None if following else shown[0] + self._length(shown[1]))

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
        self._broken = 0

    def _decode(self):
        """Yields (seconds, frame) of all frames from where the file is; leaves broken ones out."""
        seconds = 0.0
        packets = self._container.demux(self._stream)
        while self._broken < MOST_BROKEN:
            try:
                packet = next(packets, None)
                frames = [] if packet is None else packet.decode()
            except self._av.error.EOFError:
                return
            except self._av.FFmpegError:
                self._broken += 1
                continue
            if packet is None:
                return
            for frame in frames:
                stamp = frame.dts if frame.pts is None else frame.pts
                if stamp is not None:
                    seconds = (stamp - self._first) * self._time_base
                yield seconds, frame
                seconds += self._length(frame)

    def _jump(self, here, there):
        """Goes to the last key frame before ``there`` if that is well after ``here``."""
        stamp = self._first + int(there / self._time_base)
        entries = self._stream.index_entries
        if len(entries) > 1:
            place = entries.search_timestamp(stamp, backward=True)
            key = (entries[place].timestamp - self._first) * self._time_base if place >= 0 else here
            worth = key - here >= LEAST_JUMP_SECONDS
        else:
            worth = there - here >= BLIND_JUMP_SECONDS
        if worth:
            try:
                self._container.seek(stamp, stream=self._stream)
            except self._av.FFmpegError:
                return False
        return worth

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
        if self._container.duration:
            return self._container.duration / self._av.time_base
        end = 0.0
        try:
            for packet in self._container.demux(self._stream):
                if packet.pts is not None:
                    stamp = packet.pts + (packet.duration or 0) - self._first
                    end = max(end, stamp * self._time_base)
        except self._av.FFmpegError:
            LOGGER.warning("%s: only the first %.1f seconds can be read.", self.path, end)
        return end

    def _report(self, ended):
        """Says what could not be read; ``ended`` is the last frame's end, or None before it."""
        if self._broken:
            LOGGER.warning("%s: left out %d broken parts.", self.path, self._broken)
        if ended is not None and ended < self.duration_seconds - MISSING_SECONDS:
            LOGGER.warning(
                "%s: ends after %.1f of %.1f seconds. Was it copied in full?",
                self.path,
                ended,
                self.duration_seconds,
            )


def read_clip(path, num_frames, start=0.0, end=None):
    """Reads frames spread evenly over a video, or over a stretch of it.

    Args:
        path: the file.
        num_frames: F.
        start: seconds from the beginning.
        end: seconds from the beginning, or None for the end.

    Returns:
        List of F uint8 [H,W,3]; of a video that was cut short, spread over what there is.

    Raises:
        FileNotFoundError: there is no such file.
        DataError: it cannot be read as a video, or has nothing in this stretch.
    """
    check_number("read_clip", "num_frames", num_frames, minimum=1, integer=True)
    with Video(path) as video:
        times = video.uniform_times(num_frames, start, end)
        found = [frame.pixels for frame in video.frames(times)]
        if len(found) < num_frames and video.end_seconds > start:
            times = video.uniform_times(num_frames, start, video.end_seconds)
            found = [frame.pixels for frame in video.frames(times)]
    if not found:
        raise DataError(f"{path}: there is no frame after {start} seconds.")
    # Of a single frame, the middle of its time may be where it ends.
    return found + found[-1:] * (num_frames - len(found))


def encode_frame(pixels):
    """Encodes a frame without loss and at once: as a BMP, which is its pixels behind a header.

    Args:
        pixels: uint8 [H,W,3].

    Returns:
        bytes that ``vision.image`` decodes to the same pixels.
    """
    height, width = pixels.shape[:2]
    stride = -(-3 * width // 4) * 4
    rows = np.zeros((height, stride), np.uint8)
    # From the bottom up, blue first.
    rows[:, : 3 * width] = pixels[::-1, :, ::-1].reshape(height, -1)
    size = rows.size
    header = struct.pack("<2sIHHI", b"BM", 54 + size, 0, 0, 54)
    about = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, size, 2835, 2835, 0, 0)
    return header + about + rows.tobytes()


def _reason(error):
    """Returns what FFmpeg says of a file, without its name and numbers."""
    return getattr(error, "strerror", None) or type(error).__name__
