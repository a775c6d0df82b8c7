"""What a container's index says of packets is what demuxing says; where it is not enough, or lies, packets are read."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

import codecmeta
from codecmeta.container.blob import BLOCK, Blob
from codecmeta.container.probe import probe_with_packets
from codecmeta.container.source import opened
from codecmeta.decisions.packet_events import picture_kinds
from tests.support.clips import REAL_CLIPS, needs_index, pan, real_clip, single_thread_export, write_clip
from tests.support.fault_files import FAULTS
from tests.support.films import long_film

INDEXED = sorted(one for folder in (REAL_CLIPS, FAULTS) for one in folder.glob("*") if one.suffix in (".mp4", ".3gp"))
NOT_ENOUGH = {"stsd2.mp4": "configuration may change", "trunc.mp4": "not in the file"}


def demuxed(path: Path, stream: int) -> list[tuple[Any, ...]]:
    """(pts, dts, size, keyframe, discarded, position) of every packet, by FFmpeg."""
    with av.open(str(path)) as container:
        video = container.streams.video[stream]
        packets = [one for one in container.demux(video) if one.size]
        return [(one.pts, one.dts, one.size, one.is_keyframe, one.is_discard, one.pos) for one in packets]


@needs_index
@pytest.mark.parametrize("path", INDEXED, ids=lambda path: path.name)
def test_the_index_says_what_demuxing_says(path: Path) -> None:
    found, packets = probe_with_packets(path, headers=False)
    if path.name in NOT_ENOUGH:
        assert packets.looked is None and NOT_ENOUGH[path.name] in found.capability["packets"]["why"]
        return
    assert packets.looked is not None and not packets.looked.any()
    columns = (packets.pts, packets.dts, packets.size, packets.key, ~packets.shown, packets.position)
    assert list(zip(*(one.tolist() for one in columns), strict=True)) == demuxed(path, found.stream.stream_index)
    read = codecmeta.probe(path)
    assert found.stream == read.stream
    for name in ("pts", "time", "keyframe", "packet_bytes", "gop"):
        np.testing.assert_array_equal(getattr(found.frames, name), getattr(read.frames, name))
    assert found.capability["packets"]["level"] == "estimated" and found.capability["picture_types"]["level"] == "none"


class Counted(io.BytesIO):
    """A file object that counts the bytes that are read from it."""

    taken = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.taken += len(data)
        return data


@needs_index
@pytest.mark.parametrize("movflags", ["", "faststart"])
def test_a_hundredth_of_the_file_is_read(movflags: str, tmp_path: Path) -> None:
    path = long_film(tmp_path / "film.mp4", seconds=600, movflags=movflags)
    content = path.read_bytes()
    file = Counted(content)
    found = codecmeta.probe(file, headers=False)
    assert len(found.frames) == 6000 and file.taken <= len(content) / 100


PAIRS = [("cvr_h264_bframes.mp4", "events"), ("torchcodec_hevc.mp4", "uniform"), ("vpng_vp9.mp4", "cheap")]
PAIRS += [("vpng_av1.mp4", "keyframes"), ("mvx_mpeg4_part2.mp4", "uniform"), ("vali_rotated_90.mp4", "events")]


@needs_index
@pytest.mark.parametrize(("name", "policy"), PAIRS)
def test_pictures_are_those_of_a_read_without_the_index(name: str, policy: str) -> None:
    path = real_clip(name)
    choice = codecmeta.choose_frames(path, 4, policy=policy, headers=False)  # type: ignore[arg-type]
    assert choice.tables is not None and choice.tables[1].looked is not None
    by_index, rows, pictures = codecmeta.read(path, choice)
    whole, _, expected = codecmeta.read(path, rows=choice.rows)
    np.testing.assert_array_equal(rows, choice.rows)
    np.testing.assert_array_equal(pictures, expected)
    np.testing.assert_array_equal(by_index.residual.values, whole.residual.values)
    types = by_index.frames.picture_type
    np.testing.assert_array_equal(types[rows], whole.frames.picture_type[rows])


@pytest.mark.parametrize(
    ("movflags", "says"), [("frag_keyframe+empty_moov", "fragmented"), ("frag_keyframe", "fragmented")]
)
def test_a_fragmented_file_is_read_whole(movflags: str, says: str, tmp_path: Path) -> None:
    path = long_film(tmp_path / "film.mp4", seconds=8, movflags=movflags)
    found = codecmeta.probe(path, headers=False)
    assert says in found.capability["packets"]["why"]
    np.testing.assert_array_equal(found.frames.time, codecmeta.probe(path).frames.time)


@needs_index
def test_a_keyframe_that_is_none_is_not_believed(tmp_path: Path) -> None:
    """The container calls the 15th picture a keyframe, which the 11th is: decoding from there would give grey."""
    path = long_film(tmp_path / "film.mp4", seconds=4)
    expected = codecmeta.read(path, rows=[18, 19])[2]
    content = bytearray(path.read_bytes())
    at = content.index(b"stss") + 12  # entries: 1, 11, 21, 31
    assert [int.from_bytes(content[at + 4 * one : at + 4 * one + 4]) for one in range(4)] == [1, 11, 21, 31]
    content[at + 4 : at + 8] = (15).to_bytes(4)
    path.write_bytes(content)
    choice = codecmeta.choose_frames(path, 40, policy="uniform", headers=False)
    assert choice.tables is not None and choice.tables[1].looked is not None
    for rows in (np.arange(18, 20), np.arange(9, 20)):
        meta, _, pictures = codecmeta.read(path, replace(choice, rows=rows))
        np.testing.assert_array_equal(pictures[-2:], expected)
        assert "index does not hold" in meta.capability["packets"]["why"]


@needs_index
def test_a_recovery_point_is_no_start(tmp_path: Path) -> None:
    """Containers flag the points at which intra refresh begins; the bitstream does not say that decoding may."""
    options = {"x264-params": "intra-refresh=1:keyint=10:bframes=0"}
    path = write_clip(tmp_path / "clip.mp4", pan(60, (64, 48), (1, 0)), options=options)
    choice = codecmeta.choose_frames(path, 3, policy="uniform", headers=False)
    assert choice.tables is not None and choice.tables[1].looked is not None and choice.tables[1].key.sum() > 1
    meta, rows, pictures = codecmeta.read(path, choice)
    assert "decoding may start" in meta.capability["packets"]["why"]
    shown = [one["rgb"] for one in single_thread_export(path)]
    np.testing.assert_array_equal(pictures, [shown[row] for row in rows])


@pytest.mark.parametrize("box", ["stsz", "stsc", "stco", "ctts", "stts", "stss"])
def test_a_damaged_index_is_no_worse_than_for_who_demuxes(box: str, tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", pan(30, (64, 48), (1, 0)), b_frames=2)
    content = path.read_bytes()
    at = content.index(box.encode())
    rng = np.random.default_rng(0)
    for _ in range(8):
        damaged = bytearray(content)
        damaged[at + 8 + int(rng.integers(16))] ^= int(rng.integers(1, 255))
        path.write_bytes(damaged)
        try:
            expected = codecmeta.probe(path)
        except codecmeta.VideoError:
            continue
        found, packets = probe_with_packets(path, headers=False)
        if packets.looked is not None:
            np.testing.assert_array_equal(packets.size, [one[2] for one in demuxed(path, 0)])
        assert len(found.frames) == len(expected.frames)


@needs_index
def test_parts_of_pictures_are_told_without_headers(tmp_path: Path) -> None:
    """In pyramids of three B pictures the first one sent is what the others refer to (nal_ref_idc says so)."""
    options = {"bf": "3", "b-adapt": "0", "b-pyramid": "normal", "sc_threshold": "0", "preset": "fast"}
    path = write_clip(tmp_path / "clip.mp4", pan(61, (64, 48), (1, 0)), options=options, gop=60)
    (found, packets), (read, whole) = (probe_with_packets(path, headers=one) for one in (False, True))
    assert not whole.reference.all() and packets.reference.all()
    by_order, by_headers = picture_kinds(found.frames, packets), picture_kinds(read.frames, whole)
    assert (by_order != by_headers).sum() <= 2  # where one B picture stands alone, both are right


def test_file_objects_and_bytes_are_sources_everywhere(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", pan(30, (64, 48), (1, 0)), gop=10)
    content = path.read_bytes()
    choice = codecmeta.choose_frames(path, 5)
    expected = codecmeta.read(path, choice)[2]
    file = io.BytesIO(b"before" + content)
    file.seek(6)
    for source in (content, file):
        assert codecmeta.choose_frames(source, 5).rows.tolist() == choice.rows.tolist()
        np.testing.assert_array_equal(codecmeta.read(source, choice)[2], expected)
        assert codecmeta.packet_events(source) == codecmeta.packet_events(path)
        target = tmp_path / f"{type(source).__name__}.h5"
        assert codecmeta.extract_to_file(source, target, frames=3).source_bytes == len(content)
        assert codecmeta.extract_to_file(path, target, frames=3).skipped
        with pytest.raises(ValueError, match="pass cache=PATH"):
            codecmeta.extract_to_file(source)
    assert file.tell() == 6


def test_an_object_that_cannot_seek_is_copied(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", pan(12, (64, 48), (1, 0)))

    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    assert len(codecmeta.choose_frames(Pipe(path.read_bytes()), 4)) == 4


def test_blobs_give_what_is_there_and_keep_little() -> None:
    content = np.random.default_rng(0).integers(0, 256, 40 * BLOCK + 77, np.uint8).tobytes()
    asked: list[tuple[int, int]] = []

    def fetch(start: int, stop: int) -> bytes:
        asked.append((start, stop))
        return content[start:stop]

    blob = Blob("made up", len(content), fetch, kept=8 * BLOCK)
    rng = np.random.default_rng(1)
    for _ in range(300):
        start, length = int(rng.integers(len(content))), int(rng.integers(3 * BLOCK))
        assert blob.read(start, start + length) == content[start : start + length]
        assert len(blob._blocks) <= 8
    assert all(start % BLOCK == 0 for start, _ in asked)
    with blob.open() as file:
        file.seek(-77, 2)
        assert file.read() == content[-77:] and file.read(1) == b""
    asked.clear()
    blob.prefetch(0, 3 * BLOCK)
    assert blob.read(0, 3 * BLOCK) == content[: 3 * BLOCK] and len(asked) <= 1
    short = Blob("short", 100, lambda start, stop: content[start : stop - 1])
    with pytest.raises(codecmeta.VideoError, match="did it change"), opened(short) as same:
        codecmeta.probe(same)  # type: ignore[arg-type]
