"""What decoding gives, piece by piece: parts of a video, and the sink that makes a record of them in memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from codecmeta.record.display import BlockGrid
from codecmeta.record.metadata import SOURCES, VECTOR, Capability, Frames, Gops, Maps, Metadata, Motion, Stream


@dataclass
class Part:
    """What a run of decoded frames gave, in display order. Every list that ends in `_rows` names the frame-table rows
    of the list beside it. `distance` belongs to `vectors`, `chroma` and `luma_change` to `residual`; where their source
    is not known the lists are empty."""

    rows: list[int] = field(default_factory=list)
    packets: list[int] = field(default_factory=list)
    types: list[int] = field(default_factory=list)
    corrupt: list[bool] = field(default_factory=list)
    motion_rows: list[int] = field(default_factory=list)
    vectors: list[NDArray[np.void]] = field(default_factory=list)
    distance: list[NDArray[np.int16]] = field(default_factory=list)
    estimated_vectors: int = 0
    residual_rows: list[int] = field(default_factory=list)
    residual: list[NDArray[np.float16]] = field(default_factory=list)
    residual_source: list[int] = field(default_factory=list)
    luma_change: list[float] = field(default_factory=list)
    chroma: list[NDArray[np.float16]] = field(default_factory=list)
    qp_rows: list[int] = field(default_factory=list)
    qp: list[NDArray[np.int16]] = field(default_factory=list)
    qp_blocks: int = 0
    bits_rows: list[int] = field(default_factory=list)
    bits: list[NDArray[np.float32]] = field(default_factory=list)
    images: list[Any] = field(default_factory=list)
    means: list[NDArray[np.float32]] = field(default_factory=list)
    """Mean luma per 16x16 block of each of `rows`, where `luma_change` is to be made of them."""


class Sink(Protocol):
    """Where the parts of one video go, in display order."""

    def clear(self) -> None:
        """Forget everything: the video is decoded again in another way."""

    def add(self, part: Part) -> None:
        """Take the next part."""


@dataclass
class LumaChange:
    """Follows a video part by part and says how much each frame differs from the one displayed before it."""

    _row: int = -1
    _means: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0), np.float32))

    def complete(self, part: Part) -> None:
        """Fill in `luma_change`: mean absolute change of the block means in grey levels, NaN where the frame before was
        not decoded or had another size."""
        change: dict[int, float] = {}
        for row, means in zip(part.rows, part.means, strict=False):
            follows = row == self._row + 1 and means.shape == self._means.shape and means.size > 0
            change[row] = float(np.abs(means - self._means).mean()) if follows else np.nan
            self._row, self._means = row, means
        if part.means:
            part.luma_change, part.means = [change[row] for row in part.residual_rows], []


@dataclass(frozen=True)
class Found:
    """What is known of a video when all its parts are collected; residual_grid places its residual maps, qp_grid those
    of QP and bits."""

    path: Path
    stream: Stream
    frames: Frames
    gops: Gops
    capability: Capability
    settings: dict[str, Any]
    residual_grid: BlockGrid
    qp_grid: BlockGrid
    has_motion: bool
    has_qp: bool


class Collector:
    """A sink that keeps everything in memory."""

    def __init__(self) -> None:
        self.parts: list[Part] = []

    def clear(self) -> None:
        self.parts = []

    def add(self, part: Part) -> None:
        self.parts.append(part)

    @property
    def image_rows(self) -> list[int]:
        """Rows of `images`."""
        return [row for part in self.parts for row, _ in part.images]

    @property
    def images(self) -> list[Any]:
        """What the transform made of every covered picture."""
        return [image for part in self.parts for _, image in part.images]

    def metadata(self, found: Found) -> Metadata:
        """Everything collected as one record."""
        return Metadata(
            found.path,
            found.stream,
            found.frames,
            found.gops,
            found.capability,
            found.settings,
            motion=self._motion() if found.has_motion else None,
            residual=self._maps("residual", found.residual_grid, np.dtype(np.float16)),
            residual_chroma=self._maps("chroma", found.residual_grid, np.dtype(np.float16), "residual_rows")
            if any(part.chroma for part in self.parts)
            else None,
            qp=self._maps("qp", found.qp_grid, np.dtype(np.int16)) if found.has_qp else None,
            bits=self._maps("bits", found.qp_grid, np.dtype(np.float32))
            if any(part.bits for part in self.parts)
            else None,
        )

    def _motion(self) -> Motion:
        counts = [len(vectors) for part in self.parts for vectors in part.vectors]
        return Motion(
            np.array([row for part in self.parts for row in part.motion_rows], np.int64),
            np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64),
            np.concatenate([np.zeros(0, VECTOR), *[one for part in self.parts for one in part.vectors]]),
            np.concatenate([np.zeros(0, np.int16), *[one for part in self.parts for one in part.distance]])
            if any(part.distance for part in self.parts)
            else None,
        )

    def _maps(self, name: str, grid: BlockGrid, dtype: np.dtype, rows_name: str = "") -> Maps:
        rows = [row for part in self.parts for row in getattr(part, rows_name or f"{name}_rows")]
        values = [one for part in self.parts for one in getattr(part, name)]
        stacked = np.stack(values).astype(dtype) if values else np.zeros((0, grid.rows, grid.columns), dtype)
        source = [one for part in self.parts for one in part.residual_source] if name == "residual" else []
        change = [one for part in self.parts for one in part.luma_change] if name == "residual" else []
        return Maps(
            np.array(rows, np.int64),
            stacked,
            grid.block,
            grid.origin_x,
            grid.origin_y,
            np.array(source, np.uint8),
            SOURCES if name == "residual" else (),
            np.array(change, np.float16),
        )
