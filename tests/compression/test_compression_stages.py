"""RPM and BTM on tensors: against slow twins, hand-made cases and conservation laws."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from codecmeta.compression.engine.packing import Packing, merge_embeddings
from codecmeta.compression.methods.metom.btm import choose_core, fold, merge_over_time
from codecmeta.compression.methods.metom.metom import Metom
from codecmeta.compression.methods.metom.ragged import plan_ragged, token_places
from codecmeta.compression.methods.uniform import Uniform, coarse_grid
from codecmeta.compression.plan import Layout
from codecmeta.decisions.density import merge_regions
from tests.support import tiny

REGIONS = merge_regions(np.random.default_rng(0).random((4, 5, 6)).astype(np.float32), q=0.5)


def features(frames: int, cells: int, width: int = 8, seed: int = 0) -> torch.Tensor:
    return torch.randn(frames, cells, width, generator=torch.Generator().manual_seed(seed))


def test_every_patch_is_in_exactly_one_encoder_token():
    packing = Packing(REGIONS)
    assert packing.total == sum(len(np.unique(frame)) for frame in REGIONS) < REGIONS.size
    assert int(packing.sizes.sum()) == REGIONS.size
    assert sorted(packing.token.unique().tolist()) == list(range(packing.total))


def test_an_identity_encoder_scatters_back_the_mean_of_each_region():
    patches = features(4, 30)
    back = Packing(REGIONS).scatter(Packing(REGIONS).merge(patches))
    for t, regions in enumerate(REGIONS.reshape(4, 30)):
        for p in range(30):
            members = [q for q in range(30) if regions[q] == regions[p]]
            torch.testing.assert_close(back[t, p], patches[t, members].mean(0))
            if len(members) == 1:
                assert torch.equal(back[t, p], patches[t, p])


def test_padding_loses_nothing_and_its_mask_covers_exactly_the_unused_places():
    packing = Packing(REGIONS)
    tokens = features(1, packing.total)
    padded = packing.pad(tokens)
    assert padded.shape[:2] == (4, packing.counts.max())
    assert torch.equal(packing.unpad(padded), tokens)
    used = packing.bias(torch.float32)[:, 0, 0] == 0
    assert used.sum(1).tolist() == packing.counts.tolist()
    assert (padded[~used] == 0).all()
    assert Packing(np.zeros((3, 2, 2), np.int32)).bias(torch.float32) is None


def test_proportional_attention_equals_attention_over_copies():
    """log(size) on a token's scores is the same as having the token size times."""
    regions = np.array([[[0, 0, 1], [0, 2, 1]]], np.int32)
    packing = Packing(regions)
    tokens = features(1, 3)
    mask = packing.bias(torch.float32, proportional=True)
    got = torch.nn.functional.scaled_dot_product_attention(tokens[:, None], tokens[:, None], tokens[:, None], mask)
    copies = tokens[:, [0, 0, 0, 1, 1, 2]][:, None]
    want = torch.nn.functional.scaled_dot_product_attention(tokens[:, None], copies, copies)
    torch.testing.assert_close(got, want)


def test_a_ring_takes_the_position_of_its_member_nearest_to_the_centre():
    ring = np.zeros((1, 3, 3), np.int32)
    ring[0, 1, 1] = 1
    patches, positions = features(1, 9), features(1, 9, seed=1)[0]
    got = merge_embeddings(Packing(ring), patches + positions, positions, "centroid")[0]
    outside = [0, 1, 2, 3, 5, 6, 7, 8]
    torch.testing.assert_close(got[0], patches[0, outside].mean(0) + positions[1])  # 1, 3, 5, 7 are equally near
    assert torch.equal(got[1], (patches + positions)[0, 4])


def test_core_is_the_densest_cells_in_raster_order_on_ties_and_spread_without_information():
    density = np.array([[3, 1, 3, 2], [5, 5, 5, 5], [0, 0, 0, 1]], np.float32)
    core = choose_core(density, np.array([2, 2, 3]), "raster")
    assert core.astype(int).tolist() == [[1, 0, 1, 0], [0, 1, 0, 1], [1, 1, 0, 1]]
    assert not choose_core(density, np.array([0, 0, 0])).any()


def test_equal_cells_take_turns_from_frame_to_frame():
    density = np.zeros((8, 9), np.float32)
    density[:, 4] = 1
    core = choose_core(density, np.full(8, 3))
    assert core[:, 4].all() and (core.sum(1) == 3).all()
    assert core.any(0).all(), "over the clip every cell is seen"
    first = np.flatnonzero(core[0]).tolist()
    assert first == [0, 4, 5]  # of the eight equal cells the first and the fifth


def slow_btm(tokens, core, tau, span, radius, columns, rule):
    """Matching and folding one pair and one token at a time; no shared code."""
    frames, cells, _ = tokens.shape
    value = {(t, i): tokens[t, i].double() for t in range(frames) for i in range(cells)}

    def cosine(a, b):
        return float(a @ b / max(a.norm() * b.norm(), 1e-12))

    pairs = []
    for t in range(frames):
        for u in range(t + 1, min(frames, t + span + 1)):
            for i in np.flatnonzero(core[t]):
                for j in np.flatnonzero(core[u]):
                    apart = max(abs(i // columns - j // columns), abs(i % columns - j % columns))
                    similar = cosine(value[t, i], value[u, j])
                    if similar > tau and (radius is None or apart <= radius):
                        pairs.append((-similar, (t, i), (u, j)))
    home = {(t, i): (t, i) for t, i in zip(*np.nonzero(core), strict=True)}
    size = dict.fromkeys(home, 1)
    used = set()
    for _, a, b in sorted(pairs):
        if a not in used and b not in used:
            used |= {a, b}
            home[b] = a
            size[a] = 2
            value[a] = (tokens[a].double() + tokens[b].double()) / 2
    folded = {}
    for t in range(frames):
        near = min((u for u in range(frames) if core[u].any()), key=lambda u: (u > t, abs(u - t)))
        homes = sorted({home[near, i] for i in np.flatnonzero(core[near])})
        for i in np.flatnonzero(~core[t]):
            best = max(homes, key=lambda h: cosine(tokens[t, i].double(), value[h]))
            folded.setdefault(best, []).append(tokens[t, i].double())
    for h, them in folded.items():
        if rule == "half":
            value[h] = (value[h] + sum(them) / len(them)) / 2
        elif rule == "sequential":
            for one in them:
                value[h] = (value[h] + one) / 2
        elif rule == "size_weighted":
            value[h] = (value[h] * size[h] + sum(them)) / (size[h] + len(them))
    alive = sorted(h for h in home if home[h] == h)
    return [t * cells + i for t, i in alive], torch.stack([value[h] for h in alive]).float()


@pytest.mark.parametrize("rule", ["half", "sequential", "size_weighted", "drop"])
@pytest.mark.parametrize("tau, span, radius", [(0.2, 1, None), (0.1, 3, None), (-0.5, 1, 1), (2.0, 1, None)])
def test_merging_and_folding_equal_a_slow_twin(rule, tau, span, radius):
    tokens = features(5, 12, width=6, seed=3)
    counts = np.array([4, 7, 0, 12, 1])
    core = choose_core(np.random.default_rng(1).random((5, 12), np.float32), counts)
    merged = merge_over_time(tokens, core, tau, span=span, radius=radius, columns=4)
    values, _ = fold(tokens, core, merged, rule)
    alive = np.flatnonzero(merged.home == np.arange(60))
    slots, want = slow_btm(tokens, core, tau, span, radius, 4, rule)
    assert alive.tolist() == slots
    torch.testing.assert_close(values[alive], want, rtol=1e-5, atol=1e-5)
    if tau < 1:
        assert len(alive) < counts.sum()


def test_half_precision_decides_in_single():
    """Cosines around 0.9 whose last bits bfloat16 would lose: the pairs are those of the exact values."""
    base = features(1, 12, width=32, seed=5)
    tokens = torch.cat([base + 0.48 * features(1, 12, width=32, seed=6 + t) for t in range(3)]).bfloat16()
    core = np.ones((3, 12), bool)
    exact = tokens.double()
    units = exact / exact.norm(dim=-1, keepdim=True)
    twins = [float(units[t, i] @ units[t + 1, i]) for t in range(2) for i in range(12)]
    for tau in sorted(twins)[4:20]:  # each time one pair is just above, or just below
        for edge in (tau - 1e-6, tau + 1e-6):
            merged = merge_over_time(tokens, core, edge)
            slots, want = slow_btm(tokens.float(), core, edge, 1, None, 4, "drop")
            assert np.flatnonzero(merged.home == np.arange(36)).tolist() == slots and 0 < 36 - len(slots) < 24
            torch.testing.assert_close(merged.values[slots].float(), want, rtol=0.01, atol=0.01)


def test_with_everything_in_the_core_and_no_pair_alike_nothing_changes():
    tokens = features(3, 9)
    core = np.ones((3, 9), bool)
    merged = merge_over_time(tokens, core, tau=1.01)
    assert torch.equal(fold(tokens, core, merged)[0], tokens.flatten(0, 1))
    assert (merged.home == np.arange(27)).all()


def test_two_equal_frames_pair_every_token_with_its_twin():
    tokens = features(1, 9).expand(2, 9, 8).clone()
    merged = merge_over_time(tokens, np.ones((2, 9), bool), tau=1 - 1e-5)
    assert merged.home.tolist() == [*range(9), *range(9)]
    torch.testing.assert_close(merged.values[:9], tokens[0], rtol=1e-6, atol=1e-6)


def test_chains_link_equal_tokens_of_many_frames_in_the_first_slot():
    tokens = features(1, 4).expand(5, 4, 8).clone()
    merged = merge_over_time(tokens, np.ones((5, 4), bool), tau=0.999, chain=True)
    assert merged.home.tolist() == [*range(4)] * 5
    assert merged.size[:4].tolist() == [5] * 4
    torch.testing.assert_close(merged.values[:4], tokens[0])


def test_what_is_folded_keeps_the_number_of_tokens_and_half_of_the_core():
    tokens = torch.tensor([[[1.0, 0], [1, 0.2], [1, -0.4], [0, 1]]])
    core = np.array([[True, False, False, True]])
    values, _ = fold(tokens, core, merge_over_time(tokens, core, 2.0))
    torch.testing.assert_close(values[0], torch.tensor([1.0, -0.05]))  # (h + mean of two) / 2
    assert torch.equal(values[3], tokens[0, 3])


def test_plan_spends_the_budget_and_says_whether_it_is_exact():
    layout = Layout(tiny.FRAMES, (tiny.SIDE,) * 2, (tiny.TOKENS,) * 2)
    rows = np.arange(tiny.FRAMES)
    plan = Metom(budget=0.5, tau_tem=2).plan(layout, tiny.metadata(), rows)
    assert plan.exact and plan.tokens == 22 == plan.slots.sum()
    assert (plan.slots.sum(1) == plan.counts).all()
    assert not Metom(budget=0.5).plan(layout, tiny.metadata(), rows).exact
    again = Metom(budget=0.5).plan(layout, tiny.metadata(), rows)
    assert (again.regions == plan.regions).all() and (again.slots == plan.slots).all()


def test_stages_can_be_switched_off_one_by_one():
    layout = Layout(tiny.FRAMES, (tiny.SIDE,) * 2, (tiny.TOKENS,) * 2)
    rows = np.arange(tiny.FRAMES)
    only_btm = Metom(budget=0.5, rpm=False).plan(layout, tiny.metadata(), rows)
    only_rpm = Metom(budget=0.5, btm=False).plan(layout, tiny.metadata(), rows)
    assert only_btm.regions is None and only_btm.slots is not None
    assert only_rpm.regions is not None and only_rpm.slots is None and only_rpm.tokens == layout.tokens_full


def test_unpooled_tokens_lie_in_the_slot_that_covers_them():
    """Twice as many patches as slots along each side, and the sides differ."""
    want = [t * 6 + row // 2 * 3 + column // 2 for t in range(2) for row in range(4) for column in range(6)]
    assert token_places(Layout(2, (4, 6), (2, 3))).tolist() == want


def test_of_equal_unpooled_tokens_some_are_spread_or_the_first():
    """Where no patches are merged: one patch is dense, seven are equal and two of these may stay."""
    density = np.zeros((1, 2, 4), np.float32)
    density[0, 0, 2] = 1
    for ties, want in (("spread", [0, 2, 4]), ("raster", [0, 1, 2])):
        plan = plan_ragged(Layout(1, (2, 4), (1, 2)), None, density, lambda counts: counts - 5, ties, True)
        assert plan.alive.all() and np.flatnonzero(plan.core).tolist() == want and plan.counts.tolist() == [3]


def test_the_density_of_a_window_needs_what_is_between_the_samples():
    """Residual that falls between two samples alone decides with window_density; without it, it is not seen."""
    layout, rows = Layout(3, (7, 7), (7, 7)), np.array([2, 7, 12])
    meta = tiny.metadata(rows=15)
    values = np.full(meta.residual.values.shape, 0.25, np.float16)
    values[:, :, 6:] = 1  # weak, on the right
    values[[5, 6, 8, 9], :2] = 50  # strong, at the top, but not in a sampled frame
    meta = replace(meta, residual=replace(meta.residual, values=values))
    core = {
        window: Metom(budget=7 / 49, minimum=7, rpm=False, window_density=window).plan(layout, meta, rows).slots[1]
        for window in (False, True)
    }
    assert np.flatnonzero(core[True]).tolist() == list(range(7))
    assert (np.flatnonzero(core[False]) % 7 >= 3).all()
    sampled = replace(meta, residual=replace(meta.residual, frame=rows, values=values[rows]))
    assert Metom(rpm=False).plan(layout, sampled, rows).tokens == 73
    with pytest.raises(ValueError, match="extract it with frames='all'"):
        Metom(rpm=False, window_density=True).plan(layout, sampled, rows)


def test_uniform_grids():
    assert [coarse_grid((14, 14), n) for n in (196, 98, 49, 1)] == [(14, 14), (7, 14), (7, 7), (1, 1)]
    layout = Layout(8, (4, 4), (4, 4))
    plan = Uniform(budget=0.25, mode="spatial").plan(layout)
    tokens = features(8, 16)
    reduced = Uniform(budget=0.25, mode="spatial").reduce(plan, tokens)
    torch.testing.assert_close(reduced.tokens[1], tokens[0, [2, 3, 6, 7]].mean(0))
    assert reduced.slots[:4].tolist() == [0, 2, 8, 10]
    frames = Uniform(budget=0.5).plan(layout).counts
    assert frames.tolist() == [16, 0, 16, 0, 0, 16, 0, 16]
