"""From the coded picture to the displayed one: where vectors and block maps lie after cropping, rotation and scaling.

FFmpeg exports vectors and quantisers in coordinates of the coded picture: the crop rectangle of the stream is not
subtracted and the display matrix of the container is not applied. Everything that leaves this package is in displayed
pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codecmeta.compiling import njit
from codecmeta.record.metadata import Stream


@dataclass(frozen=True)
class Display:
    """How one decoded frame is shown.

    width, height: of the frame as FFmpeg decodes it, cropped but not rotated. crop_left, crop_top: pixels of the coded
    picture that cropping removed. rotation: clockwise degrees. shown_width, shown_height: the displayed picture of the
    stream, to which a frame of another size (after a resolution change) is scaled. mirrored: left and right change
    places before the picture is turned.
    """

    width: int
    height: int
    crop_left: int
    crop_top: int
    rotation: int
    shown_width: int
    shown_height: int
    mirrored: bool = False

    @classmethod
    def of(cls, frame: Any, stream: Stream) -> Display:
        """The display of a decoded frame of a stream."""
        return cls.of_size(frame.width, frame.height, stream.crop, stream)

    @classmethod
    def of_stream(cls, stream: Stream) -> Display:
        """The display of a frame of the stream's own size."""
        size = (stream.height, stream.width) if stream.rotation in (90, 270) else (stream.width, stream.height)
        return cls.of_size(*size, stream.crop, stream)

    @classmethod
    def of_size(cls, width: int, height: int, crop: tuple[int, int], stream: Stream) -> Display:
        """The display of a frame of this size, cropped by `crop` (left, top), in a stream."""
        return cls(width, height, *crop, stream.rotation, stream.width, stream.height, stream.mirrored)

    @property
    def rotated_size(self) -> tuple[int, int]:
        """(width, height) of this frame after rotation, before scaling."""
        return (self.height, self.width) if self.rotation in (90, 270) else (self.width, self.height)


def cropped_vectors(vectors: NDArray[np.void], display: Display) -> NDArray[np.void]:
    """Vectors with block centres relative to the cropped frame's top left corner."""
    if not display.crop_left and not display.crop_top:
        return vectors
    moved = vectors.copy()
    moved["dst_x"] -= display.crop_left
    moved["dst_y"] -= display.crop_top
    return moved


def displayed_vectors(vectors: NDArray[np.void], display: Display) -> NDArray[np.void]:
    """Vectors of the cropped frame, mirrored, turned and scaled to the displayed picture."""
    x, y, mx, my = (vectors[name] for name in ("dst_x", "dst_y", "motion_x", "motion_y"))
    width, height = display.width, display.height
    if display.mirrored:
        x, mx = width - x, -mx
    turned = vectors.copy()
    if display.rotation == 0:
        turned["dst_x"], turned["motion_x"] = x, mx
    elif display.rotation == 90:
        turned["dst_x"], turned["dst_y"], turned["motion_x"], turned["motion_y"] = height - y, x, -my, mx
    elif display.rotation == 180:
        turned["dst_x"], turned["dst_y"], turned["motion_x"], turned["motion_y"] = width - x, height - y, -mx, -my
    elif display.rotation == 270:
        turned["dst_x"], turned["dst_y"], turned["motion_x"], turned["motion_y"] = y, width - x, my, -mx
    if display.rotation in (90, 270):
        turned["w"], turned["h"] = vectors["h"], vectors["w"]
    return _scaled_vectors(turned, display)


def _scaled_vectors(vectors: NDArray[np.void], display: Display) -> NDArray[np.void]:
    width, height = display.rotated_size
    if (width, height) == (display.shown_width, display.shown_height):
        return vectors
    for ratio, names in (
        (display.shown_width / width, ("w", "dst_x", "motion_x")),
        (display.shown_height / height, ("h", "dst_y", "motion_y")),
    ):
        for name in names:
            limits = np.iinfo(vectors.dtype[name])
            vectors[name] = np.clip(np.rint(vectors[name] * ratio), limits.min, limits.max)
    return vectors


@dataclass(frozen=True)
class BlockGrid:
    """Where the blocks of a map lie. block: side in pixels; origin_x, origin_y: at most 0; rows, columns: shape of a
    map."""

    block: int
    origin_x: int
    origin_y: int
    rows: int
    columns: int


def displayed_grid(display: Display, block: int, offset_x: int = 0, offset_y: int = 0) -> BlockGrid:
    """The grid of a map over a frame, after mirroring and rotation. offset: pixels by which the first block starts
    outside (crop)."""
    rows = -(-(display.height + offset_y) // block)
    columns = -(-(display.width + offset_x) // block)
    beyond_x = columns * block - offset_x - display.width
    beyond_y = rows * block - offset_y - display.height
    if display.mirrored:
        offset_x, beyond_x = beyond_x, offset_x
    if display.rotation == 90:
        return BlockGrid(block, -beyond_y, -offset_x, columns, rows)
    if display.rotation == 180:
        return BlockGrid(block, -beyond_x, -beyond_y, rows, columns)
    if display.rotation == 270:
        return BlockGrid(block, -offset_y, -beyond_x, columns, rows)
    return BlockGrid(block, -offset_x, -offset_y, rows, columns)


def displayed_map(values: NDArray[Any], display: Display) -> NDArray[Any]:
    """A map over a frame's blocks, or its pixels (rows, columns, ...), mirrored and turned as the frame is."""
    values = values[:, ::-1] if display.mirrored else values
    return np.ascontiguousarray(np.rot90(values, -display.rotation // 90))


def orientation_of(matrix: Sequence[int]) -> tuple[int, bool]:
    """(rotation, mirrored) of a display matrix: nine numbers a b u, c d v, x y w of ISO/IEC 14496-12, 8.3.2, which move
    a point (p, q) to (ap + cq + x, bp + dq + y).

    Turns by other than right angles, within a degree, and matrices that are none (all zero) are ignored: (0, False).

    >>> orientation_of([0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30])
    (90, False)
    """
    a, b, c, d = (float(matrix[at]) for at in (0, 1, 3, 4))
    if min(abs(a), abs(d)) > 57 * max(abs(b), abs(c)):  # the cotangent of a degree
        return (0 if d > 0 else 180), a * d < 0
    if min(abs(b), abs(c)) > 57 * max(abs(a), abs(d)):
        if b * c < 0:
            return (90 if b > 0 else 270), False
        return (270 if b > 0 else 90), True
    return 0, False


def fitted_map(
    values: NDArray[Any], own: BlockGrid, own_size: tuple[int, int], to: BlockGrid, size: tuple[int, int]
) -> NDArray[Any]:
    """A map of a frame of another size on the grid of the displayed picture: the nearest block at each block's centre.

    own_size, size: (width, height) of the frame after rotation, and of the displayed picture.
    """
    if own == to and own_size == size:
        return values
    x = (to.origin_x + (np.arange(to.columns) + 0.5) * to.block) * own_size[0] / size[0]
    y = (to.origin_y + (np.arange(to.rows) + 0.5) * to.block) * own_size[1] / size[1]
    column = np.clip((x - own.origin_x) // own.block, 0, own.columns - 1).astype(int)
    row = np.clip((y - own.origin_y) // own.block, 0, own.rows - 1).astype(int)
    return values[row[:, None], column]


@dataclass(frozen=True)
class QpBlocks:
    """FFmpeg's AVVideoEncParams. base: QP of the frame. blocks: int32 (n, 5): x, y, width, height, QP minus base."""

    base: int
    blocks: NDArray[np.int32]


def qp_map(blocks: QpBlocks, display: Display) -> NDArray[np.int16]:
    """QP per 16x16 block of the coded picture, int16 (rows, columns), for blocks that show: each takes the QP of the
    exported block over its centre, or the frame's where none is."""
    grid = displayed_grid(display, 16, display.crop_left, display.crop_top)
    rows, columns = (grid.columns, grid.rows) if display.rotation in (90, 270) else (grid.rows, grid.columns)
    values = np.full((rows, columns), blocks.base, np.int16)
    if len(blocks.blocks):
        _paint_qp(values, blocks.blocks, blocks.base)
    return values


@njit(cache=True, nogil=True)
def _paint_qp(values: NDArray[np.int16], blocks: NDArray[np.int32], base: int) -> None:
    rows, columns = values.shape
    for index in range(blocks.shape[0]):
        x, y, width, height, delta = blocks[index]
        for row in range((y + 7) // 16, (y + height + 7) // 16):
            for column in range((x + 7) // 16, (x + width + 7) // 16):
                if 0 <= row < rows and 0 <= column < columns:
                    values[row, column] = base + delta
