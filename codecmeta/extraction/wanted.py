"""Which frames a call wants: numbers, rows, times, a `Choice`, or a policy that picks them from the packet table."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike

from codecmeta.codecs.table import codec_of
from codecmeta.container.decode_cost import decode_cost
from codecmeta.container.packets import PacketTable
from codecmeta.container.probe import is_remote, probe_with_packets
from codecmeta.container.source import Medium
from codecmeta.decisions.choose import TOLERANCE, Candidates, Choice, reasons_of
from codecmeta.record.metadata import Probe
from codecmeta.record.selection import ByPolicy, EstimatedRows, Policy, Selection, selected

Tables = tuple[Probe, PacketTable]

_BY_SIZE = ("events", "query")
"""Policies that look at the sizes of packets."""


def wanted(
    frames: Any, rows: ArrayLike | None, times: ArrayLike | None, policy: Policy, default: Any = "all"
) -> tuple[Selection, Tables | None]:
    """A selection, and the tables of the file that come with a choice. Raises ValueError as `selected` does."""
    if isinstance(frames, Choice) and rows is None and times is None:
        if policy != "uniform":
            raise ValueError(f"policy={policy!r}: the frames were chosen already, by {frames.policy}; pass a number")
        if frames.tables is not None:
            return EstimatedRows(tuple(frames.rows.tolist()), len(frames.tables[0].frames)), frames.tables
        return selected(rows=frames.rows), None
    return selected(frames, rows, times, policy, default=default), None


def tables_for(medium: Medium, policy: Policy, stream: int | None = None, *, headers: bool | None = None) -> Tables:
    """The tables of a video that a policy chooses from: those in its container's index where that serves the policy.
    headers: as for `choose_frames`."""
    if headers is None:
        found, packets = probe_with_packets(medium, stream=stream, headers=False)
        blind = policy in _BY_SIZE and codec_of(found.stream.codec).hides and packets.looked is not None
        if is_remote(medium) or not blind:
            return found, packets
    return probe_with_packets(medium, stream=stream, headers=headers is not False)


def resolved(selection: Selection, tables: Tables) -> Selection:
    """The selection, as rows where a policy picks them."""
    if not isinstance(selection, ByPolicy):
        return selection
    known, packets = tables
    video = Candidates(known.stream, known.frames, packets, None, decode_cost(known.frames, known.stream, packets))
    chosen = reasons_of(video, min(selection.frames, len(known.frames)), selection.policy, TOLERANCE)
    return EstimatedRows(tuple(sorted(chosen)), len(known.frames))
