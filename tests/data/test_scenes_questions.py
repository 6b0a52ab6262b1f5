"""Questions about rendered scenes are true, balanced, and the same in both languages."""

import collections
import re

import pytest

from keras_vlm import load_data
from keras_vlm.data.questions import flatten
from keras_vlm.data.scenes import draw_scenes
from keras_vlm.data.scenes_captions import WORDS
from keras_vlm.data.scenes_questions import QUESTIONS, ask_scenes


@pytest.fixture(scope="module")
def scenes():
    return draw_scenes(600)


@pytest.fixture(scope="module")
def asked(scenes):
    return ask_scenes(scenes)


class Middle:
    x = y = 0.5


def seen_from(one, other):
    dx, dy = one.x - other.x, one.y - other.y
    if abs(dx) > abs(dy):
        return "left" if dx < 0 else "right"
    return "above" if dy < 0 else "below"


def true_answer(scene, text):
    """Reads the English words of a question and looks: another way than it was made."""

    def find(words):
        words = words.split()
        return [
            one for one in scene.objects
            if all(word in (one.colour, one.shape) for word in words if word != "shape")
        ]  # fmt: skip

    yes = {True: "yes", False: "no"}
    if match := re.fullmatch(r"is there a (.+?)( in the picture)? \?", text):
        return yes[bool(find(match[1]))]
    if match := re.fullmatch(r"how many (.+) are there \?", text):
        words = re.sub("(?<=cross)es$|(?<!s)s$", "", match[1])
        return str(len(scene.objects if words == "shape" else find(words)))
    if match := re.fullmatch(r"what colour is the (.+) \?", text):
        [one] = find(match[1])
        return one.colour
    if match := re.fullmatch(r"how large is the (.+) \?", text):
        [one] = find(match[1])
        return one.size
    if match := re.fullmatch(r"is the (.+) larger than the (.+) \?", text):
        [one], [other] = find(match[1]), find(match[2])
        return yes[(one.size, other.size) == ("large", "small")]
    if match := re.fullmatch(r"is the (.+) as large as the (.+) \?", text):
        [one], [other] = find(match[1]), find(match[2])
        return yes[one.size == other.size]
    if match := re.fullmatch(r"where in the picture is the (.+) \?", text):
        [one] = find(match[1])
        return seen_from(one, Middle())
    if match := re.fullmatch(r"where is the (.+) , seen from the (.+) \?", text):
        [one], [other] = find(match[1]), find(match[2])
        return seen_from(one, other)
    match = re.fullmatch(r"is the (.+?) (?:to the )?(\w+) (?:of )?the (.+) \?", text)
    [one], [other] = find(match[1]), find(match[3])
    return yes[seen_from(one, other) == match[2]]


def test_every_answer_is_true(scenes, asked):
    for scene, questions in zip(scenes, asked, strict=True):
        assert questions
        for question in questions:
            assert question.answer == true_answer(scene, question.text), question


def test_every_type_and_form_occurs(asked):
    counts = collections.Counter(question.question_type for question in flatten(asked))
    assert set(counts) == {"existence", "count", "colour", "size", "comparison", "relation"}
    assert min(counts.values()) > 200
    assert len({question.question_id for question in flatten(asked)}) == len(flatten(asked))


@pytest.mark.parametrize(
    ("kind", "forms", "answers"), [("count", 14, 3), ("colour", 6, 7), ("size", 42, 2)]
)
def test_answers_are_even_to_the_word(asked, kind, forms, answers):
    groups = collections.defaultdict(collections.Counter)
    for question in flatten(asked):
        if question.question_type == kind:
            groups[question.text][question.answer] += 1
    assert len(groups) == forms
    for counts in groups.values():
        assert len(counts) == answers
        assert len(set(counts.values())) == 1


def test_pairs_are_asked_about_in_either_order(scenes, asked):
    for scene, questions in zip(scenes, asked, strict=True):
        others = len(scene.objects) - 1
        counts = collections.Counter(question.question_type for question in questions)
        places = sum(question.text.startswith("where in") for question in questions)
        assert counts["relation"] == 4 * others + places
        alone = scene.objects[0]
        if not others:
            assert places == (max(abs(alone.x - 0.5), abs(alone.y - 0.5)) >= 0.08)


def test_comparisons_need_both_sizes(scenes, asked):
    """Whoever looks at one shape only, or at whether there are both sizes, is often wrong."""
    seen = collections.defaultdict(collections.Counter)
    for scene, questions in zip(scenes, asked, strict=True):
        for question in questions:
            if question.question_type != "comparison":
                continue
            assert len({one.size for one in scene.objects}) == 2
            assert len(scene.objects) == 3
            larger = " larger " in question.text
            kinds = re.findall(r"the (\w+) (\w+)", question.text)
            for place, kind in enumerate(kinds):
                [one] = [o for o in scene.objects if (o.colour, o.shape) == kind]
                seen[larger, place, one.size][question.answer] += 1
            seen[larger][question.answer] += 1
    for larger in (True, False):
        assert 0.4 < seen[larger]["yes"] / seen[larger].total() < 0.6
    for key, counts in seen.items():
        # A small one is larger than none, and none is larger than a large one.
        if isinstance(key, tuple) and key not in {(True, 0, "small"), (True, 1, "large")}:
            assert max(counts.values()) / counts.total() < 0.85, (key, counts)


def test_the_same_in_chinese(scenes, asked):
    chinese = ask_scenes(scenes, "zh")
    words = {**WORDS["zh"], "yes": "是", "no": "否"}
    words |= {"left": "左", "right": "右", "above": "上", "below": "下"}
    for ours, theirs in zip(flatten(asked), flatten(chinese), strict=True):
        assert theirs.answer == words.get(ours.answer, ours.answer)
        assert theirs.question_id == ours.question_id
        assert re.search("[\u4e00-\u9fff]", theirs.text)
        assert not re.search("[a-z]", theirs.text)
        for word, translated in WORDS["zh"].items():
            if re.search(rf"\b{word}\b", ours.text):
                assert translated in theirs.text, (ours.text, theirs.text)
    assert set(QUESTIONS["zh"]) == set(QUESTIONS["en"])


def test_more_scenes_begin_with_the_same_fair_questions(scenes, asked):
    """All but those that are kept even over the whole list."""

    def fair(questions):
        even = {"count", "colour", "size"}
        return [(q.text, q.answer) for q in questions if q.question_type not in even]

    fewer = ask_scenes(scenes[:50])
    assert [fair(each) for each in fewer] == [fair(each) for each in asked[:50]]


def test_the_source_has_them():
    examples = load_data("scenes:20", language="zh")["val"]
    element = next(iter(examples.dataset()))
    assert element["questions"].numpy()[0].decode() == examples.questions[0][0].text
    assert element["answers"].shape == (len(examples.questions[0]), 1)
    assert examples.captions is not None


def test_bad_language(scenes):
    with pytest.raises(ValueError, match="language must be one of 'en', 'zh', got 'fr'"):
        ask_scenes(scenes[:1], "fr")
