"""Random residual data of HEVC (7.3.8.11): the levels of a transform block, and the syntax that says them."""

from __future__ import annotations

import random
from functools import cache

from tests.support.hevc_chances import Chances
from tests.support.hevc_pixels import BYPASS as LOSSLESS
from tests.support.hevc_pixels import DST, SKIP
from tests.support.hevc_symbols import Symbols

SIG_CTX_4x4 = (0, 1, 4, 5, 2, 3, 4, 5, 6, 6, 8, 8, 7, 7, 8)  # Table 9-50


@cache
def scan(size: int, kind: int) -> tuple[tuple[int, int], ...]:
    """6.5.3 up-right diagonal, 6.5.4 horizontal, 6.5.5 vertical: (x, y) by position."""
    if kind == 1:
        return tuple((x, y) for y in range(size) for x in range(size))
    if kind == 2:
        return tuple((x, y) for x in range(size) for y in range(size))
    places = [(x, y) for x in range(size) for y in range(size)]
    return tuple(sorted(places, key=lambda at: (at[0] + at[1], at[0])))


def significance_increment(
    c: int, log2: int, scan_idx: int, sx: int, sy: int, px: int, py: int, neighbours: int
) -> int:
    """ctxInc of sig_coeff_flag, 9.3.4.2.5; neighbours: 1 for a coded sub-block to the right, 2 for one below."""
    if log2 == 2:
        ctx = SIG_CTX_4x4[py * 4 + px]
    elif sx == sy == px == py == 0:
        ctx = 0
    else:
        if neighbours == 0:
            ctx = 2 if px + py == 0 else 1 if px + py < 3 else 0
        elif neighbours == 1:
            ctx = 2 if py == 0 else 1 if py == 1 else 0
        elif neighbours == 2:
            ctx = 2 if px == 0 else 1 if px == 1 else 0
        else:
            ctx = 2
        if c:
            ctx += 9 if log2 == 3 else 12
        else:
            if sx or sy:
                ctx += 3
            ctx += (9 if scan_idx == 0 else 15) if log2 == 3 else 21
    return ctx if c == 0 else 27 + ctx


class Residuals:
    """Writes transform blocks into `symbols`."""

    def __init__(self, symbols: Symbols, pps, chances: Chances, rng: random.Random) -> None:
        self.symbols, self.pps, self.chances, self.rng = symbols, pps, chances, rng

    def random_levels(self, log2: int) -> dict[tuple[int, int], int]:
        """Positions and values of at least one coefficient."""
        size = 1 << log2
        reach = self.rng.choice((1, 2, 4, size, size))
        reach = min(reach, size)
        wanted = 1
        while self.rng.random() < self.chances.density and wanted < reach * reach:
            wanted += self.rng.choice((1, 1, 2, 5))
        if self.rng.random() < 0.02:
            wanted = reach * reach
        result = {}
        for _ in range(wanted):
            value = self.rng.choice((1, 1, 1, 1, 2, 2, 3, 4, 7, 15))
            if self.rng.random() < self.chances.large:
                value = self.rng.choice((30, 200, 3000, 32767))
                value = self.rng.randint(1, value)
            at = self.rng.randrange(reach), self.rng.randrange(reach)
            result[at] = value if self.rng.getrandbits(1) else -value
        return result

    def residual_coding(
        self, c: int, log2: int, mode: int, intra: bool, lossless: bool
    ) -> tuple[int, list[tuple[int, int, int]]]:
        """7.3.8.11; the KIND of the block, and its levels with their places (x, y, level)."""
        levels = self.random_levels(log2)
        kind = LOSSLESS if lossless else 0
        if lossless:  # sums beyond 16 bits are nobody's promise
            levels = {at: min(max(value, -255), 255) for at, value in levels.items()}
        if self.pps.transform_skip and not lossless and log2 == 2:
            skip = self.rng.random() < 0.4
            self.symbols.bin("transform_skip_flag", skip, int(c > 0))
            kind |= SKIP * skip
        if intra and c == 0 and log2 == 2 and not kind:
            kind = DST
        scan_idx = 0
        if mode >= 0 and (log2 == 2 or (log2 == 3 and c == 0)):
            scan_idx = 2 if 6 <= mode <= 14 else 1 if 22 <= mode <= 30 else 0
        subs, inner = scan(1 << (log2 - 2), scan_idx), scan(4, scan_idx)
        by_sub: dict[int, dict[int, int]] = {}
        for (px, py), value in levels.items():
            by_sub.setdefault(subs.index((px >> 2, py >> 2)), {})[inner.index((px & 3, py & 3))] = value
        last_sub = max(by_sub)
        last = max(by_sub[last_sub])
        last_x = subs[last_sub][0] * 4 + inner[last][0]
        last_y = subs[last_sub][1] * 4 + inner[last][1]
        self.symbols.last_significant_position(c, log2, *((last_y, last_x) if scan_idx == 2 else (last_x, last_y)))
        previous = None
        for i in range(last_sub, -1, -1):
            self.significance(c, log2, scan_idx, by_sub, i, last if i == last_sub else None)
            if i in by_sub:
                previous = self.remaining_levels(c, i, by_sub[i], previous, lossless)
        written = []
        for i in sorted(by_sub):
            for n in sorted(by_sub[i]):
                written.append((subs[i][0] * 4 + inner[n][0], subs[i][1] * 4 + inner[n][1], by_sub[i][n]))
        assert written
        return kind, written

    def significance(self, c: int, log2: int, scan_idx: int, by_sub: dict, i: int, last: int | None) -> None:
        """coded_sub_block_flag and sig_coeff_flag of sub-block i; last: the last position, if that is in it."""
        subs, inner = scan(1 << (log2 - 2), scan_idx), scan(4, scan_idx)
        sx, sy = subs[i]
        right = (sx + 1, sy) in subs and subs.index((sx + 1, sy)) in by_sub
        below = (sx, sy + 1) in subs and subs.index((sx, sy + 1)) in by_sub
        values = by_sub.get(i, {})
        inferable = i > 0 and last is None
        if inferable:
            self.symbols.bin("coded_sub_block_flag", values, min(right + below, 1) + 2 * (c > 0))
            if not values:
                return
        for n in range(15 if last is None else last - 1, -1, -1):
            if n == 0 and inferable:
                break  # all others were zero: this one is inferred
            increment = significance_increment(c, log2, scan_idx, sx, sy, *inner[n], right + 2 * below)
            self.symbols.bin("sig_coeff_flag", n in values, increment)
            if n in values:
                inferable = False

    def remaining_levels(self, c: int, i: int, values: dict[int, int], previous: int | None, lossless: bool) -> int:
        """The levels of sub-block i; previous, result: greater1Ctx behind the sub-block before and behind this one."""
        order = sorted(values, reverse=True)
        ctx_set = 0 if i == 0 or c else 2
        if previous == 0:
            ctx_set += 1
        greater1, greater2_at = 1, None
        for n in order[:8]:
            large = abs(values[n]) > 1
            self.symbols.bin("greater1_flag", large, ctx_set * 4 + min(3, greater1) + (16 if c else 0))
            if large:
                greater1 = 0
                if greater2_at is None:
                    greater2_at = n
            elif greater1:
                greater1 += 1
        if greater2_at is not None:
            self.symbols.bin("greater2_flag", abs(values[greater2_at]) > 2, ctx_set + (4 if c else 0))
        hidden = self.pps.sign_data_hiding and not lossless and order[0] - order[-1] > 3
        if hidden:  # the first coefficient's sign follows from the sum
            n = order[-1]
            odd = sum(abs(value) for value in values.values()) & 1
            values[n] = -abs(values[n]) if odd else abs(values[n])
        for n in order[:-1] if hidden else order:
            self.symbols.bypass(values[n] < 0)
        rice = 0
        for k, n in enumerate(order):
            base = 1
            if k < 8:
                base = 2 if greater2_at is not None and k > order.index(greater2_at) else 3 if n == greater2_at else 2
            size = abs(values[n])
            if size >= base:
                self.symbols.coeff_abs_level_remaining(size - base, rice)
                if size > 3 << rice:
                    rice = min(rice + 1, 4)
        return greater1
