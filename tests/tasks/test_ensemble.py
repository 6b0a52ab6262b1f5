"""Ensembles: each step follows the mean of the members' probabilities, everywhere alike."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from oracles import scenes_captioner

from keras_vlm import (
    BeamSearch,
    CaptionerEnsemble,
    GreedySearch,
    ServedCaptioner,
    Tokenizer,
    attend_words,
    build_captioner,
    evaluate,
    export_saved_model,
    load_data,
)
from keras_vlm.cli.arguments import load_members
from keras_vlm.text.tokenizer import END_ID, START_ID, UNKNOWN_ID
from keras_vlm.vision.image import read_image


@pytest.fixture(scope="module")
def members():
    made = [scenes_captioner("lstm"), scenes_captioner("transformer", "additive")]
    for seed, member in enumerate(made):
        bias = member.text_decoder.logit_bias
        bias.assign(keras.random.normal(bias.shape, seed=seed))
    return made


@pytest.fixture(scope="module")
def ensemble(members):
    return CaptionerEnsemble(members)


@pytest.fixture(scope="module")
def photos():
    examples = load_data("scenes:31")["train"].dataset().as_numpy_iterator()
    return [example["image_bytes"] for example in examples][:5]


def mean_log_probs(members, images, sentence):
    """What whole, teacher-forced captions say of the next word: log of the mean over members."""
    length = members[0].tokenizer.max_length - 1
    ids = np.zeros((1, 1, length), np.int32)
    ids[0, 0, : len(sentence) + 1] = [START_ID, *sentence]
    together = 0
    for member in members:
        inputs = {"images": images, "token_ids": tf.constant(ids)}
        logits = member(inputs)[0, 0, len(sentence)]
        together = together + tf.nn.softmax(logits).numpy() / len(members)
    return np.log(together)


def slow_greedy(members, images):
    sentence, total = [], 0.0
    while len(sentence) < members[0].tokenizer.max_length - 1:
        log_probs = mean_log_probs(members, images, sentence)
        known = np.where(np.arange(len(log_probs)) == UNKNOWN_ID, -np.inf, log_probs)
        word = int(known.argmax())
        total += log_probs[word]
        sentence.append(word)
        if word == END_ID:
            break
    return sentence, total / len(sentence)


def test_a_step_takes_the_mean_of_probabilities(members, ensemble, photos):
    found = ensemble.caption(photos, strategy=GreedySearch(), with_scores=True)
    for photo, [(text, score)] in zip(photos, found, strict=True):
        images = read_image(tf.constant(photo), (32, 32))[None]
        sentence, expected = slow_greedy(members, images)
        ids = np.array([word for word in sentence if word != END_ID])
        assert text.encode() == ensemble.tokenizer.detokenize(ids[None]).numpy()[0]
        assert score == pytest.approx(expected, abs=1e-4)
        for member in members:
            assert abs(slow_greedy([member], images)[1] - expected) > 0.01


def test_the_same_model_twice_is_that_model(members, photos):
    twice = CaptionerEnsemble([members[0], members[0]])
    for strategy in (BeamSearch(3, num_return=3), GreedySearch()):
        one = members[0].caption(photos, strategy=strategy, with_scores=True)
        two = twice.caption(photos, strategy=strategy, with_scores=True)
        for ours, theirs in zip(two, one, strict=True):
            assert [text for text, _ in ours] == [text for text, _ in theirs]
            np.testing.assert_allclose(
                [score for _, score in ours], [score for _, score in theirs], atol=1e-4
            )


def test_full_batches_are_compiled_and_alike(ensemble, photos):
    assert ensemble.caption(photos, batch_size=2) == ensemble.caption(photos, batch_size=32)


def test_is_exported_and_scored_as_one_model(ensemble, photos, tmp_path):
    served = ServedCaptioner(export_saved_model(ensemble, tmp_path / "1"))
    expected = ensemble.caption([*photos, b"broken"], with_scores=True)
    found = served.caption([*photos, b"broken"], with_scores=True)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours[0][0] == theirs[0][0]
        assert ours[0][1] == pytest.approx(theirs[0][1], abs=1e-4)
    examples = load_data("scenes:31")["val"]
    assert evaluate(ensemble, examples, verbose=0).scores == pytest.approx(
        evaluate(served, examples, verbose=0).scores
    )


def test_a_plus_joins_names(members, ensemble, photos, tmp_path):
    paths = [tmp_path / "a.keras", tmp_path / "b.keras"]
    for member, path in zip(members, paths, strict=True):
        member.optimizer.build(member.trainable_variables)
        member.save(path)
    joined = load_members("+".join(map(str, paths)))
    assert joined.caption(photos) == ensemble.caption(photos)
    # A plus may also be part of a path.
    members[0].save(tmp_path / "a+b.keras")
    assert load_members(str(tmp_path / "a+b.keras")).caption(photos) == members[0].caption(photos)
    joined = load_members(f"{tmp_path / 'a+b.keras'}+{paths[1]}")
    assert joined.caption(photos) == ensemble.caption(photos)
    with pytest.raises(FileNotFoundError, match=r"nothing\+c.keras: neither a file nor a"):
        load_members("nothing+c.keras")


def test_what_cannot_write_together(members, ensemble, photos):
    with pytest.raises(ValueError, match="captioners must be two or more, got 1"):
        CaptionerEnsemble(members[:1])
    other = build_captioner(
        "conv_small", tokenizer=Tokenizer(["a"], max_length=5), text="lstm", image_size=32
    )
    with pytest.raises(ValueError, match=r"the same words \(tokenizer\), but number 1 has another"):
        CaptionerEnsemble([members[0], other])
    large = build_captioner(
        "conv_small", tokenizer=members[0].tokenizer, text="lstm", image_size=48
    )
    with pytest.raises(ValueError, match="the same image size, but number 2 has another"):
        CaptionerEnsemble([*members, large])
    with pytest.raises(TypeError, match="must be Captioner objects, got 'a.keras'"):
        CaptionerEnsemble([members[0], "a.keras"])
    with pytest.raises(TypeError, match="must be a Captioner, got CaptionerEnsemble"):
        attend_words(ensemble, photos)
    with pytest.raises(NotImplementedError, match="save its members, .* or export"):
        ensemble.save("e.keras")
