"""What moving scenes are called: three true captions a clip, in English and in Chinese.

Each language has the same phrasings in the same order, so that caption k says the same in both.
Refuses to know pixels.
"""

from keras_vlm.core.checks import check_choice
from keras_vlm.data.scenes_captions import SEPARATORS, WORDS

EVENTS = {
    "en": {
        "move": "a {who} moves {way}",
        "appear": "a {who} appears",
        "disappear": "a {who} disappears",
        "turn": "a {who} turns {new_colour}",
    },
    "zh": {
        "move": "{who}{way}移动",
        "appear": "{who}出现",
        "disappear": "{who}消失",
        "turn": "{who}变成{new_colour}",
    },
}
PHRASES = {
    "en": (
        "{first} , then {second}",
        "first {first} , and then {second}",
        "after {first} , {second}",
    ),
    "zh": ("{first}，然后{second}", "先是{first}，接着{second}", "{first}之后，{second}"),
}
COLLISIONS = {
    "en": (
        "a {who} hits a {whom} and pushes it {way}",
        "a {whom} is hit by a {who} and moves {way}",
        "a {who} moves {way} and hits a {whom}",
    ),
    "zh": (
        "{who}撞上{whom}，把它{way}推",
        "{whom}被{who}撞上，{way}移动",
        "{who}{way}移动，撞上{whom}",
    ),
}
WAYS = {
    "en": {"left": "to the left", "right": "to the right", "up": "up", "down": "down"},
    "zh": {"left": "向左", "right": "向右", "up": "向上", "down": "向下"},
}


def describe_clip(scene, language="en"):
    """Returns three captions of a clip.

    Args:
        scene: a ``MovingScene``.
        language: ``"en"`` or ``"zh"``.

    Returns:
        List of strings; the k-th says the same in every language.

    Raises:
        ValueError: the language is neither.

    Example:
        >>> from keras_vlm.data.moving_scenes import draw_moving_scenes
        >>> describe_clip(draw_moving_scenes(1)[0])[0]
        'a green cross disappears , then a yellow triangle appears'
    """
    check_choice("describe_clip", "language", language, PHRASES)
    first, second = scene.events
    if scene.collides:
        facts = {
            "who": name(first, language),
            "whom": name(second, language),
            "way": WAYS[language][first.direction],
        }
        return [phrase.format(**facts) for phrase in COLLISIONS[language]]
    told = {"first": _tell(first, language), "second": _tell(second, language)}
    return [phrase.format(**told) for phrase in PHRASES[language]]


def name(event, language):
    """Returns colour and shape of what an event happens to."""
    words = WORDS.get(language, {})
    return SEPARATORS[language].join(words.get(w, w) for w in (event.colour, event.shape))


def _tell(event, language):
    words = WORDS.get(language, {})
    return EVENTS[language][event.kind].format(
        who=name(event, language),
        way=WAYS[language].get(event.direction),
        new_colour=words.get(event.new_colour, event.new_colour),
    )
