"""Which packets a decoder must be fed for the wanted frames, how many that are, and about how long it takes.

A keyframe segment (`container.segments.plan_segments`) is decoded from its first packet to the last one that is wanted,
in stream order, in one pass; packets of pictures that no other refers to are left out unless they are wanted
themselves. What comes out is the same, bit by bit, as from a full decode. In H.264 pictures that others refer to are
never left out, needed or not: a gap in frame_num shifts the reference lists.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from codecmeta.codecs.table import codec_of
from codecmeta.container.packets import PacketTable
from codecmeta.container.segments import plan_segments
from codecmeta.record.metadata import B, Frames, Stream

PER_PACKET = 30e-6
TO_RGB = 1.6e-9
"""Seconds of one thread: per packet, per pixel converted to RGB. Fitted, as those per pixel in the table of codecs, to
the plain decode column of benchmarks/results/extract.json; another machine differs by a factor that is the same for all
choices."""

PLACEHOLDER = 8
"""Bytes. MPEG-4 streams with "packed" B pictures send two pictures in one packet and then an empty one: which packet a
picture comes from only the decoder knows, so it goes through the file from its start."""


@dataclass(frozen=True)
class DecodeCost:
    """The packets of one video as a decoder sees them, int64 and bool arrays of shape (packets,) or (rows,).

    packet_of_row: the packet in stream order that gives a row. last: by row, the last packet of its picture, which is
    another one where two fields come in a packet each. first: by row, the packet at which decoding of its segment
    begins. droppable: by packet, no other picture refers to it. layer: by packet, its temporal layer. before:
    (packets + 1,), how many of the packets before each one are never left out. exact: all is known; if not,
    it is an upper estimate: from a container's index references are unknown, and from a frame table alone stream order
    is guessed from the picture types (a B picture behind the next other one), too, so that nothing is droppable.
    """

    packet_of_row: NDArray[np.int64]
    last: NDArray[np.int64]
    first: NDArray[np.int64]
    droppable: NDArray[np.bool_]
    exact: bool

    @cached_property
    def before(self) -> NDArray[np.int64]:
        return np.concatenate(([0], np.cumsum(~self.droppable)))

    @cached_property
    def alone(self) -> NDArray[np.int64]:
        """int64 (rows,): packets to decode for each row, if nothing else is wanted."""
        return self.before[self.last + 1] - self.before[self.first] + self.droppable[self.last]

    def passes(self, rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """The packets to feed for these rows, ascending int64, one array for each segment that a decoder goes through;
        after each it is drained. A packet that two segments need (the leading pictures of an open GoP) is in both."""
        found = []
        first = self.first[rows]
        for start in np.unique(first):
            own = self.last[rows[first == start]]
            needed = ~self.droppable[start : own.max() + 1]
            needed[own - start] = True
            found.append(start + np.flatnonzero(needed))
        return found

    def count(self, rows: NDArray[np.int64]) -> int:
        """How many packets are fed for these rows."""
        return sum(len(one) for one in self.passes(rows))


def decode_cost(frames: Frames, stream: Stream, packets: PacketTable | None = None) -> DecodeCost:
    """What decoding costs, from the packet table; from the frame table alone (a cache) it is an upper estimate."""
    if packets is None or not packets.timed:
        return _guessed(frames)
    segments = plan_segments(packets, stream.codec)
    order = packets.display_order
    first = np.zeros(len(order), np.int64)
    for one in segments:
        first[one.rows.start : one.rows.stop] = one.first
    if codec_of(stream.codec).packed and (packets.size[~packets.key] <= PLACEHOLDER).any():
        return DecodeCost(order, order, np.zeros(len(order), np.int64), np.zeros(len(packets), bool), True)
    keys = np.flatnonzero(packets.key)
    if len(keys):  # time stamps that jump put a picture among those of another segment
        own = keys[np.maximum(np.searchsorted(keys, order, side="right") - 1, 0)]
        first = np.where(order < first, np.minimum(own, order), first)
    exact = packets.looked is None or bool(packets.looked.all())
    return DecodeCost(order, order + second_fields(packets)[order], first, droppable(packets), exact)


def second_fields(packets: PacketTable) -> NDArray[np.bool_]:
    """bool (packets,): the second field of its picture is in the packet behind it."""
    return np.append(~packets.shown[1:] & (packets.pts[1:] == packets.pts[:-1]), False)


def droppable(packets: PacketTable) -> NDArray[np.bool_]:
    """bool (packets,): a decoder that does not get them gives all other pictures as they are."""
    # a picture of a lower layer than the highest may be referred to by one of a higher layer (H.265 7.4.2.2)
    free = ~packets.reference & (packets.layer == packets.layer.max(initial=0)) & ~packets.key
    second = second_fields(packets)
    return free & ~second & ~np.append(False, second[:-1])


def _guessed(frames: Frames) -> DecodeCost:
    rows = np.arange(len(frames))
    anchor = frames.picture_type != B
    following = np.append(np.where(anchor, rows, len(rows)), len(rows) - 1)
    following = np.minimum.accumulate(following[::-1])[::-1][:-1]  # the next row that is no B picture, itself included
    order = np.lexsort((rows, ~anchor, following, frames.gop))
    packet_of_row = np.empty(len(rows), np.int64)
    packet_of_row[order] = rows
    gop = frames.gop[order]
    start = np.flatnonzero(np.append(True, gop[1:] != gop[:-1]))
    first = start[np.searchsorted(start, packet_of_row, side="right") - 1]
    return DecodeCost(packet_of_row, packet_of_row, first, np.zeros(len(rows), bool), False)


def predicted_seconds(stream: Stream, packets: int, frames: int) -> float:
    """Seconds to decode so many packets in one thread and turn so many frames into RGB, roughly."""
    pixels = stream.width * stream.height
    per_pixel = codec_of(stream.codec).seconds_per_pixel
    return packets * (PER_PACKET + per_pixel * pixels) + frames * TO_RGB * pixels
