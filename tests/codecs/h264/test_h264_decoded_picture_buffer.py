"""Order, lists and marking of pictures, against sequences worked by hand from ITU-T H.264 8.2.1, 8.2.4 and 8.2.5."""

from __future__ import annotations

from dataclasses import fields

import pytest

from codecmeta.codecs.h264.decoded_picture_buffer import DecodedPictureBuffer
from codecmeta.codecs.h264.parameter_sets import PPS, SPS
from codecmeta.codecs.h264.slice_header import B, I, P, SliceHeader


def sps(**more):
    """MaxFrameNum 16, MaxPicOrderCntLsb 16, four reference frames; what the buffer does not look at is 0."""
    given = {"log2_max_frame_num": 4, "log2_max_pic_order_cnt_lsb": 4, "max_num_ref_frames": 4}
    given |= {"offset_for_ref_frame": (), "frame_mbs_only_flag": True} | more
    return SPS(**{one.name: given.get(one.name, 0) for one in fields(SPS)})


def header(of, frame_num, lsb=0, kind=P, idr=False, reference=True, **more):
    given = {
        "nal_unit_type": 5 if idr else 1, "nal_ref_idc": int(reference), "slice_type": kind, "sps": of,
        "pps": PPS(**{one.name: 0 for one in fields(PPS)}), "frame_num": frame_num, "pic_order_cnt_lsb": lsb,
        "delta_pic_order_cnt": (0, 0), "num_ref_idx_active": (4, 4), "ref_pic_list_modification": ((), ()),
        "memory_management_control_operations": None,
    } | more  # fmt: skip
    return SliceHeader(**{one.name: given.get(one.name, 0) for one in fields(SliceHeader)})


def orders(headers):
    """PicOrderCnt of each picture."""
    buffer, found = DecodedPictureBuffer(), []
    for one in headers:
        found.append(buffer.begin(one).order)
        buffer.end(one)
    return found


def after(headers):
    buffer = DecodedPictureBuffer()
    for one in headers:
        buffer.begin(one)
        buffer.end(one)
    return buffer


def lists(headers, last):
    """Both lists of `last` after the other pictures, by number in decoding order; what is not there is left out."""
    buffer = after(headers)
    buffer.begin(last)
    return [[one.identity for one in list_ if one is not None] for list_ in buffer.lists(last)]


def run(of, frame_nums):
    """An IDR picture and reference P pictures."""
    return [header(of, n, 2 * n % 16, I if at == 0 else P, idr=at == 0) for at, n in enumerate(frame_nums)]


def test_order_type_0_takes_the_nearest_of_the_periods_of_the_lsb():
    of = sps()
    sequence = [
        header(of, 0, 0, I, idr=True),
        header(of, 1, 8),  # not more than half a period above 0: the same period
        header(of, 2, 4, B, reference=False),
        header(of, 2, 0),  # half a period below 8: the next one, 16
        header(of, 3, 12, B, reference=False),  # more than half above 0 of 16..31: the one before, 12
        header(of, 3, 8, delta_pic_order_cnt_bottom=-3),  # top 24, bottom 21
        header(of, 0, 6, I, idr=True),  # starts anew
    ]
    assert orders(sequence) == [0, 8, 4, 16, 12, 21, 6]


def test_order_type_1_counts_the_offsets_of_the_cycle():
    of = sps(
        pic_order_cnt_type=1,
        offset_for_ref_frame=(4, 6),
        offset_for_non_ref_pic=-2,
        offset_for_top_to_bottom_field=1,
    )
    sequence = [
        header(of, 0, kind=I, idr=True),  # 0
        header(of, 1),  # the first offset
        header(of, 2, kind=B, reference=False),  # that of frame 1, and -2
        header(of, 2),  # 4 + 6
        header(of, 3, delta_pic_order_cnt=(3, 0)),  # 10 + 4, and 3; the bottom field one later
        header(of, 4, delta_pic_order_cnt=(0, -5)),  # top 20, bottom 20 + 1 - 5
        *(header(of, n) for n in range(5, 16)),
        header(of, 0),  # frame_num went round: 16 frames are 8 cycles of 10
    ]
    found = orders(sequence)
    assert found[:6] == [0, 4, 2, 10, 17, 16] and found[-2:] == [10 * 7 + 4, 80]


def test_order_type_1_without_a_cycle_is_what_the_slices_say():
    of = sps(pic_order_cnt_type=1, offset_for_non_ref_pic=-2)
    sequence = [header(of, 0, kind=I, idr=True), header(of, 1, delta_pic_order_cnt=(7, 0))]
    sequence.append(header(of, 2, kind=B, reference=False, delta_pic_order_cnt=(5, 0)))
    assert orders(sequence) == [0, 7, 3]


def test_order_type_2_is_decoding_order():
    of = sps(pic_order_cnt_type=2)
    sequence = [header(of, 0, kind=I, idr=True), header(of, 1), header(of, 2, reference=False)]
    sequence += [header(of, n % 16) for n in range(2, 18)]
    assert orders(sequence) == [0, 2, 3, *range(4, 36, 2)]


def test_operation_5_counts_anew_in_every_type():
    forget = {"memory_management_control_operations": ((5, 0, 0),)}
    of = sps()
    sequence = [header(of, 0, 0, I, idr=True), header(of, 1, 8), header(of, 2, 0)]
    # top 24, bottom 21: after it the picture itself has top 3, bottom 0, and the next period is counted from 3
    sequence += [header(of, 3, 8, delta_pic_order_cnt_bottom=-3, **forget), header(of, 1, 11), header(of, 2, 4)]
    assert orders(sequence) == [0, 8, 16, 21, 11, 4]
    buffer = after(sequence[:4])
    assert [(one.order, one.orders[0], one.frame_num) for one in buffer.references] == [(0, 3, 0)]
    of = sps(pic_order_cnt_type=2)
    sequence = [*(header(of, n, kind=P if n else I, idr=n == 0) for n in range(16)), header(of, 0, **forget)]
    assert orders([*sequence, header(of, 1)])[-3:] == [30, 32, 2]
    of = sps(pic_order_cnt_type=1, offset_for_ref_frame=(4, 6))
    sequence = [*(header(of, n, kind=P if n else I, idr=n == 0) for n in range(16)), header(of, 0, **forget)]
    assert orders([*sequence, header(of, 1)])[-2:] == [80, 4]


def test_the_window_slides_over_the_oldest_frame_also_where_frame_num_goes_round():
    assert lists(run(sps(max_num_ref_frames=2), [0, 1, 2]), header(sps(), 3))[0] == [2, 1]
    of = sps(max_num_ref_frames=3)
    # frames 14, 15 and 0 are left when 1 comes; after it 14 goes, though 0 is the smallest number
    assert lists(run(of, range(16)) + [header(of, 0)], header(of, 1))[0] == [16, 15, 14]
    assert lists(run(of, range(16)) + [header(of, 0), header(of, 1)], header(of, 2))[0] == [17, 16, 15]


def test_the_window_does_not_slide_over_long_term_frames():
    of = sps(max_num_ref_frames=2)
    sequence = [header(of, 0, 0, I, idr=True, long_term_reference_flag=1), header(of, 1, 2), header(of, 2, 4)]
    assert lists(sequence, header(of, 3, 6))[0] == [2, 0]


def test_what_is_not_for_reference_enters_no_list():
    of = sps()
    sequence = [*run(of, [0, 1]), header(of, 2, 3, B, reference=False)]
    assert lists(sequence, header(of, 2, 4))[0] == [1, 0]
    assert lists(sequence, header(of, 2, 4, I)) == [[], []]


@pytest.mark.parametrize(
    "operations, want",
    [
        ([((1, 0, 0),)], [3, 1, 0]),  # picNumX = 3 - 1: picture 2 goes
        ([((1, 2, 0),)], [3, 2, 1]),  # picNumX = 3 - 3: picture 0
        ([((4, 1, 0), (3, 1, 0))], [3, 2, 0, 1]),  # picture 1 becomes long-term frame 0: behind the short-term ones
        ([((4, 2, 0), (3, 1, 1), (3, 2, 0))], [3, 2, 0, 1]),  # 1 has LongTermFrameIdx 1, 0 has 0: by that number
        ([((4, 1, 0), (3, 1, 0), (3, 2, 0))], [3, 2, 0]),  # frame 0 is given to picture 0: 1 has none any more
        ([((4, 1, 0), (6, 0, 0))], [2, 1, 0, 3]),  # the picture itself is long-term
        ([((4, 1, 0), (3, 1, 0)), ((2, 0, 0),)], [4, 3, 2, 0]),  # long-term picture 0 goes
        ([((4, 2, 0), (3, 1, 1), (3, 2, 0)), ((4, 1, 0),)], [4, 3, 2, 0]),  # none above index 0: picture 1 goes
        ([((4, 2, 0), (3, 1, 1), (3, 2, 0)), ((4, 0, 0),)], [4, 3, 2]),  # no long-term frame at all
        ([((5, 0, 0),)], [3]),  # everything before it goes
    ],
)
def test_memory_management_control_operations(operations, want):
    of = sps(max_num_ref_frames=6)
    sequence = run(of, [0, 1, 2])
    for at, one in enumerate(operations):
        sequence.append(header(of, 3 + at, 2 * (3 + at), memory_management_control_operations=one))
    frame_num = 1 if operations[-1][0][0] == 5 else 3 + len(operations)
    assert lists(sequence, header(of, frame_num, 14, num_ref_idx_active=(6, 6)))[0] == want


def test_lists_of_b_pictures_go_by_order_from_the_picture_outwards():
    of = sps(log2_max_pic_order_cnt_lsb=8)
    sequence = [header(of, 0, 0, I, idr=True), header(of, 1, 8), header(of, 2, 16)]
    b = {"kind": B, "reference": False}
    assert lists(sequence, header(of, 3, 4, **b)) == [[0, 1, 2], [1, 2, 0]]
    assert lists(sequence, header(of, 3, 12, **b)) == [[1, 0, 2], [2, 1, 0]]
    assert lists(sequence, header(of, 3, 20, **b)) == [[2, 1, 0], [1, 2, 0]]  # equal lists: the second is swapped
    assert lists(sequence[:1], header(of, 1, 20, **b)) == [[0], [0]]  # of one entry there is nothing to swap


def test_lists_are_as_long_as_the_slice_says():
    of = sps()
    last = header(of, 3, 6, num_ref_idx_active=(2, 0))
    assert lists(run(of, [0, 1, 2]), last)[0] == [2, 1]
    buffer = after(run(of, [0]))
    only = header(of, 1, 2, num_ref_idx_active=(3, 0))
    buffer.begin(only)
    assert [one and one.identity for one in buffer.lists(only)[0]] == [0, None, None]


@pytest.mark.parametrize(
    "steps, want",
    [
        (((0, 1),), [1, 2, 0]),  # 3 - 2 = 1 to the front
        (((0, 1), (1, 0)), [1, 2, 0]),  # then 1 + 1 = 2
        (((0, 2), (1, 1)), [0, 2, 1]),  # 3 - 3 = 0, then 0 + 2
        (((0, 0), (0, 15)), [2, 2, 1]),  # once round MaxPicNum: the same picture a second time
    ],
)
def test_modified_lists(steps, want):
    of = sps()
    last = header(of, 3, 6, num_ref_idx_active=(3, 0), ref_pic_list_modification=(steps, ()))
    assert lists(run(of, [0, 1, 2]), last)[0] == want


def test_lists_are_modified_also_where_frame_num_goes_round():
    of = sps(max_num_ref_frames=3)
    last = header(of, 1, 2, num_ref_idx_active=(3, 0), ref_pic_list_modification=(((0, 1),), ()))
    # frames 14, 15 and 0 before frame 1: picNum 1 - 2 = -1 is frame 15
    assert lists([*run(of, range(16)), header(of, 0)], last)[0] == [15, 16, 14]


def test_a_long_term_frame_is_moved_by_its_number():
    of = sps()
    marks = ((4, 1, 0), (3, 1, 0))
    sequence = [*run(of, [0, 1, 2]), header(of, 3, 6, memory_management_control_operations=marks)]
    assert lists(sequence, header(of, 4, 8, ref_pic_list_modification=(((2, 0),), ())))[0] == [1, 3, 2, 0]


def test_frame_numbers_left_out_are_frames_that_do_not_exist():
    of = sps(max_num_ref_frames=3, gaps_in_frame_num_value_allowed_flag=True)
    buffer = after(run(of, [0]))
    third = header(of, 3, 6)
    buffer.begin(third)
    assert not buffer.lost and [one.frame_num for one in buffer.lists(third)[0] if one] == [2, 1, 0]
    assert [one.identity for one in buffer.lists(third)[0] if one] == [-1, -1, 0]
    buffer.end(third)
    assert sorted(one.frame_num for one in buffer.references) == [1, 2, 3]  # picture 0 slid out
    b = header(of, 4, 2, B, reference=False)
    buffer.begin(b)
    assert all(one is None or one.identity >= 0 for list_ in buffer.lists(b) for one in list_)


def test_without_leave_for_gaps_a_picture_was_lost_until_the_next_idr():
    of = sps()
    buffer = after([*run(of, [0]), header(of, 3, 6)])
    assert buffer.lost
    buffer.begin(header(of, 0, 0, I, idr=True))
    assert not buffer.lost and buffer.references == []
    middle = DecodedPictureBuffer()
    middle.begin(header(of, 5, 6))
    assert middle.lost, "a stream that starts in the middle of a GoP"


def both_fields(of, frame_num, *more, first=0):
    """Headers of both fields of a frame, the one of parity `first` sent first."""
    return [
        header(of, frame_num, 2 * frame_num + at, field_pic_flag=True, bottom_field_flag=bool(at ^ first), **one)
        for at, one in enumerate(more or ({}, {}))
    ]


def after_fields(frames):
    buffer = DecodedPictureBuffer()
    for frame in frames:
        for at, one in enumerate(frame):
            buffer.begin(one, second=at > 0)
            buffer.end(one)
    return buffer


def test_fields_alternate_in_the_list_of_a_field_and_its_own_frame_comes_first():
    """8.2.4.2.5: the same parity first, by turns; what one parity has more follows."""
    of = sps(frame_mbs_only_flag=False)
    buffer = after_fields(
        [
            both_fields(of, 0, dict(kind=I, idr=True), {}),
            both_fields(of, 1),
            both_fields(of, 2, {}, dict(reference=True)),
        ]
    )
    one, two = both_fields(of, 3, dict(num_ref_idx_active=(7, 0)), dict(num_ref_idx_active=(7, 0)))
    buffer.begin(one)
    assert [(r.identity, r.parity) for r in buffer.lists(one)[0] if r] == [
        (2, 0),
        (2, 1),
        (1, 0),
        (1, 1),
        (0, 0),
        (0, 1),
    ]
    buffer.end(one)
    buffer.begin(two, second=True)
    found = [(r.identity, r.parity) for r in buffer.lists(two)[0]]
    assert found == [(2, 1), (3, 0), (1, 1), (2, 0), (0, 1), (1, 0), (0, 0)]


def test_both_fields_of_a_frame_can_make_themselves_long_term_references():
    of = sps(frame_mbs_only_flag=False)
    itself = dict(memory_management_control_operations=((6, 0, 0),))
    buffer = after_fields(
        [both_fields(of, 0, dict(kind=I, idr=True), {}), both_fields(of, 1, itself, itself), both_fields(of, 2)]
    )
    assert [(r.identity, r.short, r.long) for r in buffer.references] == [(0, 3, 0), (1, 0, 3), (2, 3, 0)]
