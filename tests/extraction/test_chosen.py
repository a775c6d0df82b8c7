"""Frames chosen before decoding, then read: from the video and stream they were chosen in, also where it is damaged."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import codecmeta
from codecmeta.cli import main
from codecmeta.container.probe import probe_with_packets
from tests.support.clips import pan, real_clip, write_clip
from tests.support.page import Page

TWO_STREAMS = "torchcodec_nasa.mp4"  # 320 x 180 and 480 x 270: FFmpeg calls the second one best
DAMAGED = ("openh264_idr_lost.264", "vali_bad_packets.mkv")  # of which a decoder shows fewer frames than are listed


def brightness(pictures: list[np.ndarray], question: str) -> list[float]:
    return [float(one.mean()) for one in pictures]


def test_frames_of_another_video_are_refused(tmp_path: Path) -> None:
    one = write_clip(tmp_path / "one.mp4", pan(30, (64, 48), (1, 0)))
    other = write_clip(tmp_path / "other.mp4", pan(20, (64, 48), (1, 0)))
    choice = codecmeta.choose_frames(one, 4)
    with pytest.raises(ValueError, match=r"other\.mp4.*has other frames than.*one\.mp4"):
        codecmeta.read(other, choice)
    with pytest.raises(codecmeta.VideoError, match="stream 1 does not exist"):
        codecmeta.read(one, choice, stream=1)


def test_frames_of_the_same_times_in_another_file_are_that_files(tmp_path: Path) -> None:
    """Chosen in a small copy, read from the large one."""
    small = write_clip(tmp_path / "small.mp4", pan(30, (64, 48), (1, 0)))
    large = write_clip(tmp_path / "large.mp4", pan(30, (128, 96), (2, 0)))
    choice = codecmeta.choose_frames(small, 4)
    _, rows, pictures = codecmeta.read(large, choice)
    np.testing.assert_array_equal(rows, choice.rows)
    np.testing.assert_array_equal(pictures, codecmeta.read(large, rows=choice.rows)[2])


def test_frames_of_another_stream_are_refused() -> None:
    path = real_clip(TWO_STREAMS)
    with pytest.raises(ValueError, match="video stream 0, has other frames than"):
        codecmeta.read(path, codecmeta.choose_frames(path, 4), stream=0)


def test_events_of_a_probe_are_those_of_its_stream() -> None:
    path = real_clip(TWO_STREAMS)
    found = codecmeta.packet_events(codecmeta.probe(path, stream=0), exact=True)
    assert found == codecmeta.packet_events(codecmeta.extract(path, stream=0), exact=True)


@pytest.mark.parametrize("policy", ["cheap", "events"])
def test_what_does_not_decode_is_left_out_of_a_choice(policy: str, tmp_path: Path) -> None:
    """AV1 frames whose headers are whole and whose tiles are not: only decoding tells that they are lost."""
    path = real_clip("vpng_av1.mp4")
    packets = probe_with_packets(path)[1]
    content = bytearray(path.read_bytes())
    for at, size in zip(packets.position[150:170].tolist(), packets.size[150:170].tolist(), strict=True):
        kept = min(40, size // 2)
        content[at + kept : at + size] = b"\xff" * (size - kept)
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(content)
    choice = codecmeta.choose_frames(damaged, 60, policy=policy)  # type: ignore[arg-type]
    meta, rows, pictures = codecmeta.read(damaged, choice)
    assert len(meta.frames) < 300 and 1 < len(rows) == len(pictures) <= 60 and rows[-1] < len(meta.frames)
    by_policy = codecmeta.extract(damaged, frames=60, policy=policy)  # type: ignore[arg-type]
    np.testing.assert_array_equal(by_policy.residual.frame, rows)


@pytest.mark.parametrize("name", DAMAGED)
def test_a_question_to_a_damaged_video(name: str) -> None:
    path = real_clip(name)
    choice = codecmeta.choose_frames(path, 5, policy="query", question="the brightest?", scorer=brightness)
    assert len(choice) == 5
    _, rows, pictures = codecmeta.read(path, choice)
    assert 0 < len(rows) == len(pictures) <= 5


@pytest.mark.parametrize("name", DAMAGED)
@pytest.mark.parametrize("exact", [False, True])
def test_the_page_of_events_of_a_damaged_video(name: str, exact: bool, tmp_path: Path) -> None:
    page = tmp_path / "events.html"
    call = ["events", str(real_clip(name)), "--least", "0.5", "--json", "--html", str(page)]
    done = CliRunner().invoke(main, call + ["--exact"] * exact)
    assert done.exit_code == 0, done.output
    assert len([one for one in Page(page.read_text()).elements if one[0] == "img"]) > 0


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_video_is_shown_with_why_its_frames_were_chosen(name: str, tmp_path: Path) -> None:
    page = tmp_path / "shown.html"
    done = CliRunner().invoke(main, ["show", str(real_clip(name)), "--choose", "events", "--html", str(page)])
    assert done.exit_code == 0, done.output
    assert "chosen: " in page.read_text()


def test_more_events_than_memory_holds_are_those_there_are() -> None:
    path = real_clip("cvr_h264_bframes.mp4")
    assert codecmeta.packet_events(path, most=10**20) == codecmeta.packet_events(path, most=300)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open files are counted in /proc")
def test_a_cache_is_closed_behind_what_was_asked_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not when Python happens to let go of it: here somebody else still holds it."""
    held: list[codecmeta.Metadata] = []

    def load_and_hold(path: Path) -> codecmeta.Metadata:
        held.append(codecmeta.load(path))
        return held[-1]

    monkeypatch.setattr("codecmeta.extraction.choose.load", load_and_hold)
    cache = tmp_path / "clip.codecmeta.h5"
    codecmeta.extract_to_file(write_clip(tmp_path / "clip.mp4", pan(20, (64, 48), (1, 0))), cache)
    codecmeta.choose_frames(cache, 4)
    codecmeta.packet_events(cache)
    open_files = [os.readlink(one) for one in Path("/proc/self/fd").iterdir() if one.is_symlink()]
    assert len(held) == 2 and str(cache) not in open_files
