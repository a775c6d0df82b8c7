"""Signals by FFmpeg's decoder: vectors and quantisers that it exports, the residual estimated from its pictures.

Decoding is done once for everything, the wanted pictures included.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codecmeta.codecs.table import codec_of
from codecmeta.container.packets import open_video
from codecmeta.container.segments import Segment, prefetch, runs
from codecmeta.container.tables import frame_tables
from codecmeta.decoding import estimate
from codecmeta.decoding.decoder import Decoded, decode_segment
from codecmeta.decoding.pictures import displayed_picture
from codecmeta.extraction.capability import Tally
from codecmeta.extraction.job import Job
from codecmeta.extraction.outcome import Outcome, in_order, rows_within
from codecmeta.extraction.placing import Placing
from codecmeta.record.display import Display, cropped_vectors, displayed_vectors, qp_map
from codecmeta.record.metadata import SOURCES, VECTOR, B, I, vector_order
from codecmeta.record.parts import FrameSignals, LumaChange, Sink

Want = Callable[[int, int], bool]
"""Whether the frame of a row, which came from a packet, gets signals."""


def by_segments(job: Job, sink: Sink, not_parsed: str) -> Outcome:
    """Keyframe segments side by side. Raises Damage where one does not decode as its packets promised."""
    frames, gops = job.probe.frames, job.probe.gops
    keep = job.wanted(frames)
    want: Want = lambda row, packet: bool(keep[row])  # noqa: E731
    work = [(one, rows[-1]) for one in job.segments if (rows := rows_within(one, keep))]
    decoder = _Decoder(job)
    outcome = Outcome(job.packets.display_order, frames, gops, Tally(not_parsed=not_parsed), decoder.placing)
    change = LumaChange()
    for frame in in_order([partial(decoder.run, run, want) for run in _runs(job, work)], job.jobs):
        change.complete(frame)
        outcome.take(frame, sink)
    return outcome


def as_delivered(job: Job, sink: Sink, not_parsed: str) -> Outcome:
    """Start to end with one decoder: rows are the frames that come out, whatever the packets promised."""
    decoder, tally, change = _Decoder(job), Tally(not_parsed=not_parsed), LumaChange()
    delivered: list[tuple[int, int, bool]] = []
    for frame in decoder.segment(job.whole, _wanted_of_delivered(job), None):
        delivered.append((frame.packet, frame.picture_type, frame.corrupt))
        change.complete(frame)
        tally.count(frame)
        if frame.residual is not None:
            sink.add(frame)
    if not delivered:
        raise job.no_frame()
    order, types, corrupt = (np.array(column) for column in zip(*delivered, strict=True))
    outcome = Outcome(order, *frame_tables(job.packets, order, job.facts), tally, decoder.placing)
    outcome.types, outcome.corrupt = types.astype(np.uint8), corrupt.astype(bool)
    return outcome


def _wanted_of_delivered(job: Job) -> Want:
    """What the selection means in a stream whose frames are only known once decoded: where frames are to be sampled, a
    first pass without side data counts them."""
    if job.selection == "all":
        return lambda row, packet: True
    if job.selection == "keyframes":
        return lambda row, packet: bool(job.packets.key[packet])
    decoded = decode_segment(job.path, job.facts.stream_index, job.packets, job.whole, side_data=False)
    order = np.array([one.packet for one in decoded], np.int64)
    if not len(order):
        raise job.no_frame()
    keep = job.wanted(frame_tables(job.packets, order, job.facts)[0])
    return lambda row, packet: row < len(keep) and bool(keep[row])


def _runs(job: Job, work: list[tuple[Segment, int]]) -> list[list[tuple[Segment, int]]]:
    """Segments that are decoded one after the other from a file opened once: all for a single worker, runs of a few
    hundred packets for several."""
    if codec_of(job.facts.codec).fresh:
        return [[one] for one in work]
    segments = [segment for segment, _ in work]
    return [work[run.start : run.stop] for run in runs(segments, len(job.packets), job.jobs)]


class _Decoder:
    """The decoder of one video, as a source of signals."""

    def __init__(self, job: Job) -> None:
        self.job, self.codec = job, codec_of(job.facts.codec)
        self.placing = Placing.of_decoded(job.facts)

    def run(self, run: list[tuple[Segment, int]], want: Want) -> Iterator[FrameSignals]:
        """The frames of some segments, each with the last of its rows that is wanted."""
        with open_video(self.job.path, self.job.facts.stream_index) as opened:
            for segment, last in run:
                yield from self.segment(segment, want, last, opened)

    def segment(
        self, segment: Segment, want: Want, last: int | None, opened: tuple[Any, Any] | None = None
    ) -> Iterator[FrameSignals]:
        """The frames of one segment in order; `last` is the last row that is wanted, where that is known. A frame waits
        until its residual is known."""
        estimator = estimate.ResidualEstimator(self.codec.vectors, one_reference=not self.codec.many_references)
        held: deque[FrameSignals] = deque()
        displays: dict[int, Display] = {}
        job = self.job
        if last is not None:
            stop = int(job.packets.display_order[last]) + 1
            prefetch(job.path, job.packets, replace(segment, stop=min(stop, segment.stop)))
        decoded = decode_segment(job.path, job.facts.stream_index, job.packets, segment, opened=opened)
        with closing(decoded):  # type: ignore[type-var]
            for one in decoded:
                frame = FrameSignals(one.row, one.packet, one.picture_type, one.corrupt)
                held.append(frame)
                start = perf_counter()
                display = Display.of(one.frame, job.facts)
                wanted = want(one.row, one.packet)
                vectors = self._known_vectors(one, display, wanted)
                if wanted:
                    displays[one.row] = display
                    self._fill(frame, one, vectors, display)
                luma = estimate.LumaFrame(one.row, one.picture_type, one.frame, vectors, wanted)
                self._fill_residuals(held, displays, estimator.push(luma))
                if not self.codec.vectors:
                    frame.means = estimate.block_means(luma.luma)
                job.stages.metadata.append(perf_counter() - start)
                if wanted and job.transform is not None:
                    picture = displayed_picture(one.frame, display)
                    start = perf_counter()
                    frame.image = job.transform(picture)
                    job.stages.transform.append(perf_counter() - start)
                while held and held[0].row not in displays:
                    yield held.popleft()
                if last is not None and one.row >= last and not displays:
                    break
        self._fill_residuals(held, displays, estimator.finish())
        yield from held

    def _known_vectors(self, one: Decoded, display: Display, wanted: bool) -> NDArray[np.void] | None:
        """Vectors in the cropped frame: empty for a picture that has none and for one that nobody asked for, None where
        they cannot be had."""
        if not self.codec.vectors or (one.picture_type == B and not self.codec.b_vectors):
            return None
        if not wanted:
            return np.zeros(0, VECTOR)
        exported = one.vectors
        if exported is not None:
            return cropped_vectors(exported, display)
        if one.picture_type == I or self.codec.full_tables:
            return np.zeros(0, VECTOR)
        return None  # the last frame of an MPEG stream with delay: flushed out of the decoder without its tables

    def _fill(self, frame: FrameSignals, one: Decoded, vectors: NDArray[np.void] | None, display: Display) -> None:
        if vectors is not None:
            frame.vectors = displayed_vectors(vectors[vector_order(vectors)], display)
        qp = one.qp if self.codec.qp else None
        if qp is not None:
            frame.qp = self.placing.block_map(qp_map(qp, display), display)
            frame.qp_blocks = len(qp.blocks)

    def _fill_residuals(
        self,
        held: deque[FrameSignals],
        displays: dict[int, Display],
        known: list[tuple[int, NDArray[np.float32], str]],
    ) -> None:
        for row, rms, source in known:
            display = displays.pop(row, None)
            if display is not None:
                frame = next(one for one in held if one.row == row)
                frame.residual = self.placing.decoded_map(estimate.stored_estimate(rms), display)
                frame.residual_source = SOURCES.index(source)
