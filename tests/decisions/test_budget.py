import math

import numpy as np
import pytest

from codecmeta.decisions.budget import frame_budgets, gop_weights, sampling_windows
from codecmeta.record.metadata import Probe
from tests.support.synthetic import make_metadata

PUBLISHED = [
    ([100, 400, 900, 1600], 100, 196, 10, [16, 22, 28, 34]),
    ([1, 1, 1], 100, 196, 10, [34, 33, 33]),
    ([1, 10000, 1, 1], 300, 100, 10, [67, 100, 67, 66]),
    ([0, 0, 0, 0], 10, 196, 5, [3, 3, 2, 2]),
    ([4, 9], 1, 196, 3, [0, 1]),
    ([5, 5, 5], 1000, 196, 10, [196, 196, 196]),
]


def water_filling(weights, total, capacity, minimum):
    """The same rule a token of water at a time: plain Python, on fractions of a token."""
    count = len(weights)
    total = min(total, sum(capacity))
    base = [min(minimum, total // count, held) for held in capacity]
    roots = [math.sqrt(max(weight, 0)) for weight in weights]
    if sum(roots) == 0:
        roots = [1.0] * count
    fixed = {}
    while True:
        active = [t for t in range(count) if t not in fixed]
        rest = total - sum(fixed.values()) - sum(base[t] for t in active)
        height = sum(roots[t] for t in active)
        share = {t: base[t] + rest * (roots[t] / height if height else 1 / len(active)) for t in active}
        over = [t for t in active if share[t] > capacity[t]]
        if not over:
            break
        fixed.update((t, capacity[t]) for t in over)
    share.update(fixed)
    budget = [math.floor(share[t] + 1e-9) for t in range(count)]
    order = sorted(range(count), key=lambda t: (-round(share[t] - budget[t], 9), t))
    order = [t for t in order if budget[t] < capacity[t]]
    for t in order[: total - sum(budget)]:
        budget[t] += 1
    return budget


@pytest.mark.parametrize("weights, total, capacity, minimum, expected", PUBLISHED)
def test_published_budgets(weights, total, capacity, minimum, expected):
    assert frame_budgets(weights, total, capacity, minimum).tolist() == expected
    assert water_filling(weights, total, [capacity] * len(weights), minimum) == expected


@pytest.mark.parametrize(
    "weights, total, expected",
    [
        ([100, 400, 900, 1600], 100, [16, 22, 28, 34]),
        ([1, 1, 1], 100, [33, 33, 33]),
        ([1, 10000, 1, 1], 300, [13, 262, 13, 13]),
    ],
)
def test_published_budgets_of_the_paper_formula(weights, total, expected):
    assert frame_budgets(weights, total, 196, 10, rule="paper").tolist() == expected


def test_paper_formula_is_undefined_without_weights():
    with pytest.raises(ValueError, match="rule='exact'"):
        frame_budgets([0, 0], 10, 196, 1, rule="paper")


@pytest.mark.parametrize("seed", range(40))
def test_budgets_keep_their_promises_on_random_clips(seed):
    rng = np.random.default_rng(seed)
    for _ in range(25):
        count = int(rng.integers(1, 40))
        weights = rng.choice([rng.lognormal(8, 2, count), rng.integers(0, 3, count).astype(float)])
        capacity = rng.integers(0, 200, count) if rng.random() < 0.5 else np.full(count, rng.integers(1, 200))
        total = int(rng.integers(0, 2 * int(capacity.sum()) + 2))
        if rng.random() < 0.2:
            total = int(rng.integers(0, count + 1))  # fewer tokens than frames
        minimum = int(rng.integers(0, 60))
        budget = frame_budgets(weights, total, capacity, minimum)
        assert budget.dtype == np.int64 and budget.shape == (count,)
        assert budget.sum() == min(total, capacity.sum())
        assert (budget <= capacity).all()
        assert (budget >= np.minimum(min(minimum, min(total, capacity.sum()) // count), capacity)).all()
        assert budget.tolist() == water_filling(weights.tolist(), total, capacity.tolist(), minimum)
        assert (frame_budgets(weights * 4096, total, capacity, minimum) == budget).all()  # scale invariance
        order = np.argsort(weights, kind="stable")
        same = capacity == capacity[0]
        if same.all():
            rising = budget[order]
            assert (np.maximum.accumulate(rising) - rising <= 1).all()  # more bytes, not fewer tokens


def test_equal_remainders_go_to_the_earlier_frame_despite_rounding_noise():
    # shares 4/3, 1/3, 1/3: in binary the first remainder comes out a hair smaller than the others
    assert frame_budgets([16, 1, 1], 2, 10, 0).tolist() == [2, 0, 0]


def test_default_minimum_is_a_quarter_of_the_uniform_share():
    assert frame_budgets([0, 0, 0, 1e12], 400, 400, None).tolist() == [25, 25, 25, 325]


@pytest.mark.parametrize(
    "arguments, said",
    [
        (([], 10, 5, 1), "T >= 1"),
        (([1, np.nan], 10, 5, 1), "not finite"),
        (([1, 2], -1, 5, 1), "total"),
        (([1, 2], 10, [5, 5, 5], 1), "capacity"),
        (([1, 2], 10, 5.5, 1), "capacity"),
        (([1, 2], 10, 5, -1), "minimum"),
    ],
)
def test_impossible_budgets_are_refused(arguments, said):
    with pytest.raises(ValueError, match=said):
        frame_budgets(*arguments)


def test_weights_are_the_mean_packet_sizes_of_the_gops():
    meta = make_metadata([900, 100, 200, 1500, 300, 300, 60, 20], keyframes=[0, 3, 6])
    # (900 + 100 + 200) / 3, (1500 + 300 + 300) / 3, (60 + 20) / 2
    assert gop_weights(meta, [0, 2, 4, 7]).tolist() == [400, 400, 700, 40]
    probe = Probe(meta.path, meta.stream, meta.frames, meta.gops, {})
    assert gop_weights(probe, [0, 2, 4, 7]).tolist() == [400, 400, 700, 40]


def test_few_keyframes_switch_to_windows_between_the_midpoints():
    sizes = [5000, 10, 10, 10, 10, 30, 30, 30, 30, 70]
    meta = make_metadata(sizes)
    # midpoint of rows 2 and 6 is row 4: windows [0, 4) and [4, 8); the keyframe is left out of the first
    assert gop_weights(meta, [2, 6]).tolist() == [10, 25]
    assert gop_weights(meta, [2, 6], "gop").tolist() == [523, 523]
    # windows [0, 3) and [3, 6): two packets beside the keyframe are too few to stand alone
    assert gop_weights(meta, [1, 4], "window").tolist() == [(5000 + 10 + 10) / 3, (10 + 10 + 30) / 3]
    # too few others: the keyframe stays. Windows [0, 2), [2, 4): (5000 + 10) / 2
    assert gop_weights(meta, [1, 3], "window").tolist() == [2505, 10]


def test_auto_counts_groups_against_a_quarter_of_the_samples():
    meta = make_metadata(np.arange(1, 41), keyframes=range(0, 40, 4))
    rows = np.arange(40)
    # 10 groups are enough for 40 / 4: means of 1 to 4, 5 to 8, ...
    assert gop_weights(meta, rows).tolist() == [4 * (row // 4) + 2.5 for row in range(40)]
    meta = make_metadata(np.arange(1, 41), keyframes=range(0, 40, 5))
    # 8 are not: every frame is sampled, so the window of each is its own packet
    assert gop_weights(meta, rows).tolist() == list(range(1, 41))


@pytest.mark.parametrize("seed", range(10))
def test_windows_hold_their_own_row_and_follow_each_other(seed):
    rng = np.random.default_rng(seed)
    meta = make_metadata(rng.integers(1, 999, 60))
    rows = np.sort(rng.integers(0, 60, int(rng.integers(1, 50))))
    start, stop = sampling_windows(meta.frames, rows)
    assert ((start <= rows) & (rows < stop)).all()
    distinct = np.flatnonzero(np.diff(rows))
    assert (stop[distinct] <= start[distinct + 1]).all() or len(rows) == 1
    for a, b in zip(distinct, distinct + 1, strict=True):
        if a > 0 and b + 1 < len(rows) and rows[a] > rows[a - 1] and rows[b + 1] > rows[b]:
            assert stop[a] == start[b] == math.ceil((rows[a] + rows[b]) / 2)


def test_rows_out_of_order_or_out_of_range_are_refused():
    meta = make_metadata([1, 2, 3])
    with pytest.raises(ValueError, match="0..2"):
        gop_weights(meta, [0, 3])
    with pytest.raises(ValueError, match="ascending"):
        gop_weights(meta, [2, 0])
    with pytest.raises(ValueError, match="mode"):
        gop_weights(meta, [0], "packets")
