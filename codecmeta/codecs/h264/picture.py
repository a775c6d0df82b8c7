"""From a packet to its picture: arrays per macroblock and per 4x4 block.

parser = PictureParser(stream.codec_context.extradata)
picture = parser.parse(bytes(packet))
picture.slice_type, picture.qp, picture.bits, picture.luma_energy
"""

from __future__ import annotations

from typing import Any

import numpy as np

from codecmeta.codecs.h264 import state
from codecmeta.codecs.h264.energy_weights import energy_weights
from codecmeta.codecs.h264.fields import FieldPair, FirstField, frame_of, is_completed_by
from codecmeta.codecs.h264.high444.slice_data import slice_data_of_high_444
from codecmeta.codecs.h264.mbaff.slice_data import slice_data_of_pairs
from codecmeta.codecs.h264.mbaff.work_areas import WorkAreas
from codecmeta.codecs.h264.nal import SLICE_IDR, SLICE_NON_IDR, nal_length_size_of, nal_units, rbsp_of
from codecmeta.codecs.h264.parameter_sets import PPS, SPS, ScalingLists, parameter_sets_of
from codecmeta.codecs.h264.parsed_picture import Picture
from codecmeta.codecs.h264.run_kernel import parse as parse_pictures
from codecmeta.codecs.h264.run_state import F_SIZE
from codecmeta.codecs.h264.slice_header import B, I, SliceHeader, parse_slice_header
from codecmeta.codecs.syntax.arithmetic import BYTE_END
from codecmeta.codecs.syntax.bits import EndOfData
from codecmeta.codecs.syntax.nal import has_wrong_lengths

PADDING = bytes(16)
_BYTES, _WORDS, _SHORTS, _SIGNED, _LONG = (np.zeros(1, one) for one in ("uint8", "int32", "int16", "int8", "int64"))
NO_PICTURE = (_WORDS, _WORDS, _SIGNED, _WORDS, _SIGNED, _WORDS)
"""In `run_kernel.parse`: of packets there is no picture to write one slice to."""
_MAP = np.zeros((1, 1), np.uint16)
_NO_PACKETS = (
    *(_BYTES, _LONG, _LONG, _LONG, np.zeros((0, F_SIZE), np.int64), _SHORTS),
    *(_WORDS[None], _SIGNED[None], _WORDS[None], _WORDS[None]),
    *(0.0, _MAP, _MAP, _MAP.view(np.int16), np.zeros((1, 1), np.float32), _WORDS, _SHORTS),
)


class PictureParser:
    """Parses pictures of one stream, one at a time; keeps the parameter sets and the work areas."""

    def __init__(self, extradata: bytes | None = None, *, annex_b: bool = False) -> None:
        """`extradata` as the container has it; `annex_b`: the packets have start codes whatever it says."""
        self.sets = parameter_sets_of(extradata)
        self.nal_length_size = None if annex_b else nal_length_size_of(extradata)
        self.s = np.zeros(state.S_SIZE, np.int64)
        self.c = np.zeros(1024, np.int64)
        self.k = np.zeros(3 * 32 + 64, np.int32)
        self._first_field: FirstField | None = None  # of the packet before
        self._areas: dict[tuple[int, int], tuple[np.ndarray, ...]] = {}
        self._size = (0, 0)
        self._weights: dict[ScalingLists, np.ndarray] = {}
        self._prepared: tuple[SPS, PPS] | None = None
        self._pairs: WorkAreas | None = None  # of MBAFF frames

    def slices_of(self, packet: bytes) -> tuple[list[list[tuple[SliceHeader, bytes]]], list[str]]:
        """The primary coded slices of a packet, one list for each picture (a frame, or the fields of one in the order
        in which they are sent), and what is wrong with others; parameter sets on the way taken in.

        Raises Refused as `parse_slice_header` does.
        """
        pictures: list[list[tuple[SliceHeader, bytes]]] = []
        errors = (
            ["the lengths of NAL units do not fit the packet"]
            if has_wrong_lengths(packet, self.nal_length_size)
            else []
        )
        for unit in nal_units(packet, self.nal_length_size):
            nal_unit_type = unit[0] & 31
            if nal_unit_type in (7, 8):
                self.sets.add(unit)
            elif SLICE_NON_IDR <= nal_unit_type <= SLICE_IDR:
                rbsp = rbsp_of(unit)
                try:
                    header = parse_slice_header(unit, rbsp, self.sets)
                except EndOfData as error:
                    errors.append(f"slice header: {error}")
                    continue
                except KeyError as error:
                    errors.append(f"slice header: no parameter set {error}")
                    continue
                if not pictures or header.same_picture(pictures[-1][0][0]):
                    if header.redundant_pic_cnt == 0:
                        if not pictures:
                            pictures.append([])
                        pictures[-1].append((header, rbsp))
                elif len(pictures) == 1 and header.completes(pictures[0][0][0]):
                    if header.redundant_pic_cnt == 0:
                        pictures.append([(header, rbsp)])
                else:
                    errors.append("slices of two pictures in one packet")
        return pictures, errors

    def new_picture(self, header: SliceHeader) -> Picture:
        """An empty picture: nothing parsed, no energy, no references."""
        sps = header.sps
        rows = sps.frame_height_in_mbs >> header.field_pic_flag
        self.fit(sps.pic_width_in_mbs, rows)
        mbs = sps.pic_width_in_mbs * rows
        macroblocks = np.zeros((4, mbs), np.int32)
        macroblocks[3] = -1
        return Picture(
            sps=sps,
            headers=[],
            macroblocks=macroblocks,
            energy=np.zeros((24, 24, 32, 48)[sps.chroma_array_type] * mbs, np.float32),
            vectors=np.empty((2, 4 * rows + 1, 4 * sps.pic_width_in_mbs + 4), np.int32),
            references=np.full((2, mbs, 4), -1, np.int8),
            parity=header.parity,
        )

    def parse(self, packet: bytes) -> Picture | FieldPair | None:
        """Random access: the frame of one packet by itself; None: the packet has no slice that can be read.

        Everything is exact except direct vectors of B slices and what is predicted from them (see
        `PictureSequence`), and in fields which parity a vector refers to. Damage is told in `errors`, and what stands
        before it is there. Of fields in packets of their own give both, one behind the other: the second time the frame
        is whole.
        """
        pictures, errors = self.slices_of(packet)
        if not pictures:
            self._first_field = None
            return None
        before = self._first_field if is_completed_by(self._first_field, pictures) else None
        parsed = []
        for slices in pictures:
            picture = self.new_picture(slices[0][0])
            for header, rbsp in slices:
                picture.vectors_exact &= header.slice_type != B and (header.slice_type == I or picture.parity is None)
                self.parse_slice(picture, header, rbsp)
            parsed.append(picture)
        frame, self._first_field = frame_of(parsed, errors, before)
        return frame

    def parse_slice(
        self,
        picture: Picture,
        header: SliceHeader,
        rbsp: bytes,
        colocated: Any = None,
        long_term: bool = False,
    ) -> None:
        """slice_data() of one slice into `picture`; `colocated`: `colocated.Colocated` of RefPicList1[0], with `self.k`
        filled for temporal direct prediction."""
        s = self.s
        first = picture.raster_of(header.first_mb_in_slice)
        if picture.macroblocks[3, first] >= 0:  # slices come in raster order: the one before ran on
            picture.errors.append("a slice starts inside the one before it")
            picture.forget(picture.behind(header.first_mb_in_slice))
        self._prepare(header)
        s[state.SLICE_NUMBER] = len(picture.headers)
        picture.headers.append(header)
        length = len(rbsp.rstrip(b"\x00"))
        data = np.frombuffer(bytearray(rbsp[:length] + PADDING), np.uint8)
        last = rbsp[length - 1] if length else 0
        s[BYTE_END] = length
        s[state.STOP_BIT] = 8 * length - 1 - ((last & -last).bit_length() - 1 if last else 0)
        s[state.BIT_POSITION] = header.slice_data_bit
        s[state.HAVE_COLOCATED] = colocated is not None
        s[state.COLOCATED_LONG_TERM] = long_term
        status = (self._of_pairs if picture.mbaff else self._of_frame_or_field)(picture, data, colocated or picture)
        if status:
            what = ("", "bad syntax", "data ran out", "no stop bit where the slice ends")[status]
            picture.errors.append(f"{what} at macroblock {s[state.MB_ADDR]}")
            at = int(s[state.MB_ADDR])
            if not picture.mbaff and at < picture.macroblocks.shape[1] and picture.macroblocks[3, at] < 0:
                picture.forget(np.array([at]))

    def _of_frame_or_field(self, picture: Picture, data: np.ndarray, colocated: Any) -> int:
        """`slice_data`, all prepared, or its sibling for 4:4:4 and lossless coding."""
        vectors, references, macroblocks = _flat(picture)
        if self.s[state.PLANES] == 1 and not self.s[state.LOSSLESS]:
            return int(
                parse_pictures(
                    *(self.s, self.c, data, self.n, self.t, picture.energy, self.g, self.q, self.k),
                    *(macroblocks, vectors, references, *_flat(colocated)),
                    *(self.w[None], *_NO_PACKETS),
                )
            )
        arguments = (
            *(self.s, self.c, data, self.n, self.t, self.w, macroblocks, picture.energy, vectors, self.g, self.q),
            *(references, *_flat(colocated), self.k),
        )
        self.s[state.OLD_X264] = 0
        status = slice_data_of_high_444(*arguments)
        if status and self.s[state.PLANES] == 3 and self.s[state.CABAC] and self.s[state.TRANSFORM_8X8_MODE]:
            for old in (1, 0):  # by the rule of an old x264; where that does not end on the stop bit either, as before
                picture.forget(picture.behind(int(self.s[state.FIRST_MB])))
                self.s[state.OLD_X264] = old
                if not (status := slice_data_of_high_444(*arguments)):
                    break
        return status

    def _of_pairs(self, picture: Picture, data: np.ndarray, colocated: Any) -> int:
        """`slice_data_of_pairs`, all prepared."""
        self.s[state.COLOCATED_PARITY] = colocated.parity or 0
        if self._pairs is None or self._pairs.macroblocks != picture.macroblocks.shape[1]:
            self._pairs = WorkAreas(picture.macroblocks.shape[1])
        areas, (pv, pr, pm) = self._pairs, _flat(picture)
        slice_data_of_pairs(
            *(self.s, self.c, data, self.w, *areas.of_one, pm, picture.energy, pv, pr, *areas.of_frame),
            *(*_flat(colocated), self.k),
        )
        return int(self.s[state.STATUS])

    def fit(self, width: int, height: int) -> None:
        """Work areas for this picture size, in macroblocks; those of frames and of fields are both kept."""
        if (width, height) == self._size:
            return
        self._size = width, height
        stride = 4 * width + 4
        list_stride = (4 * height + 1) * stride
        if self._size not in self._areas:
            if len(self._areas) > 1:
                self._areas.clear()
            self._areas[self._size] = (
                np.zeros(state.N_TOP + state.N_COLUMN * width, np.uint8),
                np.zeros(state.T_TOP + 2 * width, np.int32),
                np.full(2 * list_stride, -2, np.int8),
                np.zeros(2 * list_stride, np.uint16),
            )
        self.n, self.t, self.g, self.q = self._areas[self._size]
        s = self.s
        s[state.PIC_WIDTH], s[state.PIC_HEIGHT], s[state.PIC_MBS] = width, height, width * height
        s[state.STRIDE], s[state.LIST_STRIDE] = stride, list_stride
        s[state.DIAGONAL_MASK], s[state.DIAGONAL] = 0, -stride - 1

    def _prepare(self, header: SliceHeader) -> None:
        """What the kernels ask of parameter sets and slice header."""
        s, sps, pps = self.s, header.sps, header.pps
        self.fit(sps.pic_width_in_mbs, sps.frame_height_in_mbs >> header.field_pic_flag)
        if self._prepared is None or self._prepared[0] is not sps or self._prepared[1] is not pps:
            self.prepare_sets(sps, pps)
        s[state.FIELD] = header.field_pic_flag
        s[state.SLICE_TYPE] = header.slice_type
        s[state.FIRST_MB] = header.first_mb_in_slice
        s[state.NUM_REF_L0], s[state.NUM_REF_L1] = header.num_ref_idx_active
        s[state.DIRECT_SPATIAL] = header.direct_spatial_mv_pred_flag
        s[state.CABAC_INIT_IDC] = 1 + header.cabac_init_idc if header.slice_type != 2 else 0
        s[state.SLICE_QP] = header.slice_qp

    def prepare_sets(self, sps: SPS, pps: PPS) -> None:
        """What the kernels ask of parameter sets."""
        s = self.s
        self._prepared = sps, pps
        self.w = self.weights_of(pps)
        whole = sps.chroma_array_type == 3
        s[state.CHROMA], s[state.PLANES] = (0, 3) if whole else (sps.chroma_array_type, 1)
        s[state.CABAC] = pps.entropy_coding_mode_flag
        s[state.DIRECT_8X8_INFERENCE] = sps.direct_8x8_inference_flag
        s[state.TRANSFORM_8X8_MODE] = pps.transform_8x8_mode_flag
        chroma_samples = (0, 128, 256, 512)[sps.chroma_array_type]
        s[state.PCM_BITS] = 256 * sps.bit_depth_luma + chroma_samples * sps.bit_depth_chroma
        s[state.LOSSLESS] = sps.qpprime_y_zero_transform_bypass_flag
        s[state.CONSTRAINED_INTRA] = pps.constrained_intra_pred_flag
        s[state.QP_BD_OFFSET] = 6 * (sps.bit_depth_luma - 8)
        s[state.QP_BD_OFFSET_C] = 6 * (sps.bit_depth_chroma - 8)
        s[state.CB_OFFSET] = pps.chroma_qp_index_offset
        s[state.CR_OFFSET] = pps.second_chroma_qp_index_offset

    def forget_sets(self) -> None:
        """Another one has prepared something else."""
        self._prepared = None

    def weights_of(self, pps: PPS) -> np.ndarray:
        """`energy_weights` of its scaling lists."""
        if pps.scaling_lists not in self._weights:
            self._weights[pps.scaling_lists] = energy_weights(pps.scaling_lists)
        return self._weights[pps.scaling_lists]


def _flat(picture: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vectors, references and macroblocks of a `Picture` or a `Colocated`."""
    return picture.vectors.reshape(-1), picture.references.reshape(-1), picture.macroblocks.reshape(-1)


__all__ = ["EndOfData", "Picture", "PictureParser"]
