"""Clause 7.3.1 and Annex B of H.264 and H.265 alike: the bytes of a packet into NAL units.

A packet carries its NAL units in one of two ways: each behind its length (ISO/IEC 14496-15: mp4, mkv, flv) or each
behind a start code ("Annex B": transport streams, raw files).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

START_CODE = b"\x00\x00\x01"
EMULATED = b"\x00\x00\x03"
"""Two zero bytes and the emulation_prevention_three_byte behind them."""
_START_CODE = re.compile(START_CODE).search


def split(packet: bytes, nal_length_size: int | None, header: int) -> Iterator[bytes]:
    """The NAL units of a packet, headers of so many bytes included, in order; a truncated one as it is, those without a
    header left out. nal_length_size: bytes of the lengths, None for start codes."""
    units = by_start_code(packet) if nal_length_size is None else _by_length(packet, nal_length_size)
    return (unit for unit in units if len(unit) >= header)


def joined(units: Iterable[bytes], nal_length_size: int | None) -> bytes:
    """The reverse of `split`."""
    if nal_length_size is None:
        return b"".join(START_CODE + unit for unit in units)
    return b"".join(len(unit).to_bytes(nal_length_size, "big") + unit for unit in units)


def behind(units: Iterable[bytes], packet: bytes, now: int | None, then: int | None) -> bytes:
    """A packet whose NAL units have lengths of `now` bytes (None: start codes), behind units that came beside it in a
    configuration where they are of `then`. Where these differ it stays as it is, and is found damaged."""
    return joined(units, now) + packet if now == then else packet


def has_wrong_lengths(packet: bytes | memoryview, nal_length_size: int | None) -> bool:
    """Whether the lengths of the NAL units do not add up to the packet, which FFmpeg throws away then.

    Never with start codes, where nothing tells. Up to three bytes may be left over.
    """
    if nal_length_size is None:
        return False
    position = 0
    while len(packet) - position >= 4:
        length = int.from_bytes(packet[position : position + nal_length_size], "big")
        position += nal_length_size + length
        if not length:
            return True
    return position > len(packet)


class FirstSlice(NamedTuple):
    """unit: the first bytes of the first slice, zero bytes behind it included, b"" where there is none. before: the NAL
    units before it that are wanted. wrong: lengths of NAL units do not add up to the packet."""

    unit: bytes
    before: list[bytes]
    wrong: bool


SLICE, WANTED = 1, 2


def first_slice(packet: bytes | memoryview, nal_length_size: int | None, roles: bytes, limit: int) -> FirstSlice:
    """The first slice of a packet, at most `limit` bytes of it, and what stands before it.

    roles: by the first byte of a NAL unit, `SLICE`, `WANTED` or neither. A packet is neither copied nor read through:
    that would take longer than everything else that is done to find out what is in a file.
    """
    before: list[bytes] = []
    size = len(packet)
    if nal_length_size is None:
        found = _START_CODE(packet)
        while found is not None and (start := found.end()) < size:
            role = roles[packet[start]]
            if role == SLICE:
                head = bytes(packet[start : start + limit])
                return FirstSlice(head.partition(START_CODE)[0], before, False)
            found = _START_CODE(packet, start)
            if role == WANTED:
                before.append(bytes(packet[start : found.start() if found is not None else size]).rstrip(b"\0"))
        return FirstSlice(b"", before, False)
    at = 0
    while (start := at + nal_length_size) < size:
        at = start + int.from_bytes(packet[at:start], "big")
        if at == start:
            continue
        role = roles[packet[start]]
        if role == SLICE:
            wrong = at != size and has_wrong_lengths(packet, nal_length_size)
            return FirstSlice(bytes(packet[start : min(at, start + limit)]), before, wrong)
        if role == WANTED:
            before.append(bytes(packet[start:at]))
    return FirstSlice(b"", before, False)


def _by_length(packet: bytes, nal_length_size: int) -> Iterator[bytes]:
    position = 0
    while position + nal_length_size < len(packet):
        length = int.from_bytes(packet[position : position + nal_length_size], "big")
        position += nal_length_size
        yield packet[position : position + length]
        position += length


def by_start_code(packet: bytes) -> Iterator[bytes]:
    """What stands between start codes, empty ones included."""
    start = packet.find(START_CODE)
    while start >= 0:
        following = packet.find(START_CODE, start + 3)
        unit = packet[start + 3 : following if following >= 0 else len(packet)]
        unit = unit.rstrip(b"\x00")  # trailing_zero_8bits; a NAL unit never ends in a zero byte (7.4.1, 7.4.2)
        yield unit
        start = following
