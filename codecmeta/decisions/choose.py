"""Which frames to look at: policies over the packet table, and what their choice costs to decode. No file is opened.

Frames that are evenly spread in time miss what is short. The packet table, which costs nothing, says where something
happens (`packet_events`) and what each frame costs to decode (`container.decode_cost`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codecmeta.container.decode_cost import DecodeCost, predicted_seconds
from codecmeta.container.packets import PacketTable
from codecmeta.decisions.block_evidence import block_evidence
from codecmeta.decisions.packet_events import find_events, frames_per_second, outstanding, picture_kinds
from codecmeta.record.metadata import Frames, Metadata, Probe, Stream
from codecmeta.record.selection import Policy, sample_rows

FLOOR_SHARE = 0.25
"""Of the frames of `events`: spread over the whole video, whatever happens."""

TOLERANCE = 1.0
"""`cheap` takes a frame from this part of each slot of time, around its middle; 1 is the whole slot."""

LEAST = 1.0
"""Windows of less strength are no events; their frames go to the floor."""

AGAIN = 0.3
"""A further frame of the same event is worth this much of the one before."""

SETTLED = 0.5
"""Seconds behind the start of something until it is there."""

ENDING = 0.5
"""Deviations by which more must go on before a moment than after it to take it for an end."""


@dataclass(frozen=True, repr=False)
class Choice:
    """The chosen frames, in order of time, all arrays (T,).

    rows: int64, rows of the frame table. times: float64, seconds. why: "uniform", "keyframe", "cheap", "gap" (in the
    middle of a long one, for want of others), "floor" (even spread of `events`), "event" or "query". score: float64,
    strength of the event or score of the query, 0 for others. packets_to_decode: packets a decoder is fed for these
    frames. exact_cost: whether the order of the stream is known, else that number is an estimate. predicted_seconds: to
    decode them in one thread and turn them into RGB, roughly. tables: of the file that was opened for the choice, so
    that reading the frames need not open it for them again.
    """

    policy: Policy
    rows: NDArray[np.int64]
    times: NDArray[np.float64]
    why: tuple[str, ...]
    score: NDArray[np.float64]
    packets_to_decode: int
    exact_cost: bool
    predicted_seconds: float
    tables: tuple[Probe, PacketTable] | None = field(default=None, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def reasons(self) -> dict[int, str]:
        """Row -> why it was chosen, in words."""
        known = zip(self.rows.tolist(), self.why, self.score.tolist(), strict=True)
        return {row: f"{why} {score:.2f}" if score else why for row, why, score in known}

    def among(self, frames: Frames) -> Choice:
        """The choice in the frames that decoding gave: where the tables of the file list another number of them, a row
        means the same share of the way."""
        listed = len(frames) if self.tables is None else len(self.tables[0].frames)
        if listed == len(frames):
            return self
        rows, kept = np.unique(self.rows * len(frames) // listed, return_index=True)
        why = tuple(self.why[one] for one in kept.tolist())
        return replace(self, rows=rows, times=frames.time[rows], why=why, score=self.score[kept], tables=None)

    def as_dict(self) -> dict[str, Any]:
        """Policy, cost, and a list of frames with row, time, why and score, ready for JSON."""
        rows = zip(self.rows.tolist(), self.times.tolist(), self.why, self.score.tolist(), strict=True)
        return {
            "policy": self.policy,
            "packets_to_decode": self.packets_to_decode,
            "exact_cost": self.exact_cost,
            "predicted_seconds": round(self.predicted_seconds, 4),
            "frames": [
                {"row": row, "time": round(time, 6), "why": why, "score": round(score, 4)}
                for row, time, why, score in rows
            ],
        }

    def __repr__(self) -> str:
        reasons = {name: self.why.count(name) for name in dict.fromkeys(self.why)}
        about = "" if self.exact_cost else "about "
        head = (
            f"{len(self)} frames by {self.policy} ({', '.join(f'{count} {name}' for name, count in reasons.items())})"
        )
        head += f": {about}{self.packets_to_decode:,} packets to decode, about {self.predicted_seconds:.2f} s"
        lines = [
            f"  row {row:>7}  {time:>9.2f} s  {why}"
            for (row, why), time in zip(self.reasons.items(), self.times, strict=True)
        ]
        return "\n".join([head, *lines])


@dataclass(frozen=True)
class Candidates:
    """The frames that may be chosen: what a source tells of them, and what decoding costs."""

    stream: Stream
    frames: Frames
    packets: PacketTable | None
    meta: Metadata | None
    cost: DecodeCost


Reasons = dict[int, tuple[str, float]]
"""Chosen rows, and for each why it was chosen and with which score."""


def reasons_of(video: Candidates, frames: int, policy: Policy, tolerance: float) -> Reasons:
    time = video.frames.time
    if policy == "uniform":
        reasons: Reasons = {int(row): ("uniform", 0.0) for row in sample_rows(time, frames)}
        _fill(reasons, video, frames, "uniform")
    elif policy == "cheap":
        reasons = _cheap(video, frames, tolerance, "cheap")
        _fill(reasons, video, frames, "gap")
    elif policy == "keyframes":
        keys = np.flatnonzero(video.frames.keyframe)
        if len(keys) > frames:
            keys = keys[_spread(time[keys], frames)]
        reasons = {int(row): ("keyframe", 0.0) for row in keys}
        _fill(reasons, video, frames, "gap")
    else:
        reasons = _by_events(video, frames, tolerance)
    return reasons


def _spread(time: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """`count` different indices of ascending times, near to equal distances, both ends included."""
    chosen = np.searchsorted(time, np.linspace(time[0], time[-1], count) - 1e-9)
    for index in range(1, count):  # no index twice: later ones give way, then earlier ones
        chosen[index] = max(chosen[index], chosen[index - 1] + 1)
    chosen[-1] = min(chosen[-1], len(time) - 1)
    for index in range(count - 2, -1, -1):
        chosen[index] = min(chosen[index], chosen[index + 1] - 1)
    return chosen


def _cheap(video: Candidates, slots: int, tolerance: float, name: str, taken: Iterable[int] = ()) -> Reasons:
    """From each equal slot of time the frame that costs least beyond what is decoded anyway, nearer to its middle first
    where several cost the same. A slot without frames gives none. taken: rows that are decoded anyway."""
    time, cost = video.frames.time, video.cost
    reached: dict[int, int] = {}  # by segment, the last packet decoded so far
    for row in taken:
        segment = int(cost.first[row])
        reached[segment] = max(reached.get(segment, -1), int(cost.last[row]))
    edges = np.linspace(time[0], time[-1], slots + 1)
    middles = (edges[:-1] + edges[1:]) / 2
    half = (edges[1] - edges[0]) / 2 * tolerance
    reasons: Reasons = {}
    for middle in middles.tolist():
        low, high = np.searchsorted(time, (middle - half - 1e-9, middle + half + 1e-9))
        if low == high:  # a tolerance narrower than a frame, or a hole in the video
            near = int(np.abs(time - middle).argmin())
            low, high = near, near + 1
            if abs(time[near] - middle) > edges[1] - edges[0]:
                continue
        rows = np.arange(low, high)
        ahead = _further(cost, rows, reached)
        best = int(rows[np.lexsort((np.abs(time[rows] - middle), ahead))[0]])
        segment = int(cost.first[best])
        reached[segment] = max(reached.get(segment, -1), int(cost.last[best]))
        reasons.setdefault(best, (name, 0.0))
    return reasons


def _further(cost: DecodeCost, rows: NDArray[np.int64], reached: dict[int, int]) -> NDArray[np.int64]:
    """int64, like rows: packets to decode for each beyond those up to `reached` of its segment."""
    ahead = cost.alone[rows].copy()
    first = cost.first[rows]
    for segment in np.unique(first).tolist():
        if segment in reached:
            own = first == segment
            done = cost.before[reached[segment] + 1] - cost.before[segment]
            # behind what is reached nothing but a left out packet has to be decoded
            ahead[own] = np.maximum(ahead[own] - done, cost.droppable[cost.last[rows[own]]])
    return ahead


def _fill(reasons: Reasons, video: Candidates, frames: int, name: str) -> None:
    """Add frames in the middle of the longest gaps until there are enough."""
    time = video.frames.time
    gaps: list[tuple[float, int, int]] = []  # the longest first, of equal ones the earliest

    def gap(before: int, behind: int) -> None:
        if behind - before > 1:
            heappush(gaps, (float(time[max(before, 0)] - time[min(behind, len(time) - 1)]), before, behind))

    for before, behind in pairwise([-1, *sorted(reasons), len(time)]):
        gap(before, behind)
    while len(reasons) < frames and gaps:
        _, before, behind = heappop(gaps)
        middle = (time[max(before, 0)] + time[min(behind, len(time) - 1)]) / 2
        row = before + 1 + int(np.abs(time[before + 1 : behind] - middle).argmin())
        reasons[row] = (name, 0.0)
        gap(before, row)
        gap(row, behind)


def _by_events(video: Candidates, frames: int, tolerance: float) -> Reasons:
    floor = min(frames, max(2, round(FLOOR_SHARE * frames)))
    time = video.frames.time
    score = activity(video.frames, video.packets, video.meta)
    found = find_events(score, time, 4 * frames)
    found = found[found[:, 2] >= LEAST]
    shown = _shown_later(video)
    reasons: Reasons = {}
    for event, number in _shares(found, time, frames - floor):
        for row in _rows_of_event(found[event], number, score, time, shown):
            reasons.setdefault(row, ("event", round(float(found[event, 2]), 3)))
    for row, why in _cheap(video, floor, tolerance, "floor", reasons).items():
        reasons.setdefault(row, why)
    _fill(reasons, video, frames, "floor")
    return reasons


def activity(frames: Frames, packets: PacketTable | None, meta: Metadata | None) -> NDArray[np.float64]:
    """float64 (n,): by how many deviations each picture stands out, from everything that the source has."""
    kinds = picture_kinds(frames, packets)
    score = outstanding(frames, kinds)
    inside = None if meta is None else block_evidence(meta, kinds)
    return score if inside is None else (score + inside) / np.sqrt(2)


def _shares(found: NDArray[np.float64], time: NDArray[np.float64], frames: int) -> list[tuple[int, int]]:
    """How many frames each event gets: (event, frames). Each further frame of an event is worth less, so that the
    strongest and longest get a second one when every event nearly as strong has its first."""
    rate = frames_per_second(time)
    room = np.maximum(1, (found[:, 1] / rate).astype(np.int64))  # a frame a second
    given = np.zeros(len(found), np.int64)
    worth = found[:, 2].copy()
    for _ in range(frames):
        if not len(worth) or worth.max() <= 0:
            break
        event = int(worth.argmax())
        given[event] += 1
        worth[event] = worth[event] * AGAIN if given[event] < room[event] else 0.0
    return [(event, int(number)) for event, number in enumerate(given) if number]


def _shown_later(video: Candidates) -> NDArray[np.int64]:
    """int64 (n,): the row at which what a packet holds is shown: its own, but for hidden frames (AV1, VP9), which are
    shown at the latest when as many come again."""
    rows = np.arange(len(video.frames))
    if video.packets is None or video.packets.coded.max() < 2:
        return rows
    coded = video.packets.coded[video.packets.display_order]
    shown = rows.copy()
    for row in np.flatnonzero(coded > 1).tolist():
        again = np.flatnonzero(coded[row + 1 : row + 65] >= coded[row])
        shown[row] = row + 1 + int(again[0]) if len(again) else row
    return shown


def _rows_of_event(
    event: NDArray[np.float64],
    number: int,
    score: NDArray[np.float64],
    time: NDArray[np.float64],
    shown: NDArray[np.int64],
) -> list[int]:
    """Rows that show an event: behind its most outstanding moments, when what came is there, a second apart; or before
    one, where more went on before it than goes on after it, so that it is an end."""
    rate = frames_per_second(time)
    first, stop = int(event[0]), int(event[0] + event[1])
    half, second = max(1, round(SETTLED * rate)), max(1, round(rate))
    total = np.concatenate(([0.0], np.cumsum(score)))
    starts = np.arange(first, stop)
    moments = total[np.minimum(starts + half, len(score))] - total[starts]
    rows = []
    for _ in range(number):
        if not np.isfinite(moments).any():
            break
        at = int(moments.argmax())
        moments[max(0, at - second) : at + second] = -np.inf
        row = first + at
        after = _mean_of(total, row + half, row + half + 2 * second)
        before = _mean_of(total, row - 2 * second, row)
        if before > after + ENDING:
            wanted = time[row] - 0.6 * SETTLED
        else:
            wanted = time[shown[row]] + SETTLED
        rows.append(int(min(np.searchsorted(time, wanted - 1e-9), len(time) - 1)))
    return rows


def _mean_of(total: NDArray[np.float64], first: int, stop: int) -> float:
    """Mean of the scores of these rows, from their running total; 0 where there are none."""
    first, stop = max(first, 0), min(stop, len(total) - 1)
    return float((total[stop] - total[first]) / (stop - first)) if stop > first else 0.0


def diverse(scores: NDArray[np.float64], time: NDArray[np.float64], count: int) -> list[int]:
    """The best, none nearer in time to a better one than half of the even distance; where that leaves too few, the
    distance is halved, and so on."""
    order = np.argsort(-scores, kind="stable").tolist()
    apart = (time[-1] - time[0]) / max(2 * count, 1)
    chosen: list[int] = []
    while len(chosen) < count:
        for one in order:
            if len(chosen) < count and one not in chosen and all(abs(time[one] - time[o]) >= apart for o in chosen):
                chosen.append(one)
        apart = apart / 2 if apart > 1e-3 else 0.0
    return chosen


def choice_of(video: Candidates, policy: Policy, reasons: Reasons) -> Choice:
    rows = np.array(sorted(reasons), np.int64)
    packets = video.cost.count(rows)
    return Choice(
        policy=policy,
        rows=rows,
        times=video.frames.time[rows],
        why=tuple(reasons[row][0] for row in rows.tolist()),
        score=np.array([reasons[row][1] for row in rows.tolist()], np.float64),
        packets_to_decode=packets,
        exact_cost=video.cost.exact,
        predicted_seconds=predicted_seconds(video.stream, packets, len(rows)),
    )
