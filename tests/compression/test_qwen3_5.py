"""Qwen3.5: a decoder that attends in some of its layers and keeps a state in the others."""

import numpy as np
import pytest
import torch

from codecmeta.compression import Dycoke, FastV, RandomKeep, adapter_for, apply
from codecmeta.compression.engine.layers import hook_layers
from codecmeta.compression.engine.transformers_names import cache_of, lengths
from tests.support import tiny
from tests.support.references import entering

PICTURES = 2 * tiny.FRAMES
ROWS = np.arange(PICTURES)
FULL = tiny.FRAMES * tiny.TOKENS**2
META = tiny.metadata(PICTURES)
ATTENDING = (1, 3)


@pytest.fixture(scope="module", params=["sdpa", "eager"])
def model(request):
    return tiny.qwen3_5(attention=request.param)


def stays_of(inputs, kept):
    visual = inputs["input_ids"][0] == tiny.VIDEO
    stays = torch.ones_like(visual)
    stays[visual] = torch.as_tensor(kept)
    return stays


@torch.no_grad()
@pytest.mark.parametrize("experts", [False, True])
def test_a_pruned_prompt_equals_one_that_was_short_from_the_start(experts):
    """The language model alone and uncached, on what is left of the embeddings with their positions, and the answer.
    A mask over the full length is no reference: it hides nothing from a state."""
    model, inputs = tiny.qwen3_5(experts=experts), tiny.qwen3_inputs()
    with apply(model, RandomKeep(budget=0.5), META, frames=ROWS) as session:
        ids, logits = tiny.generate(model, inputs, new=4)
    whole, stays = entering(model, inputs), stays_of(inputs, session.kept.ravel())
    assert stays.sum() == len(stays) - FULL + session.tokens_kept < len(stays)
    positions, follow = whole["position_ids"], model.get_input_embeddings()(ids[None, :-1])
    embeddings = torch.cat((whole["inputs_embeds"][:, stays], follow), dim=1)
    positions = torch.cat((positions[..., stays], positions[..., -1:] + 1 + torch.arange(3)), dim=-1)
    hidden = model.model.language_model(inputs_embeds=embeddings, position_ids=positions, use_cache=False)
    torch.testing.assert_close(logits, model.lm_head(hidden.last_hidden_state[0, -4:]), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_what_is_taken_out_inside_is_in_the_states_before_and_in_none_behind(model):
    """Layer by layer by hand: all tokens through the first two, then those that the last token looked at most, by the
    weights of the model's own attention."""
    inputs = tiny.qwen3_inputs()
    with apply(model, FastV(budget=0.5, layer=2), META, frames=ROWS) as session:
        out = model(**inputs, use_cache=True)
    alone = tiny.qwen3_5(attention="eager")
    whole, weights = entering(alone, inputs), []
    handle = alone.model.language_model.layers[1].self_attn.register_forward_hook(
        lambda module, args, output: weights.append(output[1])
    )
    alone(**inputs)
    handle.remove()
    visual = (inputs["input_ids"][0] == tiny.VIDEO).nonzero()[:, 0]
    most = weights[0][0, :, -1].mean(0)[visual].argsort(descending=True, stable=True)[:22].sort().values
    kept = torch.zeros(FULL, dtype=torch.bool)
    kept[most] = True
    stays = stays_of(inputs, kept)
    language_model, hidden = alone.model.language_model, whole["inputs_embeds"]
    angles = language_model.rotary_emb(hidden, whole["position_ids"][-3:])
    for number, layer in enumerate(language_model.layers):
        if number == 2:
            hidden, angles = hidden[:, stays], tuple(one[:, stays] for one in angles)
        length = hidden.shape[1]
        mask = torch.full((length, length), torch.finfo(torch.float32).min).triu(1)[None, None]
        hidden = layer(hidden, position_embeddings=angles, attention_mask=mask if number in ATTENDING else None)
    want = alone.lm_head(language_model.norm(hidden)[0, -1])
    torch.testing.assert_close(out.logits[0, -1], want, rtol=1e-4, atol=1e-4)
    assert session.layer_tokens == [FULL, FULL, 22, 22]
    prompt = len(stays)
    assert lengths(cache_of(out)) == [prompt, prompt - FULL + 22]
    held = sum(prompt - FULL + count for count in (FULL, 22)) * 2 * 2 * 24 * 4
    assert session.kv_bytes == held, "keys and values, two heads of 24, float32, of the layers that attend"


def test_tokens_follow_a_prompt_that_was_cut_inside(model):
    """The cache against a second pass over prompt and answer, in which the same tokens are taken out."""
    strategy = RandomKeep(budget=0.5, layer=3)
    with apply(model, strategy, META, frames=ROWS):
        ids, logits = tiny.generate(model, tiny.qwen3_inputs(), new=4)
        inputs = tiny.qwen3_inputs()
        longer = torch.cat((inputs["input_ids"], ids[None, :-1]), dim=1)
        inputs |= {"input_ids": longer, "attention_mask": torch.ones_like(longer)}
        inputs["mm_token_type_ids"] = (longer == tiny.VIDEO).long() * 2
        with torch.no_grad():
            again = model(**inputs, use_cache=True).logits[0, -4:]
    torch.testing.assert_close(logits, again, rtol=1e-4, atol=1e-4)


def test_what_is_forgotten_is_forgotten_where_there_are_keys(model):
    prompt = tiny.qwen3_inputs()["input_ids"].shape[1]
    with torch.no_grad(), apply(model, Dycoke(budget=1.0, evict=0.5, evict_layer=2), META, frames=ROWS):
        out = model(**tiny.qwen3_inputs(), use_cache=True)
    assert lengths(cache_of(out)) == [prompt, prompt - FULL + 22]


def test_attention_is_not_looked_for_where_there_is_none(model):
    with pytest.raises(ValueError, match=r"layer 2 of this model has no attention to look at.*: 1, 3"):
        with apply(model, FastV(layer=3), META, frames=ROWS):
            pass
    watching = [*hook_layers(adapter_for(model), FastV(layer=2).inside(4), None)]
    assert len(watching) == 4 + 1
    for handle in watching:
        handle.remove()
