"""A real Ray on this machine: bad videos cost one row each, and a second run finds everything there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import codecmeta
from codecmeta.corpus import distributed
from codecmeta.corpus.inputs import find_videos
from tests.support import faults
from tests.support.clips import pan, write_clip

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'codecmeta[ray]'")
pytest.importorskip("ray.data", reason="Ray Data is not installed: pip install 'codecmeta[ray]'")


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Two CPUs of this machine."""
    paths = {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env={"env_vars": paths})
    yield
    ray.shutdown()


@pytest.mark.slow
def test_shards_on_ray(cluster: None, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    videos, output = tmp_path / "videos", tmp_path / "caches"
    (videos / "sub").mkdir(parents=True)
    clip = write_clip(made / "shard.mp4", pan(6, (32, 32), (1, 0))).read_bytes()
    good = [*(f"{number}.mp4" for number in range(8)), "sub/1.mp4"]
    for name in [*good, "segfault.mp4", "hang.mp4"]:
        (videos / name).write_bytes(clip)
    (videos / "garbage.mp4").write_bytes(b"no video")
    found = find_videos(videos)

    monkeypatch.setattr(distributed, "_extract_shard", faults.extract_shard)
    counts = distributed.extract_on_ray(found, output, shard_size=6, timeout=8, frames=2)
    assert counts == {"done": 9, "failed": 3}
    corpus = codecmeta.Corpus(output)
    assert list(corpus) == sorted(good)
    reasons = {row.key: row.reason for row in corpus.failed}
    assert reasons["segfault.mp4"] == "worker crashed (SIGSEGV)" and reasons["hang.mp4"] == "timed out after 8 s"
    assert "cannot read" in reasons["garbage.mp4"]
    with corpus["sub/1.mp4"] as meta:
        assert len(meta.frames) == 6
    assert not list(output.rglob("*.part"))

    monkeypatch.undo()  # the faults are gone, the garbage stays
    assert distributed.extract_on_ray(found, output, shard_size=6, timeout=60, frames=2) == {
        "skipped": 9,
        "done": 2,
        "failed": 1,
    }
    assert list(codecmeta.Corpus(output)) == sorted([*good, "segfault.mp4", "hang.mp4"])

    (videos / "late").mkdir()
    (videos / "late" / "1.mp4").write_bytes(clip)
    later = [(str(videos / "late" / "1.mp4"), "late/1.mp4")]
    assert distributed.extract_on_ray(later, output, timeout=60, frames=2) == {"done": 1}
    corpus = codecmeta.Corpus(output)
    assert list(corpus) == sorted([*good, "segfault.mp4", "hang.mp4", "late/1.mp4"])
    assert [row.key for row in corpus.failed] == ["garbage.mp4"]


def test_names_that_parquet_cannot_hold_are_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not UTF-8"):
        distributed.extract_on_ray([(str(tmp_path / "a"), "\udcffa.mp4")], tmp_path)
