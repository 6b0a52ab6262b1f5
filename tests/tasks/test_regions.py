"""Models whose tokens are boxes and masks: the contracts, and what regions let them learn."""

import contracts
import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_vlm import (
    Backbone,
    GRUEncoder,
    LSTMDecoder,
    RegionEncoder,
    Tokenizer,
    TransformerDecoder,
    build_captioner,
    build_retriever,
    build_vqa,
    choose_answers,
    detect_regions,
    load_data,
    segment_regions,
)
from keras_vlm.data.image_inputs import read_images
from keras_vlm.data.regions import Regions
from keras_vlm.data.sources import BytesExamples
from keras_vlm.export.saved_model import export_saved_model
from keras_vlm.export.served import open_saved_model
from keras_vlm.fusion import QUESTION_FUSIONS, MultiHeadFusion
from keras_vlm.tasks.reranking import build_reranker
from keras_vlm.tasks.towers import Tower

# What each test tries in every run; the rest is slow.
REGIONS = contracts.few(["boxes", "grid+boxes+masks"], "grid+boxes+masks")


def encoder_of(regions, max_regions=3):
    keras.utils.set_random_seed(5)
    backbone = Backbone("conv_small", image_size=32, weights=None, trainable_from="all")
    return RegionEncoder(backbone, regions, max_regions=max_regions)


@pytest.fixture(scope="module")
def examples():
    return load_data("scenes:31")["train"]


def captioner_of(examples, regions, decoder=None):
    encoder = encoder_of(regions)
    return build_captioner(
        encoder,
        text=decoder or LSTMDecoder(MultiHeadFusion(), hidden_dim=24, dropout=0.1),
        tokenizer=Tokenizer.fit(examples, minimum_count=1, max_length=9),
    )


def loud(model):
    """Random weights that tell pictures apart."""
    for weight in model.text_decoder.trainable_variables:
        weight.assign_add(0.2 * keras.random.normal(weight.shape))
    return model


def vqa_of(examples, fusion, answers="choose"):
    return build_vqa(
        encoder_of("grid+boxes"),
        tokenizer=examples,
        answers=choose_answers(examples, answers),
        text=GRUEncoder(hidden_dim=16, dropout=0.0),
        fusion=QUESTION_FUSIONS[fusion](),
    )


def retriever_of(examples, pooling="attention"):
    return build_retriever(
        encoder_of("boxes+masks"),
        text=GRUEncoder(hidden_dim=16, dropout=0.0),
        dim=[Tower(16, pooling=pooling), Tower(16)],
        tokenizer=Tokenizer.fit(examples, minimum_count=1, max_length=9),
    )


@pytest.mark.slow
@pytest.mark.parametrize("regions", REGIONS)
def test_a_captioner_keeps_the_contracts(examples, regions, tmp_path):
    model = loud(captioner_of(examples, regions))
    batch = next(iter(model.batches(examples, 5, shuffle=False, captions_per_image=2)))
    assert set(batch[0]) == {"images", "token_ids", *model.region_shapes}
    contracts.check_gradients(model, batch)
    pictures = list(examples.dataset().take(4).as_numpy_iterator())
    pictures = [{k: v for k, v in each.items() if k in {"image_bytes", "boxes", "masks"}}
                for each in pictures]  # fmt: skip
    contracts.check_packed_steps(model, batch)
    contracts.check_saves(model, batch, pictures, tmp_path)
    contracts.check_learns(model, batch)


@pytest.mark.slow
def test_a_transformer_masks_them_too(examples):
    decoder = TransformerDecoder(MultiHeadFusion(), hidden_dim=24, dropout=0.1)
    model = captioner_of(examples, "grid+boxes", decoder)
    batch = next(iter(model.batches(examples, 5, shuffle=False)))
    contracts.check_padding_is_nothing(model, batch)
    contracts.check_learns(model, batch)


@pytest.mark.parametrize("fusion", ["additive", "concat"])
def test_padding_regions_are_nothing(examples, fusion):
    """A model with room for more regions says the same."""
    model = build_captioner(
        encoder_of("boxes", 3),
        text="lstm",
        fusion=fusion,
        tokenizer=Tokenizer.fit(examples, minimum_count=1, max_length=9),
    )
    wider = build_captioner(
        encoder_of("boxes", 7), text="lstm", fusion=fusion, tokenizer=model.tokenizer
    )
    wider.set_weights(model.get_weights())
    inputs, _ = next(iter(model.batches(examples, 5, shuffle=False)))
    more, _ = next(iter(wider.batches(examples, 5, shuffle=False)))
    assert more["boxes"].shape[1] == 7
    np.testing.assert_allclose(wider(more), model(inputs), atol=1e-4)


@pytest.mark.parametrize(
    "fusion",
    contracts.few(["stacked_attention", "co_attention", "cross_attention"], "stacked_attention"),
)
def test_questions(examples, fusion, tmp_path):
    model = vqa_of(examples, fusion)
    batch = next(iter(model.batches(examples, 5, shuffle=False)))
    model.fit(*batch, verbose=0)
    weights = model.reader(model.encoder({k: batch[0][k] for k in ("images", "boxes")}),
                           batch[0]["token_ids"])[1]  # fmt: skip
    empty = ~np.asarray(batch[0]["boxes"]).any(axis=-1)
    np.testing.assert_allclose(weights.numpy()[:, :, 16:].transpose(0, 2, 1)[empty], 0, atol=1e-6)
    path = tmp_path / "model.keras"
    model.save(path)
    again = keras.saving.load_model(path)
    np.testing.assert_allclose(again(batch[0]), model(batch[0]), atol=1e-5)


@pytest.mark.slow
def test_written_answers(examples):
    model = vqa_of(examples, "co_attention", "write")
    batch = next(iter(model.batches(examples, 5, shuffle=False)))
    model.fit(*batch, verbose=0)
    assert all(answer.text for row in model.answer(examples) for answer in row)


@pytest.mark.slow
@pytest.mark.parametrize("pooling", ["max", "attention"])
def test_a_retriever(examples, pooling):
    model = retriever_of(examples, pooling)
    batch = next(iter(model.batches(examples, 5, shuffle=False)))
    contracts.check_gradients(model, batch)
    model.fit(*batch, verbose=0)
    model.fit(*batch, verbose=0, gradient_cache=2)
    vectors = model.embed_images(examples)
    assert vectors.shape == (len(examples), 16)
    # Other objects, another vector; regions that are not there, the same.
    elements = list(examples.dataset().take(2).as_numpy_iterator())
    rows = [{"image": e["image_bytes"], "boxes": e["boxes"], "masks": e["masks"]} for e in elements]
    np.testing.assert_allclose(model.embed_images(rows), vectors[:2], atol=1e-5)
    swapped = [{**rows[0], "boxes": rows[1]["boxes"]}]
    assert not np.allclose(model.embed_images(swapped), vectors[:1], atol=1e-4)


def test_served_words_are_the_python_words(examples, tmp_path):
    model = loud(captioner_of(examples, "grid+boxes+masks"))
    rows = [
        {"image": e["image_bytes"], "boxes": e["boxes"], "masks": e["masks"]}
        for e in examples.dataset().take(5).as_numpy_iterator()
    ]
    export_saved_model(model, tmp_path / "served", beam_size=2)
    served = open_saved_model(tmp_path / "served")
    assert served.caption(rows) == model.caption(rows, beam_size=2)
    assert served.caption(rows[:1], beam_size=1) == model.caption(rows[:1], beam_size=1)
    # More regions than the model takes are cut off, none at all are none.
    many = {**rows[0], "boxes": np.tile(rows[0]["boxes"], (9, 1))}
    none = {**rows[0], "boxes": np.zeros((0, 4)), "masks": np.zeros((0, 56, 56))}
    assert served.caption([many, none]) == model.caption([many, none], beam_size=2)


@pytest.mark.slow
def test_served_answers_and_vectors(examples, tmp_path):
    vqa, retriever = vqa_of(examples, "concat"), retriever_of(examples)
    keys = ("boxes", "masks")
    rows = [
        {"image": e["image_bytes"], **{k: e[k] for k in keys}}
        for e in examples.dataset().take(3).as_numpy_iterator()
    ]
    export_saved_model(vqa, tmp_path / "vqa")
    export_saved_model(retriever, tmp_path / "retriever")
    asked = "is there a red circle ?"
    served = open_saved_model(tmp_path / "vqa").answer(rows, asked)
    assert [a.text for a in served] == [a.text for a in vqa.answer(rows, asked)]
    found = open_saved_model(tmp_path / "retriever").embed_images(rows)
    np.testing.assert_allclose(found, retriever.embed_images(rows), atol=1e-5)


@pytest.mark.slow
def test_boxes_tell_what_a_grid_cannot(examples):
    """The caption names the object in the box, of two: half of all guesses are wrong without it."""
    colours, pictures, regions, captions = ("red", "blue"), [], [], []
    for number in range(24):
        random = np.random.default_rng(number)
        image = np.full((32, 32, 3), 128, np.uint8)
        left = number % 2
        for place, colour in enumerate(((255, 0, 0), (0, 0, 255))):
            x = 2 if place == left else 18
            image[8:24, x : x + 12] = colour
        asked = int(random.integers(2))
        x = 2 if asked == left else 18
        box = np.array([[8, x, 24, x + 12]], np.float32) / 32
        pictures.append(tf.io.encode_png(image).numpy())
        regions.append(Regions(box, [colours[asked]]))
        captions.append([f"it is {colours[asked]}"])
    split = _split_of(pictures, captions, regions)
    right = {}
    for kind in ("grid", "grid+boxes"):
        model = captioner_of(split, kind)
        model.optimizer.learning_rate = 5e-3
        model.compile(model.optimizer, model.loss)
        batches = model.batches(split, 12, shuffle=True, captions_per_image=1)
        model.fit(batches, epochs=25, verbose=0)
        said = model.caption(split, beam_size=1)
        right[kind] = np.mean([a == [b] for a, b in zip(captions, said, strict=True)])
    assert right["grid"] < 0.8
    assert right["grid+boxes"] == 1.0


def _split_of(pictures, captions, regions):
    from keras_vlm.data.sources.base import BytesExamples

    ids = [str(number) for number in range(len(pictures))]
    return BytesExamples("mine", "train", "en", ids, captions, pictures, regions=regions)


def test_a_detector_and_a_segmenter_give_regions(examples):
    def detector(images):
        assert images.shape[1:] == (64, 48, 3)
        boxes = [[[0, 0, 0.5, 2.0], [0.1, 0.1, 0.2, 0.2]]] * len(images)
        return boxes, [["dog", "cat"]] * len(images), [[0.4, 0.9]] * len(images)

    found = detect_regions(examples, detector, image_size=(64, 48), verbose=0)
    element = next(iter(found.dataset()))
    assert element["labels"].numpy().tolist() == [b"cat", b"dog"]
    np.testing.assert_allclose(element["boxes"], [[0.1, 0.1, 0.2, 0.2], [0, 0, 0.5, 1.0]])
    before = next(iter(examples.dataset()))
    np.testing.assert_array_equal(element["masks"], before["masks"])
    few = detect_regions(examples, detector, image_size=(64, 48), least_score=0.5, verbose=0)
    assert len(next(iter(few.dataset()))["boxes"]) == 1

    def segmenter(images):
        labels = np.zeros((len(images), 10, 20), int)
        labels[:, :, 12:] = 2
        labels[:, :2, :2] = 1
        return labels

    pictures = [each["image_bytes"] for each in examples.dataset().as_numpy_iterator()]
    bare = _split_of(pictures, [["x"]] * len(pictures), None)
    for split, labels in ((bare, [b"sea", b"sky"]), (found, [b"cat", b"dog"])):
        both = segment_regions(split, segmenter, names=["", "sky", "sea"], verbose=0)
        element = next(iter(both.dataset()))
        assert element["labels"].numpy().tolist() == labels
        covered = element["masks"].numpy().mean(axis=(1, 2))
        np.testing.assert_allclose(covered, [0.4, 0.02], atol=0.01)
    np.testing.assert_allclose(element["boxes"], [[0.1, 0.1, 0.2, 0.2], [0, 0, 0.5, 1.0]])
    with pytest.raises(ValueError, match="a name for every label, got 2 names and label 2"):
        segment_regions(bare, segmenter, names=["", "sky"], verbose=0)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (([], [], []), "detector must give 5 rows of boxes, one a picture, got 0"),
        (([[]] * 5, [["dog"]] * 5, [[0.9]] * 5), "as many boxes .* got 0 numbers of boxes, 1 lab"),
        (([[[0, 0, 1, 1]]] * 5, [[]] * 5, [[0.9]] * 5), "got 4 numbers of boxes, 0 labels and 1"),
    ],
)
def test_a_detector_that_gives_other_numbers_is_refused(rows, message):
    few = load_data("scenes:5")["train"]
    with pytest.raises(ValueError, match=message):
        detect_regions(few, lambda images: rows, image_size=32, verbose=0)
    with pytest.raises(ValueError, match="segmenter must give 5 label maps, .* got 1"):
        segment_regions(few, lambda images: np.zeros((1, 4, 4), int), image_size=32, verbose=0)


def test_a_picture_that_cannot_be_read_has_no_region():
    good = next(load_data("scenes:5")["train"].dataset().as_numpy_iterator())["image_bytes"]
    split = BytesExamples("mine", "train", "en", ["a", "b"], [["x"], ["y"]], [b"broken", good])
    found = segment_regions(split, lambda images: np.ones((2, 4, 4), int), verbose=0)
    broken, whole = found.dataset().as_numpy_iterator()
    assert set(broken) == {"image_bytes", "image_id", "index", "captions", "labels", "masks"}
    assert (len(broken["masks"]), len(whole["masks"])) == (0, 1)


def test_pictures_without_their_regions_are_refused(examples):
    model = captioner_of(examples, "boxes")
    picture = next(examples.dataset().as_numpy_iterator())["image_bytes"]
    with pytest.raises(TypeError, match="a picture must come with its boxes, got .'image'."):
        model.caption(picture)
    bad = {"image": picture, "boxes": [[0, 1, 2]]}
    with pytest.raises(TypeError, match=r"boxes must be \[R, 4\], got the shape \(1, 3\)"):
        list(read_images(bad, (8, 8), region_shapes={"boxes": (2, 4)}))
    bare = load_data("scenes:5")["train"].with_regions([Regions()] * 5)
    with pytest.raises(ValueError, match="scenes:train: the split must have boxes for this model"):
        model.batches(bare, 2)
    with pytest.raises(ValueError, match="regions must be 5, one a picture, got 2"):
        bare.with_regions([Regions()] * 2)


def test_a_reranker_refuses_them(examples):
    with pytest.raises(ValueError, match="encoder must look at the grid alone, got one with reg"):
        build_reranker(retriever_of(examples))
