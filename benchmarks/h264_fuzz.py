"""Damaged H.264 packets by the hundred thousand: the parser returns, in bounded time, and never reads outside.

    CODECMETA_H264_ARRAYS=1 NUMBA_BOUNDSCHECK=1 python -m benchmarks.h264_fuzz --cases 200000 --digest checked.txt
    python -m benchmarks.h264_fuzz --cases 200000 --digest plain.txt          # the pointer build, the same cases
    cmp checked.txt plain.txt

The first build watches every index (an index error ends the run). A negative index is legal over arrays and would be
another address over pointers: that both builds produce the same bytes, case by case, excludes it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]

from codecmeta.codecs.h264.motion_vectors import motion_rows  # noqa: E402
from codecmeta.codecs.h264.sequence import PictureSequence  # noqa: E402
from codecmeta.codecs.protocol import Refused  # noqa: E402
from tests.support.h264_encodes import encode, ffmpeg  # noqa: E402

SMALL = dict(size=(96, 80), frames=10)
ENCODES = [
    dict(options="x264-params=bframes=3:b-adapt=0", **SMALL),
    dict(options="x264-params=bframes=3:b-adapt=0:cabac=0", **SMALL),
    dict(options="x264-params=direct=temporal:bframes=3:b-adapt=0:ref=4:slices=3", **SMALL),
    dict(options="x264-params=direct=temporal:bframes=2:b-adapt=0:cabac=0:slice-max-mbs=7", **SMALL),
    dict(options="profile=baseline x264-params=ref=5", **SMALL),
    dict(options="qp=1 x264-params=bframes=2:psy=0", noise=True, **SMALL),
    dict(options="qp=1 x264-params=bframes=2:psy=0:cabac=0", noise=True, **SMALL),
    dict(options="x264-params=bframes=2:cqm=jvt", pixel_format="yuv420p10le", **SMALL),
    dict(options="x264-params=bframes=2", pixel_format="gray", **SMALL),
]


def damaged(packet: bytes, random: np.random.Generator) -> bytes:
    """One of: bits turned over, bytes overwritten, a stretch repeated or taken out, the end cut off."""
    data = bytearray(packet)
    first = min(5, len(data) - 1)  # length or start code and NAL header stay, most of the time
    if random.random() < 0.05:
        first = 0
    kind = random.integers(5)
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
    else:
        del data[at:]
    return bytes(data)


def run(cases: int, seed: int, digest: Path | None, *, say: bool = True) -> dict[str, object]:
    """`cases` damaged packets, each behind its intact predecessors; the counts and the longest time of one."""
    random = np.random.default_rng(seed)
    streams = []
    for kwargs in ENCODES:
        extradata, packets, _ = ffmpeg(encode(**kwargs))
        streams.append((extradata, packets))
    done = complete = refused = 0
    longest = 0.0
    digests = []
    begin = time.perf_counter()
    while done < cases:
        extradata, packets = streams[int(random.integers(len(streams)))]
        sequence = PictureSequence(extradata)
        for packet in packets:
            if random.random() < 0.5:
                packet = damaged(packet, random)
                done += 1
            before = time.process_time()
            picture = None
            try:
                picture = sequence.parse(packet)
            except Refused:
                pass
            refused += picture is None
            longest = max(longest, time.process_time() - before)
            state = hashlib.blake2b(digest_size=6)
            if picture is not None:
                complete += picture.complete
                state.update(picture.macroblocks)
                state.update(picture.energy)
                state.update(motion_rows(picture))
                state.update(repr(picture.errors).encode())
            digests.append(state.hexdigest())
        if say and done // 10000 != (done - 10) // 10000:
            print(f"{done} of {cases}, {time.perf_counter() - begin:.0f} s", file=sys.stderr, flush=True)
    if digest:
        digest.write_text("\n".join(digests) + "\n")
    return {
        "damaged_packets": done,
        "seed": seed,
        "build": "arrays" if os.environ.get("CODECMETA_H264_ARRAYS") else "pointers",
        "bounds_checked": os.environ.get("NUMBA_BOUNDSCHECK") == "1",
        "index_errors": 0,
        "refused_by_header": refused,
        "pictures_that_still_looked_complete": int(complete),
        "longest_packet_ms": round(1000 * longest, 2),
        "digest_of_all_results": hashlib.blake2b("\n".join(digests).encode(), digest_size=16).hexdigest(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--digest", type=Path)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    result = run(arguments.cases, arguments.seed, arguments.digest)
    print(json.dumps(result, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
