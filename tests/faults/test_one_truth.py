"""One truth about frames: everything that reads a file says what a plain decode from the start says.

`benchmarks.bulk` is the judge: it decodes with FFmpeg in one thread and shares no line with the package.
"""

from __future__ import annotations

import pytest

from benchmarks.bulk import check, check_workers
from tests.support.clips import REAL_NAMES, real_clip
from tests.support.fault_files import FAULT_NAMES, fault_file


@pytest.mark.parametrize("name", FAULT_NAMES or ["any"])
def test_files_on_which_it_was_once_wrong(name: str) -> None:
    assert check(fault_file(name))["remarks"] == []


@pytest.mark.parametrize("name", FAULT_NAMES or ["any"])
def test_one_worker_and_two_write_the_same_bytes(name: str) -> None:
    assert check_workers(fault_file(name)) == []


@pytest.mark.parametrize("name", REAL_NAMES or ["any"])
def test_real_clips(name: str) -> None:
    assert check(real_clip(name))["remarks"] == []
