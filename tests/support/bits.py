"""The writing half of the syntax that H.264 and HEVC share: fixed and Exp-Golomb codes, RBSPs, emulation bytes."""

from __future__ import annotations


class Bits:
    """Syntax elements into bits."""

    def __init__(self) -> None:
        self.digits: list[str] = []

    def u(self, count: int, value: int) -> None:
        assert 0 <= value < 1 << count, (count, value)
        self.digits.append(format(value, f"0{count}b") if count else "")

    def flag(self, value: object) -> None:
        self.digits.append("1" if value else "0")

    def ue(self, value: int) -> None:
        code = format(value + 1, "b")
        self.digits.append("0" * (len(code) - 1) + code)

    def se(self, value: int) -> None:
        self.ue(2 * value - 1 if value > 0 else -2 * value)

    def te(self, largest: int, value: int) -> None:
        if largest == 1:
            self.u(1, 1 - value)
        else:
            self.ue(value)

    def align(self) -> None:
        """Zeros up to the byte."""
        self.digits.append("0" * (-len("".join(self.digits)) % 8))

    def rbsp(self) -> bytes:
        """Closed by a one and zeros: trailing bits of an RBSP and HEVC's byte_alignment() alike."""
        self.flag(1)
        self.align()
        digits = "".join(self.digits)
        return int(digits, 2).to_bytes(len(digits) // 8, "big")


def escaped(rbsp: bytes) -> bytes:
    """With emulation_prevention_three_bytes (7.4.1 of H.264, 7.4.2 of HEVC)."""
    out, zeros = bytearray(), 0
    for byte in rbsp:
        if zeros >= 2 and byte <= 3:
            out.append(3)
            zeros = 0
        out.append(byte)
        zeros = zeros + 1 if byte == 0 else 0
    return bytes(out)


def unit(header: bytes, rbsp: bytes) -> bytes:
    """A NAL unit behind its start code."""
    return b"\0\0\0\1" + header + escaped(rbsp)
