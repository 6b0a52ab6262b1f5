"""Answering: every fusion and both heads keep the contracts; batches; answers; bad input."""

import types

import contracts
import keras
import numpy as np
import pytest
import tensorflow as tf
from oracles import scenes_vqa

from keras_vlm import Tokenizer, build_vqa, choose_answers, evaluate, load, load_data
from keras_vlm.data.questions import Question, flatten
from keras_vlm.fusion import QUESTION_FUSIONS
from keras_vlm.metrics.vqa_accuracy import vqa_accuracy
from keras_vlm.tasks.asking import EMPTY, UNKNOWN, UNREADABLE
from keras_vlm.tasks.vqa import fit_question_tokenizer
from keras_vlm.text.answers import AnswerVocabulary, comparable
from keras_vlm.text.tokenizer import END_ID, UNKNOWN_ID
from keras_vlm.vision.positions import GridWaves

Q = 3
# (head, fusion); what each fusion promises is tested with it.
KINDS = [("choose", "hadamard"), ("write", "attention")]


@pytest.fixture(scope="module")
def examples():
    return load_data("scenes:31")["train"]


@pytest.fixture(scope="module", params=KINDS, ids="-".join)
def made(request, examples):
    """A model with a batch; tests that train it get a copy."""
    model = scenes_vqa(request.param[1], request.param[0])
    batch = next(iter(model.batches(examples, 5, shuffle=False, questions_per_image=Q)))
    return model, batch


@pytest.fixture(scope="module")
def chooser(examples):
    return scenes_vqa("hadamard")


@pytest.fixture(scope="module")
def pictures(examples):
    return [e["image_bytes"] for e in examples.dataset().take(4).as_numpy_iterator()]


def copy_of(model):
    twin = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(model))
    twin.set_weights(model.get_weights())
    twin.compile("adam", model.loss)
    return twin


# Contracts


def test_is_functional_with_named_parts(made):
    model, (inputs, targets) = made
    texts = set(inputs) - {"images"}
    assert set(model.input) == set(inputs)
    assert {layer.name for layer in model.layers} >= {"encoder", "decoder"}
    logits = model(inputs)
    if "answer_ids" in texts:
        assert logits.shape == (*targets.shape, model.answers.vocabulary_size)
    else:
        assert logits.shape == targets.shape == (5, Q, len(model.answers))
    cached = {name: inputs[name] for name in texts}
    cached["image_features"] = model.encoder(inputs["images"])
    np.testing.assert_allclose(model(cached), logits, atol=1e-4)


def test_gradients_reach_every_weight(made):
    contracts.check_gradients(*made)


OTHERS = sorted(set(QUESTION_FUSIONS) - {"hadamard"})


@pytest.mark.parametrize("fusion", contracts.few(OTHERS, "attention", "co_attention"))
def test_every_fusion_is_part_of_a_model(fusion, examples):
    model = scenes_vqa(fusion)
    batch = next(iter(model.batches(examples, 3, shuffle=False, questions_per_image=2)))
    contracts.check_gradients(model, batch)


def test_learns(made):
    contracts.check_learns(copy_of(made[0]), made[1])


def test_rows_are_apart(made):
    """A batch of one, and a question alone, give the row of the whole."""
    model, (inputs, _) = made
    whole = model(inputs)
    for i in (0, 4):
        row = {name: value[i : i + 1] for name, value in inputs.items()}
        np.testing.assert_allclose(model(row)[0], whole[i], atol=1e-4)
    alone = {
        name: value if name == "images" else value[:, 1:2] for name, value in inputs.items()
    }
    np.testing.assert_allclose(model(alone)[:, 0], whole[:, 1], atol=1e-4)


def test_saves(made, pictures, tmp_path):
    contracts.check_saves(copy_of(made[0]), made[1], pictures[:2], tmp_path)


def test_xla(made):
    model, (inputs, _) = made
    compiled = tf.function(model, jit_compile=True)
    np.testing.assert_allclose(compiled(inputs), model(inputs), atol=1e-3)


def test_a_text_encoder_sees_the_order_of_words(pictures):
    """Named by its own: the transformer traces fastest."""
    model = scenes_vqa("concat", text="transformer")
    asked = ["is the red star above the blue ring ?", "is the blue ring above the red star ?"]
    one, other = (answer.probability for answer in model.answer(pictures[0], asked))
    assert abs(one - other) > 1e-6


# Batches


def test_targets_are_soft_scores_of_the_pictures_own_questions(chooser, examples):
    batches = chooser.batches(examples, 31, shuffle=False, questions_per_image=4)
    inputs, targets = next(iter(batches))
    words = chooser.tokenizer.vocabulary
    for i, asked in enumerate(examples.questions):
        for q in range(4):
            if q >= len(asked):
                assert (targets[i, q] == -1).numpy().all()
                assert (inputs["token_ids"][i, q] == 0).numpy().all()
                continue
            [right] = np.flatnonzero(targets[i, q])
            assert targets[i, q, right] == 1
            assert chooser.answers.answers[right] == asked[q].answer
            ids = inputs["token_ids"][i, q].numpy()
            text = " ".join(words[n - 4] for n in ids if n > 3)
            assert text == asked[q].text.removesuffix(" ?").replace(" , ", " ")


def test_padding_is_worth_nothing(chooser, examples):
    """Questions that are not there change neither loss nor the other questions' logits."""
    few = next(iter(chooser.batches(examples, 5, shuffle=False, questions_per_image=3)))
    many = next(iter(chooser.batches(examples, 5, shuffle=False, questions_per_image=3)))
    longer = {**many[0], "token_ids": tf.pad(many[0]["token_ids"], [[0, 0], [0, 2], [0, 0]])}
    targets = tf.pad(many[1], [[0, 0], [0, 2], [0, 0]], constant_values=-1)
    np.testing.assert_allclose(chooser(longer)[:, :3], chooser(few[0]), atol=1e-5)
    np.testing.assert_allclose(
        chooser.compute_loss(longer, targets, chooser(longer)),
        chooser.compute_loss(*few, chooser(few[0])),
        rtol=1e-5,
    )


def test_mirrored_pictures_have_mirrored_questions_and_answers(chooser, examples):
    """Those that are flipped say left for right; the others are as before."""
    options = {"shuffle": False, "questions_per_image": 99}
    plain = next(iter(chooser.batches(examples, 31, **options)))
    flipped = next(iter(chooser.batches(examples, 31, augment="flip", **options)))
    answers = chooser.answers.answers
    left, right = (answers.index(word) for word in ("left", "right"))
    count = 0
    for i in range(31):
        mirrored = plain[0]["images"][i, :, ::-1]
        expected = plain[1][i].numpy()
        if not np.array_equal(flipped[0]["images"][i], plain[0]["images"][i]):
            np.testing.assert_array_equal(flipped[0]["images"][i], mirrored)
            expected[:, [left, right]] = expected[:, [right, left]]
            count += 1
        np.testing.assert_array_equal(flipped[1][i], expected)
    assert 5 < count < 26
    texts = (plain[0]["token_ids"].numpy(), flipped[0]["token_ids"].numpy())
    ids = [chooser.tokenizer.ids_of([word])[0] for word in ("left", "right")]
    changed = texts[0][texts[0] != texts[1]]
    assert set(changed) == set(ids)


def test_shuffled_batches_are_a_function_of_the_seed(chooser, examples):
    options = {"shuffle": True, "questions_per_image": 2}
    one, same = (next(iter(chooser.batches(examples, 5, seed=3, **options))) for _ in range(2))
    other = next(iter(chooser.batches(examples, 5, seed=4, **options)))
    np.testing.assert_array_equal(one[0]["token_ids"], same[0]["token_ids"])
    np.testing.assert_array_equal(one[0]["images"], same[0]["images"])
    assert (one[0]["token_ids"] != other[0]["token_ids"]).numpy().any()


def test_sampling_makes_answers_even(chooser):
    """Of nine "yes" and one "no", one question a picture: about as many of each."""
    examples = load_data("scenes:200")["train"]
    examples.questions = [
        [Question("is it ?", ("no" if i % 10 == 0 else "yes",), str(i))] for i in range(200)
    ]
    shares = {}
    for balance in ("none", "sampling"):
        batches = chooser.batches(
            examples, 200, shuffle=True, questions_per_image=1, balance=balance
        )
        [(_, targets)] = list(batches)
        no = chooser.answers.answers.index("no")
        shares[balance] = float(tf.reduce_mean(targets[:, 0, no]))
    assert shares["none"] == pytest.approx(0.1)
    # Four standard errors of 200 fair draws.
    assert abs(shares["sampling"] - 0.5) < 4 * 0.5 / 200**0.5


def test_types_are_drawn_as_often_as_each_other(chooser):
    """Of nine "yes" of one type and one "no" of another, one question a picture."""
    examples = load_data("scenes:200")["train"]
    examples.questions = [
        [Question("is it ?", ("no" if i % 10 == 0 else "yes",), str(i), str(i % 10 == 0))]
        for i in range(200)
    ]
    batches = chooser.batches(
        examples, 200, shuffle=True, questions_per_image=1, balance="types"
    )
    [(_, targets)] = list(batches)
    share = float(tf.reduce_mean(targets[:, 0, chooser.answers.answers.index("no")]))
    assert abs(share - 0.5) < 4 * 0.5 / 200**0.5


def test_types_that_nobody_told_cannot_be_even(chooser):
    examples = load_data("scenes:20")["train"]
    examples.questions = [[Question("is it ?", ("yes",), str(i))] for i in range(20)]
    with pytest.raises(ValueError, match="a question must have a question_type, got none"):
        chooser.batches(examples, balance="types")


def test_a_cache_gives_the_same_batches(examples, tmp_path):
    model = scenes_vqa("hadamard")
    model.encoder.trainable = False
    options = {"shuffle": False, "questions_per_image": 2}
    decoded = next(iter(model.batches(examples, 7, **options)))
    cached = next(iter(model.batches(examples, 7, cache=tmp_path, **options)))
    np.testing.assert_array_equal(cached[1], decoded[1])
    features = model.encoder(decoded[0]["images"])
    np.testing.assert_allclose(cached[0]["image_features"], features, atol=2e-2)


def test_an_unreadable_picture_teaches_nothing(chooser, capfd):
    examples = load_data("scenes:20")["val"]
    examples._images = tf.constant([b"no picture", examples._images[1].numpy()])
    inputs, targets = next(iter(chooser.batches(examples, 2, shuffle=False)))
    # The next one takes its place.
    assert (targets[0] >= 0).numpy().any()
    assert (targets[1] == -1).numpy().all()
    assert (inputs["images"][1] == 0).numpy().all()
    assert 'unreadable picture, skipped: "val-0"' in capfd.readouterr().err


# Answers


def test_answers_are_those_of_the_logits(chooser, examples):
    """The long way: one batch of logits, softmax by NumPy."""
    asked = [each[:2] for each in examples.questions[:4]]
    inputs, _ = next(iter(chooser.batches(examples, 4, shuffle=False, questions_per_image=2)))
    logits = chooser(inputs).numpy()
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    expected = powers / powers.sum(axis=-1, keepdims=True)
    images = inputs["images"].numpy()
    found = chooser.answer(images, [[q.text for q in each] for each in asked], top_k=3)
    for i in range(4):
        for q in range(2):
            order = np.argsort(-expected[i, q])[:3]
            texts = [text for text, _ in found[i][q].candidates]
            assert texts == [chooser.answers.answers[a] for a in order]
            values = [value for _, value in found[i][q].candidates]
            np.testing.assert_allclose(values, expected[i, q][order], rtol=1e-4)
            assert found[i][q].text == str(found[i][q]) == texts[0]


def test_the_form_of_the_answers_is_that_of_the_questions(chooser, pictures, examples):
    one, many = "is there a star ?", ["is there a star ?", "how many circles are there ?"]
    single = chooser.answer(pictures[0], one)
    listed = chooser.answer(pictures[0], many)
    assert (listed[0], len(listed)) == (single, 2)
    same = chooser.answer(pictures, one)
    assert [str(answer) for answer in same] == [
        str(chooser.answer(picture, one)) for picture in pictures
    ]
    mixed = chooser.answer(pictures[:3], [one, many, []], batch_size=2)
    assert isinstance(mixed[0], type(single))
    assert [len(mixed[1]), mixed[2]] == [2, []]
    of_split = chooser.answer(examples)
    assert [len(row) for row in of_split] == [len(each) for each in examples.questions]


def test_one_picture_is_encoded_once(chooser, pictures, monkeypatch):
    calls = []
    encode = chooser._encode

    def counted(images):
        calls.append(len(images))
        return encode(images)

    monkeypatch.setattr(chooser, "_encode", counted)
    chooser.answer(pictures[0], ["is there a star ?"] * 20)
    assert calls == [1]


def test_what_is_wrong_is_said(chooser, pictures):
    found = chooser.answer(
        [pictures[0], b"no picture"],
        [["is there a zebra ?", "", "图中有几个图形？", "où est le chat ?"], "is there a star ?"],
        top_k=2,
    )
    known, empty, chinese, french = found[0]
    assert (known.unknown_words, known.problem) == (["zebra"], None)
    assert (empty.text, empty.probability, empty.candidates, empty.problem) == ("", 0, [], EMPTY)
    assert (chinese.problem, chinese.unknown_words) == (UNKNOWN, ["图中有几个图形"])
    assert french.problem == UNKNOWN
    assert len(known.candidates) == 2
    assert (found[1].text, found[1].problem) == ("", UNREADABLE)
    assert chooser.unknown_words("is there a zebra ?") == ["zebra"]


def test_written_answers_are_never_empty(pictures):
    model = scenes_vqa("attention", "write")
    found = model.answer(pictures, "how many shapes are there ?", top_k=3)
    for answer in found:
        assert all(text for text, _ in answer.candidates)
        scores = [score for _, score in answer.candidates]
        assert scores == sorted(scores, reverse=True)
        assert 0 < scores[0] <= 1


def test_sigmoid_answers_are_apart(examples, pictures):
    vocabulary = AnswerVocabulary(["yes", "no", "red"], activation="sigmoid")
    model = build_vqa(
        "conv_small", tokenizer=examples, answers=vocabulary, text="bag", fusion="concat",
        image_size=32,
    )  # fmt: skip
    assert model.loss.name == "sigmoid_answer"
    answer = model.answer(pictures[0], "is it ?", top_k=9)
    # Untrained: each is as likely as not.
    assert [score for _, score in answer.candidates] == pytest.approx([0.5] * 3, abs=0.3)


@pytest.mark.slow
def test_chinese(tmp_path):
    """The same call learns what only the picture tells, on an encoder that knows scenes."""
    keras.utils.set_random_seed(1)
    data = load_data("scenes:300", language="zh")
    encoder = load("vqa-scenes").encoder
    encoder.trainable = False
    model = build_vqa(
        encoder, tokenizer=data["train"], answers="choose", text="bag", fusion="attention"
    )
    assert model.tokenizer.unit == "character"
    batches = model.batches(data["train"], 32, questions_per_image=8, cache=tmp_path)
    model.fit(batches, epochs=12, verbose=0)
    found = evaluate(model, data["test"], training_examples=data["train"], verbose=0)
    assert found.scores["accuracy"] > found.baselines["question_only"] + 0.1
    assert found.scores["accuracy_question:colour"] > 0.8
    assert found.baselines["question_only:colour"] == pytest.approx(1 / 7)
    element = next(iter(data["test"].dataset()))
    answer = model.answer(element["image_bytes"].numpy(), "图中有几个图形？")
    assert answer.text in model.answers.answers
    assert (answer.unknown_words, answer.problem) == ([], None)
    assert {"是", "否", "左"} <= set(model.answers.answers)


@pytest.mark.parametrize(
    ("images", "questions", "error", "message"),
    [
        (2, ["a"], ValueError, "one entry a picture, got 1 for 2 pictures"),
        (1, None, TypeError, "questions must be a string or a list, got None"),
        (1, [3], TypeError, "a question must be a string, got 3"),
    ],
)
def test_bad_questions(chooser, pictures, images, questions, error, message):
    images = pictures[0] if images == 1 else pictures[:images]
    with pytest.raises(error, match=message):
        chooser.answer(images, questions)
    with pytest.raises(ValueError, match="top_k must be a whole number >= 1, got 0"):
        chooser.answer(pictures[0], "a", top_k=0)


# Options


def test_how_answers_are_given_is_decided_by_the_data(examples, capsys):
    chosen = choose_answers(examples)
    assert isinstance(chosen, AnswerVocabulary)
    assert "answers to choose from, covering 100.0%" in capsys.readouterr().err
    free = load_data("scenes:31")["train"]
    free.questions = [
        [Question("what ?", (f"thing{i} of {i}",), str(i))] for i in range(len(free))
    ]
    written = choose_answers(free)
    assert isinstance(written, Tokenizer)
    told = "written, in 63 words: answers that are given again cover 0.0%"
    assert told in capsys.readouterr().err
    assert written.max_length == 5
    assert isinstance(choose_answers(free, "choose", size=5), AnswerVocabulary)
    with pytest.raises(ValueError, match="how must be one of 'auto', 'choose', 'write'"):
        choose_answers(free, "guess")


@pytest.mark.parametrize(
    ("language", "answers"),
    [
        ("en", ["2.5 cm", "50%", "the man's hat", "1.5", "A", "t-shirt & hat", "10:30"]),
        ("zh", ["2.5厘米", "一半，50%", "左", "2.5 cm"]),
    ],
)
def test_written_answers_can_be_right(language, answers):
    """Whatever an answer's marks are, what the writer learns to write scores as that answer."""
    asked = [Question("what ?", (answer,), str(i)) for i, answer in enumerate(answers)]
    split = types.SimpleNamespace(questions=[asked], language=language)
    writer = choose_answers(split, "write")
    rows = writer([comparable(answer) for answer in answers])
    assert UNKNOWN_ID not in rows.numpy()
    # The last of it is the end, which has to be learned too.
    assert (rows.numpy() == END_ID).any(axis=1).all()
    for written, answer in zip(writer.detokenize(rows).numpy(), answers, strict=True):
        assert vqa_accuracy(written.decode(), [answer], protocol="normalized") == 1


def test_long_texts_are_cut_and_that_is_said(capsys):
    asked = [Question("what is " + "very " * 30, ("a " * 3 + "long " * 30,), "0"),
             Question("what ?", ("x",), "1")]  # fmt: skip
    split = types.SimpleNamespace(questions=[asked], language="en")
    assert choose_answers(split, "write").max_length == 22
    assert "answers: 1 of 2 have more than 20 words and are cut" in capsys.readouterr().err
    fit_question_tokenizer(split, max_length=9)
    assert "questions: 1 of 2 have more than 7 words and are cut" in capsys.readouterr().err


@pytest.mark.parametrize("how", ["auto", "choose", "write"])
def test_how_answers_are_given_may_be_named(examples, how):
    model = build_vqa(
        "conv_small", image_size=32, tokenizer=examples, answers=how, text="bag", fusion="concat"
    )
    assert isinstance(model.answers, Tokenizer if how == "write" else AnswerVocabulary)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"text": "gur"}, ValueError, "text must be one of .* Did you mean 'gru'"),
        ({"fusion": "hadamar"}, ValueError, "fusion must be one of .* Did you mean 'hadamard'"),
        ({"answers": ["yes"]}, TypeError, r"answers must be an AnswerVocabulary.* got \['yes'\]"),
        ({"tokenizer": "bag"}, TypeError, "tokenizer must be a Tokenizer or a data split"),
        ({"precision": "int8"}, ValueError, "precision must be one of"),
        ({"fusion": 3}, TypeError, "fusion must be a name or a QuestionFusion, got 3"),
    ],
)
def test_bad_options(options, error, message):
    usual = {"tokenizer": Tokenizer(["a"]), "answers": AnswerVocabulary(["yes", "no"])}
    with pytest.raises(error, match=message):
        build_vqa("conv_small", image_size=32, **{**usual, **options})


def test_mixed_precision_ends_in_float32(pictures):
    model = scenes_vqa("co_attention", precision="mixed_bfloat16")
    assert model.reader.compute_dtype == "bfloat16"
    inputs, _ = next(iter(model.batches(load_data("scenes:31")["train"], 3, shuffle=False)))
    assert model(inputs).dtype == tf.float32


def test_data_without_questions(chooser, examples):
    blank = load_data("scenes:20")["val"]
    blank.questions = None
    with pytest.raises(ValueError, match="scenes:val: the split must have questions, got none"):
        chooser.batches(blank)
    with pytest.raises(ValueError, match="balance must be one of 'none', 'sampling'"):
        chooser.batches(examples, balance="even")
    assert flatten(examples.questions)


def test_positions_tell_how_far_tokens_lie_apart_and_nothing_else():
    table = np.asarray(GridWaves(2.0)((49, 32)))
    alike = table @ table.T
    place = np.stack(np.divmod(np.arange(49), 7), axis=-1)
    apart = np.abs(place[:, None] - place)
    for distance in np.ndindex(7, 7):
        same = alike[(apart == distance).all(axis=-1)]
        np.testing.assert_allclose(same, same[0], atol=1e-4)
    # What is most alike, beside itself, lies next to it.
    np.testing.assert_allclose(np.diag(alike), 16 * 2.0**2, rtol=1e-5)
    np.fill_diagonal(alike, -np.inf)
    assert (apart.sum(axis=-1)[np.arange(49), alike.argmax(axis=-1)] == 1).all()
    assert np.asarray(GridWaves()((10, 7))).shape == (10, 7)


def test_position_scale_is_how_positions_begin():
    tokenizer, answers = Tokenizer(["red"], max_length=4), AnswerVocabulary(["yes", "no"])

    def begin(scale):
        model = build_vqa(
            "conv_small", tokenizer=tokenizer, answers=answers, text="bag", fusion="concat",
            image_size=32, position_scale=scale,
        )  # fmt: skip
        return np.asarray(model.reader.positions)

    np.testing.assert_array_equal(begin(3.0), GridWaves(3.0)(begin(3.0).shape))
    assert np.abs(begin(0.0)).max() < 0.2
    with pytest.raises(ValueError, match="position_scale must be a number >= 0, got -1"):
        begin(-1)
