"""One bad item costs itself and nothing else, and no process outlives its purpose."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from codecmeta.corpus.workers import isolated_map
from tests.support import faults


def test_every_item_gets_its_own_end() -> None:
    bad = [("segfault", None), ("hang", None), ("exit", None), ("raise", "so it\nis"), ("hog", None)]
    items: list[tuple[str, Any]] = [("return", number) for number in range(12)]
    for place, one in enumerate(bad):
        items.insert(3 * place, one)
    outcomes = {one.item: one for one in isolated_map(faults.work, items, jobs=2, timeout=5, memory_limit=256 << 20)}
    assert len(outcomes) == len(items)
    assert {item[0]: outcomes[item].reason for item in bad} == {
        "segfault": "worker crashed (SIGSEGV)",
        "hang": "timed out after 5 s",
        "exit": "worker ended (exit code 3)",
        "raise": "ValueError: so it is",
        "hog": "out of memory (limit 256 MiB)",
    }
    good = [one for item, one in outcomes.items() if item[0] == "return"]
    assert all(one.ok and one.value == one.item[1] and not one.reason for one in good)
    assert not any(outcomes[item].ok for item in bad)


def test_items_are_taken_when_a_worker_is_free() -> None:
    taken = 0

    def endless() -> Iterator[tuple[str, int]]:
        nonlocal taken
        while True:
            taken += 1
            yield "return", taken

    outcomes = isolated_map(faults.work, endless(), jobs=2)
    for _ in range(10):
        next(outcomes)
    assert taken <= 12
    outcomes.close()


def test_closing_ends_workers_and_their_children(tmp_path: Path) -> None:
    outcomes = isolated_map(faults.work, [("return", 1), ("children", str(tmp_path / "pids"))], jobs=1)
    next(outcomes)
    late = isolated_map(faults.work, [("children", str(tmp_path / "pids"))], timeout=3)
    assert [one.reason for one in late] == ["timed out after 3 s"]
    worker, child = map(int, (tmp_path / "pids").read_text().split())
    assert not faults.alive(worker) and faults.wait_until(lambda: not faults.alive(child))
    worker = next(isolated_map(faults.work, [("pid", None)])).value
    assert faults.wait_until(lambda: not faults.alive(worker))
    outcomes.close()


def test_a_killed_parent_takes_hanging_workers_along(tmp_path: Path) -> None:
    """Also where the worker is in a call that never returns and holds the interpreter lock."""
    script = (
        f"import sys; sys.path[:0] = {sys.path}\n"
        "from tests.support import faults; from codecmeta.corpus.workers import isolated_map\n"
        "list(isolated_map(faults.work, [('children', sys.argv[1])]))"
    )
    pids = tmp_path / "pids"
    parent = subprocess.Popen([sys.executable, "-c", script, str(pids)])
    assert faults.wait_until(lambda: pids.exists() and len(pids.read_text().split()) == 2)
    worker, child = map(int, pids.read_text().split())
    assert faults.alive(worker) and faults.alive(child)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert faults.wait_until(lambda: not faults.alive(worker) and not faults.alive(child))


def test_a_worker_that_dies_with_nothing_to_do_is_replaced() -> None:
    waiting = iter([("pid", 1), ("pid", 2)])
    outcomes = isolated_map(faults.work, waiting)
    first = next(outcomes)
    os.kill(first.value, signal.SIGKILL)
    assert faults.wait_until(lambda: not faults.alive(first.value))
    second = next(outcomes)
    assert second.ok and second.value != first.value


def test_compiling_is_nobodys_time() -> None:
    """The first video of a codec would time out wherever compiling its parser takes longer than the video may."""
    assert next(isolated_map(faults.work, [("compile", 1.0)], timeout=0.5)).ok
    late = list(isolated_map(faults.work, [("compile", 0.1), ("hang", None)], timeout=0.5))
    assert [one.reason for one in late] == ["", "timed out after 0.5 s"]


def test_workers_that_cannot_start_are_an_error() -> None:
    with pytest.raises(RuntimeError, match=r"did not start \(worker ended \(exit code 1\)\)"):
        list(isolated_map(faults.work, [("return", 1)], prepare=faults.cannot_start))
    with pytest.raises(ValueError, match="jobs=0"):
        list(isolated_map(faults.work, [("return", 1)], jobs=0))


def test_workers_have_one_thread_and_keep_off_standard_output(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("NUMBA_NUM_THREADS", raising=False)
    assert next(isolated_map(faults.work, [("threads", None)])).value == ("1", "1")
    assert os.environ["OMP_NUM_THREADS"] == "7" and "NUMBA_NUM_THREADS" not in os.environ
    captured = capfd.readouterr()
    assert captured.out == "" and "must not reach" in captured.err
