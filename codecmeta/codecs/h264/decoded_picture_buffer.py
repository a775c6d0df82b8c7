"""Clauses 8.2.1, 8.2.4 and 8.2.5: picture order count, reference picture lists, reference picture marking.

From slice headers alone; no sample and no macroblock is looked at.
"""

from __future__ import annotations

from collections.abc import Sequence

from codecmeta.codecs.h264.parameter_sets import SPS
from codecmeta.codecs.h264.references import FRAME, Entry, Field, Reference, alternating
from codecmeta.codecs.h264.slice_header import B, I, SliceHeader


class DecodedPictureBuffer:
    """Follows a stream picture by picture: `begin` a picture, ask for the lists of its slices, `end` it. A picture is a
    frame or a field; the second field of a frame begins with `second`, right behind the first one."""

    def __init__(self) -> None:
        self.references: list[Reference] = []
        self.identity = -1
        self.lost = False  # frames were lost on the way: until the next IDR picture the lists may be other ones
        self.previous: SliceHeader | None = None  # of a picture before, the last one that `begin` was told of
        self._previous_operation_5 = False
        self._previous_order_msb = self._previous_order_lsb = 0
        self._previous_frame_num_offset = self._previous_frame_num = 0
        self._previous_reference_frame_num = 0
        self._max_long_term_frame_idx = -1
        self.current = Reference(-1, 0, 0, [0, 0])
        self.order = 0  # PicOrderCnt(CurrPic)
        self._second = False

    @property
    def counters(self) -> tuple[int, ...]:
        """What the next picture needs of those before it, the references apart: prevPicOrderCntMsb, prevPicOrderCntLsb,
        prevFrameNumOffset, prevFrameNum, PrevRefFrameNum (8.2.1, 8.2.5.2)."""
        return (
            self._previous_order_msb,
            self._previous_order_lsb,
            self._previous_frame_num_offset,
            self._previous_frame_num,
            self._previous_reference_frame_num,
        )

    @counters.setter
    def counters(self, values: Sequence[int]) -> None:
        self._previous_operation_5 = False
        self._previous_order_msb, self._previous_order_lsb = values[:2]
        self._previous_frame_num_offset, self._previous_frame_num = values[2:4]
        self._previous_reference_frame_num = values[4]

    def begin(self, header: SliceHeader, second: bool = False) -> Reference:
        """8.2.1 and 8.2.5.2 for the picture whose first slice has this header."""
        self._second = second
        if second:
            return self._begin_second(header)
        sps = header.sps
        self.identity += 1
        if header.idr:
            self.lost = False
            self.references = []
        elif self.previous is not None:
            self._gaps(header)
        elif header.slice_type != I:  # an I picture opens a GoP: what stands before it is not referred to
            self.lost = True
        orders = self._picture_order_count(header)
        self.order = orders[header.bottom_field_flag] if header.field_pic_flag else min(orders)
        self.current = Reference(self.identity, header.frame_num, self.order, list(orders))
        max_frame_num = 1 << sps.log2_max_frame_num
        for reference in self.references:
            later = reference.frame_num > header.frame_num
            reference.frame_num_wrap = reference.frame_num - (max_frame_num if later else 0)
        return self.current

    def _begin_second(self, header: SliceHeader) -> Reference:
        """The second field of the frame that has just begun: of the first one, which may be among the references, no
        frame number is wrapped."""
        current, parity = self.current, header.parity or 0
        self.order = self._picture_order_count(header)[parity]
        current.orders[parity] = self.order
        current.frame_num_wrap = header.frame_num
        return current

    def lists(self, header: SliceHeader) -> tuple[Sequence[Entry], Sequence[Entry]]:
        """RefPicList0 and RefPicList1 of a slice of the current picture (8.2.4); None: no such reference."""
        if header.slice_type == I:
            return [], []
        if header.field_pic_flag:
            return self._lists_of_fields(header, int(header.bottom_field_flag))
        short = [r for r in self.references if r.short == FRAME]
        long = sorted((r for r in self.references if r.long == FRAME), key=_long_term)
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

    def _lists_of_fields(self, header: SliceHeader, parity: int) -> tuple[list[Field | None], list[Field | None]]:
        """8.2.4.2.2, 8.2.4.2.4: frames of which any field is marked, the first field of the current one among them."""
        short = [r for r in self.references if r.short]
        long = sorted((r for r in self.references if r.long), key=_long_term)
        if header.slice_type != B:
            by_age = [sorted(short, key=lambda r: -r.frame_num_wrap)]
        else:
            existing = [r for r in short if r.identity >= 0]
            past = sorted((r for r in existing if self._order_of(r) <= self.order), key=lambda r: -self._order_of(r))
            future = sorted((r for r in existing if self._order_of(r) > self.order), key=self._order_of)
            by_age = [past + future, future + past]
        initial = [alternating(frames, parity, False) + alternating(long, parity, True) for frames in by_age]
        if len(initial) > 1 and len(initial[1]) > 1 and initial[0] == initial[1]:
            initial[1] = [initial[1][1], initial[1][0], *initial[1][2:]]
        result: list[list[Field | None]] = []
        for list_, references in enumerate(initial):
            active = header.num_ref_idx_active[list_]
            padded = (list(references) + [None] * active)[:active]
            result.append(self._modified_fields(padded, header.ref_pic_list_modification[list_], header, parity))
        return result[0], result[1] if len(result) > 1 else []

    def _order_of(self, reference: Reference) -> int:
        """PicOrderCnt of an entry of refFrameList0ShortTerm: of the current frame the first field alone counts."""
        return reference.order if reference is self.current else min(reference.orders)

    def end(self, header: SliceHeader) -> None:
        """8.2.5: mark the current picture and those before it."""
        if header.field_pic_flag:
            self._end_field(header, int(header.bottom_field_flag))
            return
        current, sps = self.current, header.sps
        self.previous = header
        self._previous_operation_5 = False
        if header.nal_ref_idc:
            self._previous_reference_frame_num = header.frame_num
            if header.idr:
                if header.long_term_reference_flag:
                    current.short, current.long, current.long_term_frame_idx = 0, FRAME, 0
                    self._max_long_term_frame_idx = 0
                else:
                    self._max_long_term_frame_idx = -1
            elif header.memory_management_control_operations is None:
                self._slide(sps)
            else:
                self._operate(header)
            self.references.append(current)
        self._remember_order(header)

    def _end_field(self, header: SliceHeader, parity: int) -> None:
        """8.2.5 for a field. The second one of a reference frame joins the first one in its place."""
        current, bit = self.current, 1 << parity
        second = self._second
        if not second:
            current.short = current.long = 0
        self.previous = header
        self._previous_operation_5 = False
        if header.nal_ref_idc:
            self._previous_reference_frame_num = header.frame_num
            current.short |= bit
            if header.idr:
                if header.long_term_reference_flag:
                    current.short, current.long, current.long_term_frame_idx = 0, bit, 0
                    self._max_long_term_frame_idx = 0
                else:
                    self._max_long_term_frame_idx = -1
            elif header.memory_management_control_operations is not None:
                self._operate(header)
            elif not (second and current.short & ~bit):
                self._slide(header.sps)
            if not any(r is current for r in self.references):
                self.references.append(current)
        self._remember_order(header)
        current.order = self.order if not second else min(current.orders)

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
        top = expected + header.delta_pic_order_cnt[0]  # of a bottom field delta_pic_order_cnt[1] is not sent
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
                top = 0 if header.bottom_field_flag else self.current.orders[0]
                self._previous_order_msb, self._previous_order_lsb = 0, top
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
            self.references.append(Reference(-1, frame_num, 0, [0, 0]))
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

    def _modified_fields(
        self, initial: list[Field | None], steps: tuple[tuple[int, int], ...], header: SliceHeader, parity: int
    ) -> list[Field | None]:
        """8.2.4.3 where the current picture is a field: each field has a number, odd those of the same parity."""
        result, size = list(initial), len(initial)
        max_pic_num = 2 << header.sps.log2_max_frame_num
        current = predicted = 2 * header.frame_num + 1
        for at, (idc, operand) in enumerate(steps):
            if at >= size:
                break
            if idc < 2:
                difference = operand + 1
                predicted = (predicted - difference if idc == 0 else predicted + difference) % max_pic_num
                chosen = self._short_field(predicted - max_pic_num if predicted > current else predicted, parity)
            else:
                chosen = self._long_field(operand, parity)
            result.insert(at, chosen)
            kept = [r for i, r in enumerate(result) if i <= at or r is None or r != chosen]
            result = (kept + [None] * size)[:size]
        return result

    def _short_field(self, pic_num: int, parity: int) -> Field | None:
        """The short-term reference field of this picNum, seen from a field of `parity` (8.2.4.1)."""
        of = parity if pic_num % 2 else 1 - parity
        found = (r for r in self.references if r.short >> of & 1 and r.frame_num_wrap == pic_num >> 1)
        return next((Field(r, of) for r in found), None)

    def _long_field(self, long_term_pic_num: int, parity: int) -> Field | None:
        """The long-term reference field of this LongTermPicNum, seen from a field of `parity`."""
        of = parity if long_term_pic_num % 2 else 1 - parity
        found = (r for r in self.references if r.long >> of & 1 and r.long_term_frame_idx == long_term_pic_num >> 1)
        return next((Field(r, of) for r in found), None)

    def _slide(self, sps: SPS) -> None:
        """8.2.5.3: the oldest short-term frame makes room."""
        self.references = [r for r in self.references if r.used]
        if len(self.references) >= max(sps.max_num_ref_frames, 1):
            short = [r for r in self.references if r.short and r is not self.current]
            if short:
                oldest = min(short, key=lambda r: r.frame_num_wrap)
                oldest.short = 0
                if not oldest.long:
                    self.references.remove(oldest)

    def _operate(self, header: SliceHeader) -> None:
        """8.2.5.4: memory management control operations."""
        current, parity = self.current, header.parity
        own = FRAME if parity is None else 1 << parity
        for operation, first, second in header.memory_management_control_operations or ():
            if operation in (1, 3):
                chosen, fields = self._short_of(header, first + 1)
                if chosen is None:
                    continue
                chosen.short &= ~fields
                if operation == 3:
                    self._free(second, keep=chosen)
                    chosen.long |= fields
                    chosen.long_term_frame_idx = second
            elif operation == 2:
                if parity is None:
                    self._free(first)
                elif (field := self._long_field(first, parity)) is not None:
                    field.frame.long &= ~(1 << field.parity)
            elif operation == 4:
                self._max_long_term_frame_idx = first - 1
                for reference in self.references:
                    if reference.long_term_frame_idx >= first:
                        reference.long = 0
            elif operation == 5:
                for reference in self.references:
                    reference.unmark(FRAME)
                self._previous_operation_5 = True
                self._previous_reference_frame_num = 0
            elif operation == 6:
                self._free(first, keep=current)
                current.short &= ~own
                current.long |= own
                current.long_term_frame_idx = first
        self.references = [r for r in self.references if r.used]
        if self._previous_operation_5:  # 8.2.1: after it the picture counts from zero
            earliest = self.order
            current.orders = [order - earliest for order in current.orders]
            current.order = self.order = 0
            current.frame_num = 0

    def _short_of(self, header: SliceHeader, difference: int) -> tuple[Reference | None, int]:
        """The short-term reference by difference_of_pic_nums (8-39), and which of its fields are meant."""
        if header.parity is not None:
            field = self._short_field(2 * header.frame_num + 1 - difference, header.parity)
            return (None, 0) if field is None else (field.frame, 1 << field.parity)
        pic_num = header.frame_num - difference
        return next((r for r in self.references if r.short_term and r.frame_num_wrap == pic_num), None), FRAME

    def _free(self, long_term_frame_idx: int, keep: Reference | None = None) -> None:
        """No frame but `keep` has this LongTermFrameIdx any more."""
        for reference in self.references:
            if reference.long_term_frame_idx == long_term_frame_idx and reference is not keep:
                reference.long = 0


def _long_term(reference: Reference) -> int:
    return reference.long_term_frame_idx
