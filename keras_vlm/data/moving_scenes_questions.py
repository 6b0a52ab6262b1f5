"""Questions about moving scenes, in English and in Chinese, that words or one frame do not answer.

Four types: motion, change, order, count. Each clip and its twin, which is the clip run backwards,
are asked the same questions in the same words, and each has another answer in the twin: so whoever
looks at the question alone, at the middle frame, or at the frames without their order, is right
half the time at most. Other frames tell little more: what has changed is asked together with what
was there before, so that shapes and colours of a frame are right half the time at most too; where
shapes lie in the first or last one says a little of where they go, for there must be room. The same
questions stand in the same places in every language. Refuses to know pixels.
"""

import numpy as np

from keras_vlm.core.checks import check_choice
from keras_vlm.data.moving_scenes import BACKWARDS, DIRECTIONS
from keras_vlm.data.questions import Question
from keras_vlm.data.scenes_captions import WORDS

QUESTIONS = {
    "en": {
        "direction": "which way does the {shape} move ?",
        "colours": "from which colour to which does the {shape} turn ?",
        "first": "what changes first , the {one} or the {other} ?",
        "hits": "which one hits the other , the {one} or the {other} ?",
        "count_left": "how many shapes move to the left ?",
        "count_right": "how many shapes move to the right ?",
        "count_up": "how many shapes move up ?",
        "count_down": "how many shapes move down ?",
        "counts": "how many shapes are there , from first to last ?",
    },
    "zh": {
        "direction": "{shape}向哪边移动？",
        "colours": "{shape}从什么颜色变成什么颜色？",
        "first": "{one}和{other}，哪个先变化？",
        "hits": "{one}和{other}，哪个撞上另一个？",
        "count_left": "有几个图形向左移动？",
        "count_right": "有几个图形向右移动？",
        "count_up": "有几个图形向上移动？",
        "count_down": "有几个图形向下移动？",
        "counts": "从开始到最后有几个图形？",
    },
}
TYPES = {
    "direction": "motion",
    "hits": "motion",
    "colours": "change",
    "counts": "change",
    "first": "order",
    "count_left": "count",
    "count_right": "count",
    "count_up": "count",
    "count_down": "count",
}
# What something turns from, and into.
CHANGES = {"en": "{} to {}", "zh": "{}到{}"}
ANSWERS = {"zh": {"left": "左", "right": "右", "up": "上", "down": "下"}}
# So that what is asked differs from what the scene's own seed draws.
SALT = 7919


def ask_clips(scenes, language="en", *, name="moving"):
    """Asks questions about clips.

    Args:
        scenes: list of ``MovingScene``.
        language: ``"en"`` or ``"zh"``.
        name: what the questions' ids begin with.

    Returns:
        A list of ``Question`` a clip, at least one.

    Raises:
        ValueError: the language is neither.

    Example:
        >>> from keras_vlm.data.moving_scenes import draw_moving_scenes
        >>> question = ask_clips(draw_moving_scenes(1))[0][0]
        >>> question.text, question.answer
        ('what changes first , the cross or the triangle ?', 'cross')
    """
    check_choice("ask_clips", "language", language, QUESTIONS)
    return [
        [
            _question(*asked, language, f"{name}-{number}-{place}")
            for place, asked in enumerate(_ask(scene))
        ]
        for number, scene in enumerate(scenes)
    ]


def _ask(scene):
    """Returns a clip's questions: list of (form, what it asks, answer)."""
    # In the order of the first of a pair, so that both are asked the same.
    events = scene.events[::-1] if scene.is_backwards else scene.events
    asked = []
    for event in events:
        what = {"shape": event.shape}
        if event.kind == "move":
            asked.append(("direction", what, event.direction))
        elif event.kind == "turn":
            asked.append(("colours", what, (event.colour, event.new_colour)))
    shapes = [event.shape for event in events]
    if np.random.Generator(np.random.PCG64([scene.seed, SALT])).random() < 0.5:
        shapes.reverse()
    pair = {"one": shapes[0], "other": shapes[1]}
    asked.append(("hits" if scene.collides else "first", pair, scene.events[0].shape))
    ways = [event.direction for event in events]
    for way in DIRECTIONS:
        if ways.count(way) != ways.count(BACKWARDS[way]):
            asked.append((f"count_{way}", {}, ways.count(way)))
    numbers = tuple(len(scene.visible_at(time)) for time in (0.0, 1.0))
    if numbers[0] != numbers[1]:
        asked.append(("counts", {}, numbers))
    return asked


def _question(form, what, answer, language, question_id):
    words = {**WORDS.get(language, {}), **ANSWERS.get(language, {})}
    text = QUESTIONS[language][form].format(**{k: words.get(v, v) for k, v in what.items()})
    answer_type = "number" if TYPES[form] == "count" else "other"
    if isinstance(answer, tuple):
        told = CHANGES[language].format(*(words.get(each, each) for each in answer))
    else:
        told = words.get(answer, str(answer))
    return Question(text, (told,), question_id, TYPES[form], answer_type)
