"""Metadata and clips made from a seed, with what is true about them known beforehand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from codecmeta.metadata import VECTOR, Frames, Gops, Maps, Metadata, Motion, Stream


def make_metadata(
    packet_bytes: ArrayLike,
    *,
    types: str | None = None,
    keyframes: ArrayLike = (0,),
    size: tuple[int, int] = (64, 48),
    rate: float = 25.0,
    residual: ArrayLike | None = None,
    block: int = 8,
    origin: tuple[int, int] = (0, 0),
    covered: ArrayLike | None = None,
    vectors: list[list[tuple[int, ...]]] | None = None,
) -> Metadata:
    """A hand-built record. types: 'IPBP...'; residual: (m, rows, columns) rms; vectors: a list of rows of `VECTOR` per
    frame; covered: the rows that maps and vectors are stored for, default all."""
    sizes = np.asarray(packet_bytes, np.int64)
    count = len(sizes)
    rows = np.arange(count) if covered is None else np.asarray(covered)
    key = np.zeros(count, bool)
    key[np.asarray(keyframes, int)] = True
    gop = np.maximum(np.cumsum(key) - 1, 0).astype(np.int32)
    start = np.searchsorted(gop, np.arange(gop[-1] + 1))
    stop = np.append(start[1:], count)
    frames = Frames(
        pts=np.arange(count),
        time=np.arange(count) / rate,
        picture_type=np.frombuffer(types.encode(), np.uint8) if types else np.zeros(count, np.uint8),
        keyframe=key,
        packet_bytes=sizes,
        gop=gop,
        corrupt=np.zeros(count, bool),
    )
    motion = None
    if vectors is not None:
        indptr = np.concatenate(([0], np.cumsum([len(one) for one in vectors]))).astype(np.int64)
        motion = Motion(rows, indptr, np.array([tuple(row) for one in vectors for row in one], VECTOR))
    maps = None
    if residual is not None:
        maps = Maps(rows, np.asarray(residual, np.float16), block, origin[0], origin[1])
    return Metadata(
        path=Path("made-up.mp4"),
        stream=Stream("h264", "High", "yuv420p", *size, 0, (1, 25), (25, 1), count / rate, 0),
        frames=frames,
        gops=Gops(start, stop, np.array([sizes[a:b].mean() for a, b in zip(start, stop, strict=True)])),
        capability={
            "residual": {"level": "none", "why": "made up without"},
            "bits": {"level": "none", "why": "made up without"},
        },
        settings={},
        motion=motion,
        residual=maps,
    )
