"""One video and what was asked of it: everything that each way of reading it starts from."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codecmeta.container.index import Unproven, look_at
from codecmeta.container.packets import PacketTable
from codecmeta.container.probe import probe_with_packets
from codecmeta.container.segments import Segment, linear_segment, plan_segments
from codecmeta.container.source import Medium, name_of
from codecmeta.container.tables import frame_tables
from codecmeta.errors import VideoError
from codecmeta.extraction.wanted import resolved, tables_for
from codecmeta.record.metadata import Frames, Gops, Probe, Stream
from codecmeta.record.selection import ByPolicy, EstimatedRows, Rows, Selection, as_setting, rows_of

Transform = Callable[[NDArray[np.uint8]], Any]


@dataclass
class Stages:
    """Seconds that a scan spent on its stages, `whole` by the clock. metadata, transform: a number for every frame or
    group of frames, from any worker."""

    whole: float = 0.0
    probe: float = 0.0
    metadata: array[float] = field(default_factory=lambda: array("d"))
    transform: array[float] = field(default_factory=lambda: array("d"))

    def shares(self, jobs: int) -> dict[str, float]:
        """Seconds by the clock per stage: what workers spent side by side is divided among them."""
        spent = {"metadata": sum(self.metadata) / jobs, "transform": sum(self.transform) / jobs}
        return {"probe": self.probe, **spent, "decode": max(self.whole - self.probe - sum(spent.values()), 0.0)}


def wanted_rows(selection: Selection, frames: Frames, facts: Stream) -> NDArray[np.bool_]:
    """Which rows of a frame table a selection means, bool (frames,). Raises ValueError for frames outside."""
    if selection == "all":
        return np.ones(len(frames), bool)
    if selection == "keyframes":
        return frames.keyframe.copy()
    keep = np.zeros(len(frames), bool)
    assert not isinstance(selection, ByPolicy)
    keep[rows_of(selection, frames.time, facts.duration_seconds)] = True
    return keep


def proven(
    path: Medium, probe: Probe, packets: PacketTable, selection: Selection
) -> tuple[Probe, PacketTable, Selection, str]:
    """Tables of a container's index with what the packets say that a selection needs; where they contradict it, the
    tables of all packets, a selection that means the same in them, and why."""
    facts = probe.stream
    if selection == "all":
        return *probe_with_packets(path, stream=facts.stream_index), selection, ""
    rows = np.flatnonzero(wanted_rows(selection, probe.frames, facts))
    try:
        looked = look_at(path, facts.stream_index, facts.codec, packets, rows)
    except Unproven as reason:
        found, packets = probe_with_packets(path, stream=facts.stream_index)
        if isinstance(selection, Rows):
            selection = EstimatedRows(selection.values, len(probe.frames))
        return found, packets, selection, f"; the container's index does not hold: {reason}"
    frames = replace(probe.frames, picture_type=looked.picture_type[looked.display_order])
    return replace(probe, frames=frames), looked, selection, ""


def _of(path: Medium, stream: int | None, probe: Probe) -> bool:
    return probe.path == name_of(path) and stream in (None, probe.stream.stream_index)


def _same_frames(path: Medium, stream: int | None, chosen: Probe) -> tuple[Probe, PacketTable]:
    """The tables of another file or stream than frames were chosen from. Raises ValueError where they list others."""
    found = probe_with_packets(path, stream=stream, headers=None)
    if not np.array_equal(found[0].frames.time, chosen.frames.time):
        raise ValueError(
            f"{name_of(path)}, video stream {found[0].stream.stream_index}, has other frames than {chosen.path}, video "
            f"stream {chosen.stream.stream_index}, of which some were chosen; pass rows=choice.rows or "
            "times=choice.times"
        )
    return found


@dataclass(frozen=True)
class Job:
    """A probed video, and what is to be found out about it.

    asked: frames that get maps. selection: the same, with rows where a policy picks them. details: as for `extract`.
    jobs: workers. stream: as asked for. transform: what becomes of each wanted picture, None where no picture is
    wanted. doubt: what was wrong with the container's index, for the report.
    """

    path: Medium
    asked: Selection
    selection: Selection
    details: bool
    jobs: int
    stream: int | None
    transform: Transform | None
    probe: Probe
    packets: PacketTable
    stages: Stages
    doubt: str

    @classmethod
    def begin(
        cls,
        path: Medium,
        selection: Selection,
        details: bool,
        jobs: int,
        stream: int | None,
        transform: Transform | None,
        stages: Stages,
        tables: tuple[Probe, PacketTable] | None = None,
    ) -> Job:
        """Probe the video, unless its tables are at hand; what is to be decoded is looked at first, where its
        container's index is all that is known. Raises VideoError."""
        start, doubt = perf_counter(), ""
        asked = selection
        if tables is not None and not _of(path, stream, tables[0]):
            tables = _same_frames(path, stream, tables[0])
        if tables is None and isinstance(selection, ByPolicy):
            tables = tables_for(path, selection.policy, stream)
        probe, packets = tables or probe_with_packets(path, stream=stream, headers=True if selection == "all" else None)
        selection = resolved(selection, (probe, packets))
        if packets.looked is not None:
            probe, packets, selection, doubt = proven(path, probe, packets, selection)
        stages.probe = perf_counter() - start
        facts = probe.stream
        if not (facts.width > 0 and facts.height > 0):
            raise VideoError(f"{path}: the {facts.codec} stream does not say how large its pictures are")
        return cls(path, asked, selection, details, jobs, stream, transform, probe, packets, stages, doubt)

    @property
    def facts(self) -> Stream:
        """The stream's."""
        return self.probe.stream

    @property
    def settings(self) -> dict[str, Any]:
        """What was asked for, as records keep it."""
        return {"frames": as_setting(self.asked), "details": self.details, "stream": self.stream}

    @cached_property
    def segments(self) -> list[Segment]:
        """Runs of packets that decode on their own; one linear segment where there are none."""
        return plan_segments(self.packets, self.facts.codec)

    @property
    def whole(self) -> Segment:
        """The whole stream as one segment."""
        return linear_segment(self.packets)

    def tables(self, order: NDArray[np.int64]) -> tuple[Frames, Gops]:
        """Frames and GoPs of frames that come from packets `order`, in display order."""
        if np.array_equal(order, self.packets.display_order):
            return self.probe.frames, self.probe.gops
        return frame_tables(self.packets, order, self.facts)

    def wanted(self, frames: Frames) -> NDArray[np.bool_]:
        """Which rows of a frame table the selection means, bool (frames,). Raises ValueError for frames outside."""
        return wanted_rows(self.selection, frames, self.facts)

    def no_frame(self) -> VideoError:
        """The error of a video that gives nothing at all."""
        packets = f"{len(self.packets)} packets ({self.facts.codec})"
        return VideoError(f"{self.path}: not one frame of {packets} could be decoded")
