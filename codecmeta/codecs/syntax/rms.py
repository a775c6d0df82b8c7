"""The residual signal of both parsers: energies of blocks of a picture as root mean squares."""

from __future__ import annotations

import math

from numba import types

from codecmeta.codecs.syntax.jit import F32A, F64, I64, VOID, kernel

RMS = VOID(F32A, I64, I64, F64, types.float32[:, ::1], types.float32[:, ::1])


@kernel(RMS)
def rms_of_blocks(energy, luma_scale, chroma_scale, largest, luma, chroma):
    """Root mean squares per 8x8 luma block, float32 (rows, columns) each: divided by the scales, `largest` at most;
    `chroma` over both planes. energy: float32 sums of squares per 4x4 samples, in raster order: luma, Cb, Cr.

    Each parser has an entry kernel of its own around it, so that one does not wait for the other to be compiled.
    """
    rows, columns = luma.shape
    blue = 4 * rows * columns
    red = blue + rows * columns
    for y in range(rows):
        for x in range(columns):
            at = 4 * y * columns + 2 * x
            below = at + 2 * columns
            total = (energy[at] + energy[below]) + (energy[at + 1] + energy[below + 1])
            luma[y, x] = min(math.sqrt(total / 64) / luma_scale, largest)
            at = y * columns + x
            chroma[y, x] = min(math.sqrt((energy[blue + at] + energy[red + at]) / 32) / chroma_scale, largest)
