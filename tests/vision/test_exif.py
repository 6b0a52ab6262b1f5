"""The EXIF orientation, held to Pillow's, and to silence on nonsense."""

import io
import struct

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from keras_vlm.vision.exif import (
    MOST_ENTRIES,
    SEARCHED_BYTES,
    begins_with_tables,
    exif_orientation,
    has_exif,
)
from keras_vlm.vision.image import decode_image

ORDERS = {"little": "<", "big": ">"}
PICTURE = Image.fromarray(
    np.random.default_rng(0).integers(0, 256, (3, 5, 3), np.uint8).repeat(8, 0).repeat(8, 1)
)
read = tf.function(exif_orientation, input_signature=[tf.TensorSpec([], tf.string)])


def tiff(order, entries, offset=8):
    """A TIFF structure of one directory; an entry is (tag, type, count, value as 4 bytes)."""
    mark = {"<": b"II", ">": b"MM"}[order]
    block = struct.pack(f"{order}2sHI", mark, 42, offset).ljust(offset, b"\xa5")
    block += struct.pack(f"{order}H", len(entries))
    for tag, kind, count, value in entries:
        block += struct.pack(f"{order}HHI4s", tag, kind, count, value)
    return block + bytes(4)


def orientation_entry(order, value, kind=3):
    return (0x0112, kind, 1, struct.pack(f"{order}HH", value, 0))


def jpeg(block=None, **options):
    """A picture with an APP1 segment that holds a TIFF structure."""
    stream = io.BytesIO()
    if block is not None:
        options["exif"] = b"Exif\0\0" + block
    PICTURE.save(stream, "JPEG", **options)
    return stream.getvalue()


def orientation_of(image_bytes):
    return int(read(tf.constant(image_bytes)))


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_decoded_picture_stands_as_pillow_turns_it(orientation, order):
    image_bytes = jpeg(tiff(order, [orientation_entry(order, orientation)]))
    with Image.open(io.BytesIO(image_bytes)) as picture:
        assert picture.getexif()[0x0112] == orientation
        expected = np.asarray(ImageOps.exif_transpose(picture))
    assert orientation_of(image_bytes) == orientation
    assert int(exif_orientation(tf.constant(image_bytes))) == orientation
    for decode in (decode_image, tf.function(decode_image)):
        np.testing.assert_array_equal(decode(tf.constant(image_bytes)), expected)


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_where_the_tag_may_stand(order):
    """Among others, in a directory that does not follow the header, after another segment."""
    ascii_entry = (0x010F, 2, 4, b"abc\0")
    inch_entry = (0x0128, 3, 1, struct.pack(f"{order}HH", 2, 0))
    entries = [ascii_entry, orientation_entry(order, 6), inch_entry]
    for image_bytes in (
        jpeg(tiff(order, entries)),
        jpeg(tiff(order, entries, offset=31)),
        jpeg(tiff(order, [ascii_entry] * (MOST_ENTRIES - 1) + entries[1:])),
        jpeg(tiff(order, entries), icc_profile=bytes(30_000)),
        jpeg(tiff(order, entries), comment=b"a comment"),
    ):
        with Image.open(io.BytesIO(image_bytes)) as picture:
            assert picture.getexif()[0x0112] == 6
        assert orientation_of(image_bytes) == 6


def test_only_the_first_exif_counts():
    """A preview inside the picture may have its own."""
    first = jpeg(tiff(">", [orientation_entry(">", 8)]))
    assert orientation_of(first + jpeg(tiff("<", [orientation_entry("<", 3)]))) == 8


def test_a_file_that_begins_with_its_tables_is_not_searched():
    plain, turned = jpeg(), jpeg(tiff(">", [orientation_entry(">", 8)]))
    jfif = b"\xff\xe0\0\x10JFIF\0" + bytes(9)
    assert plain[2:6] == jfif[:4]
    files = {
        plain: True,
        plain[:2] + plain[20:]: True,
        turned: False,
        turned[:2] + jfif + turned[2:]: False,
        jpeg(comment=b"a comment"): False,
        plain[:20]: False,
        b"\xff\xd8\xff\xdb": True,
        b"\xff\xd8\xff": False,
        b"\x89PNG\r\n\x1a\n": False,
        b"": False,
    }
    found = [bool(begins_with_tables(tf.constant(each))) for each in files]
    assert found == list(files.values())
    assert not has_exif(tf.constant(plain))
    assert has_exif(tf.constant(turned))


def test_the_tag_may_stand_at_the_end_of_what_is_searched():
    block = b"Exif\0\0" + tiff(">", [orientation_entry(">", 5)])[:-4]
    start = b"\xff\xd8".ljust(SEARCHED_BYTES - len(block), b"\0")
    assert orientation_of(start + block + bytes(100)) == 5
    # Three bytes later, the value itself is not looked at.
    assert orientation_of(start + b"\0\0\0" + block + bytes(100)) == 1


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
@pytest.mark.parametrize("value", [0, 9, 255, 256, 65_535])
def test_values_without_a_meaning_are_1(value, order):
    assert orientation_of(jpeg(tiff(order, [orientation_entry(order, value)]))) == 1


NONSENSE = {
    "no exif": jpeg(),
    "nothing": b"",
    "one byte": b"E",
    "no picture": b"Exif\0\0",
    "no directory": jpeg(b"II*\0"),
    "empty directory": jpeg(tiff("<", [])),
    "another tag": jpeg(tiff("<", [(0x0113, 3, 1, b"\6\0\0\0")])),
    "another type": jpeg(tiff("<", [orientation_entry("<", 6, kind=4)])),
    "other byte order": jpeg(b"MM" + tiff("<", [orientation_entry("<", 6)])[2:]),
    "too many entries": jpeg(
        tiff("<", [(0x010F, 2, 4, b"abc\0")] * MOST_ENTRIES + [orientation_entry("<", 6)])
    ),
    "tag after the last entry": jpeg(
        struct.pack("<2sHIH", b"II", 42, 8, 0) + tiff("<", [orientation_entry("<", 6)])[10:]
    ),
    "directory inside the header": jpeg(
        struct.pack(">2sHI", b"MM", 42, 6) + tiff(">", [orientation_entry(">", 6)])[10:]
    ),
    "directory far away": jpeg(struct.pack("<2sHI", b"II", 42, 2**31 - 1) + bytes(40)),
    "directory at a negative place": jpeg(struct.pack("<2sHi", b"II", 42, -8) + bytes(40)),
}


@pytest.mark.parametrize("name", NONSENSE)
def test_nonsense_is_1(name):
    assert orientation_of(NONSENSE[name]) == 1


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_no_truncation_and_no_changed_byte_raises(order):
    block = tiff(order, [(0x010F, 2, 4, b"abc\0"), orientation_entry(order, 6)])
    whole = jpeg(block)
    start = whole.index(block) - 10
    found = []
    for end in range(start + len(block) + 14):
        found.append(orientation_of(whole[:end]))
    # Before the value has come it is 1, after it 6.
    assert found == sorted(found)
    assert set(found) == {1, 6}
    for length in range(len(block)):
        assert 1 <= orientation_of(jpeg(block[:length])) <= 8
    for place in range(start, start + len(block) + 10):
        for value in (0, 0x7F, 0xFF, whole[place] ^ 0x11):
            changed = bytearray(whole)
            changed[place] = value
            assert 1 <= orientation_of(bytes(changed)) <= 8


def test_random_bytes_after_the_mark_never_raise():
    random = np.random.default_rng(0)
    for i in range(200):
        noise = random.bytes(int(random.integers(0, 90)))
        mark = (b"II", b"MM", b"")[i % 3]
        assert 1 <= orientation_of(b"\xff\xd8\xff\xe1\0\0Exif\0\0" + mark + noise) <= 8
