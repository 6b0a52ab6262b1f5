"""Reading pictures, held to Pillow's pixels."""

import io
import struct

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_vlm.vision import image as image_module
from keras_vlm.vision.image import (
    MAX_PIXELS,
    RESIZE_MODES,
    decode_batch,
    decode_image,
    decode_safely,
    orient,
    read_image,
    resize_image,
)

H, W = 37, 53


def texture(height, width, channels=3, seed=0):
    """Waves and noise: what a JPEG compresses as it does photos."""
    y, x = np.mgrid[:height, :width]
    waves = [127 + 110 * np.sin(x / 7 + c) * np.cos(y / 5 - c) for c in range(channels)]
    noise = np.random.default_rng(seed).normal(0, 5, (height, width, channels))
    return np.clip(np.stack(waves, axis=-1) + noise, 0, 255).astype(np.uint8)


def encode(picture, kind, **options):
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def pillow(image_bytes):
    return np.asarray(Image.open(io.BytesIO(image_bytes)).convert("RGB"))


def bmp(pixels, palette=b"", size=40):
    """A BMP whose top row comes first: Pillow reads such files and does not write them."""
    height, width, channels = pixels.shape
    rows = np.pad(pixels[..., ::-1].reshape(height, -1), [(0, 0), (0, -width * channels % 4)])
    start = 14 + size + len(palette)
    header = struct.pack("<2sIHHI", b"BM", start + rows.size, 0, 0, start)
    header += struct.pack("<IiiHHIIiiII", size, width, -height, 1, 8 * channels, *[0] * 6)
    return header.ljust(14 + size, b"\0") + palette + rows.tobytes()


def random_palette():
    return np.random.default_rng(0).bytes(1024)


RGB = Image.fromarray(texture(H, W))
RGBA = Image.fromarray(texture(H, W, 4), "RGBA")
CMYK = Image.fromarray(texture(H, W, 4), "CMYK")
FRAMES = [Image.fromarray(texture(H, W, seed=i)) for i in (1, 2)]
MOVING = {"save_all": True, "append_images": FRAMES, "duration": 40}
PICTURES = {
    "jpeg": encode(RGB, "JPEG"),
    "jpeg, low quality": encode(RGB, "JPEG", quality=10),
    "jpeg, full colour": encode(RGB, "JPEG", quality=95, subsampling=0),
    "jpeg, progressive": encode(RGB, "JPEG", progressive=True),
    "jpeg, grey": encode(RGB.convert("L"), "JPEG"),
    "jpeg, CMYK": encode(CMYK, "JPEG"),
    "png": encode(RGB, "PNG"),
    "png, alpha": encode(RGBA, "PNG"),
    "png, grey": encode(RGB.convert("L"), "PNG"),
    "png, grey and alpha": encode(RGBA.convert("LA"), "PNG"),
    "png, black and white": encode(RGB.convert("1"), "PNG"),
    "png, palette": encode(RGB.quantize(199), "PNG"),
    "png, palette of 4 bits": encode(RGB.quantize(13), "PNG", bits=4),
    "png, palette and transparency": encode(RGB.quantize(17), "PNG", transparency=3),
    "gif": encode(RGB, "GIF"),
    "gif, moving": encode(RGB, "GIF", **MOVING),
    "bmp": encode(RGB, "BMP"),
    "bmp, 32 bits": encode(RGBA, "BMP"),
    "bmp, palette": encode(RGB.quantize(199), "BMP"),
    "bmp, grey": encode(RGB.convert("L"), "BMP"),
    "bmp, top row first": bmp(texture(H, W)),
    "bmp, palette, top row first": bmp(texture(H, W, 1), random_palette()),
    "bmp, palette after a longer header": bmp(texture(H, W, 1), random_palette(), 124),
    "webp": encode(RGB, "WEBP"),
    "webp, lossless": encode(RGB, "WEBP", lossless=True),
    "webp, alpha": encode(RGBA, "WEBP"),
    "webp, alpha, lossless": encode(RGBA, "WEBP", lossless=True),
    "webp, metadata": encode(RGB, "WEBP", exif=b"Exif\0\0MM\0\x2a\0\0\0\x08\0\0\0\0\0\0"),
}
JPEG, PNG = PICTURES["jpeg"], PICTURES["png"]

decode_in_graph = tf.function(decode_image, input_signature=[tf.TensorSpec([], tf.string)])
batch_in_graph = tf.function(
    lambda image_bytes: decode_batch(image_bytes, (11, 13)),
    input_signature=[tf.TensorSpec([None], tf.string)],
)


# Decoding


@pytest.mark.parametrize("decode", [decode_image, decode_in_graph], ids=["eager", "graph"])
@pytest.mark.parametrize("name", PICTURES)
def test_pixels_are_pillows(name, decode):
    image = decode(tf.constant(PICTURES[name])).numpy()
    expected = pillow(PICTURES[name])
    assert image.dtype == np.uint8
    assert image.shape == (H, W, 3)
    # CMYK is multiplied out, with another rounding.
    tolerance = 1 if "CMYK" in name else 0
    np.testing.assert_allclose(image, expected.astype(int), atol=tolerance, rtol=0)


def test_a_moving_gif_gives_its_first_frame():
    image = decode_image(PICTURES["gif, moving"]).numpy()
    np.testing.assert_array_equal(image, decode_image(PICTURES["gif"]).numpy())


def test_16_bits_lose_the_lower_8():
    values = np.random.default_rng(0).integers(0, 2**16, (H, W), np.uint16)
    image = decode_image(encode(Image.fromarray(values), "PNG")).numpy()
    np.testing.assert_array_equal(image, np.repeat(values[..., None] >> 8, 3, axis=-1))


def test_16_bits_in_colour_lose_the_lower_8():
    values = np.random.default_rng(0).integers(0, 2**16, (H, W, 3), np.uint16)
    image = decode_image(tf.io.encode_png(values)).numpy()
    np.testing.assert_array_equal(image, values >> 8)


def test_a_bmp_palette_may_be_short():
    """A BMP may hold fewer colours than 256; the pixels then follow earlier."""
    palette = bytes(range(1, 29))
    pixels = np.arange(5 * 7, dtype=np.uint8).reshape(5, 7, 1) % 7
    image_bytes = bytearray(bmp(pixels, palette))
    image_bytes[46:50] = struct.pack("<I", 7)
    image = decode_image(bytes(image_bytes)).numpy()
    np.testing.assert_array_equal(image, pillow(bytes(image_bytes)))
    assert tuple(image[0, 1]) == (7, 6, 5)


@pytest.mark.parametrize("kind", ["jpeg", "jpeg, progressive", "jpeg, grey", "jpeg, CMYK"])
@pytest.mark.parametrize(
    ("at_least", "halved"), [(38, 0), (37, 0), (19, 0), (18, 1), (10, 1), (9, 2), (4, 3), (1, 3)]
)
def test_a_much_larger_jpeg_is_decoded_smaller(kind, at_least, halved):
    """Pillow has the same from the same library, but for a side that is rounded."""
    image_bytes = PICTURES[kind]
    image = decode_image(image_bytes, at_least).numpy()
    picture = Image.open(io.BytesIO(image_bytes))
    # One pixel less makes sure that Pillow does not stop before.
    picture.draft(picture.mode, (max(1, W // 2**halved), max(1, H // 2**halved)))
    expected = np.asarray(picture.convert("RGB"))
    assert image.shape == (-(-H // 2**halved), -(-W // 2**halved), 3)
    tolerance = 1 if "CMYK" in kind else 0
    np.testing.assert_allclose(image, expected.astype(int), atol=tolerance, rtol=0)


def test_a_turned_jpeg_and_other_formats_are_read_like_any():
    turned = encode(RGB, "JPEG", exif=_exif(6))
    image = decode_image(turned, 9).numpy()
    np.testing.assert_array_equal(image, np.rot90(decode_image(JPEG, 9).numpy(), -1))
    assert decode_image(PNG, 9).shape == (H, W, 3)


def _exif(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


# What cannot be read

PROMISES = {
    "jpeg": (JPEG, JPEG.index(b"\xff\xc0") + 5, ">HH"),
    "png": (PNG, 16, ">II"),
    "gif": (PICTURES["gif"], 6, "<HH"),
    "bmp": (PICTURES["bmp"], 18, "<II"),
    "bmp, top row first": (PICTURES["bmp, top row first"], 18, "<Ii"),
    "webp, lossy": (PICTURES["webp"], 26, "<HH"),
}


def promise(name, height, width):
    """The picture with another size in its header."""
    image_bytes, place, form = PROMISES[name]
    numbers = (height, width) if name == "jpeg" else (width, height)
    if name == "bmp, top row first":
        numbers = (width, -height)
    changed = bytearray(image_bytes)
    changed[place : place + struct.calcsize(form)] = struct.pack(form, *numbers)
    return bytes(changed)


BROKEN = {
    "nothing": b"",
    "one byte": b"\xff",
    "text": b"a dog runs through the grass\n" * 9,
    "html": b"<!DOCTYPE html><title>404</title>",
    "zeros": bytes(999),
    "tiff": encode(RGB, "TIFF"),
    # TensorFlow reads JPEG XL, whose header no check here understands.
    "jpeg xl": b"\xff\x0a\x7f\x03" * 20,
    "jpeg, start only": b"\xff\xd8",
    "jpeg, without its start": JPEG[2:],
    "jpeg, half": JPEG[: len(JPEG) // 2],
    "jpeg, without its end": JPEG[:-40],
    "jpeg, progressive, half": PICTURES["jpeg, progressive"][:900],
    "png, start only": PNG[:8],
    "png, header only": PNG[:33],
    "png, half": PNG[: len(PNG) // 2],
    "png, a byte changed": PNG[:200] + bytes([PNG[200] ^ 1]) + PNG[201:],
    "png, no pixel": promise("png", 0, 53),
    "gif, half": PICTURES["gif"][: len(PICTURES["gif"]) // 2],
    "bmp, half": PICTURES["bmp"][: len(PICTURES["bmp"]) // 2],
    "bmp, palette, half": PICTURES["bmp, palette"][:500],
    "bmp, 1 bit": encode(RGB.convert("1"), "BMP"),
    "webp, half": PICTURES["webp"][: len(PICTURES["webp"]) // 2],
    "webp, start only": PICTURES["webp"][:12],
    "webp, moving": encode(RGB, "WEBP", **MOVING),
    "webp, moving, alpha": encode(RGBA, "WEBP", **MOVING),
    "png, too large": promise("png", 20_000, 20_000),
    "jpeg, too large": promise("jpeg", 65_000, 65_000),
}


@pytest.mark.parametrize("decode", [decode_image, decode_in_graph], ids=["eager", "graph"])
@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_read_raises(name, decode):
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode(tf.constant(BROKEN[name]))


@pytest.mark.parametrize("decode", [decode_image, decode_in_graph], ids=["eager", "graph"])
@pytest.mark.parametrize("name", ["text", "nothing", "tiff", "jpeg xl", "html"])
def test_only_formats_whose_size_can_be_checked_are_read(name, decode):
    with pytest.raises(tf.errors.InvalidArgumentError, match="no JPEG, PNG, GIF, BMP or WebP"):
        decode(tf.constant(BROKEN[name]))


@pytest.mark.parametrize("size", [(20_001, 10_000), (10_000, 20_001), (16_383, 16_383)])
@pytest.mark.parametrize("name", PROMISES)
def test_a_header_that_promises_too_much_is_refused(name, size):
    if name == "webp, lossy":
        # Each side has 14 bits.
        size = (16_383, 16_383)
    with pytest.raises(tf.errors.InvalidArgumentError, match="too many pixels"):
        decode_in_graph(tf.constant(promise(name, *size)))


def test_a_whole_picture_that_is_too_large_is_refused():
    """A few thousand bytes that would be 600 MB; without the check it can be decoded."""
    image_bytes = encode(Image.new("1", (20_001, 10_000)), "PNG")
    assert len(image_bytes) < 100_000
    with pytest.raises(tf.errors.InvalidArgumentError, match="too many pixels"):
        decode_in_graph(tf.constant(image_bytes))


@pytest.mark.parametrize("name", PICTURES)
def test_the_limit_is_the_largest_that_is_read(name, monkeypatch):
    assert MAX_PIXELS == 200_000_000
    monkeypatch.setattr(image_module, "MAX_PIXELS", H * W)
    assert decode_image(PICTURES[name]).shape == (H, W, 3)
    monkeypatch.setattr(image_module, "MAX_PIXELS", H * W - 1)
    with pytest.raises(tf.errors.InvalidArgumentError, match="too many pixels"):
        decode_image(PICTURES[name])


@pytest.mark.parametrize("name", PICTURES)
def test_changed_bytes_never_do_harm(name):
    """A changed file is read or refused; the process goes on."""
    random = np.random.default_rng(len(name))
    whole = PICTURES[name]
    batch = [whole]
    for i in range(40):
        changed = bytearray(whole)
        # Half of the changes are in the header.
        places = random.integers(0, 64 if i % 2 else len(whole), 1 + i % 3)
        for place in places:
            changed[place] = random.integers(256)
        batch.append(bytes(changed[: random.integers(1, len(whole))] if i % 5 == 0 else changed))
    images, valid = batch_in_graph(tf.constant(batch))
    assert valid[0]
    assert np.isfinite(images).all()
    assert not images.numpy()[~valid.numpy()].any()


# Batches


def test_what_cannot_be_read_spoils_its_own_row_only():
    good = list(PICTURES.values())
    bad = list(BROKEN.values())
    batch, wanted = [], []
    for i in range(max(len(good), len(bad))):
        batch += [good[i % len(good)], bad[i % len(bad)]]
        wanted += [True, False]
    images, valid = batch_in_graph(tf.constant(batch))
    np.testing.assert_array_equal(valid, wanted)
    assert images.shape == (len(batch), 11, 13, 3)
    for i in range(0, len(batch), 2):
        alone = read_image(batch[i], (11, 13))
        np.testing.assert_array_equal(images[i], alone)
    assert not images.numpy()[1::2].any()


@pytest.mark.parametrize("count", [0, 1, 5])
def test_a_batch_of_which_nothing_can_be_read(count):
    for decode in (batch_in_graph, lambda batch: decode_batch(batch, (11, 13))):
        images, valid = decode(tf.constant([b"no picture"] * count, tf.string))
        assert images.shape == (count, 11, 13, 3)
        assert images.dtype == tf.float32
        assert not images.numpy().any()
        assert valid.shape == (count,)
        assert not valid.numpy().any()


@pytest.mark.parametrize("mode", RESIZE_MODES)
def test_a_batch_is_resized_in_its_mode(mode):
    batch = [JPEG, b"", PICTURES["webp, alpha"]]
    images, valid = decode_batch(tf.constant(batch), [13, 11], mode)
    np.testing.assert_array_equal(valid, [True, False, True])
    for i in (0, 2):
        alone = read_image(batch[i], (13, 11), mode)
        np.testing.assert_array_equal(images[i], alone)


def test_one_picture_safely():
    image, valid = decode_safely(tf.constant(JPEG), (11, 13), "pad")
    np.testing.assert_array_equal(image, read_image(JPEG, (11, 13), "pad"))
    assert valid
    image, valid = decode_safely(tf.constant(b""), (11, 13))
    assert image.shape == (11, 13, 3)
    assert not valid
    assert not image.numpy().any()


def test_reading_makes_no_noise(capfd):
    """TensorFlow's graph rewriting is silent about what it cannot do."""
    images, valid = tf.function(lambda batch: decode_batch(batch, (7, 5)))(tf.constant([JPEG, PNG]))
    assert valid.numpy().all()
    assert np.isfinite(images).all()
    printed = capfd.readouterr().err
    assert "failed" not in printed
    assert "oneDNN supports" not in printed


# Orientation


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orient_in_a_graph(orientation):
    image = texture(5, 7)
    expected = {
        1: image,
        2: np.fliplr(image),
        3: np.rot90(image, 2),
        4: np.flipud(image),
        5: np.transpose(image, (1, 0, 2)),
        6: np.rot90(image, -1),
        7: np.transpose(np.rot90(image, 2), (1, 0, 2)),
        8: np.rot90(image),
    }[orientation]
    turn = tf.function(
        orient,
        input_signature=[tf.TensorSpec([None, None, 3], tf.uint8), tf.TensorSpec([], tf.int32)],
    )
    np.testing.assert_array_equal(turn(image, orientation), expected)
    np.testing.assert_array_equal(orient(image, tf.constant(orientation)), expected)


# Sizes


def coverage(old, new):
    """How much of each old pixel lies in each new one: [new,old], rows sum to 1."""
    edges = np.arange(new + 1) * old / new
    low = np.maximum(edges[:-1, None], np.arange(old))
    high = np.minimum(edges[1:, None], np.arange(1, old + 1))
    return np.maximum(high - low, 0) * new / old


def scale(image, height, width):
    """The mean of the areas that pixels cover; where a side grows, Pillow's, each channel as floats
    so that nothing is rounded."""
    if image.shape[0] >= height and image.shape[1] >= width:
        rows, columns = coverage(image.shape[0], height), coverage(image.shape[1], width)
        return np.einsum("ih,jw,hwc->ijc", rows, columns, image.astype(float), optimize=True)
    channels = [
        Image.fromarray(image[..., c].astype(np.float32)).resize(
            (width, height), Image.Resampling.BILINEAR
        )
        for c in range(3)
    ]
    return np.stack([np.asarray(channel) for channel in channels], axis=-1)


def expected_image(image, size, mode):
    height, width = image.shape[:2]
    if mode == "crop":
        factor = min(height / size[0], width / size[1])
        tall, wide = round(factor * size[0]), round(factor * size[1])
        top, left = (height - tall) // 2, (width - wide) // 2
        image = image[top : top + tall, left : left + wide]
    if mode != "pad":
        return scale(image, *size)
    factor = max(height / size[0], width / size[1])
    tall, wide = max(1, round(height / factor)), max(1, round(width / factor))
    padded = np.zeros((*size, 3), np.float32)
    top, left = (size[0] - tall) // 2, (size[1] - wide) // 2
    padded[top : top + tall, left : left + wide] = scale(image, tall, wide)
    return padded


@pytest.mark.parametrize("mode", RESIZE_MODES)
@pytest.mark.parametrize("shape", [(37, 53), (53, 37), (5, 7), (7, 101), (101, 7), (29, 23)])
def test_sizes(shape, mode):
    image = texture(*shape)
    size = (29, 23)
    resized = resize_image(tf.constant(image), size, mode)
    assert resized.shape == (29, 23, 3)
    assert resized.dtype == tf.float32
    np.testing.assert_allclose(resized, expected_image(image, size, mode), atol=0.01)
    in_graph = tf.function(
        lambda image: resize_image(image, size, mode),
        input_signature=[tf.TensorSpec([None, None, 3], tf.uint8)],
    )
    found = in_graph(image)
    np.testing.assert_allclose(found, resized, atol=1e-3)
    assert in_graph.get_concrete_function().output_shapes == tf.TensorShape([29, 23, 3])


@pytest.mark.parametrize("mode", RESIZE_MODES)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_an_image_of_the_size_is_unchanged(mode, dtype):
    image = texture(5, 7).astype(dtype)
    resized = resize_image(tf.constant(image), (5, 7), mode)
    assert resized.dtype == tf.float32
    np.testing.assert_array_equal(resized, image)


@pytest.mark.parametrize("mode", RESIZE_MODES)
@pytest.mark.parametrize("shape", [(1, 1), (1, 1009), (1009, 1), (2, 3001), (3001, 2)])
def test_thin_pictures(shape, mode):
    resized = resize_image(tf.fill((*shape, 3), 200.0), (29, 11), mode).numpy()
    assert resized.shape == (29, 11, 3)
    grey = resized if mode != "pad" else resized[resized > 0]
    assert grey.size >= 3 * 11
    np.testing.assert_allclose(grey, 200, atol=1e-3)


@pytest.mark.parametrize("mode", RESIZE_MODES)
@pytest.mark.parametrize("shape", [(50, 20_000), (20_000, 50)])
def test_a_picture_of_20_000_pixels_a_side(shape, mode):
    pixels = np.zeros((*shape, 3), np.uint8)
    pixels[: shape[0] // 2, : shape[1] // 2] = (30, 90, 210)
    image_bytes = encode(Image.fromarray(pixels), "PNG")
    images, valid = decode_batch(tf.constant([image_bytes]), (32, 32), mode)
    assert valid.numpy().all()
    expected = expected_image(pixels, (32, 32), mode)
    assert expected.any()
    np.testing.assert_allclose(images[0], expected, atol=0.1)


def test_the_mode_must_be_known():
    with pytest.raises(ValueError, match=r"mode must be one of \('stretch', .*, got 'zoom'"):
        resize_image(tf.zeros((2, 3, 3)), (5, 7), "zoom")
