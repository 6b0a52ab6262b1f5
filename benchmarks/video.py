"""Frames a second decoded and sampled, beside OpenCV and FFmpeg; and a ten-hour film summarised.

    python benchmarks/video.py
    python benchmarks/video.py --hours 10

One run on an idle machine. FFmpeg's own rate is that of its decoder (``libavcodec``, with as many
threads as it likes), whose frames nobody looks at: what all others are measured against. OpenCV's
wheel holds an FFmpeg of its own (``pip install opencv-python-headless``). Decoded means every frame
as RGB pixels; sampled, one frame a second, of which the film is 10 minutes long, with a key frame
every 10 seconds and with one every second.

The film of many hours is made by a loop: the packets of a rendered one of ten minutes are copied
again and again with later times, not decoded. It is summarised at one frame a second by the
published captioner of photos, and it is told where the time goes, and the most memory that this
process has held, above what it held when the model was loaded.
"""

import argparse
import pathlib
import resource
import sys
import tempfile
import threading
import time

import av
import cv2
import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "tests"))
from videos import PHOTOS, photo_shot

from keras_vlm.vision.video import Video

SIZE, RATE, MINUTES = (360, 640), 25, 10
SHOT_SECONDS = 12


def make_film(path, key_seconds):
    """Encodes ten minutes of a camera that moves over photos, in shots of 12 seconds."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"preset": "veryfast"})
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
        stream.codec_context.gop_size = key_seconds * RATE
        # Five steps a second are enough of a movement, and a fifth of the memory.
        shots = [
            list(photo_shot(photo, SHOT_SECONDS * 5, SIZE, i)) for i, photo in enumerate(PHOTOS)
        ]
        number = 0
        for place in range(MINUTES * 60 // SHOT_SECONDS):
            for step in range(SHOT_SECONDS * RATE):
                pixels = shots[place % len(shots)][step * 5 // RATE]
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                frame.pts, number = number, number + 1
                container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def loop_film(source, path, hours):
    """Copies a film's packets again and again until it lasts some hours."""
    times = round(hours * 60 / MINUTES)
    with av.open(str(path), "w") as container:
        stream = None
        for round_ in range(times):
            with av.open(str(source)) as read:
                template = read.streams.video[0]
                stream = stream or container.add_stream_from_template(template)
                shift = round_ * template.duration
                for packet in read.demux(template):
                    if packet.dts is not None:
                        packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                        packet.stream = stream
                        container.mux(packet)
    return path


def rate(run, path, frames):
    """Returns frames a second of a function that goes through so many of a file."""
    began = time.perf_counter()
    run(path)
    return frames / (time.perf_counter() - began)


def ffmpeg_decodes(path):
    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "AUTO"
        for _ in container.decode(video=0):
            pass


def opencv_decodes(path):
    capture = cv2.VideoCapture(str(path))
    while True:
        found, pixels = capture.read()
        if not found:
            return
        cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


def opencv_samples(path):
    capture = cv2.VideoCapture(str(path))
    for second in range(MINUTES * 60):
        capture.set(cv2.CAP_PROP_POS_MSEC, 1000 * (second + 0.5))
        cv2.cvtColor(capture.read()[1], cv2.COLOR_BGR2RGB)


def we_decode(path):
    with Video(path) as video:
        for _ in video.sampled(RATE):
            pass


def we_sample(path):
    with Video(path) as video:
        for _ in video.sampled(1):
            pass


def decoding(folder):
    """Prints frames a second of all three."""
    every, seconds = MINUTES * 60 * RATE, MINUTES * 60
    for key_seconds in (10, 1):
        path = make_film(folder / f"keys{key_seconds}.mp4", key_seconds)
        print(f"{SIZE[1]}x{SIZE[0]}, H.264, {MINUTES} minutes, a key frame in {key_seconds} s")
        rates = {
            "decoded, FFmpeg alone": rate(ffmpeg_decodes, path, every),
            "decoded, OpenCV": rate(opencv_decodes, path, every),
            "decoded, keras_vlm": rate(we_decode, path, every),
            "sampled, OpenCV": rate(opencv_samples, path, seconds),
            "sampled, keras_vlm": rate(we_sample, path, seconds),
        }
        for name, value in rates.items():
            print(f"  {name:24s} {value:9.0f} frames a second")
        print(
            f"  keras_vlm / OpenCV: decoded "
            f"{rates['decoded, keras_vlm'] / rates['decoded, OpenCV']:.2f}, sampled "
            f"{rates['sampled, keras_vlm'] / rates['sampled, OpenCV']:.2f}; keras_vlm / FFmpeg: "
            f"decoded {rates['decoded, keras_vlm'] / rates['decoded, FFmpeg alone']:.2f}"
        )


class Clock:
    """Adds up the time that functions take."""

    def __init__(self):
        self.seconds = {}

    def watch(self, owner, name, told):
        """Replaces a function by one that is timed."""
        inner = getattr(owner, name)

        def timed(*arguments, **options):
            began = time.perf_counter()
            found = inner(*arguments, **options)
            self.seconds[told] = self.seconds.get(told, 0) + time.perf_counter() - began
            return found

        setattr(owner, name, timed)


def held_memory():
    """Returns the bytes of memory that this process holds now, as Linux tells."""
    pages = int(pathlib.Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()


def film_of_hours(folder, hours):
    """Prints how fast a long film is summarised, within what memory, and where the time goes."""
    from keras_vlm import load
    from keras_vlm.video import storyboard, summary
    from keras_vlm.vision.shots import ShotDetector

    path = loop_film(make_film(folder / "loop.mp4", 2), folder / "long.mp4", hours)
    model = load(summary.PUBLISHED)
    model.caption(np.zeros((1, *SIZE, 3), np.uint8))
    clock = Clock()
    clock.watch(ShotDetector, "add", "shot boundaries")
    clock.watch(summary.FrameVectors, "__call__", "vectors of frames")
    clock.watch(type(model), "caption", "captions")
    clock.watch(storyboard, "write_summary", "writing")
    idle, most, done = held_memory(), 0, threading.Event()

    def look():
        nonlocal most
        while not done.wait(0.1):
            most = max(most, held_memory())

    watcher = threading.Thread(target=look)
    watcher.start()
    began = time.perf_counter()
    found = summary.summarize(path, model, rate=1)
    storyboard.write_summary(found, folder / "summary")
    took = time.perf_counter() - began
    done.set()
    watcher.join()
    length = found.duration_seconds
    print(f"{length / 3600:.1f} hours ({path.stat().st_size / 2**20:.0f} MiB), 1 frame a second")
    print(f"  {took:.0f} s: {length / took:.0f} times real time; {len(found.shots)} shots, "
          f"{len({shot.scene for shot in found.shots})} scenes")  # fmt: skip
    print(f"  most memory above idle: {(most - idle) / 2**20:.0f} MiB (idle {idle / 2**20:.0f})")
    rest = took - sum(clock.seconds.values())
    for told, seconds in {**clock.seconds, "decoding, and the rest": rest}.items():
        print(f"  {told:24s} {seconds:7.0f} s {seconds / took:6.0%}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--hours", type=float, help="summarise a film of so many hours instead")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        if options.hours:
            film_of_hours(folder, options.hours)
        else:
            decoding(folder)


if __name__ == "__main__":
    main()
