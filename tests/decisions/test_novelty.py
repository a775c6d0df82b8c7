"""What is new in each cell since the last sample: by hand, and pixel by pixel."""

import math
from dataclasses import replace

import numpy as np
import pytest

from codecmeta.decisions.novelty import cell_novelty
from codecmeta.record.metadata import Maps
from tests.support.synthetic import make_metadata


def with_bits(meta, rows, values, block=16):
    return replace(meta, bits=Maps(np.asarray(rows), np.asarray(values, np.float32), block))


def root_of_means(maps, square, rows, types, size, grid, view, intra):
    """Single pixels, weighted by how much of them a cell sees; plain Python. None where only I pictures are there."""
    height, width = grid
    out, start = [], rows[0]
    for row in rows:
        which = [i for i, at in enumerate(maps.frame) if start <= at <= row and (intra or types[at] != "I")]
        cells = [[0.0] * width for _ in range(height)]
        for i in range(height):
            for j in range(width):
                top, left = view[1] + i * (view[3] - view[1]) / height, view[0] + j * (view[2] - view[0]) / width
                bottom, right = top + (view[3] - view[1]) / height, left + (view[2] - view[0]) / width
                total = area = 0.0
                for y in range(size[1]):
                    for x in range(size[0]):
                        seen = max(0.0, min(y + 1, bottom) - max(y, top)) * max(0.0, min(x + 1, right) - max(x, left))
                        area += seen
                        for at in which:
                            r, c = (y - maps.origin_y) // maps.block, (x - maps.origin_x) // maps.block
                            value = float(maps.values[at][r][c])
                            total += seen * (value**2 if square else value)
                cells[i][j] = math.sqrt(total / area / len(which)) if which and area > 1e-9 else 0.0
        out.append(cells if which or start > row else None)
        start = row + 1
    known = [value for cells in out if cells for line in cells for value in line]
    mean = sum(known) / len(known)
    return [[[v / mean for v in line] for line in cells] if cells else [[1.0] * width] * height for cells in out]


@pytest.mark.parametrize("intra", [True, False])
@pytest.mark.parametrize(
    "size, block, origin, grid, view",
    [
        ((64, 48), 16, (0, 0), (3, 4), None),  # a cell is a block
        ((61, 43), 16, (0, 0), (2, 3), None),  # blocks reach over the edges
        ((60, 42), 4, (-3, -2), (4, 4), (0, 0, 59.0625, 41.34375)),  # cropped stream, the model sees a part
        ((40, 24), 8, (0, 0), (5, 5), (0, -8, 40, 32)),  # letterboxed: two rows of cells see nothing
    ],
)
@pytest.mark.parametrize("rows", [[0, 3, 6], [1, 1, 4, 6]])
def test_novelty_is_the_root_of_what_was_sent_since_the_last_sample(size, block, origin, grid, view, rows, intra):
    rng = np.random.default_rng(3)
    shape = (7, math.ceil((size[1] - origin[1]) / block), math.ceil((size[0] - origin[0]) / block))
    rms = rng.gamma(0.6, 4, shape).astype(np.float16)
    types = "IPPPIPP" if rows[0] == 0 else "IPPPPPI"
    meta = make_metadata([1] * 7, types=types, size=size, residual=rms, block=block, origin=origin)
    got = cell_novelty(meta, rows, grid, view=view, intra=intra)
    want = root_of_means(meta.residual, True, rows, types, size, grid, view or (0, 0, *size), intra)
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-8)


def test_two_samples_by_hand():
    """Bits 4 and 0 in the first frame, 1 and 9 in the second, 0 and 0 in the third: roots 2 0, 1 3, 0 0, mean 1."""
    meta = with_bits(make_metadata([1, 1, 1], size=(32, 16)), [0, 1, 2], [[[4, 0]], [[1, 9]], [[0, 0]]])
    assert cell_novelty(meta, [0, 1, 2], (1, 2)).tolist() == [[[2, 0]], [[1, 3]], [[0, 0]]]
    # samples 0 and 2 stand for frames 0 and 1 to 2: roots 2 0 and sqrt(1/2) sqrt(9/2), mean (2 + 2 sqrt(2)) / 4
    mean = (2 + 2 * math.sqrt(2)) / 4
    want = np.array([[[2, 0]], [[math.sqrt(0.5), math.sqrt(4.5)]]]) / mean
    np.testing.assert_allclose(cell_novelty(meta, [0, 2], (1, 2)), want, atol=1e-8)


def test_pictures_of_one_position_count_together():
    meta = with_bits(make_metadata([1] * 4, size=(32, 16)), range(4), [[[4, 0]], [[0, 0]], [[8, 8]], [[0, 8]]])
    together = cell_novelty(meta, [0, 1, 2, 3], (1, 2), pictures=2)
    roots = np.sqrt([[2, 0], [4, 8]])
    np.testing.assert_allclose(together[:, 0], roots / roots.mean(), atol=1e-8)
    with pytest.raises(ValueError, match="3 frames do not make whole positions of 2 pictures"):
        cell_novelty(meta, [0, 1, 2], (1, 2), pictures=2)


def test_bits_come_first_and_each_signal_has_a_scale_of_its_own():
    """Bits are stored for the first two frames only; the residual of the others is on another scale altogether."""
    residual = np.full((4, 2, 4), 100, np.float16)
    residual[3] = 300
    meta = with_bits(make_metadata([1] * 4, size=(32, 16), residual=residual), [0, 1], [[[1, 1]], [[9, 9]]])
    got = cell_novelty(meta, range(4), (1, 2))
    assert got.tolist() == [[[0.5, 0.5]], [[1.5, 1.5]], [[0.5, 0.5]], [[1.5, 1.5]]]
    alone = cell_novelty(meta, range(4), (1, 2), signal="residual_first")
    np.testing.assert_allclose(alone[:, 0, 0], np.array([100, 100, 100, 300]) / 150, atol=1e-8)
    with pytest.raises(ValueError, match=r"no bits stored for 2 of 4 sampled frames \(the first is row 2\)"):
        cell_novelty(meta, range(4), (1, 2), signal="bits")


def test_a_clip_in_which_nothing_was_sent_is_not_new_anywhere():
    meta = make_metadata([1] * 3, size=(32, 16), residual=np.zeros((3, 2, 4)))
    assert not cell_novelty(meta, [0, 1, 2], (1, 2)).any()
