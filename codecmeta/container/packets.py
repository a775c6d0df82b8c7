"""From a file to its packet table: demuxing only, any codec FFmpeg opens, nearly free."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from struct import Struct
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from codecmeta.codecs.look import Data, Look
from codecmeta.codecs.protocol import headers_of, with_configuration
from codecmeta.codecs.table import Codec, codec_of
from codecmeta.container.opening import open_file
from codecmeta.container.pyav import discard, new_extradata
from codecmeta.container.source import Medium
from codecmeta.errors import VideoError
from codecmeta.record.metadata import UNKNOWN, B, I, P

NO_PTS = -(2**63)
_FIRST_PACKETS = 16
_UNKNOWN = Look()
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
            discard(other)
    return chosen


_ROW = np.dtype(
    [
        *((name, "<i8") for name in ("pts", "dts", "size", "position", "order")),
        *((name, "u1") for name in ("key", "shown", "picture_type", "starts", "reference", "layer", "coded")),
    ]
)
_pack = Struct("<5q7B").pack


Progress = Callable[[int, int], object]
"""Told how far something has been read, and how far it goes."""

_SAY_EVERY = 500


def read_packets(container: Any, video: Any, progress: Progress | None = None) -> tuple[PacketTable, list[Any]]:
    """All packets of the stream as a table, and the first few from its first keyframe on. progress: told now and then
    where in the file it is, in bytes, and how many bytes the file has."""
    rows = bytearray()  # a hundred thousand tuples of numbers take six times the memory
    first: list[Any] = []
    doubts: dict[str, None] = {}
    changes: dict[int, bytes] = {}
    name = video.codec_context.codec.canonical_name
    codec = codec_of(name)
    extradata = known = bytes(video.codec_context.extradata or b"")
    look_at = header_reader(name, extradata)
    if look_at is None:
        doubts[f"headers of {name} are not read"] = None
    last_pts, open_field = None, False
    for index, packet in enumerate(demux(container, video)):
        data: Data = memoryview(packet)
        if (new := new_extradata(packet)) is not None and new != known:
            changes[index] = known = new
            data = with_configuration(name, bytes(packet), extradata, new)
        look = look_at(data) if look_at is not None else _UNKNOWN
        kind, frames, starts, place, field, doubt, reference, layer, coded = look
        if doubt:
            doubts[doubt] = None
        if packet.is_corrupt:
            doubts["a packet that is cut"] = None
        pts, dts, position, is_key = packet.pts, packet.dts, packet.pos, packet.is_keyframe
        if progress is not None and not index % _SAY_EVERY and position and container.size > 0:
            progress(position, container.size)
        second_field = field and open_field and pts in (None, last_pts)
        if field and open_field and not second_field:
            doubts["fields with time stamps of their own"] = None
        open_field, last_pts = field and not second_field, pts
        kind = kind or (I if is_key else UNKNOWN)
        rows += _pack(
            NO_PTS if pts is None else pts,
            NO_PTS if dts is None else dts,
            packet.size,
            -1 if position is None else position,
            NO_PTS if place is None else (place[0] << 40) + place[1],
            is_key,
            frames > 0 and not second_field and not packet.is_discard,
            kind,
            starts,
            reference and (kind != B or codec.b_references),
            layer,
            coded,
        )
        if len(first) < _FIRST_PACKETS and (first or is_key):
            first.append(packet)
    decode_times = any(one in container.format.name.split(",") for one in _DECODE_TIMES)
    table = _table(np.frombuffer(rows, _ROW), extradata, codec, changes, decode_times)
    return replace(table, doubt="; ".join((*doubts, *_doubts(table, codec)))), first


def _table(
    rows: NDArray[np.void], extradata: bytes, codec: Codec, changes: dict[int, bytes], decode_times: bool
) -> PacketTable:
    key, types = rows["key"].astype(bool), rows["picture_type"].copy()
    return PacketTable(
        pts=rows["pts"].copy(),
        dts=rows["dts"].copy(),
        size=rows["size"].copy(),
        key=key,
        shown=rows["shown"].astype(bool),
        picture_type=types,
        gop=np.maximum(np.cumsum(key) - (1 if len(key) and key[0] else 0), 0).astype(np.int32),
        position=rows["position"].copy(),
        reference=rows["reference"].astype(bool),
        layer=rows["layer"].copy(),
        coded=rows["coded"].copy(),
        extradata=extradata,
        starts=rows["starts"].astype(bool),
        order=order_by_types(types) if codec.order_by_types else rows["order"].copy(),
        changes=changes,
        decode_times=decode_times,
        doubt="",
    )


def header_reader(codec: str, extradata: bytes, *, in_the_middle: bool = False) -> Callable[[Data], Look] | None:
    """What packets of this codec say of themselves; None where their headers are not read here. in_the_middle: the
    first one that is shown to it is not the first one of the stream."""
    headers = headers_of(codec, extradata)
    if headers is not None:
        if in_the_middle:
            headers.go_on()
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
