"""NAL units of HEVC: their types (Table 7-1), two bytes of header, the hvcC record (ISO/IEC 14496-15)."""

from __future__ import annotations

from collections.abc import Iterator

from codecmeta.codecs.syntax.nal import EMULATED, START_CODE, split

# Table 7-1
RADL_N, RASL_R = 6, 9
BLA_W_LP, BLA_N_LP, IDR_W_RADL, IDR_N_LP, CRA_NUT, LAST_IRAP = 16, 18, 19, 20, 21, 23
VPS, SPS, PPS, END_OF_SEQUENCE, END_OF_BITSTREAM = 32, 33, 34, 36, 37

_HEADER = 2


def type_of(unit: bytes) -> int:
    """nal_unit_type."""
    return unit[0] >> 1 & 63


def layer_of(unit: bytes) -> int:
    """nuh_layer_id."""
    return (unit[0] & 1) << 5 | unit[1] >> 3


def is_slice(nal_unit_type: int) -> bool:
    """Whether it is a slice segment of a type that is not reserved."""
    return nal_unit_type <= RASL_R or BLA_W_LP <= nal_unit_type <= CRA_NUT


def nal_length_size_of(extradata: bytes | None) -> int | None:
    """The bytes of a NAL unit's length by the hvcC record `extradata`; None: start codes (Annex B)."""
    if extradata and len(extradata) >= 23 and (extradata[0] == 1 or extradata[:3] not in (b"\0\0\0", START_CODE)):
        return (extradata[21] & 3) + 1
    return None


def nal_units(packet: bytes, nal_length_size: int | None) -> Iterator[bytes]:
    """The NAL units of a packet, both header bytes included, in order; a truncated one as it is.

    >>> [type_of(unit) for unit in nal_units(bytes([0, 0, 0, 1, 0x42, 1, 9, 0, 0, 1, 0x44, 1, 9]), None)]
    [33, 34]
    """
    return split(packet, nal_length_size, _HEADER)


def units_of_extradata(extradata: bytes | None) -> Iterator[bytes]:
    """The NAL units that a container stores beside the packets (hvcC record or Annex B)."""
    if not extradata:
        return
    if nal_length_size_of(extradata) is None:
        yield from nal_units(extradata, None)
        return
    position = 23
    for _ in range(extradata[22]):  # numOfArrays
        count = int.from_bytes(extradata[position + 1 : position + 3], "big")
        position += 3
        for _ in range(count):
            length = int.from_bytes(extradata[position : position + 2], "big")
            unit = extradata[position + 2 : position + 2 + length]
            position += 2 + length
            if len(unit) >= 2:
                yield unit
            if position >= len(extradata):
                return


def rbsp_of(unit: bytes) -> bytes:
    """The raw byte sequence payload of a NAL unit: header off, emulation_prevention_three_byte taken out.

    >>> rbsp_of(bytes([0x42, 1, 1, 0, 0, 3, 1]))
    b'\\x01\\x00\\x00\\x01'
    """
    return unit[2:].replace(EMULATED, b"\x00\x00")


def emulation_positions(unit: bytes) -> list[int]:
    """Where emulation prevention bytes were taken out: the RBSP byte that followed each (7.3.1.1)."""
    positions: list[int] = []
    at = unit.find(EMULATED, 2)
    while at >= 0:
        positions.append(at - len(positions))
        at = unit.find(EMULATED, at + 3)
    return positions


def access_units(stream: bytes) -> Iterator[bytes]:
    """The access units of a raw stream with start codes (7.4.2.4.4), as packets of that kind.

    One starts with the first NAL unit that may not follow the last slice segment of the one before it.
    """
    packet: list[bytes] = []
    has_slice = False
    for unit in nal_units(stream, None):
        kind = type_of(unit)
        slice_segment = is_slice(kind) and layer_of(unit) == 0
        starts = slice_segment and len(unit) > 2 and unit[2] & 0x80 != 0
        before = kind in (VPS, SPS, PPS, 35, 39) or 41 <= kind <= 44 or 48 <= kind <= 55
        if has_slice and (starts or before):
            yield b"".join(packet)
            packet, has_slice = [], False
        packet.append(b"\x00" + START_CODE + unit)
        has_slice |= slice_segment
    if packet:
        yield b"".join(packet)
