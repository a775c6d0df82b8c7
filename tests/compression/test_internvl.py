"""InternVL: pictures between markers, a class token in the encoder, 2x2 patches to a token."""

import json

import numpy as np
import pytest
import torch
from torch.nn.functional import avg_pool2d
from transformers import DynamicCache

from codecmeta import models
from codecmeta.compression import FastV, Metom, RandomKeep, adapter_for, apply
from codecmeta.compression.engine.transformers_names import cache_of, lengths
from codecmeta.models.preprocessing import Preprocessing
from tests.support import tiny

META, ROWS = tiny.metadata(), np.arange(tiny.FRAMES)
FULL = tiny.FRAMES * tiny.TOKENS**2


@pytest.fixture(scope="module", params=["sdpa", "eager"])
def model(request):
    return tiny.internvl(attention=request.param)


@pytest.mark.parametrize("keep_ids", [True, False])
def test_a_pruned_prompt_equals_one_that_was_short_from_the_start(model, keep_ids):
    """The language model alone, on what is left of the embeddings, with the old positions or new ones."""
    inputs = tiny.internvl_inputs()
    with apply(model, RandomKeep(budget=0.5, keep_ids=keep_ids), META, frames=ROWS) as session:
        ids, logits = tiny.generate(model, inputs, new=3)
    visual = inputs["input_ids"][0] == tiny.VIDEO
    stays = torch.ones_like(visual)
    stays[visual] = torch.as_tensor(session.kept.ravel())
    assert stays.sum() == len(visual) - FULL + session.tokens_kept < len(visual)
    with torch.no_grad():
        features = model.model.get_image_features(inputs["pixel_values"], return_dict=True).pooler_output
        embeddings = model.get_input_embeddings()(inputs["input_ids"])
        embeddings[0, visual] = features.flatten(0, 1)
        follow = model.get_input_embeddings()(ids[None, :-1])
        whole = torch.cat((embeddings[:, stays], follow), dim=1)
        places = torch.cat((stays.nonzero()[:, 0], len(visual) + torch.arange(2)))
        positions = places if keep_ids else torch.arange(whole.shape[1])
        hidden = model.model.language_model(
            inputs_embeds=whole, position_ids=positions[None], attention_mask=torch.ones(whole.shape[:2]).long()
        ).last_hidden_state
        want = model.lm_head(hidden[0, -3:])
    torch.testing.assert_close(logits, want, rtol=1e-4, atol=1e-4)


def alone(tower, picture, region, proportional, pos):
    """One picture through the encoder by itself: behind the class token four patches for each of its regions, the mean
    of the upper left ones of its cells, of the upper right ones, and so on. float (cells, 4, width), after the norm."""
    embedded = tower.embeddings(picture[None])[0]
    cells, places = (in_cells(one[None, 1:])[0] for one in (embedded, tower.embeddings.position_embeddings[0]))
    tokens = [embedded[:1]]
    for one in range(region.max() + 1):
        members = [cell for cell in range(9) if region[cell] == one]
        mean = cells[members].mean(0)
        if pos == "centroid":
            centre = np.mean([divmod(cell, 3) for cell in members], axis=0)
            near = min(members, key=lambda cell: round(((np.array(divmod(cell, 3)) - centre) ** 2).sum(), 9))
            mean = mean - places[members].mean(0) + places[near]
        tokens.append(mean)
    sizes = torch.tensor([1, *np.bincount(region).repeat(4)])
    hidden, width = torch.cat(tokens)[None], embedded.shape[1]
    for layer in tower.encoder.layer:
        at, x = layer.attention, layer.layernorm_before(hidden)
        q, k, v = at.q_norm(at.q_proj(x)), at.k_norm(at.k_proj(x)), at.v_proj(x)
        q, k, v = (one[0].view(-1, 2, 16).transpose(0, 1) for one in (q, k, v))
        scores = q @ k.mT * 16**-0.5 + (sizes.log() if proportional else 0)
        out = (scores.softmax(-1) @ v).transpose(0, 1).reshape(1, -1, width)
        hidden = hidden + layer.lambda_1 * at.projection_layer(out)
        hidden = hidden + layer.lambda_2 * layer.mlp(layer.layernorm_after(hidden))
    return tower.layernorm(hidden)[0, 1:].view(-1, 4, width)[torch.as_tensor(region).long()]


def in_cells(patches):
    """(T, 36, width) -> (T, 9, 4, width)."""
    return patches.view(-1, 3, 2, 3, 2, patches.shape[-1]).transpose(2, 3).reshape(-1, 9, 4, patches.shape[-1])


@pytest.mark.parametrize("proportional, pos", [(False, "mean"), (True, "mean"), (False, "centroid")])
@torch.no_grad()
def test_the_packed_encoder_equals_every_picture_alone_on_its_own_tokens(model, proportional, pos):
    pixels = tiny.internvl_inputs()["pixel_values"]
    strategy = Metom(q=0.6, min_keep=0.1, budget=1.0, btm=False, proportional=proportional, pos=pos)
    with apply(model, strategy, META, frames=ROWS) as session:
        got = model.model.get_image_features(pixels, return_dict=True).pooler_output
        regions = session.plan.regions.reshape(tiny.FRAMES, -1)
    assert len({region.max() for region in regions}) > 1 and session.encoder_tokens < session.encoder_full
    each = [alone(model.model.vision_tower, *one, proportional, pos) for one in zip(pixels, regions, strict=True)]
    by_row = torch.stack(each).view(tiny.FRAMES, 3, 3, 2, 2, -1).transpose(2, 3).reshape(tiny.FRAMES, 6, 6, -1)
    joined = model.model.pixel_shuffle(by_row, 0.5).flatten(1, 2)
    torch.testing.assert_close(got, model.model.multi_modal_projector(joined), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_vision_attention_is_the_encoders_own():
    eager, pixels = tiny.internvl(attention="eager"), tiny.internvl_inputs()["pixel_values"]
    seen = []
    handles = [*adapter_for(eager).watch_vision(seen.append)]
    out = eager.model.vision_tower(pixels, output_attentions=True)
    for handle in handles:
        handle.remove()
    received = out.attentions[-1].mean((1, 2))[:, 1:]  # over heads and queries, the class token's among them
    want = avg_pool2d(received.view(-1, 1, 6, 6), 2).flatten(1)
    torch.testing.assert_close(seen[0], want, rtol=1e-4, atol=1e-6)


def test_tokens_are_taken_out_inside(model):
    inputs = tiny.internvl_inputs()
    with torch.no_grad(), apply(model, FastV(budget=0.5, layer=2), META, frames=ROWS) as session:
        out = model(**inputs, use_cache=True)
    prompt = inputs["input_ids"].shape[1]
    assert isinstance(cache_of(out), DynamicCache) and session.layer_tokens == [FULL, FULL, 22, 22]
    assert lengths(cache_of(out)) == [prompt, prompt, prompt - FULL + 22, prompt - FULL + 22]


def test_an_image_beside_the_video_is_refused(model):
    inputs = tiny.internvl_inputs(frames=tiny.FRAMES + 1)
    with pytest.raises(ValueError, match="6 pictures, but 5 frame rows"), apply(
        model, RandomKeep(budget=0.5), META, frames=ROWS
    ):  # fmt: skip
        model.generate(**inputs, max_new_tokens=2)


@pytest.fixture
def folder(tmp_path):
    """A checkpoint as the "-hf" repositories are laid out."""
    words = " ".join(["<img>", "</img>", "<IMG_CONTEXT>", "<video>", "Frame1:", "Frame2:", "Frame3:", "user", "what"])
    tokenizer = tiny.words(tmp_path, words, ends=False)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<img>", "</img>", "<IMG_CONTEXT>", "<video>"]})
    template = "{% for m in messages %}{{ m['role'] + ' ' }}{% for c in m['content'] %}" + (
        "{% if c['type'] == 'video' %}{{ '<video>\n' }}{% else %}{{ c['text'] }}{% endif %}{% endfor %}{% endfor %}"
    )
    tokenizer.chat_template = template
    tokenizer.save_pretrained(tmp_path)
    number = tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>")
    tiny.internvl(vocabulary=len(tokenizer), picture=number).save_pretrained(tmp_path)
    settings = {"size": {"height": 48, "width": 48}, "resample": 3, "do_sample_frames": False}
    (tmp_path / "video_preprocessor_config.json").write_text(json.dumps(settings))
    return tmp_path


def test_a_checkpoint_answers_about_a_file(folder, clip):
    loaded = models.load(str(folder))
    pictures = np.zeros((3, 48, 48, 3), np.uint8)
    ids = loaded.inputs(pictures, "what")["input_ids"][0]
    said = loaded.tokenizer.decode(ids).replace(" ", "").replace("\n", "")
    each = "<img>" + "<IMG_CONTEXT>" * 9 + "</img>"
    assert said == f"userFrame1:{each}Frame2:{each}Frame3:{each}what"  # processing_internvl.py: replace_video_token
    answer = loaded.ask(clip, "what", frames=3, strategy="evs", max_new_tokens=2)
    assert (answer.tokens_full, answer.frames) == (27, 3) and answer.tokens_kept < 27
    assert loaded.preprocessing == Preprocessing(48, 48)
