"""What a way of reading a video comes to, frame by frame; and how its tasks share the workers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from codecmeta.container.segments import Segment
from codecmeta.container.source import name_of
from codecmeta.container.tables import PACKET_SIZES
from codecmeta.extraction.capability import Tally
from codecmeta.extraction.job import Job
from codecmeta.extraction.placing import Placing
from codecmeta.record.metadata import UNKNOWN, Frames, Gops
from codecmeta.record.parts import Found, FrameSignals, Sink


@dataclass
class Outcome:
    """Frames that come from packets `order` (int64, in display order), and what is known when all were taken. types,
    corrupt: of each frame, at first as the tables have them."""

    order: NDArray[np.int64]
    frames: Frames
    gops: Gops
    tally: Tally
    placing: Placing
    types: NDArray[np.uint8] = field(init=False)
    corrupt: NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        self.types, self.corrupt = self.frames.picture_type.copy(), self.frames.corrupt.copy()

    def take(self, frame: FrameSignals, sink: Sink) -> None:
        """Note what a frame says of itself; hand it on if it has signals."""
        self.types[frame.row], self.corrupt[frame.row] = frame.picture_type, frame.corrupt
        self.tally.count(frame)
        if frame.residual is not None:
            sink.add(frame)

    def found(self, job: Job) -> Found:
        """Tables and capability report."""
        lost = int(job.packets.shown.sum()) - len(np.unique(self.order))
        note = f"; {lost} of {len(job.packets)} packets gave no frame" if lost > 0 else ""
        if job.packets.doubt:
            note = f"; rows as decoded from the start: {job.packets.doubt}" + note
        elif not job.packets.timed:
            note = "; not every frame has a usable time stamp of its own: rows in display order as decoded" + note
        capability = dict(job.probe.capability)
        note += job.doubt
        listed = job.packets.looked is not None and not job.packets.looked.all()
        said = capability["packets"] if listed else {"level": "exact", "why": PACKET_SIZES}
        capability["packets"] = {"level": said["level"], "why": said["why"] + note}
        if (self.types != UNKNOWN).all():
            capability["picture_types"] = {"level": "exact", "why": "the headers or the decoder of the pictures"}
        capability.update(self.tally.capability(job.facts.codec, int(self.corrupt.sum())))
        return Found(
            name_of(job.path),
            job.facts,
            replace(self.frames, picture_type=self.types, corrupt=self.corrupt),
            self.gops,
            capability,
            job.settings,
            self.placing.residual,
            self.placing.blocks,
        )


def rows_within(segment: Segment, keep: NDArray[np.bool_]) -> list[int]:
    """The wanted rows of a segment, ascending."""
    return (segment.rows.start + np.flatnonzero(keep[segment.rows.start : segment.rows.stop])).tolist()


def in_order(tasks: Sequence[Callable[[], Iterator[FrameSignals]]], jobs: int) -> Iterator[FrameSignals]:
    """The frames of all tasks in order, `jobs` tasks at a time; at most one more is finished and waiting."""
    if jobs == 1:
        for task in tasks:
            yield from task()
        return
    with ThreadPoolExecutor(jobs) as pool:
        running: deque[Future[list[FrameSignals]]] = deque()
        waiting = deque(tasks)
        try:
            while waiting or running:
                while waiting and len(running) <= jobs:
                    running.append(pool.submit(_all_of, waiting.popleft()))
                yield from running.popleft().result()
        finally:
            for one in running:
                one.cancel()


def _all_of(task: Callable[[], Iterator[FrameSignals]]) -> list[FrameSignals]:
    return list(task())
