"""What the first bytes of packets say beside their size: whether other pictures need one, its layer, the frames inside.

A reader is made for a stream, by its extradata, and called with packets: (reference, layer, coded) as in
`codecmeta.container.packets.PacketTable`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from codecmeta.codecs.syntax.nal import SLICE_IDR, SLICE_NON_IDR, nal_length_size_of

Reader = Callable[[Any], tuple[bool, int, int]]

_HEAD = 4096  # bytes of a packet in which its first slice begins, but for huge SEI messages


def _unit_starts(packet: memoryview, length_size: int | None) -> Any:
    """Where the NAL units of a packet begin."""
    if length_size is None:
        head = bytes(packet[:_HEAD])
        at = head.find(b"\0\0\1")
        while at >= 0 and at + 4 < len(head):
            yield at + 3
            at = head.find(b"\0\0\1", at + 3)
        return
    at = 0
    while at + length_size + 1 < len(packet):
        yield at + length_size
        at += length_size + int.from_bytes(packet[at : at + length_size], "big")


def h264_facts(extradata: bytes | None) -> Reader:
    """nal_ref_idc of the first slice (H.264 7.4.1)."""
    size = nal_length_size_of(extradata)
    return lambda packet: _h264(memoryview(packet), size)


def hevc_facts(extradata: bytes | None) -> Reader:
    """Sub-layer non-reference types and TemporalId (H.265 7.4.2.2, table 7-1)."""
    size = (extradata[21] & 3) + 1 if extradata and len(extradata) > 22 and extradata[0] == 1 else None
    return lambda packet: _hevc(memoryview(packet), size)


def vp9_facts(extradata: bytes | None) -> Reader:
    """Frames in a superframe."""
    return lambda packet: (True, 0, _vp9_frames(memoryview(packet)))


def av1_facts(extradata: bytes | None) -> Reader:
    """Frames in a temporal unit."""
    return lambda packet: (True, 0, _av1_frames(memoryview(packet)))


def _h264(packet: memoryview, length_size: int | None) -> tuple[bool, int, int]:
    for at in _unit_starts(packet, length_size):
        if SLICE_NON_IDR <= packet[at] & 31 <= SLICE_IDR:
            return bool(packet[at] >> 5 & 3), 0, 1
    return True, 0, 1


def _hevc(packet: memoryview, length_size: int | None) -> tuple[bool, int, int]:
    for at in _unit_starts(packet, length_size):
        kind = packet[at] >> 1 & 63
        if kind < 32:
            return kind >= 16 or bool(kind & 1), max((packet[at + 1] & 7) - 1, 0), 1
    return True, 0, 1


def _vp9_frames(packet: memoryview) -> int:
    """Frames in a superframe, by the marker in its last byte (VP9 bitstream specification, annex B)."""
    marker = packet[-1]
    if marker & 0xE0 != 0xC0:
        return 1
    frames, index = (marker & 7) + 1, 2 + ((marker >> 3 & 3) + 1) * ((marker & 7) + 1)
    return frames if len(packet) >= index and packet[-index] == marker else 1


def _av1_frames(packet: memoryview) -> int:
    """OBU_FRAME and OBU_FRAME_HEADER units of a temporal unit (AV1 specification 5.3), shown again ones included."""
    at = frames = 0
    while at < len(packet):
        header = packet[at]
        at += 2 if header & 4 else 1
        if header >> 3 & 15 in (3, 6):
            frames += 1
        if not header & 2:  # without a size it reaches to the end
            break
        size = shift = 0
        while at < len(packet):
            byte = packet[at]
            at += 1
            size |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        at += size
    return max(frames, 1)
