"""From a file to its packet table: demuxing only, any codec FFmpeg opens, nearly free."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import av
import numpy as np
from av.stream import Discard
from numpy.typing import NDArray

from codecmeta.codecs.look import Look
from codecmeta.codecs.protocol import headers_of
from codecmeta.codecs.syntax.nal import nal_length_size_of, units_of_extradata
from codecmeta.codecs.table import Codec, codec_of
from codecmeta.container.opening import open_file
from codecmeta.container.source import Medium
from codecmeta.errors import VideoError
from codecmeta.record.metadata import UNKNOWN, B, I, P

NO_PTS = -(2**63)
_FIRST_PACKETS = 16
_DECODE_TIMES = ("avi", "asf", "asf_o")
"""Containers that know of each packet when it is to be decoded, and of nothing else."""


@dataclass(frozen=True)
class PacketTable:
    """One row per packet of the video stream, in stream (decode) order; every array has shape (packets,).

    pts, dts: int64 in the stream's time base, `NO_PTS` where missing. size: int64 bytes. key: bool. shown: bool, False
    for packets that FFmpeg decodes but never displays (hidden VP8 frames, mp4 edit lists, second fields). picture_type:
    uint8, ASCII or 0. gop: int32, a keyframe packet opens a GoP. extradata: the codec's, as the container has it.
    position: int64, where FFmpeg says the packet lies in the file, -1 unknown; what lies there is the packet only in
    containers that do not split or wrap it. reference: bool, False where the standard says that no other picture of its
    layer refers to this one (H.264 nal_ref_idc 0; HEVC sub-layer non-reference types, H.265 table 7-1; B pictures of
    MPEG-1, 2 and 4), True where that is not known; a VP8, VP9 or AV1 frame always hands its vectors and probabilities
    on. layer: uint8, TemporalId (HEVC), else 0. coded: uint8, frames coded inside the packet (VP9 superframes, AV1
    temporal units), else 1. starts: bool, the codec's own bits say that decoding may start there. order: int64,
    ascending in display order by what the bitstream says, NO_PTS where it does not. changes: packets that bring another
    configuration of the decoder, and which. decode_times: the container's pts say when to decode. doubt: why only a
    decoder can tell which packets are shown, and in which order; "" where that is known. looked: bool, whether the
    packet itself was read; of others the container's index is all that is known (picture types are those of keyframes,
    nothing is said of references, layers and frames inside, starts are its keyframes). None: all were.
    """

    pts: NDArray[np.int64]
    dts: NDArray[np.int64]
    size: NDArray[np.int64]
    key: NDArray[np.bool_]
    shown: NDArray[np.bool_]
    picture_type: NDArray[np.uint8]
    gop: NDArray[np.int32]
    position: NDArray[np.int64]
    reference: NDArray[np.bool_]
    layer: NDArray[np.uint8]
    coded: NDArray[np.uint8]
    extradata: bytes
    starts: NDArray[np.bool_]
    order: NDArray[np.int64]
    changes: dict[int, bytes]
    decode_times: bool
    doubt: str
    looked: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.pts)

    @cached_property
    def timed(self) -> bool:
        """Whether every shown packet has a pts of its own and nothing speaks against them, so that display order is
        known without decoding."""
        pts = self.pts[self.shown]
        return not self.doubt and bool(len(pts)) and NO_PTS not in pts and len(np.unique(pts)) == len(pts)

    @cached_property
    def ordered(self) -> bool:
        """Whether the bitstream itself says in which order its packets are displayed."""
        return bool((self.order[self.shown] != NO_PTS).all())

    @cached_property
    def display_order(self) -> NDArray[np.int64]:
        """Indices of the shown packets in display order: by time stamps, else by the bitstream; in stream order where
        neither tells."""
        shown = np.flatnonzero(self.shown)
        if self.timed:
            return shown[np.argsort(self.pts[shown], kind="stable")]
        return shown[np.argsort(self.order[shown], kind="stable")] if self.ordered else shown


@contextmanager
def open_video(path: Medium, stream: int | None = None) -> Iterator[tuple[Any, Any]]:
    """Open a file and choose its video stream: yields (container, stream), every other stream discarded.

    Raises VideoError, naming the file, when FFmpeg cannot open it or the stream is not there; an FFmpeg error inside
    the block becomes a VideoError too.
    """
    with open_file(path) as container:
        yield container, _choose(container, path, stream)


def _choose(container: Any, path: Medium, stream: int | None) -> Any:
    videos = [one for one in container.streams.video if one.codec_context is not None]
    if not videos:
        others = ", ".join(one.type for one in container.streams) or "nothing"
        raise VideoError(f"{path}: no video stream; found {others}. Pass a file with video.")
    if stream is None:
        chosen = container.streams.best("video") or videos[0]
    elif 0 <= stream < len(videos):
        chosen = videos[stream]
    else:
        raise VideoError(f"{path}: video stream {stream} does not exist; the file has {len(videos)}, counted from 0")
    for other in container.streams:
        if other is not chosen:
            other.discard = Discard.all
    return chosen


def read_packets(container: Any, video: Any) -> tuple[PacketTable, list[Any]]:
    """All packets of the stream as a table, and the first few from its first keyframe on."""
    # one growing array per column: a hundred thousand tuples of numbers take six times the memory
    pts, dts, size, position, order = (array("q") for _ in range(5))
    key, shown, types, starts, reference, layer, coded = (array("B") for _ in range(7))
    first: list[Any] = []
    doubts: dict[str, None] = {}
    changes: dict[int, bytes] = {}
    name = video.codec_context.codec.canonical_name
    codec = codec_of(name)
    extradata = bytes(video.codec_context.extradata or b"")
    look_at = header_reader(name, extradata)
    codec = codec_of(name)
    facts = codec.facts(extradata) if codec.facts is not None else None
    last_pts, open_field = None, False
    for packet in demux(container, video):
        if packet.has_sidedata("new_extradata"):
            new = bytes(packet.get_sidedata("new_extradata"))
            if new != extradata:
                changes[len(pts)], extradata = new, new
        look = look_at(with_configuration(bytes(packet), extradata, changes.get(len(pts)))) if look_at else Look()
        if look.doubt:
            doubts[look.doubt] = None
        if packet.is_corrupt:
            doubts["a packet that is cut"] = None
        second_field = look.field and open_field and packet.pts in (None, last_pts)
        if look.field and open_field and not second_field:
            doubts["fields with time stamps of their own"] = None
        open_field = look.field and not second_field
        pts.append(NO_PTS if packet.pts is None else packet.pts)
        dts.append(NO_PTS if packet.dts is None else packet.dts)
        size.append(packet.size)
        key.append(packet.is_keyframe)
        shown.append(bool(look.frames) and not packet.is_discard and not second_field)
        types.append(kind := look.picture_type or (I if packet.is_keyframe else UNKNOWN))
        referred, its_layer, inside = facts(packet) if facts is not None else (kind != B or codec.b_references, 0, 1)
        reference.append(referred)
        layer.append(its_layer)
        coded.append(inside)
        starts.append(look.starts)
        order.append(NO_PTS if look.order is None else (look.order[0] << 40) + look.order[1])
        position.append(-1 if packet.pos is None else packet.pos)
        last_pts = packet.pts
        if len(first) < _FIRST_PACKETS and (first or packet.is_keyframe):
            first.append(packet)
    if look_at is None:
        doubts[f"headers of {name} are not read"] = None
    is_key = np.array(key, bool)
    gop = np.maximum(np.cumsum(is_key) - (1 if len(key) and key[0] else 0), 0).astype(np.int32)
    table = PacketTable(
        np.array(pts, np.int64),
        np.array(dts, np.int64),
        np.array(size, np.int64),
        is_key,
        np.array(shown, bool),
        np.array(types, np.uint8),
        gop,
        np.array(position, np.int64),
        np.array(reference, bool),
        np.array(layer, np.uint8),
        np.array(coded, np.uint8),
        bytes(video.codec_context.extradata or b""),
        np.array(starts, bool),
        order_by_types(np.array(types, np.uint8)) if codec_of(name).order_by_types else np.array(order, np.int64),
        changes,
        any(one in container.format.name.split(",") for one in _DECODE_TIMES),
        "; ".join(doubts),
    )
    return replace(
        table,
        doubt="; ".join(filter(None, (table.doubt, *_doubts(table, codec_of(name))))),
    ), first


def header_reader(codec: str, extradata: bytes) -> Callable[[bytes], Look] | None:
    """What packets of this codec say of themselves; None where their headers are not read here."""
    headers = headers_of(codec, extradata)
    if headers is not None:
        return headers.look
    look = codec_of(codec).look
    return None if look is None else lambda packet: look(packet, extradata)


def _doubts(table: PacketTable, codec: Codec) -> Iterator[str]:
    """What makes a table uncertain as a whole."""
    if not len(table) or not table.shown.any():
        return
    if not table.starts[0] and codec.look is not None or table.picture_type[0] not in (I, UNKNOWN):
        yield "the stream starts where a decoder may not"
    if table.changes:
        yield "the decoder's configuration changes in the middle"
    pts = table.pts[table.shown]
    if NO_PTS in pts or len(np.unique(pts)) < len(pts):
        if codec.reorders and not table.ordered:
            yield "not every frame has a usable time stamp of its own"
        return
    first = int(np.flatnonzero(table.key)[0]) if table.key.any() else 0
    if table.shown[first] and pts.min() < table.pts[first]:
        yield "pictures are displayed before the first keyframe"
    if table.ordered:
        if not np.array_equal(np.argsort(pts, kind="stable"), np.argsort(table.order[table.shown], kind="stable")):
            yield "time stamps contradict the order that the bitstream gives"
    elif table.decode_times and codec.reorders:
        yield "time stamps of this container say when to decode"


def order_by_types(types: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The place of each packet in display order where B pictures are displayed before the I or P picture sent before
    them (MPEG-1, 2 and 4 part 2); int64, NO_PTS where a type is not known."""
    if not np.isin(types, (I, P, B)).all():
        return np.full(len(types), NO_PTS, np.int64)
    place = np.zeros(len(types), np.int64)
    next_, anchor = 0, -1
    for at, kind in enumerate(types.tolist()):
        if kind == B:
            place[at], next_ = next_, next_ + 1
        else:
            if anchor >= 0:
                place[anchor], next_ = next_, next_ + 1
            anchor = at
    if anchor >= 0:
        place[anchor] = next_
    return place


def with_configuration(packet: bytes, extradata: bytes, change: bytes | None) -> bytes:
    """A packet in the framing of H.264 that `extradata` says, the parameter sets of a changed configuration before it.

    Containers may bring another configuration beside a packet; a parser takes it from inside as well. One whose NAL
    units have lengths of another size is not put so: it stays without the sets, and is found damaged.
    """
    if change is None or nal_length_size_of(change) != nal_length_size_of(extradata):
        return packet
    units = list(units_of_extradata(change))
    width = nal_length_size_of(extradata)
    if width is None:
        return b"".join(b"\0\0\1" + unit for unit in units) + packet
    return b"".join(len(unit).to_bytes(width, "big") + unit for unit in units) + packet


def demux(container: Any, video: Any) -> Iterator[Any]:
    """The packets of one stream that hold data. A read error in the middle of a damaged file ends the stream there."""
    packets = container.demux(video)
    seen = 0
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except av.FFmpegError:
            if not seen:
                raise
            return
        if packet.size:
            seen += 1
            yield packet
