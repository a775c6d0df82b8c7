"""The sample table of a track of an mp4 or mov file (ISO/IEC 14496-12, 8.6 and 8.7), read from its boxes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codecmeta.container.source import Medium, opened_for_ranges, size_of

_LARGEST = 1 << 28  # bytes of a moov box that is read
_TOP_LEVEL = 256  # boxes before it that are looked at
_MOST = 1 << 24  # samples of one size


class NoIndex(Exception):
    """The index of a container is not enough to tell its packets; the message says why."""


@dataclass(frozen=True)
class Samples:
    """The samples of one track in decoding order; arrays are (samples,).

    position, size: int64 bytes. dts: int64, from 0, in the track's time scale. offset: int64, composition time - dts.
    shift: by how much dts must be moved back for no picture to be shown before it is decoded, as FFmpeg takes it.
    key: bool. unreferred: bool, no other picture refers to it, where the file says so. edited: an edit list cuts
    samples away, or does more than place the track. grouped: random access is told by groups of samples, too.
    """

    position: NDArray[np.int64]
    size: NDArray[np.int64]
    dts: NDArray[np.int64]
    offset: NDArray[np.int64]
    shift: int
    key: NDArray[np.bool_]
    unreferred: NDArray[np.bool_]
    edited: bool
    grouped: bool

    def __len__(self) -> int:
        return len(self.size)


def read_moov(medium: Medium) -> bytes:
    """The body of the moov box of a file that is not fragmented; reads the headers of the boxes before it, and itself.
    Raises NoIndex."""
    try:
        return _moov(medium)
    except OSError as error:  # also of what is no file: whoever opens it says so
        raise NoIndex(f"it cannot be read ({error.strerror})") from error


def _moov(medium: Medium) -> bytes:
    size, at = size_of(medium), 0
    with opened_for_ranges(medium) as read:
        for _ in range(_TOP_LEVEL):
            head = read(at, at + 16)
            if len(head) < 8:
                break
            length, kind, header = int.from_bytes(head[:4]), head[4:8], 8
            if length == 1:
                length, header = int.from_bytes(head[8:16]), 16
            elif length == 0:
                length = size - at
            if kind in (b"moof", b"sidx"):
                raise NoIndex("the file is fragmented")
            if length < header or at + length > size or (not at and not kind.isalnum()):
                break
            if kind == b"moov":
                if length > _LARGEST:
                    raise NoIndex("its index is too large")
                return read(at + header, at + length)
            at += length
    raise NoIndex("it has none")


def read_samples(moov: bytes, track: int) -> Samples:
    """The samples of the track with this number. Raises NoIndex."""
    try:
        return _samples(moov, track)
    except (IndexError, ValueError, OverflowError, MemoryError) as error:
        raise NoIndex("it is damaged") from error


Part = tuple[int, int]
"""Where the body of a box lies in the moov box: start, stop."""


def _boxes(data: bytes, part: Part) -> Iterator[tuple[bytes, Part]]:
    at, stop = part
    while at + 8 <= stop:
        length, kind, header = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8], 8
        if length == 1:
            length, header = int.from_bytes(data[at + 8 : at + 16]), 16
        elif length == 0:
            length = stop - at
        if length < header or at + length > stop:
            raise ValueError
        yield kind, (at + header, at + length)
        at += length


def _inside(data: bytes, part: Part, *names: bytes) -> Part:
    """The body of a box within boxes."""
    for name in names:
        part = next((body for kind, body in _boxes(data, part) if kind == name), (0, 0))
    return part


def _samples(moov: bytes, track: int) -> Samples:
    whole = (0, len(moov))
    kinds = [kind for kind, _ in _boxes(moov, whole)]
    if b"mvex" in kinds:
        raise NoIndex("the file is fragmented")
    if b"cmov" in kinds:
        raise NoIndex("it is compressed")
    for kind, part in _boxes(moov, whole):
        if kind == b"trak" and _track_number(moov, _inside(moov, part, b"tkhd")) == track:
            table = dict(_boxes(moov, _inside(moov, part, b"mdia", b"minf", b"stbl")))
            return _of_table(moov, table, _edited(moov, part))
    raise NoIndex("it does not list this stream")


def _track_number(data: bytes, part: Part) -> int:
    at = part[0] + (20 if data[part[0]] == 1 else 12)
    return int.from_bytes(data[at : at + 4])


@dataclass(frozen=True)
class _Edit:
    """start: of what is shown, in the track's time scale, None where nothing is cut. stop: its end. several: it is
    more than one piece, or plays at another speed."""

    start: int
    stop: float
    several: bool


def _edited(moov: bytes, trak: Part) -> _Edit | None:
    start, stop = _inside(moov, trak, b"edts", b"elst")
    if stop - start < 8:
        return None
    version, count = moov[start], int.from_bytes(moov[start + 4 : start + 8])
    width = 8 if version == 1 else 4
    pieces = []
    for at in range(start + 8, min(start + 8 + count * (2 * width + 4), stop), 2 * width + 4):
        duration = int.from_bytes(moov[at : at + width])
        media = int.from_bytes(moov[at + width : at + 2 * width], signed=True)
        rate = int.from_bytes(moov[at + 2 * width : at + 2 * width + 4])
        pieces.append((duration, media, rate))
    shown = [one for one in pieces if one[1] >= 0]
    if not shown:
        return None
    scales = [
        _time_scale(moov, _inside(moov, trak, b"mdia", b"mdhd")),
        _time_scale(moov, _inside(moov, (0, len(moov)), b"mvhd")),
    ]
    duration, media, rate = shown[0]
    length = duration * scales[0] / max(scales[1], 1) if duration else np.inf
    return _Edit(media, media + length, len(shown) > 1 or rate != 1 << 16)


def _time_scale(data: bytes, part: Part) -> int:
    at = part[0] + (20 if data[part[0]] == 1 else 12)
    return int.from_bytes(data[at : at + 4])


def _of_table(moov: bytes, table: dict[bytes, Part], edit: _Edit | None) -> Samples:
    def numbers(name: bytes, columns: int = 1, kind: str = ">u4") -> NDArray[np.int64]:
        """int64 (entries, columns) of a box that holds a count and rows."""
        start, stop = table[name]
        count = int.from_bytes(moov[start + 4 : start + 8])
        return np.frombuffer(moov, kind, count * columns, start + 8).astype(np.int64).reshape(-1, columns)

    missing = [name.decode() for name in (b"stsd", b"stts", b"stsc", b"stsz") if name not in table]
    if missing:
        raise NoIndex(f"it has no {missing[0]} box")
    if int.from_bytes(moov[table[b"stsd"][0] + 4 : table[b"stsd"][0] + 8]) != 1:
        raise NoIndex("the decoder's configuration may change in the middle")
    at = table[b"stsz"][0]
    each, count = (int.from_bytes(moov[at + one : at + one + 4]) for one in (4, 8))
    if count > (_MOST if each else len(moov) // 4):
        raise ValueError
    size = np.full(count, each) if each else np.frombuffer(moov, ">u4", count, at + 12)
    size = size.astype(np.int64)
    chunks = numbers(b"co64", kind=">i8") if b"co64" in table else numbers(b"stco")
    position = _positions(numbers(b"stsc", 3), chunks[:, 0], size)
    steps = numbers(b"stts", 2)
    if (steps[:, 1] >= 1 << 31).any():
        raise NoIndex("time goes backwards in it")
    dts = np.concatenate(([0], np.cumsum(_repeated(steps[:, 1], steps[:, 0], count))))[:count]
    offset, shift = np.zeros(count, np.int64), 0
    if b"ctts" in table:
        runs = numbers(b"ctts", 2, ">i4")
        if (np.abs(runs[:, 1]) >= 1 << 28).any():
            raise NoIndex("the order of its pictures makes no sense")
        offset = _repeated(runs[:, 1], runs[:, 0], count)
        shift = max(-int(runs[:-2, 1].min(initial=0)), 0)
    key = np.ones(count, bool)
    if b"stss" in table:
        key[:] = False
        key[numbers(b"stss")[:, 0] - 1] = True
    unreferred = np.zeros(count, bool)
    if b"sdtp" in table:
        start, stop = table[b"sdtp"]
        unreferred = np.frombuffer(moov, np.uint8, min(count, stop - start - 4), start + 4) >> 2 & 3 == 2
        unreferred = np.resize(unreferred, count) if len(unreferred) == count else np.zeros(count, bool)
    shown = dts + offset
    cut = edit is not None and (edit.several or bool((shown < edit.start).any() or (shown > edit.stop - 1).any()))
    return Samples(position, size, dts, offset, shift, key, unreferred, cut, b"stps" in table or b"sbgp" in table)


def _repeated(values: NDArray[np.int64], times: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Runs written out to `count` values; the last one goes on where they end before."""
    ends = np.minimum(np.cumsum(times), count)
    times = np.diff(ends, prepend=0)
    found = np.repeat(values, times)
    return np.concatenate((found, np.full(count - len(found), values[-1] if len(values) else 0)))


def _positions(runs: NDArray[np.int64], chunks: NDArray[np.int64], size: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each sample lies: chunk after chunk, `runs` of which (first chunk from 1, samples in each) are alike."""
    first = np.append(runs[:, 0] - 1, len(chunks))
    in_chunk = np.repeat(runs[:, 1], np.diff(first))
    start = np.concatenate(([0], np.minimum(np.cumsum(in_chunk), len(size))))  # the first sample of each chunk
    chunk = np.repeat(np.arange(len(chunks)), np.diff(start))
    if len(chunk) != len(size):
        raise ValueError
    before = np.concatenate(([0], np.cumsum(size)))[:-1]
    return chunks[chunk] + before - before[np.minimum(start[chunk], len(size) - 1)]
