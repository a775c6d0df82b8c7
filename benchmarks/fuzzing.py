"""Damaged packets by the hundred thousand through a parser: what h264_fuzz and hevc_fuzz do alike."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from codecmeta.codecs.protocol import Refused


def one_by_one(parser: Any, packets: list[bytes]) -> Iterator[Any]:
    """The picture of each packet, None where there is none."""
    for packet in packets:
        try:
            yield parser.parse(packet)
        except Refused:
            yield None


@dataclass
class Stream:
    """packets: intact, in decoding order. begin: a fresh parser of them; it may draw how it reads. read: what it makes
    of packets, one after the other."""

    packets: list[bytes]
    begin: Callable[[np.random.Generator], Any]
    read: Callable[[Any, list[bytes]], Iterator[Any]] = one_by_one


@dataclass
class Outcome:
    """damaged: packets. refused: packets that gave no picture. complete: pictures that still looked so. longest:
    seconds of CPU for one packet, or for the batch that begins with it. digests: of what each packet gave."""

    damaged: int = 0
    refused: int = 0
    complete: int = 0
    longest: float = 0.0
    digests: list[str] = field(default_factory=list)

    def result(self, seed: int, **counts: int) -> dict[str, object]:
        """For the JSON file; counts: what else was counted."""
        return {
            "damaged_packets": self.damaged,
            "seed": seed,
            "build": "arrays" if os.environ.get("CODECMETA_H264_ARRAYS") else "pointers",
            "bounds_checked": os.environ.get("NUMBA_BOUNDSCHECK") == "1",
            "index_errors": 0,
            **counts,
            "pictures_that_still_looked_complete": self.complete,
            "longest_packet_ms": round(1000 * self.longest, 2),
            "digest_of_all_results": hashlib.blake2b("\n".join(self.digests).encode(), digest_size=16).hexdigest(),
        }


def damaged(packet: bytes, random: np.random.Generator, header: int, other: bytes | None = None) -> bytes:
    """One of: bits turned over, bytes overwritten, a stretch repeated, taken out, or of `other`, the end cut off.

    other: a packet. header: bytes of length or start code and NAL header, which stay most of the time.
    """
    data = bytearray(packet)
    first = min(header, len(data) - 1)
    if random.random() < 0.05:
        first = 0
    kind = random.integers(5 if other is None else 6)
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
    elif kind == 4 and other is not None:
        start = int(random.integers(len(other)))
        data[at:] = other[start:]
    else:
        del data[at:]
    return bytes(data)


def fuzz(
    streams: list[Stream],
    damage: Callable[[bytes, list[bytes], np.random.Generator], bytes],
    state: Callable[[Any], bytes],
    cases: int,
    seed: int,
    digest: Path | None,
    *,
    say: bool = True,
) -> Outcome:
    """Parse until `cases` packets were damaged, each behind its predecessors, half of all.

    damage: a packet, its stream's packets, random numbers -> the damaged one. state: all that a picture says. digest: a
    file for a line per packet.
    """
    random = np.random.default_rng(seed)
    outcome, reported, begin = Outcome(), 0, time.perf_counter()
    while outcome.damaged < cases:
        stream = streams[int(random.integers(len(streams)))]
        parser, packets = stream.begin(random), list(stream.packets)
        for number, packet in enumerate(packets):
            if random.random() < 0.5:
                packets[number] = damage(packet, stream.packets, random)
                outcome.damaged += 1
        pictures = stream.read(parser, packets)
        for _ in packets:
            before = time.process_time()
            picture = next(pictures)
            outcome.longest = max(outcome.longest, time.process_time() - before)
            outcome.refused += picture is None
            outcome.complete += picture is not None and bool(picture.complete)
            said = b"" if picture is None else state(picture)
            outcome.digests.append(hashlib.blake2b(said, digest_size=6).hexdigest())
        if say and outcome.damaged // 10000 > reported:
            reported = outcome.damaged // 10000
            print(f"{outcome.damaged} of {cases}, {time.perf_counter() - begin:.0f} s", file=sys.stderr, flush=True)
    if digest:
        digest.write_text("\n".join(outcome.digests) + "\n")
    return outcome
