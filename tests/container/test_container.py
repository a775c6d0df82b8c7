"""probe: what the container knows, against plain demuxing and an independent decode."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

import codecmeta
from codecmeta.container.probe import probe_with_packets
from codecmeta.errors import VideoError
from tests.support.clips import REAL_NAMES, pan, real_clip, single_thread_export, write_clip


def demuxed(path: Path, stream: int = 0) -> list[tuple[int | None, int, bool]]:
    with av.open(str(path)) as container:
        video = container.streams.video[stream]
        return [(one.pts, one.size, one.is_keyframe) for one in container.demux(video) if one.size]


@pytest.mark.parametrize("name", REAL_NAMES or ["none"])
def test_packet_bytes_sum_to_the_demuxed_sum(name: str) -> None:
    path = real_clip(name)
    found = codecmeta.probe(path)
    packets = demuxed(path, found.stream.stream_index)
    assert found.frames.packet_bytes.sum() == sum(size for _, size, _ in packets)
    mean = found.gops.packet_bytes_mean
    assert len(mean) == max(sum(key for *_, key in packets) + (not packets[0][2]), 1)


@pytest.mark.parametrize(
    ("codec", "suffix", "options"),
    [
        ("libx264", "mp4", {"x264-params": "bframes=3:b-pyramid=normal:keyint=12"}),
        ("libx264", "mp4", {"x264-params": "open-gop=1:bframes=3:keyint=10"}),
        ("libx265", "mp4", {"x265-params": "bframes=3:keyint=12:log-level=none"}),
        ("libvpx", "webm", {"auto-alt-ref": "1", "lag-in-frames": "16", "deadline": "realtime", "b": "200k"}),
        ("libvpx-vp9", "webm", {"deadline": "realtime", "auto-alt-ref": "1", "lag-in-frames": "16", "b": "200k"}),
        ("libsvtav1", "mp4", {"preset": "12"}),
        ("mpeg4", "mp4", {"bf": "2", "g": "12"}),
        ("mpeg2video", "mpg", {"bf": "2", "g": "12"}),
    ],
    ids=["pyramid", "open-gop", "hevc", "vp8-hidden", "vp9-hidden", "av1", "mpeg4-b", "mpeg2-b"],
)
def test_rows_are_the_displayed_frames_with_their_own_packets(
    made: Path, codec: str, suffix: str, options: dict
) -> None:
    """Every displayed frame of an independent decode has a row with its pts, and the bytes of no packet are lost."""
    path = made / f"{codec}{len(str(options))}.{suffix}"
    write_clip(path, pan(40, (96, 64), (3, 1)), codec, options, b_frames=int(options.get("bf", 0)) or None)
    found = codecmeta.probe(path)
    packets = demuxed(path)
    decoded = single_thread_export(path)
    assert found.frames.pts.tolist() == [frame["pts"] for frame in decoded]
    assert found.frames.packet_bytes.sum() == sum(size for _, size, _ in packets)
    if len(packets) == len(decoded):  # no hidden frames: each row has exactly its packet
        by_pts = {pts: (size, key) for pts, size, key in packets}
        assert found.frames.packet_bytes.tolist() == [by_pts[pts][0] for pts in found.frames.pts]
        assert found.frames.keyframe.tolist() == [by_pts[pts][1] for pts in found.frames.pts]


@pytest.mark.parametrize("name", [one for one in REAL_NAMES if one.endswith("mp4")] or ["none"])
def test_picture_types_from_headers_are_the_decoders(name: str) -> None:
    path = real_clip(name)
    found = codecmeta.probe(path)
    types = "".join(chr(kind) if kind else "?" for kind in found.frames.picture_type)
    decoded = "".join(frame["type"] for frame in single_thread_export(path, found.stream.stream_index))
    if found.capability["picture_types"]["level"] == "exact":
        assert types == decoded
    else:
        assert all(mine in ("?", theirs) for mine, theirs in zip(types, decoded, strict=True))


def test_gops_hold_the_mean_bytes_of_their_packets_in_stream_order(made: Path) -> None:
    path = write_clip(
        made / "gops.mp4",
        pan(40, (96, 64), (2, 0)),
        options={"x264-params": "open-gop=1:bframes=2:keyint=10:scenecut=0"},
    )
    found = codecmeta.probe(path)
    sums: list[list[int]] = []
    for _, size, key in demuxed(path):
        if key:
            sums.append([])
        sums[-1].append(size)
    assert np.allclose(found.gops.packet_bytes_mean, [np.mean(one) for one in sums])
    assert found.gops.start[0] == 0 and found.gops.stop[-1] == 40
    assert (found.gops.start[1:] == found.gops.stop[:-1]).all()


def test_variable_frame_rate_keeps_the_true_times(made: Path) -> None:
    stamps = [0, 40, 90, 300, 310, 700, 1500, 1540]
    path = write_clip(made / "vfr.mkv", pan(8, (64, 48), (1, 0)), pts=stamps, options={"x264-params": "bframes=2"})
    assert np.allclose(codecmeta.probe(path).frames.time, np.array(stamps) / 1000)


def test_audio_first_and_rotation(made: Path) -> None:
    path = write_clip(made / "audio.mp4", pan(10, (64, 48), (1, 0)), audio_first=True, rotation=90)
    found = codecmeta.probe(path)
    assert len(found.frames) == 10
    assert (found.stream.width, found.stream.height, found.stream.rotation) == (48, 64, 270)


def test_second_video_stream_is_chosen_by_number() -> None:
    path = real_clip("torchcodec_nasa.mp4")
    sizes = {number: codecmeta.probe(path, stream=number).stream.width for number in (0, 1)}
    with av.open(str(path)) as container:
        assert sizes == {number: one.codec_context.width for number, one in enumerate(container.streams.video)}
    with pytest.raises(VideoError, match="the file has 2"):
        codecmeta.probe(path, stream=2)


def test_stream_without_time_stamps_counts_frames_by_rate() -> None:
    found, packets = probe_with_packets(real_clip("openh264_cabac_bframes.264"))
    assert not packets.timed and (found.frames.pts == -1).all()
    assert np.allclose(np.diff(found.frames.time), found.stream.average_rate[1] / found.stream.average_rate[0])
    assert "no usable time stamps" in found.capability["packets"]["why"]


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such file"), (b"", "cannot read"), (b"not a video " * 100, "cannot read")],
    ids=["absent", "empty", "garbage"],
)
def test_bad_files_give_one_clear_line(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "bad.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(VideoError, match=message) as caught:
        codecmeta.probe(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_sound_without_pictures_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    with pytest.raises(VideoError, match="no video stream; found audio"):
        codecmeta.probe(path)


def with_edit_list_from(source: Path, target: Path, frame: int) -> Path:
    """A copy of an MP4 file that its edit list (ISO/IEC 14496-12, 8.6.6) lets begin at this frame."""
    data = bytearray(source.read_bytes())
    at = data.index(b"elst") + 16  # after type, version and flags, entry count and segment duration: media_time
    time = int.from_bytes(data[at : at + 4], "big")
    ticks = int.from_bytes(data[data.index(b"mdhd") + 16 :][:4], "big") // 25
    data[at : at + 4] = (time + frame * ticks).to_bytes(4, "big")
    target.write_bytes(bytes(data))
    return target


def test_a_video_whose_only_keyframe_is_cut_away_shows_the_rest(made: Path, tmp_path: Path) -> None:
    whole = write_clip(made / "edited.mp4", pan(20, (64, 48), (1, 0)), options={"x264-params": "bframes=2:keyint=99"})
    cut = with_edit_list_from(whole, tmp_path / "cut.mp4", 5)
    shown = len(single_thread_export(cut))
    assert 0 < shown < 20
    assert len(codecmeta.probe(cut).frames) == len(codecmeta.extract(cut).frames) == shown


def test_a_video_that_shows_nothing_is_refused(made: Path, tmp_path: Path) -> None:
    whole = write_clip(made / "edited.mp4", pan(20, (64, 48), (1, 0)), options={"x264-params": "bframes=2:keyint=99"})
    with pytest.raises(VideoError, match="none of the 20 packets is to be shown"):
        codecmeta.probe(with_edit_list_from(whole, tmp_path / "none.mp4", 50))


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi"])
def test_tags_in_another_encoding_do_not_matter(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"tagged.{suffix}"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "Qu Qu Qu"
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height = 64, 48
        for picture in pan(5, (64, 48), (1, 0)):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    data = path.read_bytes()
    assert b"Qu Qu Qu" in data
    path.write_bytes(data.replace(b"Qu Qu Qu", "Qü Qß Qé".encode("latin-1")))
    assert len(codecmeta.probe(path).frames) == 5


def test_bytes_and_open_files_are_videos_too(made: Path) -> None:
    path = write_clip(made / "source.mp4", pan(12, (64, 48), (1, 0)))
    content = path.read_bytes()
    expected = codecmeta.extract(path, frames=3)
    with path.open("rb") as file:
        for source, named in ((content, "<bytes>"), (memoryview(content), "<bytes>"), (file, str(path))):
            found = codecmeta.extract(source, frames=3)
            assert str(found.path) == named
            assert np.array_equal(found.residual.values, expected.residual.values)
            if source is file:
                file.seek(0)
            assert np.array_equal(codecmeta.probe(source).frames.time, expected.frames.time)
    _, rows, pictures = codecmeta.read(content, 2, jobs=2)
    assert np.array_equal(pictures, codecmeta.read(path, 2)[2]) and rows.tolist() == [0, 11]
    with pytest.raises(codecmeta.VideoError, match="^<bytes>: FFmpeg cannot"):
        codecmeta.probe(b"no video")
    with path.open("r", encoding="latin-1") as text, pytest.raises(TypeError, match="open it with 'rb'"):
        codecmeta.probe(text)
    with pytest.raises(TypeError, match="expected a path, an address, bytes or a binary file object"):
        codecmeta.probe(3)


def test_closing_what_was_probed_never_waits_for_ever() -> None:
    """dav1d's threads let go of packets made of bytes, which takes the interpreter's lock, while the decoder is closed
    by who holds it: with threads, about one probe in a hundred never came back."""
    script = "import sys, codecmeta; [codecmeta.probe(sys.argv[1]) for _ in range(300)]"
    command = [sys.executable, "-c", script, str(real_clip("vpng_av1.mp4"))]
    root = str(Path(codecmeta.__file__).parents[1])
    subprocess.run(command, check=True, timeout=120, env={**os.environ, "PYTHONPATH": root})


def test_a_packet_of_hundreds_of_frames(tmp_path: Path) -> None:
    """More frame headers (AV1 specification 5.3: OBU type 3, with a size, one byte) than a byte counts."""
    path = real_clip("vpng_av1.mp4")
    packets = probe_with_packets(path)[1]
    at = int(np.flatnonzero((packets.size > 900) & ~packets.key)[0])
    content = bytearray(path.read_bytes())
    position, size = int(packets.position[at]), int(packets.size[at])
    content[position : position + size] = (b"\x1a\x01\x00" * (size // 3 + 1))[:size]
    (tmp_path / "many.mp4").write_bytes(content)
    assert probe_with_packets(tmp_path / "many.mp4")[1].coded[at] == 255
