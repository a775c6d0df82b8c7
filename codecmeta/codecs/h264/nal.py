"""NAL units of H.264: their types (Table 7-1), one byte of header, the avcC record (ISO/IEC 14496-15)."""

from __future__ import annotations

from collections.abc import Iterator

from codecmeta.codecs.syntax.nal import EMULATED, split

SLICE_NON_IDR = 1
SLICE_PARTITION_A, SLICE_PARTITION_B, SLICE_PARTITION_C = 2, 3, 4
SLICE_IDR = 5
SEQUENCE_PARAMETER_SET = 7
PICTURE_PARAMETER_SET = 8

_HEADER = 1


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
    return split(packet, nal_length_size, _HEADER)


def units_of_extradata(extradata: bytes | None) -> Iterator[bytes]:
    """The parameter-set NAL units that a container stores beside the packets (avcC record or Annex B)."""
    if not extradata:
        return
    if nal_length_size_of(extradata) is None:
        yield from nal_units(extradata, None)
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
    return unit[1:].replace(EMULATED, b"\x00\x00")
