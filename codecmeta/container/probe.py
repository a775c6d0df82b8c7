"""From a file to what its container knows: stream facts, frame table, GoPs, without decoding.

The one picture that is decoded is the first keyframe of an mp4, mov or mkv file, and of a stream cropped on the left,
because only a decoded frame carries the rotation and the size that FFmpeg derives from container and stream.
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

import av

from codecmeta.codecs.protocol import headers_of
from codecmeta.container.packets import PacketTable, open_video, read_packets
from codecmeta.container.tables import PACKET_SIZES, frame_tables
from codecmeta.errors import VideoError
from codecmeta.record.metadata import UNKNOWN, Capability, Probe, Stream

_CONTAINERS_THAT_ROTATE = ("mov", "matroska")


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
        packets, first_key = read_packets(container, video)
        if not len(packets):
            raise VideoError(f"{path}: the video stream ({video.codec_context.name}) holds no packets; is it complete?")
        if not packets.shown.any():
            raise VideoError(f"{path}: none of the {len(packets)} packets is to be shown; is the file damaged?")
        facts = _stream_facts(container, video, first_key)
    frames, gops = frame_tables(packets, packets.display_order, facts)
    return Probe(path, facts, frames, gops, _capability(packets, facts)), packets


def _stream_facts(container: Any, video: Any, first_key: Any) -> Stream:
    codec = video.codec_context
    rate = video.average_rate or video.guessed_rate
    width, height, rotation = codec.width, codec.height, 0
    pixel_format = codec.pix_fmt or ""
    crop = (0, 0)
    headers = headers_of(codec.name, codec.extradata)
    coded = headers.coded if headers is not None else None
    rotates = any(name in container.format.name for name in _CONTAINERS_THAT_ROTATE)
    if first_key is not None and (rotates or (coded is not None and coded.crop_left)):
        frame = _decode_one(codec, first_key)
        if frame is not None:
            width, height, rotation = frame.width, frame.height, clockwise_rotation(frame)
            pixel_format = frame.format.name
    if coded is not None:  # FFmpeg crops less on the left than the stream says where that keeps its lines aligned
        crop = (max(coded.width - coded.crop_right - width, 0), coded.crop_top)
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
