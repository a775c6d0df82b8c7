"""F3: a CABAC slice ends where the arithmetic decoder says, not at the last one-bit of its payload."""

from __future__ import annotations

import av
import numpy as np
import pytest

import codecmeta
from codecmeta.codecs.h264.nal import nal_units, rbsp_of
from codecmeta.codecs.h264.picture import PictureParser
from tests.support.bits import escaped
from tests.support.clips import pan, single_thread_export, write_clip
from tests.support.fault_files import fault_file


def test_an_encoder_of_youtube_has_no_damaged_frame() -> None:
    """FFmpeg parses all macroblocks of all frames, and exports these very vectors."""
    path = fault_file("google_vcu.mp4")
    expected = single_thread_export(path)
    assert len(expected) == 121 and not any(one["corrupt"] for one in expected)
    meta = codecmeta.extract(path)
    assert not meta.frames.corrupt.any()
    for row, one in enumerate(expected):
        ours, theirs = meta.motion.of(row), one["vectors"]
        count = 0 if theirs is None else len(theirs["dst_x"])
        assert len(ours) == count
        if count:
            theirs = np.stack([theirs[name] for name in ("dst_x", "dst_y", "motion_x", "motion_y")])
            ours = np.stack([ours[name] for name in ("dst_x", "dst_y", "motion_x", "motion_y")])
            assert sorted(map(tuple, ours.T.tolist())) == sorted(map(tuple, theirs.T.tolist()))


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, list[bytes]]:
    """Extradata and packets of a CABAC clip."""
    path = write_clip(tmp_path_factory.mktemp("f03") / "x.mp4", pan(8, (96, 64), (3, 1)))
    with av.open(str(path)) as container:
        packets = [bytes(one) for one in container.demux(video=0) if one.size]
        return container.streams.video[0].codec_context.extradata, packets


def with_tail(packet: bytes, bits: int) -> bytes:
    """The packet with `bits` bits behind the bit that ends each slice: zeros, and a one as the last of them."""
    result = b""
    for unit in nal_units(packet, 4):
        if unit[0] & 31 in (1, 5):
            rbsp = rbsp_of(unit)
            digits = bin(int.from_bytes(b"\1" + rbsp, "big"))[3:]
            digits = digits[: END[packet] + 1] + "0" * (bits - 1) + "1"
            digits += "0" * (-len(digits) % 8)
            unit = unit[:1] + escaped(int(digits, 2).to_bytes(len(digits) // 8, "big"))
        result += len(unit).to_bytes(4, "big") + unit
    return result


END: dict[bytes, int] = {}


@pytest.mark.parametrize(("bits", "complete"), [(1, True), (5, True), (8, True), (24, False)])
def test_bits_behind_the_end(bits: int, complete: bool, stream: tuple[bytes, list[bytes]]) -> None:
    """The seven bits that an arithmetic coder may still hold, and a stop bit, are none of the decoder's business; bytes
    of something else are."""
    extradata, packets = stream
    parser = PictureParser(extradata)
    for packet in packets:
        whole = parser.parse(packet)
        assert whole is not None and not whole.errors
        END[packet] = int(whole.headers[0].slice_data_bit + 7 & ~7) + int(whole.bits.sum())
        other = parser.parse(with_tail(packet, bits))
        assert other is not None and (not other.errors) == complete, (bits, other.errors)
        assert np.array_equal(other.bits, whole.bits)
