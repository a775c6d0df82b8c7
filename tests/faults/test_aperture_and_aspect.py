"""Clean aperture and pixel aspect ratio are ignored, as docs/supported.md says: pictures are those of a decoder."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

import codecmeta

HEADS = {b"moov": 8, b"trak": 8, b"mdia": 8, b"minf": 8, b"stbl": 8, b"stsd": 16, b"mp4v": 86}
"""The boxes around a sample entry's own, and where theirs begin (ISO/IEC 14496-12)."""


def with_box(data: bytes, box: bytes) -> bytes:
    """An MP4 file, its tables behind its media, with one box more behind the pixel aspect ratio of the first track."""
    at = data.index(b"pasp") + 12
    result = bytearray(data)
    start = 0
    while start < len(data):
        size, kind = struct.unpack_from(">I4s", data, start)
        inside = start < at <= start + size and kind in HEADS
        if inside:
            struct.pack_into(">I", result, start, size + len(box))
        start += HEADS[kind] if inside else size
    result[at:at] = box
    return bytes(result)


@pytest.mark.parametrize("what", ["aspect", "aperture"])
def test_they_change_nothing(what: str, tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(2, 1)
        for t in range(4):
            picture = np.full((48, 64, 3), 40 * t, np.uint8)
            picture[:, 32:] += 60
            output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        output.mux(stream.encode(None))
    if what == "aperture":  # 32x24 pixels in the middle (ISO/IEC 14496-12 12.1.4)
        path.write_bytes(with_box(path.read_bytes(), struct.pack(">I4s8I", 40, b"clap", 32, 1, 24, 1, 0, 1, 0, 1)))
    with av.open(str(path)) as container:
        assert container.streams.video[0].sample_aspect_ratio == 2
        expected = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    facts = codecmeta.probe(path).stream
    assert (facts.width, facts.height) == (64, 48)
    meta, _, pictures = codecmeta.read(path, 4)
    assert (meta.stream.width, meta.stream.height) == (64, 48)
    assert np.abs(np.array(pictures, int) - np.array(expected, int)).max() <= 2
