"""Who does not look: by hand on a tiny set; at chance on the rendered questions."""

import collections
import math

import pytest

from keras_vlm import load_data
from keras_vlm.data.questions import Question, flatten
from keras_vlm.data.scenes import draw_scenes
from keras_vlm.data.scenes_questions import ask_scenes
from keras_vlm.training.blind import QuestionOnly, blind_scores


class Split:
    """As much of a data split as the baselines want."""

    def __init__(self, rows, language="en"):
        self.language = language
        self.questions = [
            [Question(text, (answer,), str(i), kind)] for i, (text, answer, kind) in enumerate(rows)
        ]


def test_by_hand():
    training = Split(
        [("Is it red?", "yes", None)] * 3
        + [("Is it blue?", "no", None)] * 4
        + [("Is it red?", "no", None)]
        + [("What colour?", "red", None)]
    )
    blind = QuestionOnly(training)
    assert blind.majority == "no"
    asked = Split([("is it RED", "", None), ("it is blue", "", None), ("colour of it", "", None)])
    # Asked often: as it was then. Else by words: "blue" was always "no", "colour" always "red".
    assert blind.answer(flatten(asked.questions)) == ["yes", "no", "red"]


def test_scores():
    training = Split([("Is it?", "yes", "is")] * 5 + [("How many?", "2", "how")] * 3)
    rows = [("Is it?", "yes", "is"), ("Is it?", "no", "is"), ("How many?", "two", "how")]
    assert blind_scores(training, Split(rows)) == {
        "majority": pytest.approx(1 / 3),
        "question_only": pytest.approx(2 / 3),
        "majority:is": 0.5,
        "majority:how": 1.0,
        "question_only:is": 0.5,
        "question_only:how": 1.0,
    }


def test_chinese_is_split_into_characters():
    training = Split([("它是红色的吗？", "是", None)] * 2 + [("有几个？", "2", None)], "zh")
    asked = Split([("红色吗", "", None), ("几个", "", None)], "zh")
    assert QuestionOnly(training).answer(flatten(asked.questions)) == ["是", "2"]


def possible(question):
    """Number of answers that a rendered question may have, by its first word."""
    first, second = question.text.split()[:2]
    return 2 if second == "large" else {"is": 2, "where": 4, "how": 3, "what": 7}[first]


def test_rendered_questions_say_nothing_of_their_answers():
    """Learned from 3,000 scenes, tested on others: within four standard errors of chance."""
    training, test = Split([]), Split([])
    training.questions = ask_scenes(draw_scenes(3000))
    test.questions = ask_scenes(draw_scenes(1500, split="test"))
    scores = blind_scores(training, test)
    groups = collections.defaultdict(list)
    for question in flatten(test.questions):
        groups[question.question_type].append(1 / possible(question))
    assert len(groups) == 6
    for kind, chances in groups.items():
        chance = sum(chances) / len(chances)
        error = math.sqrt(sum(p * (1 - p) for p in chances)) / len(chances)
        assert abs(scores[f"question_only:{kind}"] - chance) < 4 * error, kind


def test_bad_input():
    with pytest.raises(ValueError, match="training must have questions, got none"):
        blind_scores(load_data("scenes:20")["val"].captions, None)
