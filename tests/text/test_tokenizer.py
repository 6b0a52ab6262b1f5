import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import WORDS, small_tokenizer

from keras_vlm.core.checks import DataError
from keras_vlm.text.tokenizer import END_ID, PAD_ID, START_ID, UNKNOWN_ID, Tokenizer


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=5))
def test_round_trip_of_known_words(words):
    tokenizer = small_tokenizer()
    text = " ".join(words)
    assert tokenizer.detokenize(tokenizer([text])).numpy()[0].decode() == text


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=60))
def test_any_text_gives_a_row_of_the_right_shape(text):
    ids = small_tokenizer()([text.encode("utf-8", "ignore")]).numpy()[0]
    assert ids.shape == (7,)
    assert ids[0] == START_ID
    length = int((ids != PAD_ID).sum())
    assert (ids[length:] == PAD_ID).all()
    assert END_ID in ids or length == 7


def test_too_long_a_text_has_no_end():
    ids = small_tokenizer(max_length=4)(["a dog runs left"]).numpy()[0]
    assert ids.tolist() == [START_ID, 4, 5, 7]


def test_unknown_word_and_case_and_punctuation():
    tokenizer = small_tokenizer()
    known, other = tokenizer(["A DOG, runs!", "a zebra runs"]).numpy()
    assert known.tolist() == [2, 4, 5, 7, 3, 0, 0]
    assert other.tolist() == [2, 4, UNKNOWN_ID, 7, 3, 0, 0]


def test_chinese_characters_round_trip():
    tokenizer = Tokenizer.fit(["一只狗在跑。", "狗在跑"], language="zh", minimum_count=1)
    assert tokenizer.unit == "character"
    ids = tokenizer(["狗 在跑！"])
    assert tokenizer.detokenize(ids).numpy()[0].decode() == "狗在跑"


def test_fit_counts_and_orders_words():
    tokenizer = Tokenizer.fit(["b b a", "b a c"], minimum_count=2)
    assert tokenizer.vocabulary == ["b", "a"]


def test_fit_warns_of_many_unknown_words(caplog):
    texts = ["a dog runs", "a dog sits", "a dog and a cat"]
    Tokenizer.fit(texts, minimum_count=2)
    # Four of eleven: runs, sits, and, cat.
    assert "36 % of what 3 texts say are words seen fewer than 2 times" in caplog.text
    caplog.clear()
    Tokenizer.fit(texts, minimum_count=1)
    Tokenizer.fit([*texts[:2] * 10, texts[2]], minimum_count=2)
    Tokenizer.fit(texts, minimum_count=2, unit="piece")
    assert not caplog.text


def test_works_inside_a_graph_and_a_saved_file(tmp_path):
    tokenizer = small_tokenizer()
    tokenizer.save(tmp_path / "tokenizer.json")
    loaded = Tokenizer.load(tmp_path / "tokenizer.json")
    dataset = tf.data.Dataset.from_tensor_slices(["a dog", "red circle"]).batch(2).map(loaded)
    expected = tokenizer(["a dog", "red circle"]).numpy().tolist()
    assert next(iter(dataset)).numpy().tolist() == expected


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Tokenizer([]), "vocabulary must have at least one word"),
        (lambda: Tokenizer(["a", "a"]), "got 'a' twice"),
        (lambda: Tokenizer(["a"], unit="wrod"), "unit must be one of .*Did you mean 'word'"),
        (lambda: Tokenizer(["a"], max_length=2), "max_length must be a whole number >= 3, got 2"),
        (lambda: Tokenizer.fit(["a"], minimum_count=5), "minimum_count must leave at least one"),
        (lambda: small_tokenizer().ids_of(["zebra"]), "got 'zebra'"),
    ],
)
def test_errors_name_the_argument_and_the_value(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_file_that_is_no_tokenizer_is_named(tmp_path):
    path = tmp_path / "t.json"
    path.write_text("{")
    with pytest.raises(DataError, match=r"t\.json: not a file written by Tokenizer\.save"):
        Tokenizer.load(path)
