"""Frames chosen before a picture is decoded, and events found there: from a file, a cache or a record.

choice = choose_frames("film.mp4", 32)
choice.rows, choice.times, choice.why         # what to decode, and why
meta, rows, pictures = codecmeta.read("film.mp4", choice)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from os import PathLike
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codecmeta.cache.store import load
from codecmeta.container.decode_cost import decode_cost, predicted_seconds
from codecmeta.container.packets import PacketTable
from codecmeta.container.probe import probe_with_packets
from codecmeta.container.remote import is_address
from codecmeta.container.source import Medium, Source, opened
from codecmeta.decisions.block_evidence import block_evidence
from codecmeta.decisions.choose import (
    TOLERANCE,
    Candidates,
    Choice,
    activity,
    choice_of,
    diverse,
    reasons_of,
)
from codecmeta.decisions.events import change_scores
from codecmeta.decisions.packet_events import PacketEvent, events_of, picture_kinds
from codecmeta.decoding.pictures import cores
from codecmeta.extraction.job import Transform
from codecmeta.extraction.read import extract, read
from codecmeta.extraction.wanted import Tables, tables_for
from codecmeta.record.metadata import Metadata, Probe
from codecmeta.record.selection import POLICIES, Policy

CACHE_SUFFIX = ".h5"

SCORED_SIDE = 448
"""Pictures for a scorer are shrunk, by whole numbers, to not less than this on their shorter side."""

Scorer = Callable[[list[NDArray[np.uint8]], str], Iterable[float]]


def choose_frames(
    source: Source | Probe | Metadata,
    frames: int,
    *,
    policy: Policy = "events",
    tolerance: float = TOLERANCE,
    question: str | None = None,
    scorer: Any = None,
    candidates: int | None = None,
    packets: PacketTable | None = None,
    headers: bool | None = None,
    seconds: dict[str, float] | None = None,
) -> Choice:
    """Choose `frames` frames of a video; fewer only where it has fewer.

    >>> choose_frames("film.mp4", 16)
    16 frames by events (12 event, 4 floor): 2,121 packets to decode, about 3.75 s
    ...

    source: a video (a path, an http or https address, bytes, an open binary file), a cache of one, a `Probe` or a
    `Metadata`. A video is best: the order of its packets tells more than a frame table. policy: "uniform": evenly
    spread in time, both ends included, as `read` takes them. "keyframes": evenly among the keyframes; where there are
    too few, the largest gaps are halved. "cheap": from each equal slot of time the frame that costs the fewest packets
    beyond those already decoded. "events": a quarter as "cheap", the rest behind what changes, found from packet sizes,
    and from bits (or residual) per block where a `Metadata` has them for all frames; no gap is longer than (1 +
    tolerance) / max(2, frames // 4) of the video. "query": `candidates` frames (default 8 per frame) proposed by
    "events" are decoded, `scorer` says how well each fits `question`, and the best are taken that are not too near to
    better ones.

    tolerance: the part of a slot, 0 to 1, in which "cheap" may look. scorer: what `load_text_image` gives, or any
    function from (pictures, question) to one number per picture. packets: of a `Probe`, where they are at hand.
    headers: as for `probe`; True reads every packet, which tells pictures that no other refers to. By default the
    container's index does where it has one, but for "events" and "query" in codecs that hide frames (AV1, VP9), if the
    video is no address. Frames chosen by it are looked at when they are read. seconds: receives what "probe", "choose",
    "decode" and "score" took.

    Everything but "query" is a function of the tables alone, takes about a microsecond per frame of the video, and is
    the same on every call. Raises VideoError or CacheError for what cannot be read, ValueError for what makes no sense.
    """
    _check(frames, policy, tolerance, question, scorer, candidates)
    spent = {} if seconds is None else seconds
    start = perf_counter()
    with _known(source, partial(tables_for, policy=policy, headers=headers)) as (medium, known, read_now):
        spent["probe"] = perf_counter() - start
        packets = packets if read_now is None else read_now
        return _chosen(medium, known, packets, frames, policy, tolerance, question, scorer, candidates, spent)


def _chosen(
    medium: Medium,
    known: Probe | Metadata,
    packets: PacketTable | None,
    frames: int,
    policy: Policy,
    tolerance: float,
    question: str | None,
    scorer: Any,
    candidates: int | None,
    spent: dict[str, float],
) -> Choice:
    start = perf_counter()
    video = _candidates(known, packets)
    frames = min(frames, len(video.frames))
    tables = (known, packets) if isinstance(known, Probe) and packets is not None else None
    if policy == "query":
        number = candidates or 8 * frames
        choice = _by_query(medium, video, tables, frames, question or "", scorer, number, tolerance, spent)
    else:
        choice = choice_of(video, policy, reasons_of(video, frames, policy, tolerance))
        spent["choose"] = perf_counter() - start
    return replace(choice, tables=tables)


def _check(
    frames: int, policy: str, tolerance: float, question: str | None, scorer: Any, candidates: int | None
) -> None:
    if isinstance(frames, bool) or not isinstance(frames, (int, np.integer)) or frames < 1:
        raise ValueError(f"frames={frames!r}: expected a whole number of at least 1")
    if policy not in POLICIES:
        raise ValueError(f"policy={policy!r}: expected one of {', '.join(POLICIES)}")
    if not 0 <= tolerance <= 1:
        raise ValueError(f"tolerance={tolerance}: expected a part of a slot, from 0 to 1")
    if policy == "query" and (not question or scorer is None):
        raise ValueError('policy="query" needs a question and a scorer, such as codecmeta.models.load_text_image(...)')
    if candidates is not None and candidates < frames:
        raise ValueError(f"candidates={candidates}: expected at least as many as frames ({frames})")


def _candidates(source: Probe | Metadata, packets: PacketTable | None) -> Candidates:
    meta = source if isinstance(source, Metadata) else None
    return Candidates(source.stream, source.frames, packets, meta, decode_cost(source.frames, source.stream, packets))


def _by_query(
    medium: Medium,
    video: Candidates,
    tables: Tables | None,
    frames: int,
    question: str,
    scorer: Any,
    candidates: int,
    tolerance: float,
    spent: dict[str, float],
) -> Choice:
    start = perf_counter()
    proposed = reasons_of(video, min(candidates, len(video.frames)), "events", tolerance)
    rows = np.array(sorted(proposed))
    spent["choose"] = perf_counter() - start
    start = perf_counter()
    pictures = _pictures(medium, video, tables, rows, _shrunk)
    spent["decode"] = perf_counter() - start
    start = perf_counter()
    scores = np.array(list(getattr(scorer, "scores", scorer)(pictures, question)), np.float64)
    spent["score"] = perf_counter() - start
    if scores.shape != (len(pictures),) or not np.isfinite(scores).all():
        raise ValueError(f"the scorer gave {scores.shape} for {len(pictures)} pictures; expected one number for each")
    best = diverse(scores, video.frames.time[rows], min(frames, len(rows)))
    chosen = choice_of(video, "query", {int(rows[one]): ("query", float(scores[one])) for one in best})
    packets = video.cost.count(rows)  # all candidates were decoded
    return replace(
        chosen,
        packets_to_decode=packets,
        predicted_seconds=predicted_seconds(video.stream, packets, len(rows)),
    )


def _pictures(
    medium: Medium, video: Candidates, tables: Tables | None, rows: NDArray[np.int64], transform: Transform | None
) -> list[Any]:
    """The picture of each row, or what `transform` makes of it; where decoding gives another number of frames than the
    tables of the file list, the picture the same share of the way."""
    choice = choice_of(video, "events", dict.fromkeys(rows.tolist(), ("event", 0.0)))
    meta, shown, pictures = read(
        medium, replace(choice, tables=tables), transform=transform, stream=video.stream.stream_index
    )
    if tables is not None:
        rows = rows * len(meta.frames) // len(video.frames)
    return [pictures[at] for at in np.searchsorted(shown, rows)]


def _shrunk(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture, means of whole blocks of pixels where it is far larger than a text-image model looks at."""
    factor = min(picture.shape[:2]) // SCORED_SIDE
    if factor < 2:
        return picture
    height, width = (side // factor for side in picture.shape[:2])
    blocks = picture[: height * factor, : width * factor].reshape(height, factor, width, factor, 3)
    return blocks.mean(axis=(1, 3)).round().astype(np.uint8)


def packet_events(
    source: Source | Probe | Metadata, *, most: int = 64, least: float = 3.0, exact: bool = False
) -> list[PacketEvent]:
    """The events of a video in order of time, from packet sizes alone, or from everything that its codec tells.

    >>> [(one.start, one.strength) for one in packet_events("clip.mp4")]
    [(35.5, 6.0)]

    source: a video (best: stream order and packet headers help), a cache, a `Probe` or a `Metadata`. Of an address the
    container's index is read. most: the strongest so many. least: weaker ones are left out. What ends is an event too,
    so one thing that comes and goes may be two. They are at least a second apart, but for cuts, which are all listed.
    exact: extract the signals of all frames first, and let bits (or residual) per block, vectors and intra blocks have
    their say, about events and about cuts; a `Metadata` or a cache must hold them for all frames.

    Raises VideoError for what cannot be read, ValueError for limits that make no sense.
    """
    if most < 1 or not least >= 0:
        raise ValueError(f"most={most}, least={least}: expected at least one event and a strength of 0 or more")
    with _known(source, _indexed) as (medium, known, packets):
        video = _candidates(known, packets)
        if exact:
            if not isinstance(known, Metadata):
                known = extract(medium, jobs=cores(), stream=known.stream.stream_index)
            video = _with_signals(video, known)
        change = change_scores(known, np.arange(len(video.frames)))
        score = activity(video.frames, video.packets, video.meta if exact else None)
        return events_of(video.frames, score, change, most=most, least=least)


def _with_signals(video: Candidates, meta: Metadata) -> Candidates:
    if block_evidence(meta, picture_kinds(meta.frames)) is None:
        raise ValueError(
            f"{meta.path.name}: exact=True needs residual or bits per block of all frames, and there are none "
            f"({meta.capability.get('residual', {}).get('why', 'not stored')})"
        )
    packets = video.packets if len(meta.frames) == len(video.frames) else None
    return replace(video, frames=meta.frames, packets=packets, meta=meta)


def pictures_of_events(
    source: Source, events: Sequence[PacketEvent], *, exact: bool = False, transform: Transform | None = None
) -> list[Any]:
    """For each event of a video its picture that costs the fewest packets to decode: uint8 RGB (height, width, 3), or
    what `transform` makes of it. exact: as for `packet_events`, which gave them."""
    if not events:
        return []
    with opened(source) as medium:
        known, packets = _indexed(medium)
        video = _candidates(known, packets)
        rows = cheapest_rows(video, events)
        if exact:  # all frames were decoded: rows are theirs, whatever the packets say
            return list(read(medium, rows=rows, transform=transform)[2])
        return _pictures(medium, video, (known, packets), rows, transform)


def cheapest_rows(video: Candidates, events: Sequence[PacketEvent]) -> NDArray[np.int64]:
    """int64 (events,): for each event the row in it that costs the fewest packets to decode, of equal ones the last."""
    end = len(video.frames)
    stretches = [np.arange(min(one.first, end - 1), min(one.last + 1, end)) for one in events]
    return np.array([rows[np.lexsort((-rows, video.cost.alone[rows]))[0]] for rows in stretches], np.int64)


@contextmanager
def _known(
    source: Source | Probe | Metadata, tables_of: Callable[[Medium], Tables]
) -> Iterator[tuple[Medium, Probe | Metadata, PacketTable | None]]:
    """A record or that of a cache, which is open until the block ends; or the tables of a video."""
    if isinstance(source, (Probe, Metadata)):
        with opened(source.path) as medium:
            yield medium, source, None
    elif isinstance(source, (str, PathLike)) and not is_address(str(source)) and Path(source).suffix == CACHE_SUFFIX:
        with load(Path(source)) as meta, opened(meta.path) as medium:
            yield medium, meta, None
    else:
        with opened(source) as medium:
            yield medium, *tables_of(medium)


def _indexed(medium: Medium) -> Tables:
    """The tables of a video: of an address those in its container's index."""
    return probe_with_packets(medium, headers=None)
