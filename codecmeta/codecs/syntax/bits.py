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

    def __init__(self, rbsp: bytes, limit: int | None = None) -> None:
        """`limit`: look at the first so many bytes only (a slice header is short, a slice is not)."""
        head = rbsp if limit is None else rbsp[:limit]
        self.digits = bin(int.from_bytes(b"\x01" + head, "big"))[3:]
        self.position = 0

    def u(self, count: int) -> int:
        """`count` bits, most significant first."""
        end = self.position + count
        if end > len(self.digits):
            raise EndOfData("payload ends early")
        value = int(self.digits[self.position : end], 2) if count else 0
        self.position = end
        return value

    def flag(self) -> bool:
        """u(1)."""
        position = self.position
        if position >= len(self.digits):
            raise EndOfData("payload ends early")
        self.position = position + 1
        return self.digits[position] == "1"

    def ue(self) -> int:
        """Unsigned Exp-Golomb code (9.1)."""
        one = self.digits.find("1", self.position)
        zeros = one - self.position
        end = one + zeros + 1
        if one < 0 or zeros > 32 or end > len(self.digits):
            raise EndOfData("payload ends early")
        self.position = end
        return int(self.digits[one:end], 2) - 1

    def se(self) -> int:
        """Signed Exp-Golomb code (9.1.1)."""
        code = self.ue()
        return (code + 1) >> 1 if code & 1 else -(code >> 1)

    def more_rbsp_data(self) -> bool:
        """Whether anything stands before the rbsp_stop_one_bit (7.2)."""
        return self.position < self.digits.rfind("1")
