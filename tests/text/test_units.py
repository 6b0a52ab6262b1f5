"""Units of text: round trips as properties, pieces by a plain loop, one file format for all."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_vlm import GRUEncoder, LSTMDecoder, Tokenizer, build_retriever
from keras_vlm.core.checks import DataError
from keras_vlm.fusion import ConcatFusion
from keras_vlm.metrics import score_captions
from keras_vlm.text import ParallelEncoders
from keras_vlm.text.cleaning import clean_characters, clean_words
from keras_vlm.text.cleaning_steps import STEPS, clean_text, stop_words
from keras_vlm.text.units import GOES_ON, UNITS, train_pieces
from keras_vlm.text.word_vectors import read_word_vectors, start_from_vectors

ENGLISH = ["a dog runs through the grass", "two dogs run", "the runner's dog", "a t-shirt ran"]
CHINESE = ["一只棕色的狗在草地上奔跑", "两个人在海边散步", "穿红色衣服的男孩"]
LETTERS = "aábdeghnorstuw '-"


def fitted(unit, max_length=80):
    texts = ENGLISH + [LETTERS] if unit in ("word", "piece") else CHINESE
    language = "en" if unit in ("word", "piece") else "zh"
    return Tokenizer.fit(
        texts, unit=unit, minimum_count=1, max_length=max_length, language=language
    )


def round_trip(tokenizer, text):
    return tokenizer.detokenize(tokenizer([text])).numpy()[0].decode()


@given(st.text(LETTERS, max_size=40))
@settings(max_examples=40, deadline=None)
def test_pieces_of_any_words_of_known_letters_come_back(text):
    assert round_trip(fitted_pieces, text) == clean_words(tf.constant(text)).numpy().decode()


fitted_pieces = Tokenizer.fit(
    [*ENGLISH, " ".join(LETTERS)],
    unit="piece", minimum_count=1, max_length=80, size=60,
)  # fmt: skip


@given(st.lists(st.sampled_from(sorted(set(" ".join(ENGLISH).split()))), max_size=9))
@settings(max_examples=20, deadline=None)
def test_known_words_come_back(words):
    text = " ".join(words)
    assert round_trip(words_tokenizer, text) == clean_words(tf.constant(text)).numpy().decode()


words_tokenizer = fitted("word")


@pytest.mark.parametrize("unit", ["character", "jieba"])
def test_chinese_comes_back(unit):
    if unit == "jieba":
        pytest.importorskip("jieba", reason="jieba is not installed (extra 'zh')")
    tokenizer = fitted(unit)
    for text in CHINESE:
        found = round_trip(tokenizer, text + "。")
        assert found == clean_characters(tf.constant(text)).numpy().decode()


def test_jieba_makes_words_in_a_pipeline_and_writes_in_the_graph():
    pytest.importorskip("jieba", reason="jieba is not installed (extra 'zh')")
    tokenizer = fitted("jieba")
    assert tokenizer.words_of("一只棕色的狗") == ["一只", "棕色", "的", "狗"]
    dataset = tf.data.Dataset.from_tensor_slices(CHINESE).batch(2).map(tokenizer)
    assert [len(batch) for batch in dataset] == [2, 1]
    assert dataset.element_spec.shape == (None, 80)
    write = tf.function(tokenizer.detokenize)
    assert write(tokenizer(CHINESE[:1])).numpy()[0].decode() == CHINESE[0]
    with pytest.raises(ValueError, match="must read text in the graph, got the unit 'jieba'"):
        build_retriever("conv_small", tokenizer=tokenizer, image_size=32)


def longest_pieces(word, pieces):
    """The same by a loop over the letters."""
    found, start = [], 0
    while start < len(word):
        for end in range(len(word), start, -1):
            piece = (GOES_ON if start else "") + word[start:end]
            if piece in pieces or end == start + 1:
                found.append(piece)
                start = end
                break
    return found


@given(st.lists(st.text("abcde", min_size=1, max_size=8), min_size=1, max_size=6))
@settings(max_examples=40, deadline=None)
def test_pieces_are_the_longest(words):
    pieces = train_pieces({"abcab": 4, "bcabc": 3, "eab": 1}, 14)
    tokenizer = Tokenizer(pieces, unit="piece", max_length=60)
    expected = [piece for word in words for piece in longest_pieces(word, set(pieces))]
    assert tokenizer.words_of(" ".join(words)) == expected


def test_a_piece_that_goes_on_with_nothing_begins_a_word():
    tokenizer = Tokenizer(["a", "##b"], unit="piece", max_length=6)
    written = tokenizer.detokenize([[2, 5, 5, 4, 5, 3], [2, 4, 4, 5, 3, 0]])
    assert written.numpy().tolist() == [b"bb ab", b"a ab"]


def test_training_takes_the_most_frequent_pair_each_time():
    """Beside a loop that counts all pairs anew."""
    random = np.random.default_rng(0)
    counts = {"".join(random.choice(list("abcd"), random.integers(2, 7))): int(n)
              for n in random.integers(1, 9, 30)}  # fmt: skip
    words = {w: [c if i == 0 else GOES_ON + c for i, c in enumerate(w)] for w in counts}
    letters = {letter for word in counts for letter in word}
    expected = sorted(letters | {GOES_ON + letter for letter in letters})
    while len(expected) < 30:
        pairs = {}
        for word, split in words.items():
            for pair in zip(split, split[1:], strict=False):
                pairs[pair] = pairs.get(pair, 0) + counts[word]
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merged = best[0] + best[1].removeprefix(GOES_ON)
        expected += [merged] if merged not in expected else []
        for word, split in words.items():
            joined, i = [], 0
            while i < len(split):
                same = tuple(split[i : i + 2]) == best
                joined.append(merged if same else split[i])
                i += 2 if same else 1
            words[word] = joined
    assert train_pieces(counts, 30) == expected


@pytest.mark.parametrize("unit", UNITS)
def test_one_file_format(unit, tmp_path):
    if unit == "jieba":
        pytest.importorskip("jieba", reason="jieba is not installed (extra 'zh')")
    tokenizer = fitted(unit, 30)
    tokenizer.save(tmp_path / "tokenizer.json")
    again = Tokenizer.load(tmp_path / "tokenizer.json")
    assert again.get_config() == tokenizer.get_config()
    texts = ENGLISH + CHINESE
    np.testing.assert_array_equal(again(texts), tokenizer(texts))
    assert again(texts).shape == (len(texts), 30)


def test_chinese_scores_by_words():
    pytest.importorskip("jieba", reason="jieba is not installed (extra 'zh')")
    report = score_captions([["一只狗在跑。"]], ["一只狗"], tokenizer="jieba")
    assert report.hypotheses == ["一只 狗"]
    assert report.references == [["一只 狗 在 跑"]]
    assert str(report.signature).startswith("tokenizer:jieba|")


# Cleaning


@pytest.mark.parametrize(
    ("step", "text", "expected"),
    [
        ("nfkc", "ＡＢＣ １２ ﬁ", "ABC 12 fi"),
        ("html", "a <b>dog</b> &lt;3 <!-- no -->x 2 < 3", "a dog <3 x 2 < 3"),
        ("url", "see https://a.org/x?y=1 or www.b.com, now", "see or now"),
        ("emoji", "a dog 🐕‍🦺 ☀️ runs", "a dog runs"),
        ("lower", "A Dog", "a dog"),
        ("punctuation", "man's t-shirt, (red)!", "man's t-shirt red"),
        ("numbers", "2 dogs, 13 cats", "0 dogs, 00 cats"),
        ("stop_words", "the dog is on the grass", "dog grass"),
        ("stem", "dogs running happily", "dog run happili"),
        ("lemma", "Two mice were running", "two mouse be run"),
    ],
)
def test_each_step(step, text, expected):
    assert clean_text(text, [step]) == expected


def test_steps_compose_and_are_checked():
    assert set(STEPS) >= {"nfkc", "html", "url", "emoji", "stop_words", "stem"}
    assert clean_text("a", [lambda text, language: text + language]) == "aen"
    with pytest.raises(ValueError, match="steps must be one of 'nfkc', .* got 'nkfc'"):
        clean_text("a", ["nkfc"])
    with pytest.raises(ValueError, match="language must be one of 'en', .* got 'zh'"):
        clean_text("狗", ["stem"], "zh")
    with pytest.raises(ValueError, match="lemma: language must be one of 'en', .* got 'zh'"):
        clean_text("狗", ["lemma"], "zh")
    stop_words("en").add("zebra")
    assert clean_text("a zebra dog", ["stop_words"]) == "dog"
    stop_words("en").discard("zebra")


def test_chinese_stop_words():
    pytest.importorskip("jieba", reason="jieba is not installed (extra 'zh')")
    assert clean_text("一只棕色的狗", ["stop_words"], "zh") in {"棕色狗", "一只棕色狗"}


# Word vectors


def write_vectors(path, header=""):
    path.write_text(
        header + "dog 1 0 0 2\nzebra 9 9 9 9\nruns 0 1 0.5 -2\nthe 0 0 1 0\n", encoding="utf-8"
    )


@pytest.mark.parametrize("header", ["", "4 4\n"])
def test_vectors_of_a_file(tmp_path, header):
    path = tmp_path / "vectors.txt"
    write_vectors(path, header)
    vectors = read_word_vectors(path, Tokenizer(["a", "dog", "runs", "the"]))
    assert vectors.coverage == 0.75
    assert vectors.missing == ["a"]
    assert vectors.matrix[5].tolist() == [1, 0, 0, 2]
    assert str(vectors) == "75.0% of 4 words have a vector; the first without: a"
    with pytest.raises(DataError, match="none of the tokenizer's 1 words is in the file"):
        read_word_vectors(path, Tokenizer(["cat"]))
    path.write_text("dog 1 2\nruns 1\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"vectors.txt:2: a vector must have 2 numbers, got 1"):
        read_word_vectors(path, Tokenizer(["dog", "runs"]))


@pytest.mark.parametrize("tune", [True, False])
def test_layers_begin_with_vectors(tmp_path, tune):
    write_vectors(tmp_path / "vectors.txt")
    tokenizer = Tokenizer(["a", "dog", "runs", "the"], max_length=5)
    vectors = read_word_vectors(tmp_path / "vectors.txt", tokenizer)
    encoder = GRUEncoder(hidden_dim=4, vocabulary_size=8, tune_words=tune)
    encoder.build((None, 4))
    decoder = LSTMDecoder(ConcatFusion(), hidden_dim=4, vocabulary_size=8, tune_words=tune)
    decoder.build((None, 3, 5), (None, None, 4))
    for layer in (encoder, decoder):
        scale = np.asarray(layer.embedding.embeddings).std()
        start_from_vectors(layer, vectors)
        matrix = np.asarray(layer.embedding.embeddings)
        known = vectors.matrix[5:] - vectors.matrix[5:].mean(axis=0)
        np.testing.assert_allclose(np.corrcoef(matrix[5:].ravel(), known.ravel())[0, 1], 1)
        np.testing.assert_allclose(matrix[5:].std(), scale, rtol=1e-4)
        learned = [id(weight) for weight in layer.trainable_weights]
        assert (id(layer.embedding.embeddings) in learned) == tune
        again = type(layer).from_config(layer.get_config())
        assert again.tune_words == tune
    wide = GRUEncoder(hidden_dim=7, vocabulary_size=8)
    wide.build((None, 4))
    start_from_vectors(wide, vectors)
    assert_same_distances(wide, vectors)
    several = ParallelEncoders([GRUEncoder(hidden_dim=7) for _ in range(2)], vocabulary_size=8)
    several.build((None, 4))
    start_from_vectors(several, vectors)
    for each in several.encoders:
        assert_same_distances(each, vectors)
    one, other = (np.asarray(each.embedding.embeddings) for each in several.encoders)
    assert (one[5:] != other[5:]).all()
    others = GRUEncoder(hidden_dim=4, vocabulary_size=9)
    others.build((None, 4))
    with pytest.raises(ValueError, match="vectors must be of the layer's 9 words, got 8"):
        start_from_vectors(others, vectors)
    narrow = keras.layers.Layer()
    narrow.embedding = keras.layers.Embedding(8, 2)
    narrow.embedding.build()
    start_from_vectors(narrow, vectors)
    # Two of the principal components keep all distances of three points.
    assert_same_distances(narrow, vectors)


def assert_same_distances(layer, vectors):
    matrix = np.asarray(layer.embedding.embeddings)[5:]
    pairs = [(0, 1), (0, 2), (1, 2)]
    full = [np.linalg.norm(vectors.matrix[5 + a] - vectors.matrix[5 + b]) for a, b in pairs]
    kept = [np.linalg.norm(matrix[a] - matrix[b]) for a, b in pairs]
    np.testing.assert_allclose(np.array(kept) / kept[0], np.array(full) / full[0], rtol=1e-4)
