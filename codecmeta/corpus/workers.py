"""From a function and many items to one outcome each, every call in a process that may crash, hang or eat memory.

Each worker is a process of its own (started afresh: the threads of FFmpeg, HDF5 and numba do not survive a fork) with
one pipe and one item at a time, so that a worker's end costs exactly the item it had. Only what crosses the pipe comes
back, which keeps results small. POSIX only; memory limits need Linux.

Memory is watched from outside instead of being refused inside (RLIMIT_AS): an allocation that fails in the middle of
FFmpeg looks like a damaged frame, and would end as a wrong result that counts as done; and address space says little
about memory where numba and FFmpeg reserve more than they use.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import connection
from pathlib import Path
from time import monotonic
from typing import Any, Generic, TypeVar

from codecmeta import compiling
from codecmeta.cache.locks import needs_posix

Item = TypeVar("Item")

_MEMORY_EVERY = 0.05  # seconds between two looks at the memory of busy workers
_START_SECONDS = 900.0  # for a worker to begin and to prepare; compiling kernels takes one minute on a slow machine
_ONE_THREAD = ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_NOTHING: Any = object()


@dataclass(frozen=True)
class Outcome(Generic[Item]):
    """What became of one item: the function's value if ok, else the reason in one line; seconds by the clock."""

    item: Item
    ok: bool
    value: Any
    reason: str
    seconds: float


def isolated_map(
    function: Callable[[Item], Any],
    items: Iterable[Item],
    *,
    jobs: int = 1,
    timeout: float | None = None,
    memory_limit: int | None = None,
    prepare: Callable[[], object] | None = None,
) -> Generator[Outcome[Item], None, None]:
    """Call `function` on every item in `jobs` worker processes; one Outcome per item, in the order they end.

    >>> for outcome in isolated_map(read_one, paths, jobs=8, timeout=60):
    ...     print(outcome.item, outcome.value if outcome.ok else outcome.reason)

    function and prepare: importable, as items and values are pickled. prepare: called once in every new worker before
    its first item, outside any deadline. timeout: seconds for one item; they begin anew where it had to wait for a
    parser to be compiled (`compiling.in_turn`). memory_limit: bytes of private memory that a worker may hold. Whoever
    crashes, is late or holds more is killed with all its children and replaced: reasons are "worker crashed (SIGSEGV)",
    "timed out after 30 s", "out of memory (limit 2 GiB)", or the exception.

    Items are taken from the iterable only when a worker is free for them. Closing the iterator kills the workers, and
    so does the end of this process, whatever ends it. Raises RuntimeError if workers cannot start.
    """
    needs_posix("running workers")
    if jobs < 1:
        raise ValueError(f"jobs={jobs}: expected at least 1")
    if memory_limit is not None and not sys.platform.startswith("linux"):
        raise ValueError("memory_limit needs Linux, where /proc says what a process holds")
    waiting = iter(items)
    workers: list[_Worker] = []
    try:
        while True:
            _hand_out(waiting, workers, jobs, lambda: _Worker(function, prepare, timeout, memory_limit))
            busy = [one for one in workers if one.item is not _NOTHING]
            if not busy:
                return
            _wait(busy, 60.0 if memory_limit is None else _MEMORY_EVERY)
            for worker in busy:
                outcome = worker.outcome()
                if worker.ended:
                    workers.remove(worker)
                if outcome is not None:
                    yield outcome
    finally:
        for worker in workers:
            worker.kill()


def memory_share(jobs: int) -> int:
    """Bytes for each of so many workers, of four fifths of what this machine, or the container this runs in, has."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            total = min(total, int(Path(limit).read_text()))
        except (OSError, ValueError):  # no such control group, or no limit
            continue
    return total * 4 // 5 // jobs


def _hand_out(waiting: Iterator[Any], workers: list[_Worker], jobs: int, start: Callable[[], _Worker]) -> None:
    """Give items to idle workers, and to new ones while there are fewer than `jobs`."""
    while True:
        idle = next((one for one in workers if one.item is _NOTHING), None)
        if idle is None and len(workers) == jobs:
            return
        item = next(waiting, _NOTHING)
        if item is _NOTHING:
            return
        if idle is not None and not idle.take(item):  # it died with nothing to do: nobody's fault
            workers.remove(idle)
            idle.kill()
            idle = None
        if idle is None:
            workers.append(start())
            workers[-1].take(item)


def _wait(busy: list[_Worker], at_most: float) -> None:
    """Sleep until a worker says something or dies, a deadline passes, or it is time to look at their memory."""
    first = min(one.deadline for one in busy) - monotonic()
    ends = [end for one in busy for end in (one.pipe, one.process.sentinel)]
    connection.wait(ends, min(max(first, 0.0), at_most))


class _Worker:
    """The parent's side of one worker process."""

    def __init__(
        self,
        function: Callable[[Any], Any],
        prepare: Callable[[], object] | None,
        timeout: float | None,
        memory_limit: int | None,
    ) -> None:
        self.timeout, self.memory_limit = timeout, memory_limit
        self.item: Any = _NOTHING
        self.ready = self.ended = False
        self.started = monotonic()
        self.deadline = self.started + _START_SECONDS
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=_serve, args=(other, function, prepare), daemon=True)
        with _child_settings():
            self.process.start()
        other.close()

    def take(self, item: Any) -> bool:
        """Begin an item, at once or when the worker is ready; False if the worker is no more."""
        if self.ready and not self._send(item):
            return False
        self.item = item
        return True

    def _from_now_on(self) -> None:
        self.started = monotonic()
        self.deadline = self.started + (float("inf") if self.timeout is None else self.timeout)

    def _send(self, item: Any) -> bool:
        self._from_now_on()
        try:
            self.pipe.send(item)
        except OSError:
            return False
        return True

    def outcome(self) -> Outcome[Any] | None:
        """What became of the item, if that is known by now; a worker that must go is killed and `ended`."""
        try:
            message = self.pipe.recv() if self.pipe.poll() else None
            dead = message is None and not self.process.is_alive() and not self.pipe.poll()
        except (EOFError, OSError):
            message, dead = None, True
        if message == "ready":
            self.ready = True
            dead = not self._send(self.item)
        elif message == "stop":
            self.deadline = monotonic() + _START_SECONDS
        elif message == "start":
            self._from_now_on()
        elif message is not None:
            return self._free(*message)
        if dead:
            return self._lost(self._death())
        if monotonic() >= self.deadline:
            return self._lost(f"timed out after {self.timeout:g} s" if self.timeout is not None else "timed out")
        if self.memory_limit is not None and _private_bytes(self.process.pid) > self.memory_limit:
            return self._lost(_out_of_memory(self.memory_limit))
        return None

    def _free(self, ok: bool, value: Any, reason: str) -> Outcome[Any]:
        if reason == "MemoryError":
            reason = _out_of_memory(self.memory_limit)
        outcome = Outcome(self.item, ok, value, reason, monotonic() - self.started)
        self.item, self.deadline = _NOTHING, float("inf")
        return outcome

    def _lost(self, reason: str) -> Outcome[Any]:
        self.kill()
        if not self.ready and reason == _out_of_memory(self.memory_limit):
            raise RuntimeError(
                f"a worker ran {reason} before its first item; allow more, or fewer workers at the same time"
            )
        if not self.ready:
            raise RuntimeError(
                f"a worker did not start ({reason}); its message is above. In a script, call isolated_map under "
                '`if __name__ == "__main__":`'
            )
        return self._free(False, None, reason)

    def _death(self) -> str:
        self.process.join(5)
        code = self.process.exitcode
        if code is None or code >= 0:
            return f"worker ended (exit code {code})"
        return f"worker crashed ({signal.Signals(-code).name})"

    def kill(self) -> None:
        """End the process and all it started; nothing of it is left when this returns."""
        if self.ended:
            return
        self.ended = True
        with suppress(ProcessLookupError, PermissionError):  # it leads a group of its own once it has begun
            os.killpg(self.process.pid or 0, signal.SIGKILL)
        self.process.kill()
        self.process.join()
        self.process.close()
        self.pipe.close()


def _out_of_memory(limit: int | None) -> str:
    if limit is None:
        return "out of memory"
    unit, name = (1 << 30, "GiB") if limit >= 1 << 30 else (1 << 20, "MiB")
    return f"out of memory (limit {limit / unit:.3g} {name})"


def _private_bytes(process: int | None) -> int:
    """Memory that a process holds for itself, without the code and the files that it maps."""
    try:
        with open(f"/proc/{process}/statm") as file:
            _, resident, shared, *_ = file.read().split()
    except OSError:
        return 0
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def _child_settings() -> Iterator[None]:
    """What a new process inherits: one thread for each library, and no interrupt, which is the parent's to handle."""
    before = {name: os.environ.get(name) for name in _ONE_THREAD}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    os.environ.update(dict.fromkeys(_ONE_THREAD, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _serve(pipe: connection.Connection, function: Callable[[Any], Any], prepare: Callable[[], object] | None) -> None:
    """The worker's side: items in, (ok, value, reason) out, until the parent closes the pipe."""
    os.setpgid(0, 0)
    _die_with_parent()
    os.dup2(2, 1)  # standard output is for results, and those go through the pipe
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(1)
    if prepare is not None:
        prepare()
    pipe.send("ready")
    compiling.clock = pipe.send
    while True:
        try:
            item = pipe.recv()
        except EOFError:
            return
        pipe.send(_answer(function, item))


def _answer(function: Callable[[Any], Any], item: Any) -> tuple[bool, Any, str]:
    try:
        return True, function(item), ""
    except MemoryError:
        return False, None, "MemoryError"
    except Exception as error:
        return False, None, f"{type(error).__name__}: {error}".replace("\n", " ")


def _die_with_parent() -> None:
    """Have the kernel end this process group when the parent is gone, even in the middle of a call that never returns:
    the read end of a pipe that only the parent can write to sends a signal when it closes."""
    import fcntl  # not there outside POSIX, where `isolated_map` says so before any worker starts

    parent = multiprocessing.parent_process()
    assert parent is not None
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(parent.sentinel, fcntl.F_SETOWN, -os.getpgrp())
    fcntl.fcntl(parent.sentinel, fcntl.F_SETFL, fcntl.fcntl(parent.sentinel, fcntl.F_GETFL) | os.O_ASYNC)
    if connection.wait([parent.sentinel], 0):  # it was gone before
        os._exit(1)
