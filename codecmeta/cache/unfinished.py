"""Files that are being written: a name beside the target, a lock that dies with the writer, and a way to remove those
whose writer is gone.

The lock, unlike a process number in the name, tells the truth on a file system that several machines share, and after
the number went to another process.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import IO, Any

from codecmeta.cache.locks import needs_posix, try_lock

_SUFFIX = ".part"


def begin_unfinished(target: Path) -> tuple[Path, IO[Any]]:
    """An empty file beside `target` that nobody else writes: (its path, what to close once it is moved or removed).

    What an earlier writer of the same target left behind is used again.
    """
    needs_posix("writing a cache or an index")
    target.parent.mkdir(parents=True, exist_ok=True)
    stem = f".{target.name[:200]}"
    path = target.with_name(stem + _SUFFIX)
    while True:
        lock = open(path, "ab")
        if try_lock(lock):
            if path.exists() and os.path.samestat(os.fstat(lock.fileno()), os.stat(path)):
                return path, lock
        else:  # somebody else is writing this very target
            path = target.with_name(f"{stem}.{secrets.token_hex(4)}{_SUFFIX}")
        lock.close()


def remove_abandoned(folder: str | Path) -> None:
    """Remove the unfinished files in a folder whose writer is gone."""
    try:
        with os.scandir(folder) as entries:
            names = [one for one in entries if one.name.startswith(".") and one.name.endswith(_SUFFIX)]
            found = [one.path for one in names if one.is_file(follow_symlinks=False)]
    except FileNotFoundError:
        return
    for path in found:
        try:
            with open(path, "rb") as file:
                if try_lock(file):
                    os.unlink(path)
        except FileNotFoundError:
            continue
