"""Budgeted tokens per frame -> a core that is merged over time and absorbs the rest.

MeToM's budget-adaptive token merging (BTM) between projector and language model: (1) the core of a frame are its
densest tokens, as many as its budget; (2) similar core tokens of neighbouring frames are averaged, best pair first;
(3) every token outside the core is folded into the most similar core token of its own frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from codecmeta.compiling import njit
from codecmeta.compression.merging import FoldRule, absorb, index_of


def choose_core(
    density: NDArray[np.float32], counts: NDArray[np.int64], ties: Literal["spread", "raster"] = "spread"
) -> NDArray[np.bool_]:
    """The counts[t] densest cells of each frame: density float (T, N) -> bool (T, N).

    Where only some of several equal cells fit, "spread" takes them evenly over the frame and starts one cell later in
    every frame; a codec leaves large parts of most frames without any residual, and what rests there is then seen in
    one frame or the other. "raster" takes the first ones; a frame of one density throughout is spread evenly all the
    same, as a corner of it would say nothing.
    """
    frames, cells = density.shape
    core = np.zeros((frames, cells), bool)
    for t, count in enumerate(counts):
        if not count:
            continue
        values = density[t]
        if values.max() - values.min() <= 1e-6 * np.abs(values).max():
            core[t, (np.arange(count) * cells + cells // 2) // count] = True
            continue
        order = np.argsort(-values, kind="stable")
        equal = np.flatnonzero(values == values[order[count - 1]])
        above = np.flatnonzero(values > values[order[count - 1]])
        left = count - len(above)
        spread = (np.arange(left) * len(equal) // left + t) % len(equal)
        core[t, above] = True
        core[t, equal[spread if ties == "spread" else np.arange(left)]] = True
    return core


@dataclass(frozen=True)
class Merged:
    """Core tokens after merging over time.

    home: int64 (T * N,), for each slot of the token grid the slot in which its token now lives (itself where nothing
    happened), -1 outside the core. values: (T * N, width), right at the slots that are their own home. size: int64
    (T * N,), tokens averaged in each home.
    """

    home: NDArray[np.int64]
    values: Tensor
    size: NDArray[np.int64]


def merge_over_time(
    tokens: Tensor,
    core: NDArray[np.bool_],
    tau: float = 0.80,
    *,
    span: int = 1,
    radius: int | None = None,
    columns: int = 0,
    chain: bool = False,
    most: int | None = None,
) -> Merged:
    """Average pairs of core tokens of different frames whose cosine is above `tau`, most similar pairs first.

    Every token enters at most one merge; the result lives in the earlier frame's slot. tokens: (T, N, width). core:
    bool (T, N). span: frames at most this far apart are compared. radius: only cells at most this far apart on the
    grid (Chebyshev; needs `columns`). chain: a token may have one earlier and one later partner, and everything so
    linked becomes one mean, in the slot of its first member. most: merges at most, the best ones.
    """
    frames, cells, _ = tokens.shape
    home = np.where(core.ravel(), np.arange(frames * cells), -1)
    size = (home >= 0).astype(np.int64)
    flat = tokens.flatten(0, 1)
    left, right = _pairs(tokens, core, tau, span, radius, columns)
    taken = _match(left, right, frames * cells, chain)[:most]
    if not len(taken):
        return Merged(home, flat, size)
    left, right = left[taken], right[taken]
    for a, b in sorted(zip(left, right, strict=True)):  # earliest first, so that chains hang on their first member
        home[b] = home[a]
    members = np.unique(np.concatenate((left, right)))
    roots = home[members]
    sums = torch.zeros_like(flat, dtype=torch.float32)
    sums.index_add_(0, index_of(roots, flat), flat[index_of(members, flat)].float())
    size = np.bincount(home[home >= 0], minlength=frames * cells)
    changed = np.unique(roots)
    values = flat.clone()
    means = sums[index_of(changed, flat)] / index_of(size[changed], flat)[:, None]
    values[index_of(changed, flat)] = means.to(flat.dtype)
    return Merged(home, values, size)


def count_merges(tokens: Tensor, core: NDArray[np.bool_], tau: float) -> int:
    """How many tokens `merge_over_time` would save between neighbouring frames."""
    frames, cells, _ = tokens.shape
    left, right = _pairs(tokens, core, tau, 1, None, 0)
    return len(_match(left, right, frames * cells, False))


def fold(
    tokens: Tensor,
    core: NDArray[np.bool_],
    merged: Merged,
    rule: FoldRule = "half",
    alive: NDArray[np.bool_] | None = None,
) -> tuple[Tensor, NDArray[np.int64]]:
    """Fold every token outside the core into the most similar core token of its frame: (T * N, width), and int64
    (T * N,), the slot that what was in each one went into, -1 where it was lost.

    Core tokens of a frame are those in its own slots and those that took one of its tokens in. rule "half": the core
    token keeps half of the weight, the mean of all that is folded into it gets the other half. "sequential": one after
    the other in raster order, each time the average of both. "size_weighted": the mean of everything. "drop": lose
    them. A frame without core folds into the nearest earlier frame that has one, else the nearest later one.
    Similarities are taken before anything is folded, in float32. alive: bool (T, N), cells that hold a token at all;
    all, by default.
    """
    loose_cells = ~core if alive is None else alive & ~core
    if rule == "drop" or not loose_cells.any():
        return merged.values, merged.home
    frames, cells, _ = tokens.shape
    units = normalize(tokens.flatten(0, 1).float(), dim=-1)
    core_units = normalize(merged.values.float(), dim=-1)
    with_core = np.flatnonzero(core.any(axis=1))
    if not len(with_core):
        return merged.values, merged.home
    sources, targets = [], []
    for t in range(frames):
        loose = np.flatnonzero(loose_cells[t]) + t * cells
        if not len(loose):
            continue
        before, after = with_core[with_core <= t], with_core[with_core > t]
        nearest = before[-1] if len(before) else after[0]
        homes = np.unique(merged.home[nearest * cells : (nearest + 1) * cells])
        homes = homes[homes >= 0]
        similar = units[index_of(loose, tokens)] @ core_units[index_of(homes, tokens)].T
        sources.append(loose)
        targets.append(homes[similar.argmax(dim=1).cpu().numpy()])
    every, into = (np.concatenate(sources), np.concatenate(targets)), merged.home.copy()
    into[every[0]] = every[1]
    return absorb(tokens.flatten(0, 1), merged.values, merged.size, *every, rule), into


def _pairs(
    tokens: Tensor, core: NDArray[np.bool_], tau: float, span: int, radius: int | None, columns: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All pairs of slots (earlier, later) above tau, most similar first, ties by slot."""
    frames, cells, _ = tokens.shape
    units = normalize(tokens.float(), dim=-1)
    left, right, similarity = [], [], []
    for t in range(frames):
        for u in range(t + 1, min(t + span, frames - 1) + 1):
            a, b = np.flatnonzero(core[t]), np.flatnonzero(core[u])
            cosine = units[t][index_of(a, tokens)] @ units[u][index_of(b, tokens)].T
            close = cosine > tau
            if radius is not None:
                rows = np.abs(a[:, None] // columns - b[None] // columns)
                apart = np.maximum(rows, np.abs(a[:, None] % columns - b[None] % columns))
                close &= torch.as_tensor(apart <= radius, device=close.device)
            i, j = close.nonzero(as_tuple=True)
            similarity.append(cosine[i, j].cpu().numpy())
            left.append(a[i.cpu().numpy()] + t * cells)
            right.append(b[j.cpu().numpy()] + u * cells)
    if not left:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    first, second, score = np.concatenate(left), np.concatenate(right), np.concatenate(similarity)
    order = np.lexsort((second, first, -score))
    return first[order], second[order]


@njit(cache=True)
def _match(left, right, slots, chain):  # type: ignore[no-untyped-def]
    """Greedy matching: indices of the pairs taken, in order; a slot is used once (once per side for chains)."""
    used_left = np.zeros(slots, np.bool_)
    used_right = np.zeros(slots, np.bool_)
    taken = np.zeros(len(left), np.bool_)
    for k in range(len(left)):
        a, b = left[k], right[k]
        free = not used_left[a] and not used_right[b]
        if free and (chain or (not used_right[a] and not used_left[b])):
            used_left[a] = used_right[b] = True
            taken[k] = True
    return np.flatnonzero(taken)
