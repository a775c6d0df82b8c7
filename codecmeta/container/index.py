"""A packet table from the container's index, without reading the packets; and those that are decoded, looked at.

An mp4 or mov file says of every sample where it lies, how large it is, when it is decoded and shown, and whether it is
a keyframe. That is the container's word. Decoding begins at a keyframe only when the packet itself has been looked at
(`look_at`), and everything else that its GoP's headers say is taken from them then.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from codecmeta.codecs.table import codec_of
from codecmeta.container.packets import NO_PTS, PacketTable, header_reader, open_video, order_by_types
from codecmeta.container.pyav import SHOWS_INDEX, new_extradata
from codecmeta.container.samples import NoIndex, Samples
from codecmeta.container.segments import Segment, plan_segments, prefetch, segment_packets
from codecmeta.container.source import Medium, size_of
from codecmeta.record.metadata import UNKNOWN, B, I

_ASKED = 64  # entries of FFmpeg's own index that are compared; asking for all takes longer than reading the table


class Unproven(Exception):
    """A GoP's packets are not what the container's index says, or decoding may not begin where it says."""


def index_table(video: Any, samples: Samples, medium: Medium) -> PacketTable:
    """The packets of a stream as its samples say, compared with FFmpeg's index. Raises NoIndex where that is not
    enough."""
    if not SHOWS_INDEX:
        raise NoIndex(f"PyAV {av.__version__} does not show what FFmpeg makes of it")
    entries = getattr(video, "index_entries", [])
    count = len(samples)
    if len(entries) != count or not count:
        raise NoIndex("an edit list repeats or drops pictures" if samples.edited else "FFmpeg reads it otherwise")
    if (samples.size <= 0).any() or int((samples.position + samples.size).max()) > size_of(medium):
        raise NoIndex("it lists packets that are not in the file")
    start = entries[0].timestamp - int(samples.dts[0])
    dts, key, shown = samples.dts + start, samples.key, np.ones(count, bool)
    if samples.edited or samples.grouped:
        rows = np.array([(one.timestamp, one.pos, one.size, one.is_keyframe, one.is_discard) for one in entries])
        dts, key, shown = rows[:, 0].astype(np.int64), rows[:, 3].astype(bool), ~rows[:, 4].astype(bool)
        same = np.array_equal(rows[:, 1], samples.position) and np.array_equal(rows[:, 2], samples.size)
    else:
        asked = np.unique(np.linspace(0, count - 1, _ASKED).astype(np.int64)).tolist()
        same = all(
            (one.timestamp, one.pos, one.size, one.is_keyframe, one.is_discard)
            == (dts[at], samples.position[at], samples.size[at], key[at], False)
            for at in asked
            for one in (entries[at],)
        )
    if not same:
        raise NoIndex("FFmpeg reads it otherwise")
    pts = dts + samples.offset + samples.shift
    table = PacketTable(
        pts=pts,
        dts=dts,
        size=samples.size,
        key=key,
        shown=shown,
        picture_type=np.where(key, I, UNKNOWN).astype(np.uint8),
        gop=np.maximum(np.cumsum(key) - 1, 0).astype(np.int32),
        position=samples.position,
        reference=~samples.unreferred,
        layer=np.zeros(count, np.uint8),
        coded=np.ones(count, np.uint8),
        extradata=bytes(video.codec_context.extradata or b""),
        starts=key.copy(),
        order=np.full(count, NO_PTS),
        changes={},
        decode_times=False,
        doubt="",
        looked=np.zeros(count, bool),
    )
    _check(table, video.codec_context.codec.canonical_name)
    return table


def _check(table: PacketTable, codec: str) -> None:
    """Raise NoIndex for what makes the order of pictures uncertain where all packets are read, too."""
    if not table.key[0]:
        raise NoIndex("the stream does not start with a keyframe")
    if header_reader(codec, table.extradata) is None:
        raise NoIndex(f"headers of {codec} are not read, so that no keyframe is proven")
    if not table.timed or not (table.key & table.shown).any():
        raise NoIndex("it does not give every picture a time of its own")
    if table.shown[0] and table.pts[table.shown].min() < table.pts[0]:
        raise NoIndex("pictures are displayed before the first keyframe")


def look_at(medium: Medium, stream: int, codec: str, packets: PacketTable, rows: Iterable[int]) -> PacketTable:
    """The table with what the headers say of every packet that decoding these rows takes.

    Raises Unproven where the container's word does not hold: a packet has another time or size, its GoP may not be
    decoded on its own, its pictures are in another order, or it holds another number of them.
    """
    assert packets.looked is not None
    segments = plan_segments(packets, codec)
    if segments[0].linear:
        raise Unproven("decoding may start nowhere in the middle")
    rows = np.unique(np.asarray(list(rows), np.int64))
    table = replace(
        packets,
        **{name: getattr(packets, name).copy() for name in ("picture_type", "reference", "layer", "coded", "starts")},
        order=packets.order.copy(),
        looked=packets.looked.copy(),
    )
    with open_video(medium, stream) as (container, video):
        for segment in segments:
            own = rows[(rows >= segment.rows.start) & (rows < segment.rows.stop)]
            if len(own):
                stop = int(packets.display_order[own].max()) + 1
                part = replace(segment, stop=stop)
                prefetch(medium, packets, part)
                _look_at_segment(container, video, table, part, codec)
    return table


def _look_at_segment(container: Any, video: Any, table: PacketTable, segment: Segment, codec: str) -> None:
    row = codec_of(codec)
    look_of = header_reader(codec, table.extradata, in_the_middle=segment.first > 0)
    assert look_of is not None and table.looked is not None
    part = np.arange(segment.first, segment.stop)
    for index, packet in segment_packets(container, video, table, segment):
        said = (table.pts[index], table.dts[index], table.size[index], table.key[index], not table.shown[index])
        if (packet.pts, packet.dts, packet.size, packet.is_keyframe, packet.is_discard) != said or packet.is_corrupt:
            raise Unproven(f"packet {index} is not what the index says")
        if new_extradata(packet) is not None:
            raise Unproven("the decoder's configuration changes in the middle")
        look = look_of(memoryview(packet))
        if look.doubt or look.frames != 1 or look.field:
            raise Unproven(look.doubt or f"packet {index} does not hold one picture")
        if index == segment.first and not look.starts:
            raise Unproven(f"the bitstream does not say that decoding may start with packet {index}")
        kind = look.picture_type or table.picture_type[index]
        table.picture_type[index] = kind
        table.starts[index] = look.starts
        table.order[index] = NO_PTS if look.order is None else (look.order[0] << 40) + look.order[1]
        table.reference[index] = look.reference and (kind != B or row.b_references)
        table.layer[index], table.coded[index] = look.layer, look.coded
        table.looked[index] = True
    if not table.looked[part].all():
        raise Unproven(f"packet {segment.first} is not where the index says")
    if row.order_by_types:
        table.order[part] = order_by_types(table.picture_type[part])
    order = table.order[part]
    if (order != NO_PTS).all() and not np.array_equal(_places(table.pts[part]), _places(order)):
        raise Unproven("time stamps contradict the order that the bitstream gives")


def _places(values: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.argsort(values, kind="stable")
