"""Probing by the container's index: seconds and bytes, ten minutes and two hours of mp4, beside reading every packet.

    python -m benchmarks.index films/ --json benchmarks/results/index.json

The films (1280x720 H.264, 30 frames a second, GoP 250, B-pyramids) are a few seconds of a moving texture, encoded once
and written again and again; they are made in the folder on first use. Bytes are counted by a file object. The best of
several calls counts, after one that compiles.
"""

from __future__ import annotations

import argparse
import io
import json
import os
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import codecmeta
from tests.support.films import long_film

MINUTES = (10, 120)
CALLS = 9
BITRATE = 1_400_000
OPTIONS = {"preset": "veryfast", "bf": "3", "b-pyramid": "normal", "b": str(BITRATE)}


def film(folder: Path, minutes: int, bitrate: int = BITRATE) -> Path:
    """The film, made if it is not there."""
    path = folder / f"film-{minutes}-{bitrate}.mp4"
    if not path.exists():
        options = {**OPTIONS, "b": str(bitrate)}
        settings: dict[str, Any] = {"rate": 30, "gop": 250, "part": 10, "size": (1280, 720), "noise": 0}
        long_film(path, seconds=60 * minutes, options=options, **settings)
    return path


class Counted(io.FileIO):
    """A file that counts what is read from it."""

    taken = 0

    def read(self, size: int | None = -1) -> bytes:
        """As of any file."""
        data = super().read(-1 if size is None else size)
        self.taken += len(data)
        return data


def best(calls: int, work: Any) -> tuple[float, float]:
    """The least seconds by the clock and of the processor."""
    wall, processor = [], []
    for _ in range(calls):
        start = perf_counter(), process_time()
        work()
        wall.append(perf_counter() - start[0])
        processor.append(process_time() - start[1])
    return round(min(wall), 4), round(min(processor), 4)


def measure(path: Path, minutes: int) -> dict[str, Any]:
    """One film."""
    codecmeta.choose_frames(path, 32)
    with Counted(path) as file:
        codecmeta.probe(file, headers=False)  # type: ignore[arg-type]
        taken = file.taken
    index = best(CALLS, lambda: codecmeta.probe(path, headers=False))
    chosen = best(CALLS, lambda: codecmeta.choose_frames(path, 32))
    headers = best(2, lambda: codecmeta.probe(path, headers=True))
    size = os.path.getsize(path)
    return {
        "minutes": minutes,
        "packets": len(codecmeta.probe(path, headers=False).frames),
        "bytes": size,
        "bytes_read": taken,
        "share_read": round(taken / size, 5),
        "index_seconds": index[0],
        "index_cpu": index[1],
        "choose_32_events_seconds": chosen[0],
        "choose_32_events_cpu": chosen[1],
        "all_packets_seconds": headers[0],
        "all_packets_cpu": headers[1],
    }


def main() -> None:
    """Print a line per film, and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    films = []
    for minutes in MINUTES:
        films.append(measure(film(options.folder, minutes), minutes))
        print(films[-1], flush=True)
    if options.json:
        result = {"command": "python -m benchmarks.index films/", "cores": os.cpu_count(), "films": films}
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
