"""From files, folders and lists to the videos in them: what each is called in the corpus and where its cache goes."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Literal

from codecmeta.cache.store import SUFFIX

VIDEO_SUFFIXES = frozenset(
    ".264 .3gp .avi .flv .h264 .h265 .hevc .ivf .m2ts .m4v .mkv "
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


def read_manifest(text: str, name: str = "-") -> list[tuple[str, str]]:
    """The videos of a list, (path, key). The name's suffix says how it is written: .csv with a header, or .jsonl, both
    with a column `path`, or .txt with a path per line (empty lines and lines that begin with # left out); for any other
    name the first line tells. Raises ValueError for a list that is none of these."""
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
    in few. shard: (I, N), every N-th video counted from the I-th. Raises ValueError where two videos would share a
    cache.
    """
    if layout == "hash" and output is None:
        raise ValueError("--layout hash needs a folder for the caches; pass -o FOLDER")
    tasks: list[Task] = []
    taken: dict[str, Task] = {}
    for path, key in sorted(set(videos), key=lambda pair: (pair[1], pair[0])):
        task = Task(path, key, _cache_path(path, key, output, layout))
        other = taken.setdefault(task.cache, task)
        if other is task:
            tasks.append(task)
        elif os.path.abspath(other.path) != os.path.abspath(path):
            way_out = "pass the folder that holds both" if other.key == key else "use -o FOLDER --layout hash"
            raise ValueError(f"{other.path} and {path} would both be cached as {task.cache}; {way_out} or rename one")
    return tasks[shard[0] :: shard[1]]


def _cache_path(path: str, key: str, output: Path | None, layout: Layout) -> str:
    if output is None:
        return os.path.splitext(path)[0] + SUFFIX
    if layout == "mirror":
        return os.path.join(output, os.path.splitext(key)[0] + SUFFIX)
    name = hashlib.blake2b(key.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
    return os.path.join(output, name[:2], name[2:4], name[4:] + SUFFIX)
