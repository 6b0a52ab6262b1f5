import numpy as np
import pytest
import tensorflow as tf

from keras_vlm.core.checks import DataError
from keras_vlm.data import load_data

tfds = pytest.importorskip(
    "tensorflow_datasets", reason="tensorflow-datasets is not installed (extra 'tfds')"
)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """COCO captions of 11 and 2 pictures in the on-disk form of TensorFlow Datasets."""
    folder = tmp_path_factory.mktemp("tfds")
    builder = tfds.builder("coco_captions", data_dir=folder)
    builder.data_path.mkdir(parents=True)
    writer = tfds.core.SequentialWriter(builder.info, max_examples_per_shard=3)
    writer.initialize_splits(["train", "val"])
    for split, count in (("train", 11), ("val", 2)):
        writer.add_examples({split: [_example(split, i) for i in range(count)]})
    writer.close_all()
    return folder


def _example(split, number):
    captions = 0 if (split, number) == ("train", 4) else 1 + number % 3
    return {
        "image": np.full((5, 7, 3), 20 * number, np.uint8),
        "image/filename": f"{number}.jpg",
        "image/id": 100 + number,
        "captions": [{"id": k, "text": f"picture {number} text {k}"} for k in range(captions)],
        "objects": [],
    }


@pytest.fixture(scope="module")
def train(data_dir):
    return load_data(f"tfds:coco_captions:{data_dir}")["train"]


def test_splits_and_sizes(data_dir):
    splits = load_data(f"tfds:coco_captions:{data_dir}")
    assert list(splits) == ["train", "val"]
    assert len(splits["val"]) == 2
    assert splits["val"].name == "coco_captions"


def test_reads_what_was_written_and_counts_what_has_no_caption(train):
    assert train.skipped == {"without captions": ["104"]}
    assert sorted(train.image_ids) == sorted(str(100 + i) for i in range(11) if i != 4)
    elements = list(train.dataset().as_numpy_iterator())
    assert len(elements) == len(train) == 10
    for place, element in enumerate(elements):
        number = int(element["image_id"]) - 100
        assert element["index"] == place
        assert train.image_ids[place] == element["image_id"].decode()
        texts = [f"picture {number} text {k}" for k in range(1 + number % 3)]
        assert [text.decode() for text in element["captions"]] == texts == train.captions[place]
        # Encoded bytes, as stored: the pictures are not decoded by the source.
        image = tf.io.decode_image(element["image_bytes"])
        np.testing.assert_allclose(image, np.full((5, 7, 3), 20 * number), atol=2)


def test_shuffles_by_a_seed_that_is_a_tensor(train):
    counter = tf.Variable(5, dtype=tf.int64)
    epochs = (
        tf.data.Dataset.from_tensors(0)
        .map(lambda _: tf.identity(counter))
        .flat_map(lambda seed: train.dataset(shuffle_seed=seed))
    )

    def order():
        return [int(example["index"]) for example in epochs]

    first = order()
    assert sorted(first) == list(range(10))
    assert first != list(range(10))
    assert first == order() == [int(e["index"]) for e in train.dataset(5)]
    counter.assign(6)
    assert order() != first


def test_a_folder_without_the_data_is_an_error_and_downloads_nothing(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not hold coco_captions"):
        load_data(f"tfds:coco_captions:{tmp_path}")


def test_unknown_data_set(tmp_path):
    with pytest.raises(ValueError, match="no data set 'coco_captionz'"):
        load_data(f"tfds:coco_captionz:{tmp_path}")


def test_a_data_set_without_captions(tmp_path):
    builder = tfds.builder("mnist", data_dir=tmp_path)
    builder.data_path.mkdir(parents=True)
    writer = tfds.core.SequentialWriter(builder.info, max_examples_per_shard=3)
    writer.initialize_splits(["train"])
    writer.add_examples({"train": [{"image": np.zeros((28, 28, 1), np.uint8), "label": 7}]})
    writer.close_all()
    with pytest.raises(DataError, match="tfds:mnist: .* must have .*'captions'.*found 'image', 'l"):
        load_data(f"tfds:mnist:{tmp_path}")


def test_other_languages_are_refused(tmp_path):
    with pytest.raises(ValueError, match="language must be 'en'.*got 'zh'"):
        load_data(f"tfds:coco_captions:{tmp_path}", language="zh")
