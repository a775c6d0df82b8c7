"""Cutting tokens inside the language model: against a full-length, uncached reference that masks what was removed."""

import numpy as np
import pytest
import torch

from codecmeta.compression import Metom, RandomKeep, apply
from codecmeta.compression.engine.attention import attention_rows
from codecmeta.compression.methods.metom.matm import Matm
from tests.support import tiny
from tests.support.attention import attention_by_hand

ROWS = np.arange(tiny.FRAMES)
FULL = tiny.FRAMES * tiny.TOKENS**2
PROMPT = tiny.BEFORE + FULL + 1 + tiny.AFTER


@pytest.fixture(scope="module", params=["sdpa", "eager"])
def model(request):
    return tiny.llava(attention=request.param)


def embeddings_of(model, inputs):
    seen = {}

    def look(module, args, kwargs):
        seen["embeddings"] = kwargs["inputs_embeds"]

    handle = model.model.language_model.register_forward_pre_hook(look, with_kwargs=True)
    with torch.no_grad():
        model(**inputs)
    handle.remove()
    return seen["embeddings"]


@torch.no_grad()
def reference(model, embeddings, new_ids, at, watch, rows, percent, rule, visual):
    """Logits of the prompt's end and of every new token but the last, uncached and at full length.

    visual: places of the visual tokens in the prompt. From layer `at` on, the removed ones are masked as keys.
    """
    lm = model.model.language_model
    prompt = embeddings.shape[1]
    hidden = torch.cat((embeddings, model.get_input_embeddings()(new_ids[None, :-1])), 1)
    total = hidden.shape[1]
    rotary = lm.rotary_emb(hidden, torch.arange(total)[None])
    allowed = torch.ones(total, total).tril().bool()
    score = torch.zeros(len(visual), dtype=torch.float64)
    for number, layer in enumerate(lm.layers):
        if number in watch:
            score += attention_by_hand(layer, hidden[:, :prompt], tuple(x[:, :prompt] for x in rotary))[
                :, -rows:, visual
            ].mean((0, 1))
        if number == at:
            order = sorted(range(len(visual)), key=lambda i: (score[i].item(), -i))
            lost = sorted(order[: int(percent * len(visual) / 100)])
            kept = sorted(set(range(len(visual))) - set(lost))
            states = hidden[0, visual].double()
            units = states / states.norm(dim=-1, keepdim=True)
            groups = {}
            for j in lost:
                groups.setdefault(max(kept, key=lambda r: float(units[r] @ units[j])), []).append(j)
            for r, members in groups.items():
                if rule == "half":
                    hidden[0, visual[r]] = ((states[r] + states[members].mean(0)) / 2).float()
            allowed[:, visual[lost]] = False
            allowed |= torch.eye(total, dtype=torch.bool)
        mask = torch.zeros(total, total).masked_fill(~allowed, torch.finfo(torch.float32).min)[None, None]
        hidden = layer(hidden, attention_mask=mask, position_embeddings=rotary)
    return model.lm_head(lm.norm(hidden)[0, prompt - 1 :])


@pytest.mark.parametrize("at, watch, queries, percent", [(2, None, 1, 50), (1, None, "text", 30), (3, (0, 2), 4, 80)])
@pytest.mark.parametrize("rule", ["half", "drop"])
def test_matm_equals_a_masked_reference(model, at, watch, queries, percent, rule):
    strategy = Metom(
        rpm=False, btm=False, matm=True, matm_layer=at, matm_watch=watch, matm_queries=queries, percent=percent,
        matm_fold=rule,
    )  # fmt: skip
    inputs = tiny.llava_inputs()
    with apply(model, strategy, tiny.metadata(), frames=ROWS) as session:
        ids, logits = tiny.generate(model, inputs, new=9)
    rows = tiny.AFTER if queries == "text" else queries
    visual = torch.arange(FULL) + tiny.BEFORE
    want = reference(
        model, embeddings_of(model, inputs), ids, at, watch or range(at), rows, percent, rule, visual
    )  # fmt: skip
    assert (logits - want).abs().max() <= 1e-5 * want.abs().max()
    left = FULL - FULL * percent // 100
    assert session.layer_tokens == [FULL] * at + [left] * (4 - at)
    text = PROMPT - FULL
    assert session.kv_bytes == sum(n + text for n in session.layer_tokens) * 2 * 2 * 12 * 4


def test_after_btm_what_is_left_is_merged_again(model):
    """BTM with preserved position ids, then MATM on its survivors: the same reference with fewer visual tokens."""
    strategy = Metom(rpm=False, matm=True, matm_layer=2, percent=40, keep_ids=False)
    inputs = tiny.llava_inputs()
    with apply(model, strategy, tiny.metadata(), frames=ROWS) as session:
        ids, logits = tiny.generate(model, inputs, new=9)
    whole = embeddings_of(model, inputs)
    grid = whole[0, tiny.BEFORE : tiny.BEFORE + FULL].unflatten(0, (tiny.FRAMES, -1))
    reduced = strategy.reduce(session.plan, grid)
    short = torch.cat((whole[:, : tiny.BEFORE], reduced.tokens[None], whole[:, tiny.BEFORE + FULL :]), 1)
    visual = torch.arange(len(reduced.slots)) + tiny.BEFORE
    want = reference(model, short, ids, 2, (0, 1), 1, 40, "half", visual)
    assert (logits - want).abs().max() <= 1e-5 * want.abs().max()
    kept = len(reduced.slots)
    assert session.layer_tokens == [kept, kept, kept - kept * 40 // 100, kept - kept * 40 // 100]


def test_nothing_to_remove_is_bit_identical(model):
    plain = tiny.generate(model, tiny.llava_inputs())
    for percent in (0, 1):  # 1 % of 45 tokens is none, but goes through every hook
        strategy = Metom(budget=1.0, rpm=False, matm=True, matm_layer=2, percent=percent)
        with apply(model, strategy, tiny.metadata(), frames=ROWS) as session:
            got = tiny.generate(model, tiny.llava_inputs())
        assert torch.equal(got[0], plain[0]) and torch.equal(got[1], plain[1])
        assert session.layer_tokens == [FULL] * 4


def test_rows_of_attention_equal_those_of_an_eager_model():
    model = tiny.llava(attention="eager")
    inputs = tiny.llava_inputs()
    rows = {}

    def look(module, args, kwargs, output):
        rows[module.layer_idx] = attention_rows(module, kwargs, 4)

    layers = model.model.language_model.layers
    handles = [layer.self_attn.register_forward_hook(look, with_kwargs=True) for layer in layers]
    for use_cache in (True, False):
        with torch.no_grad():
            whole = model(**inputs, output_attentions=True, use_cache=use_cache).attentions
        for number, probabilities in rows.items():
            torch.testing.assert_close(probabilities, whole[number][0, :, -4:], rtol=1e-5, atol=1e-6)
    for handle in handles:
        handle.remove()


def test_a_mask_of_tokens_and_a_mask_of_pairs_give_the_same_rows():
    """Flash attention hands layers the caller's (sequences, tokens) mask instead of a causal one."""
    model = tiny.llava()
    module = model.model.language_model.layers[0].self_attn
    hidden = torch.randn(1, 7, 48, generator=torch.Generator().manual_seed(0))
    tokens = torch.tensor([[0, 0, 1, 1, 1, 1, 1]])
    pairs = torch.ones(7, 7).tril().bool() & tokens.bool()
    call = {
        "hidden_states": hidden,
        "position_embeddings": model.model.language_model.rotary_emb(hidden, torch.arange(7)[None]),
    }
    want = attention_rows(module, {**call, "attention_mask": pairs[None, None]}, 3)
    torch.testing.assert_close(attention_rows(module, {**call, "attention_mask": tokens}, 3), want)
    assert (want[..., :2] == 0).all()


@pytest.mark.parametrize("padding", [0, 3])
def test_padding_changes_nothing_and_positions_go_on_where_the_prompt_ended(model, padding):
    strategy = Metom(rpm=False, matm=True, matm_layer=2, keep_ids=True)
    inputs = tiny.llava_inputs()
    with apply(model, strategy, tiny.metadata(), frames=ROWS):
        want = tiny.generate(model, tiny.llava_inputs(), new=4)
    pad = torch.zeros(1, padding, dtype=torch.long)
    inputs["input_ids"] = torch.cat((pad, inputs["input_ids"]), 1)
    inputs["attention_mask"] = torch.cat((pad, inputs["attention_mask"]), 1)
    positions = []

    def look(module, args, kwargs):
        positions.append(kwargs["position_ids"][0].tolist())

    with apply(model, strategy, tiny.metadata(), frames=ROWS) as session:
        handle = model.model.language_model.layers[3].register_forward_pre_hook(look, with_kwargs=True)
        got = tiny.generate(model, inputs, new=4)
        handle.remove()
    torch.testing.assert_close(got[1], want[1], rtol=1e-4, atol=1e-4)
    assert len(positions[0]) == padding + PROMPT - FULL + session.layer_tokens[3]
    assert session.layer_tokens[3] < session.tokens_kept < FULL and max(positions[0][padding:]) == PROMPT - 1
    assert positions[1:] == [[PROMPT], [PROMPT + 1], [PROMPT + 2]]


def test_equal_attention_keeps_the_earlier_tokens():
    hidden = torch.randn(10, 6, generator=torch.Generator().manual_seed(0))
    matm = Matm(depth=28, percent=35)
    assert (matm.cuts, matm.watch) == ((8,), (4, 5, 6, 7))
    kept, states = matm.cut(8, None, np.arange(10), {layer: torch.zeros(10) for layer in matm.watch}, hidden)
    assert kept.tolist() == [0, 1, 2, 3, 4, 5, 6] and torch.isfinite(states).all()
    everything, _ = Matm(28, 99).cut(8, None, np.arange(3), {layer: torch.zeros(3) for layer in matm.watch}, hidden[:3])
    assert everything.tolist() == [0]


def test_without_a_cache_there_is_no_prompt_to_cut(model):
    strategy = Metom(matm=True)
    with pytest.raises(ValueError, match="needs the key-value cache"):
        with apply(model, strategy, tiny.metadata(), frames=ROWS):
            tiny.generate(model, tiny.llava_inputs(), use_cache=False)


@pytest.mark.parametrize("options", [{"matm_layer": 0}, {"matm_layer": 4}, {"matm_layer": 2, "matm_watch": (2,)}])
def test_layers_that_do_not_exist_are_refused(model, options):
    with pytest.raises(ValueError, match="MATM"), apply(model, Metom(matm=True, **options), tiny.metadata()):
        pass


def test_hidden_text_stays_hidden_while_decoding(model):
    """A prompt token that the caller masks out after the video is masked in the shortened cache too."""
    inputs = tiny.llava_inputs()
    inputs["attention_mask"][0, -3] = 0
    with apply(model, RandomKeep(budget=0.5)):
        cached = tiny.generate(model, inputs)
        uncached = tiny.generate(model, inputs, use_cache=False)
    torch.testing.assert_close(cached[1], uncached[1], rtol=1e-4, atol=1e-4)
