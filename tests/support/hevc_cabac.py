"""The writing half of HEVC's entropy coding: contexts and the arithmetic encoder of 9.3.5.

Slice data are first a list of numbers (a bin and its context, a bypass bin, ...); `encode` turns them into bytes.
"""

from __future__ import annotations

import numpy as np
from numba import njit

# a context-coded bin is ctxIdx << 1 | binVal
BYPASS, TERMINATE, RAW, RESTART, STORE = 512, 514, 516, 518, 520

# (number of contexts; initValue for initType 0, 1, 2) by syntax element: Tables 9-5 to 9-37; 154: not used
CONTEXTS = {
    "sao_merge": ([153], [153], [153]),
    "sao_type_idx": ([200], [185], [160]),
    "split_cu_flag": ([139, 141, 157], [107, 139, 126], [107, 139, 126]),
    "cu_transquant_bypass_flag": ([154], [154], [154]),
    "cu_skip_flag": ([154, 154, 154], [197, 185, 201], [197, 185, 201]),
    "pred_mode_flag": ([154], [149], [134]),
    "part_mode": ([184, 154, 154, 154], [154, 139, 154, 154], [154, 139, 154, 154]),
    "prev_intra_luma_pred_flag": ([184], [154], [183]),
    "intra_chroma_pred_mode": ([63], [152], [152]),
    "rqt_root_cbf": ([154], [79], [79]),
    "merge_flag": ([154], [110], [154]),
    "merge_idx": ([154], [122], [137]),
    "inter_pred_idc": ([154] * 5, [95, 79, 63, 31, 31], [95, 79, 63, 31, 31]),
    "ref_idx": ([154, 154], [153, 153], [153, 153]),
    "mvp_flag": ([154], [168], [168]),
    "split_transform_flag": ([153, 138, 138], [124, 138, 94], [224, 167, 122]),
    "cbf_luma": ([111, 141], [153, 111], [153, 111]),
    "cbf_chroma": ([94, 138, 182, 154], [149, 107, 167, 154], [149, 92, 167, 154]),
    "abs_mvd_greater0_flag": ([154], [140], [169]),
    "abs_mvd_greater1_flag": ([154], [198], [198]),
    "cu_qp_delta_abs": ([154, 154], [154, 154], [154, 154]),
    "transform_skip_flag": ([139, 139], [139, 139], [139, 139]),
    "last_x_prefix": (
        [110, 110, 124, 125, 140, 153, 125, 127, 140, 109, 111, 143, 127, 111, 79, 108, 123, 63],
        [125, 110, 94, 110, 95, 79, 125, 111, 110, 78, 110, 111, 111, 95, 94, 108, 123, 108],
        [125, 110, 124, 110, 95, 94, 125, 111, 111, 79, 125, 126, 111, 111, 79, 108, 123, 93],
    ),
    "last_y_prefix": (
        [110, 110, 124, 125, 140, 153, 125, 127, 140, 109, 111, 143, 127, 111, 79, 108, 123, 63],
        [125, 110, 94, 110, 95, 79, 125, 111, 110, 78, 110, 111, 111, 95, 94, 108, 123, 108],
        [125, 110, 124, 110, 95, 94, 125, 111, 111, 79, 125, 126, 111, 111, 79, 108, 123, 93],
    ),
    "coded_sub_block_flag": ([91, 171, 134, 141], [121, 140, 61, 154], [121, 140, 61, 154]),
    "sig_coeff_flag": (
        [111, 111, 125, 110, 110, 94, 124, 108, 124, 107, 125, 141, 179, 153, 125, 107, 125, 141, 179, 153, 125]
        + [107, 125, 141, 179, 153, 125, 140, 139, 182, 182, 152, 136, 152, 136, 153, 136, 139, 111, 136, 139, 111],
        [155, 154, 139, 153, 139, 123, 123, 63, 153, 166, 183, 140, 136, 153, 154, 166, 183, 140, 136, 153, 154]
        + [166, 183, 140, 136, 153, 154, 170, 153, 123, 123, 107, 121, 107, 121, 167, 151, 183, 140, 151, 183, 140],
        [170, 154, 139, 153, 139, 123, 123, 63, 124, 166, 183, 140, 136, 153, 154, 166, 183, 140, 136, 153, 154]
        + [166, 183, 140, 136, 153, 154, 170, 153, 138, 138, 122, 121, 122, 121, 167, 151, 183, 140, 151, 183, 140],
    ),
    "greater1_flag": (
        [140, 92, 137, 138, 140, 152, 138, 139, 153, 74, 149, 92]
        + [139, 107, 122, 152, 140, 179, 166, 182, 140, 227, 122, 197],
        [154, 196, 196, 167, 154, 152, 167, 182, 182, 134, 149, 136]
        + [153, 121, 136, 137, 169, 194, 166, 167, 154, 167, 137, 182],
        [154, 196, 167, 167, 154, 152, 167, 182, 182, 134, 149, 136]
        + [153, 121, 136, 122, 169, 208, 166, 167, 154, 152, 167, 182],
    ),
    "greater2_flag": (
        [138, 153, 136, 167, 152, 152],
        [107, 167, 91, 122, 107, 167],
        [107, 167, 91, 107, 107, 167],
    ),
}
FIRST = {}
for _name, _values in CONTEXTS.items():
    FIRST[_name] = sum(len(CONTEXTS[other][0]) for other in FIRST)
INIT_VALUES = np.array([sum((values[kind] for values in CONTEXTS.values()), []) for kind in range(3)], np.int64)

# rangeTabLps and transIdxLps of 9.3.4.3.2, the tables of H.264
RANGE_LPS = np.array(
    [128, 176, 208, 240, 128, 167, 197, 227, 128, 158, 187, 216, 123, 150, 178, 205, 116, 142, 169, 195, 111, 135]
    + [160, 185, 105, 128, 152, 175, 100, 122, 144, 166, 95, 116, 137, 158, 90, 110, 130, 150, 85, 104, 123, 142]
    + [81, 99, 117, 135, 77, 94, 111, 128, 73, 89, 105, 122, 69, 85, 100, 116, 66, 80, 95, 110, 62, 76, 90, 104]
    + [59, 72, 86, 99, 56, 69, 81, 94, 53, 65, 77, 89, 51, 62, 73, 85, 48, 59, 69, 80, 46, 56, 66, 76, 43, 53, 63]
    + [72, 41, 50, 59, 69, 39, 48, 56, 65, 37, 45, 54, 62, 35, 43, 51, 59, 33, 41, 48, 56, 32, 39, 46, 53, 30, 37]
    + [43, 50, 29, 35, 41, 48, 27, 33, 39, 45, 26, 31, 37, 43, 24, 30, 35, 41, 23, 28, 33, 39, 22, 27, 32, 37, 21]
    + [26, 30, 35, 20, 24, 29, 33, 19, 23, 27, 31, 18, 22, 26, 30, 17, 21, 25, 28, 16, 20, 23, 27, 15, 19, 22, 25]
    + [14, 18, 21, 24, 14, 17, 20, 23, 13, 16, 19, 22, 12, 15, 18, 21, 12, 14, 17, 20, 11, 14, 16, 19, 11, 13, 15]
    + [18, 10, 12, 15, 17, 10, 12, 14, 16, 9, 11, 13, 15, 9, 11, 12, 14, 8, 10, 12, 14, 8, 9, 11, 13, 7, 9, 11, 12]
    + [7, 9, 10, 12, 7, 8, 10, 11, 6, 8, 9, 11, 6, 7, 9, 10, 6, 7, 8, 9, 2, 2, 2, 2]
).reshape(64, 4)
AFTER_LPS = np.array(
    [0, 0, 1, 2, 2, 4, 4, 5, 6, 7, 8, 9, 9, 11, 11, 12, 13, 13, 15, 15, 16, 16, 18, 18, 19, 19, 21, 21, 22, 22, 23]
    + [24, 24, 25, 26, 26, 27, 27, 28, 29, 29, 30, 30, 30, 31, 32, 32, 33, 33, 33, 34, 34, 35, 35, 35, 36, 36, 36]
    + [37, 37, 37, 38, 38, 63]
)


def initial_contexts(init_type: int, slice_qp: int) -> np.ndarray:
    """9.3.2.2: pStateIdx << 1 | valMps of every context."""
    value = INIT_VALUES[init_type]
    slope, offset = (value >> 4) * 5 - 45, ((value & 15) << 3) - 16
    state = np.clip(((slope * min(max(slice_qp, 0), 51)) >> 4) + offset, 1, 126)
    mps = state > 63
    return np.where(mps, (state - 64) << 1 | 1, (63 - state) << 1).astype(np.int64)


@njit(cache=True, nogil=True)
def _put(bits, count, first, outstanding, bit):
    """PutBit: the first bit of an engine is dropped, outstanding ones follow inverted."""
    if not first:
        bits[count] = bit
        count += 1
    for _ in range(outstanding):
        bits[count] = 1 - bit
        count += 1
    return count


@njit(cache=True, nogil=True)
def _bits(symbols, contexts, stored):
    bits = np.zeros(len(symbols) * 10 + 64, np.uint8)
    count = np.int64(0)
    low, width, first, outstanding = 0, 510, True, 0
    for symbol in symbols:
        if symbol == STORE:
            stored[:] = contexts
            continue
        bin_value = symbol & 1
        kind = symbol & ~1
        if kind == RAW:
            bits[count] = bin_value
            count += 1
            continue
        if kind == RESTART:
            low, width, first, outstanding = 0, 510, True, 0
            continue
        if kind == BYPASS:
            low <<= 1
            if bin_value:
                low += width
            if low >= 1024:
                count, first, outstanding = _put(bits, count, first, outstanding, 1), False, 0
                low -= 1024
            elif low < 512:
                count, first, outstanding = _put(bits, count, first, outstanding, 0), False, 0
            else:
                low -= 512
                outstanding += 1
            continue
        if kind == TERMINATE:
            width -= 2
            if bin_value:
                low += width
                width = 2
        else:
            state, mps = contexts[symbol >> 1] >> 1, contexts[symbol >> 1] & 1
            lps = RANGE_LPS[state, (width >> 6) & 3]
            width -= lps
            if bin_value != mps:
                low += width
                width = lps
                if state == 0:
                    mps = 1 - mps
                state = AFTER_LPS[state]
            else:
                state = min(state + 1, 62)
            contexts[symbol >> 1] = state << 1 | mps
        while width < 256:
            if low < 256:
                count, first, outstanding = _put(bits, count, first, outstanding, 0), False, 0
            elif low >= 512:
                low -= 512
                count, first, outstanding = _put(bits, count, first, outstanding, 1), False, 0
            else:
                low -= 256
                outstanding += 1
            width <<= 1
            low <<= 1
        if kind == TERMINATE and bin_value:  # EncodeFlush: two more bits, the last one is the stop (alignment) bit
            count = _put(bits, count, first, outstanding, (low >> 9) & 1)
            bits[count] = (low >> 8) & 1
            bits[count + 1] = 1
            count += 2
            count += -count % 8  # zeros up to the byte
    return bits[:count]


def encode(symbols: list[int], contexts: np.ndarray, stored: np.ndarray) -> bytes:
    """One substream, which ends in a TERMINATE of 1; `contexts` and, at STORE, `stored` are left as after it."""
    return np.packbits(_bits(np.array(symbols, np.int64), contexts, stored)).tobytes()
