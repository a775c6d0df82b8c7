"""How fast H.264 is parsed, against FFmpeg decoding the same packets: CPU seconds, one thread, alternating, medians.

    python -m benchmarks.h264_speed --clips runs/h264 --json benchmarks/results/h264_speed.json

The clips are encoded on the first run and kept in the folder. Those called natural are what a camera saw: real clips
as they are, and mvx_mpeg4_part2.mp4 (1280x720) decoded and encoded again; they are left out, with a line on stderr,
where the folder of real clips is absent (environment variable CODECMETA_CLIPS). "scan" is the sequential mode with
everything read: vectors as FFmpeg's rows, QP, bits and residual energy. FFmpeg's vectors and QP are taken as arrays in
the way `codecmeta.decoding.exported` takes them. Every run opens the file again, on both sides.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av

from benchmarks import parsing_speed as speed
from benchmarks.parsing_speed import opened
from codecmeta.codecs.h264.motion_vectors import motion_rows
from codecmeta.codecs.h264.picture import PictureParser
from codecmeta.codecs.h264.sequence import PictureSequence
from codecmeta.container.probe import probe_with_packets
from codecmeta.decoding.exported import exported_qp, exported_vectors
from codecmeta.extraction.reader import Reader
from codecmeta.record.selection import sample_rows
from tests.support.clips import REAL_CLIPS
from tests.support.h264_encodes import encode

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
EXPORT = {"flags2": "+export_mvs", "export_side_data": "venc_params"}


def decode(path: Path, options: dict[str, str]) -> int:
    count = 0
    with opened(path) as (container, stream):
        stream.codec_context.options = options
        for frame in container.decode(stream):
            count += 1
            if options:
                exported_vectors(frame)
                exported_qp(frame)
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
    return {name: statistics.median(values) for name, values in speed.alternating(ways).items()}


def clip(folder: Path, name: str, frames: int = 150, repeat: int = 1, **kwargs: Any) -> Path:
    """An encode of the test pictures at 1280x720, `repeat` times behind itself."""
    path = folder / f"{speed.file_name(name)}.mp4"
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
    source = REAL_CLIPS / "mvx_mpeg4_part2.mp4"
    if not source.is_file():
        print(f"no natural clips: {REAL_CLIPS} is not there (set CODECMETA_CLIPS)", file=sys.stderr)
        return {}
    found = {}
    for name, options in NATURAL.items():
        path = found[name] = folder / f"{speed.file_name(name)}.mp4"
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
    return found | {name: REAL_CLIPS / name for name in REAL}


def one_frame(path: Path) -> dict[str, float]:
    """Milliseconds of CPU for one picture with its packet in hand, over all pictures in a random order."""
    with opened(path) as (container, stream):
        packets = [bytes(packet) for packet in container.demux(stream) if packet.size]
        parser = PictureParser(stream.codec_context.extradata)
    return speed.one_by_one(packets, parser.parse, time.perf_counter)


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
    decoding = speed.seek_and_decode(path, probe.frames.pts[rows], EXPORT)
    return {
        "frames": len(rows),
        "file_seconds": float(probe.frames.time[-1]),
        "probe_s": probing,
        "parse_s": parsing,
        "seek_and_decode_s": decoding,
        "ratio": decoding / parsing,
        "ratio_with_probe": (probing + decoding) / (probing + parsing),
    }


def main() -> None:
    arguments = speed.arguments(__doc__, "runs/h264")
    result = speed.blank_result()
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
        speed.say(name, fps)
    closed = dict(options="crf=23 x264-params=bframes=3:open-gop=0:keyint=50:min-keyint=50:scenecut=0", gop=50)
    if arguments.only in (None, "sampled"):
        path = clip(arguments.clips, "720p ten minutes", 250, 60, options="crf=23")
        result["sampled"] = sampled(path)
        speed.say("sampled", result["sampled"])
    if arguments.only in (None, "workers"):
        path = clip(arguments.clips, "720p closed GoPs", 250, 4, **closed)
        result["workers"] = speed.workers(path)
        speed.say("workers", result["workers"])
    speed.save(result, arguments.json)


if __name__ == "__main__":
    main()
