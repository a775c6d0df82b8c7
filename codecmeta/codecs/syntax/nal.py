"""Clause 7.3.1 and Annex B: the bytes of a packet into NAL units, a NAL unit into its RBSP.

A packet carries its NAL units in one of two ways: each behind its length ("avcC", ISO/IEC 14496-15: mp4, mkv, flv)
or each behind a start code ("Annex B": transport streams, raw .264 files).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

SLICE_NON_IDR = 1
SLICE_PARTITION_A, SLICE_PARTITION_B, SLICE_PARTITION_C = 2, 3, 4
SLICE_IDR = 5
SEQUENCE_PARAMETER_SET = 7
PICTURE_PARAMETER_SET = 8

START_CODE = b"\x00\x00\x01"
_START_CODE = re.compile(START_CODE).search


def nal_length_size_of(extradata: bytes | None) -> int | None:
    """The bytes of a NAL unit's length by the avcC record `extradata`; None: start codes (Annex B)."""
    if extradata and len(extradata) >= 7 and extradata[0] == 1:
        return (extradata[4] & 3) + 1
    return None


def nal_units(packet: bytes, nal_length_size: int | None) -> Iterator[bytes]:
    """The NAL units of a packet, first byte (nal_ref_idc, nal_unit_type) included, in order; a truncated one as it is.

    >>> [unit[0] & 31 for unit in nal_units(bytes([0, 0, 0, 1, 0x67, 66, 0, 0, 1, 0x68, 0xCE]), None)]
    [7, 8]
    """
    return _by_start_code(packet) if nal_length_size is None else _by_length(packet, nal_length_size)


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
        if length:
            yield packet[position : position + length]
        position += length


def _by_start_code(packet: bytes) -> Iterator[bytes]:
    start = packet.find(START_CODE)
    while start >= 0:
        following = packet.find(START_CODE, start + 3)
        unit = packet[start + 3 : following if following >= 0 else len(packet)]
        unit = unit.rstrip(b"\x00")  # trailing_zero_8bits; a NAL unit never ends in a zero byte (7.4.1)
        if unit:
            yield unit
        start = following


def units_of_extradata(extradata: bytes | None) -> Iterator[bytes]:
    """The parameter-set NAL units that a container stores beside the packets (avcC record or Annex B)."""
    if not extradata:
        return
    if nal_length_size_of(extradata) is None:
        yield from _by_start_code(extradata)
        return
    position = 5
    for mask in (31, 255):  # numOfSequenceParameterSets in five bits, numOfPictureParameterSets in eight
        if position >= len(extradata):
            return
        count = extradata[position] & mask
        position += 1
        for _ in range(count):
            length = int.from_bytes(extradata[position : position + 2], "big")
            unit = extradata[position + 2 : position + 2 + length]
            position += 2 + length
            if unit:
                yield unit


def rbsp_of(unit: bytes) -> bytes:
    """The raw byte sequence payload of a NAL unit: header byte off, emulation_prevention_three_byte taken out.

    >>> rbsp_of(bytes([0x65, 1, 0, 0, 3, 1]))
    b'\\x01\\x00\\x00\\x01'
    """
    return unit[1:].replace(b"\x00\x00\x03", b"\x00\x00")
