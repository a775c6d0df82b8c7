"""From a file to its packet table, frame table and GoPs: demuxing only, any codec FFmpeg opens, nearly free.

The one picture that is decoded is the first keyframe of an mp4, mov or mkv file, and of a stream cropped on the left,
because only a decoded frame carries the rotation and the size that FFmpeg derives from container and stream.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.stream import Discard
from numpy.typing import NDArray

from codecmeta.codecs.h264.parameter_sets import parameter_sets_of
from codecmeta.container.picture_types import picture_type_reader
from codecmeta.errors import VideoError
from codecmeta.record.metadata import UNKNOWN, Capability, Frames, Gops, I, Probe, Stream

NO_PTS = -(2**63)
PACKET_SIZES = "sizes of the packets of the stream"
_CONTAINERS_THAT_ROTATE = ("mov", "matroska")
_TAGS: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
"""Titles and the like in another encoding than UTF-8 are no reason to refuse a video (PyAV 19 sees to it itself)."""


@dataclass(frozen=True)
class PacketTable:
    """One row per packet of the video stream, in stream (decode) order; every array has shape (packets,).

    pts, dts: int64 in the stream's time base, `NO_PTS` where missing. size: int64 bytes. key: bool. shown: bool, False
    for packets that FFmpeg decodes but never displays (hidden VP8 frames, mp4 edit lists, second fields). picture_type:
    uint8, ASCII or 0. gop: int32, a keyframe packet opens a GoP. extradata: the codec's, as the container has it.
    position: int64, where FFmpeg says the packet lies in the file, -1 unknown; what lies there is the packet only in
    containers that do not split or wrap it.
    """

    pts: NDArray[np.int64]
    dts: NDArray[np.int64]
    size: NDArray[np.int64]
    key: NDArray[np.bool_]
    shown: NDArray[np.bool_]
    picture_type: NDArray[np.uint8]
    gop: NDArray[np.int32]
    position: NDArray[np.int64]
    extradata: bytes = b""

    def __len__(self) -> int:
        return len(self.pts)

    @cached_property
    def timed(self) -> bool:
        """Whether every shown packet has a pts of its own, so that display order is known without decoding."""
        pts = self.pts[self.shown]
        return bool(len(pts)) and NO_PTS not in pts and len(np.unique(pts)) == len(pts)

    @cached_property
    def display_order(self) -> NDArray[np.int64]:
        """Indices of the shown packets in display order; in stream order where time stamps do not tell."""
        shown = np.flatnonzero(self.shown)
        return shown[np.argsort(self.pts[shown], kind="stable")] if self.timed else shown


def probe(path: str | PathLike[str], *, stream: int | None = None) -> Probe:
    """Read everything the container knows about a video, without decoding it.

    >>> found = probe("clip.mp4")
    >>> found.frames.packet_bytes.sum(), len(found.gops)

    stream: which video stream, counted among the video streams (0 is the first); by default the one FFmpeg calls best.
    The bytes of hidden frames are added to the displayed frame they were sent for, so that the packet bytes sum to
    those of the stream. A stream without time stamps (raw .264) has its rows in stream order, pts -1 and times from
    the frame rate.

    Raises VideoError for what FFmpeg cannot open, for a file without video and for a stream without packets.
    """
    return probe_with_packets(path, stream=stream)[0]


def probe_with_packets(path: str | PathLike[str], *, stream: int | None = None) -> tuple[Probe, PacketTable]:
    """`probe`, and the packet table behind it."""
    path = Path(path)
    with open_video(path, stream) as (container, video):
        packets, first_key = _read_packets(container, video)
        if not len(packets):
            raise VideoError(f"{path}: the video stream ({video.codec_context.name}) holds no packets; is it complete?")
        if not packets.shown.any():
            raise VideoError(f"{path}: none of the {len(packets)} packets is to be shown; is the file damaged?")
        facts = _stream_facts(container, video, first_key)
    frames, gops = frame_tables(packets, packets.display_order, facts)
    return Probe(path, facts, frames, gops, _capability(packets, facts)), packets


@contextmanager
def open_video(path: Path, stream: int | None = None) -> Iterator[tuple[Any, Any]]:
    """Open a file and choose its video stream: yields (container, stream), every other stream discarded.

    Raises VideoError, naming the file, when FFmpeg cannot open it or the stream is not there; an FFmpeg error inside
    the block becomes a VideoError too.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "no such file"
        raise VideoError(f"{path}: {what}; pass the path of a video file")
    try:
        with av.open(str(path), **_TAGS) as container:
            yield container, _choose(container, path, stream)
    except av.FFmpegError as error:
        raise VideoError(
            f"{path}: FFmpeg cannot read this file ({error.strerror}); is it complete and a video?"
        ) from error


def _choose(container: Any, path: Path, stream: int | None) -> Any:
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


def _read_packets(container: Any, video: Any) -> tuple[PacketTable, Any]:
    """All packets of the stream as a table, and the first keyframe packet (or None)."""
    # one growing array per column: a hundred thousand tuples of numbers take six times the memory
    pts, dts, size, position = (array("q") for _ in range(4))
    key, shown, types = (array("B") for _ in range(3))
    first_key = None
    picture_type = picture_type_reader(video.codec_context.name, video.codec_context.extradata)
    hidden = _hidden_test(video.codec_context.name)
    last_pts = None
    for packet in demux(container, video):
        hides = packet.is_discard or (hidden is not None and hidden(packet))
        pts.append(NO_PTS if packet.pts is None else packet.pts)
        dts.append(NO_PTS if packet.dts is None else packet.dts)
        size.append(packet.size)
        key.append(packet.is_keyframe)
        shown.append(not (hides or (packet.pts is not None and packet.pts == last_pts)))
        types.append(picture_type(packet) or (I if packet.is_keyframe else UNKNOWN))
        position.append(-1 if packet.pos is None else packet.pos)
        last_pts = packet.pts
        if packet.is_keyframe and first_key is None:
            first_key = packet
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
        bytes(video.codec_context.extradata or b""),
    )
    return table, first_key


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


def _hidden_test(codec: str) -> Any:
    if codec in ("vp8", "libvpx"):  # RFC 6386 9.1: bit 4 of the frame tag is show_frame
        return lambda packet: not memoryview(packet)[0] >> 4 & 1
    return None


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


def _stream_facts(container: Any, video: Any, first_key: Any) -> Stream:
    codec = video.codec_context
    rate = video.average_rate or video.guessed_rate
    width, height, rotation = codec.width, codec.height, 0
    pixel_format = codec.pix_fmt or ""
    crop = (0, 0)
    sps = next(iter(parameter_sets_of(codec.extradata).sps.values()), None) if codec.name == "h264" else None
    rotates = any(name in container.format.name for name in _CONTAINERS_THAT_ROTATE)
    if first_key is not None and (rotates or (sps is not None and sps.crop_left)):
        frame = _decode_one(codec, first_key)
        if frame is not None:
            width, height, rotation = frame.width, frame.height, clockwise_rotation(frame)
            pixel_format = frame.format.name
    if sps is not None:  # FFmpeg crops less on the left than the stream says where that keeps its lines aligned
        crop = (max(sps.width - sps.crop_right - width, 0), sps.crop_top)
    if rotation in (90, 270):
        width, height = height, width
    if video.duration:
        duration = float(video.duration * video.time_base)
    else:
        duration = container.duration / av.time_base if container.duration else 0.0
    return Stream(
        codec=codec.codec.canonical_name,
        profile=codec.profile or "",
        pixel_format=pixel_format,
        width=width,
        height=height,
        rotation=rotation,
        time_base=_pair(video.time_base),
        average_rate=_pair(rate) if rate else (0, 1),
        duration_seconds=duration,
        stream_index=[one.index for one in container.streams.video].index(video.index),
        crop=crop,
    )


def _decode_one(codec: Any, packet: Any) -> Any:
    try:
        found = codec.decode(packet) or codec.decode(None)
    except (av.FFmpegError, ValueError):
        return None
    return found[0] if found else None


def clockwise_rotation(frame: Any) -> int:
    """Degrees clockwise (0, 90, 180, 270) by which the display matrix turns a decoded frame; FFmpeg counts the other
    way."""
    return -round(frame.rotation / 90) * 90 % 360


def _pair(fraction: Any) -> tuple[int, int]:
    return (int(fraction.numerator), int(fraction.denominator)) if fraction else (0, 1)


def _capability(packets: PacketTable, facts: Stream) -> Capability:
    note = PACKET_SIZES
    if not packets.timed:
        note += "; the stream has no usable time stamps, so rows are in stream order and times follow the frame rate"
    known = packets.picture_type[packets.shown] != UNKNOWN
    if known.all():
        types = {"level": "exact", "why": "picture headers of the packets"}
    else:
        types = {"level": "none", "why": f"only keyframes are known for {facts.codec} without decoding"}
    not_read = {"level": "none", "why": "probe does not look into pictures; use extract"}
    return {
        "packets": {"level": "exact", "why": note},
        "picture_types": types,
        **{signal: dict(not_read) for signal in ("motion", "residual", "qp", "bits")},
    }
