"""The first KiB of a cache file: one line of JSON in front of the HDF5 (its user block), by which a finished cache is
recognised with one small read.

It repeats what is inside. A cache without it is as good, and takes longer to recognise.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, replace
from io import FileIO
from pathlib import Path
from typing import Any

SUMMARY_BYTES = 1024  # HDF5 allows 512, 1024, 2048, ...


@dataclass(frozen=True)
class Summary:
    """What a cache was made of, and what is in it. settings: what `extract` was asked for. capability: level per
    signal."""

    settings: dict[str, Any]
    source_bytes: int
    source_mtime_ns: int
    source_sha256: str
    frames: int
    codec: str
    capability: dict[str, str]
    cache_bytes: int = 0


def write_summary(file: FileIO, summary: Summary) -> None:
    """Fill the user block of a cache file that HDF5 is done with; a summary that does not fit is left out."""
    size = file.seek(0, os.SEEK_END)
    line = json.dumps(asdict(replace(summary, cache_bytes=size))).encode() + b"\n"
    if len(line) <= SUMMARY_BYTES:
        file.seek(0)
        file.write(line)


def read_summary(path: str | Path) -> Summary | None:
    """The summary of a cache file that is as long as its summary says, else None. Raises OSError."""
    file = os.open(path, os.O_RDONLY)
    try:
        size = os.fstat(file).st_size
        first = os.read(file, SUMMARY_BYTES)
    finally:
        os.close(file)
    if not first.startswith(b"{"):
        return None
    try:
        summary = Summary(**json.loads(first.split(b"\n")[0]))
    except (ValueError, TypeError, RecursionError):
        return None
    whole_numbers = (summary.source_bytes, summary.source_mtime_ns, summary.frames, summary.cache_bytes)
    texts = (summary.source_sha256, summary.codec)
    dictionaries = (summary.settings, summary.capability)
    sound = all(
        type(value) is kind
        for values, kind in ((whole_numbers, int), (texts, str), (dictionaries, dict))
        for value in values
    )
    return summary if sound and summary.cache_bytes == size else None
