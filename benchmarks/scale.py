"""What extraction costs per hour of video, by codec and size, and what that makes of a million videos.

    python -m benchmarks.scale               # measure, write results/scale.json, and redraw docs/scale.md
    python -m benchmarks.scale --draw        # redraw docs/scale.md from the JSON
    python -m benchmarks.scale --check       # exit 1 if docs/scale.md and the JSON disagree

Seconds are CPU seconds of one process, which other work on the machine changes little: the median of three runs for all
frames, one run for 64.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

from benchmarks.reliability import repeated  # noqa: E402
from benchmarks.table import table  # noqa: E402
from codecmeta.corpus.batch import extract_many  # noqa: E402
from codecmeta.corpus.inputs import Task  # noqa: E402
from codecmeta.extraction.to_file import extract_to_file  # noqa: E402
from codecmeta.extraction.warm_up import warm_up  # noqa: E402
from tests.support.clips import pan, write_clip  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "scale.json"
TRAINING = RESULTS.with_name("training.json")
PAGE = ROOT / "docs" / "scale.md"
RATE = 25
CODECS = {
    "h264": ("libx264", {"preset": "veryfast", "x264-params": "bframes=2:keyint=50"}),
    "hevc": ("libx265", {"preset": "ultrafast", "x265-params": "log-level=none:keyint=50"}),
    "vp9": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "g": "50"}),
    "mpeg4": ("mpeg4", {"g": "50"}),
}
SIZES = ((640, 360), (1280, 720), (1920, 1080))
VIDEOS, MINUTES = 1_000_000, 10  # the corpus of the example
MIX = {"h264 1280x720": 0.7, "hevc 1280x720": 0.2, "vp9 1280x720": 0.1}


def measure(work: Path) -> dict[str, Any]:
    """Every codec and size: all frames of 12 seconds, and 64 frames of ten minutes."""
    warm_up()
    rows = []
    for width, height in SIZES:
        pictures = pan(50, (width, height), (2, 1))
        for name, (codec, options) in CODECS.items():
            clip = write_clip(work / f"{name}.mp4", pictures, codec, options)
            short, long = work / "short.mp4", work / "long.mp4"
            repeated(clip, short, 12)
            repeated(clip, long, 60 * MINUTES)
            rows.append(
                {
                    "video": f"{name} {width}x{height}",
                    "megabits_per_second": round(8 * long.stat().st_size / (60 * MINUTES) / 1e6, 2),
                    "all": {"seconds_of_video": 12, **cost(short, work / "short.h5", "all", 3)},
                    "64": {"seconds_of_video": 60 * MINUTES, **cost(long, work / "long.h5", 64, 1)},
                }
            )
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    return {
        "command": "python -m benchmarks.scale",
        "rows": rows,
        "worker_start_seconds": worker_start(work),
        "resume_microseconds": resume(work),
    }


def cost(video: Path, cache: Path, frames: Any, times: int) -> dict[str, Any]:
    """CPU seconds, bytes of the cache and what was asked of the file system for one extraction."""
    seconds = []
    for _ in range(times):
        before, start = io_counters(), time.process_time()
        done = extract_to_file(video, cache, frames=frames, overwrite=True)
        seconds.append(time.process_time() - start)
        after = io_counters()
    return {
        "cpu_seconds": round(statistics.median(seconds), 3),
        "cache_bytes": done.cache_bytes,
        "video_bytes": done.source_bytes,
        "reads": after["syscr"] - before["syscr"],
        "bytes_read": after["rchar"] - before["rchar"],
        "writes": after["syscw"] - before["syscw"],
    }


def io_counters() -> dict[str, int]:
    """Reads and writes of this process so far, from Linux."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return {name: int(value) for name, value in (line.split(": ") for line in lines)}


def worker_start(work: Path) -> float:
    """Seconds by the clock that a worker takes before its first video."""
    clip = write_clip(work / "tiny.mp4", pan(2, (32, 32), (1, 0)))
    tasks = [Task(str(clip), "tiny.mp4", str(work / "tiny.h5"))]
    alone = list(extract_many(tasks, frames=1, overwrite=True, isolate=False))[0].seconds
    times = []
    for _ in range(3):
        start = time.perf_counter()
        list(extract_many(tasks, frames=1, overwrite=True))
        times.append(time.perf_counter() - start - alone)
    return round(statistics.median(times), 2)


def resume(work: Path, count: int = 2000) -> float:
    """Microseconds for a file that is there already."""
    task = Task(str(work / "tiny.mp4"), "tiny.mp4", str(work / "tiny.h5"))
    start = time.perf_counter()
    rows = list(extract_many([task] * count, frames=1))
    assert all(row.status == "skipped" for row in rows)
    return round((time.perf_counter() - start) / count * 1e6, 1)


def per_hour_table(result: dict[str, Any]) -> str:
    """CPU seconds and megabytes of cache per hour of video."""
    rows = []
    for one in result["rows"]:
        hours = one["all"]["seconds_of_video"] / 3600
        rows.append(
            [
                one["video"],
                f"{one['megabits_per_second']:.2f}",
                f"{one['all']['cpu_seconds'] / hours:,.0f}",
                f"{one['all']['cache_bytes'] / hours / 1e6:,.0f}",
                f"{one['64']['cpu_seconds']:.2f}",
                f"{one['64']['cache_bytes'] / 1e3:,.0f}",
            ]
        )
    return table(
        [
            "video",
            "Mbit/s",
            "all frames: CPU s per hour of video",
            "cache MB per hour",
            f"64 frames: CPU s per video of {MINUTES} min",
            "cache kB per video",
        ],
        rows,
    )


def million_table(result: dict[str, Any]) -> str:
    """A million videos of ten minutes: each line is the sum over the mix of share x what was measured."""
    rows = {one["video"]: one for one in result["rows"]}
    lines = []
    for frames in ("64", "all"):
        sums = {}
        for field in ("cpu_seconds", "cache_bytes", "reads", "writes", "bytes_read"):
            times = 60 * MINUTES / rows["h264 1280x720"][frames]["seconds_of_video"]
            sums[field] = sum(share * rows[name][frames][field] for name, share in MIX.items()) * times * VIDEOS
        hours = sums["cpu_seconds"] / 3600
        lines.append(
            [
                frames,
                f"{sums['cpu_seconds'] / VIDEOS:.2f}",
                f"{hours:,.0f}",
                f"{hours / 1000:,.1f}",
                f"{sums['cache_bytes'] / 1e12:,.2f}",
                f"{sums['bytes_read'] / 1e12:,.0f}",
                f"{sums['reads'] / 1e6:,.0f}",
                f"{sums['writes'] / 1e6:,.0f}",
            ]
        )
    return table(
        [
            "frames",
            "CPU s per video",
            "core-hours",
            "hours on 1,000 cores",
            "caches, TB",
            "read from videos and caches, TB",
            "read calls, millions",
            "write calls, millions",
        ],
        lines,
    )


def overhead_table(result: dict[str, Any]) -> str:
    """What is paid per worker and per file that is there."""
    start, again = result["worker_start_seconds"], result["resume_microseconds"]
    tasks = VIDEOS // 200
    return table(
        ["what", "each", "times", "together"],
        [
            ["a worker starts", f"{start:.2f} s", f"{tasks:,} shards of 200", f"{start * tasks / 3600:.1f} core-hours"],
            [
                "a finished video is recognised",
                f"{again:.0f} µs",
                f"{VIDEOS:,}",
                f"{again * VIDEOS / 1e6:.0f} s, local disk",
            ],
            ["a stat, an open and a read of 1 KiB for it", "3 calls", f"{VIDEOS:,}", f"{3 * VIDEOS / 1e6:.0f} million"],
        ],
    )


def training_table(_: dict[str, Any]) -> str:
    """Samples per second on one core, from benchmarks/results/training.json: the lower of the two runs."""
    runs = json.loads(TRAINING.read_text())["samples_per_cpu_second"]
    return table(
        ["read by", "samples per CPU second"], [[name, f"{min(run[name] for run in runs):,.0f}"] for name in runs[0]]
    )


def drawn(page: str, result: dict[str, Any]) -> str:
    """The page with its tables made anew."""
    tables = {"hour": per_hour_table, "million": million_table, "overhead": overhead_table, "training": training_table}
    for name, make in tables.items():
        pattern = rf"(<!-- table:{name} -->\n).*?(<!-- /table -->)"
        page, count = re.subn(pattern, lambda found: found[1] + make(result) + "\n" + found[2], page, flags=re.S)  # noqa: B023
        assert count == 1, name
    return page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draw", action="store_true")
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    if not (arguments.draw or arguments.check):
        with tempfile.TemporaryDirectory() as folder:
            RESULTS.write_text(json.dumps(measure(Path(folder)), indent=2) + "\n")
    page = PAGE.read_text()
    new = drawn(page, json.loads(RESULTS.read_text()))
    if arguments.check and new != page:
        sys.exit("docs/scale.md differs from benchmarks/results/scale.json; run python -m benchmarks.scale --draw")
    PAGE.write_text(new)


if __name__ == "__main__":
    main()
