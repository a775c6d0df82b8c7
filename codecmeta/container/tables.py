"""From packets to the frame and GoP tables, and what the container alone knows of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from codecmeta.container.packets import NO_PTS, PacketTable
from codecmeta.record.metadata import Frames, Gops, Stream

PACKET_SIZES = "sizes of the packets of the stream"


def frame_tables(
    packets: PacketTable,
    order: NDArray[np.int64],
    facts: Stream,
    picture_type: NDArray[np.uint8] | None = None,
    corrupt: NDArray[np.bool_] | None = None,
) -> tuple[Frames, Gops]:
    """The frame and GoP tables of frames that come from packets `order` (int64, in display order).

    Packets that give no frame of their own add their bytes to the next packet in the stream that does (to the last
    one at the end), so that no byte is lost. picture_type and corrupt, where a decoder found them, are per frame.
    """
    rows = len(order)
    first_row = np.full(len(packets), -1, np.int64)
    first_row[order[::-1]] = np.arange(rows)[::-1]
    carriers = np.flatnonzero(first_row >= 0)
    nearest = np.minimum(np.searchsorted(carriers, np.arange(len(packets))), len(carriers) - 1)
    packet_bytes = np.zeros(rows, np.int64)
    np.add.at(packet_bytes, first_row[carriers[nearest]], packets.size)

    pts = np.where(packets.pts[order] == NO_PTS, -1, packets.pts[order])
    num, den = facts.time_base
    if packets.timed:
        time = pts * (num / den)
    else:
        rate = facts.average_rate[0] / facts.average_rate[1] or 25.0
        time = np.arange(rows) / rate
    frames = Frames(
        pts,
        time.astype(np.float64),
        packets.picture_type[order] if picture_type is None else picture_type,
        packets.key[order],
        packet_bytes,
        packets.gop[order],
        np.zeros(rows, bool) if corrupt is None else corrupt,
    )
    return frames, _gops(packets, frames)


def _gops(packets: PacketTable, frames: Frames) -> Gops:
    groups = int(packets.gop[-1]) + 1
    start = np.full(groups, len(frames), np.int64)
    stop = np.zeros(groups, np.int64)
    rows = np.arange(len(frames))
    np.minimum.at(start, frames.gop, rows)
    np.maximum.at(stop, frames.gop, rows + 1)
    size = np.bincount(packets.gop, weights=packets.size, minlength=groups)
    count = np.bincount(packets.gop, minlength=groups)
    return Gops(np.minimum(start, stop), stop, size / np.maximum(count, 1))
