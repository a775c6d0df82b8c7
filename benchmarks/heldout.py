"""Clips and questions for evaluation that the built-in model's training cannot produce, from one seed.

    python -m benchmarks.heldout OUT --clips 500 --seed 2        # OUT/dataset.jsonl and OUT/clips/

Objects, colours and wordings are those of the model's world (models/small), so every question has an answer that it was
taught to give. Everything else differs from training: backgrounds, camera (pans twice as far, zooms, shakes), paths
(longer, or resting at both ends), events that last for an eighth to a quarter of the clip, resolutions, frame rates,
lengths from 3 seconds to 4 minutes, and encoders (x264 presets, GoP lengths and rate control that training never used;
HEVC and VP9). Every row says in `strata` which kind of clip it is about.

The content of the clips depends on the seed and the number of the clip alone. Their bytes are those of the encoders
that come with PyAV; x264 with B-frames was seen to give slightly different bytes for the same pictures.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from codecmeta.models.small.world.questions import Question, all_questions  # noqa: E402
from codecmeta.models.small.world.scenes import (  # noqa: E402
    COLOURS,
    DIRECTIONS,
    SHAPES,
    MovingObject,
    Scene,
    apart,
    draw_objects,
    frame_times,
    place,
)

STREAM = 0x4E1D
"""Sets these random numbers apart from those of training and of models/small/evaluate.py, which start otherwise."""

TUNING, TEST = 1, 2
"""Seeds: options are chosen on the first split, results are reported on the second."""

KINDS = ("plain", "late", "cut", "short")
CAMERAS = ("static", "pan", "zoom", "shake")
BACKDROPS = ("bricks", "dots", "rings", "plaid", "fractal", "scribble")
SIZES = ((160, 120), (176, 176), (224, 168), (168, 224), (240, 240), (320, 240), (400, 300), (300, 400))
RATES = (10, 15, 20, 50)
GOPS = (10, 15, 30, 60, 120, 300)
PRESETS = ("fast", "slow")
PER_CLIP = 5


@dataclass(frozen=True)
class Paced(MovingObject):
    """An object that may rest for a quarter of its time at either end."""

    rests: bool = False

    def centres(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """float64 (times, 2): x, y of the centre in fractions of the frame."""
        progress = (times - self.appears) / (self.disappears - self.appears)
        if self.rests:
            progress = np.clip(2 * progress - 0.5, 0, 1)
        return np.asarray(self.start) + progress[:, None] * (np.asarray(self.end) - np.asarray(self.start))


@dataclass(frozen=True)
class Backdrop:
    """What is behind the objects, and how the camera moves over it. kind: of `BACKDROPS`. camera: of `CAMERAS`. reach:
    how far the camera goes, in frame sizes (x, y) from the start to the end of the clip."""

    kind: str
    seed: int
    camera: str
    reach: tuple[float, float]

    def window(self, time: float, second: float) -> tuple[float, float, float]:
        """(x, y, scale) at a time 0..1 of the clip: the camera's place on the canvas in frame sizes, and its zoom."""
        x, y = (way * time if way >= 0 else -way * (1 - time) for way in self.reach)
        if self.camera == "shake":
            x, y = (0.03 + 0.012 * (np.sin(5.1 * second + k) + np.sin(11.3 * second + 2 * k)) for k in (0, 1))
        return float(x), float(y), 1 + 0.35 * time if self.camera == "zoom" else 1.0

    def canvas(self, width: int, height: int) -> NDArray[np.uint8]:
        """uint8 (rows, columns, 3): everything that the camera will see."""
        columns, rows = (
            int((abs(way) + 0.1) * side) + side + 2 for way, side in zip(self.reach, (width, height), strict=True)
        )
        rng = np.random.default_rng(self.seed)
        wave = _texture(rng, self.kind, rows, columns, min(width, height))
        tint = rng.uniform(-16, 16, size=3).astype(np.float32)
        picture = np.float32(rng.uniform(50, 205)) + np.float32(rng.uniform(8, 40)) * wave[..., None] + tint
        return np.clip(picture, 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class Clip:
    """One clip: what is true about it, how it is filmed, and how it is encoded. rate: frames per second. options: of
    the encoder `codec` (FFmpeg's name). strata: what kind of clip it is."""

    number: int
    scene: Scene
    backdrops: tuple[Backdrop, ...]
    frames: int
    rate: int
    width: int
    height: int
    codec: str
    options: dict[str, str]
    strata: dict[str, str]

    @property
    def name(self) -> str:
        """File name."""
        return f"{self.number:04d}{'.webm' if self.codec == 'libvpx-vp9' else '.mp4'}"

    def times(self) -> NDArray[np.float64]:
        """float64 (frames,): when each frame is shown, 0..1."""
        return frame_times(self.frames)

    def render(self) -> Iterator[NDArray[np.uint8]]:
        """The frames, uint8 RGB (height, width, 3), one after the other."""
        canvases = [backdrop.canvas(self.width, self.height) for backdrop in self.backdrops]
        noise = np.random.default_rng([STREAM, self.scene.seed, 9])
        grain = (noise.standard_normal(2**20, dtype=np.float32) * self.scene.noise).astype(np.int16)
        for number, time in enumerate(self.times()):
            side = int(self.scene.cut is not None and time >= self.scene.cut)
            picture = self._backdrop(canvases[side], self.backdrops[side], time, number / self.rate)
            draw_objects(picture[None], self.scene, np.array([time]))
            if self.scene.noise > 0:
                at = int(noise.integers(len(grain) - picture.size))
                levels = grain[at : at + picture.size].reshape(picture.shape)
                picture = np.clip(picture + levels, 0, 255).astype(np.uint8)
            yield picture

    def _backdrop(self, canvas: NDArray[np.uint8], backdrop: Backdrop, time: float, second: float) -> Any:
        x, y, scale = backdrop.window(time, second)
        matrix = np.array([[1 / scale, 0, x * self.width], [0, 1 / scale, y * self.height]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(canvas, matrix, (self.width, self.height), flags=flags, borderMode=cv2.BORDER_REFLECT)

    def write(self, folder: Path) -> Path:
        """Render and encode the clip."""
        path = folder / self.name
        with av.open(str(path), "w") as container:
            stream: Any = container.add_stream(self.codec, rate=self.rate, options=self.options)
            stream.width, stream.height, stream.pix_fmt = self.width, self.height, "yuv420p"
            stream.codec_context.thread_count = 1
            for number, picture in enumerate(self.render()):
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, self.rate)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return path

    def questions(self) -> list[Question]:
        """At most `PER_CLIP` of all questions that the clip answers, drawn from the clip's seed.

        Objects are not counted where one leaves again: the model learnt to count in clips where all of them stay.
        """
        rng = np.random.default_rng([STREAM, self.scene.seed, 8])
        every = [
            one
            for one in all_questions(self.scene, rng)
            if one.type != "count" or all(item.disappears >= 1 for item in self.scene.objects)
        ]
        return [every[index] for index in np.sort(rng.permutation(len(every))[:PER_CLIP])]

    def event(self, question: Question) -> str:
        """How long what the question asks about is to be seen: of the whole clip, or seconds' worth of it."""
        asked = [self.scene.objects[number] for _, number in question.names] or list(self.scene.objects)
        shown = min(item.disappears - item.appears for item in asked)
        return "all the time" if shown >= 1 else "a third of the clip or more" if shown > 0.3 else "a quarter or less"


def make_clip(split: int, number: int) -> Clip:
    """The clip with this number of the split with this seed; the same arguments always give the same clip."""
    seed = split * 1_000_000 + number
    rng = np.random.default_rng([STREAM, seed])
    kind = KINDS[number % len(KINDS)]
    width, height = SIZES[int(rng.integers(len(SIZES)))]
    spans, cut = _draw_spans(rng, kind)
    objects = None
    while objects is None:
        objects = _draw_objects(rng, spans, width / height)
    backdrops = tuple(draw_backdrop(rng, CAMERAS[number // 4 % 4]) for _ in range(1 if cut is None else 2))
    noise = float(rng.choice((0.0, rng.uniform(1, 6))))
    scene = Scene(seed, "eval", "late" if kind == "short" else kind, objects, (), cut, noise, width / height)  # type: ignore[arg-type]
    frames, rate = _draw_length(rng, kind, width * height)
    codec, options, strata = draw_encoder(rng, number, frames)
    strata |= {"camera": backdrops[0].camera, "kind": kind, "seconds": binned(frames / rate, (10, 60), "s")}
    return Clip(number, scene, backdrops, frames, rate, width, height, codec, options, strata)


def _draw_spans(rng: np.random.Generator, kind: str) -> tuple[list[tuple[float, float]], float | None]:
    """When each object is visible, and the time of the cut if there is one."""
    if kind == "cut":
        cut = float(rng.uniform(0.3, 0.7))
        return [(0.0, cut)] * int(rng.integers(1, 3)) + [(cut, 1.0)], cut
    if kind == "late":
        later = sorted(rng.uniform((0.15, 0.45), (0.4, 0.7)))
        return [(0.0, 1.0), *[(float(time), 1.0) for time in later[: int(rng.integers(1, 3))]]], None
    if kind == "short":
        length = float(rng.uniform(0.14, 0.25))
        start = float(rng.uniform(0.1, 0.9 - length))
        return [(0.0, 1.0)] * int(rng.integers(1, 3)) + [(start, start + length)], None
    return [(0.0, 1.0)] * int(rng.integers(1, 4)), None


def _draw_objects(
    rng: np.random.Generator, spans: list[tuple[float, float]], aspect: float
) -> tuple[MovingObject, ...] | None:
    """Objects with distinct colours and shapes that stay apart, None if there is no room for this draft."""
    colours = rng.permutation(list(COLOURS))[: len(spans)].tolist()
    shapes = rng.permutation(SHAPES)[: len(spans)].tolist()
    drafts = [
        partial(_draw_object, rng, colour, shape, span, aspect)
        for colour, shape, span in zip(colours, shapes, spans, strict=True)
    ]
    return place(drafts, lambda first, second: apart(first, second, aspect, moments=17, share=0.47))


def _draw_object(
    rng: np.random.Generator, colour: str, shape: str, span: tuple[float, float], aspect: float
) -> MovingObject:
    """One object that stays inside the frame; a moving one goes for a quarter to three fifths of the frame."""
    size = float(rng.uniform(0.26, 0.34))
    half = 0.5 * size * np.array([aspect**-0.5, aspect**0.5])
    direction = DIRECTIONS[int(rng.integers(len(DIRECTIONS)))]
    step = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1), "still": (0, 0)}[direction]
    travel = rng.uniform(0.27, np.where(np.array(step) == 0, 0.6, np.minimum(0.6, 1 - 2 * half)).min()) * np.array(step)
    start = rng.uniform(half + np.maximum(0, -travel), 1 - half - np.maximum(0, travel))
    rgb = np.clip(np.array(COLOURS[colour]) + rng.integers(-18, 19, size=3), 0, 255)
    return Paced(
        colour=colour,
        shape=shape,
        direction=direction,
        size=size,
        start=(float(start[0]), float(start[1])),
        end=(float(start[0] + travel[0]), float(start[1] + travel[1])),
        appears=span[0],
        disappears=span[1],
        rgb=(int(rgb[0]), int(rgb[1]), int(rgb[2])),
        rests=bool(rng.random() < 0.4),
    )


def draw_backdrop(rng: np.random.Generator, camera: str) -> Backdrop:
    way = rng.uniform(0.3, 1.0, size=2) * rng.choice((-1, 1), size=2) * rng.choice(((1, 0), (0, 1), (1, 1)))
    reach = (float(way[0]), float(way[1])) if camera == "pan" else (0.0, 0.0)
    return Backdrop(str(rng.choice(BACKDROPS)), int(rng.integers(2**31)), camera, reach)


def _draw_length(rng: np.random.Generator, kind: str, area: int) -> tuple[int, int]:
    """(frames, frames per second): 3 to 10 seconds, 10 to 60, or 1 to 4 minutes of small pictures."""
    class_of = rng.choice(3, p=(0.2, 0.4, 0.4) if kind == "short" else (0.55, 0.3, 0.15))
    rates = RATES if class_of == 0 else RATES[:3] if class_of == 1 else RATES[:2]
    low, high = ((3, 10), (10, 40), (60, 240))[int(class_of)]
    seconds = float(rng.uniform(low, high)) if area < 60_000 or class_of < 2 else float(rng.uniform(60, 100))
    rate = int(rng.choice(rates))
    return int(seconds * rate), rate


def draw_encoder(rng: np.random.Generator, number: int, frames: int) -> tuple[str, dict[str, str], dict[str, str]]:
    """(FFmpeg's name of the encoder, its options, strata)."""
    codec = ("libx264", "libx264", "libx264", "libx265", "libvpx-vp9")[number % 5]
    gop, crf, by_rate = int(rng.choice(GOPS)), int(rng.integers(19, 36)), rng.random() < 0.25
    quality = {"b": str(int(rng.choice((60, 120, 250, 500)) * 1000))} if by_rate else {"crf": str(crf)}
    b_frames = int(rng.integers(0, 4))
    if codec == "libx264":
        preset = str(rng.choice(PRESETS)) if frames < 600 else PRESETS[0]
        options = {"preset": preset, "g": str(gop), "bf": str(b_frames), "threads": "1", **quality}
        options["sc_threshold"] = str(rng.choice(("40", "0")))
        name = "H.264"
    elif codec == "libx265":
        name, preset = "HEVC", "fast" if frames < 300 else "superfast"
        inner = f"keyint={gop}:min-keyint=1:bframes={b_frames}:log-level=none:pools=none:frame-threads=1"
        options = {"preset": preset, "x265-params": inner, **quality}
    else:
        name = "VP9"
        options = {"g": str(gop), "deadline": "realtime", "cpu-used": "7", "row-mt": "0", "b": "0", **quality}
        options |= {} if by_rate else {"crf": str(crf + 8)}  # about the quality of the others at crf
    strata = {
        "codec": name,
        "gop": binned(gop, (16, 61), "frames"),
        "b_frames": str(b_frames) if name != "VP9" else "-",
    }
    return codec, options, {**strata, "quality": "bitrate" if by_rate else f"crf {binned(crf, (24, 30), '')}"}


def binned(value: float, edges: tuple[int, int], unit: str) -> str:
    low, high = edges
    text = f"under {low}" if value < low else f"{low} to {high}" if value < high else f"{high} and more"
    return f"{text} {unit}".strip()


def _texture(rng: np.random.Generator, kind: str, rows: int, columns: int, side: int) -> NDArray[np.float32]:
    """float32 (rows, columns), about -1..1: patterns that the training backgrounds do not have."""
    x, y = np.meshgrid(np.arange(columns, dtype=np.float32), np.arange(rows, dtype=np.float32))
    period = float(rng.uniform(0.1, 0.25)) * side
    if kind == "bricks":
        shifted = x + (y // period % 2) * period
        mortar = (y % period < period * 0.15) | (shifted % (2 * period) < period * 0.15)
        return np.where(mortar, np.float32(1), np.float32(-0.3))
    if kind == "dots":
        distance = np.hypot(x % period - period / 2, y % period - period / 2)
        return np.where(distance < period * 0.3, np.float32(1), np.float32(-0.4))
    if kind == "rings":
        cx, cy = rng.uniform(0, columns), rng.uniform(0, rows)
        return np.sin(np.hypot(x - cx, y - cy) * np.float32(2 * np.pi / period)).astype(np.float32)
    if kind == "plaid":
        return (0.6 * np.sign(np.sin(x * 2 * np.pi / period)) + 0.5 * np.sin(y * 4 * np.pi / period)).astype(np.float32)
    if kind == "fractal":
        total = np.zeros((rows, columns), np.float32)
        for octave in range(5):
            shape = (max(2, rows >> (6 - octave)), max(2, columns >> (6 - octave)))
            coarse = rng.standard_normal(shape, dtype=np.float32)
            total += cv2.resize(coarse, (columns, rows), interpolation=cv2.INTER_CUBIC) * np.float32(0.5**octave)
        return total
    picture = np.zeros((rows, columns), np.uint8)
    for _ in range(rows * columns // int(side * side / 12)):
        line = (rng.uniform(-0.2, 1.2, size=(5, 2)) * 0.5 * side + rng.uniform(0, 1, 2) * (columns, rows)).astype(
            np.int32
        )
        cv2.polylines(picture, [line], False, 255, max(1, side // 60), cv2.LINE_AA)
    return picture.astype(np.float32) / 127.5 - 1


def rows_of(clip: Clip) -> list[dict[str, Any]]:
    """One dataset row per question."""
    return [
        {
            "video": f"clips/{clip.name}",
            "question": question.text,
            "answer": question.answer,
            "type": question.type,
            "strata": {**clip.strata, "event": clip.event(question)},
        }
        for question in clip.questions()
    ]


def write_one(make: Callable[[int, int], Clip], split: int, folder: Path, number: int) -> int:
    """Write the file of one clip, unless it is there."""
    clip = make(split, number)
    final = folder / clip.name
    if not final.exists():
        partial_folder = folder / f"unfinished-{os.getpid()}"
        partial_folder.mkdir(exist_ok=True)
        os.replace(clip.write(partial_folder), final)
        partial_folder.rmdir()
    return clip.frames


def main(
    description: str = __doc__,
    make: Callable[[int, int], Clip] = make_clip,
    rows: Callable[[Clip], list[dict[str, Any]]] = rows_of,
) -> None:
    """Write clips and dataset.jsonl; what is there already is kept."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--clips", type=int, default=500)
    parser.add_argument("--seed", type=int, default=TEST, help=f"{TUNING}: tuning split; {TEST}: test split")
    parser.add_argument("--jobs", type=int, default=1, help="clips encoded at the same time")
    options = parser.parse_args()
    folder = options.out / "clips"
    folder.mkdir(parents=True, exist_ok=True)
    frames = 0
    with ProcessPoolExecutor(options.jobs) as pool:
        writing = pool.map(partial(write_one, make, options.seed, folder), range(options.clips))
        for done, count in enumerate(writing, 1):
            frames += count
            if done % 25 == 0:
                print(f"{done} of {options.clips} clips, {frames} frames", file=sys.stderr, flush=True)
    asked = [row for number in range(options.clips) for row in rows(make(options.seed, number))]
    (options.out / "dataset.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked))
    print(f"{len(asked)} questions about {options.clips} clips in {options.out / 'dataset.jsonl'}")


if __name__ == "__main__":
    main()
