"""Clauses 8.2.1, 8.2.4 and 8.2.5: picture order count, reference picture lists, reference picture marking.

Frames only. From slice headers alone; no sample and no macroblock is looked at.
"""

from __future__ import annotations

from dataclasses import dataclass

from codecmeta.codecs.h264.parameter_sets import SPS
from codecmeta.codecs.h264.slice_header import B, I, SliceHeader


@dataclass(eq=False)
class Reference:
    """A frame as the decoded picture buffer knows it. `identity` is its number in decoding order, -1: non-existing."""

    identity: int
    frame_num: int
    order: int  # PicOrderCnt of the frame
    top_order: int
    long_term_frame_idx: int | None = None  # a number: used for long-term reference
    short_term: bool = True
    frame_num_wrap: int = 0

    @property
    def used(self) -> bool:
        """Used for reference."""
        return self.short_term or self.long_term_frame_idx is not None


class DecodedPictureBuffer:
    """Follows a stream picture by picture: `begin` a picture, ask for the lists of its slices, `end` it."""

    def __init__(self) -> None:
        self.references: list[Reference] = []
        self.identity = -1
        self.lost = False  # frames were lost on the way: until the next IDR picture the lists may be other ones
        self._previous: SliceHeader | None = None  # of the previous picture
        self._previous_operation_5 = False
        self._previous_order_msb = self._previous_order_lsb = 0
        self._previous_frame_num_offset = self._previous_frame_num = 0
        self._previous_reference_frame_num = 0
        self._max_long_term_frame_idx = -1
        self.current = Reference(-1, 0, 0, 0)

    def begin(self, header: SliceHeader) -> Reference:
        """8.2.1 and 8.2.5.2 for the picture whose first slice has this header."""
        sps = header.sps
        self.identity += 1
        if header.idr:
            self.lost = False
            self.references = []
        elif self._previous is not None:
            self._gaps(header)
        elif header.slice_type != I:  # an I picture opens a GoP: what stands before it is not referred to
            self.lost = True
        top, bottom = self._picture_order_count(header)
        self.current = Reference(self.identity, header.frame_num, min(top, bottom), top)
        max_frame_num = 1 << sps.log2_max_frame_num
        for reference in self.references:
            later = reference.frame_num > header.frame_num
            reference.frame_num_wrap = reference.frame_num - (max_frame_num if later else 0)
        return self.current

    def lists(self, header: SliceHeader) -> tuple[list[Reference | None], list[Reference | None]]:
        """RefPicList0 and RefPicList1 of a slice of the current picture (8.2.4); None: no such reference."""
        if header.slice_type == I:
            return [], []
        short = [r for r in self.references if r.short_term]
        long = sorted((r for r in self.references if r.long_term_frame_idx is not None), key=_long_term)
        if header.slice_type != B:
            initial = [sorted(short, key=lambda r: -r.frame_num_wrap) + long]
        else:
            now = self.current.order
            past = sorted((r for r in short if r.order < now and r.identity >= 0), key=lambda r: -r.order)
            future = sorted((r for r in short if r.order > now and r.identity >= 0), key=lambda r: r.order)
            initial = [past + future + long, future + past + long]
            if len(initial[1]) > 1 and initial[0] == initial[1]:
                initial[1] = [initial[1][1], initial[1][0], *initial[1][2:]]
        result: list[list[Reference | None]] = []
        for list_, references in enumerate(initial):
            active = header.num_ref_idx_active[list_]
            padded = (list(references) + [None] * active)[:active]
            result.append(self._modified(padded, header.ref_pic_list_modification[list_], header, short, long))
        return result[0], result[1] if len(result) > 1 else []

    def end(self, header: SliceHeader) -> None:
        """8.2.5: mark the current picture and those before it."""
        current, sps = self.current, header.sps
        self._previous = header
        self._previous_operation_5 = False
        if header.nal_ref_idc:
            self._previous_reference_frame_num = header.frame_num
            if header.idr:
                if header.long_term_reference_flag:
                    current.short_term, current.long_term_frame_idx = False, 0
                    self._max_long_term_frame_idx = 0
                else:
                    self._max_long_term_frame_idx = -1
            elif header.memory_management_control_operations is None:
                self._slide(sps)
            else:
                self._operate(header)
            self.references.append(current)
        self._remember_order(header)

    def _picture_order_count(self, header: SliceHeader) -> tuple[int, int]:
        """TopFieldOrderCnt, BottomFieldOrderCnt (8.2.1)."""
        kind = header.sps.pic_order_cnt_type
        if kind == 0:
            return self._order_type_0(header)
        return self._order_type_1(header) if kind == 1 else self._order_type_2(header)

    def _order_type_0(self, header: SliceHeader) -> tuple[int, int]:
        """8.2.1.1."""
        half = 1 << (header.sps.log2_max_pic_order_cnt_lsb - 1)
        if header.idr:
            self._previous_order_msb = self._previous_order_lsb = 0
        msb, lsb = self._previous_order_msb, header.pic_order_cnt_lsb
        if lsb < self._previous_order_lsb and self._previous_order_lsb - lsb >= half:
            msb += 2 * half
        elif lsb > self._previous_order_lsb and lsb - self._previous_order_lsb > half:
            msb -= 2 * half
        self._order_msb = msb
        return msb + lsb, msb + lsb + header.delta_pic_order_cnt_bottom

    def _frame_num_offset(self, header: SliceHeader) -> int:
        """FrameNumOffset (8-6), (8-11)."""
        if header.idr:
            return 0
        offset = 0 if self._previous_operation_5 else self._previous_frame_num_offset
        if self._previous_frame_num > header.frame_num:
            offset += 1 << header.sps.log2_max_frame_num
        return offset

    def _order_type_1(self, header: SliceHeader) -> tuple[int, int]:
        """8.2.1.2."""
        sps = header.sps
        self._offset = self._frame_num_offset(header)
        cycle = len(sps.offset_for_ref_frame)
        number = self._offset + header.frame_num if cycle else 0
        if header.nal_ref_idc == 0 and number > 0:
            number -= 1
        expected = 0
        if number > 0:
            count, inside = divmod(number - 1, cycle)
            expected = count * sum(sps.offset_for_ref_frame) + sum(sps.offset_for_ref_frame[: inside + 1])
        if header.nal_ref_idc == 0:
            expected += sps.offset_for_non_ref_pic
        top = expected + header.delta_pic_order_cnt[0]
        return top, top + sps.offset_for_top_to_bottom_field + header.delta_pic_order_cnt[1]

    def _order_type_2(self, header: SliceHeader) -> tuple[int, int]:
        """8.2.1.3: display order is decoding order."""
        self._offset = self._frame_num_offset(header)
        order = 2 * (self._offset + header.frame_num) - (header.nal_ref_idc == 0)
        return (0, 0) if header.idr else (order, order)

    def _remember_order(self, header: SliceHeader) -> None:
        """prevPicOrderCntMsb, prevPicOrderCntLsb, prevFrameNumOffset, prevFrameNum for the next picture."""
        self._previous_frame_num = 0 if self._previous_operation_5 else header.frame_num
        if header.sps.pic_order_cnt_type:
            self._previous_frame_num_offset = 0 if self._previous_operation_5 else self._offset
        elif header.nal_ref_idc:
            if self._previous_operation_5:
                self._previous_order_msb, self._previous_order_lsb = 0, self.current.top_order
            else:
                self._previous_order_msb, self._previous_order_lsb = self._order_msb, header.pic_order_cnt_lsb

    def _gaps(self, header: SliceHeader) -> None:
        """8.2.5.2: frame numbers that were left out are non-existing frames in the sliding window."""
        sps = header.sps
        max_frame_num = 1 << sps.log2_max_frame_num
        previous = 0 if self._previous_operation_5 else self._previous_reference_frame_num
        if header.frame_num == previous:
            return
        expected = (previous + 1) % max_frame_num
        missing = (header.frame_num - expected) % max_frame_num
        if missing and not sps.gaps_in_frame_num_value_allowed_flag:
            self.lost = True
        for step in range(max(0, missing - sps.max_num_ref_frames), missing):
            frame_num = (expected + step) % max_frame_num
            for reference in self.references:
                later = reference.frame_num > frame_num
                reference.frame_num_wrap = reference.frame_num - (max_frame_num if later else 0)
            self._slide(sps)
            self.references.append(Reference(-1, frame_num, 0, 0))
        if missing:
            self._previous_reference_frame_num = (header.frame_num - 1) % max_frame_num
            if sps.pic_order_cnt_type:
                if expected + missing - 1 >= max_frame_num:
                    self._previous_frame_num_offset += max_frame_num
                self._previous_frame_num = (header.frame_num - 1) % max_frame_num

    def _modified(
        self,
        initial: list[Reference | None],
        steps: tuple[tuple[int, int], ...],
        header: SliceHeader,
        short: list[Reference],
        long: list[Reference],
    ) -> list[Reference | None]:
        """8.2.4.3: the modification process of one list."""
        result, size = list(initial), len(initial)
        max_pic_num = 1 << header.sps.log2_max_frame_num
        predicted = header.frame_num
        for at, (idc, operand) in enumerate(steps):
            if at >= size:
                break
            chosen: Reference | None
            if idc < 2:
                difference = operand + 1
                predicted = (predicted - difference if idc == 0 else predicted + difference) % max_pic_num
                pic_num = predicted - max_pic_num if predicted > header.frame_num else predicted
                chosen = next((r for r in short if r.frame_num_wrap == pic_num), None)
            else:
                chosen = next((r for r in long if r.long_term_frame_idx == operand), None)
            result.insert(at, chosen)
            kept = [r for i, r in enumerate(result) if i <= at or r is None or r is not chosen]
            result = (kept + [None] * size)[:size]
        return result

    def _slide(self, sps: SPS) -> None:
        """8.2.5.3: the oldest short-term frame makes room."""
        self.references = [r for r in self.references if r.used]
        if len(self.references) >= max(sps.max_num_ref_frames, 1):
            short = [r for r in self.references if r.short_term]
            if short:
                oldest = min(short, key=lambda r: r.frame_num_wrap)
                oldest.short_term = False
                self.references.remove(oldest)

    def _operate(self, header: SliceHeader) -> None:
        """8.2.5.4: memory management control operations."""
        current = self.current
        for operation, first, second in header.memory_management_control_operations or ():
            if operation in (1, 3):
                pic_num = header.frame_num - (first + 1)
                chosen = next((r for r in self.references if r.short_term and r.frame_num_wrap == pic_num), None)
                if chosen is None:
                    continue
                chosen.short_term = False
                if operation == 3:
                    self._free(second, keep=chosen)
                    chosen.long_term_frame_idx = second
            elif operation == 2:
                self._free(first)
            elif operation == 4:
                self._max_long_term_frame_idx = first - 1
                for reference in self.references:
                    if reference.long_term_frame_idx is not None and reference.long_term_frame_idx >= first:
                        reference.long_term_frame_idx = None
            elif operation == 5:
                for reference in self.references:
                    reference.short_term, reference.long_term_frame_idx = False, None
                self._previous_operation_5 = True
                self._previous_reference_frame_num = 0
            elif operation == 6:
                self._free(first)
                current.short_term, current.long_term_frame_idx = False, first
        self.references = [r for r in self.references if r.used]
        if self._previous_operation_5:  # 8.2.1: after it the picture counts from zero
            current.top_order -= current.order
            current.order = 0
            current.frame_num = 0

    def _free(self, long_term_frame_idx: int, keep: Reference | None = None) -> None:
        """No frame has this LongTermFrameIdx any more."""
        for reference in self.references:
            if reference.long_term_frame_idx == long_term_frame_idx and reference is not keep:
                reference.long_term_frame_idx = None


def _long_term(reference: Reference) -> int:
    return reference.long_term_frame_idx if reference.long_term_frame_idx is not None else -1
