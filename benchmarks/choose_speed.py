"""How long choosing takes, by itself: made-up packet tables of ten minutes and of two hours, 64 frames of each.

    python -m benchmarks.choose_speed --json benchmarks/results/choose_speed.json

The tables have B pictures in B-pyramids, a keyframe every 250, and random sizes, which is the worst case: everything
could be an event. The best of several calls counts; the first compiles.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from time import perf_counter, process_time

import numpy as np

from codecmeta.container.packets import NO_PTS, PacketTable
from codecmeta.container.tables import frame_tables
from codecmeta.extraction.choose import choose_frames
from codecmeta.record.metadata import B, I, P, Probe, Stream
from codecmeta.record.selection import POLICIES

RATE = 30
GOP = 250
FRAMES = 64
CALLS = 15


def made_up(packets: int) -> tuple[Probe, PacketTable]:
    """A stream of closed GoPs: a keyframe, then P B(referred to) B B, the P displayed last."""
    rng = np.random.default_rng(0)
    place = np.arange(packets) % GOP
    part = (place - 1) % 4
    shift = np.where(place == 0, 0, np.where(part == 0, 3, np.where(part == 1, 0, np.where(part == 2, -2, -1))))
    last = GOP - (GOP - 1) % 4
    shift[place >= last] = 0  # the rest of a GoP is in order
    pts = np.arange(packets) + shift
    pts = np.argsort(np.argsort(pts, kind="stable"), kind="stable").astype(np.int64)
    kind = np.where(place == 0, I, np.where((part == 0) | (place >= last), P, B)).astype(np.uint8)
    key = place == 0
    table = PacketTable(
        pts=pts,
        dts=np.arange(packets, dtype=np.int64),
        size=rng.integers(100, 9000, packets),
        key=key,
        shown=np.ones(packets, bool),
        picture_type=kind,
        gop=(np.cumsum(key) - 1).astype(np.int32),
        position=np.full(packets, -1, np.int64),
        reference=(kind != B) | (part == 1),
        layer=np.zeros(packets, np.uint8),
        coded=np.ones(packets, np.uint8),
        extradata=b"",
        starts=key,
        order=np.full(packets, NO_PTS, np.int64),
        changes={},
        decode_times=False,
        doubt="",
    )
    stream = Stream("h264", "High", "yuv420p", 1280, 720, 0, (1, RATE), (RATE, 1), packets / RATE, 0)
    frames, gops = frame_tables(table, table.display_order, stream)
    return Probe(Path("made-up.mp4"), stream, frames, gops, {}), table


def main() -> None:
    """Print a line per table and policy, and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = []
    for packets in (18_000, 2 * 3600 * RATE):
        probe, table = made_up(packets)
        for policy in POLICIES[:-1]:
            wall, processor = [], []
            for _ in range(CALLS):
                start = perf_counter(), process_time()
                choose_frames(probe, FRAMES, policy=policy, packets=table)
                wall.append(perf_counter() - start[0])
                processor.append(process_time() - start[1])
            found.append(
                {"packets": packets, "policy": policy, "seconds": round(min(wall), 4), "cpu": round(min(processor), 4)}
            )
            print(found[-1])
    if options.json:
        command = "python -m benchmarks.choose_speed"
        options.json.write_text(json.dumps({"command": command, "frames": FRAMES, "calls": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
