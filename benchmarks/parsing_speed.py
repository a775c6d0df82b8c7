"""How the speed of a parser is measured, against FFmpeg decoding: what h264_speed and hevc_speed do alike."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np

import codecmeta

RUNS = 5


@contextmanager
def opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """The file and its video stream, decoded in one thread."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_type = "NONE"
        stream.codec_context.thread_count = 1
        yield container, stream


def alternating(ways: dict[str, Callable[[], int]]) -> dict[str, list[float]]:
    """Frames per second of CPU time in RUNS turns. ways: name -> what is run, which returns its number of frames."""
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(RUNS):
        for name, way in ways.items():
            begin = time.process_time()
            count = way()
            speeds[name].append(count / (time.process_time() - begin))
    return speeds


def one_by_one(packets: list[bytes], way: Callable[[bytes], object], clock: Callable[[], float]) -> dict[str, float]:
    """Milliseconds for one packet at a time, over all in a random order."""
    times = []
    for i in np.random.default_rng(0).permutation(len(packets)):
        begin = clock()
        way(packets[i])
        times.append(1000 * (clock() - begin))
    return {"median_ms": statistics.median(times), "95_percent_ms": float(np.quantile(times, 0.95))}


def seek_and_decode(path: Path, wanted: np.ndarray, options: dict[str, str] | None = None) -> float:
    """Wall seconds to seek and decode to each of these time stamps."""
    begin = time.perf_counter()
    with opened(path) as (container, stream):
        stream.codec_context.options = options or {}
        for pts in wanted:
            container.seek(int(pts), stream=stream, backward=True)
            for frame in container.decode(stream):
                if frame.pts >= pts:
                    break
    return time.perf_counter() - begin


def workers(path: Path) -> dict[str, float]:
    """Wall seconds of a whole extraction with one and with two workers, alternating, medians."""
    seconds: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(3):
        for jobs in seconds:
            begin = time.perf_counter()
            codecmeta.extract(path, jobs=jobs)
            seconds[jobs].append(time.perf_counter() - begin)
    one, two = statistics.median(seconds[1]), statistics.median(seconds[2])
    return {"one_s": one, "two_s": two, "speedup": one / two}


def arguments(description: str, clips: str) -> argparse.Namespace:
    """Of the command line; clips: where encoded clips are kept, which is made."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--clips", type=Path, default=Path(clips))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", choices=["scan", "sampled", "workers"])
    found = parser.parse_args()
    found.clips.mkdir(parents=True, exist_ok=True)
    return found


def file_name(name: str) -> str:
    """Of the clip that a table calls so, without ending."""
    return name.replace(" ", "_").replace(",", "")


def blank_result() -> dict[str, Any]:
    """What is known before anything is measured."""
    result: dict[str, Any] = {"runs": RUNS, "clips": {}, "load_average": os.getloadavg(), "cores": os.cpu_count()}
    return result | {"machine": platform.processor() or platform.machine()}


def rounded(value: Any) -> Any:
    """To four digits."""
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value


def say(name: str, row: dict[str, Any]) -> None:
    print(name, json.dumps(rounded(row)), flush=True)


def save(result: dict[str, Any], path: Path | None) -> None:
    """What is known so far; on a busy machine all of it takes an hour."""
    if path:
        path.write_text(json.dumps(rounded(result), indent=2) + "\n")
