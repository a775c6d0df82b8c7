"""The compared methods on tensors: against slow twins and hand-made cases; what published code does wrong stays out."""

import numpy as np
import pytest
import torch

from codecmeta.compression import Context, Dycoke, Evs, Holitom, Layout, Metom, Reduced, Sttm, Uniform
from codecmeta.compression.engine.attention import received_attention
from codecmeta.compression.methods.fastv import KeepAttended, most_attended
from codecmeta.compression.methods.holitom import MergeUnattended, density_peaks, share_out, windows
from codecmeta.compression.methods.metom.twins import curvature_weights, frame_difference
from codecmeta.compression.methods.random_keep import KeepDrawn
from codecmeta.compression.methods.sttm import Pyramids
from codecmeta.compression.methods.tome import merge_bipartite
from codecmeta.decisions.budget import gop_weights
from codecmeta.decisions.density import merge_regions
from tests.support import slow_rivals as slow
from tests.support import tiny


def walk(frames, rows, columns, width=6, seed=0, step=0.4):
    """(T, N, width): smooth in space and drifting in time, so that neighbours are alike to all degrees."""
    rng = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, width, -(-rows // 2), -(-columns // 2), generator=rng)
    smooth = torch.nn.functional.interpolate(coarse, (rows, columns))[0].flatten(1).T
    drift = torch.randn(frames, rows * columns, width, generator=rng).cumsum(0) * step
    return smooth + drift


def layout(frames, rows, columns):
    return Layout(frames, (rows, columns), (rows, columns))


def close(got, want):
    torch.testing.assert_close(got.double(), want.double(), rtol=1e-5, atol=1e-5)


# EVS


@pytest.mark.parametrize("budget", [0.9, 0.5, 0.3, 0.1])
def test_evs_equals_its_twin_and_keeps_the_first_frame_whole(budget):
    tokens = walk(5, 3, 4)
    plan = Evs(budget=budget).plan(layout(5, 3, 4))
    reduced = Evs(budget=budget).reduce(plan, tokens)
    assert plan.exact and plan.total == max(12, int(budget * 60))
    assert reduced.slots.tolist() == slow.evs(tokens, plan.total)
    assert reduced.slots[:12].tolist() == list(range(12))
    assert torch.equal(reduced.tokens, tokens.flatten(0, 1)[reduced.slots])


def test_evs_by_hand():
    """Of places 0..2 of frame 1, one is the same, one is turned by 90 degrees, one by 45."""
    before, after = [[1.0, 0], [1, 0], [1, 0]], [[3.0, 0], [0, 2], [1, 1]]
    tokens = torch.tensor([before, after])
    plan = Evs(budget=4 / 6).plan(layout(2, 1, 3))
    assert Evs(budget=4 / 6).reduce(plan, tokens).slots.tolist() == [0, 1, 2, 4]
    plan = Evs(budget=5 / 6).plan(layout(2, 1, 3))
    assert Evs(budget=5 / 6).reduce(plan, tokens).slots.tolist() == [0, 1, 2, 4, 5]


def test_a_standing_picture_ties_and_the_earlier_stays():
    tokens = walk(1, 3, 3).expand(4, 9, 6)
    plan = Evs(budget=0.5).plan(layout(4, 3, 3))
    assert Evs(budget=0.5).reduce(plan, tokens).slots.tolist() == list(range(18))


# FastV and the draw at a layer


def test_fastv_keeps_the_most_attended_in_order_and_of_equal_ones_the_earlier():
    scores = torch.tensor([0.1, 0.4, 0.2, 0.4, 0.2, 0.0])
    assert most_attended(scores, 3).tolist() == [1, 2, 3] == slow.best_places(scores, 3)
    inside = KeepAttended("fastv", 28, None, 0.5)
    assert (inside.watch, inside.cuts) == ((1,), (2,))
    hidden = torch.randn(6, 4)
    kept, states = inside.cut(2, None, np.arange(6), {1: scores}, hidden)
    assert kept.tolist() == [1, 2, 3] and torch.equal(states, hidden[[1, 2, 3]])


def test_a_draw_inside_the_model_is_the_draw_before_it():
    from codecmeta.compression import RandomKeep

    before = np.flatnonzero(RandomKeep(budget=0.3, seed=4).plan(layout(5, 3, 4)).slots)
    inside, _ = KeepDrawn(2, 0.3, 4).cut(2, None, np.arange(60), {}, torch.zeros(60, 2))
    assert inside.tolist() == before.tolist() and len(before) == 18
    assert inside.tolist() != KeepDrawn(2, 0.3, 5).cut(2, None, np.arange(60), {}, torch.zeros(60, 2))[0].tolist()


# ToMe


@pytest.mark.parametrize("scrambled", [False, True])
@pytest.mark.parametrize("count", [40, 23, 11, 3, 1])
def test_tome_equals_its_twin(count, scrambled):
    tokens = walk(3, 3, 5, seed=1).flatten(0, 1)
    first, values = merge_bipartite(tokens, count, scrambled)
    want = slow.tome(tokens, count, scrambled)
    assert first.tolist() == [place for place, _ in want] and len(first) == count
    assert scrambled == (first.tolist() != sorted(first)) or count == 1
    close(values, torch.stack([value for _, value in want]))


def test_tome_by_hand():
    """Tokens 0 and 2 look for partners among 1 and 3. 2 is most like 3, 0 most like 1 and less so."""
    tokens = torch.tensor([[1.0, 0, 0], [1, 1, 0], [0, 0, 2], [0, 0.1, 4]])
    first, values = merge_bipartite(tokens, 3)
    assert first.tolist() == [0, 1, 2]
    close(values, torch.tensor([[1.0, 0, 0], [1, 1, 0], [0, 0.05, 3]]))
    first, values = merge_bipartite(tokens, 3, scrambled=True)  # unmerged, then the odd places
    assert first.tolist() == [0, 1, 2]
    first, values = merge_bipartite(tokens.roll(2, 0), 3, scrambled=True)
    assert first.tolist() == [2, 0, 3]


def test_tome_conserves_the_sum_of_all_tokens_as_sizes_are_carried():
    """A mean of means would not: after several rounds the weighted sum is still the sum at the start."""
    tokens = walk(2, 4, 4, seed=3).flatten(0, 1)
    _, last = merge_bipartite(tokens, 1)
    close(last[0], tokens.mean(0))


# DyCoke


@pytest.mark.parametrize("paper_compat", [False, True])
@pytest.mark.parametrize("frames", [2, 3, 4, 5, 6, 7, 8, 9, 12, 13])
def test_dycoke_equals_its_twin(frames, paper_compat):
    tokens = walk(frames, 2, 4, seed=frames)
    strategy = Dycoke(budget=0.7, paper_compat=paper_compat)
    plan = strategy.plan(layout(frames, 2, 4))
    reduced = strategy.reduce(plan, tokens)
    keep = [int(0.6 * 8 + 1e-9)] * frames if paper_compat else plan.counts.tolist()
    want = slow.dycoke(tokens, keep, paper_compat)
    assert plan.counts.tolist() == [len(places) for places in want] == reduced.counts(plan.layout).tolist()
    assert reduced.slots.tolist() == [8 * t + p for t, places in enumerate(want) for p in sorted(places)]
    close(reduced.tokens, torch.cat([tokens[t, places] for t, places in enumerate(want)]))


def test_dycoke_meets_any_budget_from_a_quarter_on():
    for frames, budget in [(32, 0.25), (32, 0.3), (32, 0.475), (31, 0.5), (5, 0.4), (16, 0.99), (1, 1.0)]:
        counts = Dycoke(budget=budget).plan(layout(frames, 14, 14)).counts
        assert counts.sum() == int(budget * frames * 196 + 1e-9) and (counts[::4] == 196).all()
        others = np.delete(counts, np.s_[::4])
        assert not len(others) or others.max() - others.min() <= 1
    with pytest.raises(ValueError, match="whole, 8 of 32, which is more than the budget 0.2; .* larger window"):
        Dycoke(budget=0.2).plan(layout(32, 14, 14))
    with pytest.raises(ValueError, match="at least 0.25"):
        Dycoke(budget=0.2, paper_compat=True).plan(layout(32, 14, 14))
    assert Dycoke(budget=0.1, window=16).plan(layout(32, 14, 14)).counts.sum() == 627


def test_a_larger_window_compares_frame_4_with_frame_0():
    tokens = walk(8, 2, 2)
    similar = Dycoke(window=8).similarity(tokens)
    for t, reference in [(1, 0), (2, 0), (3, 2), (4, 0), (5, 4), (6, 4), (7, 6)]:
        want = torch.tensor([slow.cosine(tokens[t, p], tokens[reference, p]) for p in range(4)])
        close(similar[t], want)


def test_what_the_published_dycoke_keeps():
    """K = .7 in whole windows is .475 of all; the middle of the last window stays whole, an odd last frame is lost."""
    counts = Dycoke(budget=0.475, paper_compat=True).plan(layout(32, 14, 14)).counts
    assert counts.tolist() == [196, 58, 58, 58] * 7 + [196, 58, 196, 58]
    counts = Dycoke(budget=0.475, paper_compat=True).plan(layout(33, 14, 14)).counts
    assert counts.tolist() == [196, 58, 58, 58] * 8 + [0]
    with pytest.raises(ValueError, match="loses the last of an odd number"):
        Dycoke(paper_compat=True).plan(layout(1, 2, 2))


# STTM


@pytest.mark.parametrize("grid", [(4, 4), (5, 5), (3, 3), (7, 6), (2, 5), (1, 1), (1, 4)])
@pytest.mark.parametrize("root, paper_compat", [(0, False), (1, False), (0, True)])
def test_sttm_equals_its_twin(grid, root, paper_compat):
    tokens = walk(3, *grid, seed=5, step=0.5)
    most = 0
    for tau_s, tau_t in [(0.95, 0.9), (0.8, 0.6), (0.3, 0.85), (-1.0, -1.0), (2.0, 2.0)]:
        merged, slots, _ = Pyramids(tokens, grid, root, paper_compat).merge(tau_s, tau_t)
        want = slow.sttm(tokens, grid, tau_s, tau_t, root, paper_compat)
        assert slots.tolist() == list(want)
        close(merged, torch.stack(list(want.values())))
        most = max(most, len(slots))
    assert most == tokens.shape[0] * tokens.shape[1]


def test_sttm_by_hand():
    """Quadrants of one colour become one token each; the same in the next frame joins it; a new colour does not."""
    red, blue = torch.tensor([1.0, 0]), torch.tensor([0.0, 1])
    frame = red.expand(4, 4, 2).clone()
    other = frame.clone()
    other[2:, 2:] = blue
    tokens = torch.stack((frame, other)).flatten(1, 2)
    merged, slots, _ = Pyramids(tokens, (4, 4), root=0).merge(0.9, 0.9)
    assert slots.tolist() == [0, 2, 8, 10, 16 + 10]
    assert merged.tolist() == [[1, 0]] * 4 + [[0, 1]]
    other[3, 3] = red  # the last quadrant is no longer of one colour: cosines with its mean are 0.95 and 0.32
    merged, slots, _ = Pyramids(torch.stack((frame, other)).flatten(1, 2), (4, 4), root=0).merge(0.9, 0.9)
    # its red corner lies inside the red quadrant of the frame before, whose mean it joins
    assert slots.tolist() == [0, 2, 8, 10, 26, 27, 30]


def test_border_cells_are_not_compared_with_the_top_left_corner_unless_asked():
    """3x3, all of one colour but for the first token: only its own cell, which is no other's child, differs."""
    tokens = torch.tensor([1.0, 0]).repeat(1, 9, 1)
    tokens[0, 0] = torch.tensor([0.0, 1])
    assert len(Pyramids(tokens, (3, 3), root=0).merge(0.9, 2.0)[1]) == 4
    published = Pyramids(tokens, (3, 3), root=0, paper_compat=True).merge(0.9, 2.0)[1]
    assert published.tolist() == [0, 1, 2, 3, 4, 6]  # the two border cells fall apart, as the corner is not like them


@pytest.mark.parametrize("budget", [1.0, 0.7, 0.5, 0.3, 0.2])
def test_sttm_with_a_budget_stays_within_it_for_every_clip(budget):
    for seed in range(3):
        tokens = walk(6, 4, 4, seed=seed)
        merged, slots = Sttm(budget=budget).merge(tokens, (4, 4))
        assert int(budget * 96) * 0.75 <= len(slots) <= budget * 96
        assert len(merged) == len(slots) and (np.diff(slots) > 0).all()
        if budget == 1:
            assert torch.equal(merged, tokens.flatten(0, 1))
    with pytest.raises(ValueError, match="cannot merge 96 tokens into 9: 16 are left"):
        Sttm(budget=0.1).merge(tokens, (4, 4))


def test_sttm_takes_thresholds_or_a_budget():
    with pytest.raises(ValueError, match="either a budget"):
        Sttm(budget=0.5, tau_s=0.8)
    tokens = walk(3, 4, 4)
    assert Sttm().merge(tokens, (4, 4))[1].tolist() == Sttm(tau_s=0.85, tau_t=0.65).merge(tokens, (4, 4))[1].tolist()


# HoliTom


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("tau", [0.95, 0.8, 0.5, -2.0, 2.0])
def test_windows_are_the_best_of_all_partitions(seed, tau):
    tokens = walk(6, 2, 3, seed=seed)
    got = [(start, stop, np.flatnonzero(still).tolist()) for start, stop, still in windows(tokens, tau)]
    assert got == slow.windows(tokens, tau)


@pytest.mark.parametrize("contextual", [0.0, 0.4])
@pytest.mark.parametrize("budget, tau", [(0.5, 0.8), (0.25, 0.7), (0.1, 0.65), (0.6, 0.3), (0.5, 2.0)])
def test_holitom_equals_its_twin(budget, tau, contextual):
    tokens = walk(5, 3, 4, seed=2, step=0.3)
    attention = torch.rand(5, 12, generator=torch.Generator().manual_seed(0))
    strategy = Holitom(budget=budget, tau=tau, contextual=contextual, neighbours=3)
    plan = strategy.plan(layout(5, 3, 4))
    reduced = strategy.reduce(plan, tokens, Context(attention=attention))
    want = slow.holitom(tokens, attention, int(budget * 60), tau, contextual, 3)
    assert reduced.slots.tolist() == list(want)
    close(reduced.tokens, torch.stack(list(want.values())))


def test_the_budget_is_met_unless_still_tokens_alone_are_fewer():
    attention = torch.rand(6, 12)
    for step, budget in [(0.4, 0.3), (0.4, 0.15), (0.0, 0.15), (0.0, 0.5)]:
        tokens = walk(6, 3, 4, step=step)
        strategy = Holitom(budget=budget)
        plan = strategy.plan(layout(6, 3, 4))
        kept = len(strategy.reduce(plan, tokens, Context(attention=attention)).slots)
        left = 72 - sum((stop - start - 1) * len(still) for start, stop, still in slow.windows(tokens, 0.8))
        assert kept == min(plan.tokens, left) and (left == 12) == (step == 0)


def test_a_standing_clip_becomes_the_mean_of_its_frames():
    tokens = walk(4, 2, 2, step=0.02)
    strategy = Holitom(budget=0.5)
    reduced = strategy.reduce(strategy.plan(layout(4, 2, 2)), tokens, Context(attention=torch.rand(4, 4)))
    assert reduced.slots.tolist() == [0, 1, 2, 3]
    close(reduced.tokens, tokens.mean(0))


def test_equal_tokens_cluster_the_same_way_every_time():
    """Published code adds random noise where densities tie; here the earlier token is the denser one."""
    states = torch.tensor([[1.0, 0]] * 4 + [[0.0, 1]] * 4)
    picks = [density_peaks(states, 2, 3).tolist() for _ in range(3)]
    assert picks == [[0, 4]] * 3 == [slow.density_peaks(states, 2, 3)] * 3


def test_share_out_by_hand():
    assert share_out(np.array([4, 3, 3]), 5).tolist() == [2, 2, 1] == slow.share_out([4, 3, 3], 5)
    assert share_out(np.array([1, 1, 1]), 2).tolist() == [1, 1, 0]
    assert share_out(np.array([2, 5]), 100).tolist() == [2, 5]


def test_the_inner_stage_averages_one_after_the_other():
    hidden = walk(1, 3, 4)[0]
    scores = torch.rand(12, generator=torch.Generator().manual_seed(1))
    inside = MergeUnattended(28, 18, 0.5)
    kept, states = inside.cut(18, None, np.arange(12), {17: scores}, hidden)
    assert kept.tolist() == slow.best_places(scores, 6) and inside.watch == (17,)
    close(states, slow.merge_one_by_one(hidden, kept.tolist()))


def test_received_attention_is_the_column_mean_of_the_map():
    queries, keys = torch.randn(2, 3, 5, 4, generator=torch.Generator().manual_seed(0))
    want = torch.zeros(5, dtype=torch.float64)
    for head in range(3):
        for q in range(5):
            weights = torch.tensor([float(queries[head, q] @ keys[head, k]) / 2 for k in range(5)]).double().exp()
            want += weights / weights.sum() / 15
    close(received_attention(queries, keys, 0.5), want)


# All of them


def test_half_precision_is_compared_in_single_precision():
    """In bfloat16 cosines above 0.996 are all 1: thresholds and ranks near there would mean nothing."""
    tokens = walk(4, 4, 4, step=0.03).bfloat16()
    exact = tokens.float()
    attention = Context(attention=torch.rand(4, 16))
    for strategy in (Evs(budget=0.4), Dycoke(budget=0.5), Holitom(budget=0.2, tau=0.999)):
        plan = strategy.plan(layout(4, 4, 4))
        low, high = (strategy.reduce(plan, one, attention) for one in (tokens, exact))
        assert low.slots.tolist() == high.slots.tolist() and low.tokens.dtype == torch.bfloat16
    first, values = merge_bipartite(tokens.flatten(0, 1), 20)
    assert first.tolist() == merge_bipartite(exact.flatten(0, 1), 20)[0].tolist() and values.dtype == torch.bfloat16
    for tau in (0.999, 0.9995):
        low, high = (Pyramids(one, (4, 4)).merge(tau, tau)[1] for one in (tokens, exact))
        assert low.tolist() == high.tolist() and 4 < len(low) < 64


# Controls and twins


@pytest.mark.parametrize("budget", [1.0, 0.5, 0.3, 0.1, 0.02])
def test_uniform_tokens_spend_the_budget_evenly_over_frames_and_places(budget):
    plan = Uniform(budget=budget, mode="tokens").plan(layout(16, 4, 4))
    slots = np.ones((16, 16), bool) if plan.slots is None else plan.slots
    assert plan.tokens == max(1, int(budget * 256)) == slots.sum()
    assert plan.counts.max() - plan.counts.min() <= 1
    assert budget < 0.1 or slots.any(axis=0).all(), "over the clip every place is seen"


def test_uniform_pooling_averages_two_by_two_and_then_leaves_frames_out():
    tokens = walk(8, 3, 4)
    strategy = Uniform(budget=0.2, mode="pool")
    plan = strategy.plan(layout(8, 3, 4))
    assert plan.counts.tolist() == [4, 0, 4, 0, 0, 4, 0, 4][:8] and plan.tokens <= 0.2 * 96
    reduced = strategy.reduce(plan, tokens)
    assert reduced.slots[:8].tolist() == [0, 2, 8, 10, 24, 26, 32, 34]
    close(reduced.tokens[0], tokens[0, [0, 1, 4, 5]].mean(0))
    close(reduced.tokens[5], tokens[2, [2, 3, 6, 7]].mean(0))
    close(reduced.tokens[3], tokens[0, [10, 11]].mean(0))  # the odd last row by itself


def test_frame_difference_is_the_mean_over_patch_and_channels():
    rng = torch.Generator().manual_seed(0)
    pictures = torch.randn(6, 3, 8, 12, generator=rng)
    for per_frame in (1, 2):
        got = frame_difference(pictures, (2, 3), per_frame)
        assert (got[0] == 255).all()
        for t in range(1, 6 // per_frame):
            earlier, later = pictures[per_frame * (t - 1)], pictures[per_frame * t + per_frame - 1]
            for r in range(2):
                for c in range(3):
                    want = (earlier - later)[:, 4 * r : 4 * r + 4, 4 * c : 4 * c + 4].abs().sum() / 48
                    assert got[t, r, c] == pytest.approx(float(want), rel=1e-5)


def test_with_a_fixed_threshold_the_pixel_twin_is_rlt():
    """A patch that changed by less than 0.1 merges; the first frame, and what moved, stays."""
    pictures = torch.zeros(3, 3, 8, 8)
    pictures[1:, :, :4, :4] = 1.0
    pictures[2, :, 4:, 4:] = 0.05
    regions = merge_regions(frame_difference(pictures, (2, 2)), tau_mode="fixed", tau=0.1, min_keep=0)
    assert regions.tolist() == [[[0, 1], [2, 3]], [[0, 1], [1, 1]], [[0, 0], [0, 0]]]


def test_curvature_weights_by_hand():
    """On a circle in steps of 60 degrees the path turns by 60 degrees at every frame: 1 - cos = 1/2; at the ends 1."""
    angle = torch.arange(4) * torch.pi / 3
    tokens = torch.stack((angle.cos(), angle.sin()), 1)[:, None].repeat(1, 5, 1) * 3
    raw = np.exp(np.array([1, 0.5, 0.5, 1]) / 0.7)
    assert curvature_weights(tokens) == pytest.approx(raw / raw.sum(), rel=1e-6)
    assert curvature_weights(tokens[:1]).tolist() == [1.0]


def test_weights_of_btm_and_their_twins():
    meta, rows, grid = tiny.metadata(12), np.arange(12), layout(12, 4, 4)
    options = {"budget": 0.4, "rpm": False, "tau_tem": 2.0, "minimum": 1}
    packets = Metom(**options).plan(grid, meta, rows).counts
    uniform = Metom(**options, weights="uniform").plan(grid, meta, rows).counts
    assert sorted(uniform) == [6] * 8 + [7] * 4 and packets.max() - packets.min() > 1
    for seed in range(3):
        shuffled = Metom(**options, weights="shuffled", seed=seed).plan(grid, meta, rows).counts
        other = np.random.default_rng(seed).permutation(gop_weights(meta, rows))
        assert np.abs(shuffled - 1 - (76 - 12) * np.sqrt(other) / np.sqrt(other).sum()).max() < 1
        assert shuffled.sum() == packets.sum() == uniform.sum() == 76 and (shuffled != packets).any()
    tokens = walk(12, 4, 4, seed=8)
    strategy = Metom(**options, weights="curvature")
    plan = strategy.plan(grid, meta, rows)
    counts = strategy.reduce(plan, tokens).counts(grid)
    assert plan.exact and plan.total == counts.sum() == 76
    assert np.abs(counts - 1 - (76 - 12) * curvature_weights(tokens)).max() < 1
    assert counts.max() - counts.min() > 1


def test_metadata_is_not_needed_where_nothing_comes_from_it():
    assert not Metom(density_source="pixels", weights="uniform").needs_metadata
    assert Metom(density_source="pixels").needs_metadata and Metom(weights="uniform").needs_metadata
    assert Metom(density_source="pixels", btm=False).needs_pictures
    with pytest.raises(ValueError, match="plan_with"):
        Metom(density_source="pixels", weights="uniform").plan(layout(4, 2, 2))
    with pytest.raises(ValueError, match="alloc='exact'"):
        Metom(weights="curvature", alloc="paper")


@pytest.mark.parametrize(
    "make, reason",
    [
        (lambda: Dycoke(window=3), "power of two"),
        (lambda: Dycoke(window=8, paper_compat=True), "power of two"),
        (lambda: Dycoke(evict=1.0), "evict must be"),
        (lambda: Holitom(inner=1.0), "inner must be"),
        (lambda: Holitom(beta=2.0), "beta must be"),
        (lambda: Holitom(neighbours=0), "neighbours must be"),
        (lambda: Sttm(root=-1), "root must be"),
        (lambda: KeepAttended("fastv", 4, 4, 0.5), "between 1 and 3"),
    ],
)
def test_unfit_options_are_refused(make, reason):
    with pytest.raises(ValueError, match=reason):
        make()


def test_reduced_knows_its_frames():
    assert Reduced(torch.zeros(3, 1), np.array([0, 9, 10])).counts(layout(3, 3, 3)).tolist() == [1, 2, 0]
