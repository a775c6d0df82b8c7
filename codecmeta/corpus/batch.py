"""From the tasks of a corpus to caches: skips what is finished, gives the rest to workers, makes every end a row."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from time import perf_counter
from typing import Any, Literal

from codecmeta.cache.recognise import Written, asked, intact, kept
from codecmeta.cache.unfinished import remove_abandoned
from codecmeta.container.packets import Progress
from codecmeta.corpus.index import Row
from codecmeta.corpus.inputs import Task
from codecmeta.corpus.workers import isolated_map
from codecmeta.errors import CacheError, VideoError
from codecmeta.extraction.to_file import extract_to_file
from codecmeta.extraction.warm_up import warm_up
from codecmeta.record.selection import Policy, check_jobs, selected


def extract_many(
    tasks: Sequence[Task],
    *,
    frames: Literal["all", "keyframes"] | int = "all",
    policy: Policy = "uniform",
    details: bool | None = None,
    stream: int | None = None,
    overwrite: bool = False,
    jobs: int = 1,
    timeout: float | None = None,
    memory_limit: int | None = None,
    isolate: bool = True,
    progress: Progress | None = None,
) -> Generator[Row, None, None]:
    """Cache the metadata of many videos; one row per task, finished ones first, then in the order they end.

    >>> for row in extract_many(plan(find_videos(Path("videos")), Path("caches")), frames=64, jobs=8, timeout=600):
    ...     print(row.key, row.status, row.reason)

    frames, policy, details, stream, overwrite: as for `cache.extract_to_file`. jobs: videos at the same time, each in a
    worker process; a single task uses them for its keyframe segments instead. timeout, memory_limit: seconds and bytes
    for one video, see `workers.isolated_map`. isolate: False does the work in this process, where a video that crashes
    or hangs takes everything with it, and tells `progress` how far each video is, see `extract_to_file`.

    What killed runs have left unfinished in the folders of the caches is removed first. However the iterator ends,
    there are only complete caches, and the same call goes on from there.
    """
    check_jobs(jobs)
    selection = selected(frames, policy=policy)
    for folder in sorted({os.path.dirname(task.cache) or "." for task in tasks}):
        remove_abandoned(folder)
    options: dict[str, Any] = {"frames": frames, "policy": policy, "details": details, "stream": stream}
    options["overwrite"] = overwrite
    rest: list[Task] = []
    for task in tasks:
        row = None if overwrite else _finished_row(task, asked(selection, details, stream))
        if row is None:
            rest.append(task)
        else:
            yield row
    work = partial(extract_one, **options, jobs=jobs if len(tasks) == 1 else 1)
    if not isolate:
        yield from map(partial(work, progress=progress), rest)
    elif rest:
        yield from _isolated(work, rest, jobs, timeout, memory_limit)


def _isolated(work: Any, rest: list[Task], jobs: int, timeout: float | None, memory_limit: int | None) -> Iterator[Row]:
    """The rows of tasks done by workers; the unfinished files of those that were killed are removed."""
    running: dict[str, Task] = {}

    def handed_out() -> Iterator[Task]:
        for task in rest:
            running[task.key] = task
            yield task

    outcomes = isolated_map(work, handed_out(), jobs=jobs, timeout=timeout, memory_limit=memory_limit, prepare=warm_up)
    try:
        with closing(outcomes):
            for one in outcomes:
                del running[one.item.key]
                if not one.ok:
                    remove_abandoned(os.path.dirname(one.item.cache) or ".")
                yield one.value if one.ok else _failed(one.item, one.reason, one.seconds)
    finally:
        for task in running.values():
            remove_abandoned(os.path.dirname(task.cache) or ".")


def extract_one(task: Task, **options: Any) -> Row:
    """Cache the metadata of one video; what is wrong with it becomes the row's reason."""
    start = perf_counter()
    try:
        written = extract_to_file(task.path, task.cache, **options)
    except (VideoError, CacheError, OSError) as error:
        return _failed(task, str(error), perf_counter() - start)
    return _row(task, written, perf_counter() - start)


def _finished_row(task: Task, settings: dict[str, Any]) -> Row | None:
    """The row of a task whose cache is there, or None where there is work to do or something to be said about it."""
    try:
        written = kept(task.cache, task.path, settings)
    except OSError:
        return None
    except CacheError as error:
        return _failed(task, str(error), 0.0)
    return None if written is None else _row(task, written, 0.0)


def _row(task: Task, written: Written, seconds: float) -> Row:
    return Row(
        task.path,
        task.key,
        task.cache,
        "skipped" if written.skipped else "done",
        seconds=0.0 if written.skipped else round(seconds, 4),
        frames=written.frames,
        codec=written.codec,
        capability=written.capability,
        cache_bytes=written.cache_bytes,
        source_bytes=written.source_bytes,
    )


def _failed(task: Task, reason: str, seconds: float) -> Row:
    """What was asked for is not there; where an earlier cache is and stays, the row says what is in it."""
    there = intact(task.cache, task.path)
    if there is not None:
        return replace(_row(task, there, 0.0), status="failed", reason=reason, seconds=round(seconds, 4))
    size = os.path.getsize(task.path) if os.path.isfile(task.path) else 0
    return Row(task.path, task.key, task.cache, "failed", reason, round(seconds, 4), source_bytes=size)
