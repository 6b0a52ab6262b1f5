"""Batches: the right pictures, their own captions, the order of a resumed run, unreadable files."""

import collections
import gc
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_vlm.data import load_data
from keras_vlm.data.feature_cache import FeatureCache
from keras_vlm.data.pipeline import EpochSeed, feature_batches, image_batches
from keras_vlm.data.sources import BytesExamples
from keras_vlm.text import Tokenizer
from keras_vlm.vision.augmentation import Augmentation
from keras_vlm.vision.backbones import Backbone

SIZE = (17, 19)
COUNT = 7
LENGTH = 7
FLIP = Augmentation(flip=0.5)


def make_pictures():
    """Seven pictures, none like another's mirror image: [7,17,19,3] uint8."""
    return np.random.default_rng(0).integers(0, 256, (COUNT, *SIZE, 3), np.uint8)


def make_examples(captions=None, language="en", pictures=None):
    """Picture i has 1 + i % 4 captions, each of two words that occur nowhere else together."""
    captions = captions or [[f"p{i} c{k}" for k in range(1 + i % 4)] for i in range(COUNT)]
    pictures = make_pictures() if pictures is None else pictures
    encoded = [tf.io.encode_png(picture).numpy() for picture in pictures]
    names = [f"picture-{i}" for i in range(COUNT)]
    return BytesExamples("memory", "train", language, names, captions, encoded)


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer(
        [*(f"p{i}" for i in range(COUNT)), *(f"c{k}" for k in range(4))], max_length=LENGTH
    )


@pytest.fixture(scope="module")
def encoder():
    keras.utils.set_random_seed(0)
    return Backbone("conv_small", image_size=SIZE, weights=None, trainable_from=None)


@pytest.fixture
def make_batches(encoder, tmp_path):
    """Makes batches of pictures or of features with the same arguments."""

    def make(kind, examples, tokenizer, batch_size, *, flip=False, **options):
        if kind == "images":
            augmentation = FLIP if flip else None
            options |= {"augmentation": augmentation, "image_size": SIZE}
            return image_batches(examples, tokenizer, batch_size, **options)
        mirrors = (False, True) if flip else (False,)
        caches = [FeatureCache(tmp_path, encoder, mirror=mirror) for mirror in mirrors]
        if flip:
            # Another split came first, so that a picture's two views lie in different rows.
            caches[1].fill(make_examples(pictures=make_pictures()[::-1]), verbose=0)
        return feature_batches(examples, tokenizer, batch_size, caches=caches, **options)

    return make


@pytest.fixture(scope="module")
def views(encoder):
    """What a row of a batch may hold: (kind, mirrored) -> one array a picture."""
    pictures = make_pictures().astype(np.float32)
    mirrored = pictures[:, :, ::-1]
    return {
        ("images", False): pictures,
        ("images", True): mirrored,
        ("features", False): encoder.predict(pictures, verbose=0).astype(np.float16),
        ("features", True): encoder.predict(mirrored, verbose=0).astype(np.float16),
    }


def identify(kind, row, views):
    """Returns ``(picture, mirrored)`` of a row."""
    near = [
        (picture, mirrored)
        for mirrored in (False, True)
        for picture, view in enumerate(views[kind, mirrored])
        if np.abs(view.astype(np.float32) - np.asarray(row, np.float32)).max() < 2e-2
    ]
    assert len(near) == 1, near
    return near[0]


def flatten(batches):
    """Returns ``(pictures or features, whole token rows)`` of all pictures, one after another."""
    shown, rows = [], []
    for inputs, targets in batches:
        (key,) = set(inputs) - {"token_ids"}
        token_ids = inputs["token_ids"].numpy()
        whole = np.concatenate([token_ids[..., :1], targets.numpy()], axis=-1)
        np.testing.assert_array_equal(whole[..., :-1], token_ids)
        shown.extend(inputs[key].numpy())
        rows.extend(whole)
    return np.array(shown), np.array(rows)


def words(tokenizer, rows):
    """Returns the texts of the rows that are not padding, and checks that those are rows of it."""
    real = rows[rows.any(axis=-1)]
    texts = [text.decode("utf-8") for text in tokenizer.detokenize(real).numpy()]
    np.testing.assert_array_equal(tokenizer(texts).numpy(), real)
    return texts


@pytest.mark.parametrize("captions_per_image", [1, 3])
@pytest.mark.parametrize("kind", ["images", "features"])
def test_pictures_come_with_their_own_captions(
    make_batches, tokenizer, views, kind, captions_per_image
):
    examples = make_examples()
    batches = make_batches(kind, examples, tokenizer, 3, captions_per_image=captions_per_image)
    shown, rows = flatten(batches)
    assert rows.shape == (COUNT, captions_per_image, LENGTH)
    assert rows.dtype == np.int32
    for i in range(COUNT):
        assert identify(kind, shown[i], views) == (i, False)
        found = words(tokenizer, rows[i])
        assert len(set(found)) == len(found) == min(captions_per_image, 1 + i % 4)
        assert set(found) <= set(examples.captions[i])
        # Padding comes last: a picture's first rows are its captions.
        assert not rows[i][len(found) :].any()


@pytest.mark.parametrize("kind", ["images", "features"])
def test_the_elements_are_as_the_schema_says(make_batches, tokenizer, encoder, kind):
    batches = make_batches(kind, make_examples(), tokenizer, 3, captions_per_image=2)
    inputs, targets = batches.element_spec
    shown = {
        "images": ("images", (*SIZE, 3), tf.uint8),
        "features": ("image_features", encoder.output_shape[1:], tf.float16),
    }
    key, shape, dtype = shown[kind]
    assert set(inputs) == {key, "token_ids"}
    assert (tuple(inputs[key].shape[1:]), inputs[key].dtype) == (shape, dtype)
    assert inputs["token_ids"].shape.as_list() == [None, 2, LENGTH - 1]
    assert targets.shape.as_list() == [None, 2, LENGTH - 1]
    assert targets.dtype == inputs["token_ids"].dtype == tf.int32


@pytest.mark.parametrize("kind", ["images", "features"])
def test_of_many_captions_every_one_is_drawn(make_batches, tokenizer, kind):
    # The same picture again and again: what is drawn depends on its place in the split.
    encoded = tf.io.encode_png(make_pictures()[0]).numpy()
    captions = [["p0 c0", "p0 c1", "p0 c2"]] * 41
    names = [f"picture-{i}" for i in range(41)]
    examples = BytesExamples("memory", "train", "en", names, captions, [encoded] * 41)
    _, rows = flatten(
        make_batches(kind, examples, tokenizer, 41, captions_per_image=1, epoch_seed=EpochSeed(3))
    )
    drawn = collections.Counter(words(tokenizer, rows[:, 0]))
    assert set(drawn) == set(captions[0])
    assert min(drawn.values()) > 5


@pytest.mark.parametrize("kind", ["images", "features"])
@pytest.mark.parametrize(
    ("language", "unit", "seen", "mirrored"),
    [
        ("en", "word", "A Dog, LEFT of the rightmost cat", "a dog right of the leftmost cat"),
        ("zh", "character", "左边是猫，右边是狗。", "右边是猫左边是狗"),
    ],
)
def test_a_mirrored_picture_swaps_left_and_right(
    make_batches, views, kind, language, unit, seen, mirrored
):
    examples = make_examples([[seen]] * COUNT, language)
    tokenizer = Tokenizer.fit(
        [seen, mirrored], unit=unit, max_length=13, minimum_count=1, language=language
    )
    plain = tokenizer.detokenize(tokenizer([seen])).numpy()[0].decode("utf-8")
    assert plain != mirrored
    counter = tf.Variable(0, dtype=tf.int64)
    batches = make_batches(
        kind,
        examples,
        tokenizer,
        COUNT,
        flip=True,
        captions_per_image=2,
        epoch_seed=EpochSeed(0, counter),
    )
    flips = set()
    for step in range(2):
        counter.assign(step)
        for row, ids in zip(*flatten(batches), strict=True):
            picture, is_mirrored = identify(kind, row, views)
            assert words(tokenizer, ids) == [mirrored if is_mirrored else plain]
            flips.add((picture, is_mirrored))
    # Pictures are seen from both sides, and some from both by now.
    assert COUNT + 2 < len(flips) < 2 * COUNT


@pytest.mark.parametrize("kind", ["images", "features"])
@pytest.mark.parametrize(
    ("batch_size", "training", "validation"),
    [(3, [3, 3], [3, 3, 1]), (7, [7], [7]), (11, [7], [7])],
)
def test_training_drops_the_last_smaller_batch_and_validation_keeps_it(
    make_batches, tokenizer, kind, batch_size, training, validation
):
    for epoch_seed, sizes in ((EpochSeed(0), training), (None, validation)):
        batches = make_batches(kind, make_examples(), tokenizer, batch_size, epoch_seed=epoch_seed)
        assert [len(targets) for _, targets in batches] == sizes
        assert batches.cardinality() == len(sizes)


@pytest.mark.parametrize("kind", ["images", "features"])
def test_epochs_differ_and_a_resumed_run_sees_the_same(make_batches, tokenizer, views, kind):
    examples = make_examples()

    def make(counter, seed=5):
        return make_batches(
            kind,
            examples,
            tokenizer,
            COUNT,
            flip=True,
            captions_per_image=2,
            epoch_seed=EpochSeed(seed, counter),
        )

    counter = tf.Variable(0, dtype=tf.int64)
    batches = make(counter)
    epochs = []
    for step in (0, 2):
        counter.assign(step)
        epochs.append(flatten(batches))
    orders = [tuple(identify(kind, row, views)[0] for row in shown) for shown, _ in epochs]
    assert [sorted(order) for order in orders] == [list(range(COUNT))] * 2
    assert len(set(orders)) == 2
    # A killed run is restored in another process: new variable, new pipeline, other global seed.
    tf.random.set_seed(99)
    resumed = flatten(make(tf.Variable(2, dtype=tf.int64)))
    for ours, theirs in zip(resumed, epochs[1], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    other = [identify(kind, row, views)[0] for row in flatten(make(counter, seed=6))[0]]
    assert tuple(other) not in orders


@pytest.mark.parametrize("kind", ["images", "features"])
def test_the_optimizer_counts_steps_and_whole_epochs_choose_the_order(
    make_batches, tokenizer, kind
):
    optimizer = keras.optimizers.SGD()
    batches = make_batches(
        kind,
        make_examples(),
        tokenizer,
        3,
        captions_per_image=2,
        epoch_seed=EpochSeed(5, optimizer.iterations),
    )
    gc.collect()
    before = flatten(batches)[1]
    # The pipeline runs beside the epoch's first step and may see it counted.
    optimizer.iterations.assign(1)
    np.testing.assert_array_equal(flatten(batches)[1], before)
    # The second of two steps is the last: another epoch.
    optimizer.iterations.assign(2)
    assert (flatten(batches)[1] != before).any()


@pytest.mark.parametrize("kind", ["images", "features"])
def test_a_training_step_that_counts_itself_early_sees_the_same_batches(
    make_batches, tokenizer, kind
):
    counter = tf.Variable(0, dtype=tf.int64)
    batches = make_batches(
        kind,
        make_examples(),
        tokenizer,
        3,
        captions_per_image=2,
        epoch_seed=EpochSeed(5, counter),
    )

    @tf.function
    def take_step(iterator):
        # Nothing orders the two, as in Keras's train step.
        _, targets = next(iterator)
        counter.assign_add(1)
        return targets

    epochs = []
    for _ in range(2):
        iterator = iter(batches)
        epochs.append([take_step(iterator).numpy() for _ in range(2)])
    for epoch, seen in enumerate(epochs):
        counter.assign(2 * epoch)
        np.testing.assert_array_equal(seen, [targets for _, targets in batches])


@pytest.mark.parametrize("kind", ["images", "features"])
def test_without_a_counter_every_epoch_is_the_same(make_batches, tokenizer, kind):
    batches = make_batches(
        kind, make_examples(), tokenizer, 2, captions_per_image=2, epoch_seed=EpochSeed(2)
    )
    for one, two in zip(flatten(batches), flatten(batches), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("epoch_seed", [None, EpochSeed(4)], ids=["in order", "shuffled"])
def test_features_are_what_the_encoder_makes_of_the_pictures(
    make_batches, tokenizer, encoder, epoch_seed
):
    options = {"captions_per_image": 2, "epoch_seed": epoch_seed}
    images, rows = flatten(make_batches("images", make_examples(), tokenizer, 3, **options))
    features, same_rows = flatten(
        make_batches("features", make_examples(), tokenizer, 3, **options)
    )
    np.testing.assert_array_equal(same_rows, rows)
    expected = encoder.predict(images, verbose=0).astype(np.float16)
    np.testing.assert_allclose(features, expected, rtol=2e-3, atol=1e-3)


@pytest.fixture
def damaged_folder(tmp_path):
    """A folder source of five pictures whose third and fifth are no pictures."""
    folder = tmp_path / "photos"
    folder.mkdir()
    lines = []
    for i, picture in enumerate(make_pictures()[:5]):
        encoded = b"no picture" if i in {2, 4} else tf.io.encode_png(picture).numpy()
        (folder / f"{i}.png").write_bytes(encoded)
        lines.append({"image": f"{i}.png", "captions": [f"p{i} c0"], "split": "train"})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "captions.jsonl").write_text(text, encoding="utf-8")
    return load_data(f"folder:{folder}")["train"]


@pytest.mark.parametrize(
    ("augmentation", "epoch_seed"),
    [(None, None), (Augmentation(brightness=0.5, contrast=0.5), EpochSeed(0))],
    ids=["plain", "augmented"],
)
@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_an_unreadable_picture_teaches_nothing_and_is_named(
    damaged_folder, tokenizer, augmentation, epoch_seed, batch_size, capfd
):
    batches = image_batches(
        damaged_folder,
        tokenizer,
        batch_size,
        image_size=SIZE,
        captions_per_image=2,
        augmentation=augmentation,
        epoch_seed=epoch_seed,
    )
    shown, rows = flatten(batches)
    black = ~shown.any(axis=(1, 2, 3))
    np.testing.assert_array_equal(rows.any(axis=(1, 2)), ~black)
    texts = [words(tokenizer, row) for row in rows]
    count = 5 if epoch_seed is None else 5 // batch_size * batch_size
    # The next one takes the place of one that cannot be read.
    assert sorted(texts[:3]) == [["p0 c0"], ["p1 c0"], ["p3 c0"]]
    assert texts[3:] == [[]] * (count - 3)
    errors = capfd.readouterr().err
    assert errors.count("unreadable picture, skipped: ") == 2
    if epoch_seed is None:
        assert texts[:3] == [["p0 c0"], ["p1 c0"], ["p3 c0"]]
        assert 'unreadable picture, skipped: "2.png" | so far: 1' in errors
        assert 'unreadable picture, skipped: "4.png" | so far: 2' in errors
    for name in ("0.png", "1.png", "3.png"):
        assert name not in errors


def test_where_no_picture_can_be_read_training_stops(tmp_path, tokenizer):
    folder = tmp_path / "broken"
    folder.mkdir()
    for name in ("0.png", "1.png"):
        (folder / name).write_bytes(b"no picture")
    lines = [json.dumps({"image": f"{i}.png", "caption": "a dog"}) + "\n" for i in range(2)]
    (folder / "captions.jsonl").write_text("".join(lines), encoding="utf-8")
    examples = load_data(f"folder:{folder}")["train"]
    batches = image_batches(examples, tokenizer, 1, image_size=SIZE, epoch_seed=EpochSeed(0))
    with pytest.raises(tf.errors.InvalidArgumentError, match="no picture can be read"):
        next(iter(batches))


def test_features_leave_unreadable_pictures_out_and_count_them(
    damaged_folder, make_batches, tokenizer, views, capfd
):
    for epoch_seed, expected in ((None, [0, 1, 3]), (EpochSeed(0), None)):
        batches = make_batches(
            "features", damaged_folder, tokenizer, 2, flip=True, epoch_seed=epoch_seed
        )
        shown, rows = flatten(batches)
        found = [identify("features", row, views) for row in shown]
        texts = [words(tokenizer, row) for row in rows]
        assert texts == [[f"p{picture} c0"] for picture, _ in found]
        if expected:
            assert [picture for picture, _ in found] == expected
        assert batches.cardinality() == (2 if expected else 1)
        message = "folder: skipped 2 of 5 pictures that cannot be read (the first: 2.png).\n"
        assert message in capfd.readouterr().err


@pytest.mark.parametrize("kind", ["images", "features"])
def test_errors(make_batches, tokenizer, kind):
    with pytest.raises(ValueError, match="batch_size must be a whole number >= 1, got 0"):
        make_batches(kind, make_examples(), tokenizer, 0)
    with pytest.raises(ValueError, match="seed must be a whole number >= 0, got -1"):
        EpochSeed(-1)
    examples = make_examples()
    examples.captions = None
    with pytest.raises(ValueError, match="memory:train: the split must have captions, got none"):
        make_batches(kind, examples, tokenizer, 2)
