"""From a packet to its picture type (I, P, B), by the first bits of the picture header, without decoding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from codecmeta.codecs.h264.slice_header import slice_type
from codecmeta.codecs.syntax.nal import nal_length_size_of
from codecmeta.record.metadata import UNKNOWN, B, I, P

_MPEG2_PICTURE, _MPEG2_TYPES = b"\x00\x00\x01\x00", {1: I, 2: P, 3: B}  # ISO/IEC 13818-2 Table 6-12
_MPEG4_VOP, _MPEG4_TYPES = b"\x00\x00\x01\xb6", {0: I, 1: P, 2: B, 3: P}  # ISO/IEC 14496-2 Table 6-20; 3 is a sprite
_HEADER_BYTES = 4096


def picture_type_reader(codec: str, extradata: bytes | None) -> Callable[[Any], int]:
    """A function from a packet to its picture type as ASCII, or 0 where this codec's headers are not read here.

    codec: FFmpeg's decoder name. extradata: the stream's, which says how H.264 packets hold their NAL units.
    """
    if codec == "h264":
        length_size = nal_length_size_of(extradata)
        return lambda packet: ord(slice_type(bytes(packet), length_size) or "\0")
    if codec == "mpeg4":
        return lambda packet: _MPEG4_TYPES.get(_byte_after(packet, _MPEG4_VOP, 0) >> 6, UNKNOWN)
    if codec in ("mpeg1video", "mpeg2video"):  # ten bits of temporal_reference, then three of picture_coding_type
        return lambda packet: _MPEG2_TYPES.get(_byte_after(packet, _MPEG2_PICTURE, 1) >> 3 & 7, UNKNOWN)
    return lambda packet: UNKNOWN


def _byte_after(packet: Any, start_code: bytes, skip: int) -> int:
    """The byte `skip` bytes behind the first start code, -1 without one."""
    head = bytes(memoryview(packet)[:_HEADER_BYTES])
    at = head.find(start_code)
    at += len(start_code) + skip
    return head[at] if len(start_code) + skip <= at < len(head) else -1
