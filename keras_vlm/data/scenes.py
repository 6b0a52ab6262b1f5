"""Rendered scenes: one to three coloured shapes whose every fact is known.

They teach and test a captioner where there is no file and no network. A scene is drawn from a seed
and a split; the same seed gives the same scenes and pixels on every machine: only uniform numbers
of PCG64 and exactly rounded arithmetic are used (no sine, no logarithm). Refuses to know words:
``scenes_captions.py`` has them.

Splits share no scene: what a scene shows (its shapes and how they lie, mirrored or not) decides by
its digest which split it may be in, so that a test scene is a combination never seen in training.

Dimension letters: H height and width of a picture.
"""

import dataclasses
import hashlib

import numpy as np

from keras_vlm.core.checks import check_choice, check_number

COLOURS = {
    "red": (0.85, 0.12, 0.12),
    "orange": (0.97, 0.55, 0.10),
    "yellow": (0.95, 0.90, 0.15),
    "green": (0.12, 0.62, 0.20),
    "blue": (0.12, 0.25, 0.85),
    "purple": (0.50, 0.15, 0.62),
    "pink": (0.98, 0.55, 0.75),
}
# Radius as a share of the picture's side: from, to.
SIZES = {"small": (0.075, 0.090), "large": (0.140, 0.165)}
# Digests of scenes, by split: 80, 8 and 12 %.
SPLIT_SHARES = {"train": (0.0, 0.80), "val": (0.80, 0.88), "test": (0.88, 1.0)}
OPPOSITES = {"left": "right", "right": "left", "above": "below", "below": "above"}
# One direction must be this much larger than the other for a relation to be clear.
DOMINANCE = 1.5
GAP = 0.03
MIDDLE = 0.08


@dataclasses.dataclass(frozen=True)
class SceneObject:
    """One shape of a scene.

    Attributes:
        shape: a key of ``SHAPES``.
        colour: a key of ``COLOURS``.
        size: ``"small"`` or ``"large"``.
        x: centre from the left, as a share of the width.
        y: centre from the top, as a share of the height.
        radius: as a share of the side.
    """

    shape: str
    colour: str
    size: str
    x: float
    y: float
    radius: float


@dataclasses.dataclass(frozen=True)
class Scene:
    """What a picture shows.

    Attributes:
        objects: tuple of one to three ``SceneObject``; the first has a clear relation to each
            other, and no two have both colour and shape in common.
        seed: of background, noise and choice of words.
    """

    objects: tuple
    seed: int


def render_scenes(count, *, seed=0, split="train", image_size=64):
    """Draws scenes and renders them.

    Args:
        count: number of scenes.
        seed: whole number; another one gives other scenes.
        split: a key of ``SPLIT_SHARES``; splits of one seed, or of different ones, share no scene.
        image_size: H, pixels a side.

    Returns:
        ``(scenes, images)``: a list of ``Scene`` and uint8 [count,H,H,3].

    Raises:
        ValueError: an argument is out of range.

    Example:
        >>> scenes, images = render_scenes(2, seed=1)
        >>> images.shape
        (2, 64, 64, 3)
    """
    check_number("render_scenes", "image_size", image_size, minimum=16, integer=True)
    scenes = draw_scenes(count, seed=seed, split=split)
    images = [render_scene(scene, image_size) for scene in scenes]
    return scenes, np.stack(images)


def draw_scenes(count, *, seed=0, split="train"):
    """Draws what scenes show, without rendering them.

    Args:
        count: number of scenes.
        seed: whole number.
        split: a key of ``SPLIT_SHARES``.

    Returns:
        List of ``Scene``; more of them begin with the same ones.

    Raises:
        ValueError: an argument is out of range.
    """
    check_number("draw_scenes", "count", count, minimum=1, integer=True)
    check_number("draw_scenes", "seed", seed, minimum=0, integer=True)
    check_choice("draw_scenes", "split", split, SPLIT_SHARES)
    entropy = [seed, list(SPLIT_SHARES).index(split)]
    uniform = np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy))).random
    low, high = SPLIT_SHARES[split]
    scenes = []
    while len(scenes) < count:
        objects = _draw_objects(uniform)
        if objects and low <= _digest(objects) < high:
            scenes.append(Scene(objects, int(uniform() * 2**32)))
    return scenes


def relation(one, other):
    """Returns where ``one`` lies as seen from ``other``: left, right, above or below.

    Args:
        one: a ``SceneObject``.
        other: a ``SceneObject``.

    Returns:
        A key of ``OPPOSITES``: of the direction in which they are farther apart.
    """
    dx, dy = one.x - other.x, one.y - other.y
    if abs(dx) > abs(dy):
        return "left" if dx < 0 else "right"
    return "above" if dy < 0 else "below"


def place(one):
    """Returns where an object lies in the picture: left, right, above, below or middle."""
    middle = SceneObject("", "", "", 0.5, 0.5, 0.0)
    near = max(abs(one.x - 0.5), abs(one.y - 0.5)) < MIDDLE
    return "middle" if near else relation(one, middle)


def is_clear(dx, dy):
    """Whether ``relation`` is beyond doubt, given how far apart two places are, in shares."""
    larger, smaller = max(abs(dx), abs(dy)), min(abs(dx), abs(dy))
    return larger >= 2 * MIDDLE and larger >= DOMINANCE * smaller


def render_scene(scene, image_size=64):
    """Renders a scene with smooth edges on a shaded, slightly noisy background.

    Args:
        scene: a ``Scene``.
        image_size: H, pixels a side.

    Returns:
        uint8 [H,H,3].
    """
    uniform = np.random.Generator(np.random.PCG64(scene.seed)).random
    image = paint_background(uniform, image_size)
    for one in scene.objects:
        image = paint_shape(image, one, np.array(COLOURS[one.colour]) + 0.08 * (uniform(3) - 0.5))
    noise = 0.04 * (uniform((image_size, image_size, 1)) - 0.5)
    return to_pixels(image + noise)


def paint_background(uniform, image_size):
    """Returns a shaded background, float [H,H,3] in 0..1, drawn with ``uniform``."""
    centres = (np.arange(image_size) + 0.5) / image_size
    x, y = centres[None, :], centres[:, None]
    shade, slope_x, slope_y = 0.25 + 0.55 * uniform(), 0.2 * uniform() - 0.1, 0.2 * uniform() - 0.1
    background = shade + slope_x * (x - 0.5) + slope_y * (y - 0.5)
    return np.repeat(background[:, :, None], 3, axis=2)


def paint_shape(image, one, colour):
    """Returns the image [H,H,3] with a ``SceneObject`` on it in a colour [3], with smooth edges."""
    image_size = len(image)
    centres = (np.arange(image_size) + 0.5) / image_size
    x, y = centres[None, :], centres[:, None]
    distance = SHAPES[one.shape]((x - one.x) / one.radius, (y - one.y) / one.radius)
    # The share of a pixel that is inside, from its centre's distance to the edge.
    inside = np.clip(0.5 - distance * one.radius * image_size, 0.0, 1.0)[:, :, None]
    return image * (1.0 - inside) + colour * inside


def to_pixels(image):
    """Returns an image in 0..1 as uint8."""
    return np.floor(np.clip(image, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)


def _draw_objects(uniform):
    """Draws shapes and finds room for them; None if there is none."""
    kinds = []
    for _ in range(1 + _index(uniform, 3)):
        kind = _pick(uniform, SHAPES), _pick(uniform, COLOURS)
        if kind in [known[:2] for known in kinds]:
            return None
        kinds.append((*kind, _pick(uniform, SIZES)))
    placed = []
    for shape, colour, size in kinds:
        low, high = SIZES[size]
        radius = low + (high - low) * uniform()
        for _ in range(10):
            reach = 0.96 - 2 * radius
            x, y = (0.02 + radius + reach * uniform() for _ in range(2))
            one = SceneObject(shape, colour, size, x, y, radius)
            if _fits(one, placed, alone=len(kinds) == 1):
                placed.append(one)
                break
        else:
            return None
    return tuple(placed)


def _fits(one, placed, *, alone):
    """Whether an object touches none and its relation to the first one is clear."""
    if alone:
        return place(one) == "middle" or is_clear(one.x - 0.5, one.y - 0.5)
    for other in placed:
        dx, dy = abs(one.x - other.x), abs(one.y - other.y)
        if max(dx, dy) < one.radius + other.radius + GAP:
            return False
    return not placed or is_clear(one.x - placed[0].x, one.y - placed[0].y)


def _digest(objects):
    """Returns a number in [0, 1) that depends on what a scene shows, mirrored or not."""
    names = [f"{one.size} {one.colour} {one.shape}" for one in objects]
    facts = sorted(names)
    if len(objects) == 1:
        facts.append(place(objects[0]))
    for one, name in zip(objects[1:], names[1:], strict=True):
        # The same fact, told from either object, must read the same.
        seen = relation(one, objects[0])
        pair = (name, seen, names[0]), (names[0], OPPOSITES[seen], name)
        facts.append(" ".join(min(pair)))
    text = "|".join(facts[: len(objects)] + sorted(facts[len(objects) :]))
    text = text.replace("left", "beside").replace("right", "beside")
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") / 2**64


def _index(uniform, count):
    return int(uniform() * count)


def _pick(uniform, table):
    return list(table)[_index(uniform, len(table))]


def _circle(x, y):
    return np.sqrt(x * x + y * y) - 1.0


def _ring(x, y):
    return np.abs(np.sqrt(x * x + y * y) - 0.75) - 0.25


def _square(x, y):
    return np.maximum(np.abs(x), np.abs(y)) - 0.85


def _triangle(x, y):
    # Equilateral, pointing up; the sides' normals are (±cos 30°, -sin 30°) and (0, 1).
    x, y = np.abs(x), y - 0.2
    return np.maximum(0.8660254037844386 * x - 0.5 * y, y) - 0.6


def _cross(x, y):
    x, y = np.abs(x), np.abs(y)
    return np.minimum(np.maximum(x - 0.95, y - 0.32), np.maximum(y - 0.95, x - 0.32))


def _star(x, y):
    # Two reflections fold the five points onto one; then the edge is a straight line.
    x, y = np.abs(x), -y
    for normal_x in (0.8090169943749475, -0.8090169943749475):
        normal_y = -0.5877852522924731
        beyond = 2.0 * np.maximum(normal_x * x + normal_y * y, 0.0)
        x, y = x - beyond * normal_x, y - beyond * normal_y
    x = np.abs(x)
    # From the tip (0, 1.05) to the notch between two tips, (0.26, 0.36).
    return (0.69 * x + 0.26 * (y - 1.05)) / 0.7373601562330932


# Signed distance to the edge (negative inside) of a shape of radius 1 around the origin.
SHAPES = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "cross": _cross,
    "ring": _ring,
}
