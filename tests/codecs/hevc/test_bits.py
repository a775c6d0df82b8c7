"""Bits are conserved: those of coding units add up to the slice segment data, and maps to those of coding units."""

from __future__ import annotations

from io import BytesIO

import av
import numpy as np
import pytest

from codecmeta.codecs.hevc.sequence import PictureSequence
from codecmeta.codecs.hevc.state import CU_BITS, CU_LOG2, CU_QP, CU_X, CU_Y
from codecmeta.codecs.hevc.stream import HevcPicture
from tests.support.hevc_encodes import SETTINGS, encode


def slice_payloads(packet: bytes) -> list[int]:
    """Bytes of the RBSP of each slice segment, by a loop over the bytes (7.3.1.1)."""
    sizes, position = [], 0
    while position < len(packet):
        length = int.from_bytes(packet[position : position + 4], "big")
        unit = packet[position + 4 : position + 4 + length]
        position += 4 + length
        if unit[0] >> 1 & 63 >= 32:
            continue
        zeros = size = 0
        for byte in unit[2:]:
            if zeros >= 2 and byte == 3:
                zeros = 0
                continue
            zeros = zeros + 1 if byte == 0 else 0
            size += 1
        sizes.append(size)
    return sizes


@pytest.mark.parametrize("name", ["medium", "slices", "no WPP", "lossless", "CTB 16", "one CTB wide", "10 bit", "qp 4"])
def test_bits_of_coding_units_add_up_to_the_slice_data(name):
    with av.open(BytesIO(encode(**SETTINGS[name]))) as container:
        stream = container.streams.video[0]
        sequence = PictureSequence(stream.codec_context.extradata, trace=True)
        packets = [bytes(packet) for packet in container.demux(stream) if packet.size]
    for packet in packets:
        picture = sequence.parse(packet)
        assert picture.complete and (picture.cu[:, CU_BITS] > 0).sum() > 0
        data = [size - header.data_byte for size, header in zip(slice_payloads(packet), picture.headers, strict=True)]
        for segment, size in enumerate(data):
            assert picture.cu[picture.cu[:, 8] == segment][:, CU_BITS].sum() == 8 * size


@pytest.mark.parametrize("name", ["AQ, quantization groups of 8", "odd size", "10 bit"])
def test_maps_hold_the_same_bits_and_the_mean_quantiser_of_each_area(name):
    with av.open(BytesIO(encode(**SETTINGS[name]))) as container:
        stream = container.streams.video[0]
        sequence = PictureSequence(stream.codec_context.extradata)
        pictures = [sequence.parse(bytes(packet)) for packet in container.demux(stream) if packet.size]
    mixed = 0
    for picture in pictures:
        shown = HevcPicture(picture)
        assert shown.bits().sum() == pytest.approx(picture.cu[:, CU_BITS].sum(), rel=1e-6)
        fine = np.full((picture.sps.height // 8, picture.sps.width // 8), -99)
        for x, y, log2, qp in picture.cu[:, [CU_X, CU_Y, CU_LOG2, CU_QP]]:
            fine[y // 8 : (y >> 3) + (1 << log2 - 3), x // 8 : (x >> 3) + (1 << log2 - 3)] = qp
        offset = 6 * (picture.sps.bit_depth_luma - 8)
        for row, values in enumerate(shown.qp()):
            for column, value in enumerate(values):
                part = fine[2 * row : 2 * row + 2, 2 * column : 2 * column + 2] + offset
                assert value == int(np.floor(part.mean() + 0.5))
                mixed += part.min() != part.max()
    assert mixed or name != "AQ, quantization groups of 8"
