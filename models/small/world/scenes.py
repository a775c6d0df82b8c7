"""Seeds into scenes of moving shapes, and scenes into frames: the world that the built-in model is trained on.

    scene = make_scene(7, split="eval", kind="cut")
    scene.objects[0].colour, scene.cut                  # what is true about the clip
    frames = render(scene, frame_times(48), width=128, height=128)   # uint8 (48, 128, 128, 3)

All lengths are fractions of the frame and all times are fractions of the clip, so one scene can be rendered at any
size, frame rate and length; a size without the scene's aspect ratio gives the squeezed picture. The training split and
the evaluation split draw from different random streams, and some colour-shape pairs (`HELD_OUT`) exist in the
evaluation split only.
"""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import cv2
import numpy as np

Split = Literal["train", "eval"]
Kind = Literal["plain", "late", "cut"]

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (220, 35, 35),
    "green": (40, 175, 50),
    "blue": (35, 60, 225),
    "yellow": (235, 215, 30),
    "purple": (170, 40, 210),
    "cyan": (40, 210, 220),
}
NAMELESS = "nameless"
SHAPES: tuple[str, ...] = ("circle", "square", "triangle", "cross")
DIRECTIONS: tuple[str, ...] = ("left", "right", "up", "down", "still")
BACKGROUNDS: tuple[str, ...] = ("flat", "gradient", "stripes", "checker", "grain", "clouds")
HELD_OUT: frozenset[tuple[str, str]] = frozenset(
    {("red", "triangle"), ("green", "cross"), ("blue", "circle"), ("yellow", "square")}
)
ASPECTS: tuple[float, ...] = (1.0, 1.0, 1.0, 4 / 3, 3 / 4)

_STEP = {"left": (-1.0, 0.0), "right": (1.0, 0.0), "up": (0.0, -1.0), "down": (0.0, 1.0), "still": (0.0, 0.0)}
_SUBPIXEL_BITS = 4


@dataclass(frozen=True)
class MovingObject:
    """One shape. It is visible for `appears <= time < disappears` and moves in a straight line from start to end.

    `start` and `end` are centres (x, y) in fractions of the frame; `size` is the diameter in fractions of the
    geometric mean of the frame's sides; `direction` is what a viewer sees on the screen, whatever the camera does.
    """

    colour: str
    shape: str
    direction: str
    size: float
    start: tuple[float, float]
    end: tuple[float, float]
    appears: float
    disappears: float
    rgb: tuple[int, int, int]

    def visible(self, times: np.ndarray) -> np.ndarray:
        """bool, like `times`: is the object on the screen? A clip's last frame (time 1) belongs to the last objects."""
        return (times >= self.appears) & ((times < self.disappears) | (self.disappears >= 1.0))

    def centres(self, times: np.ndarray) -> np.ndarray:
        """float64 (times, 2): x, y of the centre in fractions of the frame."""
        progress = (times - self.appears) / (self.disappears - self.appears)
        return np.asarray(self.start) + progress[:, None] * (np.asarray(self.end) - np.asarray(self.start))


@dataclass(frozen=True)
class Background:
    """A low-saturation texture that scrolls by `pan` (x, y in frame sizes) from clip start to clip end."""

    kind: str
    seed: int
    pan: tuple[float, float]


@dataclass(frozen=True)
class Scene:
    """What is true about one clip. `cut` is the time of the scene change; each side of it has its own background."""

    seed: int
    split: Split
    kind: Kind
    objects: tuple[MovingObject, ...]
    backgrounds: tuple[Background, ...]
    cut: float | None
    noise: float
    aspect: float

    @property
    def held_out(self) -> bool:
        """Does the clip show a colour-shape pair that no training clip shows?"""
        return any((item.colour, item.shape) in HELD_OUT for item in self.objects)


def make_scene(
    seed: int, *, split: Split = "train", kind: Kind | None = None, held_out: bool = False, nameless: float = 0.0
) -> Scene:
    """Draw the scene of a seed; the same arguments always give the same scene.

    Args:
        seed: any integer >= 0.
        split: "train" never shows a `HELD_OUT` pair; "eval" draws from another random stream.
        kind: "plain" (all objects stay), "late" (objects appear one after the other), "cut" (a scene change replaces
            the objects); left out, it is drawn.
        held_out: force a held-out colour-shape pair on one object ("eval" only).
        nameless: share of objects painted in a random colour, unlike all named ones, and called `NAMELESS`. Shapes in
            many colours teach that shape does not depend on colour.
    """
    if held_out and split != "eval":
        raise ValueError('held_out=True needs split="eval": the training split never shows these pairs')
    rng = _rng(split, seed)
    drawn_kind: Kind = ("plain", "late", "cut")[int(rng.choice(3, p=(0.5, 0.25, 0.25)))]
    kind = kind or drawn_kind
    aspect = float(rng.choice(ASPECTS))
    spans, cut = _draw_spans(rng, kind)
    objects = None
    while objects is None:  # a crowded draft is thrown away whole, but keeps its number of objects
        objects = _draw_objects(rng, spans, split, held_out, aspect)
    if nameless > 0:
        objects = tuple(_repaint(item, rng) if rng.random() < nameless else item for item in objects)
    return Scene(
        seed=seed,
        split=split,
        kind=kind,
        objects=objects,
        backgrounds=tuple(draw_background(rng) for _ in range(1 if cut is None else 2)),
        cut=cut,
        noise=float(rng.choice((0.0, rng.uniform(1, 8)))),
        aspect=aspect,
    )


def frame_times(frames: int) -> np.ndarray:
    """float64 (frames,): the times 0 .. 1 at which a clip of that many frames shows its scene."""
    return np.linspace(0.0, 1.0, frames) if frames > 1 else np.zeros(1)


def sample_indices(frames: int, count: int) -> np.ndarray:
    """int64 (count,): `count` frame numbers spread evenly over a clip, first and last frame included."""
    return np.round(np.linspace(0, frames - 1, count)).astype(np.int64)


def render(scene: Scene, times: np.ndarray, *, width: int, height: int) -> np.ndarray:
    """Draw the scene at the given times: uint8 RGB (times, height, width, 3), anti-aliased, with camera noise."""
    frames = _draw_backgrounds(scene, times, width, height)
    draw_objects(frames, scene, times)
    if scene.noise > 0:
        _add_noise(frames, scene, times)
    return frames


def draw_objects(frames: np.ndarray, scene: Scene, times: np.ndarray) -> None:
    """Draw a scene's objects, anti-aliased, into uint8 RGB frames (times, height, width, 3) in place."""
    height, width = frames.shape[1:3]
    for item in scene.objects:
        corners = _corners(item, times, scene.aspect, width, height)
        for index in np.flatnonzero(item.visible(times)):
            cv2.fillPoly(frames[index], [corners[index]], item.rgb, cv2.LINE_AA, _SUBPIXEL_BITS)


def object_map(scene: Scene, times: np.ndarray, *, width: int, height: int) -> np.ndarray:
    """uint8 (times, height, width): 0 for background, else 1 + the number of the object seen at that pixel."""
    labels = np.zeros((len(times), height, width), np.uint8)
    for number, item in enumerate(scene.objects, start=1):
        corners = _corners(item, times, scene.aspect, width, height)
        for index in np.flatnonzero(item.visible(times)):
            cv2.fillPoly(labels[index], [corners[index]], number, cv2.LINE_8, _SUBPIXEL_BITS)
    return labels


def shrink(frames: np.ndarray, size: int) -> np.ndarray:
    """Resize every frame to size x size as inference does (area average): uint8 (frames, size, size, 3)."""
    if frames.shape[1:3] == (size, size):
        return frames
    enlarge = frames.shape[1] < size or frames.shape[2] < size
    how = cv2.INTER_LINEAR if enlarge else cv2.INTER_AREA
    return np.stack([cv2.resize(frame, (size, size), interpolation=how) for frame in frames])


def _rng(split: Split, seed: int) -> np.random.Generator:
    """The random stream of a split and seed; the split's name is hashed in, so no two splits share a stream."""
    if split not in ("train", "eval"):
        raise ValueError(f'split is "train" or "eval", not {split!r}')
    name = int.from_bytes(hashlib.sha256(split.encode()).digest()[:8], "little")
    return np.random.default_rng([name, seed])


def _draw_spans(rng: np.random.Generator, kind: Kind) -> tuple[list[tuple[float, float]], float | None]:
    """When each object is visible, as (appears, disappears), and the time of the cut if there is one."""
    if kind == "cut":
        cut = float(rng.uniform(0.35, 0.65))
        return [(0.0, cut)] * int(rng.integers(1, 3)) + [(cut, 1.0)], cut
    if kind == "late":
        appears = [0.0, rng.uniform(0.2, 0.42), rng.uniform(0.5, 0.65)]
        chosen = appears if rng.random() < 0.5 else [0.0, appears[int(rng.integers(1, 3))]]
        return [(float(time), 1.0) for time in chosen], None
    return [(0.0, 1.0)] * int(rng.choice((1, 2, 3), p=(0.25, 0.35, 0.4))), None


def _draw_objects(
    rng: np.random.Generator, spans: list[tuple[float, float]], split: Split, held_out: bool, aspect: float
) -> tuple[MovingObject, ...] | None:
    """Objects with distinct colours and distinct shapes that stay apart, or None if the draft is too crowded."""
    pairs = _draw_pairs(rng, len(spans), split, held_out)
    drafts = [
        partial(_draw_object, rng, colour, shape, span, aspect)
        for (colour, shape), span in zip(pairs, spans, strict=True)
    ]
    return place(drafts, lambda first, second: apart(first, second, aspect))


def place(
    drafts: Iterable[Callable[[], MovingObject]], fits: Callable[[MovingObject, MovingObject], bool]
) -> tuple[MovingObject, ...] | None:
    """An object of each draft, drawn at most twelve times until it fits those before it; None if one never does."""
    objects: list[MovingObject] = []
    for draft in drafts:
        for _ in range(12):
            one = draft()
            if all(fits(one, other) for other in objects):
                objects.append(one)
                break
        else:
            return None
    return tuple(objects)


def _draw_pairs(rng: np.random.Generator, count: int, split: Split, held_out: bool) -> list[tuple[str, str]]:
    """`count` colour-shape pairs, no colour and no shape twice."""
    while True:
        colours = rng.permutation(list(COLOURS))[:count].tolist()
        shapes = rng.permutation(SHAPES)[:count].tolist()
        pairs = list(zip(colours, shapes, strict=True))
        shows = any(pair in HELD_OUT for pair in pairs)
        if (split == "eval" and not held_out) or shows == held_out:
            return pairs


def _draw_object(
    rng: np.random.Generator, colour: str, shape: str, span: tuple[float, float], aspect: float
) -> MovingObject:
    """One object somewhere inside the frame, moving far enough within its span to be told from a still one."""
    size = float(rng.uniform(0.26, 0.32))
    half = 0.5 * size * np.array([aspect**-0.5, aspect**0.5])
    direction = DIRECTIONS[int(rng.choice(5, p=(0.21, 0.21, 0.21, 0.21, 0.16)))]
    seconds = span[1] - span[0]
    travel = rng.uniform(0.25, 0.3 + 0.2 * seconds) * np.array(_STEP[direction])
    low = half + np.maximum(0, -travel)
    high = 1 - half - np.maximum(0, travel)
    start = rng.uniform(low, np.maximum(low, high))
    jitter = rng.integers(-18, 19, size=3)
    rgb = tuple(int(value) for value in np.clip(np.array(COLOURS[colour]) + jitter, 0, 255))
    return MovingObject(
        colour=colour,
        shape=shape,
        direction=direction,
        size=size,
        start=(float(start[0]), float(start[1])),
        end=(float(start[0] + travel[0]), float(start[1] + travel[1])),
        appears=span[0],
        disappears=span[1],
        rgb=(rgb[0], rgb[1], rgb[2]),
    )


def _repaint(item: MovingObject, rng: np.random.Generator) -> MovingObject:
    """The object in a saturated colour that is far from every named one."""
    while True:
        hue, saturation, value = rng.uniform((0, 150, 110), (180, 256, 256))
        pixel = np.array([[[hue, saturation, value]]]).astype(np.uint8)
        red, green, blue = (int(level) for level in cv2.cvtColor(pixel, cv2.COLOR_HSV2RGB)[0, 0])
        if all(max(abs(red - r), abs(green - g), abs(blue - b)) > 60 for r, g, b in COLOURS.values()):
            return replace(item, colour=NAMELESS, rgb=(red, green, blue))


def apart(first: MovingObject, second: MovingObject, aspect: float, moments: int = 9, share: float = 0.45) -> bool:
    """Do two objects at most brush each other while both are visible? Looked at in so many moments; `share` of the sum
    of their diameters is the least distance of their centres."""
    begin, end = max(first.appears, second.appears), min(first.disappears, second.disappears)
    if begin >= end:
        return True
    times = np.linspace(begin, end, moments)
    gap = (first.centres(times) - second.centres(times)) * np.array([aspect**0.5, aspect**-0.5])
    return bool(np.hypot(gap[:, 0], gap[:, 1]).min() >= share * (first.size + second.size))


def draw_background(rng: np.random.Generator) -> Background:
    """A texture, scrolling in half of the clips."""
    pan = rng.uniform(-0.5, 0.5, size=2) * (rng.random() < 0.5)
    kind = BACKGROUNDS[int(rng.integers(len(BACKGROUNDS)))]
    return Background(kind=kind, seed=int(rng.integers(2**31)), pan=(float(pan[0]), float(pan[1])))


def _draw_backgrounds(scene: Scene, times: np.ndarray, width: int, height: int) -> np.ndarray:
    """uint8 (times, height, width, 3): the scrolling texture behind the objects."""
    frames = np.empty((len(times), height, width, 3), np.uint8)
    after = np.zeros(len(times), bool) if scene.cut is None else times >= scene.cut
    for background, shown in zip(scene.backgrounds, (~after, after), strict=False):
        room = np.abs(background.pan) * (width, height)
        canvas = _texture(background, width + int(room[0]) + 1, height + int(room[1]) + 1)
        for index in np.flatnonzero(shown):
            x, y = (int(share * length) for share, length in zip(_scroll(background, times[index]), room, strict=True))
            frames[index] = canvas[y : y + height, x : x + width]
    return frames


def _scroll(background: Background, time: float) -> tuple[float, float]:
    """How far, 0 .. 1, the window has moved over the canvas along x and y."""
    x, y = (time if pan >= 0 else 1 - time for pan in background.pan)
    return x, y


def _texture(background: Background, width: int, height: int) -> np.ndarray:
    """uint8 (height, width, 3): a nearly grey picture."""
    rng = np.random.default_rng(background.seed)
    base = rng.uniform(50, 205)
    amplitude = rng.uniform(8, 40)
    period = rng.uniform(0.08, 0.3) * min(width, height)
    angle = rng.uniform(0, np.pi)
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    along = x * np.float32(np.cos(angle)) + y * np.float32(np.sin(angle))
    if background.kind == "flat":
        wave = np.zeros((height, width), np.float32)
    elif background.kind == "gradient":
        wave = 2 * (along - along.min()) / (np.ptp(along) + 1e-6) - 1
    elif background.kind == "stripes":
        wave = np.sin(along * np.float32(2 * np.pi / period))
    elif background.kind == "checker":
        wave = np.where((x // period + y // period) % 2 > 0, np.float32(1), np.float32(-1))
    elif background.kind == "grain":
        wave = rng.standard_normal((height, width), dtype=np.float32) * np.float32(0.6)
    else:
        coarse = rng.standard_normal((6, 6), dtype=np.float32)
        wave = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    tint = rng.uniform(-16, 16, size=3).astype(np.float32)
    picture = np.float32(base) + np.float32(amplitude) * wave[..., None] + tint
    return np.clip(picture, 0, 255).astype(np.uint8)


def _corners(item: MovingObject, times: np.ndarray, aspect: float, width: int, height: int) -> np.ndarray:
    """int32 (times, corners, 2): the outline in 1/16 pixels, for OpenCV (whose pixel centres are whole numbers).

    A frame whose sides do not have the scene's aspect ratio shows the scene squeezed, as a plain resize would.
    """
    centres = item.centres(times)[:, None] * (width, height) - 0.5
    outline = _OUTLINES[item.shape] * item.size * (aspect**-0.5 * width, aspect**0.5 * height)
    return np.round((centres + outline) * 2**_SUBPIXEL_BITS).astype(np.int32)


def _add_noise(frames: np.ndarray, scene: Scene, times: np.ndarray) -> None:
    """Add Gaussian noise in place; a frame's noise depends on the scene's seed and the frame's time only."""
    pixels = frames[0].size
    levels = (_NOISE * np.float32(scene.noise)).astype(np.int16)
    for frame, time in zip(frames, times, strict=True):
        offset = (scene.seed * 7919 + int(time * 100_003)) % (len(levels) - pixels)
        noise = levels[offset : offset + pixels].reshape(frame.shape)
        np.copyto(frame, np.clip(frame + noise, 0, 255).astype(np.uint8))


def _outlines() -> dict[str, np.ndarray]:
    """float64 (corners, 2) for every shape, diameter 1, centred on zero, y pointing down."""
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    arm, wide = 0.5, 0.18
    cross = [(-wide, -arm), (wide, -arm), (wide, -wide), (arm, -wide), (arm, wide), (wide, wide)]
    cross += [(wide, arm), (-wide, arm), (-wide, wide), (-arm, wide), (-arm, -wide), (-wide, -wide)]
    return {
        "circle": 0.5 * np.stack([np.cos(angles), np.sin(angles)], axis=1),
        "square": 0.44 * np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)], float),
        "triangle": np.array([(0, -0.52), (0.54, 0.46), (-0.54, 0.46)]),
        "cross": np.array(cross),
    }


_OUTLINES = _outlines()
_NOISE = np.random.default_rng(0).standard_normal(1 << 19, dtype=np.float32)
