"""A harder world for the fine model: small objects among others that look like them, short events, and when and where.

    scene = make_scene(7)
    for question in all_questions(scene, np.random.default_rng(0)):
        print(question.type, question.text, question.answer)

Two to five objects of an eighth to a fifth of the frame's side (a circle covers 1.3 to 3.1 % of its area). Colours and
shapes come more than once in a clip, pairs of them do not: an object is named by what no other object has. Some are
there for a sixteenth to a fifth of the clip, some leave, some come late. Drawn and moved as in `scenes`.
"""

from collections import Counter
from functools import partial
from itertools import combinations, product

import numpy as np

from codecmeta.models.small.world.questions import TEMPLATES, Question
from codecmeta.models.small.world.scenes import (
    ASPECTS,
    COLOURS,
    DIRECTIONS,
    SHAPES,
    MovingObject,
    Scene,
    apart,
    draw_background,
    place,
)

KINDS: tuple[str, ...] = ("plain", "late", "short", "leave", "cut")
TYPES: tuple[str, ...] = ("colour", "shape", "direction", "count", "first", "after_cut", "where", "when")
NUMBERS: tuple[str, ...] = ("one", "two", "three", "four", "five")
SIDES: tuple[str, ...] = ("left", "right", "top", "bottom")
MOMENTS: dict[str, tuple[float, float]] = {
    "start": (0.0, 0.01),
    "early": (0.1, 0.35),
    "middle": (0.42, 0.58),
    "late": (0.65, 1.0),
}
SHORTEST_MOTION = 0.12
"""Of what is there for less of the clip, the direction is not asked: too few frames show it."""

WORDINGS: dict[str, tuple[str, ...]] = {
    **{kind: texts[:-1] for kind, texts in TEMPLATES.items()},
    "where": ("Where is the {} at first?", "On which side is the {} at first?", "Where does the {} start?"),
    "when": ("When does the {} appear?", "When is the {} seen first?", "At what time does the {} appear?"),
}
STREAM = {"train": 0xF19E, "eval": 0xF1EA}


def make_scene(seed: int, *, split: str = "train", kind: str | None = None) -> Scene:
    """The scene of a seed: the same arguments always give the same scene, and no two splits share a random stream."""
    rng = np.random.default_rng([STREAM[split], seed])
    drawn = KINDS[int(rng.choice(len(KINDS), p=(0.2, 0.2, 0.3, 0.15, 0.15)))]
    spans, cut = draw_spans(rng, kind or drawn)
    aspect = float(rng.choice(ASPECTS))
    objects = None
    while objects is None:  # a crowded draft is thrown away whole, but keeps its number of objects
        objects = draw_objects(rng, spans, aspect)
    backgrounds = tuple(draw_background(rng) for _ in range(1 if cut is None else 2))
    noise = float(rng.choice((0.0, rng.uniform(1, 8))))
    return Scene(seed, split, kind or drawn, objects, backgrounds, cut, noise, aspect)  # type: ignore[arg-type]


def draw_spans(rng: np.random.Generator, kind: str) -> tuple[list[tuple[float, float]], float | None]:
    """When each object is there, as (appears, disappears), and the time of the cut if there is one."""
    if kind == "cut":
        cut = float(rng.uniform(0.3, 0.7))
        return [(0.0, cut)] * int(rng.integers(1, 4)) + [(cut, 1.0)], cut
    stay = [(0.0, 1.0)] * int(rng.integers(1, 4))
    if kind == "late":
        times = rng.choice((0.12, 0.22, 0.32, 0.45, 0.55, 0.68, 0.78), size=int(rng.integers(1, 3)), replace=False)
        return stay + [(float(time + rng.uniform(0, 0.03)), 1.0) for time in times], None
    if kind == "leave":
        leaving = [(0.0, float(rng.uniform(0.2, 0.8))) for _ in range(int(rng.integers(1, 3)))]
        return stay + leaving, None
    if kind == "short":
        events = []
        for _ in range(int(rng.integers(1, 3))):
            length = float(rng.uniform(1 / 16, 0.2))
            start = float(rng.uniform(0.08, 0.95 - length))
            events.append((start, start + length))
        return stay + events, None
    return [(0.0, 1.0)] * int(rng.integers(2, 6)), None


def draw_objects(
    rng: np.random.Generator, spans: list[tuple[float, float]], aspect: float
) -> tuple[MovingObject, ...] | None:
    """An object for every span, no colour-shape pair twice, all apart; None if there is no room for this draft."""
    pairs = list(product(COLOURS, SHAPES))
    chosen = [pairs[index] for index in rng.choice(len(pairs), size=len(spans), replace=False)]
    drafts = [
        partial(_draw_object, rng, colour, shape, span, aspect)
        for (colour, shape), span in zip(chosen, spans, strict=True)
    ]
    return place(drafts, lambda first, second: apart(first, second, aspect, moments=17, share=0.6))


def _draw_object(
    rng: np.random.Generator, colour: str, shape: str, span: tuple[float, float], aspect: float
) -> MovingObject:
    """One object that stays inside the frame; a moving one goes far enough to be told from a still one."""
    size = float(rng.uniform(0.13, 0.2))
    half = 0.5 * size * np.array([aspect**-0.5, aspect**0.5])
    direction = DIRECTIONS[int(rng.choice(5, p=(0.2, 0.2, 0.2, 0.2, 0.2)))]
    step = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1), "still": (0, 0)}[direction]
    travel = rng.uniform(0.2, 0.35 + 0.3 * (span[1] - span[0])) * np.array(step, float)
    low, high = half + np.maximum(0, -travel), 1 - half - np.maximum(0, travel)
    start = rng.uniform(low, np.maximum(low, high))
    red, green, blue = np.clip(np.array(COLOURS[colour]) + rng.integers(-18, 19, size=3), 0, 255).tolist()
    ends = (float(start[0] + travel[0]), float(start[1] + travel[1]))
    begins = (float(start[0]), float(start[1]))
    return MovingObject(colour, shape, direction, size, begins, ends, span[0], span[1], (red, green, blue))


def all_questions(scene: Scene, rng: np.random.Generator) -> list[Question]:
    """Every question that the scene answers with one word, each in one wording drawn from `rng`."""
    questions = [Question(_wording("count", rng), NUMBERS[len(scene.objects) - 1], "count")]
    names = [_names(scene, number) for number in range(len(scene.objects))]
    for number, item in enumerate(scene.objects):
        questions += _about_one(item, number, names[number], rng)
    for pair in combinations(range(len(scene.objects)), 2):
        questions += _about_order(scene, pair, names, rng)
    if scene.cut is not None:
        number = next(index for index, item in enumerate(scene.objects) if item.appears > 0)
        for what in ("colour", "shape"):
            text = _wording("after_cut", rng).format(what)
            questions.append(Question(text, getattr(scene.objects[number], what), "after_cut", (("cut", number),)))
    return questions


def draw_questions(scene: Scene, rng: np.random.Generator, count: int) -> list[Question]:
    """`count` questions, repeats only where the scene has too few; every type is as likely as another, and so is
    every time of appearing."""
    every = all_questions(scene, rng)
    kinds = [(one.type, one.answer if one.type == "when" else "") for one in every]
    often = Counter(kinds)
    weights = np.array([1 / often[kind] for kind in kinds])
    chosen = rng.choice(len(every), size=count, replace=count > len(every), p=weights / weights.sum())
    return [every[index] for index in chosen]


def _about_one(
    item: MovingObject, number: int, names: dict[str, tuple[str, str]], rng: np.random.Generator
) -> list[Question]:
    """Colour, shape, direction, place and time of an object."""
    drafts = []
    if "shape" in names:
        drafts.append(("colour", names["shape"], item.colour))
    if "colour" in names:
        drafts.append(("shape", names["colour"], item.shape))
    if item.disappears - item.appears >= SHORTEST_MOTION:
        drafts.append(("direction", _any(names, rng), item.direction))
    side = side_of(*item.start)
    if side:
        drafts.append(("where", _any(names, rng), side))
    moment = moment_of(item.appears)
    if moment:
        drafts.append(("when", _any(names, rng), moment))
    return [
        Question(_wording(kind, rng).format(name), answer, kind, ((word, number),))
        for kind, (name, word), answer in drafts
    ]


def _about_order(
    scene: Scene, pair: tuple[int, int], names: list[dict[str, tuple[str, str]]], rng: np.random.Generator
) -> list[Question]:
    """Which of two came first, where that is a tenth of the clip apart and one word names either."""
    appears = [scene.objects[number].appears for number in pair]
    common = [how for how in ("shape", "colour") if all(how in names[number] for number in pair)]
    if not common or abs(appears[0] - appears[1]) < 0.1:
        return []
    how = common[int(rng.integers(len(common)))]
    order = pair if rng.random() < 0.5 else pair[::-1]
    winner = pair[int(appears[1] < appears[0])]
    (first, one), (second, other) = (names[number][how] for number in order)
    grounded = ((one, order[0]), (other, order[1]))
    text = _wording("first", rng).format(first, second)
    return [Question(text, getattr(scene.objects[winner], how), "first", grounded)]


def side_of(x: float, y: float) -> str | None:
    """The side of the frame that a place (fractions of it) is clearly on, None near the centre and the diagonals."""
    right, down = x - 0.5, y - 0.5
    near, far = sorted((abs(right), abs(down)))
    if far < 0.15 or far < 1.5 * near:
        return None
    if abs(right) > abs(down):
        return "right" if right > 0 else "left"
    return "bottom" if down > 0 else "top"


def moment_of(appears: float) -> str | None:
    """The word for when something appears, None between two of them."""
    return next((word for word, (low, high) in MOMENTS.items() if low <= appears < high), None)


def _names(scene: Scene, number: int) -> dict[str, tuple[str, str]]:
    """How an object can be named alone: by "shape", "colour" or "both", as (words, the word that tells it)."""
    item = scene.objects[number]
    others = [other for index, other in enumerate(scene.objects) if index != number]
    names = {"both": (f"{item.colour} {item.shape}", item.shape)}
    if all(other.shape != item.shape for other in others):
        names["shape"] = (item.shape, item.shape)
    if all(other.colour != item.colour for other in others):
        names["colour"] = (f"{item.colour} object", item.colour)
    return names


def _any(names: dict[str, tuple[str, str]], rng: np.random.Generator) -> tuple[str, str]:
    return list(names.values())[int(rng.integers(len(names)))]


def _wording(kind: str, rng: np.random.Generator) -> str:
    return WORDINGS[kind][int(rng.integers(len(WORDINGS[kind])))]
