import numpy as np
import pytest
import tensorflow as tf

from keras_vlm import Backbone, RegionEncoder, build_vqa
from keras_vlm.core.checks import DataError
from keras_vlm.data import load_data
from keras_vlm.data.sources.tfds import _read_questions, _read_regions
from keras_vlm.text.answers import AnswerVocabulary

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


@pytest.mark.parametrize("global_seed", [None, 0, 3])
def test_shuffles_by_a_seed_that_is_a_tensor(train, global_seed, request):
    # Training runs set it.
    request.addfinalizer(lambda: tf.random.set_seed(None))
    tf.random.set_seed(global_seed)
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


class Described(tfds.core.GeneratorBasedBuilder):
    """A data set with names of its own, questions and objects."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {
            "photo": tfds.features.Image(shape=(None, None, 3)),
            "filename": tfds.features.Text(),
            "texts": {"en": tfds.features.Sequence(tfds.features.Text())},
            "question_answer": tfds.features.Sequence(
                {"question": tfds.features.Text(), "answer": tfds.features.Text()}
            ),
            "objects": tfds.features.Sequence(
                {
                    "bbox": tfds.features.BBoxFeature(),
                    "label": tfds.features.ClassLabel(names=["cat", "dog"]),
                }
            ),
        }
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(features), description="made up"
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for number in range(3):
            box = tfds.features.BBox(ymin=0.1, xmin=0.2, ymax=0.5, xmax=0.75)
            yield (
                number,
                {
                    "photo": np.full((5, 7, 3), 20 * number, np.uint8),
                    "filename": f"{number}.png",
                    "texts": {"en": [f"text {number}", "more"]},
                    "question_answer": [{"question": f"what {number}", "answer": "a dog"}] * number,
                    "objects": [{"bbox": box, "label": "dog"}] * number,
                },
            )


@pytest.fixture(scope="module")
def described(tmp_path_factory):
    folder = tmp_path_factory.mktemp("described")
    Described(data_dir=folder).download_and_prepare()
    return f"tfds:described:{folder}"


def test_features_by_other_names(described):
    split = load_data(described, keys="image=photo,captions=texts/en", language="en")["train"]
    elements = {e["image_id"].decode(): e for e in split.dataset().as_numpy_iterator()}
    assert sorted(elements) == ["0.png", "1.png", "2.png"]
    one = elements["2.png"]
    assert one["captions"].tolist() == [b"text 2", b"more"]
    np.testing.assert_allclose(one["boxes"], [[0.1, 0.2, 0.5, 0.75]] * 2, atol=1e-6)
    assert one["labels"].tolist() == [b"dog"] * 2
    assert elements["0.png"]["boxes"].shape == (0, 4)
    assert tf.io.decode_image(one["image_bytes"]).numpy()[0, 0].tolist() == [40, 40, 40]


def test_questions_by_their_names(described):
    split = load_data(described, keys={"image": "photo"})["train"]
    found = {i: [(q.text, q.answers) for q in each]
             for i, each in zip(split.image_ids, split.questions, strict=True)}  # fmt: skip
    assert found == {"1.png": [("what 1", ("a dog",))], "2.png": [("what 2", ("a dog",))] * 2}


def test_questions_of_a_stream_make_batches(described):
    """In the stream's own order; what needs another is refused."""
    split = load_data(described, keys={"image": "photo"})["train"]
    encoder = Backbone("conv_small", image_size=32, weights=None, trainable_from="all")
    model = build_vqa(
        RegionEncoder(encoder, "grid+boxes", max_regions=3),
        tokenizer=split, answers=AnswerVocabulary(["dog", "cat"]), text="bag", fusion="concat",
    )  # fmt: skip
    for options in ({"shuffle": False}, {"shuffle": True, "augment": "light"}):
        [(inputs, targets)] = model.batches(split, 2, questions_per_image=2, **options)
        asked = (targets.numpy() >= 0).all(axis=-1).sum(axis=1)
        # The first picture has one question, the second two.
        order = np.argsort(asked)
        assert asked[order].tolist() == [1, 2]
        boxes = inputs["boxes"].numpy()[order]
        assert (boxes.any(axis=-1).sum(axis=1) == [1, 2]).all()
        assert np.isfinite(model.train_on_batch(inputs, targets))
    with pytest.raises(ValueError, match="balance must be 'none' or 'loss' for described"):
        model.batches(split, 2, shuffle=True, balance="sampling")


def test_crowds_are_left_out_and_large_boxes_come_first():
    small, large, crowd = [0, 0, 0.1, 0.1], [0, 0, 0.5, 0.5], [0, 0, 1, 1]
    values = {"boxes": [small, crowd, large], "labels": [b"cat", b"sheep", b"dog"],
              "crowds": [False, True, False]}  # fmt: skip
    found = _read_regions(values, {"labels": ("labels", None)}, "7")
    np.testing.assert_allclose(found.boxes, [large, small])
    assert found.labels == ["dog", "cat"]


def test_features_that_are_not_there(described):
    with pytest.raises(DataError, match="key 'txt' is missing from the features .found 'photo'"):
        load_data(described, keys="image=photo,captions=txt")
    with pytest.raises(ValueError, match="keys must be one of 'image', .* got 'caption"):
        load_data(described, keys="caption=texts/en")
    with pytest.raises(ValueError, match="keys must be pairs such as .* got 'captions:texts/en'"):
        load_data(described, keys="image=photo,captions:texts/en")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"boxes": [[10, 20, 60, 80]]}, "the boxes of 7 must be .* as shares .* got 10 to 80"),
        ({"boxes": [[0, 0, 1, 1]], "labels": [b"dog", b"cat"]}, "as many labels as boxes, got 2"),
    ],
)
def test_boxes_that_cannot_be_meant(values, message):
    with pytest.raises(DataError, match=message):
        _read_regions(values, {"labels": ("labels", None)}, "7")


def test_answers_that_belong_to_no_question():
    values = {"question": [b"is it ?", b"what ?"], "answer": [b"yes", b"no", b"two"]}
    with pytest.raises(DataError, match="7 must have as many answers as questions, got 3 to 2"):
        _read_questions(values, "7")
