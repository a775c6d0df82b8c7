"""The bytes of a video that is no file here: read in ranges, by several readers at once, the last ones kept."""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Callable
from threading import RLock
from typing import Any

from codecmeta.errors import VideoError

BLOCK = 1 << 14
"""Bytes: what is fetched begins and ends at multiples of it."""

KEPT = 1 << 27
"""Bytes that are kept; those that were not read for the longest time go first."""

AHEAD = 1 << 20
"""Bytes fetched at most beyond what was asked for, where reading goes on where it stopped."""

AT_ONCE = 1 << 22
"""Bytes of one fetch, at most."""


class Blob:
    """A video of `size` bytes that are had from `fetch(start, stop)`. Safe to read from several threads.

    name: what records and errors call it. kept: bytes to keep at hand, 0 where fetching costs nothing.
    remote: they come from another machine, and none should be fetched in vain. A failed fetch stays in `failed`,
    because FFmpeg takes an error in the middle of a file for its end.
    """

    def __init__(
        self, name: str, size: int, fetch: Callable[[int, int], bytes], kept: int = KEPT, remote: bool = False
    ) -> None:
        self.name, self.size, self.remote = name, size, remote
        self.failed: VideoError | None = None
        self._fetch, self._kept = fetch, kept
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._lock = RLock()
        self._end, self._ahead = -1, 0  # of the last fetch

    def __str__(self) -> str:
        return self.name

    def open(self) -> BlobFile:
        """A reader of its own, at the start."""
        return BlobFile(self)

    def take(self, head: bytes) -> None:
        """Keep the first bytes, which are known: as many whole blocks as there are."""
        whole = len(head) if len(head) == self.size else len(head) // BLOCK * BLOCK
        for at in range(0, whole, BLOCK):
            self._blocks[at // BLOCK] = head[at : min(at + BLOCK, whole)]
        self._end = whole

    def read(self, start: int, stop: int) -> bytes:
        """The bytes of a range, fewer only behind the end. Raises VideoError for what cannot be fetched."""
        stop = min(stop, self.size)
        parts = []
        while start < stop:
            part = self.some(start, stop)
            parts.append(part)
            start += len(part)
        return b"".join(parts)

    def some(self, start: int, stop: int) -> bytes:
        """At least one of the bytes of a range that begins within the file: those at hand, where its first one is."""
        stop = min(stop, self.size)
        if not self._kept:
            return self._fetched(start, stop)
        with self._lock:
            number = start // BLOCK
            if number not in self._blocks:
                sequential = self._end == number * BLOCK
                self._ahead = min(2 * self._ahead or 4 * BLOCK, AHEAD) if sequential else 0
                self._fill(number * BLOCK, min(stop + self._ahead, number * BLOCK + AT_ONCE))
            found = []
            while number * BLOCK < stop and (block := self._blocks.get(number)) is not None:
                self._blocks.move_to_end(number)
                found.append(block)
                number += 1
            return b"".join(found)[start % BLOCK :][: stop - start]

    def prefetch(self, start: int, stop: int) -> None:
        """Fetch what is not at hand of a range that is going to be read, as far as half of what is kept allows."""
        stop = min(stop, self.size, start + self._kept // 2)
        with self._lock:
            missing = [one for one in range(start // BLOCK, -(-stop // BLOCK)) if one not in self._blocks]
            at = missing[0] * BLOCK if missing else stop
            while missing and at < (missing[-1] + 1) * BLOCK:
                last = min((missing[-1] + 1) * BLOCK, at + AT_ONCE)
                self._fill(at, last)
                at = last

    def _fill(self, start: int, stop: int) -> None:
        """Fetch whole blocks, once all that are not there between two that are not."""
        stop = min(-(-stop // BLOCK) * BLOCK, self.size)
        data = self._fetched(start, stop)
        self._end = stop
        for at in range(0, len(data), BLOCK):
            self._blocks[(start + at) // BLOCK] = data[at : at + BLOCK]
        while len(self._blocks) * BLOCK > self._kept:
            self._blocks.popitem(last=False)

    def _fetched(self, start: int, stop: int) -> bytes:
        if self.failed is not None:
            raise self.failed
        try:
            data = self._fetch(start, stop)
            if len(data) != stop - start:
                raise VideoError(f"{self}: gave {len(data)} of {stop - start} bytes at {start}; did it change?")
        except VideoError as error:
            self.failed = error
            raise
        return data


class BlobFile(io.RawIOBase):
    """A reader of a blob, as FFmpeg wants it: what is at hand comes first, even where it is less than asked for."""

    def __init__(self, blob: Blob) -> None:
        self._blob, self._at = blob, 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Where the next byte comes from."""
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        """As of any file."""
        self._at = max(offset + (0, self._at, self._blob.size)[whence], 0)
        return self._at

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes; none at the end."""
        stop = self._blob.size if size is None or size < 0 else min(self._at + size, self._blob.size)
        data = self._blob.some(self._at, stop) if self._at < stop else b""
        self._at += len(data)
        return data

    def readinto(self, buffer: Any) -> int:
        """As of any file."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)
