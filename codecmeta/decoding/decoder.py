"""From packets to decoded frames with the side data FFmpeg exports: one single-thread decoder per keyframe segment.

Frame threads are never used: with them FFmpeg copies the vector and quantiser tables of a delayed H.264 picture while
another thread still writes them, so a stream with B-frames loses or corrupts some, different ones on each run. Many
cores are used by decoding several keyframe segments at the same time instead. Where no side data is wanted they are not
used either: a thread of FFmpeg's that lets go of a packet's number waits for the interpreter's lock, which the thread
that closes the decoder holds (seen with dav1d; neither ever ends).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from codecmeta.codecs.protocol import with_configuration
from codecmeta.container.packets import PacketTable, open_video
from codecmeta.container.segments import Damage, Segment, prefetch, segment_packets
from codecmeta.container.source import Medium
from codecmeta.decoding.exported import exported_qp, exported_vectors
from codecmeta.record.display import QpBlocks
from codecmeta.record.metadata import B, I, P

_TYPES = {1: I, 2: P, 3: B, 4: P, 5: I, 6: P, 7: B}  # AVPictureType: I, P, B, S (sprite), SI, SP, BI


@dataclass(frozen=True)
class Decoded:
    """One displayed frame as it left the decoder. packet: index of the packet it came from."""

    row: int
    packet: int
    frame: Any
    picture_type: int
    corrupt: bool

    @property
    def vectors(self) -> NDArray[np.void] | None:
        """dtype VECTOR in the coded picture's own coordinates, None where none were exported for it."""
        return exported_vectors(self.frame)

    @property
    def qp(self) -> QpBlocks | None:
        """Its quantisers, None where none were exported for it."""
        return exported_qp(self.frame)


def decode_segment(
    path: Medium,
    stream: int,
    packets: PacketTable,
    segment: Segment,
    *,
    side_data: bool = True,
    opened: tuple[Any, Any] | None = None,
    only: NDArray[np.bool_] | None = None,
) -> Iterator[Decoded]:
    """Decode one segment in display order; stop iterating when the frames you need have come.

    only: bool (packets,), of a segment that is not linear: the decoder gets these packets and no others, and their
    frames come; the rest must be such that it can do without (`container.decode_cost`).
    opened: (container, stream) of `open_video`, from which other segments may have been decoded before, with the same
    `side_data` and the first segment of the file, if any, first; else the file is opened.

    Raises Damage if a segment that is not linear loses, repeats or reorders a frame, reports corruption or an error.
    In a linear segment rows count the frames that come out, a packet that fails is skipped, and nothing is raised.
    """
    order = packets.display_order
    row_of = dict(zip(order[segment.rows.start : segment.rows.stop].tolist(), segment.rows, strict=True))
    if only is not None:
        row_of = {packet: row for packet, row in row_of.items() if only[packet] and packet < segment.stop}
    coming = deque(row_of.values())
    frames = 0
    if only is not None:
        prefetch(path, packets, segment)
    source = open_video(path, stream) if opened is None else nullcontext(opened)
    for packet, frame, error in _frames(source, packets, segment, side_data, only):
        if segment.linear:
            row: int | None = frames
        else:
            row = row_of.get(packet)
            if row is None and not error:
                continue  # a leading picture of this keyframe, or of the next one: another segment's business
            if error or not coming or row != coming.popleft() or frame.is_corrupt:
                raise Damage
        if frame is None:
            continue
        assert row is not None
        frames += 1
        yield Decoded(
            row,
            packet,
            frame,
            _TYPES.get(int(frame.pict_type), P),
            bool(frame.is_corrupt),
        )
        if not coming and not segment.linear:
            return
    if coming and not segment.linear:
        raise Damage


def _frames(
    source: AbstractContextManager[tuple[Any, Any]],
    packets: PacketTable,
    segment: Segment,
    side_data: bool,
    only: NDArray[np.bool_] | None,
) -> Iterator[tuple[int, Any, bool]]:
    """(packet index, frame, error): frame is None where error says that a packet could not be decoded."""
    with source as (container, video):
        codec, again = video.codec_context, video.codec_context.is_open
        if again:
            codec.flush_buffers()  # as after a seek: nothing of another segment is left but its parameter sets
        else:
            codec.thread_type = "NONE"
            codec.thread_count = 1
            codec.copy_opaque = True
            if side_data:
                codec.options = {"flags2": "+export_mvs", "export_side_data": "venc_params"}
        index = segment.first
        for index, packet in segment_packets(container, video, packets, segment):
            if only is not None and not only[index]:
                continue
            if again:
                packet, again = _with_sets(packet, codec, packets.extradata), False
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


def _with_sets(packet: Any, codec: Any, extradata: bytes) -> Any:
    """The first packet of a segment behind the parameter sets with which a new decoder starts, in place of those that
    another segment may have left."""
    data = bytes(packet)
    with_sets = with_configuration(codec.codec.canonical_name, data, extradata, extradata or None)
    if len(with_sets) == len(data):
        return packet
    made = av.Packet(with_sets)
    made.pts, made.dts, made.time_base, made.duration = packet.pts, packet.dts, packet.time_base, packet.duration
    made.is_keyframe = packet.is_keyframe
    return made
