"""The figure of benchmarks/signals.py: one dot per signal and truth, with its interval. OpenCV; colours of Okabe and
Ito."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

INK, FAINT = (30, 30, 30), (225, 225, 225)  # BGR
COLOURS = {"object": (0, 94, 213), "moving object": (0, 159, 230), "change": (178, 114, 0)}
LEFT, RIGHT, TOP, LINE = 330, 900, 60, 34
LOW, HIGH = 0.2, 1.0
FONT = cv2.FONT_HERSHEY_SIMPLEX


def draw(result: dict[str, Any]) -> NDArray[np.uint8]:
    """uint8 BGR: areas under the ROC curve of every signal on all clips, then under each camera."""
    groups = {"all clips": result["all"]}
    groups |= {f"{name.split(': ')[1]} camera": one for name, one in result["strata"].items() if "camera" in name}
    lines = sum(len(table) + 1 for table in groups.values())
    canvas = np.full((TOP + lines * LINE + 50, RIGHT + 40, 3), 255, np.uint8)
    for value in np.arange(LOW, HIGH + 0.01, 0.1):
        colour = INK if abs(value - 0.5) < 1e-6 else FAINT
        cv2.line(canvas, (_x(value), TOP - 10), (_x(value), TOP + lines * LINE), colour, 1)
        _write(canvas, f"{value:.1f}", _x(value) - 10, TOP + lines * LINE + 20)
    _write(canvas, "area under the ROC curve; 0.5 says nothing", LEFT + 120, TOP + lines * LINE + 42)
    for number, (truth, colour) in enumerate(COLOURS.items()):
        cv2.circle(canvas, (LEFT + 160 * number, 22), 6, colour, -1, cv2.LINE_AA)
        _write(canvas, truth, LEFT + 160 * number + 14, 27)
    y = TOP
    for title, table in groups.items():
        _write(canvas, title, 10, y + 14, 0.55)
        y += LINE
        for name, one in table.items():
            _write(canvas, name, 26, y + 5)
            for step, (truth, colour) in enumerate(COLOURS.items()):
                if truth in one:
                    mean, low, high = one[truth]
                    at = y + 7 * (step - 1)
                    cv2.line(canvas, (_x(low), at), (_x(high), at), colour, 2, cv2.LINE_AA)
                    cv2.circle(canvas, (_x(mean), at), 5, colour, -1, cv2.LINE_AA)
            y += LINE
    return canvas


def _x(value: float) -> int:
    return round(LEFT + (min(max(value, LOW), HIGH) - LOW) / (HIGH - LOW) * (RIGHT - LEFT))


def _write(canvas: NDArray[np.uint8], text: str, x: int, y: int, size: float = 0.42) -> None:
    cv2.putText(canvas, text, (x, y), FONT, size, INK, 1, cv2.LINE_AA)
