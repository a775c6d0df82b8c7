"""From metadata to a picture people can look at: density over sampled frames, and packets over time. OpenCV.

Colours are those of Okabe and Ito, which colour-blind readers can tell apart.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from codecmeta.budget import frame_budgets, gop_weights
from codecmeta.density import merge_regions, patch_density
from codecmeta.events import change_scores, event_boundaries
from codecmeta.extraction import read
from codecmeta.metadata import B, I, Metadata, P

INK, FAINT, PAPER = (30, 30, 30), (150, 150, 150), (255, 255, 255)  # BGR, as everything that OpenCV draws
TYPE_COLOURS = {I: (0, 94, 213), P: (178, 114, 0), B: (233, 180, 86)}  # vermilion, blue, sky blue
EVENT_COLOUR = (167, 121, 204)  # reddish purple
TYPE_NAMES = {I: "I pictures", P: "P pictures", B: "B pictures"}

WIDTH, MARGIN, ACROSS = 1280, 24, 4
FONT = cv2.FONT_HERSHEY_SIMPLEX


def overview(video: Path, *, frames: int = 8, budget: float = 0.3, events: int = 5) -> NDArray[np.uint8]:
    """Density and regions over sampled frames, and a timeline of the whole video: uint8 BGR (height, 1280, 3).

    frames: pictures shown. budget: share of the tokens that the numbers under the pictures split up. events: how many
    events the timeline marks.
    """
    meta, rows, pictures = read(video, frames)
    grid = _grid(meta)
    density = patch_density(meta, rows, grid)
    capacity = grid[0] * grid[1]
    total = int(budget * capacity * len(rows))
    budgets = frame_budgets(gop_weights(meta, rows), total, capacity)
    boundaries = event_boundaries(change_scores(meta, np.arange(len(meta.frames))), events)
    parts = [
        _heading(
            f"{video.name}: {meta.stream.codec}, {meta.stream.width}x{meta.stream.height}, {len(meta.frames)} frames"
        ),
        _pictures(meta, rows, pictures, density, budgets, capacity),
        _scale(f"residual density of a patch within its frame ({meta.capability['residual']['level']})"),
        timeline(meta, rows, budgets, [start for start, _ in boundaries[1:]]),
    ]
    return np.concatenate(parts)


def _grid(meta: Metadata) -> tuple[int, int]:
    """A grid of 16-pixel patches, coarser for large pictures: at most 40 across."""
    patch = max(16, -(-max(meta.stream.width, meta.stream.height) // 40))
    return max(1, round(meta.stream.height / patch)), max(1, round(meta.stream.width / patch))


def _heading(text: str) -> NDArray[np.uint8]:
    canvas = _blank(44)
    _write(canvas, text, MARGIN, 30, 0.68)
    return canvas


def _pictures(
    meta: Metadata,
    rows: NDArray[np.int64],
    pictures: NDArray[np.uint8],
    density: NDArray[np.float32],
    budgets: NDArray[np.int64],
    capacity: int,
) -> NDArray[np.uint8]:
    """Pictures in rows of four, heat over them, regions outlined, time and budget under each."""
    cell = (WIDTH - MARGIN * (ACROSS + 1)) // ACROSS
    height = min(round(cell * pictures.shape[1] / pictures.shape[2]), 2 * cell)
    width = round(height * pictures.shape[2] / pictures.shape[1])
    labels = merge_regions(density)
    canvas = _blank(-(-len(rows) // ACROSS) * (height + 40))
    for index, row in enumerate(rows):
        x = MARGIN + index % ACROSS * (cell + MARGIN) + (cell - width) // 2
        y = index // ACROSS * (height + 40)
        picture = cv2.resize(pictures[index][..., ::-1], (width, height), interpolation=cv2.INTER_AREA)
        canvas[y : y + height, x : x + width] = _outlined(_heated(picture, density[index]), labels[index])
        caption = f"{meta.frames.time[row]:.2f} s   {budgets[index]} of {capacity} tokens"
        _write(canvas, caption, x, y + height + 20, 0.48)
    return canvas


def _heated(picture: NDArray[np.uint8], density: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The picture under the heat of its patches: the denser the patch, the more of its heat covers the picture. The
    root spreads the few strong ones from the many weak."""
    size = (picture.shape[1], picture.shape[0])
    root = cv2.resize(np.sqrt(np.clip(density, 0, 1)), size, interpolation=cv2.INTER_NEAREST)
    heat = cv2.applyColorMap((255 * root).astype(np.uint8), cv2.COLORMAP_VIRIDIS)
    cover = 0.8 * root[..., None]
    return (picture * (1 - cover) + heat * cover).astype(np.uint8)


def _outlined(picture: NDArray[np.uint8], labels: NDArray[np.int32]) -> NDArray[np.uint8]:
    """Regions of more than one patch dimmed, with white lines around them."""
    height, width = picture.shape[:2]
    merged = np.bincount(labels.ravel())[labels] > 1
    shown = np.where(merged, labels + 1, 0).astype(np.float32)
    large = cv2.resize(shown, (width, height), interpolation=cv2.INTER_NEAREST)
    edge = np.zeros((height, width), bool)
    edge[:, 1:] |= large[:, 1:] != large[:, :-1]
    edge[1:] |= large[1:] != large[:-1]
    outlined = np.where(large[..., None] > 0, picture // 2, picture)
    outlined[edge] = PAPER
    return outlined


def _scale(text: str) -> NDArray[np.uint8]:
    canvas = _blank(56)
    ramp = np.tile((255 * np.sqrt(np.linspace(0, 1, 256))).astype(np.uint8), (14, 1))
    canvas[14:28, MARGIN : MARGIN + 256] = cv2.applyColorMap(ramp, cv2.COLORMAP_VIRIDIS)
    for value in (0, 0.5, 1):
        _write(canvas, f"{value:g}", MARGIN + int(value * 256) - (0 if value == 0 else 10), 46, 0.42)
    _write(canvas, text, MARGIN + 280, 26, 0.48)
    cv2.rectangle(canvas, (MARGIN + 840, 13), (MARGIN + 860, 28), FAINT, -1)
    cv2.rectangle(canvas, (MARGIN + 842, 15), (MARGIN + 858, 26), PAPER, 1)
    _write(canvas, "dimmed: region merged into one token", MARGIN + 870, 26, 0.48)
    return canvas


def timeline(
    meta: Metadata, rows: NDArray[np.int64], budgets: NDArray[np.int64], boundaries: list[int], height: int = 300
) -> NDArray[np.uint8]:
    """Bytes of every frame coloured by picture type, keyframes, the budget of the sampled frames, event boundaries."""
    canvas = _blank(height)
    left, right, top, bottom = MARGIN + 60, WIDTH - MARGIN - 60, 46, height - 48
    frames = meta.frames
    count = len(frames)
    largest = max(int(frames.packet_bytes.max()), 1)
    log = np.log10(np.maximum(frames.packet_bytes, 1)) / max(np.log10(largest), 1e-9)
    x = left + (np.arange(count + 1) * (right - left) / count).astype(int)
    for row in range(count):
        colour = TYPE_COLOURS.get(int(frames.picture_type[row]), FAINT)
        cv2.rectangle(
            canvas, (x[row], bottom - int(log[row] * (bottom - top))), (max(x[row + 1] - 1, x[row]), bottom), colour, -1
        )
    _axes(canvas, meta, (left, right, top, bottom), largest)
    for start in boundaries:
        for y in range(top - 8, bottom, 10):
            cv2.line(canvas, (x[start], y), (x[start], y + 5), EVENT_COLOUR, 2)
    most = max(int(budgets.max()), 1)
    points = [
        (int((x[row] + x[row + 1]) / 2), bottom - int(budget / most * (bottom - top) * 0.9))
        for row, budget in zip(rows, budgets, strict=True)
    ]
    for one, other in zip(points, points[1:], strict=False):
        cv2.line(canvas, one, other, INK, 2, cv2.LINE_AA)
    for point, budget in zip(points, budgets, strict=True):
        cv2.circle(canvas, point, 5, PAPER, -1, cv2.LINE_AA)
        cv2.circle(canvas, point, 5, INK, 2, cv2.LINE_AA)
        _write(canvas, str(budget), point[0] - 10, point[1] - 10, 0.42)
    _legend(canvas, frames.picture_type, left)
    return canvas


def _axes(canvas: NDArray[np.uint8], meta: Metadata, box: tuple[int, int, int, int], largest: int) -> None:
    left, right, top, bottom = box
    cv2.line(canvas, (left, bottom), (right, bottom), INK, 1)
    cv2.line(canvas, (left, top), (left, bottom), INK, 1)
    for power in range(0, int(np.log10(largest)) + 1):
        y = bottom - int(power / max(np.log10(largest), 1e-9) * (bottom - top))
        cv2.line(canvas, (left - 4, y), (left, y), INK, 1)
        _write(canvas, f"{10**power:,}", MARGIN - 12, y + 5, 0.42)
    times = meta.frames.time
    for share in np.linspace(0, 1, 6):
        seconds = times[0] + share * (times[-1] - times[0])
        _write(canvas, f"{seconds:.1f} s", left + int(share * (right - left)) - 16, bottom + 18, 0.42)
    _write(canvas, "bytes per frame (logarithmic)", left, bottom + 38, 0.45)
    _write(canvas, "tokens per sampled frame (circles)", left + 330, bottom + 38, 0.45)


def _legend(canvas: NDArray[np.uint8], types: NDArray[np.uint8], left: int) -> None:
    x = left
    for kind, name in TYPE_NAMES.items():
        if (types == kind).any():
            cv2.rectangle(canvas, (x, 10), (x + 14, 24), TYPE_COLOURS[kind], -1)
            _write(canvas, name, x + 20, 22, 0.48)
            x += 140
    cv2.line(canvas, (x + 7, 8), (x + 7, 26), EVENT_COLOUR, 2)
    _write(canvas, "event boundary", x + 20, 22, 0.48)
    cv2.circle(canvas, (x + 187, 17), 5, INK, 2, cv2.LINE_AA)
    _write(canvas, "token budget", x + 200, 22, 0.48)


def _blank(height: int) -> NDArray[np.uint8]:
    return np.full((height, WIDTH, 3), 255, np.uint8)


def _write(canvas: NDArray[np.uint8], text: str, x: int, y: int, size: float) -> None:
    cv2.putText(canvas, text, (x, y), FONT, size, INK, 1, cv2.LINE_AA)


def write_png(picture: NDArray[np.uint8], path: Path) -> None:
    """Write a BGR picture as PNG. Raises ValueError where the file cannot be written."""
    done: Any = cv2.imencode(".png", picture)
    try:
        path.write_bytes(done[1].tobytes())
    except OSError as error:
        raise ValueError(f"{path}: cannot be written ({error.strerror})") from error
