"""Videos that the tests of a corpus share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.clips import pan, write_clip


@pytest.fixture(scope="module")
def clip(made: Path) -> Path:
    return write_clip(made / "tiny.mp4", pan(6, (32, 32), (1, 0)))


@pytest.fixture
def folder(clip: Path, tmp_path: Path) -> Path:
    """videos/{a,b}.mp4, videos/deep/er/c.mp4 with one content, and a text file."""
    for name in ("a.mp4", "b.mp4", "deep/er/c.mp4"):
        path = tmp_path / "videos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(clip.read_bytes())
    (tmp_path / "videos" / "notes.txt").write_text("no video")
    return tmp_path / "videos"
