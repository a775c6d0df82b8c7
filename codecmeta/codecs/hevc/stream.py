"""HEVC as `codecmeta.codecs.protocol` asks of a parser.

A damaged picture keeps what stands before the damage. Behind it there are no vectors, residual and bits are 0 and QP is
NOT_PARSED_QP. Other pictures stay exact, but for vectors whose co-located pictures are damaged or missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from codecmeta.codecs.hevc.maps import block_maps, block_rms, motion_vectors, qp_and_bits, rms_maps, write_vectors
from codecmeta.codecs.hevc.nal import (
    BLA_W_LP,
    END_OF_BITSTREAM,
    END_OF_SEQUENCE,
    IDR_N_LP,
    IDR_W_RADL,
    LAST_IRAP,
    RADL_N,
    RASL_R,
    is_slice,
    nal_length_size_of,
    nal_units,
    rbsp_of,
    units_of_extradata,
)
from codecmeta.codecs.hevc.nal import PPS as PPS_NUT
from codecmeta.codecs.hevc.nal import SPS as SPS_NUT
from codecmeta.codecs.hevc.parameter_sets import ParameterSets, parameter_sets_of, refusal_of
from codecmeta.codecs.hevc.picture import Picture, PictureParser
from codecmeta.codecs.hevc.pps import PPS
from codecmeta.codecs.hevc.sequence import PictureSequence
from codecmeta.codecs.hevc.slice_data import slice_segment_data
from codecmeta.codecs.hevc.slice_header import slice_segment_header
from codecmeta.codecs.hevc.sps import SPS
from codecmeta.codecs.look import DISCARDED, Look
from codecmeta.codecs.protocol import Coded, Lost, Refused
from codecmeta.codecs.syntax.bits import BitReader, EndOfData
from codecmeta.codecs.syntax.nal import SLICE, START_CODE, WANTED, behind, first_slice, has_wrong_lengths
from codecmeta.record.metadata import UNKNOWN, B, I, P

ENTRY_KERNELS = (slice_segment_header, slice_segment_data, block_rms, block_maps, write_vectors)

_LARGEST = float(np.finfo(np.float16).max)  # only levels of a damaged picture reach so far
_UNREADABLE = "a packet without a readable slice header"
_ENDS = (END_OF_SEQUENCE, END_OF_BITSTREAM)
_ROLES = bytes(
    0 if byte & 1 else SLICE if is_slice(byte >> 1 & 63) else WANTED * (byte >> 1 & 63 in (SPS_NUT, PPS_NUT, *_ENDS))
    for byte in range(256)
)  # layers from 32 on are left out
_FARTHEST = np.iinfo(np.int16).max
_TYPES = (B, P, I)  # slice_type (Table 7-7)
_HEADER_BYTES = 32


def open_stream(extradata: bytes) -> HevcStream:
    """The parser of a stream. Raises Refused where its parameter sets say what it does not read."""
    return HevcStream(extradata)


def headers_of(extradata: bytes | None) -> HevcHeaders:
    """What the headers of a stream say."""
    return HevcHeaders(extradata)


def with_configuration(packet: bytes, extradata: bytes, change: bytes) -> bytes:
    """A packet in the framing that `extradata` says, behind the parameter sets of another configuration that came
    beside it."""
    return behind(units_of_extradata(change), packet, nal_length_size_of(extradata), nal_length_size_of(change))


class HevcHeaders:
    """Types, random access points and display order by slice headers, of any HEVC; size and crop by the first parameter
    set."""

    def __init__(self, extradata: bytes | None) -> None:
        self._sets = parameter_sets_of(extradata)
        self._length_size = nal_length_size_of(extradata)
        self._period, self._previous = 0, 0  # prevTid0Pic's PicOrderCntVal
        self._anew, self._skips_rasl = True, False
        self.coded = _first_coded(self._sets)

    def go_on(self) -> None:
        """The next picture has others before it, to which it and its leading pictures may refer."""
        self._anew = False

    def look(self, packet: bytes | memoryview) -> Look:
        """By the first slice; parameter sets on the way are taken in, as one says how many bits to skip."""
        unit, before, _ = first_slice(packet, self._length_size, _ROLES, _HEADER_BYTES)
        for one in before:
            if one[0] >> 1 in _ENDS:
                self._anew = True
            elif len(one) >= 2:
                self._sets.add(one)
        if len(unit) < 2 or unit[1] >> 3:  # nuh_layer_id
            return Look(doubt=_UNREADABLE)
        look = self._by_slice(unit)
        self._anew |= _ends_sequence(packet)
        return look

    def _by_slice(self, unit: bytes) -> Look:
        """By the first bytes of a slice."""
        nal_unit_type, layer = unit[0] >> 1 & 63, max((unit[1] & 7) - 1, 0)
        irap = BLA_W_LP <= nal_unit_type <= LAST_IRAP
        referred = irap or bool(nal_unit_type & 1)
        kind, order, shown, doubt = UNKNOWN, None, True, ""
        starts_anew = irap and (self._anew or nal_unit_type <= IDR_N_LP)  # NoRaslOutputFlag (8.1.3)
        r = BitReader(rbsp_of(unit))
        try:
            if r.flag():  # first_slice_segment_in_pic_flag; else the packet starts within a picture
                if irap and (r.flag() or self._anew) and starts_anew and self._period:  # no_output_of_prior_pics_flag
                    doubt = DISCARDED
                pps = self._sets.pps.get(r.ue())
                if pps is not None:
                    r.u(pps.num_extra_slice_header_bits)
                    slice_type = r.ue()
                    kind = _TYPES[slice_type] if slice_type < len(_TYPES) else UNKNOWN
                    shown = not pps.output_flag_present_flag or r.flag()
                    order = self._order(r, pps, nal_unit_type, layer, starts_anew)
        except EndOfData:
            return Look(doubt=_UNREADABLE, reference=referred, layer=layer)
        if irap:
            self._anew, self._skips_rasl = False, starts_anew
        elif nal_unit_type in (RASL_R - 1, RASL_R):  # leading pictures whose references nobody has are not shown
            shown &= not self._skips_rasl
        return Look(kind, int(shown), irap, order, False, doubt, referred, layer)

    def _order(self, r: BitReader, pps: PPS, nal_unit_type: int, layer: int, anew: bool) -> tuple[int, int] | None:
        """(pictures that reset the order so far, PicOrderCntVal of 8.3.1); None where its sequence parameter set is not
        known."""
        sps = self._sets.sps.get(pps.sps_id)
        if sps is None:
            return None
        if sps.separate_colour_plane_flag:
            r.u(2)
        lsb = 0 if nal_unit_type in (IDR_W_RADL, IDR_N_LP) else r.u(sps.log2_max_poc_lsb)
        msb = 0
        if anew:
            self._period += 1
        else:
            cycle = 1 << sps.log2_max_poc_lsb
            before = self._previous & cycle - 1
            msb = self._previous - before
            if before - lsb >= cycle >> 1:
                msb += cycle
            elif lsb - before > cycle >> 1:
                msb -= cycle
        leading = RADL_N <= nal_unit_type <= RASL_R
        if layer == 0 and not leading and (nal_unit_type >= BLA_W_LP or nal_unit_type & 1):  # prevTid0Pic
            self._previous = msb + lsb
        return self._period, msb + lsb


def _ends_sequence(packet: bytes | memoryview) -> bool:
    """Whether the last NAL unit of a packet is an end of sequence or bitstream: a header and nothing else."""
    if packet[-1] != 1 or len(packet) < 5:
        return False
    return packet[-2] >> 1 in _ENDS and bytes(packet[-5:-2]) in (START_CODE, b"\0\0\2")


class HevcStream:
    """One stream of HEVC: Main, Main 10 and Main Still Picture, and grey."""

    block = 16
    leads = True

    def __init__(self, extradata: bytes) -> None:
        self._extradata = extradata
        self._length_size = nal_length_size_of(extradata)
        sets = parameter_sets_of(extradata)
        for sps in sets.sps.values():
            if reason := refusal_of(sps):
                raise Refused(reason)
        for pps in sets.pps.values():
            if pps.sps_id in sets.sps and (reason := refusal_of(sets.sps[pps.sps_id], pps)):
                raise Refused(reason)
        self.sets_in_keyframes = self._length_size is None or not sets.pps
        self.coded = _first_coded(sets)

    def alone(self) -> HevcParser:
        return HevcParser(PictureParser(self._extradata))

    def sequence(self) -> HevcParser:
        return HevcParser(PictureSequence(self._extradata))

    def order(self, packets: Iterable[bytes]) -> list[tuple[int, int]]:
        """By picture order counts, counted anew behind each picture that resets them."""
        sequence = PictureSequence(self._extradata)
        keys: list[tuple[int, int]] = []
        for packet in packets:
            if not sequence.skip(packet) or sequence.buffer.lost:
                raise Lost
            keys.append((sequence.buffer.period, sequence.buffer.current.poc))
        return keys

    def is_whole(self, packet: bytes) -> bool:
        """Whether the lengths of its NAL units say so; start codes do not tell."""
        return self._length_size is not None and not has_wrong_lengths(packet, self._length_size)


class HevcParser:
    """A `PictureParser` (each picture alone) or a `PictureSequence` at work."""

    def __init__(self, parser: PictureParser | PictureSequence) -> None:
        self._parser = parser
        self._pictures = parser.parser if isinstance(parser, PictureSequence) else parser

    @property
    def lost(self) -> bool:
        return isinstance(self._parser, PictureSequence) and self._parser.buffer.lost

    def parse(self, packet: bytes) -> HevcPicture | None:
        picture = self._parser.parse(packet)
        return HevcPicture(picture) if picture is not None else None

    def pictures(
        self, packets: Iterable[tuple[int, bytes]], rows: NDArray[np.int64], wanted: NDArray[np.bool_]
    ) -> Iterator[tuple[int, HevcPicture | None]]:
        return ((index, self.parse(packet)) for index, packet in packets)

    def parse_behind(self, packets: Sequence[bytes]) -> HevcPicture | None:
        """With exact vectors where the chain of co-located pictures has no more than 32: only they are parsed, and of
        the other packets the slice headers."""
        picture = self._pictures.parse_last(packets)
        return HevcPicture(picture) if picture is not None else None

    def take_parameter_sets(self, packet: bytes) -> None:
        for unit in nal_units(packet, self._pictures.nal_length_size):
            self._pictures.sets.add(unit)

    def referred(self) -> set[int]:
        if not isinstance(self._parser, PictureSequence):
            return set()
        return {reference.identity for reference in self._parser.buffer.references}


class HevcPicture:
    """A parsed picture in the words of the protocol."""

    half = second = False

    def __init__(self, picture: Picture) -> None:
        self._picture = picture
        self._maps: tuple[NDArray[np.int16], NDArray[np.float32]] | None = None
        self.picture_type = ord(picture.picture_type)
        self.identity = picture.identity
        self.complete = picture.complete
        self.vectors_exact = picture.vectors_exact
        self.coded = _coded(picture.sps)

    def vectors(self, row: int, row_of: Mapping[int, int]) -> tuple[NDArray[np.void], NDArray[np.int16]]:
        """A picture read alone knows its references by their POC, which counts pictures, in place of rows."""
        picture = self._picture
        distances = np.zeros((len(picture.lists), 2, 16), np.int16)
        for number, lists in enumerate(picture.lists):
            for list_, entries in enumerate(lists):
                for i, (identity, poc, _) in enumerate(entries):
                    if identity in row_of:
                        distances[number, list_, i] = row_of[identity] - row
                    elif picture.identity < 0:
                        difference = poc - picture.reference_poc
                        distances[number, list_, i] = min(max(difference, -_FARTHEST), _FARTHEST)
        return motion_vectors(picture, distances)

    def rms(self) -> tuple[NDArray[np.float16], NDArray[np.float16]]:
        luma, chroma = rms_maps(self._picture, _LARGEST)
        return luma.astype(np.float16), chroma.astype(np.float16)

    def qp(self) -> NDArray[np.int16]:
        """QP'Y, the mean over each block's area, rounded."""
        return self._block_maps()[0]

    def bits(self) -> NDArray[np.float32]:
        """Bits of the coding units, by area."""
        return self._block_maps()[1]

    def _block_maps(self) -> tuple[NDArray[np.int16], NDArray[np.float32]]:
        if self._maps is None:
            self._maps = qp_and_bits(self._picture)
        return self._maps


def _first_coded(sets: ParameterSets) -> Coded | None:
    sps = next(iter(sets.sps.values()), None)
    return _coded(sps) if sps is not None else None


def _coded(sps: SPS) -> Coded:
    return Coded(sps.width, sps.height, sps.crop_left, sps.crop_top, sps.crop_right, sps.crop_bottom)
