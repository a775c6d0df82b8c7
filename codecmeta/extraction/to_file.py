"""From a video straight to its cache file, written while it is read."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any, Literal

from numpy.typing import ArrayLike

from codecmeta.cache.recognise import Written, asked, default_cache_path, kept
from codecmeta.cache.writer import Writer, levels
from codecmeta.container.packets import Progress
from codecmeta.container.probe import is_remote
from codecmeta.container.source import Medium, Source, name_of, opened, size_of
from codecmeta.decisions.choose import Choice
from codecmeta.errors import VideoError
from codecmeta.extraction.scan import scan
from codecmeta.extraction.wanted import Tables, wanted
from codecmeta.record.selection import Policy, Selection, check_jobs


def extract_to_file(
    video: Source,
    cache: str | PathLike[str] | None = None,
    *,
    frames: Literal["all", "keyframes"] | int | Choice | None = None,
    rows: ArrayLike | None = None,
    times: ArrayLike | None = None,
    policy: Policy = "uniform",
    details: bool | None = None,
    jobs: int = 1,
    stream: int | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Written:
    """Extract a video's metadata straight into its cache file; memory is bounded by the GoP, not by the length.

    video: as for `extract`. cache: where it goes; of a path by default `clip.mp4` -> `clip.codecmeta.h5` beside the
    video. frames, rows, times, policy: as for `extract`. details: as for `extract`; None takes them for chosen frames
    and leaves them out for "all", where they would make the cache larger than the video. A cache that is there and was
    made from this video with these settings is kept (skipped=True); one that differs raises CacheError unless overwrite
    is given. progress: told after each frame how many rows of the frame table are done, and how many there are. Raises
    VideoError for videos that cannot be read; then no file is left behind.
    """
    check_jobs(jobs)
    selection, tables = wanted(frames, rows, times, policy)
    settings = asked(selection, details, stream)
    with opened(video) as source:
        if cache is None and not isinstance(video, (str, PathLike)) or is_remote(source) and cache is None:
            raise ValueError(f"{name_of(video)}: no file, beside which its cache could go; pass cache=PATH")
        target = Path(cache) if cache is not None else default_cache_path(name_of(video))
        if isinstance(source, Path) and not source.is_file():
            raise VideoError(f"{source}: no such file; pass the path of a video file")
        there = None if overwrite else kept(target, source, settings)
        return there or _write(source, target, selection, settings, jobs, tables, progress)


def _write(
    source: Medium,
    target: Path,
    selection: Selection,
    settings: dict[str, Any],
    jobs: int,
    tables: Tables | None,
    progress: Progress | None,
) -> Written:
    with Writer(target) as writer:
        found = scan(
            source,
            writer,
            frames=selection,
            details=settings["details"],
            jobs=jobs,
            stream=settings["stream"],
            tables=tables,
            progress=progress,
        )
        writer.finish(found, source)
    return Written(
        target,
        target.stat().st_size,
        size_of(source),
        len(found.frames),
        found.stream.codec,
        levels(found.capability),
        skipped=False,
    )
