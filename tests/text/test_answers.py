"""The vocabulary of answers: what it takes, its scores and its weights."""

import keras
import numpy as np
import pytest

from keras_vlm.data.questions import Question, even_answers
from keras_vlm.text.answers import AnswerVocabulary, most_frequent


def questions(*answers):
    return [Question("?", tuple(each), str(i)) for i, each in enumerate(answers)]


COUNTED = questions(*[["Yes"]] * 5, *[["a dog"]] * 3, *[["no."]] * 3, ["zebra"])


def test_fit_takes_the_most_frequent():
    found = AnswerVocabulary.fit(COUNTED, size=3)
    assert found.answers == ["yes", "dog", "no"]
    assert found.counts == [5, 3, 3]
    assert found.coverage == pytest.approx(11 / 12)
    assert len(AnswerVocabulary.fit(COUNTED, minimum_count=3)) == 3


def test_soft_targets_of_ten_three_and_one():
    vocabulary = AnswerVocabulary(["yes", "no", "maybe"])
    ten = ["yes"] * 6 + ["No"] * 2 + ["maybe"] + ["what"]
    assert vocabulary.soft_targets(ten) == pytest.approx({0: 1.0, 1: 2 / 3, 2: 1 / 3})
    assert vocabulary.soft_targets(["yes", "yes", "no"]) == pytest.approx({0: 2 / 3, 1: 1 / 3})
    assert vocabulary.soft_targets(["no"]) == {1: 1.0}
    assert vocabulary.soft_targets(["what"]) == {}
    encoded = vocabulary.encode([ten, ["what"]])
    assert encoded["answer_ids"].tolist() == [[0, 1, 2], [-1, -1, -1]]
    np.testing.assert_allclose(encoded["answer_scores"], [[1, 2 / 3, 1 / 3], [0, 0, 0]])


def test_class_weights_make_answers_even():
    vocabulary = AnswerVocabulary.fit(COUNTED, size=3, balanced=True)
    weights, counts = vocabulary.class_weights(), np.array(vocabulary.counts)
    np.testing.assert_allclose(weights * counts, np.full(3, 11 / 3), rtol=1e-6)
    assert AnswerVocabulary.fit(COUNTED).class_weights() is None
    each = even_answers(COUNTED)
    assert each.mean() == pytest.approx(1)
    assert each[0] * 5 == pytest.approx(each[-1])


def test_most_frequent_breaks_ties_by_order():
    assert most_frequent(("b", "a", "a", "b", "c")) == "b"


def test_saved_and_read():
    vocabulary = AnswerVocabulary.fit(COUNTED, activation="sigmoid", balanced=True)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(vocabulary))
    assert again.get_config() == vocabulary.get_config()


@pytest.mark.parametrize(
    ("answers", "options", "message"),
    [
        (["yes"], {}, r"answers must be two or more, all different, got \['yes'\]"),
        (["a", "b", "a"], {}, "got 'a' twice"),
        (["a", "b"], {"activation": "tanh"}, "activation must be one of 'softmax', 'sigmoid'"),
        (["a", "b"], {"balanced": True}, "counts must be given where balanced, got None"),
    ],
)
def test_bad_options(answers, options, message):
    with pytest.raises(ValueError, match=message):
        AnswerVocabulary(answers, **options)
    with pytest.raises(ValueError, match="size must be a whole number >= 2, got 1"):
        AnswerVocabulary.fit(COUNTED, size=1)
