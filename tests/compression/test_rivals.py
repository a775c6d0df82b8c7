"""The compared methods inside stock generate(), on all three families: against slow twins in a masked reference."""

import numpy as np
import pytest
import torch
from transformers.models.qwen2_vl.modeling_qwen2_vl import apply_rotary_pos_emb_vision

from codecmeta.compression import (
    METHODS,
    Dycoke,
    Evs,
    FastV,
    Holitom,
    Metom,
    RandomKeep,
    Reduced,
    Sttm,
    Tome,
    Uniform,
    apply,
    make,
)
from codecmeta.compression.engine.transformers_names import cache_of
from codecmeta.compression.methods.metom.twins import frame_difference
from codecmeta.compression.methods.sttm import calibrate
from tests.support import slow_rivals as slow
from tests.support import tiny
from tests.support.rival_cases import CASES, FULL, GRID, VISUAL, context_of, entering_with_attention, reference

FAMILIES = {
    "llava": (lambda attention: tiny.llava(attention=attention), tiny.llava_inputs),
    "qwen2": (lambda attention: tiny.qwen(attention=attention), tiny.qwen_inputs),
    "qwen2.5": (lambda attention: tiny.qwen(attention=attention, windowed=True), tiny.qwen_inputs),
}


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    """(model under test, the same weights in a model that shows its attention, its inputs, pictures per frame)."""
    build, inputs = FAMILIES[request.param]
    return build("sdpa"), build("eager"), inputs, 1 if request.param == "llava" else 2


@pytest.mark.parametrize("name", CASES)
def test_logits_equal_a_full_length_reference_that_masks_what_was_removed(family, name):
    model, eager, inputs, per_frame = family
    strategy, before, at, decide, rows = CASES[name]
    strategy = type(strategy)(**{**vars(strategy), "keep_ids": True})
    with apply(model, strategy, **context_of(model, per_frame)) as session:
        ids, logits = tiny.generate(model, inputs(), new=9)
    embeddings, positions, attention = entering_with_attention(model, inputs())
    grid = embeddings[0, VISUAL].unflatten(0, (tiny.FRAMES, -1))
    left = None if before is None else before(grid, attention)
    want = reference(eager, embeddings, positions, ids, left, at, decide, rows)
    assert (logits - want).abs().max() <= 1e-5 * want.abs().max()
    assert session.layer_tokens[-1] < FULL
    plain = tiny.generate(model, inputs(), new=1)[1]
    assert (logits[0] - plain[0]).abs().max() > 1e-2 * plain.abs().max(), "what is removed must matter"
    if left is not None:
        assert session.tokens_kept == len(left)


def test_after_eviction_new_tokens_see_less_in_deep_layers_and_the_cache_is_shorter(family):
    model, eager, inputs, _ = family
    strategy = Dycoke(budget=1.0, evict=0.7, evict_layer=2)
    with apply(model, strategy) as session:
        ids, logits = tiny.generate(model, inputs(), new=9)
    embeddings, positions, _ = entering_with_attention(model, inputs())

    def unseen(scores):
        kept = slow.best_places(scores, int(0.3 * FULL))
        return [i for i in range(FULL) if i not in kept]

    want = reference(eager, embeddings, positions, ids, None, None, None, forgotten=(2, unseen))
    assert (logits - want).abs().max() <= 1e-5 * want.abs().max()
    padded = inputs()
    for key in {"input_ids", "attention_mask", "mm_token_type_ids"} & set(padded):
        padded[key] = torch.nn.functional.pad(padded[key], (3, 0))
    with apply(eager, strategy):  # with a mask in every step, of which only the columns in the cache may be left
        torch.testing.assert_close(tiny.generate(eager, padded, new=9)[1], logits, rtol=1e-4, atol=1e-4)
    text = embeddings.shape[1] - FULL
    assert session.layer_tokens == [FULL] * 4
    assert session.kv_bytes == (2 * (FULL + text) + 2 * (13 + text)) * 2 * 2 * 12 * 4
    with pytest.raises(ValueError, match="cannot take a second question"), torch.no_grad():
        with apply(model, strategy):
            cache = cache_of(model(**inputs(), use_cache=True))
            model(input_ids=torch.tensor([[3, 4]]), **tiny.given(model, cache))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("padding", [0, 3])
def test_the_first_new_position_follows_the_largest_of_the_prompt(family, name, padding):
    """And survivors keep their own: seen at the last layer, after everything that was cut."""
    model, _, inputs, per_frame = family
    strategy = CASES[name][0]
    given = inputs()
    if padding:
        pad = torch.zeros(1, padding, dtype=torch.long)
        for key in ("input_ids", "attention_mask", "mm_token_type_ids"):
            if key in given:
                given[key] = torch.cat((pad, given[key]), 1)
    seen, angles = [], []

    def look(module, args, kwargs):
        positions = kwargs["position_ids"]
        seen.append(positions[-3:].reshape(-1, positions.shape[-1]))

    def look_deep(module, args, kwargs):
        angles.append(kwargs["position_embeddings"][0])

    def record():
        seen.clear(), angles.clear()
        lm = model.model.language_model
        handles = [
            lm.register_forward_pre_hook(look, with_kwargs=True),
            lm.layers[-1].register_forward_pre_hook(look_deep, with_kwargs=True),
        ]
        tiny.generate(model, given, new=4)
        for handle in handles:
            handle.remove()
        return [*seen], angles[0].reshape(-1, angles[0].shape[-1]).tolist()

    plain, original = record()
    with apply(model, strategy, **context_of(model, per_frame)) as session:
        positions, kept = record()
    gapless = per_frame == 1 and session.tokens_kept < FULL
    removed = FULL - session.tokens_kept if gapless else 0
    last = plain[0][:, -1:]
    assert per_frame > 1 or last == plain[0].max()
    assert [one.tolist() for one in positions[1:]] == [(last - removed + n).tolist() for n in (1, 2, 3)]
    assert [one.tolist() for one in plain[1:]] == [(last + n).tolist() for n in (1, 2, 3)]
    if not gapless:
        assert len(kept) < len(original) and {tuple(row) for row in kept} <= {tuple(row) for row in original}


@pytest.mark.parametrize(
    "strategy",
    [
        Tome(budget=1.0, scrambled=True),
        Sttm(budget=1.0, layer=0),
        Sttm(tau_s=2.0, tau_t=2.0),
        RandomKeep(budget=1.0, layer=2),
        Uniform(budget=1.0, mode="tokens"),
        Holitom(budget=1.0, inner=0.0),
        Dycoke(budget=1.0, window=2),
        Metom(budget=1.0, density_source="pixels", weights="curvature", q=0.0),
    ],
    ids=repr,
)
def test_at_full_budget_every_variant_is_bit_identical(family, strategy):
    model, _, inputs, per_frame = family
    plain = tiny.generate(model, inputs())
    with apply(model, strategy, **context_of(model, per_frame)) as session:
        ids, logits = tiny.generate(model, inputs())
    assert torch.equal(ids, plain[0])
    if session.plan.slots is None:
        assert torch.equal(logits, plain[1])
    else:  # through the whole machinery, which hands positions over
        torch.testing.assert_close(logits, plain[1], rtol=1e-5, atol=1e-5)
    assert session.layer_tokens == [FULL] * 4


def test_vision_attention_is_the_encoders_own(family):
    """By the attention maps that the encoder itself shows, or, where it shows none, one head and row at a time."""
    model, eager, inputs, per_frame = family
    attention = entering_with_attention(model, inputs())[2]
    seen = {}
    tower = eager.model.vision_tower if per_frame == 1 else eager.model.visual
    if per_frame == 1:
        last = (
            tower.encoder.layers[-1].self_attn if hasattr(tower, "encoder") else tower.vision_model.encoder.layers[-1]
        )
        handle = last.register_forward_hook(lambda module, args, output: seen.update(weights=output[1]))
        with torch.no_grad():
            eager(**inputs())
        handle.remove()
        patches = seen["weights"].mean((1, 2))
        want = torch.nn.functional.interpolate(patches.view(-1, 1, 6, 6), size=(3, 3), mode="bilinear").flatten(1)
    else:
        order = window_order(eager, inputs())
        handle = tower.blocks[-1].attn.register_forward_pre_hook(
            lambda module, args, kwargs: seen.update(kwargs, hidden=args[0] if args else kwargs["hidden_states"]),
            with_kwargs=True,
        )
        with torch.no_grad():
            eager(**inputs())
            handle.remove()
            attn = tower.blocks[-1].attn
            qkv = attn.qkv(seen["hidden"]).reshape(len(seen["hidden"]), 3, 2, 16)
            q, k = apply_rotary_pos_emb_vision(qkv[:, 0], qkv[:, 1], *seen["position_embeddings"])
        frames = []
        for t in range(tiny.FRAMES):
            part = slice(36 * t, 36 * t + 36)
            maps = torch.stack([(q[part, h].double() @ k[part, h].double().T / 4).softmax(-1) for h in range(2)])
            received = torch.zeros(9, dtype=torch.float64)
            for place in range(9):
                received[order[place]] = maps[:, :, 4 * place : 4 * place + 4].mean((0, 1)).mean()
            frames.append(received)
        want = torch.stack(frames).float()
    torch.testing.assert_close(attention, want, rtol=1e-4, atol=1e-7)
    assert want.std() > 1e-3 * want.mean()


def window_order(model, inputs):
    """The raster number of each token of a frame, in the order in which the blocks take them: by matching values."""
    seen = {}
    visual = model.model.visual
    handles = [
        visual.patch_embed.register_forward_hook(lambda module, args, output: seen.update(raster=output)),
        visual.blocks[0].register_forward_pre_hook(
            lambda module, args, kwargs: seen.update(taken=args[0] if args else kwargs["hidden_states"]),
            with_kwargs=True,
        ),
    ]
    with torch.no_grad():
        model(**inputs)
    for handle in handles:
        handle.remove()
    first = seen["raster"][:36:4]
    return [int((first == row).all(1).nonzero()[0]) for row in seen["taken"][:36:4]]


def test_pixels_reach_the_twin_as_they_were_shown(family):
    model, _, inputs, per_frame = family
    given = inputs()
    strategy = Metom(budget=0.5, rpm=False, density_source="pixels", weights="uniform", tau_tem=2.0)
    with apply(model, strategy) as session:
        tiny.generate(model, given, new=1)
    if per_frame == 1:
        pictures = given["pixel_values_videos"][0, :, :, :48, :48]
    else:  # rows of the inputs are 2x2 patches of one token after the other
        pictures = torch.zeros(2 * tiny.FRAMES, 3, 24, 24)
        for number, row in enumerate(given["pixel_values_videos"]):
            t, rest = divmod(number, 36)
            token, inner = divmod(rest, 4)
            r, c = 2 * (token // 3) + inner // 2, 2 * (token % 3) + inner % 2
            patch = row.view(3, 2, 4, 4)
            pictures[2 * t : 2 * t + 2, :, 4 * r : 4 * r + 4, 4 * c : 4 * c + 4] = patch.transpose(0, 1)
    change = frame_difference(pictures, GRID, per_frame).reshape(tiny.FRAMES, -1)
    for t in range(1, tiny.FRAMES):
        assert np.flatnonzero(session.plan.slots[t]).tolist() == slow.best_places(change[t], session.plan.counts[t])
    assert session.tokens_kept == 22


REASON = {"dycoke": "whole"}


@pytest.mark.parametrize("budget", [1.0, 0.5, 0.3, 0.2, 0.1])
@pytest.mark.parametrize("name", sorted(set(METHODS) - {"none", "metom", "metok", "flashvid", "prunevid", "sparsevlm"}))
def test_realised_tokens_are_the_budget_where_the_method_can_and_never_more(name, budget):
    model, frames = tiny.llava(), 16
    full = frames * 9
    inside = name in ("fastv", "tome", "sttm", "dart")
    options = {"mode": "tokens"} if name == "uniform" else {}
    strategy = make(name, budget=budget, **options)
    if name == "dycoke" and budget < 0.25:
        with pytest.raises(ValueError, match="every 4th frame whole"), apply(model, strategy):
            tiny.generate(model, tiny.llava_inputs(frames), new=1)
        return
    with apply(model, strategy, tiny.metadata(frames), frames=np.arange(frames)) as session:
        tiny.generate(model, tiny.llava_inputs(frames), new=1)
    assert session.tokens_full == full
    if name == "fastvid" and budget * 9 < 1:  # one token per frame at least
        assert session.tokens_kept <= frames
        return
    assert session.tokens_kept == full if inside else session.tokens_kept <= budget * full
    got = session.layer_tokens[2] if inside else session.tokens_kept
    assert got <= budget * full
    if name not in ("sttm", "holitom", "fastvid", "scissor"):  # these say "at most"
        assert got == int(budget * full) and (inside or session.plan.exact)
    if name == "holitom":
        assert not session.plan.exact or budget == 1
        assert session.layer_tokens == [got, got, got, got // 2]


def test_layers_run_once_and_only_later_ones_have_a_shorter_cache(family):
    """Published ports of FastV run the layer before the cut a second time, which doubles its cache."""
    model, _, inputs, _ = family
    runs = [0] * 4

    def count(number):
        def hook(module, args, output):
            runs[number] += 1

        return hook

    layers = model.model.language_model.layers
    handles = [layer.register_forward_hook(count(number)) for number, layer in enumerate(layers)]
    with torch.no_grad(), apply(model, FastV(budget=0.4, layer=2)):
        out = model(**inputs(), use_cache=True)
    for handle in handles:
        handle.remove()
    prompt = inputs()["input_ids"].shape[1]
    assert runs == [1] * 4
    assert [layer.keys.shape[2] for layer in cache_of(out).layers] == [prompt] * 2 + [prompt - FULL + 18] * 2


def hooks(model):
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


@pytest.mark.parametrize("name", CASES)
def test_hooks_are_gone_after_the_block_and_after_exceptions(family, name):
    model, _, inputs, per_frame = family
    strategy = CASES[name][0]
    plain = tiny.generate(model, inputs(), new=2)
    before = hooks(model)
    with apply(model, strategy, **context_of(model, per_frame)):
        assert hooks(model) > before
        tiny.generate(model, inputs(), new=2)
    assert hooks(model) == before
    with pytest.raises(ZeroDivisionError), apply(model, strategy, **context_of(model, per_frame)):
        raise ZeroDivisionError
    twice = {key: torch.cat((value, value)) for key, value in inputs().items()}
    with pytest.raises(ValueError), apply(model, strategy, **context_of(model, per_frame)):
        tiny.generate(model, twice)
    assert hooks(model) == before
    assert torch.equal(tiny.generate(model, inputs(), new=2)[1], plain[1])


@pytest.mark.parametrize("name", CASES)
def test_two_models_do_not_see_each_other(name):
    one, other = tiny.llava(), tiny.llava(seed=5)
    strategy = CASES[name][0]
    alone = tiny.generate(one, tiny.llava_inputs(), new=3)
    changed = []
    with apply(other, strategy):
        changed.append(tiny.generate(other, tiny.llava_inputs(), new=3))
        inside = tiny.generate(one, tiny.llava_inputs(), new=3)
        changed.append(tiny.generate(other, tiny.llava_inputs(), new=3))
    assert torch.equal(inside[1], alone[1])
    assert torch.equal(changed[0][1], changed[1][1]), "the same prompt twice gives the same"
    assert not torch.equal(changed[0][1], tiny.generate(other, tiny.llava_inputs(), new=3)[1])


def test_layers_that_a_model_does_not_have_are_refused():
    model = tiny.llava()
    for strategy in (
        FastV(layer=4),
        Tome(layer=0),
        Sttm(layer=9),
        RandomKeep(layer=0),
        Dycoke(evict=0.5, evict_layer=4),
    ):
        with pytest.raises(ValueError, match="between 1 and 3"), apply(model, strategy):
            pass


def test_published_numbers_come_out_of_seven_billion_shapes():
    """28 layers: FastV and ToMe at 2, HoliTom's inner stage at 18; 32 frames of 196 tokens."""
    assert FastV().inside(28).cuts == Tome().inside(28).cuts == Sttm().inside(28).cuts == (2,)
    assert Holitom().inside(28).cuts == (18,) and Holitom().inside(28).watch == (17,)
    assert Dycoke(evict=0.7).inside(28).forget == tuple(range(3, 28))


@pytest.mark.parametrize("method", [FastV(), Tome(), Sttm()], ids=repr)
def test_layers_are_those_of_28_in_proportion(method):
    """Layer 2 of 5 would leave 40 % of the model unpruned, of 28 it is 7 %; MATM and METok scale theirs as well."""
    assert [method.inside(depth).cuts for depth in (4, 5, 14, 28, 48, 80)] == [(1,), (1,), (1,), (2,), (3,), (6,)]
    assert type(method)(layer=2).inside(5).cuts == (2,)


@pytest.mark.parametrize("layer", [0, 2])
def test_calibrated_thresholds_leave_the_share_on_average_over_the_split(layer):
    model = tiny.llava()
    split = [tiny.llava_inputs(seed=seed) for seed in range(4)]
    tiny.generate(model, split[0], new=1)
    before = hooks(model)
    tuned = calibrate(model, split, 0.5, Sttm(layer=layer))
    assert hooks(model) == before
    assert tuned.budget is None and tuned.layer == layer and tuned.tau_t == pytest.approx(tuned.tau_s - 0.2)
    shares = []
    for inputs in split:
        with apply(model, tuned) as session:
            tiny.generate(model, inputs, new=1)
        shares.append(session.layer_tokens[2] / FULL)
    assert 0.42 <= np.mean(shares) <= 0.5 and len(set(shares)) > 1
    with pytest.raises(ValueError, match="no thresholds leave 0.1"):
        calibrate(model, split, 0.1)
    with pytest.raises(ValueError, match="no clips"):
        calibrate(model, [], 0.5)


def test_a_method_that_breaks_its_total_is_caught():
    class Wrong(Evs):
        def reduce(self, plan, tokens, context=None):
            reduced = super().reduce(plan, tokens, context)
            return Reduced(reduced.tokens[1:], reduced.slots[1:])

    model = tiny.llava()
    with pytest.raises(RuntimeError, match=r"planned 22 tokens \(exactly\), got 21"), apply(model, Wrong()):
        tiny.generate(model, tiny.llava_inputs())
