"""The comparisons of the HEVC tests and of benchmarks/hevc_fuzz.py: parser against record, samples against FFmpeg."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from codecmeta.codecs.hevc.sequence import Sequence
from tests.support.hevc_ffmpeg import decode_file, decode_packets
from tests.support.hevc_headers import CRA, Picture, Stream
from tests.support.hevc_parsed import coded_of
from tests.support.hevc_pixels import COUNT, START, C, reconstruct


def _by_plane(blocks: np.ndarray, levels: np.ndarray) -> list[np.ndarray]:
    """Per plane the rows of its blocks and their levels, each block's in raster order: equal if the pictures are."""
    order = np.arange(len(levels))
    owner = np.zeros(len(levels), np.int64)
    for i, (start, count) in enumerate(blocks[:, [START, COUNT]]):
        owner[start : start + count] = i
    order = np.lexsort((levels[:, 0], levels[:, 1], owner))
    result = []
    for c in range(3):
        mine = blocks[:, C] == c
        result.append(np.delete(blocks[mine], START, 1))
        result.append(levels[order][mine[owner[order]]] if len(levels) else levels)
    return result


def assert_as_written(picture, planned: Picture, where: str) -> None:
    """Segments, coding units, prediction units, transform blocks and levels are those that were written."""
    assert picture is not None and picture.complete and not picture.errors, (where, getattr(picture, "errors", None))
    segments = [
        (header.slice_segment_address, bool(header.dependent_slice_segment_flag), tuple(header.entry_points))
        for header in picture.headers
    ]
    expected = [(address, bool(dependent), tuple(sizes[:-1])) for address, dependent, sizes in planned.segments]
    assert segments == expected, where
    record = planned.written
    units = np.array(record.units, np.int32).reshape(-1, 8)
    flags = units[:, 5] | units[:, 6] << 1
    expected = np.column_stack([units[:, :5], flags, units[:, 7]])
    np.testing.assert_array_equal(np.asarray(picture.cu)[:, :7], expected, err_msg=f"coding units, {where}")
    parts = np.array(record.parts, np.int32).reshape(-1, 11)
    pu = np.asarray(picture.pu).reshape(-1, 10)
    np.testing.assert_array_equal(pu[:, [0, 1, 2, 3, 8]], parts[:, :5], err_msg=f"prediction units, {where}")
    coded = parts[:, 4] < 0  # the references of merged ones follow from their neighbours
    np.testing.assert_array_equal(pu[coded][:, 6:8], parts[coded][:, [5, 8]], err_msg=f"reference indices, {where}")
    ours = coded_of(picture)
    names = ("luma blocks", "luma levels", "Cb blocks", "Cb levels", "Cr blocks", "Cr levels")
    theirs = _by_plane(planned.coded.blocks, planned.coded.levels)
    for name, mine, wanted in zip(names, _by_plane(ours.blocks, ours.levels), theirs, strict=True):
        np.testing.assert_array_equal(mine, wanted, err_msg=f"{name}, {where}")
    if planned.coded.scaling is not None:
        np.testing.assert_array_equal(ours.scaling, planned.coded.scaling, err_msg=f"scaling factors, {where}")


def assert_same_samples(ours: list[np.ndarray], theirs: list[np.ndarray], where: str) -> None:
    """All samples of all planes; FFmpeg's may be cropped at the right and the bottom."""
    for c, (mine, shown) in enumerate(zip(ours, theirs, strict=True)):
        differ = mine[: shown.shape[0], : shown.shape[1]] != shown
        if differ.any():
            y, x = np.argwhere(differ)[0]
            raise AssertionError(f"{where}: plane {c} differs in {differ.sum()} samples, first at x {x}, y {y}")


def compare_stream(stream: Stream, *, samples: bool = True) -> Counter:
    """A written stream through the parser, the reconstruction and FFmpeg; what was compared."""
    packets = [picture.packet for picture in stream.pictures]
    shown = decode_packets(packets) if samples else {}
    sequence = Sequence(None, annex_b=True, trace=True)
    planes: dict[int, list[np.ndarray]] = {}
    counts: Counter = Counter(streams=1)
    for planned in stream.pictures:
        where = f"seed {stream.seed}, picture {planned.number}"
        picture = sequence.parse(planned.packet)
        assert_as_written(picture, planned, where)
        counts["pictures"] += 1
        counts["segments"] += len(planned.segments)
        counts["entry points"] += sum(len(sizes) - 1 for *_, sizes in planned.segments)
        counts["coding units"] += len(planned.written.units)
        counts["levels"] += len(planned.written.levels)
        if not samples:
            continue
        planes[picture.identity], _ = reconstruct(coded_of(picture, planes))
        if planned.number in shown:
            assert_same_samples(planes[picture.identity], shown[planned.number], where)
            counts["pictures equal to FFmpeg's"] += 1
        else:  # not for output, or thrown away at a CRA behind an end of sequence (C.5.2.2)
            dropped = any(later.kind == CRA and later.ended for later in stream.pictures[planned.number + 1 :])
            assert not planned.output or dropped, where
    return counts


def compare_file(source: bytes | str, most: int | None = None) -> Iterator[tuple]:
    """A clip in decoding order: the parsed picture, our planes, the residuals behind them, FFmpeg's planes or None."""
    extradata, packets, shown = decode_file(source, most)
    sequence = Sequence(extradata, trace=True)
    planes: dict[int, list[np.ndarray]] = {}
    for number, packet in enumerate(packets):
        picture = sequence.parse(packet)
        assert picture is not None and picture.complete and not picture.errors, (number, picture)
        planes[picture.identity], residuals = reconstruct(coded_of(picture, planes))
        yield picture, planes[picture.identity], residuals, shown.get(number)
        held = {reference.identity for reference in sequence.buffer.references} | {picture.identity}
        planes = {identity: one for identity, one in planes.items() if identity in held}
