"""Gemma 4: windows that count tokens, masks made anew, inputs per layer, an encoder that pools."""

import json

import numpy as np
import pytest
import torch
from torch.nn.functional import avg_pool2d

from codecmeta import models
from codecmeta.compression import Metom, Plain, RandomKeep, adapter_for, apply, make
from codecmeta.compression.engine import transformers_names as names
from codecmeta.compression.engine.transformers_names import cache_of, lengths
from codecmeta.models.evaluation.answering import Asked, replies_to
from tests.support import tiny
from tests.support.flash import switch
from tests.support.references import entering
from tests.support.tiny_gemma import WINDOW, gemma4, gemma4_inputs

META, ROWS = tiny.metadata(), np.arange(tiny.FRAMES)
FULL = tiny.FRAMES * tiny.TOKENS**2
CASES = [(large, kernel) for large in (False, True) for kernel in ("sdpa", "eager")]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{'large' if case[0] else 'small'}-{case[1]}")
def model(request):
    large, kernel = request.param
    return gemma4(large=large, attention=kernel)


def test_padding_changes_nothing():
    """Which the processor adds, to a fixed number of patches, and the adapter does not."""
    model = gemma4()
    with apply(model, Metom(budget=0.5, q=0.6, min_keep=0.1), META, frames=ROWS):
        ids, logits = tiny.generate(model, gemma4_inputs(), new=3)
        padded = tiny.generate(model, gemma4_inputs(padding=9), new=3)
    assert torch.equal(ids, padded[0]) and torch.allclose(logits, padded[1], atol=1e-4)


def beside(model, ids):
    """What the stock model takes with these tokens per layer, if anything."""
    if not model.config.text_config.hidden_size_per_layer_input:
        return {}
    pad = torch.where(ids == tiny.VIDEO, 0, ids)
    return {"per_layer_inputs": model.model.language_model.get_per_layer_inputs(pad, None)}


def short_from_the_start(model, inputs, kept, new_ids):
    """Scores of the prompt's end and of what follows, by the stock model, uncached, given only what was kept: tokens
    are numbered without gaps, masks are its own for a sequence like this."""
    ids = torch.cat((inputs["input_ids"], new_ids[None]), dim=1)
    visual = ids[0] == tiny.VIDEO
    stays = torch.ones_like(visual)
    stays[visual] = torch.as_tensor(kept.ravel())
    embeddings = model.get_input_embeddings()(ids)
    embeddings[:, : inputs["input_ids"].shape[1]] = entering(model, inputs)["inputs_embeds"]
    types = (ids == tiny.VIDEO).long() * 2
    made = beside(model, ids[:, stays])
    out = model(inputs_embeds=embeddings[:, stays], mm_token_type_ids=types[:, stays], use_cache=False, **made)
    return out.logits[0, -len(new_ids) - 1 :], int(stays.sum())


@torch.no_grad()
@pytest.mark.parametrize("budget", [0.1, 0.5, 0.9])
def test_a_pruned_prompt_equals_one_that_was_short_from_the_start(model, budget):
    inputs = gemma4_inputs()
    with apply(model, RandomKeep(budget=budget), META, frames=ROWS) as session:
        ids, logits = tiny.generate(model, inputs, new=4)
    want, length = short_from_the_start(model, inputs, session.kept, ids[:-1])
    torch.testing.assert_close(logits, want, rtol=1e-4, atol=1e-4)
    prompt = inputs["input_ids"].shape[1]
    assert WINDOW < length - 3 == prompt - FULL + session.tokens_kept < prompt


@torch.no_grad()
def test_a_picture_may_lose_all_its_tokens(model):
    inputs, strategy = gemma4_inputs(), make("uniform", budget=0.2)
    with apply(model, strategy, META, frames=ROWS) as session:
        ids, logits = tiny.generate(model, inputs, new=3)
    assert (session.counts == 0).any()
    want, _ = short_from_the_start(model, inputs, session.kept, ids[:-1])
    torch.testing.assert_close(logits, want, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_more_text_follows_on_the_shortened_cache(model):
    """Several tokens at once, behind a window that the prompt has left."""
    inputs, more = gemma4_inputs(), torch.tensor([[5, 61, 17, 30]])
    with apply(model, RandomKeep(budget=0.5), META, frames=ROWS) as session:
        first = model.generate(**inputs, max_new_tokens=3, min_new_tokens=3, return_dict_in_generate=True)
        whole = torch.cat((first.sequences, more), dim=1)
        given = {"input_ids": whole, "attention_mask": torch.ones_like(whole), **tiny.given(model, cache_of(first))}
        ids, logits = tiny.generate(model, given, new=3)
    said = torch.cat((first.sequences[0, inputs["input_ids"].shape[1] :], more[0], ids[:-1]))
    want, _ = short_from_the_start(model, inputs, session.kept, said)
    torch.testing.assert_close(logits, want[-3:], rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_the_cache_holds_windows(model):
    inputs = gemma4_inputs()
    with apply(model, RandomKeep(budget=0.5), META, frames=ROWS) as session:
        cache = cache_of(model(**inputs, use_cache=True))
    left = inputs["input_ids"].shape[1] - FULL + session.tokens_kept
    own = len(adapter_for(model).attending)
    assert own == (6 if model.config.text_config.use_bidirectional_attention else 4)
    assert lengths(cache) == [left] * own
    held = [layer.keys for layer in cache.layers if getattr(layer, "keys", None) is not None]
    if not any(getattr(layer, "is_sliding", False) for layer in cache.layers):
        pytest.skip("this transformers keeps all tokens of every layer where none uses the keys of another")
    assert [keys.shape[2] for keys in held] == ([WINDOW - 1, left] * 3)[:own]


def test_gaps_are_refused(model):
    with (
        pytest.raises(ValueError, match=r"windows that count tokens, .* without gaps; keep_ids=True"),
        apply(model, RandomKeep(budget=0.5, keep_ids=True), META, frames=ROWS),
    ):
        pass


def test_flash_attention_is_refused():
    with pytest.raises(ValueError, match="cannot run on flash attention 2"):
        adapter_for(switch(gemma4()))


WIDE = (2, 5)
"""Rows and columns of cells of pictures that are no squares."""


def in_cells(patches):
    """(T, 6 * 15, width) -> (T, 10, 9, width)."""
    rows, columns = WIDE
    cells = patches.view(-1, rows, 3, columns, 3, patches.shape[-1]).transpose(2, 3)
    return cells.reshape(-1, rows * columns, 9, patches.shape[-1])


def alone(tower, embedded, table, places, region, proportional, pos):
    """One picture through the stock encoder by itself: nine patches for each of its regions, the mean of those at the
    same place in its cells, turned by the angles of its central cell. Cells (10, 9, width) -> (10, 9, width)."""
    tokens, turned = [], []
    for one in range(region.max() + 1):
        members = np.flatnonzero(region == one)
        at = np.stack(np.unravel_index(members, WIDE), axis=1)
        near = members[((at - at.mean(axis=0)) ** 2).sum(axis=1).round(9).argmin()]
        mean = embedded[members].mean(0)
        if pos == "centroid":
            mean = mean - table[members].mean(0) + table[near]
        tokens.append(mean)
        turned.append(places[near])
    hidden, where = torch.cat(tokens)[None], torch.cat(turned)[None]
    sizes = torch.as_tensor(np.bincount(region).repeat(9)).float()
    mask = (sizes.log() if proportional else torch.zeros_like(sizes)).expand(1, 1, hidden.shape[1], -1)
    out = tower.encoder(inputs_embeds=hidden, attention_mask=mask, pixel_position_ids=where).last_hidden_state
    return out[0].view(-1, 9, out.shape[-1])[torch.as_tensor(region).long()]


@pytest.mark.parametrize("padding", [0, 18])
@pytest.mark.parametrize("proportional, pos", [(False, "mean"), (True, "mean"), (False, "centroid")])
@torch.no_grad()
def test_the_packed_encoder_equals_every_picture_alone_on_its_own_tokens(model, proportional, pos, padding):
    patches = 3 * WIDE[0], 3 * WIDE[1]
    inputs, tower = gemma4_inputs(padding=padding, grid=patches), model.model.vision_tower
    strategy = Metom(q=0.6, min_keep=0.1, budget=1.0, btm=False, proportional=proportional, pos=pos)
    visual = inputs["input_ids"][0] == tiny.VIDEO
    with apply(model, strategy, META, frames=ROWS) as session:
        got = entering(model, inputs)["inputs_embeds"][0, visual]
        regions = session.plan.regions.reshape(tiny.FRAMES, -1)
    assert len({region.max() for region in regions}) > 1 and session.encoder_tokens < session.encoder_full
    count = patches[0] * patches[1]
    pixels, places = (inputs[name].flatten(0, -3)[:, :count] for name in (names.PIXELS, names.PLACES))
    table = tower.patch_embedder.position_embedding_table
    own = table[0][places[0, :, 0]] + table[1][places[0, :, 1]]
    embedded = tower.patch_embedder.input_proj(2 * (pixels - 0.5)) + own
    per_cell = in_cells(own[None])[0], in_cells(places[:1])[0]
    each = [
        alone(tower, one, *per_cell, region, proportional, pos)
        for one, region in zip(in_cells(embedded), regions, strict=True)
    ]
    pooled = torch.stack(each).mean(2).flatten(0, 1) * 32**0.5
    torch.testing.assert_close(got, model.model.embed_vision(pooled), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("padding", [0, 9])
@pytest.mark.parametrize("grid", [(9, 9), (6, 15)])
@torch.no_grad()
def test_vision_attention_is_the_encoders_own(padding, grid):
    eager, seen, weights = gemma4(attention="eager"), [], []
    handles = [*adapter_for(eager).watch_vision(seen.append)]
    handles.append(
        eager.model.vision_tower.encoder.layers[-1].self_attn.register_forward_hook(
            lambda module, args, output: weights.append(output[1])
        )
    )
    eager(**gemma4_inputs(padding=padding, grid=grid))
    for handle in handles:
        handle.remove()
    count = grid[0] * grid[1]
    received = weights[0][:, :, :count, :count].mean((1, 2))  # over heads and queries
    want = avg_pool2d(received.view(-1, 1, *grid), 3).flatten(1)
    torch.testing.assert_close(seen[0], want, rtol=1e-4, atol=1e-6)


def test_pictures_of_a_call_are_what_its_inputs_were_made_of():
    model = gemma4()
    adapter, pixels = adapter_for(model), torch.rand(2, 3, 24, 36)
    made, count = adapter.inputs(pixels)
    assert count == 2 * 2 * 3 and made[names.PIXELS].shape[-2:] == (54, 48)
    call = {"pixel_values": made[names.PIXELS].flatten(0, -3), "pixel_position_ids": made[names.PLACES].flatten(0, -3)}
    assert torch.equal(adapter.pictures_of_call((), call), pixels)
    layout = adapter.layout_of_call((), call, META.stream)
    assert layout == adapter.layout_of_inputs(made, META.stream)
    assert (layout.frames, layout.tokens, layout.unit) == (2, (2, 3), 9)


@pytest.mark.parametrize("change", ["smaller", "turned"])
def test_pictures_of_several_sizes_are_refused(model, change):
    inputs = gemma4_inputs()
    places = inputs[names.PLACES].flatten(0, -3).clone()
    if change == "smaller":
        places[1, -27:] = -1
    else:
        places = places.flip(-1)
    inputs[names.PLACES] = places.view_as(inputs[names.PLACES])
    with pytest.raises(ValueError, match="several sizes"), apply(model, Plain(), META, frames=ROWS):
        model.generate(**inputs, max_new_tokens=1)


@pytest.fixture
def folder(tmp_path):
    """A checkpoint as the published ones are laid out; its tokenizer knows the placeholder as a word like others."""
    words = "<|video|> <bos> 00:00 00:01 01:05 what <turn|> <|turn>user <|turn>model"
    tokenizer = tiny.words(tmp_path, words, ends=False)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|image>", "<image|>"]})
    tokenizer.chat_template = (
        "<bos> {% for m in messages %}<|turn>user {% for c in m['content'] %}{% if c['type'] == 'video' %}<|video|>"
        "{% else %} {{ c['text'] }} {% endif %}{% endfor %}<turn|> {% endfor %}<|turn>model"
    )
    tokenizer.save_pretrained(tmp_path)
    number = tokenizer.convert_tokens_to_ids
    markers = number("<|image>"), number("<image|>")
    gemma4(vocabulary=len(tokenizer), video=number("<|video|>"), markers=markers).save_pretrained(tmp_path)
    settings = {
        "video_processor_type": "Gemma4VideoProcessor", "size": None, "patch_size": 4, "max_soft_tokens": 70,
        "pooling_kernel_size": 3, "resample": 3, "image_mean": [0.0] * 3, "image_std": [1.0] * 3, "num_frames": 32,
        "do_sample_frames": True, "rescale_factor": 1 / 255,
    }  # fmt: skip
    (tmp_path / "processor_config.json").write_text(json.dumps({"video_processor": settings}))
    return tmp_path


def test_a_checkpoint_answers_about_a_file(folder, clip):
    loaded = models.load(str(folder))
    assert loaded.preprocessing.num_frames == 32
    pictures = np.stack([loaded.preprocessing.resize(np.zeros((90, 160, 3), np.uint8))] * 3)
    assert pictures.shape == (3, 72, 132, 3)
    inputs = loaded.inputs(pictures, "what", [0.0, 1.9, 65.4])
    text = loaded.tokenizer.decode(inputs["input_ids"][0]).replace(" ", "")
    each = "<|image>" + 66 * "<|video|>" + "<image|>"
    assert text == f"<bos><|turn>user00:00{each}00:01{each}01:05{each}what<turn|><|turn>model"
    answer = loaded.ask(clip, "what", frames=3, strategy="evs", max_new_tokens=2)
    assert answer.frames == 3 and 0 < answer.tokens_kept < answer.tokens_full


@pytest.mark.parametrize("method", ["none", "evs"])
def test_questions_about_one_clip_are_answered_one_by_one(folder, clip, method):
    """A batch of them would be padded, and a window counts padding; the encoder's output serves all of them."""
    loaded, questions = models.load(str(folder)), ["what", "what 00:00 01:05", "00:01"]
    shown = loaded.clip(clip, 3)
    asked = Asked(loaded, shown, questions)
    replies = replies_to(loaded, asked, make(method), max_new_tokens=6)
    for reply, question in zip(replies, questions, strict=True):
        alone = loaded.ask(clip, question, strategy=method, clip=shown, max_new_tokens=6)
        assert (reply.text, reply.tokens_kept) == (alone.text, alone.tokens_kept)
