"""The figure of benchmarks/rare.py: one clip of the tuning split, its packets, and the frames that two policies take.

    python -m benchmarks.rare_figure clips/ --clip 0 --png docs/frames.png

Above, bytes per packet over time with the seconds in which the rare object is there; below, the frames taken, one of
each policy as a picture, and the shares of benchmarks/results/rare.json. OpenCV; colours of Okabe and Ito.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

import codecmeta
from benchmarks.rare_clips import TUNING, make_clip
from codecmeta.extraction.choose import choose_frames

RESULT = Path(__file__).parent / "results" / "rare.json"
FRAMES = 16
SHOWN = {"uniform": (110, 110, 110), "events": (0, 94, 213)}  # BGR
INK, BAR, THERE = (30, 30, 30), (200, 170, 130), (205, 235, 255)
LEFT, RIGHT, TOP, BASE = 130, 980, 34, 150
ROW, PICTURE = 34, (200, 150)
FONT = cv2.FONT_HERSHEY_SIMPLEX


def draw(path: Path, event: tuple[float, float], shares: dict[str, float]) -> NDArray[np.uint8]:
    """uint8 BGR (height, 1000, 3). event: seconds; shares: policy -> clips in which the event is seen."""
    frames = codecmeta.probe(path).frames
    end = float(frames.time[-1])
    canvas = np.full((BASE + 3 * ROW + PICTURE[1] + 30, 1000, 3), 255, np.uint8)

    def x(second: float) -> int:
        return round(LEFT + second / end * (RIGHT - LEFT))

    cv2.rectangle(canvas, (x(event[0]), TOP), (x(event[1]), BASE + 2 * ROW), THERE, -1)
    height = np.sqrt(frames.packet_bytes / frames.packet_bytes.max()) * (BASE - TOP)
    for second, tall in zip(frames.time.tolist(), height.tolist(), strict=True):
        cv2.line(canvas, (x(second), BASE), (x(second), BASE - round(tall)), BAR, 1)
    _write(canvas, "bytes per packet", 8, BASE - 50)
    there = f"something is there for {event[1] - event[0]:.1f} of {end:.0f} seconds"
    _write(canvas, there, min(x(event[0]), RIGHT - 330), TOP - 10)
    for place, (policy, colour) in enumerate(SHOWN.items()):
        choice = choose_frames(path, FRAMES, policy=policy)  # type: ignore[arg-type]
        y = BASE + 14 + ROW * place
        _write(canvas, policy, 8, y + 8)
        for second in choice.times.tolist():
            cv2.circle(canvas, (x(second), y + 4), 5, colour, -1, cv2.LINE_AA)
        nearest = int(np.abs(choice.times - sum(event) / 2).argmin())
        picture = codecmeta.read(path, rows=[int(choice.rows[nearest])])[2][0]
        at = (LEFT + 270 * place, BASE + 3 * ROW)
        small = cv2.resize(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), PICTURE, interpolation=cv2.INTER_AREA)
        canvas[at[1] : at[1] + PICTURE[1], at[0] : at[0] + PICTURE[0]] = small
        _write(canvas, f"{policy}: its nearest frame, {choice.times[nearest]:.1f} s", at[0], at[1] + PICTURE[1] + 18)
    _shares(canvas, shares)
    return canvas


def _shares(canvas: NDArray[np.uint8], shares: dict[str, float]) -> None:
    """A bar per policy, to the right of the pictures."""
    left, y = LEFT + 690, BASE + 3 * ROW + 8
    _write(canvas, f"clips in which {FRAMES} frames show it", left - 140, y)
    for policy, share in shares.items():
        y += 24
        cv2.rectangle(canvas, (left, y - 10), (left + round(120 * share), y + 2), SHOWN.get(policy, BAR), -1)
        _write(canvas, policy, left - 140, y)
        _write(canvas, f"{share:.2f}", left + round(120 * share) + 6, y)


def _write(canvas: NDArray[np.uint8], text: str, x: int, y: int) -> None:
    cv2.putText(canvas, text, (x, y), FONT, 0.42, INK, 1, cv2.LINE_AA)


def main() -> None:
    """Draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clips", type=Path, help="folder of the clips; made where it is not there")
    parser.add_argument("--clip", type=int, required=True, help="its number in the tuning split")
    parser.add_argument("--png", type=Path, required=True)
    options = parser.parse_args()
    clip = make_clip(TUNING, options.clip)
    policies = json.loads(RESULT.read_text())["strata"]["all"]["policies"]
    shares = {name: one[str(FRAMES)]["seen"] for name, one in policies.items()}
    cv2.imwrite(str(options.png), draw(clip.write(options.clips), clip.event, shares))


if __name__ == "__main__":
    main()
