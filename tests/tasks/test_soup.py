"""Model soups: the mean of weights, of models that began alike and of no others."""

import keras
import numpy as np
import pytest
from oracles import scenes_captioner, scenes_retriever, scenes_vqa

from keras_vlm import average_models, load, load_data
from keras_vlm.cli.main import main
from keras_vlm.text.answers import AnswerVocabulary


def stirred(model, seed):
    """Moves a model's weights as a training might, each its own way."""
    draws = np.random.default_rng(seed)
    model.set_weights(
        [w + 0.1 * np.std(w) * draws.standard_normal(w.shape) for w in model.get_weights()]
    )
    return model


@pytest.fixture(scope="module")
def siblings():
    return [stirred(scenes_captioner(), seed) for seed in range(3)]


@pytest.mark.parametrize("make", [scenes_captioner, scenes_retriever, scenes_vqa])
def test_weights_are_the_mean(make):
    models = [stirred(make(), seed) for seed in range(3)]
    before = [model.get_weights() for model in models]
    soup = average_models(models)
    assert type(soup) is type(models[0])
    for place, weight in enumerate(soup.get_weights()):
        expected = sum(weights[place] for weights in before) / 3
        np.testing.assert_allclose(weight, expected, rtol=1e-5, atol=1e-6)
    for model, weights in zip(models, before, strict=True):
        for one, two in zip(model.get_weights(), weights, strict=True):
            np.testing.assert_array_equal(one, two)


def test_of_the_same_model_it_is_that_model(siblings, tmp_path):
    one = siblings[0]
    soup = average_models([one, one])
    pictures = load_data("scenes:31")["train"]
    assert soup.caption(pictures) == one.caption(pictures)
    soup.save(tmp_path / "soup.keras")
    assert load(tmp_path / "soup.keras").caption(pictures) == one.caption(pictures)


def test_it_looks_as_the_first_does_and_learns_on(siblings):
    soup = average_models([siblings[1], siblings[0].at_image_size(48)])
    assert soup.image_size == (32, 32)
    before = soup.text_decoder.get_weights()
    batches = soup.batches(load_data("scenes:31")["train"], 8, shuffle=False)
    soup.fit(batches, epochs=1, verbose=0)
    after = soup.text_decoder.get_weights()
    assert any(not np.array_equal(one, two) for one, two in zip(before, after, strict=True))


def test_those_that_began_apart_are_refused(siblings):
    keras.utils.set_random_seed(8)
    stranger = type(siblings[0]).from_config(siblings[0].get_config())
    with pytest.raises(ValueError, match=r"weight \S+ of number 1 points elsewhere .* \(cosine"):
        average_models([siblings[0], stranger])


def test_a_model_that_diverged_is_refused(siblings):
    broken = type(siblings[0]).from_config(siblings[0].get_config())
    broken.set_weights([weight * np.nan for weight in siblings[0].get_weights()])
    with pytest.raises(ValueError, match=r"of number 1 points elsewhere .* \(cosine nan\)"):
        average_models([siblings[0], broken])


def test_answers_in_another_order_are_refused():
    model, other = scenes_vqa(), scenes_vqa()
    other.set_weights(model.get_weights())
    answers = model.answers.answers
    other.answers = AnswerVocabulary([*answers[1:], answers[0]])
    with pytest.raises(ValueError, match="the same answers"):
        average_models([model, other])


def test_a_matrix_that_has_not_learned_yet_is_averaged(siblings):
    learned, fresh = siblings[:2]
    weight = fresh.text_decoder.memory_dense.kernel
    before = weight.numpy()
    weight.assign(np.zeros_like(before))
    soup = average_models([learned, fresh])
    weight.assign(before)
    expected = learned.text_decoder.memory_dense.kernel.numpy() / 2
    np.testing.assert_allclose(soup.text_decoder.memory_dense.kernel, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("others", "error", "message"),
    [
        (lambda: [], ValueError, "two or more, got 1"),
        (lambda: ["model.keras"], TypeError, "models of this package, got 'model.keras'"),
        (lambda: [scenes_retriever()], ValueError, "the same class, but number 1"),
        (lambda: [scenes_captioner(language="zh")], ValueError, "the same words"),
        (lambda: [scenes_captioner("transformer")], ValueError, "the same shapes of weights"),
    ],
)
def test_what_cannot_be_averaged(siblings, others, error, message):
    with pytest.raises(error, match=message):
        average_models([siblings[0], *others()])


def test_command(siblings, tmp_path, capsys):
    paths = []
    for place, model in enumerate(siblings):
        paths.append(str(tmp_path / f"{place}.keras"))
        model.save(paths[-1])
    out = tmp_path / "soup.keras"
    assert main(["average", *paths, "--out", str(out)]) == 0
    told = capsys.readouterr().out
    assert "the mean of 3 models" in told
    assert f"keras-vlm evaluate {out} DATA --split val\n" in told
    found = load(out).get_weights()
    for one, two in zip(found, average_models(siblings).get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    assert main(["average", *paths, "--out", str(out)]) == 1
    assert "soup.keras exists. Pass --overwrite" in capsys.readouterr().err
    assert main(["average", *paths[:1], "--out", str(out), "--overwrite"]) == 1
    assert "two or more, got 1" in capsys.readouterr().err
    assert main(["average", *paths, "--out", str(tmp_path / "soup.h5")]) == 1
    assert "--out must end in .keras" in capsys.readouterr().err
