"""Where the maps of a picture lie: from the coded or decoded picture to the grids of the displayed one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codecmeta.codecs.protocol import Coded
from codecmeta.record.display import (
    BlockGrid,
    Display,
    cropped_vectors,
    displayed_grid,
    displayed_map,
    displayed_vectors,
    fitted_map,
)
from codecmeta.record.metadata import Stream

RESIDUAL_BLOCK = 8


@dataclass(frozen=True)
class Placing:
    """The grids that all maps of one video share. display: how a picture of the size that the stream names is shown.
    residual, blocks: grids of residual maps, and of QP and bits."""

    facts: Stream
    display: Display
    residual: BlockGrid
    blocks: BlockGrid

    @classmethod
    def of_decoded(cls, facts: Stream) -> Placing:
        """For maps over decoded pictures, whose residual is measured from the cropped picture's own corner."""
        display = Display.of_stream(facts)
        return cls(facts, display, displayed_grid(display, RESIDUAL_BLOCK), _block_grid(display, 16))

    @classmethod
    def of_parsed(cls, facts: Stream, block: int) -> Placing:
        """For maps over coded pictures, which start outside the displayed one where it is cropped."""
        display = Display.of_stream(facts)
        return cls(facts, display, _residual_grid(display), _block_grid(display, block))

    def display_of(self, coded: Coded, first: Coded | None) -> Display:
        """How a coded picture is shown; `first`: of the stream's first parameter set, whose crop FFmpeg applies."""
        if first is None:
            return self.display
        # FFmpeg may crop less on the left than the stream says
        shown = coded.width - coded.crop_right - self.display.crop_left, coded.shown[1]
        if coded == first and shown == (self.display.width, self.display.height):
            return self.display  # else it goes by a later set than the first
        return Display.of_size(*coded.shown, (coded.crop_left, coded.crop_top), self.facts)

    def vectors(self, vectors: NDArray[np.void], display: Display) -> NDArray[np.void]:
        """Vectors of a coded picture in displayed pixels."""
        if display is self.display and self._stays:
            return vectors
        vectors = cropped_vectors(vectors, display)
        if display.rotation or display.mirrored or display.rotated_size != (display.shown_width, display.shown_height):
            return displayed_vectors(vectors, display)  # a copy, field by field, that costs as much as the vectors
        return vectors

    def residual_map(self, values: NDArray[Any], display: Display) -> NDArray[Any]:
        """A residual map over all blocks of a coded picture."""
        if display is self.display and self._upright:
            return values[self._residual_blocks]
        own = _residual_grid(display)
        top, left = display.crop_top // RESIDUAL_BLOCK, display.crop_left // RESIDUAL_BLOCK
        return self._fitted(_cut(values, display, own, top, left), display, own, self.residual)

    def block_map(self, values: NDArray[Any], display: Display) -> NDArray[Any]:
        """A map of quantisers or bits over all blocks of a coded picture."""
        if display is self.display and self._upright:
            return values[self._shown_blocks]
        own = _block_grid(display, self.blocks.block)
        return self._fitted(_cut(values, display, own, 0, 0), display, own, self.blocks)

    def decoded_map(self, values: NDArray[Any], display: Display) -> NDArray[Any]:
        """A residual map over a decoded picture."""
        return self._fitted(values, display, displayed_grid(display, RESIDUAL_BLOCK), self.residual)

    @cached_property
    def _upright(self) -> bool:
        """Whether a picture of the size that the stream names is shown as it is coded, cropped at most."""
        display = self.display
        shown = display.shown_width, display.shown_height
        return not display.mirrored and not display.rotation and display.rotated_size == shown

    @cached_property
    def _stays(self) -> bool:
        """Whether its pixels are called the same."""
        return self._upright and not self.display.crop_left and not self.display.crop_top

    @cached_property
    def _residual_blocks(self) -> tuple[slice, slice]:
        top, left = self.display.crop_top // RESIDUAL_BLOCK, self.display.crop_left // RESIDUAL_BLOCK
        return slice(top, top + self.residual.rows), slice(left, left + self.residual.columns)

    @cached_property
    def _shown_blocks(self) -> tuple[slice, slice]:
        return slice(self.blocks.rows), slice(self.blocks.columns)

    def _fitted(self, values: NDArray[Any], display: Display, own: BlockGrid, to: BlockGrid) -> NDArray[Any]:
        size = self.facts.width, self.facts.height
        return fitted_map(displayed_map(values, display), own, display.rotated_size, to, size)


def _residual_grid(display: Display) -> BlockGrid:
    """The blocks of a coded picture that show, wholly or in part."""
    left, top = display.crop_left % RESIDUAL_BLOCK, display.crop_top % RESIDUAL_BLOCK
    return displayed_grid(display, RESIDUAL_BLOCK, left, top)


def _block_grid(display: Display, block: int) -> BlockGrid:
    """All blocks of a coded picture up to its last one that shows."""
    return displayed_grid(display, block, display.crop_left, display.crop_top)


def _cut(values: NDArray[Any], display: Display, own: BlockGrid, top: int, left: int) -> NDArray[Any]:
    """The blocks of a grid, from a map over the coded picture."""
    turned = display.rotation in (90, 270)
    rows, columns = (own.columns, own.rows) if turned else (own.rows, own.columns)
    return values[top : top + rows, left : left + columns]
