"""The true residual of H.264 blocks, from FFmpeg's pixels."""

from __future__ import annotations

import numpy as np

from codecmeta.codecs.h264 import state

TOLERANCE = 0.51  # grey levels rms: the final rounding of the inverse transform is half a level


def _residual(now, before, x, y, size, dx, dy, shift, height=None):
    """Decoded minus predicted samples; None where clipping may have hidden a part."""
    height = height or size
    block = now[y : y + height, x : x + size]
    if block.min() == 0 or block.max() == (256 << shift) - 1:
        return None
    rows = np.clip(np.arange(y + dy, y + dy + height), 0, before.shape[0] - 1)
    columns = np.clip(np.arange(x + dx, x + dx + size), 0, before.shape[1] - 1)
    return block - before[np.ix_(rows, columns)]


def _differences(energy, residual):
    """How far apart in rms, or infinite where one is zero and the other is not."""
    measured = float((residual.astype(float) ** 2).sum())
    if (energy == 0) and measured:
        return np.inf
    return abs(np.sqrt(energy / residual.size) - np.sqrt(measured / residual.size))


def inter_differences(pictures, planes):
    """By kind of block, the differences between parsed and measured energy of blocks predicted from one picture."""
    found = {"luma 4x4": [], "luma 8x8": [], "chroma": []}
    zero = {kind: 0 for kind in found}
    for i, picture in enumerate(pictures):
        if picture.slice_type == "I":
            continue
        shift = picture.sps.bit_depth_luma - 8
        for y in range(2 * picture.rows):
            for x in range(2 * picture.columns):
                mb = (y // 2) * picture.columns + x // 2
                block = 2 * (y % 2) + x % 2
                flags = picture.macroblocks[0, mb]
                refs = picture.references[:, mb, block]
                if flags & state.M_INTRA or (refs[0] >= 0) == (refs[1] >= 0):
                    continue
                used = int(refs[1] >= 0)
                packed = picture.vectors[used, 1 + 2 * y : 3 + 2 * y, 1 + 2 * x : 3 + 2 * x]
                if (packed != packed[0, 0]).any():
                    continue
                vector = int(np.int16(packed[0, 0] & 0xFFFF)), int(packed[0, 0] >> 16)
                reference = planes[picture.lists[picture.macroblocks[3, mb]][used][refs[used]]]
                if vector[0] % 4 == 0 and vector[1] % 4 == 0:
                    residual = _residual(
                        planes[i][0], reference[0], 8 * x, 8 * y, 8, vector[0] // 4, vector[1] // 4, shift
                    )
                    if residual is not None:
                        energy = picture.luma_energy[2 * y : 2 * y + 2, 2 * x : 2 * x + 2]
                        if flags & state.M_T8X8:
                            found["luma 8x8"].append(_differences(energy.sum(), residual))
                            zero["luma 8x8"] += energy.sum() == 0
                        else:
                            for r in range(2):
                                for c in range(2):
                                    part = residual[4 * r : 4 * r + 4, 4 * c : 4 * c + 4]
                                    found["luma 4x4"].append(_differences(energy[r, c], part))
                                    zero["luma 4x4"] += energy[r, c] == 0
                down = 2 if picture.sps.chroma_format_idc == 2 else 1  # 4x4 chroma blocks to an 8x8 luma block
                if vector[0] % 8 == 0 and vector[1] % (8 // down) == 0:
                    for plane in range(1, len(planes[i])):
                        at, moved = (4 * x, 4 * down * y), (vector[0] // 8, vector[1] * down // 8)
                        residual = _residual(planes[i][plane], reference[plane], *at, 4, *moved, shift, 4 * down)
                        if residual is not None:
                            for part, rows in enumerate(residual.reshape(down, 4, 4)):
                                energy = picture.chroma_energy[plane - 1, down * y + part, x]
                                found["chroma"].append(_differences(energy, rows))
                                zero["chroma"] += energy == 0
    return found, zero
