"""From a file to what its container knows: stream facts, frame table, GoPs, without decoding.

The one picture that is decoded is the first keyframe of an mp4, mov or mkv file, and of H.264 and HEVC in any file:
only a decoded frame carries the orientation and the size that FFmpeg derives from container and stream.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import av

from codecmeta.codecs.protocol import headers_of
from codecmeta.codecs.table import codec_of
from codecmeta.container.blob import Blob
from codecmeta.container.colours import note_of
from codecmeta.container.index import index_table
from codecmeta.container.packets import PacketTable, Progress, demux, header_reader, open_video, read_packets
from codecmeta.container.samples import NoIndex, read_moov, read_samples
from codecmeta.container.side_data import display_matrix
from codecmeta.container.source import Medium, Source, name_of, opened
from codecmeta.container.tables import PACKET_SIZES, frame_tables
from codecmeta.errors import VideoError
from codecmeta.record.display import orientation_of
from codecmeta.record.metadata import UNKNOWN, Capability, Probe, Stream

_CONTAINERS_THAT_ROTATE = ("mov", "matroska")
_INDEXED = "mov"
_FIRST_PACKETS = 16
_NO_TURN = (1, 0, 0, 0, 1, 0, 0, 0, 1)


def probe(
    path: Source, *, stream: int | None = None, headers: bool | None = None, progress: Progress | None = None
) -> Probe:
    """Read everything the container knows about a video, without decoding it.

    >>> found = probe("clip.mp4")
    >>> found.frames.packet_bytes.sum(), len(found.gops)

    path: the file, its address (http or https), its bytes, or an open binary file.
    headers: read every packet for what its first bits say, which takes the whole file. False: where the container has
    an index (mp4, mov), it alone gives sizes, order, times and keyframes, picture types are not known, and the report
    says whose word it is; elsewhere packets are read all the same, and it says why. By default False for an address.
    stream: which video stream, counted among the video streams (0 is the first); by default the one FFmpeg calls best.
    progress: called now and then with the place in the file and its length, bytes, where packets are read.
    The bytes of hidden frames are added to the displayed frame they were sent for, so that the packet bytes sum to
    those of the stream. A stream without time stamps (raw .264) has its rows in the order that the bitstream gives, pts
    -1 and times from the frame rate. Where only decoding can tell which frames there are, the capability report says
    "estimated" of the packets, and why.

    Raises VideoError for what FFmpeg cannot open, for a file without video and for a stream without packets.
    """
    with opened(path) as medium:
        return probe_with_packets(medium, stream=stream, headers=headers, progress=progress)[0]


def probe_with_packets(
    path: Medium, *, stream: int | None = None, headers: bool | None = True, progress: Progress | None = None
) -> tuple[Probe, PacketTable]:
    """`probe`, and the packet table behind it."""
    if headers is False or (headers is None and is_remote(path)):
        try:
            return _by_index(path, stream)
        except NoIndex as reason:
            found, packets = probe_with_packets(path, stream=stream, progress=progress)
            found.capability["packets"]["why"] += f"; all packets were read, the container's index is no help: {reason}"
            return found, packets
    with open_video(path, stream) as (container, video):
        packets, first = read_packets(container, video, progress)
        if not len(packets):
            raise VideoError(f"{path}: the video stream ({video.codec_context.name}) holds no packets; is it complete?")
        if not packets.shown.any():
            raise VideoError(f"{path}: none of the {len(packets)} packets is to be shown; is the file damaged?")
        facts, note = _stream_facts(container, video, first)
    frames, gops = frame_tables(packets, packets.display_order, facts)
    capability = _capability(packets, facts)
    if note:
        capability["pictures"] = {"level": "estimated", "why": note}
    return Probe(name_of(path), facts, frames, gops, capability), packets


def is_remote(medium: Medium) -> bool:
    """Whether every byte is fetched from elsewhere."""
    return isinstance(medium, Blob) and medium.remote


def _by_index(path: Medium, stream: int | None) -> tuple[Probe, PacketTable]:
    """`probe_with_packets` from the index of the container and its first packets. Raises NoIndex."""
    moov = read_moov(path)
    with open_video(path, stream) as (container, video):
        if _INDEXED not in container.format.name.split(","):
            raise NoIndex("it is of another format")
        packets = index_table(video, read_samples(moov, video.id), path)
        facts, note = _stream_facts(container, video, _first_as_listed(container, video, packets))
    frames, gops = frame_tables(packets, packets.display_order, facts)
    capability = _capability(packets, facts)
    if note:
        capability["pictures"] = {"level": "estimated", "why": note}
    return Probe(name_of(path), facts, frames, gops, capability), packets


def _first_as_listed(container: Any, video: Any, packets: PacketTable) -> Iterator[Any]:
    """The first packets, each compared with the index; decoding must be allowed to start with the first of all."""
    look = header_reader(video.codec_context.codec.canonical_name, packets.extradata)
    assert look is not None
    for index, packet in zip(range(_FIRST_PACKETS), demux(container, video), strict=False):
        if index >= len(packets) or (packet.pts, packet.dts, packet.size) != (
            packets.pts[index],
            packets.dts[index],
            packets.size[index],
        ):
            raise NoIndex("the first packets are others")
        if not index and not look(bytes(packet)).starts:
            raise NoIndex("the stream starts where a decoder may not")
        yield packet


def _stream_facts(container: Any, video: Any, first: Iterable[Any]) -> tuple[Stream, str]:
    """Facts, and what is to be said of the colours of pictures."""
    codec = video.codec_context
    rate = video.average_rate or video.guessed_rate
    width, height, orientation = codec.width, codec.height, (0, False)
    pixel_format = codec.format.name if codec.format is not None else ""  # `pix_fmt` of PyAV 17 crashes on none
    crop, note = (0, 0), ""
    headers = headers_of(codec.name, codec.extradata)
    coded = headers.coded if headers is not None else None
    rotates = any(name in container.format.name for name in _CONTAINERS_THAT_ROTATE)
    if rotates or codec_of(codec.name).oriented:
        frame = _decode_one(codec, first)
        if frame is not None:
            width, height, pixel_format = frame.width, frame.height, frame.format.name
            note = note_of(frame)
            orientation = orientation_of(display_matrix(frame) or _NO_TURN)
    if coded is not None:  # FFmpeg crops less on the left than the stream says where that keeps its lines aligned
        crop = (max(coded.width - coded.crop_right - width, 0), coded.crop_top)
    rotation, mirrored = orientation
    if rotation in (90, 270):
        width, height = height, width
    if video.duration:
        duration = float(video.duration * video.time_base)
    else:
        duration = container.duration / av.time_base if container.duration else 0.0
    facts = Stream(
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
        mirrored=mirrored,
    )
    return facts, note


def _decode_one(codec: Any, first: Iterable[Any]) -> Any:
    """The picture of the first packet, also of one that an edit list hides; where it gives none by itself, the first
    that comes out of the first packets."""
    # one thread: another one that lets go of a packet made of bytes waits for the interpreter's lock, which whoever
    # closes the decoder holds while it waits for the thread (dav1d; neither ever ends)
    codec.thread_type, codec.thread_count = "NONE", 1
    try:
        for number, packet in enumerate(first):
            fresh = av.Packet(bytes(packet))  # without the flag by which a decoder drops the pictures of hidden packets
            fresh.pts, fresh.dts, fresh.time_base = packet.pts, packet.dts, packet.time_base
            if found := codec.decode(fresh) or ([] if number else codec.decode(None)):
                return found[0]
            if not number:
                codec.flush_buffers()
                codec.decode(fresh)
        found = codec.decode(None)
    except (av.FFmpegError, ValueError):
        return None
    return found[0] if found else None


def _pair(fraction: Any) -> tuple[int, int]:
    return (int(fraction.numerator), int(fraction.denominator)) if fraction else (0, 1)


def _capability(packets: PacketTable, facts: Stream) -> Capability:
    note = PACKET_SIZES
    if packets.looked is not None:
        note += (
            "; of packets that were not decoded, size, order, time and keyframes are the word of the container's index"
        )
    if packets.doubt:
        note += f"; which frames they give, and in which order, only decoding tells: {packets.doubt}"
    elif not packets.timed:
        by = "as the bitstream says" if packets.ordered else "in stream order"
        note += f"; the stream has no usable time stamps of its own for every frame, so rows are {by}"
    known = packets.picture_type[packets.shown] != UNKNOWN
    if known.all() and packets.looked is None:
        types = {"level": "exact", "why": "picture headers of the packets"}
    else:
        by = "without decoding" if packets.looked is None else "from the container's index"
        types = {"level": "none", "why": f"only keyframes are known for {facts.codec} {by}"}
    not_read = {"level": "none", "why": "probe does not look into pictures; use extract"}
    return {
        "packets": {"level": "estimated" if packets.doubt or packets.looked is not None else "exact", "why": note},
        "picture_types": types,
        **{signal: dict(not_read) for signal in ("motion", "residual", "qp", "bits")},
    }
