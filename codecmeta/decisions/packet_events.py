"""Packet sizes -> how far every picture stands out, and the stretches of a video in which something happens.

An encoder pays for what is new. How much it pays depends on the part a picture plays, so each is compared with its own
kind around it only: the kind is what can be told of a packet without decoding it (keyframe, anchor, B picture that
others refer to or not, frames hidden inside the packet). What stands out for a single picture or for ten seconds is
found by one scan over windows of several lengths, each judged by its sum over the square root of its length, which is
how the sum of independent noise grows. Runs in microseconds per frame; nothing is decoded.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codecmeta.compiling import njit
from codecmeta.container.packets import PacketTable
from codecmeta.decisions.events import off_clock
from codecmeta.record.metadata import B, Frames, I

NEIGHBOURHOOD = 60.0
"""Seconds around a picture in which its own kind says what is usual."""

HEADER = 20.0
"""Bytes added to every packet before the logarithm: differences among skipped pictures mean nothing."""

FLOOR = 0.12
"""Added to the spread of log sizes: where all packets are equal, one that is an eighth larger is one deviation out."""

NEAR = 2
"""Rows between a cut and the packets that tell of it: pictures before it are predicted from those behind it."""

CUT = 0.5
"""A change score (`codecmeta.change_scores`) from which on a new scene begins."""

CLIP = (-2.0, 6.0)
"""Deviations are held within these, so that no single picture outweighs a second of unrest."""

LENGTHS = (0.0, 0.3, 0.6, 1.2, 2.5, 5.0, 10.0)
"""Seconds of the windows; the first is a single picture."""

APART = 1.0
"""Seconds between two events, at least."""

TWO_FRAMES = 8  # bytes: an AV1 packet that only shows a hidden frame has fewer

KEY, ANCHOR, REFERRED, UNREFERRED = range(4)


@dataclass(frozen=True)
class PacketEvent:
    """A stretch in which something happens. start, stop: seconds. first, last: rows. strength: deviations over the
    square root of the length (4 is rare by chance). cut: a new scene begins there."""

    start: float
    stop: float
    first: int
    last: int
    strength: float
    cut: bool


def events_of(
    frames: Frames, score: NDArray[np.float64], change: NDArray[np.floating], *, most: int, least: float
) -> list[PacketEvent]:
    """The events of a frame table in order of time. score: float64 (n,), by how many deviations each picture stands
    out. change: float (n - 1,), `change_scores` of all frames, which tell cuts. most, least: as for
    `codecmeta.packet_events`."""
    time = frames.time
    found = find_events(score, time, most)
    found = found[found[:, 2] >= least]
    change = np.append(0.0, change)
    events = []
    for first, length, strength in found[np.argsort(found[:, 0], kind="stable")].tolist():
        first, last = int(first), int(first + length) - 1
        cut = bool(change[max(first - NEAR, 0) : first + NEAR + 1].max() >= CUT)
        stop = float(time[min(last + 1, len(time) - 1)])
        events.append(PacketEvent(float(time[first]), stop, first, last, strength, cut))
    for row in np.flatnonzero(change >= CUT).tolist():  # also inside or near another event
        if not any(abs(one.first - row) <= NEAR for one in events):
            stop = float(time[min(row + 1, len(time) - 1)])
            events.append(PacketEvent(float(time[row]), stop, row, row, CLIP[1], True))
    strongest = sorted(events, key=lambda one: -one.strength)[:most]
    return sorted(strongest, key=lambda one: one.first)


def picture_kinds(frames: Frames, packets: PacketTable | None = None) -> NDArray[np.int64]:
    """int64 (n,): pictures with the same number play the same part in the stream and can be compared by size.

    With the packet table the part follows from stream order: an anchor is displayed behind all pictures sent before
    it, others are told apart by whether anything refers to them (HEVC names no picture types without a slice header,
    and one type holds layers of very different size). Without it, from the picture types. Where packets hold hidden
    frames (AV1, VP9), by how many frames they hold.
    """
    key = frames.keyframe | (frames.picture_type == I)
    if key.mean() > 0.9:  # all-intra
        return np.full(len(frames), ANCHOR)
    if packets is not None and packets.coded.max() > 1:
        order = packets.display_order
        empty = (packets.coded[order] == 1) & (packets.size[order] <= TWO_FRAMES)
        return np.where(key, KEY, np.where(empty, UNREFERRED, UNREFERRED + packets.coded[order].astype(np.int64)))
    if packets is None or not packets.timed:
        return np.where(key, KEY, np.where(frames.picture_type == B, REFERRED, ANCHOR))
    order = packets.display_order
    sent = np.argsort(order, kind="stable")  # rows in stream order
    anchor = np.zeros(len(frames), bool)
    anchor[sent] = sent >= np.maximum.accumulate(sent)
    if packets.looked is not None and packets.reference.all():  # an index that says nothing of references
        referred = _levels(sent, order.argsort(kind="stable").argsort(kind="stable"), anchor) < 2
    else:
        referred = packets.reference[order]
    return np.where(key, KEY, np.where(anchor, ANCHOR, np.where(referred, REFERRED, UNREFERRED)))


@njit(cache=True, nogil=True)
def _levels(rows, sent, anchor):  # type: ignore[no-untyped-def]
    """int64 (n,), by row: how many pictures deep each hangs between those around it that were sent before it; 0 for
    anchors. rows: in stream order. sent: by row, its place in that order."""
    count = len(rows)
    level = np.zeros(count, np.int64)
    for row in rows:
        if anchor[row]:
            continue
        left, right = row - 1, row + 1
        while left >= 0 and sent[left] > sent[row]:
            left -= 1
        while right < count and sent[right] > sent[row]:
            right += 1
        before = level[left] if left >= 0 else 0
        after = level[right] if right < count else 0
        level[row] = 1 + max(before, after)
    return level


def outstanding(frames: Frames, kinds: NDArray[np.int64]) -> NDArray[np.float64]:
    """float64 (n,): by how many deviations each picture is larger than its kind around it, within `CLIP`.

    A keyframe is 0: it says when the encoder's clock struck. One off that clock is the encoder's own opinion that a new
    scene begins, and gets the upper limit.
    """
    size = np.log(frames.packet_bytes + HEADER)
    rate = frames_per_second(frames.time)
    result = np.zeros(len(size))
    for kind in np.unique(kinds):
        rows = np.flatnonzero(kinds == kind)
        if kind == KEY or len(rows) < 8:
            continue
        width = max(int(NEIGHBOURHOOD * rate * len(rows) / len(size)) | 1, 9)
        away = size[rows] - running_median(size[rows], width)
        spread = 1.4826 * running_median(np.abs(away), width)
        result[rows] = away / (spread + FLOOR)
    keys = np.flatnonzero(frames.keyframe)
    if len(keys) > 1 and kinds[keys[0]] == KEY:
        result[keys[1:]] = CLIP[1] * (off_clock(keys) >= 1)
    return np.clip(result, *CLIP)


def frames_per_second(time: NDArray[np.float64]) -> float:
    """The mean rate; 25 where time does not tell."""
    length = float(time[-1] - time[0]) if len(time) else 0.0
    return (len(time) - 1) / length if length > 0 else 25.0


def find_events(score: NDArray[np.float64], time: NDArray[np.float64], most: int) -> NDArray[np.float64]:
    """float64 (events, 3): first row, rows, strength; the strongest first, none nearer than `APART` to a stronger."""
    rate = frames_per_second(time)
    lengths = np.unique([max(1, round(seconds * rate)) for seconds in LENGTHS])
    best, length = _best_windows(score, lengths[lengths <= len(score)])
    peak = np.flatnonzero(best > 0)
    order = peak[np.argsort(-best[peak], kind="stable")]
    return _apart(best, length, order, max(1, round(APART * rate)), min(most, len(score)))


@njit(cache=True, nogil=True)
def _best_windows(score, lengths):  # type: ignore[no-untyped-def]
    """For each row, over all windows that begin there: the largest sum over the root of the length, and that length."""
    count = len(score)
    total = np.zeros(count + 1)
    for i in range(count):
        total[i + 1] = total[i] + score[i]
    best, length = np.zeros(count), np.ones(count, np.int64)
    for size in lengths:
        root = 1 / np.sqrt(size)
        for i in range(count - size + 1):
            value = (total[i + size] - total[i]) * root
            if value > best[i]:
                best[i], length[i] = value, size
    return best, length


@njit(cache=True, nogil=True)
def _apart(best, length, order, guard, most):  # type: ignore[no-untyped-def]
    """Windows in this order, each unless it touches one before it or comes nearer than `guard` rows."""
    count = len(best)
    taken = np.zeros(count, np.bool_)
    found = np.zeros((most, 3))
    number = 0
    for first in order:
        if number == most:
            break
        stop = first + length[first]
        free = True
        for i in range(first, stop):
            if taken[i]:
                free = False
                break
        if free:
            found[number, 0], found[number, 1], found[number, 2] = first, length[first], best[first]
            number += 1
            for i in range(max(0, first - guard), min(count, stop + guard)):
                taken[i] = True
    return found[:number]


@njit(cache=True, nogil=True)
def running_median(values, width):  # type: ignore[no-untyped-def]
    """float64, like values: the median of about `width` neighbours (at most 65 of them, evenly drawn), taken at every
    eighth of the width, with straight lines between; it costs a thousandth of taking it everywhere."""
    count = len(values)
    step = max(width // 8, 1)
    width = min(width, count)
    stride = (width + 64) // 65
    knots = np.empty(count // step + 2)
    for knot in range(len(knots)):
        first = min(max(knot * step - width // 2, 0), count - width)
        knots[knot] = np.median(values[first : first + width : stride])
    result = np.empty(count)
    for i in range(count):
        knot = i // step
        part = i / step - knot
        result[i] = knots[knot] * (1 - part) + knots[knot + 1] * part
    return result
