"""The frames of a clip as models of clips take them: a few, spread evenly, each encoded.

Refuses to know what they are for. Dimension letters: F frames, H height, W width.
"""

import struct

import numpy as np

from keras_vlm.core.checks import DataError, check_number
from keras_vlm.vision.video import Video

# Pixels of a clip's frames for a model, which makes them smaller still: hundreds may wait at once.
CLIP_PIXELS = 640


def read_clip(path, num_frames, start=0.0, end=None, *, longest_side=None):
    """Reads frames spread evenly over a video, or over a stretch of it.

    Args:
        path: the file.
        num_frames: F.
        start: seconds from the beginning.
        end: seconds from the beginning, or None for the end.
        longest_side: pixels to which larger frames are brought down, or None to keep them.

    Returns:
        List of F uint8 [H,W,3]; of a video that was cut short, spread over what there is.

    Raises:
        FileNotFoundError: there is no such file.
        DataError: it cannot be read as a video, or has nothing in this stretch.
    """
    check_number("read_clip", "num_frames", num_frames, minimum=1, integer=True)
    with Video(path) as video:
        times = video.uniform_times(num_frames, start, end)
        found = [frame.pixels for frame in video.frames(times, longest_side=longest_side)]
        if len(found) < num_frames and video.end_seconds > start:
            times = video.uniform_times(num_frames, start, video.end_seconds)
            found = [frame.pixels for frame in video.frames(times, longest_side=longest_side)]
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
