"""Clips written at test time with the encoders of the PyAV wheel, and where the real clips are."""

from __future__ import annotations

import os
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from codecmeta.container.pyav import SHOWS_INDEX, TELLS_CONFIGURATIONS

needs_index = pytest.mark.skipif(not SHOWS_INDEX, reason=f"PyAV {av.__version__} shows no index of a container")
needs_configurations = pytest.mark.skipif(
    not TELLS_CONFIGURATIONS, reason=f"PyAV {av.__version__} does not tell of a second configuration"
)
REAL_CLIPS = Path(os.environ.get("CODECMETA_CLIPS", Path(__file__).resolve().parents[3] / "shared" / "clips"))
REAL_NAMES = sorted(one.name for one in REAL_CLIPS.glob("*") if one.suffix in (".mp4", ".264", ".mkv"))


def real_clip(name: str) -> Path:
    """A real clip, or a skip that says where it was looked for: a failure with CODECMETA_REQUIRE_CLIPS=1."""
    path = REAL_CLIPS / name
    if not path.is_file():
        missing = pytest.fail if os.environ.get("CODECMETA_REQUIRE_CLIPS") == "1" else pytest.skip
        missing(f"real clip {name} is not in {REAL_CLIPS} (set CODECMETA_CLIPS)")
    return path


def texture(width: int, height: int, seed: int = 0) -> NDArray[np.uint8]:
    """A smooth random picture with detail at several scales, uint8 (height, width, 3)."""
    rng = np.random.default_rng(seed)
    total = np.zeros((height, width, 3), np.float32)
    for scale in (4, 9, 25):
        small = rng.normal(0, 1, (height // scale + 2, width // scale + 2, 3)).astype(np.float32)
        total += cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC) * 25
    return np.clip(total + 128, 0, 255).astype(np.uint8)


def pan(count: int, size: tuple[int, int], step: tuple[int, int], seed: int = 0) -> list[NDArray[np.uint8]]:
    """Pictures whose content moves by `step` pixels (x, y) from each to the next."""
    width, height = size
    margin = [abs(one) * count for one in step]
    canvas = texture(width + margin[0], height + margin[1], seed)
    start = [margin[axis] if step[axis] > 0 else 0 for axis in (0, 1)]
    pictures = []
    for index in range(count):
        x, y = start[0] - step[0] * index, start[1] - step[1] * index
        pictures.append(canvas[y : y + height, x : x + width].copy())
    return pictures


def write_clip(
    path: Path,
    pictures: Iterable[NDArray[np.uint8]],
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    *,
    rate: int = 25,
    pix_fmt: str = "yuv420p",
    pts: list[int] | None = None,
    rotation: int = 0,
    gop: int | None = None,
    b_frames: int | None = None,
    audio_first: bool = False,
    format: str | None = None,
) -> Path:
    """Encode RGB pictures. pts: in milliseconds, for a variable frame rate. rotation: counter-clockwise degrees."""
    pictures = list(pictures)
    height, width = pictures[0].shape[:2]
    with av.open(str(path), "w", format=format) as container:
        sound: Any = container.add_stream("aac", rate=8000) if audio_first else None
        stream = container.add_stream(codec, rate=rate, options=options or {})
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.codec_context.thread_count = 1
        if gop is not None:
            stream.codec_context.gop_size = gop
        if b_frames is not None:
            stream.codec_context.max_b_frames = b_frames
        if pts is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        if rotation:
            turn(stream, rotation)
        if sound is not None:
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
            silence.sample_rate = 8000
            container.mux(sound.encode(silence))
        for index, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if pts is not None:
                frame.pts, frame.time_base = pts[index], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound is not None:
            container.mux(sound.encode(None))
    return path


def turn(stream: Any, rotation: int) -> None:
    """Have a stream shown turned; rotation: counter-clockwise degrees."""
    if not hasattr(stream, "set_display_rotation"):
        pytest.skip(f"PyAV {av.__version__} cannot write a rotation")
    stream.set_display_rotation(rotation)


def rotated_copy(source: Path, target: Path, rotation: int) -> Path:
    """Copy the packets of the video stream into a file shown turned. rotation: counter-clockwise degrees.

    The same packets, because x264 does not promise the same bytes for the same pictures twice.
    """
    with av.open(str(source)) as before, av.open(str(target), "w") as after:
        video = before.streams.video[0]
        copy = after.add_stream_from_template(video)
        turn(copy, rotation)
        for packet in before.demux(video):
            if packet.size:
                packet.stream = copy
                after.mux(packet)
    return target


def filter_packets(source: Path, target: Path, filters: str) -> Path:
    """Copy the video stream of a file through a bitstream filter, e.g. "h264_metadata=crop_left=16"."""
    with av.open(str(source)) as before, av.open(str(target), "w") as after:
        video = before.streams.video[0]
        copy = after.add_stream_from_template(video)
        chain = av.bitstream.BitStreamFilterContext(filters, video, copy)
        for packet in before.demux(video):
            for one in chain.filter(packet if packet.size else None):
                one.stream = copy
                after.mux(one)
    return target


def single_thread_export(path: Path, stream: int = 0) -> list[dict[str, Any]]:
    """What FFmpeg itself says of every frame, decoded from start to end in one thread."""
    fields = ("source", "w", "h", "dst_x", "dst_y", "motion_x", "motion_y", "motion_scale")
    frames = []
    with av.open(str(path)) as container:
        video = container.streams.video[stream]
        video.codec_context.thread_type = "NONE"
        video.codec_context.thread_count = 1
        video.codec_context.options = {"flags2": "+export_mvs", "export_side_data": "venc_params"}
        for packet in container.demux(video):
            try:
                decoded = packet.decode()
            except (av.FFmpegError, ValueError):
                continue
            for frame in decoded:
                vectors = frame.side_data.get("MOTION_VECTORS")
                array = None if vectors is None else vectors.to_ndarray()
                frames.append(
                    {
                        "type": "?IPBPIPB"[int(frame.pict_type)],
                        "vectors": None if array is None else {name: array[name].copy() for name in fields},
                        "key": bool(frame.key_frame),
                        "corrupt": bool(frame.is_corrupt),
                        "rgb": frame.to_ndarray(format="rgb24"),
                        "luma": frame.to_ndarray(format="gray"),
                        "pts": frame.pts,
                    }
                )
    return frames
