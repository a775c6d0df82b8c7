"""Which way a video is read, and which next when one fails.

A parser that trusts the order of the container comes first; where packets are damaged or missing, one that asks a
decoder what is shown; where there is no parser, or it refuses the stream, the decoder itself, keyframe segments side by
side; and where those do not decode as promised, or do not exist, one decoder from start to end.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from time import perf_counter

from codecmeta.codecs.protocol import Refused
from codecmeta.container.packets import PacketTable, Progress
from codecmeta.container.segments import Damage
from codecmeta.container.source import Medium
from codecmeta.extraction import by_decoder, by_parser
from codecmeta.extraction.job import Job, Stages, Transform
from codecmeta.extraction.outcome import Outcome
from codecmeta.record.metadata import Probe
from codecmeta.record.parts import Found, FrameSignals, Sink
from codecmeta.record.selection import Selection, check_jobs

_DAMAGED = "the file is damaged, and shows what its decoder makes of it"


def scan(
    path: Medium,
    sink: Sink,
    *,
    frames: Selection,
    details: bool = True,
    jobs: int = 1,
    stream: int | None = None,
    transform: Transform | None = None,
    stages: Stages | None = None,
    tables: tuple[Probe, PacketTable] | None = None,
    progress: Progress | None = None,
) -> Found:
    """Read what a selection needs and give it to a sink in display order; returns the tables and how signals came
    about. tables: those of the file, where it was probed just now. progress: told after each frame, in rows
    of the frame table."""
    check_jobs(jobs)
    job = Job.begin(path, frames, details, jobs, stream, transform, stages or Stages(), tables)
    if progress is not None:
        sink = _Watched(sink, progress, len(job.probe.frames))
    start = perf_counter()
    try:
        return _read(job, sink).found(job)
    finally:
        job.stages.whole = perf_counter() - start + job.stages.probe


@dataclass(frozen=True)
class _Watched:
    """A sink that says how far it is."""

    sink: Sink
    progress: Progress
    rows: int

    def clear(self) -> None:
        self.progress(0, self.rows)
        self.sink.clear()

    def add(self, frame: FrameSignals) -> None:
        self.sink.add(frame)
        self.progress(frame.row + 1, self.rows)


def _read(job: Job, sink: Sink) -> Outcome:
    linear = job.segments[0].linear
    # for pictures of a linear stream a decoder runs anyway, and knows more than the container
    way = by_parser.as_delivered if linear and job.transform is not None else by_parser.as_stamped
    not_parsed = ""
    while True:
        sink.clear()
        try:
            return way(job, sink)
        except Refused as reason:
            not_parsed = str(reason)
            decoder = by_decoder.as_delivered if linear else by_decoder.by_segments
            way = partial(decoder, not_parsed=not_parsed)
        except Damage:
            if way is by_parser.as_stamped:
                way = by_parser.as_delivered
            else:
                way = partial(by_decoder.as_delivered, not_parsed=not_parsed or _DAMAGED)
