"""Rendered clips: two shapes to which something happens, one after the other; every fact is known.

A shape moves, appears, disappears or changes colour, then another one does; or the first hits the
second, which moves on. A third may stand by. Clips come in pairs: the second of a pair is the first
one run backwards, frame by frame the same pictures. So what a clip's frames show without their
order, or one frame alone, or a question alone, fits both of a pair, whose stories differ: who looks
no further is right about one of them at most. Splits share no story, run either way or mirrored.
Refuses to know words: ``moving_scenes_captions.py`` has them.

Dimension letters: F frames, H height and width of a frame.
"""

import dataclasses
import hashlib

import numpy as np

from keras_vlm.core.checks import check_choice, check_number
from keras_vlm.data.scenes import (
    COLOURS,
    SPLIT_SHARES,
    SceneObject,
    paint_background,
    paint_shape,
    to_pixels,
)

# Those that are told apart at a glance: what happens is the matter here.
MOVING_SHAPES = ("circle", "square", "triangle", "cross")
MOVING_COLOURS = ("red", "yellow", "green", "blue", "purple")
DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
# What something is when it runs backwards.
BACKWARDS = {
    "left": "right", "right": "left", "up": "down", "down": "up",
    "appear": "disappear", "disappear": "appear", "turn": "turn", "move": "move",
}  # fmt: skip
KINDS = ("move", "appear", "disappear", "turn")
COLLISIONS = 0.2
RADIUS = (0.125, 0.15)
# How far a shape moves alone, and how far each of two moves that hit one another.
WAY, SHORT_WAY = 0.25, 0.15
GAP = 0.02
# Places that are tried, so that a crowded story is as frequent as any other.
TRIES = 100
# Middles of the first event and half its length, as shares of the clip; the second mirrors them.
FIRST_TIMES, HALF_LENGTH = (0.20, 0.30), 0.12


@dataclasses.dataclass(frozen=True)
class Event:
    """Something that happens to a shape.

    Attributes:
        shape: which shape; no two of a clip are of one shape.
        colour: its colour before.
        kind: one of ``KINDS``.
        direction: a key of ``DIRECTIONS`` where it moves, else None.
        new_colour: its colour afterwards where it turns, else None.
    """

    shape: str
    colour: str
    kind: str
    direction: str | None = None
    new_colour: str | None = None

    def backwards(self):
        """Returns what this is when the clip runs backwards."""
        colours = (self.colour, self.new_colour)
        if self.kind == "turn":
            colours = (self.new_colour, self.colour)
        direction = self.direction and BACKWARDS[self.direction]
        return Event(self.shape, colours[0], BACKWARDS[self.kind], direction, colours[1])


@dataclasses.dataclass(frozen=True)
class MovingScene:
    """What a clip shows.

    Attributes:
        events: tuple of the two ``Event``, in the order in which they are seen.
        collides: whether the first shape hits the second and so moves it.
        bystander: a ``SceneObject`` to which nothing happens, or None.
        starts: the shapes (x, y) at the beginning of the first of a pair, in its order.
        radii: their radii.
        time: middle of that one's first event, as a share of the clip.
        seed: of the background and the shades.
        is_backwards: whether this is the second of a pair.
    """

    events: tuple
    collides: bool
    bystander: SceneObject | None
    starts: tuple
    radii: tuple
    time: float
    seed: int
    is_backwards: bool = False

    def backwards(self):
        """Returns the other one of the pair."""
        events = tuple(event.backwards() for event in reversed(self.events))
        return dataclasses.replace(self, events=events, is_backwards=not self.is_backwards)

    def visible_at(self, time):
        """Returns the shapes that are seen at a time.

        Args:
            time: share of the clip, 0 to 1.

        Returns:
            List of ``SceneObject``.
        """
        first = self.backwards() if self.is_backwards else self
        way = SHORT_WAY if self.collides else WAY
        time = 1 - time if self.is_backwards else time
        seen = []
        for event, (x, y), radius, (begin, end) in zip(
            first.events, first.starts, first.radii, first.spans(), strict=True
        ):
            done = min(1.0, max(0.0, (time - begin) / (end - begin)))
            colour, after = event.colour, done >= 0.5
            if (event.kind == "appear" and not after) or (event.kind == "disappear" and after):
                continue
            if event.kind == "turn" and after:
                colour = event.new_colour
            if event.kind == "move":
                dx, dy = DIRECTIONS[event.direction]
                x, y = x + done * way * dx, y + done * way * dy
            seen.append(SceneObject(event.shape, colour, "large", x, y, radius))
        return [*seen, *([self.bystander] if self.bystander else [])]

    def spans(self):
        """Returns when the two events of the first of a pair begin and end, as shares of it."""
        begin, end = self.time - HALF_LENGTH, self.time + HALF_LENGTH
        if self.collides:
            return (begin, 0.5), (0.5, 1 - begin)
        return (begin, end), (1 - end, 1 - begin)


def draw_moving_scenes(count, *, seed=0, split="train"):
    """Draws what clips show, without rendering them.

    Args:
        count: number of clips; of an odd number the last one's twin is missing.
        seed: whole number.
        split: a key of ``SPLIT_SHARES``.

    Returns:
        List of ``MovingScene``: each of an even place is followed by itself run backwards.

    Raises:
        ValueError: an argument is out of range.

    Example:
        >>> first, second = draw_moving_scenes(2)
        >>> [(event.shape, event.kind) for event in first.events]
        [('cross', 'disappear'), ('triangle', 'appear')]
        >>> [(event.shape, event.kind) for event in second.events]
        [('triangle', 'disappear'), ('cross', 'appear')]
    """
    check_number("draw_moving_scenes", "count", count, minimum=1, integer=True)
    check_number("draw_moving_scenes", "seed", seed, minimum=0, integer=True)
    check_choice("draw_moving_scenes", "split", split, SPLIT_SHARES)
    entropy = [seed, list(SPLIT_SHARES).index(split), 1]
    uniform = np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy))).random
    low, high = SPLIT_SHARES[split]
    scenes = []
    while len(scenes) < count:
        scene = _draw(uniform)
        if scene and low <= _digest(scene) < high:
            scenes += [scene, scene.backwards()]
    return scenes[:count]


def render_clip(scene, num_frames, image_size=64):
    """Renders the frames in the middles of equal parts of a clip.

    Args:
        scene: a ``MovingScene``.
        num_frames: F.
        image_size: H, pixels a side.

    Returns:
        uint8 [F,H,H,3]; of the second of a pair, exactly those of the first from the last on.

    Raises:
        ValueError: an argument is out of range.
    """
    check_number("render_clip", "num_frames", num_frames, minimum=1, integer=True)
    check_number("render_clip", "image_size", image_size, minimum=16, integer=True)
    if scene.is_backwards:
        return render_clip(scene.backwards(), num_frames, image_size)[::-1]
    uniform = np.random.Generator(np.random.PCG64(scene.seed)).random
    background = paint_background(uniform, image_size)
    shades = {name: np.array(COLOURS[name]) + 0.08 * (uniform(3) - 0.5) for name in MOVING_COLOURS}
    frames = []
    for number in range(num_frames):
        image = background
        for one in scene.visible_at((number + 0.5) / num_frames):
            image = paint_shape(image, one, shades[one.colour])
        frames.append(to_pixels(image))
    return np.stack(frames)


def _draw(uniform):
    """Draws the first of a pair; None if the shapes find no room."""
    shapes = sorted(MOVING_SHAPES, key=lambda _: uniform())[: 2 + (uniform() < 0.5)]
    colours = [_pick(uniform, MOVING_COLOURS) for _ in shapes]
    radii = [RADIUS[0] + (RADIUS[1] - RADIUS[0]) * uniform() for _ in shapes]
    collides = uniform() < COLLISIONS
    direction = _pick(uniform, DIRECTIONS)
    events = []
    for shape, colour in zip(shapes[:2], colours, strict=False):
        kind = "move" if collides else _pick(uniform, KINDS)
        direction = direction if collides else _pick(uniform, DIRECTIONS)
        others = [name for name in MOVING_COLOURS if name != colour]
        events.append(
            Event(
                shape,
                colour,
                kind,
                direction if kind == "move" else None,
                _pick(uniform, others) if kind == "turn" else None,
            )
        )
    time = FIRST_TIMES[0] + (FIRST_TIMES[1] - FIRST_TIMES[0]) * uniform()
    seed = int(uniform() * 2**32)
    for _ in range(TRIES):
        starts = [_place(uniform, radius) for radius in radii]
        if collides:
            dx, dy = DIRECTIONS[direction]
            reach = SHORT_WAY + radii[0] + radii[1]
            starts[1] = starts[0][0] + reach * dx, starts[0][1] + reach * dy
        bystander = None
        if len(shapes) > 2:
            bystander = SceneObject(shapes[2], colours[2], "large", *starts[2], radii[2])
        scene = MovingScene(
            tuple(events), collides, bystander, tuple(starts[:2]), tuple(radii[:2]), time, seed
        )
        if _fits(scene):
            return scene
    return None


def _place(uniform, radius):
    return tuple(0.02 + radius + (0.96 - 2 * radius) * uniform() for _ in range(2))


def _fits(scene):
    """Whether all shapes stay within the picture and apart, but for the hit."""
    gap = -1e-6 if scene.collides else GAP
    # As if nothing were ever invisible: where something is about to appear there is room for it.
    lasting = dataclasses.replace(
        scene,
        events=tuple(
            event if event.kind == "move" else dataclasses.replace(event, kind="turn")
            for event in scene.events
        ),
    )
    for time in np.linspace(0, 1, 21):
        seen = lasting.visible_at(time)
        for place, one in enumerate(seen):
            if not all(one.radius + 0.01 <= c <= 0.99 - one.radius for c in (one.x, one.y)):
                return False
            for other in seen[:place]:
                apart = max(abs(one.x - other.x), abs(one.y - other.y))
                if apart < one.radius + other.radius + gap:
                    return False
    return True


def _digest(scene):
    """Returns a number in [0, 1) of a story, the same when it runs backwards or is mirrored."""
    stories = []
    for each in (scene, scene.backwards()):
        facts = [
            f"{e.colour} {e.shape} {e.kind} {e.direction} {e.new_colour}" for e in each.events
        ]
        stories.append(f"{each.collides}|" + "|".join(facts))
        stories[-1] = stories[-1].replace("left", "beside").replace("right", "beside")
    hashed = hashlib.blake2b(min(stories).encode(), digest_size=8).digest()
    return int.from_bytes(hashed, "big") / 2**64


def _pick(uniform, table):
    return list(table)[int(uniform() * len(table))]
