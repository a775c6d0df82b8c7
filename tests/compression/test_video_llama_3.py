"""VideoLLaMA3: a rotary encoder whose patches are joined behind it, and a processor that compresses by itself."""

import json

import numpy as np
import pytest
import torch

from codecmeta import models
from codecmeta.compression import FastV, Metom, Plain, RandomKeep, adapter_for, apply
from codecmeta.compression.engine.transformers_names import cache_of, lengths
from tests.support import tiny
from tests.support.references import entering

META, ROWS = tiny.metadata(), np.arange(tiny.FRAMES)
FULL = tiny.FRAMES * tiny.TOKENS**2


@pytest.fixture(scope="module", params=["sdpa", "eager"])
def model(request):
    return tiny.video_llama_3(attention=request.param)


@torch.no_grad()
@pytest.mark.parametrize("keep_ids", [True, False])
def test_a_pruned_prompt_equals_one_that_was_short_from_the_start(model, keep_ids):
    """The language model alone, on what is left of the embeddings, with the old positions or new ones."""
    inputs = tiny.video_llama_3_inputs()
    with apply(model, RandomKeep(budget=0.5, keep_ids=keep_ids), META, frames=ROWS) as session:
        ids, logits = tiny.generate(model, inputs, new=3)
    visual = inputs["input_ids"][0] == tiny.VIDEO
    stays = torch.ones_like(visual)
    stays[visual] = torch.as_tensor(session.kept.ravel())
    assert stays.sum() == len(visual) - FULL + session.tokens_kept < len(visual)
    embeddings = entering(model, inputs)["inputs_embeds"][:, stays]
    whole = torch.cat((embeddings, model.get_input_embeddings()(ids[None, :-1])), dim=1)
    places = torch.cat((stays.nonzero()[:, 0], len(visual) + torch.arange(2)))
    positions = places if keep_ids else torch.arange(whole.shape[1])
    hidden = model.model.language_model(
        inputs_embeds=whole, position_ids=positions[None], attention_mask=torch.ones(whole.shape[:2]).long()
    ).last_hidden_state
    torch.testing.assert_close(logits, model.lm_head(hidden[0, -3:]), rtol=1e-4, atol=1e-4)


def test_a_prompt_that_the_processor_compressed_equals_the_same_tokens_taken_out(model):
    """The model's own way: a mask of its processor and fewer placeholders, outside a block."""
    inputs = tiny.video_llama_3_inputs()
    with apply(model, RandomKeep(budget=0.5), META, frames=ROWS) as session:
        ids, logits = tiny.generate(model, inputs, new=3)
    kept = torch.as_tensor(session.kept.ravel())
    visual = inputs["input_ids"][0] == tiny.VIDEO
    stays = torch.ones_like(visual)
    stays[visual] = kept
    short = {**inputs, "input_ids": inputs["input_ids"][:, stays], "video_compression_mask": kept}
    short["attention_mask"] = torch.ones_like(short["input_ids"])
    want = tiny.generate(model, short, new=3)
    assert torch.equal(ids, want[0])
    torch.testing.assert_close(logits, want[1], rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match=r"taken 23 of 45 tokens .* use_token_compression=False"):
        with apply(model, Plain(), META, frames=ROWS):
            model.generate(**short, max_new_tokens=1)


def central(members):
    """The cell of a 3x3 grid that is nearest to the mean of some, of equals the first."""
    centre = np.mean([divmod(cell, 3) for cell in members], axis=0)
    return min(members, key=lambda cell: round(((np.array(divmod(cell, 3)) - centre) ** 2).sum(), 9))


@torch.no_grad()
@pytest.mark.parametrize("pos", ["mean", "centroid"])
def test_the_packed_encoder_equals_every_picture_alone_on_its_own_tokens(model, pos):
    """Picture by picture through the model's own layers, with angles and patches of its regions."""
    inputs, tower = tiny.video_llama_3_inputs(), model.model.vision_model
    strategy = Metom(q=0.6, min_keep=0.1, budget=1.0, btm=False, pos=pos)
    seen = []
    handle = tower.encoder.layers[0].register_forward_pre_hook(
        lambda module, args, kwargs: seen.append((args, kwargs)), with_kwargs=True
    )
    model(**inputs)
    handle.remove()
    (args, kwargs) = seen[0]
    hidden = kwargs.get("hidden_states", args[0] if args else None)
    cells, angles = (
        hidden.view(tiny.FRAMES, 9, 4, -1),
        [one.view(tiny.FRAMES, 9, 4, -1) for one in kwargs["position_embeddings"]],
    )
    with apply(model, strategy, META, frames=ROWS) as session:
        got = entering(model, inputs)["inputs_embeds"]
        regions = session.plan.regions.reshape(tiny.FRAMES, -1)
    got = got[0, inputs["input_ids"][0] == tiny.VIDEO].view(tiny.FRAMES, 9, -1)
    assert session.encoder_tokens < session.encoder_full and len({region.max() for region in regions}) > 1
    for frame, region in enumerate(regions):
        of = [[cell for cell in range(9) if region[cell] == one] for one in range(region.max() + 1)]
        centre = [central(members) for members in of]
        alone = torch.stack([cells[frame, members].mean(0) for members in of]).flatten(0, 1)
        ends = torch.tensor([0, len(alone)], dtype=torch.int32)
        rotary = tuple(one[frame, centre].flatten(0, 1) for one in angles)
        for layer in tower.encoder.layers:
            out = layer(alone, cu_seqlens=ends, position_embeddings=rotary)
            alone = out[0] if isinstance(out, tuple) else out
        joined = tower.post_layernorm(alone).unflatten(0, (-1, 4)).mean(1)
        want = model.model.projector(joined)[torch.as_tensor(region).long()]
        torch.testing.assert_close(got[frame], want, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_vision_attention_is_the_encoders_own():
    eager, seen, weights = tiny.video_llama_3(attention="eager"), [], []
    handles = [*adapter_for(eager).watch_vision(seen.append)]
    handles.append(
        eager.model.vision_model.encoder.layers[-1].self_attn.register_forward_hook(
            lambda module, args, output: weights.append(output[1])
        )
    )
    eager(**tiny.video_llama_3_inputs())
    for handle in handles:
        handle.remove()
    received = torch.stack([one[0].mean((0, 1)) for one in weights[0]])  # picture by picture, over heads and queries
    torch.testing.assert_close(seen[0], received.view(tiny.FRAMES, 9, 4).mean(2), rtol=1e-4, atol=1e-6)


def test_tokens_are_taken_out_inside(model):
    inputs = tiny.video_llama_3_inputs()
    with torch.no_grad(), apply(model, FastV(budget=0.5, layer=2), META, frames=ROWS) as session:
        out = model(**inputs, use_cache=True)
    prompt = inputs["input_ids"].shape[1]
    assert session.layer_tokens == [FULL, FULL, 22, 22]
    assert lengths(cache_of(out)) == [prompt, prompt, prompt - FULL + 22, prompt - FULL + 22]


def test_the_prompt_says_when_each_picture_is_shown(model):
    """processing_video_llama_3.py: replace_video_token."""
    got = adapter_for(model).placeholders(6, [0.0, 0.84, 61.25], {tiny.VIDEO: "*"}.__getitem__)
    assert got == "Time 0.0s:**,Time 0.8s:**,Time 61.2s:**"
    with pytest.raises(ValueError, match="say when each picture is shown"):
        adapter_for(model).placeholders(6, None, str)


@pytest.fixture
def folder(tmp_path):
    """A checkpoint whose pictures share their pixels."""
    tokenizer = tiny.words(tmp_path, "Time user what", ends=False)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|video_pad|>"]})
    template = "{% for m in messages %}user {% for c in m['content'] %}" + (
        "{% if c['type'] == 'video' %}<|video_pad|> {% else %}{{ c['text'] }}{% endif %}{% endfor %}{% endfor %}"
    )
    tokenizer.chat_template = template
    tokenizer.save_pretrained(tmp_path)
    number = tokenizer.convert_tokens_to_ids("<|video_pad|>")
    tiny.video_llama_3(vocabulary=len(tokenizer), video=number).save_pretrained(tmp_path)
    settings = {
        "size": {"shortest_edge": 64, "longest_edge": 3072}, "patch_size": 4, "merge_size": 2, "temporal_patch_size": 1,
        "resample": 3, "do_sample_frames": True, "use_token_compression": True,
    }  # fmt: skip
    (tmp_path / "video_preprocessor_config.json").write_text(json.dumps(settings))
    return tmp_path


def test_the_more_pictures_the_smaller_they_are(folder, clip):
    loaded = models.load(str(folder))
    few, many = (loaded.ask(clip, "what", frames=frames, strategy="evs", max_new_tokens=1) for frames in (2, 6))
    assert few.frames == 2 and many.frames == 6
    assert 1536 // 64 >= few.tokens_full / 2 > 512 // 64 >= many.tokens_full / 6 > 0  # 8x8 pixels to a token
    assert 0 < many.tokens_kept < many.tokens_full


def test_other_than_two_by_two_patches_are_refused(model):
    with pytest.raises(ValueError, match=r"joins \[1\] patches along a side of a token, expected \[2\]"):
        with apply(model, Plain(), META, frames=ROWS):
            model.generate(**{**tiny.video_llama_3_inputs(), "video_merge_sizes": torch.tensor([1])}, max_new_tokens=1)
