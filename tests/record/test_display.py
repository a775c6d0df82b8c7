"""The eight orientations: pictures, vectors and maps against the display matrix, point by point."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from codecmeta.record.display import (
    BlockGrid,
    Display,
    displayed_grid,
    displayed_map,
    displayed_vectors,
    orientation_of,
)
from codecmeta.record.metadata import VECTOR
from tests.support.fault_files import MATRICES, F, U

WIDTH, HEIGHT = 45, 28


def moved(matrix: tuple[int, ...], p: float, q: float) -> tuple[float, float]:
    """ISO/IEC 14496-12, 8.3.2: (p q 1) times the matrix, and the turned picture put back to (0, 0)."""
    a, b, c, d = (matrix[at] / F for at in (0, 1, 3, 4))
    corners = [(a * x + c * y, b * x + d * y) for x in (0, WIDTH) for y in (0, HEIGHT)]
    return a * p + c * q - min(x for x, _ in corners), b * p + d * q - min(y for _, y in corners)


def display_of(matrix: tuple[int, ...]) -> Display:
    rotation, mirrored = orientation_of(matrix)
    size = (HEIGHT, WIDTH) if rotation in (90, 270) else (WIDTH, HEIGHT)
    return Display(WIDTH, HEIGHT, 0, 0, rotation, *size, mirrored)


@pytest.mark.parametrize("name", MATRICES)
def test_every_pixel_lands_where_the_matrix_says(name: str) -> None:
    picture = np.arange(WIDTH * HEIGHT).reshape(HEIGHT, WIDTH)
    display = display_of(MATRICES[name])
    shown = displayed_map(picture, display)
    assert shown.shape == display.rotated_size[::-1]
    for y in range(HEIGHT):
        for x in range(WIDTH):
            at = moved(MATRICES[name], x + 0.5, y + 0.5)
            assert shown[int(at[1]), int(at[0])] == picture[y, x]


@pytest.mark.parametrize("name", MATRICES)
def test_vectors_start_and_end_where_the_matrix_says(name: str) -> None:
    rng = np.random.default_rng(1)
    vectors = np.zeros(50, VECTOR)
    vectors["w"], vectors["h"], vectors["scale"], vectors["source"] = 16, 8, 1, -1
    vectors["dst_x"], vectors["dst_y"] = rng.integers(0, WIDTH, 50), rng.integers(0, HEIGHT, 50)
    vectors["motion_x"], vectors["motion_y"] = rng.integers(-9, 9, (2, 50))
    shown = displayed_vectors(vectors, display_of(MATRICES[name]))
    for one, coded in zip(shown, vectors, strict=True):
        start = moved(MATRICES[name], coded["dst_x"], coded["dst_y"])
        end = moved(MATRICES[name], coded["dst_x"] + coded["motion_x"], coded["dst_y"] + coded["motion_y"])
        assert (one["dst_x"], one["dst_y"]) == start
        assert (one["dst_x"] + one["motion_x"], one["dst_y"] + one["motion_y"]) == end
        across = abs(MATRICES[name][0]) == 0
        assert (one["w"], one["h"]) == ((8, 16) if across else (16, 8))


@pytest.mark.parametrize("name", MATRICES)
@pytest.mark.parametrize("offset", [(0, 0), (6, 3)])
def test_blocks_of_maps_lie_over_the_same_pixels(name: str, offset: tuple[int, int]) -> None:
    """Each pixel, by its displayed place, finds the block that covers it in the coded picture."""
    block, display = 8, display_of(MATRICES[name])
    rows, columns = -(-(HEIGHT + offset[1]) // block), -(-(WIDTH + offset[0]) // block)
    values: NDArray[np.int64] = np.arange(rows * columns).reshape(rows, columns)
    grid: BlockGrid = displayed_grid(display, block, *offset)
    shown = displayed_map(values, display)
    assert shown.shape == (grid.rows, grid.columns)
    for y in range(HEIGHT):
        for x in range(WIDTH):
            at = moved(MATRICES[name], x + 0.5, y + 0.5)
            row, column = int((at[1] - grid.origin_y) // block), int((at[0] - grid.origin_x) // block)
            assert shown[row, column] == values[(y + offset[1]) // block, (x + offset[0]) // block]


@pytest.mark.parametrize(
    ("matrix", "meant"),
    [
        ((0,) * 9, (0, False)),  # no orientation at all
        ((46341, 46341, 0, -46341, 46341, 0, 0, 0, U), (0, False)),  # by 45 degrees: not shown so
        ((2 * F, 0, 0, 0, 2 * F, 0, 0, 0, U), (0, False)),  # twice as large
        ((40, F, 0, -F, 40, 0, 0, 0, U), (90, False)),  # a right angle but for rounding
    ],
)
def test_matrices_that_are_no_right_angles(matrix: tuple[int, ...], meant: tuple[int, bool]) -> None:
    assert orientation_of(matrix) == meant
