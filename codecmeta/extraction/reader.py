"""H.264 without a decoder: vectors, QP, bits and residual energy of frames, parsed from the packets that carry them.

The first rung of the residual ladder. Chosen frames are parsed alone, each from its own packet; a whole keyframe
segment is parsed in decoding order, which makes the direct vectors of B-frames exact too. No pixel is decoded.

A damaged picture keeps what stands before the damage. Blocks behind it have no vectors, residual and bits 0 and QP
NO_QP, and the frame is marked corrupt; so is one whose packet says nothing at all. Other pictures stay exact, but for
direct vectors that depend on a damaged or missing one, which are counted as estimates. Which damaged packets a player
shows, only a decoder can tell: `order` takes its word.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from codecmeta.codecs.h264.decoded_picture_buffer import DecodedPictureBuffer
from codecmeta.codecs.h264.parameter_sets import SPS, parameter_sets_of
from codecmeta.codecs.h264.slice_header import Refused, SliceHeader, parse_slice_header, refusal_of
from codecmeta.codecs.syntax.bits import EndOfData
from codecmeta.codecs.syntax.nal import (
    SLICE_IDR,
    SLICE_NON_IDR,
    has_wrong_lengths,
    nal_length_size_of,
    nal_units,
    rbsp_of,
)
from codecmeta.container.probe import NO_PTS, PacketTable, demux, open_video
from codecmeta.decoding.decoder import Damage, Segment, linear_segment, segment_packets
from codecmeta.decoding.estimate import BLOCK, rounded_rms
from codecmeta.record.display import (
    BlockGrid,
    Display,
    cropped_vectors,
    displayed_grid,
    displayed_map,
    displayed_vectors,
    fitted_map,
)
from codecmeta.record.metadata import SOURCES, VECTOR, Capability, Stream
from codecmeta.record.parts import Part

_CHUNK = 64  # frames handed on together
_REMEMBERED = 256  # pictures in decoding order whose row is kept at hand for those that wait to be displayed
_ROUGH_STEPS = 32  # per power of two, of a luma residual without details
_SOURCE = SOURCES.index("bitstream")
LARGEST = float(np.finfo(np.float16).max)  # only levels of a damaged picture reach so far
NO_QP = -1  # in QP maps: a macroblock that was not parsed


class NotParsed(Exception):
    """The bitstream of this video is not read here; the message says why."""


@dataclass
class BitstreamTally:
    """Counts over all parts that the capability report is made from; details: as for `extract`.

    alone: frames were read by random access.
    """

    details: bool = True
    alone: bool = False
    frames: int = 0
    estimated: int = 0

    def count(self, part: Part) -> None:
        self.frames += len(part.residual_rows)
        self.estimated += part.estimated_vectors

    def capability(self, codec: str, corrupt: int) -> Capability:
        damaged = f"; {corrupt} damaged frames are marked corrupt: " if corrupt else ""
        damaged += "blocks behind the damage have no vectors, residual and bits 0, QP -1" if corrupt else ""
        exact = {"level": "exact", "why": f"read from the {codec} bitstream" + damaged}
        residual = {"level": "exact", "why": f"dequantised coefficients of the {codec} bitstream" + damaged}
        bits = dict(exact)
        if not self.details:
            residual["why"] += "; rounded to 32 steps per power of two, no chroma (details=False)"
            bits = {"level": "none", "why": "left out: extract with details to have bits per block"}
        motion = dict(exact)
        if self.estimated:
            why = f"{self.estimated} of {self.frames} frames are B-frames "
            why += "read on their own" if self.alone else "that depend on a damaged or missing picture"
            why += ": their direct vectors, and those predicted from them, are estimates"
            why += " (frames='all' makes them exact)" if self.alone else ""
            motion = {"level": "estimated", "why": f"read from the {codec} bitstream; {why}{damaged}"}
        return {"motion": motion, "residual": residual, "qp": dict(exact), "bits": bits}


def run_length(packets: int, jobs: int) -> int:
    """Packets that a worker should take at once: all where it is the only one. Of several each takes enough to be worth
    opening the file for and, as what it finds waits in memory for its turn, at most a few hundred of any video."""
    return packets if jobs == 1 else min(max(packets // (4 * jobs), 64), 512)


@dataclass
class Bitstream:
    """The parser of one video. Raises NotParsed where the stream, or a part of it, is none that it reads.

    shown: int64 (frames,), the packets of the displayed frames in order, where a decoder has told them. Without it
    order comes from time stamps or headers, and Damage is raised where packets are damaged or missing.
    """

    path: Path
    facts: Stream
    packets: PacketTable
    details: bool = True
    shown: NDArray[np.int64] | None = None
    residual_grid: BlockGrid = field(init=False)
    macroblock_grid: BlockGrid = field(init=False)

    def __post_init__(self) -> None:
        if self.facts.codec != "h264":
            raise NotParsed(f"no parser for {self.facts.codec}")
        self.extradata = self.packets.extradata
        self.nal_length_size = nal_length_size_of(self.extradata)
        sets = parameter_sets_of(self.extradata)
        for sps in sets.sps.values():
            if reason := refusal_of(sps):
                raise NotParsed(reason)
        for pps in sets.pps.values():
            if reason := refusal_of(sets.sps[pps.seq_parameter_set_id], pps):
                raise NotParsed(reason)
        self.sets_in_keyframes = self.nal_length_size is None or not sets.pps
        self.order = self._order() if self.shown is None else self.shown
        self._by_packet = np.argsort(self.order, kind="stable")
        self._first_of = np.searchsorted(self.order[self._by_packet], np.arange(len(self.packets) + 1))
        turned = self.facts.rotation in (90, 270)
        size = (self.facts.height, self.facts.width) if turned else (self.facts.width, self.facts.height)
        self._display = Display(*size, *self.facts.crop, self.facts.rotation, self.facts.width, self.facts.height)
        self._first_sps = next(iter(sets.sps.values()), None)
        self.residual_grid = _grid(self._display, BLOCK)
        self.macroblock_grid = displayed_grid(self._display, 16, *self.facts.crop)

    def _order(self) -> NDArray[np.int64]:
        """Packets in display order. Raises Damage for a stream that starts in the middle of a GoP."""
        pts = self.packets.pts
        if not self.packets.key[0] or (self.packets.timed and pts[self.packets.shown].min() < pts[0]):
            raise Damage
        return self.packets.display_order if self.packets.timed else self._order_by_headers()

    def _order_by_headers(self) -> NDArray[np.int64]:
        """Packets in display order where time stamps do not tell: by the picture order counts of the slice headers.

        Raises Damage where a packet has no readable picture or frames are missing.
        """
        parser, buffer = PictureHeaders(self.extradata), DecodedPictureBuffer()
        keys: list[tuple[int, int]] = []
        whole = linear_segment(self.packets)
        for _, data in self._packets_from(whole):
            try:
                header = parser.first_header(data)
            except Refused as reason:
                raise NotParsed(str(reason)) from reason
            except (EndOfData, KeyError) as reason:
                raise Damage from reason
            if header is None:
                raise Damage
            counted_anew = header.idr or any(
                operation == 5 for operation, *_ in header.memory_management_control_operations or ()
            )
            period = (keys[-1][0] if keys else 0) + counted_anew
            current = buffer.begin(header)
            if buffer.lost:
                raise Damage
            buffer.end(header)
            keys.append((period, current.order))
        if len(keys) != len(self.packets):
            raise NotParsed("the container does not find its packets again")
        return np.array(sorted(np.flatnonzero(self.packets.shown), key=keys.__getitem__), np.int64)

    def runs(self, segments: Sequence[Segment], jobs: int) -> list[Segment]:
        """Keyframe segments joined to runs that are worth opening the file for: one for a single worker, else several
        for each. A run looks at the picture behind it too: the first one that would miss what its last packets lost.
        """
        least = run_length(len(self.packets), jobs)
        runs: list[Segment] = []
        for one in segments:
            if runs and runs[-1].stop - runs[-1].first < least:
                runs[-1] = Segment(runs[-1].first, one.stop, range(runs[-1].rows.start, one.rows.stop))
            else:
                runs.append(one)
        return [
            Segment(one.first, min(max(one.stop, following.first + 1), len(self.packets)), one.rows)
            for one, following in zip(runs, [*runs[1:], runs[-1]], strict=True)
        ]

    def frames(self, rows: Sequence[int]) -> Iterator[Part]:
        """Random access: these rows of the frame table, ascending, each from its own packet."""
        from codecmeta.codecs.h264.picture import PictureParser

        parser = PictureParser(self.extradata)
        indices = [int(self.order[row]) for row in rows]
        keys = np.flatnonzero(self.packets.key)
        found: dict[int, Any] = {}
        for index, data, key_data in self._packets_at(sorted(indices), keys):
            if key_data is not None:
                for unit in nal_units(key_data, self.nal_length_size):
                    parser.sets.add(unit)
            found[index] = _parsed(parser, data)
        part = Part()
        for row, index in zip(rows, indices, strict=True):
            self._record(part, row, index, found.pop(index, None), True, {})
            if len(part.rows) >= _CHUNK:
                yield part
                part = Part()
        yield part

    def _rows_of(self, index: int) -> list[int]:
        """The rows that show a packet: several where a decoder repeats a damaged picture, none if it is not shown."""
        return self._by_packet[self._first_of[index] : self._first_of[index + 1]].tolist()

    def segment(self, segment: Segment, wanted: NDArray[np.bool_]) -> Iterator[Part]:
        """Sequential: every picture of a keyframe segment in decoding order; the rows of the `wanted` frames, bool
        (frames,), are recorded, in order.

        Raises Damage where frames are missing and nobody has told which are shown.
        """
        from codecmeta.codecs.h264.sequence import Sequence as PictureSequence

        sequence = PictureSequence(self.extradata)
        waiting: dict[int, tuple[int, Any]] = {}
        row_of_identity: dict[int, int] = {}
        next_row = segment.rows.start
        part, readable = Part(), False
        for index, data in self._packets_from(segment):
            rows = self._rows_of(index)
            picture = _parsed(sequence, data)
            if sequence.buffer.lost and self.shown is None:
                raise Damage
            readable |= picture is not None
            if picture is not None and rows:
                row_of_identity[picture.identity] = rows[0]
            if len(row_of_identity) > 2 * _REMEMBERED:
                kept = {reference.identity for reference in sequence.buffer.references}
                first = max(row_of_identity) - _REMEMBERED
                row_of_identity = {i: r for i, r in row_of_identity.items() if i > first or i in kept}
            waiting |= {row: (index, picture) for row in rows if row in segment.rows}
            while next_row in waiting:
                index, picture = waiting.pop(next_row)
                self._record(part, next_row, index, picture, bool(wanted[next_row]), row_of_identity)
                next_row += 1
                if len(part.rows) >= _CHUNK:
                    yield part
                    part = Part()
        yield part
        if not readable:
            raise NotParsed("its parameter sets are missing or damaged")
        if next_row < segment.rows.stop:
            raise NotParsed("the container does not find its packets again")

    def _record(
        self, part: Part, row: int, index: int, picture: Any, wanted: bool, row_of_identity: dict[int, int]
    ) -> None:
        """One frame into a part; a packet without a readable picture is a corrupt frame of which nothing is known."""
        part.rows.append(row)
        part.packets.append(index)
        part.types.append(ord(picture.slice_type) if picture else int(self.packets.picture_type[index]))
        part.corrupt.append(picture is None or not picture.complete)
        if not wanted:
            return
        if picture is None:
            self._record_nothing(part, row)
            return
        sps = picture.sps
        display = self._display_of(sps)
        vectors, distance = _vectors(picture, row, row_of_identity)
        part.motion_rows.append(row)
        vectors = cropped_vectors(vectors, display)
        if display.rotation or display.rotated_size != (display.shown_width, display.shown_height):
            vectors = displayed_vectors(vectors, display)  # a copy, field by field, that costs as much as the rows
        part.vectors.append(vectors)
        if self.details:
            part.distance.append(distance)
        part.estimated_vectors += not picture.vectors_exact
        first = (display.crop_top // BLOCK, display.crop_left // BLOCK)
        grid = _grid(display, BLOCK)
        part.residual_rows.append(row)
        part.residual_source.append(_SOURCE)
        luma, chroma = _rms(picture)
        if not self.details:
            luma = rounded_rms(luma, _ROUGH_STEPS)
        part.residual.append(self._shown(luma, display, grid, first, self.residual_grid))
        if self.details:
            part.chroma.append(self._shown(chroma, display, grid, first, self.residual_grid))
        grid = displayed_grid(display, 16, display.crop_left, display.crop_top)
        qp = (picture.qp + 6 * (sps.bit_depth_luma - 8)).astype(np.int16)  # QP'Y, as FFmpeg exports it
        if not picture.complete:
            qp[~picture.parsed] = NO_QP
        part.qp_rows.append(row)
        part.qp.append(self._shown(qp, display, grid, (0, 0), self.macroblock_grid))
        part.qp_blocks += qp.size
        if not self.details:
            return
        part.bits_rows.append(row)
        part.bits.append(self._shown(picture.bits.astype(np.float32), display, grid, (0, 0), self.macroblock_grid))

    def _record_nothing(self, part: Part, row: int) -> None:
        """The maps of a frame of which not one macroblock is known."""
        for rows in (part.motion_rows, part.residual_rows, part.qp_rows):
            rows.append(row)
        residual = (self.residual_grid.rows, self.residual_grid.columns)
        blocks = (self.macroblock_grid.rows, self.macroblock_grid.columns)
        part.vectors.append(np.zeros(0, VECTOR))
        part.residual_source.append(_SOURCE)
        part.residual.append(np.zeros(residual, np.float16))
        if self.details:
            part.distance.append(np.zeros(0, np.int16))
            part.chroma.append(np.zeros(residual, np.float16))
            part.bits_rows.append(row)
            part.bits.append(np.zeros(blocks, np.float32))
        part.qp.append(np.full(blocks, NO_QP, np.int16))
        part.qp_blocks += part.qp[-1].size

    def _display_of(self, sps: SPS) -> Display:
        """How a picture with this parameter set is shown; the first one's crop is the one FFmpeg applies."""
        first = self._first_sps
        if first is None:
            return self._display
        names = ("width", "height", "crop_left", "crop_top", "crop_right", "crop_bottom")
        same = all(getattr(sps, name) == getattr(first, name) for name in names)
        shown = sps.width - sps.crop_right - self._display.crop_left, sps.displayed_height  # FFmpeg may crop less left
        if same and shown == (self._display.width, self._display.height):  # else it goes by a later set than the first
            return self._display
        size = sps.displayed_width, sps.displayed_height
        crop = sps.crop_left, sps.crop_top
        return Display(*size, *crop, self.facts.rotation, self.facts.width, self.facts.height)

    def _shown(
        self, values: NDArray[Any], display: Display, own: BlockGrid, first: tuple[int, int], to: BlockGrid
    ) -> NDArray[Any]:
        """A map over the coded picture on the grid of the displayed one."""
        turned = display.rotation in (90, 270)
        rows, columns = (own.columns, own.rows) if turned else (own.rows, own.columns)
        cut = values[first[0] : first[0] + rows, first[1] : first[1] + columns]
        size = self.facts.width, self.facts.height
        return fitted_map(displayed_map(cut, display), own, display.rotated_size, to, size)

    def _packets_from(self, segment: Segment) -> Iterator[tuple[int, bytes]]:
        """The packets of a segment with their indices."""
        with open_video(self.path, self.facts.stream_index) as (container, video):
            for index, packet in segment_packets(container, video, self.packets, segment):
                yield index, bytes(packet)

    def _packets_at(self, indices: Sequence[int], keys: NDArray[np.int64]) -> Iterator[tuple[int, bytes, bytes | None]]:
        """(index, packet, keyframe packet before it, which may hold parameter sets) of ascending indices.

        Reads right from the file where packets lie there as they are (mp4, mov); only for others the container is
        opened, which for a long file takes as long as reading twenty packets.
        """
        with self.path.open("rb") as file, ExitStack() as stack:
            opened = None
            for index in indices:
                data = None if self.sets_in_keyframes else self._read(file, index)
                if data is not None:
                    yield index, data, None
                    continue
                if opened is None:
                    opened = stack.enter_context(open_video(self.path, self.facts.stream_index))
                key = int(keys[np.searchsorted(keys, index, side="right") - 1]) if len(keys) else 0
                yield index, *self._seek(*opened, index, key)

    def _seek(self, container: Any, video: Any, index: int, key: int) -> tuple[bytes, bytes | None]:
        """The packet, and its keyframe packet `key` where parameter sets may be in there: sought right to the packet
        where the container can and none may be, else to the keyframe."""
        table = self.packets
        if not self.sets_in_keyframes and table.dts[index] != NO_PTS:
            container.seek(int(table.dts[index]), stream=video, any_frame=True)
            if (data := self._find(container, video, index, 4)) is not None:
                return data, None
        stamps = [stamp for stamp in (int(table.pts[key]), int(table.dts[key])) if stamp != NO_PTS]
        container.seek(min(stamps), stream=video, backward=True)
        key_data: bytes | None = None
        for packet in demux(container, video):
            if packet.pts == table.pts[key] and packet.size == table.size[key]:
                key_data = bytes(packet)
            if packet.pts == table.pts[index] and packet.size == table.size[index]:
                return bytes(packet), key_data
        raise NotParsed("the container does not find its packets again")

    def _read(self, file: BinaryIO, index: int) -> bytes | None:
        """The packet as it lies in the file; None where the lengths of its NAL units say that this is not it."""
        position, size = int(self.packets.position[index]), int(self.packets.size[index])
        if position < 0 or self.nal_length_size is None:
            return None
        file.seek(position)
        data = file.read(size)
        return data if len(data) == size and not has_wrong_lengths(data, self.nal_length_size) else None

    def _find(self, container: Any, video: Any, index: int, tries: int) -> bytes | None:
        for packet in demux(container, video):
            if packet.pts == self.packets.pts[index] and packet.size == self.packets.size[index]:
                return bytes(packet)
            tries -= 1
            if not tries:
                return None
        return None


class PictureHeaders:
    """First slice headers of pictures, parameter sets on the way taken in."""

    def __init__(self, extradata: bytes) -> None:
        self.sets = parameter_sets_of(extradata)
        self.nal_length_size = nal_length_size_of(extradata)

    def first_header(self, packet: bytes) -> SliceHeader | None:
        """Raises as `parse_slice_header`; None: the packet has no slice."""
        for unit in nal_units(packet, self.nal_length_size):
            if SLICE_NON_IDR <= unit[0] & 31 <= SLICE_IDR:
                return parse_slice_header(unit, rbsp_of(unit[:4096]), self.sets)
            self.sets.add(unit)
        return None


def _parsed(parser: Any, data: bytes) -> Any:
    """The picture of a packet; None where all its headers are damaged or it has none."""
    try:
        return parser.parse(data)
    except Refused as reason:
        raise NotParsed(str(reason)) from reason


def _grid(display: Display, block: int) -> BlockGrid:
    return displayed_grid(display, block, display.crop_left % block, display.crop_top % block)


def _vectors(picture: Any, row: int, row_of_identity: dict[int, int]) -> tuple[NDArray[np.void], NDArray[np.int16]]:
    """Vectors of the coded picture, dtype VECTOR, and the frames from this one to the reference, int16, 0 unknown."""
    from codecmeta.codecs.h264.motion_vectors import motion_vectors

    distances = np.zeros((len(picture.headers), 2, 33), np.int16)  # the first for refIdx -1
    for number, lists in enumerate(picture.lists):
        for list_, identities in enumerate(lists):
            for i, identity in enumerate(identities):
                if identity in row_of_identity:
                    distances[number, list_, i + 1] = row_of_identity[identity] - row
    return motion_vectors(picture, distances)


def _rms(picture: Any) -> tuple[NDArray[np.float16], NDArray[np.float16]]:
    """Root mean square residual in 8-bit grey levels per 8x8 block, float16 (2 * rows, 2 * columns): of luma, and of
    both chroma planes over the same blocks (4x4 samples of each)."""
    from codecmeta.codecs.h264.coefficients import block_rms

    sps = picture.sps
    luma, chroma = np.empty((2, 2 * picture.rows, 2 * picture.columns), np.float32)
    block_rms(picture.energy, 1 << (sps.bit_depth_luma - 8), 1 << (sps.bit_depth_chroma - 8), LARGEST, luma, chroma)
    return luma.astype(np.float16), chroma.astype(np.float16)
