"""Which pictures are shown, in which order, by HEVC's headers and by the container, against FFmpeg's decoder."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import av
import pytest

import codecmeta
from codecmeta.codecs.hevc.nal import CRA_NUT
from tests.support.hevc_encodes import encode

PARAMS = "keyint=8:min-keyint=8:open-gop=1:bframes=3:b-adapt=0:scenecut=0:b-pyramid=1"


def changed(packet: bytes, nal_unit_type: int) -> bytes:
    """A packet of one slice, its CRA picture of another type."""
    assert packet[4] >> 1 == CRA_NUT
    return packet[:4] + bytes([nal_unit_type << 1]) + packet[5:]


def write(target: Path, what: str) -> Path:
    """A clip of open GoPs: as it is, from its second keyframe on, its third keyframe made BLA_W_LP, an end of sequence
    before that, or two pts swapped."""
    with av.open(BytesIO(encode("fast", params=PARAMS, frames=36, size=(128, 96)))) as before:
        video = before.streams.video[0]
        packets = [one for one in before.demux(video) if one.size]
        data = [bytes(one) for one in packets]
        keys = [i for i, one in enumerate(packets) if one.is_keyframe]
        pts = [one.pts for one in packets]
        first = keys[1] if what == "cut" else 0
        if what == "broken link":
            data[keys[2]] = changed(data[keys[2]], 16)
        if what == "end of sequence":
            data[keys[2] - 1] += b"\0\0\0\2\x48\1"
        if what == "swapped":
            pts[10], pts[11] = pts[11], pts[10]
        with av.open(str(target), "w") as after:
            copy = after.add_stream_from_template(video)
            for i, one in enumerate(packets[first:], first):
                packet: Any = av.Packet(data[i])
                packet.pts, packet.dts, packet.time_base = pts[i], one.dts, one.time_base
                packet.is_keyframe, packet.stream = one.is_keyframe, copy
                after.mux(packet)
    return target


@pytest.mark.parametrize("what", ["whole", "cut", "broken link", "end of sequence", "swapped"])
def test_rows_are_the_frames_of_a_decoder(what: str, tmp_path: Path) -> None:
    path = write(tmp_path / "x.mkv", what)
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        video.codec_context.thread_type, video.codec_context.thread_count = "NONE", 1
        video.codec_context.copy_opaque = True
        sizes, order = [], []
        for packet in container.demux(video):
            packet.opaque = (len(sizes),)
            sizes.append(packet.size)
            order += [frame.opaque[0] for frame in packet.decode()]
    found = codecmeta.probe(path)
    certain = what not in ("end of sequence", "swapped")
    assert found.capability["packets"]["level"] == ("exact" if certain else "estimated")
    assert ("contradict" in found.capability["packets"]["why"]) == (what == "swapped")
    for meta in (codecmeta.extract(path), *([found] if certain else [])):
        assert len(meta.frames) == len(order)
        own = [sizes[one] for one in order]
        hidden = what in ("cut", "broken link", "end of sequence")
        assert all(a >= b if hidden else a == b for a, b in zip(meta.frames.packet_bytes, own, strict=True))
