"""Strategies on Qwen2-VL and Qwen2.5-VL: windows of four patches, pairs of pictures, positions in three dimensions."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from codecmeta.compression import (
    METHODS,
    Metok,
    Metom,
    Plan,
    RandomKeep,
    Strategy,
    Uniform,
    adapter_for,
    apply,
)
from codecmeta.compression.engine.attention import attention_rows
from codecmeta.compression.engine.packing import Packing
from codecmeta.compression.engine.transformers_names import cache_of
from codecmeta.decisions.density import merge_regions, patch_density
from tests.support import tiny
from tests.support.methods import nothing_to_do
from tests.support.references import entering, masked_logits

PICTURES = 2 * tiny.FRAMES
ROWS = np.arange(PICTURES)
FULL = tiny.FRAMES * tiny.TOKENS**2
PROMPT = tiny.BEFORE + FULL + tiny.AFTER
META = tiny.metadata(PICTURES)


@pytest.fixture(
    scope="module", params=[("sdpa", False), ("eager", False), ("sdpa", True), ("eager", True)],
    ids=["qwen2-sdpa", "qwen2-eager", "qwen2.5-sdpa", "qwen2.5-eager"],
)  # fmt: skip
def model(request):
    return tiny.qwen(attention=request.param[0], windowed=request.param[1])


@pytest.fixture(scope="module")
def qwen2():
    return tiny.qwen()


@pytest.mark.parametrize("name", METHODS)
def test_nothing_to_do_is_bit_identical(model, name):
    plain = tiny.generate(model, tiny.qwen_inputs())
    options = dict(nothing_to_do(name))
    if name == "metom":
        options |= {"matm": True, "matm_layer": 2, "percent": 1}  # inside the layers, too
    with apply(model, METHODS[name](**options), META, frames=ROWS) as session:
        ids, logits = tiny.generate(model, tiny.qwen_inputs())
    assert torch.equal(ids, plain[0]) and torch.equal(logits, plain[1])
    assert session.tokens_kept == session.tokens_full == FULL
    assert session.encoder_tokens == session.encoder_full == 4 * FULL
    assert len(set(ids.tolist())) > 3, "an answer that repeats itself would hide differences"


def embeddings_and_positions(model, inputs):
    """Of the prompt: (1, length, width) and (3, 1, length)."""
    entered = entering(model, inputs)
    return entered["inputs_embeds"], entered["position_ids"][-3:]


@pytest.mark.parametrize(
    "strategy", [RandomKeep(), Uniform(budget=0.5, mode="spatial"), Metom(rpm=False), Metom(rpm=False, tau_tem=0.1)]
)
def test_after_dropping_logits_equal_a_masked_reference_and_triples_are_the_originals(model, strategy):
    inputs = tiny.qwen_inputs()
    positions = []

    def look(module, args, kwargs):
        positions.append(kwargs["position_ids"][-3:])

    with apply(model, strategy, META, frames=ROWS) as session:
        # registered later than the session's own, so it sees what the language model gets
        handle = model.model.language_model.register_forward_pre_hook(look, with_kwargs=True)
        ids, logits = tiny.generate(model, inputs, new=9)
        handle.remove()
    embeddings, triples = embeddings_and_positions(model, inputs)
    grid = embeddings[0, tiny.BEFORE : tiny.BEFORE + FULL].unflatten(0, (tiny.FRAMES, -1))
    reduced = strategy.reduce(session.plan, grid)
    keep = torch.ones(PROMPT, dtype=torch.bool)
    keep[tiny.BEFORE : tiny.BEFORE + FULL] = False
    keep[tiny.BEFORE + reduced.slots] = True
    assert torch.equal(positions[0], triples[..., keep])
    last = triples[0, 0, -1]
    assert [p.flatten().tolist() for p in positions[1:]] == [[last + n] * 3 for n in range(1, 9)]

    embeddings = embeddings.clone()
    embeddings[0, tiny.BEFORE + reduced.slots] = reduced.tokens
    new = (last + torch.arange(1, 9)).expand(3, 1, 8)
    want = masked_logits(model, embeddings, keep, ids, torch.cat((triples, new), -1))
    assert session.tokens_kept < FULL
    assert (logits - want).abs().max() <= 1e-5 * want.abs().max()


def test_every_frame_alone_on_its_own_windows_gives_what_the_packed_encoder_gives(qwen2):
    inputs = tiny.qwen_inputs()
    strategy = Metom(budget=1.0, q=0.6, min_keep=0.1)
    with torch.no_grad(), apply(qwen2, strategy, META, frames=ROWS) as session:
        got = qwen2.model.visual(inputs["pixel_values_videos"], grid_thw=inputs["video_grid_thw"]).pooler_output
    density = patch_density(META, ROWS, (3, 3)).reshape(tiny.FRAMES, 2, 3, 3).mean(1)
    regions = merge_regions(density, q=0.6, min_keep=0.1)
    assert session.encoder_tokens == 4 * sum(len(np.unique(frame)) for frame in regions) < 4 * FULL
    visual = qwen2.model.visual
    want = []
    with torch.no_grad():
        for t, frame in enumerate(regions):
            patches = inputs["pixel_values_videos"][t * 36 : (t + 1) * 36]
            windows = visual.patch_embed(patches).unflatten(0, (9, 4))
            tokens, places = [], []
            for k in range(frame.max() + 1):
                members = np.flatnonzero(frame.ravel() == k)
                tokens.append(windows[members].mean(0))
                where = np.stack(np.unravel_index(members, (3, 3)), 1)
                centre = members[((where - where.mean(0)) ** 2).sum(1).round(9).argmin()]
                row, column = divmod(int(centre), 3)
                places += [(2 * row + i, 2 * column + j) for i in range(2) for j in range(2)]
            frequencies = 1 / 10000 ** (torch.arange(0, 8, 2) / 8)  # 16 angles per head: 4 for rows, 4 for columns
            angle = torch.tensor(places)[..., None] * frequencies
            angle = torch.cat((angle[:, 0], angle[:, 1]), -1).repeat(1, 2)
            hidden = torch.cat(tokens)
            ends = torch.tensor([0, len(hidden)], dtype=torch.int32)
            for block in visual.blocks:
                hidden = block(hidden, cu_seqlens=ends, position_embeddings=(angle.cos(), angle.sin()))
            want.append(visual.merger(hidden)[frame.ravel()])
    want = torch.cat(want)
    assert (got - want).abs().max() <= 1e-5 * want.abs().max()


def test_ragged_tokens_are_one_per_region_with_the_triple_of_its_centre(model):
    """Nothing is pooled here, so a region's token is what the grid has at its central place."""
    strategy = Metom(budget=1.0, btm=False, ragged=True, q=0.6, min_keep=0.1)
    positions = []

    def look(module, args, kwargs):
        positions.append(kwargs["position_ids"][-3:])

    with apply(model, strategy, META, frames=ROWS) as session:
        handle = model.model.language_model.register_forward_pre_hook(look, with_kwargs=True)
        tiny.generate(model, tiny.qwen_inputs(), new=1)
        handle.remove()
    packing = Packing(session.plan.regions)
    frame = np.repeat(np.arange(tiny.FRAMES), packing.counts)
    slots = np.sort(frame * 9 + packing.central_patch.numpy())
    triples = embeddings_and_positions(model, tiny.qwen_inputs())[1]
    assert torch.equal(positions[0][:, 0, tiny.BEFORE : -tiny.AFTER], triples[:, 0, tiny.BEFORE + slots])
    assert session.tokens_kept == packing.total < FULL


WINDOWED = {"grid": (10, 14)}
"""5 x 7 tokens: whole windows of 2 x 2 of them, and rests of one row and one column."""


@pytest.fixture(scope="module", params=["sdpa", "eager"])
def windowed(request):
    return tiny.qwen(attention=request.param, windowed=True)


def windowed_regions(q=0.7):
    """Regions by hand: those of every window, from the density of its own cells with the frame's threshold."""
    density = patch_density(META, ROWS, (5, 7)).reshape(tiny.FRAMES, 2, 5, 7).mean(1)
    return merge_regions(density, q=q, min_keep=0.1, tile=2)


def test_regions_stay_inside_windows_and_frames_and_take_every_patch_once(windowed):
    with torch.no_grad(), apply(windowed, Metom(budget=1.0, q=0.7, min_keep=0.1), META, frames=ROWS) as session:
        tiny.generate(windowed, tiny.qwen_inputs(**WINDOWED), new=1)
    regions = session.plan.regions
    window = (np.arange(5)[:, None] // 2) * 4 + np.arange(7)[None] // 2
    packing = Packing(regions, order=adapter_for(windowed).patch_order(session.plan.layout))
    assert int(packing.sizes.sum()) == regions.size and (packing.sizes > 0).all()
    frames_of, windows_of = {}, {}
    for token, (t, cell) in zip(
        packing.token.tolist(), ((t, cell) for t in range(tiny.FRAMES) for cell in packing.order), strict=True
    ):
        frames_of.setdefault(token, set()).add(t)
        windows_of.setdefault(token, set()).add(window.ravel()[cell])
    assert all(len(one) == 1 for one in [*frames_of.values(), *windows_of.values()])
    assert session.encoder_tokens == 4 * packing.total < session.encoder_full == 4 * regions.size
    assert (session.plan.encoder_tokens == 4 * packing.counts).all()
    assert 1 < max(packing.sizes.tolist()) <= 4


def test_every_frame_and_window_alone_gives_what_the_packed_encoder_gives(windowed):
    inputs = tiny.qwen_inputs(**WINDOWED)
    with torch.no_grad(), apply(windowed, Metom(budget=1.0, q=0.7, min_keep=0.1), META, frames=ROWS):
        got = windowed.model.visual(inputs["pixel_values_videos"], grid_thw=inputs["video_grid_thw"]).pooler_output
    regions = windowed_regions()
    assert len({len(np.unique(frame)) for frame in regions}) > 1
    visual = windowed.model.visual
    frequencies = 1 / 10000 ** (torch.arange(0, 8, 2) / 8)
    want = torch.zeros_like(got).unflatten(0, (tiny.FRAMES, 5, 7))
    with torch.no_grad():
        for t, frame in enumerate(regions):
            patches = inputs["pixel_values_videos"][t * 140 : (t + 1) * 140]
            windows = visual.patch_embed(patches).unflatten(0, (35, 4))
            pieces, angles, labels = [], [], []
            for y in range(0, 5, 2):
                for x in range(0, 7, 2):
                    tokens, places = [], []
                    for label in np.unique(frame[y : y + 2, x : x + 2]):
                        members = np.argwhere(frame == label)
                        distance = ((members - members.mean(0)) ** 2).sum(1).round(9)
                        row, column = members[distance.argmin()]
                        tokens.append(windows[[r * 7 + c for r, c in members]].mean(0))
                        places += [(2 * row + i, 2 * column + j) for i in range(2) for j in range(2)]
                        labels.append(label)
                    angle = torch.tensor(np.array(places))[..., None] * frequencies
                    angles.append(torch.cat((angle[:, 0], angle[:, 1]), -1).repeat(1, 2))
                    pieces.append(torch.cat(tokens))

            def block(number, hidden, angle):
                ends = torch.tensor([0, len(hidden)], dtype=torch.int32)
                return visual.blocks[number](hidden, cu_seqlens=ends, position_embeddings=(angle.cos(), angle.sin()))

            hidden = torch.cat([block(0, *window) for window in zip(pieces, angles, strict=True)])
            merged = visual.merger(block(1, hidden, torch.cat(angles)))
            for label, token in zip(labels, merged, strict=True):
                want[t, torch.as_tensor(frame == label)] = token
    assert (got - want.flatten(0, 2)).abs().max() <= 1e-5 * want.abs().max()


@dataclass(frozen=True, kw_only=True)
class GivenRegions(Strategy):
    """RPM with the regions that a test wants."""

    name = "given regions"
    regions: tuple = ()
    pos: str = "mean"

    def plan(self, layout, meta=None, rows=None):
        labels = np.array(self.regions, np.int32).reshape(1, *layout.patches).repeat(layout.frames, 0)
        return Plan(layout, np.full(layout.frames, layout.tokens_per_frame), regions=labels)


def test_regions_of_single_windows_are_bit_identical_and_those_across_windows_are_refused(windowed):
    inputs = tiny.qwen_inputs(**WINDOWED)
    plain = tiny.generate(windowed, inputs)
    with apply(windowed, GivenRegions(regions=tuple(range(35)))):
        ids, logits = tiny.generate(windowed, inputs)
    assert torch.equal(ids, plain[0]) and torch.equal(logits, plain[1])
    across = np.concatenate(([0], [1, 1], np.arange(2, 34)))  # cells 1 and 2 of a row are in two windows
    with pytest.raises(ValueError, match="cross the encoder's windows of 2x2"):
        with apply(windowed, GivenRegions(regions=tuple(across.tolist()))):
            tiny.generate(windowed, inputs, new=1)


def test_only_as_many_rows_as_tokens_pass_through_the_windowed_encoder(windowed):
    rows = []
    with torch.no_grad(), apply(windowed, Metom(q=0.7, min_keep=0.1), META, frames=ROWS) as session:
        parts = [*(block.mlp for block in windowed.model.visual.blocks), windowed.model.visual.merger]
        handles = [part.register_forward_pre_hook(lambda module, args: rows.append(len(args[0]))) for part in parts]
        windowed(**tiny.qwen_inputs(**WINDOWED))
        for handle in handles:
            handle.remove()
    assert rows == [session.encoder_tokens] * 3 and rows[0] < session.encoder_full


def test_rows_of_attention_equal_those_of_an_eager_model():
    model = tiny.qwen(attention="eager")
    rows = {}

    def look(module, args, kwargs, output):
        rows[module.layer_idx] = attention_rows(module, kwargs, 4)

    layers = model.model.language_model.layers
    handles = [layer.self_attn.register_forward_hook(look, with_kwargs=True) for layer in layers]
    with torch.no_grad():
        whole = model(**tiny.qwen_inputs(), output_attentions=True).attentions
    for handle in handles:
        handle.remove()
    assert sorted(rows) == [0, 1, 2, 3]
    for number, probabilities in rows.items():
        torch.testing.assert_close(probabilities, whole[number][0, :, -4:], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("windowed", [False, True])
@torch.no_grad()
def test_dropping_at_a_layer_equals_a_masked_reference(windowed):
    """The least attended half goes at layer 2; scores from the plain model's own attention maps."""
    model, inputs = tiny.qwen(attention="eager", windowed=windowed), tiny.qwen_inputs()
    strategy = Metom(rpm=False, btm=False, matm=True, matm_layer=2, matm_fold="drop")
    with apply(model, strategy, META, frames=ROWS):
        ids, logits = tiny.generate(model, inputs, new=9)
    maps = model(**inputs, output_attentions=True).attentions
    visual = slice(tiny.BEFORE, tiny.BEFORE + FULL)
    score = torch.stack([maps[layer][0, :, -1, visual].mean(0) for layer in (0, 1)]).mean(0)
    gone = score.argsort()[: FULL // 2] + tiny.BEFORE
    embeddings, triples = embeddings_and_positions(model, inputs)
    hidden = torch.cat((embeddings, model.get_input_embeddings()(ids[None, :-1])), 1)
    total = hidden.shape[1]
    new = (triples[0, 0, -1] + torch.arange(1, 9)).expand(3, 1, 8)
    lm = model.model.language_model
    rotary = lm.rotary_emb(hidden, torch.cat((triples, new), -1))
    allowed = torch.ones(total, total).tril().bool()
    for number, layer in enumerate(lm.layers):
        if number == 2:
            allowed[:, gone] = False
            allowed |= torch.eye(total, dtype=torch.bool)
        mask = torch.zeros(total, total).masked_fill(~allowed, torch.finfo(torch.float32).min)[None, None]
        hidden = layer(hidden, attention_mask=mask, position_embeddings=rotary)
    want = model.lm_head(lm.norm(hidden)[0, PROMPT - 1 :])
    assert (logits - want).abs().max() <= 1e-5 * want.abs().max()


def test_matm_and_metok_shorten_every_layers_cache(model):
    text = tiny.BEFORE + tiny.AFTER
    with apply(model, Metom(rpm=False, btm=False, matm=True, matm_layer=2), META, frames=ROWS) as session:
        tiny.generate(model, tiny.qwen_inputs(), new=2)
    assert session.layer_tokens == [45, 45, 23, 23]
    assert session.kv_bytes == sum(n + text for n in session.layer_tokens) * 2 * 2 * 12 * 4
    strategy = Metok(boundaries="codec", n_events=3, key_frames=1, layers=(1, 2, 3))
    with apply(model, strategy, META, frames=ROWS) as session:
        tiny.generate(model, tiny.qwen_inputs(), new=2)
    assert (session.counts == session.plan.counts).all()  # this model has no newline token to count
    assert session.layer_tokens[0] == session.tokens_kept and session.layer_tokens[3] == 0
    assert session.kv_bytes == (session.tokens_kept + 4 * text) * 2 * 2 * 12 * 4


@torch.no_grad()
def loop(model, new_ids):
    """Decode given tokens without passing positions: logits (new, vocabulary) and the positions that were used."""
    positions = []

    def look(module, args, kwargs):
        positions.append(kwargs["position_ids"][-3:, 0, -1].tolist())

    handle = model.model.language_model.register_forward_pre_hook(look, with_kwargs=True)
    out = model(**tiny.qwen_inputs(), use_cache=True)
    steps = [out.logits[0, -1]]
    for token in new_ids[:-1]:
        out = model(input_ids=token[None, None], **tiny.given(model, cache_of(out)), use_cache=True)
        steps.append(out.logits[0, -1])
    handle.remove()
    return torch.stack(steps), positions


def test_a_loop_that_counts_positions_from_the_cache_gets_those_of_the_plain_model(model):
    """Without position ids the model counts from its cache, which is shorter than the prompt was."""
    with apply(model, RandomKeep()):
        ids, logits = tiny.generate(model, tiny.qwen_inputs(), new=5)
        steps, positions = loop(model, ids)
    _, plain = loop(model, ids)
    assert positions == plain
    if positions[1][0] == positions[0][0] + 1:  # Qwen2.5 counts on from the video's last second here, generate() not
        torch.testing.assert_close(steps, logits, rtol=1e-5, atol=1e-5)


def test_what_cannot_be_done_is_refused(qwen2):
    with pytest.raises(ValueError, match="rows and columns"), apply(qwen2, RandomKeep(keep_ids=False)):
        pass
    with (
        pytest.raises(ValueError, match="proportional"),
        apply(qwen2, Metom(q=0.6, proportional=True), META, frames=ROWS),
    ):
        tiny.generate(qwen2, tiny.qwen_inputs())
    with pytest.raises(ValueError, match="10 pictures, but 5 frame rows"):
        with apply(qwen2, Metom(), META, frames=ROWS[:5]):
            tiny.generate(qwen2, tiny.qwen_inputs())
