"""GLM-4.xV: a convolution behind the encoder, a rotation of neighbours, temporal positions that are images."""

import numpy as np
import pytest
import torch
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES

from codecmeta.compression import FastV, Metom, Plain, RandomKeep, adapter_for, apply
from codecmeta.compression.engine.transformers_names import cache_of, lengths, noted
from tests.support import tiny
from tests.support.references import entering

PICTURES = 2 * tiny.FRAMES
ROWS = np.arange(PICTURES)
FULL = tiny.FRAMES * tiny.TOKENS**2
META = tiny.metadata(PICTURES)


KINDS = {"4.1V": {}, "4.5V": {"experts": True}, "4.6V": {"tenths": True}}


@pytest.fixture(scope="module", params=[(kind, kernel) for kind in ("4.1V", "4.5V") for kernel in ("sdpa", "eager")])
def case(request):
    """A model, and one of the same weights on eager attention."""
    kind, kernel = request.param
    return tiny.glm4v(attention=kernel, **KINDS[kind]), tiny.glm4v(attention="eager", **KINDS[kind])


@pytest.fixture(scope="module")
def model(case):
    return case[0]


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_a_pruned_prompt_equals_one_that_was_short_from_the_start(kind):
    """The language model alone and uncached, on what is left of the embeddings with their positions, and the answer."""
    model, inputs = tiny.glm4v(**KINDS[kind]), tiny.glm4v_inputs()
    with apply(model, RandomKeep(budget=0.5), META, frames=ROWS) as session:
        ids, logits = tiny.generate(model, inputs, new=4)
    whole, visual = entering(model, inputs), inputs["input_ids"][0] == tiny.VIDEO
    stays = torch.ones_like(visual)
    stays[visual] = torch.as_tensor(session.kept.ravel())
    assert stays.sum() == len(stays) - FULL + session.tokens_kept < len(stays)
    positions, follow = whole["position_ids"], model.get_input_embeddings()(ids[None, :-1])
    embeddings = torch.cat((whole["inputs_embeds"][:, stays], follow), dim=1)
    positions = torch.cat((positions[..., stays], positions[..., -1:] + 1 + torch.arange(3)), dim=-1)
    hidden = model.model.language_model(inputs_embeds=embeddings, position_ids=positions, use_cache=False)
    torch.testing.assert_close(logits, model.lm_head(hidden.last_hidden_state[0, -4:]), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_what_stays_inside_is_what_the_models_own_attention_looks_at(case):
    """GLM-4.5V rotates halves of half a head, the others neighbours."""
    (model, eager), inputs = case, tiny.glm4v_inputs()
    with apply(model, FastV(budget=0.5, layer=2), META, frames=ROWS) as session:
        out = model(**inputs, use_cache=True)
    prompt = inputs["input_ids"].shape[1]
    assert session.layer_tokens == [FULL, FULL, 22, 22]
    assert lengths(cache_of(out)) == [prompt, prompt, prompt - FULL + 22, prompt - FULL + 22]
    weights = []
    handle = eager.model.language_model.layers[1].self_attn.register_forward_hook(
        lambda module, args, output: weights.append(output[1])
    )
    eager(**inputs)
    handle.remove()
    visual = (inputs["input_ids"][0] == tiny.VIDEO).nonzero()[:, 0]
    most = weights[0][0, :, -1].mean(0)[visual].argsort(descending=True, stable=True)[:22].sort().values
    kept = noted(cache_of(out)).prompt.by_layer[2]
    assert kept.tolist() == most.tolist()


@torch.no_grad()
def test_merged_patches_are_scattered_before_they_are_joined(model):
    """A region's cells are alike behind the encoder, and another picture's tokens do not matter."""
    strategy = Metom(q=0.6, min_keep=0.1, budget=1.0, btm=False)
    visual = tiny.glm4v_inputs()["input_ids"][0] == tiny.VIDEO
    with apply(model, strategy, META, frames=ROWS) as session:
        inputs = tiny.glm4v_inputs()
        got = entering(model, inputs)["inputs_embeds"][0, visual].view(tiny.FRAMES, 9, -1)
        inputs["pixel_values_videos"][36:] = 0
        alone = entering(model, inputs)["inputs_embeds"][0, visual].view(tiny.FRAMES, 9, -1)
    assert session.encoder_tokens < session.encoder_full
    torch.testing.assert_close(got[0], alone[0], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(got[1], alone[1])
    for frame, region in zip(got, session.plan.regions.reshape(tiny.FRAMES, -1), strict=True):
        for number in range(region.max() + 1):
            of_one = frame[torch.as_tensor(region == number)]
            torch.testing.assert_close(of_one, of_one[:1].expand_as(of_one), rtol=1e-5, atol=1e-5)


def test_the_prompt_says_when_each_pair_of_pictures_begins():
    """processing_glm4v.py and processing_glm46v.py: replace_frame_token_id."""
    words = {tiny.VIDEO: "*", 92: "<|begin_of_image|>", 93: "<|end_of_image|>"}
    times = [0.0, 0.5, 61.25, 62.0]
    one, other = (adapter_for(tiny.glm4v(tenths=tenths)) for tenths in (False, True))
    image = "<|begin_of_image|>**<|end_of_image|>"
    assert one.placeholders(4, times, words.__getitem__) == f"{image}0{image}61"
    assert other.placeholders(4, times, words.__getitem__) == f"{image}0.0 seconds{image}61.2 seconds"
    with pytest.raises(ValueError, match="say when each picture is shown"):
        one.placeholders(4, None, words.__getitem__)
    assert PROCESSOR_MAPPING_NAMES["glm4v_moe"] == PROCESSOR_MAPPING_NAMES["glm4v"]  # so GLM-4.5V says what 4.1V does
    assert type(adapter_for(tiny.glm4v(experts=True))) is type(one)


def test_pictures_of_several_sizes_are_refused(model):
    patches = tiny.glm4v_inputs()["pixel_values_videos"][:72]
    with pytest.raises(ValueError, match="several sizes"), apply(model, Plain(), META, frames=ROWS):
        model.model.visual(patches, grid_thw=torch.tensor([[1, 6, 6], [1, 4, 9]]))
