"""How fast HEVC is parsed, against FFmpeg decoding the same packets: CPU seconds, one thread, alternating, medians.

    python -m benchmarks.hevc_speed --clips runs/hevc --json benchmarks/results/hevc_speed.json

The clips are real ones as they are, or decoded and encoded again by x265 on the first run and kept in the folder; they
need the folder of real clips (environment variable CODECMETA_CLIPS). "scan" is the sequential mode with exact vectors,
QP, bits and residual energy; "signals" also makes the product's arrays of them (vectors in rows, maps). Every run opens
the file again, on both sides.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av

from benchmarks import parsing_speed as speed
from benchmarks.parsing_speed import opened
from codecmeta.codecs.hevc.stream import ENTRY_KERNELS, open_stream
from codecmeta.container.probe import probe_with_packets
from codecmeta.extraction.reader import Reader
from codecmeta.record.selection import sample_rows
from tests.support.clips import REAL_CLIPS

# name -> source, size, frames, preset, x265-params
ENCODES: dict[str, tuple[str, tuple[int, int], int, str, str]] = {
    "720p medium, crf 28": ("mvx_mpeg4_part2.mp4", (1280, 720), 120, "medium", "crf=28"),
    "720p fast, crf 18": ("mvx_mpeg4_part2.mp4", (1280, 720), 120, "fast", "crf=18"),
    "848x464 medium, crf 28": ("vali_848x464.mp4", (848, 464), 96, "medium", "crf=28"),
    "320x240 medium, crf 28": ("cvr_h264_bframes.mp4", (320, 240), 150, "medium", "crf=28"),
    "1080p medium, crf 28": ("hevcjs_bbb1080_singleslice.265", (1920, 1080), 48, "medium", "crf=28"),
    "1080p fast, qp 16, no SAO": ("hevcjs_bbb1080_singleslice.265", (1920, 1080), 48, "fast", "qp=16:sao=0"),
    "192x144 all intra": ("cvr_h264_bframes.mp4", (192, 144), 150, "medium", "crf=24:keyint=1"),
}
REAL = ["hevcjs_bbb1080_singleslice.265", "vpng_hevc.mp4", "hevcjs_qcif_10bit.265", "torchcodec_hevc.mp4"]


def decode(path: Path) -> int:
    with opened(path) as (container, stream):
        return sum(1 for _ in container.decode(stream))


def parse(path: Path, arrays: bool) -> int:
    count = 0
    with opened(path) as (container, stream):
        parser = open_stream(stream.codec_context.extradata or b"").sequence()
        row_of: dict[int, int] = {}
        for packet in container.demux(stream):
            picture = parser.parse(bytes(packet)) if packet.size else None
            if picture is None:
                continue
            if arrays:
                row_of[picture.identity] = count
                picture.vectors(count, row_of), picture.rms(), picture.qp(), picture.bits()
            count += 1
    return count


def frames_per_second(path: Path) -> dict[str, float]:
    """Median of alternating runs, frames per second of CPU time; ratios of runs that stood side by side."""
    ways: dict[str, Callable[[], int]] = {
        "decode": lambda: decode(path),
        "scan": lambda: parse(path, False),
        "signals": lambda: parse(path, True),
    }
    speeds = speed.alternating(ways)
    result = {name: statistics.median(values) for name, values in speeds.items()}
    for name in ("scan", "signals"):
        pairs = zip(speeds[name], speeds["decode"], strict=True)
        result[f"{name}/decode"] = statistics.median(ours / theirs for ours, theirs in pairs)
    return result


def one_frame(path: Path) -> dict[str, float]:
    """Milliseconds of CPU for residual, QP and bits of one picture with its packet in hand, in a random order."""
    with opened(path) as (container, stream):
        packets = [bytes(packet) for packet in container.demux(stream) if packet.size]
        parser = open_stream(stream.codec_context.extradata or b"").alone()
    parser.take_parameter_sets(packets[0])

    def signals(packet: bytes) -> None:
        picture = parser.parse(packet)
        assert picture is not None
        picture.rms(), picture.qp(), picture.bits()

    return speed.one_by_one(packets, signals, time.thread_time)


def encoded(folder: Path, name: str, repeat: int = 1) -> Path:
    """A clip of ENCODES, `repeat` times behind itself."""
    source, (width, height), frames, preset, params = ENCODES[name]
    path = folder / f"{speed.file_name(name)}_{repeat}.mp4"
    if path.exists():
        return path
    packets = []
    part = path.with_suffix(".part.mp4")
    with av.open(str(REAL_CLIPS / source)) as before, av.open(str(part), "w") as after:
        settings = f"log-level=none:pools=1:frame-threads=1:info=0:{params}"
        out = after.add_stream("libx265", rate=25, options={"preset": preset, "x265-params": settings})
        out.width, out.height, out.pix_fmt = width, height, "yuv420p"
        for i, frame in enumerate(before.decode(video=0)):
            if i == frames:
                break
            frame = frame.reformat(width, height, "yuv420p")
            frame.pts, frame.time_base, frame.pict_type = i, Fraction(1, 25), 0
            packets += out.encode(frame)
        packets += out.encode()
        length = max(packet.pts for packet in packets) + 1
        for turn in range(repeat):
            for packet in packets:
                copy = av.Packet(bytes(packet))
                copy.pts, copy.dts = packet.pts + turn * length, packet.dts + turn * length
                copy.time_base, copy.stream, copy.is_keyframe = packet.time_base, out, packet.is_keyframe
                after.mux(copy)
    return part.rename(path)


def sampled(path: Path, count: int = 64) -> dict[str, float]:
    """Seconds for `count` frames of a long file: read from their packets, or sought and decoded to.

    "alone": residual, QP and bits, each from its own packet; "chains": with exact vectors.
    """
    probe, packets = probe_with_packets(path)
    rows = sample_rows(probe.frames.time, count).tolist()
    reader = Reader(path, probe.stream, packets)
    begin = time.perf_counter()
    found = list(reader.frames(rows))
    chains = time.perf_counter() - begin
    estimated = sum(not frame.vectors_exact for frame in found)
    reader._stream.leads = False  # type: ignore[misc]
    begin = time.perf_counter()
    assert len(list(reader.frames(rows))) == len(found) == len(rows)
    alone = time.perf_counter() - begin
    decoding = speed.seek_and_decode(path, probe.frames.pts[rows])
    return {
        "frames": len(rows),
        "file_seconds": float(probe.frames.time[-1]),
        "estimated_by_chains": estimated,
        "alone_s": alone,
        "chains_s": chains,
        "seek_and_decode_s": decoding,
        "ratio_alone": decoding / alone,
        "ratio_chains": decoding / chains,
    }


def main() -> None:
    arguments = speed.arguments(__doc__, "runs/hevc")
    if not REAL_CLIPS.is_dir():
        sys.exit(f"the folder of real clips is not at {REAL_CLIPS}: set CODECMETA_CLIPS")
    for kernel in ENTRY_KERNELS:
        kernel.prepare()
    result = speed.blank_result()
    if arguments.only in (None, "scan"):
        paths = {name: encoded(arguments.clips, name) for name in ENCODES} | {name: REAL_CLIPS / name for name in REAL}
        for name, path in paths.items():
            row = frames_per_second(path)
            with opened(path) as (container, stream):
                sizes = [packet.size for packet in container.demux(stream) if packet.size]
            row["kbit_per_frame"] = sum(sizes) * 8 / 1000 / len(sizes)
            row |= one_frame(path)
            result["clips"][name] = row
            speed.say(name, row)
            speed.save(result, arguments.json)
    if arguments.only in (None, "sampled"):
        result["sampled"] = sampled(encoded(arguments.clips, "720p medium, crf 28", 125))
        speed.say("sampled", result["sampled"])
        speed.save(result, arguments.json)
    if arguments.only in (None, "workers"):
        result["workers"] = speed.workers(encoded(arguments.clips, "720p medium, crf 28", 8))
        speed.say("workers", result["workers"])
        speed.save(result, arguments.json)


if __name__ == "__main__":
    main()
