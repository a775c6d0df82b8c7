"""From coded to displayed coordinates: against pictures whose pixels are turned, cut and scaled one at a time."""

from __future__ import annotations

import numpy as np
import pytest

from codecmeta.record.display import (
    BlockGrid,
    Display,
    QpBlocks,
    cropped_vectors,
    displayed_grid,
    displayed_map,
    displayed_vectors,
    fitted_map,
    qp_map,
)
from codecmeta.record.metadata import VECTOR

ROTATIONS = (0, 90, 180, 270)


def display(width, height, rotation=0, crop=(0, 0), shown=None):
    upright = (height, width) if rotation in (90, 270) else (width, height)
    return Display(width, height, *crop, rotation, *(shown or upright))


def turned(picture, rotation):
    """The picture turned clockwise a quarter at a time: its top left pixel goes to the top right."""
    for _ in range(rotation // 90):
        height, width = picture.shape
        new = np.empty((width, height), picture.dtype)
        for y in range(height):
            for x in range(width):
                new[x, height - 1 - y] = picture[y, x]
        picture = new
    return picture


def painted(shape, vector, at_reference=False):
    """Where the block of a vector lies, or where its prediction is taken from."""
    picture = np.zeros(shape, bool)
    x, y = int(vector["dst_x"]), int(vector["dst_y"])
    if at_reference:
        x += int(vector["motion_x"]) // int(vector["scale"])
        y += int(vector["motion_y"]) // int(vector["scale"])
    wide, high = int(vector["w"]) // 2, int(vector["h"]) // 2
    picture[y - high : y + high, x - wide : x + wide] = True
    return picture


@pytest.mark.parametrize("rotation", ROTATIONS)
def test_a_turned_vector_lies_where_its_pixels_lie_after_turning(rotation):
    vector = np.array([(-1, 16, 8, 24, 12, 4 * 20, 4 * -6, 4)], VECTOR)
    shape = (40, 64)
    (after,) = displayed_vectors(vector, display(64, 40, rotation))
    for at_reference in (False, True):
        want = turned(painted(shape, vector[0], at_reference), rotation)
        assert want.sum() == 16 * 8
        np.testing.assert_array_equal(painted(want.shape, after, at_reference), want)
    assert vector[0].tolist() == (-1, 16, 8, 24, 12, 80, -24, 4), "the vectors that came in are not changed"


def test_cropping_moves_blocks_and_no_motion():
    vector = np.array([(1, 16, 16, 8, 8, 5, -3, 4)], VECTOR)
    assert cropped_vectors(vector, display(50, 30, crop=(6, 2)))[0].tolist() == (1, 16, 16, 2, 6, 5, -3, 4)
    assert vector[0]["dst_x"] == 8


def test_a_frame_of_half_the_size_has_its_vectors_doubled_along_each_side():
    vector = np.array([(-1, 16, 8, 24, 12, 10, -6, 4)], VECTOR)
    assert displayed_vectors(vector, display(64, 40, shown=(128, 120)))[0].tolist() == (-1, 32, 24, 48, 36, 20, -18, 4)
    # turned first: 40 x 64 shown as 80 x 64, so only what now lies along x doubles
    after = displayed_vectors(vector, display(64, 40, 90, shown=(80, 64)))[0]
    assert after.tolist() == (-1, 16, 16, (40 - 12) * 2, 24, 6 * 2, 10, 4)


def test_a_scaled_block_beyond_what_a_byte_holds_is_as_large_as_a_byte_says():
    vector = np.array([(-1, 128, 128, 64, 64, 8, 8, 4)], VECTOR)
    after = displayed_vectors(vector, display(128, 128, shown=(512, 256)))[0]
    assert (after["w"], after["h"]) == (255, 255) and (after["dst_x"], after["motion_x"]) == (256, 32)


@pytest.mark.parametrize("rotation", ROTATIONS)
@pytest.mark.parametrize("offset", [(0, 0), (6, 2), (3, 15)])
@pytest.mark.parametrize("size", [(64, 48), (61, 35)])
def test_every_displayed_pixel_finds_its_block_in_the_turned_map(rotation, offset, size):
    """A picture in which every pixel carries the number of its block, cropped and turned pixel by pixel."""
    (width, height), (left, top), block = size, offset, 16
    rows, columns = -(-(height + top) // block), -(-(width + left) // block)
    numbers = np.arange(rows * columns).reshape(rows, columns)
    coded = np.array([[numbers[y // block, x // block] for x in range(width + left)] for y in range(height + top)])
    want = turned(coded[top:, left:], rotation)
    shown = display(width, height, rotation)
    grid, values = displayed_grid(shown, block, left, top), displayed_map(numbers, shown)
    assert values.shape == (grid.rows, grid.columns) and values.flags["C_CONTIGUOUS"]
    assert want.shape[::-1] == shown.rotated_size
    for y, line in enumerate(want):
        for x, number in enumerate(line):
            assert values[(y - grid.origin_y) // block, (x - grid.origin_x) // block] == number


def test_a_map_of_a_larger_frame_gives_each_block_the_value_at_its_centre():
    values = np.arange(32).reshape(4, 8)  # 64 x 32 pixels in blocks of 8, shown in 32 x 16
    own, to = BlockGrid(8, 0, 0, 4, 8), BlockGrid(8, 0, 0, 2, 4)
    # centres 4, 12, 20, 28 are the pixels 8, 24, 40, 56 of the larger frame: columns 1, 3, 5, 7 and rows 1, 3
    assert fitted_map(values, own, (64, 32), to, (32, 16)).tolist() == [[9, 11, 13, 15], [25, 27, 29, 31]]
    # and on a grid that starts 4 pixels outside: centres 0, 8, 16, 24, 32 are 0, 16, 32, 48, 64, the last one clipped
    outside = BlockGrid(8, -4, 0, 2, 5)
    assert fitted_map(values, own, (64, 32), outside, (32, 16)).tolist() == [[8, 10, 12, 14, 15], [24, 26, 28, 30, 31]]


def test_a_map_on_its_own_grid_is_left_alone():
    values, grid = np.arange(6).reshape(2, 3), BlockGrid(8, 0, 0, 2, 3)
    assert fitted_map(values, grid, (24, 16), grid, (24, 16)) is values


def test_each_block_has_the_qp_of_the_exported_block_over_its_centre():
    # 30 x 15 pixels shown from (6, 2) on: 3 x 2 blocks of the coded picture with centres 8, 24, 40 and 8, 24
    shown = display(30, 15, crop=(6, 2))
    blocks = np.array(
        [
            (0, 0, 16, 16, 3),  # the first block
            (17, 8, 8, 1, -2),  # holds the centre of the second in its only line and its last column
            (32, 0, 8, 16, 7),  # ends before the centre of the third
            (0, 16, 32, 16, 5),  # two blocks in one
            (-16, 16, 16, 16, 9),  # outside
            (480, 320, 16, 16, 9),
        ],
        np.int32,
    )
    found = qp_map(QpBlocks(30, blocks), shown)
    assert found.dtype == np.int16 and found.tolist() == [[33, 28, 30], [35, 35, 30]]
    # a turned picture: the map is that of the coded one
    assert qp_map(QpBlocks(30, blocks), display(30, 15, 90, crop=(6, 2))).tolist() == found.tolist()
    assert qp_map(QpBlocks(30, blocks[:0]), shown).tolist() == [[30, 30, 30]] * 2
