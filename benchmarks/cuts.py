"""Cuts found by `codecmeta events`, and by PySceneDetect's detectors, on clips whose cuts are known.

    pip install -c constraints.txt ".[peers]"                  # the peer; left out of the table where it is absent
    python -m benchmarks.cuts --clips FOLDER --json benchmarks/results/cuts.json

Clips are made once, seeded: scenes of 1 to 6 seconds over textures of a few colours, with a camera that pans, shakes or
stands still, noise, and distractors that are no cuts (a flash, a fade of the light, an object that comes in). A cut is
found where a detector names a time within `TOLERANCE` of it, each once. Seconds are of the processor, decoding
included, all threads. Detectors have their default thresholds.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import process_time
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from codecmeta import packet_events, probe

WIDTH, HEIGHT, RATE, TOLERANCE = 320, 180, 24, 0.15
ENCODERS: dict[str, tuple[str, str, dict[str, str]]] = {
    "H.264": ("libx264", ".mp4", {"preset": "veryfast"}),
    "H.264, scene-cut off": ("libx264", ".mp4", {"preset": "veryfast", "sc_threshold": "0"}),
    "H.264, GoP 24": ("libx264", ".mp4", {"preset": "veryfast", "g": "24"}),
    "H.264, CBR": ("libx264", ".mp4", {"preset": "veryfast", "b": "300k", "maxrate": "300k", "bufsize": "300k"}),
    "HEVC": ("libx265", ".mp4", {"preset": "ultrafast", "x265-params": "log-level=none:pools=1:frame-threads=1"}),
    "VP9": ("libvpx-vp9", ".webm", {"deadline": "realtime", "cpu-used": "8", "b": "0", "crf": "36"}),
    "MPEG-4": ("mpeg4", ".mp4", {"b": "600k"}),
}


def scenes(seed: int, seconds: int) -> tuple[list[int], Iterator[NDArray[np.uint8]]]:
    """First frames of all scenes but the first, and the pictures, uint8 RGB (HEIGHT, WIDTH, 3)."""
    rng = np.random.default_rng(seed)
    starts = [0]
    while starts[-1] < (seconds - 6) * RATE:
        starts.append(starts[-1] + int(rng.integers(RATE, 6 * RATE)))
    return starts[1:], _pictures(rng, starts, seconds * RATE)


def _pictures(rng: np.random.Generator, starts: list[int], count: int) -> Iterator[NDArray[np.uint8]]:
    for first, stop in zip(starts, [*starts[1:], count], strict=True):
        small = rng.integers(20, 230, (7, 12, 3)).astype(np.uint8)
        canvas = cv2.resize(small, (2 * WIDTH, 2 * HEIGHT), interpolation=cv2.INTER_CUBIC)
        camera, noise = rng.choice(["still", "pan", "shake"]), float(rng.choice([0, 2, 5]))
        distractor = rng.choice(["none", "flash", "fade", "object"])
        colour, moment = rng.integers(0, 255, 3).tolist(), int(rng.integers(0, stop - first))
        place = np.array([WIDTH / 2, HEIGHT / 2])
        for number in range(stop - first):
            place = place + {"still": (0, 0), "pan": (1.5, 0.4), "shake": rng.normal(0, 1.2, 2)}[camera]
            x, y = np.clip(place, 0, (WIDTH - 1, HEIGHT - 1)).astype(int)
            picture = canvas[y : y + HEIGHT, x : x + WIDTH].astype(np.float32)
            if distractor == "flash" and number in (moment, moment + 1):
                picture = picture * 0.4 + 150
            if distractor == "fade":
                picture = picture * (0.5 + 0.5 * abs(np.cos(number / 20)))
            if distractor == "object" and number >= moment:
                picture = np.ascontiguousarray(picture)
                cv2.circle(picture, (40 + 3 * (number - moment) % WIDTH, HEIGHT // 2), 25, colour, -1)
            picture = picture + rng.normal(0, noise, picture.shape) if noise else picture
            yield np.clip(picture, 0, 255).astype(np.uint8)


def clips(folder: Path, count: int, seconds: int) -> list[tuple[str, Path, list[float]]]:
    """(encoder, file, seconds of its cuts), made where they are not there."""
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for seed in range(count):
        for name, (codec, suffix, options) in ENCODERS.items():
            path = folder / f"{name.replace(',', '').replace(' ', '_')}_{seed}_{seconds}{suffix}"
            cuts, pictures = scenes(seed, seconds)
            if not path.exists():
                encode(path, pictures, codec, options)
            found.append((name, path, [cut / RATE for cut in cuts]))
    return found


def encode(path: Path, pictures: Iterator[NDArray[np.uint8]], codec: str, options: dict[str, str]) -> None:
    """Write the pictures, in one thread, under another name until they are all there."""
    part = path.with_name(f"part_{path.name}")
    with av.open(str(part), "w") as container:
        stream: Any = container.add_stream(codec, rate=RATE, options={"threads": "1", **options})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.thread_count = 1
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    part.rename(path)


def detectors() -> tuple[dict[str, Callable[[Path], list[float]]], list[str]]:
    """Name -> function from a file to seconds of cuts; and what is absent."""
    found: dict[str, Callable[[Path], list[float]]] = {
        "codecmeta, packets": lambda path: _ours(path, exact=False),
        "codecmeta, all signals": lambda path: _ours(path, exact=True),
    }
    try:
        import scenedetect
    except ImportError:
        return found, ["scenedetect"]

    def peer(kind: str) -> Callable[[Path], list[float]]:
        def detect(path: Path) -> list[float]:
            scenes = scenedetect.detect(str(path), getattr(scenedetect, kind)())
            return [
                float(start.seconds if isinstance(start.seconds, float) else start.get_seconds())
                for start, _ in scenes[1:]
            ]

        return detect

    for kind in ("ContentDetector", "AdaptiveDetector", "HistogramDetector", "HashDetector", "ThresholdDetector"):
        if hasattr(scenedetect, kind):
            found[f"PySceneDetect {scenedetect.__version__}, {kind}"] = peer(kind)
    return found, []


def _ours(path: Path, *, exact: bool) -> list[float]:
    """Starts of events marked as cuts; where a codec has no signals to ask, packets alone."""
    try:
        found = packet_events(path, most=10_000, exact=exact)
    except ValueError:
        found = packet_events(path, most=10_000)
    return [one.start for one in found if one.cut]


def matched(said: list[float], true: list[float]) -> int:
    """How many cuts are found, each by one that was said and not yet taken, the earlier first."""
    left, count = sorted(said), 0
    for cut in sorted(true):
        near = [one for one in left if abs(one - cut) <= TOLERANCE]
        if near:
            left.remove(min(near, key=lambda one: abs(one - cut)))
            count += 1
    return count


def run(folder: Path, count: int, seconds: int) -> dict[str, Any]:
    """F1 by encoder and over all, and processor seconds, for every detector."""
    made = clips(folder, count, seconds)
    ways, absent = detectors()
    frames = sum(len(probe(path).frames) for _, path, _ in made)
    rows = []
    for name, detect in ways.items():
        detect(made[0][1])  # compiling and importing count for nobody
        start = process_time()
        said = [detect(path) for _, path, _ in made]
        spent = process_time() - start
        row: dict[str, Any] = {"detector": name, "seconds": round(spent, 2), "frames_per_second": round(frames / spent)}
        for group in ["all", *ENCODERS]:
            own = [i for i, (encoder, _, _) in enumerate(made) if group in ("all", encoder)]
            hits = sum(matched(said[i], made[i][2]) for i in own)
            named, true = sum(len(said[i]) for i in own), sum(len(made[i][2]) for i in own)
            row[group] = {
                "f1": round(2 * hits / max(named + true, 1), 3),
                "precision": round(hits / max(named, 1), 3),
                "recall": round(hits / max(true, 1), 3),
            }
        rows.append(row)
        print(f"{name:45} F1 {row['all']['f1']:.3f}  {row['seconds']:8.2f} s", file=sys.stderr)
    cuts = sum(len(true) for _, _, true in made)
    return {"clips": len(made), "cuts": cuts, "frames": frames, "tolerance": TOLERANCE, "absent": absent, "rows": rows}


def main() -> None:
    """Print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=Path, required=True, help="folder for the clips, made once")
    parser.add_argument("--count", type=int, default=4, help="videos, each in every encoding")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    result = run(options.clips, options.count, options.seconds)
    made = f"python -m benchmarks.cuts --clips FOLDER --count {options.count} --seconds {options.seconds}"
    result = {"command": made, "machine": platform.machine(), **result}
    print(json.dumps(result, indent=1))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
