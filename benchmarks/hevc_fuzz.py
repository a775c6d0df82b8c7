"""HEVC streams that no encoder makes, by the thousand: written at random and read back, or damaged.

    python -m benchmarks.hevc_fuzz written --seeds 5000 --json benchmarks/results/hevc_written.json

Random legal streams (tests/support/hevc_writer.py): the parser must read back segments, entry points, coding units,
prediction units, transform blocks and levels as they were written, and the samples rebuilt from its output must equal
FFmpeg's. The first difference ends the run.

    CODECMETA_H264_ARRAYS=1 NUMBA_BOUNDSCHECK=1 python -m benchmarks.hevc_fuzz damaged --cases 200000 --digest a.txt
    python -m benchmarks.hevc_fuzz damaged --cases 200000 --digest b.txt      # the pointer build, the same cases
    cmp a.txt b.txt

Damaged packets: the parser returns, in bounded time, and never reads outside. The first build watches every index (an
index error ends the run). A negative index is legal over arrays and would be another address over pointers: that both
builds produce the same bytes, case by case, excludes it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np

from codecmeta.codecs.hevc.sequence import Sequence
from codecmeta.codecs.protocol import Refused
from tests.support.hevc_compare import compare_stream
from tests.support.hevc_encodes import encode
from tests.support.hevc_ffmpeg import decode_file
from tests.support.hevc_writer import write

SMALL = dict(size=(96, 80), frames=8)
ENCODES = [
    dict(params="bframes=3:b-adapt=0:ctu=16:max-tu-size=16", **SMALL),
    dict(params="bframes=3:b-adapt=0:ref=4:ctu=32", preset="slow", **SMALL),
    dict(params="bframes=2:weightb=1:qp=12:qg-size=8:aq-mode=3", fade=True, **SMALL),
    dict(params="slices=2:ctu=16:max-tu-size=16", **SMALL),
    dict(params="cu-lossless=1:tskip=1:qp=4", noise=True, **SMALL),
    dict(params="bframes=2:scaling-list=default:qp=20", pixel_format="yuv420p10le", **SMALL),
    dict(params="bframes=2", pixel_format="gray", **SMALL),
]
WRITTEN = range(40)  # seeds of written streams among the damaged: tools that x265 lacks


def damaged(packet: bytes, other: bytes, random: np.random.Generator) -> bytes:
    """One of: bits turned over, bytes overwritten, a stretch repeated, taken out, or of another packet, the end cut."""
    data = bytearray(packet)
    first = min(6, len(data) - 1)  # length or start code and NAL header stay, most of the time
    if random.random() < 0.05:
        first = 0
    kind = random.integers(6)
    at = int(random.integers(first, len(data)))
    if kind == 0:
        for _ in range(int(random.integers(1, 8))):
            data[int(random.integers(first, len(data)))] ^= 1 << int(random.integers(8))
    elif kind == 1:
        for i in range(at, min(at + int(random.integers(1, 32)), len(data))):
            data[i] = int(random.choice((0, 255, int(random.integers(256)))))
    elif kind == 2:
        data[at:at] = data[at : at + int(random.integers(1, 64))]
    elif kind == 3:
        del data[at : at + int(random.integers(1, 64))]
    elif kind == 4:
        start = int(random.integers(len(other)))
        data[at:] = other[start:]
    else:
        del data[at:]
    return bytes(data)


def _streams() -> list[tuple[bytes | None, bool, list[bytes]]]:
    streams: list[tuple[bytes | None, bool, list[bytes]]] = []
    for kwargs in ENCODES:
        extradata, packets, _ = decode_file(encode(**kwargs))
        streams.append((extradata, False, packets))
    for seed in WRITTEN:
        streams.append((None, True, [picture.packet for picture in write(seed).pictures]))
    return streams


def _state(picture: object) -> str:
    """A short digest of all that a picture says; that of no picture for None."""
    digest = hashlib.blake2b(digest_size=6)
    if picture is not None:
        for array in (picture.cu, picture.pu, picture.energy, picture.motion, picture.segments):
            digest.update(np.ascontiguousarray(array).tobytes())
        digest.update(repr((picture.errors, picture.poc, picture.vectors_exact, picture.lists)).encode())
    return digest.hexdigest()


def run_damaged(cases: int, seed: int, digest: Path | None, *, say: bool = True) -> dict[str, object]:
    """`cases` damaged packets, each behind its predecessors; the counts and the longest time of one."""
    random = np.random.default_rng(seed)
    streams = _streams()
    done = complete = refused = partial = reported = 0
    longest = 0.0
    digests = []
    begin = time.perf_counter()
    while done < cases:
        extradata, annex_b, packets = streams[int(random.integers(len(streams)))]
        sequence = Sequence(extradata, annex_b=annex_b, trace=bool(random.random() < 0.2))
        for packet in packets:
            if random.random() < 0.5:
                packet = damaged(packet, packets[int(random.integers(len(packets)))], random)
                done += 1
            before = time.process_time()
            picture = None
            try:
                picture = sequence.parse(packet)
            except Refused:
                pass
            longest = max(longest, time.process_time() - before)
            refused += picture is None
            if picture is not None:
                complete += picture.complete
                partial += 0 < picture.parsed.sum() < picture.parsed.size
            digests.append(_state(picture))
        if say and done // 10000 > reported:
            reported = done // 10000
            print(f"{done} of {cases}, {time.perf_counter() - begin:.0f} s", file=sys.stderr, flush=True)
    if digest:
        digest.write_text("\n".join(digests) + "\n")
    return {
        "damaged_packets": done,
        "seed": seed,
        "build": "arrays" if os.environ.get("CODECMETA_H264_ARRAYS") else "pointers",
        "bounds_checked": os.environ.get("NUMBA_BOUNDSCHECK") == "1",
        "index_errors": 0,
        "without_a_picture": refused,
        "pictures_parsed_in_part": partial,
        "pictures_that_still_looked_complete": int(complete),
        "longest_packet_ms": round(1000 * longest, 2),
        "digest_of_all_results": hashlib.blake2b("\n".join(digests).encode(), digest_size=16).hexdigest(),
    }


def run_written(seeds: int, first: int, pictures: int, *, say: bool = True) -> dict[str, object]:
    """Streams of seeds first .. first + seeds - 1; raises AssertionError at the first difference."""
    counts: Counter[str] = Counter()
    features: Counter[str] = Counter()
    begin = time.perf_counter()
    for seed in range(first, first + seeds):
        stream = write(seed, pictures=pictures)
        features.update(stream.features)
        counts += compare_stream(stream)
        if say and (seed - first) % 500 == 499:
            print(f"{seed - first + 1} of {seeds}, {time.perf_counter() - begin:.0f} s", file=sys.stderr, flush=True)
    return {
        "first_seed": first,
        **{name.replace(" ", "_").replace("'", ""): number for name, number in sorted(counts.items())},
        "differences": 0,
        "streams_by_feature": dict(sorted(features.items())),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="what", required=True)
    written = commands.add_parser("written", help="random legal streams, read back")
    written.add_argument("--seeds", type=int, default=5000)
    written.add_argument("--first", type=int, default=0)
    written.add_argument("--pictures", type=int, default=4)
    broken = commands.add_parser("damaged", help="damaged packets")
    broken.add_argument("--cases", type=int, default=200_000)
    broken.add_argument("--seed", type=int, default=1)
    broken.add_argument("--digest", type=Path)
    for command in (written, broken):
        command.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.what == "written":
        result = run_written(arguments.seeds, arguments.first, arguments.pictures)
    else:
        result = run_damaged(arguments.cases, arguments.seed, arguments.digest)
    result = {"command": "python -m benchmarks.hevc_fuzz " + " ".join(sys.argv[1:]), **result}
    print(json.dumps(result, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
