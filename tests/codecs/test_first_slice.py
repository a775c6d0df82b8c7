"""What stands before the first slice of a packet, against reading all of its NAL units."""

from __future__ import annotations

import random

import pytest

from codecmeta.codecs.h264.nal import nal_units
from codecmeta.codecs.syntax.bits import BitReader, EndOfData
from codecmeta.codecs.syntax.nal import SLICE, WANTED, first_slice, has_wrong_lengths

ROLES = bytes(SLICE if kind & 31 in (1, 5) else WANTED * (kind & 31 in (6, 7)) for kind in range(256))


def _units(chance: random.Random) -> list[bytes]:
    """NAL units of all kinds, none of which holds a start code or ends in a zero byte."""
    kinds = chance.choices((1, 5, 6, 7, 8, 9), k=chance.randrange(1, 6))
    return [bytes([kind, *chance.choices(range(1, 256), k=chance.randrange(0, 60)), 7]) for kind in kinds]


@pytest.mark.parametrize("size", [None, 1, 2, 4])
def test_it_is_what_reading_the_whole_packet_finds(size: int | None) -> None:
    chance = random.Random(5)
    for _ in range(300):
        units = _units(chance)
        packet = b"".join(
            (b"\0" * chance.randrange(3) + b"\0\0\1" if size is None else len(unit).to_bytes(size, "big")) + unit
            for unit in units
        )
        if chance.random() < 0.3:  # cut, or something behind it
            packet = packet[:-1] if chance.random() < 0.5 else packet + b"\0"
        unit, before, wrong = first_slice(memoryview(packet), size, ROLES, 20)
        whole = list(nal_units(packet, size))
        at = next((i for i, one in enumerate(whole) if ROLES[one[0]] == SLICE), len(whole))
        assert unit.rstrip(b"\0") == (whole[at][:20] if at < len(whole) else b"")
        assert before == [one for one in whole[:at] if ROLES[one[0]] == WANTED]
        assert wrong == (at < len(whole) and has_wrong_lengths(packet, size))


def test_codes_of_all_values_are_read_and_no_bit_behind_the_end() -> None:
    values = [*range(70), 2**16 - 2, 2**16 - 1, 2**31, 2**32 - 2]
    digits = "".join(format(value + 1, "b").zfill(2 * (value + 1).bit_length() - 1) for value in values)
    padded = digits + "1" + "0" * (-len(digits) - 1 & 7)
    reader = BitReader(int(padded, 2).to_bytes(len(padded) // 8, "big"))
    for value in values:
        assert reader.more_rbsp_data() and reader.ue() == value
    assert not reader.more_rbsp_data() and reader.flag()
    with pytest.raises(EndOfData):
        reader.u(9)
    with pytest.raises(EndOfData):
        BitReader(b"\0\0\x40").ue()
