"""Rows of a known frame table -> the displayed pictures, and nothing else: for metadata that was read before."""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codecmeta.container.colours import matrix_of
from codecmeta.container.decode_cost import droppable, second_fields
from codecmeta.container.index import Unproven, look_at
from codecmeta.container.openings import Openings
from codecmeta.container.packets import PacketTable
from codecmeta.container.probe import probe_with_packets
from codecmeta.container.segments import Damage, Segment, linear_segment, plan_segments
from codecmeta.container.source import Medium, Source, opened
from codecmeta.decoding.decoder import decode_segment
from codecmeta.errors import VideoError
from codecmeta.record.display import Display, displayed_map
from codecmeta.record.metadata import Metadata, Probe, Stream


def read_pictures(
    path: Source,
    meta: Metadata,
    rows: NDArray[np.int64],
    *,
    transform: Callable[[NDArray[np.uint8]], Any] | None = None,
    jobs: int | None = None,
    seconds: dict[str, float] | None = None,
) -> list[Any]:
    """The displayed pictures of some rows of `meta.frames`: uint8 RGB (height, width, 3) each, or what `transform` made
    of them.

    >>> meta = codecmeta.load("clip.codecmeta.h5")
    >>> pictures = read_pictures("clip.mp4", meta, meta.residual.frame[:4])

    What `codecmeta.read` does, without reading the metadata again. rows: int64 (T,), ascending. jobs: workers, by
    default all cores; the pictures are the same with any number. seconds: receives what "probe", "decode" and
    "transform" took. Raises VideoError for files that cannot be read, and where the file does not show the frames that
    the table lists.
    """
    with opened(path) as medium:
        return _read_pictures(medium, meta, rows, transform, cores() if jobs is None else jobs, seconds)


def _read_pictures(
    medium: Medium,
    meta: Metadata,
    rows: NDArray[np.int64],
    transform: Callable[[NDArray[np.uint8]], Any] | None,
    jobs: int,
    seconds: dict[str, float] | None,
) -> list[Any]:
    start = perf_counter()
    probe, packets = _tables(medium, meta, rows)
    probed = perf_counter()
    spent: list[float] = []

    def decode(segment: Segment, openings: Openings | None = None) -> dict[int, Any]:
        within = [int(row) for row in rows if segment.linear or row in segment.rows]
        return dict(pictures_of(medium, probe.stream, packets, segment, within, transform, spent, openings))

    segments = plan_segments(packets, probe.stream.codec)
    if not segments[0].linear and len(probe.frames) != len(meta.frames) and meta.frames.corrupt.any():
        segments = [linear_segment(packets)]  # a damaged file, whose metadata is that of a decoder
    try:
        with Openings(medium, probe.stream.stream_index) as openings, ThreadPoolExecutor(jobs) as pool:
            parts = list(pool.map(partial(decode, openings=openings), segments))
    except Damage:
        parts = [decode(linear_segment(packets))]
    pictures = {row: picture for part in parts for row, picture in part.items()}
    missing = [int(row) for row in rows if row not in pictures]
    if missing or (not segments[0].linear and len(probe.frames) != len(meta.frames)):
        raise VideoError(
            f"{medium}: shows {len(probe.frames)} frames, the metadata lists {len(meta.frames)}"
            f"{f', of which row {missing[0]} did not come out' if missing else ''}; read the metadata again"
        )
    if seconds is not None:
        end = perf_counter()
        share = sum(spent) / jobs
        seconds.update(probe=probed - start, decode=max(end - probed - share, 0.0), transform=share)
    return [pictures[int(row)] for row in rows]


def _tables(medium: Medium, meta: Metadata, rows: NDArray[np.int64]) -> tuple[Probe, PacketTable]:
    """The tables of the video; from its container's index where it is read from afar and the same frames are listed."""
    stream = meta.stream.stream_index
    probe, packets = probe_with_packets(medium, stream=stream, headers=None)
    if packets.looked is None:
        return probe, packets
    try:
        if not np.array_equal(probe.frames.time, meta.frames.time):
            raise Unproven
        return probe, look_at(medium, stream, probe.stream.codec, packets, rows)
    except Unproven:
        return probe_with_packets(medium, stream=stream)


def pictures_of(
    path: Medium,
    facts: Stream,
    packets: PacketTable,
    segment: Segment,
    rows: Sequence[int],
    transform: Callable[[NDArray[np.uint8]], Any] | None,
    spent: list[float] | array[float],
    openings: Openings | None = None,
) -> Iterator[tuple[int, Any]]:
    """(row, what the transform makes of its displayed picture) for these rows of a segment, ascending, from one
    decoder that gets the fewest packets with which they are what a full decode gives. spent: receives the seconds of
    each transform. openings: of the video, whose segments come to each thread in order. Raises Damage."""
    if not rows:
        return
    wanted, last, only = set(rows), rows[-1], None
    if not segment.linear:
        needed = packets.display_order[list(rows)]
        needed += second_fields(packets)[needed]
        only = ~droppable(packets)
        only[needed] = True
        segment = replace(segment, stop=int(needed.max()) + 1)
    opened = None if openings is None else openings.here()
    decoded = decode_segment(path, facts.stream_index, packets, segment, side_data=False, opened=opened, only=only)
    with closing(decoded):  # type: ignore[type-var]
        for one in decoded:
            if one.row in wanted:
                picture = displayed_picture(one.frame, Display.of(one.frame, facts))
                start = perf_counter()
                image = transform(picture) if transform else picture
                spent.append(perf_counter() - start)
                yield one.row, image
            if one.row >= last:
                return


def displayed_picture(frame: Any, display: Display) -> NDArray[np.uint8]:
    """The displayed picture as RGB, uint8 (height, width, 3), at the size of the stream."""
    width, height = display.shown_width, display.shown_height
    if display.rotation in (90, 270):
        width, height = height, width
    frame.colorspace = matrix_of(frame)
    if (frame.width, frame.height) != (width, height):
        frame = frame.reformat(width=width, height=height)
    return displayed_map(frame.to_ndarray(format="rgb24"), display)


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
