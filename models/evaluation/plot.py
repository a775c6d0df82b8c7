"""Accuracy against tokens and against time, as one picture. OpenCV; colours of Okabe and Ito."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from codecmeta.models.evaluation.report import after_decoding

INK, FAINT, PAPER = (30, 30, 30), (200, 200, 200), (255, 255, 255)  # BGR
COLOURS = (
    (0, 94, 213), (178, 114, 0), (115, 158, 0), (167, 121, 204),
    (0, 159, 230), (233, 180, 86), (60, 60, 60), (66, 228, 240),
)  # fmt: skip
MARKERS = (cv2.MARKER_SQUARE, cv2.MARKER_DIAMOND, cv2.MARKER_TRIANGLE_UP, cv2.MARKER_CROSS)
WIDE, HIGH, MARGIN = 620, 520, 70
FONT = cv2.FONT_HERSHEY_SIMPLEX


def png(result: Mapping[str, Any]) -> bytes:
    """The picture of `plot` as a PNG file."""
    done: Any = cv2.imencode(".png", plot(result))
    return done[1].tobytes()


def plot(result: Mapping[str, Any]) -> NDArray[np.uint8]:
    """uint8 BGR: accuracy against visual tokens (mean over layers), and against seconds after decoding; bars are the
    95 % intervals of the difference to the plain model, which is the dashed line."""
    methods = [one for one in result["methods"] if one["label"] != result["reference"]]
    labels = list(dict.fromkeys(one["label"] for one in methods))
    plain = result["methods"][0]
    panels = [
        _panel(methods, labels, plain, lambda one: 100 * one["share_llm_mean"], "visual tokens per layer, % of all")
    ]
    if all(one["seconds"] for one in result["methods"]):
        panels.append(
            _panel(methods, labels, plain, lambda one: 1000 * after_decoding(one), "ms from pictures to first token")
        )
    return np.concatenate([*panels, _legend(labels)], axis=1)


def _panel(
    methods: Sequence[Mapping[str, Any]],
    labels: Sequence[str],
    plain: Mapping[str, Any],
    across: Callable[[Mapping[str, Any]], float],
    title: str,
) -> NDArray[np.uint8]:
    canvas = np.full((HIGH, WIDE, 3), 255, np.uint8)
    xs = [across(one) for one in [*methods, plain]]
    ys = [100 * (plain["accuracy"][0] + bound) for one in methods for bound in one["difference"][1:]]
    ys.append(100 * plain["accuracy"][0])
    x, y = _axis(0, max(xs) * 1.05, MARGIN, WIDE - 20), _axis(min(ys) - 1, max(ys) + 1, HIGH - MARGIN, 20)
    for value in _ticks(0, max(xs) * 1.05):
        cv2.line(canvas, (x(value), 20), (x(value), HIGH - MARGIN), (235, 235, 235), 1)
        _write(canvas, f"{value:g}", x(value) - 10, HIGH - MARGIN + 18)
    for value in _ticks(min(ys) - 1, max(ys) + 1):
        cv2.line(canvas, (MARGIN, y(value)), (WIDE - 20, y(value)), (235, 235, 235), 1)
        _write(canvas, f"{value:g}", MARGIN - 34, y(value) + 4)
    level = y(100 * plain["accuracy"][0])
    for start in range(MARGIN, WIDE - 20, 12):
        cv2.line(canvas, (start, level), (start + 6, level), INK, 1)
    for label in labels:
        colour, marker = _look(labels.index(label))
        mine = sorted((one for one in methods if one["label"] == label), key=across)
        points = [(x(across(one)), y(100 * one["accuracy"][0])) for one in mine]
        for begin, end in zip(points, points[1:], strict=False):
            cv2.line(canvas, begin, end, colour, 1, cv2.LINE_AA)
        for point, one in zip(points, mine, strict=True):
            low, high = (y(100 * (plain["accuracy"][0] + bound)) for bound in one["difference"][1:])
            cv2.line(canvas, (point[0], low), (point[0], high), colour, 1)
            cv2.drawMarker(canvas, point, colour, marker, 9, 2)
    cv2.rectangle(canvas, (MARGIN, 20), (WIDE - 20, HIGH - MARGIN), INK, 1)
    _write(canvas, title, MARGIN + 120, HIGH - 24, 0.5)
    _write(canvas, "right, %", 8, 14, 0.45)
    return canvas


def _legend(labels: Sequence[str]) -> NDArray[np.uint8]:
    """As wide as its longest line; many lines stand closer."""
    lines = [*labels, "- - none (all tokens)"]
    widest = max(cv2.getTextSize(line, FONT, 0.45, 1)[0][0] for line in lines)
    canvas = np.full((HIGH, widest + 44, 3), 255, np.uint8)
    step = min(22.0, (HIGH - 50) / len(lines))
    for number, line in enumerate(lines):
        at = round(30 + step * number)
        if number < len(labels):
            colour, marker = _look(number)
            cv2.drawMarker(canvas, (12, at), colour, marker, 9, 2)
        _write(canvas, line, 28, at + 5, 0.45)
    return canvas


def _look(number: int) -> tuple[tuple[int, int, int], int]:
    return COLOURS[number % len(COLOURS)], MARKERS[number // len(COLOURS) % len(MARKERS)]


def _axis(low: float, high: float, first: int, last: int) -> Callable[[float], int]:
    return lambda value: round(first + (value - low) / max(high - low, 1e-9) * (last - first))


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers inside the range, about six of them."""
    step = 10.0 ** np.floor(np.log10(max(high - low, 1e-9)))
    step = next(step * part for part in (0.1, 0.2, 0.5, 1, 2) if (high - low) / (step * part) <= 8)
    return [float(round(value, 9)) for value in np.arange(np.ceil(low / step) * step, high + 1e-9, step)]


def _write(canvas: NDArray[np.uint8], text: str, x: int, y: int, size: float = 0.4) -> None:
    cv2.putText(canvas, text, (x, y), FONT, size, INK, 1, cv2.LINE_AA)
