"""From packets to decoded frames with the side data FFmpeg exports: one single-thread decoder per keyframe segment.

Frame threads are never used: with them FFmpeg copies the vector and quantiser tables of a delayed H.264 picture while
another thread still writes them, so a stream with B-frames loses or corrupts some, different ones on each run. Many
cores are used by decoding several keyframe segments at the same time instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from codecmeta.container.probe import NO_PTS, PacketTable, demux, open_video
from codecmeta.record.display import QpBlocks
from codecmeta.record.metadata import VECTOR, B, I, P

VECTOR_CODECS = frozenset(
    "h264 mpeg1video mpeg2video mpeg4 h263 h263p h261 flv1 wmv1 wmv2 wmv3 vc1 "
    "msmpeg4v1 msmpeg4v2 msmpeg4v3 rv10 rv20 rv30 rv40 snow".split()
)
"""Codecs whose FFmpeg decoders honour `export_mvs` (the call sites of ff_print_debug_info2 in libavcodec)."""

QP_CODECS = VECTOR_CODECS - {"snow", "h261"} | {"vp9"}
"""Codecs whose FFmpeg decoders export `venc_params`."""

_NO_B_VECTORS = frozenset(("mpeg4", "h263", "h263p", "flv1", "wmv1", "wmv2", "msmpeg4v1", "msmpeg4v2", "msmpeg4v3"))
"""h263dec updates its motion tables for non-B pictures only: the vectors it exports for B-frames are all zero."""

_TYPES = {1: I, 2: P, 3: B, 4: P, 5: I, 6: P, 7: B}  # AVPictureType: I, P, B, S (sprite), SI, SP, BI


class Damage(Exception):
    """A segment did not decode as its packets promised; the file has to be decoded from start to end instead."""


@dataclass(frozen=True)
class Segment:
    """A run of packets that decodes on its own, and the frame rows it is responsible for.

    first, stop: packets, half-open; `stop` lies behind the next keyframe's leading pictures where the next GoP is open.
    rows: range of frame-table rows. linear: the whole file, whatever it holds.
    """

    first: int
    stop: int
    rows: range
    linear: bool = False


@dataclass(frozen=True)
class Decoded:
    """One displayed frame as it left the decoder. packet: index of the packet it came from. vectors: dtype VECTOR in
    the coded picture's own coordinates, None where none were exported for it. qp: `QpBlocks` or None."""

    row: int
    packet: int
    frame: Any
    picture_type: int
    corrupt: bool
    vectors: NDArray[np.void] | None
    qp: QpBlocks | None


def plan_segments(packets: PacketTable, codec: str) -> list[Segment]:
    """Split a stream at its keyframes: one segment per GoP, or a single linear one.

    Linear are streams without usable time stamps (rows are only known after decoding) and intra-refresh streams, whose
    recovery points are flagged as keyframes although a decoder that starts there has no complete picture: told by a
    keyframe packet that is not an I picture. So is a stream of whose keyframes none is shown (cut by an edit list).
    """
    if not packets.timed or not (packets.key & packets.shown).any() or (packets.picture_type[packets.key] != I).any():
        return [linear_segment(packets)]
    order = packets.display_order
    sorted_pts = packets.pts[order]
    keys = np.flatnonzero(packets.key & packets.shown)
    segments: list[Segment] = []
    for first, following in zip(keys, [*keys[1:], None], strict=True):
        low = segments[-1].rows.stop if segments else 0
        if following is None:
            high, stop = len(order), len(packets)
        else:
            high = int(np.searchsorted(sorted_pts, packets.pts[following]))
            # MPEG decoders export nothing for a frame that is flushed out, so they are pushed on by the next keyframe
            pushed = 1 if codec in VECTOR_CODECS and codec != "h264" else 0
            stop = following + max(pushed, _leading_packets(packets, int(following)))
        # packets before the first keyframe go with it: they are tried, and lost if they do not decode
        segments.append(Segment(int(first) if segments else 0, int(stop), range(low, high)))
    return segments


def _leading_packets(packets: PacketTable, key: int) -> int:
    """Packets to decode from keyframe `key` on until its last leading picture, which displays before it; 0 if it has
    none."""
    after = slice(key + 1, key + 65)
    leading = np.flatnonzero((packets.pts[after] < packets.pts[key]) & packets.shown[after])
    return int(leading[-1]) + 2 if len(leading) else 0


def linear_segment(packets: PacketTable) -> Segment:
    """The whole stream as one segment."""
    return Segment(0, len(packets), range(0, int(packets.shown.sum())), linear=True)


def decode_segment(
    path: Path,
    stream: int,
    packets: PacketTable,
    segment: Segment,
    *,
    side_data: bool = True,
    opened: tuple[Any, Any] | None = None,
) -> Iterator[Decoded]:
    """Decode one segment in display order; stop iterating when the frames you need have come.

    opened: (container, stream) of `open_video`, from which other segments may have been decoded before, with the same
    `side_data` and the first segment of the file, if any, first; else the file is opened, which for two hours of mp4
    takes as long as decoding a second.

    Raises Damage if a segment that is not linear loses, repeats or reorders a frame, reports corruption or an error.
    In a linear segment rows count the frames that come out, a packet that fails is skipped, and nothing is raised.
    """
    order = packets.display_order
    row_of = dict(zip(order[segment.rows.start : segment.rows.stop].tolist(), segment.rows, strict=True))
    next_row = segment.rows.start
    source = open_video(path, stream) if opened is None else nullcontext(opened)
    for packet, frame, error in _frames(source, packets, segment, side_data):
        if segment.linear:
            row: int | None = next_row
        else:
            row = row_of.get(packet)
            if row is None and not error:
                continue  # a leading picture of this keyframe, or of the next one: another segment's business
            if error or row != next_row or frame.is_corrupt:
                raise Damage
        if frame is None:
            continue
        assert row is not None
        next_row = row + 1
        yield Decoded(
            row,
            packet,
            frame,
            _TYPES.get(int(frame.pict_type), P),
            bool(frame.is_corrupt),
            _vectors(frame) if side_data else None,
            _qp(frame) if side_data else None,
        )
        if next_row >= segment.rows.stop and not segment.linear:
            return
    if not segment.linear and next_row < segment.rows.stop:
        raise Damage


def _frames(
    source: AbstractContextManager[tuple[Any, Any]], packets: PacketTable, segment: Segment, side_data: bool
) -> Iterator[tuple[int, Any, bool]]:
    """(packet index, frame, error): frame is None where error says that a packet could not be decoded."""
    with source as (container, video):
        codec = video.codec_context
        if codec.is_open:
            codec.flush_buffers()  # as after a seek: nothing of another segment is left
        else:
            codec.thread_type = "NONE"
            codec.thread_count = 1
            codec.copy_opaque = True
            if side_data:
                codec.options = {"flags2": "+export_mvs", "export_side_data": "venc_params"}
        index = segment.first
        for index, packet in segment_packets(container, video, packets, segment):
            # a new object for every packet: PyAV finds it again by its id(), and small integers are shared
            packet.opaque = (index,)
            try:
                found = codec.decode(packet)
            except (av.FFmpegError, ValueError):
                yield index, None, True
                continue
            for frame in found:
                yield frame.opaque[0], frame, False
        try:
            for frame in codec.decode(None):
                yield frame.opaque[0], frame, False
        except (av.FFmpegError, ValueError):
            yield index, None, True


def segment_packets(container: Any, video: Any, packets: PacketTable, segment: Segment) -> Iterator[tuple[int, Any]]:
    """The packets of a segment with their indices: sought where the container can, counted from the start otherwise."""
    index = segment.first
    if index:
        stamps = [stamp for stamp in (int(packets.pts[index]), int(packets.dts[index])) if stamp != NO_PTS]
        container.seek(min(stamps), stream=video, backward=True)
    started = index == 0
    for packet in demux(container, video):
        if not started:
            if not _is_packet(packet, packets, index):
                if packet.pts is not None and packet.pts > packets.pts[index] and packet.is_keyframe:
                    break
                continue
            started = True
        if index == segment.stop:
            return
        yield index, packet
        index += 1
    if not started:
        container.seek(0, stream=video, backward=True, any_frame=True)
        yield from _packets_by_counting(container, video, segment)


def _packets_by_counting(container: Any, video: Any, segment: Segment) -> Iterator[tuple[int, Any]]:
    for index, packet in enumerate(demux(container, video)):
        if index == segment.stop:
            return
        if index >= segment.first:
            yield index, packet


def _is_packet(packet: Any, packets: PacketTable, index: int) -> bool:
    return packet.is_keyframe and packet.pts == packets.pts[index] and packet.size == packets.size[index]


def _vectors(frame: Any) -> NDArray[np.void] | None:
    """The exported vectors, field by field: the struct has padding bytes that nobody initialises, and a view would keep
    the whole frame alive."""
    exported = frame.side_data.get("MOTION_VECTORS")
    if exported is None:
        return None
    source = exported.to_ndarray()
    vectors = np.empty(len(source), VECTOR)
    for name in ("source", "w", "h", "dst_x", "dst_y", "motion_x", "motion_y"):
        vectors[name] = source[name]
    vectors["scale"] = source["motion_scale"]
    return vectors


def _qp(frame: Any) -> QpBlocks | None:
    """AVVideoEncParams (libavutil/video_enc_params.h) read as plain integers: PyAV's own qp_map refuses cropped and
    MBAFF pictures and loops in Python."""
    exported = frame.side_data.get("VIDEO_ENC_PARAMS")
    if exported is None:
        return None
    raw = memoryview(exported)
    count = int.from_bytes(raw[:4], "little")
    offset, size = np.frombuffer(raw[8:24], np.uint64).astype(int)
    base = int(np.frombuffer(raw[28:32], np.int32)[0])
    blocks = np.frombuffer(raw[offset : offset + count * size], np.int32).reshape(count, size // 4)[:, :5].copy()
    return QpBlocks(base, blocks)


def has_b_vectors(codec: str) -> bool:
    """Whether the vectors FFmpeg exports for B-frames of this codec mean anything."""
    return codec not in _NO_B_VECTORS
