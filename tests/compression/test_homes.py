"""Where folded tokens went. The oracle makes one token longer at a time, which changes no cosine, and looks which of
those that are left feel it."""

import numpy as np
import pytest
import torch

from codecmeta.compression import make
from codecmeta.compression.plan import Context, Layout
from tests.support import tiny

FRAMES, SIDE, WIDTH = 5, 4, 24
CELLS = SIDE * SIDE

PRUNING = {"evs": {"budget": 0.4}, "divprune": {"budget": 0.3}, "vidcom2": {"budget": 0.3}, "random": {"budget": 0.3}}
MERGING = {
    "metom": [{}, {"budget": 0.2}, {"budget": 0.4, "fold": "size_weighted"}, {"budget": 0.4, "chain": True}],
    "replenish": [{"budget": 0.3, "hold": hold} for hold in ("mean", "fold", "drop")],
    "holitom": [{"budget": 0.3, "tau": 0.5}, {"budget": 0.3, "contextual": 0.5}],
    "visionzip": [{"budget": 0.3}, {"budget": 0.3, "contextual": 0}],
    "flashvid": [{"budget": 0.3, "segments": 2}],
    "scissor": [{"tau": 0.7}, {"budget": 0.3}],
    "sttm": [{"layer": 0, "budget": 0.4}, {"layer": 0, "tau_s": 0.7, "tau_t": 0.4}],
    "prunevid": [{"tau": 0.6, "cluster": 0.4}, {"tau": 0.99, "cluster": 0.3}],
    "uniform": [{"mode": mode, "budget": 0.4} for mode in ("temporal", "spatial", "pool", "tokens")],
}
CASES = [(name, options) for name, every in MERGING.items() for options in every]
CASES += [(name, options) for name, options in PRUNING.items()]


def frames(seed=0):
    """Frames that resemble each other, with neighbouring places that do."""
    generator = torch.Generator().manual_seed(seed)
    scene = torch.randn(1, CELLS, WIDTH, generator=generator) + torch.randn(1, 1, WIDTH, generator=generator)
    return scene + 0.6 * torch.randn(FRAMES, CELLS, WIDTH, generator=generator)


def reduced(strategy, tokens):
    meta, rows = tiny.metadata(FRAMES), np.arange(FRAMES)
    layout = Layout(FRAMES, (SIDE, SIDE), (SIDE, SIDE), (0, 0, meta.stream.width, meta.stream.height))
    attention = torch.rand(FRAMES, CELLS, generator=torch.Generator().manual_seed(7))
    plan = strategy.plan(layout, meta, rows)
    return strategy.reduce(plan, tokens, Context(tokens, attention, None, meta, rows)), layout


@pytest.mark.parametrize("name, options", CASES, ids=[f"{name}-{options}" for name, options in CASES])
def test_what_a_place_showed_is_in_the_token_that_is_named(name, options):
    strategy, tokens = make(name, options={key: str(value) for key, value in options.items()}), frames()
    before, layout = reduced(strategy, tokens)
    homes = before.homes(layout).ravel()
    assert set(homes) <= {-1, *before.slots.tolist()} and (homes[before.slots] == before.slots).all()
    if name in PRUNING:
        assert before.into is None and (homes >= 0).sum() == len(before.slots)
    elif options.get("mode") not in ("temporal", "tokens"):
        assert ((homes >= 0).sum() > len(before.slots)) == (
            options.get("hold") != "drop" and options.get("contextual") != 0
        )
    for place, home in list(enumerate(homes.tolist()))[::7]:
        longer = tokens.clone()
        longer.flatten(0, 1)[place] *= 1 + 1e-3
        after, _ = reduced(strategy, longer)
        assert np.array_equal(after.slots, before.slots), place
        felt = before.slots[((after.tokens - before.tokens).abs().amax(dim=1) > 1e-6).numpy()]
        assert (home in felt) if home >= 0 else not len(felt), (place, home, felt)


def test_anchors_of_several_frames_take_a_token_in_and_the_nearest_is_told():
    strategy, tokens = make("fastvid", options={"budget": "0.4", "segments": "1", "every": "2", "tau": "0.1"}), frames()
    before, layout = reduced(strategy, tokens)
    homes = before.homes(layout)
    for place in np.flatnonzero(~np.isin(np.arange(tokens[..., 0].numel()), before.slots))[::2].tolist():
        longer = tokens.clone()
        longer.flatten(0, 1)[place] *= 1 + 1e-3
        felt = before.slots[((reduced(strategy, longer)[0].tokens - before.tokens).abs().amax(dim=1) > 1e-6).numpy()]
        apart = np.abs(felt // CELLS - place // CELLS)
        assert len(felt) == 3 and homes.flat[place] in felt[apart == apart.min()]  # anchors in frames 0, 2 and 4


def test_finer_features_go_where_their_place_is():
    """METok pools patches on a grid for each frame; MeToM's ragged tokens are those of patches."""
    meta, rows = tiny.metadata(FRAMES), np.arange(FRAMES)
    layout = Layout(FRAMES, (8, 8), (SIDE, SIDE), (0, 0, meta.stream.width, meta.stream.height), depth=28)
    patches = torch.randn(FRAMES, 64, WIDTH, generator=torch.Generator().manual_seed(3))
    for name, options in (("metok", {}), ("metom", {"ragged": "true", "budget": "0.2"})):
        strategy = make(name, options=options)
        plan = strategy.plan(layout, meta, rows)
        before = strategy.reduce(plan, patches[:, :CELLS], Context(patches, None, None, meta, rows))
        homes = before.homes(layout).ravel()
        assert set(homes) <= set(before.slots.tolist()) and len(set(homes)) < len(homes)
        for place in range(0, FRAMES * CELLS, 3):
            frame, row, column = np.unravel_index(place, (FRAMES, SIDE, SIDE))
            longer, region = patches.clone(), np.zeros((8, 8), bool)
            region[2 * row : 2 * row + 2, 2 * column : 2 * column + 2] = True
            if name == "metom":  # what the encoder made of a region is in all its patches
                region = plan.regions[frame] == plan.regions[frame, 2 * row, 2 * column]
            longer[frame, torch.as_tensor(region.ravel())] *= 1 + 1e-3
            after = strategy.reduce(plan, longer[:, :CELLS], Context(longer, None, None, meta, rows))
            felt = before.slots[((after.tokens - before.tokens).abs().amax(dim=1) > 1e-6).numpy()]
            stayed = homes[place] == place  # a token of one of its patches is enough
            assert homes[place] in felt or stayed or (name == "metok" and not len(felt)), (name, place)
