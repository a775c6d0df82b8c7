"""From packets to the frame and GoP tables, and what the container alone knows of them."""

from __future__ import annotations

from bisect import bisect_left

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

    pts, time = frame_times(packets, order, facts)
    frames = Frames(
        pts,
        time,
        packets.picture_type[order] if picture_type is None else picture_type,
        packets.key[order],
        packet_bytes,
        packets.gop[order],
        np.zeros(rows, bool) if corrupt is None else corrupt,
    )
    return frames, _gops(packets, frames)


def frame_times(
    packets: PacketTable, order: NDArray[np.int64], facts: Stream
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """(pts int64, -1 unknown; seconds float64, ascending) of frames that come from packets `order`, in display order.

    Each frame has the time stamp of its packet. Where those say when to decode, the frames take them in ascending
    order; else a time stamp that would step backwards, stand still or is missing gives way to the time between its
    neighbours. Without time stamps for at least half of the frames, time follows the frame rate.
    """
    num, den = facts.time_base
    own = packets.pts[order]
    known = own != NO_PTS
    pts = np.where(known, own, -1)
    if 2 * known.sum() < max(len(own), 1) or (known.sum() < 2 and not known.all()):
        rate = facts.average_rate[0] / facts.average_rate[1] or 25.0
        return pts, np.arange(len(own)) / rate
    if known.all() and (np.diff(own) > 0).all():
        return pts, (pts * (num / den)).astype(np.float64)
    sent = packets.pts[np.sort(order)]
    if known.all() and (packets.decode_times or (np.diff(sent) >= 0).all()):
        own = pts = np.sort(own)
    kept = np.flatnonzero(known)[_longest_rise(own[known])]
    between = _interpolated(kept, own[kept].astype(np.float64), len(own))
    low = np.concatenate([[-np.inf], own[kept]])[np.searchsorted(kept, np.arange(len(own)), side="right")]
    high = np.concatenate([own[kept], [np.inf]])[np.searchsorted(kept, np.arange(len(own)), side="left")]
    wrong = known & ((own < low) | (own > high))
    return np.where(wrong, np.rint(between).astype(np.int64), pts), between * (num / den)


def _longest_rise(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Which values stay so that they rise strictly and as many as possible stay: indices, ascending."""
    ends: list[int] = []
    last: list[int] = []
    before = np.full(len(values), -1, np.int64)
    for at, value in enumerate(values.tolist()):
        length = bisect_left(ends, value)
        before[at] = last[length - 1] if length else -1
        ends[length : length + 1] = [value]
        last[length : length + 1] = [at]
    chain = [last[-1]]
    while before[chain[-1]] >= 0:
        chain.append(int(before[chain[-1]]))
    return np.array(chain[::-1], np.int64)


def _interpolated(rows: NDArray[np.int64], values: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Values of all rows from those known at `rows`: on the line between two, beyond the ends by the usual step."""
    result = np.interp(np.arange(count), rows, values)
    step = float(np.median(np.diff(values) / np.diff(rows))) if len(rows) > 1 else 1.0
    first, last = int(rows[0]), int(rows[-1])
    result[:first] = values[0] - step * np.arange(first, 0, -1)
    result[last + 1 :] = values[-1] + step * np.arange(1, count - last)
    return result


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
