"""What a full disk and a power cut leave."""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path

import pytest

import codecmeta
from codecmeta.cache.store import save
from codecmeta.corpus.index import IndexWriter, Row, read_rows
from codecmeta.extraction.to_file import extract_to_file


def test_a_full_disk_is_said_and_leaves_nothing(clip: Path, tmp_path: Path) -> None:
    """Every write of a cache and of the index in turn is the first one that fails."""
    meta = codecmeta.extract(clip)
    whole, limits = tmp_path / "whole.h5", resource.getrlimit(resource.RLIMIT_FSIZE)
    extract_to_file(clip, whole)
    size = whole.stat().st_size
    said = set()
    for most in range(0, size, size // 25):
        for write in (lambda: save(meta, tmp_path / "a.h5"), lambda: extract_to_file(clip, tmp_path / "a.h5")):
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, limits[1]))
            try:
                with pytest.raises(OSError) as caught:
                    write()
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            said.add(str(caught.value))
            assert [one.name for one in tmp_path.iterdir()] == ["whole.h5"]
    assert said == {f"[Errno {errno.EFBIG}] File too large: '{tmp_path / 'a.h5'}'"}
    extract_to_file(clip, tmp_path / "again.h5")
    assert (tmp_path / "again.h5").read_bytes() == whole.read_bytes()


def test_an_index_on_a_full_disk_keeps_the_rows_it_has(tmp_path: Path) -> None:
    path, limits = tmp_path / "index.jsonl", resource.getrlimit(resource.RLIMIT_FSIZE)
    rows = [Row(f"{key}.mp4", f"{key}.mp4", str(tmp_path / f"{key}.h5"), "done") for key in "abc"]
    with IndexWriter(path) as writer:
        writer.add(rows[0])
    length = path.stat().st_size
    try:
        with pytest.raises(OSError, match="File too large: .*index.jsonl"), IndexWriter(path) as writer:
            resource.setrlimit(resource.RLIMIT_FSIZE, (2 * length + 10, limits[1]))
            writer.add(rows[1])
            writer.add(rows[2])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(read_rows(path.read_bytes().splitlines())) == ["a.mp4", "b.mp4"]
    with IndexWriter(path) as writer:
        writer.add(rows[2])
    assert list(read_rows(path.read_bytes().splitlines())) == ["a.mp4", "b.mp4", "c.mp4"]
    assert [one.name for one in tmp_path.iterdir()] == ["index.jsonl"]


def test_what_is_moved_to_its_name_is_on_the_disk(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: dict[int, bytes] = {}
    moved: list[bytes] = []
    sync, move = os.fsync, os.replace

    def fsync(descriptor: int) -> None:
        sync(descriptor)
        flushed[os.fstat(descriptor).st_ino] = Path(f"/proc/self/fd/{descriptor}").read_bytes()

    def replace(source: Path, target: Path) -> None:
        moved.append(source.read_bytes())
        assert flushed[os.stat(source).st_ino] == moved[-1]
        move(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    written = extract_to_file(clip, tmp_path / "a.h5")
    with IndexWriter(tmp_path / "index.jsonl") as writer:
        writer.add(Row("a.mp4", "a.mp4", str(written.path), "done"))
    assert moved == [(tmp_path / "a.h5").read_bytes(), (tmp_path / "index.jsonl").read_bytes()]
