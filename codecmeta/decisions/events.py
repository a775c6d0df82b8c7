"""Packets, vectors and residual energy -> how much happens between frames, and where events begin and end.

No picture is compared with another: the encoder already did that. Where a scene ends nothing can be predicted across
the boundary, and where something comes in, bytes, residual energy and moving area rise and stay up.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from codecmeta.decisions.budget import frame_rows
from codecmeta.decisions.neighbours import jitter, medians, steps, window_maximum
from codecmeta.decisions.signals import Signals, dense_signals, read_signals
from codecmeta.record.metadata import B, I, Metadata, P, Probe

ONE_EVENT = 10
"""Changes within so many frames of a stronger one are the same event."""

SAME = 1e-6
"""Changes that differ by less than this are all equal: there is no event to find."""


def event_boundaries(change: ArrayLike, events: int) -> list[tuple[int, int]]:
    """Cut a clip into events at the largest changes.

    >>> event_boundaries([0.1, 0.9, 0.2, 0.7], events=3)
    [(0, 2), (2, 4), (4, 5)]

    change: float (T - 1,), how much happens between frame t and t + 1: `change_scores`, or 1 - cosine similarity of
    frame features as METok does. events: how many are wanted; a clip of fewer frames has one event per frame. Equal
    changes: the earlier one cuts. Where all changes are equal the clip is cut into near-equal parts.

    Returns half-open ranges of frames (start, stop) that cover 0..T in order.
    """
    scores = np.asarray(change, np.float64)
    if scores.ndim != 1 or not np.isfinite(scores).all():
        raise ValueError(
            f"change must be one finite number between each two frames, shape (T - 1,); got {scores.shape}"
        )
    if events < 1:
        raise ValueError(f"events must be at least 1; got {events}")
    count = len(scores) + 1
    cuts = min(events, count) - 1
    if cuts and scores.max() - scores.min() < SAME:
        starts = [count * number // (cuts + 1) for number in range(cuts + 1)]
    else:
        starts = [0, *sorted((np.argsort(-scores, kind="stable")[:cuts] + 1).tolist())]
    return list(zip(starts, [*starts[1:], count], strict=True))


def change_scores(meta: Metadata | Probe, frames: ArrayLike) -> NDArray[np.float32]:
    """How much happens between each two consecutive frames, from codec metadata alone.

    >>> change_scores(meta, range(len(meta.frames))).argmax() + 1      # first frame of the new scene
    96

    Near 1: a cut. Below 0.5: something comes in, starts to move, or fades; the score grows with how far that stands
    out from the frames around it. Near 0: nothing known to happen. Between two frames that are not neighbours in the
    video the strongest change among all frames from one to the other counts.

    What is looked at, each signal against its own neighbourhood and picture type, so that scores of different videos
    and signals can be compared: the share of a picture that is predicted across the boundary; packet bytes; residual
    energy, in the whole and in 6x8 cells; area that moves against the camera; intra blocks. A keyframe is only a cut
    if it comes off the encoder's clock, or if its texture or what moves after it differ from what was before. Signals
    that do not exist are left out: with a `Probe` the packet sizes decide alone, and so they do where the other signals
    are stored for some of the frames only, as chosen frames have no neighbours to be compared with.

    meta: `Metadata`, best extracted with frames="all", or a `Probe`. frames: int (T,), rows, ascending. Returns float32
    (T - 1,).
    """
    rows = frame_rows(frames, len(meta.frames))
    if len(rows) < 2:
        return np.zeros(0, np.float32)
    strength = _row_changes(read_signals(meta, *dense_signals(meta)))
    edges = np.minimum(rows + 1, len(strength) - 1)
    between = np.maximum.reduceat(strength, edges)[:-1]
    return np.where(np.diff(rows) > 0, between, 0.0).astype(np.float32)


def _row_changes(signals: Signals) -> NDArray[np.float64]:
    """float64 (n,): what happens between row r - 1 and r; 0 for row 0."""
    onset = _onsets(signals)
    cut = _cuts(signals)
    strength = np.maximum(cut * np.minimum(1, 2 * cut), 0.5 * onset)  # an unsure cut counts less than its chance
    # One event, one peak: what it stirs up around itself counts little, and a fade is not a row of cuts.
    before, after = window_maximum(strength, ONE_EVENT, -1), window_maximum(strength, ONE_EVENT, 1)
    return np.where((strength > before) & (strength >= after), strength, 0.1 * strength)


def _onsets(signals: Signals) -> NDArray[np.float64]:
    """0..1: bytes, energy, moving area and intra blocks rise and stay up, in the whole picture or in some cells."""

    def rise(values: NDArray[np.float64], floor: float) -> NDArray[np.float64]:
        step = steps(values, signals.kind, 4)
        return np.nan_to_num(np.clip(step / (jitter(values, signals.kind, 12) + floor), 0, 12))

    def whole(cells: NDArray[np.float64]) -> NDArray[np.float64]:
        return cells.mean(axis=1, keepdims=True)

    size = rise(signals.bytes[:, None], 0.2)
    energy = rise(np.log(whole(np.exp(signals.energy))), 0.2)
    moving = rise(np.sqrt(whole(signals.moving)), 0.06)
    intra = rise(np.sqrt(whole(signals.intra)), 0.06)
    local = np.hypot(rise(signals.energy, 0.4), rise(np.sqrt(signals.moving), 0.2))
    local = np.sort(local, axis=1)[:, -6:].mean(axis=1, keepdims=True)
    parts = np.hstack([size, 0.7 * energy, 0.5 * moving, 0.7 * intra, 0.3 * local])
    power = np.sqrt(np.square(parts).sum(axis=1))
    return power / (power + 6)


def _cuts(signals: Signals) -> NDArray[np.float64]:
    """0..1 per row: how surely a new scene begins there.

    An I or P picture tells whether a scene ended since the I or P picture displayed before it; the B pictures between
    them, or else how their residual is laid out, tell where.
    """
    kind = signals.kind
    anchors = np.flatnonzero(kind != B)
    chance = _predicted_cuts(signals)
    off_clock, differs, moves = _intra_evidence(signals)
    sure = np.zeros(len(kind))
    last_intra = 0
    for before, anchor in zip(anchors[:-1].tolist(), anchors[1:].tolist(), strict=True):
        if kind[anchor] == I:
            # That it differs from the intra picture before says nothing if a cut was found in between, or if that one
            # too only differed from the one before it (a fade); what moves after it says nothing if a cut is near.
            happened = sure[last_intra + 1 : anchor].max(initial=sure[last_intra] * (1 - off_clock[last_intra]))
            near = max(
                sure[max(0, anchor - 12) : anchor].max(initial=0), chance[anchor + 1 : anchor + 13].max(initial=0)
            )
            guess = 8 * off_clock[anchor] + (1 - happened) * differs[anchor] + (1 - near) * moves[anchor] - 9
            chance[anchor] = 1 / (1 + np.exp(-guess))
            last_intra = anchor
        if chance[anchor] > 0.01:
            sure[_break(signals, before + 1, anchor)] = chance[anchor]
    known = np.isfinite(signals.luma)
    # What packets and residual say beside that is no cut, but may be a fade.
    sure[known] = np.maximum(_luma_cuts(signals.luma), 0.3 * sure)[known]
    return sure


def _luma_cuts(luma: NDArray[np.float64]) -> NDArray[np.float64]:
    """0..1 per row: the block means change far more than around it. They come from decoded pictures, so they are known
    only where the codec has no vectors; there they are the better witness."""
    everything = np.full(len(luma), P, np.uint8)
    usual = np.fmax(*medians(luma[:, None], everything, P, 12))[:, 0]
    ratio = luma / (np.nan_to_num(usual) + 0.5)
    return np.nan_to_num(1 / (1 + (4.5 / np.maximum(ratio, 1e-3)) ** 4))


def _break(signals: Signals, first: int, anchor: int) -> int:
    """The row in first..anchor at which the new scene begins, if one does. All but the anchor are B pictures."""
    if first == anchor:
        return anchor
    rows = np.arange(first, anchor + 1)
    crossing = np.fmax(np.append(signals.past[first:anchor], np.nan), np.append(np.nan, signals.future[first:anchor]))
    if np.isfinite(crossing).all():
        return int(rows[crossing.argmin()])
    near = np.arange(max(0, first - 12), min(len(signals.kind), anchor + 13))
    near = near[signals.kind[near] == B]
    old = signals.energy[near[near < first][-4:]]
    new = signals.energy[near[near > anchor][:4]]
    between = signals.energy[first:anchor]
    if not (len(old) and len(new) and np.isfinite(between).all()):
        return (first + anchor) // 2
    to_old = np.abs(between - np.median(old, axis=0)).sum(axis=1)
    to_new = np.abs(between - np.median(new, axis=0)).sum(axis=1)
    cost = [to_old[:split].sum() + to_new[split:].sum() for split in range(len(between) + 1)]
    return first + int(np.argmin(cost))


def _predicted_cuts(signals: Signals) -> NDArray[np.float64]:
    """Chance, per P picture, that nothing of it could be predicted from pictures before it.

    Known from its vectors; else guessed from its size, and from how much the residual is laid out differently after it.
    """
    kind, everything = signals.kind, np.full(len(signals.kind), P, np.uint8)
    broken = 1 - signals.past
    usual = np.fmin(*medians(broken[:, None], kind, P, 5))[:, 0]
    usual = np.minimum(np.nan_to_num(usual), 0.9)
    known = 14 * ((broken - usual) / (1 - usual) - 0.45)

    before, after = medians(signals.bytes[:, None], kind, P, 5)
    jump = signals.bytes - np.fmax(before, after)[:, 0]
    jump = np.clip(np.where(np.isnan(before[:, 0]), -1, np.nan_to_num(jump)), -1, 3)  # the first ones have no past
    moved = np.abs(steps(signals.energy, kind, 4)).mean(axis=1)
    usual = np.fmin(*medians(moved[:, None], everything, P, 12))[:, 0]
    ratio = np.clip(moved / np.maximum(usual, 0.05), 0, 6)
    if (kind == B).any():
        # Between B pictures P pictures are alike. The layout may have changed at any B picture since the last anchor;
        # where it changed more a little before or after, that is not the place.
        excess = np.nan_to_num(np.clip(moved - usual, 0, 3))
        near = np.maximum(excess, np.maximum(window_maximum(excess, 6, -1), window_maximum(excess, 6, 1)))
        anchors = np.flatnonzero(kind != B)
        since = np.append(0, anchors[:-1] + 1)
        here = np.maximum.reduceat(excess, since) >= 0.95 * np.maximum.reduceat(near, since)
        ratio[anchors] = np.where(here, np.fmax.reduceat(ratio, since), np.minimum(ratio[anchors], 1))
        excess[anchors] = np.where(here, np.maximum.reduceat(excess, since), 0)
        guess = 4.5 * jump + 0.4 * ratio + 1.5 * excess - 5
    else:
        # Alone they play many parts (VP9), and only a great jump means anything.
        guess = 2.2 * jump + ratio - 9
    restless = jitter(signals.bytes[:, None], kind, 12)[:, 0]
    guess = np.where(np.isfinite(ratio), guess, 4.5 * jump - 6 - 5 * restless)
    chance = 1 / (1 + np.exp(-np.where(np.isfinite(known), known, guess)))
    return np.where(kind == P, chance, 0.0)


def _intra_evidence(
    signals: Signals,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Per I picture: does it come off the encoder's clock (0..1), how far does its texture differ from that of the I
    picture before it, and what happens after it from what happened before. In logits, beside 8 for off the clock."""
    off, differs, moves = np.zeros((3, len(signals.kind)))
    rows = np.flatnonzero(signals.kind == I)
    if len(rows) < 2:
        return off, differs, moves
    # Keyframes keep their own clock: an intra picture that is none does not restart it.
    off[rows[1:]] = off_clock(rows)
    keys = np.flatnonzero(signals.key)
    off[keys[1:]] = off_clock(keys)
    texture = np.abs(np.diff(signals.energy[rows], axis=0)).mean(axis=1)
    sizes = np.abs(np.diff(signals.bytes[rows]))
    differs[rows[1:]] = np.where(np.isfinite(texture), 4.5 * np.minimum(texture, 1.5), 1.5 + 5 * np.minimum(sizes, 1))
    flow = steps(signals.motion.reshape(len(signals.kind), -1), signals.kind, 4).reshape(signals.motion.shape)
    speed = np.nan_to_num(np.median(np.sqrt(np.square(flow).sum(axis=2)), axis=1))
    layout = np.nan_to_num(np.abs(steps(signals.energy, signals.kind, 4)).mean(axis=1))
    moves[rows] = (3 * np.minimum(speed, 2) + 1.5 * np.minimum(layout, 1.5))[rows]
    return off, differs, moves


def off_clock(rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """0..1 for each row but the first: its distance to the row before is not the one that an encoder keeps to."""
    gaps = np.diff(rows)
    if not len(gaps):
        return np.zeros(0)
    longest = gaps >= gaps.max() - gaps.max() // 50
    # A longest gap that no other repeats is no clock; the only gap there is may be one.
    off = np.where(longest, 0.0 if longest.sum() > 1 else 1.0 if len(gaps) > 1 else 0.5, 1.0)
    length, count = np.unique(gaps, return_counts=True)
    usual = length[count >= max(3, 0.4 * len(gaps))]
    return np.where(np.isin(gaps, usual), 0.0, off)
