"""Qwen3-VL: tokens that stand apart in the prompt, and features that enter again behind the first layers."""

import numpy as np
import pytest
import torch

from codecmeta.compression import FastV, Metom, RandomKeep, apply
from codecmeta.compression.engine.families import adapter_for
from codecmeta.compression.engine.transformers_names import cache_of, lengths
from tests.support import tiny
from tests.support.references import entering

PICTURES = 2 * tiny.FRAMES
ROWS = np.arange(PICTURES)
FULL = tiny.FRAMES * tiny.TOKENS**2
META = tiny.metadata(PICTURES)


@pytest.fixture(scope="module", params=["sdpa", "eager"])
def model(request):
    return tiny.qwen3(attention=request.param)


def test_a_pruned_prompt_equals_one_that_was_short_from_the_start(model):
    """Run the language model alone on what is left of embeddings, positions and the features that enter again."""
    inputs = tiny.qwen3_inputs()
    with apply(model, RandomKeep(budget=0.5), META, frames=ROWS) as session:
        _, logits = tiny.generate(model, inputs, new=2)
    whole = entering(model, inputs)
    visual = inputs["input_ids"][0] == tiny.VIDEO
    left = torch.as_tensor(session.kept.ravel())
    stays = torch.ones_like(visual)
    stays[visual] = left
    assert visual.sum() == FULL and not visual[visual.nonzero()[0] :][: FULL + 1].all(), "the video must stand apart"
    with torch.no_grad():
        hidden = model.model.language_model(
            inputs_embeds=whole["inputs_embeds"][:, stays],
            position_ids=whole["position_ids"][..., stays],
            attention_mask=torch.ones(1, int(stays.sum()), dtype=torch.long),
            visual_pos_masks=visual[None, stays],
            deepstack_visual_embeds=[rows[left] for rows in whole["deepstack_visual_embeds"]],
            use_cache=False,
        ).last_hidden_state
        want = model.lm_head(hidden[:, -1])
    torch.testing.assert_close(logits[:1], want, rtol=1e-4, atol=1e-4)


def test_merged_patches_are_scattered_behind_every_merger(model):
    strategy = Metom(q=0.6, min_keep=0.1, budget=1.0, btm=False)
    with apply(model, strategy, META, frames=ROWS) as session:
        tiny.generate(model, tiny.qwen3_inputs(), new=2)
        merged = session.encoder_tokens
        features = entering(model, tiny.qwen3_inputs())["deepstack_visual_embeds"]
    regions = session.plan.regions.reshape(tiny.FRAMES, -1)
    assert merged < session.encoder_full
    for rows in features:
        for frame, region in zip(rows.unflatten(0, (tiny.FRAMES, -1)), regions, strict=True):
            for number in range(region.max() + 1):
                of_one = frame[torch.as_tensor(region == number)]
                assert torch.equal(of_one, of_one[:1].expand_as(of_one))


def test_tokens_are_taken_out_behind_the_layers_that_features_enter(model):
    with torch.no_grad(), apply(model, FastV(budget=0.5, layer=2), META, frames=ROWS) as session:
        out = model(**tiny.qwen3_inputs(), use_cache=True)
    prompt = tiny.qwen3_inputs()["input_ids"].shape[1]
    assert session.layer_tokens == [FULL, FULL, 22, 22]
    assert lengths(cache_of(out)) == [prompt, prompt, prompt - FULL + 22, prompt - FULL + 22]
    deep = tiny.qwen3(deepstack=2)
    with pytest.raises(ValueError, match="at the entry of layer 2 or later, not at 1"):
        with apply(deep, FastV(layer=1), META, frames=ROWS):
            pass


def test_the_prompt_says_when_each_pair_of_pictures_is_shown(model):
    words = {tiny.VIDEO: "<|video_pad|>", 92: "<|vision_start|>", 93: "<|vision_end|>"}
    got = adapter_for(model).placeholders(4, [0.0, 0.5, 1.25, 2.0], words.__getitem__)
    assert got == (
        "<0.2 seconds><|vision_start|><|video_pad|><|video_pad|><|vision_end|>"
        "<1.6 seconds><|vision_start|><|video_pad|><|video_pad|><|vision_end|>"
    )
    with pytest.raises(ValueError, match="say when each picture is shown"):
        adapter_for(model).placeholders(4, None, words.__getitem__)
