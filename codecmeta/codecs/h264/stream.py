"""H.264 as `codecmeta.codecs.protocol` asks of a parser.

A damaged picture keeps what stands before the damage. Blocks behind it have no vectors, residual and bits 0 and QP
NOT_PARSED_QP. Other pictures stay exact, but for direct vectors that depend on a damaged or missing one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from codecmeta.codecs.h264.coefficients import block_rms
from codecmeta.codecs.h264.decoded_picture_buffer import DecodedPictureBuffer
from codecmeta.codecs.h264.fields import FieldPair
from codecmeta.codecs.h264.motion_vectors import count_rows, motion_vectors, write_rows, write_vectors
from codecmeta.codecs.h264.nal import (
    PICTURE_PARAMETER_SET,
    SEQUENCE_PARAMETER_SET,
    SLICE_IDR,
    SLICE_NON_IDR,
    nal_length_size_of,
    nal_units,
    rbsp_of,
    units_of_extradata,
)
from codecmeta.codecs.h264.parameter_sets import SPS, parameter_sets_of
from codecmeta.codecs.h264.parsed_picture import Picture, coded_of
from codecmeta.codecs.h264.picture import PictureParser
from codecmeta.codecs.h264.run_kernel import parse
from codecmeta.codecs.h264.runs import FrameOfBatch, PictureRuns
from codecmeta.codecs.h264.sequence import PictureSequence
from codecmeta.codecs.h264.slice_header import SliceHeader, parse_slice_header, refusal_of, type_in_first_byte
from codecmeta.codecs.look import Look
from codecmeta.codecs.protocol import NOT_PARSED_QP, Coded, Lost, Refused
from codecmeta.codecs.syntax.bits import BitReader, EndOfData
from codecmeta.codecs.syntax.nal import SLICE, WANTED, behind, first_slice, has_wrong_lengths
from codecmeta.record.metadata import UNKNOWN, B, I, P

ENTRY_KERNELS = (parse, block_rms, count_rows, write_rows, write_vectors)

_SEI = 6  # nal_unit_type
_HEADER_BYTES = 26  # the elements up to pic_order_cnt_lsb: 128 bits, and emulation prevention bytes
_TYPES = (P, B, I, P, I)  # slice_type % 5; SP and SI count as P and I, as FFmpeg's picture types do not
_LARGEST = float(np.finfo(np.float16).max)  # only levels of a damaged picture reach so far
_UNREADABLE = "a packet without a readable slice header"
_WRONG_LENGTHS = "a packet that is cut, or whose NAL units have wrong lengths"
_ROLES = bytes(
    SLICE
    if SLICE_NON_IDR <= byte & 31 <= SLICE_IDR
    else WANTED * (byte & 31 in (_SEI, SEQUENCE_PARAMETER_SET, PICTURE_PARAMETER_SET))
    for byte in range(256)
)
_RESETS_ORDER = 5  # memory_management_control_operation


def open_stream(extradata: bytes) -> H264Stream:
    """The parser of a stream. Raises Refused where its parameter sets say what it does not read."""
    return H264Stream(extradata)


def headers_of(extradata: bytes | None) -> H264Headers:
    """What the headers of a stream say."""
    return H264Headers(extradata)


def with_configuration(packet: bytes, extradata: bytes, change: bytes) -> bytes:
    """A packet in the framing that `extradata` says, behind the parameter sets of another configuration that came
    beside it."""
    return behind(units_of_extradata(change), packet, nal_length_size_of(extradata), nal_length_size_of(change))


class H264Headers:
    """Types, random access points and display order by slice headers, of any H.264; size and crop by the first
    parameter set."""

    def __init__(self, extradata: bytes | None) -> None:
        self.coded = _first_coded(extradata)
        self._length_size = nal_length_size_of(extradata)
        self._sets = parameter_sets_of(extradata)
        self._layouts: dict[int, tuple[SPS, int, bool, int]] = {}
        self._period = 0
        self._previous = 0, 0  # prevPicOrderCntMsb, prevPicOrderCntLsb (8.2.1.1)

    def go_on(self) -> None:
        """What is said of a picture does not depend on those before the last one that may be decoded first."""

    def look(self, packet: bytes | memoryview) -> Look:
        """By the first slice; SEI messages and parameter sets before it are taken in."""
        unit, before, wrong = first_slice(packet, self._length_size, _ROLES, _HEADER_BYTES)
        recovers = False
        for one in before:
            if one[0] & 31 == _SEI:
                recovers |= _recovers_at_once(rbsp_of(one))
            else:
                self._sets.add(one)
                self._layouts.clear()
        if not unit:
            return Look(doubt=_UNREADABLE)
        found = self._by_slice(unit, recovers, _WRONG_LENGTHS if wrong else "")
        return found._replace(field=self._has_one_parity(bytes(packet))) if found.field else found

    def _has_one_parity(self, packet: bytes) -> bool:
        """Whether the slices of a field picture's packet are all of one field."""
        parities = set()
        for unit in nal_units(packet, self._length_size):
            if SLICE_NON_IDR <= unit[0] & 31 <= SLICE_IDR:
                r = BitReader(rbsp_of(unit[:_HEADER_BYTES]))
                try:
                    r.ue()
                    r.ue()
                    _, skipped, has_fields, _ = self._layout_of(r.ue())
                    r.u(skipped)
                    parities.add(has_fields and r.flag() and r.flag())
                except (EndOfData, KeyError):
                    continue
        return len(parities) < 2

    def _by_slice(self, unit: bytes, recovers: bool, doubt: str) -> Look:
        """By the first bytes of a slice. Where a memory management operation resets the order, the order is wrong,
        which shows in comparison with time stamps."""
        kind, field, bottom = UNKNOWN, False, False
        referred, idr = unit[0] & 0x60 != 0, unit[0] & 31 == SLICE_IDR
        r = BitReader(rbsp_of(unit))
        try:
            kind, r.position = type_in_first_byte(unit)
            if not r.position:
                r.ue()
                kind = r.ue()
            kind = _TYPES[kind % 5] if kind < 10 else UNKNOWN
            sps, skipped, has_fields, lsb_bits = self._layout_of(r.ue())
            r.u(skipped)
            if has_fields:
                field = r.flag()
                bottom = field and r.flag()
            if idr:
                r.ue()
            lsb = r.u(lsb_bits)
        except (EndOfData, KeyError):
            return Look(kind, doubt=_UNREADABLE, reference=referred)
        if idr:
            self._period += not bottom
            self._previous = 0, 0
        order = self._order(sps, lsb, referred or idr)
        return Look(kind, 1, kind == I and (idr or recovers), order, field, doubt, referred)

    def _layout_of(self, pic_parameter_set_id: int) -> tuple[SPS, int, bool, int]:
        """Of slice headers: their sequence parameter set, bits before what is read of them, whether field_pic_flag
        is there, bits of pic_order_cnt_lsb."""
        if (layout := self._layouts.get(pic_parameter_set_id)) is None:
            sps = self._sets.sps[self._sets.pps[pic_parameter_set_id].seq_parameter_set_id]
            skipped = 2 * sps.separate_colour_plane_flag + sps.log2_max_frame_num
            layout = sps, skipped, not sps.frame_mbs_only_flag, sps.log2_max_pic_order_cnt_lsb
            self._layouts[pic_parameter_set_id] = layout
        return layout

    def _order(self, sps: SPS, lsb: int, referred: bool) -> tuple[int, int] | None:
        """(pictures that reset the order so far, PicOrderCnt of 8.2.1); None where it takes more than these bits."""
        if sps.pic_order_cnt_type == 1:
            return None
        if sps.pic_order_cnt_type == 2:  # 8.2.1.3: as they are sent
            self._previous = self._previous[0] + 1, 0
            return self._period, self._previous[0]
        msb, before = self._previous
        half = 1 << (sps.log2_max_pic_order_cnt_lsb - 1)
        if lsb < before and before - lsb >= half:
            msb += 2 * half
        elif lsb > before and lsb - before > half:
            msb -= 2 * half
        if referred:
            self._previous = msb, lsb
        return self._period, msb + lsb


def _recovers_at_once(rbsp: bytes) -> bool:
    """Whether an SEI NAL unit has a recovery point (D.1.8) with recovery_frame_cnt 0."""
    at = 0
    while at + 2 < len(rbsp):
        kind = size = 0
        while at < len(rbsp) and rbsp[at] == 255:
            kind, at = kind + 255, at + 1
        kind, at = kind + rbsp[at] if at < len(rbsp) else -1, at + 1
        while at < len(rbsp) and rbsp[at] == 255:
            size, at = size + 255, at + 1
        size, at = size + rbsp[at] if at < len(rbsp) else 0, at + 1
        if kind == 6:
            return bool(rbsp[at : at + 1]) and bool(rbsp[at] >> 7)  # ue(v) of 0 is a single one-bit
        at += size
    return False


class H264Stream:
    """One stream of H.264, of frames or fields."""

    block = 16
    leads = False

    def __init__(self, extradata: bytes) -> None:
        self._extradata = extradata
        self._length_size = nal_length_size_of(extradata)
        sets = parameter_sets_of(extradata)
        for sps in sets.sps.values():
            if reason := refusal_of(sps):
                raise Refused(reason)
        for pps in sets.pps.values():
            if reason := refusal_of(sets.sps[pps.seq_parameter_set_id], pps):
                raise Refused(reason)
        self.sets_in_keyframes = self._length_size is None or not sets.pps
        self.coded = _first_coded(extradata)

    def alone(self) -> H264Parser:
        return H264Parser(PictureParser(self._extradata))

    def sequence(self) -> H264Parser:
        return H264Parser(PictureSequence(self._extradata))

    def order(self, packets: Iterable[bytes]) -> list[tuple[int, int]]:
        """By the picture order counts of the slice headers, counted anew behind each picture that resets them."""
        buffer = DecodedPictureBuffer()
        keys: list[tuple[int, int]] = []
        before = None
        for headers in self._first_headers(packets):
            counted_anew = False
            for header in headers:
                operations = header.memory_management_control_operations or ()
                second = before is not None and header.completes(before)
                counted_anew |= header.idr or any(operation == _RESETS_ORDER for operation, *_ in operations)
                current = buffer.begin(header, second=second)
                if buffer.lost:
                    raise Lost
                buffer.end(header)
                before = None if second or not header.field_pic_flag else header
            keys.append(((keys[-1][0] if keys else 0) + counted_anew, current.order))
        return keys

    def _first_headers(self, packets: Iterable[bytes]) -> Iterator[list[SliceHeader]]:
        """The first slice header of each packet, of fields both, parameter sets on the way taken in."""
        sets = parameter_sets_of(self._extradata)
        for packet in packets:
            headers: list[SliceHeader] = []
            for unit in nal_units(packet, self._length_size):
                try:
                    if SLICE_NON_IDR <= unit[0] & 31 <= SLICE_IDR:
                        header = parse_slice_header(unit, rbsp_of(unit[:4096]), sets)
                        if not headers or header.completes(headers[0]):
                            headers.append(header)
                        if len(headers) > header.field_pic_flag:
                            break
                except (EndOfData, KeyError) as reason:
                    raise Lost from reason
                sets.add(unit)
            if not headers:
                raise Lost
            yield headers

    def is_whole(self, packet: bytes) -> bool:
        """Whether the lengths of its NAL units say so; start codes do not tell."""
        return self._length_size is not None and not has_wrong_lengths(packet, self._length_size)


class H264Parser:
    """A `PictureParser` (each picture alone) or a `PictureSequence` at work."""

    def __init__(self, parser: PictureParser | PictureSequence) -> None:
        self._parser = parser
        self._pictures = parser.parser if isinstance(parser, PictureSequence) else parser

    @property
    def lost(self) -> bool:
        return isinstance(self._parser, PictureSequence) and self._parser.buffer.lost

    def parse(self, packet: bytes) -> H264Picture | None:
        picture = self._parser.parse(packet)
        return H264Picture(picture) if picture is not None else None

    def pictures(
        self, packets: Iterable[tuple[int, bytes]], rows: NDArray[np.int64], wanted: NDArray[np.bool_]
    ) -> Iterator[tuple[int, H264Picture | FrameOfBatch | None]]:
        if isinstance(self._parser, PictureParser):
            yield from ((index, self.parse(packet)) for index, packet in packets)
            return
        for index, picture in PictureRuns(self._parser).pictures(packets, rows, wanted):
            yield index, picture if picture is None or isinstance(picture, FrameOfBatch) else H264Picture(picture)

    def parse_behind(self, packets: Sequence[bytes]) -> H264Picture | None:
        return self.parse(packets[-1])

    def take_parameter_sets(self, packet: bytes) -> None:
        for unit in nal_units(packet, self._pictures.nal_length_size):
            self._pictures.sets.add(unit)

    def referred(self) -> set[int]:
        if not isinstance(self._parser, PictureSequence):
            return set()
        return {reference.identity for reference in self._parser.buffer.references}


class H264Picture:
    """A parsed picture in the words of the protocol."""

    def __init__(self, picture: Picture | FieldPair) -> None:
        self._picture = picture
        self.picture_type = ord(picture.slice_type)
        self.identity = picture.identity
        self.complete = picture.complete
        self.half = isinstance(picture, FieldPair) and picture.half
        self.second = isinstance(picture, FieldPair) and picture.second
        self.vectors_exact = picture.vectors_exact
        self.coded = coded_of(picture.sps)

    def vectors(self, row: int, row_of: Mapping[int, int]) -> tuple[NDArray[np.void], NDArray[np.int16]]:
        picture = self._picture
        distances = np.zeros((len(picture.headers), 2, 33), np.int16)  # the first for refIdx -1
        for number, lists in enumerate(picture.lists):
            for list_, identities in enumerate(lists):
                for i, identity in enumerate(identities):
                    if identity in row_of:
                        distances[number, list_, i + 1] = row_of[identity] - row
        return motion_vectors(picture, distances)

    def rms(self) -> tuple[NDArray[np.float16], NDArray[np.float16]]:
        picture, sps = self._picture, self._picture.sps
        luma, chroma = np.empty((2, 2 * picture.rows, 2 * picture.columns), np.float32)
        scales = 1 << (sps.bit_depth_luma - 8), 1 << (sps.bit_depth_chroma - 8)
        energy = picture.energy
        if sps.chroma_array_type >= 2:  # two or four 4x4 chroma blocks to an 8x8 luma block: their mean stands for one
            both = picture.chroma_energy.reshape(2, 2 * picture.rows, 2, 2 * picture.columns, -1).mean((2, 4))
            energy = np.concatenate([picture.luma_energy.reshape(-1), both.reshape(-1)])
        block_rms(energy, *scales, _LARGEST, luma, chroma)
        return luma.astype(np.float16), chroma.astype(np.float16)

    def qp(self) -> NDArray[np.int16]:
        """QP'Y, as FFmpeg exports it."""
        picture = self._picture
        qp = (picture.qp + 6 * (picture.sps.bit_depth_luma - 8)).astype(np.int16)
        if not picture.complete:
            qp[~picture.parsed] = NOT_PARSED_QP
        return qp

    def bits(self) -> NDArray[np.float32]:
        return self._picture.bits.astype(np.float32)


def _first_coded(extradata: bytes | None) -> Coded | None:
    sps = next(iter(parameter_sets_of(extradata).sps.values()), None)
    return coded_of(sps) if sps is not None else None
