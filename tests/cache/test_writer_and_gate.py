"""What the writer can write, `load` lets in: over records that an extraction can make, at the edges of all of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import codecmeta
from codecmeta.record.metadata import SOURCES, VECTOR, Frames, Gops, Maps, Metadata, Motion, Stream


def record(
    count: int = 3,
    size: tuple[int, int] = (64, 48),
    covered: int | None = None,
    vectors: int = 5,
    start: int = 0,
    time_base: tuple[int, int] = (1, 1000),
    step: int = 40,
    still: bool = False,
    noise: bool = True,
    pts: bool = True,
    signals: tuple[str, ...] = ("motion", "residual", "chroma", "qp", "bits"),
    seed: int = 0,
) -> Metadata:
    """A record as `extract` makes them: `count` frames, `covered` of them with vectors and maps."""
    rng = np.random.default_rng(seed)
    width, height = size
    covered = count if covered is None else covered
    rows = np.unique(np.linspace(0, count - 1, covered).astype(np.int64)) if covered else np.zeros(0, np.int64)
    stamps = start + np.arange(count, dtype=np.int64) * step
    num, den = time_base
    frames = Frames(
        pts=stamps if pts else np.full(count, -1, np.int64),
        time=stamps * (num / den) if pts else np.arange(count) / 25.0,
        picture_type=np.full(count, ord("P"), np.uint8),
        keyframe=np.arange(count) % 250 == 0,
        packet_bytes=np.full(count, 20, np.int64) if still else rng.integers(1, 1 << 20, count),
        gop=(np.arange(count) // 250).astype(np.int32),
        corrupt=np.zeros(count, bool),
    )
    first = np.arange(0, count, 250, dtype=np.int64)
    gops = Gops(first, np.minimum(first + 250, count), np.full(len(first), 20.0))

    def maps(block: int, dtype: Any, sources: bool = False) -> Maps:
        shape = (len(rows), -(-height // block), -(-width // block))
        values = rng.integers(0, 50, shape).astype(dtype) if noise else np.zeros(shape, dtype)
        source = np.zeros(len(rows), np.uint8) if sources else np.zeros(0, np.uint8)
        return Maps(rows, values, block, 0, 0, source, SOURCES if sources else ())

    counts = np.full(len(rows), vectors)
    table = np.zeros(int(counts.sum()), VECTOR)
    if noise:
        table["motion_x"] = rng.integers(-100, 100, len(table))
    motion = Motion(rows, np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), table)
    stream = Stream(
        "h264",
        "High",
        "yuv420p",
        width,
        height,
        90,
        time_base,
        (25, 1),
        float(count * step * num / den),
        0,
        (0, 0),
        True,
    )
    return Metadata(
        Path("made-up.mp4"),
        stream,
        frames,
        gops,
        {name: {"level": "exact", "why": "made up"} for name in ("packets", "motion", "residual", "qp", "bits")},
        {"frames": "all", "details": True, "stream": None},
        motion=motion if "motion" in signals else None,
        residual=maps(8, np.float16, True) if "residual" in signals else None,
        residual_chroma=maps(8, np.float16) if "chroma" in signals else None,
        qp=maps(16, np.int16) if "qp" in signals else None,
        bits=maps(16, np.float32) if "bits" in signals else None,
    )


def assert_comes_back(meta: Metadata, path: Path) -> None:
    codecmeta.save(meta, path)
    with codecmeta.load(path) as loaded:
        assert loaded.stream == meta.stream
        for table in ("frames", "gops"):
            for name in getattr(meta, table).__dataclass_fields__:
                assert np.array_equal(getattr(getattr(loaded, table), name), getattr(getattr(meta, table), name)), name
        for name in ("residual", "residual_chroma", "qp", "bits"):
            ours, theirs = getattr(meta, name), getattr(loaded, name)
            if ours is None:
                assert theirs is None
            else:
                assert np.array_equal(theirs.frame, ours.frame) and np.array_equal(theirs.values[:], ours.values)
        if meta.motion is not None:
            assert loaded.motion is not None
            assert np.array_equal(loaded.motion.indptr, meta.motion.indptr)
            assert np.array_equal(loaded.motion.vectors[:], meta.motion.vectors)


EDGES: dict[str, dict[str, Any]] = {
    "a still film of two hours at 25 frames per second": {
        "count": 180_000, "covered": 64, "still": True, "noise": False, "vectors": 0, "step": 1, "time_base": (1, 32),
    },
    "a clock that began in 1970, in milliseconds": {"start": 1_750_000_000_000},
    "a clock of microseconds since 1601": {"start": 13_390_000_000_000_000, "time_base": (1, 1_000_000)},
    "a clock that counts seconds and is wrong": {"start": 2**62, "time_base": (1, 1), "step": 1},
    "times before zero": {"start": -5_000},
    "one frame": {"count": 1},
    "one frame and no vectors": {"count": 1, "vectors": 0, "noise": False},
    "no time stamps": {"pts": False},
    "no frame covered": {"covered": 0},
    "8K": {"count": 1, "size": (8192, 4320), "vectors": 100_000},
    "8K of zeros": {"count": 4, "size": (8192, 4320), "vectors": 0, "noise": False},
    "a wide strip": {"size": (16384, 16)},
    "one pixel": {"size": (1, 1)},
    "packet sizes alone": {"signals": ()},
    "no motion": {"signals": ("residual",)},
    "QP alone": {"signals": ("qp",)},
}  # fmt: skip


@pytest.mark.parametrize("name", EDGES)
def test_records_at_the_edges_come_back(name: str, tmp_path: Path) -> None:
    assert_comes_back(record(**EDGES[name]), tmp_path / "x.codecmeta.h5")


@pytest.mark.parametrize("seed", range(25))
def test_any_record_comes_back(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    kinds = ("motion", "residual", "qp", "bits")
    count = int(rng.choice([1, 2, 63, 64, 65, 1000]))
    meta = record(
        count=count,
        size=(int(rng.choice([1, 16, 64, 177, 640])), int(rng.choice([1, 16, 48, 144, 360]))),
        covered=min(count, int(rng.choice([0, 1, 2, 64, 130]))),
        vectors=int(rng.choice([0, 1, 40])),
        start=int(rng.choice([0, -1000, 90_000, 10**15])),
        step=int(rng.choice([1, 40, 3003])),
        time_base=(1, int(rng.choice([1, 25, 1000, 90_000]))),
        still=bool(rng.integers(2)),
        noise=bool(rng.integers(2)),
        pts=bool(rng.integers(2)),
        signals=tuple(one for one in kinds if rng.integers(2)),
        seed=seed,
    )
    assert_comes_back(meta, tmp_path / "x.codecmeta.h5")


def test_a_picture_that_is_not_mirrored_has_no_attribute_for_it(tmp_path: Path) -> None:
    """Caches of ordinary videos stay as they were."""
    import h5py

    meta = record()
    codecmeta.save(replace(meta, stream=replace(meta.stream, mirrored=False)), tmp_path / "x.codecmeta.h5")
    with h5py.File(tmp_path / "x.codecmeta.h5") as file:
        assert "mirrored" not in file.attrs
    with codecmeta.load(tmp_path / "x.codecmeta.h5") as loaded:
        assert loaded.stream.mirrored is False
