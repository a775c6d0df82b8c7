"""From packets to the signals of their frames, as many of them as a batch holds, in one call and without Python.

What is taken on is what most streams hold from end to end: frames of one sequence parameter set, whole, none missing.
The first packet with anything else is left untouched, the decoded picture buffer as it stands before it, for
`sequence.PictureSequence` to parse; `runs.py` goes to and fro between the two.
"""

from __future__ import annotations

from numba import types

from codecmeta.codecs.h264.header_kernels import slice_header
from codecmeta.codecs.h264.nal import PICTURE_PARAMETER_SET, SLICE_IDR, SLICE_NON_IDR
from codecmeta.codecs.h264.reference_kernels import begin_picture, dist_scale_factor, end_picture, reference_lists
from codecmeta.codecs.h264.run_state import (
    F_BEGIN,
    F_COUNT,
    F_END,
    F_EXACT,
    F_IDENTITY,
    F_OUT,
    F_ROW,
    F_TYPE,
    F_VECTORS,
    F_WANTED,
    H_CABAC_INIT,
    H_FIRST,
    H_FIRST_MB,
    H_QP,
    H_REFS_L0,
    H_SAME,
    H_SPATIAL,
    H_TYPE,
    IDENTITY,
    LENGTH_SIZE,
    LIST_SIZE,
    LISTS,
    LONG,
    MOST_SLICES,
    NO_ENTRY,
    P_CABAC,
    P_CB_OFFSET,
    P_CR_OFFSET,
    P_TRANSFORM_8X8,
    P_WEIGHTS,
    R_IDENTITY,
    R_ROW,
    R_SIZE,
    R_SLOT,
    R_SOUND,
    R_USE,
    REFERENCES,
    ROW,
    SLOT,
)
from codecmeta.codecs.h264.signals import write_qp_and_bits, write_rms, write_signal_vectors
from codecmeta.codecs.h264.slice_data import slice_data
from codecmeta.codecs.h264.slice_header import B, I
from codecmeta.codecs.h264.state import (
    CABAC,
    CABAC_INIT_IDC,
    CB_OFFSET,
    COLOCATED_LONG_TERM,
    CR_OFFSET,
    DIRECT_SPATIAL,
    FIRST_MB,
    HAVE_COLOCATED,
    K_MAP,
    K_SCALE,
    MBS_PARSED,
    NUM_REF_L0,
    PIC_MBS,
    SLICE_NUMBER,
    SLICE_QP,
    SLICE_TYPE,
    STOP_BIT,
    TRANSFORM_8X8_MODE,
)
from codecmeta.codecs.syntax.arithmetic import BYTE_END
from codecmeta.codecs.syntax.jit import (
    F32,
    F32A,
    F32P,
    F64,
    I8,
    I8A,
    I8P,
    I16,
    I16A,
    I16P,
    I32,
    I32A,
    I32P,
    I64,
    I64A,
    I64P,
    U8A,
    U8P,
    U16A,
    U16P,
    VOID,
    constant,
    kernel,
    pointer,
)

I8M, I16M, U16M = I8[:, ::1], I16[:, ::1], types.uint16[:, ::1]
I32M, I64M, F32M = I32[:, ::1], I64[:, ::1], F32[:, ::1]

PADDING = 16  # zero bytes behind a payload
SEI = 6  # nal_unit_type
PICTURE_TYPES = constant([ord("P"), ord("B"), ord("I")], "int64")  # by slice_type


@kernel(I64(U8P, I64, I64))
def start_code(p, at, end):
    """Where the next start code begins, `end` if there is none."""
    while at + 2 < end:
        if p[at + 2] > 1:
            at += 3
        elif p[at] == 0 and p[at + 1] == 0 and p[at + 2] == 1:
            return at
        else:
            at += 1
    return end


@kernel(types.UniTuple(I64, 3)(U8P, I64, I64, I64))
def nal_unit(p, at, end, length_size):
    """The NAL unit of a packet at `at`, behind the ones before it -> where it begins, where it ends, where the next one
    is; beginning at -1 where the lengths do not add up. length_size 0: `at` is a start code."""
    if length_size == 0:
        begin = min(at + 3, end)
        following = start_code(p, begin, end)
        stop = following
        while stop > begin and p[stop - 1] == 0:  # trailing_zero_8bits
            stop -= 1
        return begin, stop, following
    begin, length = at + length_size, I64(0)
    for i in range(at, min(begin, end)):
        length = length << 8 | p[i]
    if length == 0 or begin + length > end:
        return I64(-1), end, end
    return begin, begin + length, begin + length


@kernel(VOID(I64P, U8P, U8P, I64, I64))
def take_payload(s, d, p, begin, stop):
    """The RBSP of the NAL unit between two places into `d`: without emulation_prevention_three_bytes, and zeros behind
    it; where it ends, and its rbsp_stop_one_bit, go into `s`."""
    to, zeros = I64(0), I64(0)
    for i in range(begin + 1, stop):
        byte = p[i]
        if zeros >= 2 and byte == 3:
            zeros = I64(0)
            continue
        zeros = zeros + 1 if byte == 0 else I64(0)
        d[to] = byte
        to += 1
    while to and d[to - 1] == 0:  # cabac_zero_words may have had a byte taken out
        to -= 1
    for i in range(PADDING):
        d[to + i] = 0
    last = I64(d[to - 1]) if to else I64(0)
    behind = I64(0)
    while last and not last >> behind & 1:
        behind += 1
    s[BYTE_END], s[STOP_BIT] = to, 8 * to - 1 - behind


@kernel(VOID(I64P, I64P, I64P, I64P, I64))
def prepare_slice(s, b, y, h, own):
    """What the macroblocks ask of slice header and picture parameter set; reference lists."""
    slice_type = h[H_TYPE]
    s[SLICE_TYPE], s[FIRST_MB], s[SLICE_QP], s[DIRECT_SPATIAL] = slice_type, h[H_FIRST_MB], h[H_QP], h[H_SPATIAL]
    s[NUM_REF_L0], s[NUM_REF_L0 + 1] = h[H_REFS_L0], h[H_REFS_L0 + 1]
    s[CABAC_INIT_IDC] = 0 if slice_type == I else 1 + h[H_CABAC_INIT]
    s[CABAC], s[TRANSFORM_8X8_MODE] = y[own + P_CABAC], y[own + P_TRANSFORM_8X8]
    s[CB_OFFSET], s[CR_OFFSET] = y[own + P_CB_OFFSET], y[own + P_CR_OFFSET]
    if slice_type != I:
        reference_lists(b, h)


@kernel(VOID(I64P, I64P, I32P, I16P, I64))
def name_references(b, h, names, distances, number):
    """What the lists of slice `number` refer to: identities, which later pictures ask for, and by refIdx + 1 how many
    displayed frames later each reference is, 0 unknown."""
    for list_ in range(2):
        own = 2 * number + list_
        distances[33 * own] = 0
        for i in range(32):
            identity, distance = I64(NO_ENTRY), I64(0)
            if i < h[H_REFS_L0 + list_]:
                identity = I64(-1)
                reference = b[LISTS + LIST_SIZE * list_ + i]
                if reference >= 0:
                    at = REFERENCES + R_SIZE * reference
                    identity = b[at + R_IDENTITY]
                    if b[at + R_ROW] >= 0 and b[ROW] >= 0:
                        distance = b[at + R_ROW] - b[ROW]
            names[1 + 32 * own + i] = identity
            distances[33 * own + 1 + i] = distance if abs(distance) < 1 << 15 else 0
    names[0] = number + 1


@kernel(VOID(I64P, I64P, I32P, I32P))
def temporal_direct(b, h, names, k):
    """MapColToList0 and DistScaleFactor of the current slice, laid out as state.K_*; names: of the co-located picture.
    As `colocated.temporal_direct`."""
    for i in range(h[H_REFS_L0]):
        k[K_SCALE + i] = dist_scale_factor(b, b[LISTS + i], b[LISTS + LIST_SIZE])
    for at in range(64 * names[0]):
        k[K_MAP + at] = 0
        if names[1 + at] != NO_ENTRY:
            for i in range(h[H_REFS_L0]):
                reference = b[LISTS + i]
                if reference >= 0 and b[REFERENCES + R_SIZE * reference + R_IDENTITY] == names[1 + at]:
                    k[K_MAP + at] = i
                    break


@kernel(I64(I64P, I64P, I64P, I32M, I32P))
def colocated(s, b, h, names, k):
    """RefPicList1[0] of a B slice: which row of the arrays of pictures it is, whether the vectors of the slice are
    exact, and `k` where they are derived from it."""
    s[HAVE_COLOCATED], s[COLOCATED_LONG_TERM] = 0, 0
    if h[H_TYPE] != B:
        return b[SLOT]
    entry = b[LISTS + LIST_SIZE]
    at = REFERENCES + R_SIZE * entry
    if entry < 0 or b[at + R_SLOT] < 0:
        return b[SLOT]
    s[HAVE_COLOCATED], s[COLOCATED_LONG_TERM] = 1, I64(b[at + R_USE] == LONG)
    if not h[H_SPATIAL]:
        temporal_direct(b, h, pointer(names[b[at + R_SLOT]]), k)
    return b[at + R_SLOT]


@kernel(
    I64(
        *(I64P, I64P, U8P, U8P, I32P, F32P, I8P, U16P, I32P, F32M, U8P, I64P, I64P, I64P, I16P),
        *(I32M, I8M, I32M, I32M, I64, I64),
    )
)
def parse_picture(s, c, d, n, t, e, g, q, k, w, p, b, y, h, distances, pv, pr, pm, names, begin, end):
    """The picture of a packet, the bytes of `p` between two places -> its type, negative where some of its vectors are
    estimates; 0: it is none for a run."""
    length_size = b[LENGTH_SIZE]
    at = begin if length_size else start_code(p, begin, end)
    number, covered = I64(0), I64(0)
    slice_types, exact = I64(0), I64(1)
    while at < end:
        first, stop, at = nal_unit(p, at, end, length_size)
        if first < 0:
            return I64(0)
        if stop == first:
            continue
        kind = p[first] & 31
        if kind == 0 or kind > PICTURE_PARAMETER_SET or kind == SEI:
            continue
        if kind != SLICE_IDR and kind != SLICE_NON_IDR:
            return I64(0)
        take_payload(s, d, p, first, stop)
        own = slice_header(s, d, b, y, h, I64(p[first]))
        if own < 0 or h[H_FIRST_MB] != covered or covered >= s[PIC_MBS] or number == MOST_SLICES:
            return I64(0)
        if number == 0:
            if not begin_picture(b, h, pv.shape[0]):
                return I64(0)
            for i in range(H_FIRST):
                h[H_FIRST + i] = h[i]
        for i in range(H_SAME):
            if h[i] != h[H_FIRST + i]:
                return I64(0)
        prepare_slice(s, b, y, h, own)
        s[SLICE_NUMBER] = number
        name_references(b, h, pointer(names[b[SLOT]]), distances, number)
        of = colocated(s, b, h, names, k)
        if h[H_TYPE] == B:
            if not s[HAVE_COLOCATED] or b[LISTS] < 0 or not b[REFERENCES + R_SIZE * b[LISTS + LIST_SIZE] + R_SOUND]:
                exact = I64(0)
        m, v, r = pointer(pm[b[SLOT]]), pointer(pv[b[SLOT]]), pointer(pr[b[SLOT]])
        kv, kr, km = pointer(pv[of]), pointer(pr[of]), pointer(pm[of])
        if slice_data(s, c, d, n, t, pointer(w[y[own + P_WEIGHTS]]), m, e, v, g, q, r, kv, kr, km, k):
            return I64(0)
        covered += s[MBS_PARSED]
        slice_types |= I64(1) << h[H_TYPE]
        number += 1
    if number == 0 or covered != s[PIC_MBS]:
        return I64(0)
    for i in range(H_FIRST):
        h[i] = h[H_FIRST + i]
    end_picture(b, h, exact)
    of_picture = I64(B) if slice_types & 1 << B else (I64(0) if slice_types & 1 else I64(I))
    kind = I64(PICTURE_TYPES[of_picture])
    return kind if exact else -kind


@kernel(
    I64(
        *(I64A, I64A, U8A, U8A, I32A, F32A, I8A, U16A, I32A),
        *(I32A, I32A, I8A, I32A, I8A, I32A),
        *(F32M, U8A, I64A, I64A, I64A, I64M, I16A, I32M, I8M, I32M, I32M),
        *(F64, U16M, U16M, I16M, F32M, I32A, I16A),
    ),
    entry=True,
)
def parse(
    s, c, d, n, t, e, g, q, k,
    m, v, r, kv, kr, km,
    w, p, b, y, h, f, distances, pv, pr, pm, names,
    largest, luma, chroma, qp, bits, vectors, distance,
):  # fmt: skip
    """Without packets, rows of `f`: one slice as `slice_data` does, the weights of which are w[0] -> STATUS. Else the
    packets in order, until one is none for a run -> how many were parsed.

    One kernel for both, as it takes most of the time to compile the macroblocks. Arrays, which the caller keeps alive,
    become pointers here. m, v, r: of the picture of the one slice; pm, pv, pr, names: of all pictures that may still
    be referred to, a row each. luma, chroma, qp, bits: maps of those that are wanted, a row each, rms as
    the bits of float16; vectors, int32 words of `record.metadata.VECTOR`, and distance of them all, one behind another.
    """
    s, c, d, n, t, e = pointer(s), pointer(c), pointer(d), pointer(n), pointer(t), pointer(e)
    g, q, k, p, b, y, h = pointer(g), pointer(q), pointer(k), pointer(p), pointer(b), pointer(y), pointer(h)
    distances, vectors, distance = pointer(distances), pointer(vectors), pointer(distance)
    if f.shape[0] == 0:
        m, v, r, kv, kr, km = pointer(m), pointer(v), pointer(r), pointer(kv), pointer(kr), pointer(km)
        return slice_data(s, c, d, n, t, pointer(w[0]), m, e, v, g, q, r, kv, kr, km, k)
    out, count = I64(0), I64(0)
    for i in range(f.shape[0]):
        b[ROW] = f[i, F_ROW]
        kind = parse_picture(
            s, c, d, n, t, e, g, q, k, w, p, b, y, h, distances, pv, pr, pm, names, f[i, F_BEGIN], f[i, F_END]
        )
        if kind == 0:
            return I64(i)
        f[i, F_TYPE], f[i, F_EXACT], f[i, F_IDENTITY], f[i, F_OUT] = abs(kind), kind > 0, b[IDENTITY], -1
        picture = pointer(pm[b[SLOT]])
        write_rms(s, picture, e, largest, pointer(luma[out]), pointer(chroma[out]))
        if f[i, F_WANTED]:
            write_qp_and_bits(s, picture, pointer(qp[out]), pointer(bits[out]))
            f[i, F_OUT], f[i, F_VECTORS] = out, count
            count += write_signal_vectors(
                s, picture, pointer(pv[b[SLOT]]), pointer(pr[b[SLOT]]), distances, vectors, distance, count
            )
            f[i, F_COUNT] = count - f[i, F_VECTORS]
            out += 1
    return I64(f.shape[0])
