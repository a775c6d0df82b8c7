"""Metadata and clips made from a seed, with what is true about them known beforehand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from codecmeta.record.metadata import VECTOR, Frames, Gops, Maps, Metadata, Motion, Stream


def make_metadata(
    packet_bytes: ArrayLike,
    *,
    types: str | None = None,
    keyframes: ArrayLike = (0,),
    size: tuple[int, int] = (64, 48),
    rate: float = 25.0,
    residual: ArrayLike | None = None,
    block: int = 8,
    origin: tuple[int, int] = (0, 0),
    covered: ArrayLike | None = None,
    vectors: list[list[tuple[int, ...]]] | None = None,
) -> Metadata:
    """A hand-built record. types: 'IPBP...'; residual: (m, rows, columns) rms; vectors: a list of rows of `VECTOR` per
    frame; covered: the rows that maps and vectors are stored for, default all."""
    sizes = np.asarray(packet_bytes, np.int64)
    count = len(sizes)
    rows = np.arange(count) if covered is None else np.asarray(covered)
    key = np.zeros(count, bool)
    key[np.asarray(keyframes, int)] = True
    gop = np.maximum(np.cumsum(key) - 1, 0).astype(np.int32)
    start = np.searchsorted(gop, np.arange(gop[-1] + 1))
    stop = np.append(start[1:], count)
    frames = Frames(
        pts=np.arange(count),
        time=np.arange(count) / rate,
        picture_type=np.frombuffer(types.encode(), np.uint8) if types else np.zeros(count, np.uint8),
        keyframe=key,
        packet_bytes=sizes,
        gop=gop,
        corrupt=np.zeros(count, bool),
    )
    motion = None
    if vectors is not None:
        indptr = np.concatenate(([0], np.cumsum([len(one) for one in vectors]))).astype(np.int64)
        motion = Motion(rows, indptr, np.array([tuple(row) for one in vectors for row in one], VECTOR))
    maps = None
    if residual is not None:
        maps = Maps(rows, np.asarray(residual, np.float16), block, origin[0], origin[1])
    return Metadata(
        path=Path("made-up.mp4"),
        stream=Stream("h264", "High", "yuv420p", *size, 0, (1, 25), (25, 1), count / rate, 0),
        frames=frames,
        gops=Gops(start, stop, np.array([sizes[a:b].mean() for a, b in zip(start, stop, strict=True)])),
        capability={
            "residual": {"level": "none", "why": "made up without"},
            "bits": {"level": "none", "why": "made up without"},
        },
        settings={},
        motion=motion,
        residual=maps,
    )


@dataclass
class Story:
    """A clip to render. kinds: what joins the scenes or happens in them, from "cut", "fade", "entrance". Known once
    rendered: cuts: first rows of new scenes; fades: (first, last) rows of mixed pictures; entrances: first rows that
    show a new object."""

    seed: int
    kind: str
    frames: int = 200
    size: tuple[int, int] = (256, 144)
    cuts: list[int] = field(default_factory=list)
    fades: list[tuple[int, int]] = field(default_factory=list)
    entrances: list[int] = field(default_factory=list)

    def render(self) -> Iterator[NDArray[np.uint8]]:
        """uint8 (height, width, 3) RGB pictures; the events are known when the last one is out."""
        rng = np.random.default_rng([self.seed, len(self.kind)])
        noise = float(rng.choice([0.0, 1.0, 2.5]))
        palette = rng.uniform(60, 190, 3)
        scene = _Scene(rng, self.size, palette, calm=self.kind == "entrance")
        row = 0
        while row < self.frames:
            left = self.frames - row
            length = min(left, int(rng.integers(18, 50))) if left > 60 else left
            for _ in range(length):
                yield _finish(scene.picture(), noise, rng)
            row += length
            if row >= self.frames:
                return
            if self.kind == "entrance":
                scene.add_entering_object()
                self.entrances.append(row)
                continue
            if rng.random() < 0.5:  # half of the time the next scene has the same colours and brightness
                palette = rng.uniform(60, 190, 3)
            following = _Scene(rng, self.size, palette)
            if self.kind == "cut":
                self.cuts.append(row)
            else:
                steps = int(rng.integers(8, 21))
                through_black = rng.random() < 0.4
                for step in range(1, steps + 1):
                    part = step / (steps + 1)
                    old, new = scene.picture(), following.picture()
                    mixed = (
                        (old * max(0.0, 1 - 2 * part) + new * max(0.0, 2 * part - 1))
                        if through_black
                        else (old * (1 - part) + new * part)
                    )
                    yield _finish(mixed, noise, rng)
                self.fades.append((row, row + steps - 1))
                row += steps
            scene = following


class _Scene:
    """Textured background under a moving camera, with textured ellipses moving over it."""

    def __init__(self, rng: np.random.Generator, size: tuple[int, int], palette: NDArray, calm: bool = False) -> None:
        self.rng, self.size, self.palette = rng, size, palette
        self.canvas = _texture(rng, (size[0] + 320, size[1] + 320), palette, float(rng.uniform(8, 40)))
        speed = float(rng.choice([0.0, rng.uniform(0.2, 1.2), rng.uniform(1.2, 3.5)]))
        angle = rng.uniform(0, 2 * np.pi)
        self.velocity = np.array([np.cos(angle), np.sin(angle)]) * (min(speed, 1.5) if calm else speed)
        self.zoom_rate = float(rng.choice([0.0, 0.0, rng.uniform(-0.003, 0.003)]))
        self.shake = float(rng.choice([0.0, 0.0, 0.4]))
        self.position, self.zoom = np.zeros(2), 1.0
        self.objects: list[tuple[NDArray, NDArray, NDArray, NDArray]] = []  # texture, mask, centre, velocity
        for _ in range(int(rng.integers(0, 3))):
            self.add_object(rng.uniform(0.2, 0.8, 2) * size)

    def add_object(self, centre: NDArray) -> None:
        radius = self.rng.uniform(0.06, 0.14, 2) * self.size[0]
        box = (int(2 * radius[0]) + 2, int(2 * radius[1]) + 2)
        texture = _texture(self.rng, box, self.rng.uniform(30, 220, 3), float(self.rng.uniform(15, 50)))
        y, x = np.mgrid[: box[1], : box[0]]
        far = ((x - box[0] / 2) / radius[0]) ** 2 + ((y - box[1] / 2) / radius[1]) ** 2
        mask = np.clip((1 - far) * radius.min() / 2 + 0.5, 0, 1)[..., None].astype(np.float32)
        velocity = self.rng.normal(0, 1, 2)
        self.objects.append((texture, mask, np.array(centre, float), velocity))

    def add_entering_object(self) -> None:
        """An object that comes in over a side of the picture: its first pixels show in the next picture."""
        width, height = self.size
        self.add_object(np.zeros(2))
        texture, mask, centre, velocity = self.objects[-1]
        half = np.array([mask.shape[1], mask.shape[0]]) / 2
        side = int(self.rng.integers(4))
        speed = self.rng.uniform(2.5, 6)
        inward = [(1, 0), (-1, 0), (0, 1), (0, -1)][side]
        centre[:] = self.rng.uniform(0.25, 0.75, 2) * self.size
        if side < 2:
            centre[0] = -half[0] + 1 if side == 0 else width + half[0] - 1
        else:
            centre[1] = -half[1] + 1 if side == 2 else height + half[1] - 1
        velocity[:] = np.array(inward) * speed + self.rng.normal(0, 0.4, 2) * (np.array(inward) == 0)
        centre -= velocity  # the first step brings it to where it just shows

    def picture(self) -> NDArray[np.float32]:
        width, height = self.size
        self.position += self.velocity
        self.position = np.clip(self.position, -150, 150)
        if (np.abs(self.position) >= 150).any():
            self.velocity = -self.velocity
        self.zoom *= 1 + self.zoom_rate
        shift = self.position + self.rng.normal(0, 1, 2) * self.shake + 160
        matrix = np.array([[self.zoom, 0, shift[0]], [0, self.zoom, shift[1]]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        result = cv2.warpAffine(self.canvas, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REFLECT)
        for texture, mask, centre, velocity in self.objects:
            centre += velocity
            corner = centre - np.array([mask.shape[1], mask.shape[0]]) / 2
            place = np.array([[1, 0, corner[0]], [0, 1, corner[1]]])
            over = cv2.warpAffine(mask, place, (width, height))[..., None]
            colour = cv2.warpAffine(texture, place, (width, height), borderMode=cv2.BORDER_REPLICATE)
            result = result * (1 - over) + colour * over
        return result


def _texture(rng: np.random.Generator, size: tuple[int, int], mean: NDArray, contrast: float) -> NDArray[np.float32]:
    """Smooth noise of several scales, float32 (height, width, 3)."""
    width, height = size
    total = np.zeros((height, width, 3), np.float32)
    for scale in (2, 5, 14, 40):
        small = rng.normal(0, 1, (max(2, height // scale + 1), max(2, width // scale + 1), 3)).astype(np.float32)
        total += cv2.resize(small, size, interpolation=cv2.INTER_CUBIC) * float(rng.uniform(0.2, 1))
    total *= contrast / max(total.std(), 1e-3)
    return np.clip(total + mean.astype(np.float32), 0, 255)


def _finish(picture: NDArray[np.float32], noise: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    if noise:
        picture = picture + rng.normal(0, noise, (*picture.shape[:2], 1)).astype(np.float32)
    return np.clip(picture + 0.5, 0, 255).astype(np.uint8)


def write_clip(
    path: Path,
    pictures: Iterable[NDArray[np.uint8]],
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    rate: int = 25,
) -> Path:
    """Encode RGB pictures of even size as yuv420p; `options` go to the encoder as they are. Returns the path."""
    with av.open(str(path), "w") as container:
        stream = None
        for picture in pictures:
            if stream is None:
                stream = container.add_stream(codec, rate=rate, options=options or {})
                stream.height, stream.width = picture.shape[:2]
                stream.pix_fmt = "yuv420p"
                stream.codec_context.thread_count = 1
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        if stream is not None:
            container.mux(stream.encode(None))
    return path
