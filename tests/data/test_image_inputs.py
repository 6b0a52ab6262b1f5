"""Whatever a person may call a picture: every kind gives the same batches."""

import pathlib

import numpy as np
import pytest
import tensorflow as tf

from keras_vlm.data import load_data
from keras_vlm.data.image_inputs import is_single, read_encoded, read_images
from keras_vlm.data.sources import BytesExamples
from keras_vlm.vision.image import decode_image, resize_image

SIZE = (11, 13)
COUNT = 5


def make_pictures():
    """Noise, uint8 [5,23,29,3]."""
    return np.random.default_rng(0).integers(0, 256, (COUNT, 23, 29, 3), np.uint8)


@pytest.fixture(scope="module")
def encoded():
    return [tf.io.encode_png(picture).numpy() for picture in make_pictures()]


@pytest.fixture(scope="module")
def paths(encoded, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for i, data in enumerate(encoded):
        (folder / f"{i}.png").write_bytes(data)
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def expected():
    return np.stack([resize_image(picture, SIZE) for picture in make_pictures()])


def make_split(encoded):
    # Captions differ in number, as they do in many data sets.
    captions = [["text"] * (1 + i % 3) for i in range(COUNT)]
    return BytesExamples("memory", "val", "en", list("abcde"), captions, encoded)


def slices(value):
    return tf.data.Dataset.from_tensor_slices(value)


# Kind -> function of (pictures [5,h,w,3] uint8, encoded, paths) that makes the argument.
KINDS = {
    "paths": lambda pictures, encoded, paths: paths,
    "texts of paths": lambda pictures, encoded, paths: [str(path) for path in paths],
    "tuple of paths": lambda pictures, encoded, paths: tuple(paths),
    "bytes": lambda pictures, encoded, paths: encoded,
    "object array of bytes": lambda pictures, encoded, paths: np.array(encoded, object),
    "arrays": lambda pictures, encoded, paths: list(pictures),
    "float arrays": lambda pictures, encoded, paths: list(pictures.astype(np.float32)),
    "tensors": lambda pictures, encoded, paths: [tf.constant(picture) for picture in pictures],
    "one array": lambda pictures, encoded, paths: pictures,
    "one float64 array": lambda pictures, encoded, paths: pictures.astype(np.float64),
    "one tensor": lambda pictures, encoded, paths: tf.constant(pictures),
    "mixed": lambda pictures, encoded, paths: [
        pictures[0],
        encoded[1],
        str(paths[2]),
        tf.constant(pictures[3]),
        paths[4],
    ],
    "iterator": lambda pictures, encoded, paths: iter(encoded),
    "split": lambda pictures, encoded, paths: make_split(encoded),
    "dataset of bytes": lambda pictures, encoded, paths: slices(encoded),
    "batched dataset of bytes": lambda pictures, encoded, paths: slices(encoded).batch(3),
    "dataset of arrays": lambda pictures, encoded, paths: slices(pictures),
    "batched dataset of arrays": lambda pictures, encoded, paths: slices(pictures).batch(3),
    "dataset of examples": lambda pictures, encoded, paths: make_split(encoded).dataset(),
    "batched dataset of dicts of bytes": lambda pictures, encoded, paths: slices(
        {"image_bytes": encoded}
    ).batch(2),
    "dataset of dicts of arrays": lambda pictures, encoded, paths: slices({"image": pictures}),
    "batched dataset of inputs and targets": lambda pictures, encoded, paths: slices(
        ({"images": pictures, "token_ids": np.zeros((COUNT, 7))}, np.zeros((COUNT, 7)))
    ).batch(3),
    "dataset of pictures and labels": lambda pictures, encoded, paths: slices(
        (encoded, np.arange(COUNT))
    ),
}


@pytest.fixture(params=KINDS, ids=str)
def images(request, encoded, paths):
    return KINDS[request.param](make_pictures(), encoded, paths)


def test_every_kind_gives_the_same_pictures(images, expected):
    batches = list(read_images(images, SIZE, batch_size=2))
    assert [len(batch) for batch, _ in batches] == [2, 2, 1]
    for batch, valid in batches:
        assert batch.dtype == tf.float32
        assert valid.dtype == tf.bool
        assert valid.numpy().all()
    found = np.concatenate([batch for batch, _ in batches])
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_every_kind_is_encoded_without_loss(images):
    batches = list(read_encoded(images, batch_size=2))
    assert [len(batch) for batch in batches] == [2, 2, 1]
    found = [decode_image(picture).numpy() for batch in batches for picture in batch]
    np.testing.assert_array_equal(found, make_pictures())


SINGLE = {
    "path": lambda picture, encoded, path: path,
    "text of a path": lambda picture, encoded, path: str(path),
    "bytes": lambda picture, encoded, path: encoded,
    "array": lambda picture, encoded, path: picture,
    "tensor": lambda picture, encoded, path: tf.constant(picture),
}


@pytest.mark.parametrize("kind", SINGLE)
def test_one_picture(kind, encoded, paths, expected):
    image = SINGLE[kind](make_pictures()[3], encoded[3], paths[3])
    assert is_single(image)
    assert not is_single([image])
    ((batch, valid),) = read_images(image, SIZE)
    np.testing.assert_allclose(batch, expected[3:4], atol=1e-3)
    assert valid.numpy().tolist() == [True]


def test_many_are_not_one(encoded):
    for images in (make_pictures(), tf.constant(make_pictures()), make_split(encoded), encoded):
        assert not is_single(images)


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
def test_how_pictures_are_brought_to_the_size(encoded, resize):
    expected = np.stack([resize_image(picture, SIZE, resize) for picture in make_pictures()])
    for images in (encoded, make_pictures(), [encoded[0], *make_pictures()[1:]]):
        ((batch, _),) = read_images(images, SIZE, resize=resize)
        np.testing.assert_allclose(batch, expected, atol=1e-3)


def test_pictures_of_different_sizes(expected, encoded):
    small = np.full((3, 2, 3), 77, np.uint8)
    for images in ([small, encoded[0]], [tf.io.encode_png(small).numpy(), encoded[0]]):
        ((batch, valid),) = read_images(images, SIZE)
        np.testing.assert_allclose(batch[0], np.full((*SIZE, 3), 77), atol=1e-3)
        np.testing.assert_allclose(batch[1], expected[0], atol=1e-3)
        assert valid.numpy().all()


def test_an_unreadable_picture_is_black_and_spoils_no_other(encoded, expected, tmp_path):
    path = tmp_path / "text.jpg"
    path.write_text("no picture")
    bad = [encoded[1][:200], b"", path]
    for others in (encoded[:2], list(make_pictures()[:2])):
        ((batch, valid),) = read_images([others[0], *bad, others[1]], SIZE)
        assert valid.numpy().tolist() == [True, False, False, False, True]
        assert not batch[1:4].numpy().any()
        np.testing.assert_allclose(batch.numpy()[[0, 4]], expected[:2], atol=1e-3)
    ((batch, valid),) = read_images(bad, SIZE)
    assert not valid.numpy().any()
    assert not batch.numpy().any()


def test_no_pictures_are_no_batches():
    assert list(read_images([], SIZE)) == list(read_encoded([])) == []


def test_encoding_passes_bytes_on_and_rounds_arrays(encoded):
    values = np.full((2, 3, 3), 7, np.float32)
    values[0, :, 0] = 254.6, 300.0, -3.0
    (batch,) = read_encoded([encoded[0], b"no picture", values])
    assert batch[:2].numpy().tolist() == [encoded[0], b"no picture"]
    rounded = values.copy()
    rounded[0, :, 0] = 255, 255, 0
    np.testing.assert_array_equal(decode_image(batch[2]), rounded)


def test_pictures_are_read_when_asked_for(paths):
    batches = read_images([paths[0], paths[1], "nowhere.png"], SIZE, batch_size=2)
    next(batches)
    with pytest.raises(FileNotFoundError, match=r"nowhere\.png: no such picture"):
        next(batches)


@pytest.mark.parametrize("read", [lambda images: read_images(images, SIZE), read_encoded])
@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        ("nowhere.png", FileNotFoundError, r"nowhere\.png: no such picture"),
        (pathlib.Path("no/where.png"), FileNotFoundError, r"where\.png: no such picture"),
        ([pathlib.Path(__file__).parent], FileNotFoundError, "data: no such picture"),
        (5, TypeError, r"must be a path, bytes, or an array \[H,W,3\], got int"),
        (None, TypeError, "got NoneType"),
        ([None], TypeError, "got NoneType"),
        ({"images": []}, TypeError, "got dict"),
        (np.zeros((7, 5, 4)), TypeError, r"got ndarray of shape \(7, 5, 4\)"),
        (np.zeros((2, 7, 5, 1)), TypeError, r"got ndarray of shape \(7, 5, 1\)"),
        ([np.zeros((7, 5))], TypeError, r"got ndarray of shape \(7, 5\)"),
        ([np.zeros((2, 7, 5, 3))], TypeError, r"got ndarray of shape \(2, 7, 5, 3\)"),
        ([[b"bytes"]], TypeError, "got list"),
        (
            slices({"photo": np.zeros((2, 7, 5, 3)), "label": np.zeros(2)}),
            TypeError,
            r"dict must have 'image_bytes' or 'images', got \['label', 'photo'\]",
        ),
        (tf.data.Dataset.range(3), TypeError, "got int64"),
    ],
)
def test_errors(read, images, error, message):
    with pytest.raises(error, match=message):
        list(read(images))


def test_a_data_set_is_no_split():
    with pytest.raises(TypeError, match="got Splits"):
        list(read_images(load_data("scenes:20"), SIZE))
