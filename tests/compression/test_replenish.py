"""Conditional replenishment of the token grid: by hand, against a slow twin, and by what must be conserved."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from codecmeta.compression import Layout, Replenish, apply
from codecmeta.compression.methods.replenish import hold_mean, pay_debts
from codecmeta.compression.plan import Context
from codecmeta.decisions.budget import frame_budgets, gop_weights
from codecmeta.decisions.dispersed import dispersed_order
from codecmeta.record.metadata import Maps
from tests.support import slow_rivals as slow
from tests.support import tiny
from tests.support.synthetic import make_metadata

BUDGETS = (0.9, 0.5, 0.3, 0.2, 0.1, 0.02)


def random_layout(seed):
    rng = np.random.default_rng(seed)
    frames, rows, columns = rng.integers(1, 12), rng.integers(1, 6), rng.integers(1, 6)
    return Layout(int(frames), (2 * int(rows), 2 * int(columns)), (int(rows), int(columns)))


def random_meta(frames, seed):
    rng = np.random.default_rng(seed)
    return make_metadata(
        rng.integers(1, 5000, frames), keyframes=range(0, frames, 3), residual=rng.gamma(0.3, 4, (frames, 6, 8))
    )


def test_debts_by_hand():
    """Three cells, one is sent per frame. Owed: 3 1 2 -> the first is sent; 1 2 4 -> the third; 2 3 1 -> the second;
    3 1 2 -> the first."""
    gains = np.array([[3.0, 1, 2], [1, 1, 2], [1, 1, 1], [1, 1, 1]])
    assert pay_debts(gains, np.ones(4, int), (1, 3)).tolist() == [
        [True, False, False], [False, False, True], [False, True, False], [True, False, False],
    ]  # fmt: skip


@pytest.mark.parametrize("seed", range(30))
def test_debts_are_those_of_a_slow_twin(seed):
    layout = random_layout(seed)
    rng = np.random.default_rng(seed)
    shape = (layout.frames, layout.tokens_per_frame)
    gains = rng.gamma(0.4, 1, shape) if seed % 2 else rng.integers(0, 3, shape).astype(float)
    counts = rng.integers(0, layout.tokens_per_frame + 1, layout.frames)
    got = pay_debts(gains, counts, layout.tokens)
    assert got.tolist() == slow.debts(gains, counts, dispersed_order(layout.tokens).tolist())


@pytest.mark.parametrize("grid", [(1, 1), (1, 7), (4, 4), (5, 3), (14, 14), (8, 12)])
def test_the_dispersed_order_has_every_cell_once_and_the_first_ones_far_apart(grid):
    order = dispersed_order(grid)
    assert sorted(order.tolist()) == list(range(grid[0] * grid[1]))
    quarter = order[: grid[0] * grid[1] // 4]
    if grid[0] % 2 == grid[1] % 2 == 0:  # of every 2x2 cells one comes in the first quarter
        blocks = (quarter // grid[1] // 2) * grid[1] + quarter % grid[1] // 2
        assert len(set(blocks.tolist())) == len(quarter)


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("seed", range(8))
def test_counts_are_exact_and_those_of_the_packets(seed, budget):
    layout = random_layout(seed)
    meta = random_meta(layout.frames, seed)
    rows = np.arange(layout.frames)
    total = max(1, int(budget * layout.tokens_full + 1e-9))
    plan = Replenish(budget=budget).plan(layout, meta, rows)
    assert plan.exact and plan.tokens == total
    if plan.slots is not None:
        assert plan.slots.sum(axis=1).tolist() == plan.counts.tolist()
        assert plan.counts.tolist() == frame_budgets(gop_weights(meta, rows), total, layout.tokens_per_frame).tolist()
    tokens = torch.randn(layout.frames, layout.tokens_per_frame, 5, generator=torch.Generator().manual_seed(seed))
    for options in ({}, {"hold": "fold"}, {"hold": "drop"}, {"hold": "drop", "refill": True, "tau_tem": 0.1}):
        method = Replenish(budget=budget, **options)
        plan = method.plan(layout, meta, rows)
        if plan.slots is None:
            continue
        reduced = method.reduce(plan, tokens, Context(meta=meta, rows=rows))
        assert len(reduced.slots) == len(reduced.tokens) == plan.tokens == total
        assert (np.diff(reduced.slots) > 0).all()


def test_without_novelty_every_cell_has_its_turn():
    """Of 12 cells 4 are sent per frame: all are, once each, in every three frames."""
    layout = Layout(9, (6, 8), (3, 4))
    plan = Replenish(budget=1 / 3, signal="none", weights="uniform").plan(layout)
    assert (plan.counts == 4).all()
    assert (plan.slots.reshape(3, 3, 12).sum(axis=1) == 1).all()


def test_no_cell_waits_for_ever():
    """While a cell waits for t frames, each of the `count` cells sent before it gives up a debt of t * age at least;
    all cells together come to owe N (age + b) per frame at most. So it waits 2 N (1 + b / age) / count frames."""
    rng = np.random.default_rng(0)
    novelty = np.where(rng.random((100, 16)) < 0.6, 5.0, 0.0)
    novelty[:, 0] = 0.0  # never anything new here
    first = np.flatnonzero(pay_debts(novelty + 1.0, np.full(100, 4), (4, 4))[:, 0])[0]
    assert 3 < first <= 2 * 16 * (1 + 5) / 4
    assert not pay_debts(novelty, np.full(100, 4), (4, 4))[:, 0].any(), "choosing by novelty alone never looks"


def test_a_place_where_things_happen_is_seen_every_time():
    bits = np.zeros((8, 3, 4), np.float32)
    bits[:, 1, 2] = 900
    meta = replace(make_metadata([100] * 8), bits=Maps(np.arange(8), bits, 16))
    plan = Replenish(budget=0.25).plan(Layout(8, (6, 8), (3, 4)), meta, np.arange(8))
    assert plan.slots.reshape(8, 3, 4)[:, 1, 2].all() and (plan.counts == 3).all()
    assert plan.slots.any(axis=0).all(), "and all others in turn"


def test_only_shares_of_novelty_matter_and_a_clip_without_any_goes_round():
    layout, rows = Layout(6, (6, 8), (3, 4)), np.arange(6)
    meta = random_meta(6, 1)
    louder = replace(meta, residual=replace(meta.residual, values=meta.residual.values * 4))
    one, other = (Replenish(budget=0.3).plan(layout, each, rows) for each in (meta, louder))
    assert (one.slots == other.slots).all()
    still = replace(meta, residual=replace(meta.residual, values=np.zeros_like(meta.residual.values)))
    blind = Replenish(budget=0.3, signal="none").plan(layout, meta, rows)
    assert (Replenish(budget=0.3).plan(layout, still, rows).slots == blind.slots).all()
    assert (one.slots != blind.slots).any()


def test_frames_between_the_samples_are_used_where_they_are_stored():
    """Something happens in the lower right between the samples alone."""
    bits = np.zeros((9, 3, 4), np.float32)
    bits[5, 2, 3] = 400
    meta = replace(make_metadata([100] * 9), bits=Maps(np.arange(9), bits, 16))
    layout, rows = Layout(3, (6, 8), (3, 4)), np.array([0, 4, 8])
    sampled = replace(meta, bits=Maps(rows, bits[rows], 16))
    method = Replenish(budget=1 / 12)
    assert method.plan(layout, meta, rows).slots[2, 11]
    assert not method.plan(layout, sampled, rows).slots[2, 11]


@pytest.mark.parametrize("seed", range(10))
def test_holding_is_that_of_a_slow_twin(seed):
    layout = random_layout(seed)
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randn(layout.frames, layout.tokens_per_frame, 4, generator=generator)
    sent = np.random.default_rng(seed).random((layout.frames, layout.tokens_per_frame)) < 0.4
    got, _ = hold_mean(tokens, sent)
    for slot, value in slow.held(tokens, sent).items():
        torch.testing.assert_close(got[slot].double(), value, rtol=1e-5, atol=1e-6)


def test_holding_by_hand_and_a_still_place_stays_what_it_is():
    """One cell shows 8 2 4 6 and is sent first and last: 8 is averaged with the mean of 2 and 4, 6 stays."""
    tokens = torch.tensor([8.0, 2, 4, 6]).view(4, 1, 1)
    sent = np.array([[True], [False], [False], [True]])
    assert hold_mean(tokens, sent)[0][[0, 3], 0].tolist() == [(8 + 3) / 2, 6]
    assert (hold_mean(torch.ones(4, 1, 3), sent)[0] == 1).all()


def test_refilling_spends_what_merging_frees():
    """In a clip that stands still every pair merges: twice as many cells are chosen, the best pairs merge."""
    layout, rows = Layout(4, (8, 8), (4, 4)), np.arange(4)
    meta = make_metadata([100] * 4, residual=np.zeros((4, 6, 8)))
    still = torch.randn(1, 16, 6, generator=torch.Generator().manual_seed(0)).repeat(4, 1, 1)
    method = Replenish(budget=0.5, hold="drop", refill=True, tau_tem=0.99)
    plan = method.plan(layout, meta, rows)
    assert plan.exact and plan.tokens == 32
    chosen = method._refilled(plan, still)
    assert chosen.all(), "all 64 cells are chosen, and 32 pairs merge"
    assert len(method.reduce(plan, still).slots) == 32
    moving = torch.randn(4, 16, 200, generator=torch.Generator().manual_seed(0))
    alone = Replenish(budget=0.5, hold="drop").plan(layout, meta, rows)
    assert method.reduce(plan, moving).slots.tolist() == np.flatnonzero(alone.slots).tolist()


def test_texture_of_an_i_picture_is_not_change():
    """One I picture in the middle, full of bits on the left: it does not bring the left back any sooner."""
    bits = np.full((6, 3, 4), 10, np.float32)
    bits[3, :, 0] = 5000
    meta = replace(make_metadata([100] * 6, types="PPPIPP"), bits=Maps(np.arange(6), bits, 16))
    layout, rows = Layout(6, (6, 8), (3, 4)), np.arange(6)
    blind = Replenish(budget=0.25, signal="none").plan(layout, meta, rows)
    assert (Replenish(budget=0.25).plan(layout, meta, rows).slots == blind.slots).all()
    textured = Replenish(budget=0.25, intra=True).plan(layout, meta, rows).slots
    assert textured[3].reshape(3, 4)[:, 0].all() and (textured != blind.slots).any()


def test_budgets_by_features_follow_the_frame_that_changed():
    """Frame 3 shows something else altogether: it gets most of the tokens beside the first."""
    layout, rows = Layout(6, (6, 8), (3, 4)), np.arange(6)
    tokens = torch.randn(1, 12, 8, generator=torch.Generator().manual_seed(0)).repeat(6, 1, 1)
    tokens[3:] = -tokens[3:]
    method = Replenish(budget=0.4, weights="features", hold="drop")
    plan = method.plan(layout, make_metadata([100] * 6, residual=np.zeros((6, 6, 8))), rows)
    reduced = method.reduce(plan, tokens)
    assert plan.exact and plan.tokens == len(reduced.slots) == 28
    assert reduced.counts(layout).tolist() == [12, 1, 1, 12, 1, 1]


def test_plans_repeat_and_do_not_depend_on_what_else_is_stored():
    meta, rows = random_meta(9, 4), np.array([0, 2, 4, 6, 8])
    layout = Layout(5, (6, 8), (3, 4))
    first, again = (Replenish(budget=0.3).plan(layout, meta, rows) for _ in range(2))
    assert first.slots.tobytes() == again.slots.tobytes() and first.counts.tobytes() == again.counts.tobytes()


def test_inside_generate_the_plan_is_what_enters_the_model():
    model, rows = tiny.llava(), np.arange(tiny.FRAMES)
    with apply(model, Replenish(budget=0.4), tiny.metadata(), frames=rows) as session:
        tiny.generate(model, tiny.llava_inputs())
    assert session.counts.tolist() == session.plan.counts.tolist() and session.tokens_kept == 18
    assert (session.kept == session.plan.slots).all()


def test_what_cannot_be_done_is_refused():
    with pytest.raises(ValueError, match="age must be at least 0; got -1"):
        Replenish(age=-1)
    with pytest.raises(ValueError, match="refill=True merges tokens over time, which hold='mean' does too"):
        Replenish(refill=True)
    with pytest.raises(ValueError, match="'replenish' plans from codec metadata"):
        Replenish().plan(Layout(4, (8, 8), (4, 4)))
    assert not Replenish(signal="none", weights="uniform").needs_metadata
