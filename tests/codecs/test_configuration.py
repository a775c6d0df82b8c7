"""Another configuration of the decoder that a container brings beside a packet, put where a parser looks for it."""

from __future__ import annotations

import av
import numpy as np
import pytest
from av.bitstream import BitStreamFilterContext

from codecmeta.codecs.protocol import with_configuration
from codecmeta.codecs.syntax.nal import joined, split
from tests.support.clips import pan, write_clip


@pytest.mark.parametrize(("codec", "encoder", "header"), [("h264", "libx264", 1), ("hevc", "libx265", 2)])
def test_parameter_sets_stand_where_ffmpegs_filter_puts_them(codec: str, encoder: str, header: int, tmp_path) -> None:
    """FFmpeg's filter to start codes writes the stream's parameter sets before a keyframe that has none of its own."""
    path = write_clip(tmp_path / "a.mp4", pan(4, (64, 64), (1, 0)), codec=encoder)
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        extradata = bytes(video.codec_context.extradata)
        packet = next(container.demux(video))
        inside = bytes(packet)
        want = bytes(BitStreamFilterContext(f"{codec}_mp4toannexb", video).filter(packet)[0])
    got = list(split(with_configuration(codec, inside, extradata, extradata), 4, header))
    assert sorted(got) == sorted(split(want, None, header))  # H.264's filter puts them behind SEI messages
    assert got[: -len(list(split(inside, 4, header)))] and got[-1] == list(split(inside, 4, header))[-1]
    assert list(split(joined(got, None), None, header)) == got
    assert with_configuration(codec, inside, extradata, None) == inside
    other = bytearray(extradata)
    other[21 if codec == "hevc" else 4] ^= 1  # lengths of another size
    assert with_configuration(codec, inside, extradata, bytes(other)) == inside


def test_a_codec_without_a_parser_is_left_alone() -> None:
    packet = np.random.default_rng(0).bytes(40)
    assert with_configuration("vp9", packet, b"", b"other") == packet
