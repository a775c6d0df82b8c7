"""Frames of a film behind an address: bytes and questions, counted by a server on this machine.

    python -m benchmarks.remote films/ --json benchmarks/results/remote.json

Two hours of 1280x720 H.264 in some 460 MB (`benchmarks.index` makes it). 32 frames are chosen and read by each policy,
over a new connection each time, and compared with those read from the file.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

import codecmeta
from benchmarks.index import film
from codecmeta.container.source import opened
from codecmeta.decisions.choose import Policy
from tests.support.server import served

FRAMES = 32
BITRATE = 550_000
POLICIES: tuple[Policy, ...] = ("uniform", "keyframes", "cheap", "events")


def measure(path: Path, policy: Policy) -> dict[str, Any]:
    """One policy."""
    size = os.path.getsize(path)
    with served(path) as server:
        start = perf_counter()
        with opened(server.url) as video:
            choice = codecmeta.choose_frames(video, FRAMES, policy=policy)
            chosen, questions, sent = perf_counter() - start, len(server.asked), server.sent
            meta, rows, pictures = codecmeta.read(video, choice)
        whole = perf_counter() - start
    same = bool(np.array_equal(pictures, codecmeta.read(path, choice)[2]))
    gops = len(np.unique(meta.frames.gop[rows]))
    return {
        "policy": policy,
        "frames": len(rows),
        "gops": gops,
        "bytes": size,
        "choose_requests": questions,
        "choose_share": round(sent / size, 5),
        "choose_seconds": round(chosen, 3),
        "requests": len(server.asked),
        "requests_per_gop": round(len(server.asked) / gops, 2),
        "bytes_sent": server.sent,
        "share_sent": round(server.sent / size, 4),
        "seconds": round(whole, 2),
        "same_pictures": same,
    }


def main() -> None:
    """Print a line per policy, and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    path = film(options.folder, 120, BITRATE)
    codecmeta.read(path, 2)  # compiles
    found = []
    for policy in POLICIES:
        found.append(measure(path, policy))
        print(found[-1], flush=True)
    if options.json:
        result = {"command": "python -m benchmarks.remote films/", "cores": os.cpu_count(), "policies": found}
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
