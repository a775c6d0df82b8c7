"""More text on a cache whose prompt was shortened: against one masked pass over everything that was said, at the
positions of the plain model."""

import copy

import numpy as np
import pytest
import torch

from codecmeta.compression import Dycoke, Evs, FastV, Metok, Metom, RandomKeep, Replenish, apply
from codecmeta.compression.engine import transformers_names as names
from tests.support import tiny

ANSWER, MORE = 4, torch.tensor([[5, 61, 17, 30]])
MODELS = {
    "llava": (tiny.llava, tiny.llava_inputs),
    "qwen2": (tiny.qwen, tiny.qwen_inputs),
    "qwen2.5": (lambda **options: tiny.qwen(windowed=True, **options), tiny.qwen_inputs),
    "qwen3": (tiny.qwen3, tiny.qwen3_inputs),
    "internvl": (tiny.internvl, tiny.internvl_inputs),
}
METHODS = [
    RandomKeep(budget=0.5),
    RandomKeep(budget=0.5, keep_ids=True),
    Metom(budget=0.5, rpm=False, tau_tem=0.1),
    Evs(budget=0.4),
    Replenish(budget=0.4),
    FastV(budget=0.5, layer=2),
]


@pytest.fixture(scope="module", params=[(name, kernel) for name in MODELS for kernel in ("sdpa", "eager")], ids=str)
def model(request):
    name, kernel = request.param
    made = MODELS[name][0](attention=kernel)
    made.plain = plain_calls(made, MODELS[name][1]())
    return made, MODELS[name][1]()


@pytest.fixture(scope="module", params=MODELS)
def one_kernel(request):
    return MODELS[request.param][0](), MODELS[request.param][1]()


def applied(model, strategy):
    pictures = tiny.FRAMES * (1 if hasattr(model.model, "vision_tower") else 2)
    return apply(model, strategy, tiny.metadata(frames=pictures), frames=np.arange(pictures))


def generate(model, new=ANSWER, **inputs):
    return model.generate(
        **inputs, max_new_tokens=new, min_new_tokens=new, do_sample=False, output_logits=True,
        return_dict_in_generate=True, suppress_tokens=[tiny.VIDEO, tiny.IMAGE],
    )  # fmt: skip


def follow(model, output, more=MORE, **inputs):
    """Ask on: everything so far and more text, as `generate` takes it of the plain model."""
    ids = torch.cat((output.sequences, more), 1)
    given = {"input_ids": ids, "attention_mask": torch.ones_like(ids), **tiny.given(model, names.cache_of(output))}
    return generate(model, **given, **inputs)


def watched(model, calls, part=None):
    """Note the arguments of every call of the language model, or of a part of it."""

    def look(module, args, kwargs):
        calls.append(kwargs | ({"hidden_states": args[0].clone()} if args else {}))

    return (part or model.model.language_model).register_forward_pre_hook(look, with_kwargs=True)


def plain_calls(model, inputs):
    """What enters the language model of the plain model over a question, an answer and more text."""
    calls = []
    handle = watched(model, calls)
    first = generate(model, **inputs)
    follow(model, first)
    handle.remove()
    return calls


def one_pass(model, cache, entered, ids):
    """float (tokens from the prompt's last on, vocabulary): all tokens in one uncached pass over the full length, in
    which nobody sees what was taken out. entered: what entered the first layer in the place of the prompt."""
    note, prompt = names.noted(cache), model.plain[0]
    length = prompt["inputs_embeds"].shape[1]
    positions = torch.arange(length + 64)[None]
    if model.plain[0].get("position_ids") is not None:
        rotated = [names.rotated(call["position_ids"]) for call in model.plain]
        rows = max(len(one) for one in rotated)
        positions = torch.cat([one.expand(rows, *one.shape[1:]) for one in rotated], -1)
    embeddings, keep = prompt["inputs_embeds"].clone(), note.keep
    embeddings[:, keep] = entered
    if not note.keep_ids:  # as if the prompt had been short from the start
        embeddings, keep, positions = entered, torch.arange(entered.shape[1]), torch.arange(length + 64)[None]
    with torch.no_grad():
        whole = torch.cat((embeddings, model.get_input_embeddings()(ids[None])), 1)
    total, start = whole.shape[1], embeddings.shape[1]
    seen = torch.zeros(total, dtype=torch.bool)
    seen[keep] = seen[start:] = True

    def mask(seen):
        allowed = torch.ones(total, total, dtype=torch.bool).tril() & seen
        allowed |= torch.eye(total, dtype=torch.bool)
        return torch.zeros(total, total).masked_fill(~allowed, torch.finfo(torch.float32).min)[None, None]

    def narrowed(layer):
        def hook(module, args, kwargs):
            left = torch.zeros(total, dtype=torch.bool)
            left[note.prompt.places(note.prompt.by_layer[layer])] = left[start:] = True
            return args, kwargs | {"attention_mask": mask(left)}

        return hook

    layers = model.model.language_model.layers if note.prompt is not None else ()
    handles = [one.register_forward_pre_hook(narrowed(n), with_kwargs=True) for n, one in enumerate(layers)]
    deep = {name: prompt.get(name) for name in ("visual_pos_masks", "deepstack_visual_embeds")}
    deep = {name: value for name, value in deep.items() if value is not None}
    if deep:
        deep["visual_pos_masks"] = torch.cat((deep["visual_pos_masks"], torch.zeros(1, len(ids), dtype=torch.bool)), 1)
    with torch.no_grad():
        out = model.model.language_model(
            inputs_embeds=whole, attention_mask=mask(seen), position_ids=positions[..., :total], use_cache=False, **deep
        ).last_hidden_state
        logits = model.lm_head(out[0, start - 1 :])
    for handle in handles:
        handle.remove()
    return logits


def close(got, want):
    assert (got - want).abs().max() <= 2e-5 * want.abs().max()


@pytest.mark.parametrize("strategy", METHODS, ids=lambda s: f"{s.name}{s.keep_ids or ''}")
def test_a_follow_up_question_equals_one_masked_pass_at_the_positions_of_the_plain_model(model, strategy):
    model, inputs = model
    entered = []
    with applied(model, strategy) as session:
        handle = watched(model, entered, model.model.language_model.layers[0])
        first = generate(model, **inputs)
        second = follow(model, first)
        handle.remove()
        assert 0 < min(session.layer_tokens) < session.tokens_full
        cache = names.cache_of(second)
        assert cache.get_seq_length() == inputs["input_ids"].shape[1] + 2 * ANSWER + MORE.shape[1] - 1
    ids = second.sequences[0, inputs["input_ids"].shape[1] :]
    want = one_pass(model, cache, entered[0]["hidden_states"], ids[:-1])
    close(torch.cat(first.logits), want[:ANSWER])
    close(torch.cat(second.logits), want[ANSWER + MORE.shape[1] :])


def test_all_ways_to_pass_more_text_are_one(one_kernel):
    model, inputs = one_kernel
    whole = {name: inputs[name] for name in ("mm_token_type_ids", "video_grid_thw") if name in inputs}
    with applied(model, RandomKeep(budget=0.5)), torch.no_grad():
        first = generate(model, **inputs)
        kept = copy.deepcopy(names.cache_of(first))
        want = torch.cat(follow(model, first).logits)
        ids = torch.cat((first.sequences, MORE), 1)
        new = {"input_ids": ids[:, -MORE.shape[1] - 1 :], "attention_mask": torch.ones_like(ids)}
        close(torch.cat(generate(model, **new, **tiny.given(model, copy.deepcopy(kept))).logits), want)
        if whole:
            types = {"mm_token_type_ids": (ids == tiny.VIDEO).long() * 2}
            for more in (types, types | {"video_grid_thw": whole["video_grid_thw"]}):
                given = tiny.given(model, copy.deepcopy(kept))
                said = generate(model, input_ids=ids, attention_mask=new["attention_mask"], **given, **more)
                close(torch.cat(said.logits), want)
        direct = model(input_ids=new["input_ids"], **tiny.given(model, copy.deepcopy(kept)))
        close(direct.logits[:, -1], want[:1])


def test_several_questions_on_copies_of_one_cache_and_on_a_cut_one(one_kernel):
    model, inputs = one_kernel
    length = inputs["input_ids"].shape[1]
    other = MORE.flip(1)
    with applied(model, Metom(budget=0.5, rpm=False)), torch.no_grad():
        first = generate(model, **inputs, new=1)
        kept = names.cache_of(first)
        assert kept.get_seq_length() == length
        wanted = []
        for more in (MORE, other):
            first.past_key_values = copy.deepcopy(kept)
            wanted.append(torch.cat(follow(model, first, more).logits))
        assert not torch.allclose(*wanted)
    with applied(model, Metom(budget=0.5, rpm=False)), torch.no_grad():
        first = generate(model, **inputs, new=1)
        asked = follow(model, first, MORE)
        cache = names.cache_of(asked)
        cache.crop(length)
        assert cache.get_seq_length() == length
        close(torch.cat(follow(model, first, other).logits), wanted[1])
        cache.crop(length - cache.get_seq_length())
        close(torch.cat(follow(model, first, MORE).logits), wanted[0])
        cache.crop(length - 3)
        with pytest.raises(ValueError, match="cut into the prompt"):
            follow(model, first, MORE)


def test_padding_before_the_prompt_changes_nothing(one_kernel):
    model, inputs = one_kernel
    padded = dict(inputs)
    for name in ("input_ids", "attention_mask", "mm_token_type_ids"):
        if name in inputs:
            padded[name] = torch.cat((torch.zeros(1, 3, dtype=torch.long), inputs[name]), 1)
    said = []
    for given in (inputs, padded):
        with applied(model, RandomKeep(budget=0.5)):
            first = generate(model, **given)
            ids = torch.cat((first.sequences, MORE), 1)
            mask = torch.cat((given["attention_mask"], torch.ones(1, ANSWER + MORE.shape[1], dtype=torch.long)), 1)
            cache = tiny.given(model, names.cache_of(first))
            said.append(torch.cat(generate(model, input_ids=ids, attention_mask=mask, **cache).logits))
    close(said[1], said[0])


@pytest.mark.parametrize("strategy", [Metok(), Dycoke(evict=0.7, evict_layer=2)], ids=lambda s: s.name)
def test_a_cache_that_has_forgotten_refuses_in_words(one_kernel, strategy):
    model, inputs = one_kernel
    with applied(model, strategy):
        first = generate(model, **inputs)
        with pytest.raises(ValueError, match="forgotten the video in some layers and cannot take a second question"):
            follow(model, first)


def test_what_cannot_follow_is_refused_with_the_reason(one_kernel):
    model, inputs = one_kernel
    with applied(model, RandomKeep(budget=0.5)):
        first = generate(model, **inputs)
        kept = names.cache_of(first)
        with pytest.raises(ValueError, match="the cache has its video already"):
            follow(model, first, torch.tensor([[5, tiny.VIDEO]]))
        with pytest.raises(ValueError, match=r"mask is \(1, 4\), expected \(sequences, \d+\): all \d+ tokens"):
            model(input_ids=MORE, attention_mask=torch.ones_like(MORE), **tiny.given(model, kept))
    with applied(model, RandomKeep(budget=0.5)), pytest.raises(ValueError, match="in another block of apply"):
        follow(model, first)
