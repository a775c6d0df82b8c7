"""From files, folders and lists to the videos in them: what each is called in the corpus and where its cache goes."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Literal

from codecmeta.cache.recognise import is_of
from codecmeta.cache.store import SUFFIX
from codecmeta.container.remote import is_address
from codecmeta.container.source import name_of

VIDEO_SUFFIXES = frozenset(
    ".264 .265 .3gp .asf .avi .flv .h264 .h265 .hevc .ivf .m2ts .m4v .mkv "
    ".mov .mp4 .mpeg .mpg .mts .ogv .ts .vob .webm .wmv".split()
)

Layout = Literal["mirror", "hash"]


@dataclass(frozen=True, slots=True)
class Task:
    """One video of a corpus. path: to open it. key: its name in the corpus, the path relative to the folder or list it
    was found in, with forward slashes. cache: where its metadata goes."""

    path: str
    key: str
    cache: str


def find_videos(path: Path) -> list[tuple[str, str]]:
    """The videos under a path, (path, key) sorted by key; a file stands for itself, whatever its suffix, even if it
    does not exist (reading it will say so). Links to files are videos, links to folders are not followed. Raises
    OSError for a folder that cannot be listed."""
    if not path.is_dir():
        return [(str(path), path.name)]

    def give_up(error: OSError) -> None:
        raise error

    found = []
    for folder, _, names in os.walk(path, onerror=give_up):
        for name in names:
            if os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES:
                one = os.path.join(folder, name)
                found.append((str(PurePath(one)), _key(os.path.relpath(one, path))))
    return sorted(found, key=lambda pair: pair[1])


def remote_video(address: str) -> tuple[str, str]:
    """The video behind an http(s) address, (address, key). Only a command or a call names addresses: in folders and
    lists, what looks like one is a path."""
    return address, name_of(address).name


def read_manifest(text: str, name: str = "-", *, null: bool = False) -> list[tuple[str, str]]:
    """The videos of a list, (path, key). The name's suffix says how it is written: .csv with a header, or .jsonl, both
    with a column `path`, or .txt with a path per line (empty lines and lines that begin with # left out); for any other
    name the first line tells. null: a path per NUL byte in place of all this, which every name survives. Raises
    ValueError for a list that is none of these."""
    if null:
        return [(str(PurePath(path)), _key(path)) for path in text.split("\0") if path]
    lines = text.replace("\r\n", "\n").split("\n")  # str.splitlines would cut names at characters such as U+2028
    first = next((line for line in lines if line.strip()), "")
    suffix = PurePath(name).suffix.lower()
    if suffix not in (".csv", ".jsonl", ".ndjson", ".txt"):
        suffix = ".jsonl" if first.startswith("{") else ".csv" if "path" in first.split(",") else ".txt"
    if suffix == ".csv":
        paths = _csv_paths(text, name)
    elif suffix == ".txt":
        paths = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    else:
        paths = [_json_path(line, f"{name} line {number}") for number, line in enumerate(lines, 1) if line.strip()]
    return [(str(PurePath(path)), _key(path)) for path in paths]


def _csv_paths(text: str, name: str) -> list[str]:
    table = csv.DictReader(io.StringIO(text, newline=""))
    if "path" not in (table.fieldnames or ()):
        raise ValueError(f"{name}: no column named path; found {', '.join(table.fieldnames or ['nothing'])}")
    paths = []
    for row in table:
        if not row["path"]:
            raise ValueError(f"{name} line {table.line_num}: a row without a path")
        paths.append(row["path"])
    return paths


def _json_path(line: str, where: str) -> str:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"{where}: not a JSON object ({error})") from error
    if not isinstance(row, dict) or not isinstance(row.get("path"), str) or not row["path"]:
        raise ValueError(f'{where}: expected an object with a string "path"')
    return row["path"]


def _key(path: str) -> str:
    """A path as a name in the corpus: never absolute, and never out of the folder it is put in."""
    parts = PurePath(os.path.normpath(path)).parts
    kept = [part for part in parts if part != os.pardir and part != PurePath(path).anchor]
    return "/".join(kept)


def plan(
    videos: Iterable[tuple[str, str]],
    output: Path | None = None,
    *,
    layout: Layout = "mirror",
    shard: tuple[int, int] = (0, 1),
) -> list[Task]:
    """The tasks of this shard, sorted by key; a video that is named twice is done once.

    output: the folder for the caches; None puts each beside its video. layout: "mirror" keeps the folders of the keys;
    "hash" spreads the caches over 65,536 folders by a hash of the key, for more files than a file system likes to have
    in few. Where several videos differ only in their suffix, it stays in the names of their caches (`a.mkv` ->
    `a.mkv.codecmeta.h5`), but for one that has a cache without it already. shard: (I, N), every N-th video counted from
    the I-th. Raises ValueError where two videos would share a cache all the same, naming all that do.
    """
    if layout == "hash" and output is None:
        raise ValueError("--layout hash needs a folder for the caches; pass -o FOLDER")
    once: dict[tuple[str, str], Task] = {}
    for path, key in sorted(set(videos), key=lambda pair: (pair[1], pair[0])):
        task = Task(path, key, _cache_path(path, key, output, layout))
        once.setdefault((task.cache, os.path.abspath(path)), task)
    tasks = sorted(map(_apart, _sharing(once.values())), key=lambda task: task.key)
    conflicts = [
        f"{' and '.join(task.path for task in several)} would both be cached as {several[0].cache}"
        for several in _by_cache(tasks).values()
        if len(several) > 1
    ]
    if conflicts:
        raise ValueError(f"{'; '.join(conflicts)}: pass the folder that holds them all, or rename one")
    return tasks[shard[0] :: shard[1]]


def _by_cache(tasks: Iterable[Task]) -> dict[str, list[Task]]:
    found: dict[str, list[Task]] = {}
    for task in tasks:
        found.setdefault(task.cache, []).append(task)
    return found


def _sharing(tasks: Iterable[Task]) -> Iterator[tuple[Task, bool]]:
    """Every task, and whether another one of the same stem has another suffix."""
    for several in _by_cache(tasks).values():
        suffixes = {os.path.splitext(task.key)[1] for task in several}
        yield from ((task, len(several) > 1 and len(suffixes) == len(several)) for task in several)


def _apart(pair: tuple[Task, bool]) -> Task:
    """A task whose cache no other one of its stem has."""
    task, shared = pair
    if not shared or is_of(task.cache, task.path):
        return task
    suffix = os.path.splitext(task.key)[1]
    return replace(task, cache=task.cache.removesuffix(SUFFIX) + suffix + SUFFIX)


def _cache_path(path: str, key: str, output: Path | None, layout: Layout) -> str:
    if output is None:
        return os.path.splitext(key if is_address(path) else path)[0] + SUFFIX
    if layout == "mirror":
        return os.path.join(output, os.path.splitext(key)[0] + SUFFIX)
    name = hashlib.blake2b(key.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
    return os.path.join(output, name[:2], name[2:4], name[4:] + SUFFIX)
