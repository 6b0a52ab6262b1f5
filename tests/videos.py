"""Clips that tests make: encoded by PyAV, stitched from packaged photos and rendered scenes."""

import pathlib

import av
import numpy as np
import tensorflow as tf

import keras_vlm
from keras_vlm.data.moving_scenes import draw_moving_scenes, render_clip

PHOTOS = sorted((pathlib.Path(keras_vlm.__file__).parent / "data" / "photos").glob("*.jpg"))
FORMATS = {
    "mp4": ("libx264", "yuv420p"),
    "mov": ("mpeg4", "yuv420p"),
    "webm": ("libvpx-vp9", "yuv420p"),
    "mkv": ("libx264", "yuv420p"),
    "avi": ("mjpeg", "yuvj420p"),
    "gif": ("gif", "rgb8"),
    "ts": ("libx264", "yuv420p"),
    "mpg": ("mpeg2video", "yuv420p"),
    "flv": ("flv", "yuv420p"),
}


def write_video(
    path, frames, *, rate=25, times=None, rotation=None, key_every=12, sound=0.0, codec=None,
    **options,
):
    """Encodes frames, an iterable of uint8 [H,W,3]; ``times`` in seconds make the rate vary.

    ``sound`` is how long silence lasts; ``options`` are the encoder's.
    """
    usual, pixel_format = FORMATS[path.suffix[1:]]
    codec = codec or usual
    with av.open(str(path), "w") as container:
        stream, silence = None, None
        for number, pixels in enumerate(frames):
            if stream is None:
                stream = container.add_stream(codec, rate=rate)
                stream.height, stream.width = pixels.shape[:2]
                stream.pix_fmt = pixel_format
                if codec not in {"gif", "mjpeg"}:
                    stream.codec_context.gop_size = key_every
                    # No more key frames than that, whatever is shown.
                    if codec == "libx264":
                        options = {"x264-params": "scenecut=0", **options}
                if codec == "libvpx-vp9":
                    options = {"cpu-used": "8", "deadline": "realtime", **options}
                stream.options = options
                if rotation is not None:
                    stream.set_display_rotation(rotation)
                if sound:
                    opus = path.suffix == ".webm"
                    silence = container.add_stream("libopus" if opus else "aac", rate=16000)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame.pts = number if times is None else round(times[number] * rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if silence is not None:
            samples = np.zeros((1, round(16000 * sound)), np.float32)
            quiet = av.AudioFrame.from_ndarray(samples, "fltp", "mono")
            quiet.sample_rate, quiet.pts = 16000, 0
            container.mux(silence.encode(quiet))
            container.mux(silence.encode())
    return path


def grey_ramp(count, size=(48, 64)):
    """Frames whose brightness is twice their number, with a white corner at the top left."""
    for number in range(count):
        pixels = np.full((*size, 3), 2 * number, np.uint8)
        pixels[:16, :16] = 255
        yield pixels


def number_of(pixels):
    """The number of a frame of ``grey_ramp``, up to what encoding loses."""
    middle = pixels[pixels.shape[0] // 2, pixels.shape[1] // 2]
    return float(np.mean(middle)) / 2


def photo_shot(path, count, size, seed):
    """Frames of a camera that moves over a photo."""
    photo = tf.io.decode_jpeg(path.read_bytes(), 3).numpy()
    random = np.random.default_rng(seed)
    begin, end = random.uniform(0, 0.06, 2), random.uniform(0, 0.06, 2)
    for share in np.linspace(0, 1, count):
        top, left = ((1 - share) * begin + share * end) * photo.shape[:2]
        bottom, right = top + 0.9 * photo.shape[0], left + 0.9 * photo.shape[1]
        box = [[top / photo.shape[0], left / photo.shape[1], bottom / photo.shape[0],
                right / photo.shape[1]]]  # fmt: skip
        yield tf.image.crop_and_resize(photo[None], box, [0], size)[0].numpy().astype(np.uint8)


def scene_shot(scene, count, size):
    """Frames of a rendered clip."""
    for pixels in render_clip(scene, count):
        yield tf.image.resize(pixels, size, "nearest").numpy()


def stitched(lengths, *, dissolve=0, size=(120, 160), seed=0):
    """Shots of photos and rendered scenes, one after another.

    Args:
        lengths: frames of each shot.
        dissolve: frames over which each passes into the next; 0 cuts.
        size: (H, W).
        seed: of the order and the movements.

    Returns:
        ``(frames, boundaries)``: a list, and the numbers of the frames at which shots begin (the
        middles of the dissolves).
    """
    random = np.random.default_rng(seed)
    scenes = [scene for scene in draw_moving_scenes(40, seed=seed) if not scene.is_backwards]
    photos = list(random.permutation(len(PHOTOS)))
    shots = []
    for number, length in enumerate(lengths):
        # A rendered one now and then: all of those look alike.
        if number % 4 == 3:
            shots.append(list(scene_shot(scenes[number], length, size)))
        else:
            place = photos[number % len(photos)]
            shots.append(list(photo_shot(PHOTOS[place], length, size, seed + number)))
    frames, boundaries = shots[0], []
    for shot in shots[1:]:
        boundaries.append(len(frames) - dissolve // 2)
        for i in range(dissolve):
            share = (i + 1) / (dissolve + 1)
            mixed = (1 - share) * frames[-dissolve + i] + share * shot[i].astype(np.float32)
            frames[-dissolve + i] = np.round(mixed).astype(np.uint8)
        frames.extend(shot[dissolve:])
    return frames, boundaries


def score_boundaries(found, wanted, tolerance):
    """Precision, recall and F1 of times, each matched once within a tolerance in seconds."""
    left, right = list(wanted), 0
    for time in found:
        near = [other for other in left if abs(other - time) <= tolerance]
        if near:
            left.remove(min(near, key=lambda other: abs(other - time)))
            right += 1
    precision, recall = right / max(1, len(found)), right / max(1, len(wanted))
    return precision, recall, 2 * precision * recall / max(1e-9, precision + recall)
