"""Binarisation of HEVC's slice data (9.3.3): syntax elements into the numbers that `hevc_cabac.encode` takes."""

from __future__ import annotations

from tests.support.hevc_cabac import BYPASS, FIRST, RAW, RESTART, STORE, TERMINATE


class Symbols(list[int]):
    """Bins and their contexts, bypass bins, raw bits, in the order in which they are coded."""

    def bin(self, name: str, value: object, increment: int = 0) -> None:
        self.append((FIRST[name] + increment) << 1 | (1 if value else 0))

    def bypass(self, value: int, count: int = 1) -> None:
        for i in range(count - 1, -1, -1):
            self.append(BYPASS | (value >> i & 1))

    def unary(self, value: int, largest: int) -> None:
        """Truncated, all bypass."""
        self.bypass((1 << value) - 1, value)
        if value < largest:
            self.bypass(0)

    def exp_golomb(self, k: int, value: int) -> None:
        """EGk of 9.3.3.5, bypass."""
        while value >= 1 << k:
            self.bypass(1)
            value -= 1 << k
            k += 1
        self.bypass(0)
        self.bypass(value, k)

    def terminate(self, value: object) -> None:
        """pcm_flag, end_of_slice_segment_flag, end_of_subset_one_bit."""
        self.append(TERMINATE | (1 if value else 0))

    def store_contexts(self) -> None:
        """For the next row of WPP."""
        self.append(STORE)

    def raw(self, value: int, count: int) -> None:
        """A PCM sample, past the arithmetic coder."""
        self += [RAW | (value >> k & 1) for k in range(count - 1, -1, -1)]

    def restart(self) -> None:
        """The arithmetic coder, behind PCM samples."""
        self.append(RESTART)

    def ref_idx(self, value: int, count: int) -> None:
        """Of `count` references: truncated, the bins from the third on bypass."""
        for i in range(min(value + 1, count - 1)):
            if i < 2:
                self.bin("ref_idx", i < value, i)
            else:
                self.bypass(i < value)

    def mvd(self, vector: list[int]) -> None:
        """7.3.8.9 mvd_coding."""
        for value in vector:
            self.bin("abs_mvd_greater0_flag", value)
        for value in vector:
            if value:
                self.bin("abs_mvd_greater1_flag", abs(value) > 1)
        for value in vector:
            if abs(value) > 1:
                self.exp_golomb(1, abs(value) - 2)
            if value:
                self.bypass(value < 0)

    def cu_qp_delta(self, value: int) -> None:
        for i in range(min(abs(value), 5)):
            self.bin("cu_qp_delta_abs", 1, min(i, 1))
        if abs(value) < 5:
            self.bin("cu_qp_delta_abs", 0, min(abs(value), 1))
        else:
            self.exp_golomb(0, abs(value) - 5)
        if value:
            self.bypass(value < 0)

    def last_significant_position(self, c: int, log2: int, x: int, y: int) -> None:
        """Prefixes with their contexts (9.3.4.2.3), then suffixes; a caller with a vertical scan swaps x and y."""
        offset, shift = (15, log2 - 2) if c else (3 * (log2 - 2) + ((log2 - 1) >> 2), (log2 + 1) >> 2)
        largest = (log2 << 1) - 1
        suffixes = []
        for name, value in (("last_x_prefix", x), ("last_y_prefix", y)):
            prefix, count = value, 0
            if value > 3:
                count = value.bit_length() - 2
                prefix = 2 * (count + 1) + (value >> count & 1)
            for i in range(prefix):
                self.bin(name, 1, offset + (i >> shift))
            if prefix < largest:
                self.bin(name, 0, offset + (prefix >> shift))
            suffixes.append((value & ((1 << count) - 1), count))
        for value, count in suffixes:
            self.bypass(value, count)

    def coeff_abs_level_remaining(self, value: int, rice: int) -> None:
        """9.3.3.11."""
        if value >> rice < 4:
            self.bypass((1 << (value >> rice)) - 1, value >> rice)
            self.bypass(0)
            self.bypass(value & ((1 << rice) - 1), rice)
            return
        self.bypass(15, 4)
        self.exp_golomb(rice + 1, value - (4 << rice))
