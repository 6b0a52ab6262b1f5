"""Questions about rendered scenes, in English and in Chinese, whose words never tell the answer.

Six types: existence, count, colour, size, comparison, relation (to another shape or the picture).
Each is drawn so that, whatever the words of a question are, all of its possible answers are equally
likely: who does not look at the picture stays at chance. Two means: a yes or no is drawn by a fair
coin before what is asked, and shapes, colours, sizes and places are even in scenes; questions of
counts, colours and sizes are dropped until each answer to the same question occurs equally often
in a split, so that few scenes leave none of them. Nor does half a look do: sizes are compared where
a third shape is there and not all are alike, so that both have to be found. The same questions
stand in the same places in every language. Refuses to know pixels.
"""

import numpy as np

from keras_vlm.core.checks import check_choice
from keras_vlm.data.questions import Question
from keras_vlm.data.scenes import COLOURS, OPPOSITES, SHAPES, SIZES, is_clear, place, relation
from keras_vlm.data.scenes_captions import SEPARATORS, WORDS

QUESTIONS = {
    "en": {
        "colour_there": "is there a {colour} shape ?",
        "shape_there": "is there a {shape} ?",
        "kind_there": "is there a {kind} in the picture ?",
        "count": "how many shapes are there ?",
        "count_colour": "how many {colour} shapes are there ?",
        "count_shape": "how many {plural} are there ?",
        "colour": "what colour is the {shape} ?",
        "size": "how large is the {kind} ?",
        "larger": "is the {kind} larger than the {other} ?",
        "as_large": "is the {kind} as large as the {other} ?",
        "place": "where in the picture is the {kind} ?",
        "where": "where is the {kind} , seen from the {other} ?",
        "beside": "is the {kind} to the {side} of the {other} ?",
        "over": "is the {kind} {side} the {other} ?",
    },
    "zh": {
        "colour_there": "图中有{colour}的图形吗？",
        "shape_there": "图中有{shape}吗？",
        "kind_there": "图中有{kind}吗？",
        "count": "图中有几个图形？",
        "count_colour": "图中有几个{colour}的图形？",
        "count_shape": "图中有几个{shape}？",
        "colour": "{shape}是什么颜色？",
        "size": "{kind}有多大？",
        "larger": "{kind}比{other}大吗？",
        "as_large": "{kind}和{other}一样大吗？",
        "place": "{kind}在图中的哪一边？",
        "where": "{kind}在{other}的哪一边？",
        "beside": "{kind}在{other}的{side}边吗？",
        "over": "{kind}在{other}的{side}边吗？",
    },
}
TYPES = {
    "colour_there": "existence",
    "shape_there": "existence",
    "kind_there": "existence",
    "count": "count",
    "count_colour": "count",
    "count_shape": "count",
    "colour": "colour",
    "size": "size",
    "larger": "comparison",
    "as_large": "comparison",
    "place": "relation",
    "where": "relation",
    "beside": "relation",
    "over": "relation",
}
ANSWERS = {
    "zh": {"yes": "是", "no": "否", "left": "左", "right": "右", "above": "上", "below": "下"},
}
# Answers that are kept even; those that occur too rarely for it are left out.
EVEN = {
    "count": (1, 2, 3),
    "count_colour": (0, 1, 2),
    "count_shape": (0, 1, 2),
    "colour": tuple(COLOURS),
    "size": tuple(SIZES),
}
# Shares of the comparisons of two sizes that are asked, see ``_compare``.
LARGER_KEPT = {
    ("large", "small"): 1.0,
    ("small", "large"): 0.25,
    ("large", "large"): 1.0,
    ("small", "small"): 0.5,
}
# So that the questions differ from what the scene's own seed draws.
SALT = 7919


def ask_scenes(scenes, language="en", *, name="scene"):
    """Asks about scenes.

    Args:
        scenes: list of ``Scene``.
        language: ``"en"`` or ``"zh"``.
        name: what the questions' ids begin with.

    Returns:
        A list of ``Question`` a scene, at least one.

    Raises:
        ValueError: the language is neither.

    Example:
        >>> from keras_vlm.data.scenes import draw_scenes
        >>> question = ask_scenes(draw_scenes(1))[0][0]
        >>> question.text, question.answer
        ('is there a red shape ?', 'yes')
    """
    check_choice("ask_scenes", "language", language, QUESTIONS)
    drawn = [_draw(scene) for scene in scenes]
    kept = _even_answers(drawn)
    found = []
    for number, asked in enumerate(drawn):
        chosen = [each for index, each in enumerate(asked) if (number, index) in kept]
        found.append(
            [
                _question(*each, language, f"{name}-{number}-{index}")
                for index, each in enumerate(chosen)
            ]
        )
    return found


def _draw(scene):
    """Draws a scene's questions: list of (form, what it asks, answer)."""
    uniform = np.random.Generator(np.random.PCG64([scene.seed, SALT])).random

    def pick(items):
        items = list(items)
        return items[int(uniform() * len(items))]

    objects = scene.objects
    asked = _existence(objects, uniform, pick)
    asked.append(("count", {}, len(objects)))
    for part, table in (("colour", COLOURS), ("shape", SHAPES)):
        # All of them: most are dropped, for nothing is there most often.
        for value in table:
            number = sum(getattr(one, part) == value for one in objects)
            asked.append((f"count_{part}", {part: value}, number))
    shapes = [one.shape for one in objects]
    asked += [
        ("colour", {"shape": one.shape}, one.colour)
        for one in objects
        if shapes.count(one.shape) == 1
    ]
    asked += [("size", {"kind": (one.colour, one.shape)}, one.size) for one in objects]
    asked += [
        ("place", {"kind": (one.colour, one.shape)}, place(one))
        for one in objects
        if is_clear(one.x - 0.5, one.y - 0.5)
    ]
    mixed = len(objects) > 2 and len({one.size for one in objects}) > 1
    for other in objects[1:]:
        asked += _pair(objects[0], other, uniform)
        if mixed:
            asked += _compare(objects[0], other, uniform)
    return asked


def _existence(objects, uniform, pick):
    """Draws a question about a colour, a shape and a kind, each there or not by a fair coin."""
    asked = []
    kinds = {(one.colour, one.shape) for one in objects}
    tables = {
        "colour_there": ("colour", COLOURS, {one.colour for one in objects}),
        "shape_there": ("shape", SHAPES, {one.shape for one in objects}),
    }
    for form, (part, table, there) in tables.items():
        yes = uniform() < 0.5
        value = pick(item for item in table if (item in there) == yes)
        asked.append((form, {part: value}, "yes" if yes else "no"))
    yes = uniform() < 0.5
    colour, shape = pick(sorted(kinds))
    if not yes:
        # Half of a kind that is there, so that it is not enough to see a colour or a shape.
        keep_colour = uniform() < 0.5
        near = (
            [(colour, other) for other in SHAPES]
            if keep_colour
            else [(other, shape) for other in COLOURS]
        )
        colour, shape = pick(kind for kind in near if kind not in kinds)
    asked.append(("kind_there", {"kind": (colour, shape)}, "yes" if yes else "no"))
    return asked


def _pair(first, other, uniform):
    """Asks about the first object, whose relations are clear, and another, in either order."""
    asked = []
    for one, two in ((first, other), (other, first)):
        names = {"kind": (one.colour, one.shape), "other": (two.colour, two.shape)}
        seen = relation(one, two)
        asked.append(("where", names, seen))
        side = seen if uniform() < 0.5 else OPPOSITES[seen]
        form = "beside" if seen in {"left", "right"} else "over"
        asked.append((form, {**names, "side": side}, "yes" if side == seen else "no"))
    return asked


def _compare(first, other, uniform):
    """Compares two objects of a picture with three, not all of one size, in either order.

    Of three ordered pairs in two cases the sizes differ. Questions are left out so that both
    answers are as likely, and so that of a large object's comparisons each third is a no.
    """
    asked = []
    for one, two in ((first, other), (other, first)):
        names = {"kind": (one.colour, one.shape), "other": (two.colour, two.shape)}
        same = one.size == two.size
        larger = one.size == "large" and not same
        if uniform() < LARGER_KEPT[one.size, two.size]:
            asked.append(("larger", names, "yes" if larger else "no"))
        if same or uniform() < 0.5:
            asked.append(("as_large", names, "yes" if same else "no"))
    return asked


def _even_answers(drawn):
    """Returns the places (scene, question) that are kept: of each answer equally many."""
    kept, groups = set(), {}
    for number, asked in enumerate(drawn):
        for index, (form, what, answer) in enumerate(asked):
            if form not in EVEN:
                kept.add((number, index))
            elif answer in EVEN[form]:
                key = (form, *what.values())
                groups.setdefault(key, {}).setdefault(answer, []).append((number, index))
    for (form, *_), by_answer in groups.items():
        least = min(len(by_answer.get(answer, ())) for answer in EVEN[form])
        for places in by_answer.values():
            # Spread over the whole list, not its beginning.
            kept.update(places[len(places) * (2 * i + 1) // (2 * least)] for i in range(least))
    return kept


def _question(form, what, answer, language, question_id):
    words, separator = WORDS.get(language, {}), SEPARATORS[language]
    answers = {**words, **ANSWERS.get(language, {})}
    named = {
        key: separator.join(words.get(word, word) for word in value)
        if isinstance(value, tuple)
        else answers.get(value, value)
        for key, value in what.items()
    }
    if form == "count_shape":
        named["plural"] = named["shape"] + ("es" if named["shape"] == "cross" else "s")
    text = QUESTIONS[language][form].format(**named)
    answer = answers.get(answer, str(answer))
    answer_type = {"existence": "yes/no", "comparison": "yes/no", "count": "number"}
    kind = TYPES[form]
    closed = "yes/no" if form in {"beside", "over"} else "other"
    return Question(text, (answer,), question_id, kind, answer_type.get(kind, closed))
