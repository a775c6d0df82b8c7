"""An overview -> one picture: sampled frames under their density, and the timeline of the whole video. OpenCV.

Positions and sizes are in pixels of the PNG; colours are RGB until it is written.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from codecmeta.record.facts import headline
from codecmeta.view.overview import Overview, Samples, captions, panel_aspect
from codecmeta.view.panels import NEUTRAL, heated, outlined, resized, scale_bar, viewed
from codecmeta.view.timeline import (
    EVENT_COLOUR,
    TYPE_COLOURS,
    TYPE_LETTERS,
    TYPE_NAMES,
    Timeline,
    axis_labels,
    compact,
    root_ticks,
)

Colour = tuple[int, int, int]
Box = tuple[int, int, int, int]
"""left, right, top, bottom; half-open."""


def rgb(colour: str) -> Colour:
    """ "#d55e00" -> (213, 94, 0)."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


INK, FAINT, GRID, PAPER = (27, 27, 27), (95, 95, 95), (222, 222, 222), (255, 255, 255)
GOP_GREYS = (140, 200)
WIDTH, MARGIN, ACROSS = 1280, 32, 4
LEFT, RIGHT = MARGIN + 62, WIDTH - MARGIN  # of the timeline's axis
NORMAL, SMALL, LARGE = 0.6, 0.52, 0.85
FONT = cv2.FONT_HERSHEY_SIMPLEX


def png(view: Overview) -> bytes:
    """The picture of an overview, 1280 pixels wide, as a PNG file."""
    parts = [_heading(view), _panels(view), _scale(view), draw_timeline(view.timeline, view.budget)]
    encoded: Any = cv2.imencode(".png", np.concatenate(parts)[..., ::-1])
    return encoded[1].tobytes()


def _heading(view: Overview) -> NDArray[np.uint8]:
    notes = [part for note in view.notes for part in _wrapped(note, SMALL)]
    canvas = _blank(78 + 22 * len(notes))
    _write(canvas, _elided(view.summary["file"], LARGE), MARGIN, 38, LARGE, thickness=2)
    _write(canvas, _elided(headline(view.summary), NORMAL), MARGIN, 66, NORMAL, FAINT)
    for index, note in enumerate(notes):
        _write(canvas, note, MARGIN, 90 + 22 * index, SMALL, FAINT)
    return canvas


def _panels(view: Overview) -> NDArray[np.uint8]:
    """The sampled frames, four to a row, with their time, tokens and strongest residual under each."""
    samples = view.samples
    cell = (WIDTH - MARGIN * (ACROSS + 1)) // ACROSS
    width, height = _panel_size(view, cell)
    step = height + (92 if samples.why else 72)
    canvas = _blank(16 + -(-len(samples.rows) // ACROSS) * step)
    for index in range(len(samples.rows)):
        left = MARGIN + index % ACROSS * (cell + MARGIN)
        top = 16 + index // ACROSS * step
        canvas[top : top + height, left : left + width] = panel(samples, index, width, height)
        for number, text in enumerate(captions(view, index)):
            _write(canvas, text, left, top + height + 20 + 20 * number, SMALL, FAINT if number else INK)
    return canvas


def _panel_size(view: Overview, cell: int) -> tuple[int, int]:
    """(width, height) of a panel: as wide as its cell, but not much higher than that."""
    aspect = panel_aspect(view)
    height = min(cell / aspect, 1.25 * cell)
    return max(round(height * aspect), 1), max(round(height), 1)


def panel(samples: Samples, index: int, width: int, height: int) -> NDArray[np.uint8]:
    """One sampled frame under its density, regions outlined: uint8 RGB (height, width, 3)."""
    if samples.pictures is None:
        picture = np.full((height, width, 3), NEUTRAL, np.uint8)
    else:
        picture = resized(viewed(samples.pictures[index], samples.view), width, height)
    if samples.density is None or not samples.has_density[index]:
        return picture
    picture = heated(picture, samples.density[index])
    return picture if samples.regions is None else outlined(picture, samples.regions[index])


def _scale(view: Overview) -> NDArray[np.uint8]:
    """The colours of the density with their values, and how merged regions look."""
    if view.samples.density is None:
        return _blank(10)
    canvas = _blank(112)
    canvas[10:28, MARGIN : MARGIN + 320] = scale_bar(320, 18)
    for value in (0, 0.25, 0.5, 0.75, 1):
        x = MARGIN + round(value * 319)
        canvas[28:33, x] = INK
        _write(canvas, f"{value:g}", x, 50, SMALL, align=0.5 if 0 < value < 1 else value)
    for number, text in enumerate(_wrapped(view.density_title, NORMAL, WIDTH - MARGIN - (MARGIN + 344))):
        _write(canvas, text, MARGIN + 344, 24 + 24 * number, NORMAL)
    sample = np.full((24, 44, 3), 150, np.uint8)
    canvas[70:94, MARGIN : MARGIN + 44] = outlined(sample, np.pad(np.zeros((6, 10), np.int32), 1, constant_values=1))
    _write(canvas, "outlined and hatched: patches that may share one token", MARGIN + 60, 87, NORMAL)
    return canvas


def draw_timeline(line: Timeline, budget: str) -> NDArray[np.uint8]:
    """Bytes of every frame by picture type, groups of pictures and tokens per sampled frame, over one axis of time:
    uint8 RGB (height, 1280, 3)."""
    present = [column for column in range(len(TYPE_NAMES)) if line.pictures[:, column].any()]
    bars: Box = (LEFT, RIGHT, 80, 280)
    lanes: Box = (LEFT, RIGHT, 292, 292 + 16 * (len(present) + 1))
    tokens: Box = (LEFT, RIGHT, lanes[3] + 60, lanes[3] + 160)
    canvas = _blank(tokens[3] + 66)
    _legend(canvas, line, present)
    _write(canvas, line.bars_title, LEFT, bars[2] - 16, NORMAL)
    _bars(canvas, line, bars)
    _lanes(canvas, line, lanes, present)
    _write(canvas, f"tokens per sampled frame: {budget}", LEFT, tokens[2] - 30, NORMAL)
    for share in line.share(line.events):
        x = LEFT + round(share * (RIGHT - LEFT - 1))
        for top, bottom in ((bars[2] - 6, lanes[3]), (tokens[2] - 6, tokens[3])):
            for y in range(top, bottom, 10):
                canvas[y : min(y + 6, bottom), x - 1 : x + 1] = rgb(EVENT_COLOUR)
    _tokens(canvas, line, tokens)
    _time_axis(canvas, line, tokens[3])
    return canvas


def bar_columns(line: Timeline) -> NDArray[np.int64]:
    """int64 (bars, 2): first pixel column of each bar in the PNG, and the one after its last."""
    edges = LEFT + np.round(line.share(line.edges) * (RIGHT - LEFT)).astype(np.int64)
    gap = 1 if (RIGHT - LEFT) / (len(edges) - 1) >= 4 else 0
    return np.stack([edges[:-1], np.maximum(edges[1:] - gap, edges[:-1] + 1)], axis=1)


def _bars(canvas: NDArray[np.uint8], line: Timeline, box: Box) -> None:
    """Bars from the axis up, the square root of mean bytes high; where types share a bar the largest stands behind."""
    left, right, top, bottom = box
    largest = max(float(line.mean_bytes.max()), 1.0)
    for value in root_ticks(largest, 0.1):
        y = bottom - 1 - round((value / largest) ** 0.5 * (bottom - top - 1))
        canvas[y, left:right] = GRID
        _write(canvas, compact(value), left - 8, y + 5, SMALL, align=1)
    heights = np.round(np.sqrt(line.mean_bytes / largest) * (bottom - top)).astype(int)
    for (x0, x1), height in zip(bar_columns(line), heights, strict=True):
        for column in np.argsort(-height, kind="stable"):
            canvas[bottom - height[column] : bottom, x0:x1] = rgb(TYPE_COLOURS[column])
    canvas[bottom, left:right] = INK


def _lanes(canvas: NDArray[np.uint8], line: Timeline, box: Box, present: list[int]) -> None:
    """Picture types again, by position; and groups of pictures in two greys."""
    left, right, top, _ = box
    columns = bar_columns(line)
    for lane, column in enumerate(present):
        y = top + 16 * lane
        _write(canvas, TYPE_LETTERS[column], left - 8, y + 13, SMALL, align=1)
        for x0, x1 in columns[line.pictures[:, column] > 0]:
            canvas[y + 3 : y + 14, x0:x1] = rgb(TYPE_COLOURS[column])
    y = top + 16 * len(present)
    _write(canvas, "GoP", left - 8, y + 13, SMALL, align=1)
    edges = left + np.round(line.share(line.gop_blocks) * (right - left)).astype(int)
    for number, (x0, x1) in enumerate(zip(edges, edges[1:], strict=False)):
        canvas[y + 3 : y + 14, x0:x1] = GOP_GREYS[number % 2]


def _tokens(canvas: NDArray[np.uint8], line: Timeline, box: Box) -> None:
    """A line from sampled frame to sampled frame; 0 at the bottom."""
    left, right, top, bottom = box
    for value in line.token_ticks:
        at = bottom - 1 - round(value / line.most_tokens * (bottom - top - 1))
        canvas[at, left:right] = GRID
        _write(canvas, compact(value), left - 8, at + 5, SMALL, align=1)
    canvas[bottom, left:right] = INK
    x = left + np.round(line.share(line.at) * (right - left - 1)).astype(int)
    y = bottom - 1 - np.round(line.budgets / line.most_tokens * (bottom - top - 1)).astype(int)
    points = np.stack([x, y], axis=1).astype(np.int32)
    cv2.polylines(canvas, [points], False, INK, 2, cv2.LINE_AA)
    for point, tokens in zip(points.tolist(), line.budgets, strict=True):
        cv2.circle(canvas, point, 5, PAPER, -1, cv2.LINE_AA)
        cv2.circle(canvas, point, 5, INK, 2, cv2.LINE_AA)
        if len(points) <= 16:
            edge = 0.5 if LEFT + 20 < point[0] < RIGHT - 20 else float(point[0] > LEFT + 20)
            _write(canvas, f"{tokens:,}", point[0], point[1] - 11, SMALL, align=edge)


def _time_axis(canvas: NDArray[np.uint8], line: Timeline, y: int) -> None:
    for share, text in axis_labels(line, 12):
        x = LEFT + round(share * (RIGHT - LEFT - 1))
        canvas[y : y + 6, x] = INK
        _write(canvas, text, x, y + 23, SMALL, align=1 if share > 0.98 else 0.5)
    name = "time" if line.clock else "frame number (the file's clock runs backwards)"
    _write(canvas, name, (LEFT + RIGHT) // 2, y + 46, SMALL, FAINT, align=0.5)


def _legend(canvas: NDArray[np.uint8], line: Timeline, present: list[int]) -> None:
    x = LEFT
    for column in present:
        canvas[10:26, x : x + 16] = rgb(TYPE_COLOURS[column])
        x = _write(canvas, TYPE_NAMES[column], x + 24, 24, NORMAL) + 32
    if len(line.events):
        for y in range(8, 28, 10):
            canvas[y : y + 6, x : x + 2] = rgb(EVENT_COLOUR)
        x = _write(canvas, "event boundary", x + 12, 24, NORMAL) + 32
    else:
        x = _write(canvas, "no event boundary found", x, 24, NORMAL) + 32
    apart = "" if line.gops_told_apart else ", too many to tell apart"
    _write(canvas, f"GoP: {line.gops_title}{apart}", x, 24, NORMAL)


def _blank(height: int) -> NDArray[np.uint8]:
    return np.full((height, WIDTH, 3), 255, np.uint8)


def _write(
    canvas: NDArray[np.uint8],
    text: str,
    x: int,
    y: int,
    size: float,
    colour: Colour = INK,
    *,
    align: float = 0,
    thickness: int = 1,
) -> int:
    """Write on the base line y: from x on (align=0), around it (0.5) or up to it (1). Returns where the text ends."""
    width = _width(text, size, thickness)
    left = round(x - align * width)
    cv2.putText(canvas, _printable(text), (left, y), FONT, size, colour, thickness, cv2.LINE_AA)
    return left + width


def _width(text: str, size: float, thickness: int = 1) -> int:
    return cv2.getTextSize(_printable(text), FONT, size, thickness)[0][0]


def _printable(text: str) -> str:
    """The text with question marks for what OpenCV has no letters for (before version 5: all but ASCII)."""
    old = int(cv2.__version__.split(".")[0]) < 5
    return "".join(one if one.isprintable() and (one.isascii() or not old) else "?" for one in text)


def _elided(text: str, size: float) -> str:
    """The text with its middle left out, if it is too long for the picture."""
    room = WIDTH - 2 * MARGIN
    keep = len(text)
    while keep > 2 and _width(_middle_out(text, keep), size, 2) > room:
        keep -= max(1, keep // 20)
    return _middle_out(text, keep)


def _middle_out(text: str, keep: int) -> str:
    return text if keep >= len(text) else f"{text[: (keep + 1) // 2]} ... {text[len(text) - keep // 2 :]}"


def _wrapped(text: str, size: float, room: int = WIDTH - 2 * MARGIN) -> list[str]:
    """The text in lines that fit so many pixels."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and _width(longer, size) > room:
            lines.append(word)
        else:
            lines[-1] = longer
    return [_elided(one, size) for one in lines]
