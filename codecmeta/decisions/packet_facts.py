"""What a packet's first bytes say beside its size: whether others need it, its temporal layer, the frames inside it.

A second demuxing pass until `codecmeta.container` reads these three columns in its own: `packet_facts_reader` has the
shape of `picture_type_reader` and is called with the same packets.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codecmeta.container import PacketTable, demux, open_video
from codecmeta.h264.nal import SLICE_IDR, SLICE_NON_IDR, nal_length_size_of
from codecmeta.metadata import B, Probe

_B_IS_NEVER_REFERRED_TO = frozenset(("mpeg1video", "mpeg2video", "mpeg4"))
_HEAD = 4096  # bytes of a packet in which its first slice begins, but for huge SEI messages


@dataclass(frozen=True)
class PacketFacts:
    """One value per packet of a `PacketTable`, all (packets,).

    reference: bool, False where the standard says that no other picture of its layer refers to this one (H.264
    nal_ref_idc 0; HEVC sub-layer non-reference types, H.265 table 7-1; B pictures of MPEG-1, 2 and 4); True where that
    is not known. VP8, VP9 and AV1 are always True: a frame that refreshes no buffer still hands its vectors and
    probabilities on to the next one. layer: uint8, TemporalId (HEVC), else 0. coded: uint8, frames coded inside the
    packet (VP9 superframes, AV1 temporal units), else 1.
    """

    reference: NDArray[np.bool_]
    layer: NDArray[np.uint8]
    coded: NDArray[np.uint8]


def packet_facts(probe: Probe, packets: PacketTable) -> PacketFacts:
    """Read the facts of every packet of a probed video; those of a codec without such a reader are the defaults.

    Raises VideoError where the file cannot be read any more.
    """
    count = len(packets)
    codec = probe.stream.codec
    if codec in _B_IS_NEVER_REFERRED_TO:
        return PacketFacts(packets.picture_type != B, np.zeros(count, np.uint8), np.ones(count, np.uint8))
    read = packet_facts_reader(codec, packets.extradata)
    reference, layer, coded = (array("B") for _ in range(3))
    if read is not None:
        with open_video(probe.path, probe.stream.stream_index) as (container, video):
            for packet in demux(container, video):
                found = read(packet)
                reference.append(found[0])
                layer.append(found[1])
                coded.append(found[2])
    if len(reference) != count:  # no reader, or a file that changed meanwhile
        return PacketFacts(np.ones(count, bool), np.zeros(count, np.uint8), np.ones(count, np.uint8))
    return PacketFacts(np.array(reference, bool), np.array(layer, np.uint8), np.array(coded, np.uint8))


def packet_facts_reader(codec: str, extradata: bytes | None) -> Callable[[Any], tuple[bool, int, int]] | None:
    """A function from a packet to (reference, layer, coded) as in `PacketFacts`; None for codecs that have no such.

    codec: FFmpeg's name. extradata: the stream's, which says how H.264 and HEVC packets hold their NAL units.
    """
    if codec == "h264":
        size = nal_length_size_of(extradata)
        return lambda packet: _h264(memoryview(packet), size)
    if codec == "hevc":
        size = (extradata[21] & 3) + 1 if extradata and len(extradata) > 22 and extradata[0] == 1 else None
        return lambda packet: _hevc(memoryview(packet), size)
    if codec in ("vp9", "libvpx-vp9"):
        return lambda packet: (True, 0, _vp9_frames(memoryview(packet)))
    if codec in ("av1", "libdav1d", "libaom-av1"):
        return lambda packet: (True, 0, _av1_frames(memoryview(packet)))
    return None


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
