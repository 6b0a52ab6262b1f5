import io
import struct

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_vlm.vision.headers import HEADER_BYTES, count_pixels, is_transparent_webp, read_header

GREY = Image.new("RGB", (53, 37), (90, 90, 90))
CLEAR = Image.new("RGBA", (53, 37), (90, 90, 90, 7))
MOVING = {"save_all": True, "append_images": [Image.new("RGB", (53, 37))], "duration": 40}
EXIF = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\0\0\0\0\0"


def encode(picture, kind, **options):
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


LOSSY = b"\0\0\0\x9d\x01\x2a"
# Each with whether it is a WebP that has transparency and does not move.
HEADERS = {
    "png": (encode(GREY, "PNG"), False),
    "png, alpha": (encode(CLEAR, "PNG"), False),
    "gif": (encode(GREY, "GIF"), False),
    "bmp": (encode(GREY, "BMP"), False),
    "VP8": (encode(GREY, "WEBP"), False),
    "VP8L": (encode(GREY, "WEBP", lossless=True), False),
    "VP8L, alpha": (encode(CLEAR, "WEBP", lossless=True), True),
    "VP8X": (encode(GREY, "WEBP", exif=EXIF), False),
    "VP8X, alpha": (encode(CLEAR, "WEBP", exif=EXIF), True),
    "VP8X, alpha, lossless": (encode(CLEAR, "WEBP", exif=EXIF, lossless=True), True),
    "VP8X, moving": (encode(GREY, "WEBP", **MOVING), False),
    "VP8X, moving, alpha": (encode(CLEAR, "WEBP", **MOVING), False),
}


def header(image_bytes):
    return read_header(tf.constant(image_bytes))


@pytest.mark.parametrize("length", [0, 1, 31, 32, 33, 1009])
def test_a_header_is_as_long_as_ever(length):
    image_bytes = bytes(range(1, 32)) * 40
    found = header(image_bytes[:length]).numpy()
    assert len(found) == HEADER_BYTES == 32
    assert found == image_bytes[: min(length, 32)].ljust(32, b"\0")


@pytest.mark.parametrize("name", HEADERS)
def test_pixels_and_transparency(name):
    image_bytes, transparent = HEADERS[name]
    assert image_bytes[12:16].decode("latin1").strip() == name[:4] or name[:3] != "VP8"
    for wrap in (lambda function: function, tf.function):
        assert wrap(count_pixels)(header(image_bytes)).numpy() == 37 * 53
        assert bool(wrap(is_transparent_webp)(header(image_bytes))) == transparent


def webp(kind, payload):
    return b"RIFF" + bytes(4) + b"WEBP" + kind + bytes(4) + payload


@pytest.mark.parametrize(
    ("image_bytes", "pixels"),
    [
        (b"\x89PNG" + bytes(12) + struct.pack(">II", 2**31 - 1, 65_537), (2**31 - 1) * 65_537),
        (b"GIF89a" + struct.pack("<HH", 65_535, 65_521), 65_535 * 65_521),
        (b"BM" + bytes(16) + struct.pack("<Ii", 70_001, -70_003), 70_001 * 70_003),
        (b"BM" + bytes(16) + struct.pack("<Ii", 70_001, 70_003), 70_001 * 70_003),
        (webp(b"VP8 ", LOSSY + struct.pack("<HH", 16_381, 16_363)), 16_381 * 16_363),
        # The upper two bits ask for magnification, and are no part of the size.
        (webp(b"VP8 ", LOSSY + struct.pack("<HH", 0x4007, 0xC00B)), 7 * 11),
        (webp(b"VP8L", b"\x2f" + struct.pack("<I", 16_380 + (16_362 << 14))), 16_381 * 16_363),
        (webp(b"VP8L", b"\x2f" + struct.pack("<I", 6 + (10 << 14) + (15 << 28))), 7 * 11),
        (
            webp(b"VP8X", bytes(4) + struct.pack("<IH", 70_000 + (2 << 24), 3)[:6]),
            70_001 * (2 + 3 * 256 + 1),
        ),
        (b"", 0),
        (b"\x89PN", 0),
        (b"\xff\xd8\xff\xe0", 0),
        (b"\xff\x0a\x7f\x03", 0),
        (b"text", 0),
    ],
)
def test_the_promised_size(image_bytes, pixels):
    assert count_pixels(header(image_bytes)).numpy() == pixels


def test_nothing_fails():
    random = np.random.default_rng(0)
    starts = [b"\x89PNG", b"GIF", b"BM", webp(b"VP8X", b""), webp(b"VP8L", b""), webp(b"VP8 ", b"")]
    for i in range(60):
        image_bytes = starts[i % 6] + random.bytes(i)
        assert count_pixels(header(image_bytes)).dtype == tf.int64
        assert is_transparent_webp(header(image_bytes)).dtype == tf.bool
