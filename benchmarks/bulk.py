"""Any folder of videos against an independent decode: one row per file, and what is not as the decoder says.

    python -m benchmarks.bulk FOLDER... --json result.json

The other side is FFmpeg through PyAV, one thread, from the first packet to the last, no line of it from this package.
Compared for every file: number and order of frames (probe, all, 8, keyframes, read, read_pictures), time stamps,
picture types, damaged frames, orientation, pictures, vectors and quantisers where FFmpeg exports them, the sum of the
packets, the bytes of caches made by one worker and by two, peak memory beside a plain decode. `remarks` is empty where
all of it agrees, or where the report of the probe says that only decoding can tell. Every file has a process of its
own: one that crashes or hangs is a row like any other.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

import codecmeta
from codecmeta.corpus.inputs import find_videos
from codecmeta.decoding.pictures import read_pictures

RESULTS = Path(__file__).resolve().parent / "results" / "bulk.json"
TYPES = "?IPBPIPB"  # AVPictureType; sprites and switching pictures count as what they are like
FIELDS = ("source", "w", "h", "dst_x", "dst_y", "motion_x", "motion_y")


def decoded(path: Path, stream: int, each: Callable[[Any], Any]) -> tuple[list[int], list[Any]]:
    """(sizes of the packets, what `each` says of every frame that a plain single-thread decode gives)."""
    sizes: list[int] = []
    found: list[Any] = []
    with av.open(f"file:{path}") as container:
        video = container.streams.video[stream]
        context = video.codec_context
        context.thread_type, context.thread_count, context.copy_opaque = "NONE", 1, True
        context.options = {"flags2": "+export_mvs", "export_side_data": "venc_params"}
        for packet in container.demux(video):
            if packet.size:
                packet.opaque = (len(sizes),)
                sizes.append(packet.size)
            try:
                frames = packet.decode()
            except (av.FFmpegError, ValueError):
                continue
            found += [each(frame) for frame in frames]
    return sizes, found


def described(frame: Any) -> dict[str, Any]:
    """What the comparison asks of a frame."""
    try:
        data = frame.side_data
        matrix, vectors, quantisers = (data.get(n) for n in ("DISPLAYMATRIX", "MOTION_VECTORS", "VIDEO_ENC_PARAMS"))
    except ValueError:  # a kind of side data that PyAV has no name for
        matrix = vectors = quantisers = None
    table = None if vectors is None else vectors.to_ndarray()
    return {
        "packet": frame.opaque[0],
        "pts": frame.pts,
        "type": TYPES[int(frame.pict_type)],
        "corrupt": bool(frame.is_corrupt),
        "size": (frame.width, frame.height),
        "matrix": None if matrix is None else np.frombuffer(bytes(matrix), np.int32, 9),
        "rotation": frame.rotation,
        "vectors": None if table is None else np.stack([table[name].astype(int) for name in FIELDS], axis=1),
        "qp": None if quantisers is None else quantiser_map(memoryview(quantisers)),
    }


def quantiser_map(raw: memoryview) -> NDArray[np.int64] | None:
    """AVVideoEncParams as a map of 16x16 blocks; None where the blocks are others, or there are none."""
    count = int.from_bytes(raw[:4], "little")
    offset, size = np.frombuffer(raw[8:24], np.uint64).astype(int)
    blocks = np.frombuffer(raw[offset : offset + count * size], np.int32).reshape(count, size // 4)
    if not count or (blocks[:, 2:4] != 16).any():
        return None
    values = np.zeros((blocks[:, 1].max() // 16 + 1, blocks[:, 0].max() // 16 + 1), int)
    values[blocks[:, 1] // 16, blocks[:, 0] // 16] = np.frombuffer(raw[28:32], np.int32)[0] + blocks[:, 4]
    return values


def turn_of(frame: dict[str, Any]) -> NDArray[np.int64]:
    """The display matrix as [[a, b], [c, d]] of -1, 0 and 1; the identity where it is no right angle."""
    turn = np.eye(2, dtype=int)
    if frame["matrix"] is not None:
        part = frame["matrix"][[0, 1, 3, 4]].reshape(2, 2) / 65536
        rounded = np.rint(part / max(np.abs(part).max(), 1e-9)).astype(int)
        if abs(round(np.linalg.det(rounded))) == 1 and (np.abs(rounded).sum(axis=0) == 1).all():
            turn = rounded
    elif frame["rotation"] in (90, -90, 180, -180):
        turn = {90: [[0, -1], [1, 0]], -90: [[0, 1], [-1, 0]]}.get(frame["rotation"], [[-1, 0], [0, -1]])
        turn = np.array(turn)
    return turn


def moved(points: NDArray[np.int64], turn: NDArray[np.int64], size: tuple[int, int]) -> NDArray[np.int64]:
    """Points (n, 2) of a picture of this size where the turned picture shows them."""
    corners = np.array([(x, y) for x in (0, size[0]) for y in (0, size[1])]) @ turn
    return points @ turn - corners.min(axis=0)


def shown(values: NDArray[Any], turn: NDArray[np.int64]) -> NDArray[Any]:
    """An array (rows, columns, ...) turned and mirrored by a matrix of whole quarter turns."""
    if turn[0, 0] == 0:
        values, turn = values.swapaxes(0, 1), turn[::-1]  # the transpose of ISO/IEC 14496-12 first, flips behind it
    return values[:: int(turn[1, 1]), :: int(turn[0, 0])]


def check(path: Path) -> dict[str, Any]:
    """The row of one file."""
    row: dict[str, Any] = {"file": path.name, "bytes": path.stat().st_size, "remarks": []}
    remarks = row["remarks"]
    probe = codecmeta.probe(path)
    index = probe.stream.stream_index
    sizes, frames = decoded(path, index, described)
    meta = codecmeta.extract(path)
    row |= {
        "codec": probe.stream.codec,
        "frames": len(frames),
        "corrupt": sum(one["corrupt"] for one in frames),
        "probe": probe.capability["packets"]["level"],
        "levels": {name: one["level"] for name, one in meta.capability.items()},
    }
    others: dict[str, Any] = {"extract": meta, "N": codecmeta.extract(path, frames=8)}
    others["keyframes"] = codecmeta.extract(path, frames="keyframes")
    eight, rows, pictures = codecmeta.read(path, 8)
    others["read"] = eight
    if row["probe"] == "exact":
        others["probe"] = probe
    for name, one in others.items():
        if len(one.frames) != len(frames):
            remarks.append(f"{name}: {len(one.frames)} frames of {len(frames)}")
        for column in ("pts", "time", "packet_bytes", "keyframe", "gop"):
            if not np.array_equal(getattr(one.frames, column), getattr(meta.frames, column)):
                remarks.append(f"{name}: {column} is not as in extract")
        if one.stream != meta.stream:
            remarks.append(f"{name}: another stream than in extract")
    if meta.frames.packet_bytes.sum() != sum(sizes):
        remarks.append(f"packets of {meta.frames.packet_bytes.sum()} bytes of {sum(sizes)}")
    if len(meta.frames) != len(frames):
        return row
    remarks += against_decoder(meta, frames, sizes)
    remarks += against_pictures(path, index, meta, rows, pictures, frames)
    return row


def against_decoder(meta: Any, frames: list[dict[str, Any]], sizes: list[int]) -> list[str]:
    """Order, time, types, damage, orientation, vectors, quantisers of all frames."""
    remarks: list[str] = []
    if not (np.diff(meta.frames.time) > 0).all() and len(set(one["pts"] for one in frames)) == len(frames):
        remarks.append("time steps backwards or stands still")
    stamps = [one["pts"] for one in frames]
    if None not in stamps and (np.diff(stamps) > 0).all() and meta.frames.pts.tolist() != stamps:
        remarks.append(f"{int((meta.frames.pts != np.array(stamps)).sum())} time stamps differ")
    own = np.array([sizes[one["packet"]] for one in frames])
    less = int((meta.frames.packet_bytes < own).sum())
    if less:
        remarks.append(f"{less} frames have fewer bytes than the packet they came from: order")
    types = "".join(chr(one) if one else "?" for one in meta.frames.picture_type)
    wrong = sum(a != b for a, b in zip(types, (one["type"] for one in frames), strict=True))
    if wrong:
        remarks.append(f"{wrong} picture types differ")
    corrupt = np.array([one["corrupt"] for one in frames])
    if (corrupt & ~meta.frames.corrupt).any() or (not corrupt.any() and meta.frames.corrupt.any()):
        remarks.append(f"{int(meta.frames.corrupt.sum())} damaged frames, FFmpeg says {int(corrupt.sum())}")
    turn, size = turn_of(frames[0]), frames[0]["size"]
    if (meta.stream.width, meta.stream.height) != (size if turn[0, 0] else size[::-1]):
        remarks.append(
            f"shown as {meta.stream.width}x{meta.stream.height}, decoded as {size}, turned by {turn.tolist()}"
        )
    if meta.stream.crop != (0, 0) or any(one["size"] != size for one in frames):
        return remarks  # the comparison below is for pictures of one size, without the crop that FFmpeg leaves in
    vectors = quantisers = 0
    exported = any(one["vectors"] is not None for one in frames)  # FFmpeg has none of HEVC's
    for row, one in enumerate(frames):
        mine = None if meta.motion is None else meta.motion.of(row)
        if exported and mine is not None and not meta.frames.corrupt[row]:
            theirs = np.zeros((0, 7), int) if one["vectors"] is None else one["vectors"].copy()
            ours = np.stack([mine[name].astype(int) for name in FIELDS], axis=1)
            theirs[:, 3:5], theirs[:, 5:7] = moved(theirs[:, 3:5], turn, size), theirs[:, 5:7] @ turn
            if not turn[0, 0]:
                theirs[:, [1, 2]] = theirs[:, [2, 1]]
            vectors += Counter(map(tuple, ours.tolist())) != Counter(map(tuple, theirs.tolist()))
        qp = None if meta.qp is None else meta.qp.of(row)
        if qp is not None and one["qp"] is not None and not meta.frames.corrupt[row]:
            expected = shown(one["qp"], turn)
            quantisers += qp.shape == expected.shape and not np.array_equal(qp, expected)
    if vectors:
        remarks.append(f"vectors of {vectors} frames differ")
    if quantisers:
        remarks.append(f"quantisers of {quantisers} frames differ")
    return remarks


def against_pictures(
    path: Path, index: int, meta: Any, rows: NDArray[np.int64], pictures: Any, frames: list[dict[str, Any]]
) -> list[str]:
    """The pictures of `read` and `read_pictures` against those rows of the plain decode."""
    remarks = []
    wanted, seen = set(rows.tolist()), []

    def keep(frame: Any) -> Any:
        seen.append(None)
        return frame.to_ndarray(format="rgb24") if len(seen) - 1 in wanted else None

    try:
        _, theirs = decoded(path, index, keep)
    except (ValueError, OSError):
        return remarks  # FFmpeg's scaler refuses the colours; nobody to compare with
    size = frames[0]["size"]
    for name, ours in (("read", pictures), ("read_pictures", read_pictures(path, meta, rows))):
        worst = 0
        for row, picture in zip(rows.tolist(), ours, strict=True):
            expected = shown(theirs[row], turn_of(frames[0]))
            if frames[row]["size"] != size:
                continue  # scaled to the size of the first
            if picture.shape != expected.shape:
                remarks.append(f"{name}: a picture of {picture.shape}, not {expected.shape}")
                break
            worst = max(worst, int(np.abs(picture.astype(int) - expected).max()))
        if worst:
            remarks.append(f"{name}: pictures differ by up to {worst}")
    return remarks


def check_workers(path: Path) -> list[str]:
    """One worker, two workers: the same bytes; and again."""
    remarks = []
    with tempfile.TemporaryDirectory() as folder:
        for frames in ("all", 8):
            caches = []
            for jobs in (1, 2):
                target = Path(folder) / f"{frames}-{jobs}.h5"
                codecmeta.extract_to_file(path, target, frames=frames, jobs=jobs)
                caches.append(target.read_bytes())
                with codecmeta.load(target):
                    pass
            if caches[0] != caches[1]:
                remarks.append(f"caches of 1 and 2 workers differ (frames={frames})")
    return remarks


def memory(path: Path, what: str) -> int:
    """Peak bytes of this process above what it has when it has started, the garbage collector off."""
    from codecmeta.extraction.to_file import extract_to_file

    with tempfile.TemporaryDirectory() as folder:
        extract_to_file(path, Path(folder) / "warm.h5", frames=1)
        gc.collect()
        gc.disable()
        status = Path("/proc/self/status").read_text()
        before = int(status.split("VmRSS:")[1].split()[0])
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts again
        if what == "plain":
            with av.open(f"file:{path}") as container:
                video = container.streams.video[codecmeta.probe(path).stream.stream_index]
                video.codec_context.thread_type = "NONE"
                for packet in container.demux(video):
                    try:
                        packet.decode()
                    except (av.FFmpegError, ValueError):
                        continue
        else:
            extract_to_file(path, Path(folder) / "x.h5")
        after = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
    return max(after - before, 0) * 1024


def in_a_process(path: Path, part: str, seconds: float) -> Any:
    """What one part of the check says of a file, or a remark about how it ended."""
    command = [sys.executable, "-m", "benchmarks.bulk", str(path), "--part", part]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        return {"remarks": [f"{part}: no end within {seconds:g} s"]}
    if done.returncode:
        last = done.stderr.strip().splitlines()
        return {"remarks": [f"{part}: {last[-1][:200] if last else f'exit code {done.returncode}'}"]}
    return json.loads(done.stdout.strip().splitlines()[-1])


def row_of(path: Path, seconds: float) -> dict[str, Any]:
    """All parts of the check of one file."""
    row = {"file": path.name, **in_a_process(path, "frames", seconds)}
    parts = {part: in_a_process(path, part, seconds) for part in ("workers", "plain", "extract")}
    row["remarks"] += parts["workers"]["remarks"]
    row["megabytes"] = {part: round(parts[part].get("peak", 0) / 1e6, 1) for part in ("plain", "extract")}
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--json", type=Path, help=f"write the rows to this file, such as {RESULTS.name}")
    parser.add_argument("--seconds", type=float, default=600, help="for each part of the check of one file")
    parser.add_argument("--part", choices=["frames", "workers", "plain", "extract"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        path = options.folders[0]
        if options.part == "frames":
            result = check(path)
        elif options.part == "workers":
            result = {"remarks": check_workers(path)}
        else:
            result = {"peak": memory(path, options.part)}
        print(json.dumps(result))
        return
    rows: list[dict[str, Any]] = []
    for folder in options.folders:
        for path, name in find_videos(folder):
            row = row_of(Path(path), options.seconds) | {"file": f"{folder.resolve().name}/{name}"}
            rows.append(row)
            remarks = "; ".join(row["remarks"]) or "as decoded"
            print(f"{row['file']:40} {row.get('frames', '?'):>6} {remarks}", flush=True)
            if options.json:
                write(options.json, rows)
    print(f"{sum(not row['remarks'] for row in rows)} of {len(rows)} files without a remark")


def write(target: Path, rows: list[dict[str, Any]]) -> None:
    """The rows so far: a check of a large folder takes hours, and may be looked at, or ended, on the way."""
    record = {
        "command": "python -m benchmarks.bulk FOLDER... --json bulk.json",
        "ffmpeg": ".".join(map(str, av.library_versions["libavcodec"])),
        "files": len(rows),
        "without_remark": sum(not row["remarks"] for row in rows),
        "peak_of_all_megabytes": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024,
        "rows": rows,
    }
    target.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
