"""What goes wrong around a corpus, made to go wrong and counted: bad files, kills, long videos, many videos.

    python -m benchmarks.reliability corpus          # 400 good clips, garbage, truncated, empty, a crash, a hang
    python -m benchmarks.reliability kill            # kill -9 at 100 random moments of writing
    python -m benchmarks.reliability memory          # a 2-hour video beside a 2-minute one
    python -m benchmarks.reliability flat            # file descriptors and memory over 2,000 files
    python -m benchmarks.reliability throughput      # 2 workers beside one: wants a quiet machine

Each writes its part of benchmarks/results/reliability.json. The faults are those of tests/faults.py.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np

ROOT = Path(__file__).resolve().parents[1]

import codecmeta  # noqa: E402
from codecmeta.corpus.batch import extract_many  # noqa: E402
from codecmeta.corpus.index import read_rows  # noqa: E402
from codecmeta.corpus.inputs import find_videos, plan  # noqa: E402
from codecmeta.extraction.to_file import extract_to_file  # noqa: E402
from tests.support import faults  # noqa: E402
from tests.support.clips import pan, write_clip  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "reliability.json"


def small_clip(path: Path, frames: int = 12) -> bytes:
    """A clip of one second or less."""
    return write_clip(path, pan(frames, (64, 48), (1, 1)), options={"x264-params": "bframes=2:keyint=8"}).read_bytes()


def corpus(work: Path, *, good: int = 400, timeout: float = 10, jobs: int = 2) -> dict[str, Any]:
    """A folder with good clips and five bad files, extracted by the command line, twice; the second time without the
    faults that are not in the files."""
    videos, out = work / "videos", work / "caches"
    videos.mkdir()
    clip = small_clip(work / "clip.mp4")
    for number in range(good):
        (videos / f"{number % 20}").mkdir(exist_ok=True)
        (videos / f"{number % 20}" / f"{number}.mp4").write_bytes(clip)
    bad = {
        "0/garbage.mp4": np.random.default_rng(0).bytes(5000),
        "1/truncated.mp4": clip[: len(clip) // 2],
        "2/empty.mp4": b"",
        "3/segfault.mp4": clip,
        "4/hang.mp4": clip,
    }
    for name, data in bad.items():
        (videos / name).parent.mkdir(exist_ok=True)
        (videos / name).write_bytes(data)
    arguments = ["extract", videos, "-o", out, "--frames", 4, "--jobs", jobs, "--timeout", timeout, "--json"]
    start = time.perf_counter()
    first = subprocess.run(faults.command(*arguments), capture_output=True, text=True)
    seconds = time.perf_counter() - start
    rows = read_rows((out / "index.jsonl").read_bytes().splitlines())
    unfinished = len(list(out.rglob("*.part")))
    before = {one: one.stat().st_mtime_ns for one in out.rglob("*.h5")}
    again = subprocess.run(
        [sys.executable, "-m", "codecmeta.cli", *map(str, arguments)], capture_output=True, text=True, cwd=ROOT
    )
    statuses = [json.loads(line)["status"] for line in again.stdout.splitlines()]
    return {
        "good": good,
        "done": sum(row.status == "done" for row in rows.values()),
        "bad": {name: rows[name].reason.replace(str(videos / name), "FILE") for name in bad},
        "exit_code": first.returncode,
        "rows": len(rows),
        "unfinished_files": unfinished,
        "seconds": round(seconds, 1),
        "second_run": {status: statuses.count(status) for status in ("skipped", "done", "failed")},
        "written_again": sum(one.stat().st_mtime_ns != when for one, when in before.items()),
    }


def kill(work: Path, *, kills: int = 100, seed: int = 0) -> dict[str, Any]:
    """Writers that are killed at random moments: what is under a final name must open, and nothing else stay."""
    clip, out = work / "clip.mp4", work / "caches"
    write_clip(clip, pan(40, (96, 64), (2, 1)), options={"x264-params": "keyint=10"})
    random = np.random.default_rng(seed)
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["codecmeta.corpus.batch"])
    broken = unfinished = 0
    for turn in range(kills):
        writer = processes.Process(target=write_for_ever, args=(clip, out, turn))
        writer.start()
        assert faults.wait_until(lambda: any(out.glob(f"{turn}-*.h5")), 120)  # noqa: B023
        time.sleep(float(random.uniform(0, 0.2)))
        os.kill(writer.pid or 0, signal.SIGKILL)
        writer.join()
        unfinished += any(out.glob(f".{turn}-*.part"))
        broken += sum(not opens(one) for one in out.glob(f"{turn}-*.h5"))
    left = len(list(out.glob(".*.part")))
    list(extract_many(plan([(str(clip), "clip.mp4")], out), isolate=False))
    return {
        "kills": kills,
        "kills_in_the_middle_of_a_file": unfinished,
        "caches_under_their_name": len(list(out.glob("*.h5"))),
        "of_them_broken": broken,
        "unfinished_files_after_kills": left,
        "unfinished_files_after_the_next_run": len(list(out.glob(".*.part"))),
    }


def write_for_ever(clip: Path, out: Path, turn: int) -> None:
    """One cache after the other."""
    for number in itertools.count():
        extract_to_file(clip, out / f"{turn}-{number}.h5")


def opens(path: Path) -> bool:
    """Whether a cache opens and everything in it can be read."""
    try:
        with codecmeta.load(path) as meta:
            for maps in (meta.residual, meta.qp, meta.bits):
                if maps is not None:
                    maps.values[:]
            return len(meta.frames) == 40
    except codecmeta.CacheError:
        return False


def repeated(source: Path, target: Path, seconds: float) -> None:
    """The packets of a clip over and over, with the time stamps of a video as long as that."""
    with av.open(str(source)) as before:
        stream = before.streams.video[0]
        packets = [(one.pts, one.dts, bytes(one), one.is_keyframe) for one in before.demux(stream) if one.size]
        step = int(1 / stream.time_base / stream.average_rate)
        length = step * len(packets)
        with av.open(str(target), "w") as after:
            copy = after.add_stream_from_template(stream)
            for turn in range(int(seconds / (length * stream.time_base))):
                for pts, dts, data, key in packets:
                    packet = av.Packet(data)
                    packet.pts, packet.dts = pts + turn * length, dts + turn * length
                    packet.time_base, packet.stream, packet.is_keyframe = stream.time_base, copy, key
                    after.mux(packet)


_PEAK = (
    "import sys, json; from pathlib import Path; from codecmeta.extraction.to_file import extract_to_file\n"
    "frames = sys.argv[3] if sys.argv[3] == 'all' else int(sys.argv[3])\n"
    "done = extract_to_file(sys.argv[1], sys.argv[2], frames=frames, overwrite=True)\n"
    "peak = int(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])\n"
    "print(json.dumps({'frames': done.frames, 'peak_resident_mb': round(peak / 1024, 1)}))"
)


def memory(work: Path, *, minutes: tuple[float, float] = (2, 120)) -> dict[str, Any]:
    """Peak resident memory of a process that extracts a short video, and a long one of the same packets."""
    kinds = {
        "h264": ("libx264", "mp4", {"x264-params": "bframes=2:keyint=50"}),
        "mpeg4": ("mpeg4", "mp4", {"g": "50"}),
    }
    found: dict[str, Any] = {}
    for kind, (codec, suffix, options) in kinds.items():
        clip = write_clip(work / f"{kind}.{suffix}", pan(100, (160, 90), (1, 0)), codec, options)
        for length in minutes:
            repeated(clip, work / f"{kind}{length}.{suffix}", 60 * length)
        for frames in ("all", "64"):
            peaks = []
            for length in minutes:
                video, cache = work / f"{kind}{length}.{suffix}", work / f"{kind}.h5"
                done = subprocess.run(
                    [sys.executable, "-c", _PEAK, str(video), str(cache), frames],
                    capture_output=True,
                    text=True,
                    check=True,
                    cwd=ROOT,
                )
                peaks.append({"minutes": length, **json.loads(done.stdout)})
            ratio = peaks[1]["peak_resident_mb"] / peaks[0]["peak_resident_mb"]
            found[f"{kind}, frames {frames}"] = {"runs": peaks, "long_over_short": round(ratio, 3)}
    return found


def flat(work: Path, *, files: int = 2000) -> dict[str, Any]:
    """Open files and memory of this process, which extracts, and of one that reads, over many files."""
    clip = small_clip(work / "clip.mp4")
    every = max(files // 10, 1)
    seen: list[dict[str, Any]] = []
    for number in range(files):
        video = work / f"{number}.mp4"
        video.write_bytes(clip)
        (task,) = plan([(str(video), video.name)], work / "caches")
        (row,) = extract_many([task], frames="all", isolate=False)
        assert row.status == "done", row
        codecmeta.load(row.cache).close()
        video.unlink()
        Path(row.cache).unlink()
        if number % every == every - 1:
            resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            count = len(os.listdir("/proc/self/fd"))
            seen.append({"files": number + 1, "descriptors": count, "resident_mb": round(resident / 2**20, 1)})
    growth = seen[-1]["resident_mb"] - seen[0]["resident_mb"]
    return {
        "points": seen,
        "growth_mb": round(growth, 1),
        "descriptors_more": seen[-1]["descriptors"] - seen[0]["descriptors"],
    }


def throughput(work: Path, *, files: int = 40, frames: int = 1500, rounds: int = 3) -> dict[str, Any]:
    """Seconds for equal files with one worker and with two, alternating; medians."""
    videos = work / "videos"
    videos.mkdir()
    clip = write_clip(work / "part.mp4", pan(50, (640, 360), (2, 1)), options={"x264-params": "keyint=25"})
    repeated(clip, work / "clip.mp4", frames / 25)
    for number in range(files):
        os.link(work / "clip.mp4", videos / f"{number}.mp4")
    tasks = plan(find_videos(videos), work / "caches")
    seconds: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(rounds):
        for jobs, times in seconds.items():
            start = time.perf_counter()
            rows = list(extract_many(tasks, jobs=jobs, overwrite=True, timeout=600))
            times.append(round(time.perf_counter() - start, 2))
            assert all(row.status == "done" for row in rows), rows
    one, two = (statistics.median(times) for times in seconds.values())
    return {
        "files": files,
        "frames_per_file": frames,
        "size": [640, 360],
        "seconds": {f"{jobs} workers": times for jobs, times in seconds.items()},
        "speedup": round(one / two, 3),
        "load_average_before": os.getloadavg()[0],
        "cpus": os.cpu_count(),
    }


PARTS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "corpus": corpus,
    "kill": kill,
    "memory": memory,
    "flat": flat,
    "throughput": throughput,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=PARTS)
    part = parser.parse_args().part
    with tempfile.TemporaryDirectory(prefix="codecmeta_") as folder:
        result = {"command": f"python -m benchmarks.reliability {part}", **PARTS[part](Path(folder))}
    print(json.dumps(result, indent=2))
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    RESULTS.write_text(json.dumps({**known, part: result}, indent=2) + "\n")


if __name__ == "__main__":
    main()
