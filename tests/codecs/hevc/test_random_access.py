"""A picture parsed from its own packet says the same as in sequence, but for what other pictures decide."""

from __future__ import annotations

from io import BytesIO

import av
import numpy as np
import pytest

from codecmeta.codecs.hevc.picture import PictureParser
from codecmeta.codecs.hevc.sequence import PictureSequence
from codecmeta.codecs.hevc.state import PU_MERGE, PU_REF0
from tests.support.hevc_encodes import SETTINGS, encode


def packets_of(data: bytes) -> tuple[list[bytes], bytes]:
    with av.open(BytesIO(data)) as container:
        stream = container.streams.video[0]
        return [bytes(packet) for packet in container.demux(stream) if packet.size], stream.codec_context.extradata


def distances(picture) -> list:
    """POC differences of all reference lists."""
    return [[[poc - picture.reference_poc for _, poc, _ in one] for one in pair] for pair in picture.lists]


NAMES = ("medium", "B pyramid", "slices", "10 bit", "no temporal MVP", "8 references", "open GoP", "weighted")


@pytest.mark.parametrize("name", NAMES)
def test_one_packet_is_enough_for_all_but_vectors(name):
    packets, extradata = packets_of(encode(**SETTINGS[name]))
    alone, sequence = PictureParser(extradata), PictureSequence(extradata)
    inexact = 0
    for packet in packets:
        one, all_ = alone.parse(packet), sequence.parse(packet)
        np.testing.assert_array_equal(one.cu, all_.cu)
        np.testing.assert_array_equal(one.energy, all_.energy)
        assert distances(one) == distances(all_) and one.picture_type == all_.picture_type
        np.testing.assert_array_equal(one.pu[:, :4], all_.pu[:, :4])
        np.testing.assert_array_equal(one.pu[:, PU_MERGE], all_.pu[:, PU_MERGE])
        coded = one.pu[:, PU_MERGE] < 0
        np.testing.assert_array_equal(one.pu[coded, PU_REF0 : PU_REF0 + 2], all_.pu[coded, PU_REF0 : PU_REF0 + 2])
        inexact += not one.vectors_exact
        if one.vectors_exact:
            np.testing.assert_array_equal(one.pu, all_.pu)
        assert all_.vectors_exact and all_.complete and one.complete
    assert (inexact == 0) == (name == "no temporal MVP")


@pytest.mark.parametrize("name", NAMES)
def test_the_chain_of_colocated_pictures_makes_the_vectors_exact(name):
    packets, extradata = packets_of(encode(**SETTINGS[name]))
    alone, sequence = PictureParser(extradata), PictureSequence(extradata)
    key = 0
    for number, packet in enumerate(packets):
        all_ = sequence.parse(packet)
        if all_.nal_unit_type in (19, 20):
            key = number
        one = alone.parse_last(packets[key : number + 1])
        assert one.vectors_exact and one.identity == -1
        np.testing.assert_array_equal(one.pu, all_.pu)
        np.testing.assert_array_equal(one.energy, all_.energy)


def test_a_longer_chain_leaves_the_vectors_estimates():
    packets, extradata = packets_of(encode(params="bframes=0:ref=1:keyint=60", size=(64, 64), frames=40))
    parser = PictureParser(extradata)
    assert parser.parse_last(packets[:32]).vectors_exact
    last = parser.parse_last(packets[:40])
    assert last.complete and not last.vectors_exact
