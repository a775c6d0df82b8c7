"""One coded picture: its packet in, rows of blocks and energy per 4x4 block out.

parser = PictureParser(stream.codec_context.extradata)
picture = parser.parse(bytes(packet))
picture.picture_type, picture.cu, picture.pu, picture.luma_energy


"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from codecmeta.codecs.hevc import state
from codecmeta.codecs.hevc.decoded_picture_buffer import DecodedPictureBuffer, Lists
from codecmeta.codecs.hevc.header_words import SliceHeader
from codecmeta.codecs.hevc.nal import (
    END_OF_BITSTREAM,
    END_OF_SEQUENCE,
    emulation_positions,
    is_slice,
    layer_of,
    nal_length_size_of,
    nal_units,
    rbsp_of,
    type_of,
)
from codecmeta.codecs.hevc.pair import pair_words, scaling_factors, tile_tables
from codecmeta.codecs.hevc.parameter_sets import parameter_sets_of, refusal_of
from codecmeta.codecs.hevc.pps import PPS
from codecmeta.codecs.hevc.slice_data import slice_segment_data
from codecmeta.codecs.hevc.slice_header import NO_PARAMETER_SET, REFUSED, slice_segment_header
from codecmeta.codecs.hevc.sps import SPS
from codecmeta.codecs.protocol import Refused
from codecmeta.codecs.syntax.arithmetic import BYTE_END, STATES
from codecmeta.codecs.syntax.nal import EMULATED, has_wrong_lengths

PADDING = bytes(16)
_WORDS = state.H_LUMA_WEIGHTS  # of a header, those that Python looks at
LONGEST_CHAIN = 32  # pictures parsed for the vectors of one
_HEADER_BYTES = 4096  # enough for a slice segment header, entry points and all
_NOTHING = np.zeros(1, np.int32)
_WHAT = (
    "",
    "bad syntax",
    "data ran out",
    "no stop bit where the slice segment ends",
    "a substream does not start at its entry point",
    "the slice segment before it is missing or ran on",
)


@dataclass
class Picture:
    """What one picture's packet says. Sizes are those of the coded picture; rows as state.CU_*, PU_*, TU_* lay out."""

    sps: SPS
    pps: PPS
    nal_unit_type: int
    cu: np.ndarray  # int32 (n, 10), coding units in decoding order
    pu: np.ndarray  # int32 (n, 10), prediction units of inter blocks
    tu: np.ndarray  # int32 (n, 16), transform units; traces only
    levels: np.ndarray  # int32 (n, 2), position and level; traces only
    segments: np.ndarray  # int32 (CTBs,): number of the slice segment, -1 not parsed
    energy: np.ndarray  # float32, luma then Cb then Cr, 4x4 blocks
    motion: np.ndarray  # int32, what later pictures need (state.R_*)
    slice_types: list[int] = field(default_factory=list)  # of each slice segment
    headers: list[SliceHeader] = field(default_factory=list)  # traces only
    lists: list[Lists] = field(default_factory=list)  # [slice segment][list]: (identity, POC, long-term)
    header_bits: int = 0  # of all its NAL units: what is not slice segment data, emulation prevention bytes included
    errors: list[str] = field(default_factory=list)
    identity: int = -1  # number in decoding order; -1: parsed by random access
    poc: int = 0  # PicOrderCntVal; by random access its lsb
    reference_poc: int = 0  # what the POCs in `lists` are relative to: `poc`, by random access 0
    vectors_exact: bool = True  # False: temporal candidates were missing; vectors, and references of merged blocks
    output: bool = True  # pic_output_flag

    @property
    def picture_type(self) -> str:
        """'B' if any slice is B, else 'P' if any is P, else 'I'."""
        types = set(self.slice_types)
        return "B" if state.B in types else "P" if state.P in types else "I"

    @property
    def parsed(self) -> np.ndarray:
        """bool (CTB rows, CTB columns): CTBs that were read; in the others nothing is known."""
        return (self.segments >= 0).reshape(self.sps.ctb_rows, self.sps.ctb_columns)

    @property
    def complete(self) -> bool:
        """Every slice segment ended on its stop bit and every CTB was read."""
        return not self.errors and bool(self.segments.min() >= 0)

    @property
    def luma_energy(self) -> np.ndarray:
        """float32 (height / 4, width / 4): squared grey levels (of the coded bit depth) of the luma residual.

        Exact per 8x8 block: an 8x8 transform's energy is spread evenly over its four blocks, and so is that of each
        8x8 part of a larger one.
        """
        rows, columns = self.sps.height >> 2, self.sps.width >> 2
        return self.energy[: rows * columns].reshape(rows, columns)

    @property
    def chroma_energy(self) -> np.ndarray:
        """float32 (2, height / 8, width / 8): Cb and Cr residual energy per 4x4 chroma block; zero in monochrome."""
        rows, columns = self.sps.height >> 3, self.sps.width >> 3
        return self.energy[4 * rows * columns :].reshape(2, rows, columns)


class PictureParser:
    """Parses pictures of one stream, one at a time; keeps the parameter sets and the work areas."""

    def __init__(self, extradata: bytes | None = None, *, annex_b: bool = False, trace: bool = False) -> None:
        """`extradata` as the container has it; `annex_b`: the packets have start codes whatever it says; `trace`: keep
        transform units, levels and slice headers."""
        self.sets = parameter_sets_of(extradata)
        self.nal_length_size = None if annex_b else nal_length_size_of(extradata)
        self.trace = trace
        self.s = np.zeros(state.S_SIZE, np.int64)
        self.c = np.full(3 * state.CONTEXTS, STATES[0], np.int64)
        self.h = np.zeros(state.H_SIZE, np.int32)
        self.b = np.zeros(state.B_SIZE, np.int32)
        self.w = np.zeros(state.W_SIZE, np.float32)
        self.s[state.TRACE] = trace
        self._version = -1
        self._words: list[int] = []
        self._size = (0, 0, 0)
        self._prepared: tuple[SPS, PPS] | None = None

    def parse(self, packet: bytes) -> Picture | None:
        """Random access: the picture of one packet by itself; None: the packet has no slice that can be read.

        Everything is exact but vectors, and references of merged blocks, of pictures with temporal candidates. Raises
        Refused for streams with tools that are not read here. Damage is told in `Picture.errors`, and what stands
        before it is there.
        """
        return self.parse_with(packet, None, {})

    def parse_with(
        self, packet: bytes, buffer: DecodedPictureBuffer | None, motion: dict[int, Picture]
    ) -> Picture | None:
        """The picture of a packet; `buffer`: of all before it, `motion`: the pictures in it by identity."""
        picture: Picture | None = None
        errors = (
            ["the lengths of NAL units do not fit the packet"]
            if has_wrong_lengths(packet, self.nal_length_size)
            else []
        )
        bits = 0
        for unit in nal_units(packet, self.nal_length_size):
            kind = type_of(unit)
            if layer_of(unit):
                continue
            if not is_slice(kind):
                if kind in (END_OF_SEQUENCE, END_OF_BITSTREAM):
                    if buffer is not None:
                        buffer.end_of_sequence()
                else:
                    self.sets.add(unit)
                continue
            bits += 8 * len(unit)
            data, length, emulation = self._payload(unit)
            error = self._header(data, kind)
            if error:
                errors.append(f"slice header: {error}")
                continue
            self._words = self.h[:_WORDS].tolist()
            if picture is None:
                if self._words[state.H_DEPENDENT]:  # what it takes over went with the segment before it
                    errors.append("the first slice segment is missing")
                    continue
                picture = self._new_picture(kind, unit[1] & 7, buffer)
            elif self._words[state.H_FIRST] or self._pair() != (picture.sps, picture.pps):
                errors.append("slices of two pictures in one packet")
                continue
            self._parse_segment(picture, data, length, emulation, unit, buffer, motion)
        if picture is None:
            if errors and buffer is not None:
                buffer.lost = True  # nobody knows what its header did to the references
            return None
        self._finish(picture, bits)
        picture.errors[:0] = errors
        return picture

    def follow(self, packet: bytes, buffer: DecodedPictureBuffer) -> bool:
        """Tell `buffer` of the picture of a packet without parsing its blocks; False: no slice that can be read."""
        found = False
        for unit in nal_units(packet, self.nal_length_size):
            kind = type_of(unit)
            if layer_of(unit) or (found and is_slice(kind)):
                continue
            if kind in (END_OF_SEQUENCE, END_OF_BITSTREAM):
                buffer.end_of_sequence()
            elif not is_slice(kind):
                self.sets.add(unit)
            else:
                data, _, _ = self._payload(unit[:_HEADER_BYTES])
                if not self._header(data, kind) and not self.h[state.H_DEPENDENT]:
                    self._words = self.h[:_WORDS].tolist()
                    buffer.begin(self._words, self._pair()[0], kind, (unit[1] & 7) - 1)
                    found = True
        return found

    def parse_last(self, packets: Sequence[bytes]) -> Picture | None:
        """The picture of the last packet, with exact vectors where its chain of co-located pictures is short.

        packets: all from a random access point on, in decoding order. A field of vectors depends on that of its own
        co-located picture alone, so only the chain is parsed, at most LONGEST_CHAIN pictures; of the others the
        headers. A longer chain leaves the vectors estimates.
        """
        buffer = DecodedPictureBuffer()
        chains: dict[int, tuple[int, ...]] = {}  # by identity: co-located pictures, then the picture itself
        packet_of: dict[int, int] = {}
        buffers: list[DecodedPictureBuffer] = []
        for number, packet in enumerate(packets):
            if not self.follow(packet, buffer):
                buffers.append(buffer.copy())
                continue
            identity = buffer.identity
            packet_of[identity] = number
            chains[identity] = (*chains.get(self._collocated_identity(buffer), ()), identity)
            buffers.append(buffer.copy())
        wanted = chains.get(buffer.identity, ())
        if not wanted or packet_of[buffer.identity] != len(packets) - 1 or len(wanted) > LONGEST_CHAIN:
            return self.parse(packets[-1])
        pictures: dict[int, Picture] = {}
        picture = None
        for identity in wanted:
            number = packet_of[identity]
            before = buffers[number - 1].copy() if number else DecodedPictureBuffer()
            picture = self.parse_with(packets[number], before, pictures)
            if picture is not None:
                pictures = {identity: picture}
        if picture is not None:
            picture.identity = -1
        return picture

    def _collocated_identity(self, buffer: DecodedPictureBuffer) -> int:
        """Which picture the one whose header was read last takes temporal candidates from, -1: none."""
        words = self._words
        if words[state.H_TYPE] == state.I or not words[state.H_TEMPORAL_MVP]:
            return -1
        entries = buffer.lists(words)[0 if words[state.H_COLLOCATED_L0] else 1]
        return entries[words[state.H_COLLOCATED_REF]].identity

    def _payload(self, unit: bytes) -> tuple[np.ndarray, int, np.ndarray]:
        """The RBSP as the kernels take it, its length, and where bytes were taken out of it."""
        rbsp = rbsp_of(unit).rstrip(b"\x00")
        length = len(rbsp)
        last = rbsp[length - 1] if length else 0
        s = self.s
        s[BYTE_END] = length
        s[state.BIT_END] = 8 * length
        s[state.STOP_BIT] = 8 * length - 1 - ((last & -last).bit_length() - 1 if last else 0)
        emulation = _NOTHING
        s[state.NUM_EMULATION] = 0
        if EMULATED in unit:
            positions = emulation_positions(unit)
            emulation = np.array(positions, np.int32)
            s[state.NUM_EMULATION] = len(positions)
        return np.frombuffer(bytearray(rbsp + PADDING), np.uint8), length, emulation

    def _header(self, data: np.ndarray, kind: int) -> str:
        """Read a slice segment header into `self.h`; what is wrong with it. Raises Refused."""
        if self._version != self.sets.version:
            self._version = self.sets.version
            self.pairs = pair_words(self.sets)
        self.s[state.NAL_UNIT_TYPE] = kind
        status = slice_segment_header(self.s, data, self.pairs, self.h)
        if status == state.OK:
            return ""
        if status == NO_PARAMETER_SET:
            return f"no parameter set {self.h[state.H_PPS]}"
        if status == REFUSED:
            sps, pps = self._pair()
            raise Refused(refusal_of(sps, pps) or "")
        return "bad syntax"

    def _pair(self) -> tuple[SPS, PPS]:
        pps = self.sets.pps[int(self.h[state.H_PPS])]
        return self.sets.sps[pps.sps_id], pps

    def _new_picture(self, kind: int, temporal_id_plus1: int, buffer: DecodedPictureBuffer | None) -> Picture:
        """An empty picture, and the buffer told about it."""
        sps, pps = self._pair()
        self._fit(sps)
        if self._prepared is None or self._prepared[0] is not sps or self._prepared[1] is not pps:
            self._prepared = sps, pps
            self.t, self.f = tile_tables(sps, pps), scaling_factors(sps, pps)
        s = self.s
        s[state.NUM_CU] = s[state.NUM_PU] = s[state.NUM_TU] = s[state.NUM_LEVELS] = 0
        s[state.SEGMENT], s[state.PREVIOUS_TS] = 0, -1
        self.g.fill(-2)
        self.m.fill(-1)
        picture = Picture(
            sps=sps,
            pps=pps,
            nal_unit_type=kind,
            cu=_NOTHING,
            pu=_NOTHING,
            tu=_NOTHING,
            levels=_NOTHING,
            segments=_NOTHING,
            energy=np.zeros((sps.width >> 2) * (sps.height >> 2) * 3 // 2, np.float32),
            motion=np.zeros(state.CELL * (sps.width + 15 >> 4) * (sps.height + 15 >> 4), np.int32),
            output=bool(self._words[state.H_OUTPUT]),
        )
        if buffer is None:
            picture.poc = self._words[state.H_POC_LSB]
        else:
            current = buffer.begin(self._words, sps, kind, temporal_id_plus1 - 1)
            picture.identity, picture.poc, picture.reference_poc = current.identity, current.poc, current.poc
        return picture

    def _parse_segment(
        self,
        picture: Picture,
        data: np.ndarray,
        length: int,
        emulation: np.ndarray,
        unit: bytes,
        buffer: DecodedPictureBuffer | None,
        motion: dict[int, Picture],
    ) -> None:
        """slice_segment_data() of the segment whose header is in `self.h`."""
        s, h = self.s, self.h
        if picture.lists and self._words[state.H_DEPENDENT]:
            picture.lists.append(picture.lists[-1])
        elif not self._set_references(picture, buffer, motion):
            picture.errors.append("slice header: references that the picture does not have")
            return
        picture.slice_types.append(self._words[state.H_TYPE])
        if self.trace:
            words = h[: state.H_ENTRIES + int(h[state.H_NUM_ENTRIES])].copy()
            temporal_id = (unit[1] & 7) - 1
            picture.headers.append(SliceHeader(picture.nal_unit_type, temporal_id, picture.sps, picture.pps, words))
        status = slice_segment_data(
            s,
            self.c,
            data,
            self.pairs[self._words[state.H_PPS]],
            self.t,
            self.f,
            h,
            self.a,
            self.b,
            self.w,
            picture.energy,
            self.g,
            self.v,
            self.m,
            picture.motion,
            self._collocated,
            self.cu,
            self.pu,
            self.tu,
            self.lv,
            emulation,
        )
        s[state.SEGMENT] += 1
        if status:
            where = int(s[state.CTB_Y]) * picture.sps.ctb_columns + int(s[state.CTB_X])
            picture.errors.append(f"{_WHAT[status]} at CTB {where}")

    def _set_references(
        self, picture: Picture, buffer: DecodedPictureBuffer | None, motion: dict[int, Picture]
    ) -> bool:
        """What the kernels ask of the references of a slice, and whether its vectors are exact; False: the first slice
        of the picture says that there are none."""
        s, words = self.s, self._words
        s[state.HAVE_COLLOCATED] = 0
        self._collocated = _NOTHING
        if words[state.H_TYPE] == state.I:
            picture.lists.append(([], []))
            return True
        references = (buffer or DecodedPictureBuffer.alone(words, picture.sps)).lists(words)
        if [len(one) for one in references] != words[state.H_NUM_REF_0 : state.H_NUM_REF_1 + 1]:
            return False
        now = picture.reference_poc
        differences, long_term = [0] * 32, [0] * 32
        for at, entries in zip((0, 16), references, strict=True):
            for i, entry in enumerate(entries, at):
                differences[i] = min(max(entry.poc - now, -(1 << 20)), 1 << 20)
                long_term[i] = entry.long_term
        self.h[state.H_REF_POC : state.H_REF_POC + 64] = differences + long_term
        s[state.NO_BACKWARD_PRED] = max(differences) <= 0
        picture.lists.append(
            (
                [(one.identity, one.poc, one.long_term) for one in references[0]],
                [(one.identity, one.poc, one.long_term) for one in references[1]],
            )
        )
        if not words[state.H_TEMPORAL_MVP]:
            return True
        collocated = references[0 if words[state.H_COLLOCATED_L0] else 1][words[state.H_COLLOCATED_REF]]
        found = motion.get(collocated.identity)
        if found is None or (found.sps.width, found.sps.height) != (picture.sps.width, picture.sps.height):
            picture.vectors_exact = False
            return True
        picture.vectors_exact &= found.vectors_exact and found.complete
        s[state.HAVE_COLLOCATED] = 1
        self._collocated = found.motion
        return True

    def _finish(self, picture: Picture, bits: int) -> None:
        """Copy what was found out of the work areas."""
        s = self.s
        picture.cu = self.cu[: state.CU_COLUMNS * int(s[state.NUM_CU])].reshape(-1, state.CU_COLUMNS).copy()
        picture.pu = self.pu[: state.PU_COLUMNS * int(s[state.NUM_PU])].reshape(-1, state.PU_COLUMNS).copy()
        picture.segments = self.m[: len(self.m) // 2].copy()
        picture.header_bits = bits - int(picture.cu[:, state.CU_BITS].sum())
        if self.trace:
            picture.tu = self.tu[: state.TU_COLUMNS * int(s[state.NUM_TU])].reshape(-1, state.TU_COLUMNS).copy()
            picture.levels = self.lv[: 2 * int(s[state.NUM_LEVELS])].reshape(-1, 2).copy()

    def _fit(self, sps: SPS) -> None:
        """Work areas for this picture size."""
        size = sps.width, sps.height, sps.ctb_log2_size_y
        if size == self._size:
            return
        self._size = size
        width, height = sps.width, sps.height
        stride = (width >> 2) + 2
        plane = stride * ((height >> 2) + 2)  # a row above and one below
        self.s[state.STRIDE], self.s[state.PLANE] = stride, plane
        self.s[state.CELLS_WIDE] = width + 15 >> 4
        eights = (width >> 3) * (height >> 3)
        self.a = np.zeros(state.A_UP + (width >> 3) + 8, np.uint8)
        self.g = np.full(2 * plane, -2, np.int8)
        self.v = np.zeros(2 * plane, np.int32)
        self.m = np.full(2 * sps.ctb_rows * sps.ctb_columns, -1, np.int32)
        self.cu = np.zeros(state.CU_COLUMNS * eights, np.int32)
        self.pu = np.zeros(state.PU_COLUMNS * 2 * eights, np.int32)
        self.tu = np.zeros(state.TU_COLUMNS * 4 * eights if self.trace else 1, np.int32)
        self.lv = np.zeros(2 * 96 * eights if self.trace else 1, np.int32)
