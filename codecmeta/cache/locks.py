"""Locks on open files that die with their holder (flock). POSIX only: elsewhere this imports, and locking says so."""

from __future__ import annotations

from typing import IO, Any

try:
    import fcntl
except ImportError:  # no POSIX: reading videos and caches goes on without
    fcntl = None  # type: ignore[assignment]

_NEEDED = (
    "needs a POSIX system (Linux, macOS): this Python has no module fcntl; reading videos and caches works without"
)


def needs_posix(what: str) -> None:
    """Raise OSError, in one line, where there are no file locks. what: what cannot be done without them."""
    if fcntl is None:
        raise OSError(f"{what} {_NEEDED}")


def try_lock(file: IO[Any]) -> bool:
    """Take the lock of an open file; False if somebody has it. Raises OSError where there are no file locks."""
    needs_posix("writing files")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def lock_if_possible(file: IO[Any]) -> None:
    """Wait for the lock of an open file; return at once where there are no file locks."""
    if fcntl is not None:
        fcntl.flock(file, fcntl.LOCK_EX)
