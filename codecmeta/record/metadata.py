"""The record of one video: what is known about every frame, which signal says so, and where it came from.

Frames are always counted in display order and called *rows* of the frame table. Positions and sizes are in pixels of
the *displayed* picture (after cropping and rotation), x to the right, y down.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

import codecmeta  # the package's face, which imports nothing before it is asked

VECTOR = np.dtype(
    [
        ("source", np.int8),
        ("w", np.uint8),
        ("h", np.uint8),
        ("dst_x", np.int16),
        ("dst_y", np.int16),
        ("motion_x", np.int16),
        ("motion_y", np.int16),
        ("scale", np.uint8),
    ]
)
"""One motion vector. source: -1 refers to a past picture, +1 to a future one; w, h: block size in pixels; dst: block
centre; motion / scale: pixels from the block to its prediction (it points *to the reference*: the object moved by the
negative of it)."""


def vector_order(vectors: NDArray[np.void]) -> NDArray[np.int64]:
    """In which order the vectors of one frame are kept, int64 (n,): those into the past first, then by block height and
    width, then in the order of the codec. Neighbours are alike then, and compress a tenth better."""
    kind = (vectors["source"] > 0).astype(np.uint16) << 14
    kind |= (vectors["h"] >> 1).astype(np.uint16) << 7
    kind |= vectors["w"] >> 1
    return np.argsort(kind, kind="stable")


UNKNOWN, I, P, B = 0, ord("I"), ord("P"), ord("B")  # noqa: E741
"""Values of `Frames.picture_type`: ASCII, as FFmpeg prints them; 0 where nothing cheap knows the type."""


SOURCES = ("bitstream", "motion_compensated", "intra", "previous_or_intra")
"""How a residual map was found, best first; `Maps.source` indexes it. "bitstream": by a parser that reads
coefficients."""


class RowArray(Protocol):
    """What numpy arrays and HDF5 datasets share: a shape, a dtype and slicing along the first axis."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype: ...

    def __getitem__(self, key: Any) -> Any: ...


@dataclass(frozen=True)
class Stream:
    """Facts about the video stream, from the container.

    width, height: displayed pixels (after cropping and rotation). rotation: degrees clockwise that the display turns
    the coded picture (0, 90, 180, 270). mirrored: left and right change places before that. time_base, average_rate:
    (numerator, denominator); a rate of (0, 1) is unknown. duration_seconds: 0.0 if unknown. stream_index: counted among
    the video streams. crop: (left, top) pixels of the coded picture that FFmpeg's cropping removes (H.264; 0 for other
    codecs).
    """

    codec: str
    profile: str
    pixel_format: str
    width: int
    height: int
    rotation: int
    time_base: tuple[int, int]
    average_rate: tuple[int, int]
    duration_seconds: float
    stream_index: int
    crop: tuple[int, int] = (0, 0)
    mirrored: bool = False


@dataclass(frozen=True)
class Frames:
    """One row per displayed frame, in display order; every array has shape (n,).

    pts: int64, in units of the stream's time base, -1 where the file has none. time: float64, seconds from the start
    of the file's own clock. picture_type: uint8, ASCII 'I', 'P', 'B' or 0. keyframe: bool. packet_bytes: int64, all
    bytes that were sent for this frame, those of hidden frames before it included. gop: int32, row of `Gops`.
    corrupt: bool, the decoder or parser reported damage.
    """

    pts: NDArray[np.int64]
    time: NDArray[np.float64]
    picture_type: NDArray[np.uint8]
    keyframe: NDArray[np.bool_]
    packet_bytes: NDArray[np.int64]
    gop: NDArray[np.int32]
    corrupt: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.pts)


@dataclass(frozen=True)
class Gops:
    """One row per group of pictures, in stream order.

    start, stop: int64, rows of the frame table, half-open. A leading picture of an open GoP, which displays before its
    keyframe, belongs by bytes to the GoP in which the stream sends it (`Frames.gop`), and `start` is the first
    displayed row of the GoP. packet_bytes_mean: float64, all bytes of the GoP / its packets (MeToM's c_t).
    """

    start: NDArray[np.int64]
    stop: NDArray[np.int64]
    packet_bytes_mean: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.start)


@dataclass(frozen=True)
class Motion:
    """Motion vectors of the covered frames, as compressed sparse rows.

    frame: int64 (k,), rows of the frame table. indptr: int64 (k + 1,). vectors: dtype `VECTOR`; those of frame[i] are
    vectors[indptr[i]:indptr[i + 1]], in the order of `vector_order`. An intra picture has none. distance: int16, beside
    each vector how many displayed frames later its reference is (negative: earlier), 0 where that is not known; None
    where no vector has one.
    """

    frame: NDArray[np.int64]
    indptr: NDArray[np.int64]
    vectors: RowArray
    distance: RowArray | None = None

    def of(self, row: int) -> NDArray[np.void] | None:
        """The vectors of one frame-table row, or None where that row is not covered."""
        return self._slice(self.vectors, row)

    def distance_of(self, row: int) -> NDArray[np.int16] | None:
        """The distances beside the vectors of one row, or None where the row is not covered or none is known."""
        return None if self.distance is None else self._slice(self.distance, row)

    def _slice(self, values: RowArray, row: int) -> Any:
        at = int(np.searchsorted(self.frame, row))
        if at == len(self.frame) or self.frame[at] != row:
            return None
        return values[int(self.indptr[at]) : int(self.indptr[at + 1])]


@dataclass(frozen=True)
class Maps:
    """One value per block for the covered frames.

    frame: int64 (m,), rows of the frame table. values: (m, rows, columns). block: side of a block in pixels. Block
    (r, c) covers displayed pixels [origin_x + c * block, origin_x + (c + 1) * block) x [origin_y + r * block, ...):
    the origin is at most 0, and blocks may reach over the edges of the picture. source: uint8 (m,), index into
    `sources` (how the values of that frame were found). luma_change: float16 (m,), beside residual maps of codecs
    without vectors: mean absolute change of the 16x16 block means since the frame displayed before, in grey levels, NaN
    where that one was not decoded; else empty.
    """

    frame: NDArray[np.int64]
    values: RowArray
    block: int
    origin_x: int = 0
    origin_y: int = 0
    source: NDArray[np.uint8] = field(default_factory=lambda: np.zeros(0, np.uint8))
    sources: tuple[str, ...] = ()
    luma_change: NDArray[np.float16] = field(default_factory=lambda: np.zeros(0, np.float16))

    def of(self, row: int) -> NDArray[Any] | None:
        """The (rows, columns) map of one frame-table row, or None where that row is not covered."""
        at = int(np.searchsorted(self.frame, row))
        if at == len(self.frame) or self.frame[at] != row:
            return None
        return self.values[at]

    def source_of(self, row: int) -> str | None:
        """How the map of one frame-table row was found, or None where the row is not covered or nobody knows."""
        at = int(np.searchsorted(self.frame, row))
        if at == len(self.frame) or self.frame[at] != row or not len(self.source):
            return None
        return self.sources[self.source[at]]


Capability = dict[str, dict[str, str]]
"""Per signal ("packets", "picture_types", "motion", "residual", "qp", "bits"): {"level": "exact" | "exported" |
"estimated" | "none", "why": one sentence}. "exact": a property of the stream, read from it; "exported": FFmpeg's own
export; "estimated": computed from decoded pixels under stated assumptions."""


@dataclass(frozen=True)
class Probe:
    """Everything the container knows, without decoding a picture. See `codecmeta.probe`."""

    path: Path
    stream: Stream
    frames: Frames
    gops: Gops
    capability: Capability


@dataclass(frozen=True)
class Metadata:
    """The codec metadata of one video. See `codecmeta.extract` and `codecmeta.load`.

    motion: vectors. residual: luma root mean square residual per block in grey levels (0..255), float16. qp: quantiser
    per 16x16 block, int16. bits: bits per 16x16 block, float32. A signal that does not exist for the codec is None and
    `capability` says why. settings: what `extract` was asked for.
    """

    path: Path
    stream: Stream
    frames: Frames
    gops: Gops
    capability: Capability
    settings: dict[str, Any]
    motion: Motion | None = None
    residual: Maps | None = None
    residual_chroma: Maps | None = None
    qp: Maps | None = None
    bits: Maps | None = None
    close_file: Any = None

    def save(self, path: str | Path) -> None:
        """Write the HDF5 cache (format version 1) atomically; see `codecmeta.cache.store`."""
        codecmeta.save(self, path)

    def close(self) -> None:
        """Close the cache file behind lazily read arrays; nothing to do for extracted metadata."""
        if self.close_file is not None:
            self.close_file()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
