"""Entries of reference picture lists: frames, and fields of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

FRAME = 3
"""Both fields of a frame: bit 0 is the top field, bit 1 the bottom field."""


@dataclass(eq=False)
class Reference:
    """A frame as the decoded picture buffer knows it. `identity` is its number in decoding order, -1: non-existing."""

    identity: int
    frame_num: int
    order: int  # PicOrderCnt of the frame, of its first field until there is a second one
    orders: list[int]  # TopFieldOrderCnt, BottomFieldOrderCnt
    short: int = FRAME  # the fields used for short-term reference
    long: int = 0  # and for long-term reference,
    long_term_frame_idx: int = -1  # by this number
    frame_num_wrap: int = 0

    parity = None

    @property
    def used(self) -> bool:
        """Used for reference."""
        return self.short | self.long != 0

    @property
    def short_term(self) -> bool:
        """The whole frame is used for short-term reference."""
        return self.short == FRAME

    @property
    def long_term(self) -> bool:
        """The whole frame is used for long-term reference."""
        return self.long == FRAME

    def unmark(self, fields: int) -> None:
        """These fields are no longer used for reference."""
        self.short &= ~fields
        self.long &= ~fields


class Field(NamedTuple):
    """A field in the reference lists of another one. parity: 0 top, 1 bottom."""

    frame: Reference
    parity: int

    @property
    def identity(self) -> int:
        """Of the frame."""
        return self.frame.identity

    @property
    def order(self) -> int:
        """PicOrderCnt of the field."""
        return self.frame.orders[self.parity]

    @property
    def long_term(self) -> bool:
        """Used for long-term reference."""
        return bool(self.frame.long >> self.parity & 1)


Entry = Reference | Field | None


def alternating(frames: Sequence[Reference], parity: int, long: bool) -> list[Field | None]:
    """8.2.4.2.5: fields out of a list of frames, by turns of the same and of the opposite parity; what is left of one
    when the other has run out follows in order."""
    marked = [(r, r.long if long else r.short) for r in frames]
    own, other = ([Field(r, of) for r, bits in marked if bits >> of & 1] for of in (parity, 1 - parity))
    both = min(len(own), len(other))
    turns = [field for pair in zip(own, other, strict=False) for field in pair]
    return [*turns, *own[both:], *other[both:]]
