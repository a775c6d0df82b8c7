"""Packet sizes -> how many tokens each sampled frame deserves.

An encoder spends bytes where something is new, so the bytes around a frame say how much there is to keep. The total is
exact and known before any picture is decoded.
"""

from __future__ import annotations

import logging
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from codecmeta.record.metadata import Frames, Metadata, Probe

logger = logging.getLogger(__name__)


def frame_budgets(
    weights: ArrayLike,
    total: int,
    capacity: int | ArrayLike,
    minimum: int | None = None,
    *,
    rule: Literal["exact", "paper"] = "exact",
) -> NDArray[np.int64]:
    """Split `total` tokens over the frames in proportion to the square root of their weights.

    >>> frame_budgets([100, 400, 900, 1600], total=100, capacity=196, minimum=10)
    array([16, 22, 28, 34])

    Every frame first gets `minimum`; the rest is shared out by sqrt(weight). A frame that would get more than it holds
    gets `capacity` and its surplus is shared out again among the others. Fractions go to the frames with the largest
    remainder, earlier frames first. So, always: sum == min(total, sum of capacity), no frame is over its capacity, none
    is under the minimum unless its capacity is or the total cannot pay for it, equal weights differ by at most 1.

    weights: float (T,), bytes per packet as `gop_weights` returns them (any scale; negative counts as 0; if all are 0
    the frames share equally). total: tokens for the whole clip, e.g. 0.3 * T * tokens per frame. capacity: tokens a
    frame has, one number or int (T,). minimum: floor per frame; the default is a quarter of the uniform share,
    total // (4 T). Raise it when no moment may be missed, 0 leaves everything to the weights. rule: "paper" is the
    printed formula minimum + round((total - T minimum) * share), whose sum drifts by a few tokens and which knows no
    capacity; use it only to reproduce it.

    Returns int64 (T,). Raises ValueError for what cannot be shared out.
    """
    weights = np.asarray(weights, np.float64)
    if weights.ndim != 1 or not len(weights) or not np.isfinite(weights).all():
        raise ValueError(
            f"weights must be one finite number per frame, shape (T,) with T >= 1; got shape {weights.shape}"
            + ("" if np.isfinite(weights).all() else " with values that are not finite")
        )
    count = len(weights)
    held = np.asarray(capacity)
    if held.shape not in ((), (count,)) or held.dtype.kind not in "iu" or (held < 0).any():
        raise ValueError(
            f"capacity must be one integer >= 0 or one per frame ({count},); got {held.dtype} of shape {held.shape}"
        )
    held = np.broadcast_to(held, (count,)).astype(np.int64)
    if total < 0 or int(total) != total:
        raise ValueError(f"total must be a whole number of tokens >= 0; got {total}")
    total = int(total)
    floor = total // (4 * count) if minimum is None else minimum
    if floor < 0 or int(floor) != floor:
        raise ValueError(f"minimum must be a whole number of tokens >= 0; got {minimum}")
    floor = int(floor)
    roots = np.sqrt(np.maximum(weights, 0.0))
    if rule == "paper":
        return _paper(roots, total, floor)
    if rule != "exact":
        raise ValueError(f"rule must be 'exact' or 'paper'; got {rule!r}")
    return _exact(roots, total, held, floor)


def gop_weights(
    meta: Metadata | Probe, frames: ArrayLike, mode: Literal["auto", "gop", "window"] = "auto"
) -> NDArray[np.float64]:
    """How many bytes a packet takes, on average, around each sampled frame: MeToM's c_t.

    mode "gop": mean packet size of the group of pictures that the frame belongs to. "window": mean packet size between
    the midpoints to the neighbouring samples, keyframe packets left out where at least 3 others remain (a lone
    keyframe would otherwise win its frame the budget by chance). "auto": "gop", unless the samples fall into fewer
    than max(2, T / 4) groups, whose mean would then say nothing about the frames in them (screen recordings, encoder
    defaults of ten seconds per group); then "window".

    meta: needs the frame and GoP tables only, so a `Probe` is enough. frames: int (T,), rows of the frame table, in
    ascending order (a row may repeat). Returns float64 (T,), bytes per packet.
    """
    rows = frame_rows(frames, len(meta.frames))
    if mode not in ("auto", "gop", "window"):
        raise ValueError(f"mode must be 'auto', 'gop' or 'window'; got {mode!r}")
    gop = meta.frames.gop[rows]
    if mode == "auto":
        mode = "window" if len(np.unique(gop)) < max(2.0, len(rows) / 4) else "gop"
    weights = meta.gops.packet_bytes_mean[gop] if mode == "gop" else _window_means(meta.frames, rows)
    if not weights.any():
        logger.info("no packet sizes are known: every frame gets the same weight")
    return weights.astype(np.float64)


def frame_rows(frames: ArrayLike, count: int) -> NDArray[np.int64]:
    """Check a list of frame-table rows, ascending and inside a table of `count`, and return it as int64 (T,)."""
    rows = np.asarray(frames)
    if rows.ndim != 1 or not len(rows) or rows.dtype.kind not in "iu":
        raise ValueError(f"frames must be rows of the frame table, int (T,), T >= 1; got {rows.dtype} {rows.shape}")
    if rows.min() < 0 or rows.max() >= count:
        raise ValueError(f"frames must be rows 0..{count - 1} of the frame table; got {rows.min()}..{rows.max()}")
    if (np.diff(rows.astype(np.int64)) < 0).any():
        raise ValueError("frames must be in display order (ascending rows); sort them first")
    return rows.astype(np.int64)


def sampling_windows(frames: Frames, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows [start, stop) that each sampled row stands for: up to the midpoints, in time, to its neighbours.

    The first and the last window reach as far outwards as inwards; a single sample stands for the whole video. Every
    window holds at least its own row. rows: int64 (T,), ascending. Returns two int64 (T,).
    """
    count = len(frames)
    if len(rows) == 1:
        return np.zeros(1, np.int64), np.full(1, count, np.int64)
    time = frames.time
    if not np.isfinite(time).all() or (np.diff(time) < 0).any():
        time = np.arange(count, dtype=np.float64)  # a broken clock: count frames instead
    at = time[rows]
    middle = (at[1:] + at[:-1]) / 2
    first, last = 2 * at[0] - middle[0], 2 * at[-1] - middle[-1]
    start = np.searchsorted(time, np.concatenate(([first], middle)), side="left")
    stop = np.searchsorted(time, np.concatenate((middle, [last])), side="left")
    return np.minimum(start, rows), np.maximum(stop, rows + 1)


def _window_means(frames: Frames, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    start, stop = sampling_windows(frames, rows)
    packets = frames.packet_bytes.astype(np.float64)
    other = ~frames.keyframe
    all_bytes, other_bytes, others = (
        np.concatenate(([0.0], np.cumsum(values))) for values in (packets, packets * other, other)
    )
    left = others[stop] - others[start]
    means = (all_bytes[stop] - all_bytes[start]) / (stop - start)
    return np.where(left >= 3, (other_bytes[stop] - other_bytes[start]) / np.maximum(left, 1), means)


def _paper(roots: NDArray[np.float64], total: int, floor: int) -> NDArray[np.int64]:
    if not roots.sum() > 0:
        raise ValueError("rule='paper' is undefined when every weight is 0; use rule='exact'")
    rest = total - len(roots) * floor
    if rest < 0:
        raise ValueError(f"rule='paper' cannot give {len(roots)} frames {floor} tokens each out of {total}")
    return floor + np.rint(rest * roots / roots.sum()).astype(np.int64)


def _exact(roots: NDArray[np.float64], total: int, held: NDArray[np.int64], floor: int) -> NDArray[np.int64]:
    total = min(total, int(held.sum()))
    base = np.minimum(min(floor, total // len(roots)), held)
    if not roots.any():
        roots = np.ones(len(roots))
    share = held.astype(np.float64)
    open_ = np.ones(len(roots), bool)  # frames not yet filled to capacity
    while open_.any():
        rest = total - base[open_].sum() - held[~open_].sum()
        weight = np.where(open_, roots, 0.0)
        weight = weight / weight.max() if weight.any() else open_.astype(np.float64)
        wanted = base + rest * weight / weight.sum()
        over = open_ & (wanted > held)
        share = np.where(open_, wanted, share)
        if not over.any():
            break
        open_ &= ~over
        share[over] = held[over]
    # Rounding noise must not turn 17 into 16.999...: half-open intervals are cut a hair below the whole number.
    budget = np.floor(share + 1e-9).astype(np.int64)
    remainder = np.where(budget < held, np.round(share - budget, 9), -np.inf)
    order = np.argsort(-remainder, kind="stable")
    budget[order[: total - int(budget.sum())]] += 1
    return budget
