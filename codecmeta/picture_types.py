"""From a packet to its picture type (I, P, B), by the first few bits of the picture header, without decoding."""

from __future__ import annotations

from typing import Any

from codecmeta.metadata import UNKNOWN, B, I, P

_MPEG_PICTURE = b"\x00\x00\x01\x00"
_MPEG4_VOP = b"\x00\x00\x01\xb6"
_MPEG2_TYPES = {1: I, 2: P, 3: B}  # ISO/IEC 13818-2 Table 6-12, picture_coding_type
_MPEG4_TYPES = {0: I, 1: P, 2: B, 3: P}  # ISO/IEC 14496-2 Table 6-20, vop_coding_type; 3 is a sprite picture
_H264_TYPES = {0: P, 1: B, 2: I, 3: P, 4: I}  # ITU-T H.264 Table 7-6, slice_type modulo 5; SP counts as P, SI as I


class PictureTypeReader:
    """Reads picture types of one stream. codec: FFmpeg's decoder name. extradata: the stream's, as bytes or None."""

    def __init__(self, codec: str, extradata: bytes | None) -> None:
        self._read = {"h264": self._h264, "mpeg4": _mpeg4, "mpeg2video": _mpeg2, "mpeg1video": _mpeg2}.get(codec)
        # avcC (ISO/IEC 14496-15 5.3.3.1): byte 4 holds the length of NAL length fields; Annex B starts with zeros
        self._length_size = (extradata[4] & 3) + 1 if extradata and len(extradata) > 6 and extradata[0] == 1 else 0

    def read(self, packet: Any) -> int:
        """Picture type of one packet as ASCII, or 0 where this codec's headers are not read here."""
        return UNKNOWN if self._read is None else self._read(memoryview(packet))

    def _h264(self, data: memoryview) -> int:
        """The type of the whole picture: B if any slice is B, else P if any slice is P."""
        found = {
            _H264_TYPES[kind % 5]
            for start, stop in self._nal_units(data)
            if data[start] & 31 in (1, 2, 5) and (kind := _slice_type(data[start + 1 : min(stop, start + 17)])) is not None
        }
        return B if B in found else P if P in found else I if I in found else UNKNOWN

    def _nal_units(self, data: memoryview) -> list[tuple[int, int]]:
        units = []
        if self._length_size:
            at = 0
            while at + self._length_size < len(data):
                start = at + self._length_size
                at = start + int.from_bytes(data[at:start], "big")
                units.append((start, min(at, len(data))))
            return units
        raw = bytes(data)
        at = raw.find(b"\x00\x00\x01")
        while at >= 0 and at + 3 < len(raw):
            following = raw.find(b"\x00\x00\x01", at + 3)
            units.append((at + 3, following if following >= 0 else len(raw)))
            at = following
        return units


def _slice_type(payload: memoryview) -> int | None:
    """slice_type of a slice header (H.264 7.3.3): the second Exp-Golomb code, after first_mb_in_slice."""
    raw = bytes(payload).replace(b"\x00\x00\x03", b"\x00\x00")
    bits = int.from_bytes(raw, "big")
    left = 8 * len(raw)
    code = 0
    for _ in range(2):
        zeros = left - bits.bit_length()
        left -= 2 * zeros + 1
        if left < 0:
            return None
        code = (bits >> left) - 1
        bits &= (1 << left) - 1
    return code if code < 10 else None


def _mpeg2(data: memoryview) -> int:
    raw = bytes(data[:4096])
    at = raw.find(_MPEG_PICTURE)  # temporal_reference takes ten bits, then three bits of type
    return _MPEG2_TYPES.get(raw[at + 5] >> 3 & 7, UNKNOWN) if 0 <= at and at + 5 < len(raw) else UNKNOWN


def _mpeg4(data: memoryview) -> int:
    raw = bytes(data[:4096])
    at = raw.find(_MPEG4_VOP)
    return _MPEG4_TYPES[raw[at + 4] >> 6] if 0 <= at and at + 4 < len(raw) else UNKNOWN
