"""Questions about clips are true, and neither words nor frames without order answer them."""

import collections
import re

import numpy as np
import pytest
from contracts import few

from keras_vlm import load_data
from keras_vlm.data.moving_scenes import MOVING_SHAPES, draw_moving_scenes, render_clip
from keras_vlm.data.moving_scenes_questions import QUESTIONS, ask_clips
from keras_vlm.data.questions import flatten
from keras_vlm.training.blind import blind_scores


@pytest.fixture(scope="module")
def scenes():
    return draw_moving_scenes(800)


@pytest.fixture(scope="module")
def asked(scenes):
    return ask_clips(scenes)


class Seen:
    """What is seen of a clip's states over time: another way than the questions were made."""

    def __init__(self, scene):
        self.states = [scene.visible_at((i + 0.5) / 40) for i in range(40)]
        self.shapes = {one.shape for seen in self.states for one in seen}

    def of(self, shape):
        return [next((o for o in seen if o.shape == shape), None) for seen in self.states]

    def way(self, shape):
        first, last = self.of(shape)[0], self.of(shape)[-1]
        if first is None or last is None:
            return None
        dx, dy = last.x - first.x, last.y - first.y
        if max(abs(dx), abs(dy)) < 0.05:
            return None
        return ("left" if dx < 0 else "right") if abs(dx) > abs(dy) else "up" if dy < 0 else "down"

    def begins(self, shape):
        states = self.of(shape)
        return next((i for i, one in enumerate(states) if one != states[0]), 99)


FORMS = {
    r"which way does the (\w+) move \?": lambda seen, one: seen.way(one),
    r"from which colour to which does the (\w+) turn \?": lambda seen, one: " to ".join(
        seen.of(one)[place].colour for place in (0, -1)
    ),
    r"what changes first , the (\w+) or the (\w+) \?": lambda seen, one, other: min(
        (one, other), key=seen.begins
    ),
    r"which one hits the other , the (\w+) or the (\w+) \?": lambda seen, one, other: min(
        (one, other), key=seen.begins
    ),
    r"how many shapes are there , from first to last \?": lambda seen: " to ".join(
        str(len(seen.states[place])) for place in (0, -1)
    ),
    r"how many shapes move (?:to the )?(\w+) \?": lambda seen, way: str(
        sum(seen.way(shape) == way for shape in seen.shapes)
    ),
}


def true_answer(scene, text):
    """Reads the English words of a question and looks."""
    [(form, match)] = [(f, m) for f in FORMS if (m := re.fullmatch(f, text))]
    return FORMS[form](Seen(scene), *match.groups())


def test_every_answer_is_true(scenes, asked):
    for scene, questions in zip(scenes, asked, strict=True):
        assert questions
        for question in questions:
            assert question.answer == true_answer(scene, question.text), question


def test_every_type_and_form_occurs(asked):
    counts = collections.Counter(question.question_type for question in flatten(asked))
    assert set(counts) == {"motion", "change", "order", "count"}
    assert min(counts.values()) > 500
    assert len({question.question_id for question in flatten(asked)}) == len(flatten(asked))
    assert {q.answer for q in flatten(asked) if q.question_type == "count"} == {"0", "1", "2"}


def test_twins_are_asked_the_same_and_answer_otherwise(scenes, asked):
    """So that question and frames without order, which they share, are right half the time."""
    for place in range(0, len(scenes), 2):
        ours, theirs = asked[place], asked[place + 1]
        assert [q.text for q in ours] == [q.text for q in theirs]
        assert all(a.answer != b.answer for a, b in zip(ours, theirs, strict=True))
        pictures = [sorted(f.tobytes() for f in render_clip(scenes[place + i], 8)) for i in (0, 1)]
        assert pictures[0] == pictures[1]


@pytest.mark.parametrize("split", ["train", "test"])
def test_who_does_not_see_the_order_is_right_half_the_time_at_most(split):
    """Of whatever a question, or a question with unordered frames, tells: the best possible guess.

    The guess is made with full knowledge of the very split that is scored.
    """
    scenes = draw_moving_scenes(400, split=split)
    asked = ask_clips(scenes)
    answers = collections.defaultdict(collections.Counter)
    for scene, questions in zip(scenes, asked, strict=True):
        seen = tuple(sorted(frame.tobytes() for frame in render_clip(scene, 4)))
        for question in questions:
            answers[question.text, ""][question.answer] += 1
            answers[question.text, seen][question.answer] += 1
    for blind in (True, False):
        counts = [counter for (_, seen), counter in answers.items() if (seen == "") == blind]
        right = sum(max(counter.values()) for counter in counts)
        assert right / sum(sum(counter.values()) for counter in counts) <= 0.5


@pytest.mark.parametrize("time", few([0.0, 0.25, 0.5, 0.75, 1.0], 0.0, 0.5))
def test_no_frames_shapes_and_colours_tell(time):
    """The best possible guess of who knows which shapes a frame shows, and their colours.

    The guess is made with full knowledge of the answers, by what the frame tells of what is asked.
    """
    scenes = draw_moving_scenes(6000)
    answers = collections.defaultdict(collections.Counter)
    for scene, questions in zip(scenes, ask_clips(scenes), strict=True):
        seen = {one.shape: one.colour for one in scene.visible_at(time)}
        for question in questions:
            named = [word for word in question.text.split() if word in MOVING_SHAPES]
            told = (*[seen.get(shape) for shape in named], len(seen))
            # Names aside, so that there are enough clips of each kind to guess from.
            text = question.text
            answer = question.answer
            for place, shape in enumerate(named):
                text, answer = (each.replace(shape, f"shape {place}") for each in (text, answer))
            answers[text, told][answer] += 1
    right = sum(max(counter.values()) for counter in answers.values())
    total = sum(sum(counter.values()) for counter in answers.values())
    assert total > 20000
    assert right / total <= 0.5


def test_the_baseline_that_learns_from_words_is_at_chance():
    data = load_data("moving_scenes:600")
    scores = blind_scores(data["train"], data["test"])
    assert scores["question_only"] <= 0.5
    assert scores["majority"] <= 0.5


def test_the_same_in_chinese(scenes, asked):
    chinese = ask_clips(scenes[:200], "zh")
    for ours, theirs in zip(flatten(asked[:200]), flatten(chinese), strict=True):
        assert theirs.question_id == ours.question_id
        assert not re.search("[a-z{]", theirs.text + theirs.answer)
        assert ours.answer == theirs.answer or not ours.answer.isdigit()
    assert set(QUESTIONS["zh"]) == set(QUESTIONS["en"])
    with pytest.raises(ValueError, match="language must be one of 'en', 'zh', got 'fr'"):
        ask_clips(scenes[:1], "fr")


def test_answers_are_varied(asked):
    """No answer is the answer: of every form of question each occurs."""
    groups = collections.defaultdict(collections.Counter)
    for question in flatten(asked):
        form = re.sub(r"\b(circle|square|triangle|cross)\b", "X", question.text)
        groups[form][question.answer] += 1
    assert len(groups) == 9
    assert all(len(counts) >= 2 for counts in groups.values())
    shares = [max(counts.values()) / sum(counts.values()) for counts in groups.values()]
    assert np.max(shares) <= 0.5
