"""How fast H.264 is parsed, against FFmpeg decoding the same packets: CPU seconds, one thread, alternating, medians.

    python -m benchmarks.h264_speed --clips runs/h264 --json benchmarks/results/h264_speed.json

The clips are encoded on the first run and kept in the folder. Those called natural are what a camera saw: real clips
as they are, and mvx_mpeg4_part2.mp4 (1280x720) decoded and encoded again; they are left out, with a line on stderr,
where the folder of real clips is absent (environment variable CODECMETA_CLIPS). "scan" is the sequential mode with
everything read: vectors as FFmpeg's rows, QP, bits and residual energy. FFmpeg's vectors and QP are taken as arrays in
the way `codecmeta.decoding.decoder` takes them. Every run opens the file again, on both sides.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

import av  # noqa: E402
import numpy as np  # noqa: E402

import codecmeta  # noqa: E402
from codecmeta.codecs.h264.motion_vectors import motion_rows  # noqa: E402
from codecmeta.codecs.h264.picture import PictureParser  # noqa: E402
from codecmeta.codecs.h264.sequence import PictureSequence  # noqa: E402
from codecmeta.container.probe import probe_with_packets  # noqa: E402
from codecmeta.decoding import decoder  # noqa: E402
from codecmeta.extraction.reader import Reader  # noqa: E402
from codecmeta.record.selection import sample_rows  # noqa: E402
from tests.support.h264_encodes import CLIPS as CLIPS_FOLDER  # noqa: E402
from tests.support.h264_encodes import encode  # noqa: E402

CLIPS = {
    "720p Main, no B": dict(options="profile=main crf=23 x264-params=bframes=0"),
    "720p High, B": dict(options="crf=23"),
    "720p High, B, crf 28": dict(options="crf=28"),
    "720p crf 18": dict(options="crf=18"),
    "720p CAVLC": dict(options="crf=23 x264-params=cabac=0"),
    "720p all intra": dict(options="crf=28", gop=1),
}
NATURAL = {"natural 720p, crf 23": {"crf": "23"}, "natural 720p, crf 28": {"crf": "28"}}  # encoder options
REAL = ["torchcodec_nasa.mp4", "vali_848x464.mp4", "cvr_h264_bframes.mp4"]
RUNS = 5
EXPORT = {"flags2": "+export_mvs", "export_side_data": "venc_params"}


@contextmanager
def opened(path: Path) -> Iterator[tuple[Any, Any]]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_type = "NONE"
        stream.codec_context.thread_count = 1
        yield container, stream


def decode(path: Path, options: dict[str, str]) -> int:
    count = 0
    with opened(path) as (container, stream):
        stream.codec_context.options = options
        for frame in container.decode(stream):
            count += 1
            if options:
                decoder._vectors(frame)
                decoder._qp(frame)
    return count


def parse(path: Path, sequential: bool) -> int:
    count = 0
    with opened(path) as (container, stream):
        extradata = stream.codec_context.extradata
        parser = PictureSequence(extradata) if sequential else PictureParser(extradata)
        for packet in container.demux(stream):
            picture = parser.parse(bytes(packet)) if packet.size else None
            if picture is not None:
                count += 1
                if sequential:
                    motion_rows(picture)
    return count


def frames_per_second(path: Path) -> dict[str, float]:
    """Median of alternating runs, frames per second of CPU time."""
    ways: dict[str, Callable[[], int]] = {
        "parse": lambda: parse(path, False),
        "scan": lambda: parse(path, True),
        "decode": lambda: decode(path, {}),
        "decode_vectors_qp": lambda: decode(path, EXPORT),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(RUNS):
        for name, way in ways.items():
            begin = time.process_time()
            count = way()
            times[name].append(count / (time.process_time() - begin))
    return {name: statistics.median(values) for name, values in times.items()}


def clip(folder: Path, name: str, frames: int = 150, repeat: int = 1, **kwargs: Any) -> Path:
    """An encode of the test pictures at 1280x720, `repeat` times behind itself."""
    path = folder / f"{name.replace(' ', '_').replace(',', '')}.mp4"
    if not path.exists():
        data = encode(size=(1280, 720), frames=frames, **kwargs)
        path.write_bytes(data)
        if repeat > 1:
            once = path.rename(folder / "once.mp4")
            with av.open(str(once)) as source:
                packets = [
                    (packet.pts, packet.dts, bytes(packet), packet.is_keyframe) for packet in source.demux(video=0)
                ]
                stream = source.streams.video[0]
                packets = [packet for packet in packets if packet[0] is not None]
                ticks = stream.duration
                with av.open(str(path), "w") as sink:
                    out = sink.add_stream_from_template(stream)
                    for turn in range(repeat):
                        for pts, dts, data, key in packets:
                            packet = av.Packet(data)
                            packet.pts, packet.dts = pts + turn * ticks, dts + turn * ticks
                            packet.time_base, packet.stream, packet.is_keyframe = stream.time_base, out, key
                            sink.mux(packet)
            once.unlink()
    return path


def natural_clips(folder: Path) -> dict[str, Path]:
    """The clips of NATURAL, encoded where they are not there yet, and the REAL ones; empty without real clips."""
    source = CLIPS_FOLDER / "mvx_mpeg4_part2.mp4"
    if not source.is_file():
        print(f"no natural clips: {CLIPS_FOLDER} is not there (set CODECMETA_CLIPS)", file=sys.stderr)
        return {}
    found = {}
    for name, options in NATURAL.items():
        path = found[name] = folder / f"{name.replace(' ', '_').replace(',', '')}.mp4"
        if path.exists():
            continue
        with av.open(str(source)) as before, av.open(str(path), "w") as after:
            video = before.streams.video[0]
            out = after.add_stream("libx264", rate=video.average_rate, options=options)
            out.width, out.height, out.pix_fmt = video.width, video.height, "yuv420p"
            for i, frame in enumerate(before.decode(video)):
                if i < 150:
                    frame.pts, frame.time_base, frame.pict_type = i, 1 / video.average_rate, 0
                    after.mux(out.encode(frame))
            after.mux(out.encode())
    return found | {name: CLIPS_FOLDER / name for name in REAL}


def one_frame(path: Path) -> dict[str, float]:
    """Milliseconds of CPU for one picture with its packet in hand, over all pictures in a random order."""
    with opened(path) as (container, stream):
        packets = [bytes(packet) for packet in container.demux(stream) if packet.size]
        parser = PictureParser(stream.codec_context.extradata)
    times = []
    for i in np.random.default_rng(0).permutation(len(packets)):
        begin = time.perf_counter()
        parser.parse(packets[i])
        times.append(1000 * (time.perf_counter() - begin))
    return {"median_ms": statistics.median(times), "95_percent_ms": float(np.quantile(times, 0.95))}


def sampled(path: Path, count: int = 64) -> dict[str, float]:
    """Seconds for `count` frames of a long file: parsed from their packets, or sought and decoded to."""
    begin = time.perf_counter()
    probe, packets = probe_with_packets(path)
    probing = time.perf_counter() - begin
    rows = sample_rows(probe.frames.time, count)
    begin = time.perf_counter()
    found = list(Reader(path, probe.stream, packets).frames(rows.tolist()))
    parsing = time.perf_counter() - begin
    assert len(found) == len(rows)
    wanted = probe.frames.pts[rows]
    begin = time.perf_counter()
    with opened(path) as (container, stream):
        stream.codec_context.options = EXPORT
        for pts in wanted:
            container.seek(int(pts), stream=stream, backward=True)
            for frame in container.decode(stream):
                if frame.pts >= pts:
                    break
    decoding = time.perf_counter() - begin
    return {
        "frames": len(rows),
        "file_seconds": float(probe.frames.time[-1]),
        "probe_s": probing,
        "parse_s": parsing,
        "seek_and_decode_s": decoding,
        "ratio": decoding / parsing,
        "ratio_with_probe": (probing + decoding) / (probing + parsing),
    }


def workers(path: Path) -> dict[str, float]:
    """Wall seconds of a whole extraction with one and with two workers, alternating, medians."""
    seconds: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(3):
        for jobs in seconds:
            begin = time.perf_counter()
            codecmeta.extract(path, jobs=jobs)
            seconds[jobs].append(time.perf_counter() - begin)
    one, two = statistics.median(seconds[1]), statistics.median(seconds[2])
    return {"one_s": one, "two_s": two, "speedup": one / two}


def rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=Path, default=Path("runs/h264"))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", choices=["scan", "sampled", "workers"])
    arguments = parser.parse_args()
    arguments.clips.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = {"runs": RUNS, "clips": {}, "load_average": os.getloadavg(), "cores": os.cpu_count()}
    result["machine"] = platform.processor() or platform.machine()
    paths: dict[str, Path] = {}
    if arguments.only in (None, "scan"):
        paths = {name: clip(arguments.clips, name, **kwargs) for name, kwargs in CLIPS.items()}
        paths |= natural_clips(arguments.clips)
    for name, path in paths.items():
        fps = frames_per_second(path)
        fps["scan/decode"] = fps["scan"] / fps["decode"]
        fps["scan/decode_vectors_qp"] = fps["scan"] / fps["decode_vectors_qp"]
        with av.open(str(path)) as container:
            fps["kbit_per_frame"] = container.size * 8 / 1000 / container.streams.video[0].frames
        fps |= one_frame(path)
        result["clips"][name] = fps
        print(name, json.dumps(rounded(fps)), flush=True)
    closed = dict(options="crf=23 x264-params=bframes=3:open-gop=0:keyint=50:min-keyint=50:scenecut=0", gop=50)
    if arguments.only in (None, "sampled"):
        path = clip(arguments.clips, "720p ten minutes", 250, 60, options="crf=23")
        result["sampled"] = sampled(path)
        print("sampled", json.dumps(rounded(result["sampled"])), flush=True)
    if arguments.only in (None, "workers"):
        path = clip(arguments.clips, "720p closed GoPs", 250, 4, **closed)
        result["workers"] = workers(path)
        print("workers", json.dumps(rounded(result["workers"])), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(rounded(result), indent=2) + "\n")


if __name__ == "__main__":
    main()
