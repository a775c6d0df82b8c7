"""FFmpeg as the judge of HEVC: samples without deblocking and SAO, by packet number."""

from __future__ import annotations

from io import BytesIO

import av
import numpy as np


def planes(frame: av.VideoFrame) -> list[np.ndarray]:
    """The samples of a frame, int32, one array per plane."""
    kind = np.uint16 if "10" in frame.format.name else np.uint8
    return [
        np.frombuffer(plane, kind).reshape(plane.height, -1)[:, : plane.width].astype(np.int32)
        for plane in frame.planes
    ]


def _decoder(context: av.VideoCodecContext) -> av.VideoCodecContext:
    context.thread_type, context.thread_count = "NONE", 1
    context.options = {"skip_loop_filter": "all"}
    return context


def decode_packets(packets: list[bytes]) -> dict[int, list[np.ndarray]]:
    """Annex B access units -> planes by packet number; a packet that FFmpeg refuses is absent."""
    context = _decoder(av.CodecContext.create("hevc", "r"))
    result = {}
    for number, data in enumerate([*packets, None]):
        packet = None
        if data is not None:
            packet = av.Packet(data)
            packet.pts = packet.dts = number
        try:
            frames = context.decode(packet)
        except av.error.InvalidDataError:
            continue
        for frame in frames:
            result[frame.pts] = planes(frame)
    return result


def decode_file(
    source: bytes | str, most: int | None = None
) -> tuple[bytes | None, list[bytes], dict[int, list[np.ndarray]]]:
    """Extradata, packets, planes by packet number; `most`: packets at most."""
    shown: dict[int, list[np.ndarray]] = {}
    packets: list[bytes] = []
    with av.open(BytesIO(source) if isinstance(source, bytes) else source) as container:
        stream = container.streams.video[0]
        extradata = _decoder(stream.codec_context).extradata
        for packet in container.demux(stream):
            if packet.size:
                if most is not None and len(packets) >= most:
                    packet = None  # flush
                else:
                    packet.pts = packet.dts = len(packets)
                    packets.append(bytes(packet))
            try:
                frames = stream.codec_context.decode(packet)
            except av.error.InvalidDataError:
                continue
            for frame in frames:
                shown[frame.pts] = planes(frame)
            if packet is None:
                break
    return extradata, packets, shown
