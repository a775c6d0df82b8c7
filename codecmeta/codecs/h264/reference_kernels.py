"""Clauses 8.2.1, 8.2.4 and 8.2.5 once more, for the frames of a run: `DecodedPictureBuffer` as words.

What a run leaves to that class: fields, gaps in frame_num, order counts of type 1, and operations that reset them.
"""

from __future__ import annotations

from codecmeta.codecs.h264.run_state import (
    BOTTOM,
    COUNT,
    H_BOTTOM,
    H_FRAME_NUM,
    H_IDR,
    H_LONG_TERM,
    H_LSB,
    H_OPERATION,
    H_OPERATIONS,
    H_REFERENCE,
    H_REFS_L0,
    H_STEP,
    H_STEPS_L0,
    H_TYPE,
    IDENTITY,
    KEYS,
    LIST_SIZE,
    LISTS,
    LOG2_FRAME_NUM,
    LOG2_ORDER_LSB,
    LONG,
    MAX_REFERENCES,
    MOST_REFERENCES,
    MSB,
    OFFSET,
    ORDER,
    ORDER_TYPE,
    PREVIOUS_FRAME_NUM,
    PREVIOUS_LSB,
    PREVIOUS_MSB,
    PREVIOUS_OFFSET,
    PREVIOUS_REFERENCE,
    R_BOTTOM,
    R_FRAME_NUM,
    R_IDENTITY,
    R_LONG_INDEX,
    R_ORDER,
    R_ROW,
    R_SIZE,
    R_SLOT,
    R_SOUND,
    R_TOP,
    R_USE,
    R_WRAP,
    REFERENCES,
    ROW,
    SHORT,
    SLOT,
    TOP,
)
from codecmeta.codecs.h264.slice_header import B
from codecmeta.codecs.syntax.jit import I64, I64P, VOID, kernel

_PAST, _FUTURE, _BY_NUMBER, _LONG = range(4)


@kernel(I64(I64P, I64P, I64))
def begin_picture(b, h, slots):
    """8.2.1 of the picture with this first slice header, and its row among `slots` -> whether it is one for a run."""
    frame_num, max_frame_num = h[H_FRAME_NUM], I64(1) << b[LOG2_FRAME_NUM]
    if not h[H_IDR]:
        previous = b[PREVIOUS_REFERENCE]
        if frame_num != previous and frame_num != (previous + 1) & (max_frame_num - 1):
            return I64(0)
    if b[ORDER_TYPE] == 0:
        half, lsb = I64(1) << (b[LOG2_ORDER_LSB] - 1), h[H_LSB]
        msb = I64(0) if h[H_IDR] else b[PREVIOUS_MSB]
        before = I64(0) if h[H_IDR] else b[PREVIOUS_LSB]
        if lsb < before and before - lsb >= half:
            msb += 2 * half
        elif lsb > before and lsb - before > half:
            msb -= 2 * half
        b[MSB], b[TOP], b[BOTTOM] = msb, msb + lsb, msb + lsb + h[H_BOTTOM]
    else:
        b[OFFSET] = 0
        if not h[H_IDR]:
            b[OFFSET] = b[PREVIOUS_OFFSET] + (max_frame_num if b[PREVIOUS_FRAME_NUM] > frame_num else 0)
        order = I64(0) if h[H_IDR] else 2 * (b[OFFSET] + frame_num) - (h[H_REFERENCE] == 0)
        b[TOP], b[BOTTOM] = order, order
    b[ORDER] = min(b[TOP], b[BOTTOM])
    taken = I64(0)
    for i in range(b[COUNT]):
        at = REFERENCES + R_SIZE * i
        b[at + R_WRAP] = b[at + R_FRAME_NUM] - (max_frame_num if b[at + R_FRAME_NUM] > frame_num else 0)
        if b[at + R_SLOT] >= 0:
            taken |= I64(1) << b[at + R_SLOT]
    b[SLOT] = 0
    while taken >> b[SLOT] & 1:
        b[SLOT] += 1
    return I64(b[SLOT] < slots and b[COUNT] < MOST_REFERENCES)


@kernel(I64(I64P, I64, I64, I64))
def append_sorted(b, first, count, kind):
    """The references of a kind behind the `count` entries of the list at `first`, in the order of the initialisation
    process (8.2.4.2.1, 8.2.4.2.3) -> entries then."""
    start = count
    for i in range(b[COUNT]):
        at = REFERENCES + R_SIZE * i
        if (b[at + R_USE] == LONG) != (kind == _LONG):
            continue
        if kind == _LONG:
            key = b[at + R_LONG_INDEX]
        elif kind == _BY_NUMBER:
            key = -b[at + R_WRAP]
        else:
            key = b[at + R_ORDER] - b[ORDER]
            if b[at + R_IDENTITY] < 0 or key == 0 or (key > 0) != (kind == _FUTURE):
                continue
            key = abs(key)
        to = count
        while to > start and b[KEYS + to - 1] > key:
            b[KEYS + to], b[first + to] = b[KEYS + to - 1], b[first + to - 1]
            to -= 1
        b[KEYS + to], b[first + to] = key, i
        count += 1
    return count


@kernel(VOID(I64P, I64P, I64))
def modify_list(b, h, list_):
    """8.2.4.3, of the list with as many entries as are active."""
    first, size = LISTS + LIST_SIZE * list_, h[H_REFS_L0 + list_]
    max_pic_num = I64(1) << b[LOG2_FRAME_NUM]
    predicted = h[H_FRAME_NUM]
    for step in range(min(h[H_STEPS_L0 + list_], size)):
        idc, operand = h[H_STEP + 132 * list_ + 2 * step], h[H_STEP + 132 * list_ + 2 * step + 1]
        wanted = operand
        if idc < 2:
            difference = operand + 1
            predicted = (predicted - difference if idc == 0 else predicted + difference) & (max_pic_num - 1)
            wanted = predicted - max_pic_num if predicted > h[H_FRAME_NUM] else predicted
        chosen = I64(-1)
        for i in range(b[COUNT]):
            at = REFERENCES + R_SIZE * i
            use, number = (SHORT, b[at + R_WRAP]) if idc < 2 else (LONG, b[at + R_LONG_INDEX])
            if b[at + R_USE] == use and number == wanted:
                chosen = I64(i)
                break
        for i in range(size, step, -1):
            b[first + i] = b[first + i - 1]
        b[first + step] = chosen
        to = step + 1
        for i in range(step + 1, size + 1):
            if b[first + i] < 0 or b[first + i] != chosen:
                b[first + to] = b[first + i]
                to += 1
        for i in range(to, size):
            b[first + i] = -1


@kernel(VOID(I64P, I64P))
def reference_lists(b, h):
    """8.2.4: RefPicList0 and RefPicList1 of the slice with this header."""
    both = h[H_TYPE] == B
    for list_ in range(2 if both else 1):
        first = I64(LISTS + LIST_SIZE * list_)
        if both:
            count = append_sorted(b, first, 0, _FUTURE if list_ else _PAST)
            count = append_sorted(b, first, count, _PAST if list_ else _FUTURE)
        else:
            count = append_sorted(b, first, 0, _BY_NUMBER)
        count = append_sorted(b, first, count, _LONG)
        if list_ and count > 1:
            alike = I64(1)
            for i in range(count):
                alike &= b[first + i] == b[LISTS + i]
            if alike:
                b[first], b[first + 1] = b[first + 1], b[first]
        for i in range(count, LIST_SIZE):
            b[first + i] = -1
    for list_ in range(2 if both else 1):
        modify_list(b, h, list_)


@kernel(VOID(I64P, I64, I64))
def free_long_term(b, long_term_frame_idx, keep):
    """No frame but the one at `keep` has this LongTermFrameIdx any more."""
    for i in range(b[COUNT]):
        at = REFERENCES + R_SIZE * i
        if b[at + R_USE] == LONG and b[at + R_LONG_INDEX] == long_term_frame_idx and i != keep:
            b[at + R_USE] = 0


@kernel(VOID(I64P, I64P))
def operate(b, h):
    """8.2.5.4 of frames, without operation 5; of the current picture, which is not among the others yet, see
    `end_picture`."""
    for number in range(h[H_OPERATIONS]):
        operation, first, second = (
            h[H_OPERATION + 3 * number],
            h[H_OPERATION + 3 * number + 1],
            h[H_OPERATION + 3 * number + 2],
        )
        if operation == 1 or operation == 3:
            for i in range(b[COUNT]):
                at = REFERENCES + R_SIZE * i
                if b[at + R_USE] == SHORT and b[at + R_WRAP] == h[H_FRAME_NUM] - first - 1:
                    b[at + R_USE] = 0
                    if operation == 3:
                        free_long_term(b, second, i)
                        b[at + R_USE], b[at + R_LONG_INDEX] = LONG, second
                    break
        elif operation == 2 or operation == 6:
            free_long_term(b, first, -1)
        elif operation == 4:
            for i in range(b[COUNT]):
                at = REFERENCES + R_SIZE * i
                if b[at + R_USE] == LONG and b[at + R_LONG_INDEX] >= first:
                    b[at + R_USE] = 0


@kernel(VOID(I64P, I64P))
def mark(b, h):
    """8.2.5.3: the oldest short-term frame makes room; or 8.2.5.4."""
    if h[H_OPERATIONS] >= 0:
        operate(b, h)
    elif b[COUNT] >= max(b[MAX_REFERENCES], 1):
        oldest = I64(-1)
        for i in range(b[COUNT]):
            at = REFERENCES + R_SIZE * i
            if b[at + R_USE] == SHORT and (oldest < 0 or b[at + R_WRAP] < b[oldest + R_WRAP]):
                oldest = at
        if oldest >= 0:
            b[oldest + R_USE] = 0
    kept = I64(0)
    for i in range(b[COUNT]):
        at, to = REFERENCES + R_SIZE * i, REFERENCES + R_SIZE * kept
        if b[at + R_USE]:
            for word in range(R_SIZE):
                b[to + word] = b[at + word]
            kept += 1
    b[COUNT] = kept


@kernel(VOID(I64P, I64P, I64))
def end_picture(b, h, sound):
    """8.2.5 behind the picture with this first slice header. sound: nothing in it is an estimate."""
    b[IDENTITY] += 1
    if h[H_REFERENCE]:
        b[PREVIOUS_REFERENCE] = h[H_FRAME_NUM]
        use, index = I64(SHORT), I64(-1)
        if h[H_IDR]:
            b[COUNT] = 0
            if h[H_LONG_TERM]:
                use, index = I64(LONG), I64(0)
        else:
            mark(b, h)
            for number in range(h[H_OPERATIONS]):
                if h[H_OPERATION + 3 * number] == 6:
                    use, index = I64(LONG), h[H_OPERATION + 3 * number + 1]
        at = REFERENCES + R_SIZE * b[COUNT]
        b[at + R_IDENTITY], b[at + R_FRAME_NUM], b[at + R_ORDER] = b[IDENTITY], h[H_FRAME_NUM], b[ORDER]
        b[at + R_TOP], b[at + R_BOTTOM], b[at + R_WRAP] = b[TOP], b[BOTTOM], 0
        b[at + R_USE], b[at + R_LONG_INDEX] = use, index
        b[at + R_SLOT], b[at + R_ROW], b[at + R_SOUND] = b[SLOT], b[ROW], sound
        b[COUNT] += 1
    b[PREVIOUS_FRAME_NUM] = h[H_FRAME_NUM]
    if b[ORDER_TYPE]:
        b[PREVIOUS_OFFSET] = b[OFFSET]
    elif h[H_REFERENCE]:
        b[PREVIOUS_MSB], b[PREVIOUS_LSB] = b[MSB], h[H_LSB]


@kernel(I64(I64P, I64, I64))
def dist_scale_factor(b, reference, last):
    """8.4.1.2.3 of a reference of list 0 with the first one of list 1, places in REFERENCES; 0 for a missing one."""
    if reference < 0:
        return I64(0)
    at, to = REFERENCES + R_SIZE * reference, REFERENCES + R_SIZE * last
    if b[at + R_USE] == LONG or last < 0 or b[to + R_ORDER] == b[at + R_ORDER]:
        return I64(256)
    tb = min(max(b[ORDER] - b[at + R_ORDER], -128), 127)
    td = min(max(b[to + R_ORDER] - b[at + R_ORDER], -128), 127)
    tx = (16384 + abs(td) // 2) // abs(td)  # the standard's / truncates towards zero
    return min(max((tb * (tx if td > 0 else -tx) + 32) >> 6, -1024), 1023)
