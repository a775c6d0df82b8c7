"""Clause 7.3.6: slice segment headers, read by a kernel into words, and what Python asks of them.

A header says all about the references of its picture: POC differences, lists, which picture is the co-located one.
What a dependent slice segment takes over from the segment before it stays in the words.
"""

from __future__ import annotations

from numba import int32

from codecmeta.codecs.hevc.reference_sets import bits_for, long_term_pictures, se, st_ref_pic_set, u, ue
from codecmeta.codecs.hevc.state import (
    BAD_SYNTAX,
    BIT_POSITION,
    H_ACROSS_SLICES,
    H_ADDRESS,
    H_CABAC_INIT,
    H_CB_OFFSET,
    H_CHROMA_DENOM,
    H_CHROMA_WEIGHTS,
    H_COLLOCATED_L0,
    H_COLLOCATED_REF,
    H_CR_OFFSET,
    H_DATA_BYTE,
    H_DEBLOCKING_DISABLED,
    H_DELTA,
    H_DEPENDENT,
    H_ENTRIES,
    H_ENTRY_0,
    H_FIRST,
    H_LUMA_DENOM,
    H_LUMA_WEIGHTS,
    H_MAX_MERGE,
    H_MODIFIED_0,
    H_MVD_L1_ZERO,
    H_NO_OUTPUT,
    H_NUM_ENTRIES,
    H_NUM_NEGATIVE,
    H_NUM_PIC_TOTAL_CURR,
    H_NUM_POSITIVE,
    H_NUM_REF_0,
    H_NUM_REF_1,
    H_OFFSET_LEN,
    H_OUTPUT,
    H_POC_LSB,
    H_PPS,
    H_QP,
    H_SAO_CHROMA,
    H_SAO_LUMA,
    H_SLICE_ADDRESS,
    H_ST_INDEX,
    H_ST_SPS_FLAG,
    H_TEMPORAL_MVP,
    H_TYPE,
    H_USED,
    H_WEIGHTS,
    K_ACROSS_SLICES,
    K_BIT_DEPTH,
    K_CABAC_INIT,
    K_CHROMA,
    K_CTB_COLUMNS,
    K_CTB_ROWS,
    K_DEBLOCKING_DISABLED,
    K_DEPENDENT,
    K_EXTRA_BITS,
    K_HEADER_EXTENSION,
    K_INIT_QP,
    K_LOG2_MAX_POC_LSB,
    K_LONG_TERM,
    K_MAX_ENTRIES,
    K_MODIFICATION,
    K_NUM_REF_0,
    K_NUM_REF_1,
    K_NUM_ST,
    K_OUTPUT_FLAG,
    K_OVERRIDE,
    K_SAO,
    K_SLICE_CHROMA,
    K_ST,
    K_TEMPORAL_MVP,
    K_TILES,
    K_VALID,
    K_WEIGHTED,
    K_WEIGHTED_BI,
    K_WPP,
    NAL_UNIT_TYPE,
    OK,
    ST_SIZE,
    STATUS,
    B,
    I,
)
from codecmeta.codecs.syntax.jit import I32A, I32P, I64, I64A, I64P, U8A, U8P, kernel, pointer

NO_PARAMETER_SET, REFUSED = 100, 101  # further STATUS of `slice_segment_header`


@kernel(I64(I64P, U8P, I32P, I32P))
def pred_weight_table(s, d, k, h):
    """7.3.6.3 -> STATUS; a weight that is not sent is 1 << denominator, an offset 0."""
    h[H_WEIGHTS] = 1
    luma = ue(s, d)
    h[H_LUMA_DENOM] = luma
    chroma = luma + (se(s, d) if k[K_CHROMA] else I64(0))
    h[H_CHROMA_DENOM] = chroma
    if s[STATUS] or luma > 7 or chroma < 0 or chroma > 7:
        s[STATUS] = BAD_SYNTAX
        return I64(0)
    for list_ in range(2 if h[H_TYPE] == B else 1):
        count = I64(h[H_NUM_REF_0 + list_])
        luma_flags, chroma_flags = I64(0), I64(0)
        for i in range(count):
            luma_flags |= u(s, d, 1) << i
        if k[K_CHROMA]:
            for i in range(count):
                chroma_flags |= u(s, d, 1) << i
        for i in range(count):
            at = H_LUMA_WEIGHTS + 32 * list_ + 2 * i
            h[at] = 1 << luma
            h[at + 1] = 0
            if (luma_flags >> i) & 1:
                h[at] += se(s, d)
                h[at + 1] = se(s, d)
            for j in range(2):
                at = H_CHROMA_WEIGHTS + 64 * list_ + 4 * i + 2 * j
                h[at] = 1 << chroma
                h[at + 1] = 0
                if (chroma_flags >> i) & 1:
                    delta = se(s, d)
                    h[at] += delta
                    weight = (1 << chroma) + delta
                    offset = se(s, d) + 128 - ((128 * weight) >> chroma)
                    h[at + 1] = min(max(offset, -128), 127)
        if s[STATUS]:
            return I64(0)
    return I64(0)


@kernel(I64(I64P, U8P, I32P, I32P))
def references_of_header(s, d, k, h):
    """From slice_sao flags' successors to five_minus_max_num_merge_cand, in P and B slices -> STATUS."""
    b = h[H_TYPE] == B
    h[H_NUM_REF_0] = k[K_NUM_REF_0]
    h[H_NUM_REF_1] = k[K_NUM_REF_1] if b else 0
    if u(s, d, 1):  # num_ref_idx_active_override_flag
        h[H_NUM_REF_0] = ue(s, d) + 1
        if b:
            h[H_NUM_REF_1] = ue(s, d) + 1
    if s[STATUS] or h[H_NUM_REF_0] > 15 or h[H_NUM_REF_1] > 15:
        s[STATUS] = BAD_SYNTAX
        return I64(0)
    total = I64(h[H_NUM_PIC_TOTAL_CURR])
    if k[K_MODIFICATION] and total > 1:
        for list_ in range(2 if b else 1):
            h[H_MODIFIED_0 + list_] = u(s, d, 1)
            if h[H_MODIFIED_0 + list_]:
                for i in range(I64(h[H_NUM_REF_0 + list_])):
                    h[H_ENTRY_0 + 16 * list_ + i] = u(s, d, bits_for(total))
                    if h[H_ENTRY_0 + 16 * list_ + i] >= total:
                        s[STATUS] = BAD_SYNTAX
                        return I64(0)
    if b:
        h[H_MVD_L1_ZERO] = u(s, d, 1)
    if k[K_CABAC_INIT]:
        h[H_CABAC_INIT] = u(s, d, 1)
    if h[H_TEMPORAL_MVP]:
        if b:
            h[H_COLLOCATED_L0] = u(s, d, 1)
        count = I64(h[H_NUM_REF_0] if h[H_COLLOCATED_L0] else h[H_NUM_REF_1])
        if count > 1:
            h[H_COLLOCATED_REF] = ue(s, d)
            if h[H_COLLOCATED_REF] >= count or h[H_COLLOCATED_REF] < 0:
                s[STATUS] = BAD_SYNTAX
                return I64(0)
    if (k[K_WEIGHTED] and not b) or (k[K_WEIGHTED_BI] and b):
        pred_weight_table(s, d, k, h)
    h[H_MAX_MERGE] = 5 - ue(s, d)
    if s[STATUS] or h[H_MAX_MERGE] < 1 or h[H_MAX_MERGE] > 5:
        s[STATUS] = BAD_SYNTAX
    return I64(0)


@kernel(I64(I64P, U8P, I32P, I32P))
def independent_header(s, d, k, h):
    """What only the first segment of a slice has -> STATUS."""
    for i in range(H_TYPE, H_NUM_ENTRIES):
        h[i] = 0
    h[H_NUM_PIC_TOTAL_CURR] = h[H_NUM_NEGATIVE] = h[H_NUM_POSITIVE] = 0
    h[H_SLICE_ADDRESS] = h[H_ADDRESS]
    u(s, d, I64(k[K_EXTRA_BITS]))
    slice_type = ue(s, d)
    irap = s[NAL_UNIT_TYPE] >= 16
    if s[STATUS] or slice_type > 2 or (irap and slice_type != I):
        s[STATUS] = BAD_SYNTAX
        return I64(0)
    h[H_TYPE] = slice_type
    h[H_OUTPUT] = 1
    h[H_COLLOCATED_L0] = 1
    h[H_MAX_MERGE] = 5
    if k[K_OUTPUT_FLAG]:
        h[H_OUTPUT] = u(s, d, 1)
    current = I64(0)
    if s[NAL_UNIT_TYPE] != 19 and s[NAL_UNIT_TYPE] != 20:  # not IDR
        h[H_POC_LSB] = u(s, d, I64(k[K_LOG2_MAX_POC_LSB]))
        h[H_ST_SPS_FLAG] = u(s, d, 1)
        if h[H_ST_SPS_FLAG]:
            index = u(s, d, bits_for(I64(k[K_NUM_ST])))
            if index >= k[K_NUM_ST]:
                s[STATUS] = BAD_SYNTAX
                return I64(0)
            h[H_ST_INDEX] = index
            source = K_ST + ST_SIZE * index
            h[H_NUM_NEGATIVE], h[H_NUM_POSITIVE] = k[source], k[source + 1]
            for i in range(I64(k[source]) + k[source + 1]):
                h[H_DELTA + i] = k[source + 2 + i]
                h[H_USED + i] = k[source + 18 + i]
        else:
            h[H_ST_INDEX] = -1
            st_ref_pic_set(s, d, k, h)
        if s[STATUS]:
            return I64(0)
        for i in range(I64(h[H_NUM_NEGATIVE]) + h[H_NUM_POSITIVE]):
            current += h[H_USED + i]
        if k[K_LONG_TERM]:
            current += long_term_pictures(s, d, k, h)
        if k[K_TEMPORAL_MVP]:
            h[H_TEMPORAL_MVP] = u(s, d, 1)
    h[H_NUM_PIC_TOTAL_CURR] = current
    if k[K_SAO]:
        h[H_SAO_LUMA] = u(s, d, 1)
        if k[K_CHROMA]:
            h[H_SAO_CHROMA] = u(s, d, 1)
    if slice_type != I:
        if current == 0:
            s[STATUS] = BAD_SYNTAX
            return I64(0)
        references_of_header(s, d, k, h)
    h[H_QP] = k[K_INIT_QP] + se(s, d)
    if s[STATUS] or h[H_QP] > 51 or h[H_QP] < -6 * (k[K_BIT_DEPTH] - 8):
        s[STATUS] = BAD_SYNTAX
        return I64(0)
    if k[K_SLICE_CHROMA]:
        h[H_CB_OFFSET] = se(s, d)
        h[H_CR_OFFSET] = se(s, d)
        if abs(h[H_CB_OFFSET]) > 12 or abs(h[H_CR_OFFSET]) > 12:
            s[STATUS] = BAD_SYNTAX
            return I64(0)
    override = u(s, d, 1) if k[K_OVERRIDE] else I64(0)
    h[H_DEBLOCKING_DISABLED] = k[K_DEBLOCKING_DISABLED]
    if override:
        h[H_DEBLOCKING_DISABLED] = u(s, d, 1)
        if not h[H_DEBLOCKING_DISABLED]:
            se(s, d)
            se(s, d)
    h[H_ACROSS_SLICES] = k[K_ACROSS_SLICES]
    if k[K_ACROSS_SLICES] and (h[H_SAO_LUMA] or h[H_SAO_CHROMA] or not h[H_DEBLOCKING_DISABLED]):
        h[H_ACROSS_SLICES] = u(s, d, 1)
    return I64(0)


@kernel(I64(I64A, U8A, int32[:, ::1], I32A), entry=True)
def slice_segment_header(s, d, pairs, h):
    """slice_segment_header() of the RBSP `d`, BIT_END bits of it, NAL_UNIT_TYPE set -> STATUS; words into `h`.

    pairs: the words of all parameter set pairs by PPS id. H_DATA_BYTE is where slice_segment_data() starts. The words
    of a dependent segment are those of the slice it belongs to.
    """
    s, d, h = pointer(s), pointer(d), pointer(h)
    s[STATUS] = OK
    s[BIT_POSITION] = 0
    h[H_FIRST] = u(s, d, 1)
    h[H_NO_OUTPUT] = u(s, d, 1) if s[NAL_UNIT_TYPE] >= 16 and s[NAL_UNIT_TYPE] <= 23 else 0
    pps_id = ue(s, d)
    if s[STATUS] or pps_id > 63:
        s[STATUS] = BAD_SYNTAX
        return s[STATUS]
    h[H_PPS] = pps_id
    k = pointer(pairs[pps_id])
    if k[K_VALID] != 1:
        s[STATUS] = NO_PARAMETER_SET if k[K_VALID] == 0 else REFUSED
        return s[STATUS]
    h[H_DEPENDENT] = 0
    h[H_ADDRESS] = 0
    ctbs = I64(k[K_CTB_COLUMNS]) * k[K_CTB_ROWS]
    if not h[H_FIRST]:
        if k[K_DEPENDENT]:
            h[H_DEPENDENT] = u(s, d, 1)
        h[H_ADDRESS] = u(s, d, bits_for(ctbs))
        if h[H_ADDRESS] >= ctbs or h[H_ADDRESS] == 0:
            s[STATUS] = BAD_SYNTAX
    if not s[STATUS] and not h[H_DEPENDENT]:
        independent_header(s, d, k, h)
    h[H_NUM_ENTRIES] = 0
    if not s[STATUS] and (k[K_TILES] or k[K_WPP]):
        count = ue(s, d)
        if count > k[K_MAX_ENTRIES] or s[STATUS]:
            s[STATUS] = BAD_SYNTAX
            return s[STATUS]
        h[H_NUM_ENTRIES] = count
        if count:
            length = ue(s, d) + 1
            if length > 32:
                s[STATUS] = BAD_SYNTAX
                return s[STATUS]
            h[H_OFFSET_LEN] = length
            for i in range(count):
                offset = u(s, d, length) + 1
                h[H_ENTRIES + i] = min(offset, I64(0x7FFFFFFF))
    if not s[STATUS] and k[K_HEADER_EXTENSION]:
        length = ue(s, d)
        if length > 256:
            s[STATUS] = BAD_SYNTAX
        for _ in range(min(length, I64(256))):
            u(s, d, 8)
    if not s[STATUS]:
        if not u(s, d, 1):  # byte_alignment()
            s[STATUS] = BAD_SYNTAX
        h[H_DATA_BYTE] = (s[BIT_POSITION] + 7) >> 3
    return s[STATUS]
