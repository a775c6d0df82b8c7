"""Runs of packets that decode on their own, and how to come by them again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from codecmeta.codecs.table import codec_of
from codecmeta.container.packets import NO_PTS, PacketTable, demux


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


def plan_segments(packets: PacketTable, codec: str) -> list[Segment]:
    """Split a stream at its keyframes: one segment per GoP, or a single linear one.

    Linear are streams without usable time stamps (rows are only known after decoding) and those with a keyframe of
    which the codec's own bits do not say that decoding may start there: containers flag recovery points of
    intra-refresh streams, and some every packet. So is a stream of whose keyframes none is shown (cut by an edit list).
    """
    if not packets.timed or not (packets.key & packets.shown).any() or not packets.starts[packets.key].all():
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
            # a decoder that exports nothing for a frame that is flushed out is pushed on by the next keyframe
            stop = following + max(codec_of(codec).pushed, _leading_packets(packets, int(following)))
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


def runs(segments: Sequence[Segment], packets: int, jobs: int) -> list[range]:
    """Which of these segments a worker should take at once: all where it is the only one. Of several each takes enough
    of the `packets` of the video to be worth opening the file for and, as what it finds waits in memory for its turn, a
    few hundred at most beside the last segment."""
    least = packets if jobs == 1 else min(max(packets // (4 * jobs), 64), 512)
    found: list[range] = []
    for i, segment in enumerate(segments):
        if found and segment.first - segments[found[-1].start].first < least:
            found[-1] = range(found[-1].start, i + 1)
        else:
            found.append(range(i, i + 1))
    return found


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
