"""Signals by a parser of the bitstream: from the packets themselves, a decoder only where pictures are asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from functools import partial
from time import perf_counter

import numpy as np

from codecmeta.container.openings import Openings
from codecmeta.container.segments import Damage, Segment
from codecmeta.decoding.decoder import decode_segment
from codecmeta.decoding.pictures import pictures_of
from codecmeta.extraction.capability import Tally
from codecmeta.extraction.job import Job
from codecmeta.extraction.outcome import Outcome, in_order, rows_within
from codecmeta.extraction.reader import Reader
from codecmeta.record.parts import FrameSignals, Sink


def as_stamped(job: Job, sink: Sink) -> Outcome:
    """Every packet as time stamps or headers say. Raises Refused where there is no parser or it does not read this,
    Damage where a packet is damaged or missing: which frames of it are shown is the decoder's to say."""
    reader = Reader(job.path, job.facts, job.packets, job.details)
    frames, gops = job.tables(reader.order)
    keep = job.wanted(frames)
    alone = job.transform is not None or (job.selection != "all" and job.packets.timed)
    openings = Openings(job.path, job.facts.stream_index)
    if job.transform is not None:
        work = [(one, rows) for one in job.segments if (rows := rows_within(one, keep))]
        tasks = [partial(_with_pictures, job, reader, one, rows, openings) for one, rows in work]
    elif alone:
        tasks = [partial(reader.frames, np.flatnonzero(keep).tolist())]
    else:
        tasks = [partial(reader.segment, one, keep) for one in reader.runs(job.segments, job.jobs)]
    outcome = Outcome(reader.order, frames, gops, Tally(parsed=True, details=job.details, alone=alone), reader.placing)
    with openings, closing(in_order(tasks, job.jobs)) as found:  # type: ignore[type-var]
        for frame in found:
            if frame.corrupt:
                raise Damage
            outcome.take(frame, sink)
    return outcome


def as_delivered(job: Job, sink: Sink) -> Outcome:
    """A decoder says which packets are shown, in which order; what they hold comes from the packets themselves."""
    # what is not read here is refused before anything is decoded
    Reader(job.path, job.facts, job.packets, shown=np.zeros(0, np.int64))
    decoded = decode_segment(job.path, job.facts.stream_index, job.packets, job.whole, side_data=False)
    shown = [(one.packet, one.picture_type, one.corrupt) for one in decoded]
    if not shown:
        raise job.no_frame()
    order, types, corrupt = (np.array(column) for column in zip(*shown, strict=True))
    reader = Reader(job.path, job.facts, job.packets, job.details, order)
    frames, gops = job.tables(order)
    keep = job.wanted(frames)
    outcome = Outcome(order, frames, gops, Tally(parsed=True, details=job.details), reader.placing)
    outcome.types, outcome.corrupt = types.astype(np.uint8), corrupt.astype(bool)
    rows = np.flatnonzero(keep).tolist()
    pictures = _pictures(job, job.whole, rows) if job.transform is not None else iter(())
    for frame in reader.segment(Segment(0, job.whole.stop, range(len(order)), linear=True), keep):
        frame.picture_type = frame.picture_type or int(outcome.types[frame.row])
        frame.corrupt |= bool(outcome.corrupt[frame.row])
        if keep[frame.row] and job.transform is not None:
            _, frame.image = next(pictures)
        outcome.take(frame, sink)
    return outcome


def _with_pictures(
    job: Job, reader: Reader, segment: Segment, rows: list[int], openings: Openings
) -> Iterator[FrameSignals]:
    """The wanted pictures of one segment from its decoder, their signals from their own packets."""
    images = dict(_pictures(job, segment, rows, openings))
    start = perf_counter()
    for frame in reader.frames(rows):
        frame.image = images.pop(frame.row)
        yield frame
    job.stages.metadata.append(perf_counter() - start)


def _pictures(
    job: Job, segment: Segment, rows: list[int], openings: Openings | None = None
) -> Iterator[tuple[int, object]]:
    spent = job.stages.transform
    return pictures_of(job.path, job.facts, job.packets, segment, rows, job.transform, spent, openings)
