"""Clauses 7.2 and 9.1: the bits of a parameter set or slice header, one syntax element after another."""

from __future__ import annotations


class EndOfData(ValueError):
    """The payload ended inside a syntax element, or an element has a value that the standard forbids."""


class BitReader:
    """Reads u(n), ue(v), se(v), te(v) from a payload.

    >>> reader = BitReader(bytes([0b1_010_011_0]))
    >>> reader.ue(), reader.ue(), reader.ue()
    (0, 1, 2)
    """

    def __init__(self, rbsp: bytes | memoryview, limit: int | None = None) -> None:
        """`limit`: look at the first so many bytes only (a slice header is short, a slice is not)."""
        head = rbsp if limit is None else rbsp[:limit]
        self._value, self._size = int.from_bytes(head, "big"), 8 * len(head)
        self.position = 0

    def u(self, count: int) -> int:
        """`count` bits, most significant first."""
        end = self.position + count
        if end > self._size:
            raise EndOfData("payload ends early")
        self.position = end
        return self._value >> (self._size - end) & ((1 << count) - 1)

    def flag(self) -> bool:
        """u(1)."""
        return self.u(1) == 1

    def ue(self) -> int:
        """Unsigned Exp-Golomb code (9.1)."""
        left = self._size - self.position
        rest = self._value & ((1 << left) - 1)
        zeros = left - rest.bit_length()
        if 2 * zeros >= left or zeros > 32:
            raise EndOfData("payload ends early")
        self.position += 2 * zeros + 1
        return (rest >> (left - 2 * zeros - 1)) - 1

    def se(self) -> int:
        """Signed Exp-Golomb code (9.1.1)."""
        code = self.ue()
        return (code + 1) >> 1 if code & 1 else -(code >> 1)

    def more_rbsp_data(self) -> bool:
        """Whether anything stands before the rbsp_stop_one_bit (7.2)."""
        last = self._size - (self._value & -self._value).bit_length()
        return self._value > 0 and self.position < last
