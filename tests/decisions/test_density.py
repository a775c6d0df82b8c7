import math

import numpy as np
import pytest

from codecmeta.decisions.density import merge_regions, patch_density
from codecmeta.record.metadata import Maps, Probe
from tests.support.synthetic import make_metadata


def density_pixel_by_pixel(rms, block, origin, size, grid, view):
    """MeToM's formula on single pixels, those at the edge of a patch counted by their area; plain Python."""
    width, height = size
    energy = [
        [float(rms[(y - origin[1]) // block][(x - origin[0]) // block]) ** 2 for x in range(width)]
        for y in range(height)
    ]
    variance = sum(map(sum, energy)) / (width * height)
    standard = [[value / (math.sqrt(variance) + 1e-6) ** 2 for value in line] for line in energy]
    low, high = min(map(min, standard)), max(map(max, standard))
    patch_width, patch_height = (view[2] - view[0]) / grid[1], (view[3] - view[1]) / grid[0]
    density = [[0.0] * grid[1] for _ in range(grid[0])]
    for i in range(grid[0]):
        for j in range(grid[1]):
            left, top = view[0] + j * patch_width, view[1] + i * patch_height
            total = area = 0.0
            for y in range(height):
                tall = min(y + 1, top + patch_height) - max(y, top)
                for x in range(width):
                    wide = min(x + 1, left + patch_width) - max(x, left)
                    if tall > 0 and wide > 0:
                        total += tall * wide * (standard[y][x] - low) / (high - low)
                        area += tall * wide
            density[i][j] = total / area if area > 1e-9 else 0.0
    return density


@pytest.mark.parametrize(
    "size, block, origin, grid, view",
    [
        ((64, 48), 8, (0, 0), (6, 8), None),  # a patch is a block
        ((64, 48), 8, (0, 0), (3, 5), None),  # stretched differently along x and y
        ((61, 43), 8, (0, 0), (5, 7), None),  # blocks reach over the right and lower edge
        ((60, 42), 4, (-3, -2), (4, 4), (0, 0, 59.0625, 41.34375)),  # cropped stream; 378/384 of the picture
        ((64, 40), 8, (-4, 0), (3, 3), (12, 0, 52, 40)),  # centre crop
        ((40, 24), 16, (0, 0), (9, 11), None),  # patches smaller than blocks
        ((40, 24), 8, (0, 0), (5, 5), (0, -8, 40, 32)),  # letterboxed into a square
    ],
)
def test_density_is_the_formula_on_pixels(size, block, origin, grid, view):
    rng = np.random.default_rng(5)
    shape = (math.ceil((size[1] - origin[1]) / block), math.ceil((size[0] - origin[0]) / block))
    rms = rng.gamma(0.6, 4, (2, *shape)).astype(np.float16)
    meta = make_metadata([1, 1], size=size, residual=rms, block=block, origin=origin)
    density = patch_density(meta, [0, 1], grid, view=view)
    assert density.dtype == np.float32 and density.shape == (2, *grid)
    for t in range(2):
        slow = density_pixel_by_pixel(rms[t], block, origin, size, grid, view or (0, 0, *size))
        np.testing.assert_allclose(density[t], slow, rtol=1e-5, atol=1e-6)


def test_a_patch_that_sees_half_of_two_blocks_gets_their_mean():
    meta = make_metadata([1], size=(32, 8), residual=[[[0, 1, 3, 0]]])
    # energies 0, 1, 9, 0, stretched to 0, 1/9, 1, 0; patches of 12 pixels from x = 4: halves and wholes of blocks
    density = patch_density(meta, [0], (1, 2), view=(4, 0, 28, 8))
    np.testing.assert_allclose(density[0, 0], [(4 * 0 + 8 / 9) / 12, (8 * 1 + 0) / 12], rtol=1e-6)


@pytest.mark.parametrize("seed", range(20))
def test_density_conserves_energy(seed):
    """Standardised energy has mean 1; so has, but for the stretch, the density of a grid that covers the picture."""
    rng = np.random.default_rng(seed)
    size = tuple(rng.integers(20, 120, 2).tolist())
    origin = tuple((-rng.integers(0, 8, 2)).tolist())
    shape = (math.ceil((size[1] - origin[1]) / 8), math.ceil((size[0] - origin[0]) / 8))
    rms = rng.lognormal(0, 1.5, (1, *shape)).astype(np.float16)
    meta = make_metadata([1], size=size, residual=rms, origin=origin)
    density = patch_density(meta, [0], tuple(rng.integers(1, 30, 2).tolist()))[0]
    pixels = np.kron(rms[0].astype(float) ** 2, np.ones((8, 8)))
    pixels = pixels[-origin[1] :, -origin[0] :][: size[1], : size[0]]
    standard = pixels / pixels.mean()
    assert standard.mean() == pytest.approx(1)
    assert density.mean() == pytest.approx((1 - standard.min()) / (standard.max() - standard.min()), rel=1e-4)
    assert density.min() >= 0 and density.max() <= 1


def test_density_does_not_depend_on_the_scale_of_the_residual():
    rms = np.random.default_rng(3).integers(0, 32, (1, 6, 8))
    one = patch_density(make_metadata([1], residual=rms), [0], (5, 5))
    other = patch_density(make_metadata([1], residual=rms * 4), [0], (5, 5))
    np.testing.assert_allclose(one, other, rtol=1e-6)


def test_a_frame_without_information_is_flat_and_stays_unmerged():
    rms = np.zeros((3, 6, 8))
    rms[1] = 7.0
    rms[2, :3] = 7.0
    density = patch_density(make_metadata([1, 1, 1], residual=rms), [0, 1, 2], (4, 4))
    assert (density[:2] == 0).all() and density[2].max() == 1
    labels = merge_regions(density, tau_mode="fixed", tau=0.5)
    assert labels[0].tolist() == labels[1].tolist() == np.arange(16).reshape(4, 4).tolist()
    assert labels[2].max() + 1 == 8 + 1  # the quiet lower half is one region


def test_blocks_outside_the_picture_do_not_count():
    rms = np.zeros((1, 6, 8))
    rms[0, 2, 2] = 1.0
    rms[0, :, 7] = 50.0  # the padding of a 56 pixel wide picture coded as 64
    shown = patch_density(make_metadata([1], size=(56, 48), residual=rms), [0], (6, 7))
    assert shown.max() == shown[0, 2, 2] == 1 and shown.sum() == 1


def test_window_averages_the_energy_between_the_midpoints():
    rms = np.random.default_rng(1).gamma(1, 3, (9, 6, 8)).astype(np.float16)
    meta = make_metadata(np.ones(9), residual=rms)
    # samples 2 and 6: windows [0, 4) and [4, 8)
    density = patch_density(meta, [2, 6], (3, 4), window=True)
    for t, (start, stop) in enumerate([(0, 4), (4, 8)]):
        energy = np.mean([rms[row].astype(float) ** 2 for row in range(start, stop)], axis=0)
        stretched = (energy - energy.min()) / (energy.max() - energy.min())
        np.testing.assert_allclose(density[t], stretched.reshape(3, 2, 4, 2).mean(axis=(1, 3)), rtol=1e-5)


def test_robust_stretch_ignores_one_glaring_block():
    rms = np.ones((1, 20, 20))
    rms[0, :10] = 2.0
    rms[0, 15, 15] = 200.0
    meta = make_metadata([1], size=(160, 160), residual=rms)
    assert patch_density(meta, [0], (2, 2))[0, 0, 0] < 1e-3
    assert patch_density(meta, [0], (2, 2), robust=True)[0, 0, 0] == 1.0


def test_frames_without_residual_use_bits_or_say_what_is_missing():
    meta = make_metadata([1, 1, 1], residual=np.ones((1, 6, 8)) * np.arange(8), covered=[1])
    with pytest.raises(ValueError, match=r"1 of 2 frames \(rows 2\): residual: not stored.*bits: made up without"):
        patch_density(meta, [1, 2], (2, 2))
    bits = np.arange(12.0).reshape(1, 3, 4)
    object.__setattr__(meta, "bits", Maps(np.array([2]), bits, 16))
    density = patch_density(meta, [1, 2], (3, 4))
    np.testing.assert_allclose(density[1], (bits[0] / 11) ** 2, rtol=1e-6)
    with pytest.raises(ValueError, match="rows 2"):
        patch_density(meta, [1, 2], (2, 2), signal="residual")
    probe = Probe(meta.path, meta.stream, meta.frames, meta.gops, meta.capability)
    with pytest.raises(ValueError, match="residual: made up without"):
        patch_density(probe, [1], (2, 2))


def test_bits_first_takes_the_residual_only_where_there_are_no_bits():
    residual = np.ones((2, 6, 8)) * np.arange(8)
    meta = make_metadata([1, 1], residual=residual)
    bits = np.arange(12.0).reshape(1, 3, 4)
    object.__setattr__(meta, "bits", Maps(np.array([1]), bits, 16))
    by = {name: patch_density(meta, [0, 1], (3, 4), signal=name) for name in ("auto", "residual", "bits_first")}
    np.testing.assert_array_equal(by["auto"], by["residual"])
    np.testing.assert_array_equal(by["bits_first"][0], by["residual"][0])
    np.testing.assert_allclose(by["bits_first"][1], (bits[0] / 11) ** 2, rtol=1e-6)
    with pytest.raises(ValueError, match="one of auto, residual, bits, bits_first; got 'most'"):
        patch_density(meta, [0, 1], (3, 4), signal="most")


def test_impossible_grids_and_views_are_refused():
    meta = make_metadata([1], residual=np.ones((1, 6, 8)))
    with pytest.raises(ValueError, match="grid"):
        patch_density(meta, [0], (0, 3))
    with pytest.raises(ValueError, match="64x48"):
        patch_density(meta, [0], (3, 3), view=(64, 0, 90, 48))


def regions_by_flooding(low, connectivity, max_region=None):
    """Connected regions by flooding from each patch in raster order; plain Python."""
    rows, columns = len(low), len(low[0])
    steps = [(0, 1), (0, -1), (1, 0), (-1, 0)] + [(1, 1), (1, -1), (-1, 1), (-1, -1)] * (connectivity == 8)

    def flood(start, allowed):
        region, waiting = {start}, [start]
        while waiting:
            r, c = waiting.pop()
            for dr, dc in steps:
                if (r + dr, c + dc) in allowed and (r + dr, c + dc) not in region:
                    region.add((r + dr, c + dc))
                    waiting.append((r + dr, c + dc))
        return region

    labels = {}
    everywhere = {(r, c) for r in range(rows) for c in range(columns) if low[r][c]}
    first = {}  # patch -> first patch, in raster order, of its final region
    for start in sorted(everywhere):
        if start in first:
            continue
        region = flood(start, everywhere)
        parts = [region]
        if max_region and len(region) > max_region:
            side = math.isqrt(max_region)
            y0, x0 = min(r for r, _ in region), min(c for _, c in region)
            tiles = {}
            for r, c in region:
                tiles.setdefault(((r - y0) // side, (c - x0) // side), set()).add((r, c))
            parts = []
            for tile in tiles.values():
                while tile:
                    part = flood(min(tile), tile)
                    tile -= part
                    parts.append(part)
        for part in parts:
            first.update(dict.fromkeys(part, min(part)))
    result = [[-1] * columns for _ in range(rows)]
    for r in range(rows):
        for c in range(columns):
            head = first.get((r, c), (r, c))
            if head == (r, c):
                labels[head] = len(labels)
            result[r][c] = labels[head]
    return result


PUBLISHED = np.array([[1, 1, 0, 0], [0, 0, 1, 0], [1, 0, 1, 1], [1, 1, 0, 1]])


@pytest.mark.parametrize("connectivity, tokens", [(4, 7 + 3), (8, 7 + 1)])
def test_published_regions(connectivity, tokens):
    labels = merge_regions(1.0 - PUBLISHED[None], tau_mode="fixed", tau=0.5, connectivity=connectivity)
    assert labels.dtype == np.int32 and labels.max() + 1 == tokens
    assert labels[0].tolist() == regions_by_flooding(PUBLISHED.tolist(), connectivity)


@pytest.mark.parametrize("connectivity", [4, 8])
@pytest.mark.parametrize("max_region", [None, 1, 4, 7])
def test_regions_equal_flooding(connectivity, max_region):
    rng = np.random.default_rng(8)
    density = rng.random((30, 11, 9)).astype(np.float32)
    for tau in (0.3, 0.6, 0.95):
        labels = merge_regions(
            density, tau_mode="fixed", tau=tau, connectivity=connectivity, max_region=max_region, min_keep=0
        )
        for one, found in zip(density, labels, strict=True):
            assert found.tolist() == regions_by_flooding((one < tau).tolist(), connectivity, max_region)
        if max_region:
            kept = labels.reshape(30, -1)
            assert max(np.bincount(frame).max() for frame in kept) <= max_region


@pytest.mark.parametrize("max_region", [None, 3])
@pytest.mark.parametrize("connectivity", [4, 8])
def test_regions_inside_tiles_equal_flooding_every_tile_alone(connectivity, max_region):
    """11 x 9 patches in tiles of 4: whole ones, and rests of 3 rows and 1 column."""
    density = np.random.default_rng(8).random((20, 11, 9)).astype(np.float32)
    options = {"tau_mode": "fixed", "tau": 0.7, "connectivity": connectivity, "max_region": max_region, "min_keep": 0}
    labels = merge_regions(density, tile=4, **options)
    for one, found in zip(density < 0.7, labels, strict=True):
        seen = 0
        for y in range(0, 11, 4):
            for x in range(0, 9, 4):
                want = np.array(regions_by_flooding(one[y : y + 4, x : x + 4].tolist(), connectivity, max_region))
                part = found[y : y + 4, x : x + 4]
                pairs = set(zip(part.ravel().tolist(), want.ravel().tolist(), strict=True))
                assert len(pairs) == len(np.unique(part)) == want.max() + 1
                seen += want.max() + 1
        assert (np.unique(found) == np.arange(seen)).all()  # no token is in two tiles
    assert (merge_regions(density, tile=11, **options) == merge_regions(density, **options)).all()


def smooth(rng, shape):
    noise = rng.random(shape) ** 3
    for axis in (1, 2):
        noise = sum(np.roll(noise, k, axis) for k in range(-2, 3))
    return noise.astype(np.float32)


@pytest.mark.parametrize("seed", range(10))
def test_labels_are_dense_and_count_the_tokens(seed):
    rng = np.random.default_rng(seed)
    density = smooth(rng, (5, 13, 17))
    for options in ({}, {"q": 0.6}, {"tau_mode": "target"}, {"tau_mode": "fixed", "tau": float(np.median(density))}):
        labels = merge_regions(density, **options).reshape(5, -1)
        for frame in labels:
            assert (np.unique(frame) == np.arange(frame.max() + 1)).all()
            firsts = np.unique(frame, return_index=True)[1]
            assert (np.diff(firsts) > 0).all()  # numbered in raster order of the first member


def test_nothing_is_low_below_zero():
    density = np.random.default_rng(2).random((4, 9, 9))
    density[:, 0, 0] = 0
    labels = merge_regions(density, tau_mode="fixed", tau=0.0)
    assert (labels == np.arange(81).reshape(9, 9)).all()


def test_quantile_takes_at_most_that_share_of_each_frame():
    density = np.arange(100.0).reshape(1, 10, 10)
    labels = merge_regions(density, q=0.25)
    assert (labels[0].reshape(-1)[:25] == 0).all() and labels.max() + 1 == 76  # two rows and a half: one region


def test_equal_densities_are_low_in_raster_order():
    density = np.zeros((1, 10, 10))
    density[0, 9, 9] = 1.0  # a nearly static frame: 99 patches tie
    labels = merge_regions(density, q=0.2, ties="raster")
    assert labels.max() + 1 == 81 and (labels[0, :2] == 0).all()


def test_ties_go_by_raster_order_whatever_the_sort_does():
    density = np.random.default_rng(0).integers(0, 3, (6, 27, 27)).astype(np.float32)
    labels = merge_regions(density, q=0.5, min_keep=0, ties="raster")
    for one, found in zip(density, labels, strict=True):
        lowest = sorted(range(729), key=lambda p: (one.flat[p], p))[:364]
        low = np.isin(np.arange(729), lowest).reshape(27, 27)
        assert found.tolist() == regions_by_flooding(low.tolist(), 4)


@pytest.mark.parametrize("max_region", [None, 9])
@pytest.mark.parametrize("share", [0.0, 0.14, 0.4])
def test_target_reaches_the_share_of_the_whole_clip(share, max_region):
    density = smooth(np.random.default_rng(4), (16, 27, 27))
    labels = merge_regions(density, tau_mode="target", share=share, max_region=max_region)
    tokens = (labels.max(axis=(1, 2)) + 1).sum()
    whole = density.size
    assert (1 - share) * whole <= tokens <= (1 - share) * whole + 4 * 16  # a patch takes at most 4


def test_min_keep_is_a_floor_under_every_frame():
    density = smooth(np.random.default_rng(6), (6, 20, 20))
    for options in ({"tau_mode": "fixed", "tau": 1e9}, {"q": 1.0}, {"tau_mode": "target", "share": 0.9}):
        labels = merge_regions(density, min_keep=0.25, **options)
        tokens = labels.max(axis=(1, 2)) + 1
        assert (tokens >= 100).all() and (tokens <= 103).all() or options.get("share") == 0.9 and (tokens >= 100).all()
    assert merge_regions(density, tau_mode="fixed", tau=1e9, min_keep=0).max() == 0  # literally: one token


def test_impossible_merges_are_refused():
    density = np.random.default_rng(0).random((1, 3, 3))
    for options, said in [
        ({"tile": 0}, "tile must be at least 1"),
        ({"tau_mode": "fixed"}, "with tau"),
        ({"tau_mode": "median"}, "tau_mode"),
        ({"connectivity": 6}, "connectivity"),
        ({"q": 1.5}, "q must"),
        ({"max_region": 0}, "max_region"),
    ]:
        with pytest.raises(ValueError, match=said):
            merge_regions(density, **options)
    with pytest.raises(ValueError, match="finite"):
        merge_regions(density * np.nan)
    with pytest.raises(ValueError, match="finite"):
        merge_regions(density[0])


def test_a_window_leaves_keyframes_out_unless_they_are_asked_for():
    """An I picture among P pictures: its texture, a hundred times the energy, is not change."""
    rms = np.ones((4, 2, 2)) * np.array([[1, 2], [3, 4]])
    rms[1] = np.array([[40, 30], [20, 10]])
    meta = make_metadata([1] * 4, types="PIPP", size=(16, 16), residual=rms)
    change = (np.square([1.0, 2, 3, 4]) - 1) / 15
    np.testing.assert_allclose(patch_density(meta, [1], (2, 2), window=True).ravel(), change, atol=1e-6)
    energy = 3 * np.square([1.0, 2, 3, 4]) + np.square([40.0, 30, 20, 10])
    texture = (energy - energy.min()) / (energy.max() - energy.min())
    with_texture = patch_density(meta, [1], (2, 2), window=True, window_intra=True)
    np.testing.assert_allclose(with_texture.ravel(), texture, atol=1e-6)
    alone = make_metadata([1] * 4, types="IIII", size=(16, 16), residual=rms)
    np.testing.assert_allclose(patch_density(alone, [1], (2, 2), window=True).ravel(), texture, atol=1e-6)


def test_equal_patches_merge_all_over_the_frame_and_elsewhere_in_the_next():
    """One loud patch, everything else equal: raster order merges a band at the top of every frame."""
    density = np.zeros((5, 10, 10), np.float32)
    density[:, 9, 9] = 1
    band = merge_regions(density, q=0.2, ties="raster")
    assert (band[:, :2] == 0).all() and (band.reshape(5, -1).max(axis=1) == 80).all()
    spread = merge_regions(density, q=0.2)
    low = np.array([[np.bincount(frame.ravel())[frame] > 1] for frame in spread])[:, 0]
    assert low.reshape(5, -1).sum(axis=1).tolist() == [19, 20, 20, 20, 20], "the loud patch breaks one tile of four"
    tokens = spread.reshape(5, -1).max(axis=1) + 1
    assert (tokens >= 81).all() and (tokens <= 86).all(), "at least four patches share a token"
    for frame in low:
        assert max(frame[:5].sum(), frame[5:].sum(), frame[:, :5].sum(), frame[:, 5:].sum()) < 20, "not in one half"
    assert (np.delete(low.sum(axis=0), 99) >= 1).sum() >= 98, "in five frames everywhere once"


def test_ties_decide_only_between_equals():
    density = np.random.default_rng(3).permutation(100).reshape(1, 10, 10).astype(np.float32)
    assert (merge_regions(density) == merge_regions(density, ties="raster")).all()
    with pytest.raises(ValueError, match="ties must be 'spread' or 'raster'; got 'chance'"):
        merge_regions(density, ties="chance")
