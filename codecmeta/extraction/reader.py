"""A parser at work on the packets of one video: the signals of its frames, whatever the codec. No pixel is decoded.

Chosen frames are parsed alone, each from its own packet; a whole keyframe segment is parsed in decoding order, which
makes the vectors exact too that depend on other pictures. A damaged picture keeps what stands before the damage and is
marked corrupt; so is a packet that says nothing at all. Which damaged packets a player shows, only a decoder can tell:
`order` takes its word.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from codecmeta.codecs.look import DISCARDED
from codecmeta.codecs.protocol import NOT_PARSED_QP, Coded, Lost, Parser, Picture, Refused, open_stream
from codecmeta.container.fetch import NotFound, PacketSource
from codecmeta.container.packets import PacketTable
from codecmeta.container.segments import Damage, Segment, linear_segment, runs
from codecmeta.container.source import Medium
from codecmeta.decoding.estimate import rounded_rms
from codecmeta.extraction.placing import Placing
from codecmeta.record.display import Display
from codecmeta.record.metadata import SOURCES, VECTOR, Stream
from codecmeta.record.parts import FrameSignals

_REMEMBERED = 256  # pictures in decoding order whose row is kept at hand for those that wait to be displayed
_ROUGH_STEPS = 32  # per power of two, of a luma residual without details
_SOURCE = SOURCES.index("bitstream")
_NOT_FOUND = "the container does not find its packets again"


class Reader:
    """The parser of one video. Raises Refused where the stream, or a part of it, is none that it reads.

    shown: int64 (frames,), the packets of the displayed frames in order, where a decoder has told them. Without it
    order comes from time stamps or headers, and Damage is raised where packets are damaged or missing.
    """

    def __init__(
        self,
        path: Medium,
        facts: Stream,
        packets: PacketTable,
        details: bool = True,
        shown: NDArray[np.int64] | None = None,
    ) -> None:
        self.packets, self.details, self._shown = packets, details, shown
        self._stream = open_stream(facts.codec, packets.extradata)
        self._source = PacketSource(path, facts.stream_index, packets, self._stream.is_whole)
        self.placing = Placing.of_parsed(facts, self._stream.block)
        self._shown_as: tuple[Coded | None, Display] = None, self.placing.display  # of the picture before
        self.order = self._order() if shown is None else shown
        self._by_packet = np.argsort(self.order, kind="stable")
        self._first_of = np.searchsorted(self.order[self._by_packet], np.arange(len(packets) + 1))

    def _order(self) -> NDArray[np.int64]:
        """Packets in display order. Raises Damage for a stream that starts within a GoP, and where pictures may be
        discarded."""
        pts = self.packets.pts
        if DISCARDED in self.packets.doubt:
            raise Damage
        if not self.packets.key[0] or (self.packets.timed and pts[self.packets.shown].min() < pts[0]):
            raise Damage
        if self.packets.timed:
            return self.packets.display_order
        try:
            keys = self._stream.order(data for _, data in self._source.of_segment(linear_segment(self.packets)))
        except Lost as reason:
            raise Damage from reason
        if len(keys) != len(self.packets):
            raise Refused(_NOT_FOUND)
        return np.array(sorted(np.flatnonzero(self.packets.shown), key=keys.__getitem__), np.int64)

    def runs(self, segments: Sequence[Segment], jobs: int) -> list[Segment]:
        """Keyframe segments joined to runs that are worth opening the file for: one for a single worker, else several
        for each. A run looks at the picture behind it too: the first one that would miss what its last packets lost.
        """
        joined = [
            Segment(
                segments[run.start].first,
                segments[run[-1]].stop,
                range(segments[run.start].rows.start, segments[run[-1]].rows.stop),
            )
            for run in runs(segments, len(self.packets), jobs)
        ]
        return [
            Segment(one.first, min(max(one.stop, following.first + 1), len(self.packets)), one.rows)
            for one, following in zip(joined, [*joined[1:], joined[-1]], strict=True)
        ]

    def frames(self, rows: Sequence[int]) -> Iterator[FrameSignals]:
        """Random access: these rows of the frame table, ascending, each from its own packet."""
        parser = self._stream.alone()
        indices = [int(self.order[row]) for row in rows]
        found: dict[int, Picture | None] = {}
        next_ = 0
        for index, picture in self._parsed_at(parser, sorted(indices)):
            found[index] = picture
            while next_ < len(rows) and indices[next_] in found:
                yield self._signals(rows[next_], indices[next_], found.pop(indices[next_]), True, {})
                next_ += 1

    def _parsed_at(self, parser: Parser, indices: list[int]) -> Iterator[tuple[int, Picture | None]]:
        try:
            for index, data, key_data in self._source.at(indices, self._stream.sets_in_keyframes):
                if key_data is not None:
                    parser.take_parameter_sets(key_data)
                picture = parser.parse(data)
                if picture is not None and picture.half:
                    picture = self._with_second_field(parser, index) or picture
                if picture is not None and not picture.vectors_exact and self._stream.leads:
                    picture = parser.parse_behind(self._lead(index)) or picture
                yield index, picture
        except NotFound as reason:
            raise Refused(_NOT_FOUND) from reason

    def _with_second_field(self, parser: Parser, index: int) -> Picture | None:
        """The whole frame of a packet that holds one field of it, with the packet behind; None: that is none of it."""
        if index + 1 == len(self.packets) or self.packets.shown[index + 1]:
            return None
        picture = parser.parse(self._source.behind(index))
        return picture if picture is not None and picture.second else None

    def _lead(self, index: int) -> list[bytes]:
        """The packets from the keyframe before a packet up to it."""
        keys = np.flatnonzero(self.packets.key[: index + 1])
        first = int(keys[-1]) if len(keys) else 0
        if self._stream.sets_in_keyframes:  # such containers are read from a keyframe on
            return [data for _, data in self._source.of_segment(Segment(first, index + 1, range(0)))]
        return [data for _, data, _ in self._source.at(range(first, index + 1), False)]

    def segment(self, segment: Segment, wanted: NDArray[np.bool_]) -> Iterator[FrameSignals]:
        """Sequential: every picture of a keyframe segment in decoding order; its rows come in display order, with
        signals where they are `wanted`, bool (frames,).

        Raises Damage where frames are missing and nobody has told which are shown.
        """
        parser = self._stream.sequence()
        waiting: dict[int, tuple[int, Picture | None]] = {}
        row_of: dict[int, int] = {}
        next_row = segment.rows.start
        readable = False
        for index, picture in self._parsed(parser, segment, wanted):
            rows = self._rows_of(index)
            if parser.lost and self._shown is None:
                raise Damage
            readable |= picture is not None
            if picture is not None and rows:
                row_of[picture.identity] = rows[0]
            row_of = _remembered(row_of, parser)
            waiting |= {row: (index, picture) for row in rows if row in segment.rows}
            while next_row in waiting:
                yield self._signals(next_row, *waiting.pop(next_row), bool(wanted[next_row]), row_of)
                next_row += 1
        if not readable:
            raise Refused("its parameter sets are missing or damaged")
        if next_row < segment.rows.stop:
            raise Refused(_NOT_FOUND)

    def _parsed(
        self, parser: Parser, segment: Segment, wanted: NDArray[np.bool_]
    ) -> Iterator[tuple[int, Picture | None]]:
        """The packets of a segment and their pictures; a frame whose fields come in packets of their own with the first
        of them, when both were read."""
        half: tuple[int, Picture] | None = None
        packets = self._source.of_segment(segment)
        for index, picture in parser.pictures(packets, *self._of_packets(wanted)):
            if half is not None:
                (first, field), half = half, None
                if picture is not None and picture.second:
                    yield first, picture
                    continue
                yield first, field
            if picture is not None and picture.half:
                half = index, picture
            else:
                yield index, picture
        if half is not None:
            yield half

    def _of_packets(self, wanted: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """By packet, what `Parser.pictures` asks: the first row that shows it, -1 for none, and whether any such row is
        wanted, bool (frames,)."""
        rows, asked = np.full(len(self.packets), -1, np.int64), np.zeros(len(self.packets), bool)
        shown = self._first_of[:-1] < self._first_of[1:]
        rows[shown] = self._by_packet[self._first_of[:-1][shown]]
        asked[self.order[wanted]] = True
        return rows, asked

    def _rows_of(self, index: int) -> list[int]:
        """The rows that show a packet: several where a decoder repeats a damaged picture, none if it is not shown."""
        return self._by_packet[self._first_of[index] : self._first_of[index + 1]].tolist()

    def _signals(
        self, row: int, index: int, picture: Picture | None, wanted: bool, row_of: dict[int, int]
    ) -> FrameSignals:
        """One frame; a packet without a readable picture is a corrupt frame of which nothing is known."""
        if picture is None:
            frame = FrameSignals(row, index, int(self.packets.picture_type[index]), True)
            if wanted:
                self._fill_with_nothing(frame)
        else:
            frame = FrameSignals(row, index, picture.picture_type, not picture.complete)
            if wanted:
                self._fill(frame, picture, row_of)
        return frame

    def _fill(self, frame: FrameSignals, picture: Picture, row_of: dict[int, int]) -> None:
        coded, display = self._shown_as
        if picture.coded != coded:
            display = self.placing.display_of(picture.coded, self._stream.coded)
            self._shown_as = picture.coded, display
        vectors, distance = picture.vectors(frame.row, row_of)
        frame.vectors = self.placing.vectors(vectors, display)
        frame.vectors_exact = picture.vectors_exact
        luma, chroma = picture.rms()
        if not self.details:
            luma = _rough()[luma.view(np.uint16)]
        frame.residual = self.placing.residual_map(luma, display)
        frame.residual_source = _SOURCE
        qp = picture.qp()
        frame.qp = self.placing.block_map(qp, display)
        frame.qp_blocks = qp.size
        if self.details:
            frame.distance = distance
            frame.chroma = self.placing.residual_map(chroma, display)
            frame.bits = self.placing.block_map(picture.bits(), display)

    def _fill_with_nothing(self, frame: FrameSignals) -> None:
        """The signals of a frame of which not one block is known."""
        residual = (self.placing.residual.rows, self.placing.residual.columns)
        blocks = (self.placing.blocks.rows, self.placing.blocks.columns)
        frame.vectors = np.zeros(0, VECTOR)
        frame.residual = np.zeros(residual, np.float16)
        frame.residual_source = _SOURCE
        frame.qp = np.full(blocks, NOT_PARSED_QP, np.int16)
        frame.qp_blocks = frame.qp.size
        if self.details:
            frame.distance = np.zeros(0, np.int16)
            frame.chroma = np.zeros(residual, np.float16)
            frame.bits = np.zeros(blocks, np.float32)


@cache
def _rough() -> NDArray[np.float16]:
    """float16 (31744,): by the bits of every number there is, what is kept of a luma residual without details."""
    finite = np.arange(np.float16(np.inf).view(np.uint16), dtype=np.uint16)
    return rounded_rms(finite.view(np.float16), _ROUGH_STEPS)


def _remembered(row_of: dict[int, int], parser: Parser) -> dict[int, int]:
    """The rows of pictures that may still be referred to: memory does not grow with the video."""
    if len(row_of) <= 2 * _REMEMBERED:
        return row_of
    kept, first = set(parser.referred()), max(row_of) - _REMEMBERED
    return {identity: row for identity, row in row_of.items() if identity > first or identity in kept}
