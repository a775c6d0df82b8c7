"""Damaged H.264 packets by the hundred thousand: the parser returns, in bounded time, and never reads outside.

    CODECMETA_H264_ARRAYS=1 NUMBA_BOUNDSCHECK=1 python -m benchmarks.h264_fuzz --cases 200000 --digest checked.txt
    python -m benchmarks.h264_fuzz --cases 200000 --digest plain.txt          # the pointer build, the same cases
    cmp checked.txt plain.txt

The first build watches every index (an index error ends the run). A negative index is legal over arrays and would be
another address over pointers: that both builds produce the same bytes, case by case, excludes it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fuzzing import Stream, damaged, fuzz
from codecmeta.codecs.h264.fields import FieldPair
from codecmeta.codecs.h264.high444.slice_data import slice_data_of_high_444
from codecmeta.codecs.h264.mbaff.slice_data import slice_data_of_pairs
from codecmeta.codecs.h264.motion_vectors import motion_rows
from codecmeta.codecs.h264.picture import Picture
from codecmeta.codecs.h264.runs import FrameOfBatch
from codecmeta.codecs.h264.sequence import PictureSequence
from codecmeta.codecs.h264.stream import ENTRY_KERNELS, H264Parser, H264Picture
from codecmeta.codecs.protocol import Refused
from tests.support import h264_writer as written
from tests.support.h264_cabac import Coding
from tests.support.h264_encodes import encode, ffmpeg

SMALL = dict(size=(96, 80), frames=10)
FOUR_TWO_ZERO = Coding()
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
    dict(options="x264-params=bframes=2", pixel_format="yuv422p", **SMALL),
    dict(options="qp=4 x264-params=bframes=2:cabac=0", pixel_format="yuv422p10le", **SMALL),
    dict(options="x264-params=interlaced=1:bframes=3:b-adapt=0:ref=4", woven=True, **SMALL),
    dict(options="x264-params=interlaced=1:bframes=2:b-adapt=0:cabac=0:slice-max-mbs=6", woven=True, **SMALL),
    dict(options="x264-params=interlaced=1:bframes=2:direct=temporal:b-adapt=0:slices=3", woven=True, **SMALL),
    dict(options="qp=1 x264-params=interlaced=1:bframes=2:psy=0:cabac=0", woven=True, noise=True, **SMALL),
    dict(options="qp=4 x264-params=interlaced=1:bframes=2", pixel_format="yuv422p", woven=True, **SMALL),
    dict(options="x264-params=bframes=2:b-adapt=0", pixel_format="yuv444p", **SMALL),
    dict(options="qp=1 x264-params=bframes=2:psy=0:cabac=0", pixel_format="yuv444p10le", noise=True, **SMALL),
    dict(options="qp=0 x264-params=bframes=2:b-adapt=0", **SMALL),
    dict(options="qp=0 x264-params=bframes=2:cabac=0:slice-max-mbs=7", pixel_format="yuv422p", **SMALL),
    dict(options="qp=0 x264-params=bframes=2", pixel_format="yuv444p10le", **SMALL),
]


def _streams(**kwargs: Any) -> list[Stream]:
    """One stream, picture by picture and by the batch."""
    extradata, packets, _ = ffmpeg(encode(**kwargs))
    return [
        Stream(packets, lambda random: PictureSequence(extradata)),
        Stream(packets, lambda random: H264Parser(PictureSequence(extradata)), _by_the_batch),
    ]


def _by_the_batch(parser: H264Parser, packets: list[bytes]) -> Iterator[H264Picture | FrameOfBatch | None]:
    """What runs make of packets; nothing of those behind one that is refused, as its caller stops there."""
    left = len(packets)
    rows = np.arange(left)
    try:
        for _, picture in parser.pictures(enumerate(packets), rows, rows >= 0):
            yield picture
            left -= 1
    except Refused:
        pass
    yield from [None] * left


def _fields(temporal: bool, cabac: bool = False, mbaff: bool = False, coding: Coding = FOUR_TWO_ZERO) -> Stream:
    """Field pictures and frames by turns, written: no encoder makes them. Packets of start codes, parameter sets in the
    first one."""
    writer = written.Stream(width=6, height=6, interlaced=True, cabac=cabac, mbaff=mbaff, coding=coding)
    first, second = (written.I, written.I if cabac else written.P)
    packets = [writer.parameter_sets() + _pair(writer, (first, second), 0, 0, idr=True)]
    for number in range(1, 8 if cabac else 2):
        packets.append(_pair(writer, (first, first), number, 4 * number))
    for turn in range(0 if cabac else 5):
        kind = dict(spatial=not temporal, reference=False)
        packets.append(_pair(writer, (written.P,) * 2, turn + 2, 16 * turn + 16, active=(4, 0)))
        packets.append(_pair(writer, (written.B,) * 2, turn + 3, 16 * turn + 8, active=(4, 3), **kind))
        packets.append(writer.picture(written.B, turn + 3, 16 * turn + 12, active=(2, 2), **kind))
    return Stream(packets, lambda random: PictureSequence())


def _pair(
    writer: written.Stream, kinds: tuple[int, int], number: int, order: int, idr: bool = False, **more: Any
) -> bytes:
    return b"".join(
        writer.picture(kind, number, order + at, parity=at, idr=idr and not at, **({} if kind == written.I else more))
        for at, kind in enumerate(kinds)
    )


def _state(picture: Picture | FieldPair | H264Picture | FrameOfBatch) -> bytes:
    """All that a picture says."""
    if isinstance(picture, H264Picture | FrameOfBatch):
        facts = (picture.picture_type, picture.identity, picture.complete, picture.vectors_exact)
        arrays = (*picture.vectors(0, {}), *picture.rms(), picture.qp(), picture.bits())
        return b"".join(one.tobytes() for one in arrays) + repr(facts).encode()
    pictures = picture.fields if isinstance(picture, FieldPair) else (picture,)
    said = [one for each in pictures for one in (each.macroblocks, each.energy)] + [motion_rows(picture)]
    return b"".join(one.tobytes() for one in said) + repr(picture.errors).encode()


def run(cases: int, seed: int, digest: Path | None, *, say: bool = True) -> dict[str, object]:
    """`cases` damaged packets, each behind its predecessors; the counts and the longest time of one."""
    streams = [stream for kwargs in ENCODES for stream in _streams(**kwargs)]
    streams += [_fields(temporal=False), _fields(temporal=True), _fields(temporal=False, cabac=True)]
    streams += [_fields(temporal, mbaff=True) for temporal in (False, True)]
    streams += [
        _fields(temporal=False, cabac=True, coding=Coding(chroma_444=True, lossless=one)) for one in (False, True)
    ]
    for kernel in (*ENTRY_KERNELS, slice_data_of_pairs, slice_data_of_high_444):
        kernel.prepare()  # compiling is none of the time of a packet
    outcome = fuzz(
        streams, lambda packet, _, random: damaged(packet, random, header=5), _state, cases, seed, digest, say=say
    )
    return outcome.result(seed, refused_by_header=outcome.refused)


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
