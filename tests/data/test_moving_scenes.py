"""Moving scenes are true, come in pairs that no one frame tells apart, and are always the same."""

import collections
import hashlib
import re

import numpy as np
import pytest
import tensorflow as tf

from keras_vlm import load_data
from keras_vlm.data.moving_scenes import (
    DIRECTIONS,
    MOVING_COLOURS,
    MOVING_SHAPES,
    draw_moving_scenes,
    render_clip,
)
from keras_vlm.data.moving_scenes_captions import describe_clip, name
from keras_vlm.data.scenes import COLOURS
from keras_vlm.data.scenes_captions import WORDS


@pytest.fixture(scope="module")
def scenes():
    return draw_moving_scenes(600)


def test_the_same_clips_on_every_machine(scenes):
    digest = hashlib.blake2b(digest_size=8)
    for scene in scenes[:20]:
        digest.update(render_clip(scene, 4, 32).tobytes())
    assert digest.hexdigest() == "0646d9a1ef683fa6"
    assert draw_moving_scenes(10) == scenes[:10]
    assert draw_moving_scenes(10, seed=1) != scenes[:10]


def test_the_second_of_a_pair_is_the_first_run_backwards(scenes):
    for first, second in zip(scenes[::2], scenes[1::2], strict=True):
        assert second.backwards() == first
        assert describe_clip(first) != describe_clip(second)
        for count in (1, 5, 8):
            np.testing.assert_array_equal(
                render_clip(first, count), render_clip(second, count)[::-1]
            )
        # What a picture model is given of a clip.
        np.testing.assert_array_equal(render_clip(first, 1), render_clip(second, 1))


def kind_of(scene):
    if scene.collides:
        return "hit"
    return scene.events[0].kind


def test_every_kind_of_story_occurs(scenes):
    kinds = collections.Counter(kind_of(scene) for scene in scenes)
    assert set(kinds) == {"hit", "move", "appear", "disappear", "turn"}
    assert min(kinds.values()) > 0.1 * len(scenes)
    events = [event for scene in scenes for event in scene.events]
    assert {event.shape for event in events} == set(MOVING_SHAPES)
    assert {event.colour for event in events} == set(MOVING_COLOURS)
    assert {event.direction for event in events} == {*DIRECTIONS, None}
    assert {bool(scene.bystander) for scene in scenes} == {True, False}


def first_seen(states, shape):
    return next(one for seen in states for one in seen if one.shape == shape)


def told(states, shape):
    """What happens to a shape, read off its states over time: another way than it was drawn."""
    there = [next((o for o in seen if o.shape == shape), None) for seen in states]
    if there[0] is None or there[-1] is None:
        return "appears" if there[0] is None else "disappears"
    first, last = there[0], there[-1]
    if first.colour != last.colour:
        return f"turns {last.colour}"
    dx, dy = last.x - first.x, last.y - first.y
    if abs(dx) > abs(dy):
        return "moves to the left" if dx < 0 else "moves to the right"
    return "moves up" if dy < 0 else "moves down"


def changes_at(states, shape):
    """The place of the first state in which a shape is not as it was."""
    there = [next((o for o in seen if o.shape == shape), None) for seen in states]
    return next(i for i, one in enumerate(there) if one != there[0])


def test_captions_are_true(scenes):
    for scene in scenes[:200]:
        states = [scene.visible_at((i + 0.5) / 40) for i in range(40)]
        captions = describe_clip(scene)
        assert len(set(captions)) == 3
        if scene.collides:
            text = r"a (\w+) (\w+) hits a (\w+) (\w+) and pushes it (.+)"
            colour, shape, other_colour, other, way = re.fullmatch(text, captions[0]).groups()
            assert told(states, shape) == told(states, other) == f"moves {way}"
            one, two = first_seen(states, shape), first_seen(states, other)
            assert (one.colour, two.colour) == (colour, other_colour)
            assert changes_at(states, shape) < 20 <= changes_at(states, other)
            # They touch in the middle, and are apart at both ends.
            gaps = []
            for seen in (states[0], states[20], states[-1]):
                by_shape = {o.shape: o for o in seen}
                a, b = by_shape[shape], by_shape[other]
                gaps.append(max(abs(a.x - b.x), abs(a.y - b.y)) - a.radius - b.radius)
            assert gaps[1] < 0.02 < min(gaps[0], gaps[2])
            continue
        parts = re.fullmatch(r"a (\w+) (\w+) (.+) , then a (\w+) (\w+) (.+)", captions[0]).groups()
        seen = []
        for colour, shape, what in (parts[:3], parts[3:]):
            assert told(states, shape) == what
            assert first_seen(states, shape).colour == colour
            seen.append(changes_at(states, shape))
        assert seen[0] < 20 < seen[1]
        first, second = (" ".join(parts[i : i + 3]) for i in (0, 3))
        assert captions[1] == f"first a {first} , and then a {second}"
        assert captions[2] == f"after a {first} , a {second}"


def test_the_same_in_chinese(scenes):
    for scene in scenes[:100]:
        ours, theirs = describe_clip(scene), describe_clip(scene, "zh")
        for english, chinese in zip(ours, theirs, strict=True):
            assert not re.search("[a-z{]", chinese)
            for word, translated in WORDS["zh"].items():
                if re.search(rf"\b{word}\b", english):
                    assert translated in chinese
            for word, translated in {"left": "左", "right": "右", "up": "上", "down": "下"}.items():
                if re.search(rf"\b{word}\b", english) and not scene.collides:
                    assert f"向{translated}" in chinese
    with pytest.raises(ValueError, match="language must be one of 'en', 'zh', got 'fr'"):
        describe_clip(scenes[0], "fr")


def test_what_is_rendered_is_what_is_there(scenes):
    """The pixel at a shape's middle has its colour, or nearly so."""
    for scene in scenes[:60]:
        frames = render_clip(scene, 8, 48)
        for number, pixels in enumerate(frames):
            for one in scene.visible_at((number + 0.5) / 8):
                pixel = pixels[int(one.y * 48), int(one.x * 48)] / 255
                nearest = min(
                    MOVING_COLOURS, key=lambda c: np.abs(pixel - np.array(COLOURS[c])).sum()
                )
                assert nearest == one.colour


def test_splits_share_no_story():
    def stories(split):
        found = set()
        for scene in draw_moving_scenes(800, split=split):
            events = [(name(e, "en"), e.kind, e.direction, e.new_colour) for e in scene.events]
            found.add(str((scene.collides, events)).replace("left", "beside")
                      .replace("right", "beside"))  # fmt: skip
        return found

    train, val, test = (stories(split) for split in ("train", "val", "test"))
    assert not train & val
    assert not train & test
    assert not val & test


def test_the_source():
    data = load_data("moving_scenes:20")
    assert {split: len(data[split]) for split in data} == {"train": 20, "val": 2, "test": 4}
    examples = data["train"]
    frames = examples.read_frames(3, 5)
    assert frames.shape == (5,)
    scene = draw_moving_scenes(20)[3]
    assert examples.captions[3] == describe_clip(scene)
    decoded = np.stack([tf.io.decode_bmp(frame) for frame in frames.numpy()])
    np.testing.assert_array_equal(decoded, render_clip(scene, 5))
    element = list(examples.dataset().as_numpy_iterator())[3]
    np.testing.assert_array_equal(
        tf.io.decode_bmp(element["image_bytes"]), render_clip(scene, 1)[0]
    )
    for wrong in ("0", "many", "5:mixed"):
        with pytest.raises(ValueError, match=f"got 'moving_scenes:{wrong}'"):
            load_data(f"moving_scenes:{wrong}")


def test_shuffled_frames_are_the_same_ones_in_another_order():
    plain = load_data("moving_scenes:20")["train"]
    shuffled = load_data("moving_scenes:20:shuffled")["train"]
    same = 0
    for place in range(20):
        ours, theirs = (e.read_frames(place, 8).numpy().tolist() for e in (plain, shuffled))
        assert sorted(ours) == sorted(theirs)
        same += ours == theirs
        assert theirs == shuffled.read_frames(place, 8).numpy().tolist()
    assert same <= 2
    assert plain.captions == shuffled.captions
