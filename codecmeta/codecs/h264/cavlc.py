"""Clauses 9.1 and 9.2: Exp-Golomb codes and CAVLC transform coefficient levels, on BIT_POSITION of the RBSP."""

from __future__ import annotations

from codecmeta.codecs.h264.state import BAD_SYNTAX, BIT_POSITION, STATUS, T_CODED, TOTAL_COEFF
from codecmeta.codecs.h264.tables import table
from codecmeta.codecs.syntax.arithmetic import BYTE_END
from codecmeta.codecs.syntax.jit import F32P, F64, I32P, I64, I64P, U8P, constant, kernel, leading_zeros


def _direct(codes: dict[str, int], bits: int) -> list[int]:
    """A prefix code as a table over the next `bits` bits: length << 8 | value; 0: no such code."""
    entries = [0] * (1 << bits)
    for code, value in codes.items():
        first = int(code, 2) << (bits - len(code))
        for i in range(1 << (bits - len(code))):
            entries[first + i] = len(code) << 8 | value
    return entries


def _token(name: str) -> dict[str, int]:
    return {code: total << 2 | ones for code, (ones, total) in table(name).items()}


def _by_leading_zeros(name: str) -> list[int]:
    """A column of Table 9-5 as [leading zeros][the three bits behind the one]; none needs a fourth."""
    flat = _direct(_token(name), 16)
    entries = []
    for zeros in range(16):
        for behind in range(8):
            first = (8 | behind) << 16 >> (zeros + 4)
            alike = flat[first : first + (1 << max(12 - zeros, 0))]
            if len(set(alike)) != 1:
                raise AssertionError(f"{name}: a code has more than three bits behind its first one")
            entries.append(flat[first])
    return entries


# [nC 0..1, 2..3, 4..7][16][8], then the fixed-length code of nC >= 8 [64], then nC == -1 [256], nC == -2 [8192]
COEFF_TOKEN = constant(
    sum((_by_leading_zeros(f"coeff_token_{nC}") for nC in ("nC_0_1", "nC_2_3", "nC_4_7")), [])
    + _direct(_token("coeff_token_nC_ge8"), 6)
    + _direct(_token("coeff_token_nC_-1_chromaDC420"), 8)
    + _direct(_token("coeff_token_nC_-2_chromaDC422"), 13),
    "uint16",
)
COEFF_TOKEN_GE8, COEFF_TOKEN_CHROMA_DC, COEFF_TOKEN_CHROMA_DC_422 = 3 * 128, 3 * 128 + 64, 3 * 128 + 64 + 256
TOTAL_ZEROS = constant([_direct(codes, 9) for codes in table("total_zeros_4x4")], "uint16").reshape(-1)
TOTAL_ZEROS_DC = constant([_direct(codes, 3) for codes in table("total_zeros_chroma_DC")], "uint16").reshape(-1)
TOTAL_ZEROS_DC_422 = constant([_direct(codes, 5) for codes in table("total_zeros_chroma_DC_422")], "uint16").reshape(-1)
RUN_BEFORE = constant([_direct(codes, 11) for codes in table("run_before")], "uint16").reshape(-1)


@kernel(I64(I64P, U8P), inline=True)
def peek(s, d):
    """The next 32 bits as a number; past the end of the data: zeros."""
    byte = min(s[BIT_POSITION] >> 3, s[BYTE_END])
    word = (I64(d[byte]) << 24) | (I64(d[byte + 1]) << 16) | (I64(d[byte + 2]) << 8) | d[byte + 3]
    return ((word << 8 | d[byte + 4]) >> (8 - (s[BIT_POSITION] & 7))) & 0xFFFFFFFF


@kernel(I64(I64P, U8P, I64))
def u(s, d, bits):
    """u(n), n at most 31."""
    value = peek(s, d) >> (32 - bits)
    s[BIT_POSITION] += bits
    return value


@kernel(I64(I64P, U8P))
def ue(s, d):
    """ue(v) of 9.1, below 2^16 - 1: no element of the macroblock layer is longer."""
    word = peek(s, d)
    zeros = leading_zeros(word | 1) - 32
    if zeros > 15:
        s[STATUS] = BAD_SYNTAX
        s[BIT_POSITION] += 32
        return I64(0)
    s[BIT_POSITION] += 2 * zeros + 1
    return (word >> (31 - 2 * zeros)) - 1


@kernel(I64(I64P, U8P))
def se(s, d):
    """se(v) of 9.1.1."""
    code = ue(s, d)
    return (code + 1) >> 1 if code & 1 else -(code >> 1)


@kernel(I64(I64P, U8P, I64))
def te(s, d, largest):
    """te(v) of 9.1: one inverted bit where only 0 and 1 are possible."""
    if largest == 1:
        return 1 - u(s, d, 1)
    return ue(s, d)


@kernel(I64(I64P, U8P, I64), inline=True)
def coeff_token(s, d, nC):
    """coeff_token of 9.2.1 -> TotalCoeff << 2 | TrailingOnes; nC -1, -2 for chroma DC of 4:2:0, 4:2:2."""
    word = peek(s, d)
    if nC < 0:
        if nC == -1:
            entry = I64(COEFF_TOKEN[COEFF_TOKEN_CHROMA_DC + (word >> 24)])
        else:
            entry = I64(COEFF_TOKEN[COEFF_TOKEN_CHROMA_DC_422 + (word >> 19)])
    elif nC >= 8:
        entry = I64(COEFF_TOKEN[COEFF_TOKEN_GE8 + (word >> 26)])
    else:
        column = I64(0)
        if nC >= 4:
            column = I64(2)
        elif nC >= 2:
            column = I64(1)
        zeros = leading_zeros(word | 0x10000) - 32
        entry = I64(COEFF_TOKEN[column << 7 | zeros << 3 | ((word >> (28 - zeros)) & 7)])
    if entry == 0:
        s[STATUS] = BAD_SYNTAX
    s[BIT_POSITION] += entry >> 8
    return entry & 255


@kernel(I64(I64P, U8P, I64, I64), inline=True)
def level(s, d, suffixLength, plus):
    """level_prefix and level_suffix of 9.2.2.1 -> the level; `plus`: levelCode is 2 more behind fewer than 3 ones."""
    word = peek(s, d)
    level_prefix = leading_zeros(word | 1) - 32
    s[BIT_POSITION] += level_prefix + 1
    levelCode = min(level_prefix, 15) << suffixLength
    levelSuffixSize = suffixLength
    if level_prefix == 14 and suffixLength == 0:
        levelSuffixSize = I64(4)
    elif level_prefix >= 15:
        levelSuffixSize = level_prefix - 3
        if level_prefix > 25:
            s[STATUS] = BAD_SYNTAX
            return I64(0)
    if levelSuffixSize:
        levelCode += u(s, d, levelSuffixSize)
    if level_prefix >= 15 and suffixLength == 0:
        levelCode += 15
    if level_prefix >= 16:
        levelCode += (1 << (level_prefix - 3)) - 4096
    levelCode += plus
    return -((levelCode + 1) >> 1) if levelCode & 1 else (levelCode + 2) >> 1


@kernel(F64(I64P, U8P, U8P, I32P, F32P, I64, I64, I64, I64))
def residual_block_cavlc(s, d, n, t, w, nC, maxNumCoeff, weights, step):
    """residual_block_cavlc() of 7.3.5.3.2 -> energy, sum of level squared times weight; TOTAL_COEFF in `s`.

    The weight of scan position i is w[weights + step * i] (step 4: one of the four interleaved parts of an 8x8 block).
    weights below 0: the levels go to t[~weights + step * i] instead, and the energy is 0.
    """
    token = coeff_token(s, d, nC)
    total, ones = token >> 2, token & 3
    s[TOTAL_COEFF] = total
    if total == 0:
        return 0.0
    if total > maxNumCoeff:
        s[STATUS] = BAD_SYNTAX
        s[TOTAL_COEFF] = 0
        return 0.0
    suffixLength = I64(1 if total > 10 and ones < 3 else 0)
    plus = I64(2 if ones < 3 else 0)
    for i in range(total):  # levels from the highest frequency down, kept where positions will follow
        if i < ones:
            value = 1 - 2 * u(s, d, 1)
        else:
            value = level(s, d, suffixLength, plus)
            plus = I64(0)
            if suffixLength == 0:
                suffixLength = I64(1)
            if abs(value) > 3 << (suffixLength - 1) and suffixLength < 6:
                suffixLength += 1
        t[T_CODED + i] = value
    zerosLeft = I64(0)
    if total < maxNumCoeff:
        word = peek(s, d)
        if maxNumCoeff == 4:
            entry = I64(TOTAL_ZEROS_DC[(total - 1) << 3 | word >> 29])
        elif maxNumCoeff == 8:
            entry = I64(TOTAL_ZEROS_DC_422[(total - 1) << 5 | word >> 27])
        else:
            entry = I64(TOTAL_ZEROS[(total - 1) << 9 | word >> 23])
        s[BIT_POSITION] += entry >> 8
        zerosLeft = entry & 255
        if entry == 0 or zerosLeft + total > maxNumCoeff:
            s[STATUS] = BAD_SYNTAX
            s[TOTAL_COEFF] = 0
            return 0.0
    position = zerosLeft + total - 1
    energy = 0.0
    for i in range(total):
        value = I64(t[T_CODED + i])
        if weights < 0:
            t[~weights + step * position] = value
        else:
            energy += float(value * value) * w[weights + step * position]
        if zerosLeft > 0 and i < total - 1:
            entry = I64(RUN_BEFORE[(min(zerosLeft, 7) - 1) << 11 | peek(s, d) >> 21])
            s[BIT_POSITION] += entry >> 8
            run_before = entry & 255
            if entry == 0 or run_before > zerosLeft:
                s[STATUS] = BAD_SYNTAX
                break
            zerosLeft -= run_before
            position -= run_before
        position -= 1
    return energy
