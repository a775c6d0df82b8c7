"""Residual energy -> how much is new in each patch of a vision encoder, and which patches may share a token.

The formula of MeToM's residual-guided patch merging, in words: standardise the residual of a frame, square it, stretch
the squares to 0..1 over the frame, average them over the rectangle that a patch sees. What is stored per block is the
mean square of the residual, not its sign, and a residual is as often negative as positive; so mu = 0, sigma^2 = mean
square over the displayed picture, and the energy of a block is rms^2 / sigma^2, whose mean over the picture is 1.
(Standardising the rms itself would rank a block of average residual below a block of none.) The formula sums over the
three channels; here luma stands for all of them, as chroma was not seen to add anything.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from codecmeta.compiling import njit
from codecmeta.decisions.budget import frame_rows, sampling_windows
from codecmeta.decisions.dispersed import tile_turns
from codecmeta.decisions.union_find import join
from codecmeta.record.metadata import Maps, Metadata

logger = logging.getLogger(__name__)

NO_INFORMATION = 1e-6
"""A frame whose standardised energy spans less than this is flat: nothing can be ranked in it."""


def patch_density(
    meta: Metadata,
    frames: ArrayLike,
    grid: tuple[int, int],
    *,
    view: tuple[float, float, float, float] | None = None,
    window: bool = False,
    window_intra: bool = False,
    robust: bool = False,
    signal: Literal["auto", "residual", "bits", "bits_first"] = "auto",
) -> NDArray[np.float32]:
    """How much residual energy each patch of a model's grid holds, 0..1 within a frame.

    >>> density = patch_density(meta, [0, 30, 60], (27, 27), view=(0, 0, 1260, 708.75))   # SigLIP sees 378/384 of 720p
    >>> density.shape, density.dtype
    ((3, 27, 27), dtype('float32'))

    The value of a patch is the mean of the stretched energy over exactly the pixels it sees, fractions of blocks
    counted by area; nothing is resized. A frame without information (no residual at all, or the same everywhere) comes
    back as all zeros, and `merge_regions` leaves it alone.

    frames: int (T,), rows of the frame table, ascending. grid: (rows, columns) of the model's patches. view: rectangle
    (x0, y0, x1, y1) of displayed pixels that the grid covers, default the whole picture; it may be stretched
    differently along x and y (a model that resizes to a square) or be a part (centre crop). Where it reaches over the
    picture (padding) only the part inside counts; a patch with no pixel inside gets 0. window: average the energy over
    all stored frames that a sample stands for, instead of the sampled frame alone; use it with few samples and
    frames="all", when what happens between the samples matters. window_intra: count frames of type I in these windows
    too; a single one holds most of the energy of its window, and it is texture. A window of nothing else is averaged
    over what it has. robust: cut the energy at its 99th percentile before
    stretching, when a few blocks outshine everything. signal: "residual", or "bits" spent per 16x16 block in place of
    the rms; "auto" takes the residual, and bits for the frames without one.

    Returns float32 (T, rows, columns). Raises ValueError where a frame has neither signal.
    """
    rows = frame_rows(frames, len(meta.frames))
    grid_rows, grid_columns = grid
    if grid_rows < 1 or grid_columns < 1:
        raise ValueError(f"grid must be (rows, columns) of at least 1 patch; got {grid}")
    width, height = meta.stream.width, meta.stream.height
    x0, y0, x1, y1 = (0.0, 0.0, float(width), float(height)) if view is None else map(float, view)
    if not (x0 < x1 and y0 < y1 and x0 < width and y0 < height and x1 > 0 and y1 > 0):
        raise ValueError(f"view must be (x0, y0, x1, y1) overlapping the {width}x{height} picture; got {view}")
    density = np.zeros((len(rows), grid_rows, grid_columns), np.float32)
    for maps, which in _choose_signal(meta, rows, signal):
        inside = _visible(maps, width, height)
        row_edges = (np.linspace(y0, y1, grid_rows + 1) - maps.origin_y) / maps.block
        column_edges = (np.linspace(x0, x1, grid_columns + 1) - maps.origin_x) / maps.block
        for index, energy in _energies(meta, maps, rows, which, window, window_intra):
            caps = np.full(len(energy), np.inf, np.float32)
            if robust:
                top, bottom, left, right = inside
                shown = energy[:, int(top) : int(np.ceil(bottom)), int(left) : int(np.ceil(right))]
                caps = np.percentile(shown, 99, axis=(1, 2)).astype(np.float32)
            part = np.empty((len(energy), grid_rows, grid_columns), np.float32)
            _area_means(energy, caps, row_edges, column_edges, np.array(inside), part)
            density[index] = part
    return density


def merge_regions(
    density: ArrayLike,
    *,
    tau_mode: Literal["quantile", "target", "fixed"] = "quantile",
    q: float = 0.20,
    share: float = 0.14,
    tau: float | None = None,
    connectivity: Literal[4, 8] = 4,
    max_region: int | None = None,
    min_keep: float = 0.25,
    tile: int | None = None,
    ties: Literal["spread", "raster"] = "spread",
) -> NDArray[np.int32]:
    """Give every patch the number of the token that stands for it: touching patches of low density share one.

    >>> merge_regions([[[0.9, 0.1], [0.8, 0.2]]], tau_mode="fixed", tau=0.5)
    array([[[0, 1],
            [2, 1]]], dtype=int32)

    Labels of a frame run 0..K-1, numbered in raster order of the first patch of each region or kept patch; K =
    labels.max() + 1 tokens stand for the frame. Low patches are the first ones in order of density.

    tau_mode: "quantile" (default): the lowest floor(q * patches) of each frame are low. Only the order within a frame
    means anything, so this is the safe choice. "target": one q for the whole clip, the largest that leaves at least
    (1 - share) of all tokens; use it to compare methods at equal cost. "fixed": density < tau, the literal formula.
    connectivity: 4 (shared edge) or 8 (corners too). max_region: patches a region may have at most; a larger one is cut
    into square tiles from the corner of its bounding box. min_keep: fewer patches are taken as low in a frame that
    would be left with less than this share of its tokens. tile: no region leaves a square of tile x tile patches,
    counted from the top left corner; for encoders that attend in such windows. ties: which of equal patches are low
    first; a codec leaves most patches of most frames without any residual, so this decides more often than density
    does. "spread" takes 2x2 patches all over the frame, others in every frame; "raster" takes the upper left of every
    frame, which saves a little more, as its patches touch. A frame of one density throughout is not merged.

    density: float (T, rows, columns). Returns int32 of that shape.
    """
    values = np.asarray(density, np.float32)
    if values.ndim != 3 or not values.size or not np.isfinite(values).all():
        raise ValueError(f"density must be finite, shape (T, rows, columns), none of them 0; got {values.shape}")
    if connectivity not in (4, 8):
        raise ValueError(f"connectivity must be 4 or 8; got {connectivity}")
    if max_region is not None and max_region < 1:
        raise ValueError(f"max_region must be at least 1 patch, or None; got {max_region}")
    if tile is not None and tile < 1:
        raise ValueError(f"tile must be at least 1 patch, or None; got {tile}")
    for name, number in (("q", q), ("share", share), ("min_keep", min_keep)):
        if not 0 <= number <= 1:
            raise ValueError(f"{name} must be between 0 and 1; got {number}")
    flat = values.reshape(len(values), -1)
    patches = flat.shape[1]
    if ties not in ("spread", "raster"):
        raise ValueError(f"ties must be 'spread' or 'raster'; got {ties!r}")
    turns = (
        tile_turns(len(flat), values.shape[1:]) if ties == "spread" else np.broadcast_to(np.arange(patches), flat.shape)
    )
    rank = np.empty(flat.shape, np.int32)
    np.put_along_axis(rank, np.lexsort((turns, flat), axis=1), np.arange(patches, dtype=np.int32)[None], axis=1)
    if tau_mode == "quantile":
        low = np.full(len(flat), int(q * patches + 1e-9))
    elif tau_mode == "fixed" and tau is not None:
        low = np.count_nonzero(flat < tau, axis=1)
    elif tau_mode == "target":
        low = np.full(len(flat), patches)
    else:
        raise ValueError(f"tau_mode must be 'quantile', 'target', or 'fixed' with tau; got {tau_mode!r} with tau={tau}")
    low[flat.max(axis=1) - flat.min(axis=1) <= NO_INFORMATION * np.abs(flat).max(axis=1)] = 0

    labels = np.empty(values.shape, np.int32)
    ranks = rank.reshape(values.shape)

    def tokens(low: NDArray[np.int64], largest: int) -> NDArray[np.int64]:
        _label(ranks, low.astype(np.int64), connectivity == 8, tile or patches, largest, int(np.sqrt(largest)), labels)
        return labels.max(axis=(1, 2)).astype(np.int64) + 1

    # One more low patch never adds a token (regions uncut), so bisection finds how many a frame, and a clip, can bear.
    safe = int((1 - min_keep) * patches + 1e-9)
    if low.max() > safe:
        most, over = np.minimum(low, safe), low + 1
        while (over - most > 1).any():
            middle = (most + over) // 2
            enough = tokens(middle, patches) >= min_keep * patches - 1e-9
            most, over = np.where(enough, middle, most), np.where(enough, over, middle)
        low = most
    largest = max_region or patches
    if tau_mode == "target":
        under, beyond = 0, patches + 1
        while beyond - under > 1:
            middle = (under + beyond) // 2
            if tokens(np.minimum(low, middle), largest).sum() >= (1 - share) * flat.size - 1e-6:
                under = middle
            else:
                beyond = middle
        low = np.minimum(low, under)
    tokens(low, largest)
    return labels


def _choose_signal(meta: Metadata, rows: NDArray[np.int64], signal: str) -> list[tuple[Maps, NDArray[np.int64]]]:
    """Pairs (maps, which of the sampled frames take their energy from them)."""
    orders = {
        "auto": ("residual", "bits"), "residual": ("residual",), "bits": ("bits",), "bits_first": ("bits", "residual"),
    }  # fmt: skip
    if signal not in orders:
        raise ValueError(f"signal must be one of {', '.join(orders)}; got {signal!r}")
    chosen = []
    missing = np.arange(len(rows))
    names = orders[signal]
    for name in names:
        maps: Maps | None = getattr(meta, name, None)
        if maps is None:
            continue
        covered = np.isin(rows[missing], maps.frame)
        if covered.any():
            chosen.append((maps, missing[covered]))
            if name != "residual":
                logger.info("density of %d frames from %s per block", covered.sum(), name)
        missing = missing[~covered]
    if len(missing):
        said = "; ".join(
            f"{name}: {meta.capability[name]['why']}"
            if getattr(meta, name, None) is None and name in meta.capability
            else f"{name}: not stored for these rows"
            for name in names
        )
        raise ValueError(
            f"no density for {len(missing)} of {len(rows)} frames (rows {', '.join(map(str, rows[missing[:5]]))}"
            f"{', ...' if len(missing) > 5 else ''}): {said}. "
            "Extract with frames='all', or choose rows among meta.residual.frame"
        )
    return chosen


def _visible(maps: Maps, width: int, height: int) -> tuple[float, float, float, float]:
    """(top, bottom, left, right) of the displayed picture in blocks of the map."""
    map_rows, map_columns = maps.values.shape[1:]
    top, left = max(0, -maps.origin_y) / maps.block, max(0, -maps.origin_x) / maps.block
    bottom = min(map_rows, (height - maps.origin_y) / maps.block)
    right = min(map_columns, (width - maps.origin_x) / maps.block)
    return top, bottom, left, right


def _energies(
    meta: Metadata,
    maps: Maps,
    rows: NDArray[np.int64],
    which: NDArray[np.int64],
    window: bool,
    window_intra: bool,
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Batches of (indices into the sampled frames, energy per block float32 (n, map rows, map columns))."""
    if window:
        start, stop = sampling_windows(meta.frames, rows)
        for at in which:
            first, last = np.searchsorted(maps.frame, (start[at], stop[at]))
            change = meta.frames.picture_type[maps.frame[first:last]] != ord("I")
            counted = change if change.any() and not window_intra else np.ones(last - first, bool)
            total = np.zeros(maps.values.shape[1:], np.float64)
            for piece in range(first, last, 32):
                values = np.asarray(maps.values[piece : min(piece + 32, last)], np.float32)
                total += np.square(values[counted[piece - first : piece - first + 32]]).sum(axis=0)
            yield np.array([at]), (total / counted.sum()).astype(np.float32)[None]
        return
    stored = np.searchsorted(maps.frame, rows[which])
    slab = stored // 32  # neighbours are read together: a cache file is compressed in chunks of frames
    for number in np.unique(slab):
        here = np.flatnonzero(slab == number)
        first = stored[here[0]]
        values = np.asarray(maps.values[first : stored[here[-1]] + 1])[stored[here] - first]
        yield which[here], np.square(values.astype(np.float32))


@njit(cache=True, nogil=True)
def _area_means(energy, caps, row_edges, column_edges, inside, out):  # type: ignore[no-untyped-def]
    """Stretch each frame's energy to 0..1 over the visible blocks and average it over each patch.

    energy: (T, map rows, map columns). caps: (T,), larger energies count as this. row_edges, column_edges: patch
    borders in blocks. inside: (top, bottom, left, right) of the picture in blocks. Sums of non-negative terms, not
    differences of an integral image: where nothing happened the result is exactly 0, and equal patches tie.
    """
    top, bottom, left, right = inside
    for t in range(len(energy)):
        cap = caps[t]
        low, high, mean = np.inf, 0.0, 0.0
        for r in range(int(top), int(np.ceil(bottom))):
            tall = min(r + 1, bottom) - max(r, top)
            for c in range(int(left), int(np.ceil(right))):
                value = min(energy[t, r, c], cap)
                low = min(low, value)
                high = max(high, value)
                mean += value * tall * (min(c + 1, right) - max(c, left))
        mean /= (bottom - top) * (right - left)
        spread = high - low
        if not spread / (np.sqrt(mean) + 1e-6) ** 2 >= 1e-6:  # NO_INFORMATION
            out[t] = 0.0
            continue
        for i in range(len(row_edges) - 1):
            y0, y1 = max(row_edges[i], top), min(row_edges[i + 1], bottom)
            for j in range(len(column_edges) - 1):
                x0, x1 = max(column_edges[j], left), min(column_edges[j + 1], right)
                if y1 <= y0 or x1 <= x0:
                    out[t, i, j] = 0.0
                    continue
                total = 0.0
                for r in range(int(y0), int(np.ceil(y1))):
                    line = 0.0
                    for c in range(int(x0), int(np.ceil(x1))):
                        line += (min(energy[t, r, c], cap) - low) * (min(c + 1, x1) - max(c, x0))
                    total += line * (min(r + 1, y1) - max(r, y0))
                out[t, i, j] = min(1.0, total / ((y1 - y0) * (x1 - x0)) / spread)


@njit(cache=True, nogil=True)
def _label(rank, low, corners, tile, max_region, side, labels):  # type: ignore[no-untyped-def]
    """Number the regions of each frame; a patch is low if its rank is below low[t]. None leaves a tile x tile square.

    Union-find whose root is always the first patch of a region in raster order. A region of more than max_region
    patches is joined again from single patches, but only within tiles of side x side.
    """
    frames, rows, columns = rank.shape
    parent = np.empty(rows * columns, np.int64)
    whole = np.empty(rows * columns, np.int64)
    size = np.empty(rows * columns, np.int64)
    leftmost = np.empty(rows * columns, np.int64)
    for t in range(frames):
        for tiled in range(2):
            for p in range(rows * columns):
                parent[p] = p
            for p in range(rows * columns):
                r, c = p // columns, p % columns
                if rank[t, r, c] >= low[t]:
                    continue
                for k in range(4 if corners else 2):  # left, up, up left, up right
                    nr = r if k == 0 else r - 1
                    nc = c - 1 if k == 0 or k == 2 else (c if k == 1 else c + 1)
                    if nr < 0 or nc < 0 or nc >= columns or rank[t, nr, nc] >= low[t]:
                        continue
                    if r // tile != nr // tile or c // tile != nc // tile:
                        continue
                    if tiled == 1:
                        root = whole[p]
                        if size[root] > max_region:
                            y0, x0 = root // columns, leftmost[root]
                            if (r - y0) // side != (nr - y0) // side or (c - x0) // side != (nc - x0) // side:
                                continue
                    join(parent, p, nr * columns + nc)
            if tiled == 1 or max_region >= rows * columns:
                break
            too_large = False
            for p in range(rows * columns):
                root = parent[p]
                while parent[root] != root:
                    root = parent[root]
                parent[p] = root
                whole[p] = root
                if root == p:
                    size[p] = 0
                    leftmost[p] = columns
                size[root] += 1
                leftmost[root] = min(leftmost[root], p % columns)
                too_large = too_large or size[root] > max_region
            if not too_large:
                break
        count = 0
        for p in range(rows * columns):
            root = parent[p]
            while parent[root] != root:
                root = parent[root]
            if root == p:
                labels[t, p // columns, p % columns] = count
                count += 1
            else:
                labels[t, p // columns, p % columns] = labels[t, root // columns, root % columns]
