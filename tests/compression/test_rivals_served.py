"""Rivals that are served or cited, against slow twins on random tokens, and by numbers from their formulas."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from codecmeta.compression import Evs, Layout, apply, make
from codecmeta.compression.plan import Context
from codecmeta.record.metadata import Maps
from tests.support import slow_rivals as slow
from tests.support import tiny
from tests.support.synthetic import make_metadata

FRAMES, GRID, WIDTH = 10, (4, 3), 8
CELLS = GRID[0] * GRID[1]
LAYOUT = Layout(FRAMES, (8, 6), GRID)
FULL = FRAMES * CELLS


def clip(seed):
    """Tokens that partly repeat from frame to frame, with two cuts, and attention."""
    rng = torch.Generator().manual_seed(seed)
    scene = torch.randn(3, CELLS, WIDTH, generator=rng)
    number = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1, 2, 2])
    tokens = scene[number] + 0.4 * torch.randn(FRAMES, CELLS, WIDTH, generator=rng)
    return tokens, torch.rand(FRAMES, CELLS, generator=rng)


def reduce(method, tokens, attention):
    plan = method.plan(LAYOUT)
    return plan, method.reduce(plan, tokens, Context(attention=attention))


def same(reduced, want):
    assert reduced.slots.tolist() == list(want)
    torch.testing.assert_close(reduced.tokens.double(), torch.stack(list(want.values())), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("budget", [0.6, 0.3, 0.12])
def test_vidcom2(seed, budget):
    tokens, attention = clip(seed)
    plan, reduced = reduce(make("vidcom2", budget=budget), tokens, attention)
    total = max(CELLS, int(budget * FULL + 1e-9))
    assert plan.exact and plan.tokens == total == len(reduced.slots)
    assert reduced.slots.tolist() == slow.vidcom2(tokens, budget, total)
    plan, reduced = reduce(make("vidcom2", budget=budget, paper_compat=True), tokens, attention)
    assert not plan.exact and reduced.slots.tolist() == slow.vidcom2(tokens, budget)
    assert (reduced.counts(LAYOUT) >= 1).all()


def test_vidcom2_gives_the_frame_that_stands_out_twice_the_share():
    """The softmax at temperature 0.01 is nearly one-hot: that frame gets R (2 - 1/T), the others R (1 - 1/T)."""
    tokens = torch.randn(1, CELLS, WIDTH, generator=torch.Generator().manual_seed(0)).repeat(FRAMES, 1, 1)
    tokens[6] = -tokens[6]
    _, reduced = reduce(make("vidcom2", budget=0.4, paper_compat=True), tokens, None)
    assert (
        reduced.counts(LAYOUT).tolist()
        == [round(0.4 * 0.9 * CELLS)] * 6 + [round(0.4 * 1.9 * CELLS)] + [round(0.4 * 0.9 * CELLS)] * 3
    )


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("budget", [0.6, 0.3, 0.05])
def test_divprune(seed, budget):
    tokens, attention = clip(seed)
    plan, reduced = reduce(make("divprune", budget=budget), tokens, attention)
    assert plan.exact and plan.tokens == len(reduced.slots) == int(budget * FULL + 1e-9)
    assert reduced.slots.tolist() == slow.spread_out(tokens.flatten(0, 1), plan.tokens)
    plan, reduced = reduce(make("divprune", budget=budget, scope="frame"), tokens, attention)
    assert plan.counts.max() - plan.counts.min() <= 1 and plan.tokens == int(budget * FULL + 1e-9)
    want = [t * CELLS + p for t in range(FRAMES) for p in slow.spread_out(tokens[t], int(plan.counts[t]))]
    assert reduced.slots.tolist() == want


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("budget, contextual", [(0.6, 10 / 64), (0.4, 0.5), (0.3, 0.0), (0.1, 1.0)])
def test_visionzip(seed, budget, contextual):
    tokens, attention = clip(seed)
    plan, reduced = reduce(make("visionzip", budget=budget, contextual=contextual), tokens, attention)
    assert plan.exact and plan.tokens == int(budget * FULL + 1e-9)
    same(reduced, slow.visionzip(tokens, attention, plan.tokens, contextual))
    assert reduced.counts(LAYOUT).tolist() == plan.counts.tolist()
    if not contextual:  # FasterVLM
        want = [t * CELLS + p for t in range(FRAMES) for p in slow.best_places(attention[t], int(plan.counts[t]))]
        assert reduced.slots.tolist() == want


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("options", [{}, {"segments": 1}, {"segments": 3, "tau": 0.5, "every": 2}, {"contextual": 0.9}])
@pytest.mark.parametrize("budget", [0.6, 0.35])
def test_fastvid(seed, budget, options):
    tokens, attention = clip(seed)
    plan, reduced = reduce(make("fastvid", budget=budget, **options), tokens, attention)
    names = {"segments": "least"}
    same(reduced, slow.fastvid(tokens, attention, budget, **{names.get(k, k): v for k, v in options.items()}))
    assert len(reduced.slots) <= plan.tokens == FRAMES * int(budget * CELLS + 1e-9)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "options", [{}, {"segments": 1, "tau_s": -1.0, "tau_t": -1.0}, {"tau_t": 0.95, "alpha": 0.3, "segments": 2}]
)
@pytest.mark.parametrize("budget", [0.6, 0.3])
def test_flashvid(seed, budget, options):
    tokens, attention = clip(seed)
    method = make("flashvid", budget=budget, **options)
    plan, reduced = reduce(method, tokens, attention)
    count = min(CELLS, -int(-(CELLS * budget * 1.25 - 1e-9) // 1))
    selected = -int(-(method.alpha * count - 1e-9) // 1)
    given = {"tau_t": method.tau_t, "tau_s": method.tau_s, "least": method.segments}
    same(reduced, slow.flashvid(tokens, attention, count, selected, **given))
    assert plan.exact and len(reduced.slots) == plan.tokens == FRAMES * count


def test_flashvid_at_its_published_shapes():
    """28 layers, 32 frames of 196: 62 tokens per frame enter, 595 of 1984 are left from layer 20; on average R."""
    method = make("flashvid", budget=0.25)
    plan = method.plan(Layout(32, (27, 27), (14, 14), depth=28))
    inside = method.inside(28)
    assert plan.tokens == 32 * 62 and inside.cuts == (20,) and inside.watch == (19,)
    layers = [plan.tokens] * 20 + [int(0.3 * plan.tokens)] * 8
    assert sum(layers) / 28 / (32 * 196) == pytest.approx(0.253, abs=0.001)
    assert make("flashvid", inner=1.0).inside(28) is None


@pytest.mark.parametrize("seed, tau", [(0, 0.95), (1, 0.8), (2, 0.5), (3, 0.2), (0, 0.7), (1, -1.01)])
def test_scissor(seed, tau):
    tokens, attention = clip(seed)
    plan, reduced = reduce(make("scissor", tau=tau), tokens, attention)
    same(reduced, slow.scissor(tokens, tau))
    assert not plan.exact and (len(reduced.slots) == 1 if tau == -1.01 else True)


@pytest.mark.parametrize("budget", [0.5, 0.01])
def test_scissor_finds_the_threshold_that_leaves_the_budget(budget):
    tokens, attention = clip(1)
    plan, reduced = reduce(make("scissor", budget=budget), tokens, attention)
    most = max(1, int(budget * FULL + 1e-9))
    assert len(reduced.slots) <= plan.tokens == most
    finer = [len(slow.scissor(tokens, tau)) for tau in np.linspace(-1, 1, 11)]
    assert len(reduced.slots) >= max(one for one in finer if one <= most) - 1


def test_codecsight_keeps_what_was_touched_until_the_next_i_picture():
    """4x4 patches, 2x2 tokens. Patch (0, 3) is touched in frame 1 alone, an I picture comes in frame 3, and patch
    (3, 0) is touched in frame 4 alone; the I picture itself is full of bits."""
    bits = np.zeros((6, 4, 4), np.float32)
    bits[1, 0, 3] = bits[4, 3, 0] = 100
    bits[3] = 500
    meta = replace(make_metadata([1] * 6, types="PPPIPP", size=(64, 64)), bits=Maps(np.arange(6), bits, 16))
    layout = Layout(6, (4, 4), (2, 2))
    plan = make("codecsight", threshold=2.0).plan(layout, meta, np.arange(6))
    assert [np.flatnonzero(line).tolist() for line in plan.slots] == [[0, 1, 2, 3], [1], [1], [], [2], [2]]
    assert plan.exact and plan.tokens == 8
    # the same with samples two apart: frame 3 between the samples 2 and 4 ends what was dynamic
    plan = make("codecsight", threshold=2.0).plan(replace(layout, frames=3), meta, np.array([0, 2, 4]))
    assert [np.flatnonzero(line).tolist() for line in plan.slots] == [[0, 1, 2, 3], [1], [2]]
    exact = make("codecsight", budget=0.25).plan(layout, meta, np.arange(6))
    assert exact.tokens == 6 and np.flatnonzero(exact.slots[1]).tolist() == [1]
    with pytest.raises(ValueError, match="plans from codec metadata"):
        make("codecsight").plan(layout)


def test_rlt_drops_places_whose_pixels_did_not_change():
    pictures = torch.zeros(4, 3, 16, 12)
    pictures[1:, :, :4, :4] = 0.2  # the first cell changes once
    pictures[3, :, 12:, 8:] = 0.05  # too little
    plan = make("rlt").plan_with(pictures, Layout(4, (8, 6), GRID))
    assert plan.slots[0].all() and plan.exact
    assert [np.flatnonzero(line).tolist() for line in plan.slots[1:]] == [[0], [], []]
    exact = make("rlt", budget=14 / 48).plan_with(pictures, Layout(4, (8, 6), GRID))
    assert [np.flatnonzero(line).tolist() for line in exact.slots[1:]] == [[0], [], [11]] and exact.tokens == 14
    with pytest.raises(ValueError, match="plans from pictures"):
        make("rlt").plan(LAYOUT)


def test_rlt_compares_the_first_picture_of_a_pair_with_the_last_of_the_next():
    pictures = torch.zeros(4, 3, 16, 12)
    pictures[1, :, :4, :4] = 1.0  # shown by neither end
    pictures[3, :, 12:, 8:] = 1.0
    plan = make("rlt").plan_with(pictures, Layout(2, (8, 6), GRID, pictures=2))
    assert np.flatnonzero(plan.slots[1]).tolist() == [11]


@pytest.mark.parametrize(
    "rate, kept",
    [(0.0, 6272), (0.3, 4390), (0.5, 3136), (0.75, 1568), (0.9, 627), (0.96, 250), (0.97, 196), (0.999, 196)],
)
@pytest.mark.parametrize("name", ["evs", "vidcom2"])
def test_the_served_count_is_known_before_any_feature(name, rate, kept):
    """vLLM: max(tokens of one frame, int(total (1 - q))), here for 32 frames of 196 tokens."""
    assert make(name, budget=1 - rate).plan(Layout(32, (27, 27), (14, 14))).tokens == kept


def test_evs_of_one_frame_or_less_keeps_the_first():
    tokens, _ = clip(0)
    plan, reduced = reduce(Evs(budget=0.01), tokens, None)
    assert plan.tokens == CELLS and reduced.slots.tolist() == list(range(CELLS))


def test_rlt_gets_the_pixels_that_the_model_gets():
    given = tiny.llava_inputs()
    given["pixel_values_videos"][0, 2] = given["pixel_values_videos"][0, 1]
    model = tiny.llava()
    with apply(model, make("rlt")) as session:
        tiny.generate(model, given, new=1)
    assert session.counts.tolist() == [9, 9, 0, 9, 9] and session.plan.exact


@pytest.mark.parametrize(
    "name, options, said",
    [
        ("vidcom2", {"temperature": 0.0}, "temperature must be more than 0; got 0.0"),
        ("visionzip", {"contextual": 2.0}, "contextual must be between 0 and 1; got 2.0"),
        ("fastvid", {"beta": -1.0}, "beta must be between 0 and 1; got -1.0"),
        ("fastvid", {"every": 0}, "segments, every and neighbours must be at least 1"),
        ("flashvid", {"expansion": 0.5}, "expansion must be at least 1; got 0.5"),
        ("flashvid", {"inner": 0.0}, "inner must be more than 0 and at most 1; got 0.0"),
        ("flashvid", {"segments": 0}, "segments and neighbours must be at least 1"),
        ("codecsight", {"threshold": -1.0}, "threshold must be at least 0; got -1.0"),
        ("rlt", {"tau": -0.1}, "tau must be at least 0; got -0.1"),
    ],
)
def test_what_makes_no_sense_is_refused(name, options, said):
    with pytest.raises(ValueError, match=said):
        make(name, **options)
