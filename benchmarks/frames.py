"""From a file to RGB frames: ours beside PyAV, decord, OpenCV and torchcodec, alternating in one run.

    pip install -c constraints.txt ".[peers]" torchcodec       # the peers; absent ones are named in the result
    python -m benchmarks.frames --clips FOLDER --minutes 10 --rounds 3 --json benchmarks/results/frames.json

H.264 and HEVC, 1280x720, 30 frames a second, a keyframe at most every 250 and every 60; 16, 64 and 128 frames. Clips
are made once, seeded, and kept in FOLDER: five minutes are encoded, and their packets written again until time is
full. A way's seconds are by the clock, from opening the file to uint8 RGB in memory, the median of the rounds; each
round asks every way once, so that a busy machine is busy for all. `uniform` and the peers give the same frames: every
picture has its number painted into it, which is read again. The others of ours give frames of their own choice. Peers
have their best settings of those tried: 1 and 2 threads each.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import av
import cv2
import numpy as np
from numpy.typing import NDArray

import codecmeta
from codecmeta.record.selection import sample_rows

WIDTH, HEIGHT, RATE, SEED, SQUARE = 1280, 720, 30, 7, 16
PART = 5.0  # minutes that are encoded
CODECS = {"H.264": "libx264", "HEVC": "libx265"}
GOPS = (250, 60)
NUMBERS = (16, 64, 128)
Frames = NDArray[np.uint8]
Way = Callable[[Path, NDArray[np.int64], NDArray[np.float64], int], Frames]


def pictures(seconds: float) -> Iterator[Frames]:
    """Scenes of 4 to 20 seconds: a texture under a camera that moves slowly, a few objects, some noise."""
    rng = np.random.default_rng(SEED)
    noise = [rng.normal(0, 2, (HEIGHT, WIDTH, 1)).astype(np.int8) for _ in range(8)]
    left, shown = round(seconds * RATE), 0
    while left > 0:
        length = min(left, int(rng.integers(4 * RATE, 20 * RATE)))
        small = rng.integers(0, 256, (18, 32, 3)).astype(np.uint8)
        canvas = cv2.resize(small, (WIDTH + 256, HEIGHT + 144), interpolation=cv2.INTER_CUBIC)
        drift, objects = rng.uniform(0, 0.6, 2), rng.uniform(0, 1, (4, 4))
        colours = rng.integers(0, 256, (4, 3)).tolist()
        for number in range(length):
            x, y = (int(min(number * drift[0], 255)), int(min(number * drift[1], 143)))
            picture = canvas[y : y + HEIGHT, x : x + WIDTH].copy()
            for (u, v, du, dv), colour in zip(objects, colours, strict=True):
                x, y = (u * WIDTH + 3 * number * (du - 0.5)) % WIDTH, (v * HEIGHT + 3 * number * (dv - 0.5)) % HEIGHT
                cv2.circle(picture, (int(x), int(y)), 40, colour, -1, cv2.LINE_AA)
            picture = np.clip(picture.astype(np.int16) + noise[number % 8], 0, 255).astype(np.uint8)
            yield stamped(picture, shown + number)
        left, shown = left - length, shown + length


def stamped(picture: Frames, number: int) -> Frames:
    """The picture with its number in 16 squares, in its upper left corner."""
    for bit in range(16):
        picture[:SQUARE, bit * SQUARE : (bit + 1) * SQUARE] = 255 if number >> bit & 1 else 0
    return picture


def number_of(picture: Frames) -> int:
    """The number painted into a picture."""
    middle = picture[SQUARE // 2, SQUARE // 2 : 16 * SQUARE : SQUARE].mean(axis=1)
    return sum(1 << bit for bit in range(16) if middle[bit] > 128)


def clip(folder: Path, codec: str, gop: int, minutes: float) -> Path:
    """The clip, made where it is not there."""
    path = folder / f"{CODECS[codec]}_gop{gop}_{minutes:g}min.mp4"
    if path.exists():
        return path
    if minutes > PART:
        written_again(clip(folder, codec, gop, PART), path, round(minutes / PART))
        return path
    folder.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"part_{path.name}")
    options = {"preset": "veryfast", "crf": "25", "g": str(gop)}
    if codec == "HEVC":
        options = {"preset": "ultrafast", "crf": "28", "x265-params": f"keyint={gop}:bframes=4:log-level=none"}
    with av.open(str(part), "w") as container:
        stream: Any = container.add_stream(CODECS[codec], rate=RATE, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for picture in pictures(60 * minutes):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    part.rename(path)
    return path


def written_again(source: Path, path: Path, times: int) -> None:
    """The packets of a file, as often as said, one after the other."""
    part = path.with_name(f"part_{path.name}")
    with av.open(str(source)) as given, av.open(str(part), "w") as target:
        video = given.streams.video[0]
        packets = [one for one in given.demux(video) if one.size]
        span = sum(one.duration or 0 for one in packets)
        copy = target.add_stream_from_template(video)
        for number in range(times):
            for one in packets:
                packet = av.Packet(bytes(one))
                packet.pts, packet.dts = (one.pts or 0) + number * span, (one.dts or 0) + number * span
                packet.duration, packet.time_base = one.duration, video.time_base
                packet.is_keyframe, packet.stream = one.is_keyframe, copy
                target.mux(packet)
    part.rename(path)


def ours(policy: str) -> Way:
    """Choice and reading together, all cores."""

    def read(path: Path, rows: NDArray[np.int64], times: NDArray[np.float64], number: int) -> Frames:
        choice = codecmeta.choose_frames(path, number, policy=policy)  # type: ignore[arg-type]
        return codecmeta.read(path, choice)[2]

    return read


def pyav(threads: int) -> Way:
    """One pass: seek where the next frame is behind another keyframe, else decode on. Where the first picture behind a
    keyframe is later than what is wanted (leading pictures of an open GoP), the keyframe before is taken."""

    def read(path: Path, rows: NDArray[np.int64], times: NDArray[np.float64], number: int) -> Frames:
        found = []
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = threads
            stream.codec_context.thread_type = "FRAME" if threads > 1 else "NONE"
            base, half = float(stream.time_base or 1), 0.5 / RATE
            marks = sorted(one.timestamp for one in stream.index_entries if one.is_keyframe)
            frames, at = container.decode(stream), -1.0
            for time in times.tolist():
                key = max(int(np.searchsorted(marks, (time + half) / base)) - 1, 0)
                fresh = marks[key] * base > at + half
                while True:
                    if fresh:
                        container.seek(marks[key], stream=stream)
                        frames = container.decode(stream)
                    frame = next(one for one in frames if float(one.time) >= time - half)
                    at = float(frame.time)
                    if at <= time + half or key == 0:
                        break
                    key, fresh = key - 1, True
                found.append(frame.to_ndarray(format="rgb24"))
        return np.stack(found)

    return read


def opencv(path: Path, rows: NDArray[np.int64], times: NDArray[np.float64], number: int) -> Frames:
    """Set and read."""
    video = cv2.VideoCapture(str(path))
    found = []
    for row in rows.tolist():
        video.set(cv2.CAP_PROP_POS_FRAMES, row)
        found.append(cv2.cvtColor(video.read()[1], cv2.COLOR_BGR2RGB))
    video.release()
    return np.stack(found).astype(np.uint8)


def decord(threads: int) -> Way:
    """get_batch."""
    import decord as library

    def read(path: Path, rows: NDArray[np.int64], times: NDArray[np.float64], number: int) -> Frames:
        frames: Frames = library.VideoReader(str(path), num_threads=threads).get_batch(rows.tolist()).asnumpy()
        return frames

    return read


def torchcodec(threads: int, seek_mode: Literal["exact", "approximate"]) -> Way:
    """get_frames_at; approximate seeking does not read the whole file first."""
    from torchcodec.decoders import VideoDecoder

    def read(path: Path, rows: NDArray[np.int64], times: NDArray[np.float64], number: int) -> Frames:
        video = VideoDecoder(str(path), dimension_order="NHWC", num_ffmpeg_threads=threads, seek_mode=seek_mode)
        frames: Frames = video.get_frames_at(rows.tolist()).data.numpy()
        return frames

    return read


def ways() -> tuple[dict[str, Way], dict[str, str]]:
    """Name -> way; and absent peers with the reason."""
    found: dict[str, Way] = {f"codecmeta, {policy}": ours(policy) for policy in ("uniform", "cheap", "events")}
    found |= {f"PyAV {av.__version__}, threads={threads}": pyav(threads) for threads in (1, 2)}
    found[f"OpenCV {cv2.__version__}"] = opencv
    absent = {}
    peers: dict[str, Callable[[], Way]] = {
        "decord, threads=1": lambda: decord(1),
        "decord, threads=2": lambda: decord(2),
        "torchcodec, threads=1, approximate": lambda: torchcodec(1, "approximate"),
        "torchcodec, threads=2, approximate": lambda: torchcodec(2, "approximate"),
        "torchcodec, threads=2, exact": lambda: torchcodec(2, "exact"),
    }
    for name, make in peers.items():
        try:
            found[name] = make()
        except (ImportError, OSError, RuntimeError) as error:
            absent[name.split(",")[0]] = " ".join(str(error).split())[:120] or type(error).__name__
    return found, absent


def measure(path: Path, number: int, every: dict[str, Way], rounds: int) -> list[dict[str, Any]]:
    """A row per way, of one clip and number of frames."""
    known = codecmeta.probe(path)
    rows = sample_rows(known.frames.time, number)
    times = known.frames.time[rows]
    spent: dict[str, list[float]] = {name: [] for name in every}
    same: dict[str, bool | str] = {}
    for _ in range(rounds):
        for name, way in every.items():
            start = perf_counter()
            try:
                frames = way(path, rows, times, number)
            except Exception as error:  # a peer that fails is named, the others are compared
                same[name] = f"{type(error).__name__}: {error}"[:200]
                continue
            spent[name].append(perf_counter() - start)
            if name.startswith("codecmeta") and not name.endswith("uniform"):
                continue
            same[name] = [number_of(one) for one in frames] == (rows % round(60 * PART * RATE)).tolist()
    found = []
    for name, seconds in spent.items():
        row: dict[str, Any] = {"way": name, "seconds": None if not seconds else round(statistics.median(seconds), 4)}
        row["rounds"] = [round(one, 4) for one in seconds]
        if name in same:
            row["same_frames"] = same[name]
        if name.startswith("codecmeta"):
            taken: dict[str, float] = {}
            choice = codecmeta.choose_frames(path, number, policy=name.split(", ")[1], seconds=taken)  # type: ignore[arg-type]
            row |= {"packets": choice.packets_to_decode, "choose_seconds": round(taken["choose"], 4)}
            row["probe_seconds"] = round(taken["probe"], 4)
        found.append(row)
    peers = [row["seconds"] for row in found if not row["way"].startswith("codecmeta") and row["same_frames"] is True]
    for row in found:
        if row["way"].startswith("codecmeta") and row["seconds"] and peers:
            row["times_faster_than_best_peer"] = round(min(peers) / row["seconds"], 2)
    return found


def main() -> None:
    """Print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=Path, required=True, help="folder for the clips, made once")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--numbers", type=int, nargs="+", default=list(NUMBERS))
    parser.add_argument("--without", nargs="+", default=[], help="ways left out: those whose names hold one of these")
    parser.add_argument("--codecs", nargs="+", choices=list(CODECS), default=list(CODECS))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    every, absent = ways()
    every = {name: way for name, way in every.items() if not any(text in name for text in options.without)}
    results = []
    for codec in options.codecs:
        for gop in GOPS:
            path = clip(options.clips, codec, gop, options.minutes)
            for way in every.values():  # importing, compiling and the file's first read count for nobody
                try:
                    way(path, np.array([0]), np.array([0.0]), 1)
                except Exception as error:
                    print(f"{path.name}: {type(error).__name__}: {error}", file=sys.stderr)
            for number in options.numbers:
                for row in measure(path, number, every, options.rounds):
                    results.append({"codec": codec, "gop": gop, "frames": number, **row})
                    seconds = "failed" if row["seconds"] is None else f"{row['seconds']:8.3f} s"
                    print(f"{codec:6} GoP {gop:3} {number:4}  {row['way']:36} {seconds}", file=sys.stderr)
    made = " ".join(["python -m benchmarks.frames", *sys.argv[1:]])
    for path in (options.clips, options.json):
        made = made.replace(
            str(path), "FOLDER" if path == options.clips else f"benchmarks/results/{path and path.name}"
        )
    result = {
        "command": made,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "size": [WIDTH, HEIGHT],
        "absent": absent,
        "results": results,
    }
    print(json.dumps(result, indent=1))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
