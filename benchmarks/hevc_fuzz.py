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
import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fuzzing import Stream, damaged, fuzz
from codecmeta.codecs.hevc.picture import Picture
from codecmeta.codecs.hevc.sequence import Sequence
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


def _encoded(**kwargs: Any) -> Stream:
    extradata, packets, _ = decode_file(encode(**kwargs))
    return Stream(packets, lambda random: _sequence(extradata, False, random))


def _written(seed: int) -> Stream:
    packets = [picture.packet for picture in write(seed).pictures]
    return Stream(packets, lambda random: _sequence(None, True, random))


def _sequence(extradata: bytes | None, annex_b: bool, random: np.random.Generator) -> Sequence:
    return Sequence(extradata, annex_b=annex_b, trace=bool(random.random() < 0.2))


def _damage(packet: bytes, packets: list[bytes], random: np.random.Generator) -> bytes:
    return damaged(packet, random, header=6, other=packets[int(random.integers(len(packets)))])


def _state(picture: Picture) -> bytes:
    """All that a picture says."""
    arrays = (picture.cu, picture.pu, picture.energy, picture.motion, picture.segments)
    facts = (picture.errors, picture.poc, picture.vectors_exact, picture.lists)
    return b"".join(one.tobytes() for one in arrays) + repr(facts).encode()


def run_damaged(cases: int, seed: int, digest: Path | None, *, say: bool = True) -> dict[str, object]:
    """`cases` damaged packets, each behind its predecessors; the counts and the longest time of one."""
    streams = [_encoded(**kwargs) for kwargs in ENCODES] + [_written(number) for number in WRITTEN]
    partial = 0

    def state(picture: Picture) -> bytes:
        nonlocal partial
        partial += bool(0 < picture.parsed.sum() < picture.parsed.size)
        return _state(picture)

    outcome = fuzz(streams, _damage, state, cases, seed, digest, say=say)
    return outcome.result(seed, without_a_picture=outcome.refused, pictures_parsed_in_part=partial)


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
