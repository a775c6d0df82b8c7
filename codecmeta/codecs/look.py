"""What a packet says of itself in its first bits: how many frames it shows, and whether decoding may start with it.

One function per codec, `look(packet, extradata) -> Look`; `codecs.table` says which. Parsers' headers look deeper.
Packets are bytes or a view of them, which nobody copies for a look at their first bytes.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from codecmeta.codecs.syntax.bits import BitReader, EndOfData
from codecmeta.record.metadata import UNKNOWN, B, I, P

_HEADER_BYTES = 4096


class Look(NamedTuple):
    """What a packet says of itself.

    picture_type: ASCII, 0 unknown. frames: how many it shows. starts: a decoder may start with it. order: by which it
    is displayed among the packets since the last one that counts anew, (how many of those, place), None unknown. field:
    it holds a single field. doubt: why only a decoder can tell which frame it gives, "" where these bits do. reference,
    layer, coded: as in `codecmeta.container.packets.PacketTable`.
    """

    picture_type: int = UNKNOWN
    frames: int = 1
    starts: bool = False
    order: tuple[int, int] | None = None
    field: bool = False
    doubt: str = ""
    reference: bool = True
    layer: int = 0
    coded: int = 1


DISCARDED = "pictures that a decoder may discard before they are shown"
Data = bytes | memoryview
_PICTURE = re.compile(b"\0\0\1\0").search
_VOP = re.compile(b"\0\0\1\xb6").search
_UNREADABLE = "a packet without a readable picture header"


def intra_look(packet: Data, extradata: bytes) -> Look:
    """Codecs of whose pictures none refers to another."""
    return Look(I, starts=True)


def mpeg2_look(packet: Data, extradata: bytes) -> Look:
    """picture_coding_type of ISO/IEC 13818-2 Table 6-12, behind ten bits of temporal_reference."""
    found = _PICTURE(packet, 0, _HEADER_BYTES)
    if found is None or found.end() + 2 > len(packet):
        return Look(doubt=_UNREADABLE)
    kind = {1: I, 2: P, 3: B}.get(packet[found.end() + 1] >> 3 & 7, UNKNOWN)
    return Look(kind, starts=kind == I)


def mpeg4_look(packet: Data, extradata: bytes) -> Look:
    """vop_coding_type of ISO/IEC 14496-2 Table 6-20 (3 is a sprite); packets with two pictures, or with one that is not
    coded, give other frames than their own."""
    found = _VOP(packet)
    if found is None or found.end() >= len(packet):
        return Look(doubt=_UNREADABLE)
    at = found.end()
    kind = {0: I, 1: P, 2: B, 3: P}[packet[at] >> 6]
    doubt = ""
    if _VOP(packet, at) is not None:
        doubt = "two pictures in a packet"
    elif len(packet) - at < 16:
        doubt = "a picture that may not be coded"
    return Look(kind, starts=kind == I, doubt=doubt)


def h263_look(packet: Data, extradata: bytes) -> Look:
    """PTYPE and PLUSPTYPE of ITU-T H.263 5.1.3 and 5.1.4, behind PSC (22 bits) and TR (8)."""
    r = BitReader(packet, 16)
    try:
        if r.u(22) != 0x20:
            return Look(doubt=_UNREADABLE)
        r.u(8 + 2 + 3)
        if r.u(3) == 7:  # the source format: extended
            if r.u(3) == 1:
                r.u(18)
            kind = r.u(3)
            return Look({0: I, 1: P, 2: P}.get(kind, B), starts=kind == 0)
        return Look(P, starts=False) if r.u(1) else Look(I, starts=True)
    except EndOfData:
        return Look(doubt=_UNREADABLE)


def flv1_look(packet: Data, extradata: bytes) -> Look:
    """The picture header of Sorenson's variant: PSC (17 bits), version (5), TR (8), size (3), type (2)."""
    r = BitReader(packet, 16)
    try:
        if r.u(17) != 1:
            return Look(doubt=_UNREADABLE)
        r.u(5 + 8)
        size = r.u(3)
        r.u({0: 16, 1: 32}.get(size, 0))
        kind = r.u(2)
        return Look(I if kind == 0 else P, starts=kind == 0)
    except EndOfData:
        return Look(doubt=_UNREADABLE)


def vp8_look(packet: Data, extradata: bytes) -> Look:
    """The frame tag of RFC 6386 9.1: bit 0 is off in keyframes, bit 4 is show_frame."""
    key = not packet[0] & 1
    return Look(I if key else UNKNOWN, packet[0] >> 4 & 1, key)


def vp9_look(packet: Data, extradata: bytes) -> Look:
    """uncompressed_header() of each frame of a superframe (VP9 bitstream specification 6.2 and annex B)."""
    shown, key, first = 0, False, True
    frames = _vp9_frames(packet)
    try:
        for frame in frames:
            r = BitReader(frame, 4)
            if r.u(2) != 2:
                return Look(doubt=_UNREADABLE, coded=len(frames))
            if r.u(1) + 2 * r.u(1) == 3:
                r.u(1)
            if r.u(1):  # show_existing_frame
                shown += 1
            else:
                not_key = r.u(1)
                shown += r.u(1)
                key |= first and not not_key
            first = False
    except EndOfData:
        return Look(doubt=_UNREADABLE, coded=len(frames))
    doubt = "several frames in a packet" if shown > 1 else ""
    return Look(I if key else UNKNOWN, shown, key, doubt=doubt, coded=len(frames))


def _vp9_frames(packet: Data) -> list[Data]:
    """The frames of a superframe, by the marker in its last byte (VP9 bitstream specification, annex B)."""
    last = packet[-1]
    if last & 0xE0 == 0xC0:
        count, width = (last & 7) + 1, (last >> 3 & 3) + 1
        index = packet[-(2 + count * width) :]
        if index[0] == last:
            frames: list[Data] = []
            at = 0
            for i in range(count):
                size = int.from_bytes(index[1 + i * width : 1 + (i + 1) * width], "little")
                frames.append(packet[at : at + size])
                at += size
            return [one for one in frames if one]
    return [packet]


def av1_look(packet: Data, extradata: bytes) -> Look:
    """The frame headers among the open bitstream units of a temporal unit (AV1 specification 5.3 and 5.9)."""
    at, coded, shown, key, still = 0, 0, 0, False, False
    while at < len(packet):
        head = packet[at]
        kind, at = head >> 3 & 15, at + (2 if head & 4 else 1)
        size = len(packet) - at
        if head & 2:
            size, at = _leb128(packet, at)
        body = packet[at : at + size]
        at += size
        if kind == 1 and body:
            still = bool(body[0] >> 3 & 1)  # reduced_still_picture_header
        elif kind in (3, 6) and body:  # OBU_FRAME_HEADER, OBU_FRAME
            coded += 1
            existing = body[0] >> 7 and not still
            shown += 1 if existing or still else body[0] >> 4 & 1
            key |= still or (not existing and not body[0] >> 5 & 3 and bool(body[0] >> 4 & 1))
    doubt = "several frames in a packet" if shown > 1 else ""
    return Look(I if key else UNKNOWN, shown, key, doubt=doubt, coded=min(max(coded, 1), 255))


def _leb128(data: Data, at: int) -> tuple[int, int]:
    value = 0
    for i in range(8):
        if at >= len(data):
            break
        byte = data[at]
        value |= (byte & 127) << 7 * i
        at += 1
        if not byte & 128:
            break
    return value, at
