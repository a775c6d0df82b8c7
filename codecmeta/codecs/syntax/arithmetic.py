"""The arithmetic decoder that H.264 and H.265 share: H.264 clause 9.3.1.2 and 9.3.3.2, H.265 clause 9.3.4.3.

codIOffset is kept shifted up by 53 bits, with the bits that follow it in the stream below: renormalisation is a
shift, and four bytes are fetched once every 32 bits. SPARE_BITS counts the bits below; before each bin there are at
least eight. The bits consumed, in the sense of the standards, are 8 * BYTE_POSITION - SPARE_BITS.

`s` int64: the engine's five words first, then what each parser keeps there. `c` int64: context variables, each a word
of STATES. `d` uint8: the payload, followed by 16 zero bytes. Which contexts there are, and how they start, is each
codec's own.
"""

from __future__ import annotations

import json
from pathlib import Path

from numba import types

from codecmeta.codecs.syntax.jit import I64, I64P, U8P, VOID, constant, kernel, leading_zeros

COD_I_RANGE, COD_I_OFFSET, SPARE_BITS, BYTE_POSITION, BYTE_END = range(5)

_TABLES = json.loads(Path(__file__).with_name("arithmetic.json").read_text(encoding="ascii"))
SHIFT = 53  # codIOffset stands above so many bits


def _states() -> list[int]:
    """Tables 9-44 and 9-45 by pStateIdx << 1 | valMPS, all in one word: a context variable is that word itself.

    Four bytes codIRangeLPS by qCodIRangeIdx, the next state after an MPS, after an LPS (valMPS turns over in state 0),
    valMPS. After a mispredicted branch, which every other bin costs, nothing counts but the loads before the next one.
    """
    words = []
    for i, row in enumerate(_TABLES["rangeTabLPS"]["values"]):
        for v in range(2):
            after_mps, after_lps = (
                _TABLES["transIdxMPS"]["values"][i] << 1 | v,
                _TABLES["transIdxLPS"]["values"][i] << 1 | (v ^ (i == 0)),
            )
            words.append(sum(row[q] << 8 * q for q in range(4)) | after_mps << 32 | after_lps << 40 | v << 48)
    return words


STATES = constant(_states(), "int64")


@kernel(types.UniTuple(I64, 3)(U8P, I64, I64, I64, I64), inline=True)
def refill(d, codIOffset, spare, position, end):
    """Another 32 bits below codIOffset; zeros after the end of the data."""
    if position <= end:
        word = (I64(d[position]) << 24) | (I64(d[position + 1]) << 16) | (I64(d[position + 2]) << 8) | d[position + 3]
        codIOffset |= word << (SHIFT - 32 - spare)
    return codIOffset, spare + 32, position + 4


@kernel(types.UniTuple(I64, 4)(I64P, I64, I64, I64, I64), inline=True)
def decode_bin(c, ctxIdx, codIRange, codIOffset, spare):
    """DecodeDecision of 9.3.3.2.1, taking at most 7 of the spare bits -> binVal, codIRange, codIOffset, spare."""
    word = c[ctxIdx]
    codIRangeLPS = (word >> ((codIRange >> 3) & 24)) & 255
    codIRange -= codIRangeLPS
    scaled = codIRange << SHIFT
    binVal = word >> 48
    if codIOffset < scaled:
        c[ctxIdx] = STATES[(word >> 32) & 127]
        shift = (codIRange >> 8) ^ 1
        codIRange <<= shift
        codIOffset <<= shift
    else:
        c[ctxIdx] = STATES[(word >> 40) & 127]
        binVal ^= 1
        shift = leading_zeros(codIRangeLPS) - 55
        codIRange = codIRangeLPS << shift
        codIOffset = (codIOffset - scaled) << shift
    return binVal, codIRange, codIOffset, spare - shift


@kernel(types.UniTuple(I64, 5)(I64P, U8P, I64, I64, I64, I64, I64, I64), inline=True)
def decode_decision(c, d, ctxIdx, codIRange, codIOffset, spare, position, end):
    """DecodeDecision -> binVal and the engine (range, offset, spare, position) after it, with eight bits to spare."""
    binVal, codIRange, codIOffset, spare = decode_bin(c, ctxIdx, codIRange, codIOffset, spare)
    if spare < 8:
        codIOffset, spare, position = refill(d, codIOffset, spare, position, end)
    return binVal, codIRange, codIOffset, spare, position


@kernel(types.UniTuple(I64, 4)(U8P, I64, I64, I64, I64, I64), inline=True)
def decode_bypass(d, codIRange, codIOffset, spare, position, end):
    """DecodeBypass of 9.3.3.2.3 -> binVal, offset, spare, position."""
    codIOffset <<= 1
    spare -= 1
    binVal = I64(0)
    if codIOffset >= codIRange << SHIFT:
        codIOffset -= codIRange << SHIFT
        binVal = I64(1)
    if spare < 8:
        codIOffset, spare, position = refill(d, codIOffset, spare, position, end)
    return binVal, codIOffset, spare, position


@kernel(I64(I64P, I64P, U8P, I64))
def decision(s, c, d, ctxIdx):
    """One context-coded bin, the engine kept in `s`."""
    binVal, s[COD_I_RANGE], s[COD_I_OFFSET], s[SPARE_BITS], s[BYTE_POSITION] = decode_decision(
        c, d, ctxIdx, s[COD_I_RANGE], s[COD_I_OFFSET], s[SPARE_BITS], s[BYTE_POSITION], s[BYTE_END]
    )
    return binVal


@kernel(I64(I64P, U8P))
def bypass(s, d):
    """One bypass bin, the engine kept in `s`."""
    binVal, s[COD_I_OFFSET], s[SPARE_BITS], s[BYTE_POSITION] = decode_bypass(
        d, s[COD_I_RANGE], s[COD_I_OFFSET], s[SPARE_BITS], s[BYTE_POSITION], s[BYTE_END]
    )
    return binVal


@kernel(I64(I64P, U8P))
def terminate(s, d):
    """DecodeTerminate of 9.3.3.2.2.3; after a 1 the last bit consumed is the stop bit (or ends the I_PCM mb_type)."""
    s[COD_I_RANGE] -= 2
    if s[COD_I_OFFSET] >= s[COD_I_RANGE] << SHIFT:
        return I64(1)
    if s[COD_I_RANGE] < 256:
        s[COD_I_RANGE] <<= 1
        s[COD_I_OFFSET] <<= 1
        s[SPARE_BITS] -= 1
        if s[SPARE_BITS] < 8:
            s[COD_I_OFFSET], s[SPARE_BITS], s[BYTE_POSITION] = refill(
                d, s[COD_I_OFFSET], s[SPARE_BITS], s[BYTE_POSITION], s[BYTE_END]
            )
    return I64(0)


@kernel(VOID(I64P, U8P))
def initialise_decoding_engine(s, d):
    """9.3.1.2, at BYTE_POSITION."""
    s[COD_I_RANGE] = 510
    codIOffset = I64(0)
    for _ in range(5):
        codIOffset <<= 8
        if s[BYTE_POSITION] < s[BYTE_END]:
            codIOffset |= d[s[BYTE_POSITION]]
        s[BYTE_POSITION] += 1
    s[COD_I_OFFSET] = codIOffset << (SHIFT + 9 - 40)
    s[SPARE_BITS] = 40 - 9
