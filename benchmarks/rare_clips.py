"""Long clips in which something is there for a few seconds only, from a seed: the world of `benchmarks/rare.py`.

    clip = make_clip(TUNING, 17)
    clip.write(folder)                     # an encoded file
    clip.event                             # (start, stop) in seconds
    clip.questions()                       # (about the event or not, question) pairs for the built-in model

Objects, colours and wordings are those of the built-in model's world (models/small), backdrops those of heldout.py. One
or two objects are there all the time, one more for 1 to 10 seconds of 2 to 4 minutes (10 to 30 in the split of long
ones). Things that are no event happen too: fades, flashes, changes of the light, a camera that pans, zooms or shakes
all the time, and noise.

What a clip shows depends on the split's seed and its number alone. Its bytes are those of the encoders of the PyAV
wheel, which for the same pictures may differ slightly between runs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.heldout import BACKDROPS, Backdrop, _draw_objects
from codecmeta.models.small.world.questions import Question, all_questions
from codecmeta.models.small.world.scenes import Scene, draw_objects

os.environ.setdefault("SVT_LOG", "1")  # errors only

STREAM = 0x7A9E
"""Sets these random numbers apart from those of training and of the other benchmarks."""

TUNING, TEST, LONG = 1, 2, 3
"""Seeds: every number in codecmeta/decisions was set on the first split; the others are run once."""

MINUTES = {TUNING: (2, 4), TEST: (2, 4), LONG: (10, 30)}

CAMERAS = ("static", "pan", "zoom", "shake")
DISTRACTORS = ("none", "fades", "flashes", "lighting")
NOISES = {"none": (0.0, 0.0), "some": (1.0, 4.0), "night": (3.0, 6.0)}
SIZES = ((160, 120), (160, 120), (160, 120), (176, 144), (240, 180))
RATE = 10


@dataclass(frozen=True)
class Encoder:
    """codec, options: as FFmpeg calls them. passes: of rate control. vfr: a third of the pictures is left out."""

    codec: str
    options: dict[str, str]
    passes: int = 1
    vfr: bool = False
    suffix: str = ".mp4"


def _x264(**options: str) -> dict[str, str]:
    return {"preset": "veryfast", "crf": "24", "bf": "3", "threads": "1", "g": "250"} | options


def _x265(**options: str) -> dict[str, str]:
    inner = {"bframes": "4", "log-level": "none", "pools": "none", "frame-threads": "1", "keyint": "250"} | options
    text = ":".join(f"{name.replace('_', '-')}={value}" for name, value in inner.items())
    return {"preset": "veryfast", "crf": "26", "x265-params": text}


_BITRATE = {"b": "120k", "crf": ""}
ENCODERS: dict[str, Encoder] = {
    "H.264": Encoder("libx264", _x264()),
    "H.264, scene-cut off": Encoder("libx264", _x264(sc_threshold="0")),
    "H.264, GoP 30": Encoder("libx264", _x264(g="30")),
    "H.264, GoP 600": Encoder("libx264", _x264(g="600", sc_threshold="0")),
    "H.264, CBR": Encoder("libx264", _x264(b="120k", minrate="120k", maxrate="120k", bufsize="60k", crf="")),
    "H.264, two-pass": Encoder("libx264", _x264(**_BITRATE), passes=2),
    "H.264, intra refresh": Encoder("libx264", _x264(g="60", **{"x264-params": "intra-refresh=1"})),
    "H.264, all-intra": Encoder("libx264", _x264(g="1")),
    "H.264, VFR": Encoder("libx264", _x264(), vfr=True),
    "HEVC": Encoder("libx265", _x265()),
    "HEVC, GoP 60": Encoder("libx265", _x265(keyint="60")),
    "HEVC, scene-cut off": Encoder("libx265", _x265(scenecut="0", bframes="8", b_adapt="0")),
    "VP9": Encoder(
        "libvpx-vp9",
        {"deadline": "good", "cpu-used": "5", "lag-in-frames": "16", "auto-alt-ref": "1", "row-mt": "0"}
        | {"b": "0", "crf": "36", "g": "250"},
        suffix=".webm",
    ),
    "AV1": Encoder("libsvtav1", {"preset": "11", "crf": "38", "g": "250", "svtav1-params": "lp=1"}),
}


@dataclass(frozen=True)
class Clip:
    """One clip. event: (start, stop) in seconds of the rare object, the last one of the scene. soft: it fades in and
    out over half a second. strata: what kind of clip it is."""

    number: int
    split: int
    scene: Scene
    backdrop: Backdrop
    frames: int
    width: int
    height: int
    event: tuple[float, float]
    soft: bool
    night: bool
    strata: dict[str, str]

    @property
    def encoder(self) -> Encoder:
        return ENCODERS[self.strata["encoder"]]

    @property
    def name(self) -> str:
        """File name."""
        return f"{self.split}-{self.number:04d}{self.encoder.suffix}"

    def numbers(self) -> NDArray[np.int64]:
        """int64: the pictures that are in the file; their times are these / RATE seconds."""
        if not self.encoder.vfr:
            return np.arange(self.frames)
        return np.flatnonzero(np.random.default_rng([STREAM, self.scene.seed, 7]).random(self.frames) > 1 / 3)

    def seen(self, times: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether the rare object is on the picture (at least half there, where it fades in)."""
        margin = 0.25 if self.soft else 0.0
        return (times >= self.event[0] + margin - 1e-9) & (times < self.event[1] - margin - 1e-9)

    def questions(self) -> list[tuple[bool, Question]]:
        """(is it about the rare object, question): colour, shape and direction of every object."""
        every = all_questions(self.scene, np.random.default_rng([STREAM, self.scene.seed, 8]))
        rare = len(self.scene.objects) - 1
        return [(one.names[0][1] == rare, one) for one in every if one.type in ("colour", "shape", "direction")]

    def render(self) -> Iterator[NDArray[np.uint8]]:
        """All pictures, uint8 RGB (height, width, 3), one after the other."""
        rng = np.random.default_rng([STREAM, self.scene.seed, 9])
        canvas = self.backdrop.canvas(self.width, self.height)
        grain = (rng.standard_normal(2**20, dtype=np.float32) * self.scene.noise).astype(np.int16)
        window = _camera(self.backdrop.camera, self.frames, rng, self.backdrop.reach)
        light, flash = _light(self.strata["distractor"], self.frames, self.event, rng)
        light *= 0.6 if self.night else 1.0
        always = replace(self.scene, objects=self.scene.objects[:-1])
        rare = replace(self.scene, objects=self.scene.objects[-1:])
        for number in range(self.frames):
            x, y, scale = window[number]
            matrix = np.array([[1 / scale, 0, x * self.width], [0, 1 / scale, y * self.height]])
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            size = (self.width, self.height)
            picture = cv2.warpAffine(canvas, matrix, size, flags=flags, borderMode=cv2.BORDER_REFLECT)
            time = np.array([number / self.frames])
            draw_objects(picture[None], always, time)
            opaque = self._opacity(number / RATE)
            if opaque >= 1:
                draw_objects(picture[None], rare, time)
            elif opaque > 0:
                drawn = picture.copy()
                draw_objects(drawn[None], rare, time)
                picture = cv2.addWeighted(drawn, opaque, picture, 1 - opaque, 0)
            if light[number] != 1 or flash[number]:
                picture = cv2.convertScaleAbs(picture, alpha=float(light[number]), beta=float(flash[number]))
            if self.scene.noise > 0:
                at = int(rng.integers(len(grain) - picture.size))
                levels = grain[at : at + picture.size].reshape(picture.shape)
                picture = np.clip(picture + levels, 0, 255).astype(np.uint8)
            yield picture

    def _opacity(self, second: float) -> float:
        start, stop = self.event
        if not start - 1e-9 <= second < stop - 1e-9:
            return 0.0
        return min(1.0, (second - start + 0.1) / 0.5, (stop - second) / 0.5) if self.soft else 1.0

    def write(self, folder: Path) -> Path:
        """Render and encode the clip, unless it is there."""
        final = folder / self.name
        if final.exists():
            return final
        unfinished = folder / f"unfinished-{os.getpid()}-{self.name}"
        statistics = folder / f"pass-{os.getpid()}"
        for number in range(1, self.encoder.passes + 1):
            options = {name: value for name, value in self.encoder.options.items() if value}
            if self.encoder.passes > 1:
                options["x264-params"] = f"pass={number}:stats={statistics}"
            self._encode(unfinished, options)
        for left in folder.glob(f"{statistics.name}*"):
            left.unlink()
        os.replace(unfinished, final)
        return final

    def _encode(self, path: Path, options: dict[str, str]) -> None:
        kept = set(self.numbers().tolist())
        with av.open(str(path), "w") as container:
            stream: Any = container.add_stream(self.encoder.codec, rate=RATE, options=options)
            stream.width, stream.height, stream.pix_fmt = self.width, self.height, "yuv420p"
            stream.codec_context.thread_count = 1
            for number, picture in enumerate(self.render()):
                if number in kept:
                    frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                    frame.pts, frame.time_base = number, Fraction(1, RATE)
                    container.mux(stream.encode(frame))
            container.mux(stream.encode(None))


def make_clip(split: int, number: int) -> Clip:
    """The clip with this number of a split; the same arguments always give the same clip. Encoders take turns, then
    cameras, then distractors; among long clips cameras do, too."""
    seed = split * 1_000_000 + number
    rng = np.random.default_rng([STREAM, seed])
    names = list(ENCODERS)
    encoder, turn = names[number % len(names)], number // len(names)
    camera, distractor = CAMERAS[turn % 4], DISTRACTORS[(turn + turn // 4 + number) % 4]
    if split == LONG:  # there are fewer of them
        camera, distractor = CAMERAS[number % 4], DISTRACTORS[(number + number // 4) % 4]
    noise = str(rng.choice(list(NOISES), p=(0.4, 0.35, 0.25)))
    width, height = SIZES[int(rng.integers(len(SIZES)))]
    shortest, longest = MINUTES[split]
    frames = int(rng.uniform(60 * shortest, 60 * longest) * RATE)
    length = float(np.exp(rng.uniform(np.log(1), np.log(10))))
    start = round(float(rng.uniform(5, frames / RATE - length - 5)) * RATE) / RATE
    stop = start + max(round(length * RATE), 10) / RATE
    whole = frames / RATE
    spans = [(0.0, 1.0)] * int(rng.integers(1, 3)) + [(start / whole, stop / whole)]
    objects = None
    while objects is None:
        objects = _draw_objects(rng, spans, width / height)
    small = float(rng.uniform(0.65, 1.0))  # the rare one may be smaller than any in training
    objects = (*objects[:-1], replace(objects[-1], size=objects[-1].size * small))
    level = float(rng.uniform(*NOISES[noise]))
    scene = Scene(seed, "eval", "late", objects, (), None, level, width / height)
    backdrop = Backdrop(str(rng.choice(BACKDROPS)), int(rng.integers(2**31)), camera, _reach(rng, camera))
    strata = {"encoder": encoder, "camera": camera, "distractor": distractor, "noise": noise}
    soft = bool(rng.random() < 0.3)
    strata |= {"onset": "soft" if soft else "sudden"}
    strata |= {"event": "under 2 s" if length < 2 else "2 to 5 s" if length < 5 else "5 to 10 s"}
    return Clip(number, split, scene, backdrop, frames, width, height, (start, stop), soft, noise == "night", strata)


def _reach(rng: np.random.Generator, camera: str) -> tuple[float, float]:
    if camera != "pan":
        return 0.0, 0.0
    way = rng.uniform(0.5, 1.0, size=2) * rng.choice(((1, 0), (0, 1), (1, 0.5)))
    return float(way[0]), float(way[1])


def _camera(camera: str, frames: int, rng: np.random.Generator, reach: tuple[float, float]) -> NDArray[np.float64]:
    """float64 (frames, 3): x, y in frame sizes and zoom, at every picture."""
    second = np.arange(frames) / RATE
    window = np.zeros((frames, 3))
    window[:, 2] = 1
    if camera == "pan":  # to and fro, at constant speed
        period = rng.uniform(30, 80)
        phase = np.abs((second / period + rng.random()) % 2 - 1)
        window[:, 0], window[:, 1] = phase * reach[0], phase * reach[1]
    elif camera == "zoom":
        window[:, 2] = 1.25 + 0.2 * np.sin(2 * np.pi * (second / rng.uniform(20, 60) + rng.random()))
    elif camera == "shake":  # as in heldout.py, and trembling
        for axis in (0, 1):
            start = rng.uniform(0, 2 * np.pi, 2)
            slow = np.sin(5.1 * second + start[0]) + np.sin(11.3 * second + start[1])
            window[:, axis] = 0.05 + 0.012 * slow + rng.normal(0, 0.002, frames)
    return window


def _light(
    distractor: str, frames: int, event: tuple[float, float], rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """float64 (frames,): by what every picture is multiplied, and what is added. Three times a clip, or once a minute,
    a second or more away from the event, so that what is seen of it is never in doubt."""
    light, flash = np.ones(frames), np.zeros(frames)
    second = np.arange(frames) / RATE
    done, gain = 0, 1.0
    while distractor != "none" and done < max(3, frames // (60 * RATE)):
        at = float(rng.uniform(3, frames / RATE - 6))
        if event[0] - 5 < at < event[1] + 1:
            continue
        done += 1
        if distractor == "fades":
            light *= np.clip(np.abs(second - at - 1.5) - 0.3, 0, 1.0)
        elif distractor == "flashes":
            flash[round(at * RATE) : round(at * RATE) + int(rng.integers(1, 3))] += rng.uniform(50, 110)
        else:
            undo = done > 3 and done % 2 == 0  # many changes would end in the dark
            gain = 1 / gain if undo else rng.uniform(0.65, 1.4)
            ramp = np.clip((second - at) / rng.choice((0.1, 1.0, 3.0)), 0, 1)
            light *= gain**ramp
    return light, flash
