"""Packets, vectors and residual energy -> how much happens between frames, and where events begin and end.

No picture is compared with another: the encoder already did that. Where a scene ends nothing can be predicted across
the boundary, and where something comes in, bytes, residual energy and moving area rise and stay up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from codecmeta.compiling import announce_compiling
from codecmeta.decisions.budget import frame_rows
from codecmeta.record.metadata import B, I, Maps, Metadata, Motion, P, Probe

CELLS = (6, 8)
"""The picture is watched in this many rows and columns of cells."""

ONE_EVENT = 10
"""Changes within so many frames of a stronger one are the same event."""

_VALUES_AT_ONCE = 1 << 22  # of vectors or blocks that are read together: tens of MB

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
    announce_compiling(_sides, _read_vectors)
    strength = _row_changes(_read_signals(meta, *dense_signals(meta)))
    edges = np.minimum(rows + 1, len(strength) - 1)
    between = np.maximum.reduceat(strength, edges)[:-1]
    return np.where(np.diff(rows) > 0, between, 0.0).astype(np.float32)


@dataclass
class _Signals:
    """What is known about each row r; NaN where it is not known.

    kind: uint8 (n,), I for intra pictures and keyframes, P, or B. key: bool (n,), keyframes. bytes: (n,), log of the
    packet size. past, future: (n,), share of the picture predicted from pictures displayed before, after it. energy,
    moving, intra: (n, cells): log of the mean square residual; share of blocks that move against the median motion;
    share without prediction. motion: (n, cells, 2), pixels per frame. luma: (n,), change of the decoded block means
    since the frame before.
    """

    kind: NDArray[np.uint8]
    key: NDArray[np.bool_]
    bytes: NDArray[np.float64]
    past: NDArray[np.float64]
    future: NDArray[np.float64]
    energy: NDArray[np.float64]
    moving: NDArray[np.float64]
    intra: NDArray[np.float64]
    motion: NDArray[np.float64]
    luma: NDArray[np.float64]


def dense_signals(meta: Metadata | Probe) -> tuple[Maps | None, Motion | None]:
    """Residual maps and vectors where nearly every frame has them, else None."""
    residual, motion = getattr(meta, "residual", None), getattr(meta, "motion", None)
    covered = max((len(one.frame) for one in (residual, motion) if one is not None), default=0)
    return (residual, motion) if covered >= 0.9 * len(meta.frames) else (None, None)


def _read_signals(meta: Metadata | Probe, residual: Maps | None, motion: Motion | None) -> _Signals:
    table = meta.frames
    kind = np.where(table.keyframe | (table.picture_type == I), I, np.where(table.picture_type == B, B, P))
    count, cells = len(table), CELLS[0] * CELLS[1]
    unknown = np.full((count, cells), np.nan)
    signals = _Signals(
        kind=kind.astype(np.uint8),
        key=table.keyframe,
        bytes=np.log(table.packet_bytes + 30.0),  # a skipped picture still has a header
        past=np.full(count, np.nan),
        future=np.full(count, np.nan),
        energy=unknown,
        moving=unknown.copy(),
        intra=unknown.copy(),
        motion=np.full((count, cells, 2), np.nan),
        luma=np.full(count, np.nan),
    )
    if residual is not None:
        _read_energy(residual, signals)
        if len(residual.luma_change):
            signals.luma[residual.frame] = residual.luma_change
    if motion is not None:
        _read_motion(motion, meta, signals)
        if (
            residual is not None
        ):  # decoded, yet without a vector: an all-intra picture (the last one may just lack them)
            bare = np.setdiff1d(residual.frame, [*motion.frame, count - 1])
            bare = bare[signals.kind[bare] == P]
            signals.past[bare], signals.future[bare], signals.intra[bare] = 0.0, 0.0, 1.0
    return signals


def _read_energy(maps: Maps, signals: _Signals) -> None:
    height, width = maps.values.shape[1:]
    row_edges = np.linspace(0, height, CELLS[0] + 1).astype(int)
    column_edges = np.linspace(0, width, CELLS[1] + 1).astype(int)
    area = np.outer(np.maximum(np.diff(row_edges), 1), np.maximum(np.diff(column_edges), 1))
    together = max(1, min(64, _VALUES_AT_ONCE // max(height * width, 1)))
    for first in range(0, len(maps.frame), together):
        energy = np.square(np.asarray(maps.values[first : first + together], np.float32))
        sums = np.add.reduceat(np.add.reduceat(energy, row_edges[:-1], axis=1), column_edges[:-1], axis=2)
        part = np.log(sums / area + 0.5)  # half a grey level squared: below it is rounding
        signals.energy[maps.frame[first : first + together]] = part.reshape(len(part), -1)


def _read_motion(motion: Motion, meta: Metadata | Probe, signals: _Signals) -> None:
    """Vectors are brought to pixels per frame under the usual assumption: they refer to the nearest I or P picture."""
    anchors = np.flatnonzero(signals.kind != B)
    before = np.searchsorted(anchors, motion.frame) - 1
    after = np.searchsorted(anchors, motion.frame, side="right")
    behind = np.maximum(motion.frame - anchors[np.maximum(before, 0)], 1)
    ahead = np.maximum(anchors[np.minimum(after, len(anchors) - 1)] - motion.frame, 1)
    blocks = (max(-(-meta.stream.height // 8), CELLS[0]), max(-(-meta.stream.width // 8), CELLS[1]))
    against = max(0.5, meta.stream.width / 640)
    together = max(1, min(64, _VALUES_AT_ONCE // max(int(np.diff(motion.indptr).max(initial=0)), 1)))
    for first in range(0, len(motion.frame), together):
        part = slice(first, min(first + together, len(motion.frame)))
        start, stop = int(motion.indptr[part.start]), int(motion.indptr[part.stop])
        vectors = motion.vectors[start:stop]
        moved = np.stack([vectors[name].astype(np.float32) for name in ("motion_x", "motion_y")], axis=1)
        shares, cells = _read_vectors(
            motion.indptr[first : part.stop + 1] - start,
            np.stack([vectors[name].astype(np.int32) for name in ("source", "w", "h", "dst_x", "dst_y")], axis=1),
            moved / np.maximum(vectors["scale"], 1).astype(np.float32)[:, None],
            np.stack([behind[part], ahead[part]], axis=1).astype(np.float64),
            blocks,
            CELLS,
            against,
        )
        rows = motion.frame[part]
        predicted = signals.kind[rows] != I
        rows, shares, cells = rows[predicted], shares[predicted], cells[predicted]
        signals.past[rows], signals.future[rows] = shares.T
        signals.moving[rows], signals.intra[rows] = cells[..., 0], cells[..., 1]
        signals.motion[rows] = cells[..., 2:]


def _row_changes(signals: _Signals) -> NDArray[np.float64]:
    """float64 (n,): what happens between row r - 1 and r; 0 for row 0."""
    onset = _onsets(signals)
    cut = _cuts(signals)
    strength = np.maximum(cut * np.minimum(1, 2 * cut), 0.5 * onset)  # an unsure cut counts less than its chance
    # One event, one peak: what it stirs up around itself counts little, and a fade is not a row of cuts.
    before, after = _window_maximum(strength, ONE_EVENT, -1), _window_maximum(strength, ONE_EVENT, 1)
    return np.where((strength > before) & (strength >= after), strength, 0.1 * strength)


def _onsets(signals: _Signals) -> NDArray[np.float64]:
    """0..1: bytes, energy, moving area and intra blocks rise and stay up, in the whole picture or in some cells."""

    def rise(values: NDArray[np.float64], floor: float) -> NDArray[np.float64]:
        step = _steps(values, signals.kind, 4)
        return np.nan_to_num(np.clip(step / (_jitter(values, signals.kind, 12) + floor), 0, 12))

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


def _cuts(signals: _Signals) -> NDArray[np.float64]:
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
    usual = np.fmax(*_medians(luma[:, None], everything, P, 12))[:, 0]
    ratio = luma / (np.nan_to_num(usual) + 0.5)
    return np.nan_to_num(1 / (1 + (4.5 / np.maximum(ratio, 1e-3)) ** 4))


def _break(signals: _Signals, first: int, anchor: int) -> int:
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


def _predicted_cuts(signals: _Signals) -> NDArray[np.float64]:
    """Chance, per P picture, that nothing of it could be predicted from pictures before it.

    Known from its vectors; else guessed from its size, and from how much the residual is laid out differently after it.
    """
    kind, everything = signals.kind, np.full(len(signals.kind), P, np.uint8)
    broken = 1 - signals.past
    usual = np.fmin(*_medians(broken[:, None], kind, P, 5))[:, 0]
    usual = np.minimum(np.nan_to_num(usual), 0.9)
    known = 14 * ((broken - usual) / (1 - usual) - 0.45)

    before, after = _medians(signals.bytes[:, None], kind, P, 5)
    jump = signals.bytes - np.fmax(before, after)[:, 0]
    jump = np.clip(np.where(np.isnan(before[:, 0]), -1, np.nan_to_num(jump)), -1, 3)  # the first ones have no past
    moved = np.abs(_steps(signals.energy, kind, 4)).mean(axis=1)
    usual = np.fmin(*_medians(moved[:, None], everything, P, 12))[:, 0]
    ratio = np.clip(moved / np.maximum(usual, 0.05), 0, 6)
    if (kind == B).any():
        # Between B pictures P pictures are alike. The layout may have changed at any B picture since the last anchor;
        # where it changed more a little before or after, that is not the place.
        excess = np.nan_to_num(np.clip(moved - usual, 0, 3))
        near = np.maximum(excess, np.maximum(_window_maximum(excess, 6, -1), _window_maximum(excess, 6, 1)))
        anchors = np.flatnonzero(kind != B)
        since = np.append(0, anchors[:-1] + 1)
        here = np.maximum.reduceat(excess, since) >= 0.95 * np.maximum.reduceat(near, since)
        ratio[anchors] = np.where(here, np.fmax.reduceat(ratio, since), np.minimum(ratio[anchors], 1))
        excess[anchors] = np.where(here, np.maximum.reduceat(excess, since), 0)
        guess = 4.5 * jump + 0.4 * ratio + 1.5 * excess - 5
    else:
        # Alone they play many parts (VP9), and only a great jump means anything.
        guess = 2.2 * jump + ratio - 9
    restless = _jitter(signals.bytes[:, None], kind, 12)[:, 0]
    guess = np.where(np.isfinite(ratio), guess, 4.5 * jump - 6 - 5 * restless)
    chance = 1 / (1 + np.exp(-np.where(np.isfinite(known), known, guess)))
    return np.where(kind == P, chance, 0.0)


def _intra_evidence(
    signals: _Signals,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Per I picture: does it come off the encoder's clock (0..1), how far does its texture differ from that of the I
    picture before it, and what happens after it from what happened before. In logits, beside 8 for off the clock."""
    off_clock, differs, moves = np.zeros((3, len(signals.kind)))
    rows = np.flatnonzero(signals.kind == I)
    if len(rows) < 2:
        return off_clock, differs, moves
    # Keyframes keep their own clock: an intra picture that is none does not restart it.
    off_clock[rows[1:]] = _off_clock(rows)
    keys = np.flatnonzero(signals.key)
    off_clock[keys[1:]] = _off_clock(keys)
    texture = np.abs(np.diff(signals.energy[rows], axis=0)).mean(axis=1)
    sizes = np.abs(np.diff(signals.bytes[rows]))
    differs[rows[1:]] = np.where(np.isfinite(texture), 4.5 * np.minimum(texture, 1.5), 1.5 + 5 * np.minimum(sizes, 1))
    flow = _steps(signals.motion.reshape(len(signals.kind), -1), signals.kind, 4).reshape(signals.motion.shape)
    speed = np.nan_to_num(np.median(np.sqrt(np.square(flow).sum(axis=2)), axis=1))
    layout = np.nan_to_num(np.abs(_steps(signals.energy, signals.kind, 4)).mean(axis=1))
    moves[rows] = (3 * np.minimum(speed, 2) + 1.5 * np.minimum(layout, 1.5))[rows]
    return off_clock, differs, moves


def _off_clock(rows: NDArray[np.int64]) -> NDArray[np.float64]:
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


def _window_maximum(values: NDArray[np.float64], reach: int, way: Literal[-1, 1]) -> NDArray[np.float64]:
    """The largest of the `reach` values before (-1) or after (+1) each one, itself left out; 0 at the end."""
    padded = np.pad(values, reach)
    windows = np.lib.stride_tricks.sliding_window_view(padded, reach).max(axis=1)
    return windows[: len(values)] if way < 0 else windows[reach + 1 :]


def _steps(values: NDArray[np.float64], kind: NDArray[np.uint8], reach: int) -> NDArray[np.float64]:
    """Median of the next pictures (row r among them) minus that of the last ones, like with like.

    P and B pictures are compared with their own kind, up to `reach` on each side, and the two averaged by their
    numbers. values: (n, series). Returns (n, series), NaN where neither kind has 2 known values on both sides.
    """
    step, weight = np.zeros(values.shape), np.zeros(values.shape)
    for of in (P, B):
        after, before, pairs = _sides(np.ascontiguousarray(values), kind, of, reach, 0)
        known = pairs >= 2
        step[known] += (pairs * (after - before))[known]
        weight[known] += pairs[known]
    return np.divide(step, weight, out=np.full(values.shape, np.nan), where=weight > 0)


def _jitter(values: NDArray[np.float64], kind: NDArray[np.uint8], reach: int) -> NDArray[np.float64]:
    """How much a series usually changes from one picture to the next of its kind, in the neighbourhood: the mean of
    the medians before and after row r, of P and of B pictures by their numbers. (n, series), 0 where unknown."""
    jitter, weight = np.zeros(values.shape), 0
    for of in (P, B):
        rows = np.flatnonzero(kind == of)
        if len(rows) < 6:
            continue
        change = np.full(values.shape, np.nan)
        change[rows[1:]] = np.abs(np.diff(values[rows], axis=0))
        before, after = _medians(change, kind, of, reach)
        both = (np.fmin(before, after) + np.fmax(before, after)) / 2  # one side alone where the other is unknown
        jitter += len(rows) * np.nan_to_num(both)
        weight += len(rows)
    return jitter / max(weight, 1)


def _medians(
    values: NDArray[np.float64], kind: NDArray[np.uint8], of: int, reach: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Medians of the `reach` nearest pictures of a kind before and after each row, the row itself left out."""
    after, before, _ = _sides(np.ascontiguousarray(values), kind, of, reach, 1)
    return before, after


@njit(cache=True, nogil=True)
def _median(values, count):  # type: ignore[no-untyped-def]
    """Median of values[:count], which it sorts in place; NaN if there are none."""
    for i in range(1, count):
        value = values[i]
        j = i - 1
        while j >= 0 and values[j] > value:
            values[j + 1] = values[j]
            j -= 1
        values[j + 1] = value
    if count == 0:
        return np.nan
    return 0.5 * (values[(count - 1) // 2] + values[count // 2])


@njit(cache=True, nogil=True)
def _gather(values, kind, of, series, start, way, reach, out):  # type: ignore[no-untyped-def]
    """Up to `reach` known values of one kind from row `start` on, going `way` (+1, -1), at most 5 * reach rows far."""
    count = 0
    row = start
    while 0 <= row < len(kind) and count < reach and abs(row - start) < 5 * reach:
        if kind[row] == of and not np.isnan(values[row, series]):
            out[count] = values[row, series]
            count += 1
        row += way
    return count


@njit(cache=True, nogil=True)
def _sides(values, kind, of, reach, skip):  # type: ignore[no-untyped-def]
    """Medians of up to `reach` pictures of one kind from row r + skip on and before row r, and the smaller number of
    values that went into one: three arrays (n, series)."""
    rows, series = values.shape
    after, before, pairs = np.empty((rows, series)), np.empty((rows, series)), np.empty((rows, series))
    near = np.empty(reach)
    for s in range(series):
        if np.isnan(values[:, s]).all():  # a signal that does not exist costs nothing
            after[:, s], before[:, s], pairs[:, s] = np.nan, np.nan, 0
            continue
        for r in range(rows):
            new = _gather(values, kind, of, s, r + skip, 1, reach, near)
            after[r, s] = _median(near, new)
            old = _gather(values, kind, of, s, r - 1, -1, reach, near)
            before[r, s] = _median(near, old)
            pairs[r, s] = min(new, old)
    return after, before, pairs


@njit(cache=True, nogil=True)
def _read_vectors(indptr, blocks, moved, distance, size, cells, against):  # type: ignore[no-untyped-def]
    """Paint the vectors of each frame on an 8x8-pixel grid and sum it up.

    indptr: (k + 1,). blocks: int32 (m, 5) source, w, h, centre x, y. moved: float32 (m, 2) pixels. distance: (k, 2)
    frames to the past, the future reference. size: (rows, columns) of the grid. cells: the same of the cells. against:
    pixels per frame. Returns shares (k, 2), predicted from the past, the future; and (k, cells, 4): share that moves
    against the median motion, share without prediction, mean motion x, y (NaN where nothing is predicted).
    """
    frames = len(indptr) - 1
    rows, columns = size
    shares = np.zeros((frames, 2))
    result = np.zeros((frames, cells[0] * cells[1], 4))
    known = np.empty((2, rows, columns), np.bool_)
    motion = np.empty((2, rows, columns, 2), np.float32)
    x_all, y_all = np.empty(rows * columns, np.float32), np.empty(rows * columns, np.float32)
    for f in range(frames):
        known[:] = False
        for v in range(indptr[f], indptr[f + 1]):
            side = 0 if blocks[v, 0] < 0 else 1
            scale = 1 / distance[f, 0] if side == 0 else -1 / distance[f, 1]
            top, left = blocks[v, 4] - blocks[v, 2] // 2, blocks[v, 3] - blocks[v, 1] // 2
            for r in range(max(0, (top + 4) // 8), min(rows, (top + blocks[v, 2] + 4) // 8)):
                for c in range(max(0, (left + 4) // 8), min(columns, (left + blocks[v, 1] + 4) // 8)):
                    known[side, r, c] = True
                    motion[side, r, c, 0] = moved[v, 0] * scale
                    motion[side, r, c, 1] = moved[v, 1] * scale
        count = 0
        for r in range(rows):
            for c in range(columns):
                shares[f, 0] += known[0, r, c]
                shares[f, 1] += known[1, r, c]
                if known[0, r, c] and known[1, r, c]:
                    motion[0, r, c] = (motion[0, r, c] + motion[1, r, c]) / 2
                elif known[1, r, c]:
                    motion[0, r, c] = motion[1, r, c]
                if known[0, r, c] or known[1, r, c]:
                    x_all[count] = motion[0, r, c, 0]
                    y_all[count] = motion[0, r, c, 1]
                    count += 1
        shares[f] /= rows * columns
        middle_x = np.median(x_all[:count]) if count else 0.0
        middle_y = np.median(y_all[:count]) if count else 0.0
        for i in range(cells[0]):
            for j in range(cells[1]):
                area = predicted = 0
                cell = result[f, i * cells[1] + j]
                for r in range(i * rows // cells[0], (i + 1) * rows // cells[0]):
                    for c in range(j * columns // cells[1], (j + 1) * columns // cells[1]):
                        area += 1
                        if known[0, r, c] or known[1, r, c]:
                            predicted += 1
                            x, y = motion[0, r, c, 0], motion[0, r, c, 1]
                            cell[0] += max(abs(x - middle_x), abs(y - middle_y)) > against
                            cell[2] += x
                            cell[3] += y
                cell[0] /= area
                cell[1] = 1 - predicted / area
                cell[2] = cell[2] / predicted if predicted else np.nan
                cell[3] = cell[3] / predicted if predicted else np.nan
    return shares, result
