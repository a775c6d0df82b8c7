"""What a video may be given as: a path, bytes, an open file object, an address; and the bytes behind each."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from os import PathLike, fspath
from pathlib import Path, PurePosixPath
from tempfile import NamedTemporaryFile
from threading import Lock
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

from codecmeta.container.blob import Blob
from codecmeta.container.remote import is_address, remote
from codecmeta.errors import VideoError

Source = str | PathLike[str] | bytes | bytearray | memoryview | BinaryIO | Blob
"""A path, an http(s) address (a string), the bytes of a file, or a binary file object, which is read from where it
stands to its end, and left where it stood if it can seek."""

Medium = Path | Blob
"""Where the bytes of a video lie: a file, or what is read in ranges."""


@contextmanager
def opened(source: Source) -> Iterator[Medium]:
    """The bytes of a source, held for as long as they are read.

    A file object that can seek is read where it is needed, an address is asked for ranges; what is read is kept within
    the block, so that choosing frames and reading them in one block fetches nothing twice. Only strings are addresses:
    a `Path` never is, nor is what a file names. An object that cannot seek is copied into a temporary file.

    Raises TypeError for what is no source, VideoError for an address that does not serve ranges.
    """
    if isinstance(source, Blob):
        yield source
    elif isinstance(source, str) and is_address(source):
        with remote(source) as blob:
            yield blob
    elif isinstance(source, (str, PathLike)):
        yield Path(fspath(source))
    elif isinstance(source, (bytes, bytearray, memoryview)):
        view = memoryview(source).cast("B")
        yield Blob("<bytes>", len(view), lambda start, stop: bytes(view[start:stop]), kept=0)
    elif not hasattr(source, "read"):
        raise TypeError(f"{type(source).__name__}: expected a path, an address, bytes or a binary file object")
    elif _seeks(source):
        yield from _of_file(source)
    else:
        yield from _copied(source)


def name_of(source: Source) -> Path:
    """What records call a source: its path, "<https>/film.mp4" for an address, the name of a file object, "<bytes>"."""
    if isinstance(source, str) and is_address(source):
        parts = urlsplit(source)
        file = PurePosixPath(unquote(parts.path)).name or parts.hostname or "video"
        return Path(f"<{parts.scheme.lower()}>", file)
    if isinstance(source, (str, PathLike)):
        return Path(fspath(source))
    name = getattr(source, "name", None)
    if isinstance(source, Blob) and is_address(source.name):
        return name_of(source.name)
    return Path(name if isinstance(name, str) else "<bytes>")


@contextmanager
def opened_for_ranges(medium: Medium) -> Iterator[Callable[[int, int], bytes]]:
    """A function from (start, stop) to these bytes, fewer only behind the end."""
    if isinstance(medium, Blob):
        yield medium.read
        return
    with medium.open("rb") as file:

        def read(start: int, stop: int) -> bytes:
            file.seek(start)
            return file.read(stop - start)

        yield read


def size_of(medium: Medium) -> int:
    """How many bytes there are."""
    return medium.size if isinstance(medium, Blob) else medium.stat().st_size


def version_of(medium: Medium) -> tuple[int, int]:
    """How many bytes there are, and when a file was changed, in nanoseconds; 0 for what is none. One look at it."""
    if isinstance(medium, Blob):
        return medium.size, 0
    status = medium.stat()
    return status.st_size, status.st_mtime_ns


def _seeks(file: Any) -> bool:
    try:
        return bool(file.seekable())
    except AttributeError:
        return False


def _of_file(file: Any) -> Iterator[Medium]:
    """Several readers share the object, one after the other."""
    if not isinstance(file.read(0), bytes):
        raise TypeError(f"{name_of(file)}: opened as text; open it with 'rb'")
    lock, start = Lock(), file.tell()
    end = file.seek(0, 2)

    def fetch(first: int, stop: int) -> bytes:
        with lock:
            file.seek(start + first)
            parts = []
            while first < stop and (part := file.read(stop - first)):
                parts.append(part)
                first += len(part)
            return b"".join(parts)

    try:
        yield Blob(str(name_of(file)), max((file.tell() if end is None else end) - start, 0), fetch)
    finally:
        file.seek(start)


def _copied(file: Any) -> Iterator[Medium]:
    with NamedTemporaryFile(prefix="codecmeta-") as copy:
        try:
            shutil.copyfileobj(file, copy)
        except TypeError as error:
            raise TypeError(f"{name_of(file)}: opened as text; open it with 'rb'") from error
        copy.flush()
        try:
            yield Path(copy.name)
        except VideoError as error:
            raise VideoError(str(error).replace(copy.name, str(name_of(file)))) from error
