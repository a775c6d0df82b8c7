"""What the slices of one picture say, as arrays per macroblock and per 4x4 block."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from codecmeta.codecs.h264.parameter_sets import SPS
from codecmeta.codecs.h264.slice_header import B, SliceHeader
from codecmeta.codecs.h264.state import M_FIELD
from codecmeta.codecs.protocol import Coded


@dataclass
class Picture:
    """What the slices of a picture, a frame or a field, say. Rows and columns count macroblocks or 4x4 blocks of it."""

    sps: SPS
    headers: list[SliceHeader]
    macroblocks: np.ndarray  # int32 (4, rows * columns): flags (state.M_*), bits, QPY, slice number (-1: not parsed)
    energy: np.ndarray  # float32, luma then Cb then Cr, 4x4 blocks
    vectors: np.ndarray  # int32 (2, 4 * rows + 1, STRIDE): packed, one row above and one column before; set where used
    references: np.ndarray  # int8 (2, rows * columns, 4): refIdx per 8x8 block, -1 not used
    errors: list[str] = field(default_factory=list)
    identity: int = -1  # number in decoding order; -1: parsed by random access
    order: int = 0  # PicOrderCnt; 0: parsed by random access
    lists: list[tuple[tuple[int, ...], tuple[int, ...]]] = field(
        default_factory=list
    )  # [slice][list][refIdx]: identity of the frame, -1 for a missing one; empty where frames were lost
    parity: int | None = None  # 0 a top field, 1 a bottom field, None a frame
    parities: list[tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=list)  # of a field's `lists`
    vectors_exact: bool = True  # False: direct vectors, and what is predicted from them, are estimates

    @property
    def mbaff(self) -> bool:
        """A frame of pairs of macroblocks (MbaffFrameFlag)."""
        return self.sps.mb_adaptive_frame_field_flag and self.parity is None

    def raster_of(self, first_mb_in_slice: int) -> int:
        """Where the first macroblock of a slice stands in `macroblocks`."""
        if not self.mbaff:
            return first_mb_in_slice
        y, x = divmod(first_mb_in_slice, self.columns)
        return 2 * y * self.columns + x

    def behind(self, first_mb_in_slice: int) -> NDArray[np.int64]:
        """The macroblocks from the first one of a slice on, places in `macroblocks`."""
        order = np.arange(self.rows * self.columns)
        if self.mbaff:
            order = order.reshape(-1, 2, self.columns).transpose(0, 2, 1).reshape(-1)
            first_mb_in_slice *= 2
        return order[first_mb_in_slice:]

    @property
    def field_macroblocks(self) -> NDArray[np.bool_]:
        """bool (rows, columns): of an MBAFF frame; both of such a pair cover the lines of both."""
        return (self.flags >> M_FIELD & 1).astype(bool)

    @property
    def rows(self) -> int:
        """Macroblock rows."""
        return self.sps.frame_height_in_mbs >> (self.parity is not None)

    @property
    def columns(self) -> int:
        """Macroblock columns."""
        return self.sps.pic_width_in_mbs

    @property
    def slice_type(self) -> str:
        """'B' if any slice is B, else 'P' if any is P, else 'I'."""
        types = {header.slice_type for header in self.headers}
        return "B" if B in types else "P" if 0 in types else "I"

    @property
    def flags(self) -> np.ndarray:
        """int32 (rows, columns): macroblock type bits, state.M_*."""
        return self.macroblocks[0].reshape(self.rows, self.columns)

    @property
    def bits(self) -> np.ndarray:
        """int32 (rows, columns): bits of each macroblock, 0 where not parsed. float32 in an MBAFF frame: a pair of
        field macroblocks has half of their bits in each place."""
        bits = self.macroblocks[1].reshape(self.rows, self.columns)
        if not self.mbaff:
            return bits
        pairs = bits.reshape(-1, 2, self.columns)
        of_fields = self.field_macroblocks.reshape(pairs.shape).any(1, keepdims=True)
        halves = pairs.sum(1, keepdims=True) * np.float32(0.5)
        return np.where(of_fields, halves, pairs).astype(np.float32).reshape(bits.shape)

    @property
    def qp(self) -> np.ndarray:
        """int32 (rows, columns): QPY, -QpBdOffset for I_PCM. Of field macroblocks of an MBAFF frame that of the top
        field stands in the upper row, as FFmpeg exports them: both cover both rows."""
        return self.macroblocks[2].reshape(self.rows, self.columns)

    @property
    def parsed(self) -> np.ndarray:
        """bool (rows, columns): macroblocks that were read; the others have no flags, bits, QP or energy."""
        return (self.macroblocks[3] >= 0).reshape(self.rows, self.columns)

    @property
    def complete(self) -> bool:
        """Every slice ended on its stop bit and every macroblock was read."""
        return not self.errors and bool((self.macroblocks[3] >= 0).all())

    def forget(self, macroblocks: NDArray[np.int64]) -> None:
        """Turn these macroblocks (raster order) into ones that were not parsed: no flags, bits, QP or energy."""
        self.macroblocks[:3, macroblocks] = 0
        self.macroblocks[3, macroblocks] = -1
        y, x = np.divmod(macroblocks, self.columns)
        for plane in (self.luma_energy, *self.chroma_energy):
            down, across = plane.shape[0] // self.rows, plane.shape[1] // self.columns
            plane.reshape(self.rows, down, self.columns, across)[y, :, x] = 0
        self.references[:, macroblocks] = -1

    @property
    def luma_energy(self) -> np.ndarray:
        """float32 (4 * rows, 4 * columns): squared grey levels of the luma residual per 4x4 block.

        An 8x8 transform's energy is spread evenly over its four blocks; a lossless block has no transform.
        """
        return self.energy[: 16 * self.rows * self.columns].reshape(4 * self.rows, 4 * self.columns)

    @property
    def chroma_energy(self) -> np.ndarray:
        """float32 (2, 2 * rows, 2 * columns): Cb and Cr residual energy per 4x4 chroma block; zero in monochrome. In
        4:2:2 it has 4 * rows, in 4:4:4 the shape of both planes is that of luma."""
        across = 4 if self.sps.chroma_array_type == 3 else 2
        return self.energy[16 * self.rows * self.columns :].reshape(2, -1, across * self.columns)

    def nothing_of(self, parity: int) -> Picture:
        """The other field of this one's frame, where nothing of it is known."""
        nothing = replace(
            self,
            headers=[],
            macroblocks=np.zeros_like(self.macroblocks),
            energy=np.zeros_like(self.energy),
            vectors=np.zeros_like(self.vectors),
            references=np.full_like(self.references, -1),
            errors=["a field is missing"],
            lists=[],
            parity=parity,
            parities=[],
        )
        nothing.macroblocks[3] = -1
        return nothing


def coded_of(sps: SPS) -> Coded:
    """Size and crop of the pictures of a sequence parameter set."""
    return Coded(sps.width, sps.height, sps.crop_left, sps.crop_top, sps.crop_right, sps.crop_bottom)
