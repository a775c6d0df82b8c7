"""A video opened once per worker, for the segments that it decodes one after the other."""

from __future__ import annotations

from contextlib import ExitStack
from threading import Lock, local
from types import TracebackType
from typing import Any

from codecmeta.container.packets import open_video
from codecmeta.container.source import Medium


class Openings:
    """(container, stream) of `open_video` for each thread that asks, closed together on leaving the `with` block, when
    no thread may use them any more. Opening two hours of mp4 takes as long as decoding a second of it.
    """

    def __init__(self, path: Medium, stream: int | None) -> None:
        self._path, self._stream = path, stream
        self._stack, self._lock, self._local = ExitStack(), Lock(), local()

    def __enter__(self) -> Openings:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self._stack.__exit__(kind, error, trace)

    def here(self) -> tuple[Any, Any]:
        """This thread's, opened when it first asks. Raises VideoError as `open_video` does."""
        if not hasattr(self._local, "opened"):
            manager = open_video(self._path, self._stream)
            self._local.opened = manager.__enter__()
            with self._lock:
                self._stack.push(manager)
        found: tuple[Any, Any] = self._local.opened
        return found
