"""The cache file: what goes in comes out, nothing is half written, nothing is silently reused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

import codecmeta
from codecmeta.cache import store as cache
from codecmeta.errors import CacheError, VideoError
from codecmeta.extraction.to_file import extract_to_file
from tests.support.clips import REAL_NAMES, pan, real_clip, write_clip
from tests.support.records import arrays


@pytest.fixture(scope="module")
def clip(made: Path) -> Path:
    return write_clip(made / "cached.mp4", pan(30, (96, 64), (3, 1)), options={"x264-params": "bframes=2:keyint=10"})


def assert_same(one: codecmeta.Metadata, other: codecmeta.Metadata) -> None:
    assert one.stream == other.stream and one.capability == other.capability and one.settings == other.settings
    for part in ("motion", "residual", "qp", "bits"):
        assert (getattr(one, part) is None) == (getattr(other, part) is None), part
    for name, value in arrays(one).items():
        table, field = name.split(".")
        stored = np.asarray(getattr(getattr(other, table), field))
        assert stored.dtype == value.dtype and stored.shape == value.shape, name
        assert stored.tobytes() == value.tobytes(), name


@pytest.mark.parametrize("name", REAL_NAMES or ["none"])
def test_a_streamed_cache_holds_what_extract_returns_in_less_than_one_and_a_half_videos(
    name: str, tmp_path: Path
) -> None:
    path = real_clip(name)
    written = extract_to_file(path, tmp_path / "c.h5", jobs=2)
    with codecmeta.load(tmp_path / "c.h5") as loaded:
        assert_same(codecmeta.extract(path, details=False), loaded)
    assert written.cache_bytes == (tmp_path / "c.h5").stat().st_size <= 1.5 * path.stat().st_size


@pytest.mark.parametrize("name", ["cvr_h264_bframes.mp4", "mvx_mpeg4_part2.mp4"])
def test_details_add_signals_and_change_no_other(name: str) -> None:
    path = real_clip(name)
    full, lean = (codecmeta.extract(path, times=(0.0, 1.0, 2.0), details=details) for details in (True, False))
    assert lean.bits is None and lean.residual_chroma is None and lean.capability["bits"]["level"] == "none"
    assert full.motion and lean.motion and full.residual and lean.residual and full.qp and lean.qp
    assert lean.motion.distance is None and np.array_equal(full.motion.vectors[:], lean.motion.vectors[:])
    assert np.array_equal(full.qp.values[:], lean.qp.values[:])
    whole, rounded = (np.asarray(one.residual.values[:], np.float64) for one in (full, lean) if one.residual)
    assert whole.max() > 8 and np.allclose(rounded, whole, rtol=1 / 64, atol=0)
    if name.startswith("cvr"):
        assert full.bits is not None and full.motion.distance is not None and (rounded != whole).any()
        assert len(np.unique(rounded)) < len(np.unique(whole)) / 3


@pytest.mark.parametrize("frames", ["keyframes", 4, "all"])
def test_save_and_load_keep_every_array(clip: Path, tmp_path: Path, frames: object) -> None:
    meta = codecmeta.extract(clip, frames=frames)  # type: ignore[arg-type]
    meta.save(tmp_path / "saved.h5")
    with codecmeta.load(tmp_path / "saved.h5") as loaded:
        assert_same(meta, loaded)
        loaded.save(tmp_path / "again.h5")
    with codecmeta.load(tmp_path / "again.h5") as loaded:
        assert_same(meta, loaded)


def test_the_file_keeps_the_contract(clip: Path, tmp_path: Path) -> None:
    """Names, shapes and types of format version 1, read with h5py alone."""
    target = tmp_path / "contract.h5"
    extract_to_file(clip, target, details=True)
    with h5py.File(target) as file:
        assert file.attrs["format"] == "codecmeta" and file.attrs["format_version"] == 1
        assert (file.attrs["width"], file.attrs["height"], file.attrs["codec"]) == (96, 64, "h264")
        assert file.attrs["source_bytes"] == clip.stat().st_size and len(file.attrs["source_sha256"]) == 64
        assert json.loads(file.attrs["settings"]) == {"frames": "all", "details": True, "stream": None}
        kinds = {name: file["frames"][name].dtype.str for name in file["frames"]}
        assert kinds == {
            "pts": "<i8", "time": "<f8", "picture_type": "|u1", "keyframe": "|b1",
            "packet_bytes": "<i8", "gop": "<i4", "corrupt": "|b1",
        }  # fmt: skip
        assert set(file["gops"]) == {"start", "stop", "packet_bytes_mean"}
        vectors = file["motion/vectors"]
        assert vectors.dtype.names == ("source", "w", "h", "dst_x", "dst_y", "motion_x", "motion_y", "scale")
        assert len(file["motion/indptr"]) == len(file["motion/frame"]) + 1 and file["motion/indptr"][-1] == len(vectors)
        assert file["residual/luma_rms"].dtype == np.float16 and file["residual/luma_rms"].shape == (30, 8, 12)
        assert file["residual"].attrs["block"] == 8 and "bitstream" in file["residual"].attrs["source"]
        assert file["residual/chroma_rms"].shape == (30, 8, 12) and file["motion/distance"].shape == vectors.shape
        assert file["qp/map"].dtype == np.int8 and file["qp/map"].shape == (30, 4, 6)
        for name in ("motion/vectors", "residual/luma_rms", "qp/map"):
            assert file[name].compression == "gzip" and file[name].shuffle and file[name].chunks[0] <= 32768
        assert file["bits/map"].dtype == np.float32 and file["bits/map"].shape == (30, 4, 6)
        assert json.loads(file.attrs["capability"])["bits"]["level"] == "exact"


def test_groups_that_a_codec_cannot_fill_are_absent(made: Path, tmp_path: Path) -> None:
    extract_to_file(write_clip(made / "absent.webm", pan(6, (64, 64), (2, 0)), "libvpx", {}), tmp_path / "c.h5")
    with h5py.File(tmp_path / "c.h5") as file:
        assert set(file) == {"frames", "gops", "residual"}


def test_a_finished_cache_is_kept_and_another_setting_is_an_error(clip: Path, tmp_path: Path) -> None:
    target = tmp_path / "kept.h5"
    assert not extract_to_file(clip, target, frames=4).skipped
    before = target.stat().st_mtime_ns
    assert extract_to_file(clip, target, frames=4).skipped
    assert target.stat().st_mtime_ns == before
    with pytest.raises(CacheError, match=r"made with --frames 4, asked for --frames all"):
        extract_to_file(clip, target)
    assert not extract_to_file(clip, target, overwrite=True).skipped


def test_a_changed_video_is_noticed(clip: Path, tmp_path: Path) -> None:
    video, target = tmp_path / "video.mp4", tmp_path / "video.h5"
    video.write_bytes(clip.read_bytes())
    extract_to_file(video, target, frames=4)
    os.utime(video, ns=(1, 1))
    assert extract_to_file(video, target, frames=4).skipped  # touched, same content
    data = bytearray(clip.read_bytes())
    data[-1] ^= 1
    video.write_bytes(bytes(data))
    with pytest.raises(CacheError, match="another version"):
        extract_to_file(video, target, frames=4)


def test_newer_versions_are_refused_with_both_numbers(clip: Path, tmp_path: Path) -> None:
    target = tmp_path / "newer.h5"
    extract_to_file(clip, target, frames=4)
    with h5py.File(target, "r+") as file:
        file.attrs["format_version"] = 7
    with pytest.raises(CacheError, match=r"version 7.*up to 1"):
        codecmeta.load(target)


@pytest.mark.parametrize("damage", ["text", "other", "cut", "hole"])
def test_what_is_no_cache_is_refused(clip: Path, tmp_path: Path, damage: str) -> None:
    target = tmp_path / "bad.h5"
    if damage == "text":
        target.write_text("hello")
    elif damage == "other":
        with h5py.File(target, "w") as file:
            file["data"] = [1]
    else:
        extract_to_file(clip, target, frames=4)
        if damage == "cut":
            target.write_bytes(target.read_bytes()[:3000])
        else:
            with h5py.File(target, "r+") as file:
                del file["frames/pts"]
    with pytest.raises(CacheError, match="bad.h5") as caught:
        codecmeta.load(target)
    assert "\n" not in str(caught.value)


def test_a_video_that_fails_leaves_no_file(tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    with pytest.raises(VideoError):
        extract_to_file(tmp_path / "bad.mp4", tmp_path / "bad.h5")
    assert [one.name for one in tmp_path.iterdir()] == ["bad.mp4"]


def test_a_killed_run_leaves_nothing_under_the_final_name_and_the_next_one_cleans_up(
    clip: Path, tmp_path: Path
) -> None:
    target = tmp_path / "killed.h5"
    script = (
        "import os, sys; from codecmeta.cache.writer import Writer; from codecmeta import extract_to_file\n"
        "Writer.add = lambda self, frame: os.kill(os.getpid(), 9)\n"
        "extract_to_file(sys.argv[1], sys.argv[2])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, clip, target],
        env={**os.environ, "PYTHONPATH": str(Path(cache.__file__).parents[2])},
    )
    assert done.returncode == -9
    assert not target.exists() and len(list(tmp_path.iterdir())) == 1
    extract_to_file(clip, target)
    assert [one.name for one in tmp_path.iterdir()] == ["killed.h5"]


def test_reading_one_frame_reads_one_chunk(tmp_path: Path, made: Path) -> None:
    """Random access: the chunks of a map hold few frames, however long the video."""
    long = write_clip(made / "long.mp4", pan(300, (128, 96), (1, 0)), options={"preset": "ultrafast"})
    extract_to_file(long, tmp_path / "long.h5")
    with h5py.File(tmp_path / "long.h5") as file:
        chunk = file["residual/luma_rms"].chunks
        assert chunk[0] <= 64 and chunk[1:] == file["residual/luma_rms"].shape[1:]
    with codecmeta.load(tmp_path / "long.h5") as meta:
        assert not isinstance(meta.residual.values, np.ndarray) and meta.residual.of(200).shape == (12, 16)
