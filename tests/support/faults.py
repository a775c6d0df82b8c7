"""Work that goes wrong in every way a worker can, for the tests and the reliability benchmark."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from codecmeta.compiling import in_turn
from codecmeta.corpus import batch, distributed
from codecmeta.corpus.index import Row
from codecmeta.corpus.inputs import Task

_extract_one, _extract_shard = batch.extract_one, distributed._extract_shard


def work(item: tuple[str, Any]) -> Any:
    """("return", value), ("segfault", None), ("hang", None), ... as named."""
    what, value = item
    if what == "segfault":
        ctypes.string_at(0)
    elif what == "exit":
        os._exit(3)
    elif what == "raise":
        raise ValueError(value)
    elif what == "compile":
        with in_turn(None):
            time.sleep(value)
    elif what == "hang":
        time.sleep(1000)
    elif what == "hang in C":  # with the interpreter lock held, so that no thread of this process can run
        ctypes.PyDLL(None).sleep(1000)
    elif what == "hog":
        hoard = []
        while True:
            hoard.append(b"x" * (1 << 20))
            time.sleep(0.001)
    elif what == "children":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
        Path(value).write_text(f"{os.getpid()} {child.pid}")
        ctypes.PyDLL(None).sleep(1000)
    elif what == "pid":
        return os.getpid()
    elif what == "threads":
        print("this must not reach standard output")
        return os.environ["NUMBA_NUM_THREADS"], os.environ["OMP_NUM_THREADS"]
    return value


def cannot_start() -> None:
    """A preparation that fails."""
    raise ImportError("a library is missing")


def extract_one(task: Task, **options: Any) -> Row:
    """`batch.extract_one`, but videos called segfault, hang or hog do that."""
    name = Path(task.key).stem
    if name in ("segfault", "hang", "hog"):
        work((name, None))
    return _extract_one(task, **options)


def extract_shard(row: dict[str, Any], output: str, settings: dict[str, Any]) -> Any:
    """`distributed._extract_shard` with these faults."""
    batch.extract_one = extract_one
    try:
        yield from _extract_shard(row, output, settings)
    finally:
        batch.extract_one = _extract_one  # Ray uses its processes again


def command(*arguments: object) -> list[str]:
    """The command line of `codecmeta` with these faults, and with Ctrl-C as a terminal has it: what a shell starts in
    the background ignores it."""
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"import sys; sys.path[:0] = {[str(Path(__file__).parents[2])]}\n"
        "from codecmeta.corpus import batch; from tests.support import faults; batch.extract_one = faults.extract_one\n"
        "from codecmeta.cli import main; main()"
    )
    return [sys.executable, "-c", code, *map(str, arguments)]


def alive(process: int) -> bool:
    """Whether a process runs; one that ended and waits to be collected does not."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def wait_until(true: Any, seconds: float = 30.0) -> bool:
    """Whether something becomes true in that time."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True
