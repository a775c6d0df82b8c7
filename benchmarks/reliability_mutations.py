"""Damaged videos by the thousand through probe and extract, each in an isolated worker with a deadline.

    python -m benchmarks.reliability_mutations --cases 10000 --json benchmarks/results/reliability_mutations.json

Sources are clips of every container and codec that PyAV can write, and the real clips where they are; a case is made
from its number and the seed alone. A case ends well if it is refused with one line or gives a cache that loads; what
else can happen is counted: an exception that is not for users, a crash of FFmpeg, a case that is late or takes too much
memory. The state is kept after every hundred cases beside the JSON, and the same command goes on from there.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import tempfile
import time
from collections import Counter
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]

import codecmeta  # noqa: E402
from codecmeta.corpus.workers import isolated_map  # noqa: E402
from codecmeta.extraction.to_file import extract_to_file  # noqa: E402
from codecmeta.extraction.warm_up import warm_up  # noqa: E402
from tests.support.clips import REAL_CLIPS, REAL_NAMES, pan, write_clip  # noqa: E402

FORMATS = [
    ("h264.mp4", "libx264", {"x264-params": "bframes=2:keyint=8"}),
    ("h264.mkv", "libx264", {"x264-params": "bframes=3:cabac=0:keyint=8"}),
    ("h264.ts", "libx264", {"x264-params": "bframes=1:slices=3"}),
    ("h264.264", "libx264", {"x264-params": "bframes=2"}),
    ("h264.flv", "libx264", {}),
    ("hevc.mp4", "libx265", {"x265-params": "log-level=none:keyint=8"}),
    ("hevc.hevc", "libx265", {"x265-params": "log-level=none"}),
    ("mpeg4.avi", "mpeg4", {"bf": "2"}),
    ("mpeg4.mov", "mpeg4", {}),
    ("mpeg2.mpg", "mpeg2video", {"bf": "2"}),
    ("vp8.webm", "libvpx", {"deadline": "realtime", "cpu-used": "8"}),
    ("vp9.webm", "libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}),
    ("vp9.ivf", "libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}),
    ("av1.mp4", "libsvtav1", {"preset": "12", "svtav1-params": "lp=1"}),
    ("wmv2.asf", "wmv2", {}),
    ("h263.3gp", "h263", {}),
]
KINDS = ("bit flips", "overwritten", "truncated", "cut out", "repeated", "spliced", "flips in the headers")
MOST_BYTES = 400_000  # of a source: larger ones take long and hit the same code


def make_sources(folder: Path) -> list[Path]:
    """The undamaged clips: what FORMATS lists, and the real ones."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (name, codec, options) in enumerate(FORMATS):
        size = (176, 144) if codec == "h263" else (96, 80)
        write_clip(folder / name, pan(16, size, (2, 1), seed), codec, options)
    real = [REAL_CLIPS / name for name in REAL_NAMES if (REAL_CLIPS / name).stat().st_size <= MOST_BYTES]
    return sorted(folder / name for name, *_ in FORMATS) + real


@cache
def _bytes_of(path: Path) -> bytes:
    return path.read_bytes()


def mutated(number: int, seed: int, sources: list[Path]) -> tuple[str, str, bytes]:
    """(kind, suffix of the file name, bytes) of one case."""
    random = np.random.default_rng((seed, number))
    source = sources[int(random.integers(len(sources)))]
    data = bytearray(_bytes_of(source))
    kind = KINDS[int(random.integers(len(KINDS)))]
    at = int(random.integers(len(data)))
    length = int(random.integers(1, 1 + min(4096, len(data) // 2)))
    if kind == "bit flips":
        for place in random.integers(len(data), size=int(random.integers(1, 65))):
            data[place] ^= 1 << int(random.integers(8))
    elif kind == "overwritten":
        data[at : at + length] = random.bytes(length) if random.random() < 0.5 else bytes(length)
    elif kind == "truncated":
        del data[at:]
    elif kind == "cut out":
        del data[at : at + length]
    elif kind == "repeated":
        data[at:at] = data[at : at + length]
    elif kind == "spliced":
        other = _bytes_of(sources[int(random.integers(len(sources)))])
        data[at:] = other[int(random.integers(len(other))) :]
    else:  # the first and the last KiB hold most of what containers and streams say about themselves
        edges = np.r_[0 : min(1024, len(data)), max(len(data) - 1024, 0) : len(data)]
        for place in random.choice(edges, size=int(random.integers(1, 9))):
            data[place] = int(random.choice((0, 1, 127, 128, 255, int(random.integers(256)))))
    return kind, source.suffix, bytes(data)


def one_case(number: int, seed: int, sources: list[Path], folder: Path) -> tuple[str, str, int]:
    """Probe and extract one damaged video: (kind, "refused" | "cached" | "fault: ...", frames)."""
    kind, suffix, data = mutated(number, seed, sources)
    video, target = folder / f"{number}{suffix}", folder / f"{number}.h5"
    video.write_bytes(data)
    frames: Any = ("all", "keyframes", 3)[number % 3]
    try:
        codecmeta.probe(video)
        count = extract_to_file(video, target, frames=frames).frames
        with codecmeta.load(target) as meta:
            assert len(meta.frames) == count > 0
    except codecmeta.VideoError as error:
        assert "\n" not in str(error) and str(video) in str(error) and not target.exists()
        return kind, "refused", 0
    except Exception as error:
        return kind, f"fault: {type(error).__name__}: {error}".replace(str(video), "")[:200], 0
    finally:
        video.unlink()
        target.unlink(missing_ok=True)
    return kind, "cached", count


def marked_processes(mark: str) -> int:
    """How many processes run with this word in their environment, besides this one."""
    found = 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                helper = b"resource_tracker" in (entry / "cmdline").read_bytes()  # of Python, ends with this process
                found += not helper and mark.encode() in (entry / "environ").read_bytes()
            except OSError:
                continue
    return found


def run(
    cases: int, work: Path, *, seed: int = 1, jobs: int = 1, timeout: float = 30, memory: int = 2 << 30
) -> dict[str, Any]:
    """All cases, or those that are missing in the state kept in `work`; counts by end and kind."""
    sources = make_sources(work / "sources")
    state_file = work / "state.json"
    state: dict[str, Any] = {"done": 0, "seconds": 0.0, "longest": 0.0, "counts": {}, "bad": []}
    if state_file.exists():
        state = json.loads(state_file.read_text())
    counts: Counter[str] = Counter(state["counts"])
    mark = os.environ["CODECMETA_RELIABILITY_RUN"] = secrets.token_hex(8)
    for first in range(state["done"], cases, 100):
        start = time.perf_counter()
        with tempfile.TemporaryDirectory(dir=work) as folder:
            case = partial(one_case, seed=seed, sources=sources, folder=Path(folder))
            numbers = range(first, min(first + 100, cases))
            for one in isolated_map(case, numbers, jobs=jobs, timeout=timeout, memory_limit=memory, prepare=warm_up):
                kind, end = one.value[:2] if one.ok else (mutated(one.item, seed, sources)[0], one.reason)
                counts[f"{end.split(':')[0]} | {kind}"] += 1
                state["longest"] = max(state["longest"], one.seconds)
                if end not in ("refused", "cached"):
                    state["bad"].append({"case": one.item, "kind": kind, "end": end})
        state.update(done=numbers.stop, counts=dict(counts), seconds=state["seconds"] + time.perf_counter() - start)
        state_file.write_text(json.dumps(state))
    return {
        "cases": state["done"],
        "seed": seed,
        "timeout_seconds": timeout,
        "memory_limit_bytes": memory,
        "sources": [one.name for one in sources],
        "ends": _by_end(counts),
        "bad": state["bad"],
        "longest_case_seconds": round(state["longest"], 2),
        "processes_left": marked_processes(mark),
        "seconds": round(state["seconds"], 1),
    }


def _by_end(counts: Counter[str]) -> dict[str, dict[str, int]]:
    ends: dict[str, dict[str, int]] = {}
    for name, count in sorted(counts.items()):
        end, kind = name.split(" | ")
        ends.setdefault(end, {})[kind] = count
    return {end: {"all": sum(kinds.values()), **kinds} for end, kinds in ends.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "codecmeta_mutations")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    result = run(arguments.cases, arguments.work, seed=arguments.seed, jobs=arguments.jobs)
    result["command"] = f"python -m benchmarks.reliability_mutations --cases {arguments.cases} --seed {arguments.seed}"
    text = json.dumps(result, indent=2) + "\n"
    print(text, end="")
    if arguments.json:
        arguments.json.write_text(text)


if __name__ == "__main__":
    main()
