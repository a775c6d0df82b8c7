"""A video frame by frame, as extraction finds it, and the sink that makes a record of it in memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from codecmeta.record.display import BlockGrid
from codecmeta.record.metadata import SOURCES, VECTOR, Capability, Frames, Gops, Maps, Metadata, Motion, Stream

NO_IMAGE = object()
"""In `FrameSignals.image`: its picture was not asked for."""


@dataclass(slots=True)
class FrameSignals:
    """What one frame gave. Everything below `corrupt` is None where it was not asked for or cannot be known.

    packet: its number in the stream. vectors, dtype VECTOR, in displayed pixels, with `distance` beside them; residual,
    chroma: float16 maps; residual_source: index into SOURCES. qp: int16 map; qp_blocks: blocks that it was made from.
    bits: float32 map. means: mean luma per 16x16 block, from which `luma_change` is made. image: what the transform
    made of the picture.
    """

    row: int
    packet: int
    picture_type: int
    corrupt: bool
    vectors: NDArray[np.void] | None = None
    distance: NDArray[np.int16] | None = None
    vectors_exact: bool = True
    residual: NDArray[np.float16] | None = None
    residual_source: int = 0
    luma_change: float | None = None
    chroma: NDArray[np.float16] | None = None
    qp: NDArray[np.int16] | None = None
    qp_blocks: int = 0
    bits: NDArray[np.float32] | None = None
    means: NDArray[np.float32] | None = None
    image: Any = NO_IMAGE


class Sink(Protocol):
    """Where the frames of one video go, in display order."""

    def clear(self) -> None:
        """Forget everything: the video is read again in another way."""

    def add(self, frame: FrameSignals) -> None:
        """Take the next frame."""


@dataclass
class LumaChange:
    """Follows a video frame by frame and says how much each differs from the one displayed before it."""

    _row: int = -1
    _means: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0), np.float32))

    def complete(self, frame: FrameSignals) -> None:
        """Fill in `luma_change`: mean absolute change of the block means in grey levels, NaN where the frame before was
        not decoded or had another size. Frames without means are left alone."""
        if frame.means is None:
            return
        follows = frame.row == self._row + 1 and frame.means.shape == self._means.shape and frame.means.size > 0
        frame.luma_change = float(np.abs(frame.means - self._means).mean()) if follows else np.nan
        self._row, self._means = frame.row, frame.means
        frame.means = None


@dataclass(frozen=True)
class Found:
    """What is known of a video when all its frames are collected; residual_grid places its residual maps, qp_grid those
    of QP and bits."""

    path: Path
    stream: Stream
    frames: Frames
    gops: Gops
    capability: Capability
    settings: dict[str, Any]
    residual_grid: BlockGrid
    qp_grid: BlockGrid

    @property
    def has_motion(self) -> bool:
        """Whether the codec has vectors that can be known."""
        return self.capability["motion"]["level"] != "none"

    @property
    def has_qp(self) -> bool:
        """Whether its quantisers can be known."""
        return self.capability["qp"]["level"] != "none"


class Collector:
    """A sink that keeps everything in memory."""

    def __init__(self) -> None:
        self.frames: list[FrameSignals] = []

    def clear(self) -> None:
        self.frames = []

    def add(self, frame: FrameSignals) -> None:
        self.frames.append(frame)

    @property
    def image_rows(self) -> list[int]:
        """Rows of `images`."""
        return [one.row for one in self.frames if one.image is not NO_IMAGE]

    @property
    def images(self) -> list[Any]:
        """What the transform made of every covered picture."""
        return [one.image for one in self.frames if one.image is not NO_IMAGE]

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
            residual=self._residual(found.residual_grid),
            residual_chroma=self._maps("chroma", found.residual_grid, np.float16) if self._has("chroma") else None,
            qp=self._maps("qp", found.qp_grid, np.int16) if found.has_qp else None,
            bits=self._maps("bits", found.qp_grid, np.float32) if self._has("bits") else None,
        )

    def _has(self, name: str) -> bool:
        return any(getattr(one, name) is not None for one in self.frames)

    def _motion(self) -> Motion:
        with_vectors = [one for one in self.frames if one.vectors is not None]
        vectors = [one.vectors for one in with_vectors if one.vectors is not None]
        distances = [one.distance for one in with_vectors if one.distance is not None]
        counts = [len(one) for one in vectors]
        return Motion(
            np.array([one.row for one in with_vectors], np.int64),
            np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64),
            _joined(vectors),
            np.concatenate([np.zeros(0, np.int16), *distances]) if distances else None,
        )

    def _residual(self, grid: BlockGrid) -> Maps:
        known = [one for one in self.frames if one.residual is not None]
        maps = self._maps("residual", grid, np.float16)
        return Maps(
            maps.frame,
            maps.values,
            maps.block,
            maps.origin_x,
            maps.origin_y,
            np.array([one.residual_source for one in known], np.uint8),
            SOURCES,
            np.array([one.luma_change for one in known if one.luma_change is not None], np.float16),
        )

    def _maps(self, name: str, grid: BlockGrid, dtype: Any) -> Maps:
        known = [(one.row, values) for one in self.frames if (values := getattr(one, name)) is not None]
        values = [one for _, one in known]
        stacked = (
            np.stack(values).astype(dtype, copy=False) if values else np.zeros((0, grid.rows, grid.columns), dtype)
        )
        return Maps(np.array([row for row, _ in known], np.int64), stacked, grid.block, grid.origin_x, grid.origin_y)


def _joined(vectors: list[NDArray[np.void]]) -> NDArray[np.void]:
    """The vectors of all frames behind one another. Of records with fields numpy looks at every field for each array
    that it joins, which takes longer than the rest."""
    plain = np.dtype((np.void, VECTOR.itemsize))
    return np.concatenate([np.zeros(0, plain), *(one.view(plain) for one in vectors)]).view(VECTOR)
