"""MBAFF frames: every picture against FFmpeg's single-thread export, its pixels, and itself."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

import codecmeta
from codecmeta.codecs.h264 import state
from codecmeta.codecs.h264.fields import FieldPair
from codecmeta.codecs.h264.motion_vectors import (
    DST_X,
    DST_Y,
    HEIGHT,
    MOTION_Y,
    REF_IDX,
    WIDTH,
    motion_rows,
    picture_rows,
)
from codecmeta.codecs.h264.nal import nal_units
from codecmeta.codecs.h264.picture import PictureParser
from codecmeta.codecs.h264.sequence import PictureSequence
from codecmeta.codecs.h264.stream import H264Picture
from tests.codecs.h264.test_h264_energy import _intra_16x16_predictions, check_intra_16x16, check_intra_chroma
from tests.codecs.h264.test_h264_exact import check_bits
from tests.codecs.h264.test_h264_fields import exported_rows as exported_rows_of_fields
from tests.codecs.h264.test_h264_fields import pair
from tests.codecs.h264.test_h264_written import decode
from tests.support.h264_encodes import encode, ffmpeg
from tests.support.h264_energy import TOLERANCE, _differences, _residual, inter_differences
from tests.support.h264_writer import B, I, P, Stream

X, B3 = "x264-params=interlaced=1", "bframes=3:b-adapt=0"
ENCODES = {
    "CABAC, B, 8x8": dict(options=f"{X}:8x8dct=1:{B3}:partitions=all:me=umh:subme=9"),
    "CAVLC, B, 8x8": dict(options=f"{X}:8x8dct=1:{B3}:partitions=all:cabac=0"),
    "P": dict(options=f"{X}:bframes=0:ref=16:mixed-refs=1"),
    "P, CAVLC": dict(options=f"{X}:bframes=0:ref=3:cabac=0:8x8dct=0"),
    "bottom field first": dict(options="x264-params=bff=1:bframes=2"),
    "qp 1": dict(options=f"qp=1 {X}:bframes=2"),
    "qp 1, CAVLC": dict(options=f"qp=1 {X}:bframes=2:cabac=0"),
    "qp 51": dict(options=f"qp=51 {X}:bframes=2"),
    "skipped pairs": dict(options=f"crf=42 {X}:{B3}", slow=True),
    "skipped pairs, CAVLC": dict(options=f"crf=42 {X}:{B3}:cabac=0", slow=True),
    "skipped pairs, temporal": dict(options=f"crf=42 {X}:{B3}:direct=temporal:ref=4", slow=True),
    "skipped pairs, temporal, CAVLC": dict(options=f"crf=42 {X}:{B3}:direct=temporal:cabac=0", slow=True),
    "slices": dict(options=f"{X}:slices=4:bframes=2"),
    "slices ending mid-row": dict(options=f"{X}:slice-max-size=300:bframes=2", size=(204, 152)),
    "slices ending mid-row, CAVLC": dict(options=f"{X}:slice-max-mbs=8:cabac=0:bframes=2", size=(204, 148)),
    "slices ending mid-row, temporal": dict(options=f"{X}:slice-max-mbs=6:bframes=2:direct=temporal", size=(204, 148)),
    "spatial direct": dict(options=f"{X}:direct=spatial:{B3}:ref=4"),
    "spatial direct, slow": dict(options=f"{X}:direct=spatial:{B3}:ref=1", slow=True),
    "temporal direct": dict(options=f"{X}:direct=temporal:{B3}:ref=4"),
    "temporal direct, CAVLC": dict(options=f"{X}:direct=temporal:{B3}:ref=4:cabac=0"),
    "temporal direct, slow": dict(options=f"{X}:direct=temporal:{B3}:ref=2", slow=True),
    "pyramid": dict(options=f"{X}:direct=auto:bframes=7:b-adapt=0:b-pyramid=strict:ref=8"),
    "pyramid, temporal": dict(options=f"{X}:direct=temporal:bframes=7:b-adapt=0:b-pyramid=normal:ref=6"),
    "weighted": dict(options=f"{X}:weightp=2:weightb=1:bframes=3"),
    "all intra": dict(options=X, gop=1),
    "all intra, CAVLC": dict(options=f"{X}:cabac=0", gop=1),
    "I_PCM": dict(options=f"qp=1 {X}:bframes=2:psy=0", noise=True),
    "I_PCM, CAVLC": dict(options=f"qp=1 {X}:bframes=2:psy=0:cabac=0", noise=True),
    "scaling matrices": dict(options=f"{X}:cqm=jvt:8x8dct=1"),
    "10 bit": dict(options=f"{X}:bframes=3", pixel_format="yuv420p10le"),
    "4:2:2": dict(options=f"{X}:8x8dct=1:{B3}:chroma-qp-offset=12", pixel_format="yuv422p"),
    "4:2:2, CAVLC": dict(options=f"qp=12 {X}:{B3}:cabac=0", pixel_format="yuv422p"),
    "4:2:2, 10 bit": dict(options=f"crf=10 {X}:bframes=2", pixel_format="yuv422p10le"),
    "monochrome": dict(options=f"{X}:bframes=3", pixel_format="gray"),
    "intra refresh": dict(options=f"{X}:intra-refresh=1:keyint=10"),
    "open GoP": dict(options=f"{X}:open-gop=1:bframes=3:keyint=8:min-keyint=8", gop=8),
    "fastest": dict(options=f"preset=ultrafast {X}"),
    "slowest": dict(options=f"preset=placebo {X}"),
    "frame macroblocks alone": dict(options=f"{X}:{B3}", woven=False, slow=True),
}


def made(name, **more):
    return ffmpeg(encode(**({"woven": True, "frames": 20} | ENCODES[name])), **more)


def parsed(extradata, packets):
    sequence = PictureSequence(extradata)
    return [sequence.parse(packet) for packet in packets]


def pairs_of(picture, values):
    """(pairs, 2): upper and lower macroblock of every pair."""
    return values.reshape(-1, 2, picture.columns).transpose(0, 2, 1).reshape(-1, 2)


def exported_rows(picture):
    """Vectors as FFmpeg exports them: each macroblock in its row of the pair, in its own units; vertical components of
    field macroblocks are doubled in 16x8 and 8x16 partitions and in no others."""
    rows = picture_rows(picture)[:, :7]
    field = picture.field_macroblocks[rows[:, DST_Y] // 16, rows[:, DST_X] // 16]
    rows[:, MOTION_Y] <<= field & (rows[:, WIDTH] != rows[:, HEIGHT])
    return rows


@pytest.mark.parametrize("name", ENCODES)
def test_stop_bits_vectors_and_quantisers_of_every_picture_are_ffmpegs(name):
    extradata, packets, exported = made(name)
    count = 0
    for i, (packet, picture) in enumerate(zip(packets, parsed(extradata, packets), strict=True)):
        assert picture.complete, (i, picture.errors)
        assert picture.vectors_exact and picture.mbaff
        check_bits(picture, packet, 4)
        signals = picture.field_macroblocks, picture.bits, picture.macroblocks[1]
        for field, bits, own in zip(*(pairs_of(picture, one) for one in signals), strict=True):
            assert bits.tolist() == ([own.sum() / 2] * 2 if field[0] else own.tolist())
        np.testing.assert_array_equal(exported_rows(picture), exported[i].vectors, err_msg=f"picture {i}")
        offset = 6 * (picture.sps.bit_depth_luma - 8)
        np.testing.assert_array_equal(picture.qp.ravel() + offset, exported[i].qp, err_msg=f"picture {i}")
        count += len(exported[i].vectors)
    assert len(packets) == len(exported) == 20 and (count > 1000 or "all intra" in name)


def test_the_encodes_contain_what_they_are_there_for():
    """Pairs of both kinds beside and above each other, and everything that macroblocks are."""
    beside, seen, skipped = set(), {0: 0, 1: 0}, set()
    for name in ENCODES:
        extradata, packets, _ = made(name)
        for picture in parsed(extradata, packets):
            field, flags = picture.field_macroblocks, picture.flags
            for of in (0, 1):
                seen[of] |= int(np.bitwise_or.reduce(flags[field == of], initial=0))
            b = picture.slice_type
            pairs = field[::2]
            beside |= {(b, "left", *one) for one in zip(pairs[:, :-1].ravel(), pairs[:, 1:].ravel(), strict=True)}
            beside |= {(b, "above", *one) for one in zip(pairs[:-1].ravel(), pairs[1:].ravel(), strict=True)}
            skip = (flags & state.M_SKIP).astype(bool).reshape(-1, 2, picture.columns)
            skipped |= {(b, *one) for one in zip(pairs.ravel(), skip[:, 0].ravel(), skip[:, 1].ravel(), strict=True)}
    wanted = state.M_INTRA | state.M_SKIP | state.M_DIRECT | state.M_SUB_DIRECT | state.M_T8X8 | 3 << state.M_SHAPE
    assert seen[0] & wanted == seen[1] & wanted == wanted
    assert len(beside) == 3 * 2 * 4
    assert {one for one in skipped if one[0] != "I"} == {
        (b, of, upper, lower) for b in "PB" for of in (0, 1) for upper in (0, 1) for lower in (0, 1)
    }


@pytest.mark.parametrize("name", ["CABAC, B, 8x8", "temporal direct, CAVLC", "slices ending mid-row", "4:2:2"])
def test_random_access_says_the_same_but_for_vectors_of_b_pictures(name):
    extradata, packets, _ = made(name)
    alone = PictureParser(extradata)
    for packet, picture in zip(packets, parsed(extradata, packets), strict=True):
        other = alone.parse(packet)
        np.testing.assert_array_equal(other.bits, picture.bits)
        np.testing.assert_array_equal(other.qp, picture.qp)
        np.testing.assert_array_equal(other.energy, picture.energy)
        assert other.vectors_exact == (picture.slice_type != "B")
        if other.vectors_exact:
            np.testing.assert_array_equal(motion_rows(other), motion_rows(picture))


ENERGY = {
    "CABAC, 8x8": dict(options=f"crf=20 {X}:weightp=0:bframes=2:8x8dct=1"),
    "CAVLC": dict(options=f"crf=20 {X}:weightp=0:bframes=2:cabac=0:8x8dct=0"),
    "matrices": dict(options=f"crf=22 {X}:weightp=0:bframes=0:cqm=jvt:8x8dct=0"),
    "slow": dict(options=f"crf=22 {X}:weightp=0:bframes=0:ref=4", slow=True),
    "4:2:2": dict(options=f"crf=20 {X}:weightp=0:bframes=0", pixel_format="yuv422p"),
}


@pytest.mark.parametrize("name", ENERGY)
def test_energy_is_the_squared_difference_to_the_prediction_of_frame_and_field_macroblocks(name):
    extradata, packets, exported = ffmpeg(encode(frames=16, size=(176, 160), woven=True, **ENERGY[name]), planes=True)
    pictures, planes = parsed(extradata, packets), [exported[i].planes for i in range(len(packets))]
    frames_alone = []
    for picture in pictures:
        macroblocks = picture.macroblocks.copy()
        macroblocks[0, picture.field_macroblocks.ravel()] = state.M_I_NXN  # not looked at
        frames_alone.append(replace(picture, macroblocks=macroblocks))
    found, zero = inter_differences(frames_alone, planes)
    of_fields, of_fields_zero = field_differences(pictures, planes)
    for of, nothing in ((found, zero), (of_fields, of_fields_zero)):
        values = [value for kind in of.values() for value in kind]
        assert len(values) > 100 and len(values) - sum(nothing.values()) > 20  # blocks that carry a residual
        assert max(values) <= TOLERANCE


def field_differences(pictures, planes):
    """As `inter_differences`, of pairs of field macroblocks: eight lines of the frame have the energy of four lines of
    both fields, and the upper four of them half of it."""
    found = {"luma": [], "chroma": []}
    zero = {kind: 0 for kind in found}
    for i, picture in enumerate(pictures):
        for mb_y, mb_x in zip(*np.nonzero(picture.field_macroblocks), strict=True):
            for block in range(4) if mb_y % 2 == 0 else ():
                both = [field_residuals(picture, planes, i, mb_y + parity, mb_x, block, parity) for parity in (0, 1)]
                x, y = 2 * mb_x + block % 2, mb_y + block // 2
                for plane in range(3):
                    parts = [one[plane] for one in both]
                    if any(part is None for part in parts):
                        continue
                    energies = (picture.luma_energy, *picture.chroma_energy)[plane]
                    down = energies.shape[0] // (2 * picture.rows)
                    across = 1 if plane else 2
                    energy = energies[2 * down * y : 2 * down * (y + 1), across * x : across * (x + 1)]
                    np.testing.assert_array_equal(energy[::2], energy[1::2])
                    kind = "chroma" if plane else "luma"
                    eights = [picture.flags[mb_y + parity, mb_x] & state.M_T8X8 for parity in (0, 1)]
                    if any(eights) and not plane:
                        found[kind].append(_differences(energy.sum(), np.concatenate(parts)))
                        zero[kind] += energy.sum() == 0
                        continue
                    for r in range(down):
                        for c in range(across):
                            fours = np.concatenate([p[4 * r : 4 * r + 4, 4 * c : 4 * c + 4] for p in parts])
                            found[kind].append(_differences(energy[2 * r : 2 * r + 2, c].sum(), fours))
                            zero[kind] += energy[2 * r, c] == 0
    return found, zero


def field_residuals(picture, planes, i, mb_y, mb_x, block, parity):
    """Of an 8x8 block of a field macroblock that is predicted from whole samples of one field: its three residuals,
    None where they are not to be had."""
    nothing = [None] * 3
    mb = mb_y * picture.columns + mb_x
    refs = picture.references[:, mb, block]
    if picture.flags[mb_y, mb_x] & state.M_INTRA or (refs[0] >= 0) == (refs[1] >= 0):
        return nothing
    used = int(refs[1] >= 0)
    row, column = 4 * mb_y + 2 * (block // 2), 4 * mb_x + 2 * (block % 2)
    packed = picture.vectors[used, 1 + row : 3 + row, 1 + column : 3 + column]
    if (packed != packed[0, 0]).any():
        return nothing
    dx, dy = int(np.int16(packed[0, 0] & 0xFFFF)), int(packed[0, 0] >> 16)
    of = int(refs[used])
    before = planes[picture.lists[picture.macroblocks[3, mb]][used][of >> 1]]
    x, y, shift = 2 * mb_x + block % 2, 2 * (mb_y // 2) + block // 2, picture.sps.bit_depth_luma - 8
    now, before = ([plane[at::2] for plane in all_] for all_, at in ((planes[i], parity), (before, parity ^ (of & 1))))
    if dx % 4 == 0 and dy % 4 == 0:
        nothing[0] = _residual(now[0], before[0], 8 * x, 8 * y, 8, dx // 4, dy // 4, shift)
    down = 2 if picture.sps.chroma_format_idc == 2 else 1
    if dx % 8 == 0 and dy % (8 // down) == 0 and not of & 1:  # chroma between parities is shifted
        for plane in (1, 2):
            moved = dx // 8, dy * down // 8
            nothing[plane] = _residual(now[plane], before[plane], 4 * x, 4 * down * y, 4, *moved, shift, 4 * down)
    return nothing


def intra_pictures(options, **more):
    extradata, packets, exported = ffmpeg(encode(options, gop=1, frames=8, size=(176, 160), **more), planes=True)
    return parsed(extradata, packets), [exported[i].planes for i in range(len(packets))]


def test_intra_energy_of_frame_macroblocks_is_the_squared_difference_to_one_of_the_predictions():
    pictures, planes = intra_pictures(f"crf=30 {X}", slow=True)
    assert not any(picture.field_macroblocks.any() for picture in pictures)
    check_intra_16x16(pictures, planes)
    check_intra_chroma(pictures, planes)


def test_intra_energy_of_field_macroblocks_is_the_squared_difference_to_two_of_the_predictions():
    """Where all pairs are of fields, prediction in each field is that of a field picture; the four predictions of one
    with the four of the other."""
    pictures, planes = intra_pictures(f"preset=ultrafast crf=24 {X}")
    count = carrying = 0
    for picture, (luma, *_) in zip(pictures, planes, strict=True):
        assert picture.field_macroblocks.all()
        whole = (picture.flags & state.M_I_16X16).astype(bool)
        for row, column in zip(*np.nonzero(whole[::2] & whole[1::2]), strict=True):
            x, y = 16 * column, 16 * row
            block = luma[2 * y : 2 * y + 32, x : x + 16]
            if not (row and column) or block.min() == 0 or block.max() == 255:
                continue
            energy = picture.luma_energy[8 * row : 8 * row + 8, 4 * column : 4 * column + 4]
            residuals = [
                [block[parity::2] - one for one in _intra_16x16_predictions(luma[parity::2], x, y)] for parity in (0, 1)
            ]
            best = np.inf
            for top, bottom in product(*residuals):
                parts = np.stack([top, bottom]).reshape(2, 4, 4, 4, 4).transpose(1, 3, 0, 2, 4)  # field lines 4, 8, 12
                differences = [_differences(2 * energy[2 * r, c], parts[r, c]) for r, c in np.ndindex(4, 4)]
                best = min(best, max(differences))
            assert best <= TOLERANCE
            count += 1
            carrying += energy.sum() > 0
    assert count >= 10 and carrying >= 10, (count, carrying)


@pytest.mark.parametrize("name", ["P", "temporal direct", "slices"])
def test_vectors_of_field_macroblocks_stand_in_lines_of_the_frame(name):
    """Row by row: a block of a field of h lines is 2 h lines of the frame, in blocks of 16 at most; a vector to the
    field of the other parity ends one line lower, from the bottom field one line higher."""
    extradata, packets, _ = made(name)
    for picture in parsed(extradata, packets):
        wanted = []
        for row in picture_rows(picture).tolist():
            mb_y, mb_x = row[DST_Y] // 16, row[DST_X] // 16
            if not picture.field_macroblocks[mb_y, mb_x]:
                wanted.append(row)
                continue
            top, parity = 16 * (mb_y - mb_y % 2), mb_y % 2
            first = top + 2 * (row[DST_Y] - row[HEIGHT] // 2 - 16 * mb_y)  # line of the frame, of a line of the field
            for line in range(first, first + 2 * row[HEIGHT], 16):
                one = list(row)
                one[DST_Y], one[HEIGHT] = line + 8, 16
                if row[REF_IDX] >= 0:
                    lines = 2 * (row[MOTION_Y] / 4) + (row[REF_IDX] % 2) * (-1 if parity else 1)
                    one[MOTION_Y], one[REF_IDX] = 4 * lines, row[REF_IDX] // 2
                wanted.append(one)
        np.testing.assert_array_equal(motion_rows(picture), np.array(wanted).reshape(-1, 9))


def test_distances_are_those_of_the_frames_whose_fields_are_referred_to():
    extradata, packets, exported = made("P")
    pictures = parsed(extradata, packets)
    row_of = {picture.identity: i for i, picture in enumerate(pictures)}
    for i, picture in enumerate(pictures[1:], 1):
        vectors, distance = H264Picture(picture).vectors(i, row_of)
        rows = motion_rows(picture)
        assert len(vectors) == len(rows) and set(distance) <= set(range(-16, 0))
        wanted = sorted(picture.lists[row[8]][0][row[REF_IDX]] - picture.identity for row in rows.tolist())
        assert sorted(distance.tolist()) == wanted


def written_frames(spatial, seed):
    """Every kind of macroblock with any vector, in pairs of random kinds. What a co-located picture refers to is in the
    lists of the one that uses it."""
    stream = Stream(interlaced=True, mbaff=True, seed=seed, num_ref_frames=4, height=6)
    packets = [stream.parameter_sets() + stream.picture(I, 0, 0, idr=True)]
    for turn in range(1, 7):
        number, order = 2 * turn - 1, 16 * turn
        packets.append(stream.picture(P, number, order, active=(min(turn, 2), 0)))
        for later, reference in ((8, True), (4, False)):
            active, number = (min(2 * turn + (not reference), 4), 2), number + 1
            packets.append(
                stream.picture(B, number, order - later, active=active, spatial=spatial, reference=reference)
            )
    return packets


def frames_and_fields_by_turns(spatial, seed):
    """Co-located pictures of both kinds for pictures of both kinds."""
    stream = Stream(interlaced=True, mbaff=True, seed=seed, num_ref_frames=4, height=6)
    first = stream.picture(I, 0, 0, idr=True) if seed % 2 else pair(stream, (I, P), 0, 0, idr=True)
    packets = [stream.parameter_sets() + first]
    random = np.random.default_rng(seed)
    more = dict(spatial=spatial)
    for turn in range(1, 7):
        number, order, frames = 2 * turn - 1, 16 * turn, min(2 * turn, 4)
        if random.random() < 0.5:
            packets.append(pair(stream, (P, P), number, order, active=(min(2 * turn, 3), 0)))
        else:
            packets.append(stream.picture(P, number, order, active=(min(turn, 2), 0)))
        if random.random() < 0.5:
            packets.append(pair(stream, (B, B), number + 1, order - 8, active=(2 * frames, 3), **more))
        else:
            packets.append(stream.picture(B, number + 1, order - 8, active=(frames, 2), **more))
        frames, more = min(2 * turn + 1, 4), dict(spatial=spatial, reference=False)
        packets.append(pair(stream, (B, B), number + 2, order - 12, active=(2 * frames, 3), **more))
        packets.append(stream.picture(B, number + 2, order - 4, active=(frames, 2), **more))
        more = dict(spatial=spatial)
    return packets


@pytest.mark.parametrize("spatial", [True, False], ids=["spatial", "temporal"])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("written", [written_frames, frames_and_fields_by_turns])
def test_written_streams_are_read_as_ffmpeg_reads_them(written, seed, spatial):
    packets = written(spatial, seed)
    exported = decode(None, packets)
    for i, frame in enumerate(parsed(None, packets)):
        assert frame.complete and frame.vectors_exact, (i, frame.errors)
        rows = exported_rows_of_fields(frame) if isinstance(frame, FieldPair) else exported_rows(frame)
        np.testing.assert_array_equal(rows, exported[i].vectors, err_msg=f"frame {i}")
        np.testing.assert_array_equal(frame.qp.ravel(), exported[i].qp)


def test_all_signals_of_a_file_are_exact_and_those_of_sampled_frames_the_same(tmp_path):
    path = tmp_path / "mbaff.mp4"
    path.write_bytes(encode(woven=True, frames=20, **ENCODES["temporal direct"]))
    whole, some = codecmeta.extract(path, jobs=2), codecmeta.extract(path, frames=9)
    assert {whole.capability[name]["level"] for name in ("motion", "qp", "residual", "bits")} == {"exact"}
    assert whole.qp.values.shape == (20, 9, 11) and whole.residual.values.shape == (20, 18, 22)
    for row in some.residual.frame:
        for name in ("residual", "residual_chroma", "qp", "bits"):
            np.testing.assert_array_equal(getattr(some, name).of(row), getattr(whole, name).of(row))
        if whole.frames.picture_type[row] == ord("P"):
            np.testing.assert_array_equal(some.motion.of(row), whole.motion.of(row))
    extradata, packets, _ = made("temporal direct")
    for row, picture in enumerate(sorted(parsed(extradata, packets), key=lambda picture: picture.order)):
        np.testing.assert_array_equal(whole.bits.of(row), picture.bits[:9])
        assert len(whole.motion.of(row)) > 0 or picture.slice_type == "I"


def test_a_damaged_pair_leaves_those_before_it():
    extradata, packets, _ = made("P")
    whole, damaged = PictureParser(extradata), PictureParser(extradata)
    for packet in packets[1:12]:
        *units, last = (bytes(unit) for unit in nal_units(packet, 4))
        units.append(last[: len(last) * 2 // 3])
        cut = b"".join(len(unit).to_bytes(4, "big") + unit for unit in units)
        before, picture = whole.parse(packet), damaged.parse(cut)
        assert not picture.complete and 0 < picture.parsed.sum() < picture.parsed.size
        parsed = picture.parsed
        np.testing.assert_array_equal(picture.qp[parsed], before.qp[parsed])
        pairs = np.repeat(parsed[::2] & parsed[1::2], 2, axis=0)
        for name in ("bits", "flags"):
            np.testing.assert_array_equal(getattr(picture, name)[pairs], getattr(before, name)[pairs])
        blocks = pairs.repeat(4, 0).repeat(4, 1)
        np.testing.assert_array_equal(picture.luma_energy[blocks], before.luma_energy[blocks])
        untouched = ~np.repeat(parsed[::2] | parsed[1::2], 2, axis=0)
        assert not picture.luma_energy[untouched.repeat(4, 0).repeat(4, 1)].any() and not picture.bits[untouched].any()


def test_a_slice_that_starts_inside_the_one_before_it_takes_its_place():
    extradata, packets, _ = made("slices ending mid-row, CAVLC")
    whole, again = PictureParser(extradata), PictureParser(extradata)
    for packet in packets[1:8]:
        units = [bytes(unit) for unit in nal_units(packet, 4)]
        units.append(units[-2])
        before = whole.parse(packet)
        picture = again.parse(b"".join(len(unit).to_bytes(4, "big") + unit for unit in units))
        assert picture.errors == ["a slice starts inside the one before it"]
        kept = before.macroblocks[3].reshape(before.parsed.shape) < len(before.headers) - 1
        np.testing.assert_array_equal(picture.parsed, kept)
        blocks = kept.repeat(4, 0).repeat(4, 1)
        np.testing.assert_array_equal(picture.luma_energy, np.where(blocks, before.luma_energy, 0))
        np.testing.assert_array_equal(picture.bits, np.where(kept, before.bits, 0))
