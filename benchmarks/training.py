"""Samples per second of a training loop on one core: a random frame of a random cache of 64 frames.

    python -m benchmarks.training            # make the caches, measure twice, write results/training.json

A sample is the residual map of one frame, int or float (rows, columns), with its time. Beside `Corpus`, plain and
trusted: h5py with every file open (HDF5 then keeps the chunks of every file, without bound), with every file open and
no chunk kept, and with every file opened anew, which read that one row and nothing else. Trusted with a memory that
holds the whole corpus, and with one that holds the tables and a small part of the maps.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from codecmeta import Corpus
from codecmeta.corpus.batch import extract_many
from codecmeta.corpus.index import IndexWriter, index_path
from codecmeta.corpus.inputs import Task
from tests.support.clips import pan, write_clip

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "training.json"
FRAMES, SIZE, VIDEOS = 64, (640, 360), 128
MEMORY = {"1 GiB, which holds all": 1 << 30, "8 MiB, which holds one map in fourteen": 8 << 20}
SECONDS = 3.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make_corpus(Path(folder))
        runs = [measure(Path(folder)) for _ in range(2)]
    result = {
        "command": "python -m benchmarks.training",
        "cpu": platform.processor() or platform.machine(),
        "load_before": round(os.getloadavg()[0], 1),
        "frames": FRAMES,
        "size": SIZE,
        "videos": VIDEOS,
        "samples_per_cpu_second": runs,
    }
    arguments.output.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


def make_corpus(folder: Path) -> None:
    """One clip, extracted once, as so many files of their own."""
    clip = write_clip(folder / "clip.mp4", pan(80, SIZE, (2, 1)))
    cache = folder / "clip.codecmeta.h5"
    (row,) = extract_many([Task(str(clip), "clip.mp4", str(cache))], frames=FRAMES, isolate=False)
    assert row.status == "done", row.reason
    with IndexWriter(index_path(folder)) as index:
        for number in range(VIDEOS):
            copy = folder / f"{number:04}.codecmeta.h5"
            copy.write_bytes(cache.read_bytes())
            index.add(type(row)(**{**_values(row), "key": f"{number:04}.mp4", "cache": str(copy)}))


def _values(row: Any) -> dict[str, Any]:
    return {name: getattr(row, name) for name in row.__dataclass_fields__}


def measure(folder: Path) -> dict[str, float]:
    """Samples per CPU second of this process, after every file was seen once."""
    plain = Corpus(folder)
    keys, paths = list(plain), [plain.path(key) for key in plain]
    found = {}
    for words, memory_of_each in (("", 1 << 20), (", no chunk kept", 0)):  # 1 MiB for each dataset is what h5py takes
        files = [h5py.File(path, "r", locking=False, rdcc_nbytes=memory_of_each) for path in paths]
        open_ = [(file["residual"]["luma_rms"], file["frames"]["time"]) for file in files]
        found[f"h5py, every file open{words}"] = rate(
            lambda video, frame, open_=open_: (open_[video][0][frame], open_[video][1][frame])
        )
        for file in files:
            file.close()
    found |= {
        "h5py, opened anew": rate(lambda video, frame: anew(paths[video], frame)),
        "Corpus": rate(lambda video, frame: of(plain, keys[video], frame)),
    }
    for words, memory in MEMORY.items():
        trusted = Corpus(folder, trusted=True, memory=memory)
        for key in keys:
            trusted[key]
        found[f"Corpus, trusted, {words}"] = rate(lambda video, frame, trusted=trusted: of(trusted, keys[video], frame))
    return found


def of(corpus: Corpus, key: str, frame: int) -> tuple[Any, Any]:
    with corpus[key] as meta:
        assert meta.residual is not None
        return meta.residual.values[frame], meta.frames.time[meta.residual.frame[frame]]


def anew(path: Path, frame: int) -> tuple[Any, Any]:
    with h5py.File(path, "r", locking=False) as file:
        return file["residual"]["luma_rms"][frame], file["frames"]["time"][frame]


def rate(sample: Callable[[int, int], Any]) -> float:
    """Samples per CPU second, at random."""
    rng = np.random.default_rng(0)
    start, count = time.process_time(), 0
    while time.process_time() - start < SECONDS:
        for video, frame in zip(rng.integers(0, VIDEOS, 16), rng.integers(0, FRAMES, 16), strict=True):
            sample(int(video), int(frame))
        count += 16
    return round(count / (time.process_time() - start), 1)


if __name__ == "__main__":
    main()
