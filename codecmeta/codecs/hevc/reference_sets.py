"""Clauses 7.3.7, 7.4.8 and 9.2: the reference picture set in a slice header, and the codes headers are written in."""

from __future__ import annotations

from codecmeta.codecs.hevc.state import (
    BAD_SYNTAX,
    BIT_END,
    BIT_POSITION,
    H_DELTA,
    H_LT_CYCLE,
    H_LT_MSB,
    H_LT_POC,
    H_LT_USED,
    H_NUM_LT,
    H_NUM_NEGATIVE,
    H_NUM_POSITIVE,
    H_USED,
    K_LOG2_MAX_POC_LSB,
    K_LT_LSB,
    K_LT_USED,
    K_NUM_LT_SPS,
    K_NUM_ST,
    K_ST,
    ST_SIZE,
    STATUS,
)
from codecmeta.codecs.syntax.jit import I32P, I64, I64P, U8P, kernel, leading_zeros


@kernel(I64(I64P, U8P, I64))
def u(s, d, count):
    """u(count), at most 32 bits, at BIT_POSITION; BAD_SYNTAX behind the end."""
    position = s[BIT_POSITION]
    s[BIT_POSITION] = position + count
    if position + count > s[BIT_END]:
        s[STATUS] = BAD_SYNTAX
        s[BIT_POSITION] = s[BIT_END]
        return I64(0)
    value = I64(0)
    at = position >> 3
    for i in range(5):
        value = value << 8 | d[at + i]
    return (value >> (40 - (position & 7) - count)) & ((I64(1) << count) - 1)


@kernel(I64(I64P, U8P))
def ue(s, d):
    """ue(v) of 9.2, at most 32 bits of value."""
    zeros = I64(0)
    while not u(s, d, 1):
        zeros += 1
        if zeros > 31 or s[STATUS]:
            s[STATUS] = BAD_SYNTAX
            return I64(0)
    return (I64(1) << zeros) - 1 + u(s, d, zeros)


@kernel(I64(I64P, U8P))
def se(s, d):
    """se(v) of 9.2.2."""
    code = ue(s, d)
    return (code + 1) >> 1 if code & 1 else -(code >> 1)


@kernel(I64(I64), inline=True)
def bits_for(count):
    """Ceil(Log2(count)) for a positive count."""
    return 64 - leading_zeros(count - 1) if count > 1 else I64(0)


@kernel(I64(I64P, U8P, I32P, I32P))
def st_ref_pic_set(s, d, k, h):
    """st_ref_pic_set(num_short_term_ref_pic_sets) of a slice header (7.3.7, 7.4.8) -> into H_DELTA, H_USED."""
    index = I64(k[K_NUM_ST])
    if index and u(s, d, 1):
        delta_idx = ue(s, d) + 1
        sign = u(s, d, 1)
        delta_rps = (1 - 2 * sign) * (ue(s, d) + 1)
        if delta_idx > index or abs(delta_rps) > 1 << 15:
            s[STATUS] = BAD_SYNTAX
            return I64(0)
        ref = K_ST + ST_SIZE * (index - delta_idx)
        negative, positive = I64(k[ref]), I64(k[ref + 1])
        total = negative + positive
        use = I64(0)  # use_delta_flag, used_by_curr_pic_flag as bits
        used = I64(0)
        for j in range(total + 1):
            flag = u(s, d, 1)
            used |= flag << j
            if not flag:
                flag = u(s, d, 1)
            use |= flag << j
        if s[STATUS]:
            return I64(0)
        n = I64(0)
        for step in range(2 * (total + 1)):
            # S0: S1 of the reference backwards, itself, S0; then S1: S0 backwards, itself, S1
            second = step > total
            i = step - (total + 1) if second else step
            near = negative if second else positive
            if i < near:
                j = near - 1 - i + (I64(0) if second else negative)
            elif i == near:
                j = total
            else:
                j = i - near - 1 + (negative if second else I64(0))
            delta = delta_rps + (I64(k[ref + 2 + j]) if j < total else I64(0))
            if (use >> j) & 1 and (delta > 0 if second else delta < 0):
                if n >= 16:
                    s[STATUS] = BAD_SYNTAX
                    return I64(0)
                h[H_DELTA + n] = delta
                h[H_USED + n] = (used >> j) & 1
                n += 1
            if step == total:
                h[H_NUM_NEGATIVE] = n
        h[H_NUM_POSITIVE] = n - h[H_NUM_NEGATIVE]
        return n
    negative, positive = ue(s, d), ue(s, d)
    if s[STATUS] or negative + positive > 16:
        s[STATUS] = BAD_SYNTAX
        return I64(0)
    h[H_NUM_NEGATIVE], h[H_NUM_POSITIVE] = negative, positive
    delta = I64(0)
    for i in range(negative + positive):
        if i == negative:
            delta = I64(0)
        step = ue(s, d) + 1
        delta += -step if i < negative else step
        if abs(delta) > 1 << 15:
            s[STATUS] = BAD_SYNTAX
            return I64(0)
        h[H_DELTA + i] = delta
        h[H_USED + i] = u(s, d, 1)
    return negative + positive


@kernel(I64(I64P, U8P, I32P, I32P))
def long_term_pictures(s, d, k, h):
    """The long-term part of the header (7-52) -> how many of them the current picture may refer to."""
    num_sps = ue(s, d) if k[K_NUM_LT_SPS] else I64(0)
    total = num_sps + ue(s, d)
    if s[STATUS] or total > 32 or num_sps > 32:
        s[STATUS] = BAD_SYNTAX
        return I64(0)
    h[H_NUM_LT] = total
    current, cycle = I64(0), I64(0)
    for i in range(total):
        if i < num_sps:
            index = u(s, d, bits_for(I64(k[K_NUM_LT_SPS])))
            if index >= k[K_NUM_LT_SPS]:
                s[STATUS] = BAD_SYNTAX
                return I64(0)
            h[H_LT_POC + i] = k[K_LT_LSB + index]
            h[H_LT_USED + i] = k[K_LT_USED + index]
        else:
            h[H_LT_POC + i] = u(s, d, I64(k[K_LOG2_MAX_POC_LSB]))
            h[H_LT_USED + i] = u(s, d, 1)
        h[H_LT_MSB + i] = u(s, d, 1)
        if i == 0 or i == num_sps:
            cycle = I64(0)
        if h[H_LT_MSB + i]:
            cycle += ue(s, d)
            if cycle > 1 << 16:
                s[STATUS] = BAD_SYNTAX
                return I64(0)
        h[H_LT_CYCLE + i] = cycle
        current += h[H_LT_USED + i]
    return current
