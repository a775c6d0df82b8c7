"""What a parser answers, whatever its codec: `stream.py` of its folder has a function `open_stream(extradata)`.

A parser reads packets, not pixels. Its pictures are in coded coordinates; who shows them turns and crops.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from codecmeta.codecs.look import Data, Look
from codecmeta.codecs.table import codec_of

NOT_PARSED_QP = -1
"""In a map of quantisers: a block that was not parsed."""


class Refused(ValueError):
    """A stream, or a part of it, that is not parsed; the message says why."""


class Lost(Exception):
    """Pictures are damaged or missing, so that their order cannot be told from the headers alone."""


class Coded(NamedTuple):
    """Size of a coded picture in luma samples, and how many of them its parameter set crops on each side."""

    width: int
    height: int
    crop_left: int
    crop_top: int
    crop_right: int
    crop_bottom: int

    @property
    def shown(self) -> tuple[int, int]:
        """(width, height) after cropping."""
        return self.width - self.crop_left - self.crop_right, self.height - self.crop_top - self.crop_bottom


class Picture(Protocol):
    """One parsed picture. picture_type: ASCII. identity: number in decoding order, -1 where it was read alone.
    complete: no damage. vectors_exact: False where some vectors are estimates. coded: its size and crop. half: one
    field of a frame, whose other field may come in the next packet. second: that packet, and the whole frame."""

    picture_type: int
    identity: int
    complete: bool
    vectors_exact: bool
    coded: Coded
    half: bool
    second: bool

    def vectors(self, row: int, row_of: Mapping[int, int]) -> tuple[NDArray[np.void], NDArray[np.int16]]:
        """Vectors in coded pixels, dtype `record.metadata.VECTOR` in the order of `vector_order`, and beside each how
        many displayed frames later its reference is, 0 unknown. row: of this picture in the frame table. row_of: the
        row of each identity."""

    def rms(self) -> tuple[NDArray[np.float16], NDArray[np.float16]]:
        """Root mean square residual in 8-bit grey levels per 8x8 luma block, of luma and of both chroma planes over
        the same blocks."""

    def qp(self) -> NDArray[np.int16]:
        """Quantiser per block of `Stream.block`, as FFmpeg would export it, NOT_PARSED_QP where not parsed."""

    def bits(self) -> NDArray[np.float32]:
        """Bits per block of `Stream.block`, 0 where not parsed."""


class Parser(Protocol):
    """A parser at work. lost: frames are missing, and until the next random access point references may be others."""

    @property
    def lost(self) -> bool: ...

    def parse(self, packet: bytes) -> Picture | None:
        """The picture of the next packet; None: it has none that can be read. Raises Refused."""

    def pictures(
        self, packets: Iterable[tuple[int, bytes]], rows: NDArray[np.int64], wanted: NDArray[np.bool_]
    ) -> Iterator[tuple[int, Picture | None]]:
        """`parse` of packets with their indices, many of which may be read and parsed at a time. rows, wanted: by
        index, the row of the frame table that shows a packet first, -1 for none, and whether signals are asked for of
        its picture; `Picture.vectors` is told no other rows of those that it refers to. Raises Refused."""

    def parse_behind(self, packets: Sequence[bytes]) -> Picture | None:
        """The picture of the last of these packets, which are all from its keyframe on in decoding order: with exact
        vectors where few of the others say what they depend on. Raises Refused."""

    def take_parameter_sets(self, packet: bytes) -> None:
        """Parameter sets of a packet that is not parsed."""

    def referred(self) -> Iterable[int]:
        """Identities of pictures that later ones may refer to."""


class Headers(Protocol):
    """What is read of any stream of the codec, also of one that its parser refuses. coded: of the first parameter set,
    None where none is known."""

    coded: Coded | None

    def go_on(self) -> None:
        """There are packets before the next one."""

    def look(self, packet: Data) -> Look:
        """What the next packet of the stream, in decoding order, says of itself."""


class Stream(Protocol):
    """One stream of a codec, known by its extradata. block: side in pixels of the blocks of QP and bits.
    sets_in_keyframes: parameter sets may come in keyframe packets, so that a packet is not enough by itself. leads:
    vectors of a picture read alone are worth a look at the packets before it, see `Parser.parse_behind`. coded: of the
    first parameter set, None where none is known yet."""

    block: int
    sets_in_keyframes: bool
    leads: bool
    coded: Coded | None

    def alone(self) -> Parser:
        """A parser for random access: each packet by itself."""

    def sequence(self) -> Parser:
        """A parser for all packets from a random access point on, in decoding order."""

    def order(self, packets: Iterable[bytes]) -> list[tuple[int, int]]:
        """A key for each packet of the whole stream; sorted by them, packets are in display order. Raises Lost where
        headers do not tell, Refused."""

    def is_whole(self, packet: bytes) -> bool:
        """Whether bytes that were read from a file can be a packet of this stream, and no part of anything else."""


def open_stream(codec: str, extradata: bytes) -> Stream:
    """The parser of a stream. Raises Refused where there is none, or where it does not read this stream."""
    folder = codec_of(codec).parser
    if not folder:
        raise Refused(f"no parser for {codec}")
    return _module(folder).open_stream(extradata)


def headers_of(codec: str, extradata: bytes | None) -> Headers | None:
    """What the headers of a stream say; None where the codec has no parser."""
    folder = codec_of(codec).parser
    return _module(folder).headers_of(extradata) if folder else None


def with_configuration(codec: str, packet: bytes, extradata: bytes, change: bytes | None) -> bytes:
    """A packet, with another configuration of the decoder that came beside it (an extradata like the stream's) inside
    of it, where a parser looks for it."""
    folder = codec_of(codec).parser
    if change is None or not folder:
        return packet
    made: bytes = _module(folder).with_configuration(packet, extradata, change)
    return made


def entry_kernels(codec: str) -> tuple[Any, ...]:
    """The compiled functions of a codec's parser, each with `prepare()`; none where it has no parser."""
    folder = codec_of(codec).parser
    return _module(folder).ENTRY_KERNELS if folder else ()


def _module(folder: str) -> Any:
    return import_module(f"codecmeta.codecs.{folder}.stream")
