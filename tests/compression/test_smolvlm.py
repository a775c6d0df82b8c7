"""SmolVLM2: pictures between marks, an encoder without a class token, cells of patches to a token."""

import json

import numpy as np
import pytest
import torch
from torch.nn.functional import avg_pool2d

from codecmeta import models
from codecmeta.compression import FastV, Metom, Plain, RandomKeep, adapter_for, apply
from codecmeta.compression.engine.transformers_names import cache_of, lengths
from codecmeta.models.adapters.smolvlm import in_words
from tests.support import tiny

META, ROWS = tiny.metadata(), np.arange(tiny.FRAMES)
FULL = tiny.FRAMES * tiny.TOKENS**2


@pytest.fixture(scope="module", params=["sdpa", "eager"])
def model(request):
    return tiny.smolvlm(attention=request.param)


def projected(model, pixels):
    """(pictures, 9, width)."""
    out = model.model.vision_model(pixel_values=pixels).last_hidden_state
    return model.model.connector(out)


@torch.no_grad()
@pytest.mark.parametrize("keep_ids", [True, False])
def test_a_pruned_prompt_equals_one_that_was_short_from_the_start(model, keep_ids):
    """The language model alone, on what is left of the embeddings, with the old positions or new ones."""
    inputs = tiny.smolvlm_inputs()
    with apply(model, RandomKeep(budget=0.5, keep_ids=keep_ids), META, frames=ROWS) as session:
        ids, logits = tiny.generate(model, inputs, new=3)
    visual = inputs["input_ids"][0] == tiny.VIDEO
    stays = torch.ones_like(visual)
    stays[visual] = torch.as_tensor(session.kept.ravel())
    assert stays.sum() == len(visual) - FULL + session.tokens_kept < len(visual)
    embeddings = model.get_input_embeddings()(inputs["input_ids"])
    embeddings[0, visual] = projected(model, inputs["pixel_values"][0]).flatten(0, 1)
    whole = torch.cat((embeddings[:, stays], model.get_input_embeddings()(ids[None, :-1])), dim=1)
    places = torch.cat((stays.nonzero()[:, 0], len(visual) + torch.arange(2)))
    positions = places if keep_ids else torch.arange(whole.shape[1])
    hidden = model.model.text_model(
        inputs_embeds=whole, position_ids=positions[None], attention_mask=torch.ones(whole.shape[:2]).long()
    ).last_hidden_state
    torch.testing.assert_close(logits, model.lm_head(hidden[0, -3:]), rtol=1e-4, atol=1e-4)


def in_cells(patches):
    """(T, 36, width) -> (T, 9, 4, width)."""
    return patches.view(-1, 3, 2, 3, 2, patches.shape[-1]).transpose(2, 3).reshape(-1, 9, 4, patches.shape[-1])


def alone(tower, embedded, places, region, proportional, pos):
    """One picture through the encoder by itself: four patches for each of its regions, the mean of the upper left ones
    of its cells, of the upper right ones, and so on. Cells (9, 4, width) -> (9, 4, width), behind the norm."""
    tokens = []
    for one in range(region.max() + 1):
        members = [cell for cell in range(9) if region[cell] == one]
        mean = embedded[members].mean(0)
        if pos == "centroid":
            centre = np.mean([divmod(cell, 3) for cell in members], axis=0)
            near = min(members, key=lambda cell: round(((np.array(divmod(cell, 3)) - centre) ** 2).sum(), 9))
            mean = mean - places[members].mean(0) + places[near]
        tokens.append(mean)
    sizes, hidden = torch.as_tensor(np.bincount(region).repeat(4)), torch.cat(tokens)[None]
    for layer in tower.encoder.layers:
        at, x = layer.self_attn, layer.layer_norm1(hidden)
        q, k, v = (one(x)[0].view(-1, 2, 16).transpose(0, 1) for one in (at.q_proj, at.k_proj, at.v_proj))
        scores = q @ k.mT * 16**-0.5 + (sizes.log() if proportional else 0)
        hidden = hidden + at.out_proj((scores.softmax(-1) @ v).transpose(0, 1).reshape(1, -1, 32))
        hidden = hidden + layer.mlp(layer.layer_norm2(hidden))
    return tower.post_layernorm(hidden)[0].view(-1, 4, 32)[torch.as_tensor(region).long()]


@pytest.mark.parametrize("proportional, pos", [(False, "mean"), (True, "mean"), (False, "centroid")])
@torch.no_grad()
def test_the_packed_encoder_equals_every_picture_alone_on_its_own_tokens(model, proportional, pos):
    pixels, tower = tiny.smolvlm_inputs()["pixel_values"][0], model.model.vision_model
    strategy = Metom(q=0.6, min_keep=0.1, budget=1.0, btm=False, proportional=proportional, pos=pos)
    with apply(model, strategy, META, frames=ROWS) as session:
        got = projected(model, pixels)
        regions = session.plan.regions.reshape(tiny.FRAMES, -1)
    assert len({region.max() for region in regions}) > 1 and session.encoder_tokens < session.encoder_full
    patches = tower.embeddings.patch_embedding(pixels).flatten(2).transpose(1, 2)
    positions = tower.embeddings(pixels, torch.ones(tiny.FRAMES, 6, 6, dtype=torch.bool)) - patches
    cells = zip(in_cells(patches + positions), in_cells(positions), regions, strict=True)
    each = torch.stack([alone(tower, *one, proportional, pos) for one in cells])
    by_row = each.view(-1, 3, 3, 2, 2, 32).transpose(2, 3).reshape(tiny.FRAMES, 36, 32)
    torch.testing.assert_close(got, model.model.connector(by_row), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_vision_attention_is_the_encoders_own():
    eager, seen, weights = tiny.smolvlm(attention="eager"), [], []
    handles = [*adapter_for(eager).watch_vision(seen.append)]
    handles.append(
        eager.model.vision_model.encoder.layers[-1].self_attn.register_forward_hook(
            lambda module, args, output: weights.append(output[1])
        )
    )
    eager(**tiny.smolvlm_inputs())
    for handle in handles:
        handle.remove()
    want = avg_pool2d(weights[0].mean((1, 2)).view(-1, 1, 6, 6), 2).flatten(1)  # over heads and queries
    torch.testing.assert_close(seen[0], want, rtol=1e-4, atol=1e-6)


def test_tokens_are_taken_out_inside(model):
    inputs = tiny.smolvlm_inputs()
    with torch.no_grad(), apply(model, FastV(budget=0.5, layer=2), META, frames=ROWS) as session:
        out = model(**inputs, use_cache=True)
    prompt = inputs["input_ids"].shape[1]
    assert session.layer_tokens == [FULL, FULL, 22, 22]
    assert lengths(cache_of(out)) == [prompt, prompt, prompt - FULL + 22, prompt - FULL + 22]


def test_what_is_no_square_filled_by_its_picture_is_refused(model):
    inputs = tiny.smolvlm_inputs()
    shape = inputs["pixel_values"].shape
    padded = torch.ones(shape[0], shape[1], *shape[-2:], dtype=torch.bool)
    padded[..., 24:, :] = False
    with pytest.raises(ValueError, match="squares filled by the picture"), apply(model, Plain(), META, frames=ROWS):
        model.generate(**inputs, pixel_attention_mask=padded, max_new_tokens=1)
    black = inputs["pixel_values"].clone()
    black[0, 2] = 0  # what the model takes for padding
    with pytest.raises(ValueError, match="4 pictures, but 5 frame rows"), apply(model, Plain(), META, frames=ROWS):
        model.generate(**{**inputs, "pixel_values": black}, max_new_tokens=1)


def test_numbers_in_words():
    """As num2words 0.5.14 gives them."""
    assert [in_words(number) for number in (8, 13, 40, 64, 100, 128, 1024, 12345)] == [
        "eight",
        "thirteen",
        "forty",
        "sixty-four",
        "one hundred",
        "one hundred and twenty-eight",
        "one thousand and twenty-four",
        "twelve thousand, three hundred and forty-five",
    ]


@pytest.fixture
def folder(tmp_path):
    """A checkpoint as the published ones are laid out."""
    special = ["<image>", "<fake_token_around_image>", "<global-img>", "<|im_start|>", "<end_of_utterance>"]
    words = (
        "You are provided the following series of three frames from a 0:00:01 0:00:02 0:01:05 [H:MM:SS] video. Frame "
    )
    tokenizer = tiny.words(tmp_path, words + "00:00: 00:01: 00:02: what User: Assistant:", ends=False)
    tokenizer.add_special_tokens({"additional_special_tokens": special})
    tokenizer.chat_template = "{{ raise_exception('of images only') }}"
    tokenizer.save_pretrained(tmp_path)
    number = tokenizer.convert_tokens_to_ids("<image>")
    tiny.smolvlm(vocabulary=len(tokenizer), picture=number).save_pretrained(tmp_path)
    settings = {
        "size": {"longest_edge": 196}, "max_image_size": {"longest_edge": 49}, "resample": 1, "do_pad": True,
        "do_image_splitting": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3,
        "video_sampling": {"fps": 1, "max_frames": 64, "video_size": {"longest_edge": 49}},
    }  # fmt: skip
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    return tmp_path


def test_a_checkpoint_answers_about_a_file(folder, clip):
    loaded = models.load(str(folder))
    pictures = np.zeros((3, 49, 49, 3), np.uint8)
    ids = loaded.inputs(pictures, "what", [0.0, 1.5, 2.0])["input_ids"][0]
    said = loaded.tokenizer.decode(ids).replace(" ", "")
    each = "<fake_token_around_image><global-img>" + "<image>" * 9 + "<fake_token_around_image>"
    assert said == (  # processing_smolvlm.py: replace_video_token
        "<|im_start|>User:Youareprovidedthefollowingseriesofthreeframesfroma0:00:02[H:MM:SS]video."
        f"Framefrom00:00:{each}Framefrom00:01:{each}Framefrom00:02:{each}what<end_of_utterance>Assistant:"
    )
    ids = loaded.inputs(pictures, "what", [0.0, 1.5, 2.0], duration=65.4)["input_ids"][0]
    longer = loaded.tokenizer.decode(ids).replace(" ", "")  # as the processor has it where its metadata say how long
    assert longer == said.replace("froma0:00:02[", "froma0:01:05[")
    answer = loaded.ask(clip, "what", frames=3, strategy="evs", max_new_tokens=2)
    assert (answer.tokens_full, answer.frames) == (27, 3) and answer.tokens_kept < 27
