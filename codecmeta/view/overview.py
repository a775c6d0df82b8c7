"""A video or a cache -> everything that its pictures show, as arrays: facts, sampled frames, timeline.

The PNG (`draw.py`) and the page (`page.py`) both draw an `Overview`, so they cannot disagree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from codecmeta.cache.recognise import check_video
from codecmeta.cache.store import load
from codecmeta.container.packets import Progress
from codecmeta.container.probe import probe_with_packets
from codecmeta.container.source import Medium, opened
from codecmeta.decisions.budget import frame_budgets, gop_weights
from codecmeta.decisions.choose import Choice
from codecmeta.decisions.density import merge_regions, patch_density
from codecmeta.decisions.signals import dense_signals
from codecmeta.decoding.pictures import read_pictures
from codecmeta.errors import CacheError, VideoError
from codecmeta.extraction.choose import choose_frames
from codecmeta.extraction.scan import scan
from codecmeta.extraction.wanted import wanted
from codecmeta.record.facts import summarise
from codecmeta.record.metadata import Metadata
from codecmeta.record.parts import Collector
from codecmeta.record.selection import Policy, sample_rows
from codecmeta.view.panels import resized, shrunk
from codecmeta.view.timeline import Timeline, clock_text, timeline

WHOLE = 3e8
"""A video of at most so many pixels in all its frames (a few seconds of work) is read as a whole, others sampled."""

FRAMES, BUDGET, EVENTS = 8, 0.3, 10
"""What is shown without further wishes: sampled frames, share of tokens that is split up, events at most."""


@dataclass(frozen=True)
class Samples:
    """The sampled frames, one entry per temporal position.

    rows: int64 (T,), rows of the frame table. pictures: uint8 RGB (T, height, width, 3), or None. density: float32 (T,
    rows, columns), or None; has_density: bool (T,), the frames that it is known for. strongest: float32 (T,), largest
    root mean square residual of a block, in grey levels, NaN where unknown. regions: int32 (T, rows, columns), or None
    where no patches merge. kept: bool (T, rows, columns of the token grid), or None where it is not about tokens kept.
    view: (x0, y0, x1, y1), the part of the picture that the grids cover, as shares of its width and height. why: why
    each frame was chosen, in words; empty where nothing but an even spread was asked for.
    """

    rows: NDArray[np.int64]
    pictures: NDArray[np.uint8] | None
    density: NDArray[np.float32] | None
    has_density: NDArray[np.bool_]
    strongest: NDArray[np.float32]
    regions: NDArray[np.int32] | None
    kept: NDArray[np.bool_] | None
    view: tuple[float, float, float, float]
    why: tuple[str, ...] = ()


@dataclass(frozen=True)
class Overview:
    """What is drawn of one video. summary: facts in plain types, see `summarise`. samples: the sampled frames.
    timeline: the whole video. budget: what the tokens per frame mean, in words. notes: what is missing, and why."""

    summary: dict[str, Any]
    samples: Samples
    timeline: Timeline
    budget: str
    notes: list[str]

    @property
    def density_title(self) -> str:
        """What the colours of the density mean."""
        level = self.summary["capability"].get("residual", {}).get("level", "unknown")
        return (
            "colour: residual energy of a patch, as a share of that of the strongest block of its frame (no unit; "
            f"residual: {level})"
        )


def overview_of_file(
    file: Path | str, frames: int = FRAMES, choose: Policy = "uniform", progress: Progress | None = None
) -> Overview:
    """The overview of a video, or of a cache with the pictures of its video where that is beside it.

    frames, choose: which frames are shown, see `codecmeta.choose_frames`; of a cache, evenly spread ones are taken from
    those that it holds maps of. progress: told how far the packets have been read, in bytes. Raises VideoError or
    CacheError where the file cannot be read.
    """
    if isinstance(file, Path) and (h5py.is_hdf5(file) or file.suffix == ".h5"):
        return _of_cache(file, frames, choose)
    with opened(file) as medium:
        return _of_video(medium, frames, choose, progress)


def _of_video(file: Medium, frames: int, choose: Policy, progress: Progress | None) -> Overview:
    choice = None if choose == "uniform" else choose_frames(file, frames, policy=choose)
    tables = None if choice is None else choice.tables
    if tables is None:
        tables = probe_with_packets(file, headers=None, progress=progress)
    known = tables[0]
    whole = len(known.frames) * known.stream.width * known.stream.height <= WHOLE
    collector = Collector()
    selection, _ = wanted("all" if whole else choice or frames, None, None, "uniform")
    meta = collector.metadata(scan(file, collector, frames=selection, tables=tables))
    choice = choice and choice.among(meta.frames)
    rows = sample_rows(meta.frames.time, frames) if choice is None else choice.rows
    return overview(meta, rows, read_pictures(file, meta, rows, transform=shrunk), choice=choice)


def _of_cache(file: Path, frames: int, choose: Policy) -> Overview:
    with load(file) as meta:
        choice = None if choose == "uniform" else choose_frames(meta, frames, policy=choose)
        maps = meta.residual or meta.bits
        stored = np.arange(len(meta.frames)) if maps is None else maps.frame
        rows = stored[sample_rows(meta.frames.time[stored], frames)] if choice is None else choice.rows
        pictures, why = _pictures_of(file, meta, rows)
        notes = [f"Plain grey in the place of pictures: {why}."] if why else []
        return overview(meta, rows, pictures, notes=notes, choice=choice)


def _pictures_of(file: Path, meta: Metadata, rows: NDArray[np.int64]) -> tuple[list[NDArray[np.uint8]] | None, str]:
    """The pictures of some rows from the video beside a cache, or None and why there are none."""
    video = meta.path
    if not video.is_file():
        return None, f"{video.name} is not beside the cache"
    try:
        check_video(file, video)
        return read_pictures(video, meta, rows, transform=shrunk), ""
    except CacheError:
        return None, f"{video.name} is not the version that the cache was made from"
    except VideoError as error:
        return None, f"{video.name} cannot be read ({error})"


def overview(
    meta: Metadata,
    rows: NDArray[np.int64],
    pictures: Sequence[NDArray[np.uint8]] | None,
    *,
    notes: Sequence[str] = (),
    choice: Choice | None = None,
) -> Overview:
    """What is drawn of a video that is looked at without a model: patches of 16 pixels or a little more.

    rows: int64 (T,), sampled rows of the frame table. pictures: theirs, uint8 RGB, or None. choice: why these frames.
    """
    grid = _grid(meta)
    capacity = grid[0] * grid[1]
    budgets = frame_budgets(gop_weights(meta, rows), int(BUDGET * capacity * len(rows)), capacity)
    samples, missing = _sampled(meta, rows, pictures, grid)
    if samples.density is not None:
        samples = replace(samples, regions=merge_regions(samples.density))
    samples = replace(samples, why=_reasons(choice, rows))
    line, sparse = _timeline(meta, rows, budgets, capacity)
    words = f"{BUDGET:.0%} of a grid of {grid[1]} x {grid[0]}, shared out by the square root of packet sizes"
    return Overview(
        summary=summarise(meta),
        samples=samples,
        timeline=line,
        budget=words,
        notes=[*notes, *missing, *sparse],
    )


def overview_of_run(
    meta: Metadata,
    rows: NDArray[np.int64],
    pictures: Sequence[NDArray[np.uint8]] | None,
    *,
    counts: NDArray[np.int64],
    kept: NDArray[np.bool_],
    regions: NDArray[np.int32] | None,
    tokens: tuple[int, int],
    view: tuple[float, float, float, float] | None,
    budget: str,
    choice: Choice | None = None,
) -> Overview:
    """What is drawn of a video that a model was asked about: its grids, and what was kept.

    rows: int64 (pictures,), as many for each temporal position. counts: int64 (T,), tokens kept. kept: bool (T, tokens
    of a frame). regions: int32 (T, rows, columns), patches merged before the encoder, or None. tokens: (rows, columns)
    of the token grid. view: (x0, y0, x1, y1), what the model saw, in displayed pixels. budget: what the counts are.
    choice: why these frames.
    """
    grid = tokens if regions is None else (regions.shape[1], regions.shape[2])
    together = len(rows) // len(counts)
    samples, notes = _sampled(meta, rows, pictures, grid, together=together, view=view)
    line, sparse = _timeline(meta, rows[::together], counts, tokens[0] * tokens[1])
    return Overview(
        summary=summarise(meta),
        samples=replace(samples, regions=regions, kept=kept.reshape(-1, *tokens), why=_reasons(choice, rows, together)),
        timeline=line,
        budget=budget,
        notes=[*notes, *sparse],
    )


def _reasons(choice: Choice | None, rows: NDArray[np.int64], together: int = 1) -> tuple[str, ...]:
    """Why each of the sampled frames was chosen, or all pictures of its position; nothing without a choice."""
    if choice is None:
        return ()
    words = [choice.reasons[row] for row in rows.tolist()]
    groups = [words[at : at + together] for at in range(0, len(words), together)]
    return tuple(f"chosen: {', '.join(dict.fromkeys(group))}" for group in groups)


def _sampled(
    meta: Metadata,
    rows: NDArray[np.int64],
    pictures: Sequence[NDArray[np.uint8]] | None,
    grid: tuple[int, int],
    *,
    together: int = 1,
    view: tuple[float, float, float, float] | None = None,
) -> tuple[Samples, list[str]]:
    """The density of sampled frames, and notes on what is missing.

    rows, pictures: as many as the temporal positions times `together`, of which the first picture is shown and the mean
    density counts. grid: (rows, columns). view: (x0, y0, x1, y1) in displayed pixels, default the whole picture.
    """
    density, covered = _density(meta, rows, grid, view)
    notes = []
    if not covered.any():
        reasons = {name: meta.capability.get(name, {}).get("why", "not stored") for name in ("residual", "bits")}
        notes.append("No density: " + "; ".join(f"{name}: {why}" for name, why in reasons.items()) + ".")
    strongest = np.full(len(rows), np.nan, np.float32)
    if meta.residual is not None:
        for index, row in enumerate(rows):
            values = meta.residual.of(int(row))
            strongest[index] = np.nan if values is None else float(np.max(values))
    density = density.reshape(-1, together, *grid).mean(axis=1)
    known = np.all(covered.reshape(-1, together), axis=1)
    if pictures is not None:
        height, width = pictures[0].shape[:2]
        same = [resized(one, width, height) if one.shape != pictures[0].shape else one for one in pictures[::together]]
    x0, y0, x1, y1 = view or (0, 0, meta.stream.width, meta.stream.height)
    wide, tall = meta.stream.width, meta.stream.height
    samples = Samples(
        rows=rows[::together],
        pictures=None if pictures is None else np.stack(same),
        density=density if known.any() else None,
        has_density=known,
        strongest=strongest.reshape(-1, together).max(axis=1),
        regions=None,
        kept=None,
        view=(x0 / wide, y0 / tall, x1 / wide, y1 / tall),
    )
    return samples, notes


def panel_aspect(view: Overview) -> float:
    """Width by height of what the grids cover, in displayed pixels."""
    x0, y0, x1, y1 = view.samples.view
    return (x1 - x0) * view.summary["width"] / ((y1 - y0) * view.summary["height"])


def captions(view: Overview, index: int) -> tuple[str, ...]:
    """What stands under a sampled frame: its time and tokens; its strongest residual; why it was chosen, if it was."""
    line, samples = view.timeline, view.samples
    time = clock_text(float(line.times[index]), line.span[1]) if line.clock else f"frame {samples.rows[index]}"
    strongest = samples.strongest[index]
    if samples.density is None or not samples.has_density[index]:
        residual = "density not known"
    elif np.isnan(strongest):
        residual = "density from bits per block"
    elif not strongest > 0:
        residual = "no residual in this frame"
    elif not samples.density[index].any():
        residual = f"residual the same everywhere: {strongest:.3g} grey levels"
    else:
        residual = f"strongest block: {strongest:.3g} grey levels"
    return f"{time}: {line.budgets[index]:,} of {line.capacity:,} tokens", residual, *samples.why[index : index + 1]


def _timeline(
    meta: Metadata, rows: NDArray[np.int64], counts: NDArray[np.int64], capacity: int
) -> tuple[Timeline, list[str]]:
    """The timeline, and a note where its events rest on packets alone."""
    known = meta.residual is not None or meta.motion is not None
    notes = []
    if known and dense_signals(meta) == (None, None):
        notes.append("Event boundaries come from packet sizes alone, as the signals of only some frames are at hand.")
    return timeline(meta, rows, counts, capacity, EVENTS), notes


def _density(
    meta: Metadata, rows: NDArray[np.int64], grid: tuple[int, int], view: tuple[float, float, float, float] | None
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """float32 (rows, *grid), 0 where it is not known, and bool (rows,), where it is."""
    covered = np.zeros(len(rows), bool)
    for maps in (meta.residual, meta.bits):
        if maps is not None:
            covered |= np.isin(rows, maps.frame)
    density = np.zeros((len(rows), *grid), np.float32)
    if covered.any():
        density[covered] = patch_density(meta, rows[covered], grid, view=view)
    return density, covered


def _grid(meta: Metadata) -> tuple[int, int]:
    """(rows, columns) of patches of 16 pixels, of more where the picture is large: at most 40 across."""
    patch = max(16, -(-max(meta.stream.width, meta.stream.height) // 40))
    return max(1, round(meta.stream.height / patch)), max(1, round(meta.stream.width / patch))
