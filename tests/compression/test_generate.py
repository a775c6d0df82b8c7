"""Strategies inside stock generate(): identity, exactness against masked references, refusals, and no traces."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from codecmeta.compression import (
    METHODS,
    Context,
    Metom,
    Plain,
    RandomKeep,
    Reduced,
    Strategy,
    Uniform,
    adapter_for,
    apply,
    make,
)
from codecmeta.compression.engine.transformers_names import cache_of
from codecmeta.compression.plan import Plan
from codecmeta.decisions.density import merge_regions, patch_density
from tests.support import tiny
from tests.support.methods import nothing_to_do
from tests.support.references import entering, masked_logits, projected_alone

ROWS = np.arange(tiny.FRAMES)
FULL = tiny.FRAMES * tiny.TOKENS**2


@pytest.fixture(scope="module", params=["sdpa", "eager"])
def model(request):
    return tiny.llava(attention=request.param)


@pytest.fixture(scope="module")
def plain(model):
    return tiny.generate(model, tiny.llava_inputs())


@dataclass(frozen=True, kw_only=True)
class KeepAll(Strategy):
    """Goes through the whole machinery and keeps everything."""

    name = "keep all"
    pos: str = "mean"
    proportional: bool = False

    def plan(self, layout, meta=None, rows=None):
        slots = np.ones((layout.frames, layout.tokens_per_frame), bool)
        regions = np.tile(
            np.arange(layout.patches_per_frame, dtype=np.int32).reshape(layout.patches), (layout.frames, 1, 1)
        )
        return Plan(layout, slots.sum(1), slots=slots, regions=regions)


@pytest.mark.parametrize("name", METHODS)
def test_nothing_to_do_is_bit_identical(model, plain, name):
    with apply(model, METHODS[name](**nothing_to_do(name)), tiny.metadata(), frames=ROWS) as session:
        ids, logits = tiny.generate(model, tiny.llava_inputs())
    assert torch.equal(ids, plain[0]) and torch.equal(logits, plain[1])
    assert session.tokens_kept == session.tokens_full == FULL
    assert session.encoder_tokens == session.encoder_full == tiny.FRAMES * tiny.SIDE**2


@pytest.mark.parametrize("keep_ids", [True, False])
def test_keeping_everything_through_the_whole_machinery_changes_nothing(model, plain, keep_ids):
    with apply(model, KeepAll(keep_ids=keep_ids)):
        ids, logits = tiny.generate(model, tiny.llava_inputs())
    assert torch.equal(ids, plain[0])
    torch.testing.assert_close(logits, plain[1], rtol=1e-5, atol=1e-5)


def close(got, want):
    """Equal to 1e-5 of the logits' scale."""
    assert (got - want).abs().max() <= 1e-5 * want.abs().max()


STRATEGIES = [
    RandomKeep(budget=0.5, keep_ids=True),
    Uniform(budget=0.4, keep_ids=True),
    Uniform(budget=0.5, mode="spatial", keep_ids=True),
    Metom(budget=0.5, rpm=False, keep_ids=True),
    Metom(budget=0.3, rpm=False, tau_tem=0.1, chain=True, keep_ids=True),
]


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda s: f"{s.name}{s.budget}")
def test_after_dropping_logits_equal_a_full_length_reference_that_masks_what_was_removed(model, strategy):
    inputs = tiny.llava_inputs()
    with apply(model, strategy, tiny.metadata(), frames=ROWS) as session:
        ids, logits = tiny.generate(model, inputs, new=9)
    embeddings, first = entering(model, inputs)["inputs_embeds"], tiny.BEFORE
    grid = embeddings[0, first : first + FULL].unflatten(0, (tiny.FRAMES, -1))
    reduced = strategy.reduce(session.plan, grid)
    keep = torch.ones(embeddings.shape[1], dtype=torch.bool)
    keep[first : first + FULL] = False
    keep[first + reduced.slots] = True
    embeddings = embeddings.clone()
    embeddings[0, first + reduced.slots] = reduced.tokens
    assert 0 < session.tokens_kept == len(reduced.slots) < FULL
    close(logits, masked_logits(model, embeddings, keep, ids, torch.arange(embeddings.shape[1] + 8)[None]))


def test_numbering_without_gaps_equals_a_prompt_that_was_short_from_the_start(model):
    inputs = tiny.llava_inputs()
    with apply(model, RandomKeep(budget=0.5)) as session:
        ids, logits = tiny.generate(model, inputs, new=9)
    embeddings, first = entering(model, inputs)["inputs_embeds"], tiny.BEFORE
    kept = torch.ones(embeddings.shape[1], dtype=torch.bool)
    kept[first : first + FULL] = torch.as_tensor(session.plan.slots.ravel())
    short = embeddings[:, kept]
    everything = torch.ones(short.shape[1], dtype=torch.bool)
    close(logits, masked_logits(model, short, everything, ids, torch.arange(short.shape[1] + 8)[None]))


@pytest.mark.parametrize("keep_ids", [True, False])
@pytest.mark.parametrize("padding", [0, 3])
def test_the_first_new_token_follows_the_largest_prompt_position(model, keep_ids, padding):
    inputs = tiny.llava_inputs()
    if padding:
        pad = torch.zeros(1, padding, dtype=torch.long)
        inputs["input_ids"] = torch.cat((pad, inputs["input_ids"]), 1)
        inputs["attention_mask"] = torch.cat((pad, inputs["attention_mask"]), 1)
    positions = []

    def look(module, args, kwargs):
        positions.append(kwargs["position_ids"][0].tolist())

    with apply(model, RandomKeep(budget=0.5, keep_ids=keep_ids)) as session:
        handle = model.model.language_model.layers[0].register_forward_pre_hook(look, with_kwargs=True)
        _, logits = tiny.generate(model, inputs, new=4)
        handle.remove()
    prompt = positions[0][padding:]
    removed = FULL - session.tokens_kept
    assert len(prompt) == tiny.BEFORE + tiny.AFTER + 1 + session.tokens_kept
    assert max(prompt) == tiny.BEFORE + tiny.AFTER + FULL - (0 if keep_ids else removed)
    assert positions[1:] == [[max(prompt) + n] for n in (1, 2, 3)]
    if padding:
        with apply(model, RandomKeep(budget=0.5, keep_ids=keep_ids)):
            _, unpadded = tiny.generate(model, tiny.llava_inputs(), new=4)
        torch.testing.assert_close(logits, unpadded, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("keep_ids", [True, False])
def test_without_a_cache_the_answer_is_the_same(model, keep_ids):
    strategy = Metom(budget=0.5, keep_ids=keep_ids)
    with apply(model, strategy, tiny.metadata(), frames=ROWS):
        cached = tiny.generate(model, tiny.llava_inputs())
        uncached = tiny.generate(model, tiny.llava_inputs(), use_cache=False)
    assert torch.equal(cached[0], uncached[0])
    close(cached[1], uncached[1])


@pytest.mark.parametrize("pos, proportional", [("mean", False), ("centroid", False), ("mean", True)])
def test_the_packed_encoder_equals_every_frame_alone_on_its_own_tokens(model, pos, proportional):
    inputs, meta = tiny.llava_inputs(), tiny.metadata()
    strategy = Metom(budget=1.0, q=0.6, pos=pos, proportional=proportional, min_keep=0.1)
    with torch.no_grad(), apply(model, strategy, meta, frames=ROWS) as session:
        got = model.model.get_video_features(inputs["pixel_values_videos"], return_dict=True).pooler_output
    got = got.flatten(0, -2)[:FULL]
    density = patch_density(meta, ROWS, (tiny.SIDE,) * 2, view=(0, 0, 98 * 48 / 49, 98 * 48 / 49))
    regions = merge_regions(density, q=0.6, min_keep=0.1)
    assert session.encoder_tokens == sum(len(np.unique(frame)) for frame in regions) < regions.size
    assert len({len(np.unique(frame)) for frame in regions}) > 1, "frames of one length would not test the padding"
    want = []
    tower = model.model.vision_tower
    with torch.no_grad():
        for frame, pixels in zip(regions, inputs["pixel_values_videos"][0], strict=True):
            embedded = tower.embeddings(pixels[None])[0]
            position = tower.embeddings.position_embedding.weight
            tokens = []
            for k in range(frame.max() + 1):
                members = np.flatnonzero(frame.ravel() == k)
                token = embedded[members].mean(0)
                if pos == "centroid" and len(members) > 1:
                    places = np.stack(np.unravel_index(members, frame.shape), 1)
                    distance = ((places - places.mean(0)) ** 2).sum(1).round(9)
                    token = token + position[members[distance.argmin()]] - position[members].mean(0)
                tokens.append(token)
            hidden = torch.stack(tokens)[None]
            size = torch.as_tensor(np.bincount(frame.ravel())).float().log()[None, None, None]
            for layer in tower.encoder.layers:
                hidden = layer(hidden, size if proportional else None)
            projected = model.model.multi_modal_projector(hidden)[0]
            want.append(model.model.apply_pooling(projected[frame.ravel()][None])[0])
    close(got, torch.cat(want))


@pytest.mark.parametrize("budget", [None, 0.5])
def test_ragged_tokens_enter_unpooled_each_where_its_region_is(model, budget):
    """None: without BTM, all that leaves the encoder, which is more than the plain model's tokens."""
    inputs, meta = tiny.llava_inputs(), tiny.metadata()
    strategy = Metom(budget=budget or 1.0, btm=budget is not None, ragged=True, q=0.6, tau_tem=2, fold="drop")
    entered = []

    def look(module, args, kwargs):
        entered.append(args[0])

    with apply(model, strategy, meta, frames=ROWS) as session:
        handle = model.model.language_model.layers[0].register_forward_pre_hook(look, with_kwargs=True)
        ids, logits = tiny.generate(model, inputs, new=9)
        handle.remove()
    visual = entered[0][0, tiny.BEFORE : -tiny.AFTER - 1]
    density = patch_density(meta, ROWS, (tiny.SIDE,) * 2, view=(0, 0, 98 * 48 / 49, 98 * 48 / 49))
    regions = session.plan.regions
    assert session.plan.exact and session.tokens_kept == len(visual) == session.plan.counts.sum()
    assert len(visual) == 22 if budget else len(visual) == session.encoder_tokens > FULL
    start = 0
    for t, (tokens, centres) in enumerate(projected_alone(model, inputs["pixel_values_videos"][0], regions)):
        mean = [density[t][regions[t] == k].mean() for k in range(len(centres))]
        best = sorted(range(len(centres)), key=lambda k: -mean[k])[: session.counts[t]]
        order = sorted(best, key=lambda k: (centres[k] // 6 // 2 * 3 + centres[k] % 6 // 2, centres[k]))
        close(visual[start : start + len(order)], tokens[order])
        start += len(order)
    everything = torch.ones(entered[0].shape[1], dtype=torch.bool)
    close(logits, masked_logits(model, entered[0], everything, ids, torch.arange(entered[0].shape[1] + 8)[None]))


def test_ragged_tokens_are_folded_into_ragged_tokens_only(model):
    """Folding averages what it takes in, so the sum over core and folded tokens tells what took part."""
    strategy = Metom(budget=0.5, ragged=True, q=0.6, tau_tem=2, fold="size_weighted")
    plan = strategy.plan(adapter_for(model).layout(tiny.FRAMES, tiny.metadata().stream), tiny.metadata(), ROWS)
    patches = torch.zeros(tiny.FRAMES, 36, 2)
    patches[..., 0] = 1
    patches[..., 1] = torch.where(torch.as_tensor(plan.alive), 0.0, 1e6)  # patches that stand for nothing
    tokens = strategy.reduce(plan, patches[:, :9], Context(patches=patches)).tokens
    torch.testing.assert_close(tokens, torch.tensor([1.0, 0.0]).expand(plan.tokens, 2))
    with pytest.raises(ValueError, match="needs rpm=True"):
        Metom(ragged=True, rpm=False)


def test_only_as_many_rows_as_tokens_pass_through_the_encoder(model):
    rows = []
    mlp = model.model.vision_tower.encoder.layers[0].mlp
    with torch.no_grad(), apply(model, Metom(q=0.5), tiny.metadata(), frames=ROWS) as session:
        handle = mlp.register_forward_hook(lambda module, args, output: rows.append(output.shape[:-1].numel()))
        model(**tiny.llava_inputs())
        handle.remove()
    assert rows == [session.encoder_tokens] and rows[0] < session.encoder_full


def test_realised_tokens_are_those_of_the_plan_and_of_the_cache(model):
    config = model.config.text_config
    per_token = config.num_hidden_layers * 2 * config.num_key_value_heads * 12 * 4
    for strategy in (
        RandomKeep(budget=0.3),
        Uniform(budget=0.5),
        Metom(budget=0.5, tau_tem=2),
        Metom(budget=0.5, tau_tem=0),
    ):
        entered = []
        with apply(model, strategy, tiny.metadata(), frames=ROWS) as session:
            handle = model.model.language_model.layers[0].register_forward_pre_hook(
                lambda module, args, entered=entered: entered.append(args[0].shape[1])
            )
            tiny.generate(model, tiny.llava_inputs(), new=1)
            handle.remove()
        assert [session.tokens_kept + tiny.BEFORE + tiny.AFTER + 1] == entered  # and the token that ends the video
        assert session.kv_bytes == (session.tokens_kept + tiny.BEFORE + tiny.AFTER + 1) * per_token
        assert session.layer_tokens == [session.tokens_kept] * 4
        if session.plan.exact:
            assert (session.counts == session.plan.counts).all()
        else:
            assert session.tokens_kept < session.plan.tokens


def test_a_method_that_breaks_its_plan_is_caught(model):
    class Wrong(RandomKeep):
        def reduce(self, plan, tokens, context=None):
            reduced = super().reduce(plan, tokens)
            return Reduced(reduced.tokens[1:], reduced.slots[1:])

    with pytest.raises(RuntimeError, match="planned 22 tokens"), apply(model, Wrong()):
        tiny.generate(model, tiny.llava_inputs())


def hooks(model):
    return sum(
        len(module._forward_hooks) + len(module._forward_pre_hooks) + ("forward" in vars(module))
        for module in model.modules()
    )


def test_nothing_is_left_after_the_block_nor_after_an_exception(model, plain):
    # Transformers leaves hooks of its own from the first call on; the model was used before.
    tiny.generate(model, tiny.llava_inputs())
    before = hooks(model)
    with apply(model, Metom(), tiny.metadata(), frames=ROWS):
        assert hooks(model) > before
        tiny.generate(model, tiny.llava_inputs())
    assert hooks(model) == before
    with pytest.raises(ZeroDivisionError), apply(model, Metom(), tiny.metadata(), frames=ROWS):
        raise ZeroDivisionError
    with pytest.raises(ValueError), apply(model, Metom(tau_mode="fixed"), tiny.metadata(), frames=ROWS):
        pass
    assert hooks(model) == before
    again = tiny.generate(model, tiny.llava_inputs())
    assert torch.equal(again[1], plain[1])


def test_two_models_in_one_process_do_not_see_each_other(model, plain):
    other = tiny.llava(seed=5)
    alone = tiny.generate(other, tiny.llava_inputs())
    with apply(other, Metom(), tiny.metadata(), frames=ROWS) as session:
        inside = tiny.generate(model, tiny.llava_inputs())
        assert session.counts is None
        changed = tiny.generate(other, tiny.llava_inputs())
    assert torch.equal(inside[1], plain[1])
    assert not torch.equal(alone[1], changed[1])
    with apply(other, RandomKeep()) as first, apply(model, Uniform()) as second:
        tiny.generate(other, tiny.llava_inputs())
        tiny.generate(model, tiny.llava_inputs())
    assert (first.tokens_kept, second.tokens_kept) == (22, 18)


def test_text_alone_passes_untouched(model):
    text = {"input_ids": torch.arange(1, 9)[None], "attention_mask": torch.ones(1, 8, dtype=torch.long)}
    want = tiny.generate(model, text)
    with apply(model, RandomKeep()):
        got = tiny.generate(model, text)
    assert torch.equal(got[1], want[1])


def test_a_second_question_in_the_same_block_starts_afresh(model):
    with apply(model, RandomKeep()):
        first = tiny.generate(model, tiny.llava_inputs(seed=1))
        second = tiny.generate(model, tiny.llava_inputs(seed=2))
        again = tiny.generate(model, tiny.llava_inputs(seed=1))
    assert torch.equal(first[1], again[1]) and not torch.equal(first[1], second[1])


def twice(inputs):
    return {name: torch.cat((value, value)) for name, value in inputs.items()}


def in_two_pieces(inputs):
    return {**inputs, "input_ids": inputs["input_ids"].roll(20)}


def with_an_image(inputs):
    ids = inputs["input_ids"].clone()
    ids[0, 0] = tiny.IMAGE
    return {**inputs, "input_ids": ids}


def same(inputs):
    return inputs


@pytest.mark.parametrize(
    "reason, change, rows, options",
    [
        ("2 sequences at once", twice, None, {}),
        ("2 sequences at once", same, None, {"num_beams": 2}),
        ("only DynamicCache", same, None, {"cache_implementation": "static"}),
        ("in one piece", in_two_pieces, None, {}),
        ("images beside the video", with_an_image, None, {}),
        ("5 pictures, but 4 frame rows", same, ROWS[:4], {}),
        ("no chunked prefill", same, None, {"prefill_chunk_size": 16}),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_reason(model, reason, change, rows, options):
    inputs = change(tiny.llava_inputs())
    with pytest.raises(ValueError, match=reason), apply(model, RandomKeep(), frames=rows):
        model.generate(**inputs, max_new_tokens=2, do_sample=False, **options)


def test_metadata_is_asked_for_where_it_is_needed(model):
    with pytest.raises(ValueError, match="pass meta"), apply(model, Metom()):
        pass


def test_a_cache_that_was_cut_is_noticed(model):
    with apply(model, RandomKeep()), torch.no_grad():
        cache = cache_of(model(**tiny.llava_inputs(), use_cache=True))
        new = torch.tensor([[3]])
        length = tiny.llava_inputs()["input_ids"].shape[1]
        model(input_ids=new, **tiny.given(model, cache), position_ids=torch.tensor([[length]]))
        with pytest.raises(RuntimeError, match="do not follow the prompt"):
            model(input_ids=new, **tiny.given(model, cache), position_ids=torch.tensor([[length + 5]]))


def test_a_strategy_is_applied_once_at_a_time(model):
    with apply(model, Plain()), pytest.raises(RuntimeError, match="already applied"), apply(model, Plain()):
        pass
    with apply(model, Plain()):
        pass


def test_an_unsupported_class_lists_the_supported_ones():
    with pytest.raises(ValueError, match="Linear is not supported.*LlavaOnevisionForConditionalGeneration"):
        with apply(torch.nn.Linear(2, 2), Plain()):
            pass


def test_strategies_from_text():
    made = make(
        "metom", budget=0.3, options={"tau_mode": "target", "max_region": "none", "keep_ids": "yes", "share": "0.1"}
    )
    assert made == Metom(budget=0.3, tau_mode="target", keep_ids=True, share=0.1)
    for options, reason in [
        ({"speed": "1"}, r"no option 'speed' \(did you mean 'seed'"),
        ({"tau_mode": "x"}, "quantile or target or fixed"),
        ({"q": "x"}, "a number"),
        ({"connectivity": "6"}, "4 or 8"),
    ]:
        with pytest.raises(ValueError, match=reason):
            make("metom", options=options)
    with pytest.raises(ValueError, match="there are: none, uniform, random, replenish, metom"):
        make("magic")
    for budget in (0.0, 1.5):
        with pytest.raises(ValueError, match="more than 0 and at most 1"):
            make("random", budget=budget)
