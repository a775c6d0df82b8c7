"""A frame of two field pictures (PAFF): what the macroblocks of both say, put back into the rows of the frame.

Line k of a top field is line 2k of the frame, line k of a bottom field line 2k + 1. So four lines of both fields are
eight lines of the frame: the energy of an 8x8 block of the frame is that of the 4x4 blocks at the same row of blocks in
both fields, exactly where no larger transform spread it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from codecmeta.codecs.h264.parameter_sets import SPS
from codecmeta.codecs.h264.parsed_picture import Picture
from codecmeta.codecs.h264.slice_header import SliceHeader


@dataclass
class FieldPair:
    """Both fields of a frame, the top field first, whichever was sent first; named as in `picture.Picture`."""

    fields: tuple[Picture, Picture]
    errors: list[str] = field(default_factory=list)
    half: bool = False  # the other field may come in the next packet
    second: bool = False  # the packet has the second field; the first one was in the packet before

    @property
    def sps(self) -> SPS:
        """Of both."""
        return self.fields[0].sps

    @property
    def rows(self) -> int:
        """Macroblock rows of the frame."""
        return self.sps.frame_height_in_mbs

    @property
    def columns(self) -> int:
        """Macroblock columns."""
        return self.sps.pic_width_in_mbs

    @property
    def headers(self) -> list[SliceHeader]:
        """Of the top field, then of the bottom field."""
        return self.fields[0].headers + self.fields[1].headers

    @property
    def lists(self) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
        """[slice][list][refIdx]: identity of the frame that has the field, in the order of `headers`."""
        return self.fields[0].lists + self.fields[1].lists

    @property
    def slice_type(self) -> str:
        """'B' if any slice of either field is B, else 'P' if any is P, else 'I'."""
        types = {one.slice_type for one in self.fields if one.headers}
        return "B" if "B" in types else "P" if "P" in types else "I"

    @property
    def identity(self) -> int:
        """Number of the frame in decoding order; -1: parsed by random access."""
        return max(one.identity for one in self.fields)

    @property
    def order(self) -> int:
        """PicOrderCnt of the frame."""
        return min(one.order for one in self.fields if one.headers)

    @property
    def complete(self) -> bool:
        """Every slice ended on its stop bit and every macroblock of both fields was read."""
        return not self.errors and all(one.complete for one in self.fields)

    @property
    def vectors_exact(self) -> bool:
        """False: some vectors of either field are estimates."""
        return all(one.vectors_exact for one in self.fields)

    @property
    def energy(self) -> NDArray[np.float32]:
        """As `Picture.energy`, of the frame. A 4x4 block of a field covers 4x8 of it: half of the energy to each."""
        parts = (
            _halves(*(one.luma_energy for one in self.fields)),
            _halves(*(one.chroma_energy for one in self.fields)),
        )
        return np.concatenate([part.reshape(-1) for part in parts])

    @property
    def luma_energy(self) -> NDArray[np.float32]:
        """float32 (4 * rows, 4 * columns)."""
        return self.energy[: 16 * self.rows * self.columns].reshape(4 * self.rows, 4 * self.columns)

    @property
    def chroma_energy(self) -> NDArray[np.float32]:
        """float32, laid out as `Picture.chroma_energy`."""
        across = 4 if self.sps.chroma_array_type == 3 else 2
        return self.energy[16 * self.rows * self.columns :].reshape(2, -1, across * self.columns)

    @property
    def bits(self) -> NDArray[np.float32]:
        """float32 (rows, columns): half of the bits of each macroblock that covers a place, of either field."""
        top, bottom = (one.bits.astype(np.float32) for one in self.fields)
        return _halves(top, bottom)

    @property
    def qp(self) -> NDArray[np.int32]:
        """int32 (rows, columns): QPY. Macroblock row k of the top field stands in row 2k, of the bottom field in row
        2k + 1, as FFmpeg exports them: both cover both rows."""
        return _by_turns(*(one.qp for one in self.fields))

    @property
    def parsed(self) -> NDArray[np.bool_]:
        """bool (rows, columns), laid out as `qp`."""
        return _by_turns(*(one.parsed for one in self.fields))


@dataclass
class FirstField:
    """A field that came alone in its packet, and what was wrong there."""

    picture: Picture
    errors: list[str]


def is_completed_by(first: FirstField | None, pictures: Sequence[list[tuple[SliceHeader, bytes]]]) -> bool:
    """Whether the slices of the next packet are the second field of the frame that `first` has begun."""
    return first is not None and len(pictures) == 1 and pictures[0][0][0].completes(first.picture.headers[0])


def frame_of(
    pictures: list[Picture], errors: list[str], before: FirstField | None = None
) -> tuple[Picture | FieldPair, FirstField | None]:
    """The frame of a packet: its one picture, or its fields in the order in which they were sent, the first of them
    `before` in a packet of its own. Beside it a first field that waits for the second one."""
    if before is not None:
        pictures, errors = [before.picture, *pictures], before.errors + errors
    first = pictures[0]
    if first.parity is None:
        first.errors += errors
        return first, None
    half = len(pictures) == 1
    other = first.nothing_of(1 - first.parity) if half else pictures[1]
    top, bottom = (first, other) if first.parity == 0 else (other, first)
    frame = FieldPair((top, bottom), errors + top.errors + bottom.errors, half, before is not None)
    return frame, FirstField(first, errors) if half else None


def _halves(top: NDArray[np.float32], bottom: NDArray[np.float32]) -> NDArray[np.float32]:
    """(..., rows, columns) of both fields -> (..., 2 * rows, columns) of the frame."""
    return np.repeat((top + bottom) * np.float32(0.5), 2, axis=-2)


def _by_turns(top: NDArray, bottom: NDArray) -> NDArray:
    return np.stack([top, bottom], 1).reshape(-1, top.shape[1])
