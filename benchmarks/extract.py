"""What reading metadata costs beside decoding: frames per second, and the size of caches.

    python -m benchmarks.extract [VIDEO...] [--minutes 10] [--rounds 5] --json benchmarks/results/extract.json

Every way of reading is run once per round, the ways alternating, in one process and one thread; the medians count.
Without VIDEO, two 1280x720 clips are encoded with x264 (medium, B-frames) and x265, and repeated to ten minutes by
copying packets. `motion-vector-extractor` is measured too where it is installed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

import codecmeta
from codecmeta.container.probe import probe_with_packets
from codecmeta.container.segments import plan_segments
from codecmeta.decoding.decoder import decode_segment
from codecmeta.extraction.to_file import extract_to_file


def decode(path: Path) -> int:
    """Plain full decode, one thread, no side data: the yardstick."""
    with av.open(str(path)) as container:
        stream = container.streams.best("video")
        stream.codec_context.thread_type = "NONE"
        stream.codec_context.thread_count = 1
        return sum(1 for _ in container.decode(stream))


def probe(path: Path) -> int:
    """Packet sizes, keyframes, GoPs, picture types: no decoding."""
    return len(codecmeta.probe(path).frames)


def vectors(path: Path) -> int:
    """Decode with vectors and quantisers exported and copied out."""
    found, packets = probe_with_packets(path)
    segments = plan_segments(packets, found.stream.codec)
    stream = found.stream.stream_index
    return sum(1 for one in segments for _ in decode_segment(path, stream, packets, one))


def everything(path: Path) -> int:
    """Vectors, QP and the residual of every frame on the displayed picture: what a cache of all frames holds."""
    return len(codecmeta.extract(path).frames)


def motion_vector_extractor(path: Path) -> int:
    """motion-vector-extractor 2: frames and vectors, in its own default threading."""
    from mvextractor.videocap import VideoCap  # type: ignore[import-not-found]

    capture, count = VideoCap(), 0
    capture.open(str(path))
    while capture.read()[0]:
        count += 1
    capture.release()
    return count


WAYS: dict[str, Callable[[Path], int]] = {
    "decode": decode,
    "probe": probe,
    "vectors_qp": vectors,
    "vectors_qp_residual": everything,
}


def measure(path: Path, rounds: int, ways: dict[str, Callable[[Path], int]]) -> dict[str, Any]:
    """Median seconds per way, alternating, after one round to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    frames: dict[str, int] = {}
    for turn in range(rounds + 1):
        for name, way in ways.items():
            start = time.perf_counter()
            frames[name] = way(path)
            if turn:
                seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    facts = codecmeta.probe(path).stream
    return {
        "clip": path.name,
        "codec": facts.codec,
        "size": [facts.width, facts.height],
        "frames": frames["decode"],
        "frames_read": frames,
        "frames_per_second": {name: round(frames[name] / one, 1) for name, one in medians.items()},
        "share_of_decode_time": {name: round(one / medians["decode"], 5) for name, one in medians.items()},
        "seconds": {name: [round(one, 5) for one in times] for name, times in seconds.items()},
    }


def cache_sizes(path: Path, folder: Path, selections: list[Any]) -> dict[str, Any]:
    """Bytes of caches and their share of the video's bytes."""
    sizes = {}
    for frames in selections:
        written = extract_to_file(path, folder / f"{path.stem}-{frames}.h5", frames=frames)
        sizes[str(frames)] = {
            "bytes": written.cache_bytes,
            "share_of_video": round(written.cache_bytes / written.source_bytes, 4),
        }
    return {"clip": path.name, "video_bytes": path.stat().st_size, "caches": sizes}


def make_clip(path: Path, codec: str, options: dict[str, str], frames: int = 240) -> Path:
    """A 1280x720 clip: a textured background under a moving camera, textured objects in motion, sensor noise, a cut."""
    rng = np.random.default_rng(0)
    width, height = 1280, 720
    scenes = [
        cv2.GaussianBlur(rng.integers(0, 255, (height + 400, width + 400, 3), np.uint8), (0, 0), 3) for _ in range(2)
    ]
    scenes = [np.clip((one.astype(float) - 127) * 5 + 127, 0, 255).astype(np.uint8) for one in scenes]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=30, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index in range(frames):
            canvas = scenes[index * 2 // frames]
            shift = int(100 + 80 * np.sin(index / 40))
            picture = canvas[shift : shift + height, shift : shift + width].copy()
            for ball in range(6):
                centre = (
                    int(200 + 160 * ball + 120 * np.cos(index / 17 + ball)),
                    int(360 + 220 * np.sin(index / 23 + ball)),
                )
                cv2.circle(picture, centre, 60, (40 * ball, 255 - 40 * ball, 128), -1, cv2.LINE_AA)
            noisy = picture.astype(np.int16) + rng.integers(-3, 4, picture.shape, np.int16)
            container.mux(
                stream.encode(av.VideoFrame.from_ndarray(np.clip(noisy, 0, 255).astype(np.uint8), format="rgb24"))
            )
        container.mux(stream.encode(None))
    return path


def repeat(source: Path, target: Path, minutes: float) -> Path:
    """Copy the packets of a clip again and again, their time stamps moved on, until the file is that long."""
    with av.open(str(source)) as before:
        video = before.streams.video[0]
        packets = [
            (bytes(one), one.pts, one.dts, one.is_keyframe, one.duration) for one in before.demux(video) if one.size
        ]
        length = max(pts for _, pts, *_ in packets) - min(pts for _, pts, *_ in packets) + (packets[0][4] or 1)
        with av.open(str(target), "w") as after:
            copy = after.add_stream_from_template(video)
            for turn in range(round(minutes * 60 / float(length * video.time_base))):
                for data, pts, dts, key, duration in packets:
                    packet = av.Packet(data)
                    packet.pts, packet.dts, packet.duration = pts + turn * length, dts + turn * length, duration
                    packet.time_base, packet.stream, packet.is_keyframe = video.time_base, copy, key
                    after.mux(packet)
    return target


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    model = (
        next(
            (
                line.split(":")[1].strip()
                for line in Path("/proc/cpuinfo").read_text().splitlines()
                if line.startswith("model name")
            ),
            "",
        )
        if Path("/proc/cpuinfo").exists()
        else platform.processor()
    )
    versions = {"python": platform.python_version(), "av": av.__version__, "codecmeta": codecmeta.__version__}
    return {"processor": model, "cores": os.cpu_count(), **versions}


def main() -> None:
    """Measure and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("videos", nargs="*", type=Path)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, required=True)
    arguments = parser.parse_args()
    ways = dict(WAYS)
    try:
        import mvextractor.videocap  # noqa: F401

        ways["motion-vector-extractor"] = motion_vector_extractor
    except ImportError:
        pass
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        speed = [measure(one, arguments.rounds, ways) for one in arguments.videos]
        sizes = [cache_sizes(one, folder, ["all", 64]) for one in arguments.videos]
        for codec, options in (
            ("libx264", {"preset": "medium", "crf": "23"}),
            ("libx265", {"x265-params": "log-level=none"}),
        ):
            short = make_clip(folder / f"made-{codec}.mp4", codec, options)
            speed.append(measure(short, arguments.rounds, ways))
            long = repeat(short, folder / f"long-{codec}.mp4", arguments.minutes)
            speed.append(measure(long, 1, {name: ways[name] for name in ("decode", "probe")}))
            sizes.append(cache_sizes(long, folder, [64]))
    result = {"command": "python -m benchmarks.extract", "machine": machine(), "speed": speed, "cache": sizes}
    arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
