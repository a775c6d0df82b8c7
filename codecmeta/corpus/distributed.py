"""From a corpus to caches on a Ray cluster: Ray Data hands out shards, each shard isolates its own videos.

Ray's own retries are for machines that are lost. A video that crashes, hangs or fills the memory never reaches Ray: its
worker ends inside the task, and it is a row with a reason like any other. Needs pip install 'codecmeta[ray]'.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Container, Iterator, Sequence
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from typing import Any

from codecmeta.corpus.index import parquet_rows
from codecmeta.corpus.inputs import Layout, Task, plan
from codecmeta.corpus.workers import memory_share

_RETRIES = 2  # of a task whose machine went away


def extract_on_ray(
    videos: Sequence[tuple[str, str]],
    output: str | PathLike[str],
    *,
    layout: Layout = "mirror",
    shard_size: int = 200,
    timeout: float = 3600.0,
    memory_limit: int | None = None,
    concurrency: int | None = None,
    **options: Any,
) -> dict[str, int]:
    """Cache the metadata of many videos on a Ray cluster; returns how many are "done", "skipped" and "failed".

    >>> import ray
    >>> ray.init()                                              # or the address of a cluster
    >>> extract_on_ray(read_manifest(text, "list.csv"), "/shared/caches", layout="hash", frames=64)
    {'done': 999871, 'failed': 129}

    videos: (path, key) as `inputs.find_videos` and `inputs.read_manifest` give them; paths and `output` must be the
    same on every machine. shard_size: videos per task; a task starts one worker, which takes seconds, so that minutes
    of work should follow. timeout, memory_limit: of one video, by default its share of
    four fifths of the machine. concurrency: tasks at the same time, by default one per
    CPU. options: frames, policy, details, stream, overwrite as for `batch.extract_many`.

    What is there already is skipped, so the same call goes on where another one stopped. The index is written as
    Parquet files in `output`/index, one row per video, when all is done, and read by `Corpus`; rows of earlier calls
    about other videos stay. A name that is not UTF-8, which Parquet cannot hold, is a ValueError before anything runs.
    """
    import ray.data

    for _, key in videos:
        if any("\ud800" <= letter <= "\udfff" for letter in key):
            raise ValueError(f"{key!r} is not UTF-8, which a Parquet index cannot hold; rename it, or use extract_many")

    tasks = plan(videos, Path(output), layout=layout)
    shards = [tasks[first : first + shard_size] for first in range(0, len(tasks), shard_size)]
    items = [{"shard": json.dumps([asdict(task) for task in shard])} for shard in shards]
    settings = {"timeout": timeout, "memory_limit": memory_limit, **options}
    rows = ray.data.from_items(items, override_num_blocks=max(len(items), 1)).flat_map(
        _extract_shard,
        fn_kwargs={"output": str(output), "settings": settings},
        num_cpus=1,
        concurrency=concurrency,
        max_retries=_RETRIES,
    )
    index, unfinished = Path(output) / "index", Path(output) / ".index.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    rows.write_parquet(str(unfinished))
    found = parquet_rows(unfinished)
    _keep_rows(index, unfinished, without=found)
    shutil.rmtree(index, ignore_errors=True)
    unfinished.rename(index)
    return dict(Counter("failed" if row.reason else row.status for row in found.values()))


def _keep_rows(index: Path, target: Path, without: Container[str]) -> None:
    """Take the rows of an earlier index about other videos over."""
    others = [row for key, row in parquet_rows(index).items() if key not in without]
    if others:
        from pyarrow import Table, parquet

        values = [{**asdict(row), "capability": json.dumps(row.capability)} for row in others]
        parquet.write_table(Table.from_pylist(values), target / "earlier.parquet")


def _extract_shard(row: dict[str, Any], output: str, settings: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """One task: the index rows of a shard."""
    from codecmeta.corpus.batch import extract_many

    tasks = [Task(**one) for one in json.loads(row["shard"])]
    settings["memory_limit"] = settings["memory_limit"] or memory_share(os.cpu_count() or 1)
    for one in extract_many(tasks, **settings):
        yield {**asdict(one.listed(output)), "capability": json.dumps(one.capability)}
