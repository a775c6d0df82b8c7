"""Fixtures shared by the tests."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import pytest

if find_spec("torch"):
    from tests.support.asking import clip, folder, model, qwen_folder  # noqa: F401 (fixtures)

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for clips that several tests of one session share."""
    return tmp_path_factory.mktemp("clips")
