"""From a file to its packet table: demuxing only, any codec FFmpeg opens, nearly free."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.stream import Discard
from numpy.typing import NDArray

from codecmeta.codecs.protocol import headers_of
from codecmeta.codecs.table import codec_of
from codecmeta.errors import VideoError
from codecmeta.record.metadata import UNKNOWN, B, I

NO_PTS = -(2**63)
_TAGS: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
"""Titles and the like in another encoding than UTF-8 are no reason to refuse a video (PyAV 19 sees to it itself)."""


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
    temporal units), else 1.
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


def read_packets(container: Any, video: Any) -> tuple[PacketTable, Any]:
    """All packets of the stream as a table, and the first keyframe packet (or None)."""
    # one growing array per column: a hundred thousand tuples of numbers take six times the memory
    pts, dts, size, position = (array("q") for _ in range(4))
    key, shown, types, reference, layer, coded = (array("B") for _ in range(6))
    first_key = None
    codec = codec_of(video.codec_context.name)
    picture_type = _picture_type_reader(video.codec_context.name, video.codec_context.extradata)
    facts = codec.facts(video.codec_context.extradata) if codec.facts is not None else None
    last_pts = None
    for packet in demux(container, video):
        hides = packet.is_discard or (codec.hidden is not None and codec.hidden(packet))
        pts.append(NO_PTS if packet.pts is None else packet.pts)
        dts.append(NO_PTS if packet.dts is None else packet.dts)
        size.append(packet.size)
        key.append(packet.is_keyframe)
        shown.append(not (hides or (packet.pts is not None and packet.pts == last_pts)))
        types.append(kind := picture_type(packet) or (I if packet.is_keyframe else UNKNOWN))
        referred, its_layer, inside = facts(packet) if facts is not None else (kind != B or codec.b_references, 0, 1)
        reference.append(referred)
        layer.append(its_layer)
        coded.append(inside)
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
        np.array(reference, bool),
        np.array(layer, np.uint8),
        np.array(coded, np.uint8),
        bytes(video.codec_context.extradata or b""),
    )
    return table, first_key


def _picture_type_reader(codec: str, extradata: bytes | None) -> Callable[[Any], int]:
    """A function from a packet to its picture type as ASCII, 0 where this codec's headers are not read here."""
    headers = headers_of(codec, extradata)
    if headers is not None:
        return lambda packet: headers.picture_type(bytes(packet))
    return codec_of(codec).picture_type or (lambda packet: UNKNOWN)


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
