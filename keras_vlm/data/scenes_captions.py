"""What rendered scenes are called: five true captions a scene, in English and in Chinese.

Each language has the same phrasings in the same order, so that caption k says the same in both.
Refuses to know pixels. ``{a}``, ``{b}``, ``{c}`` stand for objects with their size, ``{a_short}``
and the like for those without; ``{a_from_b}`` says where the first lies as seen from the second,
and ``{a_side}`` on which side an object is, as seen from the other.
"""

from keras_vlm.core.checks import check_choice
from keras_vlm.data.scenes import OPPOSITES, place, relation

PHRASES = {
    "en": {
        1: (
            "a {a} {a_side}",
            "there is a {a} {a_side}",
            "the picture shows one shape , a {a}",
            "the {a_short} {a_side} is {a_size}",
            "one {a} {a_side} of the picture",
        ),
        2: (
            "a {a} {a_from_b} a {b}",
            "a {b} {b_from_a} a {a}",
            "there are two shapes : a {a} and a {b}",
            "a {a} {a_side} and a {b} {b_side}",
            "the {b_short} is {b_from_a} the {a_short}",
        ),
        3: (
            "a {a} {a_from_b} a {b} and {a_from_c} a {c}",
            "there are three shapes : a {a} , a {b} and a {c}",
            "a {b} {b_from_a} a {a} , and a {c}",
            "a {c} {c_from_a} a {a} , and a {b}",
            "three shapes , and the {a_short} is {a_from_b} the {b_short}",
        ),
    },
    "zh": {
        1: (
            "{a_side}是一个{a}",
            "{a_side}有一个{a}",
            "图中有一个图形，是{a}",
            "{a_side}的{a_short}是{a_size}的",
            "图的{a_side}有一个{a}",
        ),
        2: (
            "一个{a}在一个{b}的{a_from_b}",
            "一个{b}在一个{a}的{b_from_a}",
            "图中有两个图形：一个{a}和一个{b}",
            "{a_side}是一个{a}，{b_side}是一个{b}",
            "{b_short}在{a_short}的{b_from_a}",
        ),
        3: (
            "一个{a}在一个{b}的{a_from_b}，在一个{c}的{a_from_c}",
            "图中有三个图形：一个{a}、一个{b}和一个{c}",
            "一个{b}在一个{a}的{b_from_a}，还有一个{c}",
            "一个{c}在一个{a}的{c_from_a}，还有一个{b}",
            "有三个图形，{a_short}在{b_short}的{a_from_b}",
        ),
    },
}
RELATIONS = {
    "en": {
        "left": "to the left of",
        "right": "to the right of",
        "above": "above",
        "below": "below",
    },
    "zh": {"left": "左边", "right": "右边", "above": "上边", "below": "下边"},
}
SIDES = {
    "en": {
        "left": "on the left",
        "right": "on the right",
        "above": "at the top",
        "below": "at the bottom",
        "middle": "in the middle",
    },
    "zh": {**RELATIONS["zh"], "middle": "中间"},
}
WORDS = {
    "zh": {
        "small": "小",
        "large": "大",
        "red": "红色",
        "orange": "橙色",
        "yellow": "黄色",
        "green": "绿色",
        "blue": "蓝色",
        "purple": "紫色",
        "pink": "粉色",
        "circle": "圆形",
        "square": "正方形",
        "triangle": "三角形",
        "star": "星形",
        "cross": "十字形",
        "ring": "圆环",
    }
}
SEPARATORS = {"en": " ", "zh": ""}


def describe_scene(scene, language="en"):
    """Returns five captions of a scene.

    Args:
        scene: a ``Scene``.
        language: ``"en"`` or ``"zh"``.

    Returns:
        List of strings; the k-th says the same in every language.

    Raises:
        ValueError: the language is neither.
    """
    check_choice("describe_scene", "language", language, PHRASES)
    facts = _facts(scene, language)
    return [phrase.format(**facts) for phrase in PHRASES[language][len(scene.objects)]]


def _facts(scene, language):
    """Returns what may stand between the braces of a phrase."""
    words, separator = WORDS.get(language, {}), SEPARATORS[language]
    first, *others = scene.objects
    facts = {}
    for letter, one in zip("abc", scene.objects, strict=False):
        size, colour, shape = (words.get(w, w) for w in (one.size, one.colour, one.shape))
        facts[letter] = separator.join((size, colour, shape))
        facts[f"{letter}_short"] = separator.join((colour, shape))
        facts[f"{letter}_size"] = size
    for letter, other in zip("bc", others, strict=False):
        # Only relations to the first object are sure to be clear.
        seen = relation(first, other)
        facts[f"a_from_{letter}"] = RELATIONS[language][seen]
        facts[f"{letter}_from_a"] = RELATIONS[language][OPPOSITES[seen]]
        facts["a_side"] = SIDES[language][seen]
        facts[f"{letter}_side"] = SIDES[language][OPPOSITES[seen]]
    if not others:
        facts["a_side"] = SIDES[language][place(first)]
    return facts
