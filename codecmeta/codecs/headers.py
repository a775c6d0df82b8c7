"""First bits of packets that say a picture's type, or that it is not shown, for codecs without a parser here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from codecmeta.record.metadata import UNKNOWN, B, I, P

_HEADER_BYTES = 4096


def mpeg4_type(packet: Any) -> int:
    """vop_coding_type (ISO/IEC 14496-2 Table 6-20; 3 is a sprite)."""
    return _type_after(packet, b"\x00\x00\x01\xb6", 0, lambda byte: {0: I, 1: P, 2: B, 3: P}.get(byte >> 6, UNKNOWN))


def mpeg2_type(packet: Any) -> int:
    """picture_coding_type (ISO/IEC 13818-2 Table 6-12), behind ten bits of temporal_reference."""
    return _type_after(packet, b"\x00\x00\x01\x00", 1, lambda byte: {1: I, 2: P, 3: B}.get(byte >> 3 & 7, UNKNOWN))


def vp8_hidden(packet: Any) -> bool:
    """Whether show_frame, bit 4 of the frame tag, is off (RFC 6386 9.1)."""
    return not memoryview(packet)[0] >> 4 & 1


def _type_after(packet: Any, start_code: bytes, skip: int, type_of: Callable[[int], int]) -> int:
    """By the byte `skip` bytes behind the first start code."""
    head = bytes(memoryview(packet)[:_HEADER_BYTES])
    found = head.find(start_code)
    at = found + len(start_code) + skip
    return type_of(head[at]) if found >= 0 and at < len(head) else UNKNOWN
